use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use super::step::{AnyFilter, Role};
use super::{Context, Pipeline};
use crate::data::{Data, Element, Kind};
use crate::error::{Error, Result};

/// Samples that are in flight together: enough for a GPU dispatch, few enough for memory.
const BATCH: usize = 512;

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

/// What happened in each step of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
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
    /// Busy time, summed over threads.
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

/// A filter, with its place in the pipeline.
type Placed<'a> = (usize, &'a Arc<dyn AnyFilter>);

pub(super) fn run(
    pipeline: &Pipeline,
    input: Data,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Data, Report)> {
    pipeline.check(match &input {
        Data::Lines(_) => Kind::Lines,
        Data::Points(_) => Kind::Points,
        Data::List(_) => Kind::Any,
    })?;
    let tallies: Vec<Tally> = pipeline.steps().iter().map(|_| Tally::default()).collect();
    let run = Run {
        pipeline,
        tallies: &tallies,
        progress,
    };
    let mut data = input;
    let mut next = 0;
    while let Some(step) = pipeline.steps().get(next) {
        match step.role() {
            Role::Reducer(reducer) => {
                let (start, rows_in) = (Instant::now(), data.n_rows());
                data = reducer
                    .apply(data, &run.context(next, 0))
                    .map_err(|error| run.at_step(next, error))?;
                tallies[next].add(start, rows_in, data.n_rows());
                next += 1;
            }
            Role::Filter(_) => {
                let filters: Vec<Placed<'_>> = (next..)
                    .zip(&pipeline.steps()[next..])
                    .map_while(|(n, step)| match step.role() {
                        Role::Filter(filter) => Some((n, filter)),
                        Role::Reducer(_) => None,
                    })
                    .collect();
                next += filters.len();
                data = Data::List(run.filters(&filters, &data)?);
            }
        }
    }
    let steps = pipeline
        .steps()
        .iter()
        .zip(&tallies)
        .map(|(step, tally)| StepReport {
            name: step.name(),
            backend: match step.role() {
                Role::Filter(filter) if filter.prefers_batches(&pipeline.backend) => {
                    pipeline.backend.name()
                }
                _ => "cpu",
            },
            seconds: std::time::Duration::from_nanos(tally.nanoseconds.load(Ordering::Relaxed))
                .as_secs_f64(),
            rows_in: tally.rows_in.load(Ordering::Relaxed),
            rows_out: tally.rows_out.load(Ordering::Relaxed),
        });
    Ok((
        data,
        Report {
            steps: steps.collect(),
        },
    ))
}

struct Run<'a> {
    pipeline: &'a Pipeline,
    tallies: &'a [Tally],
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl Run<'_> {
    fn context(&self, step: usize, sample: usize) -> Context<'_> {
        Context {
            backend: &self.pipeline.backend,
            seed: self.pipeline.seed,
            step,
            sample,
            member: 0,
        }
    }

    fn at_step(&self, step: usize, source: Error) -> Error {
        let name = self.pipeline.steps()[step].name().to_owned();
        Error::Step {
            number: step + 1,
            name,
            source: Box::new(source),
        }
    }

    /// Consecutive filters over the samples of a table, or over the members of a list.
    ///
    /// A first filter that prefers batches gets the next one while the others work on the last.
    fn filters(&self, filters: &[Placed<'_>], data: &Data) -> Result<Vec<Data>> {
        let total = data.n_samples();
        let offset = data.first_sample();
        let is_table = !matches!(data, Data::List(_));
        if total == 0 && is_table {
            // Nothing to do, but what follows needs the right columns.
            let empty = filters
                .iter()
                .try_fold(data.empty(), |data, filter| self.filter(filter, data, 0))?;
            return Ok(vec![empty]);
        }
        let (batched, rest) = match filters {
            [first, rest @ ..] if is_table && first.1.prefers_batches(&self.pipeline.backend) => {
                (Some(first), rest)
            }
            _ => (None, filters),
        };
        let prepare = |first: usize| {
            let batch = data.select(first..total.min(first + BATCH))?;
            match batched {
                Some(filter) => self.filter_batch(filter, batch, offset + first),
                None => Ok(batch.into_samples()),
            }
        };
        let done = AtomicUsize::new(0);
        let first_step = filters.first().map_or(0, |&(step, _)| step);
        let finish = |first: usize, samples: Vec<Data>| -> Vec<Result<Data>> {
            let chain = |(n, mut sample): (usize, Data)| {
                for filter in rest {
                    sample = self.filter(filter, sample, offset + first + n)?;
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(Progress {
                    step: first_step,
                    done,
                    total,
                });
                Ok(sample)
            };
            samples.into_par_iter().enumerate().map(chain).collect()
        };

        let mut outputs = Vec::with_capacity(total);
        let mut next = (total > 0).then(|| prepare(0));
        let mut first = 0;
        while let Some(samples) = next {
            let samples = samples?;
            let after = first + BATCH;
            let (results, prepared) = rayon::join(
                || finish(first, samples),
                || (after < total).then(|| prepare(after)),
            );
            // Not rayon's own collect of results: the error of the first sample should win, on any number of threads.
            for result in results {
                outputs.push(result?);
            }
            (first, next) = (after, prepared);
        }
        Ok(outputs)
    }

    fn filter(&self, &(step, filter): &Placed<'_>, sample: Data, number: usize) -> Result<Data> {
        let (start, rows_in) = (Instant::now(), sample.n_rows());
        let out = filter
            .apply(sample, &self.context(step, number))
            .map_err(|error| self.at_step(step, error))?;
        self.tallies[step].add(start, rows_in, out.n_rows());
        Ok(out)
    }

    fn filter_batch(
        &self,
        &(step, filter): &Placed<'_>,
        batch: Data,
        first: usize,
    ) -> Result<Vec<Data>> {
        let start = Instant::now();
        let rows_in = batch.sample_rows();
        let out = filter
            .apply_batch(batch, &self.context(step, first))
            .map_err(|error| self.at_step(step, error))?;
        self.tallies[step].add(start, rows_in, out.iter().map(Data::n_rows).sum());
        Ok(out)
    }
}
