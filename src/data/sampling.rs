use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a table is cut into samples: ranges of rows, which may overlap.
///
/// ```
/// use pept::Sampling;
/// let samples = Sampling::count(5).overlap(2).ranges(10)?;
/// assert_eq!(samples, [0..5, 3..8]); // only full samples
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Consecutive samples of these sizes.
    List(Vec<usize>),
    /// Windows of `window` ms, each starting `window - overlap` ms after the one before; empty ones are left out. Needs times in
    /// order; the last window ends at or before the last time.
    Time {
        /// Length of a window (ms).
        window: f64,
        /// Time shared with the window before (ms); negative skips time.
        overlap: f64,
    },
    /// Samples that end before the first row more than `window` ms after their first, or with `max_rows` rows; the next one starts
    /// `overlap` ms before that row, or after the last row if there was none. Needs times in order.
    Adaptive {
        /// Longest time of a sample (ms).
        window: f64,
        /// Time shared with the sample before (ms).
        overlap: f64,
        /// Most rows of a sample.
        max_rows: usize,
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

    /// Windows of `window` ms that do not overlap.
    #[must_use]
    pub fn time(window: f64) -> Self {
        Self::Time {
            window,
            overlap: 0.0,
        }
    }

    /// Samples of at most `window` ms and at most `max_rows` rows that do not overlap.
    #[must_use]
    pub fn adaptive(window: f64, max_rows: usize) -> Self {
        Self::Adaptive {
            window,
            overlap: 0.0,
            max_rows,
        }
    }

    /// Sets the overlap (ms) of samples by time; other rules stay as they are.
    #[must_use]
    pub fn overlap_time(self, overlap: f64) -> Self {
        match self {
            Self::Time { window, .. } => Self::Time { window, overlap },
            Self::Adaptive {
                window, max_rows, ..
            } => Self::Adaptive {
                window,
                overlap,
                max_rows,
            },
            other => other,
        }
    }

    /// Whether the rule looks at times.
    #[must_use]
    pub fn is_by_time(&self) -> bool {
        matches!(self, Self::Time { .. } | Self::Adaptive { .. })
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
            Self::Count { size: 0, overlap } if overlap != 0 => Err(Error::Sampling(format!(
                "overlap {overlap} needs a sample size above 0"
            ))),
            Self::Count { size, overlap }
                if size > 0 && overlap >= 0 && overlap.unsigned_abs() >= size =>
            {
                Err(Error::Sampling(format!(
                    "overlap {overlap} must be smaller than the sample size {size}"
                )))
            }
            Self::Time { window, overlap }
            | Self::Adaptive {
                window, overlap, ..
            } if !(window > 0.0
                && window.is_finite()
                && overlap < window
                && overlap.is_finite()) =>
            {
                Err(Error::Sampling(format!(
                    "a window of {window} ms with overlap {overlap} ms: the window must be above 0, the overlap below it"
                )))
            }
            Self::Adaptive { max_rows: 0, .. } => {
                Err(Error::Sampling("a sample must have 1 row or more".into()))
            }
            _ => Ok(()),
        }
    }

    /// The samples of rows with these times (ms).
    ///
    /// # Errors
    /// As [`ranges`](Self::ranges), and for times that are not in order where the rule looks at them.
    pub fn ranges_of(&self, times: &[f64]) -> Result<Vec<Range<usize>>> {
        self.check()?;
        if self.is_by_time() {
            let unsorted = times.windows(2).position(|pair| pair[0] > pair[1]);
            let not_finite = times.iter().position(|t| !t.is_finite());
            if let Some(row) = not_finite.or(unsorted.map(|row| row + 1)) {
                return Err(Error::Sampling(format!(
                    "samples by time need times in order, but row {row} has {} ms: sort the table, and remove times that are not finite",
                    times[row]
                )));
            }
        }
        match *self {
            Self::Time { window, overlap } => {
                let Some(&first) = times.first() else {
                    return Ok(Vec::new());
                };
                Ok(windows(times, window, overlap, first, &mut 0.0)?)
            }
            Self::Adaptive {
                window,
                overlap,
                max_rows,
            } => Ok(adaptive(times, window, overlap, max_rows)),
            _ => self.ranges(times.len()),
        }
    }

    /// The samples of a table of `n_rows` rows.
    ///
    /// # Errors
    /// [`Error::Sampling`] if the overlap is not below the size, a list or a range leaves the table, or the rule looks at
    /// times: see [`ranges_of`](Self::ranges_of).
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
            Self::List(sizes) => {
                let mut end = 0_usize;
                let mut ranges = Vec::with_capacity(sizes.len());
                for &size in sizes {
                    let start = end;
                    end = end.saturating_add(size);
                    ranges.push(start..end);
                }
                if end > n_rows {
                    return Err(Error::Sampling(format!(
                        "samples of {end} rows in all, but there are {n_rows}"
                    )));
                }
                Ok(ranges)
            }
            Self::Time { .. } | Self::Adaptive { .. } => Err(Error::Sampling(
                "samples by time need the times of the rows".into(),
            )),
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

