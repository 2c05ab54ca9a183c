use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use crate::data::PointData;
use crate::error::{Error, Result};
use crate::statistics::quantile;

/// Rows of a truth further apart than this many of the tracer's median steps are a gap: it was not there in between.
const TRUTH_GAP: f64 = 20.0;
/// The default of [`Evaluator::max_gap`]: so many median steps from one matched point of a tracer to its next.
const DEFAULT_GAP: f64 = 5.0;
/// Points that are matched in one go.
const PART: usize = 1 << 14;
/// The 0.95 quantile of a normalised squared error: chi-squared with three degrees of freedom.
const CHI_SQUARED_95: f64 = 7.814_727_903_251_179;

/// Compares tracked points with the truth `t x y z label`, a label for each tracer.
///
/// **Where a tracer is**: between its rows, taken in the order of time, it moves in straight lines. Before its first row, after its
/// last one, and between two rows further apart than 20 of its median steps it is not there. Rows with a label below 0 are no tracer.
///
/// **Matching**: the tracked points of one time are matched one to one with the tracers present at that time, the nearest pair first,
/// up to a distance of `limit`. (Greedy: where tracers are nearer to each other than the limit, the sum of distances need not be the
/// smallest.) A point that is within the limit only of tracers that nearer points of the same time have is a *duplicate*; one further
/// than the limit from all is *false*. Points whose `label` is below 0 belong to no trajectory: they are counted and left out.
/// Without a column `label`, all points are one trajectory.
///
/// **Misses**: each presence of a tracer is cut into equal windows, as near to `max_gap` as a whole number of them allows; a window
/// without a matched point of that tracer is missed.
///
/// ```
/// use ndarray::array;
/// use pept::PointData;
/// use pept::trajectory::Evaluator;
///
/// let truth = array![[0.0, 0.0, 0.0, 0.0, 0.0], [4.0, 4.0, 0.0, 0.0, 0.0]];
/// let truth = PointData::with_columns(truth, &["label"])?;
/// let tracked = PointData::new(array![[1.0, 1.0, 0.0, 0.0], [3.0, 3.0, 0.5, 0.0], [3.5, 9.0, 9.0, 9.0]])?;
/// let found = Evaluator::new(5.0).max_gap(2.0).run(&tracked, &truth)?;
/// assert_eq!((found.errors.as_slice(), found.false_points), (&[0.0, 0.5][..], 1));
/// assert_eq!((found.windows, found.missed, found.completeness), (2, 0, 1.0));
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluator {
    limit: f64,
    max_gap: Option<f64>,
}

/// How far tracked points are from the truth, what they miss, and whose labels they bear. Shares are NaN where there is nothing to
/// share.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Distance of each matched point from its tracer (mm), ascending.
    pub errors: Vec<f64>,
    /// Errors along x, y and z.
    pub axes: [ErrorStatistics; 3],
    /// Distances.
    pub distance: ErrorStatistics,
    /// Points further than the limit from all tracers.
    pub false_points: usize,
    /// Points near a tracer that a nearer point of the same time has.
    pub duplicates: usize,
    /// Points of no trajectory, left out.
    pub unlabelled: usize,
    /// The longest gap that does not break a trajectory (ms): as given, or the default.
    pub max_gap: f64,
    /// Windows of all tracers' presence.
    pub windows: usize,
    /// Those without a matched point.
    pub missed: usize,
    /// Share of the tracers' time that their main labels cover.
    pub completeness: f64,
    /// Share of the tracers' time that any labels cover.
    pub coverage: f64,
    /// How often the label changes from one matched point of a tracer to its next.
    pub label_changes: usize,
    /// How often the tracer changes from one matched point of a label to its next: identity switches.
    pub identity_switches: usize,
    /// Labels with points of more than one tracer.
    pub shared_labels: usize,
    /// Labels of the tracked points.
    pub trajectories: usize,
    /// Labels of whose points more than half are false.
    pub false_trajectories: usize,
    /// Errors in units of the covariances that the points bring, if they do.
    pub normalised: Option<NormalisedErrors>,
    /// Each tracer, in the order of labels.
    pub tracers: Vec<TracerEvaluation>,
}

/// Figures of many errors (mm); NaN without errors.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorStatistics {
    /// Mean; of an axis with sign, the bias.
    pub mean: f64,
    /// Median; of an axis with sign.
    pub median: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Root mean square.
    pub rms: f64,
    /// 0.9 quantile of the absolute errors.
    pub q90: f64,
    /// 0.99 quantile of the absolute errors.
    pub q99: f64,
    /// Largest absolute error.
    pub max: f64,
}

/// How one tracer was tracked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TracerEvaluation {
    /// Its label in the truth.
    pub label: f64,
    /// How long it was there (ms).
    pub time: f64,
    /// Matched points.
    pub points: usize,
    /// Errors along x, y and z.
    pub axes: [ErrorStatistics; 3],
    /// Distances.
    pub distance: ErrorStatistics,
    /// Windows of its presence.
    pub windows: usize,
    /// Those without a matched point.
    pub missed: usize,
    /// Labels of its matched points: above 1, its trajectory is in fragments.
    pub labels: usize,
    /// The label of most of its matched points, the smallest of several.
    pub main_label: Option<f64>,
    /// How often the label changes from one matched point to the next.
    pub label_changes: usize,
    /// Share of its time that its main label covers: the stretches from its beginning to the first point, from point to point and from
    /// the last point to its end, those of at most `max_gap`.
    pub completeness: f64,
    /// The same for points of any label.
    pub coverage: f64,
}

