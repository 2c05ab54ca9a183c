//! Cutpoints: the midpoints of the shortest segments between pairs of lines.
//!
//! For every pair `i < j` of a sample's *infinite* lines, with `P`, `Q` their first points, `U`, `R` second minus
//! first, `W = Q - P`, `a = U.U`, `b = U.R`, `c = R.R`, `d = U.W`, `e = R.W`, `D = b b - a c`:
//! `s = (b e - c d) / D`, `t = (a e - b d) / D`, `A = P + s U`, `C = Q + t R`. The pair is kept when
//! `D != 0`, `|A - C|^2 < max_distance^2` and the midpoint of `A` and `C` lies strictly inside the cutoffs.
//!
//! Nicusan and Windows-Yule, "Positron emission particle tracking using machine learning",
//! Review of Scientific Instruments 91, 013329 (2020).

use std::ops::{ControlFlow, Range};

use rayon::prelude::*;

use crate::backend::Backend;
use crate::error::Result;
use crate::line::{Cutoffs, LineSlice, Ray, dot, sub};
use crate::pairs::{Batch, Decision, Near, Proposals, Sample};

/// What makes a pair of lines a cutpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    max_distance: f64,
    cutoffs: Option<Cutoffs>,
    precision: Precision,
}

/// Who has the last word about a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The processor, in f64: the same bits on every backend.
    #[default]
    Exact,
    /// A GPU, in f32: less work for the processor, but results that differ between adapters and, where candidates are dense (above 3 % of
    /// the pairs f64 takes over), between runs. On the CPU it is `Exact`.
    ///
    /// A point is off by at most `64 eps (r + d / sin) / sin`, `eps = 2^-24`, `r` the distance from the centre of the cutoffs that lines
    /// and points have at most, `d` the distance of the lines and `sin` that of their angle: 4e-3 mm / sin at 1 m, 120 times
    /// the 3.3e-5 mm to which f32 can hold a coordinate there. A pair whose distance is within twice that of `max_distance`, or whose point
    /// is within that of a face of the cutoffs, may be missed or found. Lines that cross at less than half a degree are left to f64.
    Fast,
}

impl Params {
    /// Pairs closer than `max_distance` (mm), within the bounding box of each sample's end points.
    #[must_use]
    pub fn new(max_distance: f64) -> Self {
        Self {
            max_distance,
            cutoffs: None,
            precision: Precision::Exact,
        }
    }

    /// Only midpoints strictly inside the box `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm).
    #[must_use]
    pub fn cutoffs(self, cutoffs: Cutoffs) -> Self {
        Self {
            cutoffs: Some(cutoffs),
            ..self
        }
    }

    /// Exact positions (the default), or a GPU's own.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Checks the values, as every call of the kernel does first.
    ///
    /// # Errors
    /// [`KernelError::Parameter`](crate::KernelError::Parameter) for a negative or NaN distance, NaN or inverted cutoffs.
    pub fn check(&self) -> Result<()> {
        Near::check(self.max_distance, self.cutoffs)
    }

    fn batch(&self, lines: LineSlice<'_>, samples: &[Range<usize>]) -> Result<Batch> {
        self.check()?;
        let near = Near {
            cutoffs: self.cutoffs,
            distance: 0.5 * self.max_distance,
        };
        let batch = Batch::checked(lines, samples, &near)?;
        Ok(match self.precision {
            Precision::Exact => batch,
            Precision::Fast => batch.with_decisions(self.max_distance),
        })
    }
}

/// The midpoint of the shortest segment between two lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutpoint {
    /// Mean of the two lines' times (ms).
    pub t: f64,
    /// Coordinates (mm).
    pub x: f64,
    /// Coordinates (mm).
    pub y: f64,
    /// Coordinates (mm).
    pub z: f64,
    /// Index of the first line within its sample.
    pub i: u32,
    /// Index of the second line within its sample, above `i`.
    pub j: u32,
}

