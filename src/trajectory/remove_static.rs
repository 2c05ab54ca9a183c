use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};
use crate::statistics::quantile;

/// Drops the points of time windows in which the tracer does not move.
///
/// All points together are sorted by time and cut into windows `[t0 + k time_window, t0 + (k + 1) time_window)`, with
/// `t0` the first time. A window is static when the `quantile` of the distances of its points from their mean is at most
/// `max_distance`. The points after the last whole window are judged by the window of the same length that ends with
/// the last point. The result is one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveStatic {
    time_window: f64,
    max_distance: f64,
    #[serde(default = "default_quantile")]
    quantile: f64,
}

fn default_quantile() -> f64 {
    0.9
}

impl RemoveStatic {
    /// In windows of `time_window` (ms), nine in ten points within `max_distance` (mm) of their mean are static.
    #[must_use]
    pub fn new(time_window: f64, max_distance: f64) -> Self {
        Self {
            time_window,
            max_distance,
            quantile: default_quantile(),
        }
    }

    /// Which quantile of the distances is compared with `max_distance`, 0 to 1.
    #[must_use]
    pub fn quantile(self, quantile: f64) -> Self {
        Self { quantile, ..self }
    }

    /// The end of the window with a time in it.
    fn window_end(&self, first: f64, time: f64) -> f64 {
        let whole = ((time - first) / self.time_window).floor();
        let edge = |k: f64| first + k * self.time_window;
        // The quotient may be rounded over an edge.
        if time < edge(whole) {
            edge(whole)
        } else if time < edge(whole + 1.0) {
            edge(whole + 1.0)
        } else {
            edge(whole + 2.0)
        }
    }

    fn is_static(&self, positions: &[[f64; 3]]) -> bool {
        let n = positions.len() as f64;
        let mut mean = [0.0; 3];
        for position in positions {
            for (sum, value) in mean.iter_mut().zip(position) {
                *sum += value / n;
            }
        }
        let mut distances: Vec<f64> = positions
            .iter()
            .map(|position| {
                let differences = position.iter().zip(&mean).map(|(a, b)| a - b);
                differences.map(|d| d * d).sum::<f64>().sqrt()
            })
            .collect();
        quantile(&mut distances, self.quantile) <= self.max_distance
    }
}

impl Reducer for RemoveStatic {
    type Input = PointData;
    type Output = PointData;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        if self.time_window.is_nan() || self.time_window <= 0.0 {
            return Error::parameter("time_window", self.time_window, "a time in ms above 0");
        }
        if self.max_distance.is_nan() || self.max_distance < 0.0 {
            return Error::parameter(
                "max_distance",
                self.max_distance,
                "a distance in mm that is not negative",
            );
        }
        if !(0.0..=1.0).contains(&self.quantile) {
            return Error::parameter("quantile", self.quantile, "a share from 0 to 1");
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, context: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        if let Some(row) = points.column(0).iter().position(|time| !time.is_finite()) {
            return Err(Error::NotFinite {
                sample: context.sample,
                row,
            });
        }
        let points = points.sorted_by_time();
        let (times, positions) = (points.column(0), points.positions());
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Ok(points);
        };
        let mut kept = Vec::new();
        let mut start = 0;
        while start < times.len() {
            let window_end = self.window_end(first, times[start]);
            let n = times[start..].partition_point(|&time| time < window_end);
            let end = start + n.max(1); // at least one, also where the window is below the resolution of time
            let judged_from = if window_end > last {
                let from = times.partition_point(|&time| time < last - self.time_window);
                from.min(start)
            } else {
                start
            };
            if !self.is_static(&positions[judged_from..end]) {
                kept.extend(start..end);
            }
            start = end;
        }
        Ok(points.take(&kept))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn kept(step: &RemoveStatic, rows: &[[f64; 4]]) -> Vec<f64> {
        step.check().unwrap();
        let points = PointData::new(Array2::from(rows.to_vec())).unwrap();
        let out = step.reduce(vec![points], &Context::FIRST).unwrap();
        out.column(0)
    }

    #[test]
    fn static_windows_go_and_moving_ones_stay() {
        // Rests until 19 ms, moves until 39 ms, rests until the end; rows from the last to the first.
        let rows: Vec<[f64; 4]> = (0..66_u32)
            .rev()
            .map(|n| {
                let t = f64::from(n);
                [t, 5.0 * (t.clamp(20.0, 40.0) - 20.0), 7.0, 7.0]
            })
            .collect();
        let moving: Vec<f64> = (20..40_u32).map(f64::from).collect();
        assert_eq!(kept(&RemoveStatic::new(10.0, 1.0), &rows), moving);
        assert!(kept(&RemoveStatic::new(10.0, 100.0), &rows).is_empty());
        assert!(kept(&RemoveStatic::new(10.0, 1.0), &[]).is_empty());
    }

    #[test]
    fn points_after_the_last_whole_window_are_judged_by_a_whole_one() {
        // A single point on its own would not move.
        let rows: Vec<[f64; 4]> = (0..=20_u32)
            .map(|n| [f64::from(n), f64::from(n), 0.0, 0.0])
            .collect();
        assert_eq!(kept(&RemoveStatic::new(10.0, 1.0), &rows).len(), 21);
        // Less than one window: everything together.
        assert_eq!(kept(&RemoveStatic::new(100.0, 1.0), &rows).len(), 21);
        assert!(kept(&RemoveStatic::new(100.0, 50.0), &rows).is_empty());
        let forever = RemoveStatic::new(f64::INFINITY, 50.0);
        assert!(kept(&forever, &rows).is_empty());
    }

    #[test]
    fn the_quantile_tolerates_outliers_and_is_interpolated() {
        // Ten points at the same place but one; distances from the mean: nine of 1, one of 9.
        let mut rows = [[0.0; 4]; 10];
        rows[9] = [9.0, 10.0, 0.0, 0.0];
        assert!(kept(&RemoveStatic::new(100.0, 2.0), &rows).is_empty());
        let all = RemoveStatic::new(100.0, 2.0).quantile(1.0);
        assert_eq!(kept(&all, &rows).len(), 10);
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 0.25), 1.75);
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 1.0), 4.0);
        assert_eq!(quantile(&mut [7.0], 0.9), 7.0);
    }

    #[test]
    fn senseless_parameters_and_times_that_are_not_finite_are_errors() {
        for step in [
            RemoveStatic::new(0.0, 1.0),
            RemoveStatic::new(1.0, -1.0),
            RemoveStatic::new(1.0, 1.0).quantile(1.5),
            RemoveStatic::new(1.0, 1.0).quantile(f64::NAN),
        ] {
            assert!(matches!(step.check(), Err(Error::Parameter { .. })));
        }
        let points = PointData::new(Array2::from(vec![[f64::NAN; 4]])).unwrap();
        let out = RemoveStatic::new(1.0, 1.0).reduce(vec![points], &Context::FIRST);
        assert!(matches!(out, Err(Error::NotFinite { row: 0, .. })));
    }
}
