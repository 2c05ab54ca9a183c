//! What a tracer is taken to be.

use std::ops::Range;

use super::TERMS;
use crate::error::{Error, Result};

/// The log likelihood that a tracer must gain grows by this for each order of motion: with velocities to choose from, chance finds
/// more. With 25 for order 0, 5 of 192,000 samples of 5 to 1,600 random lines gave a point.
const GAIN_PER_ORDER: f64 = 6.0;

/// How lines of tracers lie in two recordings of an ADAC Forte: widths (mm), and the share of the narrow one.
pub(in crate::tracking) const WIDTHS: [f64; 2] = [2.35, 6.4];
pub(in crate::tracking) const NARROW_SHARE: f64 = 0.6;

/// What a tracer is: how it moves, how its lines lie around it, and what tells it from chance.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracking) struct Model {
    pub(super) order: usize,
    pub(super) widths: [f64; 2],
    pub(super) narrow_share: f64,
    pub(super) lean: f64,
    pub(super) fit_widths: bool,
    pub(super) min_gain: f64,
    pub(super) max_error: f64,
}

impl Model {
    /// Motion of order 0 (at rest) to 2; two Gaussians of `widths` (mm per axis), the narrow one with a share of the lines.
    pub(in crate::tracking) fn new(
        order: usize,
        widths: [f64; 2],
        narrow_share: f64,
        min_gain: f64,
        max_error: f64,
    ) -> Self {
        Self {
            order,
            widths,
            narrow_share,
            lean: 0.0,
            fit_widths: false,
            min_gain,
            max_error,
        }
    }

    /// By how much, as a share, the squares of widths grow for lines that lean all the way in a ring.
    pub(in crate::tracking) fn lean(self, lean: f64) -> Self {
        Self { lean, ..self }
    }

    /// Whether widths and their shares are fitted too.
    pub(in crate::tracking) fn fit_widths(self, fit_widths: bool) -> Self {
        Self { fit_widths, ..self }
    }

    pub(in crate::tracking) fn check(&self) -> Result<()> {
        let error = |name, value: String, needed| {
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.order >= TERMS {
            return error("order", self.order.to_string(), "0, 1 or 2");
        }
        if !(positive(self.widths[0])
            && positive(self.widths[1])
            && self.widths[0] <= self.widths[1])
        {
            let needed = "two numbers above 0 (mm), the smaller first";
            return error("widths", format!("{:?}", self.widths), needed);
        }
        if !(self.narrow_share > 0.0 && self.narrow_share <= 1.0) {
            let needed = "a share above 0 and at most 1";
            return error("narrow_share", self.narrow_share.to_string(), needed);
        }
        if !(self.lean >= 0.0 && self.lean.is_finite()) {
            return error("lean", self.lean.to_string(), "a number, 0 or more");
        }
        if !(self.min_gain >= 0.0 && self.min_gain.is_finite()) {
            let needed = "a number, 0 or more";
            return error("min_gain", self.min_gain.to_string(), needed);
        }
        if !positive(self.max_error) {
            let needed = "a number above 0 (mm)";
            return error("max_error", self.max_error.to_string(), needed);
        }
        Ok(())
    }

    /// What the log likelihood must gain by a tracer.
    pub(super) fn gain(&self) -> f64 {
        self.min_gain + GAIN_PER_ORDER * self.order as f64
    }

    pub(in crate::tracking) fn narrow(&self) -> f64 {
        self.widths[0]
    }

    pub(in crate::tracking) fn wide(&self) -> f64 {
        self.widths[1]
    }

    /// The columns of [`Estimate::row`].
    pub(in crate::tracking) fn columns(&self) -> Vec<&'static str> {
        let mut columns = COLUMNS.to_vec();
        if self.order == 0 {
            columns.drain(VELOCITY);
        }
        columns
    }
}

const COLUMNS: [&str; 17] = [
    "t",
    "x",
    "y",
    "z",
    "vx",
    "vy",
    "vz",
    "error",
    "cluster_size",
    "share",
    "width",
    "sigma_xx",
    "sigma_xy",
    "sigma_xz",
    "sigma_yy",
    "sigma_yz",
    "sigma_zz",
];
const VELOCITY: Range<usize> = 4..7;