/// Normalised squared errors `e^T C^-1 e`, with the covariance C of each point (columns `sigma_xx`, `sigma_yy`, `sigma_zz` in mm^2;
/// `sigma_xy`, `sigma_xz`, `sigma_yz` are 0 where they lack). Covariances that are right give a mean of 3; larger means promise too much.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NormalisedErrors {
    /// Matched points whose covariance is positive definite.
    pub points: usize,
    /// Mean, 3 for the right covariances.
    pub mean: f64,
    /// Median, 2.37 for the right covariances and Gaussian errors.
    pub median: f64,
    /// Share within the 0.95 region of a Gaussian.
    pub within_95: f64,
}

/// As [`Evaluator`] with the default `max_gap`.
///
/// # Errors
/// As [`Evaluator::run`].
pub fn evaluate(tracked: &PointData, truth: &PointData, limit: f64) -> Result<Evaluation> {
    Evaluator::new(limit).run(tracked, truth)
}

impl Evaluator {
    /// Points match tracers up to `limit` (mm) away.
    #[must_use]
    pub fn new(limit: f64) -> Self {
        Self {
            limit,
            max_gap: None,
        }
    }

    /// The longest time (ms) without a matched point that does not break a trajectory. By default 5 times the median time from one
    /// matched point of a tracer to its next: give it to compare results with points at different rates.
    #[must_use]
    pub fn max_gap(self, max_gap: f64) -> Self {
        Self {
            max_gap: Some(max_gap),
            ..self
        }
    }

    /// Compares; n points take time proportional to n log n, and to n times the tracers present at once.
    ///
    /// # Errors
    /// [`Error::Columns`] if the truth has no column `label`; [`Error::Parameter`] for a limit that is negative, a gap that is not
    /// above 0, and for a NaN in the times of the truth.
    pub fn run(&self, tracked: &PointData, truth: &PointData) -> Result<Evaluation> {
        self.check()?;
        let truth = Tracer::all(truth)?;
        let points = Tracked::new(tracked);
        let matching = points.matched(&truth, self.limit);

        let mut of_tracer: Vec<Vec<&Match>> = vec![Vec::new(); truth.len()];
        for found in &matching.matches {
            of_tracer[found.tracer].push(found);
        }
        let max_gap = self
            .max_gap
            .unwrap_or_else(|| default_gap(&truth, &of_tracer));

        let mut tracers = Vec::with_capacity(truth.len());
        let (mut time, mut by_main, mut by_any) = (0.0, 0.0, 0.0);
        for (tracer, matches) in truth.iter().zip(&of_tracer) {
            let (found, covered) = tracer.evaluate(matches, max_gap);
            time += found.time;
            by_main += covered[0];
            by_any += covered[1];
            tracers.push(found);
        }
        let labels = Labels::new(&points, &matching);
        let errors = |axis| matching.matches.iter().map(move |found| found.error[axis]);
        let mut distances: Vec<f64> = matching.matches.iter().map(Match::distance).collect();
        distances.sort_by(f64::total_cmp);
        let sum = |figure: fn(&TracerEvaluation) -> usize| tracers.iter().map(figure).sum();
        Ok(Evaluation {
            axes: [0, 1, 2].map(|axis| ErrorStatistics::of(errors(axis))),
            distance: ErrorStatistics::of(distances.iter().copied()),
            errors: distances,
            false_points: matching.false_points.len(),
            duplicates: matching.duplicates.len(),
            unlabelled: points.unlabelled,
            max_gap,
            windows: sum(|tracer| tracer.windows),
            missed: sum(|tracer| tracer.missed),
            completeness: by_main / time,
            coverage: by_any / time,
            label_changes: sum(|tracer| tracer.label_changes),
            identity_switches: labels.switches,
            shared_labels: labels.shared,
            trajectories: labels.all,
            false_trajectories: labels.mostly_false,
            normalised: NormalisedErrors::of(tracked, &matching.matches),
            tracers,
        })
    }

    fn check(&self) -> Result<()> {
        if self.limit.is_nan() || self.limit < 0.0 {
            return Error::parameter("limit", self.limit, "a distance in mm that is not negative");
        }
        match self.max_gap {
            Some(gap) if gap.is_nan() || gap <= 0.0 => {
                Error::parameter("max_gap", gap, "a time in ms above 0")
            }
            _ => Ok(()),
        }
    }
}

impl Evaluation {
    /// Mean distance (mm); NaN without matched points.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.distance.mean
    }

    /// Root mean square distance (mm); NaN without matched points.
    #[must_use]
    pub fn rms(&self) -> f64 {
        self.distance.rms
    }

    /// Median distance (mm); NaN without matched points.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.distance.median
    }

    /// Share of windows that are missed.
    #[must_use]
    pub fn miss_rate(&self) -> f64 {
        self.missed as f64 / self.windows as f64
    }

    /// Tracers that are not missed in at least half of their windows.
    #[must_use]
    pub fn tracers_found(&self) -> usize {
        let found = |tracer: &&TracerEvaluation| 2 * tracer.missed <= tracer.windows;
        self.tracers.iter().filter(found).count()
    }
}