/// How recipes say how large samples are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "sample_size is a number of rows (0 or more), { time_window = MS }, { adaptive = MS, max = ROWS }, a list of numbers of rows, or { ranges = [[START, END], ..] }"
)]
pub(crate) enum SampleSize {
    Rows(usize),
    Time { time_window: f64 },
    Adaptive { adaptive: f64, max: usize },
    List(Vec<usize>),
    Ranges { ranges: Vec<[usize; 2]> },
}

/// How recipes say what samples share, in rows or ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "overlap is a whole number of rows, or a time (ms) where the sample size is one"
)]
pub(crate) enum Overlap {
    Rows(isize),
    Time(f64),
}

impl Default for Overlap {
    fn default() -> Self {
        Self::Rows(0)
    }
}

impl SampleSize {
    /// The rule.
    pub(crate) fn sampling(&self, overlap: Overlap) -> Result<Sampling> {
        let time = match overlap {
            Overlap::Rows(overlap) => overlap as f64,
            Overlap::Time(overlap) => overlap,
        };
        Ok(match (self, overlap) {
            (&Self::Rows(size), Overlap::Rows(overlap)) => Sampling::count(size).overlap(overlap),
            (Self::Rows(_), Overlap::Time(overlap)) => {
                return Err(Error::Sampling(format!(
                    "an overlap of {overlap} rows: with a sample size in rows it has to be a whole number"
                )));
            }
            (&Self::Time { time_window }, _) => Sampling::time(time_window).overlap_time(time),
            (&Self::Adaptive { adaptive, max }, _) => {
                Sampling::adaptive(adaptive, max).overlap_time(time)
            }
            (Self::List(sizes), Overlap::Rows(0)) => Sampling::List(sizes.clone()),
            (Self::Ranges { ranges }, Overlap::Rows(0)) => {
                Sampling::Ranges(ranges.iter().map(|&[start, end]| start..end).collect())
            }
            (Self::List(_) | Self::Ranges { .. }, _) => {
                return Err(Error::Sampling(
                    "samples given one by one have no overlap".into(),
                ));
            }
        })
    }
}

/// More windows than this are a mistake, and would fill the memory.
const MOST_WINDOWS: usize = 1 << 25;

