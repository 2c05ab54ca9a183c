//! The Kalman filter and the Rauch-Tung-Striebel smoother.

use super::likelihood::{Innovations, Unit};
use super::points::{Estimate, Point};
use super::{ROUNDS, UNJUDGED};
use crate::linear_algebra::{
    Matrix, Vector, added, cholesky, dot, inverse, make_symmetric, product, quadratic, sandwich,
    scaled, solve, trace,
};

/// A derivative's standard deviation before any point, in units of the largest that the trajectory could have.
const UNKNOWN: f64 = 30.0;

/// A velocity whose variance is more than this share of the one before any point is not known.
const KNOWN: f64 = 0.25;

/// A prediction so many times less certain (as a variance) than the measurement says nothing, and costs digits.
const NOTHING: f64 = 1e13;

/// States kept at a time; others are filtered again from checkpoints when the smoother comes to them.
const CHUNK: usize = 256;

/// Weights that change by less than this share have settled.
const SETTLED: f64 = 0.05;

/// Position, velocity and, with `N = 9`, acceleration, and their covariance.
#[derive(Clone, Copy, Debug)]
struct State<const N: usize> {
    mean: [f64; N],
    covariance: [[f64; N]; N],
}

/// The filter and the smoother, in time and space (mm, ms).
#[derive(Clone, Copy, Debug)]
pub(super) struct Kalman<const N: usize> {
    noise: Matrix,
    /// Variances of the derivatives before any point; the position's is not used.
    start: [f64; N],
}

/// What a step of the filter found.
#[derive(Clone, Copy, Debug)]
struct Step<const N: usize> {
    state: State<N>,
    /// Whether it goes on from the point before.
    linked: bool,
    /// By how much the point's covariance was divided.
    weight: f64,
}

/// How much a point counts.
#[derive(Clone, Copy, Debug)]
enum Weight {
    Given(f64),
    /// As its distance from the prediction says.
    Gate(f64),
}

impl<const N: usize> Kalman<N> {
    pub(super) fn new(noise: Matrix, unit: &Unit) -> Self {
        let mut start = [0.0; N];
        let mut deviation = UNKNOWN * unit.speed;
        for variances in start[3..].chunks_exact_mut(3) {
            variances.fill(deviation * deviation);
            deviation /= unit.time;
        }
        Self { noise, start }
    }

    /// What is known of a point alone.
    fn begin(&self, position: Vector, covariance: &Matrix) -> State<N> {
        let mut state = State {
            mean: [0.0; N],
            covariance: [[0.0; N]; N],
        };
        state.mean[..3].copy_from_slice(&position);
        for (axis, row) in state.covariance.iter_mut().enumerate() {
            row[axis] = self.start[axis];
        }
        for (row, from) in state.covariance.iter_mut().zip(covariance) {
            row[..3].copy_from_slice(from);
        }
        state
    }

    /// Some time (ms, which may be negative) later, without the noise meanwhile.
    fn moved(mut state: State<N>, time: f64) -> State<N> {
        Self::move_rows(time, &mut state.covariance);
        for row in &mut state.covariance {
            let mut column = row.map(|value| [value]);
            Self::move_rows(time, &mut column);
            *row = column.map(|[value]| value);
        }
        let mut mean = state.mean.map(|value| [value]);
        Self::move_rows(time, &mut mean);
        state.mean = mean.map(|[value]| value);
        state
    }

    /// The transition matrix times others.
    fn move_rows<const COLUMNS: usize>(time: f64, rows: &mut [[f64; COLUMNS]; N]) {
        for row in 0..N - 3 {
            let mut factor = 1.0;
            let mut power = 0.0;
            let mut sum = rows[row];
            for later in (row + 3..N).step_by(3) {
                power += 1.0;
                factor *= time / power;
                for (sum, value) in sum.iter_mut().zip(&rows[later]) {
                    *sum += factor * value;
                }
            }
            rows[row] = sum;
        }
    }

    /// Adds the noise of some time (ms, not negative).
    fn disturb(&self, time: f64, covariance: &mut [[f64; N]; N]) {
        let last = N / 3 - 1;
        let integral = |derivative: usize| -> f64 {
            // Of white noise, integrated down to this derivative: time^n / n!
            (1..=last - derivative).map(|n| time / n as f64).product()
        };
        for a in 0..=last {
            for b in 0..=last {
                let n = (2 * last + 1 - a - b) as f64;
                let factor = time * integral(a) * integral(b) / n;
                for (row, noise) in covariance[3 * a..].iter_mut().zip(&self.noise) {
                    for (value, noise) in row[3 * b..].iter_mut().zip(noise) {
                        *value += factor * noise;
                    }
                }
            }
        }
    }

