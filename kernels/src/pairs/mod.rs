//! Which pairs of lines pass near each other? What cutpoints and minpoints share.
//!
//! Lines are prepared once for a batch of samples and every pair is looked at once, however many overlapping samples hold it: line `i`
//! is compared with the lines after it, up to the end of the last sample that has it. An f32 filter *proposes* partners
//! (`filter.rs`, with the proof that it misses none); the kernels decide about each in f64.

mod cpu;
mod filter;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;

use std::ops::{ControlFlow, Range};

use fearless_simd::Level;
use rayon::prelude::*;

use crate::backend::Backend;
use crate::error::{KernelError, Result};
use crate::line::{Cutoffs, EMPTY_BOX, LineSlice, Ray, cross, norm, sub};
#[cfg(feature = "gpu")]
pub(crate) use filter::round_up;
use filter::{F64_BAND, Filter, UNDERFLOW};

/// Pairs that one task of a thread takes.
const PAIRS_PER_TASK: usize = 1 << 16;
/// As many tasks or fewer take less time than it takes to wake another thread for them.
const FEW_TASKS: usize = 2;

/// What an accepted pair has in common: a point inside the cutoffs that both lines pass within a distance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    /// The bounding box of each sample's end points, if there are none.
    pub(crate) cutoffs: Option<Cutoffs>,
    /// Half the largest distance of two lines (mm).
    pub(crate) distance: f64,
}

impl Near {
    /// Checks the parameters that kernels pass on.
    pub(crate) fn check(max_distance: f64, cutoffs: Option<Cutoffs>) -> Result<()> {
        if max_distance.is_nan() || max_distance < 0.0 {
            return Err(KernelError::Parameter {
                name: "max_distance",
                value: max_distance.to_string(),
                needed: "a distance in mm that is not negative",
            });
        }
        if let Some(cutoffs) = cutoffs {
            let ordered = |limits: &[f64]| limits[0] <= limits[1]; // false for NaN
            if !cutoffs.chunks(2).all(ordered) {
                return Err(KernelError::Parameter {
                    name: "cutoffs",
                    value: format!("{cutoffs:?}"),
                    needed: "[xmin, xmax, ymin, ymax, zmin, zmax] with each minimum at or below its maximum",
                });
            }
        }
        Ok(())
    }
}

/// A batch of samples, ready for the filter: lines that can be in no accepted pair are left out.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `ux uy uz mx my mz` of the lines, padded by [`cpu::BLOCK`].
    columns: [Vec<f32>; 6],
    /// The lines in f64, in the same order, without padding.
    pub(crate) rays: Vec<Ray>,
    /// The row that each line had in the input.
    pub(crate) rows: Vec<u32>,
    /// One past the last line that shares a sample with each; ascending.
    ends: Vec<u32>,
    /// The samples' lines, as ranges of `rays`.
    pub(crate) samples: Vec<Sample>,
    filter: Filter,
    level: Level,
    /// Lines are about this point (mm), moments divided by this length.
    pub(crate) centre: [f64; 3],
    pub(crate) scale: f64,
    /// At least the length (mm) of every position that f64 formulas meet: `L` of the proofs.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "f64 decides"))]
    pub(crate) reach: f64,
    /// The distance (mm) up to which a GPU accepts pairs, if it shall decide.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "no GPU decides"))]
    decide_at: Option<f64>,
}

/// A sample of a [`Batch`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Its lines.
    pub(crate) lines: Range<usize>,
    /// Its first row in the input.
    pub(crate) first_row: u32,
    pub(crate) cutoffs: Cutoffs,
}

impl Batch {
    /// Checks lines and samples first.
    ///
    /// # Errors
    /// [`KernelError::NotFinite`] (in a line of a sample), [`KernelError::SampleOutOfBounds`], [`KernelError::TooLarge`].
    pub(crate) fn checked(
        lines: LineSlice<'_>,
        samples: &[Range<usize>],
        near: &Near,
    ) -> Result<Self> {
        lines.check_samples(samples)?;
        Ok(Self::new(lines, samples, near))
    }

