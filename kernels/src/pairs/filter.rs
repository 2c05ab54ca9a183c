//! The f32 filter that proposes pairs of lines on both backends, and why it loses none.
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
//! An accepted pair has a point in the box of the cutoffs that both lines pass within `a`, so that their distance is at most
//! `2 a`: for cutpoints `a = max_distance / 2`, for minpoints `a = max_distance`. Let `max = 2 a`, `rho` = half the diagonal of the
//! cutoffs + `a`, and `L` at least `|P| + |c| + rho` for each line.
//!
//! 1. *If the f64 formula of cutpoints accepts*, its `A`, `C` are within `2 e L` of the lines, whatever `s` and `t` came out: `A` lies within
//!    `rho` of `c`, so `|A| <= L` and `|s U| <= |A| + |P| <= L` bound the two roundings of `P + s U`. Hence
//!    `d <= max (1 + 4 e) + 6 e L`, which `m' = max (1 + 1e-12) + 2^-48 L` exceeds (`2^-48 = 32 e`). Neither can `d` exceed
//!    `2 r_m`, since both lines come within `r_m` of `c`: this bounds `m'` when `max` is huge. *For minpoints* the f64 formula
//!    measures the distance of a point `x` in the box from each line, as `|(x - P) x u|` with `|x - P| <= L`: the difference
//!    rounds by `e L`, `u` by `3.5 e`, the product by `4 e L`, the norm by `3 e` of itself, so that `d <= 2 (a (1 + 4 e) + 8.5 e L)`, which
//!    `m'` exceeds as well. Sums of squares that underflow are off by less than `2^-1070`: nothing beside the slack in `m'` where
//!    `m' >= 2^-500`, since `max` or `2^-48 L` then is at least half of that. Batches with a smaller one are left to f64.
//! 2. *A line that misses the ball* of radius `rho` about `c` (by `2^-500` at least, for underflow) is in no accepted pair: it is left
//!    out, so that far lines do not enlarge `r_m`.
//! 3. *`T`*. The f64 moments are off by `<= 8 e L` (difference, products, normalisation), the directions by `3.5 e`: together
//!    `23 e L < 2^-48 L` in `T S`. Rounding the inputs to f32 (to nearest, `eps / 2` each) adds at most `eps` of each product,
//!    and the magnitudes of three products sum to at most `r_m` (Cauchy-Schwarz): `2 eps r_m` for both. Six products and
//!    five additions in any order round each term at most six times: `6 eps * 2 r_m = 12 eps r_m`, with second-order terms below
//!    `0.5 eps r_m`. So `g = (14.5 eps r_m + 2^-48 L) / S` covers `T`; flushed products are below `2^-126`, and `g >= 2^-49`.
//! 4. *`C`*. Inputs `eps`, three products and two additions `3 eps`: `|error of C| <= 4 eps`, of `C^2` at most `9.01 eps`, less
//!    than the `16 eps` in `k`. So the computed `k - C^2` is at least `sin^2 (1 - eps)`, and at least `6 eps`.
//! 5. *The comparison.* `x (1 + eps)`, its square, `k - C^2` and the product with `m2` round by `5 eps` in all: covered by the factor
//!    `1 + 16 eps` in `m2`, whose own rounding to f32 is upwards. `m2 >= 2^-80`, so `m2 (k - C^2)` is not flushed; `x^2` may be,
//!    which only admits more.
//!
//! A line so short or so long that `U.U` underflows or overflows has no direction in f64: it is not left out, and its batch proposes
//! every pair, as does one of unbounded cutoffs or overflowing coordinates. All inputs are at most 1 in magnitude and `g <= 4`, so neither NaN nor infinity arises.