impl ErrorStatistics {
    fn of(errors: impl ExactSizeIterator<Item = f64> + Clone) -> Self {
        let n = errors.len() as f64;
        let mean = errors.clone().sum::<f64>() / n;
        let squares: f64 = errors.clone().map(|error| error * error).sum();
        let spread: f64 = errors
            .clone()
            .map(|error| (error - mean) * (error - mean))
            .sum();
        let mut values: Vec<f64> = errors.collect();
        let mut at = |q| {
            if values.is_empty() {
                f64::NAN
            } else {
                quantile(&mut values, q)
            }
        };
        let median = at(0.5);
        for value in &mut values {
            *value = value.abs();
        }
        let mut at = |q| {
            if values.is_empty() {
                f64::NAN
            } else {
                quantile(&mut values, q)
            }
        };
        Self {
            mean,
            median,
            deviation: (spread / n).sqrt(),
            rms: (squares / n).sqrt(),
            q90: at(0.9),
            q99: at(0.99),
            max: at(1.0),
        }
    }
}

/// A tracer of the truth.
struct Tracer {
    label: f64,
    /// `t x y z` in the order of time.
    rows: Vec<[f64; 4]>,
    /// Rows between which it is there.
    presences: Vec<Range<usize>>,
}

impl Tracer {
    /// The tracers of a truth, in the order of labels.
    fn all(truth: &PointData) -> Result<Vec<Self>> {
        let column = truth.column_index("label").ok_or_else(|| {
            Error::Columns(format!(
                "the truth has no column \"label\", only {}; name its columns t x y z label",
                truth.columns().join(" ")
            ))
        })?;
        let values = truth.values().chunks_exact(truth.columns().len());
        let mut rows: Vec<(f64, [f64; 4])> = Vec::with_capacity(truth.n_rows());
        for (n, row) in values.enumerate() {
            let label = row[column] + 0.0; // -0 is 0
            if label < 0.0 {
                continue;
            }
            if row[0].is_nan() {
                return Err(Error::Parameter {
                    name: "truth",
                    value: format!("NaN as time in row {n} (from 0)"),
                    needed: "a time in every row; remove the others first",
                });
            }
            rows.push((label, [row[0], row[1], row[2], row[3]]));
        }
        let in_order = |a: &(f64, [f64; 4]), b: &(f64, [f64; 4])| {
            a.0.total_cmp(&b.0).then_with(|| a.1[0].total_cmp(&b.1[0]))
        };
        rows.sort_by(in_order); // stable
        let tracers = rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        Ok(tracers
            .map(|rows| Self::new(rows[0].0, rows.iter().map(|(_, row)| *row).collect()))
            .collect())
    }

    fn new(label: f64, rows: Vec<[f64; 4]>) -> Self {
        let step = |pair: &[[f64; 4]]| pair[1][0] - pair[0][0];
        let mut steps: Vec<f64> = rows.windows(2).map(step).filter(|&dt| dt > 0.0).collect();
        let longest = if steps.is_empty() {
            0.0
        } else {
            TRUTH_GAP * quantile(&mut steps, 0.5)
        };
        let mut presences = Vec::new();
        let mut start = 0;
        for (n, pair) in rows.windows(2).enumerate() {
            if step(pair) > longest {
                presences.push(start..n + 1);
                start = n + 1;
            }
        }
        presences.push(start..rows.len());
        Self {
            label,
            rows,
            presences,
        }
    }

    /// When a presence begins and ends.
    fn span(&self, presence: &Range<usize>) -> (f64, f64) {
        (self.rows[presence.start][0], self.rows[presence.end - 1][0])
    }

    /// Its figures, and how long it is covered by its main label and by any (ms).
    fn evaluate(&self, matches: &[&Match], max_gap: f64) -> (TracerEvaluation, [f64; 2]) {
        let mut labels: Vec<f64> = matches.iter().map(|found| found.label).collect();
        labels.sort_by(f64::total_cmp);
        let (mut n_labels, mut main, mut most) = (0, None, 0);
        for run in labels.chunk_by(|a, b| a.total_cmp(b).is_eq()) {
            n_labels += 1;
            if run.len() > most {
                (main, most) = (Some(run[0]), run.len());
            }
        }
        let changes = matches
            .windows(2)
            .filter(|pair| pair[0].label.total_cmp(&pair[1].label).is_ne())
            .count();
        let is_main = |found: &Match| main.is_some_and(|main| found.label.total_cmp(&main).is_eq());

        let (mut time, mut covered, mut windows, mut missed) = (0.0, [0.0; 2], 0_usize, 0_usize);
        for presence in &self.presences {
            let (start, end) = self.span(presence);
            let first = matches.partition_point(|found| found.t < start);
            let last = matches.partition_point(|found| found.t <= end);
            let inside = &matches[first..last];
            time += end - start;
            let with_main = inside.iter().filter(|found| is_main(found));
            covered[0] += covered_time(with_main.map(|found| found.t), (start, end), max_gap);
            let with_any = inside.iter().map(|found| found.t);
            covered[1] += covered_time(with_any.clone(), (start, end), max_gap);
            let (all, hit) = windows_hit(with_any, (start, end), max_gap);
            windows = windows.saturating_add(all);
            missed = missed.saturating_add(all - hit);
        }
        let errors = |axis| matches.iter().map(move |found| found.error[axis]);
        let evaluation = TracerEvaluation {
            label: self.label,
            time,
            points: matches.len(),
            axes: [0, 1, 2].map(|axis| ErrorStatistics::of(errors(axis))),
            distance: ErrorStatistics::of(matches.iter().map(|found| found.distance())),
            windows,
            missed,
            labels: n_labels,
            main_label: main,
            label_changes: changes,
            completeness: covered[0] / time,
            coverage: covered[1] / time,
        };
        (evaluation, covered)
    }
}

