//! Pipelines as TOML text.
//!
//! ```toml
//! [parameters]               # may be set from outside
//! tracers = 1
//! [input]
//! sample_size = "= 200 * tracers"
//! overlap = "= 150 * tracers"
//! [[step]]
//! name = "Cutpoints"
//! max_distance = 0.5
//! [[step]]
//! name = "HDBSCAN"
//! true_fraction = 0.15
//! max_tracers = "= tracers"
//! ```
//!
//! A value that starts with `=` is an expression of the parameters; in other text `{tracers}` stands for a parameter's value.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Spanned, Value};

use super::registry::{Entry, STEPS, entry};
use super::{IntoStep, Pipeline, expression};
use crate::data::{Overlap, SampleSize, Sampling};
use crate::error::{Error, Result};

/// Recipes that the library brings, by name. Step and parameter names are the transformers' own.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("pept-ml", include_str!("recipes/pept-ml.toml")),
    (
        "pept-ml-one-pass",
        include_str!("recipes/pept-ml-one-pass.toml"),
    ),
    (
        "pept-ml-second-pass",
        include_str!("recipes/pept-ml-second-pass.toml"),
    ),
    ("birmingham", include_str!("recipes/birmingham.toml")),
    ("fpi", include_str!("recipes/fpi.toml")),
    ("production", include_str!("recipes/production.toml")),
    (
        "pept-ml-refined",
        include_str!("recipes/pept-ml-refined.toml"),
    ),
    (
        "pept-ml-smooth",
        include_str!("recipes/pept-ml-smooth.toml"),
    ),
    ("pept-em", include_str!("recipes/pept-em.toml")),
    ("pept-em-link", include_str!("recipes/pept-em-link.toml")),
    (
        "pept-em-trajectory",
        include_str!("recipes/pept-em-trajectory.toml"),
    ),
];

/// A recipe: text that becomes a [`Pipeline`] when its parameters are known.
#[derive(Clone, Debug)]
pub struct Recipe {
    name: String,
    text: String,
    contents: Contents,
    parameters: BTreeMap<String, f64>,
    /// Steps that the library does not know.
    own_steps: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default)]
    input: Input,
    #[serde(default)]
    parameters: BTreeMap<String, f64>,
    #[serde(default)]
    step: Vec<Spanned<BTreeMap<Spanned<String>, Spanned<Value>>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    sample_size: Option<Spanned<Value>>,
    overlap: Option<Spanned<Value>>,
}

