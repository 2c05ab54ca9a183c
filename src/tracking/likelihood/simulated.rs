//! Lines of tracers between two screens, as an ADAC Forte sees them.

use std::f64::consts::TAU;

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_pcg::Pcg64;

use crate::data::LineData;
use crate::linear_algebra::{dot, factorize, forward};

const SEPARATION: f64 = 712.0;
const SCREEN: [[f64; 2]; 2] = [[110.0, 494.0], [45.0, 559.0]];

/// A tracer: where it is in the middle of the window (mm), its velocity (mm/ms), its share of the lines.
#[derive(Clone, Copy)]
pub(crate) struct Tracer {
    pub(crate) x: [f64; 3],
    pub(crate) v: [f64; 3],
    pub(crate) share: f64,
}

impl Tracer {
    pub(crate) fn at_rest(x: [f64; 3], share: f64) -> Self {
        Self {
            x,
            v: [0.0; 3],
            share,
        }
    }

    /// `t` from 0 to `duration`.
    pub(crate) fn at(&self, t: f64, duration: f64) -> [f64; 3] {
        [0, 1, 2].map(|k| self.x[k] + self.v[k] * (t - 0.5 * duration))
    }
}

/// `n` lines in `duration` ms, in the order of time; what is no tracer's joins random points of the screens.
pub(crate) fn lines(seed: u64, tracers: &[Tracer], n: usize, duration: f64) -> LineData {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut times: Vec<f64> = (0..n).map(|_| duration * rng.random::<f64>()).collect();
    times.sort_by(f64::total_cmp);
    let line = |t| line(&mut rng, tracers, t, duration);
    let rows: Vec<[f64; 7]> = times.into_iter().map(line).collect();
    LineData::new(Array2::from(rows)).unwrap()
}

fn line(rng: &mut Pcg64, tracers: &[Tracer], t: f64, duration: f64) -> [f64; 7] {
    let mut pick: f64 = rng.random();
    for tracer in tracers {
        pick -= tracer.share;
        if pick < 0.0 {
            let x = tracer.at(t, duration);
            loop {
                if let Some([a, b]) = hits(rng, x) {
                    return [t, a[0], a[1], 0.0, b[0], b[1], SEPARATION];
                }
            }
        }
    }
    let mut on_screen =
        |k: usize| SCREEN[k][0] + (SCREEN[k][1] - SCREEN[k][0]) * rng.random::<f64>();
    [
        t,
        on_screen(0),
        on_screen(1),
        0.0,
        on_screen(0),
        on_screen(1),
        SEPARATION,
    ]
}

/// Where a line that passes `x` hits the screens, if it does: 0.45 of them with an offset of 2.25 mm per axis, the others with
/// an exponential density of 3.5 mm.
fn hits(rng: &mut Pcg64, x: [f64; 3]) -> Option<[[f64; 2]; 2]> {
    let (cos, angle) = (rng.random::<f64>(), TAU * rng.random::<f64>());
    let sin = (1.0 - cos * cos).sqrt();
    let u = [sin * angle.cos(), sin * angle.sin(), cos];
    let [a, b]: [f64; 2] = if rng.random::<f64>() < 0.45 {
        [0; 2].map(|_| {
            2.25 * {
                let normal: f64 = StandardNormal.sample(rng);
                normal
            }
        })
    } else {
        let [p, q]: [f64; 2] = [0; 2].map(|_| Exp1.sample(rng));
        let turn = TAU * rng.random::<f64>();
        [3.5 * (p + q) * turn.cos(), 3.5 * (p + q) * turn.sin()]
    };
    let (e, f) = (
        [angle.sin(), -angle.cos(), 0.0],
        [cos * angle.cos(), cos * angle.sin(), -sin],
    );
    let p = [0, 1, 2].map(|k| x[k] + a * e[k] + b * f[k]);
    let at = |z: f64| [0, 1].map(|k| p[k] + (z - p[2]) / u[2] * u[k]);
    let hits = [at(0.0), at(SEPARATION)];
    let on_screen =
        |hit: &[f64; 2]| (0..2).all(|k| SCREEN[k][0] <= hit[k] && hit[k] <= SCREEN[k][1]);
    hits.iter().all(on_screen).then_some(hits)
}

/// The squared error in units of the stated covariance: 3 on average.
pub(crate) fn normalized_square(error: [f64; 3], covariance: &[f64]) -> f64 {
    let mut matrix = [0.0; 9];
    for (k, place) in [(0, 0), (1, 3), (2, 6), (3, 4), (4, 7), (5, 8)] {
        matrix[place] = covariance[k];
    }
    let mut x = error;
    assert!(factorize(&mut matrix, 3));
    forward(&matrix, 3, &mut x);
    dot(x, x)
}
