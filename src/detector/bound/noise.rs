//! The noise of a recording: how its LoRs' offsets from tracers are spread, and whose they are.

use std::f64::consts::PI;

use rayon::prelude::*;

use super::{Bound, Line, Matrix, OffsetDensity, Spread, add, projection, solve};
use crate::data::{LineData, PointData};
use crate::error::{Error, Result};
use crate::linear_algebra::dot;
use crate::statistics::quantile;

/// Largest radius around a tracer that a fit looks at without being told (mm).
pub(super) const LARGEST_RADIUS: f64 = 40.0;
/// The smallest.
const SMALLEST_RADIUS: f64 = 5.0;
/// Offsets are counted in so many steps up to the radius.
const BINS: usize = 500;
/// LoRs of a window for each trajectory.
const WINDOW: usize = 400;
/// The fewest LoRs of a tracer in a window that locate it, and in all that a fit needs.
const FEWEST: (f64, f64) = (20.0, 200.0);
/// Positions and density are fitted in turn, at most so often, or until the density tells the same to this part.
const ROUNDS: (usize, f64) = (12, 1e-3);
/// Steps of a fit of the density at most, and the relative change at which it ends.
const STEPS: (usize, f64) = (2_000, 1e-7);
/// Largest sizes of a Gaussian and of a tail, in radii: of a wider one, too much would lie beyond.
const WIDEST: (f64, f64) = (0.4, 0.25);
/// Steps towards a position, and the one that is small enough (mm).
const APPROACHES: (usize, f64) = (50, 1e-3);

/// Fits the noise of a recording: the density of its LoRs' offsets from tracers, the tracers' shares and the background.
///
/// Trajectories say about where tracers are. Windows of LoRs then locate each of them again: with constant velocity, the most likely
/// one for the present density. The offsets of all LoRs within a radius are fitted with a core and a tail - two Gaussians or a Gaussian
/// and an exponential, whatever is likelier - over a background of constant density, by expectation maximisation. Both are
/// repeated until nothing changes.
///
/// A position from the LoRs themselves is drawn towards each of them, so offsets come out too small; half of every LoR's own pull
/// is taken back, with which the variance of offsets is right to first order.
///
/// The other tracers' LoRs are background; a tracer in a window where another one is nearer than two radii is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoiseFit {
    radius: Option<f64>,
    window: Option<usize>,
}

/// The noise of a recording.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Noise {
    /// The density of offsets of all tracers.
    pub density: OffsetDensity,
    /// LoRs within this radius of a tracer were looked at (mm).
    pub radius: f64,
    /// Each tracer, in the order of labels.
    pub tracers: Vec<TracerNoise>,
}

/// What a recording says of one tracer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TracerNoise {
    /// The trajectory's label.
    pub label: f64,
    /// LoRs of the windows that were used, background and other tracers included.
    pub lors: usize,
    /// The part of them that are the tracer's.
    pub share: f64,
    /// Density of LoRs near the tracer that are not its own, per mm^2 and LoR in all.
    pub background: f64,
    /// Mean position (mm).
    pub position: [f64; 3],
    /// Mean of `P = I - v v^T` over its LoRs.
    pub mean_projection: Matrix,
}

impl TracerNoise {
    /// The bound for this tracer.
    ///
    /// # Errors
    /// As [`Bound::new`].
    pub fn bound(&self, density: &OffsetDensity) -> Result<Bound> {
        Bound::new(&self.mean_projection, density, self.share, self.background)
    }
}

impl NoiseFit {
    /// LoRs within 40 mm of a tracer, less where tracers are near each other; windows of 400 LoRs for each trajectory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// LoRs up to this far from a tracer (mm): several times the width of the noise, so that its tail can be told from the background.
    #[must_use]
    pub fn radius(self, radius: f64) -> Self {
        Self {
            radius: Some(radius),
            ..self
        }
    }

    /// LoRs of a window, background included.
    #[must_use]
    pub fn window(self, window: usize) -> Self {
        Self {
            window: Some(window),
            ..self
        }
    }

