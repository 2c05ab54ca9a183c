//! Recipes from Rust: `cargo run --example recipe_from_rust`. A pipeline is written down as a recipe, changed as text, and read
//! back; a step of one's own gets a name in it.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use pept::data::PointData;
use pept::detector::Scene;
use pept::pipeline::{Context, Filter};
use pept::tracking::{Centroids, Cutpoints, Hdbscan, SplitLabels};
use pept::transform::Stack;
use pept::{Pipeline, Recipe, Sampling};
use serde::{Deserialize, Serialize};

/// Moves points along x (mm).
#[derive(Debug, Serialize, Deserialize)]
struct Shift {
    x: f64,
}

impl Filter for Shift {
    type Input = PointData;
    type Output = PointData;

    fn filter(&self, sample: PointData, _: &Context<'_>) -> pept::Result<PointData> {
        let moved: Vec<f64> = sample.column(1).iter().map(|x| x + self.x).collect();
        Ok(sample.with_column("x", &moved))
    }
}

fn main() -> pept::Result<()> {
    let pipeline = Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Hdbscan::new(0.15).max_tracers(2))
        .then(SplitLabels::new())
        .then(Centroids::new().error(true))
        .then(Stack::new());
    let written = Recipe::from_pipeline("mine", &pipeline)?;
    println!("{}", written.text());

    let text = written.text().to_owned() + "[[step]]\nname = \"Shift\"\nx = 100.0\n";
    let recipe = Recipe::parse("mine, shifted", &text)?.with_step::<Shift, _>("Shift");
    let scene = Scene {
        duration: 20.0,
        ..Scene::default()
    };
    let lors = scene
        .run()?
        .lors
        .with_sampling(Sampling::count(400).overlap(300))?;
    println!("{}", recipe.pipeline()?.fit(lors)?.into_points()?);
    Ok(())
}
