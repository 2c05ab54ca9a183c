//! One scene: simulated, tracked by each recipe, compared with the truth.

use std::time::Instant;

use pept::data::{LineData, PointData};
use pept::detector::bound::{Bound, Geometry, NoiseFit, OffsetDensity, Spread};
use pept::detector::{Detector, Motion, Scene, SceneText, Simulator, Tracer};
use pept::trajectory::{Evaluation, Evaluator, TracerEvaluation};
use pept::{Recipe, Sampling};

use crate::Options;
use crate::cases::{Case, Samples};
use crate::peer;

/// The recipes that start from LoRs.
pub(crate) const RECIPES: [Kind; 10] = [
    Kind::new("pept-ml-one-pass", false, true),
    Kind::new("pept-ml", false, true),
    Kind::new("production", false, true),
    Kind::new("birmingham", false, false),
    Kind::new("fpi", false, false),
    Kind::new("pept-ml-refined", true, true),
    Kind::new("pept-ml-smooth", true, true),
    Kind::new("pept-em", true, false),
    Kind::new("pept-em-link", true, false),
    Kind::new("pept-em-trajectory", true, false),
];
/// Recipes whose points are each of one sample: what the bound of a sample is for.
pub(crate) const OF_ONE_SAMPLE: [&str; 6] = [
    "pept-ml-one-pass",
    "birmingham",
    "fpi",
    "pept-ml-refined",
    "pept-em",
    "pept-em-link",
];
/// LoRs of a walk's sample whose crossings are clustered: their number grows with the square, and so does the time.
const MOST_CROSSING: usize = 200;
/// A recipe that would take longer on a recording (s) is left out, as its first samples say.
const PATIENCE: f64 = 600.0;
const FIRST_SAMPLES: usize = 5;
/// Samples without a point of a tracer that a trajectory may have.
const MOST_MISSING: f64 = 10.0;

/// What a recipe does with a sample.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Fits a velocity to it.
    fits_motion: bool,
    /// Clusters the places where its LoRs cross.
    crosses: bool,
}

impl Kind {
    const fn new(name: &'static str, fits_motion: bool, crosses: bool) -> Self {
        Self {
            name,
            fits_motion,
            crosses,
        }
    }
}

/// A case and what came of it.
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) lors: usize,
    /// LoRs per ms.
    pub(crate) rate: f64,
    /// The least standard deviations of one tracer that does not move, from one LoR.
    pub(crate) bound: Option<Bound>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// What a recipe made of a case.
pub(crate) struct Outcome {
    pub(crate) recipe: String,
    /// LoRs of a sample, of which so many are in the next one, too.
    pub(crate) sample: (usize, usize),
    pub(crate) found: Result<Evaluation, String>,
    /// Points of trajectories outside the field of view.
    pub(crate) outside: usize,
    pub(crate) seconds: f64,
    /// Points per ms.
    pub(crate) points_per_ms: f64,
    pub(crate) bound: Option<[f64; 3]>,
    /// Tracers with a point in nearly every window of two samples' steps.
    pub(crate) n_found: usize,
}

impl Outcome {
    /// Nothing yet.
    fn new(recipe: String, sample: (usize, usize), bound: Option<&Bound>, seconds: f64) -> Self {
        Self {
            recipe,
            sample,
            found: Err(String::new()),
            outside: 0,
            seconds,
            points_per_ms: 0.0,
            bound: bound.map(|bound| bound.sigma(sample.0 as f64)),
            n_found: 0,
        }
    }

    fn figure(&self, figure: impl Fn(&Evaluation) -> f64) -> f64 {
        self.found.as_ref().map_or(f64::NAN, figure)
    }

    /// The root mean square error along each axis, in units of the bound for a sample.
    pub(crate) fn times_bound(&self) -> [f64; 3] {
        let Some(bound) = self.bound else {
            return [f64::NAN; 3];
        };
        [0, 1, 2].map(|axis| self.figure(|found| found.axes[axis].rms) / bound[axis])
    }

