//! The likelihood of lines of response: tracers that move as polynomials of time, and a background.
//!
//! In the plane perpendicular to line i a tracer k is seen with the density `g = sum_j share_j exp(-d^2 / 2 s_j^2) / (2 pi s_j^2)`,
//! d its distance from the line at the line's time. Lines arrive as a Poisson process of density `f_i = b + sum_k n_k g_ik`: `n_k` is
//! the expected number of the tracer's lines, b that of the background per mm^2 near the tracers, where alone it matters. So only
//! the lines near a tracer are looked at, and nothing needs to be known about the detector.
//!
//! Manger, Renaud and Vanneste, "An expectation-maximization algorithm for positron emission particle tracking", Review of
//! Scientific Instruments 92, 085105 (2021).

use std::cmp::Ordering;
use std::f64::consts::{PI, TAU};
use std::mem::replace;
use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch, f64x4, prelude::*};

use crate::data::LineData;
use crate::error::{Error, Result};

/// Lines of a pack, and lanes of a vector.
pub(super) const LANES: usize = 4;
/// Most terms of a motion: position, velocity, acceleration.
const TERMS: usize = 3;
/// Most unknowns of a path.
const UNKNOWNS: usize = 3 * TERMS;
/// Moments of time in a path's matrix.
const MOMENTS: usize = 2 * TERMS - 1;

/// A tracer's lines are those within so many of its widest scale.
const REACH: f64 = 6.0;
/// The list of a tracer's lines is made so much wider (mm), and made anew when the tracer moved that far.
const MARGIN: f64 = 4.0;
/// Newton's steps are taken when the last step was shorter than this (mm), and only up to twice that length.
const NEAR: f64 = 0.6;
/// So short a step (mm) and so small a change of a count (as a share) are the last.
const CONVERGED: f64 = 5e-4;
const SETTLED: f64 = 1e-3;
/// Steps that are enough to converge, or nothing is.
const STEPS: usize = 200;
/// Lines that the background is given beforehand, so that it is never zero.
const PRIOR_LINES: f64 = 1.0;
/// Added to the diagonal of matrices, as a share of their trace: directions that nothing is known of stay as they are.
const DAMPING: f64 = 1e-9;
/// Tracers nearer to each other than this many widest scales are solved for together, this many at most.
const COUPLED: f64 = 4.0;
const MOST_COUPLED: usize = 12;
/// The log likelihood that a tracer must gain grows by this for each order of motion: with velocities to choose from, chance finds
/// more. With 25 for order 0, 5 of 192,000 samples of 5 to 1,600 random lines gave a point.
const GAIN_PER_ORDER: f64 = 6.0;
/// The share of that gain that two tracers near each other need over one in their place, where no space is searched.
const GAIN_OF_TWO: f64 = 0.5;
/// A point must be supported by so many lines along the direction that is known worst, and by this share of all of its lines: a beam
/// of lines is no tracer, wherever a few others happen to cross it.
const SUPPORT: f64 = 6.0;
const SHARE_OF_SUPPORT: f64 = 0.1;
/// Ratios are multiplied up to so many, each below [`LARGEST_RATIO`], before the logarithm is taken.
const FACTORS: usize = 30;
const LARGEST_RATIO: f64 = 1e9;
/// Where exponents end: exp(-44) = 8e-20.
const LARGEST_EXPONENT: f64 = 44.0;
/// Fitted widths and shares stay within these limits.
const WIDTHS: [f64; 2] = [0.2, 50.0];
const SHARES: [f64; 2] = [0.05, 0.95];

/// What a tracer is: how it moves, how its lines lie around it, and what tells it from chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    order: usize,
    widths: [f64; 2],
    narrow_share: f64,
    fit_widths: bool,
    min_gain: f64,
    max_error: f64,
}

impl Model {
    /// Motion of order 0 (at rest) to 2; two Gaussians of `widths` (mm per axis), the narrow one with a share of the lines.
    pub(super) fn new(
        order: usize,
        widths: [f64; 2],
        narrow_share: f64,
        min_gain: f64,
        max_error: f64,
    ) -> Self {
        Self {
            order,
            widths,
            narrow_share,
            fit_widths: false,
            min_gain,
            max_error,
        }
    }

    /// Whether widths and their shares are fitted too.
    pub(super) fn fit_widths(self, fit_widths: bool) -> Self {
        Self { fit_widths, ..self }
    }

    pub(super) fn check(&self) -> Result<()> {
        let error = |name, value: String, needed| {
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.order >= TERMS {
            return error("order", self.order.to_string(), "0, 1 or 2");
        }
        if !(positive(self.widths[0])
            && positive(self.widths[1])
            && self.widths[0] <= self.widths[1])
        {
            let needed = "two numbers above 0 (mm), the smaller first";
            return error("widths", format!("{:?}", self.widths), needed);
        }
        if !(self.narrow_share > 0.0 && self.narrow_share <= 1.0) {
            let needed = "a share above 0 and at most 1";
            return error("narrow_share", self.narrow_share.to_string(), needed);
        }
        if !(self.min_gain >= 0.0 && self.min_gain.is_finite()) {
            let needed = "a number, 0 or more";
            return error("min_gain", self.min_gain.to_string(), needed);
        }
        if !positive(self.max_error) {
            let needed = "a number above 0 (mm)";
            return error("max_error", self.max_error.to_string(), needed);
        }
        Ok(())
    }

    /// What the log likelihood must gain by a tracer.
    fn gain(&self) -> f64 {
        self.min_gain + GAIN_PER_ORDER * self.order as f64
    }

    fn narrow(&self) -> f64 {
        self.widths[0]
    }

    fn wide(&self) -> f64 {
        self.widths[1]
    }

    /// The columns of [`Estimate::row`].
    pub(super) fn columns(&self) -> Vec<&'static str> {
        let mut columns = COLUMNS.to_vec();
        if self.order == 0 {
            columns.drain(VELOCITY);
        }
        columns
    }
}

const COLUMNS: [&str; 17] = [
    "t",
    "x",
    "y",
    "z",
    "vx",
    "vy",
    "vz",
    "error",
    "cluster_size",
    "share",
    "width",
    "sigma_xx",
    "sigma_xy",
    "sigma_xz",
    "sigma_yy",
    "sigma_yz",
    "sigma_zz",
];
const VELOCITY: Range<usize> = 4..7;

/// Four lines by coordinate: a point (mm), the unit direction, the time from -1 to 1.
#[derive(Clone, Copy, Debug, Default)]
struct Pack {
    p: [[f64; LANES]; 3],
    u: [[f64; LANES]; 3],
    tau: [f64; LANES],
}

/// What fills the last pack: a line far from everything.
const FAR: Pack = Pack {
    p: [[1e18; LANES]; 3],
    u: [[1.0; LANES], [0.0; LANES], [0.0; LANES]],
    tau: [0.0; LANES],
};

/// A sample's lines, in an order that does not depend on that of the rows; those without length or with values that are not
/// finite are left out.
#[derive(Debug)]
pub(super) struct Lors {
    packs: Vec<Pack>,
    n: usize,
    /// The middle of the window and half its length (ms); 0 and 1 if all times are the same.
    middle: f64,
    half: f64,
    /// How many different times there are, up to 3: motion of a higher order cannot be known.
    n_times: usize,
    /// Bounding box of the end points (mm).
    limits: [[f64; 2]; 3],
    level: Level,
}

impl Lors {
    pub(super) fn new(lines: &LineData) -> Self {
        Self::from_rows(lines.line_slice().rows().collect())
    }

    /// Without the copies of a line.
    pub(super) fn of_distinct(lines: &LineData) -> Self {
        let mut rows: Vec<&[f64; 7]> = lines.line_slice().rows().collect();
        sort(&mut rows);
        rows.dedup_by(|a, b| compare(a, b).is_eq());
        Self::from_rows(rows)
    }

