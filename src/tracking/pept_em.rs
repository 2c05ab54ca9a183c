use serde::{Deserialize, Serialize};

use super::likelihood::{LANES, Lors, Mixture, Model, Widths};
use crate::data::{LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::linear_algebra::{difference, dot, squared_distance};
use crate::pipeline::{Context, Filter};

/// Crossings of two lines that are looked at: so many, and so many more for each tracer that is looked for.
const CROSSINGS: usize = 16;
const CROSSINGS_PER_TRACER: usize = 12;
/// Pairs of lines that are tried for each of them.
const TRIES: usize = 40;
/// The best of them, for each tracer that is looked for, are compared on all lines; before that on every `COARSE`-th pack, unless
/// there are few.
const BEST_PER_TRACER: usize = 4;
const COARSE: usize = 4;
const FEW_PACKS: usize = 16;
/// Two lines cross when they pass each other within so many narrow widths, and not in parallel: the square of the sine between them.
const GAP: f64 = 1.5;
const LEAST_SINE: f64 = 1e-4;
/// Lines within so many wide widths of a crossing count.
const RADIUS: f64 = 1.5;
/// A crossing counts from so many lines on, and from this share of the best.
const LEAST_CROSSING: f64 = 4.0;
const SHARE_OF_BEST: f64 = 0.1;
/// Crossings that are looked at together are so many wide widths apart, and so many from those that came to nothing.
const APART: f64 = 5.0;
const APART_FROM_TRIED: f64 = 1.5;
/// No more tracers are looked for than there could be with so many lines each.
const LEAST_LINES: usize = 6;
/// Times that tracers are looked for in vain before no more are. After each, where there are tracers, it is among so many times more
/// crossings, but then not among more than these.
const FRUITLESS: u32 = 3;
const MORE: usize = 4;
const MOST_CROSSINGS: usize = 8192;
/// Steps that show whether there is a tracer.
const FIRST_STEPS: usize = 5;
/// The share of its gain that a tracer must have after these.
const FIRST_GAIN: f64 = 0.5;

/// Tracers as the maximum of the likelihood of a sample's lines: several at once, their number unknown, in motion.
///
/// Each tracer moves as a polynomial of time; around it lines lie as two Gaussians do, on a uniform background. It starts where
/// lines cross, moves to the maximum (EM, then Newton's method), and stays if the likelihood gains enough by it: lines without a tracer,
/// identical or parallel lines give no point. Two tracers that are near each other are told apart as soon as the likelihood tells.
///
/// Gives a row for each tracer: `t` (ms), the mean time of its lines, where its position is known best; `x y z` (mm); from order 1 on
/// `vx vy vz` (mm/ms; NaN if all times are the same); `error` (mm), the standard error of the position, root of the trace of its covariance;
/// `cluster_size`, the sum of the responsibilities for lines; `share` of the sample's lines; `width` (mm), the root mean square offset
/// of its lines per axis; `sigma_xx sigma_xy sigma_xz sigma_yy sigma_yz sigma_zz` (mm^2), the covariance of the position, inverse of
/// the observed information.
///
/// Manger, Renaud and Vanneste, "An expectation-maximization algorithm for positron emission particle tracking", Review of
/// Scientific Instruments 92, 085105 (2021).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeptEm {
    max_tracers: usize,
    order: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    widths: Option<[f64; 2]>,
    narrow_share: f64,
    lean: f64,
    fit_widths: bool,
    min_gain: f64,
    max_error: f64,
}

impl Default for PeptEm {
    fn default() -> Self {
        Self {
            max_tracers: 1,
            order: 1,
            widths: None,
            narrow_share: Widths::USUAL.narrow_share,
            lean: Widths::USUAL.lean,
            fit_widths: false,
            min_gain: 25.0,
            max_error: 10.0,
        }
    }
}

impl PeptEm {
    /// At most so many tracers, which move evenly (order 1).
    #[must_use]
    pub fn new(max_tracers: usize) -> Self {
        Self {
            max_tracers,
            ..Self::default()
        }
    }

