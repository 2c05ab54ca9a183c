use std::f64::consts::{PI, TAU};
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};

/// Coefficients of a spline that a time has a share in.
const TERMS: usize = 4;
/// Pairs of them.
const PAIRS: usize = TERMS * (TERMS + 1) / 2;
/// Values of a row of a band matrix: the diagonal, and three coefficients of three coordinates before it.
const BAND: usize = 3 * TERMS;
/// Values of the normal equations of an interval between knots: a symmetric matrix for each pair, a vector for each coefficient.
const SYSTEM: usize = 6 * PAIRS + 3 * TERMS;
/// Lines that share their estimates of activities and background.
const BLOCK: usize = 4096;
/// Blocks whose sums are in memory together.
const IN_FLIGHT: usize = 512;
/// Lines within so many wide widths of a tracer tell its background.
const REACH: f64 = 6.0;
/// Weight (1/mm²) of squared second differences of coefficients: a deviation of 100 mm.
const PENALTY: f64 = 1e-4;
/// Weight (1/mm²) that keeps a step finite: a deviation of 1 m.
const RIDGE: f64 = 1e-6;
/// The shares of information that lines keep though their tracer is uncertain: for steps, which would overshoot below a half, and for
/// covariances.
const SMALLEST_STEP_SHARE: f64 = 0.55;
const SMALLEST_SHARE: f64 = 0.1;
/// Iterations end when coefficients move by less than this, in standard deviations.
const TOLERANCE: f64 = 0.02;
const ITERATIONS: usize = 60;
/// The same while knot spacings are compared.
const ROUGH_TOLERANCE: f64 = 0.1;
const ROUGH_ITERATIONS: usize = 12;
/// Of so many folds, so many are left out in turn to compare knot spacings.
const FOLDS: usize = 5;
const FOLDS_USED: usize = 2;
/// Lines next to each other in a fold.
const FOLD_LINES: usize = 16;
/// Lines that are looked at to compare knot spacings: so many stretches of so many.
const STRETCHES: usize = 4;
const STRETCH: usize = 65_536;
/// A tracer's lines between two knots: at first, and the fewest that are tried.
const FIRST_LINES: f64 = 500.0;
const FEWEST_LINES: f64 = 40.0;
/// The knot spacing that predicts best still leaves out a tenth of the variance; so much of it leaves out next to nothing.
const SHORTENED: f64 = 0.85;
/// Lines up to so many knot spacings before a tracer's first point and after its last one count too: ends are the least certain.
const EDGE: f64 = 0.1;
/// A tracer is there if its lines are so much more likely (as a logarithm) between two knots than without it, which no place in mere
/// background is,
const PRESENT: f64 = 12.0;
/// and not so much less likely in any eighth of that time, or a larger part that has so many of its lines.
const ABSENT: f64 = -3.0;
const BIN_LINES: f64 = 32.0;
/// Its lines are then at least such a share of what they are on average.
const LEAST_SHARE: f64 = 0.3;
const MOST_BINS: f64 = 8.0;
/// Bounds of the fitted widths (mm).
const NARROWEST: f64 = 0.1;
const WIDEST: f64 = 20.0;

