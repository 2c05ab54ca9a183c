use std::any::Any;
use std::fmt;
use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::Backend;
use crate::data::{Data, Element, Kind, typed};
use crate::error::Result;

/// Where a step runs, and on which sample.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where kernels run.
    pub backend: &'a Backend,
    /// The run's seed.
    pub seed: u64,
    /// The step's place in the pipeline, from 0.
    pub step: usize,
    /// The sample's number in the whole run.
    pub sample: usize,
    /// The table's number in the list that an earlier filter made of the sample, else 0.
    pub member: usize,
    /// For a reducer: the share of their rows that the samples of the run's input have in common, 0.75 for samples of 400 that overlap by
    /// 300.
    pub overlap: f64,
}

#[cfg(test)]
impl Context<'static> {
    /// The first sample of a pipeline's first step, on the CPU.
    pub(crate) const FIRST: Self = Self {
        backend: &Backend::Cpu,
        seed: 0,
        step: 0,
        sample: 0,
        member: 0,
        overlap: 0.0,
    };
}

impl Context<'_> {
    /// Random numbers that depend on nothing but seed, step, sample and member.
    pub(crate) fn rng(&self) -> Pcg64 {
        let mut state = 0;
        let mut seed = [0; 32];
        let parts = [
            self.seed,
            self.step as u64,
            self.sample as u64,
            self.member as u64,
        ];
        for (bytes, part) in seed.as_chunks_mut::<8>().0.iter_mut().zip(parts) {
            state = splitmix64(state ^ part);
            *bytes = state.to_le_bytes();
        }
        Pcg64::from_seed(seed)
    }
}

/// One step of the generator `SplitMix64` (Steele, Lea and Flood 2014): spreads every bit over all others.
fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a step gives: a table, a list of tables, or any [`Data`].
pub trait Outcome: Into<Data> {
    /// The kind of its tables; [`Kind::Any`] stands for the kind that the step was given.
    const KIND: Kind;
}

impl<T: Element> Outcome for T {
    const KIND: Kind = T::KIND;
}

impl<T: Element> Outcome for Vec<T> {
    const KIND: Kind = T::KIND;
}

/// A step that maps one sample to one table or to a list of tables, samples in parallel.
///
/// One method makes a filter of your own; `Pipeline::then` takes it like a built-in one.
pub trait Filter: fmt::Debug + Send + Sync + 'static {
    /// What it takes: `LineData`, `PointData` or `Data`.
    type Input: Element;
    /// What it gives.
    type Output: Outcome;

    /// The work on one sample.
    ///
    /// # Errors
    /// Whatever stops the whole pipeline; a sample too small for the step is no error, but gives no rows.
    fn filter(&self, sample: Self::Input, context: &Context<'_>) -> Result<Self::Output>;

    /// The step's name in messages.
    fn name(&self) -> &'static str {
        short_type_name::<Self>()
    }

    /// The kind of tables that it gives, where the parameters decide; [`Kind::Any`] stands for the kind that it was given.
    fn gives(&self) -> Kind {
        <Self::Output as Outcome>::KIND
    }

    /// Checks the parameters, before any work.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for one that makes no sense.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The filter as it works on the samples of a table, where that depends on the whole table; asked of a pipeline's first step.
    ///
    /// # Errors
    /// As [`filter`](Self::filter).
    fn for_data(&self, _data: &Self::Input) -> Result<Option<Self>>
    where
        Self: Sized,
    {
        Ok(None)
    }

    /// Whether it [`learn`](Self::learn)s from the beginning of a recording.
    fn learns(&self) -> bool {
        false
    }

    /// The filter with what it learned from some samples, if it [`learns`](Self::learns): evenly spaced ones of the first with 100,000
    /// rows, each counted as often as samples have it; then, as long as a filter gives `None`, of as many that follow, ten times in all.
    /// Asked before any work, which waits for them; whatever reads or cuts the recording into blocks, samples are the same.
    ///
    /// # Errors
    /// As [`filter`](Self::filter).
    fn learn(&self, _samples: Vec<Self::Input>) -> Result<Option<Self>>
    where
        Self: Sized,
    {
        Ok(None)
    }

    /// The work on the list that an earlier filter made of one sample; by default each member on its own.
    ///
    /// # Errors
    /// As [`filter`](Self::filter).
    fn filter_list(&self, members: Vec<Self::Input>, context: &Context<'_>) -> Result<Data> {
        let filter =
            |(member, table)| Ok(self.filter(table, &Context { member, ..*context })?.into());
        Ok(Data::List(
            members
                .into_iter()
                .enumerate()
                .map(filter)
                .collect::<Result<_>>()?,
        ))
    }

    /// How many samples [`filter_batch`](Self::filter_batch) should get together on this backend, since they share work; 1 is one
    /// sample after another.
    fn batch_size(&self, _backend: &Backend) -> usize {
        1
    }

    /// The work on all samples of a table at once; `context.sample` is the first one's number.
    ///
    /// Should it fail, the samples are tried one after another, so that the error is that of the first sample.
    ///
    /// # Errors
    /// As [`filter`](Self::filter).
    fn filter_batch(
        &self,
        samples: Self::Input,
        context: &Context<'_>,
    ) -> Result<Vec<Self::Output>> {
        let filter = |(n, sample)| {
            self.filter(
                sample,
                &Context {
                    sample: context.sample + n,
                    ..*context
                },
            )
        };
        samples
            .into_samples()
            .into_iter()
            .enumerate()
            .map(filter)
            .collect()
    }
}