/// One unit in the last place of 1f32: the error of one operation that rounds up or down.
const EPS: f64 = f32::EPSILON as f64;
/// Covers everything that f64 rounds, per unit of `L`: 32 units of `2^-53`, of which 23 are needed.
pub(super) const F64_BAND: f64 = 1.0 / (1u64 << 48) as f64;
/// Lengths (mm) far below which squares underflow in f64: 2^-500.
pub(super) const UNDERFLOW: f64 = f64::from_bits((1_023 - 500) << 52);
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
    pub(super) fn new(max_distance: f64, r_m: f64, reach: f64, scale: f64, band: f64) -> Self {
        let guard = band * (14.5 * EPS * r_m + F64_BAND * reach) / scale;
        let max = (max_distance * (1.0 + 1e-12) + F64_BAND * reach)
            .min(2.0 * r_m * (1.0 + 1e-6) + F64_BAND * reach);
        let is_tiny = max < UNDERFLOW;
        let max = max.max(scale / (1u64 << 40) as f64) / scale;
        if is_tiny || !(guard < 4.0 && max.is_finite()) {
            return Self::EVERYTHING;
        }
        Self {
            guard: round_up(guard),
            k: 1.0 + 16.0 * f32::EPSILON,
            max_squared: round_up(max * max * (1.0 + 16.0 * EPS)),
            padding: 0,
        }
    }

    /// Proposes every pair, where f32 can say nothing (infinite cutoffs, overflow, underflow): values are at most 2, so that
    /// `|T| <= 24` and `C^2 <= 144`.
    pub(super) const EVERYTHING: Self = Self {
        guard: 64.0,
        k: 256.0,
        max_squared: 1.0,
        padding: 0,
    };

    /// Whether a pair is a candidate: what `cpu.rs` and the shader compute for many.
    #[cfg(test)]
    pub(super) fn proposes(&self, a: &[f32; 6], b: &[f32; 6]) -> bool {
        let t = a[0] * b[3] + a[1] * b[4] + a[2] * b[5] + a[3] * b[0] + a[4] * b[1] + a[5] * b[2];
        let c = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        let x = (t.abs() - self.guard).max(0.0);
        x * x <= self.max_squared * (self.k - c * c)
    }
}

