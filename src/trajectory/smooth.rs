use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};
use crate::statistics::median;

/// A squared normalised distance in three dimensions that one point in a thousand exceeds.
const GATE: f64 = 16.266;
/// The median of squared normalised distances in three dimensions.
const MEDIAN_SQUARE: f64 = 2.366;
/// Fewest innovations that tell how a tracer moves.
const FEWEST: usize = 10;
/// Times that a likelihood starts after: what comes before is a guess from nothing with either model.
const UNJUDGED: usize = 3;
/// Likelihoods are of at most so many points, in pieces spread over the trajectory.
const MOST_JUDGED: usize = 10_000;
const PIECES: usize = 10;
/// Common logarithms of the process noise that are tried, in units of the measurements' noise and the time between them.
const LOWEST: f64 = -16.0;
const HIGHEST: f64 = 4.0;
/// Common logarithm of the largest scale of covariances, and of one over the smallest.
const WIDEST: f64 = 4.0;
const GOLDEN_STEPS: usize = 12;
/// The process noise of trajectories too short to tell, in the same units: points stay about where they are.
const FREE: f64 = 100.0;
/// A derivative's standard deviation before any point, in units of the largest that the trajectory could have.
const UNKNOWN: f64 = 30.0;
/// A velocity whose variance is more than this share of the one before any point is not known.
const KNOWN: f64 = 0.25;
/// A prediction so many times less certain (as a variance) than the measurement says nothing, and costs digits.
const NOTHING: f64 = 1e13;
/// States kept at a time; others are filtered again from checkpoints when the smoother comes to them.
const CHUNK: usize = 256;
/// Rounds of smoothing in which weights of points settle.
const ROUNDS: usize = 4;
/// Weights that change by less than this share have settled.
const SETTLED: f64 = 0.05;
/// A point that counts less than this is an outlier that could spoil what is found about the motion.
const OUTLIER: f64 = 0.5;

const VELOCITIES: [&str; 3] = ["vx", "vy", "vz"];
const COVARIANCES: [&str; 6] = [
    "sigma_xx", "sigma_xy", "sigma_xz", "sigma_yy", "sigma_yz", "sigma_zz",
];

type Vector = [f64; 3];
type Matrix = [[f64; 3]; 3];

/// How a tracer is taken to move between two points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MotionModel {
    /// Whichever of the others predicts a trajectory's points better.
    #[default]
    Automatic,
    /// In straight lines, with white noise for acceleration.
    ConstantVelocity,
    /// On parabolas, with white noise for the derivative of acceleration.
    ConstantAcceleration,
}

/// Smooths each trajectory: the positions and velocities that all of its points together make most likely.
///
/// A Kalman filter runs over the points in the order of time and a Rauch-Tung-Striebel smoother back. Trajectories are
/// the rows with the same `label`, or all rows without such a column. Rows, their order and other columns stay; `x y z` (mm)
/// and the covariances `sigma_xx sigma_xy sigma_xz sigma_yy sigma_yz sigma_zz` (mm²) are replaced, or appended, and so are
/// the velocities `vx vy vz` (mm/ms). Rows with a negative label stay as they are, with velocities of NaN; NaN is also a velocity
/// that is not determined: that of a lone point, say. O(n) time and memory.
///
/// * *Measurements* have the covariances of those columns; a row whose covariance is not finite or not positive definite says
///   nothing and gets the place that the others give. Without the columns, one covariance is taken for all points of a trajectory, as
///   they scatter about the cubics through their neighbours; where they are too few for that, `error² / (3 cluster_size)` on
///   each axis, if there are such columns.
/// * *Samples that overlap* share lines. A run on lines knows how many; of points from elsewhere say so with
///   [`overlap`](Self::overlap). Every line is then weighed once: covariances are
///   multiplied by 1 / (1 - overlap), which is size / (size - overlap) in lines. What is judged by likelihood is judged on points that
///   share no lines.
/// * *Process noise*, unless given, and *the scale of the covariances*, unless given, are those that maximise the likelihood of the
///   innovations (what each point adds to the prediction from the earlier ones), trajectory by trajectory. Too short ones take
///   those of the longest trajectory; if that is too short as well, points stay about where they are.
/// * *Outliers*: a point whose squared normalised distance d² from what the others predict is above the gate (16.27, which one good
///   point in a thousand exceeds) has its covariance multiplied by d² / gate. Its pull thus falls off as one over its distance.
///
/// Stated covariances are honest for motion that is as rough as the model's. Of smoother motion, such as a steady circle, they state
/// some 10 % more than the true deviation.
///
/// Rauch, Tung and Striebel, AIAA Journal 3, 1445 (1965); Bar-Shalom, Li and Kirubarajan, "Estimation with applications to
/// tracking and navigation", Wiley (2001), for the models and the Joseph form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smooth {
    model: MotionModel,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_noise: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    covariance_scale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap: Option<f64>,
    gate: f64,
}

impl Default for Smooth {
    fn default() -> Self {
        Self {
            model: MotionModel::default(),
            process_noise: None,
            covariance_scale: None,
            overlap: None,
            gate: GATE,
        }
    }
}

impl Smooth {
    /// Everything as the data say, of points that share no lines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How tracers move.
    #[must_use]
    pub fn model(self, model: MotionModel) -> Self {
        Self { model, ..self }
    }

    /// Spectral density of the noise that drives the motion: of acceleration (mm²/ms³), or of its derivative (mm²/ms⁵) with constant
    /// acceleration. Needs a model that is not automatic.
    #[must_use]
    pub fn process_noise(self, density: f64) -> Self {
        Self {
            process_noise: Some(density),
            ..self
        }
    }

    /// What covariances of single points are multiplied by; 1 takes them as they are.
    #[must_use]
    pub fn covariance_scale(self, scale: f64) -> Self {
        Self {
            covariance_scale: Some(scale),
            ..self
        }
    }

    /// The share of its lines that a sample has in common with the next one: 0.75 for samples of 400 that overlap by 300. Without it, that
    /// of the samples that the run began with.
    #[must_use]
    pub fn overlap(self, share: f64) -> Self {
        Self {
            overlap: Some(share),
            ..self
        }
    }

    /// The squared normalised distance above which points count less; infinite for never.
    #[must_use]
    pub fn gate(self, gate: f64) -> Self {
        Self { gate, ..self }
    }

    /// How many samples a line is in.
    fn redundancy(&self) -> f64 {
        1.0 / (1.0 - self.overlap.unwrap_or(0.0))
    }

    /// The motion that makes a trajectory's points most likely; none of too few points.
    fn motion_of(&self, points: &[Point]) -> Option<Motion> {
        let judged = Judged::new(points, self.redundancy(), self.gate)?;
        let orders = match self.model {
            MotionModel::Automatic => [Order::Velocity, Order::Acceleration].as_slice(),
            MotionModel::ConstantVelocity => &[Order::Velocity],
            MotionModel::ConstantAcceleration => &[Order::Acceleration],
        };
        orders
            .iter()
            .map(|&order| self.most_likely(&judged, order))
            .min_by(|(a, _), (b, _)| a.total_cmp(b)) // the first of equal ones
            .map(|(_, motion)| motion)
    }

