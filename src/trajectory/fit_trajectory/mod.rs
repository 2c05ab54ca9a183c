mod band;
mod fit;
mod lines;
mod spline;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};
use fit::{Density, Fit};
use lines::{Ray, Tracer, rays_of, stretches, tracers_of};
use spline::{Curve, Row};

/// Coefficients of a spline that a time has a share in.
const TERMS: usize = 4;

/// Pairs of them.
const PAIRS: usize = TERMS * (TERMS + 1) / 2;

/// Values of the normal equations of an interval between knots: a symmetric matrix for each pair, a vector for each coefficient.
const SYSTEM: usize = 6 * PAIRS + 3 * TERMS;

/// Lines that share their estimates of activities and background.
const BLOCK: usize = 4096;

/// Iterations end when coefficients move by less than this, in standard deviations.
const TOLERANCE: f64 = 0.02;
const ITERATIONS: usize = 60;

/// The same while knot spacings are compared.
const ROUGH_TOLERANCE: f64 = 0.1;
const ROUGH_ITERATIONS: usize = 12;

/// Folds that are left out in turn.
const FOLDS_USED: usize = 2;

/// A tracer's lines between two knots: at first, and the fewest that are tried.
const FIRST_LINES: f64 = 500.0;
const FEWEST_LINES: f64 = 40.0;

/// The knot spacing that predicts best still leaves out a tenth of the variance; so much of it leaves out next to nothing.
const SHORTENED: f64 = 0.85;

/// Lines up to so many knot spacings before a tracer's first point and after its last one count too: ends are the least certain.
const EDGE: f64 = 0.1;

/// Bounds of the fitted widths (mm).
const NARROWEST: f64 = 0.1;
const WIDEST: f64 = 20.0;

/// Fits each trajectory as a whole to the lines of the recording: no samples, so nothing is blurred by motion.
///
/// A tracer's path is a cubic spline with knots at equal times. Lines belong to it, to others and to the background with
/// probabilities (an EM algorithm), by their distances from all paths at their times; the offset of a tracer's lines has a narrow
/// and a wide Gaussian part. The path solves a linear system with a narrow band, directly: cost and memory are linear in the lines.
/// Activities and the local background are those of each stretch of 4,096 lines; the widths are common to the recording.
///
/// Gives rows `t x y z vx vy vz sigma_xx sigma_xy sigma_xz sigma_yy sigma_yz sigma_zz label` (ms, mm, mm/ms, mm²) in the order of
/// time, at the times of the given points or at equal time steps. The covariances are those of the inverse observed information,
/// averaged over nearby lines; they do not know that lines between two tracers that touch could be either's.
///
/// Rows with negative labels are left out. A trajectory is cut where it has no points for several knot spacings. Times at which
/// the lines do not say that the tracer was there, and places known less well than a single line tells, give no row; a warning
/// counts them.
///
/// In a pipeline the lines of the recording are the attribute `_lines` of the points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitTrajectory {
    #[serde(skip_serializing_if = "Option::is_none")]
    knot_spacing: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_step: Option<f64>,
    max_gap: f64,
    widths: [f64; 2],
    narrow_share: f64,
}

impl Default for FitTrajectory {
    fn default() -> Self {
        Self {
            knot_spacing: None,
            time_step: None,
            max_gap: 4.0,
            widths: [2.2, 6.5],
            narrow_share: 0.55,
        }
    }
}

impl FitTrajectory {
    /// With the knot spacing that predicts lines best which were left out.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The time between knots (ms), instead of the one that cross-validation finds.
    #[must_use]
    pub fn knot_spacing(self, spacing: f64) -> Self {
        Self {
            knot_spacing: Some(spacing),
            ..self
        }
    }

    /// Rows each `time_step` (ms) from a trajectory's first point, instead of at the times of the points.
    #[must_use]
    pub fn time_step(self, time_step: f64) -> Self {
        Self {
            time_step: Some(time_step),
            ..self
        }
    }

    /// A trajectory is cut where it has no points for longer than so many knot spacings.
    #[must_use]
    pub fn max_gap(self, max_gap: f64) -> Self {
        Self { max_gap, ..self }
    }

    /// The narrow and the wide width of offsets on an axis (mm), and the share of the narrow one, that the fit starts from.
    #[must_use]
    pub fn widths(self, narrow: f64, wide: f64, narrow_share: f64) -> Self {
        Self {
            widths: [narrow, wide],
            narrow_share,
            ..self
        }
    }

