//! `pept bound`: how precise a recording allows one to be.

use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::{Array2, Axis};
use pept::data::Kind;
use pept::detector::bound::{
    Bound, Geometry, Noise, NoiseFit, OffsetDensity, Spread, motion_factor,
};
use pept::detector::{Detector, Scene, Simulator};
use pept::io::table;
use pept::{Data, LineData, PointData, Recipe};
use serde_json::{Value, json};

use crate::common::{Failure, Globals, track};
use crate::input::{Reading, positive};

/// Window sizes of the table.
const WINDOWS: [f64; 6] = [50.0, 100.0, 200.0, 400.0, 800.0, 1600.0];
/// Orders of motion whose cost is told.
const ORDERS: [usize; 4] = [0, 1, 2, 3];
/// LoRs for each tracer that are enough for its noise.
const ENOUGH: usize = 100_000;
/// How tracers are found without points.
const RECIPE: &str = "pept-ml-one-pass";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A recording: parallel-screens text, rows `t x1 y1 x2 y2` (ms, mm), or a table of lines (.csv, .arrow, .npy); or a SCENE.toml
    input: PathBuf,
    /// The number of tracers seen at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    tracers: u32,
    /// Where the tracers are: points t x y z label (.csv, .arrow, .npy), one alone if it does not move [default: tracked quickly]
    #[arg(long, value_name = "FILE", conflicts_with = "tracers")]
    points: Option<PathBuf>,
    /// Also tell the largest window in which a tracer of this speed, in mm/s, is not blurred
    #[arg(long, value_name = "MM/S", allow_negative_numbers = true, value_parser = positive)]
    speed: Option<f64>,
    /// LoRs further than this from a tracer do not matter, in mm [default: 40, less if tracers are near each other]
    #[arg(long, value_name = "MM", allow_negative_numbers = true, value_parser = positive)]
    radius: Option<f64>,
    /// LoRs of a window that locates tracers, background included [default: 400 for each tracer]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    window: Option<u32>,
    /// Look at so many LoRs, the first ones [default: 100,000 for each tracer; all with --points]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    lors: Option<u32>,
    #[command(flatten)]
    reading: Reading,
}

/// What is known of a recording or a scene.
#[derive(Debug)]
struct Found {
    /// LoRs in a ms.
    rate: f64,
    density: OffsetDensity,
    tracers: Vec<TracerBound>,
}

#[derive(Debug)]
struct TracerBound {
    label: f64,
    position: [f64; 3],
    /// The part of all LoRs that are the tracer's.
    share: f64,
    bound: Bound,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let input = &arguments.input;
    let is_scene = input
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let found = if is_scene {
        bound_of_scene(globals, input)?
    } else {
        bound_of_recording(globals, arguments)?
    };
    globals.print(
        &found.summary(arguments.speed),
        &found.text(arguments.speed),
    )
}

/// Where the offsets are known, from the shape of the screens; else from simulated LoRs and where their tracers are.
fn bound_of_scene(globals: &Globals, path: &Path) -> Result<Found, Failure> {
    let scene = Scene {
        seed: globals.seed,
        ..Scene::read(path)?
    };
    let simulator = Simulator::new(scene.clone())?;
    let (Some(offsets), Detector::Screens(screens)) = (scene.offsets, &scene.detector) else {
        return bound_of_simulation(&simulator);
    };
    if scene.scattered > 0.0 {
        return bound_of_simulation(&simulator);
    }
    let geometry = Geometry::ParallelScreens {
        x: screens.x,
        y: screens.y,
        z: [0.0, screens.separation],
    };
    let density = OffsetDensity::new([
        (offsets.core_share, Spread::Gaussian(offsets.core)),
        (1.0 - offsets.core_share, Spread::Exponential(offsets.tail)),
    ])?;
    let rates = simulator.rates();
    let rate = rates.total();
    let tracers = rates.tracers.iter().enumerate().map(|(tracer, own)| {
        let position = simulator.position(tracer, 0.5 * scene.duration);
        let share = own / rate;
        let bound =
            Bound::from_geometry(&geometry, position, &density, share, rates.random / rate)?;
        Ok(TracerBound {
            label: tracer as f64,
            position,
            share,
            bound,
        })
    });
    Ok(Found {
        rate,
        tracers: tracers.collect::<Result<_, Failure>>()?,
        density,
    })
}

