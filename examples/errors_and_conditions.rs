//! Which points to trust: `cargo run --example errors_and_conditions`. Conditions on columns, as text or as a closure, and what an error
//! says when a recipe makes no sense.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use pept::data::{Column, PointData};
use pept::detector::Scene;
use pept::tracking::{Centroids, Cutpoints, Hdbscan, SplitLabels};
use pept::transform::{Condition, Stack};
use pept::{Pipeline, Recipe, Sampling};

fn main() -> pept::Result<()> {
    let scene = Scene {
        duration: 100.0,
        ..Scene::default()
    };
    let lors = scene
        .run()?
        .lors
        .with_sampling(Sampling::count(400).overlap(300))?;
    let found = Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Hdbscan::new(0.15).max_tracers(2))
        .then(SplitLabels::new())
        .then(Centroids::new().error(true).cluster_size(true))
        .then(Stack::new());

    let trusted = found
        .clone()
        .then(Condition::new("cluster_size > 100, error < 15"))
        .then(Stack::new());
    let far = Condition::by(|points: &PointData| {
        let centre = [250.0, 250.0];
        let rows = points.positions().into_iter();
        rows.map(|[x, y, _]| (x - centre[0]).hypot(y - centre[1]) > 50.0)
            .collect()
    });
    let both = trusted.clone().then(far).then(Stack::new());
    for (what, pipeline) in [
        ("all", &found),
        ("trusted", &trusted),
        ("and outside", &both),
    ] {
        let points = pipeline.fit(lors.clone())?.into_points()?;
        let error = points.column(points.find_column(&Column::from("error"))?);
        let mean = error.iter().sum::<f64>() / error.len() as f64;
        println!(
            "{what}: {} points, mean error {mean:.1} mm",
            points.n_rows()
        );
    }

    // Mistakes are found before any work, with the step and what it would need.
    let too_early = Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(SplitLabels::new());
    println!(
        "{}",
        too_early.fit(lors).expect_err("there are no labels yet")
    );
    let misspelt = Recipe::parse("my.toml", "[[step]]\nname = \"Cutpoint\"\n")?;
    println!(
        "{}",
        misspelt.pipeline().expect_err("there is no such step")
    );
    Ok(())
}
