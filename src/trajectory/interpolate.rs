use serde::{Deserialize, Serialize};

use crate::data::{PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// More rows than this come from a wrong time step.
const MAX_ROWS: f64 = 1e8;

/// How [`Interpolate`] finds values between two points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterpolationKind {
    /// Straight lines between points.
    #[default]
    Linear,
    /// The values of the point that is nearest in time, the earlier one of two.
    Nearest,
    /// The cubic spline whose third derivative is continuous at the second and the last but one point ("not a knot").
    /// Three points make a parabola, two a line.
    Cubic,
}

/// Points at regular times `t0, t0 + timestep, ...` before the last time.
///
/// Each sample is sorted by time, and rows of equal time are averaged. All columns are interpolated, but a column
/// `label` takes the value of the row that is nearest in time. One point, or none, gives no rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpolate {
    timestep: f64,
    #[serde(default)]
    kind: InterpolationKind,
}

impl Interpolate {
    /// A point each `timestep` (ms), on straight lines between the given ones.
    #[must_use]
    pub fn new(timestep: f64) -> Self {
        Self {
            timestep,
            kind: InterpolationKind::default(),
        }
    }

    /// How values between two points are found.
    #[must_use]
    pub fn kind(self, kind: InterpolationKind) -> Self {
        Self { kind, ..self }
    }

    /// The times of the new points.
    fn times(&self, first: f64, last: f64) -> Result<impl Iterator<Item = f64>> {
        let timestep = self.timestep;
        if (last - first) / timestep > MAX_ROWS {
            return Err(Error::Parameter {
                name: "timestep",
                value: timestep.to_string(),
                needed: "a time step (ms) that makes at most 1e8 points of a sample",
            });
        }
        Ok((0_u32..)
            .map(move |n| first + f64::from(n) * timestep)
            .take_while(move |&time| time < last))
    }
}

impl Filter for Interpolate {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.timestep > 0.0 && self.timestep.is_finite() {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "timestep",
            value: self.timestep.to_string(),
            needed: "a time in ms above 0",
        })
    }

    fn filter(&self, sample: PointData, context: &Context<'_>) -> Result<PointData> {
        if let Some(row) = sample.column(0).iter().position(|time| !time.is_finite()) {
            return Err(Error::NotFinite {
                sample: context.sample,
                row,
            });
        }
        let n_columns = sample.columns().len();
        let label = sample.column_index("label");
        let rows = averaged(&sample.sorted_by_time(), label);
        let column = |index: usize| -> Vec<f64> {
            let values = rows.iter().skip(index).step_by(n_columns);
            values.copied().collect()
        };
        let knots = column(0);
        let [first, .., last] = knots[..] else {
            return Ok(sample.empty());
        };
        let curves: Vec<Curve> = (1..n_columns)
            .map(|index| {
                let kind = if Some(index) == label {
                    InterpolationKind::Nearest
                } else {
                    self.kind
                };
                Curve::new(kind, &knots, column(index))
            })
            .collect();
        let mut values = Vec::new();
        let mut interval = 0;
        for time in self.times(first, last)? {
            while interval + 2 < knots.len() && knots[interval + 1] <= time {
                interval += 1;
            }
            values.push(time);
            values.extend(curves.iter().map(|curve| curve.at(time, &knots, interval)));
        }
        let rows = array_of_rows(values, n_columns);
        Ok(PointData::with_all_columns(rows, sample.columns())
            .expect("the columns should be those of the sample")
            .with_attributes(sample.attributes().clone()))
    }
}

/// The values of sorted points, those of equal time as one row: their mean, but the first one's label.
fn averaged(points: &PointData, label: Option<usize>) -> Vec<f64> {
    let mut values = Vec::with_capacity(points.values().len());
    let rows: Vec<&[f64]> = points
        .values()
        .chunks_exact(points.columns().len())
        .collect();
    for group in rows.chunk_by(|before, after| after[0] <= before[0]) {
        let first = group[0].iter().enumerate();
        values.extend(first.map(|(column, &value)| {
            if group.len() == 1 || column == 0 || Some(column) == label {
                return value;
            }
            group.iter().map(|row| row[column]).sum::<f64>() / group.len() as f64
        }));
    }
    values
}

