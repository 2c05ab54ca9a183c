//! Minpoints: the points that are nearest to combinations of lines.
//!
//! For every combination of `num_lines` of a sample's *infinite* lines (point `p`, unit direction `u`), the point `x` with the least sum of
//! squared distances: `A x = b`, `A` the sum of `I - u u^T`, `b` that of `(I - u u^T) p`. It is kept when `det(A) / num_lines^3 >
//! 1e-12`, `x` lies in the closed box of the cutoffs and no line is further than `max_distance` from it.
//!
//! Any two lines of a kept point are within `2 max_distance` of each other: only combinations of lines that all are, pair by pair, are
//! looked at (see `pairs/filter.rs`), which gives the same points as all combinations do. A GPU makes those of 3 and 4 lines, and leaves
//! out most that have no point (see `filter.rs`); one f64 function decides about the rest, as about all on the CPU.
//!
//! Nicusan and Windows-Yule, "Positron emission particle tracking using machine learning",
//! Review of Scientific Instruments 91, 013329 (2020).

mod cpu;
#[cfg(feature = "gpu")]
mod filter;
#[cfg(feature = "gpu")]
mod gpu;

use std::ops::{ControlFlow, Range};

use rayon::prelude::*;

use crate::backend::Backend;
use crate::error::{KernelError, Result};
use crate::line::{Cutoffs, LineSlice, Ray, cross, norm, sub};
use crate::pairs::{Batch, Near, Sample};

#[cfg(feature = "gpu")]
pub(crate) use gpu::WORKGROUP_SIZE;

/// A system whose determinant, divided by the number of lines cubed, is at most this is singular.
const SINGULAR: f64 = 1e-12;
/// Points that [`in_pieces`] hands over at once, at most; and combinations that a GPU proposes, for one task.
const POINTS_PER_PIECE: usize = 4_096;

/// What makes a combination of lines a minpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    num_lines: usize,
    max_distance: f64,
    cutoffs: Option<Cutoffs>,
}

impl Params {
    /// Combinations of `num_lines` lines that all pass within `max_distance` (mm) of their point, within the bounding box of each
    /// sample's end points.
    #[must_use]
    pub fn new(num_lines: usize, max_distance: f64) -> Self {
        Self {
            num_lines,
            max_distance,
            cutoffs: None,
        }
    }

    /// Only points in the closed box `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm).
    #[must_use]
    pub fn cutoffs(self, cutoffs: Cutoffs) -> Self {
        Self {
            cutoffs: Some(cutoffs),
            ..self
        }
    }

    /// Checks the values, as every call of the kernel does first.
    ///
    /// # Errors
    /// [`KernelError::Parameter`] for fewer than 2 lines, a negative or NaN distance, NaN or inverted cutoffs.
    pub fn check(&self) -> Result<()> {
        if self.num_lines < 2 {
            return Err(KernelError::Parameter {
                name: "num_lines",
                value: self.num_lines.to_string(),
                needed: "2 or more",
            });
        }
        Near::check(self.max_distance, self.cutoffs)
    }

    fn batch(&self, lines: LineSlice<'_>, samples: &[Range<usize>]) -> Result<Batch> {
        self.check()?;
        let near = Near {
            cutoffs: self.cutoffs,
            distance: self.max_distance,
        };
        Batch::checked(lines, samples, &near)
    }
}

/// The minpoints of a sample, in the lexicographic order of their lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Minpoints {
    num_lines: usize,
    points: Vec<[f64; 4]>,
    lines: Vec<u32>,
}