    /// The order of motion within a sample: 0 at rest, 1 with a velocity (the default), 2 with an acceleration.
    #[must_use]
    pub fn order(self, order: usize) -> Self {
        Self { order, ..self }
    }

    /// How a tracer's lines lie around it: the widths (mm, standard deviation per axis) of a narrow and a wide Gaussian, and the
    /// share of lines in the narrow one; with a share of 1 it is one Gaussian. By default a pipeline learns them from the beginning of
    /// the recording; where its lines say too little they are those of an ADAC Forte, 2.35, 6.4 and 0.6.
    #[must_use]
    pub fn widths(self, widths: [f64; 2], narrow_share: f64) -> Self {
        Self {
            widths: Some(widths),
            narrow_share,
            ..self
        }
    }

    /// In a ring, by how much (as a share) the squares of widths grow, across the line and the axis, for a line that leans all the way:
    /// they are times `1 + lean sin^2`, with the angle between the line and the normal of the crystals across the axis, since the depth
    /// at which a photon is absorbed is not known. Learned with the widths; 0 by default where these are given.
    #[must_use]
    pub fn lean(self, lean: f64) -> Self {
        Self { lean, ..self }
    }

    /// Whether widths and share are fitted to each sample: for samples of some thousand lines.
    #[must_use]
    pub fn fit_widths(self, fit_widths: bool) -> Self {
        Self { fit_widths, ..self }
    }

    /// What the log likelihood must gain by a tracer at rest (25 by default), and 6 more for each order of motion.
    ///
    /// Of 192,000 simulated samples of 5 to 1,600 random lines 5 gave a point.
    #[must_use]
    pub fn min_gain(self, min_gain: f64) -> Self {
        Self { min_gain, ..self }
    }

    /// Points with a larger `error` (mm; 10 by default) are left out.
    #[must_use]
    pub fn max_error(self, max_error: f64) -> Self {
        Self { max_error, ..self }
    }

    fn model(&self) -> Model {
        Model::new(
            self.order,
            Widths::given(self.widths, self.narrow_share, self.lean),
            self.min_gain,
            self.max_error,
        )
        .fit_widths(self.fit_widths)
    }

    /// The tracers of a sample.
    fn locate<'a>(&self, lors: &'a Lors, model: Model) -> Mixture<'a> {
        let mut mixture = Mixture::new(lors, model);
        let mut tried = Vec::new();
        let most = self.max_tracers.min(lors.len() / LEAST_LINES);
        loop {
            let n = mixture.tracers().len();
            search(
                lors,
                &mut mixture,
                &mut tried,
                most,
                Mixture::left_over,
                FRUITLESS,
            );
            let n_found = mixture.tracers().len();
            mixture.settle();
            // Some that were found twice may have left no room for others.
            let left = mixture.tracers().len();
            if n_found < most || left == most || left <= n {
                break;
            }
        }
        self.split(&mut mixture);
        // One in the wide part of another, too far from it to be split off.
        let n = mixture.tracers().len();
        if (1..most).contains(&n) {
            let mut more = mixture.clone();
            let mut tried = mixture
                .tracers()
                .iter()
                .map(|tracer| tracer.place())
                .collect();
            search(lors, &mut more, &mut tried, most, Mixture::outside_cores, 1);
            if more.tracers().len() > n {
                more.settle();
                self.split(&mut more);
            }
            if more.tracers().len() > n {
                return more;
            }
        }
        mixture
    }

    fn split(&self, mixture: &mut Mixture<'_>) {
        let mut tried = Vec::new();
        while mixture.tracers().len() < self.max_tracers && mixture.split_one(&mut tried) {}
    }
}

