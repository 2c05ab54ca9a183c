use serde::{Deserialize, Serialize};

use crate::data::{Contents, Data, Table};
use crate::error::Result;
use crate::pipeline::{Context, Reducer};
use crate::statistics::quantile;

/// Passes everything on unchanged and reports what it is through `tracing`; `Debug` in recipes.
///
/// For each of the first `max_samples` samples (10): its kind and size, its first `verbose` rows (5), and of each column the number of
/// values, mean, standard deviation (of the population), quartiles, and the number of NaN, which count in nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inspect {
    verbose: usize,
    max_samples: usize,
}

impl Default for Inspect {
    fn default() -> Self {
        Self {
            verbose: 5,
            max_samples: 10,
        }
    }
}

impl Inspect {
    /// Reports 10 samples with 5 rows of each.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows of a sample are shown.
    #[must_use]
    pub fn verbose(self, verbose: usize) -> Self {
        Self { verbose, ..self }
    }

    /// How many samples are reported.
    #[must_use]
    pub fn max_samples(self, max_samples: usize) -> Self {
        Self {
            max_samples,
            ..self
        }
    }

    /// Reports the samples of a table, the first of which has the number `first`.
    fn report<C: Contents>(&self, table: &Table<C>, first: usize) {
        let left = self.max_samples.saturating_sub(first);
        for (number, sample) in (first..).zip(table.samples().take(left)) {
            let text = description(&sample, number, self.verbose);
            tracing::info!("{text}");
        }
    }
}

impl Reducer for Inspect {
    type Input = Data;
    type Output = Data;

    fn name(&self) -> &'static str {
        "Debug"
    }

    fn only_looks(&self) -> bool {
        true
    }

    fn reduce(&self, tables: Vec<Data>, _: &Context<'_>) -> Result<Data> {
        let mut n_samples = 0;
        for table in &tables {
            match table {
                Data::Lines(table) => self.report(table, n_samples),
                Data::Points(table) => self.report(table, n_samples),
                Data::Voxels(voxels) if n_samples < self.max_samples => {
                    tracing::info!("Debug: sample {n_samples}: {voxels}");
                }
                Data::Voxels(_) => (),
                Data::List(_) => (),
            }
            n_samples += table.n_samples();
        }
        if n_samples > self.max_samples {
            tracing::info!("Debug: {} of {n_samples} samples shown", self.max_samples);
        }
        Ok(match <[Data; 1]>::try_from(tables) {
            Ok([table]) => table,
            Err(tables) => Data::List(tables),
        })
    }
}

/// What there is to say of a sample, with its first `rows` rows.
fn description<C: Contents>(sample: &Table<C>, number: usize, rows: usize) -> String {
    let columns = sample.columns();
    let mut lines = vec![
        format!(
            "Debug: sample {number}: {}, {} rows x {} columns",
            C::NAME,
            sample.n_rows(),
            columns.len()
        ),
        columns.join(" "),
    ];
    lines.extend(
        sample
            .values()
            .chunks_exact(columns.len())
            .take(rows)
            .map(joined),
    );
    for (index, name) in columns.iter().enumerate() {
        let all = sample.column(index);
        let mut values: Vec<f64> = all
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        let mean = mean(&values);
        let squares: Vec<f64> = values.iter().map(|v| (v - mean) * (v - mean)).collect();
        lines.push(format!(
            "{name}: {} values, mean {mean}, std {}, quartiles {}, {} NaN",
            values.len(),
            self::mean(&squares).sqrt(),
            joined(&quartiles(&mut values)),
            all.len() - values.len()
        ));
    }
    lines.join("\n")
}

fn joined(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(f64::to_string).collect();
    values.join(" ")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The smallest value, the quartiles (linear between values) and the largest; NaN without values.
fn quartiles(values: &mut [f64]) -> [f64; 5] {
    if values.is_empty() {
        return [f64::NAN; 5];
    }
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| quantile(values, q))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::{PointData, Sampling};

    fn points() -> PointData {
        PointData::new(array![
            [0.0, 4.0, 0.0, f64::NAN],
            [1.0, 2.0, 0.0, f64::NAN],
            [2.0, 3.0, 0.0, 7.0],
            [3.0, 1.0, 0.0, f64::NAN],
        ])
        .unwrap()
    }

    #[test]
    fn everything_passes_unchanged() {
        let step = Inspect::new().max_samples(1);
        let table = points()
            .with_column("z", &[0.0; 4]) // NaN is equal to nothing
            .with_sampling(Sampling::count(2))
            .unwrap();
        let data = Data::from(table);
        let reduce = |tables| step.reduce(tables, &Context::FIRST).unwrap();
        assert_eq!(reduce(vec![data.clone()]), data);
        assert_eq!(
            reduce(vec![data.clone(), data.clone()]),
            Data::List(vec![data.clone(), data])
        );
        assert_eq!(reduce(Vec::new()), Data::List(Vec::new()));
        assert_eq!(step.name(), "Debug");
    }

    #[test]
    fn the_report_has_kind_rows_and_a_line_for_each_column() {
        let text = description(&points(), 3, 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "Debug: sample 3: PointData, 4 rows x 4 columns",
                "t x y z",
                "0 4 0 NaN",
                "t: 4 values, mean 1.5, std 1.118033988749895, quartiles 0 0.75 1.5 2.25 3, 0 NaN",
                "x: 4 values, mean 2.5, std 1.118033988749895, quartiles 1 1.75 2.5 3.25 4, 0 NaN",
                "y: 4 values, mean 0, std 0, quartiles 0 0 0 0 0, 0 NaN",
                "z: 1 values, mean 7, std 0, quartiles 7 7 7 7 7, 3 NaN",
            ]
        );
        let empty = description(&points().take(&[]), 0, 5);
        assert!(empty.contains("x: 0 values, mean NaN"), "{empty}");
    }
}
