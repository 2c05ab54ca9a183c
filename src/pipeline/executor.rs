use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use super::step::{AnyFilter, Role, Step};
use super::{Context, Pipeline, registry};
use crate::Backend;
use crate::data::{
    Attribute, Cutter, Data, Element, Kind, LineData, Lines, PointData, Points, Sampling, Stacker,
};
use crate::error::{Error, Result};

/// Samples that are in flight together, few enough for memory.
const IN_FLIGHT: usize = 512;

/// Filters learn from the first samples with so many rows, each row counted as often as samples have it, and of these from some with so
/// many rows, evenly spaced; if those say too little, from as many that follow, several times.
const FIRST_ROWS: usize = 100_000;
const LEARNED_ROWS: usize = 25_000;
const BEGINNINGS: usize = 10;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step (from 0) that the running filters start at.
    pub step: usize,
    /// Samples that went through them.
    pub done: usize,
    /// Samples there are.
    pub total: usize,
}

/// What went into a run, and what happened in each step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Rows of the input.
    pub rows: usize,
    /// Samples of the input.
    pub samples: usize,
    /// The input's smallest and largest time (ms).
    pub time_span: Option<(f64, f64)>,
    /// In the order of the pipeline.
    pub steps: Vec<StepReport>,
}

/// What happened in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step's name.
    pub name: &'static str,
    /// `"cpu"` or `"gpu"`.
    pub backend: &'static str,
    /// Busy time, summed over threads. A thread that waits for a batch may do other samples' steps meanwhile, which then count in both.
    pub seconds: f64,
    /// Rows that went in, as often as samples have them.
    pub rows_in: usize,
    /// Rows that came out.
    pub rows_out: usize,
}

/// What a step has done so far, counted from all threads.
#[derive(Debug, Default)]
struct Tally {
    nanoseconds: AtomicU64,
    rows_in: AtomicUsize,
    rows_out: AtomicUsize,
}

impl Tally {
    fn add(&self, start: Instant, rows_in: usize, rows_out: usize) {
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.rows_in.fetch_add(rows_in, Ordering::Relaxed);
        self.rows_out.fetch_add(rows_out, Ordering::Relaxed);
    }
}

/// What a filter became that learned.
type Learned = Option<Arc<dyn AnyFilter>>;

/// A filter, with its place in the pipeline.
type Placed<'a> = (usize, &'a Arc<dyn AnyFilter>);

pub(super) fn run(
    pipeline: &Pipeline,
    input: Data,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Data, Report)> {
    check(pipeline, &input.without_rows()?)?;
    let report = Report {
        rows: input.n_rows(),
        samples: input.n_samples(),
        time_span: input.time_span(),
        steps: Vec::new(),
    };
    let (data, steps) = all_steps(pipeline, Input::Whole(input), progress)?;
    Ok((data, Report { steps, ..report }))
}

/// What gives the blocks of a recording.
pub(super) type Blocks<'a> = &'a mut (dyn FnMut() -> Result<Option<LineData>> + Send);

/// How a recording that comes in blocks is cut, and who is told what happens.
#[must_use]
pub struct BlockOptions<'a> {
    sampling: Sampling,
    samples: Option<Range<usize>>,
    progress: &'a (dyn Fn(Progress) + Sync),
    observer: Option<Observer<'a>>,
}

/// Sees what the first filters give.
type Observer<'a> = Box<dyn FnMut(&Data) -> Result<()> + Send + 'a>;

impl<'a> BlockOptions<'a> {
    /// Cut into samples by `sampling`.
    pub fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            samples: None,
            progress: &|_| (),
            observer: None,
        }
    }

    /// Only these samples, counted from 0; they keep their numbers. What follows them is not read, but for filters that learn: they
    /// do so from the beginning of the recording (of these samples, if a step looks at lines again).
    pub fn samples(self, samples: Range<usize>) -> Self {
        let samples = Some(samples);
        Self { samples, ..self }
    }

    /// Calls on the way, from any thread.
    pub fn progress(self, progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress, ..self }
    }

    /// Calls with what the first filters give, sample by sample in order, as soon as it is there; a block without rows makes it be there
    /// at once, or when filters have learned that do. An error of the observer ends the run.
    pub fn observer(self, observer: impl FnMut(&Data) -> Result<()> + Send + 'a) -> Self {
        let observer: Option<Observer<'a>> = Some(Box::new(observer));
        Self { observer, ..self }
    }
}