    /// Fits. `points` are tracked points, with a column `label` those of several trajectories, or known positions: one point alone is
    /// a tracer that does not move. Points with a label below 0 are left out, and so are LoRs before and after a trajectory.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a radius or window that is none, and if too few LoRs are near a trajectory.
    pub fn run(&self, lors: &LineData, points: &PointData) -> Result<Noise> {
        self.check()?;
        let mut lines: Vec<Line> = lors.line_slice().rows().filter_map(Line::new).collect();
        lines.sort_by(|a, b| a.t.total_cmp(&b.t)); // stable
        let trajectories = Trajectory::all(points);
        let mut fit = Fit::new(self, &lines, &trajectories)?;
        fit.measure_as_given();
        fit.fit_density()?;
        for _ in 0..ROUNDS.0 {
            let before = fit.sigma();
            fit.locate();
            fit.fit_density()?;
            if (fit.sigma() / before - 1.0).abs() < ROUNDS.1 {
                break;
            }
        }
        Ok(fit.noise())
    }

    fn check(&self) -> Result<()> {
        if let Some(radius) = self.radius
            && !(radius > 0.0 && radius.is_finite())
        {
            return Err(Error::Parameter {
                name: "radius",
                value: radius.to_string(),
                needed: "a distance in mm above 0",
            });
        }
        if let Some(window) = self.window
            && window < 2
        {
            return Err(Error::Parameter {
                name: "window",
                value: window.to_string(),
                needed: "2 LoRs or more",
            });
        }
        Ok(())
    }
}

/// A tracked trajectory: `t x y z` in the order of time.
struct Trajectory {
    label: f64,
    rows: Vec<[f64; 4]>,
}

impl Trajectory {
    fn all(points: &PointData) -> Vec<Self> {
        let n_columns = points.columns().len();
        let label = points.column_index("label");
        let rows = points.values().chunks_exact(n_columns).map(|row| {
            let label = label.map_or(0.0, |column| row[column] + 0.0); // -0 is 0
            (label, [row[0], row[1], row[2], row[3]])
        });
        let mut rows: Vec<(f64, [f64; 4])> = rows
            .filter(|(label, row)| *label >= 0.0 && row.iter().all(|value| value.is_finite()))
            .collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1[0].total_cmp(&b.1[0])));
        let trajectories = rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        trajectories
            .map(|rows| Self {
                label: rows[0].0,
                rows: rows.iter().map(|(_, row)| *row).collect(),
            })
            .collect()
    }

    fn has(&self, t: f64) -> bool {
        let (first, last) = (self.rows[0][0], self.rows[self.rows.len() - 1][0]);
        self.rows.len() == 1 || (first <= t && t <= last)
    }

    /// Between the rows in straight lines; before the first and after the last it stands still.
    fn at(&self, t: f64) -> [f64; 3] {
        let next = self.rows.partition_point(|row| row[0] < t);
        let place = |[_, x, y, z]: [f64; 4]| [x, y, z];
        match (
            next.checked_sub(1).map(|n| self.rows[n]),
            self.rows.get(next),
        ) {
            (Some(before), Some(after)) => {
                let share = (t - before[0]) / (after[0] - before[0]);
                std::array::from_fn(|axis| {
                    before[axis + 1] + share * (after[axis + 1] - before[axis + 1])
                })
            }
            (Some(row), None) => place(row),
            (None, row) => place(row.copied().unwrap_or_default()),
        }
    }
}

/// A position that changes at constant velocity.
#[derive(Clone, Copy)]
pub(super) struct Path {
    /// The middle of the window, and half its length (ms).
    pub(super) middle: f64,
    pub(super) half: f64,
    /// Position in the middle, and its change in half the window.
    pub(super) terms: [[f64; 3]; 2],
}

impl Path {
    /// Time from the middle, from -1 to 1; 0 where all LoRs have one time.
    fn time(&self, t: f64) -> f64 {
        if self.half > 0.0 {
            (t - self.middle) / self.half
        } else {
            0.0
        }
    }

    fn at(&self, time: f64) -> [f64; 3] {
        let [position, change] = self.terms;
        std::array::from_fn(|axis| position[axis] + time * change[axis])
    }
}

