use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};

/// Joins points into trajectories and appends the column `label`: the trajectory's number, -1 for none.
///
/// All points together are sorted by time. Points `i < j` are connected when `j - i <= window`,
/// `t_j - t_i <= max_time_interval` and they are closer than `cut_distance`. Connected components are trajectories,
/// numbered in order of first appearance; those below `min_trajectory_size` points have label -1. This equals cutting
/// the minimum spanning tree over the window. O(N window) time, O(N) memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segregate {
    window: usize,
    cut_distance: f64,
    #[serde(default = "default_size")]
    min_trajectory_size: usize,
    #[serde(default = "no_limit")]
    max_time_interval: f64,
}

fn default_size() -> usize {
    5
}

fn no_limit() -> f64 {
    f64::INFINITY
}

impl Segregate {
    /// Each point is compared with the `window` next ones; closer than `cut_distance` (mm) connects. At least 5 points make a
    /// trajectory.
    #[must_use]
    pub fn new(window: usize, cut_distance: f64) -> Self {
        Self {
            window,
            cut_distance,
            min_trajectory_size: default_size(),
            max_time_interval: no_limit(),
        }
    }

    /// The fewest points of a trajectory.
    #[must_use]
    pub fn min_trajectory_size(self, min_trajectory_size: usize) -> Self {
        Self {
            min_trajectory_size,
            ..self
        }
    }

    /// Points further apart in time (ms) are not connected.
    #[must_use]
    pub fn max_time_interval(self, max_time_interval: f64) -> Self {
        Self {
            max_time_interval,
            ..self
        }
    }

    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// Whether a point, `t x y z`, is connected to an earlier one that is within the window.
    pub(crate) fn connects(&self, earlier: &[f64; 4], point: &[f64; 4]) -> bool {
        point[0] - earlier[0] <= self.max_time_interval && self.is_close(earlier, point)
    }

    /// Whether two points, `t x y z ...`, are.
    #[inline]
    fn is_close(&self, a: &[f64], b: &[f64]) -> bool {
        let squared: f64 = (1..4).map(|k| (b[k] - a[k]) * (b[k] - a[k])).sum();
        squared.sqrt() < self.cut_distance
    }

    /// Labels of points in the order of time; `values` are rows `t x y z ...` of `n_columns`.
    fn labels(&self, values: &[f64], n_columns: usize) -> Vec<f64> {
        let n = values.len() / n_columns;
        let row = |n: usize| &values[n * n_columns..][..4];
        let mut components = Components::new(n);
        for i in 0..n {
            let a = row(i);
            for j in i + 1..n.min((i + 1).saturating_add(self.window)) {
                let b = row(j);
                if b[0] - a[0] > self.max_time_interval {
                    break;
                }
                if self.is_close(a, b) {
                    components.join(i, j);
                }
            }
        }
        let mut sizes = vec![0_u32; n];
        for point in 0..n {
            sizes[components.root(point)] += 1;
        }
        // A trajectory's root is its first point: it gets its number before the others ask for it.
        let mut labels = vec![-1.0; n];
        let mut next = 0.0;
        for point in 0..n {
            let root = components.root(point);
            if root < point {
                labels[point] = labels[root];
            } else if sizes[point] as usize >= self.min_trajectory_size {
                labels[point] = next;
                next += 1.0;
            }
        }
        labels
    }
}

impl Reducer for Segregate {
    type Input = PointData;
    type Output = PointData;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        if self.window == 0 {
            return Error::parameter("window", 0, "1 point or more");
        }
        if self.cut_distance.is_nan() || self.cut_distance < 0.0 {
            return Error::parameter(
                "cut_distance",
                self.cut_distance,
                "a distance in mm that is not negative",
            );
        }
        if self.max_time_interval.is_nan() || self.max_time_interval < 0.0 {
            return Error::parameter(
                "max_time_interval",
                self.max_time_interval,
                "a time in ms that is not negative",
            );
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, _: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        // Labels of an earlier step go: the new ones are the last column.
        let points = match points.column_index("label") {
            Some(column) => points.without_column(column),
            None => points,
        };
        if u32::try_from(points.n_rows()).is_err() {
            return Err(Error::Sampling(format!(
                "{} points are more than 2^32: segregate them in parts",
                points.n_rows()
            )));
        }
        let points = points.into_sorted_by_time(); // what is sorted is not copied
        let labels = self.labels(points.values(), points.columns().len());
        Ok(points.with_column("label", &labels))
    }
}

/// Disjoint sets of points.
struct Components {
    parents: Vec<u32>,
}

impl Components {
    fn new(n: usize) -> Self {
        Self {
            parents: (0..).take(n).collect(),
        }
    }

    fn root(&mut self, n: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "checked in `reduce`")]
        let mut n = n as u32;
        while self.parents[n as usize] != n {
            self.parents[n as usize] = self.parents[self.parents[n as usize] as usize]; // path halving
            n = self.parents[n as usize];
        }
        n as usize
    }

    /// The earlier point is the root: trees stay shallow, since points join what came before them.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        #[expect(clippy::cast_possible_truncation, reason = "checked in `reduce`")]
        {
            self.parents[a.max(b)] = a.min(b) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn labels(step: &Segregate, points: &[[f64; 4]]) -> Vec<f64> {
        let context = Context::FIRST;
        let table = PointData::new(Array2::from(points.to_vec())).unwrap();
        let out = step.reduce(vec![table], &context).unwrap();
        out.rows().column(4).to_vec()
    }

    #[test]
    fn trajectories_count_in_order_of_first_appearance_and_small_ones_are_noise() {
        let step = Segregate::new(3, 1.5).min_trajectory_size(2);
        // Two interleaved tracks, unsorted in time, and a lone point.
        let points = [
            [3.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
            [2.0, 99.0, 0.0, 0.0],
            [1.0, 50.0, 0.0, 0.0],
            [4.0, 51.0, 0.0, 0.0],
        ];
        assert_eq!(labels(&step, &points), [0.0, 1.0, -1.0, 0.0, 1.0]);
    }

    #[test]
    fn the_window_and_the_time_interval_limit_connections() {
        let points = [
            [0.0, 0.0, 0.0, 0.0],
            [1.0, 9.0, 0.0, 0.0],
            [10.0, 0.0, 0.0, 0.0],
        ];
        let step = |window: usize| Segregate::new(window, 1.0).min_trajectory_size(2);
        assert_eq!(labels(&step(2), &points), [0.0, -1.0, 0.0]);
        assert_eq!(labels(&step(1), &points), [-1.0; 3]);
        assert_eq!(labels(&step(2).max_time_interval(9.0), &points), [-1.0; 3]);
        assert!(labels(&step(2), &[]).is_empty());
    }
}