type Vector = [f64; 3];
/// xx, xy, xz, yy, yz, zz
type Symmetric = [f64; 6];

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
                fit.activities.clone_from(&pilot.activities);
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
        let parameter = |name, value: String, needed| {
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        let time = |value: f64| value > 0.0 && value.is_finite();
        if let Some(spacing) = self.knot_spacing
            && !time(spacing)
        {
            return parameter("knot_spacing", spacing.to_string(), "a time in ms above 0");
        }
        if let Some(step) = self.time_step
            && !time(step)
        {
            return parameter("time_step", step.to_string(), "a time in ms above 0");
        }
        if self.max_gap.is_nan() || self.max_gap <= 0.0 {
            let needed = "a number of knot spacings above 0";
            return parameter("max_gap", self.max_gap.to_string(), needed);
        }
        let [narrow, wide] = self.widths;
        if !(narrow >= NARROWEST && narrow < wide && wide <= WIDEST) {
            let needed = "two widths in mm, from 0.1 to 20, the narrow one first";
            return parameter("widths", format!("{:?}", self.widths), needed);
        }
        if !(self.narrow_share > 0.0 && self.narrow_share < 1.0) {
            let needed = "a share between 0 and 1";
            return parameter("narrow_share", self.narrow_share.to_string(), needed);
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

/// A line of response.
#[derive(Clone, Copy, Debug)]
struct Ray {
    time: f64,
    point: Vector,
    direction: Vector,
}

impl Ray {
    /// From the line to a place, perpendicular to the line.
    fn offset(&self, place: Vector) -> Vector {
        let [x, y, z] = self.direction;
        let [px, py, pz] = self.point;
        let (dx, dy, dz) = (place[0] - px, place[1] - py, place[2] - pz);
        let along = dx * x + dy * y + dz * z;
        [dx - along * x, dy - along * y, dz - along * z]
    }

    /// The projection onto the plane perpendicular to the line.
    fn projection(&self) -> Symmetric {
        let [x, y, z] = self.direction;
        [
            1.0 - x * x,
            -(x * y),
            -(x * z),
            1.0 - y * y,
            -(y * z),
            1.0 - z * z,
        ]
    }
}

/// Lines in the order of time, without those that have no length.
fn rays_of(lines: &LineData) -> Result<Vec<Ray>> {
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
struct Tracer {
    label: f64,
    /// Times and positions, in the order of time.
    points: Vec<(f64, Vector)>,
}

fn tracers_of(points: &PointData) -> Result<Vec<Tracer>> {
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
fn stretches(rays: &[Ray], tracers: &[Tracer]) -> (Vec<Ray>, Vec<Tracer>) {
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

/// How the lines of a tracer scatter about it.
#[derive(Clone, Copy, Debug)]
struct Density {
    /// Standard deviations on an axis (mm).
    widths: [f64; 2],
    narrow_share: f64,
}

/// A tracer in a block of lines.
#[derive(Clone, Debug)]
struct Activity {
    tracer: usize,
    /// Its share of the lines.
    share: f64,
    /// The background about it: its share of the lines, per mm².
    background: f64,
}

/// A piece of a trajectory: a cubic spline.
#[derive(Clone, Debug)]
struct Curve {
    tracer: usize,
    /// Which of the tracer's points it goes through.
    points: Range<usize>,
    /// The first knot.
    start: f64,
    spacing: f64,
    /// One for each interval between knots, and three more.
    coefficients: Vec<Vector>,
    /// Lines at its time.
    rays: Range<usize>,
    /// Parts of an interval between knots in which it is asked whether the tracer is there; 0 for none.
    bins: usize,
    /// The share of lines that it would have at least.
    least_share: f64,
}

/// What is said about a curve at a time.
#[derive(Clone, Copy, Debug)]
struct Row {
    time: f64,
    position: Vector,
    velocity: Vector,
    covariance: Symmetric,
}

impl Curve {
    /// Near a tracer's points.
    fn new(
        tracer: usize,
        all: &[(f64, Vector)],
        points: Range<usize>,
        spacing: f64,
        rays: Range<usize>,
    ) -> Self {
        let some = &all[points.clone()];
        let edge = EDGE * spacing;
        let (start, end) = (some[0].0 - edge, some[some.len() - 1].0 + edge);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least one; more than there are lines are of no use"
        )]
        let intervals = (((end - start) / spacing).ceil() as usize).clamp(1, rays.len().max(1));
        let mut curve = Self {
            tracer,
            points,
            start,
            spacing: (end - start) / intervals as f64,
            coefficients: vec![[0.0; 3]; intervals + TERMS - 1],
            rays,
            bins: 0,
            least_share: 0.0,
        };
        let mut systems = vec![[0.0; SYSTEM]; intervals];
        let mut pull = |time: f64, place: Vector, weight: f64| {
            let (interval, weights) = curve.weights(time);
            let identity = [weight, 0.0, 0.0, weight, 0.0, weight];
            let product = place.map(|value| weight * value);
            add(&mut systems[interval], &weights, &identity, product);
        };
        for &(time, place) in some {
            pull(time, place, 1.0);
        }
        // Where there are no points, straight lines between them.
        let mut next = 1;
        for n in 0..4 * intervals {
            let time = start + (n as f64 + 0.5) * 0.25 * (end - start) / intervals as f64;
            while next + 1 < some.len() && some[next].0 < time {
                next += 1;
            }
            let ((t1, a), (t2, b)) = (some[next - 1], some[next.min(some.len() - 1)]);
            let share = if t2 > t1 {
                (time - t1) / (t2 - t1)
            } else {
                0.0
            };
            let place = std::array::from_fn(|axis| a[axis] + share * (b[axis] - a[axis]));
            pull(time, place, 0.05);
        }
        let (mut band, mut values) = curve.equations(&systems);
        if band.factorise() {
            band.solve(&mut values);
            curve.step(&values);
        }
        curve
    }

    /// The interval that a time is in, and the shares of the four coefficients that count there.
    fn weights(&self, time: f64) -> (usize, [f64; TERMS]) {
        let (interval, u) = self.locate(time);
        let v = 1.0 - u;
        let weights = [
            v * v * v / 6.0,
            (4.0 + u * u * (3.0 * u - 6.0)) / 6.0,
            (4.0 + v * v * (3.0 * v - 6.0)) / 6.0,
            u * u * u / 6.0,
        ];
        (interval, weights)
    }

    fn locate(&self, time: f64) -> (usize, f64) {
        let place = (time - self.start) / self.spacing;
        let last = self.coefficients.len() - TERMS;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "negative ones become 0"
        )]
        let interval = (place as usize).min(last);
        (interval, place - interval as f64)
    }

    /// The part of an interval that a time is in, counted from the first knot.
    fn bin(&self, time: f64) -> Option<usize> {
        if self.bins == 0 {
            return None;
        }
        let (interval, u) = self.locate(time);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "negative ones become 0"
        )]
        let part = ((u * self.bins as f64) as usize).min(self.bins - 1);
        Some(interval * self.bins + part)
    }

    /// Whether the tracer was there, as its lines say.
    fn is_there(&self, time: f64, evidence: &[f64]) -> bool {
        let interval = self.locate(time).0 * self.bins;
        let between_knots: f64 = evidence[interval..interval + self.bins].iter().sum();
        between_knots > PRESENT && self.bin(time).is_some_and(|bin| evidence[bin] > ABSENT)
    }

    fn combine(&self, interval: usize, weights: &[f64; TERMS]) -> Vector {
        let mut place = [0.0; 3];
        for (weight, coefficient) in weights.iter().zip(&self.coefficients[interval..]) {
            for (value, c) in place.iter_mut().zip(coefficient) {
                *value += weight * c;
            }
        }
        place
    }

    fn row(&self, time: f64, inverse: &Band) -> Row {
        let (interval, weights) = self.weights(time);
        let (_, u) = self.locate(time);
        let v = 1.0 - u;
        let slopes = [
            -0.5 * v * v,
            0.5 * u * (3.0 * u - 4.0),
            -0.5 * v * (3.0 * v - 4.0),
            0.5 * u * u,
        ]
        .map(|slope| slope / self.spacing);
        let mut covariance = [0.0; 6];
        for (a, wa) in weights.iter().enumerate() {
            for (b, wb) in weights.iter().enumerate() {
                let at =
                    |x: usize, y: usize| inverse.at(3 * (interval + a) + x, 3 * (interval + b) + y);
                let block = [at(0, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(2, 2)];
                for (value, entry) in covariance.iter_mut().zip(block) {
                    *value += wa * wb * entry;
                }
            }
        }
        Row {
            time,
            position: self.combine(interval, &weights),
            velocity: self.combine(interval, &slopes),
            covariance,
        }
    }

    /// The normal equations for a step of the coefficients, of the sums of each interval.
    fn equations(&self, systems: &[[f64; SYSTEM]]) -> (Band, Vec<f64>) {
        let n = self.coefficients.len();
        let mut band = Band::new(3 * n);
        let mut right = vec![0.0; 3 * n];
        for (interval, system) in systems.iter().enumerate() {
            let (matrices, vectors) = system.split_at(6 * PAIRS);
            let mut matrices = matrices.chunks_exact(6);
            for a in 0..TERMS {
                for b in 0..=a {
                    if let Some(&[xx, xy, xz, yy, yz, zz]) = matrices.next() {
                        let rows = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]];
                        for (x, row) in rows.into_iter().enumerate() {
                            for (y, value) in row.into_iter().enumerate() {
                                band.add(3 * (interval + a) + x, 3 * (interval + b) + y, value);
                            }
                        }
                    }
                }
            }
            for (value, term) in right[3 * interval..].iter_mut().zip(vectors) {
                *value += term;
            }
        }
        for row in 0..3 * n {
            band.add(row, row, RIDGE);
        }
        let second_difference = [1.0, -2.0, 1.0];
        for first in 0..n.saturating_sub(2) {
            for axis in 0..3 {
                let curvature: f64 = (0..3)
                    .map(|k| second_difference[k] * self.coefficients[first + k][axis])
                    .sum();
                for (k, a) in second_difference.iter().enumerate() {
                    let row = 3 * (first + k) + axis;
                    right[row] -= PENALTY * a * curvature;
                    for (m, b) in second_difference.iter().enumerate().take(k + 1) {
                        band.add(row, 3 * (first + m) + axis, PENALTY * a * b);
                    }
                }
            }
        }
        (band, right)
    }

    /// Moves the coefficients.
    fn step(&mut self, values: &[f64]) {
        for (coefficient, step) in self.coefficients.iter_mut().zip(values.chunks_exact(3)) {
            for (value, step) in coefficient.iter_mut().zip(step) {
                *value += step;
            }
        }
    }
}

