use serde::{Deserialize, Serialize};

use crate::data::{Attribute, Column, Contents, Data, Element, Kind, LineData, Table};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Splits a sample (points or lines) with a column `label` into a list of tables, one for each label, ascending.
///
/// Without any label it gives one table without rows. Where points have the attribute `_lines` and columns `line_index*`, each table
/// gets the lines that its points come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitLabels {
    remove_labels: bool,
    extract_lines: bool,
    noise: bool,
}

impl Default for SplitLabels {
    fn default() -> Self {
        Self {
            remove_labels: true,
            extract_lines: false,
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

    /// Whether the lines that the points come from are given instead of the points; needs `Cutpoints` or `Minpoints` with indices.
    #[must_use]
    pub fn extract_lines(self, extract_lines: bool) -> Self {
        Self {
            extract_lines,
            ..self
        }
    }

    /// Whether the noise (label -1) makes a table too, the first one.
    #[must_use]
    pub fn noise(self, noise: bool) -> Self {
        Self { noise, ..self }
    }

    fn split<C: Contents>(&self, sample: Table<C>) -> Result<Data>
    where
        Table<C>: Element,
    {
        let label = sample.find_column(&Column::from("label"))?;
        let indices = (0..sample.columns().len())
            .filter(|&n| sample.columns()[n].starts_with("line_index"))
            .collect::<Vec<_>>();
        let lines = match sample.attributes().get("_lines") {
            Some(Attribute::Lines(lines)) if !indices.is_empty() => Some(lines.clone()),
            _ => None,
        };
        if self.extract_lines && lines.is_none() {
            return Err(Error::Columns(format!(
                "no lines to extract: points with indices are needed (append_indices = true), not {}",
                sample.columns().join(" ")
            )));
        }
        let mut rows: Vec<(f64, usize)> = sample.column(label).into_iter().zip(0..).collect();
        rows.retain(|&(label, _)| self.noise || label >= 0.0);
        rows.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: rows of a label keep their order
        let source = if self.remove_labels {
            sample.without_column(label)
        } else {
            sample.clone()
        };
        let table = |rows: &[(f64, usize)]| -> Data {
            let rows: Vec<usize> = rows.iter().map(|&(_, row)| row).collect();
            let part = source.take(&rows);
            let Some(lines) = &lines else {
                return part.into();
            };
            let used = used(&sample, &indices, &rows, lines);
            let lines = lines.take(&used);
            if self.extract_lines {
                return lines.into();
            }
            renumbered(part, &used)
                .with_attribute("_lines", Attribute::Lines(lines))
                .into()
        };
        if rows.is_empty() {
            return Ok(Data::List(vec![table(&[])]));
        }
        let parts = rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        Ok(Data::List(parts.map(table).collect()))
    }
}

/// The lines that some points come from, ascending, each once.
fn used<C: Contents>(
    sample: &Table<C>,
    indices: &[usize],
    rows: &[usize],
    lines: &LineData,
) -> Vec<usize> {
    let n_columns = sample.columns().len();
    let index = |row: usize, column: usize| sample.values()[row * n_columns + column];
    let mut used = vec![false; lines.n_rows()];
    for &row in rows {
        for &column in indices {
            let index = index(row, column);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "`as` saturates; what is no index of a line is left out"
            )]
            if index >= 0.0
                && let Some(used) = used.get_mut(index as usize)
            {
                *used = true;
            }
        }
    }
    (0..used.len()).filter(|&n| used[n]).collect()
}

/// Points whose indices count the lines that they still have.
fn renumbered<C: Contents>(mut part: Table<C>, used: &[usize]) -> Table<C> {
    for column in 0..part.columns().len() {
        let name = part.columns()[column].clone();
        if name.starts_with("line_index") {
            let place = |index: f64| used.partition_point(|&line| (line as f64) < index) as f64;
            let values: Vec<f64> = part.column(column).into_iter().map(place).collect();
            part = part.with_column(&name, &values);
        }
    }
    part
}

impl Filter for SplitLabels {
    type Input = Data;
    type Output = Data;

    fn gives(&self) -> Kind {
        if self.extract_lines {
            Kind::Lines
        } else {
            Kind::Any
        }
    }

    fn filter(&self, sample: Data, _: &Context<'_>) -> Result<Data> {
        match sample {
            Data::Points(sample) => self.split(sample),
            Data::Lines(sample) => self.split(sample),
            other => Err(Error::Kind {
                needed: Kind::Points,
                found: other.kind(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::PointData;

    fn split(step: &SplitLabels, labels: &[f64]) -> Vec<Vec<f64>> {
        let context = Context::FIRST;
        let times: Vec<f64> = (0..labels.len()).map(|n| n as f64).collect();
        let points = PointData::new(ndarray::Array2::zeros((labels.len(), 4))).unwrap();
        let points = points.with_column("t", &times).with_column("label", labels);
        let Data::List(tables) = step.filter(points.into(), &context).unwrap() else {
            panic!("a list should be given")
        };
        let times = |table| PointData::from_data(table).unwrap().column(0);
        tables.into_iter().map(times).collect()
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
                .filter(points.into(), &context)
                .unwrap_err()
                .to_string()
                .contains("\"label\"")
        );
    }

    #[test]
    fn clusters_get_the_lines_that_their_points_come_from() {
        let lines = LineData::new(ndarray::Array2::from_shape_fn((5, 7), |(n, _)| n as f64));
        let lines = lines.unwrap();
        let points = array![
            [0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 0.0],
            [1.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0],
            [2.0, 0.0, 0.0, 0.0, 0.0, 2.0, -1.0]
        ];
        let points =
            PointData::with_columns(points, &["line_index1", "line_index2", "label"]).unwrap();
        let step = SplitLabels::new();
        let without = step
            .clone()
            .extract_lines(true)
            .filter(points.clone().into(), &Context::FIRST);
        assert!(without.unwrap_err().to_string().contains("append_indices"));
        let points = Data::from(points.with_attribute("_lines", Attribute::Lines(lines)));
        let parts = step
            .filter(points.clone(), &Context::FIRST)
            .unwrap()
            .flatten();
        let [Data::Points(part)] = &parts[..] else {
            panic!("one cluster should be given")
        };
        let Some(Attribute::Lines(used)) = part.attributes().get("_lines") else {
            panic!("lines should be attached")
        };
        assert_eq!(used.column(0), [1.0, 3.0, 4.0]);
        // Lines 1, 3 and 3, 4 of the sample are 0, 1 and 1, 2 of these.
        assert_eq!(
            (part.column(4), part.column(5)),
            (vec![0.0, 1.0], vec![1.0, 2.0])
        );
        let extracted = step
            .extract_lines(true)
            .noise(true)
            .filter(points, &Context::FIRST);
        let extracted = extracted.unwrap().flatten();
        let times = |table: &Data| match table {
            Data::Lines(lines) => lines.column(0),
            _ => panic!("lines were asked for"),
        };
        assert_eq!(
            extracted.iter().map(times).collect::<Vec<_>>(),
            [vec![0.0, 2.0], vec![1.0, 3.0, 4.0]]
        );
    }
}