    /// The work. Lines and points may be in any order; samples do not matter.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for lines or points that are not; [`Error::Parameter`] for a time step that makes too many rows.
    pub fn fit_lines(&self, lines: &LineData, trajectories: &PointData) -> Result<PointData> {
        let rays = rays_of(lines)?;
        let tracers = tracers_of(trajectories)?;
        let density = Density {
            widths: self.widths,
            narrow_share: self.narrow_share,
        };
        let (spacing, density) = match self.knot_spacing {
            Some(spacing) => (spacing, density),
            None => self.best_spacing(&rays, &tracers, density),
        };
        let mut fit = Fit::new(&rays, &tracers, density, spacing, self.max_gap);
        let iterations = fit.iterate(true, None, TOLERANCE, ITERATIONS);
        tracing::debug!(spacing, iterations, density = ?fit.density, "trajectories fitted");
        self.rows(&mut fit, &tracers, trajectories)
    }

    /// The knot spacing with which lines that were left out are most likely, but a little shorter, and a better guess at the density.
    fn best_spacing(&self, rays: &[Ray], tracers: &[Tracer], density: Density) -> (f64, Density) {
        let (rays, tracers) = stretches(rays, tracers);
        let duration = |tracer: &Tracer| match (tracer.points.first(), tracer.points.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0.0,
        };
        let (mut longest, mut sum) = (0.0_f64, 0.0);
        for tracer in &tracers {
            longest = longest.max(duration(tracer));
            sum += duration(tracer);
        }
        let (Some(first), Some(last)) = (rays.first(), rays.last()) else {
            return (1.0, density); // no matter
        };
        if !(longest > 0.0 && last.time > first.time) {
            return (1.0, density);
        }
        // A third of the lines for all tracers that are seen at a time, as a start.
        let at_a_time = (sum / longest).max(1.0);
        let rate = rays.len() as f64 / (last.time - first.time) / (3.0 * at_a_time);
        let pilot_spacing = (FIRST_LINES / rate).min(longest);
        let mut pilot = Fit::new(&rays, &tracers, density, pilot_spacing, self.max_gap);
        pilot.iterate(true, None, ROUGH_TOLERANCE, ROUGH_ITERATIONS);
        let score = |spacing: f64| -> f64 {
            let folds = (0..FOLDS_USED).into_par_iter().map(|fold| {
                let mut fit = Fit::new(&rays, &tracers, pilot.density, spacing, self.max_gap);
                fit.start_from(&pilot);
                fit.iterate(false, Some(fold), ROUGH_TOLERANCE, ROUGH_ITERATIONS);
                fit.sums(Some(fold)).held_score
            });
            folds.collect::<Vec<f64>>().into_iter().sum()
        };
        // Factors of four, then of two, then of the root of two, around the best.
        let mut tried: Vec<(f64, f64)> = Vec::new();
        let best = |tried: &[(f64, f64)]| {
            let better = |a: (f64, f64), b: (f64, f64)| if b.1 > a.1 { b } else { a };
            let none = (longest, f64::NEG_INFINITY);
            tried.iter().copied().fold(none, better).0
        };
        let mut spacing = longest;
        while tried.is_empty() || spacing * rate > FEWEST_LINES {
            tried.push((spacing, score(spacing)));
            spacing *= 0.25;
        }
        for factor in [2.0, std::f64::consts::SQRT_2] {
            let middle = best(&tried);
            for spacing in [middle * factor, middle / factor] {
                if spacing <= longest {
                    tried.push((spacing, score(spacing)));
                }
            }
        }
        tracing::debug!(?tried, "knot spacings and scores");
        let best = best(&tried);
        let is_longest = best >= longest;
        let factor = if is_longest { 1.0 } else { SHORTENED };
        (factor * best, pilot.density)
    }

