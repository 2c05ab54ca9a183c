use crate::data::PointData;
use crate::error::{Error, Result};

/// How far tracked points are from the truth, and how many have none near.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Distance of each matched point to the nearest true position at its time (mm), ascending.
    pub errors: Vec<f64>,
    /// Points further than the limit from every true position.
    pub false_points: usize,
}

impl Evaluation {
    /// Mean error (mm); NaN without points.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.errors.iter().sum::<f64>() / self.count()
    }

    /// Root mean square error (mm); NaN without points.
    #[must_use]
    pub fn rms(&self) -> f64 {
        (self.errors.iter().map(|e| e * e).sum::<f64>() / self.count()).sqrt()
    }

    /// Median error (mm), the upper one of two; NaN without points.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.errors
            .get(self.errors.len() / 2)
            .copied()
            .unwrap_or(f64::NAN)
    }

    fn count(&self) -> f64 {
        self.errors.len() as f64
    }
}

/// Compares tracked points with the truth (`t x y z label`, each label's rows in the order of time).
///
/// Points with a column `label` below 0 are left out. A tracer's true position is interpolated linearly; where its rows do not
/// reach, it is not there. Points further than `limit` (mm) from all tracers are false.
///
/// # Errors
/// [`Error::Columns`] if the truth has no column `label`.
pub fn evaluate(tracked: &PointData, truth: &PointData, limit: f64) -> Result<Evaluation> {
    let label = truth.column_index("label").ok_or_else(|| {
        Error::Columns(format!(
            "the truth has no column \"label\", only {}",
            truth.columns().join(" ")
        ))
    })?;
    let mut tracers: Vec<(f64, Vec<[f64; 4]>)> = Vec::new();
    for row in truth.rows().rows() {
        let point = [row[0], row[1], row[2], row[3]];
        match tracers
            .iter_mut()
            .find(|(known, _)| known.total_cmp(&row[label]).is_eq())
        {
            Some((_, points)) => points.push(point),
            None => tracers.push((row[label], vec![point])),
        }
    }
    let own_label = tracked.column_index("label");
    let mut result = Evaluation {
        errors: Vec::new(),
        false_points: 0,
    };
    for row in tracked.rows().rows() {
        if own_label.is_some_and(|column| row[column] < 0.0) {
            continue;
        }
        let distance = |[x, y, z]: [f64; 3]| {
            ((x - row[1]).powi(2) + (y - row[2]).powi(2) + (z - row[3]).powi(2)).sqrt()
        };
        let nearest = tracers
            .iter()
            .filter_map(|(_, points)| position_at(points, row[0]))
            .map(distance)
            .min_by(f64::total_cmp);
        match nearest {
            Some(error) if error <= limit => result.errors.push(error),
            _ => result.false_points += 1,
        }
    }
    result.errors.sort_by(f64::total_cmp);
    Ok(result)
}

/// Linear interpolation between the rows around a time.
fn position_at(points: &[[f64; 4]], t: f64) -> Option<[f64; 3]> {
    let after = points.partition_point(|point| point[0] < t);
    let next = points.get(after)?;
    let Some(before) = after.checked_sub(1).map(|n| &points[n]) else {
        return (next[0] <= t).then_some([next[1], next[2], next[3]]);
    };
    let share = (t - before[0]) / (next[0] - before[0]);
    Some(std::array::from_fn(|k| {
        before[k + 1] + share * (next[k + 1] - before[k + 1])
    }))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn points_are_matched_with_the_interpolated_truth() {
        let truth = array![
            [0.0, 0.0, 0.0, 0.0, 0.0],
            [2.0, 4.0, 0.0, 0.0, 0.0],
            [0.0, 100.0, 0.0, 0.0, 1.0]
        ];
        let truth = PointData::with_columns(truth, &["label"]).unwrap();
        // An exact hit, 3 mm off, 50 mm off, noise, and one after the end.
        let tracked = array![
            [1.0, 2.0, 0.0, 0.0, 0.0],
            [0.0, 100.0, 3.0, 0.0, 1.0],
            [1.0, 52.0, 0.0, 0.0, 0.0],
            [1.0, 52.0, 0.0, 0.0, -1.0],
            [3.0, 4.0, 0.0, 0.0, 0.0]
        ];
        let found = evaluate(
            &PointData::with_columns(tracked, &["label"]).unwrap(),
            &truth,
            10.0,
        )
        .unwrap();
        assert_eq!(
            (found.errors.as_slice(), found.false_points),
            (&[0.0, 3.0][..], 2)
        );
        assert_eq!(
            (found.mean(), found.median(), found.rms()),
            (1.5, 3.0, 4.5_f64.sqrt())
        );
    }
}
