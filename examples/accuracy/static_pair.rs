//! The recording of two static tracers beside simulated ones: how far points scatter about their tracer, and what is possible.

use std::path::Path;

use pept::data::{LineData, PointData};
use pept::detector::bound::NoiseFit;
use pept::detector::{Detector, Scene, Screens, Simulator, Tracer};
use pept::{Attribute, Recipe, Sampling, io};

/// LoRs of a sample, none twice.
const SAMPLE: usize = 200;
/// Points further than this from both tracers are false (mm).
const LIMIT: f64 = 15.0;
/// What the specification wants of the recording, along x, y and z (mm).
const WANTED: [f64; 3] = [0.46, 0.49, 1.38];
/// The recipes that look at each sample alone.
const RECIPES: [&str; 3] = ["pept-ml-one-pass", "pept-ml-refined", "pept-em"];

/// Robust standard deviations along x, y and z (mm), in the mean of both tracers, and the share of points that are false.
#[derive(Clone, Copy)]
pub(crate) struct Scatter {
    pub(crate) deviations: [f64; 3],
    pub(crate) share_false: f64,
}

impl Scatter {
    pub(crate) fn is_wanted(&self) -> bool {
        self.deviations.iter().zip(WANTED).all(|(a, b)| *a <= b)
    }
}

