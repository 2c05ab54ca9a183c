use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Splits a sample with a column `label` into a list of tables, one for each label, ascending.
///
/// Without any label it gives one table without rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitLabels {
    remove_labels: bool,
    noise: bool,
}

impl Default for SplitLabels {
    fn default() -> Self {
        Self {
            remove_labels: true,
            noise: false,
        }
    }
}

impl SplitLabels {
    /// Drops the column `label`, and the noise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the column `label` is dropped (the default).
    #[must_use]
    pub fn remove_labels(self, remove_labels: bool) -> Self {
        Self {
            remove_labels,
            ..self
        }
    }

    /// Whether the noise (label -1) makes a table too, the first one.
    #[must_use]
    pub fn noise(self, noise: bool) -> Self {
        Self { noise, ..self }
    }
}

impl Filter for SplitLabels {
    type Input = PointData;
    type Output = Vec<PointData>;

    fn filter(&self, sample: PointData, _: &Context<'_>) -> Result<Vec<PointData>> {
        let column = sample.column_index("label").ok_or_else(|| {
            Error::Columns(format!(
                "no column \"label\" to split by, only {}",
                sample.columns().join(" ")
            ))
        })?;
        let mut rows: Vec<(f64, usize)> = sample
            .rows()
            .column(column)
            .iter()
            .copied()
            .zip(0..)
            .collect();
        rows.retain(|&(label, _)| self.noise || label >= 0.0);
        rows.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: rows of a label keep their order
        let source = if self.remove_labels {
            sample.without_column(column)
        } else {
            sample
        };
        let table = |rows: &[(f64, usize)]| {
            source.take(&rows.iter().map(|&(_, row)| row).collect::<Vec<_>>())
        };
        if rows.is_empty() {
            return Ok(vec![source.empty()]);
        }
        Ok(rows
            .chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq())
            .map(table)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn split(step: &SplitLabels, labels: &[f64]) -> Vec<Vec<f64>> {
        let context = Context::FIRST;
        let times: Vec<f64> = (0..labels.len()).map(|n| n as f64).collect();
        let points = PointData::new(ndarray::Array2::zeros((labels.len(), 4))).unwrap();
        let points = points.with_column("t", &times).with_column("label", labels);
        let tables = step.filter(points, &context).unwrap();
        tables
            .iter()
            .map(|table| table.rows().column(0).to_vec())
            .collect()
    }

    #[test]
    fn labels_make_tables_in_ascending_order_and_noise_only_if_asked_for() {
        let labels = [1.0, -1.0, 0.0, 1.0];
        assert_eq!(
            split(&SplitLabels::new(), &labels),
            [vec![2.0], vec![0.0, 3.0]]
        );
        assert_eq!(
            split(&SplitLabels::new().noise(true), &labels),
            [vec![1.0], vec![2.0], vec![0.0, 3.0]]
        );
        assert_eq!(split(&SplitLabels::new(), &[-1.0]), [Vec::<f64>::new()]);
    }

    #[test]
    fn a_sample_without_labels_is_an_error() {
        let context = Context::FIRST;
        let points = PointData::new(array![[0.0, 1.0, 2.0, 3.0]]).unwrap();
        assert!(
            SplitLabels::new()
                .filter(points, &context)
                .unwrap_err()
                .to_string()
                .contains("\"label\"")
        );
    }
}
