//! The f32 filter that leaves out combinations of 3 or 4 lines without a point, and why it loses none.
//!
//! # The filter
//!
//! Lines are as in `pairs/filter.rs`: unit direction `u`, moment `m` about the centre, all lengths in units of the scale `S`. For any point
//! `x`, `q_l = x x u_l - m_l` is as long as the distance of `x` from line `l`, and `g = sum of u_l x q_l = A x - b` is half the gradient
//! of the sum of squared distances. With `w` at most the least eigenvalue of `A`, the exact least-squares point `x*` is within
//! `|g| / w` of `x`. So a combination is left out if `|q_l| > D + E + G / w` for one of its lines: `D` is the largest distance, `E` what
//! rounding adds to `|q_l|`, and `G` is at least `|g|`. This holds for *every* `x`, whatever rounding did to the solution that `x`
//! is meant to be. Where `w < 2^-10` nothing is left out.
//!
//! # The proof
//!
//! Let `e = 2^-53`, `eps = 2^-23`, `k <= 4` lines, `L` as for pairs; each f32 operation rounds up or down by `eps`, in any order, fused or not.
//! `X` is the 1-norm of `x`, at least its length; `|m_l| <= 1`.
//!
//! 1. *`D`*. Each `|P| <= L` and, in the box, `|x^| <= L` for the point `x^` that f64 found. In f64 the entries of `I - u u^T` are off by
//!    `9 e`, those of `A` by `k (k + 9) e`, of `b` by `k (k + 23) e L`, cofactors by `k^2 (4 k + 42) e`, the determinant by
//!    `3 k^3 (6 k + 80) e`, a component of cofactors times `b` by `3 k^3 (6 k + 96) e L`. Hence `|x^ - x*| <= 2^17 e L / det A`. The trace
//!    of `A` is `2 k` and no eigenvalue exceeds `k`, so `det A >= w (2 k / 3) (k / 3) >= 2 w >= 2^-9`: `|x^ - x*| <= 2^-27 L`. An accepted
//!    `x^` is within `d (1 + 4 e) + 8.5 e L` of each line (`pairs/filter.rs`, 1), `d = max_distance`, so that
//!    `D = (d (1 + 1e-12) + 2^-26 L) / S` bounds the distance of `x*` from each line.
//! 2. *`E`*. Inputs: `|x| (eps / 2 + 3.5 e)` by `u`, `eps / 2 + 8 e L / S` by `m`. Each component sums three terms that are rounded at most three
//!    times; the sums of their magnitudes have a norm of at most `1.42 X + 1`. Together below `eps (4.8 X + 3.6) + 2^-48 L / S`;
//!    `E = eps (8 X + 8) + 2^-48 L / S` covers its own rounding too. (Flushed subnormals are far below `2^-48 L / S >= 2^-49`.)
//! 3. *`G`*. `|g|` is off by `k E` and, each of `2 k` terms of a component being rounded `2 k` times, by `12 eps` of the sum of the
//!    `|q_l|`: `G` = 1-norm of `g` + `16 eps` (sum of 1-norms of `q_l`) + `k E`.
//! 4. *`w`*. Entries of `A` are off by at most `40 eps`, `A` by `120 eps`; its eigenvalues (Weyl) are too. The computed determinant is within
//!    `30.5 k^3 eps` of the computed matrix'. Two eigenvalues are at least `k / 3 - 120 eps`, and at most `k + 120 eps`, so the least one of
//!    the computed matrix is at least its determinant / `(k + 120 eps)^2`. So `w = determinant (1 - 2^-12) / k^2 - 256 eps` bounds that of
//!    `A`: `122 eps` for the determinant, `120 eps` for `A`, the rest for this line's own rounding.
//! 5. *The comparison* of squares rounds by less than `20 eps`, a division (2.5 units) included: `slack = 1 + 32 eps`.
//!
//! `w >= 2^-10` keeps the determinant away from 0, and `D <= 2^40`: no overflow, no NaN.

use crate::pairs::{Batch, round_up};

/// The shader's struct of the same name.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Filter {
    pub(super) distance: f32,
    pub(super) size_error: f32,
    pub(super) error: f32,
    pub(super) gradient_error: f32,
    pub(super) inverse: f32,
    pub(super) eigenvalue_error: f32,
    pub(super) min_eigenvalue: f32,
    pub(super) slack: f32,
}

const EPS: f32 = f32::EPSILON;
/// Below this least eigenvalue of `A` f64 decides.
const MIN_EIGENVALUE: f32 = 1.0 / 1_024.0;