    fn new(lines: LineSlice<'_>, samples: &[Range<usize>], near: &Near) -> Self {
        Self::with_band(lines, samples, near, 1.0)
    }

    /// `band` scales the guard band: 1, but for the test's control.
    fn with_band(lines: LineSlice<'_>, samples: &[Range<usize>], near: &Near, band: f64) -> Self {
        let cutoffs: Vec<Cutoffs> = samples
            .iter()
            .map(|rows| {
                near.cutoffs
                    .unwrap_or_else(|| lines.range(rows).bounding_box())
            })
            .collect();
        let union = union_of(&cutoffs);
        let centre: [f64; 3] = std::array::from_fn(|k| 0.5 * union[2 * k] + 0.5 * union[2 * k + 1]);
        let half: [f64; 3] = std::array::from_fn(|k| 0.5 * union[2 * k + 1] - 0.5 * union[2 * k]);
        let rho = norm(half) + near.distance;

        let (mut rays, mut rows, mut moments) = (Vec::new(), Vec::new(), Vec::<[f64; 6]>::new());
        let (mut r_m, mut reach) = (0.0_f64, 0.0_f64);
        // Lines of no sample are left out: they may be anything.
        let numbered = union_of_ranges(samples).into_iter().flat_map(|range| {
            let first = count(range.start);
            (first..).zip(lines.range(&range).rows())
        });
        for (row, line) in numbered {
            let ray = Ray::new(line);
            if ray.u.iter().all(|&u| u == 0.0) {
                continue; // no direction: no kernel accepts it
            }
            let is_lost = !(f64::MIN_POSITIVE..f64::INFINITY).contains(&ray.uu);
            if is_lost {
                r_m = f64::NAN; // its direction is lost to underflow or overflow: f64 decides every pair of the batch
            }
            let length = norm(ray.u);
            let u = ray.u.map(|v| v / length);
            let m = cross(sub(ray.p, centre), u);
            let line_reach = norm(ray.p) + norm(centre) + rho;
            // Not `>`: what overflowed to NaN stays, the filter then proposes every pair.
            if !is_lost && norm(m) > rho + F64_BAND * line_reach + UNDERFLOW {
                continue;
            }
            r_m = max_or_nan(r_m, norm(m));
            reach = max_or_nan(reach, line_reach);
            rays.push(ray);
            rows.push(row);
            moments.push([u[0], u[1], u[2], m[0], m[1], m[2]]);
        }
        let scale = power_of_two_above(r_m.max(reach / (1u64 << 40) as f64));
        let columns = std::array::from_fn(|k| {
            let unit = if k < 3 { 1.0 } else { scale };
            let mut column = Vec::with_capacity(moments.len() + cpu::BLOCK);
            column.extend(moments.iter().map(|line| to_f32(line[k] / unit)));
            column.resize(moments.len() + cpu::BLOCK, 0.0);
            column
        });
        let samples: Vec<Sample> = samples
            .iter()
            .zip(cutoffs)
            .map(|(range, cutoffs)| {
                let position = |row: usize| rows.partition_point(|&kept| (kept as usize) < row);
                Sample {
                    lines: position(range.start)..position(range.end),
                    first_row: count(range.start),
                    cutoffs,
                }
            })
            .collect();
        Self {
            columns,
            ends: ends(&samples, rays.len()),
            rays,
            rows,
            samples,
            filter: Filter::new(2.0 * near.distance, r_m, reach, scale, band),
            level: Level::new(),
            centre,
            scale,
            reach,
            decide_at: None,
        }
    }

    /// Lets a GPU decide about pairs.
    pub(crate) fn with_decisions(self, max_distance: f64) -> Self {
        // Where f32 can say nothing there is nothing to decide.
        let can = !self.is_beyond_f32();
        Self {
            decide_at: can.then_some(max_distance),
            ..self
        }
    }