/// A tracer in a window.
struct Job {
    trajectory: usize,
    window: std::ops::Range<usize>,
    given: Path,
    path: Path,
    measured: Option<Measured>,
}

/// Offsets of the LoRs near a path.
#[derive(Default)]
struct Measured {
    bins: Vec<u16>,
    /// Sum of `I - v v^T`, each times the probability that the LoR is the tracer's, and the sum of these.
    projections: Matrix,
    tracers: f64,
}

impl Measured {
    fn count(&mut self, offset: f64, radius: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of a bin, which `as` truncates as wanted"
        )]
        let bin = (offset / radius * BINS as f64) as u16;
        if usize::from(bin) < BINS {
            self.bins.push(bin);
        }
    }
}

/// The normal equations at the end of the way to a position.
pub(super) struct Located<const N: usize> {
    pub(super) path: Path,
    matrix: [[f64; N]; N],
    /// Sums of the weights, and of the probabilities that LoRs are the tracer's.
    weights: f64,
    tracers: f64,
}

/// The most likely path from LoRs within a radius: with N = 3 a position, with N = 6 and a velocity. `None` where they do not determine
/// it.
///
/// Each step solves the weighted least squares of [`OffsetDensity::weight`]; the density being a mixture of Gaussians, or one of
/// infinitely many, the likelihood never falls.
pub(super) fn locate<const N: usize>(
    lines: &[Line],
    mut path: Path,
    density: &OffsetDensity,
    background: f64,
    radius: f64,
) -> Option<Located<N>> {
    for _ in 0..APPROACHES.0 {
        let (mut matrix, mut right) = ([[0.0; N]; N], [0.0; N]);
        let (mut weights, mut tracers) = (0.0, 0.0);
        for line in lines {
            let time = path.time(line.t);
            let (offset, rho) = line.offset(path.at(time));
            if rho > radius {
                continue;
            }
            let (weight, tracer) = density.weight(rho, background);
            weights += weight;
            tracers += tracer;
            let across = projection(line.direction);
            let powers = [weight, weight * time, weight * time * time];
            for i in 0..N {
                right[i] -= powers[i / 3] * offset[i % 3];
                for j in 0..=i {
                    matrix[i][j] += powers[i / 3 + j / 3] * across[i % 3][j % 3];
                }
            }
        }
        let step = solve(&matrix, right)?;
        for (n, step) in step.iter().enumerate() {
            path.terms[n / 3][n % 3] += step;
        }
        if step.iter().all(|step| step.abs() < APPROACHES.1) {
            return Some(Located {
                path,
                matrix,
                weights,
                tracers,
            });
        }
    }
    None
}

impl<const N: usize> Located<N> {
    /// The inverse of the matrix, whose lower half is filled; `None` if it has none.
    fn inverse(&self) -> Option<[[f64; N]; N]> {
        let mut inverse = [[0.0; N]; N];
        for (n, column) in inverse.iter_mut().enumerate() {
            let mut unit = [0.0; N];
            unit[n] = 1.0;
            *column = solve(&self.matrix, unit)?;
        }
        Some(inverse)
    }

    /// Offsets from the path, with half of each LoR's pull taken back.
    fn measure(
        &self,
        lines: &[Line],
        density: &OffsetDensity,
        background: f64,
        radius: f64,
    ) -> Option<Measured> {
        if self.tracers < FEWEST.0 {
            return None;
        }
        // The matrix has the LoRs' weights; the covariance of the path is the inverse of their information.
        let inverse = self.inverse()?;
        let covariance = self.weights / (self.tracers * density.information(background));
        let mut measured = Measured::default();
        for line in lines {
            let time = self.path.time(line.t);
            let (mut offset, rho) = line.offset(self.path.at(time));
            if rho > 2.0 * radius {
                continue;
            }
            let (weight, tracer) = density.weight(rho, background);
            let powers = [1.0, time, time * time];
            let pull: [f64; 3] = std::array::from_fn(|i| {
                let terms = (0..N / 3).flat_map(|m| (0..N).map(move |n| (m, n)));
                terms
                    .map(|(m, n)| powers[m + n / 3] * inverse[3 * m + i][n] * offset[n % 3])
                    .sum()
            });
            for (offset, pull) in offset.iter_mut().zip(pull) {
                *offset += 0.5 * weight * covariance * pull;
            }
            let along = dot(offset, line.direction);
            let corrected = (dot(offset, offset) - along * along).max(0.0).sqrt();
            measured.count(corrected, radius);
            if rho <= radius {
                add(
                    &mut measured.projections,
                    tracer,
                    &projection(line.direction),
                );
                measured.tracers += tracer;
            }
        }
        Some(measured)
    }
}

