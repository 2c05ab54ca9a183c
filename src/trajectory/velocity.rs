use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// A power of time whose part that lower powers cannot express is smaller than this share of it is not determined.
const SINGULAR: f64 = 1e-12;

/// Velocities: appends the columns `vx vy vz`, or `v` (mm/ms, which is m/s).
///
/// The velocity of a point is the derivative, at its time, of the polynomial that fits the window centred on it with the
/// least squares. The first half-window uses the first window's polynomial, the last half-window the last one's. The
/// rows of a sample should be in the order of time; nothing bridges two samples.
///
/// Samples with fewer points than the window, and windows with too few different times, give NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Velocity {
    window: usize,
    #[serde(default = "default_degree")]
    degree: usize,
    #[serde(default)]
    absolute: bool,
}

fn default_degree() -> usize {
    2
}

impl Velocity {
    /// Parabolas over `window` points, an odd number.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            window,
            degree: default_degree(),
            absolute: false,
        }
    }

    /// The degree of the polynomials, below the window.
    #[must_use]
    pub fn degree(self, degree: usize) -> Self {
        Self { degree, ..self }
    }

    /// Whether the speed `v` is appended instead of the components.
    #[must_use]
    pub fn absolute(self, absolute: bool) -> Self {
        Self { absolute, ..self }
    }

    fn velocities(&self, times: &[f64], positions: &[[f64; 3]]) -> Vec<[f64; 3]> {
        let n = times.len();
        let mut velocities = vec![[f64::NAN; 3]; n];
        if n < self.window {
            return velocities;
        }
        let mut fit = Fit::new(self.window, self.degree);
        let windows = times
            .windows(self.window)
            .zip(positions.windows(self.window));
        for (start, (window_times, window_positions)) in windows.enumerate() {
            fit.solve(window_times, window_positions);
            let middle = start + self.window / 2;
            let from = if start == 0 { 0 } else { middle };
            let to = if start + self.window == n {
                n
            } else {
                middle + 1
            };
            for (velocity, &time) in velocities[from..to].iter_mut().zip(&times[from..to]) {
                *velocity = fit.derivative(time);
            }
        }
        velocities
    }
}

impl Filter for Velocity {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.degree == 0 {
            return Err(Error::Parameter {
                name: "degree",
                value: "0".into(),
                needed: "1 or more",
            });
        }
        if self.window.is_multiple_of(2) || self.window <= self.degree {
            return Err(Error::Parameter {
                name: "window",
                value: self.window.to_string(),
                needed: "an odd number of points, above the degree",
            });
        }
        Ok(())
    }

    fn filter(&self, sample: PointData, _: &Context<'_>) -> Result<PointData> {
        let velocities = self.velocities(&sample.column(0), &sample.positions());
        if self.absolute {
            let speeds: Vec<f64> = velocities
                .iter()
                .map(|[vx, vy, vz]| (vx * vx + vy * vy + vz * vz).sqrt())
                .collect();
            return Ok(sample.with_column("v", &speeds));
        }
        let mut points = sample;
        for (axis, name) in ["vx", "vy", "vz"].into_iter().enumerate() {
            let values: Vec<f64> = velocities.iter().map(|velocity| velocity[axis]).collect();
            points = points.with_column(name, &values);
        }
        Ok(points)
    }
}

/// Polynomials that fit windows of points with the least squares.
///
/// Time is centred on the window's middle point and scaled to [-1, 1]. Modified Gram-Schmidt makes the powers of time
/// orthonormal and takes their parts out of the coordinates, which is as accurate as Householder's method.
struct Fit {
    window: usize,
    /// Coefficients of a polynomial: the degree + 1.
    terms: usize,
    origin: f64,
    scale: f64,
    /// The powers of time, then x, y and z: each a run of `window` values.
    columns: Vec<f64>,
    /// For each power a row of the products with all columns, its own and the later ones.
    factors: Vec<f64>,
    /// Of x, y and z, for each power.
    coefficients: Vec<[f64; 3]>,
}

impl Fit {
    fn new(window: usize, degree: usize) -> Self {
        let terms = degree + 1;
        Self {
            window,
            terms,
            origin: 0.0,
            scale: 1.0,
            columns: Vec::with_capacity((terms + 3) * window),
            factors: vec![0.0; terms * (terms + 3)],
            coefficients: vec![[f64::NAN; 3]; terms],
        }
    }

    /// Fits one window; the coefficients are NaN if its times do not determine them.
    fn solve(&mut self, times: &[f64], positions: &[[f64; 3]]) {
        self.fill(times, positions);
        if !self.orthogonalise() {
            self.coefficients.fill([f64::NAN; 3]);
            return;
        }
        let (terms, width) = (self.terms, self.terms + 3);
        for term in (0..terms).rev() {
            let row = &self.factors[term * width..][..width];
            let mut values = [row[terms], row[terms + 1], row[terms + 2]];
            let later = self.coefficients[term + 1..].iter();
            for (factor, coefficients) in row[term + 1..terms].iter().zip(later) {
                for (value, coefficient) in values.iter_mut().zip(coefficients) {
                    *value -= factor * coefficient;
                }
            }
            self.coefficients[term] = values.map(|value| value / row[term]);
        }
    }