/// The length of those stretches between `start`, ascending times and `end` that are at most `max_gap` long and end or begin at a point.
fn covered_time(times: impl Iterator<Item = f64>, (start, end): (f64, f64), max_gap: f64) -> f64 {
    let stretch = |length: f64| if length <= max_gap { length } else { 0.0 };
    let (mut covered, mut last) = (0.0, None);
    for t in times {
        covered += stretch(t - last.unwrap_or(start));
        last = Some(t);
    }
    last.map_or(0.0, |last| covered + stretch(end - last))
}

/// The number of windows of a presence, and of those with one of the ascending times.
fn windows_hit(
    times: impl Iterator<Item = f64>,
    (start, end): (f64, f64),
    max_gap: f64,
) -> (usize, usize) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and numbers are not negative"
    )]
    let whole = |number: f64| number as usize;
    let n = ((end - start) / max_gap).round().max(1.0);
    let all = whole(n);
    let (mut hit, mut last) = (0, None);
    for t in times {
        // A presence without length is one window: its share is NaN, which `as` makes 0.
        let window = whole((t - start) / (end - start) * n).min(all - 1);
        if last != Some(window) {
            hit += 1;
            last = Some(window);
        }
    }
    (all, hit)
}

fn default_gap(truth: &[Tracer], of_tracer: &[Vec<&Match>]) -> f64 {
    let mut steps: Vec<f64> = of_tracer
        .iter()
        .flat_map(|matches| matches.windows(2).map(|pair| pair[1].t - pair[0].t))
        .filter(|&step| step > 0.0)
        .collect();
    if !steps.is_empty() {
        return DEFAULT_GAP * quantile(&mut steps, 0.5);
    }
    let spans = truth.iter().flat_map(|tracer| {
        let presences = tracer.presences.iter();
        presences.map(|presence| tracer.span(presence))
    });
    spans.map(|(start, end)| end - start).fold(0.0, f64::max)
}

/// The tracked points that have a label.
struct Tracked<'a> {
    table: &'a PointData,
    /// Column of labels.
    label: Option<usize>,
    /// Rows in the order of time.
    order: Vec<usize>,
    unlabelled: usize,
}

/// A tracked point and its tracer.
struct Match {
    row: usize,
    t: f64,
    label: f64,
    tracer: usize,
    error: [f64; 3],
}

impl Match {
    fn distance(&self) -> f64 {
        length(self.error)
    }
}

/// All tracked points with a label, in the order of time.
#[derive(Default)]
struct Matching {
    matches: Vec<Match>,
    /// Rows.
    false_points: Vec<usize>,
    /// Rows.
    duplicates: Vec<usize>,
}

/// What lies within the limit of a point.
#[derive(Clone, Copy)]
enum Found {
    Nothing,
    /// Only tracers that other points have.
    Taken,
    /// This one of the positions.
    Tracer(usize),
}

/// A presence of a tracer, and how far it has been followed.
#[derive(Clone, Copy)]
struct Present<'a> {
    tracer: usize,
    rows: &'a [[f64; 4]],
    start: f64,
    end: f64,
    /// The first row that is not before the present time.
    next: usize,
}

impl Present<'_> {
    /// Where it is at a time, not before the one asked for last and within the presence: linear interpolation.
    #[inline]
    fn at(&mut self, t: f64) -> [f64; 3] {
        while self.rows[self.next][0] < t {
            self.next += 1;
        }
        let [t1, to @ ..] = self.rows[self.next];
        if t1 <= t {
            return to;
        }
        let [t0, from @ ..] = self.rows[self.next - 1]; // there is one: presences begin at a row
        let share = (t - t0) / (t1 - t0);
        std::array::from_fn(|axis| from[axis] + share * (to[axis] - from[axis]))
    }
}

impl<'a> Tracked<'a> {
    fn new(table: &'a PointData) -> Self {
        let n_columns = table.columns().len();
        let label = table.column_index("label");
        let values = table.values();
        let mut order: Vec<usize> = (0..table.n_rows()).collect();
        if let Some(column) = label {
            // NaN is a label too.
            order.retain(|row| {
                !matches!(
                    values[row * n_columns + column].partial_cmp(&0.0),
                    Some(Ordering::Less)
                )
            });
        }
        let time = |row: usize| values[row * n_columns];
        order.sort_by(|&a, &b| time(a).total_cmp(&time(b))); // stable
        Self {
            table,
            label,
            unlabelled: table.n_rows() - order.len(),
            order,
        }
    }

