use serde::{Deserialize, Serialize};

use super::lines::Lines;
use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Lines within so many root mean squares of the point stay.
const KEPT: f64 = 1.5;
/// Up to so many lines are dropped one by one, which is faster than ranking all.
const FEW: usize = 4;

/// The Birmingham method: the point nearest to the lines, found again and again without those that are far from it, until a fraction
/// `fopt` of them is left.
///
/// Gives one row `[t, x, y, z, error]` for a sample: mean time of the lines used (ms), coordinates (mm), and the root mean square of
/// their distances (mm); none where no point is determined (parallel lines, fewer than two).
///
/// Parker et al., "Positron emission particle tracking", Nuclear Instruments and Methods
/// A 326, 592 (1993).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BirminghamMethod {
    fopt: f64,
    get_used: bool,
}

impl Default for BirminghamMethod {
    fn default() -> Self {
        Self {
            fopt: 0.5,
            get_used: false,
        }
    }
}

impl BirminghamMethod {
    /// `fopt`: the fraction of lines that is used in the end, above 0 and at most 1.
    #[must_use]
    pub fn new(fopt: f64) -> Self {
        Self {
            fopt,
            ..Self::default()
        }
    }

    /// Whether the sample's lines become the attribute `_lines`, with a column `used` of 0 or 1.
    #[must_use]
    pub fn get_used(self, get_used: bool) -> Self {
        Self { get_used, ..self }
    }

    /// The point, the root mean square of distances, and the lines used.
    fn locate(&self, lines: &Lines) -> Option<([f64; 3], f64, Vec<usize>)> {
        let n = lines.len();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of n"
        )]
        let target = ((n as f64 * self.fopt) as usize).max(1);
        let mut used: Vec<usize> = (0..n).collect();
        let (mut squares, mut ranked) = (Vec::new(), Vec::new());
        loop {
            let point = lines.closest_point(used.iter().copied())?;
            lines.squared_distances(point, &mut squares);
            let mean = used.iter().map(|&n| squares[n]).sum::<f64>() / used.len() as f64;
            if used.len() == target {
                return Some((point, mean.sqrt(), used));
            }
            // The near ones stay; at least as many as wanted, and at least one less than before.
            let near = KEPT * KEPT * mean;
            let n_near = squares
                .iter()
                .map(|&d| usize::from(d <= near))
                .sum::<usize>();
            let size = n_near.max(target).min(used.len() - 1);
            used.clear();
            if (size..=size + FEW).contains(&n_near) {
                // Without branches: every other one would be mispredicted.
                used.resize(n, 0);
                let mut n_used = 0;
                for (line, &square) in squares.iter().enumerate() {
                    used[n_used] = line;
                    n_used += usize::from(square <= near);
                }
                used.truncate(n_used);
                for _ in size..n_near {
                    let furthest = furthest(&used, &squares);
                    used.remove(furthest);
                }
                continue;
            }
            ranked.clone_from(&squares);
            let (_, &mut last, _) = ranked.select_nth_unstable_by(size - 1, f64::total_cmp);
            // Of equal ones the first.
            let n_below = squares
                .iter()
                .filter(|d| d.total_cmp(&last).is_lt())
                .count();
            let mut n_equal = size - n_below;
            used.extend((0..n).filter(|&n| match squares[n].total_cmp(&last) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal if n_equal > 0 => {
                    n_equal -= 1;
                    true
                }
                _ => false,
            }));
        }
    }
}

/// The place of the furthest line, of equal ones the last.
fn furthest(used: &[usize], squares: &[f64]) -> usize {
    let (fours, rest) = used.as_chunks::<4>();
    let mut largest = [f64::NEG_INFINITY; 4]; // four at a time: a comparison waits for the one before
    for four in fours {
        for (largest, &line) in largest.iter_mut().zip(four) {
            let square = squares[line];
            *largest = if square > *largest { square } else { *largest };
        }
    }
    let all = rest.iter().map(|&line| squares[line]).chain(largest);
    let largest = all.fold(f64::NEG_INFINITY, f64::max);
    let place = used.iter().rposition(|&line| squares[line] >= largest);
    place.unwrap_or(0) // all NaN
}

impl Filter for BirminghamMethod {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.fopt > 0.0 && self.fopt <= 1.0 {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "fopt",
            value: self.fopt.to_string(),
            needed: "a fraction above 0 and at most 1",
        })
    }

    fn filter(&self, sample: LineData, _: &Context<'_>) -> Result<PointData> {
        let mut row = Vec::new();
        let mut flags = vec![0.0; sample.n_rows()];
        if let Some((point, rms, used)) = self.locate(&Lines::new(&sample)) {
            let times = sample.column(0);
            let mean = used.iter().map(|&n| times[n]).sum::<f64>() / used.len() as f64;
            row.extend([mean, point[0], point[1], point[2], rms]);
            for n in used {
                flags[n] = 1.0;
            }
        }
        let points = PointData::with_columns(array_of_rows(row, 5), &["error"])?
            .with_attributes(sample.attributes().clone());
        Ok(if self.get_used {
            points.with_attribute(
                "_lines",
                Attribute::Lines(sample.with_column("used", &flags)),
            )
        } else {
            points
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn far_lines_do_not_pull_and_hopeless_samples_give_no_row() {
        let through = |x: f64, n: usize| {
            let (sin, cos) = (n as f64).sin_cos();
            [n as f64, x - cos, -sin, -0.3, x + cos, sin, 0.3]
        };
        let mut rows: Vec<[f64; 7]> = (0..30).map(|n| through(5.0, n)).collect();
        rows.extend((30..40).map(|n| through(300.0, n)));
        let lines = LineData::new(Array2::from(rows)).unwrap();
        let step = BirminghamMethod::new(0.5).get_used(true);
        let out = step.filter(lines.clone(), &Context::FIRST).unwrap();
        let point = out.values();
        assert!(
            (point[1] - 5.0).abs() < 1e-9 && point[4] < 1e-9,
            "{point:?}"
        );
        let Some(Attribute::Lines(used)) = out.attributes().get("_lines") else {
            panic!("the lines should be attached")
        };
        let used = used.column(7);
        assert_eq!(used.iter().sum::<f64>(), 20.0);
        assert!(used[30..].iter().all(|&used| used == 0.0));

        let parallel = [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]; 5];
        for few in [&parallel[..0], &parallel[..1], &parallel[..]] {
            let lines = LineData::new(Array2::from(few.to_vec())).unwrap();
            let out = step.filter(lines, &Context::FIRST).unwrap();
            assert_eq!((out.n_rows(), out.columns().len()), (0, 5));
        }
    }
}