/// A fit on its way.
struct Fit<'a> {
    lines: &'a [Line],
    trajectories: &'a [Trajectory],
    radius: f64,
    jobs: Vec<Job>,
    mixture: Mixture,
}

impl<'a> Fit<'a> {
    fn new(options: &NoiseFit, lines: &'a [Line], trajectories: &'a [Trajectory]) -> Result<Self> {
        let n = trajectories.len().max(1);
        let size = options
            .window
            .unwrap_or(WINDOW.saturating_mul(n))
            .min(lines.len());
        // Each with the distance of the nearest other tracer.
        let mut jobs: Vec<(f64, Job)> = Vec::new();
        for start in (0..lines.len()).step_by(size.max(1)) {
            let window = start..start + size;
            if window.end > lines.len() {
                break;
            }
            let (first, last) = (lines[start].t, lines[window.end - 1].t);
            let (middle, half) = (0.5 * (first + last), 0.5 * (last - first));
            let place = |(n, trajectory): (usize, &Trajectory)| {
                let [before, now, after] = [first, middle, last].map(|t| trajectory.at(t));
                let change = std::array::from_fn(|axis| 0.5 * (after[axis] - before[axis]));
                let terms = [now, change];
                trajectory.has(middle).then_some((
                    n,
                    Path {
                        middle,
                        half,
                        terms,
                    },
                ))
            };
            let paths: Vec<(usize, Path)> =
                trajectories.iter().enumerate().filter_map(place).collect();
            for &(trajectory, path) in &paths {
                let others = paths.iter().filter(|(other, _)| *other != trajectory);
                let distance = |(_, other): &(usize, Path)| {
                    let between: [f64; 3] =
                        std::array::from_fn(|axis| other.terms[0][axis] - path.terms[0][axis]);
                    dot(between, between).sqrt()
                };
                let nearest = others.map(distance).fold(f64::INFINITY, f64::min);
                jobs.push((
                    nearest,
                    Job {
                        trajectory,
                        window: window.clone(),
                        given: path,
                        path,
                        measured: None,
                    },
                ));
            }
        }
        let mut distances: Vec<f64> = jobs.iter().map(|(nearest, _)| *nearest).collect();
        let radius = options.radius.unwrap_or_else(|| {
            distances.retain(|nearest| nearest.is_finite());
            if distances.is_empty() {
                return LARGEST_RADIUS;
            }
            (0.5 * quantile(&mut distances, 0.1)).clamp(SMALLEST_RADIUS, LARGEST_RADIUS)
        });
        let n_jobs = jobs.len();
        jobs.retain(|(nearest, _)| *nearest >= 2.0 * radius);
        if jobs.is_empty() {
            let value = if n_jobs == 0 {
                "none at the time of a window of LoRs".to_owned()
            } else {
                format!("never further than {} mm from each other", 2.0 * radius)
            };
            return Err(Error::Parameter {
                name: "trajectories",
                value,
                needed: "some during the recording that are two radii apart; take fewer tracers, or a smaller radius or window",
            });
        }
        Ok(Self {
            lines,
            trajectories,
            radius,
            jobs: jobs.into_iter().map(|(_, job)| job).collect(),
            mixture: Mixture::default(),
        })
    }