    /// Twice the negative logarithm of the likelihood, and the motion that makes it smallest.
    fn most_likely(&self, judged: &Judged<'_>, order: Order) -> (f64, Motion) {
        let unit = judged.unit.noise(order);
        let motion = |noise: f64, scale: f64| Motion {
            order,
            noise,
            scale,
        };
        match (self.process_noise, self.covariance_scale) {
            (Some(noise), Some(scale)) => {
                let motion = motion(noise, scale);
                (judged.innovations(motion).cost(1.0, self.gate), motion)
            }
            (Some(noise), None) => {
                let motion = |power: f64| motion(noise, power_of_ten(power));
                let cost = |power| judged.innovations(motion(power)).cost(1.0, self.gate);
                let (cost, power) = minimise(cost, -WIDEST, WIDEST);
                (cost, motion(power))
            }
            (None, Some(scale)) => {
                let motion = |power: f64| motion(unit * power_of_ten(power), scale);
                let cost = |power| judged.innovations(motion(power)).cost(1.0, self.gate);
                let (cost, power) = minimise(cost, LOWEST, HIGHEST);
                (cost, motion(power))
            }
            (None, None) => {
                // The best scale for a given share of noise in motion and measurements is known at once, but for the gate.
                let (mut scale, mut found) = (1.0, (f64::INFINITY, motion(unit, 1.0)));
                let mut range = (LOWEST, HIGHEST);
                for _ in 0..ROUNDS {
                    let motion = |power: f64| motion(scale * unit * power_of_ten(power), scale);
                    let cost = |power: f64| {
                        let innovations = judged.innovations(motion(power));
                        innovations.cost(innovations.scale(self.gate), self.gate)
                    };
                    let (cost, power) = minimise(cost, range.0, range.1);
                    let best = motion(power);
                    range = (power - 1.0, power + 1.0);
                    let factor = judged.innovations(best).scale(self.gate);
                    scale *= factor;
                    found = (
                        cost,
                        Motion {
                            noise: best.noise * factor,
                            scale,
                            order,
                        },
                    );
                    if (factor - 1.0).abs() < 0.01 {
                        break;
                    }
                }
                found
            }
        }
    }

    /// A trajectory's points in the order of time, smoothed.
    fn smooth(&self, points: &mut [Point], motion: Option<Motion>) -> Vec<Estimate> {
        let redundancy = self.redundancy();
        let times = times_of(points.iter());
        // Few times determine no acceleration.
        let motion = motion.filter(|motion| motion.order == Order::Velocity || times > 2);
        let Some(unit) = Unit::of(points.iter()) else {
            return points.iter().map(Estimate::unknown).collect();
        };
        let given = match (self.model, self.process_noise) {
            (MotionModel::ConstantAcceleration, Some(noise)) if times > 2 => {
                Some((Order::Acceleration, noise))
            }
            (MotionModel::ConstantVelocity, Some(noise)) => Some((Order::Velocity, noise)),
            _ => None,
        };
        let motion = motion.unwrap_or_else(|| {
            let free = (Order::Velocity, unit.noise(Order::Velocity) * FREE);
            let (order, noise) = given.unwrap_or(free);
            Motion {
                order,
                noise,
                scale: self.covariance_scale.unwrap_or(1.0),
            }
        });
        let scale = motion.scale * redundancy;
        match motion.order {
            Order::Velocity => Kalman::<6>::new(motion.noise, &unit).run(points, scale, self.gate),
            Order::Acceleration => {
                Kalman::<9>::new(motion.noise, &unit).run(points, scale, self.gate)
            }
        }
    }
}

impl Reducer for Smooth {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        let parameter = |name, value: f64, needed| {
            Err(Error::Parameter {
                name,
                value: value.to_string(),
                needed,
            })
        };
        if let Some(noise) = self.process_noise {
            if !(noise >= 0.0 && noise.is_finite()) {
                return parameter("process_noise", noise, "a density that is not negative");
            }
            if self.model == MotionModel::Automatic {
                let needed =
                    "a model, constant-velocity or constant-acceleration, whose noise it is";
                return parameter("process_noise", noise, needed);
            }
        }
        if let Some(scale) = self.covariance_scale
            && !(scale > 0.0 && scale.is_finite())
        {
            return parameter("covariance_scale", scale, "a factor above 0");
        }
        if let Some(overlap) = self.overlap
            && !(0.0..1.0).contains(&overlap)
        {
            let needed = "the share of a sample that the next one has too, 0 or more and below 1";
            return parameter("overlap", overlap, needed);
        }
        if self.gate.is_nan() || self.gate <= 0.0 {
            return parameter("gate", self.gate, "a squared distance above 0");
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, context: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        let this = Self {
            overlap: self.overlap.or(Some(context.overlap)),
            ..self.clone()
        };
        let mut trajectories = trajectories_of(&points, context)?;
        trajectories.par_iter_mut().for_each(|trajectory| {
            if trajectory.iter().all(|point| point.covariance.is_none()) {
                estimate_covariances(trajectory, &points, this.redundancy());
            }
        });
        let found: Vec<(Option<Motion>, Option<Vec<Estimate>>)> = trajectories
            .par_iter_mut()
            .map(|trajectory| {
                let Some(motion) = this.motion_of(trajectory) else {
                    return (None, None);
                };
                let estimates = this.smooth(trajectory, Some(motion));
                if trajectory.iter().all(|point| point.weight >= OUTLIER) {
                    return (Some(motion), Some(estimates));
                }
                // An outlier at the start of a trajectory shows only when all of it is known.
                (this.motion_of(trajectory).or(Some(motion)), None)
            })
            .collect();
        let longest = trajectories
            .iter()
            .zip(&found)
            .filter_map(|(trajectory, (motion, _))| Some((trajectory.len(), (*motion)?)))
            .rev() // the first of equal ones
            .max_by_key(|(n_points, _)| *n_points)
            .map(|(_, motion)| motion);
        let smoothed: Vec<Vec<Estimate>> = trajectories
            .par_iter_mut()
            .zip(found)
            .map(|(trajectory, (motion, estimates))| {
                let motion = motion.or(longest);
                tracing::debug!(points = trajectory.len(), ?motion, "trajectory smoothed");
                estimates.unwrap_or_else(|| this.smooth(trajectory, motion))
            })
            .collect();
        with_estimates(&points, &trajectories, &smoothed)
    }
}

/// A measured point.
#[derive(Clone, Debug)]
struct Point {
    row: usize,
    time: f64,
    position: Vector,
    /// `None` where nothing is known.
    covariance: Option<Matrix>,
    /// What the covariance is divided by, below 1 for an outlier.
    weight: f64,
}

/// A smoothed point.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    position: Vector,
    velocity: Vector,
    covariance: Matrix,
}

impl Estimate {
    /// As it was, where not even its covariance is known.
    fn unknown(point: &Point) -> Self {
        Self {
            position: point.position,
            velocity: [f64::NAN; 3],
            covariance: [[f64::NAN; 3]; 3],
        }
    }
}

/// The points of each trajectory in the order of time, trajectories in the order of their labels.
fn trajectories_of(points: &PointData, context: &Context<'_>) -> Result<Vec<Vec<Point>>> {
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
            covariance: inverse(&covariance).map(|_| covariance),
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
fn with_estimates(
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
fn estimate_covariances(points: &mut [Point], table: &PointData, redundancy: f64) {
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
        let covariance = inverse(&mean).map(|_| mean);
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
            point.covariance = inverse(&covariance).map(|_| covariance);
        }
    }
}

/// So many points on share no lines.
fn stride_of(redundancy: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least one; what is beyond any number of points is cut"
    )]
    let stride = (redundancy - 1e-9).ceil().max(1.0) as usize;
    stride
}

/// Number of different times of points in order.
fn times_of<'a>(points: impl Iterator<Item = &'a Point>) -> usize {
    let mut last = f64::NEG_INFINITY;
    points
        .filter(|point| std::mem::replace(&mut last, point.time) < point.time)
        .count()
}

