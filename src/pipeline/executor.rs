use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use super::step::{AnyFilter, Role};
use super::{Context, Pipeline, registry};
use crate::Backend;
use crate::data::{Data, Element, Kind};
use crate::error::{Error, Result};

/// Samples that are in flight together, few enough for memory.
const IN_FLIGHT: usize = 512;

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

/// A filter, with its place in the pipeline.
type Placed<'a> = (usize, &'a Arc<dyn AnyFilter>);

pub(super) fn run(
    pipeline: &Pipeline,
    input: Data,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Data, Report)> {
    pipeline.check(match &input {
        Data::List(_) => Kind::Any,
        table => table.kind(),
    })?;
    check_columns(pipeline, &input)?;
    all_steps(pipeline, input, progress)
}

/// Columns that are missing show on a table without rows, before any work. Steps of others need not take one: up to the first of them.
fn check_columns(pipeline: &Pipeline, input: &Data) -> Result<()> {
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
    let run = || all_steps(&known, input.empty(), &|_| ());
    tracing::subscriber::with_default(silent, run)?;
    Ok(())
}

fn all_steps(
    pipeline: &Pipeline,
    input: Data,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Data, Report)> {
    let tallies: Vec<Tally> = pipeline
        .transformers()
        .iter()
        .map(|_| Tally::default())
        .collect();
    let run = Run {
        pipeline,
        tallies: &tallies,
        progress,
    };
    let mut data = input;
    let mut next = 0;
    while let Some(step) = pipeline.transformers().get(next) {
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
                    .zip(&pipeline.transformers()[next..])
                    .map_while(|(n, step)| match step.role() {
                        Role::Filter(filter) => Some((n, filter)),
                        Role::Reducer(_) => None,
                    })
                    .collect();
                let for_data = match (next, &data) {
                    (0, Data::Lines(_) | Data::Points(_)) => filters[0]
                        .1
                        .for_data(&data)
                        .map_err(|error| run.at_step(0, error))?,
                    _ => None,
                };
                let mut filters = filters;
                if let Some(filter) = &for_data {
                    filters[0].1 = filter;
                }
                next += filters.len();
                data = Data::List(run.filters(&filters, &data)?);
            }
        }
    }
    let steps = pipeline
        .transformers()
        .iter()
        .zip(&tallies)
        .map(|(step, tally)| StepReport {
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
        let name = self.pipeline.transformers()[step].name().to_owned();
        Error::Step {
            number: step + 1,
            name,
            source: Box::new(source),
        }
    }

    /// Consecutive filters over the samples of a table, or over the members of a list.
    ///
    /// A first filter whose samples share work gets batches of them. On a GPU it gets the next batch while the others work on
    /// the last one; on the CPU the batches run in parallel.
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
        let backend = &self.pipeline.backend;
        let (batched, rest) = match filters {
            [first, rest @ ..] if is_table && first.1.batch_size(backend) > 1 => {
                (Some(first), rest)
            }
            _ => (None, filters),
        };
        let batch_size = batched.map_or(1, |(_, filter)| filter.batch_size(backend));
        let done = AtomicUsize::new(0);
        let first_step = filters.first().map_or(0, |&(step, _)| step);
        let finish = |first: usize, samples: Vec<Result<Data>>| -> Vec<Result<Data>> {
            let chain = |(n, sample): (usize, Result<Data>)| {
                let mut sample = sample?;
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
        let prepare = |first: usize, end: usize| -> Vec<Result<Data>> {
            let samples = data.select(first..end.min(total));
            match batched {
                Some(filter) => self.filter_batch(filter, samples, offset + first),
                None => samples.into_samples().into_iter().map(Ok).collect(),
            }
        };

        let mut outputs = Vec::with_capacity(total);
        // Not rayon's own collect of results: the error of the first sample should win, on any number of threads.
        let mut keep = |results: Vec<Result<Data>>| -> Result<()> {
            results.into_iter().try_for_each(|result| {
                outputs.push(result?);
                Ok(())
            })
        };
        if matches!(backend, Backend::Cpu) || batched.is_none() {
            for first in (0..total).step_by(IN_FLIGHT) {
                let end = total.min(first + IN_FLIGHT);
                let firsts: Vec<usize> = (first..end).step_by(batch_size).collect();
                let whole = |first: usize| {
                    let samples = prepare(first, end.min(first + batch_size));
                    finish(first, samples)
                };
                let batches: Vec<_> = firsts.into_par_iter().map(whole).collect();
                batches.into_iter().try_for_each(&mut keep)?;
            }
        } else {
            let mut next = (total > 0).then(|| prepare(0, batch_size));
            let mut first = 0;
            while let Some(samples) = next {
                let after = first + batch_size;
                let (results, prepared) = rayon::join(
                    || finish(first, samples),
                    || (after < total).then(|| prepare(after, after + batch_size)),
                );
                keep(results)?;
                (first, next) = (after, prepared);
            }
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

    /// A batch at once or, should that fail, one sample after another: then the first sample's error counts.
    fn filter_batch(
        &self,
        placed @ &(step, filter): &Placed<'_>,
        batch: Data,
        first: usize,
    ) -> Vec<Result<Data>> {
        let (start, rows_in) = (Instant::now(), batch.sample_rows());
        let samples = batch.clone();
        match filter.apply_batch(batch, &self.context(step, first)) {
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