    /// Offsets from the given trajectories.
    fn measure_as_given(&mut self) {
        let (lines, radius) = (self.lines, self.radius);
        self.jobs.par_iter_mut().for_each(|job| {
            let mut measured = Measured::default();
            for line in &lines[job.window.clone()] {
                let (_, rho) = line.offset(job.given.at(job.given.time(line.t)));
                measured.count(rho, radius);
            }
            job.measured = Some(measured);
        });
    }

    /// Locates the tracers in all windows, and measures offsets from there.
    fn locate(&mut self) {
        let (lines, radius, mixture) = (self.lines, self.radius, &self.mixture);
        let density = mixture.density();
        self.jobs.par_iter_mut().for_each(|job| {
            let lines = &lines[job.window.clone()];
            let background = mixture.background(job.trajectory, radius);
            let still = Path {
                terms: [job.path.terms[0], [0.0; 3]],
                ..job.path
            };
            let moving =
                locate::<6>(lines, job.path, &density, background, radius).and_then(|found| {
                    let measured = found.measure(lines, &density, background, radius)?;
                    Some((found.path, measured))
                });
            // Times may not tell a velocity.
            let found = moving.or_else(|| {
                let found = locate::<3>(lines, still, &density, background, radius)?;
                let measured = found.measure(lines, &density, background, radius)?;
                Some((found.path, measured))
            });
            let moved = |path: &Path| {
                let way: [f64; 3] =
                    std::array::from_fn(|axis| path.terms[0][axis] - job.given.terms[0][axis]);
                dot(way, way).sqrt()
            };
            job.measured = None;
            match found {
                Some((path, measured)) if moved(&path) <= radius => {
                    job.path = path;
                    job.measured = Some(measured);
                }
                _ => job.path = job.given,
            }
        });
    }

    /// Offsets and LoRs of each trajectory.
    fn counts(&self) -> Vec<Counts> {
        let mut counts: Vec<Counts> = self
            .trajectories
            .iter()
            .map(|_| Counts::default())
            .collect();
        for job in &self.jobs {
            let Some(measured) = &job.measured else {
                continue;
            };
            let counts = &mut counts[job.trajectory];
            counts.lors += job.window.len();
            counts.windows += 1;
            counts.tracers += measured.tracers;
            add(&mut counts.projections, 1.0, &measured.projections);
            for (sum, place) in counts.positions.iter_mut().zip(job.path.terms[0]) {
                *sum += place;
            }
            counts.bins.resize(BINS, 0.0);
            for &bin in &measured.bins {
                counts.bins[usize::from(bin)] += 1.0;
            }
        }
        counts
    }

    fn fit_density(&mut self) -> Result<()> {
        let counts = self.counts();
        let near: f64 = counts.iter().flat_map(|counts| &counts.bins).sum();
        if near < FEWEST.1 {
            return Err(Error::Parameter {
                name: "points",
                value: format!("{near} LoRs within {} mm", self.radius),
                needed: "trajectories near which there are LoRs of this recording, some hundreds at least",
            });
        }
        let radius = self.radius;
        let starts = self.mixture.starts(radius);
        let fits: Vec<Mixture> = starts
            .into_par_iter()
            .map(|start| Mixture::fitted(start, &counts, radius))
            .collect();
        let likeliest = fits.into_iter().reduce(|best, other| {
            if other.log_likelihood > best.log_likelihood {
                other
            } else {
                best
            }
        });
        self.mixture = likeliest.unwrap_or_default();
        Ok(())
    }

    fn sigma(&self) -> f64 {
        self.mixture.density().effective_sigma(0.0)
    }

    fn noise(&self) -> Noise {
        let area = PI * self.radius * self.radius;
        let counts = self.counts();
        let tracers = self
            .trajectories
            .iter()
            .zip(&counts)
            .zip(self.mixture.amounts.iter());
        let tracers =
            tracers.filter(|((_, counts), amount)| counts.tracers > 0.0 && amount.tracer > 0.0);
        Noise {
            density: self.mixture.density(),
            radius: self.radius,
            tracers: tracers
                .map(|((trajectory, counts), amount)| {
                    let lors = counts.lors as f64;
                    TracerNoise {
                        label: trajectory.label,
                        lors: counts.lors,
                        share: (amount.tracer / lors).min(1.0),
                        background: amount.flat / (area * lors),
                        position: counts.positions.map(|sum| sum / counts.windows as f64),
                        mean_projection: counts
                            .projections
                            .map(|row| row.map(|value| value / counts.tracers)),
                    }
                })
                .collect(),
        }
    }
}

