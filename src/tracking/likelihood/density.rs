//! How lines lie around a tracer.

use std::f64::consts::TAU;
use std::ops::AddAssign;

use super::model::Widths;

/// Fitted widths (mm) and shares stay within these limits.
const WIDTHS: [f64; 2] = [0.2, 20.0];
const SHARES: [f64; 2] = [0.05, 0.95];
/// So many times the narrow one the wide one is at least: else they could not be told apart.
const APART: f64 = 1.001;

/// How a tracer's lines lie around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Density {
    /// `1 / s^2`.
    pub(super) rates: [f64; 2],
    /// `share / (2 pi s^2)`.
    pub(super) peaks: [f64; 2],
    /// What the square of the width across a line grows by, as a share, if it leans all the way.
    pub(super) lean: f64,
}

impl Density {
    pub(super) fn new(
        &Widths {
            widths,
            narrow_share,
            lean,
        }: &Widths,
    ) -> Self {
        let rates = widths.map(|width| 1.0 / (width * width));
        let peaks = [
            narrow_share * rates[0] / TAU,
            (1.0 - narrow_share) * rates[1] / TAU,
        ];
        Self { rates, peaks, lean }
    }

    /// The relative change to another density.
    pub(super) fn change(&self, other: &Self) -> f64 {
        let mut change = (self.lean - other.lean).abs() / (1.0 + other.lean);
        for k in 0..2 {
            change = change
                .max((self.rates[k] / other.rates[k] - 1.0).abs())
                .max((self.peaks[k] - other.peaks[k]).abs() / (other.peaks[0] + other.peaks[1]));
        }
        change
    }

    pub(super) fn widths(&self) -> Widths {
        Widths {
            widths: self.rates.map(|rate| 1.0 / rate.sqrt()),
            narrow_share: self.peaks[0] * TAU / self.rates[0],
            lean: self.lean,
        }
    }
}

/// Bins of the squared sine of how lines lean.
const BINS: usize = 64;

/// The largest growth of the squares of widths, and steps of the search for it.
const MOST_LEAN: f64 = 100.0;
const LEAN_STEPS: usize = 30;

/// What lines say of widths and shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spreads {
    /// Responsibilities of the narrow and the wide Gaussian.
    pub(super) weights: [f64; 2],
    /// The same, times squared distances (mm^2) as a line that does not lean would have them.
    pub(super) squares: [f64; 2],
    /// For lines that lean so much: responsibilities, the squared distances across in units of the squares of widths, and the squared
    /// sine, weighed with the first.
    bins: [[f64; 3]; BINS],
}

impl Default for Spreads {
    fn default() -> Self {
        Self {
            weights: [0.0; 2],
            squares: [0.0; 2],
            bins: [[0.0; 3]; BINS],
        }
    }
}

impl AddAssign for Spreads {
    fn add_assign(&mut self, other: Self) {
        for k in 0..2 {
            self.weights[k] += other.weights[k];
            self.squares[k] += other.squares[k];
        }
        for (bin, other) in self
            .bins
            .as_flattened_mut()
            .iter_mut()
            .zip(other.bins.as_flattened())
        {
            *bin += other;
        }
    }
}

impl Spreads {
    /// A line that leans so much, with its responsibility and its squared distance across in units of the square of its width.
    pub(super) fn add_lean(&mut self, lean: f64, weight: f64, square: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 1"
        )]
        let bin = ((lean * BINS as f64) as usize).min(BINS - 1);
        let bin = &mut self.bins[bin];
        bin[0] += weight;
        bin[1] += weight * square;
        bin[2] += weight * lean;
    }

    /// The growth that makes the lines likeliest.
    fn lean(&self) -> f64 {
        // Twice the log likelihood of offsets across.
        let value = |power: f64| -> f64 {
            let growth = libm::exp(power) - 1.0;
            let bins = self.bins.iter().filter(|bin| bin[0] > 0.0);
            bins.map(|&[weight, square, lean]| {
                let factor = 1.0 + growth * lean / weight;
                -weight * libm::log(factor) - square / factor
            })
            .sum()
        };
        let (mut low, mut high) = (0.0, libm::log(1.0 + MOST_LEAN));
        for _ in 0..LEAN_STEPS {
            let third = (high - low) / 3.0;
            if value(low + third) >= value(high - third) {
                high -= third;
            } else {
                low += third;
            }
        }
        // Exactly none where no line leans.
        if low > 0.0 { libm::exp(low) - 1.0 } else { 0.0 }
    }

    /// The M step; `None` if the lines say nothing.
    pub(super) fn density(&self) -> Option<Density> {
        let share = self.weights[0] / (self.weights[0] + self.weights[1]);
        let width = |n: usize| (0.5 * self.squares[n] / self.weights[n]).sqrt();
        if !(share > 0.0 && width(0) > 0.0 && width(1) > 0.0) {
            return None;
        }
        let narrow = width(0).clamp(WIDTHS[0], WIDTHS[1] / APART);
        let widths = [narrow, width(1).clamp(narrow * APART, WIDTHS[1])];
        Some(Density::new(&Widths {
            widths,
            narrow_share: share.clamp(SHARES[0], SHARES[1]),
            lean: self.lean(),
        }))
    }
}