/// One column as a function of time.
struct Curve {
    kind: InterpolationKind,
    values: Vec<f64>,
    /// Derivatives at the knots, for cubic ones.
    slopes: Vec<f64>,
}

impl Curve {
    fn new(kind: InterpolationKind, knots: &[f64], values: Vec<f64>) -> Self {
        let slopes = match kind {
            InterpolationKind::Cubic => slopes(knots, &values),
            InterpolationKind::Linear | InterpolationKind::Nearest => Vec::new(),
        };
        Self {
            kind,
            values,
            slopes,
        }
    }

    /// The value at a time between the knots `interval` and `interval + 1`.
    fn at(&self, time: f64, knots: &[f64], interval: usize) -> f64 {
        let (from, to) = (knots[interval], knots[interval + 1]);
        let (before, after) = (self.values[interval], self.values[interval + 1]);
        let (passed, length) = (time - from, to - from);
        match self.kind {
            InterpolationKind::Linear => before + (after - before) / length * passed,
            InterpolationKind::Nearest => {
                if passed <= to - time {
                    before
                } else {
                    after
                }
            }
            InterpolationKind::Cubic => {
                let (start, end) = (self.slopes[interval], self.slopes[interval + 1]);
                let chord = (after - before) / length;
                let square = (3.0 * chord - 2.0 * start - end) / length;
                let cube = (start + end - 2.0 * chord) / length / length;
                before + passed * (start + passed * (square + passed * cube))
            }
        }
    }
}

/// Derivatives of the not-a-knot spline at its two or more knots.
fn slopes(knots: &[f64], values: &[f64]) -> Vec<f64> {
    let lengths: Vec<f64> = knots.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let chords: Vec<f64> = values
        .windows(2)
        .zip(&lengths)
        .map(|(pair, length)| (pair[1] - pair[0]) / length)
        .collect();
    match (&lengths[..], &chords[..]) {
        (_, &[chord]) => vec![chord; 2],
        (&[before, after], &[first, second]) => {
            let bend = (second - first) / (before + after);
            vec![
                first - before * bend,
                first + before * bend,
                second + after * bend,
            ]
        }
        _ => solve(equations(&lengths, &chords)),
    }
}

/// `below * slope before + diagonal * slope + above * slope after = right`.
#[derive(Clone, Copy)]
struct Equation {
    below: f64,
    diagonal: f64,
    above: f64,
    right: f64,
}

/// The equations of the slopes at four or more knots, from the lengths of the intervals and the slopes of their chords.
fn equations(lengths: &[f64], chords: &[f64]) -> Vec<Equation> {
    let last = lengths.len() - 1;
    // At an end: the cubics of the two outermost intervals are one. `length` is that of the outer one.
    let end = |length: f64, next: f64, chord: f64, next_chord: f64| {
        let both = length + next;
        let right = ((length + 2.0 * both) * next * chord + length * length * next_chord) / both;
        (next, both, right)
    };
    let (diagonal, above, right) = end(lengths[0], lengths[1], chords[0], chords[1]);
    let mut equations = vec![Equation {
        below: 0.0,
        diagonal,
        above,
        right,
    }];
    // Between: the second derivative is continuous.
    equations.extend(
        lengths
            .windows(2)
            .zip(chords.windows(2))
            .map(|(lengths, chords)| Equation {
                below: lengths[1],
                diagonal: 2.0 * (lengths[0] + lengths[1]),
                above: lengths[0],
                right: 3.0 * (lengths[1] * chords[0] + lengths[0] * chords[1]),
            }),
    );
    let (diagonal, below, right) = end(
        lengths[last],
        lengths[last - 1],
        chords[last],
        chords[last - 1],
    );
    equations.push(Equation {
        below,
        diagonal,
        above: 0.0,
        right,
    });
    equations
}