    fn predict(&self, state: State<N>, time: f64) -> State<N> {
        let mut predicted = Self::moved(state, time);
        self.disturb(time, &mut predicted.covariance);
        predicted
    }

    /// Takes a measurement into account, in Joseph's form; also gives the inverse covariance of the innovation and its logarithmic determinant,
    /// its squared normalised distance, and the weight of the point.
    fn update(
        predicted: &State<N>,
        position: Vector,
        covariance: &Matrix,
        weight: Weight,
    ) -> Option<(State<N>, f64, f64, f64)> {
        let prior: Matrix = position_covariance(predicted);
        let innovation: Vector = std::array::from_fn(|axis| position[axis] - predicted.mean[axis]);
        let (full, log_determinant) = inverse(&added(&prior, 1.0, covariance), 0.0)?;
        let square = quadratic(&full, innovation);
        let weight = match weight {
            Weight::Given(weight) => weight,
            Weight::Gate(gate) if square > gate => gate / square,
            Weight::Gate(_) => 1.0,
        };
        let noise = scaled(covariance, 1.0 / weight);
        let inverted = if weight < 1.0 {
            inverse(&added(&prior, 1.0, &noise), 0.0)?.0
        } else {
            full
        };
        let mut state = *predicted;
        let mut gains = [[0.0; 3]; N];
        for (gain, row) in gains.iter_mut().zip(&predicted.covariance) {
            *gain = product(&inverted, [row[0], row[1], row[2]]);
        }
        for (mean, gain) in state.mean.iter_mut().zip(&gains) {
            *mean += dot(*gain, innovation);
        }
        // A = (1 - K H) P, then A + (K R - A H^T) K^T
        for (row, gain) in state.covariance.iter_mut().zip(&gains) {
            for (column, value) in row.iter_mut().enumerate() {
                *value -= gain[0] * predicted.covariance[0][column]
                    + gain[1] * predicted.covariance[1][column]
                    + gain[2] * predicted.covariance[2][column];
            }
            let mut rest = product(&noise, *gain);
            for (rest, value) in rest.iter_mut().zip(&*row) {
                *rest -= value;
            }
            for (value, gain) in row.iter_mut().zip(&gains) {
                *value += dot(rest, *gain);
            }
        }
        make_symmetric(&mut state.covariance);
        Some((state, log_determinant, square, weight))
    }

    /// Whether a prediction says nothing beside a measurement.
    fn says_nothing(predicted: &State<N>, covariance: &Matrix) -> bool {
        let variance = trace(&position_covariance(predicted));
        variance.is_nan() || variance > NOTHING * trace(covariance)
    }

    /// The innovations of points.
    pub(super) fn judge(
        &self,
        points: &[&Point],
        scale: f64,
        gate: f64,
        innovations: &mut Innovations,
    ) {
        let mut last: Option<(f64, State<N>)> = None;
        let mut times = 0;
        for point in points {
            let Some(covariance) = point.covariance else {
                continue;
            };
            let covariance = scaled(&covariance, scale / point.weight);
            if last.is_none_or(|(time, _)| time < point.time) {
                times += 1;
            }
            let predicted = last.map(|(time, state)| self.predict(state, point.time - time));
            let found = predicted
                .filter(|predicted| !Self::says_nothing(predicted, &covariance))
                .and_then(|state| {
                    Self::update(&state, point.position, &covariance, Weight::Gate(gate))
                });
            let state = if let Some((state, log_determinant, square, _)) = found {
                if times > UNJUDGED {
                    innovations.log_determinants += log_determinant;
                    innovations.squares.push(square);
                }
                state
            } else {
                times = 1;
                self.begin(point.position, &covariance)
            };
            last = Some((point.time, state));
        }
    }