/// Adds tracers where lines cross of which `weights` leaves most, until none was found `patience` times, or there are as many as there
/// may be.
fn search<'a>(
    lors: &Lors,
    mixture: &mut Mixture<'a>,
    tried: &mut Vec<[f64; 3]>,
    most: usize,
    weights: impl Fn(&Mixture<'a>) -> Vec<[f64; LANES]>,
    patience: u32,
) {
    let mut fruitless = 0;
    while fruitless < patience && mixture.tracers().len() < most {
        let wanted = most - mixture.tracers().len();
        let is_empty = mixture.tracers().is_empty();
        // Where there is none, more crossings find more of what chance makes.
        let effort = if is_empty { 1 } else { MORE.pow(fruitless) };
        let crossings = crossings(
            lors,
            mixture.model,
            &weights(mixture),
            tried,
            wanted,
            effort,
        );
        if crossings.is_empty() {
            if is_empty {
                break;
            }
            fruitless += 1;
            continue;
        }
        for &x in &crossings {
            let n = mixture.tracers().len();
            mixture.add(n, [x, [0.0; 3], [0.0; 3]]);
        }
        mixture.converge(FIRST_STEPS);
        let n_tried = tried.len();
        for n in (0..mixture.tracers().len()).rev() {
            let tracer = &mixture.tracers()[n];
            if mixture.is_chance(tracer, FIRST_GAIN) {
                tried.push(tracer.start);
                mixture.remove(n);
            }
        }
        fruitless += u32::from(tried.len() - n_tried >= crossings.len());
    }
}

/// Up to `wanted` places where lines cross of which `weights` leaves most, the best first; with `effort` times as many crossings to choose
/// from.
fn crossings(
    lors: &Lors,
    model: Model,
    weights: &[[f64; LANES]],
    tried: &[[f64; 3]],
    wanted: usize,
    effort: usize,
) -> Vec<[f64; 3]> {
    let (narrow, wide) = (model.narrow(), model.wide());
    let left = |&n: &usize| weights[n / LANES][n % LANES] > 0.5;
    let rows: Vec<usize> = (0..lors.len()).filter(left).collect();
    let more = |n: usize| (effort * n).min(n.max(MOST_CROSSINGS));
    let n_crossings = more(CROSSINGS + CROSSINGS_PER_TRACER * wanted);
    let mut ranked = crossings_of_two(lors, &rows, n_crossings, GAP * narrow);
    let rank = |ranked: &mut Vec<([f64; 3], f64)>, step| {
        for (x, lines) in &mut *ranked {
            *lines = lors.crossing(weights, *x, RADIUS * wide, step);
        }
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable
    };
    let n_best = more(BEST_PER_TRACER * (wanted + 1));
    if weights.len() > FEW_PACKS && ranked.len() > n_best {
        rank(&mut ranked, COARSE);
        ranked.truncate(n_best);
    }
    rank(&mut ranked, 1);
    let least = ranked
        .first()
        .map_or(0.0, |&(_, most)| SHARE_OF_BEST * most);
    let least = least.max(LEAST_CROSSING);
    let mut found: Vec<[f64; 3]> = Vec::new();
    for (x, lines) in ranked {
        let apart = |others: &[[f64; 3]], limit: f64| {
            others
                .iter()
                .all(|&other| squared_distance(other, x) > limit * limit)
        };
        if lines >= least
            && found.len() < wanted
            && apart(&found, APART * wide)
            && apart(tried, APART_FROM_TRIED * wide)
        {
            found.push(x);
        }
    }
    found
}