/// Adds to the normal equations of an interval: a matrix and a vector, for coefficients with these shares.
fn add(system: &mut [f64; SYSTEM], weights: &[f64; TERMS], matrix: &Symmetric, vector: Vector) {
    let (matrices, vectors) = system.split_at_mut(6 * PAIRS);
    let mut matrices = matrices.chunks_exact_mut(6);
    for (n, a) in weights.iter().enumerate() {
        for (b, sums) in weights[..=n].iter().zip(&mut matrices) {
            for (sum, value) in sums.iter_mut().zip(matrix) {
                *sum += a * b * value;
            }
        }
    }
    for (a, sums) in weights.iter().zip(vectors.chunks_exact_mut(3)) {
        for (sum, value) in sums.iter_mut().zip(vector) {
            *sum += a * value;
        }
    }
}

/// All curves, and what is thought of activities and widths.
#[derive(Debug)]
struct Fit<'a> {
    rays: &'a [Ray],
    curves: Vec<Curve>,
    density: Density,
    /// Of each block of lines, in the order of tracers.
    activities: Vec<Vec<Activity>>,
    /// Curves in each block, with the place of their tracer among its activities.
    present: Vec<Vec<(usize, usize)>>,
    /// Points that no curve goes through.
    lone_points: usize,
}

