mod kalman;
mod likelihood;
mod points;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::linear_algebra::{
    IDENTITY, Matrix, Vector, added, difference, eigen, outer, scaled, trace,
};
use crate::pipeline::{Context, Reducer};
use kalman::Kalman;
use likelihood::{Judged, Motion, Order, Unit, minimise, power_of_ten};
use points::{Estimate, Point, estimate_covariances, times_of, trajectories_of, with_estimates};

/// A squared normalised distance in three dimensions that one point in a thousand exceeds.
const GATE: f64 = 16.266;

/// Fewest innovations that tell how a tracer moves.
const FEWEST: usize = 10;

/// Times that a likelihood starts after: what comes before is a guess from nothing with either model.
const UNJUDGED: usize = 3;

/// Common logarithms of the process noise that are tried, in units of the measurements' noise and the time between them.
const LOWEST: f64 = -16.0;
const HIGHEST: f64 = 4.0;

/// Common logarithm of the largest scale of covariances, and of one over the smallest.
const WIDEST: f64 = 4.0;

/// The process noise of trajectories too short to tell, in the same units: points stay about where they are.
const FREE: f64 = 100.0;

/// Common logarithms of the process noise along an axis that are tried, in units of that of all axes, and rounds over the axes.
const LEAST_ROUGH: f64 = -4.0; // lower, and errors of the axes would show
const MOST_ROUGH: f64 = 2.0;
const DIRECTION_ROUNDS: usize = 2;

/// Twice what the log likelihood gains in one of a thousand cases by chance, with two more densities and three angles.
const GAIN: f64 = 20.5;

/// Rounds of smoothing in which weights of points settle.
const ROUNDS: usize = 4;

/// A point that counts less than this is an outlier that could spoil what is found about the motion.
const OUTLIER: f64 = 0.5;

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
///   those of the longest trajectory; if that is too short as well, points stay about where they are. Where that makes points
///   likelier by more than chance does, the noise differs between the axes along which velocities change most and least: a tracer
///   that stays in a plane is smoothed more across it.
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
        let (_, motion) = orders
            .iter()
            .map(|&order| self.most_likely(&judged, order))
            .min_by(|(a, _), (b, _)| a.total_cmp(b))?; // the first of equal ones
        if self.process_noise.is_some() {
            return Some(motion);
        }
        let (gain, directed) = self.directed(&judged, points, motion);
        let is_rougher = gain > GAIN * judged.times_judged;
        Some(if is_rougher { directed } else { motion })
    }

    /// A motion that is rougher in one direction than in another, along the axes in which velocities change most and least, and what
    /// twice the log likelihood gains by it.
    fn directed(&self, judged: &Judged<'_>, points: &[Point], motion: Motion) -> (f64, Motion) {
        let axes = axes_of_changes(&self.smooth(&mut points.to_vec(), Some(motion)));
        let usual = trace(&motion.noise) / 3.0;
        let with = |powers: Vector| {
            let mut noise = [[0.0; 3]; 3];
            for (axis, power) in axes.into_iter().zip(powers) {
                let density = usual * power_of_ten(power);
                noise = added(&noise, density, &outer(axis));
            }
            Motion { noise, ..motion }
        };
        let cost = |motion| judged.innovations(motion).cost(1.0, self.gate);
        let usual_cost = cost(motion);
        let (mut powers, mut least) = ([0.0; 3], usual_cost);
        for _ in 0..DIRECTION_ROUNDS {
            for k in 0..3 {
                let at = |power| {
                    let mut powers = powers;
                    powers[k] = power;
                    cost(with(powers))
                };
                let (found, power) = minimise(at, LEAST_ROUGH, MOST_ROUGH);
                if found < least {
                    (least, powers[k]) = (found, power);
                }
            }
        }
        (usual_cost - least, with(powers))
    }

    /// Twice the negative logarithm of the likelihood, and the motion that makes it smallest.
    fn most_likely(&self, judged: &Judged<'_>, order: Order) -> (f64, Motion) {
        let unit = judged.unit.noise(order);
        let motion = |noise: f64, scale: f64| Motion {
            order,
            noise: scaled(&IDENTITY, noise),
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
                            noise: scaled(&best.noise, factor),
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
                noise: scaled(&IDENTITY, noise),
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

/// Principal axes of the changes of velocity between points.
fn axes_of_changes(estimates: &[Estimate]) -> Matrix {
    let mut changes = [[0.0; 3]; 3];
    for pair in estimates.windows(2) {
        let change = difference(pair[1].velocity, pair[0].velocity);
        if change.iter().all(|x| x.is_finite()) {
            changes = added(&changes, 1.0, &outer(change));
        }
    }
    eigen(changes).1
}

impl Reducer for Smooth {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if let Some(noise) = self.process_noise {
            if !(noise >= 0.0 && noise.is_finite()) {
                return Error::parameter("process_noise", noise, "a density that is not negative");
            }
            if self.model == MotionModel::Automatic {
                let needed =
                    "a model, constant-velocity or constant-acceleration, whose noise it is";
                return Error::parameter("process_noise", noise, needed);
            }
        }
        if let Some(scale) = self.covariance_scale
            && !(scale > 0.0 && scale.is_finite())
        {
            return Error::parameter("covariance_scale", scale, "a factor above 0");
        }
        if let Some(overlap) = self.overlap
            && !(0.0..1.0).contains(&overlap)
        {
            let needed = "the share of a sample that the next one has too, 0 or more and below 1";
            return Error::parameter("overlap", overlap, needed);
        }
        if self.gate.is_nan() || self.gate <= 0.0 {
            return Error::parameter("gate", self.gate, "a squared distance above 0");
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
                // Where a short one goes, another one need not have gone.
                let usual = |motion: Motion| Motion {
                    noise: scaled(&IDENTITY, trace(&motion.noise) / 3.0),
                    ..motion
                };
                let motion = motion.or(longest.map(usual));
                tracing::debug!(points = trajectory.len(), ?motion, "trajectory smoothed");
                estimates.unwrap_or_else(|| this.smooth(trajectory, motion))
            })
            .collect();
        with_estimates(&points, &trajectories, &smoothed)
    }
}
