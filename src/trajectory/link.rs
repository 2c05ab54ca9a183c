use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::linear_algebra::{Vector, backward, difference, factorize, forward, norm};
use crate::pipeline::{Context, Reducer};

/// Points of a trajectory from which its motion is predicted.
const REMEMBERED: usize = 12;
/// Points from which a velocity, and an acceleration, are found.
const LINEAR: usize = 4;
const QUADRATIC: usize = 8;
/// A prediction may be off by this share of the way since the last point: by all of it, a tracer may have turned anywhere.
const ASTRAY: f64 = 1.0;

/// Joins points into trajectories by where each tracer is expected next, and appends the column `label`: the trajectory's number, -1
/// for none.
///
/// [`Segregate`](super::Segregate) joins what is close, and so joins tracers that meet. Here points of one sample are of different
/// tracers: in the order of time, the points of each sample are given to the trajectories so far, nearest prediction first, each at most
/// one. A trajectory's next place is predicted by a parabola (of few points a line, of one that point) through its last points. A point is
/// its next one if it is within `cut_distance` of that place, and as much more as the tracer will have gone; a trajectory without
/// points for `max_gap` has ended. Points that fit none begin one.
///
/// It takes a table with a sample for each sample of lines: what filters give, or `Stack` without a size. Rows of a table that is one
/// sample are taken one by one. Trajectories are numbered in order of first appearance; those below `min_trajectory_size` points have label
/// -1. Rows come out in the order of time. O(N T) time for T tracers at a time.
///
/// S. S. Blackman and R. Popoli, "Design and analysis of modern tracking systems", Artech House (1999), for the method (global nearest
/// neighbour, here by the nearest first).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    cut_distance: f64,
    #[serde(default = "default_gap")]
    max_gap: f64,
    #[serde(default = "default_size")]
    min_trajectory_size: usize,
}

fn default_gap() -> f64 {
    100.0
}

fn default_size() -> usize {
    5
}

impl Link {
    /// Points within `cut_distance` (mm) of where a tracer is expected are its next ones. Gaps last up to 100 ms; at least 5 points make a
    /// trajectory.
    #[must_use]
    pub fn new(cut_distance: f64) -> Self {
        Self {
            cut_distance,
            max_gap: default_gap(),
            min_trajectory_size: default_size(),
        }
    }

    /// The longest time (ms) without a point that does not end a trajectory.
    #[must_use]
    pub fn max_gap(self, max_gap: f64) -> Self {
        Self { max_gap, ..self }
    }

    /// The fewest points of a trajectory.
    #[must_use]
    pub fn min_trajectory_size(self, min_trajectory_size: usize) -> Self {
        Self {
            min_trajectory_size,
            ..self
        }
    }

    /// The number of the trajectory of each row; `frames` are rows of a sample each, in the order of time.
    fn trajectories(&self, frames: &[Vec<usize>], place: impl Fn(usize) -> Place) -> Vec<usize> {
        let n_rows = frames.iter().map(Vec::len).sum();
        let mut labels = vec![0; n_rows];
        let mut tracks: Vec<Track> = Vec::new();
        let mut n_tracks = 0;
        for frame in frames {
            let now = frame
                .iter()
                .map(|&row| place(row).0)
                .fold(f64::INFINITY, f64::min);
            tracks.retain(|track| now - track.last().0 <= self.max_gap);
            let mut pairs = Vec::new();
            for (n, &row) in frame.iter().enumerate() {
                let (time, point) = place(row);
                for (m, track) in tracks.iter().enumerate() {
                    let (expected, way) = track.predict(time);
                    let distance = norm(difference(point, expected));
                    if distance < self.cut_distance + ASTRAY * way {
                        pairs.push((distance / (self.cut_distance + ASTRAY * way), n, m));
                    }
                }
            }
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
            let mut track_of = vec![None; frame.len()];
            let mut is_taken = vec![false; tracks.len()];
            for (_, n, m) in pairs {
                if track_of[n].is_none() && !is_taken[m] {
                    track_of[n] = Some(m);
                    is_taken[m] = true;
                }
            }
            for (&row, track) in frame.iter().zip(track_of) {
                let m = track.unwrap_or_else(|| {
                    tracks.push(Track::new(n_tracks));
                    n_tracks += 1;
                    tracks.len() - 1
                });
                tracks[m].push(place(row));
                labels[row] = tracks[m].label;
            }
        }
        labels
    }
}