    /// The largest mean error of an axis, in units of the bound's standard deviation.
    pub(crate) fn bias(&self) -> f64 {
        let Some(bound) = self.bound else {
            return f64::NAN;
        };
        let of_axis = |axis: usize| self.figure(|found| found.axes[axis].mean).abs() / bound[axis];
        largest([0, 1, 2].map(of_axis))
    }

    /// The same less two standard errors of the mean: what chance makes of so many samples.
    pub(crate) fn bias_beyond_chance(&self) -> f64 {
        let chance = 2.0 / self.figure(|found| found.errors.len() as f64).sqrt();
        let bias = self.bias();
        if bias.is_nan() {
            bias
        } else {
            (bias - chance).max(0.0)
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.figure(Evaluation::mean)
    }

    pub(crate) fn rms(&self) -> f64 {
        self.figure(Evaluation::rms)
    }

    pub(crate) fn false_points(&self) -> usize {
        let number = |found: &Evaluation| found.false_points;
        self.found.as_ref().map_or(usize::MAX, number)
    }

    /// Of all points in trajectories.
    pub(crate) fn false_percent(&self) -> f64 {
        self.figure(|found| {
            let n = found.errors.len() + found.duplicates + found.false_points;
            100.0 * found.false_points as f64 / n as f64
        })
    }

    pub(crate) fn missed_percent(&self) -> f64 {
        self.figure(|found| 100.0 * found.miss_rate())
    }

    pub(crate) fn label_changes(&self) -> usize {
        let number = |found: &Evaluation| found.label_changes;
        self.found.as_ref().map_or(usize::MAX, number)
    }

    pub(crate) fn switches(&self) -> usize {
        let number = |found: &Evaluation| found.identity_switches;
        self.found.as_ref().map_or(usize::MAX, number)
    }
}

/// The largest of some numbers; NaN if one is NaN.
pub(crate) fn largest(values: [f64; 3]) -> f64 {
    let larger = |a: f64, b: f64| if a >= b || a.is_nan() { a } else { b };
    values.into_iter().fold(0.0, larger)
}

pub(crate) fn measure(case: Case, options: &Options) -> pept::Result<Measured> {
    let mut text = SceneText::example(case.scene)?;
    for (name, value) in &case.set {
        text.set(name, &format!("{value:?}"))?;
    }
    // In a part of `fov` the tracer is nowhere to be seen; of little activity there are few LoRs.
    let is_whole = ["fov", "circle-low-activity"].contains(&case.scene);
    let is_long = case.duration > 600.0 && !is_whole;
    let duration = if options.quick && is_long {
        0.2 * case.duration
    } else {
        case.duration
    };
    text.set("duration", &format!("{duration:?}"))?;
    let simulator = Simulator::new(text.scene()?)?;
    let simulation = simulator.run()?;
    let rate = simulation.lors.n_rows() as f64 / duration;
    let bound = bound(&simulator)?;
    let mut outcomes = Vec::new();
    for kind in &RECIPES {
        let name = kind.name;
        let (size, overlap) = sample(&case, rate, bound.as_ref(), kind);
        let mut outcome = Outcome::new(name.to_owned(), (size, overlap), bound.as_ref(), 0.0);
        if let Some(reason) = too_long(name, &case, &simulation.lors, size, overlap) {
            outcome.found = Err(reason);
        } else {
            let started = Instant::now();
            let points = track(name, &case, &simulation.lors, size, overlap);
            outcome.seconds = started.elapsed().as_secs_f64();
            match points {
                Ok(points) => judge(
                    &mut outcome,
                    &case,
                    &simulator,
                    &points,
                    &simulation.truth,
                    duration,
                )?,
                Err(error) => outcome.found = Err(error.to_string()),
            }
        }
        outcomes.push(outcome);
    }
    if let (true, Some(python)) = (case.beside_peer, &options.peer) {
        // Shorter recordings: it takes its time.
        let (size, overlap) = sample(&case, rate, bound.as_ref(), &RECIPES[0]);
        let most = 100 * size;
        let lors = &simulation.lors;
        let some = lors.slice_rows(..most.min(lors.n_rows()))?;
        let to = some.time_span().map_or(duration, |(_, to)| to);
        let truth = until(&simulation.truth, to)?;
        for found in peer::track(python, &case, &some, size, overlap)? {
            let mut outcome = Outcome::new(
                format!("peer: {}", found.method),
                (size, overlap),
                bound.as_ref(),
                found.seconds,
            );
            match found.points {
                Ok(points) => judge(&mut outcome, &case, &simulator, &points, &truth, to)?,
                Err(problem) => outcome.found = Err(problem),
            }
            outcomes.push(outcome);
        }
        // Ours on the same LoRs.
        for name in ["pept-ml-one-pass", "pept-ml", "birmingham"] {
            let started = Instant::now();
            let points = track(name, &case, &some, size, overlap)?;
            let mut outcome = Outcome::new(
                format!("{name}, same LoRs"),
                (size, overlap),
                bound.as_ref(),
                started.elapsed().as_secs_f64(),
            );
            judge(&mut outcome, &case, &simulator, &points, &truth, to)?;
            outcomes.push(outcome);
        }
    }
    Ok(Measured {
        case,
        lors: simulation.lors.n_rows(),
        rate,
        bound,
        outcomes,
    })
}

/// The rows of a truth up to a time.
fn until(truth: &PointData, to: f64) -> pept::Result<PointData> {
    let n = truth.column(0).iter().take_while(|t| **t <= to).count();
    truth.slice_rows(..n)
}

/// Why a recipe is not tried: its first samples took so long that all of them would take too long.
fn too_long(
    name: &str,
    case: &Case,
    lors: &LineData,
    size: usize,
    overlap: usize,
) -> Option<String> {
    let stride = size - overlap;
    let n_samples = lors.n_rows().saturating_sub(overlap) / stride;
    if n_samples < 4 * FIRST_SAMPLES {
        return None;
    }
    // One alone may take minutes; and steps that learn do so once, from however few.
    for (n, patience) in [(1, 20.0 * PATIENCE), (FIRST_SAMPLES, PATIENCE)] {
        let some = lors.slice_rows(..size + (n - 1) * stride).ok()?;
        let started = Instant::now();
        track(name, case, &some, size, overlap).ok()?;
        let seconds = started.elapsed().as_secs_f64() / n as f64 * n_samples as f64;
        if seconds > patience {
            return Some(format!(
                "not run: {n_samples} samples would take it about {seconds:.0} s"
            ));
        }
    }
    None
}

/// LoRs of a sample, and how many of them are in the next one, too.
fn sample(case: &Case, rate: f64, bound: Option<&Bound>, kind: &Kind) -> (usize, usize) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let count = |lors: f64| lors.round().max(10.0) as usize;
    match case.samples {
        Samples::Count(lors) => (lors, 0),
        Samples::Moving { speed, turn } => {
            let usual = 200.0 * case.tracers as f64;
            let most = match bound {
                _ if kind.fits_motion => 0.5 * turn * rate,
                Some(bound) if speed > 0.0 => bound.largest_window(speed, rate),
                _ => f64::INFINITY,
            };
            let size = count(usual.min(most));
            (size, size * 3 / 4)
        }
        Samples::Walk { step, tau, points } => {
            let next = rate / points;
            let variance: f64 = bound
                .map_or([4.0; 3], |bound| bound.sigma(1.0))
                .iter()
                .map(|s| s * s)
                .sum();
            let size = (12.0 * rate * tau / (step * step) * variance / 3.0).sqrt();
            let most = if kind.crosses {
                MOST_CROSSING
            } else {
                usize::MAX
            };
            let size = count(size.max(next)).min(most);
            (size, size - count(next).min(size))
        }
    }
}