/// The cutpoints of all pairs of lines, in (i, j) order.
///
/// # Errors
/// See [`on_samples`].
pub fn on(backend: &Backend, lines: LineSlice<'_>, params: &Params) -> Result<Vec<Cutpoint>> {
    let whole = 0..lines.len();
    Ok(
        on_samples(backend, lines, std::slice::from_ref(&whole), params)?
            .pop()
            .unwrap_or_default(),
    )
}

/// The cutpoints of each sample, a range of rows of `lines`, in (i, j) order; samples may overlap.
///
/// A pair that several samples share is looked at once. On a GPU all samples go into one dispatch, as far as the
/// adapter's limits allow.
///
/// # Errors
/// [`KernelError::Parameter`](crate::KernelError::Parameter), [`KernelError::NotFinite`](crate::KernelError::NotFinite)
/// (in a line of a sample), [`KernelError::SampleOutOfBounds`](crate::KernelError::SampleOutOfBounds),
/// [`KernelError::TooLarge`](crate::KernelError::TooLarge) for 2^32 lines or more, and what a GPU may report.
pub fn on_samples(
    backend: &Backend,
    lines: LineSlice<'_>,
    samples: &[Range<usize>],
    params: &Params,
) -> Result<Vec<Vec<Cutpoint>>> {
    let batch = params.batch(lines, samples)?;
    let confirm = Confirm::new(&batch, params);
    let parts = batch.map(backend, |lines, proposals| confirm.part(lines, proposals))?;
    if let [sample] = batch.samples.as_slice() {
        return Ok(vec![of_sample(&batch, sample, &parts)]);
    }
    Ok(batch
        .samples
        .par_iter()
        .map(|sample| of_sample(&batch, sample, &parts))
        .collect())
}

/// Hands over the cutpoints of all pairs of lines piece by piece, in (i, j) order, so that memory stays bounded however
/// many there are, until `piece` breaks off.
///
/// # Errors
/// See [`on_samples`].
pub fn in_pieces(
    backend: &Backend,
    lines: LineSlice<'_>,
    params: &Params,
    mut piece: impl FnMut(&[Cutpoint]) -> ControlFlow<()> + Send,
) -> Result<()> {
    let batch = params.batch(lines, std::slice::from_ref(&(0..lines.len())))?;
    let confirm = Confirm::new(&batch, params);
    batch.for_each(backend, |lines, proposals| {
        for tasks in batch.tasks(lines).chunks(2 * rayon::current_num_threads()) {
            let parts: Vec<Part> = tasks
                .par_iter()
                .map(|lines| confirm.part(lines.clone(), proposals))
                .collect();
            for mut part in parts {
                for point in &mut part.found {
                    point.i = batch.rows[point.i as usize];
                    point.j = batch.rows[point.j as usize];
                }
                piece(&part.found)?;
            }
        }
        ControlFlow::Continue(())
    })
}

/// How many pairs of lines the filter looks at (each once, however many samples share it) and proposes: its work alone, to be timed
/// and tuned. The second number may differ between adapters; confirmed points never do.
///
/// # Errors
/// See [`on_samples`].
pub fn count_candidates(
    backend: &Backend,
    lines: LineSlice<'_>,
    samples: &[Range<usize>],
    params: &Params,
) -> Result<(u64, u64)> {
    let batch = params.batch(lines, samples)?;
    let found = batch.map(backend, |lines, proposals| {
        let (mut partners, mut found) = (Vec::new(), 0);
        for i in lines {
            proposals.partners(i, &mut partners);
            found += partners.len() as u64;
        }
        found
    })?;
    Ok((batch.n_pairs(), found.into_iter().sum()))
}

/// Decides about pairs in f64.
#[derive(Debug)]
struct Confirm<'a> {
    batch: &'a Batch,
    max_squared: f64,
    cutoffs: Cutoffs,
}

/// The cutpoints of some consecutive lines, within the cutoffs of any sample; `i` and `j` count the batch's lines.
#[derive(Debug)]
struct Part {
    lines: Range<usize>,
    /// Where those of each line begin, and where they end.
    starts: Vec<usize>,
    found: Vec<Cutpoint>,
}

impl<'a> Confirm<'a> {
    fn new(batch: &'a Batch, params: &Params) -> Self {
        Self {
            batch,
            max_squared: params.max_distance * params.max_distance,
            cutoffs: batch.union_of_cutoffs(),
        }
    }