/// The least f32 that is not below.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the purpose"
)]
pub(crate) fn round_up(x: f64) -> f32 {
    let y = x as f32;
    if f64::from(y) < x { y.next_up() } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::cutpoints::{self, confirm};
    use crate::line::{LineSlice, Ray, cross, dot, norm, sub};
    use crate::pairs::{Batch, Near};
    use crate::rounding::{MODELS, Rounding, Uniform};

    /// [`Filter::proposes`] as such an adapter computes it.
    fn proposes(
        model: Rounding,
        filter: &Filter,
        a: &[f32; 6],
        b: &[f32; 6],
        reversed: bool,
    ) -> bool {
        let mut terms: Vec<(f32, f32)> = (0..6).map(|k| (a[k], b[(k + 3) % 6])).collect();
        if reversed {
            terms.reverse();
        }
        let t = model.sum(&terms);
        let c = model.sum(&[(a[0], b[0]), (a[1], b[1]), (a[2], b[2])]);
        let x = model.round(t.abs() - f64::from(filter.guard)).max(0.0);
        let sine_squared = model.round(f64::from(filter.k) - model.round(c * c));
        model.round(x * x) <= model.round(f64::from(filter.max_squared) * sine_squared)
    }

    /// Pairs that f64 accepts by the narrowest margin, and how many of them each model of rounding loses with a share of the band.
    fn losses(share_of_band: f64) -> [usize; 6] {
        let mut random = Uniform(1);
        let cutoffs = [-300.0, 300.0, -300.0, 300.0, -300.0, 300.0];
        let mut lost = [0; 6];
        let mut accepted = 0;
        for n in 0..20_000_usize {
            // Lines that (nearly) cross somewhere in the box, at angles from 1 to 1e-7.
            let crossing = random.vector(500.0);
            let u = random.vector(2.0);
            let angle = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7][n % 8];
            let turned: [f64; 3] = std::array::from_fn(|k| u[k] + angle * (random.next() - 0.5));
            let gap = random.vector([0.0, 1e-6, 1e-3, 1.0][n / 8 % 4]);
            let row = |offset: [f64; 3], u: [f64; 3], from: f64| {
                let end = |s: f64| -> [f64; 3] {
                    std::array::from_fn(|k| crossing[k] + offset[k] + s * u[k])
                };
                let ([x1, y1, z1], [x2, y2, z2]) = (end(from), end(from + 500.0));
                [0.0, x1, y1, z1, x2, y2, z2]
            };
            let rows = [
                row([0.0; 3], u, -250.0),
                row(gap, turned, -400.0 * random.next()),
            ];
            let [first, second] = [Ray::new(&rows[0]), Ray::new(&rows[1])];
            // The smallest threshold that the f64 formula accepts.
            let accepts = |max: f64| confirm(&first, &second, max * max, &cutoffs).is_some();
            let w = sub(second.p, first.p);
            let normal = cross(first.u, second.u);
            let mut max = dot(w, normal).abs() / norm(normal);
            if !accepts(10.0 + 2.0 * max) {
                continue; // the crossing is outside the box
            }
            let mut step = max * 1e-15 + 1e-13;
            while !accepts(max) {
                max += step;
                step *= 1.5;
            }
            accepted += 1;
            let near = Near {
                cutoffs: Some(cutoffs),
                distance: 0.5 * max,
            };
            let lines = LineSlice::from_rows(&rows);
            let batch = Batch::with_band(lines, &[0..2, 0..2], &near, share_of_band);
            assert_eq!(
                batch.samples[0].lines,
                0..2,
                "both lines pass through the box"
            );
            let (a, b) = (batch.line(0), batch.line(1));
            for (lost, model) in lost.iter_mut().zip(MODELS) {
                let proposed =
                    [false, true].map(|reversed| proposes(model, &batch.filter, &a, &b, reversed));
                *lost += usize::from(proposed != [true; 2]);
            }
            if share_of_band >= 1.0 {
                assert!(batch.filter.proposes(&a, &b));
            }
        }
        assert!(accepted > 10_000, "{accepted}");
        lost
    }

    #[test]
    fn the_guard_band_loses_no_pair_under_any_model_of_rounding() {
        assert_eq!(losses(1.0), [0; 6]);
    }

    /// The control: the test above can fail.
    #[test]
    fn a_tenth_of_the_guard_band_loses_pairs_when_rounding_is_directed() {
        let lost = losses(0.1);
        assert!(
            lost.iter()
                .zip(MODELS)
                .any(|(&lost, model)| lost > 0 && model.is_directed()),
            "{lost:?}"
        );
    }

    #[test]
    fn distances_too_small_for_f64_leave_every_pair_to_it() {
        // Their distance is 2.6e-162 mm, but its square is 0 in f64.
        let (length, far) = (1e-70, 1.5e-162);
        let lors = [
            [0.0, 0.0, 0.0, 0.0, length, -length, 0.0],
            [
                0.0,
                far,
                far,
                far,
                far + length,
                far + length,
                far - 2.0 * length,
            ],
        ];
        let box_of = |size: f64| [-size, size, -size, size, -size, size];
        let params = cutpoints::Params::new(1.6e-162).cutoffs(box_of(1e-160));
        let found = cutpoints::on(&Backend::Cpu, LineSlice::from_rows(&lors), &params);
        assert_eq!(found.unwrap().len(), 1);
        // A distance of 0 is small only where everything is.
        for (size, is_tiny) in [(1e-160, true), (1.0, false)] {
            let near = Near {
                cutoffs: Some(box_of(size)),
                distance: 0.0,
            };
            let batch = Batch::new(LineSlice::from_rows(&lors), &[0..2, 0..2], &near);
            assert_eq!(batch.is_beyond_f32(), is_tiny);
        }
    }

    #[test]
    fn lines_too_short_for_f64_leave_every_pair_to_it() {
        let tiny = [0.0, 0.0, 0.0, 0.0, 1e-160, 0.0, 0.0];
        let near = Near {
            cutoffs: None,
            distance: 0.5,
        };
        let batch = Batch::new(LineSlice::from_rows(&[tiny; 2]), &[0..2, 0..2], &near);
        assert!(batch.filter.proposes(&batch.line(0), &batch.line(1)));
    }
}