impl fmt::Debug for BlockOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockOptions")
            .field("sampling", &self.sampling)
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

/// As [`run`], on a recording that comes in blocks: the first filters see the samples that are complete, and only what they give is
/// kept. A pipeline that starts with a reducer, or with a filter that depends on all lines, needs everything at once.
pub(super) fn run_blocks(
    pipeline: &Pipeline,
    blocks: Blocks<'_>,
    options: BlockOptions<'_>,
) -> Result<(Data, Report)> {
    let BlockOptions {
        sampling,
        samples,
        progress,
        observer,
    } = options;
    let first = match blocks()? {
        Some(block) => block,
        None => LineData::new(ndarray::Array2::zeros((0, 7)))?,
    };
    check(pipeline, &first.empty().into())?;
    let mut stream = Stream {
        blocks,
        empty: first.empty(),
        cutter: Some(Cutter::new(sampling)),
        first: Some(first),
        kept: None,
        ready: None,
        report: Report::default(),
        sample_rows: 0,
        samples,
        n_samples: 0,
        first_row: usize::MAX,
        beginning: None,
        observer,
    };
    let learns = |(_, filter): &Placed<'_>| filter.learns();
    if stream.samples.is_some() && filters_from(pipeline, 0).iter().any(learns) {
        stream.beginning = Some(Vec::new());
    }
    let needs_all = match pipeline.transformers().first().map(Step::role) {
        Some(Role::Filter(filter)) => filter.for_data(&stream.empty.clone().into())?.is_some(),
        Some(Role::Reducer(_)) | None => true,
    };
    let looks_again = pipeline.transformers().iter().any(Step::needs_lines);
    if needs_all || (looks_again && stream.samples.is_some()) {
        let samples = stream.samples.take();
        let mut whole = stream.read_all()?;
        if let Some(samples) = samples {
            whole = whole.select(samples)?;
        }
        return run(pipeline, whole.into(), progress);
    }
    let (data, steps) = all_steps(pipeline, Input::Stream(&mut stream), progress)?;
    if let Some(samples) = stream.samples
        && stream.n_samples < samples.end
    {
        return Err(Error::Sampling(format!(
            "there are no samples {samples:?}, only 0..{}",
            stream.n_samples
        )));
    }
    Ok((
        data,
        Report {
            steps,
            ..stream.report
        },
    ))
}

/// Steps and their kinds, then columns: those that are missing show on an input without rows, before any work. Steps of others need not
/// take one: up to the first of them.
fn check(pipeline: &Pipeline, input: &Data) -> Result<()> {
    pipeline.check(match input {
        Data::List(_) => Kind::Any,
        table => table.kind(),
    })?;
    let known = pipeline
        .transformers()
        .iter()
        .take_while(|step| registry::knows(step));
    let known = Pipeline {
        steps: known.cloned().collect(),
        ..pipeline.clone()
    };
    // What steps say about it is not worth a word.
    let silent = tracing::subscriber::NoSubscriber::default();
    let run = || all_steps(&known, Input::Whole(input.clone()), &|_| ());
    tracing::subscriber::with_default(silent, run)?;
    Ok(())
}

enum Input<'a, 'b> {
    Whole(Data),
    Stream(&'a mut Stream<'b>),
}

/// The consecutive filters from a step on.
fn filters_from(pipeline: &Pipeline, first: usize) -> Vec<Placed<'_>> {
    let steps = pipeline.transformers().iter().enumerate().skip(first);
    let filters = steps.map_while(|(n, step)| match step.role() {
        Role::Filter(filter) => Some((n, filter)),
        Role::Reducer(_) => None,
    });
    filters.collect()
}