/// What was measured for a trajectory.
#[derive(Default)]
struct Counts {
    /// LoRs by their offset; empty without any window.
    bins: Vec<f64>,
    lors: usize,
    windows: usize,
    tracers: f64,
    projections: Matrix,
    positions: [f64; 3],
}

/// Core and tail over a background, fitted to counts of offsets.
#[derive(Clone, Debug, Default)]
struct Mixture {
    terms: Vec<(f64, Spread)>,
    /// Of each trajectory.
    amounts: Vec<Amount>,
    log_likelihood: f64,
}

/// LoRs of a trajectory.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    /// The tracer's, those beyond the radius included.
    tracer: f64,
    /// Background within the radius.
    flat: f64,
}

impl Mixture {
    fn density(&self) -> OffsetDensity {
        /// A smaller share tells nothing.
        const SMALLEST: f64 = 1e-6;
        let terms = self.terms.iter().filter(|(share, _)| *share > SMALLEST);
        let sum: f64 = terms.clone().map(|(share, _)| share).sum();
        OffsetDensity {
            terms: terms
                .map(|(share, spread)| (share / sum, *spread))
                .collect(),
        }
    }

    /// Background per mm^2 for each LoR of the tracer.
    fn background(&self, trajectory: usize, radius: f64) -> f64 {
        let Amount { tracer, flat } = self.amounts[trajectory];
        if tracer > 0.0 {
            flat / (PI * radius * radius * tracer)
        } else {
            0.0
        }
    }

    /// Where fits begin: both shapes of the tail, from here or, at first, from several widths.
    fn starts(&self, radius: f64) -> Vec<Vec<(f64, Spread)>> {
        /// Widths of core and tail in radii.
        const WIDTHS: [[f64; 2]; 3] = [[0.02, 0.06], [0.06, 0.15], [0.12, 0.25]];
        let shapes = [Spread::Gaussian, Spread::Exponential];
        let start = |share: f64, core: f64, tail: Spread| {
            vec![(share, Spread::Gaussian(core)), (1.0 - share, tail)]
        };
        match self.terms[..] {
            [(share, Spread::Gaussian(core)), (_, tail)] => {
                // Equal second moments: of a tail 3 L^2, of a Gaussian sigma^2 along each axis.
                let (wide, long) = match tail {
                    Spread::Gaussian(sigma) => (sigma, sigma / 3.0_f64.sqrt()),
                    Spread::Exponential(scale) => (scale * 3.0_f64.sqrt(), scale),
                };
                // Neither a vanished term nor equal ones could come back.
                let share = share.clamp(0.05, 0.95);
                let core = core.min(0.9 * wide);
                vec![
                    start(share, core, Spread::Gaussian(wide)),
                    start(share, core, Spread::Exponential(long)),
                ]
            }
            _ => WIDTHS
                .iter()
                .flat_map(|[core, tail]| {
                    shapes.map(|shape| start(0.5, core * radius, shape(tail * radius)))
                })
                .collect(),
        }
    }

    /// Expectation maximisation; LoRs beyond the radius are data that lack.
    fn fitted(terms: Vec<(f64, Spread)>, counts: &[Counts], radius: f64) -> Self {
        let amounts = counts.iter().map(|counts| {
            let n: f64 = counts.bins.iter().sum();
            Amount {
                tracer: 0.5 * n,
                flat: 0.5 * n,
            }
        });
        let mut mixture = Self {
            terms,
            amounts: amounts.collect(),
            log_likelihood: f64::NEG_INFINITY,
        };
        for _ in 0..STEPS.0 {
            let before = mixture.parameters();
            mixture.step(counts, radius);
            let after = mixture.parameters();
            let change =
                |(before, after): (&f64, &f64)| (after - before).abs() <= STEPS.1 * before.abs();
            if before.iter().zip(&after).all(change) {
                break;
            }
        }
        mixture.log_likelihood = mixture.log_likelihood_of(counts, radius);
        mixture
    }

