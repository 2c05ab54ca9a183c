use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Contents, Data, Lines, Points, Sampling, Table, check_times, typed};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};
use crate::statistics::median;

/// Finds the adaptive window of time with which samples have `ideal_elems` rows in the median, and samples the table with it.
///
/// The table is sorted by time first. Samples with fewer than `low * ideal_elems` or more than `high * ideal_elems` rows do not count in the
/// search; then samples have at most `ideal_elems` rows, and `overlap` is a share of the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizeWindow {
    ideal_elems: usize,
    #[serde(default)]
    overlap: f64,
    #[serde(default = "default_low")]
    low: f64,
    #[serde(default = "default_high")]
    high: f64,
}

fn default_low() -> f64 {
    0.3
}

fn default_high() -> f64 {
    3.0
}

/// Windows between which the best one is looked for: so many factors of two round the first guess.
const OCTAVES: i32 = 12;
/// Steps per factor of two of the first, coarse search, and rounds of the fine one.
const COARSE: i32 = 4;
const FINE_ROUNDS: usize = 24;
/// A coarse search looks at no more than so many pieces of so many rows; the best of it are tried on all rows.
const PIECES: usize = 16;
const PIECE: usize = 1 << 15;
const FINALISTS: usize = 4;

impl OptimizeWindow {
    /// Samples of about `ideal_elems` rows that do not overlap.
    #[must_use]
    pub fn new(ideal_elems: usize) -> Self {
        Self {
            ideal_elems,
            overlap: 0.0,
            low: default_low(),
            high: default_high(),
        }
    }

    /// The share of the window that samples have in common, below 1; negative skips time.
    #[must_use]
    pub fn overlap(self, overlap: f64) -> Self {
        Self { overlap, ..self }
    }

    /// Samples below `low` or above `high` times `ideal_elems` rows do not count in the search.
    #[must_use]
    pub fn limits(self, low: f64, high: f64) -> Self {
        Self { low, high, ..self }
    }

    /// How far the median number of rows is from the ideal one, with a window, in some parts of the recording.
    fn distance(&self, parts: &[&[f64]], window: f64) -> f64 {
        let ideal = self.ideal_elems as f64;
        let all = Sampling::adaptive(window, usize::MAX).overlap_time(self.overlap * window);
        let mut sizes = Vec::new();
        for times in parts {
            let Ok(ranges) = all.ranges_of(times) else {
                return f64::INFINITY;
            };
            let counted = ranges.iter().map(|range| range.len() as f64);
            sizes.extend(counted.filter(|&n| self.low * ideal <= n && n <= self.high * ideal));
        }
        // Without any it is NaN, which no distance is better than.
        let distance = (median(sizes) - ideal).abs();
        if distance.is_nan() {
            f64::INFINITY
        } else {
            distance
        }
    }

    /// The best window; the median as a function of it has steps, so a coarse search brackets and a fine one narrows.
    fn window(&self, times: &[f64]) -> Option<f64> {
        let gap = typical_gap(times)?;
        let start = gap * self.ideal_elems as f64;
        let best_of = |parts: &[&[f64]], windows: &[f64]| -> Vec<(f64, f64)> {
            let windows = windows.par_iter();
            let mut tried: Vec<_> = windows
                .map(|&window| (self.distance(parts, window), window))
                .collect();
            tried.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
            tried
        };
        // Where lines come in bursts, the mean says more than the median.
        let span = times.last()? - times.first()?;
        let mean = span * self.ideal_elems as f64 / times.len() as f64;
        let more = f64::from(COARSE) * (mean / start).log2().abs().min(64.0);
        #[expect(clippy::cast_possible_truncation, reason = "small and rounded")]
        let more = if more.is_finite() {
            more.ceil() as i32
        } else {
            0
        };
        let (below, above) = if mean < start { (more, 0) } else { (0, more) };
        let steps = -OCTAVES * COARSE - below..=OCTAVES * COARSE + above;
        let windows: Vec<f64> = steps
            .map(|n| start * 2.0_f64.powf(f64::from(n) / f64::from(COARSE)))
            .collect();
        let parts = parts(times);
        let mut tried = best_of(&parts, &windows);
        if parts.len() > 1 {
            let finalists: Vec<f64> = tried.iter().take(FINALISTS).map(|best| best.1).collect();
            tried = best_of(&[times], &finalists);
        }
        let mut best = *tried.first()?;
        let mut factor = 2.0_f64.powf(1.0 / f64::from(COARSE));
        for _ in 0..FINE_ROUNDS {
            if best.0 == 0.0 {
                break;
            }
            factor = factor.sqrt();
            let found = best_of(&[times], &[best.1 / factor, best.1 * factor])[0];
            if found.0 < best.0 {
                best = found;
            }
        }
        best.0.is_finite().then_some(best.1)
    }