fn all_steps(
    pipeline: &Pipeline,
    mut input: Input<'_, '_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Data, Vec<StepReport>)> {
    let steps = pipeline.transformers();
    let tallies: Vec<Tally> = steps.iter().map(|_| Tally::default()).collect();
    let run = Run {
        pipeline,
        tallies: &tallies,
        progress,
    };
    // Rows of the recording, and those of its samples.
    let mut rows = match &input {
        Input::Whole(data) => (data.n_rows(), data.sample_rows()),
        Input::Stream(_) => (0, 0),
    };
    let mut lines = None;
    if steps.iter().any(Step::needs_lines) {
        match &mut input {
            Input::Whole(Data::Lines(table)) => lines = Some(table.clone()),
            Input::Whole(_) => (),
            Input::Stream(stream) => stream.kept = Some(Stacker::default()),
        }
    }
    let mut next = 0;
    while let Some(step) = steps.get(next) {
        input = Input::Whole(match (step.role(), input) {
            (Role::Reducer(reducer), input) => {
                let mut data = match input {
                    Input::Whole(data) => data,
                    Input::Stream(stream) => stream.read_all()?.into(),
                };
                if let Some(lines) = &lines
                    && step.needs_lines()
                {
                    let lines = Attribute::Lines(lines.clone());
                    data = data.into_points()?.with_attribute("_lines", lines).into();
                }
                let (start, rows_in) = (Instant::now(), data.n_rows());
                let context = Context {
                    overlap: if rows.1 > rows.0 {
                        1.0 - rows.0 as f64 / rows.1 as f64
                    } else {
                        0.0
                    },
                    ..pipeline.context(next, 0)
                };
                let data = reducer
                    .apply(data, &context)
                    .map_err(|error| run.at_step(next, error))?;
                tallies[next].add(start, rows_in, data.n_rows());
                next += 1;
                data
            }
            (Role::Filter(_), input) => {
                let mut filters = filters_from(pipeline, next);
                let for_data = match &input {
                    Input::Whole(data @ (Data::Lines(_) | Data::Points(_))) if next == 0 => filters
                        [0]
                    .1
                    .for_data(data)
                    .map_err(|error| run.at_step(0, error))?,
                    _ => None,
                };
                if let Some(filter) = &for_data {
                    filters[0].1 = filter;
                }
                next += filters.len();
                let stacks = steps.get(next).is_some_and(Step::stacks);
                match input {
                    Input::Whole(data) => {
                        let groups = &mut Groups::of(Source::of(&data));
                        run.filters(&filters, groups, stacks, None)?
                    }
                    Input::Stream(stream) => {
                        let mut observer = stream.observer.take();
                        let groups = &mut Groups::of(Source::Stream(&mut *stream));
                        let data = run.filters(&filters, groups, stacks, observer.as_mut())?;
                        rows = (stream.report.rows, stream.sample_rows);
                        if let Some(kept) = stream.kept.take() {
                            lines = Some(kept.finish()?);
                        }
                        data
                    }
                }
            }
        });
    }
    let data = match input {
        Input::Whole(data) => data,
        Input::Stream(stream) => stream.read_all()?.into(),
    };
    let report = |(step, tally): (&Step, &Tally)| StepReport {
        name: step.name(),
        backend: match step.role() {
            Role::Filter(filter) if filter.batch_size(&pipeline.backend) > 1 => {
                pipeline.backend.name()
            }
            _ => "cpu",
        },
        seconds: std::time::Duration::from_nanos(tally.nanoseconds.load(Ordering::Relaxed))
            .as_secs_f64(),
        rows_in: tally.rows_in.load(Ordering::Relaxed),
        rows_out: tally.rows_out.load(Ordering::Relaxed),
    };
    Ok((data, steps.iter().zip(&tallies).map(report).collect()))
}

/// A recording in blocks, and the samples that are complete.
struct Stream<'a> {
    blocks: Blocks<'a>,
    /// No rows, its columns.
    empty: LineData,
    /// Until the end.
    cutter: Option<Cutter<Lines>>,
    /// The first block, which was looked at.
    first: Option<LineData>,
    /// All lines so far, where a step will look at them again.
    kept: Option<Stacker<Lines>>,
    /// Samples, and how many of them are done.
    ready: Option<(LineData, usize)>,
    /// Rows, samples and times so far.
    report: Report,
    /// Rows of samples so far.
    sample_rows: usize,
    /// Those that are wanted, if not all, and all so far.
    samples: Option<Range<usize>>,
    n_samples: usize,
    /// The first row of those that are wanted.
    first_row: usize,
    /// Samples that filters may learn from, wanted or not, until they have.
    beginning: Option<Vec<(usize, Data)>>,
    observer: Option<Observer<'a>>,
}

