use serde::{Deserialize, Serialize};

use super::lines::Lines;
use crate::data::{Data, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// The point nearest to the lines: one row `[t, x, y, z]` for a sample, one for each member of a list.
///
/// In each iteration `k` the `remove k` share of lines that is furthest from the last point is left out. The time is the mean of the lines
/// kept. Samples that determine no point give no row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinesCentroids {
    remove: f64,
    iterations: usize,
}

impl Default for LinesCentroids {
    fn default() -> Self {
        Self {
            remove: 0.1,
            iterations: 6,
        }
    }
}

impl LinesCentroids {
    /// A tenth of the lines more is left out in each of six iterations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The share of lines that each iteration leaves out more.
    #[must_use]
    pub fn remove(self, remove: f64) -> Self {
        Self { remove, ..self }
    }

    /// Number of iterations; 0 is the point nearest to all lines.
    #[must_use]
    pub fn iterations(self, iterations: usize) -> Self {
        Self { iterations, ..self }
    }

    fn row(&self, sample: &LineData) -> Option<[f64; 4]> {
        let lines = Lines::new(sample);
        let n = lines.len();
        let mut kept: Vec<usize> = (0..n).collect();
        let mut point = lines.closest_point(kept.iter().copied())?;
        let mut distances = Vec::new();
        for iteration in 1..=self.iterations {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of n; `as` makes a negative one 0"
            )]
            let size = (n as f64 * (1.0 - self.remove * iteration as f64)) as usize;
            let size = size.clamp(2, n);
            lines.squared_distances(point, &mut distances);
            let mut nearest: Vec<usize> = (0..n).collect();
            nearest.sort_by(|&a, &b| distances[a].total_cmp(&distances[b])); // stable
            nearest.truncate(size);
            nearest.sort_unstable();
            match lines.closest_point(nearest.iter().copied()) {
                Some(next) if kept != nearest => (point, kept) = (next, nearest),
                // Nothing changes any more, or the nearest lines are parallel: the last point is all there is.
                _ => break,
            }
        }
        let times = sample.column(0);
        let t = kept.iter().map(|&n| times[lines.rows[n]]).sum::<f64>() / kept.len() as f64;
        Some([t, point[0], point[1], point[2]])
    }

    fn table(rows: impl Iterator<Item = [f64; 4]>) -> Result<PointData> {
        PointData::new(array_of_rows(rows.flatten().collect(), 4))
    }
}

impl Filter for LinesCentroids {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.remove) {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "remove",
            value: self.remove.to_string(),
            needed: "a share of at least 0 and below 1",
        })
    }

    fn filter(&self, sample: LineData, _: &Context<'_>) -> Result<PointData> {
        let attributes = sample.attributes().clone();
        Ok(Self::table(self.row(&sample).into_iter())?.with_attributes(attributes))
    }

    /// One table with a row for each member that determines a point.
    fn filter_list(&self, members: Vec<LineData>, _: &Context<'_>) -> Result<Data> {
        Ok(Self::table(members.iter().filter_map(|member| self.row(member)))?.into())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn iterations_leave_out_far_lines() {
        let line = |x: f64, n: usize| {
            let (sin, cos) = (n as f64).sin_cos();
            [n as f64, x - cos, -sin, -0.3, x + cos, sin, 0.3]
        };
        let mut rows: Vec<[f64; 7]> = (0..70).map(|n| line(5.0, n)).collect();
        rows.extend((70..100).map(|n| line(25.0, n)));
        let lines = LineData::new(Array2::from(rows)).unwrap();
        let x = |step: LinesCentroids| {
            let out = step.filter(lines.clone(), &Context::FIRST).unwrap();
            out.values()[1]
        };
        assert!((x(LinesCentroids::new()) - 5.0).abs() < 1e-9);
        assert!(x(LinesCentroids::new().iterations(0)) > 7.0);
    }
}