impl Minpoints {
    /// No points of combinations of so many lines.
    fn none(num_lines: usize) -> Self {
        Self {
            num_lines,
            points: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Leaves out those up to a combination of lines.
    fn drop_until(&mut self, lines: &[u32]) {
        let combinations = self.lines.chunks_exact(self.num_lines);
        let n = combinations.take_while(|&own| own <= lines).count();
        self.points.drain(..n);
        self.lines.drain(..n * self.num_lines);
    }

    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Points `[t, x, y, z]`: mean time of the lines (ms), coordinates (mm).
    #[must_use]
    pub fn points(&self) -> &[[f64; 4]] {
        &self.points
    }

    /// The lines of the n-th point, ascending: indices into the sample.
    ///
    /// # Panics
    /// If there are not more than `n` points.
    #[must_use]
    pub fn lines(&self, n: usize) -> &[u32] {
        &self.lines[n * self.num_lines..(n + 1) * self.num_lines]
    }
}

/// The minpoints of all lines.
///
/// # Errors
/// See [`on_samples`].
pub fn on(backend: &Backend, lines: LineSlice<'_>, params: &Params) -> Result<Minpoints> {
    let whole = 0..lines.len();
    let mut found = on_samples(backend, lines, std::slice::from_ref(&whole), params)?;
    Ok(found
        .pop()
        .unwrap_or_else(|| Minpoints::none(params.num_lines)))
}

/// The minpoints of each sample, a range of rows of `lines`; samples may overlap.
///
/// A combination that several samples share is looked at once. On a GPU all samples go together, as far as the adapter's limits allow.
///
/// # Errors
/// [`KernelError::Parameter`], [`KernelError::NotFinite`] (in a line of a sample), [`KernelError::SampleOutOfBounds`],
/// [`KernelError::TooLarge`] for 2^32 lines or more, and what a GPU may report.
pub fn on_samples(
    backend: &Backend,
    lines: LineSlice<'_>,
    samples: &[Range<usize>],
    params: &Params,
) -> Result<Vec<Minpoints>> {
    let batch = params.batch(lines, samples)?;
    let mut parts = Vec::new();
    // All are held anyway.
    for_each(backend, &batch, params, usize::MAX, |part| {
        if !part.is_empty() {
            parts.push(part);
        }
        ControlFlow::Continue(())
    })?;
    let samples = batch.samples.par_iter();
    Ok(samples
        .map(|sample| of_sample(&batch, sample, &parts, params.num_lines))
        .collect())
}

/// Hands over the minpoints of all lines piece by piece, in the lexicographic order of their lines, so that memory stays bounded however
/// many there are, until `piece` breaks off. A piece has 4,096 points at most. What is held meanwhile are the near pairs of lines and, for
/// each thread and line of a combination, 64 pieces at worst.
///
/// # Errors
/// See [`on_samples`].
pub fn in_pieces(
    backend: &Backend,
    lines: LineSlice<'_>,
    params: &Params,
    mut piece: impl FnMut(&Minpoints) -> ControlFlow<()> + Send,
) -> Result<()> {
    let batch = params.batch(lines, std::slice::from_ref(&(0..lines.len())))?;
    for_each(backend, &batch, params, POINTS_PER_PIECE, |mut part| {
        for line in &mut part.lines {
            *line = batch.rows[*line as usize];
        }
        piece(&part)
    })
}

/// Calls `work` with the minpoints of all combinations of lines that share a sample, within the cutoffs of any, in order, `most` at once;
/// their lines count the batch's.
fn for_each(
    backend: &Backend,
    batch: &Batch,
    params: &Params,
    most: usize,
    work: impl FnMut(Minpoints) -> ControlFlow<()> + Send,
) -> Result<()> {
    let decide = Decide::new(batch, params);
    #[cfg(feature = "gpu")]
    if let Backend::Gpu(gpu) = backend
        && gpu::can_search(gpu, batch, params.num_lines)
    {
        let (mut work, mut done) = (work, Vec::new());
        let found = gpu::for_each(gpu, batch, params, |candidates| {
            let lines = candidates.par_chunks(params.num_lines * POINTS_PER_PIECE);
            let parts: Vec<Minpoints> = lines.map(|lines| decide.candidates(lines)).collect();
            parts.into_iter().try_for_each(&mut work)?;
            done = candidates[candidates.len() - params.num_lines..].to_vec();
            ControlFlow::Continue(())
        });
        return match found {
            // The CPU goes on behind the last combination that was handed over.
            Err(error) if gpu.falls_back(&error) => {
                cpu::for_each(&Backend::Cpu, &decide, &done, most, work)
            }
            result => result,
        };
    }
    cpu::for_each(backend, &decide, &[], most, work)
}

/// Picks a sample's minpoints out of the batch's.
fn of_sample(batch: &Batch, sample: &Sample, parts: &[Minpoints], num_lines: usize) -> Minpoints {
    let Range { start, end } = sample.lines;
    let mut all = Minpoints::none(num_lines);
    let first_line = |part: &Minpoints, n: usize| part.lines(n)[0] as usize;
    let first = parts.partition_point(|part| first_line(part, part.len() - 1) < start);
    let of_sample = parts[first..]
        .iter()
        .take_while(|part| first_line(part, 0) < end);
    for part in of_sample {
        let first_lines = part.lines.chunks_exact(num_lines);
        let first = first_lines
            .take_while(|lines| (lines[0] as usize) < start)
            .count();
        for n in first..part.len() {
            let lines = part.lines(n);
            if lines[0] as usize >= end {
                break;
            }
            let [_, x, y, z] = part.points[n];
            if (lines[num_lines - 1] as usize) < end && is_inside([x, y, z], &sample.cutoffs) {
                all.points.push(part.points[n]);
                let row = |line: &u32| batch.rows[*line as usize] - sample.first_row;
                all.lines.extend(lines.iter().map(row));
            }
        }
    }
    all
}

fn is_inside(x: [f64; 3], limits: &Cutoffs) -> bool {
    (0..3).all(|k| limits[2 * k] <= x[k] && x[k] <= limits[2 * k + 1])
}

/// Decides about combinations in f64.
#[derive(Debug)]
struct Decide<'a> {
    params: &'a Params,
    batch: &'a Batch,
    normals: Vec<Normal>,
    cutoffs: Cutoffs,
}

impl<'a> Decide<'a> {
    fn new(batch: &'a Batch, params: &'a Params) -> Self {
        Self {
            params,
            batch,
            normals: batch.rays.par_iter().map(Normal::new).collect(),
            cutoffs: batch.union_of_cutoffs(),
        }
    }