impl Filter {
    /// For combinations of `num_lines` of the batch's lines. `band` scales all that covers rounding: 1, but for the test's control.
    pub(super) fn new(batch: &Batch, num_lines: usize, max_distance: f64, band: f64) -> Self {
        let k = num_lines as f64;
        let reach = batch.reach / batch.scale;
        let distance =
            max_distance * (1.0 + 1e-12) / batch.scale + band * reach / f64::from(1 << 26);
        let in_band = |x: f64| round_up(band * x);
        let error = 8.0 * f64::from(EPS) + reach / (1u64 << 48) as f64;
        // What f32 cannot hold is left to f64; also where the batch's lines are beyond it.
        let can = distance <= (1u64 << 40) as f64 && !batch.is_beyond_f32();
        Self {
            distance: if can { round_up(distance) } else { 0.0 },
            size_error: in_band(8.0 * f64::from(EPS)),
            error: in_band(error),
            gradient_error: in_band(16.0 * f64::from(EPS)),
            inverse: -round_up(-(1.0 - band / 4_096.0) / (k * k)),
            eigenvalue_error: in_band(256.0 * f64::from(EPS)),
            min_eigenvalue: if can { MIN_EIGENVALUE } else { f32::MAX },
            slack: 1.0 + in_band(32.0 * f64::from(EPS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Cutoffs, LineSlice, Ray, cross, norm, sub};
    use crate::minpoints::{Normal, Sums, is_inside};
    use crate::pairs::Near;
    use crate::rounding::{MODELS, Rounding, Uniform};

    /// The shader's arithmetic, with f32 values in f64.
    #[derive(Clone, Copy)]
    struct Machine(Rounding);

    impl Machine {
        fn add(self, a: f64, b: f64) -> f64 {
            self.0.round(a + b)
        }

        fn mul(self, a: f64, b: f64) -> f64 {
            self.0.round(a * b)
        }

        /// `c + a b`
        fn mul_add(self, c: f64, a: f64, b: f64) -> f64 {
            if self.0 == Rounding::Fused {
                self.0.round(c + a * b)
            } else {
                self.add(c, self.mul(a, b))
            }
        }

        fn dot(self, a: [f64; 3], b: [f64; 3]) -> f64 {
            self.mul_add(self.mul_add(self.mul(a[0], b[0]), a[1], b[1]), a[2], b[2])
        }

        fn cross(self, a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
            let component = |n: usize, m: usize| self.mul_add(self.mul(a[n], b[m]), -a[m], b[n]);
            [component(1, 2), component(2, 0), component(0, 1)]
        }

        fn sum(self, a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
            std::array::from_fn(|k| self.add(a[k], b[k]))
        }

        fn size(self, a: [f64; 3]) -> f64 {
            self.add(self.add(a[0].abs(), a[1].abs()), a[2].abs())
        }

        /// `x x u - m`
        fn arm(self, x: [f64; 3], (u, m): &([f64; 3], [f64; 3])) -> [f64; 3] {
            self.sum(self.cross(x, *u), m.map(|m| -m))
        }

        /// The shader's `may_have_point`.
        fn may_have_point(self, filter: &Filter, lines: &[[f32; 6]]) -> bool {
            let lines: Vec<([f64; 3], [f64; 3])> = lines
                .iter()
                .map(|line| line.map(f64::from))
                .map(|[a, b, c, d, e, f]| ([a, b, c], [d, e, f]))
                .collect();
            let [mut xx, mut xy, mut xz, mut yy, mut yz, mut zz] = [0.0; 6];
            let mut b = [0.0; 3];
            for line @ ([x, y, z], _) in &lines {
                xx = self.add(xx, self.mul_add(1.0, -x, *x));
                xy = self.mul_add(xy, -x, *y);
                xz = self.mul_add(xz, -x, *z);
                yy = self.add(yy, self.mul_add(1.0, -y, *y));
                yz = self.mul_add(yz, -y, *z);
                zz = self.add(zz, self.mul_add(1.0, -z, *z));
                b = self.sum(b, self.cross(line.0, line.1));
            }
            let minor = |a: f64, b: f64, c: f64, d: f64| self.mul_add(self.mul(a, b), -c, d);
            let rows = [
                [
                    minor(yy, zz, yz, yz),
                    minor(xz, yz, xy, zz),
                    minor(xy, yz, xz, yy),
                ],
                [
                    minor(xz, yz, xy, zz),
                    minor(xx, zz, xz, xz),
                    minor(xy, xz, xx, yz),
                ],
                [
                    minor(xy, yz, xz, yy),
                    minor(xy, xz, xx, yz),
                    minor(xx, yy, xy, xy),
                ],
            ];
            let determinant = self.dot([xx, xy, xz], rows[0]);
            let eigenvalue = self.mul_add(
                -f64::from(filter.eigenvalue_error),
                determinant,
                filter.inverse.into(),
            );
            if eigenvalue < f64::from(filter.min_eigenvalue) {
                return true;
            }
            let mut x = [0.0; 3];
            for _ in 0..2 {
                let step = rows.map(|row| self.0.round(self.dot(row, b) / determinant));
                x = self.sum(x, step);
                b = [0.0; 3];
                for line in &lines {
                    let g = self.cross(line.0, self.arm(x, line));
                    b = self.sum(b, g.map(|g| -g));
                }
            }
            let (mut gradient, mut farthest, mut sum) = ([0.0; 3], 0.0_f64, 0.0);
            for line in &lines {
                let q = self.arm(x, line);
                gradient = self.sum(gradient, self.cross(line.0, q));
                farthest = farthest.max(self.dot(q, q));
                sum = self.add(sum, self.size(q));
            }
            let error = self.mul_add(filter.error.into(), filter.size_error.into(), self.size(x));
            let slope = self.mul_add(self.size(gradient), filter.gradient_error.into(), sum);
            let slope = self.mul_add(slope, lines.len() as f64, error);
            let far = self.add(filter.distance.into(), error);
            let far = self.add(far, self.0.round(slope / eigenvalue));
            farthest <= self.mul(self.mul(far, far), filter.slack.into())
        }
    }

    const BOX: Cutoffs = [-300.0, 300.0, -300.0, 300.0, -300.0, 300.0];

    /// Combinations that f64 accepts by the narrowest margin, how many of them each model of rounding loses with a share of the band,
    /// and how many it leaves out that f64 refuses: those with 0.9 of the distance.
    fn losses(share_of_band: f64) -> ([usize; 6], usize, usize) {
        let mut random = Uniform(1);
        let (mut lost, mut left_out, mut n_all) = ([0; 6], 0, 0);
        for n in 0..20_000_usize {
            let k = 3 + n % 2;
            let crossing = random.vector(500.0);
            let u = random.vector(2.0);
            let angle = [2.0, 1.0, 0.3, 0.1, 3e-2, 1e-2, 1e-3, 1e-5][n / 2 % 8];
            let gap = [0.0, 1e-5, 1e-3, 1.0, 30.0][n / 16 % 5];
            let rows: Vec<[f64; 7]> = (0..k)
                .map(|_| {
                    let (offset, turn) = (random.vector(gap), random.vector(angle));
                    let from = -400.0 * random.next();
                    let end = |s: f64, k: usize| crossing[k] + offset[k] + s * (u[k] + turn[k]);
                    let [x1, y1, z1] = std::array::from_fn(|k| end(from, k));
                    let [x2, y2, z2] = std::array::from_fn(|k| end(from + 500.0, k));
                    [0.0, x1, y1, z1, x2, y2, z2]
                })
                .collect();
            let normals: Vec<Normal> = rows.iter().map(|row| Normal::new(&Ray::new(row))).collect();
            let sums = normals
                .iter()
                .fold(Sums::ZERO, |sums, normal| sums.with(normal, 0.0));
            let Some(x) = sums.point(k as f64).filter(|&x| is_inside(x, &BOX)) else {
                continue;
            };
            let distances = normals
                .iter()
                .map(|line| norm(cross(sub(x, line.p), line.u)));
            let distance = distances.fold(0.0, f64::max);
            n_all += 1;
            let filter_at = |distance: f64| {
                let near = Near {
                    cutoffs: Some(BOX),
                    distance,
                };
                let sample = 0..k;
                let lines = LineSlice::from_rows(&rows);
                let batch = Batch::checked(lines, std::slice::from_ref(&sample), &near).unwrap();
                let lines: Vec<[f32; 6]> = batch.samples[0]
                    .lines
                    .clone()
                    .map(|n| batch.line(n))
                    .collect();
                (Filter::new(&batch, k, distance, share_of_band), lines)
            };
            let (filter, lines) = filter_at(distance);
            assert_eq!(lines.len(), k);
            for (lost, model) in lost.iter_mut().zip(MODELS) {
                *lost += usize::from(!Machine(model).may_have_point(&filter, &lines));
            }
            let (filter, lines) = filter_at(0.9 * distance);
            let refuses = !Machine(Rounding::Nearest).may_have_point(&filter, &lines);
            left_out += usize::from(refuses);
        }
        (lost, left_out, n_all)
    }

    #[test]
    fn the_guard_band_loses_no_combination_under_any_model_of_rounding() {
        let (lost, left_out, n_all) = losses(1.0);
        assert_eq!(lost, [0; 6]);
        // It says something where lines cross at an angle and with a gap, which is every fourth time.
        assert!(n_all > 10_000 && 8 * left_out > n_all, "{left_out} {n_all}");
    }

    /// The control: the test above can fail. Not with a tenth, nor even a hundredth of the band, which lose nothing here: `|g| / w` alone,
    /// with a `w` far below most least eigenvalues, makes up for most of what rounding does.
    #[test]
    fn without_the_guard_band_combinations_are_lost_when_rounding_is_directed() {
        let (lost, ..) = losses(0.0);
        assert!(
            lost.iter()
                .zip(MODELS)
                .any(|(&lost, model)| lost > 0 && model.is_directed()),
            "{lost:?}"
        );
    }
}