/// Which derivative of the position is driven by noise: the one after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Velocity,
    Acceleration,
}

/// How a tracer moves, and how good its points are.
#[derive(Clone, Copy, Debug)]
struct Motion {
    order: Order,
    /// Spectral density (mm²/ms³ or mm²/ms⁵).
    noise: f64,
    /// Factor of covariances.
    scale: f64,
}

/// What is usual in a trajectory.
#[derive(Clone, Copy, Debug)]
struct Unit {
    /// Time between points (ms).
    time: f64,
    /// Variance of a coordinate (mm²).
    variance: f64,
    /// The largest speed, on average over such a time, and that of noise (mm/ms).
    speed: f64,
}

impl Unit {
    /// None if no covariance is known.
    fn of<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> Option<Self> {
        let measured = points.filter(|point| point.covariance.is_some());
        let variances = measured.clone().filter_map(|point| point.covariance);
        let variance = median(variances.map(|m| trace(&m) / 3.0).collect());
        let (first, last) = (measured.clone().next()?, measured.clone().last()?);
        let intervals = times_of(measured.clone()).saturating_sub(1).max(1) as f64;
        let time = (last.time - first.time) / intervals;
        let time = if time > 0.0 { time } else { 1.0 }; // no matter: there is one time only
        let mut speed = 0.0_f64;
        let mut later = measured.clone();
        let mut next = later.next();
        for point in measured {
            while let Some(other) = next {
                if other.time - point.time >= time {
                    let step = difference_of(other.position, point.position);
                    speed = speed.max(dot(step, step).sqrt() / (other.time - point.time));
                    break;
                }
                next = later.next();
            }
        }
        Some(Self {
            time,
            variance,
            speed: speed + variance.sqrt() / time,
        })
    }

    /// Process noise that spoils a prediction about as much as a measurement is wrong.
    fn noise(&self, order: Order) -> f64 {
        let cubed = self.time * self.time * self.time;
        match order {
            Order::Velocity => self.variance / cubed,
            Order::Acceleration => self.variance / (cubed * self.time * self.time),
        }
    }
}

/// The points of a trajectory that likelihoods are about.
#[derive(Debug)]
struct Judged<'a> {
    /// Each without points that share lines.
    series: Vec<Vec<&'a Point>>,
    /// Factor of the covariances, where the series are so short that points do share lines.
    redundancy: f64,
    unit: Unit,
    gate: f64,
}

impl<'a> Judged<'a> {
    fn new(points: &'a [Point], redundancy: f64, gate: f64) -> Option<Self> {
        let measured: Vec<&Point> = points
            .iter()
            .filter(|point| point.covariance.is_some())
            .collect();
        let stride = stride_of(redundancy);
        let pieces: Vec<&[&Point]> = if measured.len() > MOST_JUDGED {
            let (length, apart) = (MOST_JUDGED / PIECES, measured.len() / PIECES);
            (0..PIECES)
                .map(|piece| &measured[piece * apart..][..length])
                .collect()
        } else {
            vec![&measured]
        };
        let with_stride = |stride: usize| -> Vec<Vec<&Point>> {
            let series = pieces.iter().flat_map(|piece| {
                (0..stride).map(|first| piece.iter().copied().skip(first).step_by(stride).collect())
            });
            let enough = |series: &Vec<&Point>| times_of(series.iter().copied()) > UNJUDGED;
            series.filter(enough).collect()
        };
        let n_judged = |series: &[Vec<&Point>]| -> usize {
            series.iter().map(|series| series.len() - UNJUDGED).sum()
        };
        let mut judged = Self {
            series: with_stride(stride.min(measured.len().max(1))),
            redundancy: 1.0,
            unit: Unit::of(points.iter())?,
            gate,
        };
        if n_judged(&judged.series) < FEWEST && stride > 1 {
            judged.series = with_stride(1);
            judged.redundancy = redundancy;
        } else {
            judged.unit.time *= stride as f64;
        }
        (n_judged(&judged.series) >= FEWEST).then_some(judged)
    }

    fn innovations(&self, motion: Motion) -> Innovations {
        let mut innovations = Innovations {
            log_determinants: 0.0,
            squares: Vec::new(),
        };
        let scale = motion.scale * self.redundancy;
        for series in &self.series {
            match motion.order {
                Order::Velocity => Kalman::<6>::new(motion.noise, &self.unit).judge(
                    series,
                    scale,
                    self.gate,
                    &mut innovations,
                ),
                Order::Acceleration => Kalman::<9>::new(motion.noise, &self.unit).judge(
                    series,
                    scale,
                    self.gate,
                    &mut innovations,
                ),
            }
        }
        innovations
    }
}

/// What points add to the predictions from earlier ones.
#[derive(Debug)]
struct Innovations {
    /// Of their covariances, summed.
    log_determinants: f64,
    /// Their squared normalised distances.
    squares: Vec<f64>,
}

impl Innovations {
    /// Twice the negative logarithm of their likelihood, if all covariances are multiplied by a factor.
    ///
    /// The density is a Gaussian up to the gate and falls with a power of the distance beyond, just as points there are weighed.
    fn cost(&self, factor: f64, gate: f64) -> f64 {
        let tail = |square: f64| gate * (1.0 + libm::log(square / gate));
        let squares = self.squares.iter().map(|square| square / factor);
        let sum: f64 = squares
            .map(|square| if square > gate { tail(square) } else { square })
            .sum();
        self.log_determinants + 3.0 * self.squares.len() as f64 * libm::log(factor) + sum
    }

    /// The factor that makes the cost smallest.
    fn scale(&self, gate: f64) -> f64 {
        let mut factor = median(self.squares.clone()) / MEDIAN_SQUARE;
        for _ in 0..20 {
            let (mut sum, mut share) = (0.0, 0.0);
            for &square in &self.squares {
                if square > gate * factor {
                    share += 3.0 - gate;
                } else {
                    sum += square;
                    share += 3.0;
                }
            }
            // With so many beyond the gate the median knows better.
            if share < 1.5 * self.squares.len() as f64 {
                break;
            }
            let last = std::mem::replace(&mut factor, sum / share);
            if (factor - last).abs() < 1e-6 * factor {
                break;
            }
        }
        factor.max(f64::MIN_POSITIVE)
    }
}

/// Position, velocity and, with `N = 9`, acceleration, and their covariance.
#[derive(Clone, Copy, Debug)]
struct State<const N: usize> {
    mean: [f64; N],
    covariance: [[f64; N]; N],
}

/// The filter and the smoother, in time and space (mm, ms).
#[derive(Clone, Copy, Debug)]
struct Kalman<const N: usize> {
    noise: f64,
    /// Variances of the derivatives before any point; the position's is not used.
    start: [f64; N],
}

/// What a step of the filter found.
#[derive(Clone, Copy, Debug)]
struct Step<const N: usize> {
    state: State<N>,
    /// Whether it goes on from the point before.
    linked: bool,
    /// By how much the point's covariance was divided.
    weight: f64,
}

/// How much a point counts.
#[derive(Clone, Copy, Debug)]
enum Weight {
    Given(f64),
    /// As its distance from the prediction says.
    Gate(f64),
}

impl<const N: usize> Kalman<N> {
    fn new(noise: f64, unit: &Unit) -> Self {
        let mut start = [0.0; N];
        let mut deviation = UNKNOWN * unit.speed;
        for variances in start[3..].chunks_exact_mut(3) {
            variances.fill(deviation * deviation);
            deviation /= unit.time;
        }
        Self { noise, start }
    }