    /// One step of the filter; nothing before the first point whose covariance is known.
    fn step(
        &self,
        last: Option<(f64, State<N>)>,
        point: &Point,
        scale: f64,
        weight: Weight,
    ) -> Option<Step<N>> {
        let predicted = last.map(|(time, state)| self.predict(state, point.time - time));
        let Some(covariance) = point.covariance.map(|matrix| scaled(&matrix, scale)) else {
            return predicted.map(|state| Step {
                state,
                linked: true,
                weight: 1.0,
            });
        };
        let linked = predicted
            .filter(|predicted| !Self::says_nothing(predicted, &covariance))
            .and_then(|state| Self::update(&state, point.position, &covariance, weight))
            .map(|(state, _, _, weight)| Step {
                state,
                linked: true,
                weight,
            });
        Some(linked.unwrap_or_else(|| {
            let weight = match weight {
                Weight::Given(weight) => weight,
                Weight::Gate(_) => 1.0,
            };
            Step {
                state: self.begin(point.position, &scaled(&covariance, 1.0 / weight)),
                linked: false,
                weight,
            }
        }))
    }

    /// All points, smoothed, whose weights start as they are and settle.
    pub(super) fn run(&self, points: &mut [Point], scale: f64, gate: f64) -> Vec<Estimate> {
        let mut weights: Vec<f64> = points.iter().map(|point| point.weight).collect();
        let known = weights.iter().any(|&weight| weight < 1.0);
        let rule = (!known).then_some(gate);
        let mut checkpoints = self.forward(points, scale, &mut weights, rule);
        let mut estimates = Vec::new();
        for round in 0..ROUNDS {
            let (smoothed, new) = self.backward(points, scale, gate, &weights, &checkpoints);
            estimates = smoothed;
            let settled = |(a, b): (&f64, &f64)| (a - b).abs() <= SETTLED * b;
            if round + 1 == ROUNDS || weights.iter().zip(&new).all(settled) {
                break;
            }
            weights = new;
            checkpoints = self.forward(points, scale, &mut weights, None);
        }
        for (point, weight) in points.iter_mut().zip(weights) {
            point.weight = weight;
        }
        estimates
    }

    /// States before each chunk of points. With a gate, weights are as it says.
    fn forward(
        &self,
        points: &[Point],
        scale: f64,
        weights: &mut [f64],
        gate: Option<f64>,
    ) -> Vec<Option<(f64, State<N>)>> {
        let mut checkpoints = Vec::with_capacity(points.len().div_ceil(CHUNK));
        let mut last = None;
        for (n, (point, weight)) in points.iter().zip(weights).enumerate() {
            if n.is_multiple_of(CHUNK) {
                checkpoints.push(last);
            }
            let rule = gate.map_or(Weight::Given(*weight), Weight::Gate);
            if let Some(step) = self.step(last, point, scale, rule) {
                *weight = step.weight;
                last = Some((point.time, step.state));
            }
        }
        checkpoints
    }

    /// Smoothed points, and weights as their distances from what the others say.
    fn backward(
        &self,
        points: &[Point],
        scale: f64,
        gate: f64,
        weights: &[f64],
        checkpoints: &[Option<(f64, State<N>)>],
    ) -> (Vec<Estimate>, Vec<f64>) {
        let mut estimates = Vec::with_capacity(points.len());
        let mut new = vec![1.0; points.len()];
        // The point after: its time, its smoothed state, whether it goes on from this one.
        let mut after: Option<(f64, State<N>, bool)> = None;
        let mut steps = Vec::with_capacity(CHUNK);
        for (chunk, checkpoint) in checkpoints.iter().enumerate().rev() {
            let first = chunk * CHUNK;
            let end = points.len().min(first + CHUNK);
            steps.clear();
            let mut last = *checkpoint;
            for (point, weight) in points[first..end].iter().zip(&weights[first..end]) {
                let step = self.step(last, point, scale, Weight::Given(*weight));
                last = step.map(|step| (point.time, step.state)).or(last);
                steps.push(step);
            }
            for (n, step) in (first..end).zip(&steps).rev() {
                let point = &points[n];
                let state = match (step, after) {
                    (Some(step), Some((time, smoothed, true))) => {
                        self.smoothed(&step.state, &smoothed, time - point.time)
                    }
                    (Some(step), _) => step.state,
                    // Nothing is known before: back from the first point that is.
                    (None, Some((time, smoothed, _))) => self.back(smoothed, time - point.time),
                    (None, None) => {
                        estimates.push(Estimate::unknown(point));
                        continue;
                    }
                };
                if let (Some(step), Some(covariance)) = (step, &point.covariance) {
                    let covariance = scaled(covariance, scale);
                    new[n] = weight_among_others(&state, point, &covariance, step.weight, gate);
                }
                after = Some((point.time, state, step.is_some_and(|step| step.linked)));
                estimates.push(self.estimate(&state));
            }
        }
        estimates.reverse();
        (estimates, new)
    }

