//! How lines lie around a tracer.

use std::f64::consts::TAU;

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
}