    fn from_rows(mut rows: Vec<&[f64; 7]>) -> Self {
        sort(&mut rows);
        let mut packs = vec![FAR; rows.len().div_ceil(LANES)];
        let (mut n, mut n_times) = (0, 0);
        let mut limits = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        let mut span = [f64::INFINITY, f64::NEG_INFINITY];
        for &[t, x1, y1, z1, x2, y2, z2] in rows {
            let (p, q) = ([x1, y1, z1], [x2, y2, z2]);
            let d = [x2 - x1, y2 - y1, z2 - z1];
            let length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
            if !(length > 0.0 && length.is_finite() && t.is_finite()) {
                continue;
            }
            let (pack, lane) = (&mut packs[n / LANES], n % LANES);
            for k in 0..3 {
                pack.p[k][lane] = p[k];
                pack.u[k][lane] = d[k] / length;
                let [low, high] = limits[k];
                limits[k] = [low.min(p[k]).min(q[k]), high.max(p[k]).max(q[k])];
            }
            pack.tau[lane] = t;
            n_times = TERMS.min(n_times + usize::from(t > span[1]));
            span = [span[0].min(t), t];
            n += 1;
        }
        packs.truncate(n.div_ceil(LANES));
        let half = 0.5 * (span[1] - span[0]);
        let (middle, half) = if half > 0.0 && half.is_finite() {
            (span[0] + half, half)
        } else {
            n_times = n_times.min(1);
            (span[0], 1.0)
        };
        for (first, pack) in (0..).step_by(LANES).zip(&mut packs) {
            for tau in &mut pack.tau[..LANES.min(n - first)] {
                *tau = (*tau - middle) / half;
            }
        }
        Self {
            packs,
            n,
            middle,
            half,
            n_times,
            limits,
            level: Level::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// A line's point and direction.
    pub(super) fn line(&self, n: usize) -> ([f64; 3], [f64; 3]) {
        let (pack, lane) = (&self.packs[n / LANES], n % LANES);
        let ([px, py, pz], [ux, uy, uz]) = (&pack.p, &pack.u);
        (
            [px[lane], py[lane], pz[lane]],
            [ux[lane], uy[lane], uz[lane]],
        )
    }

    /// Whether a point is in the bounding box of the end points, give or take `margin` (mm).
    pub(super) fn contains(&self, x: &[f64; 3], margin: f64) -> bool {
        (0..3).all(|k| self.limits[k][0] - margin <= x[k] && x[k] <= self.limits[k][1] + margin)
    }

    /// The path through `position` (mm) at the time `t` (ms) with a velocity (mm/ms).
    pub(super) fn path(&self, t: f64, position: [f64; 3], velocity: [f64; 3]) -> Path {
        let step = velocity.map(|v| v * self.half);
        let tau = (t - self.middle) / self.half;
        let mut start = position;
        for k in 0..3 {
            start[k] -= step[k] * tau;
        }
        [start, step, [0.0; 3]]
    }

    /// The sum over every `step`-th pack of lines of `weight * (1 - d^2 / radius^2)`, where that is positive.
    pub(super) fn crossing(
        &self,
        weights: &[[f64; LANES]],
        x: [f64; 3],
        radius: f64,
        step: usize,
    ) -> f64 {
        dispatch!(self.level, simd => crossing(simd, &self.packs, weights, x, radius, step))
    }
}

fn compare(a: &[f64; 7], b: &[f64; 7]) -> Ordering {
    let mut values = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    values
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// By time, then by coordinates: the same lines in any order give the same bits.
fn sort(rows: &mut [&[f64; 7]]) {
    if !rows.is_sorted_by(|a, b| a[0].total_cmp(&b[0]).is_le()) {
        rows.sort_unstable_by(|a, b| compare(a, b));
        return;
    }
    for equal in rows.chunk_by_mut(|a, b| a[0].total_cmp(&b[0]).is_eq()) {
        if equal.len() > 1 {
            equal.sort_unstable_by(|a, b| compare(a, b));
        }
    }
}

/// Coefficients of 1, tau and tau^2 (mm).
pub(super) type Path = [[f64; 3]; TERMS];

/// How a tracer's lines lie around it.
#[derive(Clone, Copy, Debug)]
struct Density {
    /// `1 / s^2`.
    rates: [f64; 2],
    /// `share / (2 pi s^2)`.
    peaks: [f64; 2],
}

impl Density {
    fn new(widths: [f64; 2], narrow_share: f64) -> Self {
        let rates = widths.map(|width| 1.0 / (width * width));
        let peaks = [
            narrow_share * rates[0] / TAU,
            (1.0 - narrow_share) * rates[1] / TAU,
        ];
        Self { rates, peaks }
    }

    /// The relative change to another density.
    fn change(&self, other: &Self) -> f64 {
        let mut change: f64 = 0.0;
        for k in 0..2 {
            change = change
                .max((self.rates[k] / other.rates[k] - 1.0).abs())
                .max((self.peaks[k] - other.peaks[k]).abs() / (other.peaks[0] + other.peaks[1]));
        }
        change
    }
}

/// Lines seen from a tracer, by lane.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// The perpendicular from the line to the tracer (mm), and its square.
    r: [[f64; LANES]; 3],
    squared: [f64; LANES],
    /// The density g, `h = sum g_j / s_j^2` and `sum g_j / s_j^4`: `grad g = -h r`.
    g: [f64; LANES],
    h: [f64; LANES],
    h2: [f64; LANES],
    /// `1 / f`; 0 in lanes without a line.
    inverse: [f64; LANES],
}

/// The lines near a tracer.
#[derive(Clone, Debug, Default)]
struct Near {
    /// Their places in [`Lors`], ascending.
    rows: Vec<u32>,
    /// Those that are near other tracers too: the place in this list, and that in [`Lors`].
    shared: Vec<(u32, u32)>,
    packs: Vec<Pack>,
    views: Vec<View>,
    /// Where the tracer was.
    path: Path,
}

impl Near {
    /// The lines within `radius` (mm) of a path.
    fn select(&mut self, lors: &Lors, path: &Path, radius: f64) {
        self.path = *path;
        self.rows.clear();
        dispatch!(lors.level, simd => select(simd, &lors.packs, path, radius, &mut self.rows));
        self.packs.clear();
        self.packs
            .resize(self.rows.len().div_ceil(LANES), Pack::default());
        for (n, &row) in self.rows.iter().enumerate() {
            let (from, lane) = (&lors.packs[row as usize / LANES], row as usize % LANES);
            let (to, place) = (&mut self.packs[n / LANES], n % LANES);
            for k in 0..3 {
                to.p[k][place] = from.p[k][lane];
                to.u[k][place] = from.u[k][lane];
            }
            to.tau[place] = from.tau[lane];
        }
        self.views.clear();
        self.views.resize(self.packs.len(), View::default());
    }

    /// Lanes without a line count for nothing.
    fn clear_padding(&mut self) {
        let n = self.rows.len() % LANES;
        if let Some(last) = self.views.last_mut()
            && n > 0
        {
            last.inverse[n..].fill(0.0);
        }
    }

    fn g(&self, n: usize) -> f64 {
        self.views[n / LANES].g[n % LANES]
    }

    fn inverse(&self, n: usize) -> f64 {
        self.views[n / LANES].inverse[n % LANES]
    }
}

/// Sums over a tracer's lines.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// `sum tau^m M` (xx, xy, xz, yy, yz, zz): the blocks of the matrix.
    matrix: [[f64; 6]; MOMENTS],
    /// `-sum tau^m n h r / f`: the gradient of the log likelihood.
    vector: Path,
    /// `sum g / f`.
    share: f64,
    /// `sum 1 / f` of the lines within reach.
    within: f64,
}

/// One tracer.
#[derive(Clone, Debug)]
pub(super) struct Tracer {
    /// What it was added as.
    pub(super) origin: usize,
    /// Where it was added (mm, in the middle of the window).
    pub(super) start: [f64; 3],
    path: Path,
    /// Expected number of its lines.
    count: f64,
    /// The last step (mm; infinite if there was none) and the last change of the count, as a share.
    step: f64,
    change: f64,
    near: Near,
}

impl Tracer {
    fn go(&mut self, step: Option<Path>, count: f64) {
        self.step = f64::INFINITY;
        if let Some(step) = step {
            self.step = length(&step);
            let step = step.as_flattened();
            for (value, step) in self.path.as_flattened_mut().iter_mut().zip(step) {
                *value += step;
            }
        }
        self.change = (count / self.count - 1.0).abs();
        self.count = count;
    }

    /// Derivatives of log f of the n-th of its lines by the terms of the path, and by the count.
    fn derivatives(&self, n: usize, order: usize) -> ([f64; UNKNOWNS + 1], usize) {
        let (pack, view, lane) = (
            &self.near.packs[n / LANES],
            &self.near.views[n / LANES],
            n % LANES,
        );
        let mut factor = -self.count * view.h[lane] * view.inverse[lane];
        let mut derivatives = [0.0; UNKNOWNS + 1];
        let n_path = 3 * (order + 1);
        for term in derivatives[..n_path].chunks_exact_mut(3) {
            for (derivative, r) in term.iter_mut().zip(&view.r) {
                *derivative = factor * r[lane];
            }
            factor *= pack.tau[lane];
        }
        derivatives[n_path] = view.g[lane] * view.inverse[lane];
        (derivatives, n_path + 1)
    }