    /// A filtered state with what the smoothed state some time later says.
    fn smoothed(&self, state: &State<N>, later: &State<N>, time: f64) -> State<N> {
        let predicted = self.predict(*state, time);
        // G = P F^T (F P F^T + Q)^-1, row by row
        let mut crossed = state.covariance;
        for row in &mut crossed {
            let mut column = row.map(|value| [value]);
            Self::move_rows(time, &mut column);
            *row = column.map(|[value]| value);
        }
        let mut gain = crossed;
        if time > 0.0
            && let Some(factor) = cholesky(&predicted.covariance, 0.0)
        {
            for row in &mut gain {
                solve(&factor, row);
            }
        } else {
            // As good as no noise: straight back.
            gain = [[0.0; N]; N];
            for (n, row) in gain.iter_mut().enumerate() {
                row[n] = 1.0;
            }
            Self::move_rows(-time, &mut gain);
        }
        let mut out = *state;
        for (value, row) in out.mean.iter_mut().zip(&gain) {
            let pairs = row.iter().zip(later.mean.iter().zip(&predicted.mean));
            *value += pairs.map(|(g, (a, b))| g * (a - b)).sum::<f64>();
        }
        // (1 - G F) P (1 - G F)^T + G (P' + Q) G^T, which stays positive
        let mut kept = [[0.0; N]; N];
        for (row, (kept, gain)) in kept.iter_mut().zip(&gain).enumerate() {
            // Row of G F: move_rows applied from the right.
            for (column, value) in kept.iter_mut().enumerate() {
                let mut factor = 1.0;
                let mut power = 0.0;
                let mut sum = gain[column];
                for earlier in (0..column / 3).rev() {
                    power += 1.0;
                    factor *= time / power;
                    sum += factor * gain[3 * earlier + column % 3];
                }
                *value = f64::from(u8::from(row == column)) - sum;
            }
        }
        let mut noisy = later.covariance;
        self.disturb(time, &mut noisy);
        let (own, from_later) = (sandwich(&kept, &state.covariance), sandwich(&gain, &noisy));
        for (row, (a, b)) in out.covariance.iter_mut().zip(own.iter().zip(&from_later)) {
            for (value, (a, b)) in row.iter_mut().zip(a.iter().zip(b)) {
                *value = a + b;
            }
        }
        make_symmetric(&mut out.covariance);
        out
    }

    /// Some time before a state that nothing is known before.
    fn back(&self, mut state: State<N>, time: f64) -> State<N> {
        self.disturb(time, &mut state.covariance);
        Self::moved(state, -time)
    }

    fn estimate(&self, state: &State<N>) -> Estimate {
        let at = |n: usize| {
            let known = state.covariance[n][n] <= KNOWN * self.start[n];
            if known { state.mean[n] } else { f64::NAN }
        };
        Estimate {
            position: [state.mean[0], state.mean[1], state.mean[2]],
            velocity: [at(3), at(4), at(5)],
            covariance: position_covariance(state),
        }
    }
}

/// The weight of a point with its distance from what the other points say, given what all say with its weight so far.
fn weight_among_others<const N: usize>(
    smoothed: &State<N>,
    point: &Point,
    covariance: &Matrix,
    weight: f64,
    gate: f64,
) -> f64 {
    let noise = scaled(covariance, 1.0 / weight);
    let own = position_covariance(smoothed);
    // Not invertible: the others say nothing.
    let Some((inverted, _)) = inverse(&added(&noise, -1.0, &own), 0.0) else {
        return 1.0;
    };
    let residual: Vector = std::array::from_fn(|axis| point.position[axis] - smoothed.mean[axis]);
    let distance = product(&noise, product(&inverted, residual));
    let columns = noise.map(|row| product(&noise, product(&inverted, row)));
    let without = added(&added(&columns, -1.0, &noise), 1.0, covariance);
    let Some((inverted, _)) = inverse(&without, 0.0) else {
        return 1.0;
    };
    let square = quadratic(&inverted, distance);
    if square > gate { gate / square } else { 1.0 }
}

fn position_covariance<const N: usize>(state: &State<N>) -> Matrix {
    std::array::from_fn(|a| std::array::from_fn(|b| state.covariance[a][b]))
}