impl Recipe {
    /// A recipe that the library brings.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the nearest name for an unknown one.
    pub fn built_in(name: &str) -> Result<Self> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::parse(name, text),
            None => Err(Error::Recipe {
                name: name.to_owned(),
                line: 1,
                problem: unknown("recipe", name, BUILT_IN.iter().map(|(known, _)| *known)),
            }),
        }
    }

    /// A recipe file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Recipe`] as [`parse`](Self::parse).
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::reading(path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// A recipe from its text; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the line of the first thing that is no recipe.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let contents: Contents = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            Error::Recipe {
                name: name.to_owned(),
                line: line_at(text, start),
                problem: error.message().to_owned(),
            }
        })?;
        let parameters = contents.parameters.clone();
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            contents,
            parameters,
            own_steps: Vec::new(),
        })
    }

    /// The recipe of a pipeline: what [`pipeline`](Self::pipeline) then makes of it is equal, on the CPU and with seed 0.
    ///
    /// # Errors
    /// [`Error::Recipe`] for a step that recipes do not know: [`saved`](Self::saved) knows steps of your own.
    pub fn from_pipeline(name: &str, pipeline: &Pipeline) -> Result<Self> {
        Self::parse(name, "")?.saved(pipeline)
    }

    /// As [`from_pipeline`](Self::from_pipeline), of a pipeline that may have those steps of your own that this recipe
    /// [knows](Self::with_step).
    ///
    /// # Errors
    /// [`Error::Recipe`] for a step that neither has.
    pub fn saved(&self, pipeline: &Pipeline) -> Result<Self> {
        let problem = |problem: String| Error::Recipe {
            name: self.name.clone(),
            line: 1,
            problem,
        };
        let mut steps = Vec::new();
        for (number, step) in (1..).zip(pipeline.transformers()) {
            let saved = STEPS.iter().chain(&self.own_steps).find_map(|entry| {
                let table = (entry.save)(step.as_any())?;
                Some((entry.name, table))
            });
            let (known, table) = saved.ok_or_else(|| {
                problem(format!(
                    "step {number} ({}) is not one that recipes know",
                    step.name()
                ))
            })?;
            let parameters = table.map_err(|error| problem(error.to_string()))?;
            let mut step = toml::Table::new();
            step.insert("name".into(), known.into());
            step.extend(
                parameters
                    .into_iter()
                    .map(|(name, value)| (name, escaped(value))),
            );
            steps.push(Value::Table(step));
        }
        let mut whole = toml::Table::new();
        whole.insert("step".into(), Value::Array(steps));
        let text = toml::to_string(&whole).map_err(|error| problem(error.to_string()))?;
        let own_steps = self.own_steps.clone();
        Ok(Self {
            own_steps,
            ..Self::parse(&self.name, &text)?
        })
    }

    /// Lets the recipe use a step of your own, by this name.
    #[must_use]
    pub fn with_step<S, M>(mut self, name: &'static str) -> Self
    where
        S: for<'de> Deserialize<'de> + Serialize + IntoStep<M> + 'static,
    {
        self.own_steps.push(entry::<S, M>(name));
        self
    }

    /// The recipe's name, or its file's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The recipe's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parameters and their present values.
    #[must_use]
    pub fn parameters(&self) -> &BTreeMap<String, f64> {
        &self.parameters
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// [`Error::Recipe`] if the recipe has no such parameter.
    pub fn set(&mut self, parameter: &str, value: f64) -> Result<()> {
        let names = || self.parameters.keys().map(String::as_str);
        if !self.parameters.contains_key(parameter) {
            return Err(self.error(0, unknown("parameter", parameter, names())));
        }
        self.parameters.insert(parameter.to_owned(), value);
        Ok(())
    }

    /// How the recipe samples its input; `None` if it does not say.
    ///
    /// # Errors
    /// [`Error::Recipe`] for values that are no counts.
    pub fn sampling(&self) -> Result<Option<Sampling>> {
        let Input {
            sample_size,
            overlap,
        } = &self.contents.input;
        let Some(sample_size) = sample_size else {
            return match overlap {
                None => Ok(None),
                Some(overlap) => Err(self.error(
                    overlap.span().start,
                    "an overlap needs a sample_size".into(),
                )),
            };
        };
        let size = self.evaluated(sample_size)?;
        let size: SampleSize = size.try_into().map_err(|error: toml::de::Error| {
            self.error(sample_size.span().start, error.message().to_owned())
        })?;
        let (start, overlap) = match overlap {
            None => (sample_size.span().start, Overlap::default()),
            Some(overlap) => {
                let start = overlap.span().start;
                let value = self.evaluated(overlap)?.try_into();
                let problem =
                    |error: toml::de::Error| self.error(start, error.message().to_owned());
                (start, value.map_err(problem)?)
            }
        };
        let sampling = size.sampling(overlap);
        sampling
            .map(Some)
            .map_err(|error| self.error(start, error.to_string()))
    }

    /// The pipeline, on the CPU and with seed 0 until told otherwise.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the line of an unknown step or parameter, or of a value that does not fit.
    pub fn pipeline(&self) -> Result<Pipeline> {
        if self.contents.step.is_empty() {
            return Err(self.error(0, "a recipe needs at least one [[step]]".into()));
        }
        let mut pipeline = Pipeline::new();
        for step in &self.contents.step {
            let start = step.span().start;
            let parameters = step.get_ref();
            let (name_start, name) =
                match parameters.iter().find(|(key, _)| key.get_ref() == "name") {
                    Some((_, value)) => match value.get_ref() {
                        Value::String(name) => (value.span().start, name.as_str()),
                        _ => {
                            return Err(self.error(
                                value.span().start,
                                "the name of a step has to be text".into(),
                            ));
                        }
                    },
                    None => {
                        return Err(self.error(
                            start,
                            "a step needs a name, such as name = \"Cutpoints\"".into(),
                        ));
                    }
                };
            let entries = || self.own_steps.iter().chain(STEPS);
            let entry = entries().find(|entry| entry.name == name).ok_or_else(|| {
                self.error(
                    name_start,
                    unknown("step", name, entries().map(|entry| entry.name)),
                )
            })?;
            let known = (entry.parameters)();
            let mut table = toml::Table::new();
            for (key, value) in parameters.iter().filter(|(key, _)| key.get_ref() != "name") {
                if !known.contains(&key.get_ref().as_str()) {
                    let what = format!("parameter of {name}");
                    return Err(self.error(
                        key.span().start,
                        unknown(&what, key.get_ref(), known.iter().copied()),
                    ));
                }
                table.insert(key.get_ref().clone(), self.evaluated(value)?);
            }
            let step = (entry.build)(table).map_err(|error| {
                self.error(start, format!("{name}: {}", error.message().trim_end()))
            })?;
            step.check()
                .map_err(|error| self.error(start, format!("{name}: {error}")))?;
            pipeline = pipeline.then(step);
        }
        Ok(pipeline)
    }

    /// A value with its expressions computed.
    fn evaluated(&self, value: &Spanned<Value>) -> Result<Value> {
        self.computed(value.get_ref())
            .map_err(|problem| self.error(value.span().start, problem))
    }

    fn computed(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match text.trim_start().strip_prefix('=') {
                // A doubled one stands for itself.
                Some(text) if text.starts_with('=') => Value::String(self.filled_in(text)?),
                Some(text) => number(expression::evaluate(text, &self.parameters)?),
                None => Value::String(self.filled_in(text)?),
            },
            Value::Array(values) => {
                let values = values.iter().map(|value| self.computed(value));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            Value::Table(table) => {
                let values = table
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.computed(value)?)));
                Value::Table(values.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    /// Text with `{parameter}`s replaced by their values.
    fn filled_in(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(start);
            filled += before;
            // Doubled ones stand for themselves.
            if let Some((brace, after)) = ["{{", "}}"]
                .iter()
                .find_map(|two| Some((&two[1..], from.strip_prefix(two)?)))
            {
                filled += brace;
                rest = after;
                continue;
            }
            let (name, after) = from[1..]
                .split_once('}')
                .filter(|_| from.starts_with('{'))
                .ok_or_else(|| format!("\"{text}\" has a brace without its other: double it"))?;
            let value = self.parameters.get(name.trim()).ok_or_else(|| {
                unknown(
                    "parameter",
                    name,
                    self.parameters.keys().map(String::as_str),
                )
            })?;
            filled += &value.to_string();
            rest = after;
        }
        Ok(filled + rest)
    }

    fn error(&self, position: usize, problem: String) -> Error {
        Error::Recipe {
            name: self.name.clone(),
            line: line_at(&self.text, position),
            problem,
        }
    }
}

/// A value whose text is read back as it is.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let text = text.replace('{', "{{").replace('}', "}}");
            let is_like_an_expression = text.trim_start().starts_with('=');
            Value::String(if is_like_an_expression {
                format!("={}", text.trim_start())
            } else {
                text
            })
        }
        Value::Array(values) => Value::Array(values.into_iter().map(escaped).collect()),
        Value::Table(table) => {
            let values = table
                .into_iter()
                .map(|(name, value)| (name, escaped(value)));
            Value::Table(values.collect())
        }
        other => other,
    }
}