    /// Whether f32 says nothing about these lines.
    pub(crate) fn is_beyond_f32(&self) -> bool {
        self.filter == Filter::EVERYTHING
    }

    /// A line's `u` and `m`.
    pub(crate) fn line(&self, n: usize) -> [f32; 6] {
        std::array::from_fn(|k| self.columns[k][n])
    }

    /// Number of lines, without padding.
    pub(crate) fn n_lines(&self) -> usize {
        self.rays.len()
    }

    /// Pairs of lines that share a sample.
    pub(crate) fn n_pairs(&self) -> u64 {
        (0..self.n_lines())
            .map(|i| self.later(i).len() as u64)
            .sum()
    }

    /// The box around the cutoffs of all samples.
    pub(crate) fn union_of_cutoffs(&self) -> Cutoffs {
        let cutoffs: Vec<Cutoffs> = self.samples.iter().map(|sample| sample.cutoffs).collect();
        union_of(&cutoffs)
    }

    /// The lines after line `i` that share a sample with it.
    pub(crate) fn later(&self, i: usize) -> Range<usize> {
        i + 1..(self.ends[i] as usize).max(i + 1)
    }

    /// Cuts consecutive lines into tasks with similar numbers of pairs.
    pub(crate) fn tasks(&self, lines: Range<usize>) -> Vec<Range<usize>> {
        let mut tasks = Vec::new();
        let (mut first, mut pairs) = (lines.start, 0);
        for i in lines.clone() {
            pairs += self.later(i).len();
            if pairs >= PAIRS_PER_TASK {
                tasks.push(first..i + 1);
                (first, pairs) = (i + 1, 0);
            }
        }
        if first < lines.end {
            tasks.push(first..lines.end);
        }
        tasks
    }

    /// Calls `work` with the proposals for some consecutive lines, until all were there or it breaks off. A GPU computes
    /// the next proposals meanwhile.
    pub(crate) fn for_each(
        &self,
        backend: &Backend,
        mut work: impl FnMut(Range<usize>, &Proposals<'_>) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        match backend {
            Backend::Cpu => {
                let _ = work(0..self.n_lines(), &Proposals::Cpu(self));
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => gpu::for_each(gpu, self, work),
        }
    }

    /// What `work` makes of the partners of consecutive lines, in order: tasks of all threads.
    pub(crate) fn map<R: Send>(
        &self,
        backend: &Backend,
        work: impl Fn(Range<usize>, &Proposals<'_>) -> R + Sync,
    ) -> Result<Vec<R>> {
        let mut results = Vec::new();
        self.for_each(backend, |lines, proposals| {
            let tasks = self.tasks(lines);
            if tasks.len() <= FEW_TASKS {
                results.extend(tasks.into_iter().map(|lines| work(lines, proposals)));
            } else {
                let tasks = tasks.into_par_iter();
                results.par_extend(tasks.map(|lines| work(lines, proposals)));
            }
            ControlFlow::Continue(())
        })?;
        Ok(results)
    }
}

/// A midpoint about the batch's centre, in its scale, and one of the constants.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "gpu", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub(crate) struct Decision {
    pub(crate) point: [f32; 3],
    pub(crate) verdict: f32,
}

impl Decision {
    pub(crate) const REJECTED: f32 = 1.0;
    pub(crate) const ACCEPTED: f32 = 2.0;
}

/// The candidates among the pairs of some lines.
#[derive(Debug)]
pub(crate) enum Proposals<'a> {
    /// To be computed.
    Cpu(&'a Batch),
    /// Computed.
    #[cfg(feature = "gpu")]
    Gpu(&'a gpu::Masks),
}

impl Proposals<'_> {
    /// Replaces `partners` by the lines after line `i`, ascending, that may form an accepted pair with it.
    pub(crate) fn partners(&self, i: usize, partners: &mut Vec<u32>) {
        partners.clear();
        match self {
            Self::Cpu(batch) => {
                let later = batch.later(i);
                cpu::propose(
                    batch.level,
                    &batch.columns,
                    &batch.line(i),
                    later.start,
                    later.end,
                    &batch.filter,
                    partners,
                );
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(masks) => masks.partners(i, partners),
        }
    }

    /// What a GPU decided about each of line `i`'s partners, if it was asked to.
    #[cfg_attr(
        not(feature = "gpu"),
        expect(unused_variables, reason = "no GPU decides")
    )]
    pub(crate) fn decisions(&self, i: usize) -> Option<&[Decision]> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(masks) => masks.decisions(i),
        }
    }
}

