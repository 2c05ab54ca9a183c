//! The simulated replica of the 42 rpm recording beside the recording: residuals to the best circle of each tracer.

use std::path::Path;

use pept::data::{LineData, PointData};
use pept::detector::{Scene, Simulator};
use pept::io;
use pept::pipeline::IntoStep as _;
use pept::transform::Reorient;
use pept::{Recipe, Sampling};

use crate::measure::RECIPES;

/// Residuals (mm) of a recipe, in the mean of both tracers: radial, out of the plane.
pub(crate) struct Replica {
    pub(crate) recipe: &'static str,
    pub(crate) real: [f64; 2],
    /// Of several seeds: mean and standard deviation.
    pub(crate) simulated: [[f64; 2]; 2],
}

pub(crate) struct Comparison {
    pub(crate) seeds: u64,
    pub(crate) rows: Vec<Replica>,
}

pub(crate) fn compare(recording: &Path, seeds: u64) -> pept::Result<Comparison> {
    let real = io::parallel_screens::read(recording, None)?.sorted_by_time();
    let scene = Scene::example("circle")?;
    let replicas: Vec<LineData> = (1..=seeds)
        .map(|seed| {
            let simulator = Simulator::new(Scene {
                seed,
                ..scene.clone()
            })?;
            Ok(simulator.run()?.lors)
        })
        .collect::<pept::Result<_>>()?;
    let mut rows = Vec::new();
    for recipe in RECIPES.iter().map(|kind| kind.name) {
        if ["birmingham", "fpi"].contains(&recipe) {
            continue; // one tracer; voxels as large as the residuals
        }
        let simulated: Vec<[f64; 2]> = replicas
            .iter()
            .map(|lors| residuals(recipe, lors))
            .collect::<pept::Result<_>>()?;
        let n = seeds as f64;
        let mean = [0, 1].map(|k| simulated.iter().map(|found| found[k]).sum::<f64>() / n);
        let deviation = [0, 1].map(|k| {
            let square = |found: &[f64; 2]| (found[k] - mean[k]) * (found[k] - mean[k]);
            (simulated.iter().map(square).sum::<f64>() / (n - 1.0)).sqrt()
        });
        rows.push(Replica {
            recipe,
            real: residuals(recipe, &real)?,
            simulated: [mean, deviation],
        });
    }
    Ok(Comparison { seeds, rows })
}

fn residuals(recipe: &str, lors: &LineData) -> pept::Result<[f64; 2]> {
    let mut recipe = Recipe::built_in(recipe)?;
    recipe.set("tracers", 2.0)?;
    let sampling = Sampling::count(400).overlap(if recipe.name() == "pept-em-trajectory" {
        0
    } else {
        300
    });
    let points = recipe
        .pipeline()?
        .fit(lors.clone().with_sampling(sampling)?)?
        .into_points()?;
    let labels = points.values_of("label")?;
    let mut sums = [0.0; 2];
    for label in [0.0, 1.0] {
        let rows: Vec<usize> = (0..labels.len())
            .filter(|&row| (labels[row] - label).abs() < 0.5)
            .collect();
        if rows.len() < 100 {
            return Ok([f64::NAN; 2]); // lost
        }
        let positions = points.positions();
        let of_tracer: Vec<[f64; 3]> = rows.iter().map(|&row| positions[row]).collect();
        let [radial, plane] = to_circle(&of_tracer)?;
        sums = [sums[0] + radial, sums[1] + plane];
    }
    Ok(sums.map(|sum| 0.5 * sum))
}

/// Root mean square distances to the best circle: in the plane of the largest spread, and from it.
fn to_circle(positions: &[[f64; 3]]) -> pept::Result<[f64; 2]> {
    let mut values = Vec::with_capacity(4 * positions.len());
    for position in positions {
        values.push(0.0);
        values.extend(position);
    }
    let rows = ndarray::Array2::from_shape_vec((positions.len(), 4), values)
        .map_err(|error| pept::Error::Columns(error.to_string()))?;
    // Principal axes, the least spread last.
    let turned = Reorient::new().fit(PointData::new(rows)?)?.into_points()?;
    let turned = turned.positions();
    let n = turned.len() as f64;
    let mean: [f64; 3] = [0, 1, 2].map(|k| turned.iter().map(|p| p[k]).sum::<f64>() / n);
    let plane = (turned.iter().map(|p| (p[2] - mean[2]).powi(2)).sum::<f64>() / n).sqrt();
    // x^2 + y^2 = 2 a x + 2 b y + c
    let mut matrix = [[0.0; 4]; 3];
    for [x, y, _] in &turned {
        let (x, y) = (x - mean[0], y - mean[1]);
        let row = [2.0 * x, 2.0 * y, 1.0, x * x + y * y];
        for i in 0..3 {
            for j in 0..4 {
                matrix[i][j] += row[i] * row[j];
            }
        }
    }
    let [a, b, c] = solved(matrix);
    let radius = (c + a * a + b * b).sqrt();
    let radial = turned.iter().map(|[x, y, _]| {
        let distance = (x - mean[0] - a).hypot(y - mean[1] - b);
        (distance - radius).powi(2)
    });
    Ok([(radial.sum::<f64>() / n).sqrt(), plane])
}

/// Three equations, positive definite.
fn solved(mut matrix: [[f64; 4]; 3]) -> [f64; 3] {
    for i in 0..3 {
        let pivot = matrix[i];
        for row in matrix.iter_mut().skip(i + 1) {
            let factor = row[i] / pivot[i];
            for (value, pivot) in row.iter_mut().zip(pivot) {
                *value -= factor * pivot;
            }
        }
    }
    let mut found = [0.0; 3];
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|j| matrix[i][j] * found[j]).sum();
        found[i] = (matrix[i][3] - known) / matrix[i][i];
    }
    found
}
