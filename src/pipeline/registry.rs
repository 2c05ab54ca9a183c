//! The steps that recipes know by name. A new step is one more line here.

use std::any::Any;

use serde::Serialize;
use serde::de::value::Error as Nothing;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::{IntoStep, Step};
use crate::tracking::{
    BirminghamMethod, Centroids, Cutpoints, CutpointsToF, Fpi, GaussianDensity, Hdbscan,
    LinesCentroids, Minpoints, PeptEm, Refine, SplitLabels, TimeOfFlight, Voxelize,
};
use crate::trajectory::{
    FitTrajectory, Interpolate, Link, OutOfViewFilter, Reconnect, RemoveStatic, Segregate, Smooth,
    Velocity,
};
use crate::transform::{
    Center, Condition, GroupBy, Inspect, OptimizeWindow, Remove, Reorient, SamplesCondition, Stack,
    Swap,
};

/// A step that recipes know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its name in recipes.
    pub(super) name: &'static str,
    /// Names of its parameters.
    pub(super) parameters: fn() -> &'static [&'static str],
    /// Makes it from its parameters.
    pub(super) build: fn(toml::Table) -> Result<Step, toml::de::Error>,
    pub(super) is: fn(&dyn Any) -> bool,
    /// Its parameters, if it is this step.
    pub(super) save: fn(&dyn Any) -> Option<Result<toml::Table, toml::ser::Error>>,
}

pub(super) const STEPS: &[Entry] = &[
    entry::<Cutpoints, _>("Cutpoints"),
    entry::<Minpoints, _>("Minpoints"),
    entry::<TimeOfFlight, _>("TimeOfFlight"),
    entry::<CutpointsToF, _>("CutpointsToF"),
    entry::<GaussianDensity, _>("GaussianDensity"),
    entry::<Hdbscan, _>("HDBSCAN"),
    entry::<SplitLabels, _>("SplitLabels"),
    entry::<Centroids, _>("Centroids"),
    entry::<LinesCentroids, _>("LinesCentroids"),
    entry::<BirminghamMethod, _>("BirminghamMethod"),
    entry::<PeptEm, _>("PeptEm"),
    entry::<Refine, _>("Refine"),
    entry::<Voxelize, _>("Voxelize"),
    entry::<Fpi, _>("FPI"),
    entry::<Stack, _>("Stack"),
    entry::<OptimizeWindow, _>("OptimizeWindow"),
    entry::<Condition, _>("Condition"),
    entry::<SamplesCondition, _>("SamplesCondition"),
    entry::<GroupBy, _>("GroupBy"),
    entry::<GroupBy, _>("SplitAll"),
    entry::<Remove, _>("Remove"),
    entry::<Swap, _>("Swap"),
    entry::<Inspect, _>("Debug"),
    entry::<Segregate, _>("Segregate"),
    entry::<Link, _>("Link"),
    entry::<Reconnect, _>("Reconnect"),
    entry::<Smooth, _>("Smooth"),
    entry::<FitTrajectory, _>("FitTrajectory"),
    entry::<Velocity, _>("Velocity"),
    entry::<Interpolate, _>("Interpolate"),
    entry::<OutOfViewFilter, _>("OutOfViewFilter"),
    entry::<RemoveStatic, _>("RemoveStatic"),
    entry::<Reorient, _>("Reorient"),
    entry::<Center, _>("Center"),
];

pub(super) const fn entry<S, M>(name: &'static str) -> Entry
where
    S: for<'de> Deserialize<'de> + Serialize + IntoStep<M> + 'static,
{
    Entry {
        name,
        parameters: fields::<S>,
        build: |table| table.try_into::<S>().map(IntoStep::into_step),
        is: |step| step.is::<S>(),
        save: |step| step.downcast_ref::<S>().map(toml::Table::try_from),
    }
}

/// Whether a step is one of these.
pub(super) fn knows(step: &Step) -> bool {
    STEPS.iter().any(|entry| (entry.is)(step.as_any()))
}

/// A step as a recipe has it, name and parameters; one of the user's own as Rust shows it.
pub(super) fn description(step: &Step) -> String {
    let saved = STEPS.iter().find_map(|entry| {
        let table = (entry.save)(step.as_any())?.ok()?;
        Some((entry.name, table))
    });
    match saved {
        Some((name, table)) if table.is_empty() => name.to_owned(),
        Some((name, table)) => format!("{name} {}", toml::Value::Table(table)),
        None => format!("{step:?}"),
    }
}

/// The names of a struct's fields, as serde knows them.
fn fields<S: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Nothing;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
            Err(serde::de::Error::custom("steps should be structs"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Nothing> {
            *self.0 = fields;
            Err(serde::de::Error::custom("only the names are wanted"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut names: &[&str] = &[];
    drop(S::deserialize(Fields(&mut names)));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_names_are_those_of_the_steps() {
        let names = |step: &str| {
            (STEPS
                .iter()
                .find(|entry| entry.name == step)
                .unwrap()
                .parameters)()
        };
        assert_eq!(names("HDBSCAN"), ["true_fraction", "max_tracers"]);
        assert!(names("Cutpoints").contains(&"max_distance"));
    }
}