fn track(
    name: &str,
    case: &Case,
    lors: &LineData,
    size: usize,
    overlap: usize,
) -> pept::Result<PointData> {
    let mut recipe = Recipe::built_in(name)?;
    if recipe.parameters().contains_key("tracers") {
        recipe.set("tracers", (case.tracers + case.spare) as f64)?;
    }
    // Some samples must be missing before a tracer counts as gone.
    let gap = recipe.parameters().get("max_gap").copied();
    if let (Some(gap), Some((from, to))) = (gap, lors.time_span()) {
        let step = (size - overlap) as f64 * (to - from) / lors.n_rows() as f64;
        recipe.set("max_gap", gap.max(MOST_MISSING * step))?;
    }
    if recipe.parameters().contains_key("y_min") {
        recipe.set("y_min", f64::MIN)?;
        recipe.set("y_max", f64::MAX)?;
    }
    let overlap = isize::try_from(overlap).unwrap_or(0);
    let samples = lors
        .clone()
        .with_sampling(Sampling::count(size).overlap(overlap))?;
    recipe.pipeline()?.fit(samples)?.into_points()
}

fn judge(
    outcome: &mut Outcome,
    case: &Case,
    simulator: &Simulator,
    points: &PointData,
    truth: &PointData,
    duration: f64,
) -> pept::Result<()> {
    // Windows of time that must not be without a point: five samples' steps.
    let step = outcome.sample.0 - outcome.sample.1;
    let window = 5.0 * step as f64 / simulator.rates().total();
    let found = Evaluator::new(case.limit)
        .max_gap(window)
        .run(points, truth)?;
    // One point between two tracers is in half of such windows of each.
    let nearly_always = Evaluator::new(case.limit)
        .max_gap(window * 2.0 / 5.0)
        .run(points, truth)?;
    let is_found = |tracer: &&TracerEvaluation| tracer.missed * 10 <= tracer.windows;
    outcome.n_found = nearly_always.tracers.iter().filter(is_found).count();
    let labels = points
        .column_index("label")
        .map(|label| points.column(label));
    let is_outside = |position: &[f64; 3]| match &simulator.scene().detector {
        Detector::Ring(ring) => position[2].abs() > 0.5 * ring.axial,
        _ => false,
    };
    let positions = points.positions();
    let outside = positions.iter().enumerate().filter(|(row, position)| {
        labels.as_ref().is_none_or(|labels| labels[*row] >= 0.0) && is_outside(position)
    });
    outcome.outside = outside.count();
    outcome.points_per_ms = points.n_rows() as f64 / duration;
    outcome.found = Ok(found);
    Ok(())
}