fn bound_of_simulation(simulator: &Simulator) -> Result<Found, Failure> {
    let most = ENOUGH.saturating_mul(simulator.scene().tracers.len());
    let mut values: Vec<f64> = Vec::new();
    for number in 0..simulator.n_blocks() {
        if values.len() >= 7 * most {
            break;
        }
        values.extend(simulator.block(number).rows.as_flattened());
    }
    let n_rows = values.len() / 7;
    let rows = Array2::from_shape_vec((n_rows, 7), values)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let lors = LineData::new(rows)?.sorted_by_time();
    let noise = NoiseFit::new().run(&lors, &simulator.truth()?)?;
    Found::of_noise(&lors, noise)
}

fn bound_of_recording(globals: &Globals, arguments: &Arguments) -> Result<Found, Failure> {
    let Arguments {
        input,
        tracers,
        points,
        ..
    } = arguments;
    if let Some(points) = points {
        table::check_name(points).map_err(Failure::usage)?;
    }
    let backend = globals.backend()?;
    let lors = match arguments
        .reading
        .read(std::slice::from_ref(input), Kind::Lines)?
    {
        Data::Lines(lors) => lors.sorted_by_time(),
        _ => return Err(Failure::Usage("a recording of LoRs is needed".into())),
    };
    let n_tracers = usize::try_from(*tracers).unwrap_or(usize::MAX);
    let most = match (arguments.lors, points) {
        (Some(most), _) => usize::try_from(most).unwrap_or(usize::MAX),
        (None, None) => ENOUGH.saturating_mul(n_tracers),
        (None, Some(_)) => usize::MAX,
    };
    let lors = lors.slice_rows(..most.min(lors.n_rows()))?;
    let points = match points {
        Some(points) => table::read_points(points)?,
        None => {
            let mut recipe = Recipe::built_in(RECIPE)?;
            recipe.set("tracers", f64::from(*tracers))?;
            let sampling = recipe.sampling()?.unwrap_or_default();
            let samples = lors.clone().with_sampling(sampling)?;
            if samples.n_samples() == 0 {
                return Err(Failure::Failed(format!(
                    "{}: {} LoRs are too few to track {n_tracers} tracers with {RECIPE}; give their positions with --points",
                    input.display(),
                    lors.n_rows()
                )));
            }
            let tracked = track(globals, &recipe.pipeline()?, samples.into(), backend)?;
            longest(&tracked.table.into_points()?, n_tracers)?
        }
    };
    let mut fit = NoiseFit::new();
    if let Some(radius) = arguments.radius {
        fit = fit.radius(radius);
    }
    if let Some(window) = arguments.window {
        fit = fit.window(usize::try_from(window).unwrap_or(usize::MAX));
    }
    let noise = fit.run(&lors, &points)?;
    Found::of_noise(&lors, noise)
}

/// The trajectories with the most points.
fn longest(points: &PointData, n: usize) -> Result<PointData, Failure> {
    let Some(column) = points.column_index("label") else {
        return Ok(points.clone());
    };
    let labels = points.column(column);
    let mut sorted: Vec<f64> = labels
        .iter()
        .copied()
        .filter(|&label| label >= 0.0)
        .collect();
    sorted.sort_by(f64::total_cmp);
    let mut trajectories: Vec<&[f64]> = sorted.chunk_by(|a, b| a.total_cmp(b).is_eq()).collect();
    trajectories.sort_by_key(|labels| std::cmp::Reverse(labels.len())); // stable
    trajectories.truncate(n);
    if trajectories.len() < n {
        tracing::warn!(
            "only {} of {n} tracers were found; give their trajectories with --points, or fewer with --tracers",
            trajectories.len()
        );
    }
    let is_kept = |label: f64| {
        let mut kept = trajectories.iter();
        kept.any(|labels| labels[0].total_cmp(&label).is_eq())
    };
    let rows: Vec<usize> = (0..labels.len())
        .filter(|&row| is_kept(labels[row]))
        .collect();
    Ok(points.with_rows(points.rows().select(Axis(0), &rows))?)
}