    /// What is known of a point alone.
    fn begin(&self, position: Vector, covariance: &Matrix) -> State<N> {
        let mut state = State {
            mean: [0.0; N],
            covariance: [[0.0; N]; N],
        };
        state.mean[..3].copy_from_slice(&position);
        for (axis, row) in state.covariance.iter_mut().enumerate() {
            row[axis] = self.start[axis];
        }
        for (row, from) in state.covariance.iter_mut().zip(covariance) {
            row[..3].copy_from_slice(from);
        }
        state
    }

    /// Some time (ms, which may be negative) later, without the noise meanwhile.
    fn moved(mut state: State<N>, time: f64) -> State<N> {
        Self::move_rows(time, &mut state.covariance);
        for row in &mut state.covariance {
            let mut column = row.map(|value| [value]);
            Self::move_rows(time, &mut column);
            *row = column.map(|[value]| value);
        }
        let mut mean = state.mean.map(|value| [value]);
        Self::move_rows(time, &mut mean);
        state.mean = mean.map(|[value]| value);
        state
    }

    /// The transition matrix times others.
    fn move_rows<const COLUMNS: usize>(time: f64, rows: &mut [[f64; COLUMNS]; N]) {
        for row in 0..N - 3 {
            let mut factor = 1.0;
            let mut power = 0.0;
            let mut sum = rows[row];
            for later in (row + 3..N).step_by(3) {
                power += 1.0;
                factor *= time / power;
                for (sum, value) in sum.iter_mut().zip(&rows[later]) {
                    *sum += factor * value;
                }
            }
            rows[row] = sum;
        }
    }

    /// Adds the noise of some time (ms, not negative).
    fn disturb(&self, time: f64, covariance: &mut [[f64; N]; N]) {
        let last = N / 3 - 1;
        let integral = |derivative: usize| -> f64 {
            // Of white noise, integrated down to this derivative: time^n / n!
            (1..=last - derivative).map(|n| time / n as f64).product()
        };
        for a in 0..=last {
            for b in 0..=last {
                let n = (2 * last + 1 - a - b) as f64;
                let value = self.noise * time * integral(a) * integral(b) / n;
                for axis in 0..3 {
                    covariance[3 * a + axis][3 * b + axis] += value;
                }
            }
        }
    }

    fn predict(&self, state: State<N>, time: f64) -> State<N> {
        let mut predicted = Self::moved(state, time);
        self.disturb(time, &mut predicted.covariance);
        predicted
    }

    /// Takes a measurement into account, in Joseph's form; also gives the inverse covariance of the innovation and its logarithmic determinant,
    /// its squared normalised distance, and the weight of the point.
    fn update(
        predicted: &State<N>,
        position: Vector,
        covariance: &Matrix,
        weight: Weight,
    ) -> Option<(State<N>, f64, f64, f64)> {
        let prior: Matrix = position_covariance(predicted);
        let innovation: Vector = std::array::from_fn(|axis| position[axis] - predicted.mean[axis]);
        let (full, log_determinant) = inverse(&sum(&prior, covariance))?;
        let square = quadratic(&full, innovation);
        let weight = match weight {
            Weight::Given(weight) => weight,
            Weight::Gate(gate) if square > gate => gate / square,
            Weight::Gate(_) => 1.0,
        };
        let noise = scaled(covariance, 1.0 / weight);
        let inverted = if weight < 1.0 {
            inverse(&sum(&prior, &noise))?.0
        } else {
            full
        };
        let mut state = *predicted;
        let mut gains = [[0.0; 3]; N];
        for (gain, row) in gains.iter_mut().zip(&predicted.covariance) {
            *gain = product(&inverted, [row[0], row[1], row[2]]);
        }
        for (mean, gain) in state.mean.iter_mut().zip(&gains) {
            *mean += dot(*gain, innovation);
        }
        // A = (1 - K H) P, then A + (K R - A H^T) K^T
        for (row, gain) in state.covariance.iter_mut().zip(&gains) {
            for (column, value) in row.iter_mut().enumerate() {
                *value -= gain[0] * predicted.covariance[0][column]
                    + gain[1] * predicted.covariance[1][column]
                    + gain[2] * predicted.covariance[2][column];
            }
            let mut rest = product(&noise, *gain);
            for (rest, value) in rest.iter_mut().zip(&*row) {
                *rest -= value;
            }
            for (value, gain) in row.iter_mut().zip(&gains) {
                *value += dot(rest, *gain);
            }
        }
        make_symmetric(&mut state.covariance);
        Some((state, log_determinant, square, weight))
    }

    /// Whether a prediction says nothing beside a measurement.
    fn says_nothing(predicted: &State<N>, covariance: &Matrix) -> bool {
        let variance = trace(&position_covariance(predicted));
        variance.is_nan() || variance > NOTHING * trace(covariance)
    }

    /// The innovations of points.
    fn judge(&self, points: &[&Point], scale: f64, gate: f64, innovations: &mut Innovations) {
        let mut last: Option<(f64, State<N>)> = None;
        let mut times = 0;
        for point in points {
            let Some(covariance) = point.covariance else {
                continue;
            };
            let covariance = scaled(&covariance, scale / point.weight);
            if last.is_none_or(|(time, _)| time < point.time) {
                times += 1;
            }
            let predicted = last.map(|(time, state)| self.predict(state, point.time - time));
            let found = predicted
                .filter(|predicted| !Self::says_nothing(predicted, &covariance))
                .and_then(|state| {
                    Self::update(&state, point.position, &covariance, Weight::Gate(gate))
                });
            let state = if let Some((state, log_determinant, square, _)) = found {
                if times > UNJUDGED {
                    innovations.log_determinants += log_determinant;
                    innovations.squares.push(square);
                }
                state
            } else {
                times = 1;
                self.begin(point.position, &covariance)
            };
            last = Some((point.time, state));
        }
    }

    /// One step of the filter; nothing before the first point whose covariance is known.
    fn step(
        &self,
        last: Option<(f64, State<N>)>,
        point: &Point,
        scale: f64,
        weight: Weight,
    ) -> Option<Step<N>> {
        let predicted = last.map(|(time, state)| self.predict(state, point.time - time));
        let Some(covariance) = point.covariance.map(|matrix| scaled(&matrix, scale)) else {
            return predicted.map(|state| Step {
                state,
                linked: true,
                weight: 1.0,
            });
        };
        let linked = predicted
            .filter(|predicted| !Self::says_nothing(predicted, &covariance))
            .and_then(|state| Self::update(&state, point.position, &covariance, weight))
            .map(|(state, _, _, weight)| Step {
                state,
                linked: true,
                weight,
            });
        Some(linked.unwrap_or_else(|| {
            let weight = match weight {
                Weight::Given(weight) => weight,
                Weight::Gate(_) => 1.0,
            };
            Step {
                state: self.begin(point.position, &scaled(&covariance, 1.0 / weight)),
                linked: false,
                weight,
            }
        }))
    }