pub(crate) struct Comparison {
    pub(crate) seeds: u64,
    /// Recipe, recording, mean of the replicas.
    pub(crate) rows: Vec<(&'static str, Scatter, Scatter)>,
    /// The bound, from the recording's own fitted density and from the replicas', in the mean.
    pub(crate) bounds: [[f64; 3]; 2],
    /// The tracers' shares of the recording.
    pub(crate) shares: [f64; 2],
}

pub(crate) fn compare(recording: &Path, seeds: u64) -> pept::Result<Comparison> {
    let real = io::parallel_screens::read(recording, None)?.sorted_by_time();
    let (from, to) = real.time_span().unwrap_or_default();
    let centres = centres(&real)?;
    let (bound, shares) = bound(&real, centres, to)?;
    let rate = real.n_rows() as f64 / (to - from);
    let separation = match real.attributes().get("separation") {
        Some(&Attribute::Number(separation)) => separation,
        _ => {
            return Err(pept::Error::Columns(
                "the recording has no separation".into(),
            ));
        }
    };
    let mut scene = Scene {
        detector: Detector::Screens(Screens::new(separation)),
        duration: to - from,
        rate: Some(rate),
        background: 1.0 - shares[0] - shares[1],
        tracers: centres.map(Tracer::at).into(),
        ..Scene::default()
    };
    let simulator = Simulator::new(scene.clone())?;
    for (n, tracer) in scene.tracers.iter_mut().enumerate() {
        tracer.activity = shares[n] / simulator.sensitivity(centres[n]);
    }
    let replicas: Vec<LineData> = (1..=seeds)
        .map(|seed| {
            let scene = scene.clone();
            Ok(Simulator::new(Scene { seed, ..scene })?.run()?.lors)
        })
        .collect::<pept::Result<_>>()?;
    let mut rows = Vec::new();
    for recipe in RECIPES {
        let found: Vec<Scatter> = replicas
            .iter()
            .map(|lors| scatter(recipe, lors, centres))
            .collect::<pept::Result<_>>()?;
        let mean =
            |figure: &dyn Fn(&Scatter) -> f64| found.iter().map(figure).sum::<f64>() / seeds as f64;
        let replica = Scatter {
            deviations: [0, 1, 2].map(|axis| mean(&|scatter| scatter.deviations[axis])),
            share_false: mean(&|scatter| scatter.share_false),
        };
        rows.push((recipe, scatter(recipe, &real, centres)?, replica));
    }
    let mut of_replicas = [0.0; 3];
    for lors in replicas {
        let (one, _) = self::bound(&lors.sorted_by_time(), centres, to)?;
        of_replicas = [0, 1, 2].map(|axis| of_replicas[axis] + one[axis] / seeds as f64);
    }
    Ok(Comparison {
        seeds,
        rows,
        bounds: [bound, of_replicas],
        shares,
    })
}

fn track(recipe: &str, lors: &LineData, size: usize) -> pept::Result<PointData> {
    let mut recipe = Recipe::built_in(recipe)?;
    recipe.set("tracers", 2.0)?;
    let samples = lors.clone().with_sampling(Sampling::count(size))?;
    recipe.pipeline()?.fit(samples)?.into_points()
}

/// Where the tracers are: medians of points from many LoRs each.
fn centres(lors: &LineData) -> pept::Result<[[f64; 3]; 2]> {
    let positions = track("pept-em", lors, 10 * SAMPLE)?.positions();
    // They are furthest apart along some axis.
    let spread = |axis: usize| {
        let values = positions.iter().map(|position| position[axis]);
        values.clone().fold(f64::MIN, f64::max) - values.fold(f64::MAX, f64::min)
    };
    let axis = (0..3).max_by(|&a, &b| spread(a).total_cmp(&spread(b)));
    let axis = axis.unwrap_or(0);
    let middle =
        positions.iter().map(|position| position[axis]).sum::<f64>() / positions.len() as f64;
    Ok([false, true].map(|is_above| {
        let own: Vec<_> = positions
            .iter()
            .filter(|position| (position[axis] > middle) == is_above)
            .collect();
        [0, 1, 2].map(|axis| median(own.iter().map(|position| position[axis]).collect()))
    }))
}

/// The bound for a sample, in the mean of both tracers, and the tracers' shares, by the noise that is fitted to LoRs.
fn bound(lors: &LineData, centres: [[f64; 3]; 2], to: f64) -> pept::Result<([f64; 3], [f64; 2])> {
    let mut rows = Vec::new();
    for t in [0.0, to] {
        for (label, [x, y, z]) in (0u8..).zip(centres) {
            rows.extend([t, x, y, z, f64::from(label)]);
        }
    }
    let rows = ndarray::Array2::from_shape_vec((4, 5), rows)
        .map_err(|error| pept::Error::Columns(error.to_string()))?;
    let truth = PointData::with_columns(rows, &["label"])?;
    let noise = NoiseFit::new().run(lors, &truth)?;
    let mut mean = [0.0; 3];
    for tracer in &noise.tracers {
        let sigma = tracer.bound(&noise.density)?.sigma(SAMPLE as f64);
        mean = [0, 1, 2].map(|axis| mean[axis] + sigma[axis] / noise.tracers.len() as f64);
    }
    Ok((mean, [0, 1].map(|n| noise.tracers[n].share)))
}

fn scatter(recipe: &str, lors: &LineData, centres: [[f64; 3]; 2]) -> pept::Result<Scatter> {
    let points = track(recipe, lors, SAMPLE)?;
    let mut offsets = [Vec::new(), Vec::new()];
    let mut n_false = 0;
    for position in points.positions() {
        let to = centres.map(|centre| [0, 1, 2].map(|axis| position[axis] - centre[axis]));
        let distances = to.map(|offset| offset.iter().map(|x| x * x).sum::<f64>().sqrt());
        let nearest = usize::from(distances[1] < distances[0]);
        if distances[nearest] > LIMIT {
            n_false += 1;
        } else {
            offsets[nearest].push(to[nearest]);
        }
    }
    let deviations = [0, 1, 2].map(|axis| {
        let of_tracer = |offsets: &Vec<[f64; 3]>| {
            let values: Vec<f64> = offsets.iter().map(|offset| offset[axis]).collect();
            let middle = median(values.clone());
            // Of normal numbers, the standard deviation.
            1.4826 * median(values.iter().map(|x| (x - middle).abs()).collect())
        };
        0.5 * (of_tracer(&offsets[0]) + of_tracer(&offsets[1]))
    });
    Ok(Scatter {
        deviations,
        share_false: f64::from(n_false) / points.n_rows() as f64,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
