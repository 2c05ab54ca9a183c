//! Velocities at fixed time steps: `cargo run --example velocities`. Trajectories are found, each is interpolated on its own, and
//! differentiated.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use pept::data::Column;
use pept::detector::Scene;
use pept::trajectory::{Interpolate, InterpolationKind, Velocity};
use pept::transform::{Condition, GroupBy, Stack};
use pept::{Pipeline, Recipe};

fn main() -> pept::Result<()> {
    let scene = Scene {
        duration: 300.0,
        ..Scene::default()
    };
    let mut recipe = Recipe::built_in("pept-ml")?;
    recipe.set("tracers", 2.0)?;
    let lors = scene
        .run()?
        .lors
        .with_sampling(recipe.sampling()?.unwrap_or_default())?;

    // What the recipe does, and then more.
    let pipeline = recipe.pipeline()?
        + Pipeline::new()
            .then(Condition::new("label >= 0"))
            .then(GroupBy::new(Column::from("label")))
            .then(Interpolate::new(5.0).kind(InterpolationKind::Linear)) // ms
            .then(Velocity::new(11))
            .then(Velocity::new(11).absolute(true))
            .then(Stack::new());
    let points = pipeline.fit(lors)?.into_points()?;
    println!("{points}");
    for (number, trajectory) in points.samples().enumerate() {
        let speed = trajectory.column(trajectory.find_column(&Column::from("v"))?);
        let mean = speed.iter().sum::<f64>() / speed.len() as f64;
        println!(
            "trajectory {number}: {} points, mean speed {mean:.3} mm/ms",
            speed.len()
        );
    }
    Ok(())
}
