//! What a tracer is taken to be.

use std::ops::Range;

use super::TERMS;
use crate::error::{Error, Result};

/// The log likelihood that a tracer must gain grows by this for each order of motion: with velocities to choose from, chance finds
/// more. With 25 for order 0, 5 of 192,000 samples of 5 to 1,600 random lines gave a point.
const GAIN_PER_ORDER: f64 = 6.0;

/// How a tracer's lines lie around it.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracking) struct Widths {
    /// Of a narrow and a wide Gaussian (mm per axis).
    pub(in crate::tracking) widths: [f64; 2],
    /// The share of lines in the narrow one.
    pub(in crate::tracking) narrow_share: f64,
    /// By how much, as a share, the squares of widths across grow for lines that lean all the way in a ring.
    pub(in crate::tracking) lean: f64,
}

impl Widths {
    /// Those in two recordings of an ADAC Forte.
    pub(in crate::tracking) const USUAL: Self = Self {
        widths: [2.35, 6.4],
        narrow_share: 0.6,
        lean: 0.0,
    };

    /// As they are given, or the usual ones until others are learned.
    pub(in crate::tracking) fn given(
        widths: Option<[f64; 2]>,
        narrow_share: f64,
        lean: f64,
    ) -> Self {
        Self {
            widths: widths.unwrap_or(Self::USUAL.widths),
            narrow_share,
            lean,
        }
    }

    /// An error if a share or a lean is given that would be learned.
    pub(in crate::tracking) fn check_learned(&self) -> Result<()> {
        let all = [
            ("narrow_share", self.narrow_share, Self::USUAL.narrow_share),
            ("lean", self.lean, Self::USUAL.lean),
        ];
        for (name, value, usual) in all {
            if (value - usual).abs() > 0.0 {
                let needed = "widths as well: without them it is learned";
                return Error::parameter(name, value, needed);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let [narrow, wide] = self.widths;
        if !(is_positive(narrow) && is_positive(wide) && narrow <= wide) {
            let needed = "two numbers above 0 (mm), the smaller first";
            return Error::parameter("widths", format!("{:?}", self.widths), needed);
        }
        if !(self.narrow_share > 0.0 && self.narrow_share <= 1.0) {
            let needed = "a share above 0 and at most 1";
            return Error::parameter("narrow_share", self.narrow_share, needed);
        }
        if !(self.lean >= 0.0 && self.lean.is_finite()) {
            return Error::parameter("lean", self.lean, "a number, 0 or more");
        }
        Ok(())
    }
}

fn is_positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

/// What a tracer is: how it moves, how its lines lie around it, and what tells it from chance.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracking) struct Model {
    pub(super) order: usize,
    pub(super) widths: Widths,
    pub(super) fit_widths: bool,
    pub(super) min_gain: f64,
    pub(super) max_error: f64,
}

impl Model {
    /// Motion of order 0 (at rest) to 2.
    pub(in crate::tracking) fn new(
        order: usize,
        widths: Widths,
        min_gain: f64,
        max_error: f64,
    ) -> Self {
        Self {
            order,
            widths,
            fit_widths: false,
            min_gain,
            max_error,
        }
    }

    /// Whether widths and their shares are fitted too.
    pub(in crate::tracking) fn fit_widths(self, fit_widths: bool) -> Self {
        Self { fit_widths, ..self }
    }

    pub(in crate::tracking) fn check(&self) -> Result<()> {
        if self.order >= TERMS {
            return Error::parameter("order", self.order, "0, 1 or 2");
        }
        self.widths.check()?;
        if !(self.min_gain >= 0.0 && self.min_gain.is_finite()) {
            return Error::parameter("min_gain", self.min_gain, "a number, 0 or more");
        }
        if !is_positive(self.max_error) {
            return Error::parameter("max_error", self.max_error, "a number above 0 (mm)");
        }
        Ok(())
    }

    /// What the log likelihood must gain by a tracer.
    pub(super) fn gain(&self) -> f64 {
        self.min_gain + GAIN_PER_ORDER * self.order as f64
    }

    pub(in crate::tracking) fn narrow(&self) -> f64 {
        self.widths.widths[0]
    }

    pub(in crate::tracking) fn wide(&self) -> f64 {
        self.widths.widths[1]
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