    /// `(sum w c)^2 / sum (w c)^2`, w the responsibility for a line and c the square of the sine of its angle with the direction
    /// that is known worst: a hundred times the same line and one that crosses it support a point once.
    fn support(&self, covariance: &[[f64; 3]; 3]) -> f64 {
        let mut worst = [1.0, 1.0, 1.0];
        for _ in 0..16 {
            let mut next = [0.0; 3];
            for k in 0..3 {
                for l in 0..3 {
                    next[k] += covariance[k][l] * worst[l];
                }
            }
            let length = norm(&next);
            worst = next.map(|x| x / length);
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        for (pack, view) in self.near.packs.iter().zip(&self.near.views) {
            for k in 0..LANES {
                let cos =
                    pack.u[0][k] * worst[0] + pack.u[1][k] * worst[1] + pack.u[2][k] * worst[2];
                let told = self.count * view.g[k] * view.inverse[k] * (1.0 - cos * cos);
                sum += told;
                squares += told * told;
            }
        }
        if squares > 0.0 {
            sum * sum / squares
        } else {
            0.0
        }
    }
}

/// What is known of a tracer in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// The mean time of its lines (ms): there the position is known best.
    t: f64,
    /// mm.
    position: [f64; 3],
    /// mm/ms; NaN where times do not tell.
    velocity: [f64; 3],
    /// Covariance of the position (xx, xy, xz, yy, yz, zz; mm^2).
    covariance: [f64; 6],
    /// Sum of responsibilities, and its share of the sample's lines.
    count: f64,
    share: f64,
    /// Root mean square offset of its lines, per axis (mm).
    width: f64,
}

impl Estimate {
    /// Standard error of the position (mm).
    fn error(&self) -> f64 {
        let [xx, _, _, yy, _, zz] = self.covariance;
        (xx + yy + zz).sqrt()
    }

    /// The values of [`Model::columns`].
    pub(super) fn row(&self, model: &Model) -> Vec<f64> {
        let mut row = vec![self.t];
        row.extend(self.position);
        if model.order > 0 {
            row.extend(self.velocity);
        }
        row.extend([self.error(), self.count, self.share, self.width]);
        row.extend(self.covariance);
        row
    }
}

/// Tracers and a background over the lines of a sample.
#[derive(Clone, Debug)]
pub(super) struct Mixture<'a> {
    lors: &'a Lors,
    model: Model,
    density: Density,
    order: usize,
    tracers: Vec<Tracer>,
    /// Lines per mm^2, and whether they stay as they are.
    background: f64,
    background_is_fixed: bool,
    /// Whether the views are those of the present paths.
    is_current: bool,
    /// How many tracers each line is near to, and whether that is up to date.
    owners: Vec<u8>,
    owners_are_current: bool,
    /// f of the lines near several tracers.
    totals: Vec<f64>,
}

impl<'a> Mixture<'a> {
    /// No tracers yet. The order of motion is the model's, or as high as the times allow.
    pub(super) fn new(lors: &'a Lors, model: Model) -> Self {
        Self {
            lors,
            model,
            density: Density::new(model.widths, model.narrow_share),
            order: model.order.min(lors.n_times.saturating_sub(1)),
            tracers: Vec::new(),
            background: 0.0,
            background_is_fixed: false,
            is_current: false,
            owners: vec![0; lors.len()],
            owners_are_current: false,
            totals: vec![0.0; lors.len()],
        }
    }

    pub(super) fn tracers(&self) -> &[Tracer] {
        &self.tracers
    }

    fn reach(&self) -> f64 {
        REACH * self.model.wide()
    }

    /// Adds a tracer; its count is at first half the lines near it.
    pub(super) fn add(&mut self, origin: usize, path: Path) {
        let mut near = Near::default();
        near.select(self.lors, &path, self.reach() + MARGIN);
        let count = 0.5 * near.rows.len() as f64;
        if self.tracers.is_empty() {
            self.background = self.per_area(count);
        }
        self.tracers.push(Tracer {
            origin,
            start: path[0],
            path,
            count,
            step: f64::INFINITY,
            change: f64::INFINITY,
            near,
        });
        self.has_changed();
    }

    /// Takes a tracer out.
    pub(super) fn remove(&mut self, n: usize) {
        self.tracers.remove(n);
        self.has_changed();
    }

    /// Puts one tracer in the place of two.
    fn merge(&mut self, a: usize, b: usize) {
        let other = self.tracers.remove(a.max(b));
        let tracer = &mut self.tracers[a.min(b)];
        let share = other.count / (tracer.count + other.count);
        for m in 0..TERMS {
            for k in 0..3 {
                tracer.path[m][k] += share * (other.path[m][k] - tracer.path[m][k]);
            }
        }
        tracer.count += other.count;
        tracer.step = f64::INFINITY;
        self.has_changed();
    }

    /// Two tracers in the place of one, at `e` (mm) from it on both sides.
    fn split(&self, n: usize, e: [f64; 3]) -> Self {
        let mut split = self.clone();
        let tracer = &mut split.tracers[n];
        tracer.count *= 0.5;
        tracer.step = f64::INFINITY;
        let mut other = tracer.clone();
        for (k, e) in e.into_iter().enumerate() {
            tracer.path[0][k] += e;
            other.path[0][k] -= e;
        }
        split.tracers.push(other);
        split.has_changed();
        split
    }

    fn has_changed(&mut self) {
        self.is_current = false;
        self.owners_are_current = false;
    }

    /// Lines in the surroundings of all tracers, per mm^2.
    fn per_area(&self, lines: f64) -> f64 {
        let area = PI * self.reach() * self.reach() * self.tracers.len().max(1) as f64;
        (lines + PRIOR_LINES) / area
    }

