//! A curve: a cubic spline, and its equations.

use std::ops::Range;

use super::band::Band;
use super::fit::BlockCurve;
use super::lines::Ray;
use super::{EDGE, PAIRS, SYSTEM, TERMS};
use crate::linear_algebra::{Symmetric, Vector};

/// Weight (1/mm²) of squared second differences of coefficients: a deviation of 100 mm.
const PENALTY: f64 = 1e-4;

/// Weight (1/mm²) that keeps a step finite: a deviation of 1 m.
const RIDGE: f64 = 1e-6;

/// A tracer is there if its lines are so much more likely (as a logarithm) between two knots than without it, which no place in mere
/// background is,
const PRESENT: f64 = 12.0;

/// and not so much less likely in any eighth of that time, or larger part of it.
const ABSENT: f64 = -3.0;

/// A piece of a trajectory: a cubic spline.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) tracer: usize,
    /// Which of the tracer's points it goes through.
    pub(super) points: Range<usize>,
    /// The first knot.
    pub(super) start: f64,
    pub(super) spacing: f64,
    /// One for each interval between knots, and three more.
    pub(super) coefficients: Vec<Vector>,
    /// Lines at its time.
    pub(super) rays: Range<usize>,
    /// Parts of an interval between knots in which it is asked whether the tracer is there; 0 for none.
    pub(super) bins: usize,
    /// The share of lines that it would have at least.
    pub(super) least_share: f64,
}

/// What is said about a curve at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) time: f64,
    pub(super) position: Vector,
    pub(super) velocity: Vector,
    pub(super) covariance: Symmetric,
}

