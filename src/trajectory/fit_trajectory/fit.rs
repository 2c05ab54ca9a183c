//! What lines say of all curves (the E step), and activities, backgrounds and widths.

use std::f64::consts::{PI, TAU};

use rayon::prelude::*;

use super::lines::{Ray, Tracer, blocks, within};
use super::spline::{Curve, add};
use super::{BLOCK, EDGE, NARROWEST, PAIRS, SYSTEM, TERMS, WIDEST};
use crate::linear_algebra::Vector;

/// Blocks whose sums are in memory together.
const IN_FLIGHT: usize = 512;

/// Lines within so many wide widths of a tracer tell its background.
const REACH: f64 = 6.0;

/// The shares of information that lines keep though their tracer is uncertain: for steps, which would overshoot below a half, and for
/// covariances.
const SMALLEST_STEP_SHARE: f64 = 0.55;
const SMALLEST_SHARE: f64 = 0.1;

/// Folds of the lines, some of which are left out in turn to compare knot spacings.
const FOLDS: usize = 5;

/// Lines next to each other in a fold.
const FOLD_LINES: usize = 16;

/// It is asked whether a tracer is there in parts of an interval that have so many of its lines,
const BIN_LINES: f64 = 32.0;

/// and in so many parts at most.
const MOST_BINS: f64 = 8.0;

/// Where it is there, its lines are at least such a share of what they are on average.
const LEAST_SHARE: f64 = 0.3;

/// How the lines of a tracer scatter about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Density {
    /// Standard deviations on an axis (mm).
    pub(super) widths: [f64; 2],
    pub(super) narrow_share: f64,
}

/// A tracer in a block of lines.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    pub(super) tracer: usize,
    /// Its share of the lines.
    pub(super) share: f64,
    /// The background about it: its share of the lines, per mm².
    background: f64,
}

/// All curves, and what is thought of activities and widths.
#[derive(Debug)]
pub(super) struct Fit<'a> {
    pub(super) rays: &'a [Ray],
    pub(super) curves: Vec<Curve>,
    pub(super) density: Density,
    /// Of each block of lines, in the order of tracers.
    pub(super) activities: Vec<Vec<Activity>>,
    /// Curves in each block, with the place of their tracer among its activities.
    present: Vec<Vec<(usize, usize)>>,
    /// Points that no curve goes through.
    pub(super) lone_points: usize,
}

/// What lines say, given the curves.
#[derive(Debug)]
pub(super) struct Sums {
    /// Of each curve.
    pub(super) curves: Vec<CurveSums>,
    /// Of each block and tracer: lines, those of the tracer, those of the background about it.
    pub(super) activities: Vec<Vec<[f64; 3]>>,
    /// Of the narrow and the wide part: lines, and their squared distances.
    parts: [[f64; 2]; 2],
    /// The logarithm of the likelihood, relative to that without tracers, of lines that were left out.
    pub(super) held_score: f64,
}

/// The normal equations of a curve, interval by interval.
#[derive(Clone, Debug)]
pub(super) struct CurveSums {
    step_system: Vec<[f64; SYSTEM]>,
    pub(super) covariance_system: Vec<[f64; SYSTEM]>,
    /// Of each bin, how much likelier lines are with the tracer than without, as a logarithm.
    pub(super) evidence: Vec<f64>,
    /// Lines of its own.
    pub(super) own: f64,
}

/// What the lines of a block say.
#[derive(Debug)]
struct BlockSums {
    pub(super) curves: Vec<BlockCurve>,
    pub(super) activities: Vec<[f64; 3]>,
    parts: [[f64; 2]; 2],
    pub(super) held_score: f64,
}

#[derive(Debug)]
pub(super) struct BlockCurve {
    pub(super) first_interval: usize,
    pub(super) systems: Vec<[f64; SYSTEM]>,
    pub(super) evidence: Vec<f64>,
    pub(super) own: f64,
    /// Information about the place: were it known which lines are its own, and as it is.
    pub(super) complete: f64,
    pub(super) observed: f64,
}