/// A number as TOML has it: whole ones are integers.
fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
    if value.fract() == 0.0 && value.abs() < 1e15 {
        Value::Integer(value as i64)
    } else {
        Value::Float(value)
    }
}

fn line_at(text: &str, position: usize) -> usize {
    1 + text
        .bytes()
        .take(position)
        .filter(|&byte| byte == b'\n')
        .count()
}

/// "unknown step "Cutpoint"; did you mean ..." and the names that there are.
pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    /// Names this similar are worth a suggestion.
    const SIMILAR: f64 = 0.75;
    let similarity = |a: &str| strsim::jaro_winkler(&a.to_lowercase(), &name.to_lowercase());
    let nearest = known
        .clone()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let list = known.collect::<Vec<_>>().join(", ");
    match nearest {
        None => format!("unknown {what} \"{name}\"; there are none"),
        Some(nearest) if similarity(nearest) > SIMILAR => {
            format!("unknown {what} \"{name}\"; did you mean \"{nearest}\"? Known: {list}")
        }
        Some(_) => format!("unknown {what} \"{name}\"; known: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_become_pipelines_for_any_number_of_tracers() {
        for (name, _) in BUILT_IN {
            for tracers in [1.0, 2.0, 7.0] {
                let mut recipe = Recipe::built_in(name).unwrap();
                if *name == "birmingham" {
                    assert!(recipe.set("tracers", tracers).is_err());
                } else {
                    recipe.set("tracers", tracers).unwrap();
                }
                let pipeline = recipe.pipeline().unwrap();
                let (kind, sampling) = match *name {
                    "pept-ml-second-pass" => (crate::data::Kind::Points, None),
                    "production" => (crate::data::Kind::Lines, None),
                    "birmingham" => (crate::data::Kind::Lines, Some(Sampling::count(200))),
                    "fpi" | "pept-em-trajectory" => {
                        let sampling = Sampling::count(200 * tracers as usize);
                        (crate::data::Kind::Lines, Some(sampling))
                    }
                    _ => {
                        let (size, overlap) = (200 * tracers as usize, 150 * tracers as isize);
                        let sampling = Sampling::count(size).overlap(overlap);
                        (crate::data::Kind::Lines, Some(sampling))
                    }
                };
                pipeline.check(kind).unwrap();
                assert_eq!(recipe.sampling().unwrap(), sampling);
            }
        }
    }

    #[test]
    fn a_pipeline_becomes_a_recipe_and_back() {
        for (name, _) in BUILT_IN {
            let pipeline = Recipe::built_in(name).unwrap().pipeline().unwrap();
            let recipe = Recipe::from_pipeline(name, &pipeline).unwrap();
            let back = recipe.pipeline().unwrap();
            assert_eq!(back.to_string(), pipeline.to_string(), "{}", recipe.text());
        }
    }

    #[test]
    fn parameters_that_are_tables_or_look_like_expressions_survive_and_so_do_own_steps() {
        use crate::data::PointData;
        use crate::pipeline::{Context, Filter};
        use crate::trajectory::Reconnect;
        use crate::transform::{GroupBy, Stack};

        #[derive(Debug, Deserialize, Serialize)]
        struct Own {
            text: String,
        }
        impl Filter for Own {
            type Input = PointData;
            type Output = PointData;
            fn filter(&self, sample: PointData, _: &Context<'_>) -> Result<PointData> {
                Ok(sample)
            }
        }
        let own = |text: &str| Own { text: text.into() };
        let pipeline = Pipeline::new()
            .then(Stack::windows(5.0, 2.5))
            .then(own("= 1 + {x}"))
            .then(Stack::adaptive_windows(5.0, 30, -1.0))
            .then(Reconnect::new(100.0, 20.0).signature("error", 1.0))
            .then(GroupBy::new("=label"));
        assert!(Recipe::from_pipeline("own", &pipeline).is_err());
        let knows = Recipe::parse("own", "").unwrap().with_step::<Own, _>("Own");
        let recipe = knows.saved(&pipeline).unwrap();
        let back = recipe.pipeline().unwrap();
        assert_eq!(
            format!("{back:?}"),
            format!("{pipeline:?}"),
            "{}",
            recipe.text()
        );
    }

    #[test]
    fn text_takes_parameters_in_braces_and_doubled_braces_are_kept() {
        let condition = |text: &str| {
            let text = format!(
                "[parameters]\nlimit = 2.5\n[[step]]\nname = \"Condition\"\ncondition = '{text}'"
            );
            let pipeline = Recipe::parse("my.toml", &text)?.pipeline()?;
            Ok::<_, Error>((
                pipeline.to_string(),
                Recipe::from_pipeline("back", &pipeline)?,
            ))
        };
        let (shown, back) = condition("x < {limit}, \"{{odd}}\" > { limit }").unwrap();
        assert!(shown.contains("x < 2.5, \"{odd}\" > 2.5"), "{shown}");
        assert_eq!(back.pipeline().unwrap().to_string(), shown);
        for bad in ["x < {limit", "x < limit}", "x < {limits}"] {
            assert!(condition(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn samples_by_time_can_be_written_down() {
        let sampling = |input: &str| {
            let text =
                format!("[parameters]\nms = 2.5\n[input]\n{input}\n[[step]]\nname = \"Stack\"");
            Recipe::parse("my.toml", &text).and_then(|recipe| recipe.sampling())
        };
        let time = "sample_size = { time_window = \"= 2 * ms\" }\noverlap = 1";
        let expected = Sampling::time(5.0).overlap_time(1.0);
        assert_eq!(sampling(time).unwrap(), Some(expected));
        let adaptive = "sample_size = { adaptive = 5.0, max = 200 }";
        assert_eq!(
            sampling(adaptive).unwrap(),
            Some(Sampling::adaptive(5.0, 200))
        );
        let error = sampling("sample_size = { window = 5.0 }")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 4: sample_size is"), "{error}");
    }

    fn problem(text: &str) -> String {
        Recipe::parse("my.toml", text)
            .and_then(|recipe| recipe.pipeline().map(|_| ()))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn mistakes_are_found_with_their_line_and_the_nearest_name() {
        let cases = [
            (
                "[[step]]\nname = \"Cutpoint\"",
                "line 2: unknown step \"Cutpoint\"; did you mean \"Cutpoints\"?",
            ),
            (
                "[[step]]\nname = \"Cutpoints\"\nmax_dist = 1",
                "line 3: unknown parameter of Cutpoints \"max_dist\"; did you mean \"max_distance\"?",
            ),
            (
                "[[step]]\nname = \"Cutpoints\"\nmax_distance = \"= 2 * tracers\"",
                "line 3: unknown parameter \"tracers\"",
            ),
            (
                "[[step]]\nname = \"Cutpoints\"\nmax_distance = \"far\"",
                "line 1: Cutpoints: invalid type: string \"far\"",
            ),
            (
                "[[step]]\nname = \"Cutpoints\"\nmax_distance = -1",
                "line 1: Cutpoints: max_distance = -1",
            ),
            (
                "[[step]]\nname = \"Cutpoints\"",
                "line 1: Cutpoints: missing field `max_distance`",
            ),
            ("[[step]]\nmax_distance = 1", "line 1: a step needs a name"),
            ("\n[steps]\n", "line 2: unknown field `steps`"),
            ("[[step]\n", "line 1: "),
        ];
        for (text, expected) in cases {
            assert!(
                problem(text).contains(expected),
                "{text:?}: {}",
                problem(text)
            );
        }
    }

    #[test]
    fn parameters_that_a_recipe_does_not_have_cannot_be_set() {
        let error = Recipe::built_in("pept-ml")
            .unwrap()
            .set("tracer", 2.0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean \"tracers\"?"), "{error}");
    }
}