    /// What has to settle.
    fn parameters(&self) -> Vec<f64> {
        let flat: f64 = self.amounts.iter().map(|amount| amount.flat).sum();
        let terms = self
            .terms
            .iter()
            .flat_map(|(share, spread)| [*share, spread.size()]);
        terms.chain([flat]).collect()
    }

    /// Offsets in the middle of bins, and the terms' densities there.
    fn table(&self, radius: f64) -> Vec<(f64, Vec<f64>)> {
        (0..BINS)
            .map(|bin| {
                let rho = (bin as f64 + 0.5) / BINS as f64 * radius;
                let densities = self
                    .terms
                    .iter()
                    .map(|(share, spread)| share * spread.at(rho));
                (rho, densities.collect())
            })
            .collect()
    }

    fn step(&mut self, counts: &[Counts], radius: f64) {
        let area = PI * radius * radius;
        let table = self.table(radius);
        // Of each term: LoRs and the sum of their statistics, first those beyond the radius.
        let all: f64 = self.amounts.iter().map(|amount| amount.tracer).sum();
        let beyond = |(share, spread): &(f64, Spread)| {
            [
                all * share * spread.beyond(radius),
                all * share * spread.mean_beyond(radius),
            ]
        };
        let mut sums: Vec<[f64; 2]> = self.terms.iter().map(beyond).collect();
        let share_beyond: f64 = self
            .terms
            .iter()
            .map(|(share, spread)| share * spread.beyond(radius))
            .sum();
        for (amount, counts) in self.amounts.iter_mut().zip(counts) {
            let mut tracer = amount.tracer * share_beyond;
            let mut flat = 0.0;
            for (&n, (rho, densities)) in counts.bins.iter().zip(&table) {
                let ground = amount.flat / area;
                let sum = ground + amount.tracer * densities.iter().sum::<f64>();
                if n <= 0.0 || sum <= 0.0 {
                    continue;
                }
                flat += n * ground / sum;
                let terms = self.terms.iter().zip(densities).zip(&mut sums);
                for (((_, spread), density), [number, statistic]) in terms {
                    let part = n * amount.tracer * density / sum;
                    tracer += part;
                    *number += part;
                    *statistic += part * spread.statistic(*rho);
                }
            }
            *amount = Amount { tracer, flat };
        }
        let all: f64 = sums.iter().map(|[number, _]| number).sum();
        for ((share, spread), [number, statistic]) in self.terms.iter_mut().zip(sums) {
            if number > 0.0 && all > 0.0 {
                *share = number / all;
                *spread = match spread.size_of_mean(statistic / number) {
                    Spread::Gaussian(sigma) => {
                        Spread::Gaussian(sigma.clamp(radius / BINS as f64, WIDEST.0 * radius))
                    }
                    Spread::Exponential(scale) => {
                        Spread::Exponential(scale.clamp(radius / BINS as f64, WIDEST.1 * radius))
                    }
                };
            } else {
                *share = 0.0;
            }
        }
    }

    /// Of a Poisson process in the plane, but for a constant.
    fn log_likelihood_of(&self, counts: &[Counts], radius: f64) -> f64 {
        let table = self.table(radius);
        let within: f64 = self
            .terms
            .iter()
            .map(|(share, spread)| share * (1.0 - spread.beyond(radius)))
            .sum();
        let of_trajectory = |(amount, counts): (&Amount, &Counts)| {
            let ground = amount.flat / (PI * radius * radius);
            let logs = counts.bins.iter().zip(&table).filter(|(n, _)| **n > 0.0);
            let logs = logs.map(|(n, (_, densities))| {
                n * libm::log(ground + amount.tracer * densities.iter().sum::<f64>())
            });
            logs.sum::<f64>() - amount.tracer * within - amount.flat
        };
        self.amounts.iter().zip(counts).map(of_trajectory).sum()
    }
}
