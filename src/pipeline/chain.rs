//! `step + step`: pipelines whose kinds of data the compiler checks.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Add;

use super::{IntoStep, Pipeline, Step};
use crate::Backend;
use crate::data::{Data, Element, LineData, Lines, PointData, Points, Voxels};
use crate::error::Result;
use crate::tracking::{
    BirminghamMethod, Centroids, Cutpoints, CutpointsToF, Fpi, GaussianDensity, Hdbscan,
    LinesCentroids, Minpoints, PeptEm, Refine, SplitLabels, TimeOfFlight, Voxelize,
};
use crate::trajectory::{
    FitTrajectory, Interpolate, Link, OutOfViewFilter, Reconnect, RemoveStatic, Segregate, Smooth,
    Velocity,
};
use crate::transform::{
    Center, Condition, ConditionFn, GroupBy, Inspect, OptimizeWindow, Remove, Reorient,
    SamplesCondition, SamplesConditionFn, Stack, Swap,
};

/// Steps joined by `+`: tables of kind `In` go in, tables of kind `Out` come out, and the compiler refuses steps that do not fit.
///
/// ```
/// use pept::tracking::{Centroids, Cutpoints, Hdbscan, SplitLabels};
/// use pept::{trajectory::Segregate, transform::Stack};
///
/// let pept_ml = Cutpoints::new(0.5)
///     + Hdbscan::new(0.15).max_tracers(2)
///     + SplitLabels::new()
///     + Centroids::new().error(true)
///     + Stack::new()
///     + Segregate::new(40, 10.0);
/// assert_eq!(pept_ml.pipeline().transformers().len(), 6);
/// ```
///
/// Points are no lines:
///
/// ```compile_fail,E0277
/// use pept::tracking::{Cutpoints, Hdbscan};
/// let senseless = Hdbscan::new(0.15) + Cutpoints::new(0.5);
/// ```
///
/// [`Data`] stands for a kind that shows only at run time: of a [`Step`], a [`Pipeline`], or a step whose parameters decide. What
/// follows it is checked when the pipeline starts. Steps of your own go in as [`Step::filter`] or [`Step::reducer`].
pub struct Chain<In, Out> {
    pipeline: Pipeline,
    kinds: PhantomData<fn(In) -> Out>,
}

/// What may follow a step that gives tables of kind `Kind`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take `{Kind}`",
    label = "the step before gives `{Kind}`"
)]
pub trait Follows<Kind>: Into<Pipeline> {
    /// The kind of tables that it gives.
    type Gives;
}

impl<In, Out> Chain<In, Out> {
    fn new(pipeline: Pipeline) -> Self {
        Self {
            pipeline,
            kinds: PhantomData,
        }
    }

    /// The pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Where kernels run; the results are the same.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        Self::new(self.pipeline.backend(backend))
    }

    /// The seed of every step that draws random numbers.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self::new(self.pipeline.seed(seed))
    }

    /// Runs all steps on the samples of a table.
    ///
    /// # Errors
    /// As [`Pipeline::fit`].
    pub fn fit(&self, input: impl Into<In>) -> Result<Data>
    where
        In: Into<Data>,
    {
        self.pipeline.fit(input.into())
    }

    /// Runs all steps on a table as one sample.
    ///
    /// # Errors
    /// As [`Pipeline::fit_sample`].
    pub fn fit_sample(&self, sample: impl Into<In>) -> Result<Data>
    where
        In: Into<Data>,
    {
        self.pipeline.fit_sample(sample.into())
    }
}

impl<In, Out> Clone for Chain<In, Out> {
    fn clone(&self) -> Self {
        Self::new(self.pipeline.clone())
    }
}

impl<In, Out> fmt::Debug for Chain<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pipeline.fmt(f)
    }
}

impl<In, Out> fmt::Display for Chain<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pipeline.fmt(f)
    }
}

impl<In, Out> From<Chain<In, Out>> for Pipeline {
    fn from(chain: Chain<In, Out>) -> Self {
        chain.pipeline
    }
}