/// What lines say, given the curves.
#[derive(Debug)]
struct Sums {
    /// Of each curve.
    curves: Vec<CurveSums>,
    /// Of each block and tracer: lines, those of the tracer, those of the background about it.
    activities: Vec<Vec<[f64; 3]>>,
    /// Of the narrow and the wide part: lines, and their squared distances.
    parts: [[f64; 2]; 2],
    /// The logarithm of the likelihood, relative to that without tracers, of lines that were left out.
    held_score: f64,
}

/// The normal equations of a curve, interval by interval.
#[derive(Clone, Debug)]
struct CurveSums {
    step_system: Vec<[f64; SYSTEM]>,
    covariance_system: Vec<[f64; SYSTEM]>,
    /// Of each bin, how much likelier lines are with the tracer than without, as a logarithm.
    evidence: Vec<f64>,
    /// Lines of its own.
    own: f64,
}

/// What the lines of a block say.
#[derive(Debug)]
struct BlockSums {
    curves: Vec<BlockCurve>,
    activities: Vec<[f64; 3]>,
    parts: [[f64; 2]; 2],
    held_score: f64,
}

#[derive(Debug)]
struct BlockCurve {
    first_interval: usize,
    systems: Vec<[f64; SYSTEM]>,
    evidence: Vec<f64>,
    own: f64,
    /// Information about the place: were it known which lines are its own, and as it is.
    complete: f64,
    observed: f64,
}

/// A curve near a line.
#[derive(Clone, Copy, Debug)]
struct Near {
    place: usize,
    interval: usize,
    bin: Option<usize>,
    weights: [f64; TERMS],
    offset: Vector,
    square: f64,
    /// Densities of the two parts, times share and activity.
    parts: [f64; 2],
}

