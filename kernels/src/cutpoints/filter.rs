//! The f32 filter that proposes pairs on both backends, and why it loses none.
//!
//! # The filter
//!
//! A line is its unit direction `u` and its moment `m = (P - c) x u` about the centre `c` of the batch's cutoffs, made in
//! f64, divided by a power of two `S >= r_m = max |m|` and rounded to f32. With `T = u_i.m_j + m_i.u_j` and `C = u_i.u_j` a
//! pair is a candidate when `x^2 <= m2 (k - C^2)`, `x = max(|T| - g, 0)`.
//!
//! # The proof
//!
//! In exact arithmetic `|T| S = d sin(angle)`, with `d` the distance of the lines, and `1 - C^2 = sin^2`. Let `e = 2^-53` and
//! `eps = 2^-23`. WGSL rounds each f32 operation up *or* down (one `eps`), may fuse, reorder sums and flush subnormals to 0.
//! Let `L` be at least `|P| + |c| + rho` for each line, `rho` = half the diagonal of the cutoffs + `max_distance` / 2.
//!
//! 1. *If the f64 formula accepts*, its `A`, `C` are within `2 e L` of the lines, whatever `s` and `t` came out: `A` lies within
//!    `rho` of `c`, so `|A| <= L` and `|s U| <= |A| + |P| <= 2 L` bound the two roundings of `P + s U`. Hence
//!    `d <= max (1 + 4 e) + 6 e L`, which `m' = max (1 + 1e-12) + 2^-48 L` exceeds (`2^-48 = 32 e`). Neither can `d` exceed
//!    `2 r_m`, since both lines come within `r_m` of `c`: this bounds `m'` when `max` is huge.
//! 2. *A line that misses the ball* of radius `rho` about `c` is in no accepted pair: it is left out, so that
//!    far lines do not enlarge `r_m`.
//! 3. *`T`*. The f64 moments are off by `<= 8 e L` (difference, products, normalisation), the directions by `3 e`: together
//!    `22 e L < 2^-48 L` in `T S`. Rounding the inputs to f32 (to nearest, `eps / 2` each) adds at most `eps` of each product,
//!    and the magnitudes of three products sum to at most `r_m` (Cauchy-Schwarz): `2 eps r_m` for both. Six products and
//!    five additions in any order round each term at most six times: `6 eps * 2 r_m = 12 eps r_m`, with second-order terms below
//!    `0.5 eps r_m`. So `g = (14.5 eps r_m + 2^-48 L) / S` covers `T`; flushed products are below `2^-126`, and `g >= 2^-49`.
//! 4. *`C`*. Inputs `eps`, three products and two additions `3 eps`: `|error of C| <= 4 eps`, of `C^2` at most `9.01 eps`, less
//!    than the `16 eps` in `k`. So the computed `k - C^2` is at least `sin^2 (1 - eps)`, and at least `6 eps`.
//! 5. *The comparison.* `x (1 + eps)`, its square, `k - C^2` and the product with `m2` round by `5 eps` in all: covered by the factor
//!    `1 + 16 eps` in `m2`, whose own rounding to f32 is upwards. `m2 >= 2^-80`, so `m2 (k - C^2)` is not flushed; `x^2` may be,
//!    which only admits more.
//!
//! All inputs are at most 1 in magnitude and `g <= 4`, so neither NaN nor infinity arises.

use std::ops::Range;

use crate::cutpoints::{Cutpoint, Params, confirm};
use crate::line::{Cutoffs, EMPTY_BOX, LineSlice, Ray, cross, dot, sub};

/// One unit in the last place of 1f32: the error of one operation that rounds up or down.
const EPS: f64 = f32::EPSILON as f64;
/// Covers everything that f64 rounds, per unit of `L`: 32 units of `2^-53`, of which 22 are needed.
const F64_BAND: f64 = 1.0 / (1u64 << 48) as f64;
/// Rows are filtered in blocks of this many lines; the columns are padded to it.
pub(super) const BLOCK: usize = 64;

/// The constants of the filter: `g`, `k`, `m2`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "gpu", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub(super) struct Filter {
    pub(super) guard: f32,
    pub(super) k: f32,
    pub(super) max_squared: f32,
    pub(super) padding: u32,
}

impl Filter {
    /// `r_m`: largest moment; `reach`: `L`; `scale`: `S`; all in mm. `band` scales the guard band: 1, but for the test's control.
    fn new(max_distance: f64, r_m: f64, reach: f64, scale: f64, band: f64) -> Self {
        let guard = band * (14.5 * EPS * r_m + F64_BAND * reach) / scale;
        let max = (max_distance * (1.0 + 1e-12) + F64_BAND * reach)
            .min(2.0 * r_m * (1.0 + 1e-6) + F64_BAND * reach);
        let max = max.max(scale / (1u64 << 40) as f64) / scale;
        // Unbounded input (infinite cutoffs, overflow): every pair is a candidate, f64 decides alone.
        let finite = guard < 4.0 && max.is_finite();
        Self {
            guard: if finite { round_up(guard) } else { 4.0 },
            k: 1.0 + 16.0 * f32::EPSILON,
            max_squared: if finite {
                round_up(max * max * (1.0 + 16.0 * EPS))
            } else {
                1.0
            },
            padding: 0,
        }
    }

