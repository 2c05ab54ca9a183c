//! Minpoints: the points that are nearest to combinations of lines.
//!
//! For every combination of `num_lines` of a sample's *infinite* lines (point `p`, unit direction `u`), the point `x` with the least sum of
//! squared distances: `A x = b`, `A` the sum of `I - u u^T`, `b` that of `(I - u u^T) p`. It is kept when `det(A) / num_lines^3 >
//! 1e-12`, `x` lies in the closed box of the cutoffs and no line is further than `max_distance` from it.
//!
//! Any two lines of a kept point are within `2 max_distance` of each other: only combinations of lines that all are, pair by pair, are
//! looked at (see `pairs/filter.rs`), which gives the same points as all combinations do.
//!
//! Nicusan and Windows-Yule, "Positron emission particle tracking using machine learning",
//! Review of Scientific Instruments 91, 013329 (2020).

use std::ops::Range;

use rayon::prelude::*;

use crate::backend::Backend;
use crate::error::{KernelError, Result};
use crate::line::{Cutoffs, LineSlice, Ray, cross, norm, sub};
use crate::pairs::{Batch, Near, Sample};

/// A system whose determinant, divided by the number of lines cubed, is at most this is singular.
const SINGULAR: f64 = 1e-12;
/// First lines of combinations that one task takes.
const LINES_PER_TASK: usize = 16;

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
}

/// The minpoints of a sample, in the lexicographic order of their lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Minpoints {
    num_lines: usize,
    points: Vec<[f64; 4]>,
    lines: Vec<u32>,
}

impl Minpoints {
    fn none(num_lines: usize) -> Self {
        Self {
            num_lines,
            points: Vec::new(),
            lines: Vec::new(),
        }
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
/// A GPU finds the pairs of lines that are near each other; combinations of them are made and decided on the processor.
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
    params.check()?;
    let near = Near {
        cutoffs: params.cutoffs,
        distance: params.max_distance,
    };
    let batch = Batch::checked(lines, samples, &near)?;
    let partners = Partners::new(backend, &batch)?;
    let planes: Vec<Normal> = batch.rays.par_iter().map(Normal::new).collect();
    let of_sample = |sample: &Sample| {
        let firsts: Vec<usize> = sample.lines.clone().step_by(LINES_PER_TASK).collect();
        let parts: Vec<Minpoints> = firsts
            .into_par_iter()
            .map(|first| {
                let mut search = Search {
                    params,
                    batch: &batch,
                    sample,
                    normals: &planes,
                    partners: &partners,
                    chosen: Vec::new(),
                    found: Minpoints::none(params.num_lines),
                };
                let end = sample.lines.end.min(first + LINES_PER_TASK);
                for line in first..end {
                    search.start(line);
                }
                search.found
            })
            .collect();
        let mut all = Minpoints::none(params.num_lines);
        for mut part in parts {
            all.points.append(&mut part.points);
            all.lines.append(&mut part.lines);
        }
        all
    };
    Ok(batch.samples.par_iter().map(of_sample).collect())
}

/// The lines after each line that are near it.
#[derive(Debug)]
struct Partners {
    starts: Vec<usize>,
    lines: Vec<u32>,
}

impl Partners {
    fn new(backend: &Backend, batch: &Batch) -> Result<Self> {
        let parts = batch.map(backend, |lines, proposals| {
            let (mut partners, mut all, mut lens) = (Vec::new(), Vec::new(), Vec::new());
            for i in lines {
                proposals.partners(i, &mut partners);
                all.extend_from_slice(&partners);
                lens.push(partners.len());
            }
            (lens, all)
        })?;
        let mut found = Self {
            starts: vec![0],
            lines: Vec::new(),
        };
        let mut end = 0;
        for (lens, mut lines) in parts {
            found.starts.extend(lens.iter().map(|len| {
                end += len;
                end
            }));
            found.lines.append(&mut lines);
        }
        Ok(found)
    }

    fn of(&self, line: u32) -> &[u32] {
        let line = line as usize;
        &self.lines[self.starts[line]..self.starts[line + 1]]
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

/// What may follow some chosen lines: lines that are near all of them.
#[derive(Debug)]
struct Level {
    sums: Sums,
    candidates: Vec<u32>,
    next: usize,
}

/// The search for a sample's combinations.
struct Search<'a> {
    params: &'a Params,
    batch: &'a Batch,
    sample: &'a Sample,
    normals: &'a [Normal],
    partners: &'a Partners,
    chosen: Vec<u32>,
    found: Minpoints,
}

impl Search<'_> {
    /// All combinations whose first line this is.
    fn start(&mut self, line: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^32 lines")]
        let line = line as u32;
        let partners = self.partners.of(line);
        let within = partners.partition_point(|&other| (other as usize) < self.sample.lines.end);
        self.chosen.clear();
        self.chosen.push(line);
        // A stack of its own: as deep as there are lines in a combination.
        let mut levels = vec![Level {
            sums: Sums::ZERO.with(&self.normals[line as usize], self.time(line)),
            candidates: partners[..within].to_vec(),
            next: 0,
        }];
        while let Some(level) = levels.last_mut() {
            let missing = self.params.num_lines - self.chosen.len();
            let left = &level.candidates[level.next..];
            if missing == 1 {
                let sums = level.sums;
                for &line in left {
                    self.decide(&sums, line);
                }
            }
            if missing == 1 || left.len() < missing {
                levels.pop();
                self.chosen.pop();
                continue;
            }
            let line = left[0];
            let mut both = Vec::with_capacity(left.len());
            intersect(&left[1..], self.partners.of(line), &mut both);
            level.next += 1;
            let sums = level
                .sums
                .with(&self.normals[line as usize], self.time(line));
            self.chosen.push(line);
            levels.push(Level {
                sums,
                candidates: both,
                next: 0,
            });
        }
    }

    fn time(&self, line: u32) -> f64 {
        self.batch.rays[line as usize].t
    }

    /// Adds the point of the chosen lines and a last one, if it is one.
    #[inline]
    fn decide(&mut self, sums: &Sums, last: u32) {
        let normal = &self.normals[last as usize];
        let sums = sums.with(normal, self.time(last));
        let num_lines = self.params.num_lines as f64;
        let Some(x) = sums.point(num_lines) else {
            return;
        };
        let limits = &self.sample.cutoffs;
        let inside = (0..3).all(|k| limits[2 * k] <= x[k] && x[k] <= limits[2 * k + 1]);
        let distance = self.params.max_distance;
        let near = |line: &u32| self.normals[*line as usize].is_within(x, distance);
        if inside && normal.is_within(x, distance) && self.chosen.iter().all(near) {
            self.found
                .points
                .push([sums.t / num_lines, x[0], x[1], x[2]]);
            let row = |line: &u32| self.batch.rows[*line as usize] - self.sample.first_row;
            self.found.lines.extend(self.chosen.iter().map(row));
            self.found.lines.push(row(&last));
        }
    }
}

/// What two ascending lists have in common.
fn intersect(a: &[u32], b: &[u32], both: &mut Vec<u32>) {
    let mut b = b.iter().copied().peekable();
    for &x in a {
        while b.next_if(|&y| y < x).is_some() {}
        match b.peek() {
            Some(&y) if y == x => both.push(x),
            Some(_) => {}
            None => return,
        }
    }
}
