//! How a tracer moves and how good its points are, as the likelihood of its points says.

use rayon::prelude::*;

use super::kalman::Kalman;
use super::points::{Point, stride_of, times_of};
use super::{FEWEST, UNJUDGED};
use crate::linear_algebra::{Matrix, difference, dot, trace};
use crate::statistics::median;

/// The median of squared normalised distances in three dimensions.
const MEDIAN_SQUARE: f64 = 2.366;

/// Likelihoods are of at most so many points, in pieces spread over the trajectory.
const MOST_JUDGED: usize = 10_000;
const PIECES: usize = 10;
const GOLDEN_STEPS: usize = 12;

/// Which derivative of the position is driven by noise: the one after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Velocity,
    Acceleration,
}

/// How a tracer moves, and how good its points are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    pub(super) order: Order,
    /// Spectral density (mm²/ms³ or mm²/ms⁵), a covariance.
    pub(super) noise: Matrix,
    /// Factor of covariances.
    pub(super) scale: f64,
}

/// What is usual in a trajectory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// Time between points (ms).
    pub(super) time: f64,
    /// Variance of a coordinate (mm²).
    pub(super) variance: f64,
    /// The largest speed, on average over such a time, and that of noise (mm/ms).
    pub(super) speed: f64,
}

impl Unit {
    /// None if no covariance is known.
    pub(super) fn of<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> Option<Self> {
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
                    let step = difference(other.position, point.position);
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
    pub(super) fn noise(&self, order: Order) -> f64 {
        let cubed = self.time * self.time * self.time;
        match order {
            Order::Velocity => self.variance / cubed,
            Order::Acceleration => self.variance / (cubed * self.time * self.time),
        }
    }
}

/// The points of a trajectory that likelihoods are about.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    /// Each without points that share lines.
    series: Vec<Vec<&'a Point>>,
    /// Factor of the covariances, where the series are so short that points do share lines.
    pub(super) redundancy: f64,
    pub(super) unit: Unit,
    pub(super) gate: f64,
    /// How often a line is judged, in the series of points that it has a part in.
    pub(super) times_judged: f64,
}

impl<'a> Judged<'a> {
    pub(super) fn new(points: &'a [Point], redundancy: f64, gate: f64) -> Option<Self> {
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
            times_judged: stride as f64,
        };
        if n_judged(&judged.series) < FEWEST && stride > 1 {
            judged.series = with_stride(1);
            judged.redundancy = redundancy;
            judged.times_judged = 1.0;
        } else {
            judged.unit.time *= stride as f64;
        }
        (n_judged(&judged.series) >= FEWEST).then_some(judged)
    }

    pub(super) fn innovations(&self, motion: Motion) -> Innovations {
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
pub(super) struct Innovations {
    /// Of their covariances, summed.
    pub(super) log_determinants: f64,
    /// Their squared normalised distances.
    pub(super) squares: Vec<f64>,
}

impl Innovations {
    /// Twice the negative logarithm of their likelihood, if all covariances are multiplied by a factor.
    ///
    /// The density is a Gaussian up to the gate and falls with a power of the distance beyond, just as points there are weighed.
    pub(super) fn cost(&self, factor: f64, gate: f64) -> f64 {
        let tail = |square: f64| gate * (1.0 + libm::log(square / gate));
        let squares = self.squares.iter().map(|square| square / factor);
        let sum: f64 = squares
            .map(|square| if square > gate { tail(square) } else { square })
            .sum();
        self.log_determinants + 3.0 * self.squares.len() as f64 * libm::log(factor) + sum
    }

    /// The factor that makes the cost smallest.
    pub(super) fn scale(&self, gate: f64) -> f64 {
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

pub(super) fn power_of_ten(power: f64) -> f64 {
    libm::pow(10.0, power)
}

/// The least cost between two places, and where it is: steps of about 2, then the golden section around the best of them.
pub(super) fn minimise(cost: impl Fn(f64) -> f64 + Sync, from: f64, to: f64) -> (f64, f64) {
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