impl Stream<'_> {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        let block = match self.first.take() {
            Some(block) => Some(block),
            None => (self.blocks)()?,
        };
        if let Some(block) = &block {
            if let Some(kept) = &mut self.kept {
                kept.push(block.clone())?;
            }
            if self.samples.is_none() {
                self.report.rows += block.n_rows();
                self.add_times(block);
            }
        }
        Ok(block)
    }

    fn add_times(&mut self, rows: &LineData) {
        if let Some((first, last)) = rows.time_span() {
            let (start, end) = self.report.time_span.unwrap_or((first, last));
            self.report.time_span = Some((start.min(first), end.max(last)));
        }
    }

    /// Up to `size` samples, and the number of the first one.
    fn next_group(&mut self, size: usize) -> Result<Option<(usize, Data)>> {
        loop {
            if let Some((table, done)) = &mut self.ready {
                let end = table.n_samples().min(*done + size);
                if *done < end {
                    let group = table.select_samples(*done..end);
                    *done = end;
                    return Ok(Some((group.first_sample(), group.into())));
                }
                self.ready = None;
            }
            let Some(mut cutter) = self.cutter.take() else {
                return Ok(None);
            };
            let (samples, first_row) = match self.next_block()? {
                Some(block) => {
                    let samples = cutter.add(&block)?;
                    let first_row = cutter.first_row();
                    self.cutter = Some(cutter);
                    if block.n_rows() == 0 && samples.is_none() {
                        // Who waits for more gets what there is meanwhile.
                        return Ok(Some((self.n_samples, block.select_samples(0..0).into())));
                    }
                    (samples, first_row)
                }
                None => (cutter.finish()?, cutter.first_row()),
            };
            if let Some(mut table) = samples {
                let first = table.first_sample();
                self.n_samples = first + table.n_samples();
                if let Some(beginning) = &mut self.beginning {
                    let samples = table.samples().map(Data::from);
                    beginning.extend((first..).zip(samples));
                }
                if let Some(wanted) = &self.samples {
                    if self.n_samples >= wanted.end && self.beginning.is_none() {
                        self.cutter = None;
                    }
                    let part = |at: usize| at.clamp(first, self.n_samples) - first;
                    let range = part(wanted.start)..part(wanted.end);
                    let chosen = table.sample_ranges()[range.clone()].iter();
                    let Some(start) = chosen.map(|rows| rows.start).min() else {
                        if self.beginning.is_some() {
                            // Who learns may have seen enough.
                            return Ok(Some((first, table.select_samples(0..0).into())));
                        }
                        continue;
                    };
                    table = table.select_samples(range);
                    let start = first_row + start;
                    self.first_row = self.first_row.min(start);
                    self.report.rows = start + table.n_rows() - self.first_row;
                    self.add_times(&table);
                }
                self.report.samples += table.n_samples();
                self.sample_rows += table.sample_rows();
                self.ready = Some((table, 0));
            }
        }
    }

    /// All that is left, in one piece.
    fn read_all(&mut self) -> Result<LineData> {
        let mut stacker = Stacker::default();
        while let Some(block) = self.next_block()? {
            stacker.push(block)?;
        }
        let whole = stacker.finish()?.into_one_sample();
        match self.cutter.take() {
            Some(cutter) => whole.with_sampling(cutter.into_sampling()),
            None => Ok(whole),
        }
    }
}

/// Where samples come from.
enum Source<'a, 'b> {
    Data {
        data: &'a Data,
        done: usize,
        total: usize,
    },
    Stream(&'a mut Stream<'b>),
}