    /// Steps until nothing moves, `steps` at most.
    pub(super) fn converge(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.step() {
                break;
            }
        }
        self.expect();
    }

    /// The E step: densities at the present paths.
    fn expect(&mut self) {
        if replace(&mut self.is_current, true) {
            return;
        }
        let margin = self.reach() + MARGIN;
        for tracer in &mut self.tracers {
            if distance(&tracer.path, &tracer.near.path) >= MARGIN {
                tracer.near.select(self.lors, &tracer.path, margin);
                self.owners_are_current = false;
            }
        }
        self.find_shared();
        let (level, density, background) = (self.lors.level, &self.density, self.background);
        for Tracer {
            path, count, near, ..
        } in &mut self.tracers
        {
            match self.order {
                0 => {
                    dispatch!(level, simd => look::<_, 0>(simd, density, path, *count, background, near));
                }
                1 => {
                    dispatch!(level, simd => look::<_, 1>(simd, density, path, *count, background, near));
                }
                _ => {
                    dispatch!(level, simd => look::<_, 2>(simd, density, path, *count, background, near));
                }
            }
            near.clear_padding();
        }
        for tracer in &self.tracers {
            for &(_, row) in &tracer.near.shared {
                self.totals[row as usize] = background;
            }
        }
        for tracer in &self.tracers {
            for &(n, row) in &tracer.near.shared {
                self.totals[row as usize] += tracer.count * tracer.near.g(n as usize);
            }
        }
        for Tracer { near, .. } in &mut self.tracers {
            for &(n, row) in &near.shared {
                let (view, lane) = (&mut near.views[n as usize / LANES], n as usize % LANES);
                view.inverse[lane] = 1.0 / self.totals[row as usize];
            }
        }
    }

    /// Which lines are near several tracers.
    fn find_shared(&mut self) {
        if replace(&mut self.owners_are_current, true) {
            return;
        }
        self.owners.fill(0);
        for tracer in &self.tracers {
            for &row in &tracer.near.rows {
                let owners = &mut self.owners[row as usize];
                *owners = owners.saturating_add(1);
            }
        }
        for Tracer { near, .. } in &mut self.tracers {
            near.shared.clear();
            let places = (0..).zip(near.rows.iter().copied());
            near.shared
                .extend(places.filter(|&(_, row)| self.owners[row as usize] > 1));
        }
    }

    /// With the exact second derivative, or with that of complete data.
    fn sums(&self, tracer: &Tracer, exact: bool) -> Sums {
        let (level, near, count, reach) =
            (self.lors.level, &tracer.near, tracer.count, self.reach());
        match self.order {
            0 => dispatch!(level, simd => sums::<_, 0>(simd, near, count, reach, exact)),
            1 => dispatch!(level, simd => sums::<_, 1>(simd, near, count, reach, exact)),
            _ => dispatch!(level, simd => sums::<_, 2>(simd, near, count, reach, exact)),
        }
    }

    /// One E step and one M step of all tracers; whether they have converged.
    ///
    /// Near the maximum the M step's matrix is replaced by the exact second derivative, which makes it Newton's.
    fn step(&mut self) -> bool {
        self.expect();
        let sums = |tracer: &Tracer| self.sums(tracer, tracer.step < NEAR);
        let all: Vec<Sums> = self.tracers.iter().map(sums).collect();
        let mut converged = true;
        if self.model.fit_widths {
            let density = self.fitted_density();
            converged = density.change(&self.density) < SETTLED;
            self.density = density;
        }
        for group in self.groups() {
            if group.len() > 1 && self.step_together(&group, &all) {
                continue;
            }
            for n in group {
                let mut step = solve(&all[n], self.order);
                let tracer = &self.tracers[n];
                if tracer.step < NEAR && !step.is_some_and(|step| length(&step) < 2.0 * NEAR) {
                    step = solve(&self.sums(tracer, false), self.order);
                }
                let count = tracer.count * all[n].share;
                self.tracers[n].go(step, count);
            }
        }
        for tracer in &self.tracers {
            converged &= tracer.step < CONVERGED && tracer.change < SETTLED;
        }
        if !self.background_is_fixed {
            let within: f64 = all.iter().map(|sums| sums.within).sum();
            self.background = self.per_area(self.background * within);
        }
        self.is_current = false;
        converged
    }

    /// Newton's step for tracers whose lines depend on each other, for which EM needs very many; `false` if it cannot be trusted.
    fn step_together(&mut self, group: &[usize], sums: &[Sums]) -> bool {
        if !group.iter().all(|&n| self.tracers[n].step < NEAR) {
            return false;
        }
        let mut matrix = self.information(group, sums);
        if !matrix.factorize() {
            return false;
        }
        let n_path = 3 * (self.order + 1);
        let mut x = Vec::with_capacity(matrix.size);
        for &n in group {
            x.extend_from_slice(&sums[n].vector.as_flattened()[..n_path]);
            x.push(sums[n].share - 1.0);
        }
        forward(&matrix.values, matrix.size, &mut x);
        backward(&matrix.values, matrix.size, &mut x);
        let steps = || {
            x.chunks_exact(n_path + 1)
                .map(|x| (path_of(&x[..n_path]), x[n_path]))
        };
        let short = group.iter().zip(steps()).all(|(&n, (step, more))| {
            length(&step) < 2.0 * NEAR && more.abs() < 0.5 * self.tracers[n].count
        });
        if short {
            for (&n, (step, more)) in group.iter().zip(steps()) {
                let count = self.tracers[n].count + more;
                self.tracers[n].go(Some(step), count);
            }
        }
        short
    }

    /// Tracers near each other, directly or by others, and those alone.
    fn groups(&self) -> Vec<Vec<usize>> {
        let limit = COUPLED * self.model.wide();
        let n = self.tracers.len();
        let mut done = vec![false; n];
        let mut groups = Vec::with_capacity(n);
        for first in 0..n {
            if replace(&mut done[first], true) {
                continue;
            }
            let mut group = vec![first];
            let mut next = 0;
            while let Some(&member) = group.get(next) {
                next += 1;
                for (other, done) in done.iter_mut().enumerate() {
                    if !*done && group.len() < MOST_COUPLED && self.apart(member, other) < limit {
                        *done = true;
                        group.push(other);
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    /// Distance of two tracers in the middle of the window (mm).
    fn apart(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (&self.tracers[a].path[0], &self.tracers[b].path[0]);
        norm(&[a[0] - b[0], a[1] - b[1], a[2] - b[2]])
    }

    /// The M step for widths and shares, of all tracers together.
    fn fitted_density(&self) -> Density {
        let ([j1, j2], [_, wide]) = (self.density.rates, self.density.peaks);
        if wide <= 0.0 || (j1 - j2).abs() < 1e-6 * j1 {
            return self.density;
        }
        // Responsibilities, and times the squared distance, of the narrow and the wide Gaussian.
        let (mut weights, mut squares) = ([0.0; 2], [0.0; 2]);
        for tracer in &self.tracers {
            for view in &tracer.near.views {
                for k in 0..LANES {
                    let scale = tracer.count * view.inverse[k];
                    let narrow = (view.h[k] - j2 * view.g[k]) / (j1 - j2);
                    for (n, g) in [narrow, view.g[k] - narrow].into_iter().enumerate() {
                        weights[n] += scale * g;
                        squares[n] += scale * g * view.squared[k];
                    }
                }
            }
        }
        let share = weights[0] / (weights[0] + weights[1]);
        let width = |n: usize| (0.5 * squares[n] / weights[n]).sqrt();
        if !(share > 0.0 && width(0) > 0.0 && width(1) > 0.0) {
            return self.density;
        }
        let widths = [0, 1].map(|n| width(n).clamp(WIDTHS[0], WIDTHS[1]));
        Density::new(widths, share.clamp(SHARES[0], SHARES[1]))
    }

    /// The log likelihood, less that of the background alone; after [`converge`](Self::converge).
    fn log_likelihood(&self) -> f64 {
        let mut logarithm = Logarithm::default();
        let mut counts = 0.0;
        let mut seen = vec![false; self.lors.len()];
        for tracer in &self.tracers {
            for (n, &row) in tracer.near.rows.iter().enumerate() {
                if !replace(&mut seen[row as usize], true) {
                    logarithm.factor(1.0 / (self.background * tracer.near.inverse(n)));
                }
            }
            counts += tracer.count;
        }
        logarithm.value() - counts
    }

    /// What the log likelihood would lose without a tracer; after [`converge`](Self::converge).
    fn gain(&self, tracer: &Tracer) -> f64 {
        let mut logarithm = Logarithm::default();
        for n in 0..tracer.near.rows.len() {
            let responsibility = tracer.count * tracer.near.g(n) * tracer.near.inverse(n);
            logarithm.factor(1.0 / (1.0 - responsibility));
        }
        logarithm.value() - tracer.count
    }

    /// Whether a tracer went nowhere or out of the box, or gains less than a share of what it must.
    pub(super) fn is_chance(&self, tracer: &Tracer, share: f64) -> bool {
        let is_inside = self.lors.contains(&tracer.path[0], self.model.wide());
        !(tracer.step.is_finite() && is_inside && self.gain(tracer) >= share * self.model.gain())
    }

    /// Converges, and takes out or merges what is no tracer of its own.
    pub(super) fn settle(&mut self) {
        self.converge(STEPS);
        while self.take_out_one() {
            self.converge(STEPS);
        }
    }

    fn take_out_one(&mut self) -> bool {
        for a in 0..self.tracers.len() {
            for b in 0..a {
                let apart = self.apart(a, b);
                if apart < self.model.narrow() {
                    self.merge(a, b);
                    return true;
                }
                if apart < COUPLED * self.model.wide() {
                    let mut merged = self.clone();
                    merged.background_is_fixed = true;
                    merged.merge(a, b);
                    merged.converge(STEPS);
                    if self.log_likelihood() - merged.log_likelihood()
                        < GAIN_OF_TWO * self.model.gain()
                    {
                        merged.background_is_fixed = false;
                        *self = merged;
                        return true;
                    }
                }
            }
        }
        let chance = (0..self.tracers.len()).filter(|&n| self.is_chance(&self.tracers[n], 1.0));
        let gains = chance.map(|n| (n, self.gain(&self.tracers[n])));
        let Some((n, _)) = gains.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            return false;
        };
        self.remove(n);
        true
    }

    /// Two tracers in place of one whose lines are spread too far, if that gains enough; after [`settle`](Self::settle).
    pub(super) fn split_one(&mut self) -> bool {
        /// Standard deviations of spread that are worth a try.
        const WORTH: f64 = 2.5;
        /// How far lines are moved by the first guess, in narrow widths.
        const FIRST: f64 = 1.2;
        let before = self.log_likelihood();
        for n in 0..self.tracers.len() {
            let Some((e, excess)) = self.spread(&self.tracers[n]) else {
                continue;
            };
            if excess < WORTH {
                continue;
            }
            let mut split = self.split(n, e.map(|e| FIRST * self.model.narrow() * e));
            split.background_is_fixed = true;
            split.converge(STEPS);
            let gains = split.log_likelihood() - before >= GAIN_OF_TWO * self.model.gain();
            let chance = |tracer| split.is_chance(tracer, GAIN_OF_TWO);
            if gains && !split.tracers.iter().any(chance) {
                split.background_is_fixed = false;
                split.converge(STEPS);
                *self = split;
                return true;
            }
        }
        false
    }

    /// The direction in which a tracer's lines are spread most for what they should be, as a step that moves lines by 1 mm rms,
    /// and how many standard deviations the spread is away from none.
    ///
    /// Two tracers of half the lines at `x + e` and `x - e` have, for small e, a log likelihood that is greater by `e^T S e / 2`,
    /// `S = sum n (h2 r r^T - h P) / f`, whose expectation is 0 for one tracer.
    fn spread(&self, tracer: &Tracer) -> Option<([f64; 3], f64)> {
        let near = &tracer.near;
        // A line's direction and perpendicular, and its densities.
        let line = |n: usize| {
            let (pack, view, k) = (&near.packs[n / LANES], &near.views[n / LANES], n % LANES);
            let scale = tracer.count * view.inverse[k];
            (
                pack.u.map(|u| u[k]),
                view.r.map(|r| r[k]),
                [scale * view.g[k], scale * view.h[k], scale * view.h2[k]],
            )
        };
        let (mut spread, mut weight) = ([[0.0; 3]; 3], [0.0; 9]);
        for n in 0..near.rows.len() {
            let (u, r, [g, h, h2]) = line(n);
            for k in 0..3 {
                for l in 0..3 {
                    let p = f64::from(u8::from(k == l)) - u[k] * u[l];
                    spread[k][l] += h2 * r[k] * r[l] - h * p;
                    weight[3 * k + l] += g * p;
                }
            }
        }
        if !cholesky(&mut weight, 3) {
            return None;
        }
        let (mut best, mut most) = (None, 0.0);
        for direction in DIRECTIONS {
            let mut e = direction.map(|e| e / norm(&direction) * tracer.count.sqrt());
            backward(&weight, 3, &mut e);
            let mut excess = 0.0;
            for k in 0..3 {
                for l in 0..3 {
                    excess += spread[k][l] * e[k] * e[l];
                }
            }
            if excess > most {
                (best, most) = (Some(e), excess);
            }
        }
        let e = best?;
        let mut squares = 0.0;
        for n in 0..near.rows.len() {
            let (u, r, [_, h, h2]) = line(n);
            let (along, pull) = (dot(&u, &e), dot(&r, &e));
            let term = h2 * pull * pull - h * (dot(&e, &e) - along * along);
            squares += term * term;
        }
        Some((e, most / squares.sqrt()))
    }

    /// The background's responsibility for each line, in packs; after [`converge`](Self::converge).
    pub(super) fn left_over(&self) -> Vec<[f64; LANES]> {
        let mut weights = vec![[1.0; LANES]; self.lors.packs.len()];
        for tracer in &self.tracers {
            for (n, &row) in tracer.near.rows.iter().enumerate() {
                let weight = &mut weights[row as usize / LANES][row as usize % LANES];
                *weight = self.background * tracer.near.inverse(n);
            }
        }
        weights
    }

    /// What is known of the tracers, each with what it was added as; without those of which nothing is known, whose number is
    /// the second value. After [`settle`](Self::settle).
    pub(super) fn estimates(&self) -> (Vec<(usize, Estimate)>, usize) {
        let sums: Vec<Sums> = self
            .tracers
            .iter()
            .map(|tracer| self.sums(tracer, true))
            .collect();
        let mut all = vec![None; self.tracers.len()];
        for group in self.groups() {
            let mut information = self.information(&group, &sums);
            if information.factorize() {
                let covariance = information.inverse_of_factor();
                let size = covariance.size / group.len();
                for (n, &member) in group.iter().enumerate() {
                    all[member] = self.estimate(&self.tracers[member], &covariance, n * size);
                }
            }
        }
        let origins = self.tracers.iter().map(|tracer| tracer.origin);
        let known = origins
            .zip(all)
            .filter_map(|(origin, estimate)| Some((origin, estimate?)));
        let known: Vec<(usize, Estimate)> = known.collect();
        let n_unknown = self.tracers.len() - known.len();
        (known, n_unknown)
    }

    fn estimate(&self, tracer: &Tracer, covariance: &Symmetric, first: usize) -> Option<Estimate> {
        let (mut weight, mut time, mut squares) = (0.0, 0.0, 0.0);
        for (pack, view) in tracer.near.packs.iter().zip(&tracer.near.views) {
            for k in 0..LANES {
                let responsibility = tracer.count * view.g[k] * view.inverse[k];
                weight += responsibility;
                time += responsibility * pack.tau[k];
                squares += responsibility * view.squared[k];
            }
        }
        let tau = time / weight;
        let powers = [1.0, tau, tau * tau];
        let (mut position, mut entries) = ([0.0; 3], [[0.0; 3]; 3]);
        for m in 0..=self.order {
            for (k, (x, entries)) in position.iter_mut().zip(&mut entries).enumerate() {
                *x += powers[m] * tracer.path[m][k];
                for n in 0..=self.order {
                    for (l, entry) in entries.iter_mut().enumerate() {
                        let other = covariance.get(first + 3 * m + k, first + 3 * n + l);
                        *entry += powers[m] * powers[n] * other;
                    }
                }
            }
        }
        let speed = |k: usize| (tracer.path[1][k] + 2.0 * tau * tracer.path[2][k]) / self.lors.half;
        let velocity = if self.order == 0 {
            [f64::NAN; 3]
        } else {
            [0, 1, 2].map(speed)
        };
        let [[xx, xy, xz], [_, yy, yz], [_, _, zz]] = entries;
        let estimate = Estimate {
            t: self.lors.middle + tau * self.lors.half,
            position,
            velocity,
            covariance: [xx, xy, xz, yy, yz, zz],
            count: weight,
            share: weight / self.lors.len() as f64,
            width: (0.5 * squares / weight).sqrt(),
        };
        let error = estimate.error();
        let support = SUPPORT.max(SHARE_OF_SUPPORT * estimate.count);
        let known =
            error > 0.0 && error <= self.model.max_error && tracer.support(&entries) >= support;
        known.then_some(estimate)
    }

    /// The observed information of the paths of a group, lower triangle; where it is more than one tracer each path is followed by
    /// its count, since lines can then go from one to the other.
    ///
    /// It is the exact second derivative of the log likelihood, which is less than the information of complete data: what is
    /// lost by not knowing whose a line is, is lost (Louis, Journal of the Royal Statistical Society B 44, 226 (1982)).
    fn information(&self, group: &[usize], sums: &[Sums]) -> Symmetric {
        let n_path = 3 * (self.order + 1);
        if let &[n] = group {
            let mut information = Symmetric::zeros(n_path);
            information.set_block(0, &sums[n].matrix, self.order);
            return information;
        }
        let size = n_path + 1;
        let mut information = Symmetric::zeros(size * group.len());
        for (a, &first) in group.iter().enumerate() {
            information.set_block(a * size, &sums[first].matrix, self.order);
            let tracer = &self.tracers[first];
            let pulls = &sums[first].vector.as_flattened()[..n_path];
            let row = information.row(a * size + n_path, a * size);
            for (entry, pull) in row.iter_mut().zip(pulls) {
                *entry -= pull / tracer.count;
            }
            for n in 0..tracer.near.rows.len() {
                let (own, _) = tracer.derivatives(n, self.order);
                for (entry, other) in row.iter_mut().zip(&own[..size]) {
                    *entry += own[n_path] * other;
                }
            }
            for (b, &second) in group.iter().enumerate().take(a) {
                let place = [a * size, b * size];
                self.add_shared(&mut information, place, [tracer, &self.tracers[second]]);
            }
        }
        information
    }

    /// The products of first derivatives at the lines that two tracers share.
    fn add_shared(&self, information: &mut Symmetric, place: [usize; 2], [a, b]: [&Tracer; 2]) {
        let mut m = 0;
        for (n, &line) in a.near.rows.iter().enumerate() {
            while b.near.rows.get(m).is_some_and(|&other| other < line) {
                m += 1;
            }
            if b.near.rows.get(m) == Some(&line) {
                let (x, size) = a.derivatives(n, self.order);
                let (y, _) = b.derivatives(m, self.order);
                for (k, x) in x[..size].iter().enumerate() {
                    let row = information.row(place[0] + k, place[1]);
                    for (entry, y) in row.iter_mut().zip(&y[..size]) {
                        *entry += x * y;
                    }
                }
            }
        }
    }
}

/// Half of the neighbours of a cell.
const DIRECTIONS: [[f64; 3]; 13] = [
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, 0.0, 1.0],
    [1.0, 1.0, 0.0],
    [1.0, -1.0, 0.0],
    [1.0, 0.0, 1.0],
    [1.0, 0.0, -1.0],
    [0.0, 1.0, 1.0],
    [0.0, 1.0, -1.0],
    [1.0, 1.0, 1.0],
    [1.0, 1.0, -1.0],
    [1.0, -1.0, 1.0],
    [1.0, -1.0, -1.0],
];

/// A product of ratios as a sum of logarithms, few of which are computed.
#[derive(Debug)]
struct Logarithm {
    product: f64,
    n: usize,
    sum: f64,
}

impl Default for Logarithm {
    fn default() -> Self {
        Self {
            product: 1.0,
            n: 0,
            sum: 0.0,
        }
    }
}

impl Logarithm {
    /// A ratio of 1 or more; what is above 1e9, or no number, counts as 1e9.
    fn factor(&mut self, ratio: f64) {
        self.product *= if ratio < LARGEST_RATIO {
            ratio
        } else {
            LARGEST_RATIO
        };
        self.n += 1;
        if self.n == FACTORS {
            *self = Self {
                sum: self.value(),
                ..Self::default()
            };
        }
    }

    fn value(&self) -> f64 {
        self.sum + libm::log(self.product)
    }
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn norm(a: &[f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

/// The largest way that a path is in the window, or a bit more (mm).
fn length(step: &Path) -> f64 {
    step.iter().map(norm).sum()
}

/// The largest distance between two paths in the window, or a bit more (mm).
fn distance(a: &Path, b: &Path) -> f64 {
    let mut difference = *a;
    for m in 0..TERMS {
        for k in 0..3 {
            difference[m][k] -= b[m][k];
        }
    }
    length(&difference)
}

fn path_of(x: &[f64]) -> Path {
    let mut path = Path::default();
    path.as_flattened_mut()[..x.len()].copy_from_slice(x);
    path
}

/// The step that the sums ask for; `None` if the matrix is not positive definite, or nothing is finite.
fn solve(sums: &Sums, order: usize) -> Option<Path> {
    let size = 3 * (order + 1);
    let mut matrix = [0.0; UNKNOWNS * UNKNOWNS];
    fill(&mut matrix, size, 0, &sums.matrix, order);
    damp(&mut matrix, size);
    if !cholesky(&mut matrix, size) {
        return None;
    }
    let mut step = sums.vector;
    let x = &mut step.as_flattened_mut()[..size];
    forward(&matrix, size, x);
    backward(&matrix, size, x);
    x.iter().all(|x| x.is_finite()).then_some(step)
}

/// A path's blocks at a place on the diagonal of a matrix.
fn fill(matrix: &mut [f64], size: usize, first: usize, blocks: &[[f64; 6]; MOMENTS], order: usize) {
    /// Places of xx, xy, xz, yy, yz, zz.
    const ENTRY: [[usize; 3]; 3] = [[0, 1, 2], [1, 3, 4], [2, 4, 5]];
    for m in 0..=order {
        for n in 0..=order {
            for k in 0..3 {
                let row = (first + 3 * m + k) * size + first + 3 * n;
                for l in 0..3 {
                    matrix[row + l] = blocks[m + n][ENTRY[k][l]];
                }
            }
        }
    }
}

fn damp(matrix: &mut [f64], size: usize) {
    let trace: f64 = (0..size).map(|n| matrix[n * size + n]).sum();
    for n in 0..size {
        matrix[n * size + n] += DAMPING * trace;
    }
}

/// Replaces the lower triangle of a symmetric matrix by its Cholesky factor; `false` if it is not positive definite.
fn cholesky(a: &mut [f64], size: usize) -> bool {
    for row in 0..size {
        let (above, own) = a.split_at_mut(row * size);
        for column in 0..row {
            let other = &above[column * size..][..=column];
            let mut sum = own[column];
            for k in 0..column {
                sum -= own[k] * other[k];
            }
            own[column] = sum / other[column];
        }
        let mut sum = own[row];
        for value in &own[..row] {
            sum -= value * value;
        }
        // Not `<=`: NaN is not positive either.
        if sum > 0.0 {
            own[row] = sum.sqrt();
        } else {
            return false;
        }
    }
    true
}

/// Solves `L y = x` in place.
fn forward(factor: &[f64], size: usize, x: &mut [f64]) {
    for row in 0..size {
        let mut sum = x[row];
        for k in 0..row {
            sum -= factor[row * size + k] * x[k];
        }
        x[row] = sum / factor[row * size + row];
    }
}

/// Solves `L^T y = x` in place.
fn backward(factor: &[f64], size: usize, x: &mut [f64]) {
    for row in (0..size).rev() {
        let mut sum = x[row];
        for k in row + 1..size {
            sum -= factor[k * size + row] * x[k];
        }
        x[row] = sum / factor[row * size + row];
    }
}

/// A symmetric matrix of any size.
#[derive(Debug)]
struct Symmetric {
    values: Vec<f64>,
    size: usize,
}

impl Symmetric {
    fn zeros(size: usize) -> Self {
        Self {
            values: vec![0.0; size * size],
            size,
        }
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    /// The rest of a row.
    fn row(&mut self, row: usize, column: usize) -> &mut [f64] {
        &mut self.values[row * self.size + column..(row + 1) * self.size]
    }

    fn set_block(&mut self, first: usize, blocks: &[[f64; 6]; MOMENTS], order: usize) {
        fill(&mut self.values, self.size, first, blocks, order);
    }

    fn factorize(&mut self) -> bool {
        damp(&mut self.values, self.size);
        cholesky(&mut self.values, self.size)
    }

    fn inverse_of_factor(&self) -> Self {
        let mut inverse = Self::zeros(self.size);
        for (column, x) in inverse
            .values
            .chunks_exact_mut(self.size.max(1))
            .enumerate()
        {
            x[column] = 1.0;
            forward(&self.values, self.size, x);
            backward(&self.values, self.size, x);
        }
        inverse
    }
}

/// exp(-y) for y from 0 on, which ends at exp(-44). Relative error below 1e-12 up to y = 10, below 1e-8 everywhere.
///
/// A polynomial of y / 256, squared eight times: the same bits with all vector instructions, unlike the functions of the system.
#[inline(always)]
fn exp_minus<S: Simd>(simd: S, y: f64x4<S>) -> f64x4<S> {
    let largest = f64x4::splat(simd, LARGEST_EXPONENT);
    let y = y.simd_lt(largest).select(y, largest) * (-1.0 / 256.0);
    let mut x = (y * (1.0 / 5040.0) + 1.0 / 720.0) * y + 1.0 / 120.0;
    x = ((((x * y + 1.0 / 24.0) * y + 1.0 / 6.0) * y + 0.5) * y + 1.0) * y + 1.0;
    for _ in 0..8 {
        x = x * x;
    }
    x
}

#[inline(always)]
fn load<S: Simd>(simd: S, values: &[[f64; LANES]; 3]) -> [f64x4<S>; 3] {
    [
        f64x4::from_slice(simd, &values[0]),
        f64x4::from_slice(simd, &values[1]),
        f64x4::from_slice(simd, &values[2]),
    ]
}

/// The sum of the lanes, always in the same order.
#[inline(always)]
fn total<S: Simd>(x: f64x4<S>) -> f64 {
    (x[0] + x[1]) + (x[2] + x[3])
}

/// Where a path of order Q is at a pack's times.
#[inline(always)]
fn place<S: Simd, const Q: usize>(simd: S, path: &Path, pack: &Pack) -> [f64x4<S>; 3] {
    let tau = f64x4::from_slice(simd, &pack.tau);
    let mut x = [f64x4::splat(simd, 0.0); 3];
    for k in 0..3 {
        x[k] = f64x4::splat(simd, path[Q][k]);
        for m in (0..Q).rev() {
            x[k] = x[k] * tau + path[m][k];
        }
    }
    x
}

/// The perpendicular from a pack's lines to points, and its square.
#[inline(always)]
fn perpendicular<S: Simd>(simd: S, pack: &Pack, x: [f64x4<S>; 3]) -> ([f64x4<S>; 3], f64x4<S>) {
    let (p, u) = (load(simd, &pack.p), load(simd, &pack.u));
    let w = [x[0] - p[0], x[1] - p[1], x[2] - p[2]];
    let along = w[0] * u[0] + w[1] * u[1] + w[2] * u[2];
    let r = [
        w[0] - along * u[0],
        w[1] - along * u[1],
        w[2] - along * u[2],
    ];
    (r, r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
}

#[inline(always)]
fn crossing<S: Simd>(
    simd: S,
    packs: &[Pack],
    weights: &[[f64; LANES]],
    x: [f64; 3],
    radius: f64,
    step: usize,
) -> f64 {
    let x = [
        f64x4::splat(simd, x[0]),
        f64x4::splat(simd, x[1]),
        f64x4::splat(simd, x[2]),
    ];
    let zero = f64x4::splat(simd, 0.0);
    let rate = 1.0 / (radius * radius);
    let mut sum = zero;
    for (pack, weight) in packs.iter().zip(weights).step_by(step) {
        let (_, squared) = perpendicular(simd, pack, x);
        let height = 1.0 - squared * rate;
        let height = height.simd_gt(zero).select(height, zero);
        sum += height * f64x4::from_slice(simd, weight);
    }
    total(sum)
}

#[inline(always)]
fn select<S: Simd>(simd: S, packs: &[Pack], path: &Path, radius: f64, rows: &mut Vec<u32>) {
    let limit = f64x4::splat(simd, radius * radius);
    for (first, pack) in (0_u32..).step_by(LANES).zip(packs) {
        let x = place::<S, { TERMS - 1 }>(simd, path, pack);
        let (_, squared) = perpendicular(simd, pack, x);
        let mut bits = squared.simd_lt(limit).to_bitmask();
        while bits != 0 {
            rows.push(first + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
}

/// What the lines near a tracer look like from its path of order Q, as if it were alone.
#[inline(always)]
fn look<S: Simd, const Q: usize>(
    simd: S,
    density: &Density,
    path: &Path,
    count: f64,
    background: f64,
    near: &mut Near,
) {
    let ([j1, j2], [c1, c2]) = (density.rates, density.peaks);
    for (pack, view) in near.packs.iter().zip(&mut near.views) {
        let (r, squared) = perpendicular(simd, pack, place::<S, Q>(simd, path, pack));
        let narrow = exp_minus(simd, squared * (0.5 * j1)) * c1;
        let wide = exp_minus(simd, squared * (0.5 * j2)) * c2;
        let (g, narrow_h, wide_h) = (narrow + wide, narrow * j1, wide * j2);
        for (r, to) in r.iter().zip(&mut view.r) {
            r.store_slice(to);
        }
        squared.store_slice(&mut view.squared);
        g.store_slice(&mut view.g);
        (narrow_h + wide_h).store_slice(&mut view.h);
        (narrow_h * j1 + wide_h * j2).store_slice(&mut view.h2);
        (1.0 / (g * count + background)).store_slice(&mut view.inverse);
    }
}

/// The matrix of complete data, `sum n h / f P`, or the exact second derivative, which adds `((n h / f)^2 - n h2 / f) r r^T`; for a
/// path of order Q.
#[inline(always)]
fn sums<S: Simd, const Q: usize>(
    simd: S,
    near: &Near,
    count: f64,
    reach: f64,
    exact: bool,
) -> Sums {
    let zero = f64x4::splat(simd, 0.0);
    let reach = f64x4::splat(simd, reach * reach);
    let exact = f64x4::splat(simd, f64::from(u8::from(exact)));
    let mut matrix = [[zero; 6]; MOMENTS];
    let mut vector = [[zero; 3]; TERMS];
    let (mut share, mut within) = (zero, zero);
    for (pack, view) in near.packs.iter().zip(&near.views) {
        let (u, r) = (load(simd, &pack.u), load(simd, &view.r));
        let tau = f64x4::from_slice(simd, &pack.tau);
        let inverse = f64x4::from_slice(simd, &view.inverse);
        let scaled = inverse * count;
        let weight = f64x4::from_slice(simd, &view.h) * scaled;
        let outer = (weight * weight - f64x4::from_slice(simd, &view.h2) * scaled) * exact;
        share += f64x4::from_slice(simd, &view.g) * inverse;
        let inside = f64x4::from_slice(simd, &view.squared).simd_lt(reach);
        within += inside.select(inverse, zero);
        let wu = [weight * u[0], weight * u[1], weight * u[2]];
        let or = [outer * r[0], outer * r[1], outer * r[2]];
        let mut block = [
            weight - wu[0] * u[0] + or[0] * r[0],
            or[0] * r[1] - wu[0] * u[1],
            or[0] * r[2] - wu[0] * u[2],
            weight - wu[1] * u[1] + or[1] * r[1],
            or[1] * r[2] - wu[1] * u[2],
            weight - wu[2] * u[2] + or[2] * r[2],
        ];
        let mut pull = [weight * r[0], weight * r[1], weight * r[2]];
        for (m, sums) in matrix[..=2 * Q].iter_mut().enumerate() {
            for (sum, entry) in sums.iter_mut().zip(&mut block) {
                *sum += *entry;
                if m < 2 * Q {
                    *entry *= tau;
                }
            }
        }
        for (m, sums) in vector[..=Q].iter_mut().enumerate() {
            for (sum, entry) in sums.iter_mut().zip(&mut pull) {
                *sum -= *entry;
                if m < Q {
                    *entry *= tau;
                }
            }
        }
    }
    let mut sums = Sums {
        share: total(share),
        within: total(within),
        ..Sums::default()
    };
    for (totals, lanes) in sums.matrix.iter_mut().zip(&matrix[..=2 * Q]) {
        for (sum, lanes) in totals.iter_mut().zip(lanes) {
            *sum = total(*lanes);
        }
    }
    for (totals, lanes) in sums.vector.iter_mut().zip(&vector[..=Q]) {
        for (sum, lanes) in totals.iter_mut().zip(lanes) {
            *sum = total(*lanes);
        }
    }
    sums
}

#[cfg(test)]
pub(super) mod simulated {
    //! Lines of tracers between two screens, as an ADAC Forte sees them.

    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, Exp1, StandardNormal};
    use rand_pcg::Pcg64;

    use super::{LineData, TAU};

    const SEPARATION: f64 = 712.0;
    const SCREEN: [[f64; 2]; 2] = [[110.0, 494.0], [45.0, 559.0]];

    /// A tracer: where it is in the middle of the window (mm), its velocity (mm/ms), its share of the lines.
    #[derive(Clone, Copy)]
    pub(crate) struct Tracer {
        pub(crate) x: [f64; 3],
        pub(crate) v: [f64; 3],
        pub(crate) share: f64,
    }

    impl Tracer {
        pub(crate) fn at_rest(x: [f64; 3], share: f64) -> Self {
            Self {
                x,
                v: [0.0; 3],
                share,
            }
        }

        /// `t` from 0 to `duration`.
        pub(crate) fn at(&self, t: f64, duration: f64) -> [f64; 3] {
            [0, 1, 2].map(|k| self.x[k] + self.v[k] * (t - 0.5 * duration))
        }
    }

    /// `n` lines in `duration` ms, in the order of time; what is no tracer's joins random points of the screens.
    pub(crate) fn lines(seed: u64, tracers: &[Tracer], n: usize, duration: f64) -> LineData {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut times: Vec<f64> = (0..n).map(|_| duration * rng.random::<f64>()).collect();
        times.sort_by(f64::total_cmp);
        let line = |t| line(&mut rng, tracers, t, duration);
        let rows: Vec<[f64; 7]> = times.into_iter().map(line).collect();
        LineData::new(Array2::from(rows)).unwrap()
    }

    fn line(rng: &mut Pcg64, tracers: &[Tracer], t: f64, duration: f64) -> [f64; 7] {
        let mut pick: f64 = rng.random();
        for tracer in tracers {
            pick -= tracer.share;
            if pick < 0.0 {
                let x = tracer.at(t, duration);
                loop {
                    if let Some([a, b]) = hits(rng, x) {
                        return [t, a[0], a[1], 0.0, b[0], b[1], SEPARATION];
                    }
                }
            }
        }
        let mut on_screen =
            |k: usize| SCREEN[k][0] + (SCREEN[k][1] - SCREEN[k][0]) * rng.random::<f64>();
        [
            t,
            on_screen(0),
            on_screen(1),
            0.0,
            on_screen(0),
            on_screen(1),
            SEPARATION,
        ]
    }

    /// Where a line that passes `x` hits the screens, if it does: 0.45 of them with an offset of 2.25 mm per axis, the others with
    /// an exponential density of 3.5 mm.
    fn hits(rng: &mut Pcg64, x: [f64; 3]) -> Option<[[f64; 2]; 2]> {
        let (cos, angle) = (rng.random::<f64>(), TAU * rng.random::<f64>());
        let sin = (1.0 - cos * cos).sqrt();
        let u = [sin * angle.cos(), sin * angle.sin(), cos];
        let [a, b]: [f64; 2] = if rng.random::<f64>() < 0.45 {
            [0; 2].map(|_| {
                2.25 * {
                    let normal: f64 = StandardNormal.sample(rng);
                    normal
                }
            })
        } else {
            let [p, q]: [f64; 2] = [0; 2].map(|_| Exp1.sample(rng));
            let turn = TAU * rng.random::<f64>();
            [3.5 * (p + q) * turn.cos(), 3.5 * (p + q) * turn.sin()]
        };
        let (e, f) = (
            [angle.sin(), -angle.cos(), 0.0],
            [cos * angle.cos(), cos * angle.sin(), -sin],
        );
        let p = [0, 1, 2].map(|k| x[k] + a * e[k] + b * f[k]);
        let at = |z: f64| [0, 1].map(|k| p[k] + (z - p[2]) / u[2] * u[k]);
        let hits = [at(0.0), at(SEPARATION)];
        let on_screen =
            |hit: &[f64; 2]| (0..2).all(|k| SCREEN[k][0] <= hit[k] && hit[k] <= SCREEN[k][1]);
        hits.iter().all(on_screen).then_some(hits)
    }

    /// The squared error in units of the stated covariance: 3 on average.
    pub(crate) fn normalized_square(error: [f64; 3], covariance: &[f64]) -> f64 {
        let mut matrix = [0.0; 9];
        for (k, place) in [(0, 0), (1, 3), (2, 6), (3, 4), (4, 7), (5, 8)] {
            matrix[place] = covariance[k];
        }
        let mut x = error;
        assert!(super::cholesky(&mut matrix, 3));
        super::forward(&matrix, 3, &mut x);
        super::dot(&x, &x)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::simulated::{self, Tracer as Simulated};
    use super::*;

    const MODEL: fn(usize) -> Model = |order| Model::new(order, [2.2, 6.5], 0.55, 25.0, 10.0);

    /// What this processor has.
    fn levels() -> Vec<Level> {
        let level = Level::new();
        #[cfg(target_arch = "x86_64")]
        let levels = [
            level.as_avx512().map(Level::Avx512),
            level.as_avx2().map(Level::Avx2),
            level.as_sse4_2().map(Level::Sse4_2),
            level.as_sse2().map(Level::Sse2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let levels = [Some(level)];
        levels.into_iter().flatten().collect()
    }

    #[test]
    fn exponentials_are_within_their_bounds_and_the_same_bits_everywhere() {
        fn all(level: Level, y: f64) -> [f64; LANES] {
            #[inline(always)]
            fn four<S: Simd>(simd: S, y: f64) -> [f64; LANES] {
                exp_minus(simd, f64x4::splat(simd, y)).into()
            }
            dispatch!(level, simd => four(simd, y))
        }
        for n in 0..50_000 {
            let y = f64::from(n) * 1e-3;
            let [x, ..] = all(Level::new(), y);
            let exact = (-y.min(LARGEST_EXPONENT)).exp();
            let bound = if y <= 10.0 { 1e-12 } else { 1e-8 };
            assert!((x / exact - 1.0).abs() < bound, "{y}: {x} {exact}");
            for level in levels() {
                assert_eq!(all(level, y).map(f64::to_bits), [x.to_bits(); LANES]);
            }
        }
        for y in [f64::INFINITY, 1e300] {
            assert!((all(Level::new(), y)[0] / 8e-20 - 1.0).abs() < 0.1);
        }
    }

    #[test]
    fn factors_solve_what_they_came_from() {
        let mut rng = Pcg64::seed_from_u64(1);
        for size in [1, 3, 6, 9, 20] {
            let root: Vec<f64> = (0..size * size)
                .map(|_| rng.random::<f64>() - 0.5)
                .collect();
            let mut matrix = Symmetric::zeros(size);
            for row in 0..size {
                for column in 0..size {
                    let product: f64 = (0..size)
                        .map(|k| root[row * size + k] * root[column * size + k])
                        .sum();
                    matrix.row(row, column)[0] = product + f64::from(u8::from(row == column));
                }
            }
            let original = matrix.values.clone();
            assert!(matrix.factorize());
            let inverse = matrix.inverse_of_factor();
            for row in 0..size {
                for column in 0..size {
                    let product: f64 = (0..size)
                        .map(|k| original[row * size + k] * inverse.get(k, column))
                        .sum();
                    assert!((product - f64::from(u8::from(row == column))).abs() < 1e-6);
                }
            }
        }
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2));
        assert!(!cholesky(&mut [f64::NAN], 1));
    }

    /// A mixture of two tracers near each other, not at its maximum.
    fn two(lors: &Lors, order: usize) -> Mixture<'_> {
        let mut mixture = Mixture::new(lors, MODEL(order));
        mixture.add(0, [[300.0, 301.0, 352.0], [1.0, -2.0, 0.5], [0.0; 3]]);
        mixture.add(1, [[309.0, 303.0, 356.0], [-1.0, 1.0, 1.5], [0.0; 3]]);
        mixture.expect();
        mixture
    }

    /// The log likelihood with other values of the unknowns, path and count of one tracer after those of the other.
    fn log_likelihood_at(mixture: &Mixture<'_>, x: &[f64]) -> f64 {
        let mut other = mixture.clone();
        let n_path = 3 * (mixture.order + 1);
        for (tracer, x) in other.tracers.iter_mut().zip(x.chunks(n_path + 1)) {
            tracer.path = path_of(&x[..n_path]);
            tracer.count = x[n_path];
        }
        other.is_current = false;
        other.expect();
        other.log_likelihood()
    }

    #[test]
    fn the_information_is_the_second_derivative_of_the_log_likelihood() {
        let tracers = [[301.0, 300.0, 350.0], [308.0, 304.0, 358.0]];
        let tracers = tracers.map(|x| Simulated::at_rest(x, 0.4));
        let lors = Lors::new(&simulated::lines(2, &tracers, 300, 8.0));
        for order in 0..=2 {
            let mixture = two(&lors, order);
            let n_path = 3 * (order + 1);
            let sums: Vec<Sums> = mixture
                .tracers
                .iter()
                .map(|tracer| mixture.sums(tracer, true))
                .collect();
            let information = mixture.information(&[0, 1], &sums);
            let mut x = Vec::new();
            let mut gradient = Vec::new();
            for (tracer, sums) in mixture.tracers.iter().zip(&sums) {
                x.extend_from_slice(&tracer.path.as_flattened()[..n_path]);
                x.push(tracer.count);
                gradient.extend_from_slice(&sums.vector.as_flattened()[..n_path]);
                gradient.push(sums.share - 1.0);
            }
            let at = |changes: &[(usize, f64)]| {
                let mut x = x.clone();
                for &(n, change) in changes {
                    x[n] += change;
                }
                log_likelihood_at(&mixture, &x)
            };
            let step = |n: usize| {
                if n % (n_path + 1) == n_path {
                    0.1
                } else {
                    2e-3
                }
            };
            for (n, gradient) in gradient.into_iter().enumerate() {
                let h = step(n);
                let slope = (at(&[(n, h)]) - at(&[(n, -h)])) / (2.0 * h);
                assert!(
                    (slope - gradient).abs() < 1e-3 * (1.0 + slope.abs()),
                    "{n}: {slope} {gradient}"
                );
                for m in 0..=n {
                    let k = step(m);
                    let corners =
                        at(&[(n, h), (m, k)]) - at(&[(n, h), (m, -k)]) - at(&[(n, -h), (m, k)])
                            + at(&[(n, -h), (m, -k)]);
                    let curvature = -corners / (4.0 * h * k);
                    let entry = information.get(n, m);
                    assert!(
                        (curvature - entry).abs() < 2e-3 * (1.0 + curvature.abs()),
                        "{n} {m}: {curvature} {entry}"
                    );
                }
            }
            // One tracer alone: the sums are all of it.
            let alone = mixture.information(&[0], &sums);
            for n in 0..n_path {
                for m in 0..=n {
                    assert_eq!(alone.get(n, m), information.get(n, m));
                }
            }
        }
    }

    #[test]
    fn no_step_lowers_the_likelihood_and_the_end_is_a_maximum() {
        for seed in 0..20 {
            let x = [300.0, 300.0, 350.0];
            let lors = Lors::new(&simulated::lines(
                seed,
                &[Simulated::at_rest(x, 0.5)],
                200,
                8.0,
            ));
            let mut mixture = Mixture::new(&lors, MODEL(1));
            mixture.add(0, [[306.0, 297.0, 360.0], [0.0; 3], [0.0; 3]]);
            mixture.background_is_fixed = true;
            let mut before = f64::NEG_INFINITY;
            for _ in 0..30 {
                mixture.converge(1);
                let after = mixture.log_likelihood();
                assert!(after > before - 1e-6, "{before} {after}");
                before = after;
            }
            let sums = mixture.sums(&mixture.tracers[0], true);
            assert!((sums.share - 1.0).abs() < 1e-6);
            assert!(length(&sums.vector) < 1e-6, "{:?}", sums.vector);
        }
    }

    #[test]
    fn all_vector_instructions_give_the_same_bits() {
        let tracers = [[301.0, 300.0, 350.0], [308.0, 304.0, 358.0]];
        let tracers = tracers.map(|x| Simulated::at_rest(x, 0.4));
        let mut lors = Lors::new(&simulated::lines(3, &tracers, 301, 8.0));
        let mut all = Vec::new();
        for level in levels() {
            lors.level = level;
            let mut mixture = two(&lors, 2);
            mixture.settle();
            let rows = mixture
                .estimates()
                .0
                .into_iter()
                .flat_map(|(_, estimate)| estimate.row(&mixture.model));
            let mut bits: Vec<u64> = rows.map(f64::to_bits).collect();
            let weights = vec![[1.0; LANES]; lors.packs.len()];
            bits.push(
                lors.crossing(&weights, [300.0, 301.0, 352.0], 20.0, 1)
                    .to_bits(),
            );
            assert_eq!(bits.len(), 2 * 17 + 1);
            all.push(bits);
        }
        assert!(all.iter().all(|bits| *bits == all[0]));
    }

    #[test]
    fn widths_are_fitted() {
        let x = [300.0, 300.0, 350.0];
        let lors = Lors::new(&simulated::lines(
            4,
            &[Simulated::at_rest(x, 0.7)],
            20_000,
            100.0,
        ));
        let mut mixture = Mixture::new(
            &lors,
            Model::new(0, [1.0, 9.0], 0.3, 25.0, 10.0).fit_widths(true),
        );
        mixture.add(0, [[303.0, 302.0, 345.0], [0.0; 3], [0.0; 3]]);
        mixture.settle();
        // Other starts end there too.
        let mut other = Mixture::new(
            &lors,
            Model::new(0, [3.0, 5.0], 0.8, 25.0, 10.0).fit_widths(true),
        );
        other.add(0, [[303.0, 302.0, 345.0], [0.0; 3], [0.0; 3]]);
        other.model.widths[1] = 9.0; // the same lines
        other.settle();
        let widths = mixture.density.rates.map(|rate| 1.0 / rate.sqrt());
        assert!(
            (1.8..2.6).contains(&widths[0]) && (5.0..8.0).contains(&widths[1]),
            "{widths:?}"
        );
        assert!(
            mixture.density.change(&other.density) < 0.05,
            "{:?} {:?}",
            mixture.density,
            other.density
        );
    }
}