    /// All points, smoothed, whose weights start as they are and settle.
    fn run(&self, points: &mut [Point], scale: f64, gate: f64) -> Vec<Estimate> {
        let mut weights: Vec<f64> = points.iter().map(|point| point.weight).collect();
        let known = weights.iter().any(|&weight| weight < 1.0);
        let rule = (!known).then_some(gate);
        let mut checkpoints = self.forward(points, scale, &mut weights, rule);
        let mut estimates = Vec::new();
        for round in 0..ROUNDS {
            let (smoothed, new) = self.backward(points, scale, gate, &weights, &checkpoints);
            estimates = smoothed;
            let settled = |(a, b): (&f64, &f64)| (a - b).abs() <= SETTLED * b;
            if round + 1 == ROUNDS || weights.iter().zip(&new).all(settled) {
                break;
            }
            weights = new;
            checkpoints = self.forward(points, scale, &mut weights, None);
        }
        for (point, weight) in points.iter_mut().zip(weights) {
            point.weight = weight;
        }
        estimates
    }

    /// States before each chunk of points. With a gate, weights are as it says.
    fn forward(
        &self,
        points: &[Point],
        scale: f64,
        weights: &mut [f64],
        gate: Option<f64>,
    ) -> Vec<Option<(f64, State<N>)>> {
        let mut checkpoints = Vec::with_capacity(points.len().div_ceil(CHUNK));
        let mut last = None;
        for (n, (point, weight)) in points.iter().zip(weights).enumerate() {
            if n.is_multiple_of(CHUNK) {
                checkpoints.push(last);
            }
            let rule = gate.map_or(Weight::Given(*weight), Weight::Gate);
            if let Some(step) = self.step(last, point, scale, rule) {
                *weight = step.weight;
                last = Some((point.time, step.state));
            }
        }
        checkpoints
    }

    /// Smoothed points, and weights as their distances from what the others say.
    fn backward(
        &self,
        points: &[Point],
        scale: f64,
        gate: f64,
        weights: &[f64],
        checkpoints: &[Option<(f64, State<N>)>],
    ) -> (Vec<Estimate>, Vec<f64>) {
        let mut estimates = Vec::with_capacity(points.len());
        let mut new = vec![1.0; points.len()];
        // The point after: its time, its smoothed state, whether it goes on from this one.
        let mut after: Option<(f64, State<N>, bool)> = None;
        let mut steps = Vec::with_capacity(CHUNK);
        for (chunk, checkpoint) in checkpoints.iter().enumerate().rev() {
            let first = chunk * CHUNK;
            let end = points.len().min(first + CHUNK);
            steps.clear();
            let mut last = *checkpoint;
            for (point, weight) in points[first..end].iter().zip(&weights[first..end]) {
                let step = self.step(last, point, scale, Weight::Given(*weight));
                last = step.map(|step| (point.time, step.state)).or(last);
                steps.push(step);
            }
            for (n, step) in (first..end).zip(&steps).rev() {
                let point = &points[n];
                let state = match (step, after) {
                    (Some(step), Some((time, smoothed, true))) => {
                        self.smoothed(&step.state, &smoothed, time - point.time)
                    }
                    (Some(step), _) => step.state,
                    // Nothing is known before: back from the first point that is.
                    (None, Some((time, smoothed, _))) => self.back(smoothed, time - point.time),
                    (None, None) => {
                        estimates.push(Estimate::unknown(point));
                        continue;
                    }
                };
                if let (Some(step), Some(covariance)) = (step, &point.covariance) {
                    let covariance = scaled(covariance, scale);
                    new[n] = weight_among_others(&state, point, &covariance, step.weight, gate);
                }
                after = Some((point.time, state, step.is_some_and(|step| step.linked)));
                estimates.push(self.estimate(&state));
            }
        }
        estimates.reverse();
        (estimates, new)
    }

    /// A filtered state with what the smoothed state some time later says.
    fn smoothed(&self, state: &State<N>, later: &State<N>, time: f64) -> State<N> {
        let predicted = self.predict(*state, time);
        // G = P F^T (F P F^T + Q)^-1, row by row
        let mut crossed = state.covariance;
        for row in &mut crossed {
            let mut column = row.map(|value| [value]);
            Self::move_rows(time, &mut column);
            *row = column.map(|[value]| value);
        }
        let mut gain = crossed;
        if time > 0.0
            && let Some(factor) = cholesky(&predicted.covariance)
        {
            for row in &mut gain {
                solve(&factor, row);
            }
        } else {
            // As good as no noise: straight back.
            gain = [[0.0; N]; N];
            for (n, row) in gain.iter_mut().enumerate() {
                row[n] = 1.0;
            }
            Self::move_rows(-time, &mut gain);
        }
        let mut out = *state;
        for (value, row) in out.mean.iter_mut().zip(&gain) {
            let pairs = row.iter().zip(later.mean.iter().zip(&predicted.mean));
            *value += pairs.map(|(g, (a, b))| g * (a - b)).sum::<f64>();
        }
        // (1 - G F) P (1 - G F)^T + G (P' + Q) G^T, which stays positive
        let mut kept = [[0.0; N]; N];
        for (row, (kept, gain)) in kept.iter_mut().zip(&gain).enumerate() {
            // Row of G F: move_rows applied from the right.
            for (column, value) in kept.iter_mut().enumerate() {
                let mut factor = 1.0;
                let mut power = 0.0;
                let mut sum = gain[column];
                for earlier in (0..column / 3).rev() {
                    power += 1.0;
                    factor *= time / power;
                    sum += factor * gain[3 * earlier + column % 3];
                }
                *value = f64::from(u8::from(row == column)) - sum;
            }
        }
        let mut noisy = later.covariance;
        self.disturb(time, &mut noisy);
        let (own, from_later) = (sandwich(&kept, &state.covariance), sandwich(&gain, &noisy));
        for (row, (a, b)) in out.covariance.iter_mut().zip(own.iter().zip(&from_later)) {
            for (value, (a, b)) in row.iter_mut().zip(a.iter().zip(b)) {
                *value = a + b;
            }
        }
        make_symmetric(&mut out.covariance);
        out
    }

    /// Some time before a state that nothing is known before.
    fn back(&self, mut state: State<N>, time: f64) -> State<N> {
        self.disturb(time, &mut state.covariance);
        Self::moved(state, -time)
    }

    fn estimate(&self, state: &State<N>) -> Estimate {
        let at = |n: usize| {
            let known = state.covariance[n][n] <= KNOWN * self.start[n];
            if known { state.mean[n] } else { f64::NAN }
        };
        Estimate {
            position: [state.mean[0], state.mean[1], state.mean[2]],
            velocity: [at(3), at(4), at(5)],
            covariance: position_covariance(state),
        }
    }
}

/// The weight of a point with its distance from what the other points say, given what all say with its weight so far.
fn weight_among_others<const N: usize>(
    smoothed: &State<N>,
    point: &Point,
    covariance: &Matrix,
    weight: f64,
    gate: f64,
) -> f64 {
    let noise = scaled(covariance, 1.0 / weight);
    let own = position_covariance(smoothed);
    // Not invertible: the others say nothing.
    let Some((inverted, _)) = inverse(&difference(&noise, &own)) else {
        return 1.0;
    };
    let residual: Vector = std::array::from_fn(|axis| point.position[axis] - smoothed.mean[axis]);
    let distance = product(&noise, product(&inverted, residual));
    let columns = noise.map(|row| product(&noise, product(&inverted, row)));
    let without = sum(&difference(&columns, &noise), covariance);
    let Some((inverted, _)) = inverse(&without) else {
        return 1.0;
    };
    let square = quadratic(&inverted, distance);
    if square > gate { gate / square } else { 1.0 }
}

fn position_covariance<const N: usize>(state: &State<N>) -> Matrix {
    std::array::from_fn(|a| std::array::from_fn(|b| state.covariance[a][b]))
}