/// A step that takes everything at once.
pub trait Reducer: fmt::Debug + Send + Sync + 'static {
    /// What it takes: `LineData`, `PointData` or `Data`.
    type Input: Element;
    /// What it gives.
    type Output: Outcome;

    /// The work, on all tables in order.
    ///
    /// # Errors
    /// Whatever stops the whole pipeline.
    fn reduce(&self, tables: Vec<Self::Input>, context: &Context<'_>) -> Result<Self::Output>;

    /// The step's name in messages.
    fn name(&self) -> &'static str {
        short_type_name::<Self>()
    }

    /// Whether it only looks at the tables: what it was given is then passed on as it is, lists of lists too.
    fn only_looks(&self) -> bool {
        false
    }

    /// Whether it stacks the tables before it looks at them. A run then stacks what filters give as it comes, which saves the memory of
    /// many small tables.
    fn stacks(&self) -> bool {
        false
    }

    /// Whether it looks at the lines of the recording again. In a run on lines, they are then the attribute `_lines` of what it is given.
    fn needs_lines(&self) -> bool {
        false
    }

    /// Checks the parameters, before any work.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for one that makes no sense.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn short_type_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// Any [`Filter`] or [`Reducer`], as a pipeline holds it.
#[derive(Clone, Debug)]
pub struct Step(Role);

#[derive(Clone, Debug)]
pub(super) enum Role {
    Filter(Arc<dyn AnyFilter>),
    Reducer(Arc<dyn AnyReducer>),
}

impl Step {
    /// A filter.
    pub fn filter(filter: impl Filter) -> Self {
        Self(Role::Filter(Arc::new(filter)))
    }

    /// A reducer.
    pub fn reducer(reducer: impl Reducer) -> Self {
        Self(Role::Reducer(Arc::new(reducer)))
    }

    pub(super) fn role(&self) -> &Role {
        &self.0
    }

    /// The step's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Role::Filter(step) => step.name(),
            Role::Reducer(step) => step.name(),
        }
    }

    /// The filter or reducer itself.
    pub(super) fn as_any(&self) -> &dyn Any {
        match &self.0 {
            Role::Filter(step) => step.as_any(),
            Role::Reducer(step) => step.as_any(),
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for one that makes no sense.
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Role::Filter(step) => step.check(),
            Role::Reducer(step) => step.check(),
        }
    }

    /// Whether the step takes everything at once.
    #[must_use]
    pub fn is_reducer(&self) -> bool {
        matches!(self.0, Role::Reducer(_))
    }

    /// Whether it is a reducer that stacks the tables first.
    pub(super) fn stacks(&self) -> bool {
        match &self.0 {
            Role::Filter(_) => false,
            Role::Reducer(step) => step.stacks(),
        }
    }

    /// Whether it is a reducer that looks at the lines of the recording again.
    pub(super) fn needs_lines(&self) -> bool {
        match &self.0 {
            Role::Filter(_) => false,
            Role::Reducer(step) => step.needs_lines(),
        }
    }

    /// The kinds that it takes and gives.
    pub(super) fn kinds(&self) -> (Kind, Kind) {
        match &self.0 {
            Role::Filter(step) => step.kinds(),
            Role::Reducer(step) => step.kinds(),
        }
    }
}

/// How `Pipeline::then` tells filters from reducers: inferred, never written.
#[derive(Debug)]
pub struct IsFilter;
/// See [`IsFilter`].
#[derive(Debug)]
pub struct IsReducer;
/// See [`IsFilter`].
#[derive(Debug)]
pub struct IsStep;

/// What `Pipeline::then` takes: a filter, a reducer, or a [`Step`].
pub trait IntoStep<Marker> {
    /// The step.
    fn into_step(self) -> Step;

    /// The step alone on all samples of a table: a pipeline of one.
    ///
    /// ```
    /// use pept::pipeline::IntoStep;
    /// use pept::{LineData, tracking::Cutpoints};
    /// let lines = LineData::new(ndarray::array![
    ///     [0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    ///     [1.0, 0.0, -1.0, 0.2, 0.0, 1.0, 0.2],
    /// ])?;
    /// assert_eq!(Cutpoints::new(0.5).fit_sample(lines)?.n_rows(), 1);
    /// # Ok::<(), pept::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pipeline::fit`](super::Pipeline::fit).
    fn fit(self, input: impl Into<Data>) -> Result<Data>
    where
        Self: Sized,
    {
        super::Pipeline::new().then(self).fit(input)
    }