/// A curve near a line.
#[derive(Clone, Copy, Debug)]
struct Near {
    pub(super) place: usize,
    pub(super) interval: usize,
    pub(super) bin: Option<usize>,
    pub(super) weights: [f64; TERMS],
    pub(super) offset: Vector,
    square: f64,
    /// Densities of the two parts, times share and activity.
    parts: [f64; 2],
}

impl<'a> Fit<'a> {
    pub(super) fn new(
        rays: &'a [Ray],
        tracers: &[Tracer],
        density: Density,
        spacing: f64,
        max_gap: f64,
    ) -> Self {
        let mut lone_points = 0;
        let mut curves = Vec::new();
        for (tracer, Tracer { points, .. }) in tracers.iter().enumerate() {
            let mut first = 0;
            for piece in points.chunk_by(|a, b| b.0 - a.0 <= max_gap * spacing) {
                let range = first..first + piece.len();
                first = range.end;
                let (start, end) = (piece[0].0, piece[piece.len() - 1].0);
                if end > start {
                    let edge = EDGE * spacing;
                    let lines = within(rays, start - edge, end + edge);
                    curves.push(Curve::new(tracer, points, range, spacing, lines));
                } else {
                    lone_points += piece.len();
                }
            }
        }
        let n_blocks = rays.len().div_ceil(BLOCK);
        let mut activities = vec![Vec::new(); n_blocks];
        for (tracer, Tracer { points, .. }) in tracers.iter().enumerate() {
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            let edge = EDGE * spacing;
            for block in blocks(&within(rays, first.0 - edge, last.0 + edge)) {
                let there: &mut Vec<Activity> = &mut activities[block];
                there.push(Activity {
                    tracer,
                    share: 0.2,
                    background: 1e-5,
                });
            }
        }
        let mut present = vec![Vec::new(); n_blocks];
        for (number, curve) in curves.iter().enumerate() {
            for block in blocks(&curve.rays) {
                let there = &activities[block];
                let place = there.partition_point(|activity| activity.tracer < curve.tracer);
                present[block].push((number, place));
            }
        }
        Self {
            rays,
            curves,
            density,
            activities,
            present,
            lone_points,
        }
    }

    /// Starts from another fit's activities and backgrounds, where it knows them: its curves may end in other blocks.
    pub(super) fn start_from(&mut self, other: &Self) {
        for (there, known) in self.activities.iter_mut().zip(&other.activities) {
            for activity in there {
                let same = |known: &&Activity| known.tracer == activity.tracer;
                if let Some(known) = known.iter().find(same) {
                    activity.clone_from(known);
                }
            }
        }
    }

    /// Steps until the curves stay, without a fold of the lines; returns how many.
    pub(super) fn iterate(
        &mut self,
        everything: bool,
        held: Option<usize>,
        tolerance: f64,
        limit: usize,
    ) -> usize {
        for iteration in 1..=limit {
            let sums = self.sums(held);
            let steps: Vec<f64> = self
                .curves
                .par_iter_mut()
                .zip(&sums.curves)
                .map(|(curve, sums)| {
                    let (mut band, right) = curve.equations(&sums.step_system);
                    if !band.factorise() {
                        return 0.0;
                    }
                    let mut step = right.clone();
                    band.solve(&mut step);
                    curve.step(&step);
                    let squared: f64 = step.iter().zip(&right).map(|(a, b)| a * b).sum();
                    (squared / right.len() as f64).sqrt()
                })
                .collect();
            if everything {
                self.update(&sums);
            }
            let largest = steps.into_iter().fold(0.0, f64::max);
            if largest < tolerance {
                return iteration;
            }
        }
        limit
    }