impl<'a> Source<'a, '_> {
    fn of(data: &'a Data) -> Self {
        Self::Data {
            data,
            done: 0,
            total: data.n_samples(),
        }
    }

    /// Up to `size` samples, and the number of the first one.
    fn next(&mut self, size: usize) -> Result<Option<(usize, Data)>> {
        match self {
            Self::Stream(stream) => stream.next_group(size),
            Self::Data { data, done, total } => {
                let (first, end) = (*done, (*total).min(*done + size));
                *done = end;
                Ok((first < end).then(|| (data.first_sample() + first, data.select(first..end))))
            }
        }
    }

    /// Whether samples of the beginning are known apart from those that are wanted.
    fn has_beginning(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.beginning.is_some())
    }

    /// Those that were read so far.
    fn take_beginning(&mut self) -> Vec<(usize, Data)> {
        match self {
            Self::Stream(stream) => stream
                .beginning
                .as_mut()
                .map_or_else(Vec::new, std::mem::take),
            Self::Data { .. } => Vec::new(),
        }
    }

    fn is_table(&self) -> bool {
        !matches!(
            self,
            Self::Data {
                data: Data::List(_),
                ..
            }
        )
    }

    /// No rows, the same columns.
    fn empty(&self) -> Data {
        match self {
            Self::Data { data, .. } => data.empty(),
            Self::Stream(stream) => stream.empty.clone().into(),
        }
    }

    /// Samples that are known so far.
    fn total(&self) -> usize {
        match self {
            Self::Data { total, .. } => *total,
            Self::Stream(stream) => stream.report.samples,
        }
    }
}

/// Groups of samples, of which some were read ahead.
struct Groups<'a, 'b> {
    read: VecDeque<(usize, Data)>,
    /// Samples of these that nothing was learned from yet.
    ahead: VecDeque<(usize, Data)>,
    source: Source<'a, 'b>,
}

impl<'a, 'b> Groups<'a, 'b> {
    fn of(source: Source<'a, 'b>) -> Self {
        Self {
            read: VecDeque::new(),
            ahead: VecDeque::new(),
            source,
        }
    }

    /// Up to `size` samples, and the number of the first one.
    fn next(&mut self, size: usize) -> Result<Option<(usize, Data)>> {
        let Some((first, group)) = self.read.pop_front() else {
            return self.source.next(size);
        };
        let n = group.n_samples();
        if n <= size {
            return Ok(Some((first, group)));
        }
        self.read.push_front((first + size, group.select(size..n)));
        Ok(Some((first, group.select(0..size))))
    }

    fn end_of_learning(&mut self) {
        self.ahead.clear();
        if let Source::Stream(stream) = &mut self.source {
            stream.beginning = None;
            if let Some(wanted) = &stream.samples
                && stream.n_samples >= wanted.end
            {
                stream.cutter = None;
            }
        }
    }

    /// Samples of the next rows, with their numbers, that [`next`](Self::next) gives again.
    fn next_samples(&mut self) -> Result<Vec<(usize, Data)>> {
        let (mut samples, mut rows) = (Vec::new(), 0);
        while rows < FIRST_ROWS {
            if let Some((number, sample)) = self.ahead.pop_front() {
                rows += sample.n_rows();
                samples.push((number, sample));
                continue;
            }
            let group = self.source.next(IN_FLIGHT)?;
            let is_last = group.is_none();
            if let Some((first, group)) = group
                && group.n_samples() > 0
            {
                if !self.source.has_beginning() {
                    self.ahead
                        .extend((first..).zip(group.clone().into_samples()));
                }
                self.read.push_back((first, group));
            }
            self.ahead.extend(self.source.take_beginning());
            if is_last && self.ahead.is_empty() {
                break;
            }
        }
        let step = rows.div_ceil(LEARNED_ROWS).max(1);
        Ok(samples.into_iter().step_by(step).collect())
    }
}

/// What filters gave: a list, or one table where the next step would stack it anyway.
enum Collected {
    List(Vec<Data>),
    Lines(Stacker<Lines>),
    Points(Stacker<Points>),
}