    /// The step alone on one sample.
    ///
    /// # Errors
    /// As [`Pipeline::fit`](super::Pipeline::fit).
    fn fit_sample(self, sample: impl Into<Data>) -> Result<Data>
    where
        Self: Sized,
    {
        super::Pipeline::new().then(self).fit_sample(sample)
    }
}

impl<F: Filter> IntoStep<IsFilter> for F {
    fn into_step(self) -> Step {
        Step::filter(self)
    }
}

impl<R: Reducer> IntoStep<IsReducer> for R {
    fn into_step(self) -> Step {
        Step::reducer(self)
    }
}

impl IntoStep<IsStep> for Step {
    fn into_step(self) -> Step {
        self
    }
}

/// A [`Filter`] without its types.
pub(super) trait AnyFilter: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn name(&self) -> &'static str;
    fn check(&self) -> Result<()>;
    fn kinds(&self) -> (Kind, Kind);
    fn batch_size(&self, backend: &Backend) -> usize;
    fn for_data(&self, data: &Data) -> Result<Option<Arc<dyn AnyFilter>>>;
    fn learns(&self) -> bool;
    fn learn(&self, samples: Vec<Data>) -> Result<Option<Arc<dyn AnyFilter>>>;
    /// One sample: a table, or a list that an earlier filter made of it.
    fn apply(&self, sample: Data, context: &Context<'_>) -> Result<Data>;
    /// All samples of a table.
    fn apply_batch(&self, samples: Data, context: &Context<'_>) -> Result<Vec<Data>>;
}

impl<F: Filter> AnyFilter for F {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        Filter::name(self)
    }

    fn check(&self) -> Result<()> {
        Filter::check(self)
    }

    fn kinds(&self) -> (Kind, Kind) {
        (<F::Input as Element>::KIND, self.gives())
    }

    fn batch_size(&self, backend: &Backend) -> usize {
        Filter::batch_size(self, backend)
    }

    fn for_data(&self, data: &Data) -> Result<Option<Arc<dyn AnyFilter>>> {
        let filter = Filter::for_data(self, &F::Input::from_data(data.clone())?)?;
        Ok(filter.map(|filter| Arc::new(filter) as Arc<dyn AnyFilter>))
    }

    fn learns(&self) -> bool {
        Filter::learns(self)
    }

    fn learn(&self, samples: Vec<Data>) -> Result<Option<Arc<dyn AnyFilter>>> {
        let samples = samples.into_iter().flat_map(Data::flatten).collect();
        let filter = Filter::learn(self, typed(samples)?)?;
        Ok(filter.map(|filter| Arc::new(filter) as Arc<dyn AnyFilter>))
    }

    fn apply(&self, sample: Data, context: &Context<'_>) -> Result<Data> {
        match sample {
            list @ Data::List(_) => self.filter_list(typed(list.flatten())?, context),
            table => Ok(self.filter(F::Input::from_data(table)?, context)?.into()),
        }
    }

    fn apply_batch(&self, samples: Data, context: &Context<'_>) -> Result<Vec<Data>> {
        let samples = F::Input::from_data(samples)?;
        Ok(self
            .filter_batch(samples, context)?
            .into_iter()
            .map(Into::into)
            .collect())
    }
}

/// A [`Reducer`] without its types.
pub(super) trait AnyReducer: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn name(&self) -> &'static str;
    fn stacks(&self) -> bool;
    fn needs_lines(&self) -> bool;
    fn check(&self) -> Result<()>;
    fn kinds(&self) -> (Kind, Kind);
    fn apply(&self, data: Data, context: &Context<'_>) -> Result<Data>;
}

impl<R: Reducer> AnyReducer for R {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        Reducer::name(self)
    }

    fn stacks(&self) -> bool {
        Reducer::stacks(self)
    }

    fn needs_lines(&self) -> bool {
        Reducer::needs_lines(self)
    }

    fn check(&self) -> Result<()> {
        Reducer::check(self)
    }

    fn kinds(&self) -> (Kind, Kind) {
        (<R::Input as Element>::KIND, <R::Output as Outcome>::KIND)
    }

    fn apply(&self, data: Data, context: &Context<'_>) -> Result<Data> {
        if self.only_looks() {
            self.reduce(typed(data.clone().flatten())?, context)?;
            return Ok(data);
        }
        Ok(self.reduce(typed(data.flatten())?, context)?.into())
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn every_seed_step_sample_and_member_has_its_own_stream() {
        let context = Context::FIRST;
        let first = |context: Context<'_>| context.rng().next_u64();
        let mut firsts = vec![first(context)];
        for n in 1..100 {
            firsts.push(first(Context {
                seed: n as u64,
                ..context
            }));
            firsts.push(first(Context { step: n, ..context }));
            firsts.push(first(Context {
                sample: n,
                ..context
            }));
            firsts.push(first(Context {
                member: n,
                ..context
            }));
        }
        assert_eq!(first(context), firsts[0]);
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 1 + 4 * 99);
    }
}