    fn row(&self, row: usize) -> &'a [f64] {
        let n_columns = self.table.columns().len();
        &self.table.values()[row * n_columns..][..n_columns]
    }

    fn label_of(&self, row: usize) -> f64 {
        self.label.map_or(0.0, |column| self.row(row)[column] + 0.0) // -0 is 0
    }

    /// Matches all points, those of a time with the tracers present at that time.
    fn matched(&self, truth: &[Tracer], limit: f64) -> Matching {
        let mut presences = Vec::new();
        for (n, tracer) in truth.iter().enumerate() {
            for presence in &tracer.presences {
                let (start, end) = tracer.span(presence);
                presences.push(Present {
                    tracer: n,
                    rows: &tracer.rows[presence.clone()],
                    start,
                    end,
                    next: 0,
                });
            }
        }
        presences.sort_by(|a, b| a.start.total_cmp(&b.start)); // stable
        let parts: Vec<Matching> = self
            .parts()
            .into_par_iter()
            .map(|part| self.match_part(part, &presences, limit))
            .collect();
        let mut matching = Matching::default();
        for part in parts {
            matching.matches.extend(part.matches);
            matching.false_points.extend(part.false_points);
            matching.duplicates.extend(part.duplicates);
        }
        matching
    }

    /// The rows cut into parts, none within the points of one time.
    fn parts(&self) -> Vec<&[usize]> {
        let mut parts = Vec::new();
        let mut rest = self.order.as_slice();
        while let Some(&last) = rest.get(PART - 1) {
            let t = self.row(last)[0];
            let part = rest.partition_point(|&row| self.row(row)[0].total_cmp(&t).is_le());
            let (part, later) = rest.split_at(part);
            parts.push(part);
            rest = later;
        }
        parts.push(rest);
        parts
    }

    /// Goes through points in the order of time, and with them the tracers.
    fn match_part(&self, part: &[usize], presences: &[Present<'_>], limit: f64) -> Matching {
        let mut matching = Matching::default();
        let Some(&first) = part.first() else {
            return matching;
        };
        let first = self.row(first)[0];
        // Those that are not over.
        let coming = presences
            .iter()
            .copied()
            .filter(|presence| presence.end.partial_cmp(&first) != Some(Ordering::Less));
        let mut coming = coming
            .map(|presence| Present {
                next: presence.rows.partition_point(|row| row[0] < first),
                ..presence
            })
            .peekable();
        let mut present: Vec<Present<'_>> = Vec::new();
        let mut buffers = Buffers::default();
        for group in part.chunk_by(|&a, &b| self.row(a)[0].total_cmp(&self.row(b)[0]).is_eq()) {
            let t = self.row(group[0])[0];
            while let Some(presence) = coming.next_if(|presence| presence.start <= t) {
                present.push(presence);
            }
            present.retain(|presence| presence.end >= t);
            buffers.positions.clear();
            let positions = present
                .iter_mut()
                .map(|presence| (presence.tracer, presence.at(t)));
            buffers.positions.extend(positions);
            self.match_group(group, limit, &mut buffers, &mut matching);
        }
        matching
    }

    /// Matches the points of one time with the positions of tracers at that time.
    fn match_group(
        &self,
        group: &[usize],
        limit: f64,
        buffers: &mut Buffers,
        matching: &mut Matching,
    ) {
        let Buffers {
            positions,
            pairs,
            taken,
            found,
        } = buffers;
        pairs.clear();
        let place = |row: usize| {
            let row = self.row(row);
            [row[1], row[2], row[3]]
        };
        let error = |place: [f64; 3], position: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|axis| place[axis] - position[axis])
        };
        for (point, &row) in group.iter().enumerate() {
            let place = place(row);
            for (n, (_, position)) in positions.iter().enumerate() {
                let distance = length(error(place, *position));
                if distance <= limit {
                    pairs.push((distance, point, n));
                }
            }
        }
        pairs.sort_by(|a, b| {
            a.0.total_cmp(&b.0)
                .then_with(|| a.1.cmp(&b.1))
                .then_with(|| positions[a.2].0.cmp(&positions[b.2].0))
        });
        taken.clear();
        taken.resize(positions.len(), false);
        found.clear();
        found.resize(group.len(), Found::Nothing);
        for &(_, point, n) in pairs.iter() {
            match found[point] {
                Found::Tracer(_) => {}
                _ if taken[n] => found[point] = Found::Taken,
                _ => {
                    found[point] = Found::Tracer(n);
                    taken[n] = true;
                }
            }
        }
        for (&row, found) in group.iter().zip(found) {
            match *found {
                Found::Tracer(n) => {
                    let (tracer, position) = positions[n];
                    matching.matches.push(Match {
                        row,
                        t: self.row(row)[0],
                        label: self.label_of(row),
                        tracer,
                        error: error(place(row), position),
                    });
                }
                Found::Taken => matching.duplicates.push(row),
                Found::Nothing => matching.false_points.push(row),
            }
        }
    }
}

/// What the points of one time need; kept from one to the next.
#[derive(Default)]
struct Buffers {
    /// Tracers and where they are.
    positions: Vec<(usize, [f64; 3])>,
    /// Distance, point, position.
    pairs: Vec<(f64, usize, usize)>,
    /// Of each position.
    taken: Vec<bool>,
    /// Of each point.
    found: Vec<Found>,
}

fn length([x, y, z]: [f64; 3]) -> f64 {
    (x * x + y * y + z * z).sqrt()
}

/// What labels say.
#[derive(Default)]
struct Labels {
    all: usize,
    mostly_false: usize,
    shared: usize,
    switches: usize,
}

impl Labels {
    fn new(points: &Tracked<'_>, matching: &Matching) -> Self {
        // Label, the tracer of a match, and whether the point is false; each label's matches in the order of time.
        let matches = matching.matches.iter();
        let mut entries: Vec<(f64, Option<usize>, bool)> = matches
            .map(|found| (found.label, Some(found.tracer), false))
            .collect();
        for (rows, is_false) in [
            (&matching.false_points, true),
            (&matching.duplicates, false),
        ] {
            entries.extend(
                rows.iter()
                    .map(|&row| (points.label_of(row), None, is_false)),
            );
        }
        entries.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
        let mut labels = Self::default();
        for entries in entries.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            labels.all += 1;
            let n_false = entries.iter().filter(|entry| entry.2).count();
            labels.mostly_false += usize::from(2 * n_false > entries.len());
            let mut tracers = entries.iter().filter_map(|entry| entry.1);
            if let Some(mut last) = tracers.next() {
                let before = labels.switches;
                for tracer in tracers {
                    labels.switches += usize::from(tracer != last);
                    last = tracer;
                }
                labels.shared += usize::from(labels.switches > before);
            }
        }
        labels
    }
}

