//! How many tracers there are: what the likelihood gains by each, which are one, and which is two.

use std::mem::replace;

use super::mixture::Mixture;
use super::near::Tracer;
use super::{COUPLED, LANES, TERMS};
use crate::linear_algebra::{IDENTITY, added, backward, dot, factorize, norm, outer, quadratic};

/// Steps that are enough to converge, or nothing is.
const STEPS: usize = 200;

/// The share of the gain of a tracer that two tracers near each other need over one in their place, where no space is searched.
const GAIN_OF_TWO: f64 = 0.5;

/// Ratios are multiplied up to so many, each below [`LARGEST_RATIO`], before the logarithm is taken.
const FACTORS: usize = 30;
const LARGEST_RATIO: f64 = 1e9;

impl Mixture<'_> {
    /// Puts one tracer in the place of two.
    fn merge(&mut self, a: usize, b: usize) {
        let other = self.tracers.remove(a.max(b));
        let tracer = &mut self.tracers[a.min(b)];
        let share = other.count / (tracer.count + other.count);
        for m in 0..TERMS {
            for k in 0..3 {
                tracer.path[m][k] += share * (other.path[m][k] - tracer.path[m][k]);
            }
        }
        tracer.count += other.count;
        tracer.step = f64::INFINITY;
        self.has_changed();
    }

    /// Two tracers in the place of one, at `e` (mm) from it on both sides.
    fn split(&self, n: usize, e: [f64; 3]) -> Self {
        let mut split = self.clone();
        let tracer = &mut split.tracers[n];
        tracer.count *= 0.5;
        tracer.step = f64::INFINITY;
        let mut other = tracer.clone();
        for (k, e) in e.into_iter().enumerate() {
            tracer.path[0][k] += e;
            other.path[0][k] -= e;
        }
        split.tracers.push(other);
        split.has_changed();
        split
    }

    /// The log likelihood, less that without these tracers; after [`converge`](Self::converge).
    pub(super) fn log_likelihood(&self) -> f64 {
        let mut logarithm = Logarithm::default();
        let mut counts = 0.0;
        let mut seen = vec![false; self.lors.len()];
        for tracer in &self.tracers {
            for (n, &row) in tracer.near.rows.iter().enumerate() {
                if !replace(&mut seen[row as usize], true) {
                    let without = self.background + self.other(row);
                    logarithm.factor(1.0 / (without * tracer.near.inverse(n)));
                }
            }
            counts += tracer.count;
        }
        logarithm.value() - counts
    }

    /// What the log likelihood would lose without a tracer; after [`converge`](Self::converge).
    pub(super) fn gain(&self, tracer: &Tracer) -> f64 {
        let mut logarithm = Logarithm::default();
        for n in 0..tracer.near.rows.len() {
            let responsibility = tracer.count * tracer.near.g(n) * tracer.near.inverse(n);
            logarithm.factor(1.0 / (1.0 - responsibility));
        }
        logarithm.value() - tracer.count
    }

    /// Whether a tracer went nowhere or out of the box, or gains less than a share of what it must.
    pub(in crate::tracking) fn is_chance(&self, tracer: &Tracer, share: f64) -> bool {
        let is_inside = self.lors.contains(&tracer.path[0], self.model.wide());
        !(tracer.step.is_finite() && is_inside && self.gain(tracer) >= share * self.model.gain())
    }

    /// Converges, and takes out or merges what is no tracer of its own.
    pub(in crate::tracking) fn settle(&mut self) {
        self.converge(STEPS);
        while self.take_out_one() {
            self.converge(STEPS);
        }
    }

    fn take_out_one(&mut self) -> bool {
        for a in 0..self.tracers.len() {
            for b in 0..a {
                let apart = self.apart(a, b);
                if apart < self.model.narrow() {
                    self.merge(a, b);
                    return true;
                }
                if apart < COUPLED * self.model.wide() && self.merge_if_one(b, a) {
                    return true;
                }
            }
        }
        let chance = (0..self.tracers.len()).filter(|&n| self.is_chance(&self.tracers[n], 1.0));
        let gains = chance.map(|n| (n, self.gain(&self.tracers[n])));
        let Some((n, _)) = gains.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            return false;
        };
        self.remove(n);
        true
    }

    /// Puts one tracer in the place of two, unless the likelihood loses too much.
    fn merge_if_one(&mut self, a: usize, b: usize) -> bool {
        let members = self.around(&[a, b]);
        let mut two = self.part(&members);
        two.expect();
        let mut one = two.clone();
        one.merge(0, 1);
        one.converge(STEPS);
        let gain = two.log_likelihood() - one.log_likelihood();
        let is_one = gain < GAIN_OF_TWO * self.model.gain();
        if is_one {
            self.replace(&members, one);
        }
        is_one
    }

    /// Tracers that some move together with, these first.
    fn around(&self, some: &[usize]) -> Vec<usize> {
        let limit = COUPLED * self.model.wide();
        let is_near =
            |n: &usize| !some.contains(n) && some.iter().any(|&m| self.apart(m, *n) < limit);
        let near = (0..self.tracers.len()).filter(is_near);
        some.iter().copied().chain(near).collect()
    }

    /// Two tracers in place of one whose lines are spread too far, if that gains enough; after [`settle`](Self::settle).
    pub(in crate::tracking) fn split_one(&mut self, tried: &mut Vec<[f64; 3]>) -> bool {
        /// Standard deviations of spread that are worth a try.
        const WORTH: f64 = 2.5;
        /// How far lines are moved by the first guess, in narrow widths.
        const FIRST: f64 = 1.2;
        for n in 0..self.tracers.len() {
            let Some((e, excess)) = self.spread(&self.tracers[n]) else {
                continue;
            };
            let place = self.tracers[n].path[0];
            if excess < WORTH || tried.contains(&place) {
                continue;
            }
            let members = self.around(&[n]);
            let mut one = self.part(&members);
            one.expect();
            let mut two = one.split(0, e.map(|e| FIRST * self.model.narrow() * e));
            two.converge(STEPS);
            let gain = two.log_likelihood() - one.log_likelihood();
            let chance = |tracer| two.is_chance(tracer, GAIN_OF_TWO);
            if gain >= GAIN_OF_TWO * self.model.gain() && !two.tracers.iter().any(chance) {
                self.replace(&members, two);
                self.converge(STEPS);
                return true;
            }
            tried.push(place);
        }
        false
    }

    /// The direction in which a tracer's lines are spread most for what they should be, as a step that moves lines by 1 mm rms (those that lean: by less),
    /// and how many standard deviations the spread is away from none.
    ///
    /// Two tracers of half the lines at `x + e` and `x - e` have, for small e, a log likelihood that is greater by `e^T S e / 2`,
    /// `S = sum n (h2 M r r^T M - h M) / f`, whose expectation is 0 for one tracer.
    fn spread(&self, tracer: &Tracer) -> Option<([f64; 3], f64)> {
        let near = &tracer.near;
        // A line's M and shortened perpendicular, and its densities.
        let line = |n: usize| {
            let (pack, view, k) = (&near.packs[n / LANES], &near.views[n / LANES], n % LANES);
            let scale = tracer.count * view.inverse[k];
            let (u, a) = (pack.u.map(|u| u[k]), pack.lean.map(|lean| lean[k]));
            let along = added(&IDENTITY, -1.0, &outer(u));
            (
                added(&along, -view.shrink[k], &outer(a)),
                view.r.map(|r| r[k]),
                [scale * view.g[k], scale * view.h[k], scale * view.h2[k]],
            )
        };
        let (mut spread, mut weight) = ([[0.0; 3]; 3], [0.0; 9]);
        for n in 0..near.rows.len() {
            let (m, r, [g, h, h2]) = line(n);
            for k in 0..3 {
                for l in 0..3 {
                    spread[k][l] += h2 * r[k] * r[l] - h * m[k][l];
                    weight[3 * k + l] += g * m[k][l];
                }
            }
        }
        if !factorize(&mut weight, 3) {
            return None;
        }
        let (mut best, mut most) = (None, 0.0);
        for direction in DIRECTIONS {
            let mut e = direction.map(|e| e / norm(direction) * tracer.count.sqrt());
            backward(&weight, 3, &mut e);
            let mut excess = 0.0;
            for k in 0..3 {
                for l in 0..3 {
                    excess += spread[k][l] * e[k] * e[l];
                }
            }
            if excess > most {
                (best, most) = (Some(e), excess);
            }
        }
        let e = best?;
        let mut squares = 0.0;
        for n in 0..near.rows.len() {
            let (m, r, [_, h, h2]) = line(n);
            let pull = dot(r, e);
            let term = h2 * pull * pull - h * quadratic(&m, e);
            squares += term * term;
        }
        Some((e, most / squares.sqrt()))
    }
}