    /// Sums with one line more.
    #[inline]
    fn with(&self, sums: &Sums, line: u32) -> Sums {
        let line = line as usize;
        sums.with(&self.normals[line], self.batch.rays[line].t)
    }

    /// Adds the point of some lines and a last one, if it is one: the decision that both backends share. `sums`: over `chosen`.
    #[inline]
    fn decide(&self, sums: &Sums, chosen: &[u32], last: u32, found: &mut Minpoints) {
        let sums = self.with(sums, last);
        let num_lines = self.params.num_lines as f64;
        let Some(x) = sums.point(num_lines) else {
            return;
        };
        let distance = self.params.max_distance;
        let near = |line: &u32| self.normals[*line as usize].is_within(x, distance);
        if is_inside(x, &self.cutoffs) && near(&last) && chosen.iter().all(near) {
            found.points.push([sums.t / num_lines, x[0], x[1], x[2]]);
            found.lines.extend_from_slice(chosen);
            found.lines.push(last);
        }
    }

    /// Decides about proposed combinations, one after another in `lines`.
    #[cfg(feature = "gpu")]
    fn candidates(&self, lines: &[u32]) -> Minpoints {
        let num_lines = self.params.num_lines;
        let mut found = Minpoints::none(num_lines);
        for lines in lines.chunks_exact(num_lines) {
            let (chosen, last) = lines.split_at(num_lines - 1);
            let sum = |sums: Sums, line: &u32| self.with(&sums, *line);
            let sums = chosen.iter().fold(Sums::ZERO, sum);
            self.decide(&sums, chosen, last[0], &mut found);
        }
        found
    }
}

/// A line's contribution to `A` and `b`.
#[derive(Clone, Copy, Debug, Default)]
struct Normal {
    /// xx, xy, xz, yy, yz, zz
    a: [f64; 6],
    b: [f64; 3],
    /// Unit direction and point.
    u: [f64; 3],
    p: [f64; 3],
}

impl Normal {
    fn new(ray: &Ray) -> Self {
        let length = norm(ray.u);
        let u = ray.u.map(|v| v / length);
        let [x, y, z] = u;
        let a = [
            1.0 - x * x,
            -(x * y),
            -(x * z),
            1.0 - y * y,
            -(y * z),
            1.0 - z * z,
        ];
        Self {
            a,
            b: times(&a, ray.p),
            u,
            p: ray.p,
        }
    }

    /// Whether a point is within a distance of the line.
    #[inline]
    fn is_within(&self, x: [f64; 3], distance: f64) -> bool {
        norm(cross(sub(x, self.p), self.u)) <= distance
    }
}

/// A symmetric matrix times a vector.
fn times(a: &[f64; 6], [x, y, z]: [f64; 3]) -> [f64; 3] {
    let [xx, xy, xz, yy, yz, zz] = a;
    [
        xx * x + xy * y + xz * z,
        xy * x + yy * y + yz * z,
        xz * x + yz * y + zz * z,
    ]
}

/// Sums over chosen lines, in their order.
#[derive(Clone, Copy, Debug)]
struct Sums {
    a: [f64; 6],
    b: [f64; 3],
    t: f64,
}

impl Sums {
    const ZERO: Self = Self {
        a: [0.0; 6],
        b: [0.0; 3],
        t: 0.0,
    };

    #[inline]
    fn with(&self, normal: &Normal, t: f64) -> Self {
        Self {
            a: std::array::from_fn(|k| self.a[k] + normal.a[k]),
            b: std::array::from_fn(|k| self.b[k] + normal.b[k]),
            t: self.t + t,
        }
    }

    /// The point with the least squares, by Cramer's rule; `None` if `A` is singular.
    #[inline]
    fn point(&self, num_lines: f64) -> Option<[f64; 3]> {
        let [xx, xy, xz, yy, yz, zz] = self.a;
        // Cofactors.
        let c = [
            yy * zz - yz * yz,
            xz * yz - xy * zz,
            xy * yz - xz * yy,
            xx * zz - xz * xz,
            xy * xz - xx * yz,
            xx * yy - xy * xy,
        ];
        let determinant = xx * c[0] + xy * c[1] + xz * c[2];
        // Not `<=`: NaN is singular too.
        if determinant / (num_lines * num_lines * num_lines) > SINGULAR {
            let scale = 1.0 / determinant;
            Some(times(&c, self.b).map(|v| v * scale))
        } else {
            None
        }
    }
}