/// Time (ms) and place (mm).
type Place = (f64, Vector);

/// A trajectory that may go on.
#[derive(Debug)]
struct Track {
    label: usize,
    places: Vec<Place>,
}

impl Track {
    fn new(label: usize) -> Self {
        Self {
            label,
            places: Vec::with_capacity(REMEMBERED + 1),
        }
    }

    fn push(&mut self, place: Place) {
        if self.places.len() == REMEMBERED {
            self.places.remove(0);
        }
        self.places.push(place);
    }

    fn last(&self) -> Place {
        self.places[self.places.len() - 1]
    }

    /// Where it will be, and how far it will have gone since the last point.
    fn predict(&self, time: f64) -> (Vector, f64) {
        let (last, point) = self.last();
        let first = self.places[0].0;
        let span = last - first;
        let order = match self.places.len() {
            n if n >= QUADRATIC => 2,
            n if n >= LINEAR => 1,
            _ => 0,
        };
        if order == 0 || span <= 0.0 {
            return (point, 0.0);
        }
        // Times from the last point on, in units of the time that is remembered.
        let ahead = (time - last) / span;
        // A parabola that goes on for long leaves the machine.
        let order = if ahead > 3.0 { 1 } else { order };
        let Some(path) = self.fitted(order, last, span) else {
            return (point, 0.0);
        };
        let at = |s: f64| std::array::from_fn(|k| path[0][k] + s * (path[1][k] + s * path[2][k]));
        let (end, expected) = (at(0.0), at(ahead));
        (expected, norm(difference(expected, end)))
    }

    /// Coefficients of the polynomial that fits the places best.
    fn fitted(&self, order: usize, origin: f64, unit: f64) -> Option<[Vector; 3]> {
        let size = order + 1;
        let mut matrix = [0.0; 9];
        let mut sums = [[0.0; 3]; 3];
        for (time, place) in &self.places {
            let s = (time - origin) / unit;
            let powers = [1.0, s, s * s];
            for i in 0..size {
                for j in 0..size {
                    matrix[i * size + j] += powers[i] * powers[j];
                }
                for k in 0..3 {
                    sums[k][i] += powers[i] * place[k];
                }
            }
        }
        let matrix = &mut matrix[..size * size];
        if !factorize(matrix, size) {
            return None;
        }
        let mut path = [[0.0; 3]; 3];
        for (k, sum) in sums.iter_mut().enumerate() {
            let solution = &mut sum[..size];
            forward(matrix, size, solution);
            backward(matrix, size, solution);
            for (coefficients, value) in path.iter_mut().zip(solution) {
                coefficients[k] = *value;
            }
        }
        Some(path)
    }
}