    fn fill(&mut self, times: &[f64], positions: &[[f64; 3]]) {
        let origin = times[self.window / 2];
        let scale = times
            .iter()
            .map(|time| (time - origin).abs())
            .fold(0.0, f64::max);
        (self.origin, self.scale) = (origin, scale);
        self.columns.clear();
        self.columns.resize(self.window, 1.0);
        for _ in 1..self.terms {
            let last = self.columns.len() - self.window;
            for (n, time) in times.iter().enumerate() {
                let power = self.columns[last + n] * ((time - origin) / scale);
                self.columns.push(power);
            }
        }
        for axis in 0..3 {
            self.columns
                .extend(positions.iter().map(|position| position[axis]));
        }
    }

    /// Whether the times determine all coefficients.
    fn orthogonalise(&mut self) -> bool {
        let width = self.terms + 3;
        for term in 0..self.terms {
            let (done, later) = self.columns.split_at_mut((term + 1) * self.window);
            let pivot = &mut done[term * self.window..];
            let norm = dot(pivot, pivot).sqrt();
            let removed: f64 = (0..term)
                .map(|n| self.factors[n * width + term] * self.factors[n * width + term])
                .sum();
            if norm.is_nan() || norm <= SINGULAR * removed.sqrt() {
                return false;
            }
            for value in pivot.iter_mut() {
                *value /= norm;
            }
            let factors = &mut self.factors[term * width + term..(term + 1) * width];
            factors[0] = norm;
            let columns = later.chunks_exact_mut(self.window);
            for (factor, column) in factors[1..].iter_mut().zip(columns) {
                *factor = dot(pivot, column);
                for (value, direction) in column.iter_mut().zip(&*pivot) {
                    *value -= *factor * direction;
                }
            }
        }
        true
    }

    fn derivative(&self, time: f64) -> [f64; 3] {
        let tau = (time - self.origin) / self.scale;
        let mut slopes = [0.0; 3];
        for (power, coefficients) in self.coefficients.iter().enumerate().skip(1).rev() {
            for (slope, coefficient) in slopes.iter_mut().zip(coefficients) {
                *slope = *slope * tau + power as f64 * coefficient;
            }
        }
        slopes.map(|slope| slope / self.scale)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn run(step: &Velocity, rows: &[[f64; 4]]) -> PointData {
        step.check().unwrap();
        let points = PointData::new(Array2::from(rows.to_vec())).unwrap();
        step.filter(points, &Context::FIRST).unwrap()
    }

    #[test]
    fn polynomials_have_their_derivative_everywhere_also_at_the_ends() {
        let times = [7e6, 7e6 + 1.0, 7e6 + 1.5, 7e6 + 4.0, 7e6 + 4.25, 7e6 + 8.0];
        let rows = times.map(|t| {
            let s = t - 7e6;
            [t, s * s * s - s, 3.0 * s, 5.0]
        });
        for window in [5, 7] {
            let out = run(&Velocity::new(window).degree(3), &rows);
            assert_eq!(out.columns()[4..], ["vx", "vy", "vz"]);
            for row in out.values().chunks_exact(7) {
                let s = row[0] - 7e6;
                let errors = [row[4] - (3.0 * s * s - 1.0), row[5] - 3.0, row[6]];
                let right = errors.iter().all(|error| error.abs() < 1e-9);
                // Seven points are needed for the second window, and there are six.
                assert!(if window == 5 { right } else { row[4].is_nan() });
            }
        }
    }

    #[test]
    fn exactly_one_window_is_enough_and_v_is_the_speed() {
        let rows = [
            [0.0, 0.0, 0.0, 1.0],
            [1.0, 3.0, 4.0, 1.0],
            [3.0, 9.0, 12.0, 1.0],
        ];
        let out = run(&Velocity::new(3).absolute(true), &rows);
        assert_eq!(out.columns()[4..], ["v"]);
        assert!(out.column(4).iter().all(|v| (v - 5.0).abs() < 1e-12));
        let out = run(&Velocity::new(3).absolute(true), &rows[..2]);
        assert!(out.column(4).iter().all(|v| v.is_nan()));
    }

    #[test]
    fn equal_times_that_leave_a_window_undetermined_give_nan_there() {
        let rows = [0.0, 0.0, 1.0, 2.0, 3.0].map(|t| [t, 2.0 * t, 0.0, 0.0]);
        let vx = run(&Velocity::new(3), &rows).column(4);
        assert!(vx[0].is_nan() && vx[1].is_nan());
        assert!(vx[2..].iter().all(|v| (v - 2.0).abs() < 1e-12), "{vx:?}");
        let rows = [[4.0, 1.0, 2.0, 3.0]; 5];
        let vx = run(&Velocity::new(5), &rows).column(4);
        assert!(vx.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn windows_must_be_odd_and_larger_than_the_degree() {
        for step in [
            Velocity::new(4),
            Velocity::new(0),
            Velocity::new(3).degree(3),
            Velocity::new(3).degree(0),
        ] {
            assert!(matches!(step.check(), Err(Error::Parameter { .. })));
        }
    }
}
