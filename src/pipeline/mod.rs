//! A pipeline is a list of steps: filters, which run on each sample in parallel, and reducers, which take everything at once.

mod chain;
mod executor;
mod expression;
mod live;
pub mod recipe;
mod registry;
mod step;

use std::fmt;

pub use chain::{Chain, Follows, InTable};
pub use executor::{BlockOptions, Progress, Report, StepReport};
pub use live::{Join, Live};
pub use recipe::Recipe;
pub use step::{Context, Filter, IntoStep, IsFilter, IsReducer, IsStep, Outcome, Reducer, Step};

use crate::Backend;
use crate::data::{Data, Kind, LineData};
use crate::error::{Error, Result};

/// A list of steps that turns samples into points and points into trajectories.
///
/// ```
/// use pept::tracking::{Centroids, Cutpoints, Hdbscan, SplitLabels};
/// use pept::{Backend, Pipeline, transform::Stack, trajectory::Segregate};
///
/// let pept_ml = Pipeline::new()
///     .then(Cutpoints::new(0.5)) // mm
///     .then(Hdbscan::new(0.15).max_tracers(2))
///     .then(SplitLabels::new())
///     .then(Centroids::new().error(true))
///     .then(Stack::new())
///     .then(Segregate::new(40, 10.0))
///     .backend(Backend::Cpu);
/// assert_eq!(pept_ml.transformers().len(), 6);
/// assert_eq!(pept_ml.steps().count(), 3); // four filters together, then each reducer
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    steps: Vec<Step>,
    backend: Backend,
    seed: u64,
}

impl Pipeline {
    /// A pipeline without steps, on the CPU, with seed 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a step: a filter, a reducer or a [`Step`].
    #[must_use]
    pub fn then<M>(mut self, step: impl IntoStep<M>) -> Self {
        self.steps.push(step.into_step());
        self
    }

    /// Where kernels run; the results are the same.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// The seed of every step that draws random numbers.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Where a step runs, and on which sample.
    fn context(&self, step: usize, sample: usize) -> Context<'_> {
        Context {
            backend: &self.backend,
            seed: self.seed,
            step,
            sample,
            member: 0,
            overlap: 0.0,
        }
    }

    /// All steps, filters and reducers, one by one.
    #[must_use]
    pub fn transformers(&self) -> &[Step] {
        &self.steps
    }

    /// The filters among them.
    pub fn filters(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !step.is_reducer())
    }

    /// The reducers among them.
    pub fn reducers(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_reducer())
    }

    /// The steps as they run: each run of consecutive filters together, each reducer alone.
    pub fn steps(&self) -> impl Iterator<Item = &[Step]> {
        self.steps
            .chunk_by(|a, b| !a.is_reducer() && !b.is_reducer())
    }

    /// Checks the parameters of all steps, and that each takes the kind of data that the one before gives.
    ///
    /// # Errors
    /// [`Error::Step`] with the first step that cannot stand where it stands.
    pub fn check(&self, input: Kind) -> Result<()> {
        self.gives(input).map(|_| ())
    }

    /// The kind of data that comes out, [`Kind::Any`] where that shows only when it runs; after [`check`](Self::check).
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn gives(&self, input: Kind) -> Result<Kind> {
        let mut kind = input;
        for (number, step) in (1..).zip(&self.steps) {
            let (takes, gives) = step.kinds();
            let fits = takes == Kind::Any || kind == Kind::Any || takes == kind;
            let kinds = if fits {
                Ok(())
            } else {
                Err(Error::Kind {
                    needed: takes,
                    found: kind,
                })
            };
            kinds
                .and_then(|()| step.check())
                .map_err(|source| Error::Step {
                    number,
                    name: step.name().to_owned(),
                    source: Box::new(source),
                })?;
            if gives != Kind::Any {
                kind = gives;
            }
        }
        Ok(kind)
    }

    /// Runs all steps on the samples of a table, on the current rayon pool.
    ///
    /// A pipeline that ends in a filter gives the list of processed samples.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds, before any work, and what stops a step.
    pub fn fit(&self, input: impl Into<Data>) -> Result<Data> {
        Ok(self.run(input, &|_| ())?.0)
    }

    /// Runs all steps on a table as one sample, whatever cuts it; what filters alone make of it is given as it is.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_sample(&self, sample: impl Into<Data>) -> Result<Data> {
        let sample = match sample.into() {
            Data::Lines(table) => Data::Lines(table.into_one_sample()),
            Data::Points(table) => Data::Points(table.into_one_sample()),
            list => list,
        };
        Ok(match self.fit(sample)? {
            Data::List(mut list) if list.len() == 1 && self.reducers().next().is_none() => {
                list.remove(0)
            }
            data => data,
        })
    }

    /// As [`fit`](Self::fit), with calls to `progress` on the way (from any thread) and a report at the end.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn run(
        &self,
        input: impl Into<Data>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Data, Report)> {
        executor::run(self, input.into(), progress)
    }

    /// As [`run`](Self::run), on a recording that comes in blocks of lines (`None` at its end): see [`io::source`](crate::io::source).
    ///
    /// Blocks and samples are kept only until the first filters are done with them: memory does not grow with the recording. The
    /// result is the same as that of the whole in one table. Pipelines that start with a reducer need all of it at once, and those with a
    /// step that looks at the lines again keep them.
    ///
    /// ```no_run
    /// use pept::pipeline::{BlockOptions, Recipe};
    /// use pept::io::source::{self, LineSource};
    ///
    /// let recipe = Recipe::built_in("birmingham")?;
    /// let sampling = recipe.sampling()?.unwrap_or_default();
    /// let mut recording = source::open("run.da01", &source::Options::default())?;
    /// let (points, report) = recipe
    ///     .pipeline()?
    ///     .run_blocks(|| recording.next_block(), BlockOptions::new(sampling))?;
    /// # Ok::<(), pept::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and the first error of `next_block`.
    pub fn run_blocks(
        &self,
        mut next_block: impl FnMut() -> Result<Option<LineData>> + Send,
        options: BlockOptions<'_>,
    ) -> Result<(Data, Report)> {
        executor::run_blocks(self, &mut next_block, options)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline on {}, seed {}", self.backend, self.seed)?;
        for (number, step) in (1..).zip(&self.steps) {
            write!(f, "\n{number:3}. {}", registry::description(step))?;
            if step.is_reducer() {
                f.write_str(" (all samples)")?;
            }
        }
        Ok(())
    }
}