    /// The rows of all curves.
    fn rows(&self, fit: &mut Fit<'_>, tracers: &[Tracer], points: &PointData) -> Result<PointData> {
        let sums = fit.evidence();
        let unknown = 3.0 * fit.density.widths[1] * fit.density.widths[1];
        let curves: Vec<(Vec<Row>, usize)> = fit
            .curves
            .par_iter()
            .zip(&sums.curves)
            .map(|(curve, sums)| {
                let times = self.times(curve, &tracers[curve.tracer])?;
                let n_times = times.len();
                let (mut band, _) = curve.equations(&sums.covariance_system);
                let rows = if band.factorise() {
                    let inverse = band.selected_inverse();
                    let times = times.into_iter();
                    let rows = times
                        .filter(|&time| curve.is_there(time, &sums.evidence))
                        .map(|time| curve.row(time, &inverse));
                    let known = |row: &Row| {
                        let [xx, _, _, yy, _, zz] = row.covariance;
                        xx + yy + zz <= unknown
                    };
                    rows.filter(known).collect()
                } else {
                    Vec::new()
                };
                let lost = n_times - rows.len();
                Ok((rows, lost))
            })
            .collect::<Vec<Result<_>>>()
            .into_iter()
            .collect::<Result<_>>()?; // the error of the first
        let mut rows = Vec::new();
        let mut lost = fit.lone_points;
        for (curve, (found, unknown)) in fit.curves.iter().zip(curves) {
            lost += unknown;
            let label = tracers[curve.tracer].label;
            rows.extend(found.into_iter().map(|row| (label, row)));
        }
        if lost > 0 {
            tracing::warn!(
                "{lost} points of trajectories are not known from the lines, and left out"
            );
        }
        rows.sort_by(|(a, p), (b, q)| p.time.total_cmp(&q.time).then(a.total_cmp(b)));
        let mut values = Vec::with_capacity(rows.len() * (4 + COLUMNS.len()));
        for (label, row) in &rows {
            values.push(row.time);
            values.extend(row.position);
            values.extend(row.velocity);
            values.extend(row.covariance);
            values.push(*label);
        }
        let mut attributes = points.attributes().clone();
        attributes.remove("_lines");
        let rows = array_of_rows(values, 4 + COLUMNS.len());
        Ok(PointData::with_columns(rows, &COLUMNS)?.with_attributes(attributes))
    }

    /// When a curve is asked for.
    fn times(&self, curve: &Curve, tracer: &Tracer) -> Result<Vec<f64>> {
        let points = &tracer.points[curve.points.clone()];
        let Some(step) = self.time_step else {
            return Ok(points.iter().map(|(time, _)| *time).collect());
        };
        let (first, last) = (points[0].0, points[points.len() - 1].0);
        if (last - first) / step > MOST_ROWS {
            return Err(Error::Parameter {
                name: "time_step",
                value: step.to_string(),
                needed: "a time step (ms) that makes at most 1e8 points of a trajectory",
            });
        }
        Ok((0..u32::MAX)
            .map(|n| first + f64::from(n) * step)
            .take_while(|&time| time <= last)
            .collect())
    }
}

/// More rows than this come from a wrong time step.
const MOST_ROWS: f64 = 1e8;
const COLUMNS: [&str; 10] = [
    "vx", "vy", "vz", "sigma_xx", "sigma_xy", "sigma_xz", "sigma_yy", "sigma_yz", "sigma_zz",
    "label",
];

impl Reducer for FitTrajectory {
    type Input = PointData;
    type Output = PointData;

    fn needs_lines(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        let time = |value: f64| value > 0.0 && value.is_finite();
        if let Some(spacing) = self.knot_spacing
            && !time(spacing)
        {
            return Error::parameter("knot_spacing", spacing, "a time in ms above 0");
        }
        if let Some(step) = self.time_step
            && !time(step)
        {
            return Error::parameter("time_step", step, "a time in ms above 0");
        }
        if self.max_gap.is_nan() || self.max_gap <= 0.0 {
            let needed = "a number of knot spacings above 0";
            return Error::parameter("max_gap", self.max_gap, needed);
        }
        let [narrow, wide] = self.widths;
        if !(narrow >= NARROWEST && narrow < wide && wide <= WIDEST) {
            let needed = "two widths in mm, from 0.1 to 20, the narrow one first";
            return Error::parameter("widths", format!("{:?}", self.widths), needed);
        }
        if !(self.narrow_share > 0.0 && self.narrow_share < 1.0) {
            let needed = "a share between 0 and 1";
            return Error::parameter("narrow_share", self.narrow_share, needed);
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, _: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        match points.attributes().get("_lines") {
            Some(Attribute::Lines(lines)) => self.fit_lines(lines, &points),
            _ if points.n_rows() == 0 => {
                self.fit_lines(&LineData::new(ndarray::Array2::zeros((0, 7)))?, &points)
            }
            _ => Err(Error::Columns(
                "the lines of the recording are missing: give them as the attribute _lines of the points, or call FitTrajectory::fit_lines"
                    .into(),
            )),
        }
    }
}