/// The windows from number `k` on, counted from time `first`, that end within these times; `k` becomes the number of the next one.
pub(super) fn windows(
    times: &[f64],
    window: f64,
    overlap: f64,
    first: f64,
    k: &mut f64,
) -> Result<Vec<Range<usize>>> {
    let Some(&last) = times.last() else {
        return Ok(Vec::new());
    };
    let step = window - overlap;
    let too_many = || {
        Err(Error::Sampling(format!(
            "windows of {window} ms with overlap {overlap} ms are too many for {} ms of data: choose longer ones or less overlap",
            last - first
        )))
    };
    // Windows and steps that are lost in the times' rounding would never come to an end.
    let largest = first.abs().max(last.abs());
    let is_lost = |length: f64| length < 4.0 * f64::EPSILON * largest;
    if is_lost(step) || is_lost(window) || (last - first) / step > 1e15 {
        return too_many();
    }
    let mut ranges = Vec::new();
    let (mut start_row, mut end_row) = (0, 0);
    loop {
        let start = first + *k * step;
        let end = start + window;
        if end > last {
            return Ok(ranges);
        }
        if ranges.len() == MOST_WINDOWS {
            return too_many();
        }
        start_row += times[start_row..].partition_point(|&t| t < start);
        end_row = end_row.max(start_row);
        end_row += times[end_row..].partition_point(|&t| t < end);
        if start_row < end_row {
            ranges.push(start_row..end_row);
            *k += 1.0;
        } else {
            // Nothing until the next row: skip the windows that end before it, but for rounding.
            let next = ((times[start_row] - first - window) / step).floor() - 1.0;
            *k = next.max(*k + 1.0);
        }
    }
}

/// So many rows hold all first ones for which something is true, and not many more: the end is near, and the rest may be long.
fn within(times: &[f64], holds: impl Fn(f64) -> bool) -> usize {
    let mut n = 64;
    while n < times.len() && holds(times[n - 1]) {
        n *= 2;
    }
    n.min(times.len())
}

pub(super) fn adaptive(
    times: &[f64],
    window: f64,
    overlap: f64,
    max_rows: usize,
) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let rest = &times[start..];
        let rest = &rest[..within(rest, |t| t <= rest[0] + window)];
        let in_time = rest.partition_point(|&t| t <= rest[0] + window);
        let end = start + in_time.min(max_rows);
        ranges.push(start..end);
        if end == times.len() {
            break;
        }
        let next = start + rest.partition_point(|&t| t <= rest[0] + window - overlap);
        start = if next < end { next.max(start + 1) } else { end };
    }
    ranges
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("one sample"),
            Self::Count { size, overlap } => write!(f, "samples of {size} rows, overlap {overlap}"),
            Self::List(sizes) => write!(f, "{} samples of given sizes", sizes.len()),
            Self::Time { window, overlap } => {
                write!(f, "windows of {window} ms, overlap {overlap} ms")
            }
            Self::Adaptive {
                window,
                overlap,
                max_rows,
            } => write!(
                f,
                "windows of {window} ms with at most {max_rows} rows, overlap {overlap} ms"
            ),
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
        assert!(Sampling::count(11).ranges(10).unwrap().is_empty());
    }

    #[test]
    fn windows_of_time_skip_gaps_and_end_before_the_last_time() {
        let times = [0.0, 1.0, 2.0, 3.0, 1e9, 1e9 + 1.0, 1e9 + 5.0];
        let windows = Sampling::time(2.0).ranges_of(&times).unwrap();
        assert_eq!(windows, [0..2, 2..4, 4..6]);
        let adaptive = Sampling::adaptive(2.0, 2).overlap_time(1.5);
        assert_eq!(
            adaptive.ranges_of(&times).unwrap(),
            [0..2, 1..3, 2..4, 3..4, 4..6, 5..6, 6..7]
        );
        let unsorted = Sampling::time(2.0).ranges_of(&[0.0, 2.0, 1.0]);
        assert!(unsorted.unwrap_err().to_string().contains("row 2"));
        assert!(Sampling::time(2.0).ranges_of(&[]).unwrap().is_empty());
        for bad in [
            Sampling::time(0.0),
            Sampling::time(2.0).overlap_time(2.0),
            Sampling::adaptive(1.0, 0),
            Sampling::time(f64::NAN),
            Sampling::time(1e-20),
            Sampling::time(1e-300),
            Sampling::time(0.5).overlap_time(0.5_f64.next_down()),
            Sampling::time(0.5).overlap_time(0.5 - 1e-9),
        ] {
            assert!(bad.ranges_of(&[0.0, 0.4, 1.0]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_of_sizes_has_to_fit_the_rows() {
        let list = Sampling::List(vec![2, 0, 3]);
        assert_eq!(list.ranges(6).unwrap(), [0..2, 2..2, 2..5]);
        assert!(list.ranges(4).is_err());
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