impl<In, Out> Follows<In> for Chain<In, Out> {
    type Gives = Out;
}

impl<In, Out, Next: Follows<Out>> Add<Next> for Chain<In, Out> {
    type Output = Chain<In, Next::Gives>;

    fn add(self, next: Next) -> Self::Output {
        Chain::new(self.pipeline + next)
    }
}

impl From<Step> for Pipeline {
    fn from(step: Step) -> Self {
        Self::new().then(step)
    }
}

impl<Kind> Follows<Kind> for Step {
    type Gives = Data;
}

impl<Kind> Follows<Kind> for Pipeline {
    type Gives = Data;
}

/// The steps of one pipeline, then another step, or those of another pipeline; backend and seed are those of the first.
impl<Next: Into<Self>> Add<Next> for Pipeline {
    type Output = Self;

    fn add(mut self, next: Next) -> Self {
        self.steps.extend(next.into().steps);
        self
    }
}

impl<Next: Into<Pipeline>> Add<Next> for Step {
    type Output = Pipeline;

    fn add(self, next: Next) -> Pipeline {
        Pipeline::from(self) + next
    }
}

/// Kinds of data that are rows of a table, and [`Data`], which may be.
pub trait InTable: Element {}

impl InTable for LineData {}
impl InTable for PointData {}
impl InTable for Data {}

/// `+` after a built-in step.
macro_rules! joins {
    ($step:ty, $in:ty, $out:ty) => {
        impl From<$step> for Pipeline {
            fn from(step: $step) -> Self {
                Self::from(IntoStep::into_step(step))
            }
        }

        impl<Next: Follows<$out>> Add<Next> for $step {
            type Output = Chain<$in, Next::Gives>;

            fn add(self, next: Next) -> Self::Output {
                Chain::new(Pipeline::from(self) + next)
            }
        }
    };
}

macro_rules! take_one_kind {
    ($($step:ty: $in:ty => $out:ty;)*) => {$(
        joins!($step, $in, $out);

        impl Follows<$in> for $step {
            type Gives = $out;
        }

        impl Follows<Data> for $step {
            type Gives = $out;
        }
    )*};
}

macro_rules! give_what_they_take {
    ($($step:ty;)*) => {$(
        joins!($step, Data, Data);

        impl<Kind: InTable> Follows<Kind> for $step {
            type Gives = Kind;
        }
    )*};
}

take_one_kind! {
    Cutpoints: LineData => PointData;
    Minpoints: LineData => PointData;
    CutpointsToF: LineData => PointData;
    TimeOfFlight: LineData => Data;
    GaussianDensity: PointData => PointData;
    Hdbscan: PointData => PointData;
    Centroids: PointData => PointData;
    LinesCentroids: LineData => PointData;
    BirminghamMethod: LineData => PointData;
    PeptEm: LineData => PointData;
    Refine: PointData => PointData;
    Voxelize: LineData => Voxels;
    Fpi: Voxels => PointData;
    Segregate: PointData => PointData;
    Link: PointData => PointData;
    Reconnect: PointData => PointData;
    Smooth: PointData => PointData;
    FitTrajectory: PointData => PointData;
    Velocity: PointData => PointData;
    OutOfViewFilter: PointData => PointData;
    RemoveStatic: PointData => PointData;
    Reorient: PointData => PointData;
    Interpolate: PointData => PointData;
    Center: PointData => PointData;
    ConditionFn<Lines>: LineData => LineData;
    ConditionFn<Points>: PointData => PointData;
    SamplesConditionFn<Lines>: LineData => LineData;
    SamplesConditionFn<Points>: PointData => PointData;
}

give_what_they_take! {
    Stack;
    OptimizeWindow;
    Condition;
    SamplesCondition;
    GroupBy;
    Remove;
    Swap;
}

joins!(Inspect, Data, Data);

impl<Kind: Element> Follows<Kind> for Inspect {
    type Gives = Kind;
}

joins!(SplitLabels, Data, Data);

impl<Kind: InTable> Follows<Kind> for SplitLabels {
    type Gives = Data;
}