/// Up to `wanted` places where two of the lines cross; with each a 0.
///
/// Neighbours in time are tried first, since they saw a tracer in the same place.
fn crossings_of_two(lors: &Lors, rows: &[usize], wanted: usize, gap: f64) -> Vec<([f64; 3], f64)> {
    let n = rows.len();
    let n_pairs = n.saturating_mul(n.saturating_sub(1)) / 2;
    let mut found = Vec::new();
    for k in 0..n_pairs.min(TRIES.saturating_mul(wanted)) {
        if found.len() == wanted {
            break;
        }
        let offset = 1 + k / n;
        // The multiples of the golden ratio spread evenly, wherever they end.
        let spread = (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let a = ((u128::from(spread) * (n - offset) as u128) >> 32) as usize;
        if let Some(x) = crossing_of_two(lors.line(rows[a]), lors.line(rows[a + offset]), gap)
            && lors.contains(&x, 0.0)
        {
            found.push((x, 0.0));
        }
    }
    found
}

/// The middle of the shortest segment between two lines, each a point and a unit direction, if it is shorter than `gap`.
fn crossing_of_two(
    (p, u): ([f64; 3], [f64; 3]),
    (q, v): ([f64; 3], [f64; 3]),
    gap: f64,
) -> Option<[f64; 3]> {
    let w = difference(p, q);
    let normal = [
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    ];
    let (sine, volume) = (dot(normal, normal), dot(normal, w));
    if !(sine > LEAST_SINE && volume * volume < gap * gap * sine) {
        return None;
    }
    let (b, d, e) = (dot(u, v), dot(u, w), dot(v, w));
    let (s, t) = ((b * e - d) / sine, (e - b * d) / sine);
    Some([0, 1, 2].map(|k| 0.5 * ((p[k] + s * u[k]) + (q[k] + t * v[k]))))
}

impl Filter for PeptEm {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.max_tracers == 0 {
            return Err(Error::Parameter {
                name: "max_tracers",
                value: "0".into(),
                needed: "1 or more",
            });
        }
        if self.learns() {
            Widths::given(self.widths, self.narrow_share, self.lean).check_learned()?;
        }
        self.model().check()
    }

    fn learns(&self) -> bool {
        self.widths.is_none() && !self.fit_widths
    }

    fn learn(&self, samples: Vec<LineData>) -> Result<Option<Self>> {
        let lors: Vec<Lors> = samples.iter().map(Lors::new).collect();
        let learned = self
            .model()
            .learned_widths(lors.len(), |n, model| self.locate(&lors[n], model));
        Ok(learned.map(|found| {
            self.clone()
                .widths(found.widths, found.narrow_share)
                .lean(found.lean)
        }))
    }

    fn filter(&self, sample: LineData, context: &Context<'_>) -> Result<PointData> {
        let model = self.model();
        let lors = Lors::new(&sample);
        let (known, n_unknown) = self.locate(&lors, model).estimates();
        if n_unknown > 0 {
            tracing::debug!(
                sample = context.sample,
                n_unknown,
                "points of which nothing is known are left out"
            );
        }
        let rows = known
            .iter()
            .flat_map(|(_, estimate)| estimate.row(&model))
            .collect();
        let columns = model.columns();
        let points = PointData::with_columns(array_of_rows(rows, columns.len()), &columns[4..])?;
        Ok(points.with_attributes(sample.attributes().clone()))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_pcg::Pcg64;

    use super::*;
    use crate::detector::SceneText;
    use crate::tracking::likelihood::simulated::{Tracer, lines, normalized_square};

    const MIDDLE: [f64; 3] = [302.0, 302.0, 356.0];

    fn points(step: &PeptEm, lines: LineData) -> PointData {
        step.filter(lines, &Context::FIRST).unwrap()
    }

    fn of_rows(rows: Vec<[f64; 7]>) -> LineData {
        LineData::new(Array2::from(rows)).unwrap()
    }

    fn rows_of(lines: &LineData) -> Vec<[f64; 7]> {
        lines.line_slice().rows().copied().collect()
    }

    fn length(x: [f64; 3]) -> f64 {
        x[0].hypot(x[1]).hypot(x[2])
    }

    fn difference(a: &[f64], b: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|k| a[k] - b[k])
    }

    #[test]
    fn a_tracer_is_found_without_bias_and_its_covariance_is_honest() {
        let tracer = Tracer {
            x: MIDDLE,
            v: [0.4, -0.3, 0.2],
            share: 0.7,
        };
        for order in 0..=2 {
            let moves = Tracer {
                v: if order == 0 { [0.0; 3] } else { tracer.v },
                ..tracer
            };
            let step = PeptEm::new(1).order(order);
            let n_windows = 400;
            let (mut squares, mut errors, mut variances, mut speeds) =
                (0.0, [0.0; 3], [0.0; 3], [0.0; 3]);
            for seed in 0..n_windows {
                let found = points(&step, lines(seed, &[moves], 200, 6.0));
                assert_eq!(found.n_rows(), 1, "window {seed}");
                let row = found.values();
                let error = difference(&row[1..], moves.at(row[0], 6.0));
                let covariance = &row[row.len() - 6..];
                squares += normalized_square(error, covariance);
                for k in 0..3 {
                    errors[k] += error[k];
                    variances[k] += covariance[[0, 3, 5][k]];
                    speeds[k] += if order == 0 {
                        0.0
                    } else {
                        row[4 + k] - moves.v[k]
                    };
                }
                let error = found.column(found.column_index("error").unwrap())[0];
                assert!(
                    (error * error - (covariance[0] + covariance[3] + covariance[5])).abs() < 1e-9
                );
            }
            let n = n_windows as f64;
            assert!(
                (squares / n - 3.0).abs() < 0.3,
                "order {order}: {}",
                squares / n
            );
            for k in 0..3 {
                // Four standard errors of the mean.
                assert!(
                    errors[k].abs() / n < 4.0 * (variances[k] / n / n).sqrt(),
                    "order {order}: {errors:?}"
                );
                let speed = (variances[k] / n / n).sqrt(); // that of 1 mm/ms over 2 ms, or more
                assert!(
                    (speeds[k] / n).abs() < 4.0 * speed,
                    "order {order}: {speeds:?}"
                );
            }
        }
    }

    #[test]
    fn random_lines_give_no_point() {
        for n in [3, 10, 30, 100, 400] {
            for seed in 0..100 {
                for order in [0, 1] {
                    let found = points(&PeptEm::new(3).order(order), lines(seed, &[], n, 8.0));
                    assert_eq!(
                        found.n_rows(),
                        0,
                        "{n} lines, window {seed}: {:?}",
                        found.values()
                    );
                }
            }
        }
    }

    #[test]
    fn one_tracer_is_one_even_if_there_may_be_more() {
        for seed in 0..50 {
            let found = points(
                &PeptEm::new(4),
                lines(seed, &[Tracer::at_rest(MIDDLE, 0.6)], 800, 16.0),
            );
            assert_eq!(found.n_rows(), 1, "window {seed}");
            let share = found.column(found.column_index("share").unwrap())[0];
            assert!((share - 0.6).abs() < 0.1, "{share}");
        }
    }

    #[test]
    fn two_tracers_meet_and_part() {
        // From 40 mm apart to 4 mm and back.
        for seed in 0..60 {
            let way = f64::from(u32::try_from(seed).unwrap()) / 29.5 - 1.0;
            let apart = [20.0 * way, 2.0, 0.0];
            let tracers = [1.0, -1.0].map(|side| Tracer {
                x: [0, 1, 2].map(|k| MIDDLE[k] + side * apart[k]),
                v: [side * 0.3, 0.0, 0.0],
                share: 0.4,
            });
            let found = points(&PeptEm::new(2), lines(seed, &tracers, 400, 8.0));
            let distance = 2.0 * length(apart);
            let expected = if distance > 10.0 { 2..=2 } else { 1..=2 };
            assert!(
                expected.contains(&found.n_rows()),
                "{distance} mm: {}",
                found.n_rows()
            );
            for row in found.rows().rows() {
                let row = row.to_vec();
                let nearest = |tracers: &[Tracer]| {
                    let errors = tracers
                        .iter()
                        .map(|tracer| length(difference(&row[1..], tracer.at(row[0], 8.0))));
                    errors.fold(f64::INFINITY, f64::min)
                };
                // One point for both lies between them.
                let limit = if found.n_rows() == 2 {
                    6.0 * row[7]
                } else {
                    0.5 * distance + 6.0 * row[7]
                };
                assert!(
                    nearest(&tracers) < limit,
                    "{distance} mm: {} {limit}",
                    nearest(&tracers)
                );
            }
        }
    }

    #[test]
    fn several_tracers_of_different_activity_are_found() {
        let tracers = [
            Tracer::at_rest([250.0, 200.0, 300.0], 0.3),
            Tracer::at_rest([350.0, 420.0, 400.0], 0.15),
            Tracer::at_rest([300.0, 300.0, 356.0], 0.08),
            Tracer::at_rest([320.0, 300.0, 356.0], 0.08),
        ];
        for seed in 0..20 {
            let found = points(&PeptEm::new(6), lines(seed, &tracers, 1200, 24.0));
            assert_eq!(found.n_rows(), 4, "window {seed}");
            let places = found.positions();
            for tracer in &tracers {
                let errors = places.iter().map(|x| length(difference(x, tracer.x)));
                assert!(errors.fold(f64::INFINITY, f64::min) < 4.0, "window {seed}");
            }
        }
    }

    #[test]
    fn a_weak_tracer_is_found_in_the_wide_part_of_another() {
        const SIZE: usize = 400;
        for distance in ["9", "12", "15"] {
            let mut text = SceneText::example("pair-in-plane").unwrap();
            text.set("distance", distance).unwrap();
            text.set("ratio", "3").unwrap();
            text.set("duration", "300").unwrap();
            let lors = text.scene().unwrap().run().unwrap().lors;
            // As they are learned from such recordings.
            let step = PeptEm::new(2).widths([2.4, 6.9], 0.6);
            let n_samples = lors.n_rows() / SIZE;
            let found: usize = (0..n_samples)
                .map(|n| {
                    let sample = lors.slice_rows(SIZE * n..SIZE * (n + 1)).unwrap();
                    points(&step, sample).n_rows()
                })
                .sum();
            assert_eq!(found, 2 * n_samples, "{distance} mm");
        }
    }

    #[test]
    fn a_fast_tracer_is_not_lost() {
        for speed in [1.0, 5.0, 10.0] {
            let tracer = Tracer {
                x: MIDDLE,
                v: [speed, 0.0, 0.0],
                share: 0.8,
            };
            for seed in 0..20 {
                let found = points(&PeptEm::new(1), lines(seed, &[tracer], 200, 5.0));
                assert_eq!(found.n_rows(), 1, "{speed} mm/ms");
                let row = found.values();
                assert!(length(difference(&row[1..], tracer.at(row[0], 5.0))) < 3.0);
                assert!((row[4] - speed).abs() < 2.0, "{} {speed}", row[4]);
            }
        }
    }

    #[test]
    fn bad_lines_give_no_point_and_no_panic() {
        let random = rows_of(&lines(1, &[], 200, 8.0));
        let parallel = |n: usize| {
            [
                n as f64 * 0.01,
                200.0 + n as f64,
                200.0,
                0.0,
                200.0 + n as f64,
                210.0,
                712.0,
            ]
        };
        let same = [1.0, 200.0, 220.0, 0.0, 400.0, 380.0, 712.0];
        let mut bundle = random.clone();
        bundle.extend([same; 200]);
        let beam = |n: usize| {
            let [a, b] = [0.03, 0.07].map(|step| n as f64 * step % 1.0);
            [
                n as f64,
                200.0 + a,
                220.0 + b,
                0.0,
                400.0 - b,
                380.0 + a,
                712.0,
            ]
        };
        let mut in_beam = random.clone();
        in_beam.extend((0..200).map(beam));
        let hopeless = [
            Vec::new(),
            random[..1].to_vec(),
            random[..2].to_vec(),
            vec![same; 100],
            (0..100).map(parallel).collect(),
            (0..100).map(beam).collect(),
            bundle,
            in_beam,
            vec![[7.0; 7]; 50],
            vec![[f64::NAN; 7]; 50],
            vec![[f64::INFINITY; 7]; 50],
            random.iter().map(|row| row.map(|x| x * 1e150)).collect(),
            random.iter().map(|row| row.map(|x| x * 1e160)).collect(),
        ];
        for (n, rows) in hopeless.into_iter().enumerate() {
            for order in 0..=2 {
                let step = PeptEm::new(3).order(order);
                let found = points(&step, of_rows(rows.clone()));
                let n_columns = if order == 0 { 14 } else { 17 };
                assert_eq!(
                    (found.n_rows(), found.columns().len()),
                    (0, n_columns),
                    "case {n}: {:?}",
                    found.values()
                );
            }
        }
    }

    #[test]
    fn bad_lines_do_not_hide_a_tracer_and_the_order_of_lines_changes_nothing() {
        let tracers = [
            Tracer::at_rest(MIDDLE, 0.4),
            Tracer::at_rest([200.0, 300.0, 300.0], 0.3),
        ];
        let step = PeptEm::new(3);
        let clean = lines(5, &tracers, 400, 8.0);
        let found = points(&step, clean.clone());
        assert_eq!(found.n_rows(), 2);
        let mut rows = rows_of(&clean);
        let mut rng = Pcg64::seed_from_u64(0);
        for _ in 0..5 {
            rows.shuffle(&mut rng);
            assert_eq!(points(&step, of_rows(rows.clone())), found);
        }
        rows.insert(7, [f64::NAN; 7]);
        rows.insert(70, [3.0; 7]);
        assert_eq!(points(&step, of_rows(rows.clone())), found);
        // Both ways along a line are one.
        let turned = rows
            .iter()
            .map(|&[t, a, b, c, d, e, f]| [t, d, e, f, a, b, c])
            .collect();
        for (a, b) in points(&step, of_rows(turned))
            .values()
            .iter()
            .zip(found.values())
        {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn times_that_are_all_the_same_give_positions_without_velocities() {
        let mut rows = rows_of(&lines(6, &[Tracer::at_rest(MIDDLE, 0.7)], 300, 8.0));
        for order in 0..=2 {
            for n_times in 1..=3 {
                for (n, row) in rows.iter_mut().enumerate() {
                    row[0] = 10.0 + (n % n_times) as f64;
                }
                let found = points(&PeptEm::new(1).order(order), of_rows(rows.clone()));
                assert_eq!(found.n_rows(), 1);
                let row = found.values();
                assert!(length(difference(&row[1..], MIDDLE)) < 3.0, "{row:?}");
                assert!((10.0..=12.0).contains(&row[0]));
                let speed = found.column_index("vx").map(|column| row[column]);
                assert_eq!(speed.map(f64::is_nan), (order > 0).then_some(n_times == 1));
            }
        }
    }

    #[test]
    fn a_tracer_at_the_edge_is_found_where_it_is() {
        for x in [
            [112.0, 300.0, 356.0],
            [300.0, 300.0, 6.0],
            [300.0, 540.0, 600.0],
        ] {
            for seed in 0..10 {
                let found = points(
                    &PeptEm::new(2),
                    lines(seed, &[Tracer::at_rest(x, 0.7)], 300, 8.0),
                );
                assert!(found.n_rows() <= 1, "{x:?} {seed} {:?}", found.values());
                for row in found.rows().rows() {
                    let row = row.to_vec();
                    assert!(
                        length(difference(&row[1..], x)) < 6.0 * row[7] + 1.0,
                        "{x:?} {row:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn widths_are_learned_from_samples_of_any_camera() {
        let tracers = [
            Tracer::at_rest(MIDDLE, 0.35),
            Tracer::at_rest([250.0, 310.0, 300.0], 0.35),
        ];
        let learn = |samples: Vec<LineData>| PeptEm::new(2).learn(samples).unwrap();
        // The same lines in half the size are those of a finer camera.
        for scale in [1.0, 0.5] {
            let sample = |seed| {
                let rows = rows_of(&lines(seed, &tracers, 400, 8.0));
                let scaled = rows.iter().map(|row| {
                    let mut row = row.map(|x| x * scale);
                    row[0] /= scale;
                    row
                });
                of_rows(scaled.collect())
            };
            let learned = learn((0..40).map(sample).collect()).unwrap();
            let [narrow, wide] = learned.widths.unwrap().map(|width| width / scale);
            assert!((2.1..2.7).contains(&narrow), "{narrow}");
            assert!((5.5..7.5).contains(&wide), "{wide}");
            assert!((0.5..0.75).contains(&learned.narrow_share));
            assert!(!learned.learns());
        }
        assert_eq!(
            learn((0..40).map(|seed| lines(seed, &[], 400, 8.0)).collect()),
            None
        );
        assert_eq!(learn(vec![lines(0, &tracers, 400, 8.0)]), None);
        assert_eq!(learn(Vec::new()), None);
        assert!(!PeptEm::new(1).fit_widths(true).learns());
    }

    #[test]
    fn tracers_anywhere_in_a_ring_are_all_found_once_however_many_there_may_be() {
        let mut text = SceneText::example("many").unwrap();
        text.set("tracers", "9").unwrap();
        text.set("duration", "50").unwrap();
        let simulation = text.scene().unwrap().run().unwrap();
        let truth = simulation.truth.positions()[..9].to_vec();
        let samples: Vec<LineData> = (0..8)
            .map(|n| {
                simulation
                    .lors
                    .slice_rows(1800 * n..1800 * (n + 1))
                    .unwrap()
            })
            .collect();
        for max_tracers in [9, 27] {
            let step = PeptEm::new(max_tracers).order(0);
            let step = step.learn(samples.clone()).unwrap().unwrap();
            assert!((5.0..20.0).contains(&step.lean), "{}", step.lean);
            for sample in &samples {
                let found = points(&step, sample.clone()).positions();
                assert_eq!(found.len(), 9, "of {max_tracers}");
                for x in &truth {
                    let errors = found.iter().map(|found| length(difference(found, *x)));
                    assert!(errors.fold(f64::INFINITY, f64::min) < 2.0);
                }
            }
        }
    }

    #[test]
    fn parameters_are_checked_and_read() {
        let step: PeptEm =
            toml::from_str("max_tracers = 2\norder = 2\nwidths = [2.0, 5.0]\nmin_gain = 30")
                .unwrap();
        let same = PeptEm::new(2)
            .order(2)
            .widths([2.0, 5.0], 0.6)
            .min_gain(30.0);
        assert_eq!(step, same);
        assert!(toml::from_str::<PeptEm>("max_tracer = 2").is_err());
        assert!(step.check().is_ok());
        let new = || PeptEm::new(1);
        let wrong = [
            PeptEm::new(0),
            new().order(3),
            new().widths([0.0, 5.0], 0.5),
            new().widths([5.0, 2.0], 0.5),
            new().widths([2.0, f64::NAN], 0.5),
            new().widths([2.0, 5.0], 0.0),
            new().widths([2.0, 5.0], 1.1),
            new().min_gain(-1.0),
            new().max_error(0.0),
        ];
        for step in wrong {
            assert!(
                matches!(step.check(), Err(Error::Parameter { .. })),
                "{step:?}"
            );
        }
        for (step, given) in [
            (
                PeptEm {
                    narrow_share: 1.0,
                    ..new()
                },
                "narrow_share",
            ),
            (new().lean(2.0), "lean"),
        ] {
            let error = step.check().unwrap_err();
            assert!(matches!(error, Error::Parameter { name, .. } if name == given));
            assert!(step.widths([2.0, 5.0], 0.6).check().is_ok());
        }
        // One Gaussian works too.
        let found = points(
            &new().widths([3.3, 3.3], 1.0),
            lines(7, &[Tracer::at_rest(MIDDLE, 0.7)], 300, 8.0),
        );
        assert_eq!(found.n_rows(), 1);
    }
}
