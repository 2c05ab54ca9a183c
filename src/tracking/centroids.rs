use serde::{Deserialize, Serialize};

use crate::data::{Attribute, Data, LineData, PointData, array_of_rows};
use crate::error::Result;
use crate::pipeline::{Context, Filter};

/// The mean of every column: one row for a sample, one row for each member of a list.
///
/// Samples without points give no row. Where the members of a list have the attribute `_lines`, so has the result: those of all rows,
/// with a last column `row`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Centroids {
    error: bool,
    cluster_size: bool,
    weight: bool,
}

impl Default for Centroids {
    fn default() -> Self {
        Self {
            error: false,
            cluster_size: false,
            weight: true,
        }
    }
}

impl Centroids {
    /// Means alone, weighted by a column `weight` if there is one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the column `error`: the standard deviation (of the population) of the distances from the centroid to the points (mm).
    #[must_use]
    pub fn error(self, error: bool) -> Self {
        Self { error, ..self }
    }

    /// Appends the column `cluster_size`: the number of points, or the sum of their weights.
    #[must_use]
    pub fn cluster_size(self, cluster_size: bool) -> Self {
        Self {
            cluster_size,
            ..self
        }
    }

    /// Whether a column `weight` weighs the means, and is then dropped (the default).
    #[must_use]
    pub fn weight(self, weight: bool) -> Self {
        Self { weight, ..self }
    }

    fn centroid(&self, points: &PointData) -> PointData {
        let weight_column = points.column_index("weight").filter(|_| self.weight);
        let weights = match weight_column {
            Some(column) => points.rows().column(column).to_vec(),
            None => vec![1.0; points.n_rows()],
        };
        let points = match weight_column {
            Some(column) => points.without_column(column),
            None => points.clone(),
        };
        let sum: f64 = weights.iter().sum();
        let mut means = vec![0.0; points.columns().len()];
        for (row, weight) in points.rows().rows().into_iter().zip(&weights) {
            for (mean, value) in means.iter_mut().zip(row) {
                *mean += weight * value;
            }
        }
        for mean in &mut means {
            *mean /= sum;
        }
        let empty = points.n_rows() == 0 || sum == 0.0; // nothing that weighs
        let n_rows = usize::from(!empty);
        let mut centroid = points.empty();
        if !empty {
            let row = array_of_rows(means.clone(), means.len());
            centroid = PointData::with_all_columns(row, points.columns())
                .expect("the columns should be those of the points")
                .with_attributes(points.attributes().clone());
        }
        if self.error {
            let distances: Vec<f64> = points
                .positions()
                .iter()
                .map(|point| distance(point, &means))
                .collect();
            let weighted_mean = |values: &mut dyn Iterator<Item = f64>| {
                values
                    .zip(&weights)
                    .map(|(value, weight)| weight * value)
                    .sum::<f64>()
                    / sum
            };
            let mean = weighted_mean(&mut distances.iter().copied());
            let variance = weighted_mean(&mut distances.iter().map(|d| (d - mean) * (d - mean)));
            centroid = centroid.with_column("error", &vec![variance.sqrt(); n_rows]);
        }
        if self.cluster_size {
            centroid = centroid.with_column("cluster_size", &vec![sum; n_rows]);
        }
        centroid
    }
}

impl Filter for Centroids {
    type Input = PointData;
    type Output = PointData;

    fn filter(&self, sample: PointData, _: &Context<'_>) -> Result<PointData> {
        Ok(self.centroid(&sample))
    }

    /// One table with a row for each member that has points.
    fn filter_list(&self, members: Vec<PointData>, _: &Context<'_>) -> Result<Data> {
        let rows: Vec<_> = members.iter().map(|member| self.centroid(member)).collect();
        let lines = lines_by_row(&rows)?;
        let sample = members
            .iter()
            .find_map(|member| member.attributes().get("_sample").cloned());
        let mut points = PointData::stack(rows)?.into_one_sample();
        if let Some(sample) = sample {
            points = points.with_attribute("_sample", sample);
        }
        Ok(match lines {
            Some(lines) => points
                .with_attribute("_lines", Attribute::Lines(lines))
                .into(),
            None => points.into(),
        })
    }
}