    /// What a GPU found, in mm.
    fn point(&self, first: &Ray, second: &Ray, decision: &Decision) -> [f64; 4] {
        let Batch { centre, scale, .. } = self.batch;
        let [x, y, z] = std::array::from_fn(|k| centre[k] + scale * f64::from(decision.point[k]));
        [0.5 * (first.t + second.t), x, y, z]
    }

    fn part(&self, lines: Range<usize>, proposals: &Proposals<'_>) -> Part {
        let rays = &self.batch.rays;
        let (mut partners, mut starts, mut found) = (Vec::new(), vec![0], Vec::new());
        for i in lines.clone() {
            proposals.partners(i, &mut partners);
            let first = &rays[i];
            let decisions = proposals.decisions(i);
            for (n, &j) in partners.iter().enumerate() {
                let second = &rays[j as usize];
                let point = match decisions.map(|decisions| decisions[n]) {
                    Some(Decision { verdict, .. }) if verdict == Decision::REJECTED => None,
                    Some(decision) if decision.verdict == Decision::ACCEPTED => {
                        let point @ [_, x, y, z] = self.point(first, second, &decision);
                        is_inside([x, y, z], &self.cutoffs).then_some(point)
                    }
                    _ => confirm(first, second, self.max_squared, &self.cutoffs),
                };
                if let Some([t, x, y, z]) = point {
                    #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^32 lines")]
                    let i = i as u32;
                    found.push(Cutpoint { t, x, y, z, i, j });
                }
            }
            starts.push(found.len());
        }
        Part {
            lines,
            starts,
            found,
        }
    }
}

/// Picks a sample's cutpoints out of the batch's.
fn of_sample(batch: &Batch, sample: &Sample, parts: &[Part]) -> Vec<Cutpoint> {
    let Sample {
        lines,
        first_row,
        cutoffs,
    } = sample;
    let first = parts.partition_point(|part| part.lines.end <= lines.start);
    let mut found = Vec::new();
    for part in parts[first..]
        .iter()
        .take_while(|part| part.lines.start < lines.end)
    {
        let first = lines.start.max(part.lines.start) - part.lines.start;
        let end = lines.end.min(part.lines.end) - part.lines.start;
        for starts in part.starts[first..=end].windows(2) {
            let row = &part.found[starts[0]..starts[1]];
            let of_sample = row
                .iter()
                .take_while(|point| (point.j as usize) < lines.end);
            found.extend(
                of_sample
                    .filter(|p| is_inside([p.x, p.y, p.z], cutoffs))
                    .map(|point| {
                        let row = |line: u32| batch.rows[line as usize] - first_row;
                        Cutpoint {
                            i: row(point.i),
                            j: row(point.j),
                            ..*point
                        }
                    }),
            );
        }
    }
    found
}

fn is_inside([x, y, z]: [f64; 3], cutoffs: &Cutoffs) -> bool {
    let inside = |v: f64, lo: f64, hi: f64| lo < v && v < hi;
    inside(x, cutoffs[0], cutoffs[1])
        && inside(y, cutoffs[2], cutoffs[3])
        && inside(z, cutoffs[4], cutoffs[5])
}

/// Where two lines `[t, x1, y1, z1, x2, y2, z2]` come nearest to each other: `[t, x, y, z]` of the midpoint, as for cutpoints;
/// `None` for parallel lines.
#[must_use]
pub fn midpoint(first: &[f64; 7], second: &[f64; 7]) -> Option<[f64; 4]> {
    const EVERYWHERE: Cutoffs = [
        f64::NEG_INFINITY,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::INFINITY,
    ];
    confirm(
        &Ray::new(first),
        &Ray::new(second),
        f64::INFINITY,
        &EVERYWHERE,
    )
}

