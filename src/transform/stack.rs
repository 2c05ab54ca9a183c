use serde::{Deserialize, Serialize};

use crate::data::{
    Contents, Data, Element, Lines, Overlap, Points, SampleSize, Sampling, Table, check_times,
    typed,
};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};

/// Puts all tables into one, in order.
///
/// Without a sample size every table stays one sample of the whole. With one, the whole is sampled anew: by rows as it is, by time
/// after it was sorted by time (stable). Fewer rows than one sample give no samples, and a warning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stack {
    sample_size: Option<SampleSize>,
    overlap: Overlap,
}

impl Stack {
    /// Every table stays one sample.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples of `sample_size` rows, each sharing `overlap` with the one before.
    #[must_use]
    pub fn samples(sample_size: usize, overlap: isize) -> Self {
        Self {
            sample_size: Some(SampleSize::Rows(sample_size)),
            overlap: Overlap::Rows(overlap),
        }
    }

    /// Windows of `window` ms, each sharing `overlap` ms with the one before.
    #[must_use]
    pub fn windows(window: f64, overlap: f64) -> Self {
        Self {
            sample_size: Some(SampleSize::Time {
                time_window: window,
            }),
            overlap: Overlap::Time(overlap),
        }
    }

    /// Windows of `window` ms and at most `max_rows` rows, each sharing `overlap` ms with the one before.
    #[must_use]
    pub fn adaptive_windows(window: f64, max_rows: usize, overlap: f64) -> Self {
        Self {
            sample_size: Some(SampleSize::Adaptive {
                adaptive: window,
                max: max_rows,
            }),
            overlap: Overlap::Time(overlap),
        }
    }

    pub(crate) fn sampling(&self) -> Result<Option<Sampling>> {
        match &self.sample_size {
            Some(size) => size.sampling(self.overlap).map(Some),
            None if self.overlap == Overlap::default() => Ok(None),
            None => Err(Error::Sampling("an overlap needs a sample_size".into())),
        }
    }

    fn stack<C: Contents>(&self, tables: Vec<Table<C>>) -> Result<Data>
    where
        Table<C>: Element,
    {
        let mut table = Table::stack(tables)?;
        let Some(sampling) = self.sampling()? else {
            return Ok(table.into());
        };
        if sampling.is_by_time() {
            check_times(std::slice::from_ref(&table))?;
            table = table.into_sorted_by_time();
        }
        let table = table.with_sampling(sampling)?;
        if table.n_samples() == 0 {
            tracing::warn!(
                "Stack: {} rows are fewer than one sample ({}), so nothing follows",
                table.n_rows(),
                table.sampling()
            );
            return Ok(table
                .empty()
                .with_sampling(Sampling::Ranges(Vec::new()))?
                .into());
        }
        Ok(table.into())
    }
}

impl Reducer for Stack {
    type Input = Data;
    type Output = Data;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        self.sampling()?.map_or(Ok(()), |sampling| sampling.check())
    }

    fn reduce(&self, tables: Vec<Data>, _: &Context<'_>) -> Result<Data> {
        match tables.first() {
            Some(Data::Lines(_)) => self.stack::<Lines>(typed(tables)?),
            Some(_) => self.stack::<Points>(typed(tables)?),
            None => Ok(Data::List(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::data::PointData;

    #[test]
    fn windows_of_time_are_cut_after_sorting_and_read_from_recipes() {
        let late_first = |start: f64| {
            let rows = Array2::from_shape_fn((5, 4), |(n, _)| start + n as f64);
            Data::from(PointData::new(rows).unwrap())
        };
        let tables = vec![late_first(5.0), late_first(0.0)];
        let sampled = |text: &str| -> Result<Data> {
            let step: Stack = toml::from_str(text).unwrap();
            assert_eq!(
                toml::from_str::<Stack>(&toml::to_string(&step).unwrap()).unwrap(),
                step
            );
            Reducer::check(&step)?;
            step.reduce(tables.clone(), &Context::FIRST)
        };
        let Ok(Data::Points(windows)) = sampled("sample_size = { time_window = 4 }\noverlap = 2")
        else {
            panic!("points should stay points")
        };
        assert_eq!(windows.sample_ranges(), [0..4, 2..6, 4..8]);
        assert_eq!(windows.column(0)[0], 0.0);
        let adaptive = sampled("sample_size = { adaptive = 4.0, max = 3 }").unwrap();
        assert_eq!(adaptive.n_samples(), 4);
        let rows = sampled("sample_size = 5\noverlap = 1").unwrap();
        assert_eq!((rows.n_samples(), rows.n_rows()), (2, 10));
        for wrong in [
            "overlap = 1",
            "sample_size = 5\noverlap = 1.5",
            "sample_size = 5\noverlap = 5",
            "sample_size = { time_window = 4 }\noverlap = 4",
        ] {
            assert!(sampled(wrong).is_err(), "{wrong}");
        }
        let unknown = toml::from_str::<Stack>("sample_size = { windows = 4 }").unwrap_err();
        assert!(unknown.to_string().contains("time_window"), "{unknown}");
    }
}
