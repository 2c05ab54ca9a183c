use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{Column, PointData};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};

/// Joins trajectories that were cut: the end of one to the start of a later one.
///
/// A trajectory is all rows with the same label. Two may be joined when the later one starts less than `tmax` after the
/// end of the earlier one, and the mean of its first `num_points` positions is closer than `dmax` to the mean of the
/// other's last ones. Each signature column has to differ (the same means) by less than its threshold. In the order of
/// their starts, each trajectory takes the candidate with the smallest mean of distance and signature differences, of
/// equal ones the earliest; each is joined at most once on either side.
///
/// The rows stay in their order, as one sample. Labels become 0, 1, ... in the order of the starts; noise (negative
/// labels) is never joined and keeps its label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconnect {
    tmax: f64,
    dmax: f64,
    #[serde(default = "default_column")]
    column: Column,
    #[serde(default = "default_points")]
    num_points: usize,
    #[serde(default)]
    signatures: BTreeMap<String, f64>,
}

fn default_column() -> Column {
    "label".into()
}

fn default_points() -> usize {
    10
}

impl Reconnect {
    /// Joins over gaps shorter than `tmax` (ms) and `dmax` (mm).
    #[must_use]
    pub fn new(tmax: f64, dmax: f64) -> Self {
        Self {
            tmax,
            dmax,
            column: default_column(),
            num_points: default_points(),
            signatures: BTreeMap::new(),
        }
    }

    /// The column with the labels, instead of `label`.
    #[must_use]
    pub fn column(self, column: impl Into<Column>) -> Self {
        Self {
            column: column.into(),
            ..self
        }
    }

    /// Over how many points at the ends of trajectories the means are taken.
    #[must_use]
    pub fn num_points(self, num_points: usize) -> Self {
        Self { num_points, ..self }
    }

    /// A further column that has to differ by less than `threshold` (in its own unit).
    #[must_use]
    pub fn signature(mut self, column: impl Into<String>, threshold: f64) -> Self {
        self.signatures.insert(column.into(), threshold);
        self
    }

    /// The trajectories in the order of their starts, of equal starts in the order of their labels.
    fn segments(&self, points: &PointData, column: usize, compared: &[usize]) -> Vec<Segment> {
        let times = points.column(0);
        let mut labels = points.column(column);
        for label in &mut labels {
            *label += 0.0; // -0 becomes 0
        }
        let mut order: Vec<usize> = (0..points.n_rows())
            .filter(|&row| labels[row] >= 0.0)
            .collect();
        order.sort_by(|&a, &b| {
            let by_label = labels[a].total_cmp(&labels[b]);
            by_label.then(times[a].total_cmp(&times[b]))
        });
        let mut segments: Vec<Segment> = order
            .chunk_by(|&a, &b| labels[a].total_cmp(&labels[b]).is_eq())
            .map(|rows| {
                let n = rows.len().min(self.num_points);
                let (head, tail) = (&rows[..n], &rows[rows.len() - n..]);
                Segment {
                    start: times[rows[0]],
                    end: times[rows[rows.len() - 1]],
                    head: means(points, head, compared),
                    tail: means(points, tail, compared),
                    rows: rows.to_vec(),
                }
            })
            .collect();
        segments.sort_by(|a, b| a.start.total_cmp(&b.start)); // stable
        segments
    }

    /// The number of each segment's chain, from 0.
    fn chains(&self, segments: &[Segment], thresholds: &[f64]) -> Vec<f64> {
        let mut chains: Vec<Option<f64>> = vec![None; segments.len()];
        let mut n_chains = 0.0;
        let numbers = segments.iter().enumerate().map(|(n, segment)| {
            let chain = chains[n].unwrap_or_else(|| {
                n_chains += 1.0;
                n_chains - 1.0
            });
            // Later ones that have a chain already were joined on their other side.
            let first = segments.partition_point(|other| other.start <= segment.end);
            let best = (first..segments.len())
                .take_while(|&later| segments[later].start - segment.end < self.tmax)
                .filter(|&later| chains[later].is_none())
                .filter_map(|later| {
                    let mismatch = self.mismatch(segment, &segments[later], thresholds)?;
                    Some((mismatch, later))
                })
                .min_by(|(a, _), (b, _)| a.total_cmp(b)); // the first of equal ones
            if let Some((_, later)) = best {
                chains[later] = Some(chain);
            }
            chain
        });
        numbers.collect()
    }

    /// The mean of distance and signature differences; none if one is too large.
    fn mismatch(&self, segment: &Segment, later: &Segment, thresholds: &[f64]) -> Option<f64> {
        let mut differences = segment.tail.iter().zip(&later.head).map(|(a, b)| b - a);
        let squared: f64 = differences.by_ref().take(3).map(|d| d * d).sum();
        let distance = squared.sqrt();
        if distance.is_nan() || distance >= self.dmax {
            return None;
        }
        let mut sum = distance;
        for (difference, &threshold) in differences.zip(thresholds) {
            let difference = difference.abs();
            if difference.is_nan() || difference >= threshold {
                return None;
            }
            sum += difference;
        }
        Some(sum / (1 + thresholds.len()) as f64)
    }
}

