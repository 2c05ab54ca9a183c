//! How lines lie around a tracer.

use std::f64::consts::TAU;
use std::ops::AddAssign;

/// Fitted widths (mm) and shares stay within these limits.
const WIDTHS: [f64; 2] = [0.2, 20.0];
const SHARES: [f64; 2] = [0.05, 0.95];

/// How a tracer's lines lie around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Density {
    /// `1 / s^2`.
    pub(super) rates: [f64; 2],
    /// `share / (2 pi s^2)`.
    pub(super) peaks: [f64; 2],
}

impl Density {
    pub(super) fn new(widths: [f64; 2], narrow_share: f64) -> Self {
        let rates = widths.map(|width| 1.0 / (width * width));
        let peaks = [
            narrow_share * rates[0] / TAU,
            (1.0 - narrow_share) * rates[1] / TAU,
        ];
        Self { rates, peaks }
    }

    /// The relative change to another density.
    pub(super) fn change(&self, other: &Self) -> f64 {
        let mut change: f64 = 0.0;
        for k in 0..2 {
            change = change
                .max((self.rates[k] / other.rates[k] - 1.0).abs())
                .max((self.peaks[k] - other.peaks[k]).abs() / (other.peaks[0] + other.peaks[1]));
        }
        change
    }

    /// The widths (mm), and the share of the narrow one.
    pub(super) fn widths(&self) -> ([f64; 2], f64) {
        let widths = self.rates.map(|rate| 1.0 / rate.sqrt());
        (widths, self.peaks[0] * TAU / self.rates[0])
    }
}

/// What lines say of widths and shares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spreads {
    /// Responsibilities of the narrow and the wide Gaussian.
    pub(super) weights: [f64; 2],
    /// The same, times squared distances (mm^2).
    pub(super) squares: [f64; 2],
}

impl AddAssign for Spreads {
    fn add_assign(&mut self, other: Self) {
        for k in 0..2 {
            self.weights[k] += other.weights[k];
            self.squares[k] += other.squares[k];
        }
    }
}

impl Spreads {
    /// The M step; `None` if the lines say nothing.
    pub(super) fn density(&self) -> Option<Density> {
        let share = self.weights[0] / (self.weights[0] + self.weights[1]);
        let width = |n: usize| (0.5 * self.squares[n] / self.weights[n]).sqrt();
        if !(share > 0.0 && width(0) > 0.0 && width(1) > 0.0) {
            return None;
        }
        let widths = [0, 1].map(|n| width(n).clamp(WIDTHS[0], WIDTHS[1]));
        Some(Density::new(widths, share.clamp(SHARES[0], SHARES[1])))
    }
}