/// The f64 decision that both backends share: evaluated left to right, never fused.
///
/// Returns `[t, x, y, z]` when the pair is a cutpoint.
#[inline]
pub(crate) fn confirm(
    first: &Ray,
    second: &Ray,
    max_squared: f64,
    cutoffs: &Cutoffs,
) -> Option<[f64; 4]> {
    let w = sub(second.p, first.p);
    let (a, c) = (first.uu, second.uu);
    let b = dot(first.u, second.u);
    let d = dot(first.u, w);
    let e = dot(second.u, w);
    let determinant = b * b - a * c;
    if determinant == 0.0 {
        return None;
    }
    let s = (b * e - c * d) / determinant;
    let t = (a * e - b * d) / determinant;
    let on_first: [f64; 3] = std::array::from_fn(|k| first.p[k] + s * first.u[k]);
    let on_second: [f64; 3] = std::array::from_fn(|k| second.p[k] + t * second.u[k]);
    let gap = sub(on_first, on_second);
    let [x, y, z]: [f64; 3] = std::array::from_fn(|k| 0.5 * (on_first[k] + on_second[k]));
    let keep = dot(gap, gap) < max_squared && is_inside([x, y, z], cutoffs);
    keep.then_some([0.5 * (first.t + second.t), x, y, z])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::KernelError;

    const BOX: Cutoffs = [-10.0, 10.0, -10.0, 10.0, -10.0, 10.0];

    #[test]
    fn crossing_lines_give_their_midpoint_and_mean_time() {
        let lors = [
            [1.0, -5.0, 0.0, 0.0, 5.0, 0.0, 0.0],
            [4.0, 1.0, -5.0, 0.5, 1.0, 5.0, 0.5],
        ];
        let found = on(
            &Backend::Cpu,
            LineSlice::from_rows(&lors),
            &Params::new(0.6).cutoffs(BOX),
        )
        .unwrap();
        assert_eq!(
            found,
            [Cutpoint {
                t: 2.5,
                x: 1.0,
                y: 0.0,
                z: 0.25,
                i: 0,
                j: 1
            }]
        );
    }

    #[test]
    fn the_distance_limit_is_strict() {
        let lors = [
            [1.0, -5.0, 0.0, 0.0, 5.0, 0.0, 0.0],
            [4.0, 1.0, -5.0, 0.5, 1.0, 5.0, 0.5],
        ];
        let found = |max| {
            on(
                &Backend::Cpu,
                LineSlice::from_rows(&lors),
                &Params::new(max).cutoffs(BOX),
            )
            .unwrap()
            .len()
        };
        assert_eq!((found(0.5), found(0.5_f64.next_up())), (0, 1));
    }

    #[test]
    fn parallel_identical_and_zero_length_lines_give_no_cutpoints() {
        let a = [0.0, -5.0, 0.0, 0.0, 5.0, 0.0, 0.0];
        let parallel = [0.0, -5.0, 0.1, 0.0, 5.0, 0.1, 0.0];
        let zero = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let found = on(
            &Backend::Cpu,
            LineSlice::from_rows(&[a, a, parallel, zero]),
            &Params::new(1.0).cutoffs(BOX),
        );
        assert_eq!(found.unwrap(), []);
    }

    #[test]
    fn bad_input_is_an_error_that_says_where() {
        let line = [0.0, -5.0, 0.0, 0.0, 5.0, 0.0, 0.0];
        let mut bad = line;
        bad[3] = f64::NAN;
        let params = Params::new(1.0);
        let on = |rows: &[[f64; 7]], params: &Params| {
            on(&Backend::Cpu, LineSlice::from_rows(rows), params)
        };
        assert_eq!(
            on(&[line, bad], &params),
            Err(KernelError::NotFinite { line: 1 })
        );
        let parameter = |result| matches!(result, Err(KernelError::Parameter { .. }));
        assert!(parameter(on(&[line], &Params::new(-1.0))));
        assert!(parameter(on(&[line], &Params::new(f64::NAN))));
        assert!(parameter(on(
            &[line],
            &params.cutoffs([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
        )));
        let sample = on_samples(
            &Backend::Cpu,
            LineSlice::from_rows(&[line]),
            &[0..1, 0..2],
            &params,
        );
        assert_eq!(
            sample,
            Err(KernelError::SampleOutOfBounds {
                sample: 1,
                start: 0,
                end: 2,
                n_lines: 1
            })
        );
    }
}
