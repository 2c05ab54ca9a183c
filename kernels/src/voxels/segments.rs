use std::ops::Range;

use super::grid::{Grid, Plane};
use crate::error::{KernelError, Result};
use crate::line::{LineSlice, check_finite};

/// Borrowed line segments, from the first to the second point of each row: a [`LineSlice`], or rows in a plane.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    values: &'a [f64],
    n_columns: usize,
    flat: bool,
}

impl<'a> From<LineSlice<'a>> for Segments<'a> {
    fn from(lines: LineSlice<'a>) -> Self {
        let (values, n_columns) = lines.parts();
        Self {
            values,
            n_columns,
            flat: false,
        }
    }
}

impl<'a> Segments<'a> {
    /// Segments in a plane: a flat, row-major slice with `n_columns >= 5` values a row, `t x1 y1 x2 y2 ...`.
    ///
    /// # Errors
    /// [`KernelError::Rows`] for short rows or a slice that is not a whole number of them.
    pub fn flat(values: &'a [f64], n_columns: usize) -> Result<Self> {
        if n_columns < 5 || !values.len().is_multiple_of(n_columns) {
            return Err(KernelError::Rows {
                len: values.len(),
                width: n_columns,
            });
        }
        Ok(Self {
            values,
            n_columns,
            flat: true,
        })
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.n_columns
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn range(&self, rows: &Range<usize>) -> Self {
        Self {
            values: &self.values[rows.start * self.n_columns..rows.end * self.n_columns],
            ..*self
        }
    }

    /// Checks that the grid can hold them and that their values are finite. `first`: the number of the first one, for messages.
    pub(super) fn check(&self, grid: &Grid, first: usize) -> Result<()> {
        if self.flat && grid.plane().is_none() {
            return Err(KernelError::Parameter {
                name: "grid",
                value: format!("{:?}", grid.shape()),
                needed: "pixels for segments in a plane",
            });
        }
        let used = if self.flat { 5 } else { 7 };
        check_finite(self.values, self.n_columns, used, first)
    }

    /// The end points of the n-th, as seen in a plane.
    #[inline]
    pub(super) fn ends(&self, n: usize, plane: Option<Plane>) -> ([f64; 3], [f64; 3]) {
        let row = &self.values[n * self.n_columns..];
        if self.flat {
            return ([row[1], row[2], 0.5], [row[3], row[4], 0.5]);
        }
        let seen = |[x, y, z]: [f64; 3]| match plane {
            None => [x, y, z],
            Some(Plane::Xy) => [x, y, 0.5],
            Some(Plane::Xz) => [x, z, 0.5],
            Some(Plane::Yz) => [y, z, 0.5],
        };
        (
            seen([row[1], row[2], row[3]]),
            seen([row[4], row[5], row[6]]),
        )
    }
}