/// Half of the neighbours of a cell.
const DIRECTIONS: [[f64; 3]; 13] = [
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, 0.0, 1.0],
    [1.0, 1.0, 0.0],
    [1.0, -1.0, 0.0],
    [1.0, 0.0, 1.0],
    [1.0, 0.0, -1.0],
    [0.0, 1.0, 1.0],
    [0.0, 1.0, -1.0],
    [1.0, 1.0, 1.0],
    [1.0, 1.0, -1.0],
    [1.0, -1.0, 1.0],
    [1.0, -1.0, -1.0],
];

/// A product of ratios as a sum of logarithms, few of which are computed.
#[derive(Debug)]
struct Logarithm {
    pub(super) product: f64,
    pub(super) n: usize,
    pub(super) sum: f64,
}

impl Default for Logarithm {
    fn default() -> Self {
        Self {
            product: 1.0,
            n: 0,
            sum: 0.0,
        }
    }
}

impl Logarithm {
    /// A ratio of 1 or more; what is above 1e9, or no number, counts as 1e9.
    pub(super) fn factor(&mut self, ratio: f64) {
        self.product *= if ratio < LARGEST_RATIO {
            ratio
        } else {
            LARGEST_RATIO
        };
        self.n += 1;
        if self.n == FACTORS {
            *self = Self {
                sum: self.value(),
                ..Self::default()
            };
        }
    }

    pub(super) fn value(&self) -> f64 {
        self.sum + libm::log(self.product)
    }
}