/// Rows that lie in any of some ranges, as ranges in order that do not overlap.
fn union_of_ranges(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut sorted: Vec<&Range<usize>> = ranges.iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_by_key(|range| range.start);
    let mut union: Vec<Range<usize>> = Vec::new();
    for range in sorted {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range.clone()),
        }
    }
    union
}

/// One past the last line that shares a sample with each of `n` lines, or any number up to its own where it is the last.
fn ends(samples: &[Sample], n: usize) -> Vec<u32> {
    let mut ends = vec![0; n];
    for Sample { lines, .. } in samples.iter().filter(|sample| !sample.lines.is_empty()) {
        ends[lines.start] = count(lines.end).max(ends[lines.start]);
    }
    let mut end = 0;
    for own in &mut ends {
        end = end.max(*own);
        *own = end;
    }
    ends
}

/// A number of lines.
fn count(n: usize) -> u32 {
    u32::try_from(n).expect("lines should be fewer than 2^32: checked by the caller")
}

fn union_of(boxes: &[Cutoffs]) -> Cutoffs {
    boxes.iter().fold(EMPTY_BOX, |a, b| {
        std::array::from_fn(|k| {
            if k % 2 == 0 {
                a[k].min(b[k])
            } else {
                a[k].max(b[k])
            }
        })
    })
}

/// The larger of two, or NaN if one is (`f64::max` would hide it).
fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The smallest power of two at or above a positive number, and above 2^-1000.
fn power_of_two_above(x: f64) -> f64 {
    let mut power = 2.0_f64.powi(-1000);
    // NaN and infinity leave the loop at once or at the largest power: the filter then proposes every pair.
    while power < x && power < 2.0_f64.powi(1000) {
        power *= 2.0;
    }
    power
}

/// Rounds to f32; what overflowed becomes 0, since the filter then proposes every pair anyway.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the purpose"
)]
fn to_f32(x: f64) -> f32 {
    if x.abs() <= 2.0 { x as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_compared_up_to_the_end_of_the_last_sample_that_has_it() {
        let sample = |lines: Range<usize>| Sample {
            lines,
            first_row: 0,
            cutoffs: EMPTY_BOX,
        };
        let samples = [4..6, 1..3, 1..4, 2..2, 0..2].map(sample);
        assert_eq!(ends(&samples, 7), [2, 4, 4, 4, 6, 6, 6]);
    }

    #[test]
    fn lines_of_no_sample_are_left_out_whatever_they_are() {
        let line = |x: f64| [0.0, x, 0.0, 0.0, x, 1.0, 1.0];
        let lines = [
            line(0.0),
            line(f64::NAN),
            line(1.0),
            line(2.0),
            line(1e9),
            line(3.0),
        ];
        let near = Near {
            cutoffs: None,
            distance: 0.5,
        };
        let samples = [5..6, 2..4, 2..3, 0..1, 1..1];
        let batch = Batch::checked(LineSlice::from_rows(&lines), &samples, &near).unwrap();
        assert_eq!(batch.rows, [0, 2, 3, 5]);
        assert_ne!(batch.filter, Filter::EVERYTHING);
        let found = batch.samples.iter().map(|sample| sample.lines.clone());
        assert!(found.eq([3..4, 1..3, 1..2, 0..1, 1..1]));
    }
}