impl Found {
    fn of_noise(lors: &LineData, noise: Noise) -> Result<Self, Failure> {
        let (first, last) = lors.time_span().unwrap_or_default();
        let tracers = noise.tracers.iter().map(|tracer| {
            Ok(TracerBound {
                label: tracer.label,
                position: tracer.position,
                share: tracer.share,
                bound: tracer.bound(&noise.density)?,
            })
        });
        Ok(Self {
            rate: lors.n_rows() as f64 / (last - first),
            tracers: tracers.collect::<Result<_, Failure>>()?,
            density: noise.density,
        })
    }

    fn summary(&self, speed: Option<f64>) -> Value {
        let terms = self.density.terms().iter().map(|(share, spread)| {
            let (shape, size) = described(*spread);
            json!({"share": share, "shape": shape, "size": size})
        });
        let sigma = self.density.effective_sigma(0.0);
        let tracers = self.tracers.iter().map(|tracer| {
            let bounds = WINDOWS.map(|lors| {
                json!({"lors": lors, "ms": lors / self.rate, "sigma": tracer.bound.sigma(lors)})
            });
            let per_lor = tracer.bound.sigma(1.0);
            let window = speed.map(|speed| {
                let lors = tracer.bound.largest_window(speed / 1000.0, self.rate);
                json!({"lors": lors, "ms": lors / self.rate})
            });
            json!({
                "label": tracer.label,
                "position": tracer.position,
                "share": tracer.share,
                "factors": per_lor.map(|value| value * tracer.share.sqrt() / sigma),
                "bounds": bounds,
                "largest_window": window,
            })
        });
        json!({
            "lors_per_ms": self.rate,
            "offsets": terms.collect::<Vec<_>>(),
            "effective_sigma": sigma,
            "speed": speed,
            "motion_factors": ORDERS.map(motion_factor),
            "tracers": tracers.collect::<Vec<_>>(),
        })
    }

    fn text(&self, speed: Option<f64>) -> String {
        let terms: Vec<String> = self
            .density
            .terms()
            .iter()
            .map(|(share, spread)| {
                let (shape, size) = described(*spread);
                format!("{:.0} % {shape} of {size:.2} mm", 100.0 * share)
            })
            .collect();
        let mut text = format!(
            "{:.1} LoRs in a ms; their offsets: {}; worth a Gaussian of {:.2} mm\n",
            self.rate,
            terms.join(", "),
            self.density.effective_sigma(0.0),
        );
        for tracer in &self.tracers {
            let [x, y, z] = tracer.position;
            text += &format!(
                "\ntracer {}, in the mean at ({x:.1}, {y:.1}, {z:.1}) mm, with {:.1} % of the LoRs\n",
                tracer.label,
                100.0 * tracer.share
            );
            text += &format!(
                "{:>8} {:>8}   least standard deviation, mm: {:>6} {:>6} {:>6}\n",
                "LoRs", "ms", "x", "y", "z"
            );
            for lors in WINDOWS {
                let [x, y, z] = tracer.bound.sigma(lors);
                text += &format!(
                    "{lors:>8} {:>8.2} {:>30} {x:>6.3} {y:>6.3} {z:>6.3}\n",
                    lors / self.rate,
                    ""
                );
            }
            if let Some(speed) = speed {
                let lors = tracer.bound.largest_window(speed / 1000.0, self.rate);
                text += &format!(
                    "at {speed} mm/s, windows above {lors:.0} LoRs ({:.2} ms) are blurred more than this, unless a velocity is fitted\n",
                    lors / self.rate
                );
            }
        }
        text += &format!(
            "\nFitting motion within a window: a velocity costs nothing in its middle, an acceleration {} times the variance.\n",
            motion_factor(2)
        );
        text
    }
}

fn described(spread: Spread) -> (&'static str, f64) {
    match spread {
        Spread::Gaussian(sigma) => ("gaussian", sigma),
        Spread::Exponential(scale) => ("exponential", scale),
        _ => ("other", f64::NAN),
    }
}