/// Elimination without pivots: those of a spline stay positive.
fn solve(mut equations: Vec<Equation>) -> Vec<f64> {
    for n in 1..equations.len() {
        let before = equations[n - 1];
        let equation = &mut equations[n];
        let factor = equation.below / before.diagonal;
        equation.diagonal -= factor * before.above;
        equation.right -= factor * before.right;
    }
    let mut after = 0.0;
    let mut slopes: Vec<f64> = equations
        .iter()
        .rev()
        .map(|equation| {
            after = (equation.right - equation.above * after) / equation.diagonal;
            after
        })
        .collect();
    slopes.reverse();
    slopes
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn run(step: &Interpolate, rows: &[[f64; 4]]) -> PointData {
        let points = PointData::new(Array2::from(rows.to_vec())).unwrap();
        step.filter(points, &Context::FIRST).unwrap()
    }

    #[test]
    fn cubic_is_exact_up_to_the_degree_that_the_points_allow() {
        // A cubic through four points and more, a parabola through three, a line through two.
        for n in 2_i32..7 {
            let degree = (n - 1).min(3);
            let curve = |t: f64| (t - 0.5).powi(degree);
            let times = [0.0, 0.75, 1.0, 2.5, 3.0, 4.5];
            let rows: Vec<[f64; 4]> = times
                .iter()
                .take(usize::try_from(n).unwrap())
                .map(|&t| [t, curve(t), 1.0, -t])
                .collect();
            let out = run(&Interpolate::new(0.1).kind(InterpolationKind::Cubic), &rows);
            assert!(out.n_rows() > 6);
            for row in out.values().chunks_exact(4) {
                assert!((row[1] - curve(row[0])).abs() < 1e-11);
                assert!((row[2] - 1.0).abs() < 1e-12 && (row[3] + row[0]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn rows_are_sorted_equal_times_averaged_and_labels_are_those_of_the_nearest_row() {
        let rows = array![
            [4.0, 8.0, 0.0, 0.0, 7.0],
            [0.0, 1.0, 0.0, 0.0, 3.0],
            [0.0, 3.0, 0.0, 0.0, 5.0]
        ];
        let points = PointData::with_columns(rows, &["label"]).unwrap();
        let out = Interpolate::new(1.0)
            .filter(points, &Context::FIRST)
            .unwrap();
        assert_eq!(out.column(0), [0.0, 1.0, 2.0, 3.0]); // before the last time
        assert_eq!(out.column(1), [2.0, 3.5, 5.0, 6.5]);
        assert_eq!(out.column(4), [3.0, 3.0, 3.0, 7.0]);
    }

    #[test]
    fn one_time_gives_no_rows_but_the_columns() {
        let none: &[[f64; 4]] = &[];
        for rows in [none, &[[1.0, 2.0, 3.0, 4.0]], &[[1.0; 4], [1.0; 4]]] {
            let out = run(&Interpolate::new(1.0), rows);
            assert_eq!((out.n_rows(), out.columns().len()), (0, 4));
        }
    }

    #[test]
    fn absurd_time_steps_and_times_that_are_not_finite_are_errors() {
        assert!(Interpolate::new(0.0).check().is_err());
        assert!(Interpolate::new(f64::NAN).check().is_err());
        let filter = |timestep: f64, last: f64| {
            let rows = array![[0.0, 0.0, 0.0, 0.0], [last, 0.0, 0.0, 0.0]];
            let points = PointData::new(rows).unwrap();
            Interpolate::new(timestep).filter(points, &Context::FIRST)
        };
        assert!(matches!(filter(1e-9, 2.0), Err(Error::Parameter { .. })));
        assert!(matches!(
            filter(1.0, f64::NAN),
            Err(Error::NotFinite { row: 1, .. })
        ));
    }
}