    fn sampled<C: Contents>(&self, tables: Vec<Table<C>>) -> Result<Table<C>> {
        check_times(&tables)?;
        let table = Table::stack(tables)?.into_sorted_by_time();
        let times = table.column(0);
        match self.window(&times) {
            Some(window) => table.with_sampling(
                Sampling::adaptive(window, self.ideal_elems).overlap_time(self.overlap * window),
            ),
            None => {
                tracing::warn!(
                    "OptimizeWindow: no window gives samples of about {} of the {} rows, so nothing follows",
                    self.ideal_elems,
                    table.n_rows()
                );
                table.empty().with_sampling(Sampling::Ranges(Vec::new()))
            }
        }
    }
}

/// The median time between rows or, where that is 0, a higher quantile.
fn typical_gap(times: &[f64]) -> Option<f64> {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let last = gaps.len().checked_sub(1)?;
    for q in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0] {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the number of gaps"
        )]
        let place = (q * last as f64) as usize;
        let (_, &mut gap, _) = gaps.select_nth_unstable_by(place, f64::total_cmp);
        if gap > 0.0 {
            return Some(gap);
        }
    }
    None
}

/// All of a short recording; of a long one pieces from its whole length.
fn parts(times: &[f64]) -> Vec<&[f64]> {
    let n = times.len();
    if n <= PIECES * PIECE {
        return vec![times];
    }
    let start = |piece: usize| (n - PIECE) / (PIECES - 1) * piece;
    let pieces = (0..PIECES).map(|piece| &times[start(piece)..][..PIECE]);
    pieces.collect()
}

impl Reducer for OptimizeWindow {
    type Input = Data;
    type Output = Data;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        if self.ideal_elems == 0 {
            return Error::parameter("ideal_elems", 0.0, "1 row or more");
        }
        if !(self.overlap < 1.0 && self.overlap.is_finite()) {
            return Error::parameter("overlap", self.overlap, "a share of the window below 1");
        }
        if !(0.0..=1.0).contains(&self.low) {
            return Error::parameter("low", self.low, "a factor from 0 to 1");
        }
        if self.high.is_nan() || self.high < 1.0 {
            return Error::parameter("high", self.high, "a factor of 1 or more");
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<Data>, _: &Context<'_>) -> Result<Data> {
        Ok(match tables.first() {
            Some(Data::Lines(_)) => self.sampled::<Lines>(typed(tables)?)?.into(),
            Some(_) => self.sampled::<Points>(typed(tables)?)?.into(),
            None => Data::List(Vec::new()),
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::data::PointData;

    #[test]
    fn samples_have_about_the_ideal_number_of_rows_whatever_the_order_of_rows() {
        // Three rows a ms, in reverse order.
        let rows = Array2::from_shape_fn((900, 4), |(n, _)| 300.0 - n as f64 / 3.0);
        let points = Data::from(PointData::new(rows).unwrap());
        let step = OptimizeWindow::new(30).overlap(0.5);
        let Data::Points(out) = step.reduce(vec![points.clone()], &Context::FIRST).unwrap() else {
            panic!("points should stay points")
        };
        let Sampling::Adaptive {
            window,
            overlap,
            max_rows: 30,
        } = *out.sampling()
        else {
            panic!("{}", out.sampling())
        };
        assert!(
            (9.0..10.5).contains(&window) && overlap == 0.5 * window,
            "{window}"
        );
        assert!(out.n_samples() > 50 && out.sample_ranges()[..50].iter().all(|r| r.len() == 30));
        // Bursts: ten rows within a microsecond, every ten milliseconds.
        let bursts = Array2::from_shape_fn((3_000, 4), |(n, _)| {
            (n / 10) as f64 * 10.0 + (n % 10) as f64 * 1e-4
        });
        let bursts = Data::from(PointData::new(bursts).unwrap());
        let out = step.reduce(vec![bursts], &Context::FIRST).unwrap();
        assert!(out.n_samples() > 100, "{}", out.n_samples());
        // No window gives a million rows.
        let none = OptimizeWindow::new(1_000_000)
            .reduce(vec![points], &Context::FIRST)
            .unwrap();
        assert_eq!(none.n_samples(), 0);
    }
}