fn make_symmetric<const N: usize>(matrix: &mut [[f64; N]; N]) {
    for n in 1..N {
        let (above, rest) = matrix.split_at_mut(n);
        for (value, row) in rest[0].iter_mut().zip(above) {
            let mean = 0.5 * (*value + row[n]);
            (*value, row[n]) = (mean, mean);
        }
    }
}

/// A B A^T
fn sandwich<const N: usize>(a: &[[f64; N]; N], b: &[[f64; N]; N]) -> [[f64; N]; N] {
    let mut half = [[0.0; N]; N];
    for (out, row) in half.iter_mut().zip(a) {
        for (factor, other) in row.iter().zip(b) {
            for (out, value) in out.iter_mut().zip(other) {
                *out += factor * value;
            }
        }
    }
    half.map(|row| std::array::from_fn(|n| row.iter().zip(&a[n]).map(|(a, b)| a * b).sum()))
}

/// The lower triangle L of L L^T; none if the matrix is not positive definite.
fn cholesky<const N: usize>(matrix: &[[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let mut factor = [[0.0; N]; N];
    for row in 0..N {
        for column in 0..=row {
            let products = factor[row][..column].iter().zip(&factor[column][..column]);
            let rest = matrix[row][column] - products.map(|(a, b)| a * b).sum::<f64>();
            factor[row][column] = if row > column {
                rest / factor[column][column]
            } else if rest > 0.0 && rest.is_finite() {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    Some(factor)
}

/// Solves L L^T x = b in place.
fn solve<const N: usize>(factor: &[[f64; N]; N], values: &mut [f64; N]) {
    for n in 0..N {
        let products = factor[n][..n].iter().zip(&values[..n]);
        let rest = values[n] - products.map(|(a, b)| a * b).sum::<f64>();
        values[n] = rest / factor[n][n];
    }
    for n in (0..N).rev() {
        let mut rest = values[n];
        for later in n + 1..N {
            rest -= factor[later][n] * values[later];
        }
        values[n] = rest / factor[n][n];
    }
}

/// The inverse of a symmetric matrix and the logarithm of its determinant; none if it is not positive definite.
fn inverse(matrix: &Matrix) -> Option<(Matrix, f64)> {
    let factor = cholesky(matrix)?;
    let mut inverted = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for row in &mut inverted {
        solve(&factor, row);
    }
    make_symmetric(&mut inverted);
    let log_determinant = 2.0 * libm::log(factor[0][0] * factor[1][1] * factor[2][2]);
    log_determinant
        .is_finite()
        .then_some((inverted, log_determinant))
}

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn difference_of(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|axis| a[axis] - b[axis])
}

fn product(matrix: &Matrix, vector: Vector) -> Vector {
    matrix.map(|row| dot(row, vector))
}

fn quadratic(matrix: &Matrix, vector: Vector) -> f64 {
    dot(vector, product(matrix, vector))
}

fn sum(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|row| std::array::from_fn(|column| a[row][column] + b[row][column]))
}

fn difference(a: &Matrix, b: &Matrix) -> Matrix {
    sum(a, &scaled(b, -1.0))
}

fn scaled(matrix: &Matrix, factor: f64) -> Matrix {
    matrix.map(|row| row.map(|value| value * factor))
}

fn trace(matrix: &Matrix) -> f64 {
    matrix[0][0] + matrix[1][1] + matrix[2][2]
}

fn power_of_ten(power: f64) -> f64 {
    libm::pow(10.0, power)
}

/// The least cost between two places, and where it is: steps of about 2, then the golden section around the best of them.
fn minimise(cost: impl Fn(f64) -> f64 + Sync, from: f64, to: f64) -> (f64, f64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few steps"
    )]
    let steps = (0.5 * (to - from)).round().max(1.0) as u32;
    let step = (to - from) / f64::from(steps);
    let at = |place: f64| {
        let cost = cost(place);
        (if cost.is_nan() { f64::INFINITY } else { cost }, place)
    };
    let better = |a: (f64, f64), b: (f64, f64)| if b.0 < a.0 { b } else { a }; // the first of equal ones
    let mut best = (f64::INFINITY, 0.5 * (from + to));
    if steps > 1 {
        let places: Vec<(f64, f64)> = (0..=steps)
            .into_par_iter()
            .map(|n| at(from + step * f64::from(n)))
            .collect();
        best = places.into_iter().fold(best, better);
    }
    let ratio = 0.5 * (5_f64.sqrt() - 1.0);
    let (mut low, mut high) = ((best.1 - step).max(from), (best.1 + step).min(to));
    let mut inner = [high - ratio * (high - low), low + ratio * (high - low)].map(at);
    for _ in 0..GOLDEN_STEPS {
        if inner[0].0 <= inner[1].0 {
            high = inner[1].1;
            inner = [at(high - ratio * (high - low)), inner[0]];
        } else {
            low = inner[0].1;
            inner = [inner[1], at(low + ratio * (high - low))];
        }
    }
    inner.into_iter().fold(best, better)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    use super::*;

    const SPEED: f64 = 0.0044; // rad/ms, 42 rpm
    const RADIUS: f64 = 86.0;

    fn circle(time: f64) -> Vector {
        let (sin, cos) = (SPEED * time).sin_cos();
        [
            250.0 + RADIUS * cos,
            240.0 + RADIUS * sin,
            350.0 + 5.0 * sin,
        ]
    }

    fn normal(rng: &mut Pcg64) -> Vector {
        std::array::from_fn(|_| StandardNormal.sample(rng))
    }

    /// Like the covariances of points between two planes: 0.4 mm, 0.4 mm and 1.2 mm, some better than others.
    fn factor(n: usize) -> Matrix {
        let size = 1.0 + 0.5 * (n as f64).sin();
        [[0.4, 0.0, 0.0], [0.1, 0.4, 0.0], [0.2, -0.1, 1.2]].map(|row| row.map(|v| v * size))
    }

    fn row(time: f64, position: Vector, factor: &Matrix) -> Vec<f64> {
        let covariance: Matrix = factor.map(|a| factor.map(|b| dot(a, b)));
        let [[xx, xy, xz], [_, yy, yz], [_, _, zz]] = covariance;
        let [x, y, z] = position;
        vec![time, x, y, z, xx, xy, xz, yy, yz, zz]
    }

    fn noisy(time: f64, place: Vector, factor: &Matrix, rng: &mut Pcg64) -> Vec<f64> {
        row(time, sum_of(place, product(factor, normal(rng))), factor)
    }

    fn sum_of(a: Vector, b: Vector) -> Vector {
        std::array::from_fn(|axis| a[axis] + b[axis])
    }

    fn table(rows: &[Vec<f64>], extra: &[&str]) -> PointData {
        let values: Vec<f64> = rows.concat();
        let names: Vec<&str> = COVARIANCES.iter().chain(extra).copied().collect();
        let rows = Array2::from_shape_vec((rows.len(), 4 + names.len()), values).unwrap();
        PointData::with_columns(rows, &names).unwrap()
    }

    fn smooth(step: &Smooth, points: PointData) -> Vec<Estimate> {
        step.check().unwrap();
        estimates(&step.reduce(vec![points], &Context::FIRST).unwrap())
    }

    fn estimates(points: &PointData) -> Vec<Estimate> {
        let column = |name: &str| points.column(points.column_index(name).unwrap());
        let velocities = VELOCITIES.map(column);
        let [xx, xy, xz, yy, yz, zz] = COVARIANCES.map(column);
        let positions = points.positions().into_iter().enumerate();
        positions
            .map(|(n, position)| Estimate {
                position,
                velocity: [velocities[0][n], velocities[1][n], velocities[2][n]],
                covariance: [
                    [xx[n], xy[n], xz[n]],
                    [xy[n], yy[n], yz[n]],
                    [xz[n], yz[n], zz[n]],
                ],
            })
            .collect()
    }

    fn distance(a: Vector, b: Vector) -> f64 {
        let d = difference_of(a, b);
        dot(d, d).sqrt()
    }

    /// The mean of squared normalised errors, which is 3 for honest covariances.
    fn normalised(estimates: &[Estimate], truth: &[Vector]) -> f64 {
        let errors = estimates.iter().zip(truth).map(|(estimate, &truth)| {
            let (inverted, _) = inverse(&estimate.covariance).unwrap();
            quadratic(&inverted, difference_of(estimate.position, truth))
        });
        errors.sum::<f64>() / truth.len() as f64
    }

    /// Uneven times.
    fn times(n: usize) -> Vec<f64> {
        let step = |n: usize| 2.0 + 1.5 * ((n * n) as f64).sin();
        let mut time = 7e6;
        let all = (0..n).map(|n| {
            time += step(n);
            time
        });
        all.collect()
    }

    #[test]
    fn covariances_are_honest() {
        // Driven by noise in acceleration, or in its derivative.
        for (seed, derivative, size) in [(1, 1, 0.02), (2, 2, 1e-4)] {
            let mut rng = Pcg64::seed_from_u64(seed);
            let times = times(4000);
            let mut derivatives = [[0.0; 3]; 3];
            let mut truth = vec![derivatives[0]];
            for pair in times.windows(2) {
                for _ in 0..4 {
                    let step = 0.25 * (pair[1] - pair[0]);
                    for n in 0..2 {
                        let rate = derivatives[n + 1].map(|value| step * value);
                        derivatives[n] = sum_of(derivatives[n], rate);
                    }
                    let noise = normal(&mut rng).map(|value| value * size * step.sqrt());
                    derivatives[derivative] = sum_of(derivatives[derivative], noise);
                }
                truth.push(derivatives[0]);
            }
            // Covariances that are wrong by a factor are put right.
            let mut rows = Vec::new();
            for (n, (&time, &place)) in times.iter().zip(&truth).enumerate() {
                let mut row = noisy(time, place, &factor(n), &mut rng);
                row[4..].iter_mut().for_each(|value| *value /= 3.0);
                rows.push(row);
            }
            let out = smooth(&Smooth::new(), table(&rows, &[]));
            let nees = normalised(&out, &truth);
            assert!((nees - 3.0).abs() < 0.3, "{seed}: {nees}");
        }
    }

    #[test]
    fn covariances_of_tracers_at_rest_are_honest() {
        let mut rng = Pcg64::seed_from_u64(1);
        let rows: Vec<Vec<f64>> = (0..4000)
            .map(|n| {
                let row = noisy(f64::from(n), [1.0, 2.0, 3.0], &factor(n as usize), &mut rng);
                [row, vec![f64::from(n / 40)]].concat()
            })
            .collect();
        let out = smooth(&Smooth::new(), table(&rows, &["label"]));
        let nees = normalised(&out, &vec![[1.0, 2.0, 3.0]; 4000]);
        assert!((nees - 3.0).abs() < 0.5, "{nees}");
    }

    #[test]
    fn a_circle_stays_one() {
        let mut rng = Pcg64::seed_from_u64(1);
        let times = times(3000);
        let truth: Vec<Vector> = times.iter().map(|&t| circle(t)).collect();
        let rows: Vec<Vec<f64>> = (0..3000)
            .map(|n| noisy(times[n], truth[n], &factor(n), &mut rng))
            .collect();
        for model in [
            MotionModel::ConstantVelocity,
            MotionModel::ConstantAcceleration,
        ] {
            let out = smooth(&Smooth::new().model(model), table(&rows, &[]));
            let mean = |value: &dyn Fn(usize) -> f64| (0..3000).map(value).sum::<f64>() / 3000.0;
            let radius = |n: usize| {
                let [x, y, _] = out[n].position;
                (x - 250.0).hypot(y - 240.0)
            };
            assert!((mean(&radius) - RADIUS).abs() < 0.03, "{model:?}");
            let square = |n: usize| {
                let error = difference_of(out[n].position, truth[n]);
                dot(error, error)
            };
            let rms = mean(&square).sqrt();
            assert!(rms < 0.4, "{model:?} {rms}"); // 1.5 mm before
            let speed = dot(out[1500].velocity, out[1500].velocity).sqrt();
            assert!((speed - SPEED * RADIUS).abs() < 0.03, "{speed}");
            // A motion smoother than the model's is known better than it says, never worse.
            let nees = normalised(&out, &truth);
            assert!((2.0..3.3).contains(&nees), "{model:?} {nees}");
        }
    }

    #[test]
    fn lines_of_overlapping_samples_count_once() {
        // Each point is the mean of four parts that it shares with its neighbours.
        let mut rng = Pcg64::seed_from_u64(2);
        let parts: Vec<Vector> = (0..8003).map(|_| normal(&mut rng)).collect();
        let times = times(8000);
        let truth: Vec<Vector> = times.iter().map(|&t| circle(t)).collect();
        let matrix = factor(0);
        let rows: Vec<Vec<f64>> = (0..8000)
            .map(|n| {
                let mean = parts[n..n + 4]
                    .iter()
                    .fold([0.0; 3], |a, b| sum_of(a, b.map(|v| 0.5 * v)));
                row(times[n], sum_of(truth[n], product(&matrix, mean)), &matrix)
            })
            .collect();
        let nees = |step: &Smooth| normalised(&smooth(step, table(&rows, &[])), &truth);
        let aware = nees(&Smooth::new().overlap(0.75));
        assert!((aware - 3.0).abs() < 0.4, "{aware}");
        let unaware = nees(&Smooth::new());
        assert!(unaware > 6.0, "{unaware}");
    }

    #[test]
    fn one_bad_point_bends_nothing_and_gaps_are_bridged() {
        let mut rng = Pcg64::seed_from_u64(3);
        let times: Vec<f64> = times(600)
            .into_iter()
            .filter(|t| !(7e6 + 500.0..7e6 + 560.0).contains(t))
            .collect();
        let mut rows: Vec<Vec<f64>> = times
            .iter()
            .enumerate()
            .map(|(n, &t)| noisy(t, circle(t), &factor(n), &mut rng))
            .collect();
        let good = smooth(&Smooth::new(), table(&rows, &[]));
        rows[100][2] += 60.0;
        rows[0][1] -= 30.0;
        let bad = smooth(&Smooth::new(), table(&rows, &[]));
        for (n, (a, b)) in good.iter().zip(&bad).enumerate() {
            let allowed = if n < 40 { 1.0 } else { 0.15 };
            assert!(
                distance(a.position, b.position) < allowed,
                "{n} {}",
                distance(a.position, b.position)
            );
            assert!(distance(b.position, circle(times[n])) < 2.0, "{n}");
        }
        let bent = smooth(&Smooth::new().gate(f64::INFINITY), table(&rows, &[]));
        assert!(distance(bent[100].position, circle(times[100])) > 2.0);
    }

    #[test]
    fn a_point_that_says_nothing_gets_the_place_that_the_others_give() {
        let mut rng = Pcg64::seed_from_u64(4);
        let times = times(400);
        let mut rows: Vec<Vec<f64>> = times
            .iter()
            .map(|&t| noisy(t, circle(t), &factor(1), &mut rng))
            .collect();
        for n in [0, 1, 200, 399] {
            rows[n][1] += 500.0;
            rows[n][4] = f64::NAN;
        }
        rows[300][4..].fill(0.0);
        // Known along one direction only, as good as perfectly along another.
        rows[50][4..].copy_from_slice(&[1e-12, 0.0, 0.0, 1e12, 0.0, 1.0]);
        let out = smooth(&Smooth::new(), table(&rows, &[]));
        for (estimate, &time) in out.iter().zip(&times) {
            assert!(distance(estimate.position, circle(time)) < 2.0);
        }
        assert!(out[0].covariance[0][0] > out[2].covariance[0][0]);
    }

    #[test]
    fn equal_times_and_few_points_are_legal() {
        let close = |a: Vector, b: Vector| distance(a, b) < 1e-3;
        let at = |time: f64, x: f64| row(time, [x, 2.0, 3.0], &factor(0));
        let step = Smooth::new();
        let one = smooth(&step, table(&[at(5.0, 1.0)], &[]));
        assert!(close(one[0].position, [1.0, 2.0, 3.0]) && one[0].velocity[0].is_nan());
        assert!((one[0].covariance[0][0] - 0.16).abs() < 1e-6);

        let two = smooth(&step, table(&[at(7.0, 5.0), at(5.0, 1.0)], &[]));
        assert!(close(two[1].position, [1.0, 2.0, 3.0]));
        assert!(distance(two[0].velocity, [2.0, 0.0, 0.0]) < 1e-3, "{two:?}");

        let same = smooth(&step, table(&[at(5.0, 1.0), at(5.0, 3.0)], &[]));
        assert!(
            close(same[0].position, [2.0, 2.0, 3.0]) && close(same[1].position, [2.0, 2.0, 3.0])
        );
        assert!(same[0].velocity[1].is_nan() && (same[1].covariance[0][0] - 0.08).abs() < 1e-9);
        assert!(smooth(&step, table(&[], &[])).is_empty());

        // Many, in pairs of equal times, at rest.
        let mut rng = Pcg64::seed_from_u64(5);
        let rows: Vec<Vec<f64>> = (0..500)
            .map(|n| noisy(f64::from(n / 2), [1.0, 2.0, 3.0], &factor(0), &mut rng))
            .collect();
        let out = smooth(&step, table(&rows, &[]));
        for estimate in &out {
            assert!(distance(estimate.position, [1.0, 2.0, 3.0]) < 0.5);
            assert!(distance(estimate.velocity, [0.0; 3]) < 0.02);
        }
    }

    #[test]
    fn trajectories_are_smoothed_apart_and_noise_stays() {
        let mut rng = Pcg64::seed_from_u64(6);
        let mut rows = Vec::new();
        for n in 0..300 {
            let time = f64::from(n);
            for (label, x) in [(0.0, 0.0), (1.0, 40.0), (-1.0, -70.0)] {
                let mut row = noisy(time, [x, 0.1 * time, 0.0], &factor(0), &mut rng);
                row.push(label);
                rows.push(row);
            }
        }
        rows.push([row(50.0, [9.0, 9.0, 9.0], &factor(0)), vec![5.0]].concat()); // alone
        rows.swap(0, 500); // any order
        let points = table(&rows, &["label"]);
        let reduce = || {
            Smooth::new()
                .reduce(vec![points.clone()], &Context::FIRST)
                .unwrap()
        };
        let out = reduce();
        assert_eq!(out.columns()[4..10], COVARIANCES);
        assert_eq!(out.columns()[10..], ["label", "vx", "vy", "vz"]);
        let labels = points.column(10);
        assert_eq!(out.column(10), labels);
        for (n, estimate) in estimates(&out).iter().enumerate() {
            if labels[n] < 0.0 {
                assert_eq!(estimate.position, points.positions()[n]);
                assert!(estimate.velocity[0].is_nan() && estimate.covariance[0][0] > 0.0);
            } else if labels[n] < 2.0 {
                let time = points.column(0)[n];
                assert!(distance(estimate.position, [40.0 * labels[n], 0.1 * time, 0.0]) < 1.0);
            } else {
                assert!(distance(estimate.position, [9.0; 3]) < 1e-9);
            }
        }
        let alone = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let bits = |points: &PointData| -> Vec<u64> {
            points
                .values()
                .iter()
                .map(|value| value.to_bits())
                .collect()
        };
        assert_eq!(bits(&alone.install(reduce)), bits(&out));
    }

    #[test]
    fn points_without_covariances_get_one_from_their_scatter() {
        let mut rng = Pcg64::seed_from_u64(7);
        let times = times(3000);
        let truth: Vec<Vector> = times.iter().map(|&t| circle(t)).collect();
        let rows: Vec<f64> = times
            .iter()
            .zip(&truth)
            .flat_map(|(&t, &place)| noisy(t, place, &factor(0), &mut rng)[..4].to_vec())
            .collect();
        let points = PointData::new(Array2::from_shape_vec((3000, 4), rows).unwrap()).unwrap();
        let out = smooth(&Smooth::new(), points.clone());
        let nees = normalised(&out, &truth);
        assert!((nees - 3.0).abs() < 0.5, "{nees}");
        // Too few: from `error` and `cluster_size`, or nothing.
        let few = points.slice_rows(..3).unwrap();
        let out = smooth(&Smooth::new(), few.clone());
        assert!(out[1].covariance[0][0].is_nan() && out[1].position == few.positions()[1]);
        let few = few
            .with_column("error", &[6.0; 3])
            .with_column("cluster_size", &[12.0; 3]);
        let out = smooth(&Smooth::new(), few.clone());
        assert!((out[1].covariance[0][0] - 1.0).abs() < 0.2, "{out:?}");
        assert!(distance(out[1].position, few.positions()[1]) < 0.5);
    }

    #[test]
    fn long_trajectories_agree_with_short_ones_and_values_must_be_finite() {
        // Longer than the likelihood looks at, and than the states that are kept.
        let mut rng = Pcg64::seed_from_u64(8);
        let rows: Vec<Vec<f64>> = (0..25_000)
            .map(|n| noisy(f64::from(n), circle(f64::from(n)), &factor(0), &mut rng))
            .collect();
        let step = Smooth::new()
            .model(MotionModel::ConstantAcceleration)
            .process_noise(2e-9)
            .covariance_scale(1.0);
        let long = smooth(&step, table(&rows, &[]));
        let short = smooth(&step, table(&rows[10_000..11_000], &[]));
        assert!(distance(long[10_500].position, short[500].position) < 1e-3);
        assert!(smooth(&Smooth::new(), table(&rows, &[])).len() == 25_000);

        let mut rows = rows[..2].to_vec();
        rows[1][0] = f64::NAN;
        let out = step.reduce(vec![table(&rows, &[])], &Context::FIRST);
        assert!(matches!(out, Err(Error::NotFinite { row: 1, .. })));
    }

    #[test]
    fn senseless_parameters_are_errors() {
        let velocity = Smooth::new().model(MotionModel::ConstantVelocity);
        assert!(velocity.clone().process_noise(0.0).check().is_ok());
        for step in [
            velocity.process_noise(-1.0),
            Smooth::new().process_noise(1.0),
            Smooth::new().covariance_scale(0.0),
            Smooth::new().overlap(1.0),
            Smooth::new().overlap(-0.1),
            Smooth::new().overlap(f64::NAN),
            Smooth::new().gate(f64::NAN),
        ] {
            assert!(
                matches!(step.check(), Err(Error::Parameter { .. })),
                "{step:?}"
            );
        }
    }
}