    /// Whether a pair is a candidate.
    #[inline(always)]
    pub(super) fn proposes(&self, a: &[f32; 6], b: &[f32; 6]) -> bool {
        let t = a[0] * b[3] + a[1] * b[4] + a[2] * b[5] + a[3] * b[0] + a[4] * b[1] + a[5] * b[2];
        let c = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        let x = (t.abs() - self.guard).max(0.0);
        x * x <= self.max_squared * (self.k - c * c)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the purpose"
)]
fn round_up(x: f64) -> f32 {
    let y = x as f32;
    if f64::from(y) < x { y.next_up() } else { y }
}

/// A batch of samples, ready for the filter: lines that can be in no accepted pair are left out.
#[derive(Debug)]
pub(super) struct Batch {
    /// `ux uy uz mx my mz` of the lines, padded by [`BLOCK`].
    pub(super) columns: [Vec<f32>; 6],
    /// The lines in f64, in the same order, without padding.
    rays: Vec<Ray>,
    /// The row that each line had in the input.
    rows: Vec<u32>,
    /// The samples' lines, as ranges of `rays`.
    pub(super) samples: Vec<Sample>,
    pub(super) filter: Filter,
    max_squared: f64,
}

/// A sample of a [`Batch`].
#[derive(Debug)]
pub(super) struct Sample {
    /// Its lines.
    pub(super) lines: Range<usize>,
    /// Its first row in the input.
    first_row: u32,
    cutoffs: Cutoffs,
}

impl Batch {
    /// `lines` are finite, `samples` within them, `params` checked.
    pub(super) fn new(lines: LineSlice<'_>, samples: &[Range<usize>], params: &Params) -> Self {
        Self::with_band(lines, samples, params, 1.0)
    }

    fn with_band(
        lines: LineSlice<'_>,
        samples: &[Range<usize>],
        params: &Params,
        band: f64,
    ) -> Self {
        let cutoffs: Vec<Cutoffs> = samples
            .iter()
            .map(|rows| {
                params
                    .cutoffs
                    .unwrap_or_else(|| lines.range(rows).bounding_box())
            })
            .collect();
        let union = cutoffs.iter().fold(EMPTY_BOX, |a, b| {
            std::array::from_fn(|k| {
                if k % 2 == 0 {
                    a[k].min(b[k])
                } else {
                    a[k].max(b[k])
                }
            })
        });
        let centre: [f64; 3] = std::array::from_fn(|k| 0.5 * union[2 * k] + 0.5 * union[2 * k + 1]);
        let half: [f64; 3] = std::array::from_fn(|k| 0.5 * union[2 * k + 1] - 0.5 * union[2 * k]);
        let rho = norm(half) + 0.5 * params.max_distance;

        let (mut rays, mut rows, mut lines_f64) = (Vec::new(), Vec::new(), Vec::<[f64; 6]>::new());
        let (mut r_m, mut reach) = (0.0_f64, 0.0_f64);
        for (row, line) in (0u32..).zip(lines.rows()) {
            let ray = Ray::new(line);
            if ray.uu == 0.0 {
                continue; // D is 0 with any other line
            }
            let length = norm(ray.u);
            let u = ray.u.map(|v| v / length);
            let m = cross(sub(ray.p, centre), u);
            let line_reach = norm(ray.p) + norm(centre) + rho;
            // Not `>`: what overflowed to NaN stays, the filter then proposes every pair.
            if norm(m) > rho + F64_BAND * line_reach {
                continue;
            }
            r_m = max_or_nan(r_m, norm(m));
            reach = max_or_nan(reach, line_reach);
            rays.push(ray);
            rows.push(row);
            lines_f64.push([u[0], u[1], u[2], m[0], m[1], m[2]]);
        }
        let scale = power_of_two_above(r_m.max(reach / (1u64 << 40) as f64));
        let columns = std::array::from_fn(|k| {
            let unit = if k < 3 { 1.0 } else { scale };
            let mut column = Vec::with_capacity(lines_f64.len() + BLOCK);
            column.extend(lines_f64.iter().map(|line| to_f32(line[k] / unit)));
            column.resize(lines_f64.len() + BLOCK, 0.0);
            column
        });
        let samples = samples
            .iter()
            .zip(cutoffs)
            .map(|(range, cutoffs)| {
                let position = |row: usize| rows.partition_point(|&kept| (kept as usize) < row);
                let first_row =
                    u32::try_from(range.start).expect("rows should fit u32: checked by the caller");
                Sample {
                    lines: position(range.start)..position(range.end),
                    first_row,
                    cutoffs,
                }
            })
            .collect();
        let filter = Filter::new(params.max_distance, r_m, reach, scale, band);
        Self {
            columns,
            rays,
            rows,
            samples,
            filter,
            max_squared: params.max_distance * params.max_distance,
        }
    }

    /// A line's `u` and `m`.
    pub(super) fn line(&self, n: usize) -> [f32; 6] {
        std::array::from_fn(|k| self.columns[k][n])
    }

    /// Number of lines, without padding.
    #[cfg(feature = "gpu")]
    pub(super) fn n_lines(&self) -> usize {
        self.rays.len()
    }

    /// Adds the cutpoint of two lines of the batch, if the f64 formula makes them one.
    #[inline]
    pub(super) fn confirm(&self, sample: &Sample, i: usize, j: usize, out: &mut Vec<Cutpoint>) {
        if let Some([t, x, y, z]) = confirm(
            &self.rays[i],
            &self.rays[j],
            self.max_squared,
            &sample.cutoffs,
        ) {
            let (i, j) = (
                self.rows[i] - sample.first_row,
                self.rows[j] - sample.first_row,
            );
            out.push(Cutpoint { t, x, y, z, i, j });
        }
    }
}

fn norm(v: [f64; 3]) -> f64 {
    dot(v, v).sqrt()
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