impl Curve {
    /// Near a tracer's points.
    pub(super) fn new(
        tracer: usize,
        all: &[(f64, Vector)],
        points: Range<usize>,
        spacing: f64,
        rays: Range<usize>,
    ) -> Self {
        let some = &all[points.clone()];
        let edge = EDGE * spacing;
        let (start, end) = (some[0].0 - edge, some[some.len() - 1].0 + edge);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least one; more than there are lines are of no use"
        )]
        let intervals = (((end - start) / spacing).ceil() as usize).clamp(1, rays.len().max(1));
        let mut curve = Self {
            tracer,
            points,
            start,
            spacing: (end - start) / intervals as f64,
            coefficients: vec![[0.0; 3]; intervals + TERMS - 1],
            rays,
            bins: 0,
            least_share: 0.0,
        };
        let mut systems = vec![[0.0; SYSTEM]; intervals];
        let mut pull = |time: f64, place: Vector, weight: f64| {
            let (interval, weights) = curve.weights(time);
            let identity = [weight, 0.0, 0.0, weight, 0.0, weight];
            let product = place.map(|value| weight * value);
            add(&mut systems[interval], &weights, &identity, product);
        };
        for &(time, place) in some {
            pull(time, place, 1.0);
        }
        // Where there are no points, straight lines between them.
        let mut next = 1;
        for n in 0..4 * intervals {
            let time = start + (n as f64 + 0.5) * 0.25 * (end - start) / intervals as f64;
            while next + 1 < some.len() && some[next].0 < time {
                next += 1;
            }
            let ((t1, a), (t2, b)) = (some[next - 1], some[next.min(some.len() - 1)]);
            let share = if t2 > t1 {
                (time - t1) / (t2 - t1)
            } else {
                0.0
            };
            let place = std::array::from_fn(|axis| a[axis] + share * (b[axis] - a[axis]));
            pull(time, place, 0.05);
        }
        let (mut band, mut values) = curve.equations(&systems);
        if band.factorise() {
            band.solve(&mut values);
            curve.step(&values);
        }
        curve
    }

    /// The interval that a time is in, and the shares of the four coefficients that count there.
    pub(super) fn weights(&self, time: f64) -> (usize, [f64; TERMS]) {
        let (interval, u) = self.locate(time);
        let v = 1.0 - u;
        let weights = [
            v * v * v / 6.0,
            (4.0 + u * u * (3.0 * u - 6.0)) / 6.0,
            (4.0 + v * v * (3.0 * v - 6.0)) / 6.0,
            u * u * u / 6.0,
        ];
        (interval, weights)
    }

    fn locate(&self, time: f64) -> (usize, f64) {
        let place = (time - self.start) / self.spacing;
        let last = self.coefficients.len() - TERMS;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "negative ones become 0"
        )]
        let interval = (place as usize).min(last);
        (interval, place - interval as f64)
    }

    /// The part of an interval that a time is in, counted from the first knot.
    pub(super) fn bin(&self, time: f64) -> Option<usize> {
        if self.bins == 0 {
            return None;
        }
        let (interval, u) = self.locate(time);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "negative ones become 0"
        )]
        let part = ((u * self.bins as f64) as usize).min(self.bins - 1);
        Some(interval * self.bins + part)
    }

    /// Whether the tracer was there, as its lines say.
    pub(super) fn is_there(&self, time: f64, evidence: &[f64]) -> bool {
        let interval = self.locate(time).0 * self.bins;
        let between_knots: f64 = evidence[interval..interval + self.bins].iter().sum();
        between_knots > PRESENT && self.bin(time).is_some_and(|bin| evidence[bin] > ABSENT)
    }

    pub(super) fn combine(&self, interval: usize, weights: &[f64; TERMS]) -> Vector {
        let mut place = [0.0; 3];
        for (weight, coefficient) in weights.iter().zip(&self.coefficients[interval..]) {
            for (value, c) in place.iter_mut().zip(coefficient) {
                *value += weight * c;
            }
        }
        place
    }

    pub(super) fn row(&self, time: f64, inverse: &Band) -> Row {
        let (interval, weights) = self.weights(time);
        let (_, u) = self.locate(time);
        let v = 1.0 - u;
        let slopes = [
            -0.5 * v * v,
            0.5 * u * (3.0 * u - 4.0),
            -0.5 * v * (3.0 * v - 4.0),
            0.5 * u * u,
        ]
        .map(|slope| slope / self.spacing);
        let mut covariance = [0.0; 6];
        for (a, wa) in weights.iter().enumerate() {
            for (b, wb) in weights.iter().enumerate() {
                let at =
                    |x: usize, y: usize| inverse.at(3 * (interval + a) + x, 3 * (interval + b) + y);
                let block = [at(0, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(2, 2)];
                for (value, entry) in covariance.iter_mut().zip(block) {
                    *value += wa * wb * entry;
                }
            }
        }
        Row {
            time,
            position: self.combine(interval, &weights),
            velocity: self.combine(interval, &slopes),
            covariance,
        }
    }

    /// The normal equations for a step of the coefficients, of the sums of each interval.
    pub(super) fn equations(&self, systems: &[[f64; SYSTEM]]) -> (Band, Vec<f64>) {
        let n = self.coefficients.len();
        let mut band = Band::new(3 * n);
        let mut right = vec![0.0; 3 * n];
        for (interval, system) in systems.iter().enumerate() {
            let (matrices, vectors) = system.split_at(6 * PAIRS);
            let mut matrices = matrices.chunks_exact(6);
            for a in 0..TERMS {
                for b in 0..=a {
                    if let Some(&[xx, xy, xz, yy, yz, zz]) = matrices.next() {
                        let rows = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]];
                        for (x, row) in rows.into_iter().enumerate() {
                            for (y, value) in row.into_iter().enumerate() {
                                band.add(3 * (interval + a) + x, 3 * (interval + b) + y, value);
                            }
                        }
                    }
                }
            }
            for (value, term) in right[3 * interval..].iter_mut().zip(vectors) {
                *value += term;
            }
        }
        for row in 0..3 * n {
            band.add(row, row, RIDGE);
        }
        let second_difference = [1.0, -2.0, 1.0];
        for first in 0..n.saturating_sub(2) {
            for axis in 0..3 {
                let curvature: f64 = (0..3)
                    .map(|k| second_difference[k] * self.coefficients[first + k][axis])
                    .sum();
                for (k, a) in second_difference.iter().enumerate() {
                    let row = 3 * (first + k) + axis;
                    right[row] -= PENALTY * a * curvature;
                    for (m, b) in second_difference.iter().enumerate().take(k + 1) {
                        band.add(row, 3 * (first + m) + axis, PENALTY * a * b);
                    }
                }
            }
        }
        (band, right)
    }

    /// Moves the coefficients.
    pub(super) fn step(&mut self, values: &[f64]) {
        for (coefficient, step) in self.coefficients.iter_mut().zip(values.chunks_exact(3)) {
            for (value, step) in coefficient.iter_mut().zip(step) {
                *value += step;
            }
        }
    }
}

/// Adds to the normal equations of an interval: a matrix and a vector, for coefficients with these shares.
pub(super) fn add(
    system: &mut [f64; SYSTEM],
    weights: &[f64; TERMS],
    matrix: &Symmetric,
    vector: Vector,
) {
    let (matrices, vectors) = system.split_at_mut(6 * PAIRS);
    let mut matrices = matrices.chunks_exact_mut(6);
    for (n, a) in weights.iter().enumerate() {
        for (b, sums) in weights[..=n].iter().zip(&mut matrices) {
            for (sum, value) in sums.iter_mut().zip(matrix) {
                *sum += a * b * value;
            }
        }
    }
    for (a, sums) in weights.iter().zip(vectors.chunks_exact_mut(3)) {
        for (sum, value) in sums.iter_mut().zip(vector) {
            *sum += a * value;
        }
    }
}

impl Curve {
    /// Empty sums for the intervals that some lines are in.
    pub(super) fn block_curve(&self, rays: &[Ray], range: &Range<usize>) -> BlockCurve {
        let first = range.start.max(self.rays.start);
        let last = range.end.min(self.rays.end) - 1;
        let first_interval = self.locate(rays[first].time).0;
        let last_interval = self.locate(rays[last].time).0;
        BlockCurve {
            first_interval,
            systems: vec![[0.0; SYSTEM]; last_interval + 1 - first_interval],
            evidence: vec![0.0; (last_interval + 1 - first_interval) * self.bins],
            own: 0.0,
            complete: 0.0,
            observed: 0.0,
        }
    }
}