/// The bound of the first tracer, at rest where it is in the middle of its time, with its share of the LoRs.
fn bound(simulator: &Simulator) -> pept::Result<Option<Bound>> {
    let scene = simulator.scene();
    let mut position = simulator.position(0, 0.5 * scene.duration);
    if simulator.sensitivity(position) <= 0.0 {
        position = scene.detector.middle();
    }
    let rates = simulator.rates();
    let (rate, own) = (rates.total(), rates.tracers[0]);
    if let (Some(offsets), Detector::Screens(screens)) = (scene.offsets, &scene.detector) {
        let geometry = Geometry::ParallelScreens {
            x: screens.x,
            y: screens.y,
            z: [0.0, screens.separation],
        };
        let density = OffsetDensity::new([
            (offsets.core_share, Spread::Gaussian(offsets.core)),
            (1.0 - offsets.core_share, Spread::Exponential(offsets.tail)),
        ])?;
        let (share, random) = (own / rate, rates.random / rate);
        return Bound::from_geometry(&geometry, position, &density, share, random).map(Some);
    }
    // A ring's noise follows from its crystals: it is fitted to a simulated tracer alone, with that share of LoRs.
    let motion = Motion::Static(position);
    let alone = Scene {
        rate: Some(rate),
        reference: None,
        duration: 100_000.0 / rate,
        background: 1.0 - own / rate,
        tracers: vec![Tracer {
            motion,
            ..Tracer::at(position)
        }],
        ..scene.clone()
    };
    let mut alone = alone;
    alone.tracers[0].isotope = scene.tracers[0].isotope;
    let simulation = alone.run()?;
    let noise = NoiseFit::new().run(&simulation.lors.sorted_by_time(), &simulation.truth);
    // The noise of a ring may not be fitted; then there is no bound.
    let Ok(noise) = noise else {
        return Ok(None);
    };
    Ok(noise
        .tracers
        .first()
        .and_then(|tracer| tracer.bound(&noise.density).ok()))
}
