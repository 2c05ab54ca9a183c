//! The points of each trajectory, from a table and back into it.

use super::FEWEST;
use crate::data::{PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::linear_algebra::{Matrix, Vector, inverse};
use crate::pipeline::Context;
use crate::statistics::median;

pub(super) const VELOCITIES: [&str; 3] = ["vx", "vy", "vz"];
pub(super) const COVARIANCES: [&str; 6] = [
    "sigma_xx", "sigma_xy", "sigma_xz", "sigma_yy", "sigma_yz", "sigma_zz",
];

/// A measured point.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) row: usize,
    pub(super) time: f64,
    pub(super) position: Vector,
    /// `None` where nothing is known.
    pub(super) covariance: Option<Matrix>,
    /// What the covariance is divided by, below 1 for an outlier.
    pub(super) weight: f64,
}

/// A smoothed point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) position: Vector,
    pub(super) velocity: Vector,
    pub(super) covariance: Matrix,
}

impl Estimate {
    /// As it was, where not even its covariance is known.
    pub(super) fn unknown(point: &Point) -> Self {
        Self {
            position: point.position,
            velocity: [f64::NAN; 3],
            covariance: [[f64::NAN; 3]; 3],
        }
    }
}

/// The points of each trajectory in the order of time, trajectories in the order of their labels.
pub(super) fn trajectories_of(
    points: &PointData,
    context: &Context<'_>,
) -> Result<Vec<Vec<Point>>> {
    let n_columns = points.columns().len();
    let label = points.column_index("label");
    let covariances = COVARIANCES.map(|name| points.column_index(name));
    let rows = points.values().chunks_exact(n_columns).enumerate();
    let mut labelled = Vec::with_capacity(points.n_rows());
    for (number, row) in rows {
        let label = label.map_or(0.0, |column| row[column]);
        if label.is_nan() || label < 0.0 {
            continue;
        }
        if row[..4].iter().any(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                sample: context.sample,
                row: number,
            });
        }
        let [xx, xy, xz, yy, yz, zz] =
            covariances.map(|column| column.map_or(f64::NAN, |column| row[column]));
        let covariance = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]];
        let point = Point {
            row: number,
            time: row[0],
            position: [row[1], row[2], row[3]],
            covariance: inverse(&covariance, 0.0).map(|_| covariance),
            weight: 1.0,
        };
        labelled.push((label + 0.0, point)); // -0 becomes 0
    }
    labelled.sort_by(|(a, p), (b, q)| a.total_cmp(b).then(p.time.total_cmp(&q.time))); // stable
    let (mut trajectories, mut last): (Vec<Vec<Point>>, f64) = (Vec::new(), -1.0);
    for (label, point) in labelled {
        match trajectories.last_mut() {
            Some(trajectory) if label <= last => trajectory.push(point),
            _ => trajectories.push(vec![point]),
        }
        last = label;
    }
    Ok(trajectories)
}

/// The table with what was found; its rows and samples stay.
pub(super) fn with_estimates(
    points: &PointData,
    trajectories: &[Vec<Point>],
    smoothed: &[Vec<Estimate>],
) -> Result<PointData> {
    let mut extra: Vec<&str> = points.columns()[4..].iter().map(String::as_str).collect();
    for name in VELOCITIES.into_iter().chain(COVARIANCES) {
        if !extra.contains(&name) {
            extra.push(name);
        }
    }
    let place = |name: &&str| 4 + extra.iter().position(|column| column == name).unwrap_or(0);
    let velocities = VELOCITIES.map(|name| place(&name));
    let covariances = COVARIANCES.map(|name| place(&name));
    let (n_before, n_columns) = (points.columns().len(), 4 + extra.len());
    let mut values = Vec::with_capacity(points.n_rows() * n_columns);
    for row in points.values().chunks_exact(n_before) {
        let start = values.len();
        values.extend_from_slice(row);
        values.resize(start + n_columns, f64::NAN);
        for column in velocities {
            values[start + column] = f64::NAN;
        }
    }
    for (trajectory, estimates) in trajectories.iter().zip(smoothed) {
        for (point, estimate) in trajectory.iter().zip(estimates) {
            let row = &mut values[point.row * n_columns..][..n_columns];
            row[1..4].copy_from_slice(&estimate.position);
            for (column, velocity) in velocities.into_iter().zip(estimate.velocity) {
                row[column] = velocity;
            }
            let [[xx, xy, xz], [_, yy, yz], [_, _, zz]] = estimate.covariance;
            for (column, value) in covariances.into_iter().zip([xx, xy, xz, yy, yz, zz]) {
                row[column] = value;
            }
        }
    }
    PointData::with_columns(array_of_rows(values, n_columns), &extra)?
        .with_attributes(points.attributes().clone())
        .with_sampling(points.sampling().clone())
}