impl<'a> Fit<'a> {
    fn new(
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

    /// Steps until the curves stay, without a fold of the lines; returns how many.
    fn iterate(
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
    fn evidence(&mut self) -> Sums {
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

    fn sums(&self, held: Option<usize>) -> Sums {
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

impl Curve {
    /// Empty sums for the intervals that some lines are in.
    fn block_curve(&self, rays: &[Ray], range: &Range<usize>) -> BlockCurve {
        let first = range.start.max(self.rays.start);
        let last = range.end.min(self.rays.end) - 1;
        let first_interval = self.locate(rays[first].time).0;
        let last_interval = self.locate(rays[last].time).0;
        BlockCurve {
            first_interval,
            systems: vec![[0.0; SYSTEM]; last_interval + 1 - first_interval],
            evidence: vec![0.0; (last_interval + 1 - first_interval) * self.bins],
            own: 0.0,
            complete: 0.0,
            observed: 0.0,
        }
    }
}

/// Lines from one time to another.
fn within(rays: &[Ray], start: f64, end: f64) -> Range<usize> {
    let first = rays.partition_point(|ray| ray.time < start);
    first..first.max(rays.partition_point(|ray| ray.time <= end))
}

/// The blocks that some lines are in.
fn blocks(rays: &Range<usize>) -> Range<usize> {
    if rays.is_empty() {
        return 0..0;
    }
    rays.start / BLOCK..(rays.end - 1) / BLOCK + 1
}

/// A symmetric matrix of which only a band is not zero; of its lower half.
#[derive(Clone, Debug)]
struct Band {
    /// Row after row, the diagonal last.
    values: Vec<f64>,
}

impl Band {
    fn new(n: usize) -> Self {
        Self {
            values: vec![0.0; n * BAND],
        }
    }

    fn len(&self) -> usize {
        self.values.len() / BAND
    }

    /// Adds to an entry of the lower half; others are left alone.
    fn add(&mut self, row: usize, column: usize, value: f64) {
        if column <= row {
            self.values[row * BAND + BAND - 1 + column - row] += value;
        }
    }

    /// An entry within the band.
    fn at(&self, a: usize, b: usize) -> f64 {
        let (row, column) = (a.max(b), a.min(b));
        self.values[row * BAND + BAND - 1 + column - row]
    }

    /// Becomes the lower triangle L with L L^T; false if it is not positive definite.
    fn factorise(&mut self) -> bool {
        for row in 0..self.len() {
            let (above, own) = self.values.split_at_mut(row * BAND);
            let own = &mut own[..BAND];
            let first = row.saturating_sub(BAND - 1);
            for column in first..=row {
                // Entries of both rows from the first column that both have.
                let offset = BAND - 1 + column - row;
                let from = BAND - 1 + first - row;
                let n = offset - from;
                let other = if column == row {
                    &own[from..offset]
                } else {
                    let end = (column + 1) * BAND - 1;
                    &above[end - n..end]
                };
                let products: f64 = own[from..offset]
                    .iter()
                    .zip(other)
                    .map(|(a, b)| a * b)
                    .sum();
                let rest = own[offset] - products;
                own[offset] = if column < row {
                    rest / above[(column + 1) * BAND - 1]
                } else if rest > 0.0 && rest.is_finite() {
                    rest.sqrt()
                } else {
                    return false;
                };
            }
        }
        true
    }

    /// Solves L L^T x = b in place, after `factorise`.
    fn solve(&self, values: &mut [f64]) {
        for row in 0..self.len() {
            let first = row.saturating_sub(BAND - 1);
            let entries = &self.values[row * BAND + BAND - 1 + first - row..][..row - first];
            let known = entries.iter().zip(&values[first..row]);
            let rest = values[row] - known.map(|(a, b)| a * b).sum::<f64>();
            values[row] = rest / self.values[(row + 1) * BAND - 1];
        }
        for row in (0..self.len()).rev() {
            let first = row.saturating_sub(BAND - 1);
            values[row] /= self.values[(row + 1) * BAND - 1];
            let value = values[row];
            let entries = &self.values[row * BAND + BAND - 1 + first - row..][..row - first];
            for (other, entry) in values[first..row].iter_mut().zip(entries) {
                *other -= entry * value;
            }
        }
    }

    /// The entries within the band of the inverse, after `factorise` (Takahashi, Fagan and Chin 1973).
    fn selected_inverse(&self) -> Self {
        let n = self.len();
        let mut inverse = Self::new(n);
        for column in (0..n).rev() {
            let last = n.min(column + BAND);
            let pivot = self.at(column, column);
            for row in (column..last).rev() {
                let mut sum = if row == column { 1.0 / pivot } else { 0.0 };
                for k in column + 1..last {
                    sum -= self.at(k, column) * inverse.at(row, k);
                }
                inverse.add(row, column, sum / pivot);
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    use super::*;

    /// Lines for each ms, and how long (ms).
    const RATE: f64 = 40.0;
    const SPEED: f64 = 0.0044; // rad/ms, 42 rpm

    fn circle(time: f64, phase: f64) -> Vector {
        let (sin, cos) = (SPEED * time + phase).sin_cos();
        [250.0 + 86.0 * cos, 240.0 + 86.0 * sin, 300.0 + 10.0 * sin]
    }

    fn normal(rng: &mut Pcg64) -> f64 {
        StandardNormal.sample(rng)
    }

    /// A line that misses a place as lines of a tracer between two planes do.
    fn line_near(time: f64, place: Vector, rng: &mut Pcg64) -> [f64; 7] {
        let [a, b] = [0.0; 2].map(|_: f64| rng.random_range(-0.4..0.4));
        let length = f64::sqrt(a * a + b * b + 1.0);
        let width = if rng.random_range(0.0..1.0) < 0.55 {
            2.2
        } else {
            6.5
        };
        let mut offset = [0.0; 3].map(|_: f64| width * normal(rng));
        let along = (offset[0] * a + offset[1] * b + offset[2]) / (length * length);
        for (value, direction) in offset.iter_mut().zip([a, b, 1.0]) {
            *value -= along * direction;
        }
        let at = |z: f64| {
            let up = z - (place[2] + offset[2]);
            [place[0] + offset[0] + up * a, place[1] + offset[1] + up * b]
        };
        let ([x1, y1], [x2, y2]) = (at(0.0), at(712.0));
        [time, x1, y1, 0.0, x2, y2, 712.0]
    }

    /// Lines of tracers, where they are there, with 30 % background.
    fn lines_of(duration: f64, tracers: &[&dyn Fn(f64) -> Option<Vector>], seed: u64) -> LineData {
        let mut rng = Pcg64::seed_from_u64(seed);
        let rows: Vec<[f64; 7]> = (0..(duration * RATE) as usize)
            .map(|n| {
                let time = n as f64 / RATE;
                let there = (rng.random_range(0.0..1.0) > 0.3)
                    .then(|| tracers[n % tracers.len()](time))
                    .flatten();
                if let Some(place) = there {
                    return line_near(time, place, &mut rng);
                }
                let [x1, y1, x2, y2] = [0.0; 4].map(|_: f64| rng.random_range(0.0..500.0));
                [time, x1, y1, 0.0, x2, y2, 712.0]
            })
            .collect();
        LineData::new(Array2::from(rows)).unwrap()
    }

    /// Points as clustering would find them: 1 mm off, with labels.
    fn points_of(
        times: &(impl Iterator<Item = f64> + Clone),
        tracers: &[&dyn Fn(f64) -> Vector],
    ) -> PointData {
        let mut rng = Pcg64::seed_from_u64(99);
        let mut rows = Vec::new();
        for (label, tracer) in tracers.iter().enumerate() {
            for time in times.clone() {
                let [x, y, z] = tracer(time).map(|value| value + normal(&mut rng));
                rows.push([time, x, y, z, label as f64]);
            }
        }
        PointData::with_columns(Array2::from(rows), &["label"]).unwrap()
    }

    fn every(step: f64, duration: f64) -> impl Iterator<Item = f64> + Clone {
        (0..(duration / step) as usize).map(move |n| (n as f64 + 0.5) * step)
    }

    /// Root mean square error (mm), and mean squared normalised error (3 if covariances are honest).
    fn errors(out: &PointData, truth: impl Fn(f64, f64) -> Vector) -> (f64, f64) {
        let (mut squares, mut normalised) = (0.0, 0.0);
        for row in out.values().chunks_exact(14) {
            let truth = truth(row[0], row[13]);
            let mut error: Vec<f64> = (0..3).map(|axis| row[1 + axis] - truth[axis]).collect();
            squares += error.iter().map(|value| value * value).sum::<f64>();
            let mut band = Band::new(3);
            let entries = [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)];
            for ((a, b), value) in entries.into_iter().zip(&row[7..13]) {
                band.add(a, b, *value);
            }
            assert!(band.factorise());
            let right = error.clone();
            band.solve(&mut error);
            normalised += error.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
        }
        let n = out.n_rows() as f64;
        ((squares / n).sqrt(), normalised / n)
    }

    #[test]
    fn two_circles_are_found_and_their_covariances_are_honest() {
        let (one, two) = (|t| circle(t, 0.0), |t| circle(t, PI));
        let lines = lines_of(1600.0, &[&|t| Some(one(t)), &|t| Some(two(t))], 1);
        let points = points_of(&every(5.0, 1600.0), &[&one, &two]);
        let step = FitTrajectory::new().knot_spacing(20.0);
        step.check().unwrap();
        let out = step.fit_lines(&lines, &points).unwrap();
        assert_eq!(out.columns()[4..], COLUMNS);
        assert_eq!(out.n_rows(), points.n_rows());
        let truth = |t, label| if label == 0.0 { one(t) } else { two(t) };
        let (rms, normalised) = errors(&out, truth);
        assert!(rms < 1.5, "{rms}"); // 280 lines of a tracer between two knots
        assert!((normalised - 3.0).abs() < 0.3, "{normalised}");

        // With fewer knots, as many as predict best, it is more accurate, and as honest.
        let out = FitTrajectory::new().fit_lines(&lines, &points).unwrap();
        let (rms, normalised) = errors(&out, truth);
        assert!(rms < 0.8, "{rms}");
        assert!((2.0..4.0).contains(&normalised), "{normalised}");
        for row in out.values().chunks_exact(14) {
            let speed = (row[4] * row[4] + row[5] * row[5]).sqrt();
            assert!((speed - 86.0 * SPEED).abs() < 0.05, "{speed}");
        }
        let radii: f64 = out
            .positions()
            .iter()
            .map(|[x, y, _]| (x - 250.0).hypot(y - 240.0))
            .sum();
        let radius = radii / out.n_rows() as f64;
        assert!((radius - 86.0).abs() < 0.1, "{radius}");
    }

    #[test]
    fn nothing_is_invented_in_gaps_and_bad_points_do_not_matter() {
        // Away for 400 ms; seen by nobody for 100 ms before.
        let there = |t: f64| !(300.0..800.0).contains(&t);
        let lines = lines_of(1000.0, &[&|t| there(t).then(|| circle(t, 0.0))], 2);
        let times = every(5.0, 1000.0).filter(|t| !(400.0..800.0).contains(t));
        let points = points_of(&times, &[&|t| circle(t, 0.0)]);
        let step = FitTrajectory::new().knot_spacing(30.0);
        let regular = step
            .clone()
            .time_step(1.0)
            .fit_lines(&lines, &points)
            .unwrap();
        let times = regular.column(0);
        assert!(!times.iter().any(|t| (304.0..800.0).contains(t)));
        assert!(times.iter().filter(|&&t| t < 300.0).count() > 290);
        assert!(times.iter().filter(|&&t| t > 800.0).count() > 190);
        for row in regular.values().chunks_exact(14) {
            let sigma = (row[7] + row[10] + row[12]).sqrt();
            let truth = circle(row[0], 0.0);
            let error = (0..3)
                .map(|k| (row[1 + k] - truth[k]).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(error < 4.0 * sigma && sigma < 12.0, "{row:?}");
        }

        let mut values = points.values().to_vec();
        values[5 * 20 + 1] += 60.0;
        values[5 * 21 + 4] = -1.0;
        let worse = PointData::with_columns(array_of_rows(values, 5), &["label"]).unwrap();
        let good = step.fit_lines(&lines, &points).unwrap();
        let bad = step.fit_lines(&lines, &worse).unwrap();
        assert_eq!(bad.n_rows() + 1, good.n_rows());
        for (a, b) in good.positions().iter().zip(bad.positions()).take(20) {
            assert!((0..3).all(|axis| (a[axis] - b[axis]).abs() < 0.1));
        }
    }

    #[test]
    fn hopeless_lines_and_points_give_no_rows() {
        let lines = lines_of(100.0, &[&|t| Some(circle(t, 0.0))], 3);
        let points = points_of(&every(5.0, 100.0), &[&|t| circle(t, 0.0)]);
        let step = FitTrajectory::new();
        let rows = |lines: &LineData, points: &PointData| {
            let out = step.fit_lines(lines, points).unwrap();
            assert_eq!(out.columns()[4..], COLUMNS);
            out.n_rows()
        };
        assert_eq!(rows(&lines, &points), 20);
        assert_eq!(rows(&lines.slice_rows(..0).unwrap(), &points), 0);
        assert_eq!(rows(&lines, &points.slice_rows(..0).unwrap()), 0);
        assert_eq!(rows(&lines, &points.slice_rows(..1).unwrap()), 0);
        // Parallel, all the same, without length, of other times.
        let some = |row: &dyn Fn(f64) -> [f64; 7]| {
            let rows: Vec<[f64; 7]> = every(0.1, 100.0).map(row).collect();
            LineData::new(Array2::from(rows)).unwrap()
        };
        let parallel = some(&|t| {
            let [x, y, _] = circle(t, 0.0);
            [t, x, y, 0.0, x, y, 712.0]
        });
        let identical = some(&|t| [t, 336.0, 240.0, 0.0, 337.0, 241.0, 712.0]);
        let dots = some(&|t| [t, 300.0, 300.0, 300.0, 300.0, 300.0, 300.0]);
        let later = some(&|t| [t + 1e6, 336.0, 240.0, 0.0, 337.0, 241.0, 712.0]);
        for lines in [parallel, identical, dots, later] {
            assert_eq!(rows(&lines, &points), 0);
        }
        let mut values = lines.values().to_vec();
        values[9] = f64::NAN;
        let broken = LineData::new(array_of_rows(values, 7)).unwrap();
        assert!(matches!(
            step.fit_lines(&broken, &points),
            Err(Error::NotFinite { row: 1, .. })
        ));
    }

    #[test]
    fn threads_and_the_order_of_rows_do_not_matter_and_lines_are_an_attribute() {
        let lines = lines_of(300.0, &[&|t| Some(circle(t, 0.0))], 4);
        let points = points_of(&every(5.0, 300.0), &[&|t| circle(t, 0.0)]);
        let step = FitTrajectory::new();
        let all = step.fit_lines(&lines, &points).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = pool.install(|| step.fit_lines(&lines, &points).unwrap());
        assert_eq!(all.values(), alone.values());
        let backwards: Vec<usize> = (0..lines.n_rows()).rev().collect();
        let reversed = step.fit_lines(&lines.take(&backwards), &points).unwrap();
        assert_eq!(all.values(), reversed.values());

        let reduce = |points: PointData| step.reduce(vec![points], &Context::FIRST);
        assert!(matches!(reduce(points.clone()), Err(Error::Columns(_))));
        assert_eq!(reduce(points.empty()).unwrap().n_rows(), 0);
        let with_lines = points.with_attribute("_lines", Attribute::Lines(lines));
        let out = reduce(with_lines).unwrap();
        assert_eq!(out, all);
    }

    #[test]
    fn band_matrices_agree_with_dense_ones() {
        const N: usize = 40;
        let mut rng = Pcg64::seed_from_u64(5);
        let mut band = Band::new(N);
        for row in 0..N {
            for column in row.saturating_sub(BAND - 1)..row {
                band.add(row, column, normal(&mut rng));
            }
            band.add(row, row, 30.0);
        }
        let entry = |row: usize, column: usize| {
            let within = row.abs_diff(column) < BAND;
            if within { band.at(row, column) } else { 0.0 }
        };
        let mut rest: Vec<[f64; N]> = (0..N)
            .map(|row| std::array::from_fn(|column| entry(row, column)))
            .collect();
        // Gauss-Jordan, without a pivot: it is positive definite.
        let mut inverse: Vec<[f64; N]> = (0..N)
            .map(|n| std::array::from_fn(|m| f64::from(u8::from(n == m))))
            .collect();
        for n in 0..N {
            let pivot = rest[n][n];
            for m in 0..N {
                rest[n][m] /= pivot;
                inverse[n][m] /= pivot;
            }
            for k in (0..N).filter(|&k| k != n) {
                let factor = rest[k][n];
                for m in 0..N {
                    rest[k][m] -= factor * rest[n][m];
                    inverse[k][m] -= factor * inverse[n][m];
                }
            }
        }
        assert!(band.factorise());
        let right: Vec<f64> = (0..N).map(|_| normal(&mut rng)).collect();
        let mut solution = right.clone();
        band.solve(&mut solution);
        for (row, value) in inverse.iter().zip(&solution) {
            let dense: f64 = row.iter().zip(&right).map(|(a, b)| a * b).sum();
            assert!((dense - value).abs() < 1e-12);
        }
        let selected = band.selected_inverse();
        for (row, values) in inverse.iter().enumerate() {
            for (column, value) in values.iter().enumerate().take(row + 1) {
                if row - column >= BAND {
                    continue;
                }
                assert!((selected.at(row, column) - value).abs() < 1e-13);
                assert_eq!(selected.at(row, column), selected.at(column, row));
            }
        }
        let mut indefinite = Band::new(2);
        indefinite.add(0, 0, 1.0);
        indefinite.add(1, 0, 2.0);
        indefinite.add(1, 1, 1.0);
        assert!(!indefinite.factorise());
    }

    #[test]
    fn senseless_parameters_are_errors() {
        let new = FitTrajectory::new;
        for step in [
            new().knot_spacing(0.0),
            new().knot_spacing(f64::NAN),
            new().time_step(-1.0),
            new().max_gap(0.0),
            new().widths(2.0, 2.0, 0.5),
            new().widths(2.0, 6.0, 1.0),
        ] {
            assert!(
                matches!(step.check(), Err(Error::Parameter { .. })),
                "{step:?}"
            );
        }
        let lines = lines_of(10.0, &[&|t| Some(circle(t, 0.0))], 6);
        let points = points_of(&every(5.0, 10.0), &[&|t| circle(t, 0.0)]);
        let many = new()
            .knot_spacing(5.0)
            .time_step(1e-9)
            .fit_lines(&lines, &points);
        assert!(matches!(
            many,
            Err(Error::Parameter {
                name: "time_step",
                ..
            })
        ));
    }
}