impl NormalisedErrors {
    fn of(tracked: &PointData, matches: &[Match]) -> Option<Self> {
        let columns = ["xx", "yy", "zz", "xy", "xz", "yz"]
            .map(|axes| tracked.column_index(&format!("sigma_{axes}")));
        if columns[..3].iter().any(Option::is_none) {
            return None;
        }
        let n_columns = tracked.columns().len();
        let squares = matches.iter().filter_map(|found| {
            let row = &tracked.values()[found.row * n_columns..][..n_columns];
            let covariance = columns.map(|column| column.map_or(0.0, |column| row[column]));
            squared(covariance, found.error)
        });
        let mut squares: Vec<f64> = squares.collect();
        let n = squares.len() as f64;
        let inside = squares.iter().filter(|&&square| square <= CHI_SQUARED_95);
        Some(Self {
            points: squares.len(),
            mean: squares.iter().sum::<f64>() / n,
            within_95: inside.count() as f64 / n,
            median: if squares.is_empty() {
                f64::NAN
            } else {
                quantile(&mut squares, 0.5)
            },
        })
    }
}

/// `e^T C^-1 e` by Cholesky's method; `None` if C is not positive definite.
fn squared([xx, yy, zz, xy, xz, yz]: [f64; 6], [x, y, z]: [f64; 3]) -> Option<f64> {
    let positive = |value: f64| (value > 0.0 && value.is_finite()).then(|| value.sqrt());
    let a = positive(xx)?;
    let (b, c) = (xy / a, xz / a);
    let d = positive(yy - b * b)?;
    let e = (yz - b * c) / d;
    let f = positive(zz - c * c - e * e)?;
    let u = x / a;
    let v = (y - b * u) / d;
    let w = (z - c * u - e * v) / f;
    Some(u * u + v * v + w * w)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn labelled(rows: &[[f64; 5]]) -> PointData {
        PointData::with_columns(Array2::from(rows.to_vec()), &["label"]).unwrap()
    }

    /// Two tracers that stand still, 10 mm apart, from 0 to 10 ms.
    fn two() -> PointData {
        let rows: Vec<[f64; 5]> = (0..=10)
            .flat_map(|t| {
                [
                    [f64::from(t), 0.0, 0.0, 0.0, 0.0],
                    [f64::from(t), 10.0, 0.0, 0.0, 1.0],
                ]
            })
            .collect();
        labelled(&rows)
    }

    #[test]
    fn points_are_matched_with_the_interpolated_truth() {
        let truth = labelled(&[
            [0.0, 0.0, 0.0, 0.0, 0.0],
            [2.0, 4.0, 0.0, 0.0, 0.0],
            [0.0, 100.0, 0.0, 0.0, 1.0],
        ]);
        // An exact hit, 3 mm off, 50 mm off, noise, and one after the end.
        let tracked = labelled(&[
            [1.0, 2.0, 0.0, 0.0, 0.0],
            [0.0, 100.0, 3.0, 0.0, 1.0],
            [1.0, 52.0, 0.0, 0.0, 0.0],
            [1.0, 52.0, 0.0, 0.0, -1.0],
            [3.0, 4.0, 0.0, 0.0, 0.0],
        ]);
        let found = evaluate(&tracked, &truth, 10.0).unwrap();
        assert_eq!(
            (found.errors.as_slice(), found.false_points),
            (&[0.0, 3.0][..], 2)
        );
        assert_eq!(
            (found.mean(), found.median(), found.rms()),
            (1.5, 1.5, 4.5_f64.sqrt())
        );
        assert_eq!((found.unlabelled, found.trajectories), (1, 2));
    }

    #[test]
    fn figures_of_the_errors() {
        let truth = labelled(&[[0.0, 1.0, 1.0, 1.0, 0.0], [10.0, 1.0, 1.0, 1.0, 0.0]]);
        // Errors in x: -1, 1, 3, 5; in y: 0; in z: -2.
        let tracked = labelled(&[
            [1.0, 0.0, 1.0, -1.0, 7.0],
            [2.0, 2.0, 1.0, -1.0, 7.0],
            [3.0, 4.0, 1.0, -1.0, 7.0],
            [4.0, 6.0, 1.0, -1.0, 7.0],
        ]);
        let found = evaluate(&tracked, &truth, 100.0).unwrap();
        let [x, y, z] = found.axes;
        assert_eq!(
            (x.mean, x.median, x.deviation, x.rms),
            (2.0, 2.0, 5.0_f64.sqrt(), 3.0)
        );
        // Of 1, 1, 3, 5: at positions 2.7 and 2.97.
        assert!((x.q90 - 4.4).abs() < 1e-12 && (x.q99 - 4.94).abs() < 1e-12);
        assert_eq!(
            (x.max, y.rms, z.mean, z.deviation, z.q90),
            (5.0, 0.0, -2.0, 0.0, 2.0)
        );
        assert_eq!(found.distance.max, 29.0_f64.sqrt());
        assert!((found.rms() - 13.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.tracers[0].axes, found.axes);
    }

    #[test]
    fn points_of_one_time_are_matched_one_to_one() {
        // Both are nearest to tracer 0; the second is also within the limit of tracer 1; the third is a duplicate; the fourth false.
        let tracked = labelled(&[
            [5.0, 1.0, 0.0, 0.0, 0.0],
            [5.0, 4.0, 0.0, 0.0, 1.0],
            [5.0, -2.0, 0.0, 0.0, 2.0],
            [5.0, 50.0, 0.0, 0.0, 3.0],
        ]);
        let found = evaluate(&tracked, &two(), 7.0).unwrap();
        assert_eq!(found.errors, [1.0, 6.0]);
        assert_eq!((found.duplicates, found.false_points), (1, 1));
        assert_eq!(
            (found.tracers[0].main_label, found.tracers[1].main_label),
            (Some(0.0), Some(1.0))
        );
        assert_eq!((found.trajectories, found.false_trajectories), (4, 1));
        // At other times, the same points are alone.
        let apart = labelled(&[[5.0, 1.0, 0.0, 0.0, 0.0], [6.0, 4.0, 0.0, 0.0, 1.0]]);
        assert_eq!(evaluate(&apart, &two(), 7.0).unwrap().errors, [1.0, 4.0]);
    }

    #[test]
    fn tracers_that_swap_labels() {
        let row = |t: i32, tracer: i32| {
            let label = if t < 6 { tracer } else { 1 - tracer };
            [
                f64::from(t),
                10.0 * f64::from(tracer),
                0.0,
                0.0,
                f64::from(label),
            ]
        };
        let rows: Vec<[f64; 5]> = (0..=10).flat_map(|t| [row(t, 0), row(t, 1)]).collect();
        let found = Evaluator::new(1.0)
            .max_gap(1.0)
            .run(&labelled(&rows), &two())
            .unwrap();
        assert_eq!(
            (
                found.label_changes,
                found.identity_switches,
                found.shared_labels
            ),
            (2, 2, 2)
        );
        for (tracer, label) in found.tracers.iter().zip([0.0, 1.0]) {
            assert_eq!(
                (tracer.labels, tracer.main_label, tracer.label_changes),
                (2, Some(label), 1)
            );
            // The main label has the points of 0..5 ms; what follows is longer than the gap.
            assert_eq!((tracer.completeness, tracer.coverage), (0.5, 1.0));
        }
        assert_eq!(
            (found.completeness, found.coverage, found.missed),
            (0.5, 1.0, 0)
        );
        assert_eq!(
            (
                found.trajectories,
                found.false_trajectories,
                found.tracers_found()
            ),
            (2, 0, 2)
        );
    }

    #[test]
    fn fragments_change_labels_without_an_identity_switch() {
        let rows: Vec<[f64; 5]> = (0..=10)
            .map(|t| [f64::from(t), 0.0, 0.0, 0.0, f64::from(t / 4)])
            .collect();
        let found = Evaluator::new(1.0)
            .max_gap(1.5)
            .run(&labelled(&rows), &two())
            .unwrap();
        assert_eq!(
            (
                found.label_changes,
                found.identity_switches,
                found.shared_labels
            ),
            (2, 0, 0)
        );
        let [first, second] = &found.tracers[..] else {
            panic!("two tracers")
        };
        assert_eq!((first.labels, first.main_label), (3, Some(0.0)));
        assert_eq!((first.completeness, first.coverage), (0.3, 1.0));
        // Of 10 ms in windows of 10 / 7.
        assert_eq!((first.windows, first.missed), (7, 0));
        assert_eq!(
            (
                second.points,
                second.missed,
                second.coverage,
                second.main_label
            ),
            (0, 7, 0.0, None)
        );
        assert!(second.distance.mean.is_nan());
        assert_eq!((found.miss_rate(), found.tracers_found()), (0.5, 1));
    }

    #[test]
    fn gaps_up_to_the_longest_are_covered_and_windows_without_points_are_missed() {
        let truth = labelled(&[[0.0, 0.0, 0.0, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0, 0.0]]);
        let at = |times: &[f64]| {
            let rows: Vec<[f64; 5]> = times.iter().map(|&t| [t, 0.0, 0.0, 0.0, 0.0]).collect();
            let found = Evaluator::new(1.0)
                .max_gap(2.0)
                .run(&labelled(&rows), &truth)
                .unwrap();
            (found.coverage, found.windows, found.missed)
        };
        // Windows of 2 ms: [0, 2), [2, 4), ...; the end belongs to the last.
        assert_eq!(at(&[1.0, 3.0, 5.0, 7.0, 9.0]), (1.0, 5, 0));
        assert_eq!(at(&[1.0, 3.0, 6.0, 7.0, 10.0]), (0.4, 5, 1));
        assert_eq!(at(&[5.0]), (0.0, 5, 4));
        assert_eq!(at(&[]), (0.0, 5, 5));
        // Later points: the beginning is a gap, too.
        assert_eq!(at(&[4.0, 6.0, 8.0, 10.0]), (0.6, 5, 2));
    }

    #[test]
    fn a_gap_of_the_truth_is_no_presence() {
        // Steps of 1 ms, and one of 50.
        let rows: Vec<[f64; 5]> = (0..=10)
            .chain(60..=70)
            .map(|t| [f64::from(t), f64::from(t), 0.0, 0.0, 3.0])
            .collect();
        let tracked = labelled(&[
            [9.5, 9.5, 0.0, 0.0, 0.0],
            [35.0, 35.0, 0.0, 0.0, 0.0],
            [60.0, 60.0, 0.0, 0.0, 0.0],
        ]);
        let found = Evaluator::new(1.0)
            .max_gap(5.0)
            .run(&tracked, &labelled(&rows))
            .unwrap();
        assert_eq!((found.errors.len(), found.false_points), (2, 1));
        let tracer = &found.tracers[0];
        assert_eq!((tracer.time, tracer.windows, tracer.missed), (20.0, 4, 2));
        // From 9.5 to 10 ms.
        assert_eq!(tracer.coverage, 0.5 / 20.0);
        // The rows of several tracers may be mixed and out of order.
        let reversed: Vec<[f64; 5]> = rows.iter().rev().copied().collect();
        let again = Evaluator::new(1.0)
            .max_gap(5.0)
            .run(&tracked, &labelled(&reversed))
            .unwrap();
        assert_eq!(again, found);
    }

    #[test]
    fn points_matched_in_parts_are_those_of_one_go() {
        // Three points at each time, two near tracers and one far from them: parts would end within a time.
        let n: usize = 2 * PART;
        let rows: Vec<[f64; 5]> = (0..n)
            .flat_map(|k| {
                let t = 10.0 * k as f64 / (n - 1) as f64;
                [0.5, 50.0, 9.0].map(|x| [t, x, 0.0, 0.0, 0.0])
            })
            .collect();
        let found = evaluate(&labelled(&rows), &two(), 2.0).unwrap();
        assert_eq!(
            (found.errors.len(), found.false_points, found.duplicates),
            (2 * n, n, 0)
        );
        assert_eq!((found.tracers[0].points, found.tracers[1].points), (n, n));
        assert_eq!(
            (found.tracers[0].axes[0].max, found.tracers[1].axes[0].mean),
            (0.5, -1.0)
        );
        assert_eq!(found.identity_switches, 2 * n - 1);
        assert_eq!((found.coverage, found.missed), (1.0, 0));
    }

    #[test]
    fn the_default_gap_is_five_median_steps() {
        let rows = [0.0, 1.0, 2.0, 3.0, 7.0, 8.0].map(|t| [t, 0.0, 0.0, 0.0, 0.0]);
        let found = evaluate(&labelled(&rows), &two(), 1.0).unwrap();
        assert_eq!(found.max_gap, 5.0);
        assert_eq!(found.tracers[0].coverage, 1.0);
    }

    #[test]
    fn empty_tables_and_missing_labels() {
        let none = PointData::new(Array2::zeros((0, 4))).unwrap();
        let found = evaluate(&none, &two(), 5.0).unwrap();
        assert_eq!(
            (found.errors.len(), found.false_points, found.tracers.len()),
            (0, 0, 2)
        );
        assert_eq!((found.missed, found.windows, found.coverage), (2, 2, 0.0));
        assert!(found.mean().is_nan() && found.median().is_nan());

        let no_truth = labelled(&[]);
        let points = PointData::new(array![[1.0, 0.0, 0.0, 0.0], [2.0, 9.0, 0.0, 0.0]]).unwrap();
        let found = evaluate(&points, &no_truth, 5.0).unwrap();
        assert_eq!(
            (found.false_points, found.false_trajectories, found.windows),
            (2, 1, 0)
        );
        assert!(found.completeness.is_nan() && found.miss_rate().is_nan());

        // Without labels all points are one trajectory.
        let found = evaluate(&points, &two(), 5.0).unwrap();
        assert_eq!(
            (
                found.trajectories,
                found.identity_switches,
                found.errors.len()
            ),
            (1, 1, 2)
        );
        let error = evaluate(&points, &points, 5.0).unwrap_err().to_string();
        assert!(
            error.contains("no column \"label\", only t x y z"),
            "{error}"
        );

        for (limit, gap) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, 0.0), (1.0, f64::NAN)] {
            let wrong = Evaluator::new(limit).max_gap(gap).run(&points, &two());
            assert!(matches!(wrong, Err(Error::Parameter { .. })));
        }
        let nan = labelled(&[[f64::NAN, 0.0, 0.0, 0.0, 0.0]]);
        assert!(evaluate(&points, &nan, 5.0).is_err());
        // A NaN among the points matches nothing.
        assert_eq!(evaluate(&nan, &two(), 5.0).unwrap().false_points, 1);
    }

    #[test]
    fn errors_in_units_of_their_covariance() {
        let names = [
            "label", "sigma_xx", "sigma_xy", "sigma_xz", "sigma_yy", "sigma_yz", "sigma_zz",
        ];
        // C = [[4, 2, 0], [2, 5, 0], [0, 0, 9]], e = [2, 3, 3]: 1 + 1 + 1; then a covariance that is none.
        let rows = array![
            [1.0, 2.0, 3.0, 3.0, 0.0, 4.0, 2.0, 0.0, 5.0, 0.0, 9.0],
            [2.0, 0.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0],
            [3.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 1.0, 0.0, 1.0]
        ];
        let tracked = PointData::with_columns(rows, &names).unwrap();
        let found = evaluate(&tracked, &two(), 10.0)
            .unwrap()
            .normalised
            .unwrap();
        assert_eq!(found.points, 2);
        assert!((found.mean - 9.5).abs() < 1e-12 && (found.median - 9.5).abs() < 1e-12);
        assert_eq!(found.within_95, 0.5);
        assert_eq!(evaluate(&two(), &two(), 1.0).unwrap().normalised, None);
    }
}