    /// What lines say in the end, also about whether tracers were there.
    pub(super) fn evidence(&mut self) -> Sums {
        let sums = self.sums(None);
        for (curve, sums) in self.curves.iter_mut().zip(&sums.curves) {
            let intervals = (curve.coefficients.len() + 1 - TERMS) as f64;
            let bins = (sums.own / intervals / BIN_LINES).ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a number of bins"
            )]
            {
                curve.bins = bins.clamp(1.0, MOST_BINS) as usize;
            }
            curve.least_share = LEAST_SHARE * sums.own / curve.rays.len().max(1) as f64;
        }
        self.sums(None)
    }

    /// Activities, backgrounds and widths that fit best.
    fn update(&mut self, sums: &Sums) {
        let reach = REACH * self.density.widths[1];
        for (there, sums) in self.activities.iter_mut().zip(&sums.activities) {
            for (activity, [lines, own, background]) in there.iter_mut().zip(sums) {
                if *lines > 0.0 {
                    activity.share = (own / lines).max(1e-6);
                    activity.background =
                        ((background + 0.1) / lines / (PI * reach * reach)).max(1e-12);
                }
            }
        }
        let [narrow, wide] = sums.parts;
        if narrow[0] > 1.0 && wide[0] > 1.0 {
            let width = |[lines, squares]: [f64; 2]| (squares / (2.0 * lines)).sqrt();
            let widths = [
                width(narrow).clamp(NARROWEST, WIDEST),
                width(wide).clamp(NARROWEST, WIDEST),
            ];
            if widths[0] < widths[1] {
                self.density = Density {
                    widths,
                    narrow_share: narrow[0] / (narrow[0] + wide[0]),
                };
            }
        }
    }

    pub(super) fn sums(&self, held: Option<usize>) -> Sums {
        let empty = |curve: &Curve| {
            let systems = vec![[0.0; SYSTEM]; curve.coefficients.len() + 1 - TERMS];
            CurveSums {
                step_system: systems.clone(),
                evidence: vec![0.0; systems.len() * curve.bins],
                covariance_system: systems,
                own: 0.0,
            }
        };
        let mut sums = Sums {
            curves: self.curves.iter().map(empty).collect(),
            activities: Vec::with_capacity(self.present.len()),
            parts: [[0.0; 2]; 2],
            held_score: 0.0,
        };
        for first in (0..self.present.len()).step_by(IN_FLIGHT) {
            let end = self.present.len().min(first + IN_FLIGHT);
            let blocks: Vec<BlockSums> = (first..end)
                .into_par_iter()
                .map(|block| self.block_sums(block, held))
                .collect();
            // In order: sums depend on it.
            for (block, found) in (first..end).zip(blocks) {
                for (&(number, _), own) in self.present[block].iter().zip(&found.curves) {
                    let share = own.observed / own.complete;
                    let share = if share.is_finite() { share } else { 1.0 };
                    let first_bin = own.first_interval * self.curves[number].bins;
                    let curve = &mut sums.curves[number];
                    curve.own += own.own;
                    let bins = curve.evidence[first_bin..].iter_mut();
                    for (sum, value) in bins.zip(&own.evidence) {
                        *sum += value;
                    }
                    for (n, system) in own.systems.iter().enumerate() {
                        let (matrices, vectors) = system.split_at(6 * PAIRS);
                        let interval = own.first_interval + n;
                        let to = [
                            (&mut curve.step_system, SMALLEST_STEP_SHARE),
                            (&mut curve.covariance_system, SMALLEST_SHARE),
                        ];
                        for (systems, smallest) in to {
                            let share = share.clamp(smallest, 1.0);
                            let (a, b) = systems[interval].split_at_mut(6 * PAIRS);
                            for (sum, value) in a.iter_mut().zip(matrices) {
                                *sum += share * value;
                            }
                            for (sum, value) in b.iter_mut().zip(vectors) {
                                *sum += value;
                            }
                        }
                    }
                }
                sums.activities.push(found.activities);
                for (sum, value) in sums.parts.iter_mut().zip(found.parts) {
                    *sum = [sum[0] + value[0], sum[1] + value[1]];
                }
                sums.held_score += found.held_score;
            }
        }
        sums
    }

    fn block_sums(&self, block: usize, held: Option<usize>) -> BlockSums {
        let range = block * BLOCK..self.rays.len().min((block + 1) * BLOCK);
        let (present, activities) = (&self.present[block], &self.activities[block]);
        let mut sums = BlockSums {
            curves: present
                .iter()
                .map(|&(number, _)| self.curves[number].block_curve(self.rays, &range))
                .collect(),
            activities: vec![[0.0; 3]; activities.len()],
            parts: [[0.0; 2]; 2],
            held_score: 0.0,
        };
        let mut near: Vec<Near> = Vec::with_capacity(present.len());
        for number in range {
            let ray = &self.rays[number];
            let is_held = held.is_some_and(|fold| number / FOLD_LINES % FOLDS == fold);
            let background = self.find_near(block, number, is_held, &mut sums, &mut near);
            if near.is_empty() {
                continue;
            }
            let parts = near.iter().map(|near| near.parts[0] + near.parts[1]);
            let total = background + parts.sum::<f64>();
            if is_held {
                sums.held_score += libm::log(total / background);
                continue;
            }
            let projection = ray.projection();
            for near in &near {
                let parts = near.parts.map(|part| part / total);
                let own = parts[0] + parts[1];
                let (number, activity) = present[near.place];
                let counts = &mut sums.activities[activity];
                counts[1] += own;
                counts[2] += background / total;
                for (sum, part) in sums.parts.iter_mut().zip(parts) {
                    sum[0] += part;
                    sum[1] += part * near.square;
                }
                let curve = &mut sums.curves[near.place];
                curve.own += own;
                if let Some(bin) = near.bin {
                    let Curve {
                        bins, least_share, ..
                    } = self.curves[number];
                    let without = (1.0 - own).max(f64::MIN_POSITIVE);
                    let with = without + own * least_share / activities[activity].share;
                    curve.evidence[bin - curve.first_interval * bins] += libm::log(with / without);
                }
                let [narrow, wide] = self.density.widths.map(|width| width * width);
                let weight = parts[0] / narrow + parts[1] / wide;
                let second = parts[0] / (narrow * narrow) + parts[1] / (wide * wide);
                curve.complete += weight;
                // The negative second derivative of the logarithm of the density, on average over directions.
                curve.observed += weight - 0.5 * near.square * (second - weight * weight);
                add(
                    &mut curve.systems[near.interval - curve.first_interval],
                    &near.weights,
                    &projection.map(|value| weight * value),
                    near.offset.map(|value| -weight * value),
                );
            }
        }
        sums
    }

    /// The curves that a line comes near; returns the background there, per mm².
    fn find_near(
        &self,
        block: usize,
        number: usize,
        is_held: bool,
        sums: &mut BlockSums,
        near: &mut Vec<Near>,
    ) -> f64 {
        near.clear();
        let ray = &self.rays[number];
        let [narrow, wide] = self.density.widths.map(|width| width * width);
        let heights = [
            self.density.narrow_share / (TAU * narrow),
            (1.0 - self.density.narrow_share) / (TAU * wide),
        ];
        let mut background = 0.0;
        for (place, &(curve, activity)) in self.present[block].iter().enumerate() {
            let curve = &self.curves[curve];
            if !curve.rays.contains(&number) {
                continue;
            }
            if !is_held {
                sums.activities[activity][0] += 1.0;
            }
            let (interval, weights) = curve.weights(ray.time);
            let bin = curve.bin(ray.time);
            if let Some(bin) = bin {
                let own = &mut sums.curves[place];
                own.evidence[bin - own.first_interval * curve.bins] -= curve.least_share;
            }
            let offset = ray.offset(curve.combine(interval, &weights));
            let square = offset.iter().map(|value| value * value).sum::<f64>();
            if square < REACH * REACH * wide {
                let activity = &self.activities[block][activity];
                background += activity.background;
                near.push(Near {
                    place,
                    interval,
                    bin,
                    weights,
                    offset,
                    square,
                    parts: [
                        activity.share * heights[0] * libm::exp(-0.5 * square / narrow),
                        activity.share * heights[1] * libm::exp(-0.5 * square / wide),
                    ],
                });
            }
        }
        background / near.len() as f64
    }
}
