use std::ops::Range;

use crate::error::{KernelError, Result};

/// Smallest row of a line: `t x1 y1 z1 x2 y2 z2`.
const MIN_COLUMNS: usize = 7;

/// A box: `[xmin, xmax, ymin, ymax, zmin, zmax]` in mm.
pub type Cutoffs = [f64; 6];

/// Borrowed lines: rows `t x1 y1 z1 x2 y2 z2 ...` (ms, mm), one after another; further columns are ignored.
#[derive(Clone, Copy, Debug)]
pub struct LineSlice<'a> {
    values: &'a [f64],
    n_columns: usize,
}

impl<'a> LineSlice<'a> {
    /// Lines from rows of exactly seven columns.
    #[must_use]
    pub fn from_rows(rows: &'a [[f64; MIN_COLUMNS]]) -> Self {
        Self {
            values: rows.as_flattened(),
            n_columns: MIN_COLUMNS,
        }
    }

    /// Lines from a flat, row-major slice with `n_columns >= 7` values a row.
    ///
    /// # Errors
    /// [`KernelError::Rows`] for short rows or a slice that is not a whole number of them.
    pub fn new(values: &'a [f64], n_columns: usize) -> Result<Self> {
        if n_columns < MIN_COLUMNS || !values.len().is_multiple_of(n_columns) {
            return Err(KernelError::Rows {
                len: values.len(),
                width: n_columns,
            });
        }
        Ok(Self { values, n_columns })
    }

    /// The values, and how many there are a row.
    pub(crate) fn parts(&self) -> (&'a [f64], usize) {
        (self.values, self.n_columns)
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.n_columns
    }

    /// Whether there are no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The first seven columns of each line.
    pub fn rows(&self) -> impl Iterator<Item = &'a [f64; MIN_COLUMNS]> + use<'a> {
        // Each row has at least seven columns: checked in `new`.
        self.values
            .chunks_exact(self.n_columns)
            .filter_map(|row| row.first_chunk())
    }

    /// The lines of a range of rows.
    pub(crate) fn range(&self, rows: &Range<usize>) -> Self {
        Self {
            values: &self.values[rows.start * self.n_columns..rows.end * self.n_columns],
            ..*self
        }
    }

    /// Checks that samples lie within the lines, of which there are fewer than 2^32, and that all their values are finite.
    pub(crate) fn check_samples(&self, samples: &[Range<usize>]) -> Result<()> {
        let n_lines = self.len();
        if u32::try_from(n_lines).is_err() {
            return Err(KernelError::TooLarge {
                what: "lines in one call",
                needed: n_lines as u64,
                available: u64::from(u32::MAX),
            });
        }
        let mut checked = 0..0; // rows of the samples before
        for (sample, rows) in samples.iter().enumerate() {
            let &Range { start, end } = rows;
            if start > end || end > n_lines {
                return Err(KernelError::SampleOutOfBounds {
                    sample,
                    start,
                    end,
                    n_lines,
                });
            }
            let first = if checked.contains(&start) {
                checked.end.min(end)
            } else {
                start
            };
            self.range(&(first..end)).check_finite(first)?;
            checked = rows.clone();
        }
        Ok(())
    }

    /// Checks that every value is finite. `first`: the number of the first line, for messages.
    fn check_finite(&self, first: usize) -> Result<()> {
        check_finite(self.values, self.n_columns, MIN_COLUMNS, first)
    }

    /// The bounding box of all end points; an empty box (`inf, -inf`) for no lines.
    #[must_use]
    pub fn bounding_box(&self) -> Cutoffs {
        let mut bounds = EMPTY_BOX;
        for [_, x1, y1, z1, x2, y2, z2] in self.rows() {
            for (axis, (a, b)) in [(x1, x2), (y1, y2), (z1, z2)].into_iter().enumerate() {
                bounds[2 * axis] = bounds[2 * axis].min(a.min(*b));
                bounds[2 * axis + 1] = bounds[2 * axis + 1].max(a.max(*b));
            }
        }
        bounds
    }
}

/// Checks that the first `used` values of each row are finite. `first`: the number of the first row, for messages.
pub(crate) fn check_finite(values: &[f64], width: usize, used: usize, first: usize) -> Result<()> {
    // All at once, in vectors; a foreign column may have anything.
    if values.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Ok(());
    }
    let mut rows = values.chunks_exact(width);
    match rows.position(|row| !row[..used].iter().all(|x| x.is_finite())) {
        Some(line) => Err(KernelError::NotFinite { line: first + line }),
        None => Ok(()),
    }
}

/// The bounding box of nothing.
pub(crate) const EMPTY_BOX: Cutoffs = [
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

/// An infinite line in f64: a point, a direction that is not normalised, and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ray {
    pub(crate) t: f64,
    pub(crate) p: [f64; 3],
    pub(crate) u: [f64; 3],
    /// `u . u`
    pub(crate) uu: f64,
}

impl Ray {
    pub(crate) fn new(&[t, x1, y1, z1, x2, y2, z2]: &[f64; MIN_COLUMNS]) -> Self {
        let u = [x2 - x1, y2 - y1, z2 - z1];
        Self {
            t,
            p: [x1, y1, z1],
            u,
            uu: dot(u, u),
        }
    }
}

/// Euclidean norm.
pub(crate) fn norm(v: [f64; 3]) -> f64 {
    dot(v, v).sqrt()
}

/// Scalar product, left to right.
pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
pub(crate) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

/// Difference.
pub(crate) fn sub(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}