impl Collected {
    fn push(&mut self, data: Data, stacks: bool) -> Result<()> {
        if !stacks {
            if let Self::List(list) = self {
                list.push(data);
            }
            return Ok(());
        }
        for table in data.flatten() {
            match (&mut *self, table) {
                (Self::List(list), Data::Lines(table)) if list.is_empty() => {
                    let mut stacker = Stacker::default();
                    stacker.push(table)?;
                    *self = Self::Lines(stacker);
                }
                (Self::List(list), Data::Points(table)) if list.is_empty() => {
                    let mut stacker = Stacker::default();
                    stacker.push(table)?;
                    *self = Self::Points(stacker);
                }
                (Self::Lines(stacker), table) => stacker.push(LineData::from_data(table)?)?,
                (Self::Points(stacker), table) => stacker.push(PointData::from_data(table)?)?,
                (Self::List(list), other) => list.push(other),
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Data> {
        Ok(match self {
            Self::List(list) => Data::List(list),
            Self::Lines(stacker) => stacker.finish()?.into(),
            Self::Points(stacker) => stacker.finish()?.into(),
        })
    }
}

struct Run<'a> {
    pipeline: &'a Pipeline,
    tallies: &'a [Tally],
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl Run<'_> {
    fn at_step(&self, step: usize, source: Error) -> Error {
        let name = self.pipeline.transformers()[step].name().to_owned();
        Error::Step {
            number: step + 1,
            name,
            source: Box::new(source),
        }
    }

    /// Consecutive filters over the samples of a table or a recording, or over the members of a list.
    ///
    /// A first filter whose samples share work gets batches of them: on the CPU in parallel, on a GPU one while the other filters work
    /// on the one before. What comes next is read meanwhile.
    fn filters(
        &self,
        filters: &[Placed<'_>],
        groups: &mut Groups<'_, '_>,
        stacks: bool,
        mut observer: Option<&mut Observer<'_>>,
    ) -> Result<Data> {
        let backend = &self.pipeline.backend;
        let learned = self.learn(filters, groups)?;
        groups.end_of_learning();
        let filters: &[Placed<'_>] = &filters
            .iter()
            .zip(&learned)
            .map(|(&(step, filter), learned)| (step, learned.as_ref().unwrap_or(filter)))
            .collect::<Vec<_>>();
        let (batched, rest) = match filters {
            [first, rest @ ..] if groups.source.is_table() && first.1.batch_size(backend) > 1 => {
                (Some(first), rest)
            }
            _ => (None, filters),
        };
        let batch_size = batched.map_or(1, |(_, filter)| filter.batch_size(backend));
        let done = AtomicUsize::new(0);
        let total = AtomicUsize::new(0);
        let first_step = filters.first().map_or(0, |&(step, _)| step);
        let finish = |(first, samples): (usize, Vec<Result<Data>>)| -> Vec<Result<Data>> {
            let chain = |(n, sample): (usize, Result<Data>)| {
                let mut sample = sample?;
                for filter in rest {
                    sample = self.filter(filter, sample, first + n)?;
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(Progress {
                    step: first_step,
                    done,
                    total: total.load(Ordering::Relaxed),
                });
                Ok(sample)
            };
            samples.into_par_iter().enumerate().map(chain).collect()
        };
        let prepare = |(first, samples): (usize, Data)| match batched {
            Some(filter) => (first, self.filter_batch(filter, samples, first)),
            None => (first, samples.into_samples().into_iter().map(Ok).collect()),
        };
        let mut outputs = Collected::List(Vec::new());
        // Not rayon's own collect of results: the error of the first sample should win, on any number of threads.
        let mut keep = |results: Vec<Result<Data>>| -> Result<()> {
            results.into_iter().try_for_each(|result| {
                let data = result?;
                if let Some(observer) = &mut observer {
                    observer(&data)?;
                }
                outputs.push(data, stacks)
            })
        };
        let mut fetch = |size: usize| {
            let group = groups.next(size);
            total.store(groups.source.total(), Ordering::Relaxed);
            group
        };
        if matches!(backend, Backend::Cpu) || batched.is_none() {
            let mut next = fetch(IN_FLIGHT)?;
            while let Some((first, group)) = next {
                let all = || -> Vec<Vec<Result<Data>>> {
                    let n = group.n_samples();
                    let starts: Vec<usize> = (0..n).step_by(batch_size).collect();
                    let whole = |start: usize| {
                        let end = n.min(start + batch_size);
                        finish(prepare((first + start, group.select(start..end))))
                    };
                    starts.into_par_iter().map(whole).collect()
                };
                let (batches, fetched) = rayon::join(all, || fetch(IN_FLIGHT));
                batches.into_iter().try_for_each(&mut keep)?;
                next = fetched?;
            }
        } else {
            let mut next = fetch(batch_size)?.map(prepare);
            while let Some(prepared) = next {
                let (results, following) = rayon::join(
                    || finish(prepared),
                    || fetch(batch_size).map(|group| group.map(prepare)),
                );
                keep(results)?;
                next = following?;
            }
        }
        if done.load(Ordering::Relaxed) == 0 && groups.source.is_table() {
            // Nothing to do, but what follows needs the right columns.
            let empty = filters
                .iter()
                .try_fold(groups.source.empty(), |data, filter| {
                    self.filter(filter, data, 0)
                })?;
            return Ok(Data::List(vec![empty]));
        }
        outputs.finish()
    }

    /// What filters that learn became: from the beginning or, where that says too little, from what follows it.
    fn learn(&self, filters: &[Placed<'_>], groups: &mut Groups<'_, '_>) -> Result<Vec<Learned>> {
        let mut learned = vec![None; filters.len()];
        for _ in 0..BEGINNINGS {
            let wanting = |((_, filter), learned): (&Placed<'_>, &Learned)| {
                filter.learns() && learned.is_none()
            };
            let Some(last) = filters.iter().zip(&learned).rposition(wanting) else {
                break;
            };
            let samples = groups.next_samples()?;
            if samples.is_empty() {
                break;
            }
            self.learn_from(samples, &filters[..=last], &mut learned)?;
        }
        for ((_, filter), learned) in filters.iter().zip(&learned) {
            if filter.learns() && learned.is_none() {
                tracing::info!(step = filter.name(), "too few lines to learn from");
            }
        }
        Ok(learned)
    }

    /// Filters that learn, from samples that went through those before them.
    fn learn_from(
        &self,
        mut samples: Vec<(usize, Data)>,
        filters: &[Placed<'_>],
        learned: &mut [Learned],
    ) -> Result<()> {
        let last = filters.len() - 1;
        for (n, &(step, filter)) in filters.iter().enumerate() {
            let start = Instant::now();
            if filter.learns() && learned[n].is_none() {
                let given = samples.iter().map(|(_, sample)| sample.clone()).collect();
                learned[n] = filter
                    .learn(given)
                    .map_err(|error| self.at_step(step, error))?;
            }
            if n < last {
                let filter = learned[n].as_ref().unwrap_or(filter);
                // What fails will fail again, and is then reported in the order of samples.
                let apply = |(number, sample)| {
                    let out = self.apply(&(step, filter), sample, number).ok()?;
                    Some((number, out))
                };
                samples = samples.into_par_iter().filter_map(apply).collect();
            }
            self.tallies[step].add(start, 0, 0);
        }
        Ok(())
    }

    fn filter(&self, placed: &Placed<'_>, sample: Data, number: usize) -> Result<Data> {
        let (start, rows_in) = (Instant::now(), sample.n_rows());
        let out = self.apply(placed, sample, number)?;
        self.tallies[placed.0].add(start, rows_in, out.n_rows());
        Ok(out)
    }

    fn apply(&self, &(step, filter): &Placed<'_>, sample: Data, number: usize) -> Result<Data> {
        filter
            .apply(sample, &self.pipeline.context(step, number))
            .map_err(|error| self.at_step(step, error))
    }

    /// A batch at once or, should that fail, one sample after another: then the first sample's error counts.
    fn filter_batch(
        &self,
        placed @ &(step, filter): &Placed<'_>,
        batch: Data,
        first: usize,
    ) -> Vec<Result<Data>> {
        let (start, rows_in) = (Instant::now(), batch.sample_rows());
        let samples = batch.clone();
        match filter.apply_batch(batch, &self.pipeline.context(step, first)) {
            Ok(out) => {
                let rows_out = out.iter().map(Data::n_rows).sum();
                self.tallies[step].add(start, rows_in, rows_out);
                out.into_iter().map(Ok).collect()
            }
            Err(_) => (first..)
                .zip(samples.into_samples())
                .map(|(number, sample)| self.filter(placed, sample, number))
                .collect(),
        }
    }
}
