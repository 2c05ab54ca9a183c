use std::ops::Range;

use super::sampling::{adaptive, windows};
use super::{Contents, Sampling, Table, array_of_rows};
use crate::error::{Error, Result};

/// Cuts a recording that comes in blocks into the same samples as in one piece.
#[derive(Debug)]
pub(crate) struct Cutter<C> {
    sampling: Sampling,
    /// Rows that no complete sample was the last to need.
    rest: Option<Table<C>>,
    /// Rows to come that no sample has.
    skipped: usize,
    /// The number of the next sample.
    next_sample: usize,
    /// Windows of time: the first time of all, and the number of the next window.
    origin: Option<f64>,
    next_window: f64,
    /// The row of the recording that the table of the last samples begins with.
    first_row: usize,
    /// Rows that came, and the last one's time.
    n_rows: usize,
    last_time: f64,
}

impl<C: Contents> Cutter<C> {
    pub(crate) fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            rest: None,
            skipped: 0,
            next_sample: 0,
            origin: None,
            next_window: 0.0,
            first_row: 0,
            n_rows: 0,
            last_time: f64::NEG_INFINITY,
        }
    }

    /// The samples that are complete with this block, as a table of just their rows; or none yet.
    pub(crate) fn add(&mut self, block: &Table<C>) -> Result<Option<Table<C>>> {
        self.check(block)?;
        self.n_rows += block.n_rows();
        let skipped = self.skipped.min(block.n_rows());
        self.skipped -= skipped;
        let block = block.slice_rows(skipped..block.n_rows())?;
        let table = match self.rest.take() {
            None => block,
            Some(rest) => {
                let values = [rest.values(), block.values()].concat();
                block.with_rows(array_of_rows(values, block.columns().len()))?
            }
        };
        self.cut(table, false)
    }

    /// The samples that are complete since nothing follows.
    pub(crate) fn finish(&mut self) -> Result<Option<Table<C>>> {
        match self.rest.take() {
            None => Ok(None),
            Some(rest) => self.cut(rest, true),
        }
    }

    /// The row of the recording that the table of the last samples begins with.
    pub(crate) fn first_row(&self) -> usize {
        self.first_row
    }

    /// The rule, of a recording that is not cut after all.
    pub(crate) fn into_sampling(self) -> Sampling {
        self.sampling
    }

    /// Times in order, where the rule needs them.
    fn check(&mut self, block: &Table<C>) -> Result<()> {
        if !self.sampling.is_by_time() {
            return Ok(());
        }
        for (row, t) in (self.n_rows..).zip(block.rows().column(0)) {
            if !(t.is_finite() && *t >= self.last_time) {
                return Err(Error::Sampling(format!(
                    "samples by time need times in order, but row {row} has {t} ms: sort the table, and remove times that are not finite"
                )));
            }
            self.last_time = *t;
        }
        Ok(())
    }

    fn cut(&mut self, table: Table<C>, is_last: bool) -> Result<Option<Table<C>>> {
        let n = table.n_rows();
        let (ranges, done): (Vec<Range<usize>>, usize) = match &mut self.sampling {
            &mut Sampling::Count { size, overlap } if size > 0 => {
                let ranges = self.sampling.ranges(n)?;
                let step = size.saturating_add_signed(overlap.saturating_neg());
                let done = ranges.len().saturating_mul(step);
                (ranges, done)
            }
            Sampling::List(sizes) => {
                let (mut ranges, mut end) = (Vec::new(), 0);
                while let Some(size) = sizes.get(ranges.len()).filter(|size| end + **size <= n) {
                    ranges.push(end..end + size);
                    end += size;
                }
                sizes.drain(..ranges.len());
                if is_last && !sizes.is_empty() {
                    let missing: usize = sizes.iter().sum();
                    return Err(Error::Sampling(format!(
                        "samples of {} rows in all, but there are {}",
                        self.n_rows + missing - (n - end),
                        self.n_rows
                    )));
                }
                (ranges, end)
            }
            &mut Sampling::Time { window, overlap } => {
                let times = table.column(0);
                let Some(first) = self.origin.or(times.first().copied()) else {
                    return Ok(None);
                };
                self.origin = Some(first);
                let ranges = windows(&times, window, overlap, first, &mut self.next_window)?;
                let start = first + self.next_window * (window - overlap);
                (ranges, times.partition_point(|&t| t < start))
            }
            &mut Sampling::Adaptive {
                window,
                overlap,
                max_rows,
            } => {
                let mut ranges = adaptive(&table.column(0), window, overlap, max_rows);
                // Where the last one ends shows only with what follows.
                let open = ranges.pop_if(|range| range.end == n && !is_last);
                (ranges, open.map_or(n, |range| range.start))
            }
            whole_or_ranges => {
                if !is_last {
                    self.rest = Some(table);
                    return Ok(None);
                }
                (whole_or_ranges.ranges(n)?, n)
            }
        };
        self.skipped += done.saturating_sub(n);
        self.rest = Some(table.slice_rows(done.min(n)..n)?);
        if ranges.is_empty() {
            return Ok(None);
        }
        self.first_row =
            self.n_rows - n + ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let samples = table.with_sampling(Sampling::Ranges(ranges))?;
        let n_samples = samples.n_samples();
        let samples = samples.select_samples(0..n_samples);
        let first = self.next_sample;
        self.next_sample += n_samples;
        Ok(Some(samples.with_first_sample(first)))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::LineData;

    fn rule() -> impl Strategy<Value = Sampling> {
        prop_oneof![
            Just(Sampling::Whole),
            (1..20_usize, -20..20_isize)
                .prop_filter("overlap < size", |(size, overlap)| *overlap < 0
                    || overlap.unsigned_abs() < *size)
                .prop_map(|(size, overlap)| Sampling::count(size).overlap(overlap)),
            prop::collection::vec(0..20_usize, 0..8).prop_map(Sampling::List),
            (0.1..20.0_f64, -10.0..0.99_f64)
                .prop_map(|(window, share)| Sampling::time(window).overlap_time(share * window)),
            (0.1..20.0_f64, -2.0..0.99_f64, 1..30_usize).prop_map(|(window, share, max)| {
                Sampling::adaptive(window, max).overlap_time(share * window)
            }),
            Just(Sampling::Ranges(vec![0..1, 0..0])),
        ]
    }

    proptest! {
        #[test]
        fn samples_of_blocks_are_those_of_the_whole(
            gaps in prop::collection::vec(prop_oneof![Just(0.0), 0.0..3.0_f64, Just(60.0)], 1..120),
            blocks in prop::collection::vec(0..40_usize, 1..40),
            sampling in rule(),
        ) {
            let mut t = -5.0;
            let times: Vec<f64> = gaps.iter().map(|gap| { t += gap; t }).collect();
            let rows = Array2::from_shape_fn((times.len(), 7), |(n, k)| {
                if k == 0 { times[n] } else { (7 * n + k) as f64 }
            });
            let whole = LineData::new(rows).unwrap();
            let mut cutter = Cutter::new(sampling.clone());
            let mut found: Vec<LineData> = Vec::new();
            let mut start = 0;
            let mut fails = false;
            let ends = blocks.iter().scan(0, |end, n| { *end += n; Some(*end) });
            for end in ends.chain([usize::MAX]) {
                let end = end.min(whole.n_rows());
                let block = whole.slice_rows(start..end).unwrap();
                start = end;
                if let Some(table) = cutter.add(&block).unwrap() {
                    prop_assert_eq!(table.first_sample(), found.len());
                    found.extend(table.samples());
                }
            }
            match cutter.finish() {
                Ok(Some(table)) => found.extend(table.samples()),
                Ok(None) => {}
                Err(_) => fails = true,
            }
            match whole.with_sampling(sampling) {
                Ok(whole) => {
                    prop_assert!(!fails);
                    let expected: Vec<LineData> = whole.samples().collect();
                    prop_assert_eq!(found, expected);
                }
                Err(_) => prop_assert!(fails),
            }
        }
    }
}
