use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};

/// Drops points that are rare in time: those found while the tracer was out of the detector's view.
///
/// All points together are sorted by time. A point stays when its `k`-th nearest other point in time is nearer than
/// `max_time`. The result is one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutOfViewFilter {
    max_time: f64,
    k: usize,
}

impl Default for OutOfViewFilter {
    fn default() -> Self {
        Self {
            max_time: 200.0,
            k: 5,
        }
    }
}

impl OutOfViewFilter {
    /// The fifth nearest point has to be nearer than 200 ms.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How near in time (ms) the `k`-th nearest point has to be.
    #[must_use]
    pub fn max_time(self, max_time: f64) -> Self {
        Self { max_time, ..self }
    }

    /// How many other points have to be near.
    #[must_use]
    pub fn k(self, k: usize) -> Self {
        Self { k, ..self }
    }

    /// The points with `k` others near them, of sorted times.
    fn kept(&self, times: &[f64]) -> Vec<usize> {
        let near = |before: usize, after: usize| times[after] - times[before] < self.max_time;
        // Near ones are the rows from..to, and the point itself.
        let (mut from, mut to) = (0, 0);
        let mut kept = Vec::new();
        for row in 0..times.len() {
            while from < row && !near(from, row) {
                from += 1;
            }
            to = to.max(row + 1);
            while to < times.len() && near(row, to) {
                to += 1;
            }
            if to - from > self.k {
                kept.push(row);
            }
        }
        kept
    }
}

impl Reducer for OutOfViewFilter {
    type Input = PointData;
    type Output = PointData;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        if self.max_time.is_nan() || self.max_time <= 0.0 {
            return Err(Error::Parameter {
                name: "max_time",
                value: self.max_time.to_string(),
                needed: "a time in ms above 0",
            });
        }
        if self.k == 0 {
            return Err(Error::Parameter {
                name: "k",
                value: "0".into(),
                needed: "1 point or more",
            });
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, _: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?.sorted_by_time();
        Ok(points.take(&self.kept(&points.column(0))))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn kept(step: &OutOfViewFilter, times: &[f64]) -> Vec<f64> {
        step.check().unwrap();
        let rows: Vec<[f64; 4]> = times.iter().map(|&t| [t, 0.0, 0.0, 0.0]).collect();
        // In two tables: the step takes all together.
        let (first, second) = rows.split_at(rows.len() / 2);
        let table = |rows: &[[f64; 4]]| PointData::new(Array2::from(rows.to_vec())).unwrap();
        let tables = vec![table(second), table(first)];
        let out = step.reduce(tables, &Context::FIRST).unwrap();
        assert_eq!(out.n_samples(), 1);
        out.column(0)
    }

    #[test]
    fn the_kth_nearest_other_point_has_to_be_nearer_than_max_time() {
        let times = [0.0, 1.0, 2.0, 10.0, 12.0, 20.0];
        let step = OutOfViewFilter::new().k(2);
        assert_eq!(kept(&step.clone().max_time(2.1), &times), [0.0, 1.0, 2.0]);
        // Exactly max_time is too far, for 0 and for 2.
        assert_eq!(kept(&step.clone().max_time(2.0), &times), [1.0]);
        assert_eq!(kept(&step.max_time(100.0), &times), times);
        assert!(kept(&OutOfViewFilter::new().k(6), &times).is_empty());
        assert!(kept(&OutOfViewFilter::new(), &[]).is_empty());
    }

    #[test]
    fn the_kept_points_are_those_of_the_plain_definition() {
        let times: Vec<f64> = (0..200_u32).map(|n| f64::from((n * 7919) % 1009)).collect();
        for k in 1..8 {
            let step = OutOfViewFilter::new().max_time(15.0).k(k);
            let mut expected: Vec<f64> = times
                .iter()
                .filter(|&t| {
                    let mut others: Vec<f64> = times.iter().map(|u| (u - t).abs()).collect();
                    others.sort_by(f64::total_cmp);
                    others[k] < 15.0
                })
                .copied()
                .collect();
            expected.sort_by(f64::total_cmp);
            assert_eq!(kept(&step, &times), expected);
        }
    }

    #[test]
    fn no_point_and_no_time_are_errors() {
        assert!(OutOfViewFilter::new().k(0).check().is_err());
        assert!(OutOfViewFilter::new().max_time(0.0).check().is_err());
        assert!(OutOfViewFilter::new().max_time(f64::NAN).check().is_err());
    }
}
