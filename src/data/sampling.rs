use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};

/// How a table is cut into samples: ranges of rows, which may overlap.
///
/// ```
/// use pept::Sampling;
/// let samples = Sampling::count(5).overlap(2).ranges(10)?;
/// assert_eq!(samples, [0..5, 3..8]); // only full samples
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sampling {
    /// One sample with every row.
    #[default]
    Whole,
    /// Samples of `size` rows, each starting `size - overlap` rows after the one before.
    Count {
        /// Rows of a sample; 0 stands for [`Whole`](Self::Whole).
        size: usize,
        /// Rows shared with the sample before; negative skips rows.
        overlap: isize,
    },
    /// Ranges as given.
    Ranges(Vec<Range<usize>>),
}

impl Sampling {
    /// Samples of `size` rows that do not overlap.
    #[must_use]
    pub fn count(size: usize) -> Self {
        Self::Count { size, overlap: 0 }
    }

    /// Sets the overlap of samples by count; other rules stay as they are.
    #[must_use]
    pub fn overlap(self, overlap: isize) -> Self {
        match self {
            Self::Count { size, .. } => Self::Count { size, overlap },
            other => other,
        }
    }

    /// Checks what can be checked without a table.
    ///
    /// # Errors
    /// [`Error::Sampling`] if the overlap is not below the size.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Count { size, overlap }
                if size > 0 && overlap >= 0 && overlap.unsigned_abs() >= size =>
            {
                Err(Error::Sampling(format!(
                    "overlap {overlap} must be smaller than the sample size {size}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The samples of a table of `n_rows` rows.
    ///
    /// # Errors
    /// [`Error::Sampling`] if the overlap is not below the size, or a range leaves the table.
    pub fn ranges(&self, n_rows: usize) -> Result<Vec<Range<usize>>> {
        self.check()?;
        match self {
            Self::Whole | Self::Count { size: 0, .. } => Ok(vec![Range {
                start: 0,
                end: n_rows,
            }]),
            &Self::Count { size, overlap } => {
                let step = size.saturating_add_signed(overlap.saturating_neg());
                let Some(last) = n_rows.checked_sub(size) else {
                    return Ok(Vec::new());
                };
                Ok((0..=last)
                    .step_by(step)
                    .map(|start| start..start + size)
                    .collect())
            }
            Self::Ranges(ranges) => match ranges.iter().find(|r| r.start > r.end || r.end > n_rows)
            {
                Some(bad) => Err(Error::Sampling(format!(
                    "sample {}..{} lies outside the {n_rows} rows",
                    bad.start, bad.end
                ))),
                None => Ok(ranges.clone()),
            },
        }
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("one sample"),
            Self::Count { size, overlap } => write!(f, "samples of {size} rows, overlap {overlap}"),
            Self::Ranges(ranges) => write!(f, "{} explicit ranges", ranges.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_rows_give_the_known_numbers_of_samples() {
        let n = |size, overlap| {
            Sampling::count(size)
                .overlap(overlap)
                .ranges(10)
                .unwrap()
                .len()
        };
        assert_eq!((n(3, 0), n(3, 2), n(5, 2)), (3, 8, 2));
        assert_eq!(
            Sampling::count(3).overlap(-2).ranges(10).unwrap(),
            [0..3, 5..8]
        );
        assert_eq!(
            Sampling::count(0).ranges(10).unwrap(),
            [Range { start: 0, end: 10 }]
        );
        assert_eq!(Sampling::count(11).ranges(10).unwrap(), []);
    }

    #[test]
    fn an_overlap_that_is_not_below_the_size_is_an_error() {
        for overlap in [3, 4, isize::MAX] {
            assert!(matches!(
                Sampling::count(3).overlap(overlap).ranges(10),
                Err(Error::Sampling(_))
            ));
        }
        assert_eq!(
            Sampling::count(3).overlap(isize::MIN).ranges(10).unwrap(),
            [Range { start: 0, end: 3 }]
        );
    }

    #[test]
    fn ranges_outside_the_table_are_an_error() {
        assert!(Sampling::Ranges(vec![0..4, 3..11]).ranges(10).is_err());
    }
}
