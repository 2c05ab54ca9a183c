//! A tracer and the lines near it.

use fearless_simd::dispatch;

use super::lors::{Lors, Pack, Path, length};
use super::simd::select;
use super::{LANES, MOMENTS, UNKNOWNS};
use crate::linear_algebra::norm;

/// Lines seen from a tracer, by lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// The square of the perpendicular from the line to the tracer (mm^2).
    pub(super) squared: [f64; LANES],
    /// The perpendicular (mm), shorter along the lean a, where the density is wider: `M r`, `M = 1 - u u^T - shrink a a^T`.
    pub(super) r: [[f64; LANES]; 3],
    pub(super) shrink: [f64; LANES],
    /// The density g, `h = sum g_j / s_j^2` and `sum g_j / s_j^4`: `grad g = -h M r`.
    pub(super) g: [f64; LANES],
    pub(super) h: [f64; LANES],
    pub(super) h2: [f64; LANES],
    /// `1 / f`; 0 in lanes without a line.
    pub(super) inverse: [f64; LANES],
}

/// The lines near a tracer.
#[derive(Clone, Debug, Default)]
pub(super) struct Near {
    /// Their places in [`Lors`], ascending.
    pub(super) rows: Vec<u32>,
    /// Those that are near other tracers too: the place in this list, and that in [`Lors`].
    pub(super) shared: Vec<(u32, u32)>,
    pub(super) packs: Vec<Pack>,
    pub(super) views: Vec<View>,
    /// Where the tracer was.
    pub(super) path: Path,
}

impl Near {
    /// The lines within `radius` (mm) of a path.
    pub(super) fn select(&mut self, lors: &Lors, path: &Path, radius: f64) {
        self.path = *path;
        self.rows.clear();
        dispatch!(lors.level, simd => select(simd, &lors.packs, path, radius, &mut self.rows));
        self.packs.clear();
        self.packs
            .resize(self.rows.len().div_ceil(LANES), Pack::default());
        for (n, &row) in self.rows.iter().enumerate() {
            let (from, lane) = (&lors.packs[row as usize / LANES], row as usize % LANES);
            let (to, place) = (&mut self.packs[n / LANES], n % LANES);
            for k in 0..3 {
                to.p[k][place] = from.p[k][lane];
                to.u[k][place] = from.u[k][lane];
                to.lean[k][place] = from.lean[k][lane];
            }
            to.tau[place] = from.tau[lane];
        }
        self.views.clear();
        self.views.resize(self.packs.len(), View::default());
    }

    /// Lanes without a line count for nothing.
    pub(super) fn clear_padding(&mut self) {
        let n = self.rows.len() % LANES;
        if let Some(last) = self.views.last_mut()
            && n > 0
        {
            last.inverse[n..].fill(0.0);
        }
    }

    pub(super) fn g(&self, n: usize) -> f64 {
        self.views[n / LANES].g[n % LANES]
    }

    pub(super) fn inverse(&self, n: usize) -> f64 {
        self.views[n / LANES].inverse[n % LANES]
    }
}

/// Sums over a tracer's lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// `sum tau^m n h M / f` (xx, xy, xz, yy, yz, zz), or the exact one: the blocks of the matrix.
    pub(super) matrix: [[f64; 6]; MOMENTS],
    /// `-sum tau^m n h M r / f`: the gradient of the log likelihood.
    pub(super) vector: Path,
    /// `sum g / f`.
    pub(super) share: f64,
    /// `sum 1 / f` of the lines within reach.
    pub(super) within: f64,
}

/// One tracer.
#[derive(Clone, Debug)]
pub(in crate::tracking) struct Tracer {
    /// What it was added as.
    pub(in crate::tracking) origin: usize,
    /// Where it was added (mm, in the middle of the window).
    pub(in crate::tracking) start: [f64; 3],
    pub(super) path: Path,
    /// Expected number of its lines.
    pub(super) count: f64,
    /// The last step (mm; infinite if there was none) and the last change of the count, as a share.
    pub(super) step: f64,
    pub(super) change: f64,
    pub(super) near: Near,
}

impl Tracer {
    /// Where it is in the middle of the window (mm).
    pub(in crate::tracking) fn place(&self) -> [f64; 3] {
        self.path[0]
    }

    pub(super) fn go(&mut self, step: Option<Path>, count: f64) {
        self.step = f64::INFINITY;
        if let Some(step) = step {
            self.step = length(&step);
            let step = step.as_flattened();
            for (value, step) in self.path.as_flattened_mut().iter_mut().zip(step) {
                *value += step;
            }
        }
        self.change = (count / self.count - 1.0).abs();
        self.count = count;
    }

    /// Derivatives of log f of the n-th of its lines by the terms of the path, and by the count.
    pub(super) fn derivatives(&self, n: usize, order: usize) -> ([f64; UNKNOWNS + 1], usize) {
        let (pack, view, lane) = (
            &self.near.packs[n / LANES],
            &self.near.views[n / LANES],
            n % LANES,
        );
        let mut factor = -self.count * view.h[lane] * view.inverse[lane];
        let mut derivatives = [0.0; UNKNOWNS + 1];
        let n_path = 3 * (order + 1);
        for term in derivatives[..n_path].chunks_exact_mut(3) {
            for (derivative, r) in term.iter_mut().zip(&view.r) {
                *derivative = factor * r[lane];
            }
            factor *= pack.tau[lane];
        }
        derivatives[n_path] = view.g[lane] * view.inverse[lane];
        (derivatives, n_path + 1)
    }

    /// `(sum w c)^2 / sum (w c)^2`, w the responsibility for a line and c the square of the sine of its angle with the direction
    /// that is known worst: a hundred times the same line and one that crosses it support a point once.
    pub(super) fn support(&self, covariance: &[[f64; 3]; 3]) -> f64 {
        let mut worst = [1.0, 1.0, 1.0];
        for _ in 0..16 {
            let mut next = [0.0; 3];
            for k in 0..3 {
                for l in 0..3 {
                    next[k] += covariance[k][l] * worst[l];
                }
            }
            let length = norm(next);
            worst = next.map(|x| x / length);
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        for (pack, view) in self.near.packs.iter().zip(&self.near.views) {
            for k in 0..LANES {
                let cos =
                    pack.u[0][k] * worst[0] + pack.u[1][k] * worst[1] + pack.u[2][k] * worst[2];
                let told = self.count * view.g[k] * view.inverse[k] * (1.0 - cos * cos);
                sum += told;
                squares += told * told;
            }
        }
        if squares > 0.0 {
            sum * sum / squares
        } else {
            0.0
        }
    }
}