/// Gives points without covariances one: the mean of how they differ from the cubics through two neighbours on each side
/// with which they share no lines.
pub(super) fn estimate_covariances(points: &mut [Point], table: &PointData, redundancy: f64) {
    let stride = stride_of(redundancy);
    let mut residuals = Vec::new();
    for middle in 2 * stride..points.len().saturating_sub(2 * stride) {
        let neighbours = [
            &points[middle - 2 * stride],
            &points[middle - stride],
            &points[middle + stride],
            &points[middle + 2 * stride],
        ];
        let mut factors = [1.0; 4];
        for (n, factor) in factors.iter_mut().enumerate() {
            let others = neighbours.iter().enumerate().filter(|&(m, _)| m != n);
            for (_, other) in others {
                *factor *= (points[middle].time - other.time) / (neighbours[n].time - other.time);
            }
        }
        let variance = 1.0 + factors.iter().map(|factor| factor * factor).sum::<f64>();
        if variance < 10.0 {
            let residual: Vector = std::array::from_fn(|axis| {
                let others = neighbours.iter().zip(factors);
                let cubic: f64 = others
                    .map(|(point, factor)| factor * point.position[axis])
                    .sum();
                (points[middle].position[axis] - cubic) / variance.sqrt()
            });
            residuals.push(residual);
        }
    }
    if residuals.len() >= FEWEST {
        let limits: Vector = std::array::from_fn(|axis| {
            5.2 * median(
                residuals
                    .iter()
                    .map(|residual| residual[axis].abs())
                    .collect(),
            ) // 3.5 standard deviations
        });
        residuals.retain(|residual| {
            residual
                .iter()
                .zip(limits)
                .all(|(r, limit)| r.abs() <= limit)
        });
        let n = residuals.len() as f64;
        let mean: Matrix = std::array::from_fn(|a| {
            std::array::from_fn(|b| residuals.iter().map(|r| r[a] * r[b]).sum::<f64>() / n)
        });
        let covariance = inverse(&mean, 0.0).map(|_| mean);
        for point in points.iter_mut() {
            point.covariance = covariance;
        }
    } else if let (Some(error), Some(size)) = (
        table.column_index("error"),
        table.column_index("cluster_size"),
    ) {
        let (values, n_columns) = (table.values(), table.columns().len());
        for point in points.iter_mut() {
            let row = &values[point.row * n_columns..][..n_columns];
            let variance = row[error] * row[error] / (3.0 * row[size]);
            let mut covariance = [[0.0; 3]; 3];
            for (axis, row) in covariance.iter_mut().enumerate() {
                row[axis] = variance;
            }
            point.covariance = inverse(&covariance, 0.0).map(|_| covariance);
        }
    }
}

/// So many points on share no lines.
pub(super) fn stride_of(redundancy: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least one; what is beyond any number of points is cut"
    )]
    let stride = (redundancy - 1e-9).ceil().max(1.0) as usize;
    stride
}

/// Number of different times of points in order.
pub(super) fn times_of<'a>(points: impl Iterator<Item = &'a Point>) -> usize {
    let mut last = f64::NEG_INFINITY;
    points
        .filter(|point| std::mem::replace(&mut last, point.time) < point.time)
        .count()
}
