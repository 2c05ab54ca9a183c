//! Voxels and the points in them: `cargo run --example feature_points`. Lines are counted in the cells of a box, and each maximum
//! becomes a point.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use pept::data::Voxels;
use pept::detector::Scene;
use pept::tracking::{Fpi, Voxelize};
use pept::trajectory::Segregate;
use pept::transform::Stack;
use pept::{Backend, Sampling};

fn main() -> pept::Result<()> {
    let scene = Scene {
        duration: 100.0,
        ..Scene::default()
    };
    let lors = scene.run()?.lors;

    let counts = Voxels::from_lines(&Backend::auto(), &lors, [50, 50, 50], None)?;
    println!("{counts}");
    let seen_along_z = counts.values().sum_axis(ndarray::Axis(2));
    println!(
        "most lines in a column of voxels: {:?}",
        seen_along_z.iter().max()
    );

    let fpi =
        Voxelize::new([50, 50, 50]) + Fpi::new(3, 0.4) + Stack::new() + Segregate::new(40, 10.0);
    let points = fpi
        .fit(lors.with_sampling(Sampling::count(400))?)?
        .into_points()?;
    println!("{points}");
    Ok(())
}