impl Reducer for Link {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if !(self.cut_distance > 0.0 && self.cut_distance.is_finite()) {
            return Error::parameter(
                "cut_distance",
                self.cut_distance,
                "a distance in mm above 0",
            );
        }
        if self.max_gap.is_nan() || self.max_gap < 0.0 {
            return Error::parameter("max_gap", self.max_gap, "a time in ms that is not negative");
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, _: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        let points = match points.column_index("label") {
            Some(column) => points.without_column(column),
            None => points,
        };
        let n_columns = points.columns().len();
        let values = points.values();
        let place = |row: usize| {
            let row = &values[row * n_columns..][..4];
            (row[0], [row[1], row[2], row[3]])
        };
        let mut frames: Vec<Vec<usize>> = match points.sample_ranges() {
            ranges if ranges.len() > 1 => ranges.iter().cloned().map(Iterator::collect).collect(),
            _ => (0..points.n_rows()).map(|row| vec![row]).collect(),
        };
        frames.retain(|frame| !frame.is_empty());
        let time = |frame: &[usize]| {
            let sum: f64 = frame.iter().map(|&row| place(row).0).sum();
            sum / frame.len() as f64
        };
        frames.sort_by(|a, b| time(a).total_cmp(&time(b)));
        let of_row = self.trajectories(&frames, place);
        let mut sizes = vec![0_usize; of_row.iter().max().map_or(0, |most| most + 1)];
        for &label in &of_row {
            sizes[label] += 1;
        }
        let mut next = 0.0;
        let numbers: Vec<f64> = sizes
            .iter()
            .map(|&size| {
                if size < self.min_trajectory_size {
                    return -1.0;
                }
                next += 1.0;
                next - 1.0
            })
            .collect();
        let labels: Vec<f64> = of_row.iter().map(|&label| numbers[label]).collect();
        Ok(points.with_column("label", &labels).into_sorted_by_time())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Frames of points `t x y z`, as one table with a sample each.
    fn linked(step: &Link, frames: &[Vec<[f64; 4]>]) -> Vec<Vec<f64>> {
        let tables = frames
            .iter()
            .map(|frame| PointData::new(Array2::from(frame.clone())).unwrap())
            .collect();
        let out = step.reduce(tables, &Context::FIRST).unwrap();
        out.rows()
            .rows()
            .into_iter()
            .map(|row| row.to_vec())
            .collect()
    }

    #[test]
    fn tracers_that_cross_stay_apart() {
        // Two lines that cross in space, 3 mm apart in z; one sample each ms.
        let frame = |n: usize| {
            let t = n as f64;
            let x = 0.7 * (t - 50.0);
            vec![[t, x, x, 0.0], [t + 0.1, x, -x, 3.0]]
        };
        let frames: Vec<_> = (0..100).map(frame).collect();
        for row in linked(&Link::new(5.0), &frames) {
            assert_eq!(row[4], if row[3] == 0.0 { 0.0 } else { 1.0 }, "{row:?}");
        }
    }

    #[test]
    fn a_tracer_that_was_away_comes_back_as_itself() {
        // Two on a circle, one away for 50 ms: a quarter of a turn.
        let place = |t: f64, phase: f64| {
            let (sin, cos) = (0.0325 * t + phase).sin_cos();
            [t, 20.0 * cos, 20.0 * sin, phase]
        };
        let frames: Vec<Vec<_>> = (0..300)
            .map(|n| {
                let t = f64::from(n);
                let mut frame = vec![place(t, 0.0)];
                if !(100..150).contains(&n) {
                    frame.push(place(t, 2.0));
                }
                frame
            })
            .collect();
        for row in linked(&Link::new(5.0), &frames) {
            assert_eq!(row[4], if row[3] == 0.0 { 0.0 } else { 1.0 }, "{row:?}");
        }
        // Too long away is another one.
        let labels: Vec<f64> = linked(&Link::new(5.0).max_gap(20.0), &frames)
            .iter()
            .map(|row| row[4])
            .collect();
        assert_eq!(labels.iter().copied().fold(0.0, f64::max), 2.0);
    }

    #[test]
    fn false_points_are_noise() {
        let frames: Vec<Vec<_>> = (0..50)
            .map(|n| {
                let t = f64::from(n);
                let mut frame = vec![[t, t, 0.0, 0.0]];
                if n % 7 == 0 {
                    frame.push([t, 40.0 * (t * 1.7).sin(), 90.0, 50.0 * t.cos()]);
                }
                frame
            })
            .collect();
        for row in linked(&Link::new(3.0), &frames) {
            assert_eq!(row[4], if row[2] == 0.0 { 0.0 } else { -1.0 }, "{row:?}");
        }
    }

    #[test]
    fn rows_of_one_sample_and_no_rows_are_taken() {
        let frames = vec![(0..20).map(|n| [f64::from(n), 0.1, 0.0, 0.0]).collect()];
        assert!(
            linked(&Link::new(1.0), &frames)
                .iter()
                .all(|row| row[4] == 0.0)
        );
        let empty = PointData::new(Array2::zeros((0, 4))).unwrap();
        let out = Link::new(1.0).reduce(vec![empty], &Context::FIRST).unwrap();
        assert_eq!((out.n_rows(), out.columns().len()), (0, 5));
        for bad in [
            Link::new(0.0),
            Link::new(f64::NAN),
            Link::new(1.0).max_gap(-1.0),
        ] {
            assert!(bad.check().is_err());
        }
    }
}
