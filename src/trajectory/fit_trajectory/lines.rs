//! The lines of the recording and the trajectories that other steps found.

use std::ops::Range;

use super::BLOCK;
use crate::data::{LineData, PointData};
use crate::error::{Error, Result};
use crate::linear_algebra::{Symmetric, Vector, difference, dot, projection};

/// Lines that are looked at to compare knot spacings: so many stretches of so many.
const STRETCHES: usize = 4;
const STRETCH: usize = 65_536;

/// A line of response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ray {
    pub(super) time: f64,
    point: Vector,
    pub(super) direction: Vector,
}

impl Ray {
    /// From the line to a place, perpendicular to the line.
    pub(super) fn offset(&self, place: Vector) -> Vector {
        let from = difference(place, self.point);
        let along = dot(from, self.direction);
        difference(from, self.direction.map(|u| along * u))
    }

    /// The projection onto the plane perpendicular to the line.
    pub(super) fn projection(&self) -> Symmetric {
        projection(self.direction)
    }
}

/// Lines in the order of time, without those that have no length.
pub(super) fn rays_of(lines: &LineData) -> Result<Vec<Ray>> {
    let mut rays = Vec::with_capacity(lines.n_rows());
    for (row, values) in lines.line_slice().rows().enumerate() {
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::NotFinite { sample: 0, row });
        }
        let &[time, x1, y1, z1, x2, y2, z2] = values;
        let [dx, dy, dz] = [x2 - x1, y2 - y1, z2 - z1];
        let length = (dx * dx + dy * dy + dz * dz).sqrt();
        if length > 0.0 && length.is_finite() {
            rays.push(Ray {
                time,
                point: [x1, y1, z1],
                direction: [dx / length, dy / length, dz / length],
            });
        }
    }
    rays.sort_by(|a, b| a.time.total_cmp(&b.time)); // stable
    Ok(rays)
}

/// A trajectory as another step found it.
#[derive(Clone, Debug)]
pub(super) struct Tracer {
    pub(super) label: f64,
    /// Times and positions, in the order of time.
    pub(super) points: Vec<(f64, Vector)>,
}

pub(super) fn tracers_of(points: &PointData) -> Result<Vec<Tracer>> {
    let label = points.column_index("label");
    let mut labelled = Vec::with_capacity(points.n_rows());
    let rows = points.values().chunks_exact(points.columns().len());
    for (row, values) in rows.enumerate() {
        let label = label.map_or(0.0, |column| values[column]);
        if label.is_nan() || label < 0.0 {
            continue;
        }
        if values[..4].iter().any(|value| !value.is_finite()) {
            return Err(Error::NotFinite { sample: 0, row });
        }
        let position = [values[1], values[2], values[3]];
        labelled.push((label + 0.0, values[0], position)); // -0 becomes 0
    }
    labelled.sort_by(|(a, t, _), (b, u, _)| a.total_cmp(b).then(t.total_cmp(u))); // stable
    Ok(labelled
        .chunk_by(|(a, ..), (b, ..)| a.total_cmp(b).is_eq())
        .map(|chunk| Tracer {
            label: chunk[0].0,
            points: chunk
                .iter()
                .map(|&(_, time, place)| (time, place))
                .collect(),
        })
        .collect())
}

/// A few stretches of a long recording, spread over it.
pub(super) fn stretches(rays: &[Ray], tracers: &[Tracer]) -> (Vec<Ray>, Vec<Tracer>) {
    if rays.len() <= STRETCHES * STRETCH {
        return (rays.to_vec(), tracers.to_vec());
    }
    let (apart, mut some, mut cut) = (rays.len() / STRETCHES, Vec::new(), Vec::new());
    for stretch in 0..STRETCHES {
        let stretch = &rays[stretch * apart..][..STRETCH];
        some.extend_from_slice(stretch);
        let (first, last) = (stretch[0].time, stretch[STRETCH - 1].time);
        for tracer in tracers {
            let points = &tracer.points;
            let from = points.partition_point(|&(time, _)| time < first);
            let to = points.partition_point(|&(time, _)| time <= last);
            if from < to {
                cut.push(Tracer {
                    label: tracer.label,
                    points: points[from..to].to_vec(),
                });
            }
        }
    }
    (some, cut)
}

/// Lines from one time to another.
pub(super) fn within(rays: &[Ray], start: f64, end: f64) -> Range<usize> {
    let first = rays.partition_point(|ray| ray.time < start);
    first..first.max(rays.partition_point(|ray| ray.time <= end))
}

/// The blocks that some lines are in.
pub(super) fn blocks(rays: &Range<usize>) -> Range<usize> {
    if rays.is_empty() {
        return 0..0;
    }
    rays.start / BLOCK..(rays.end - 1) / BLOCK + 1
}