impl Reducer for Reconnect {
    type Input = PointData;
    type Output = PointData;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        let limit = |name, value: f64, needed| {
            if value >= 0.0 {
                return Ok(());
            }
            let value = value.to_string();
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        limit("tmax", self.tmax, "a time in ms that is not negative")?;
        limit("dmax", self.dmax, "a distance in mm that is not negative")?;
        for &threshold in self.signatures.values() {
            limit("signatures", threshold, "thresholds that are not negative")?;
        }
        if self.num_points == 0 {
            return Err(Error::Parameter {
                name: "num_points",
                value: "0".into(),
                needed: "1 point or more",
            });
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, _: &Context<'_>) -> Result<PointData> {
        if tables.is_empty() {
            return PointData::stack(tables);
        }
        let points = PointData::stack(tables)?.into_one_sample();
        let column = points.find_column(&self.column)?;
        let mut compared = vec![1, 2, 3];
        for name in self.signatures.keys() {
            compared.push(points.find_column(&name.as_str().into())?);
        }
        let thresholds: Vec<f64> = self.signatures.values().copied().collect();
        let segments = self.segments(&points, column, &compared);
        let chains = self.chains(&segments, &thresholds);
        let mut values = points.values().to_vec();
        for (segment, chain) in segments.iter().zip(chains) {
            for row in &segment.rows {
                values[row * points.columns().len() + column] = chain;
            }
        }
        Ok(points.with_values(values))
    }
}

/// The rows of one label.
struct Segment {
    /// In the order of time.
    rows: Vec<usize>,
    start: f64,
    end: f64,
    /// Means over the first points: of x, y, z, then of the signature columns.
    head: Vec<f64>,
    /// The same over the last points.
    tail: Vec<f64>,
}

fn means(points: &PointData, rows: &[usize], columns: &[usize]) -> Vec<f64> {
    let (values, n_columns) = (points.values(), points.columns().len());
    let mean = |&column: &usize| {
        let sum: f64 = rows
            .iter()
            .map(|row| values[row * n_columns + column])
            .sum();
        sum / rows.len() as f64
    };
    columns.iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Rows `[t, x, label, size]`.
    fn labels(step: &Reconnect, rows: &[[f64; 4]]) -> Vec<f64> {
        step.check().unwrap();
        let rows: Vec<[f64; 6]> = rows
            .iter()
            .map(|&[t, x, label, size]| [t, x, 0.0, 0.0, label, size])
            .collect();
        let points = PointData::with_columns(Array2::from(rows), &["label", "size"]).unwrap();
        let tables = vec![points];
        step.reduce(tables, &Context::FIRST).unwrap().column(4)
    }

    #[test]
    fn gaps_below_both_limits_are_joined_and_chains_numbered_by_start() {
        // Label 7, then 3, then 5 make one chain; 4 runs beside it; noise lies in every gap.
        let rows = [
            [20.0, 2.0, 3.0, 0.0],
            [21.0, 2.0, 3.0, 0.0],
            [0.0, 0.0, 7.0, 0.0],
            [10.0, 1.0, 7.0, 0.0],
            [15.0, 1.5, -1.0, 0.0],
            [30.0, 3.0, 5.0, 0.0],
            [5.0, 50.0, 4.0, 0.0],
            [40.0, 50.0, 4.0, 0.0],
        ];
        let step = Reconnect::new(10.5, 1.5).num_points(1);
        assert_eq!(
            labels(&step, &rows),
            [0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 1.0]
        );
        // Gaps of exactly tmax, or distances of exactly dmax, are too large.
        for step in [Reconnect::new(10.0, 1.5), Reconnect::new(10.5, 1.0)] {
            assert_eq!(
                labels(&step.num_points(1), &rows[..5]),
                [1.0, 1.0, 0.0, 0.0, -1.0]
            );
        }
    }

    #[test]
    fn overlapping_ones_are_not_joined_and_each_side_only_once() {
        let rows = [
            [0.0, 0.0, 0.0, 0.0],
            [1.0, 0.0, 1.0, 0.0],
            [2.0, 0.0, 2.0, 0.0],
            [2.0, 0.0, 3.0, 0.0],
        ];
        let step = Reconnect::new(5.0, 1.0);
        // 0 takes 1 (the earliest of three equal ones), 1 takes 2, and 3 starts no later than 2 ends.
        assert_eq!(labels(&step, &rows), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn signatures_decide_between_candidates_and_means_are_over_num_points() {
        let rows = [
            [0.0, 0.0, 0.0, 1.0],
            [1.0, 8.0, 0.0, 1.0],
            [5.0, 8.1, 1.0, 9.0],
            [5.0, 8.5, 2.0, 1.1],
        ];
        let nearest = Reconnect::new(10.0, 2.0).num_points(1);
        assert_eq!(labels(&nearest, &rows), [0.0, 0.0, 0.0, 1.0]);
        let similar = nearest.clone().signature("size", 100.0);
        assert_eq!(labels(&similar, &rows), [0.0, 0.0, 1.0, 0.0]);
        let none = nearest.clone().signature("size", 0.05);
        assert_eq!(labels(&none, &rows), [0.0, 0.0, 1.0, 2.0]);
        // The mean of the first one's last two is 4 mm away.
        assert_eq!(labels(&nearest.num_points(2), &rows), [0.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn unknown_columns_and_senseless_limits_are_errors() {
        let points = PointData::new(Array2::zeros((0, 4))).unwrap();
        let reduce = |step: &Reconnect| step.reduce(vec![points.clone()], &Context::FIRST);
        let step = Reconnect::new(1.0, 1.0);
        assert!(matches!(reduce(&step), Err(Error::Columns(_))));
        let step = step.column(-1_isize).signature("size", 1.0);
        assert!(matches!(reduce(&step), Err(Error::Columns(_))));
        let nothing = step.reduce(Vec::new(), &Context::FIRST).unwrap();
        assert_eq!(nothing.n_rows(), 0);
        for step in [
            Reconnect::new(-1.0, 1.0),
            Reconnect::new(1.0, f64::NAN),
            Reconnect::new(1.0, 1.0).num_points(0),
            Reconnect::new(1.0, 1.0).signature("size", -1.0),
        ] {
            assert!(matches!(step.check(), Err(Error::Parameter { .. })));
        }
    }
}