/// The lines that the rows come from as one table, whose last column `row` says which; `None` unless all have them.
fn lines_by_row(rows: &[PointData]) -> Result<Option<LineData>> {
    let rows = rows.iter().filter(|row| row.n_rows() > 0);
    let lines = (0..).zip(rows).map(|(n, row)| {
        let Some(Attribute::Lines(lines)) = row.attributes().get("_lines") else {
            return None;
        };
        Some(lines.with_column("row", &vec![f64::from(n); lines.n_rows()]))
    });
    let Some(lines) = lines.collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(LineData::stack(lines)?.into_one_sample()))
}

fn distance(point: &[f64; 3], means: &[f64]) -> f64 {
    let squares = (0..3).map(|k| (point[k] - means[k + 1]) * (point[k] - means[k + 1]));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn weights_move_the_mean_and_their_column_goes() {
        let points = array![[0.0, 0.0, 0.0, 0.0, 1.0], [4.0, 8.0, 0.0, 0.0, 3.0]];
        let points = PointData::with_columns(points, &["weight"]).unwrap();
        let out = Centroids::new()
            .error(true)
            .cluster_size(true)
            .filter(points.clone(), &Context::FIRST)
            .unwrap();
        assert_eq!(out.columns(), ["t", "x", "y", "z", "error", "cluster_size"]);
        // Distances 6 and 2, weights 1 and 3: mean 3, variance (9 + 3) / 4.
        assert_eq!(out.values(), [3.0, 6.0, 0.0, 0.0, 3.0_f64.sqrt(), 4.0]);
        let plain = Centroids::new()
            .weight(false)
            .filter(points, &Context::FIRST)
            .unwrap();
        assert_eq!(plain.values(), [2.0, 4.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn the_lines_of_clusters_stay_with_their_rows() {
        let lines = |n: usize| LineData::new(Array2::from_elem((n, 7), n as f64)).unwrap();
        let cluster = |n: usize| {
            PointData::new(Array2::from_elem((n, 4), n as f64))
                .unwrap()
                .with_attribute("_lines", Attribute::Lines(lines(n)))
        };
        let step = Centroids::new();
        let attached = |members: Vec<PointData>| {
            let out = step.filter_list(members, &Context::FIRST).unwrap();
            out.into_points()
                .unwrap()
                .attributes()
                .get("_lines")
                .cloned()
        };
        let Some(Attribute::Lines(all)) = attached(vec![cluster(2), cluster(0), cluster(3)]) else {
            panic!("the lines should be attached")
        };
        assert_eq!(all.columns()[7], "row");
        assert_eq!(all.column(7), [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(all.column(1), [2.0, 2.0, 3.0, 3.0, 3.0]);
        let bare = PointData::new(array![[1.0, 2.0, 3.0, 4.0]]).unwrap();
        assert!(attached(vec![cluster(2), bare]).is_none());
    }

    #[test]
    fn empty_in_empty_out_with_the_right_columns() {
        let empty = PointData::new(Array2::zeros((0, 4))).unwrap();
        let step = Centroids::new().error(true).cluster_size(true);
        let out = step.filter(empty.clone(), &Context::FIRST).unwrap();
        assert_eq!((out.n_rows(), out.columns().len()), (0, 6));
        let point = PointData::new(array![[1.0, 2.0, 3.0, 4.0]]).unwrap();
        let list = step
            .filter_list(vec![empty, point], &Context::FIRST)
            .unwrap()
            .into_points()
            .unwrap();
        assert_eq!(list.values(), [1.0, 2.0, 3.0, 4.0, 0.0, 1.0]);
    }
}
