//! Track a recording and print the trajectories' lengths: `cargo run --example first_track [RECORDING] [TRACERS]`.
//! Without arguments a recording is simulated.
#![expect(
    clippy::print_stdout,
    clippy::float_cmp,
    reason = "a program shows what it found"
)]

use pept::detector::Scene;
use pept::{Backend, Recipe, io};

fn main() -> pept::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let lors = match arguments.next() {
        Some(path) => io::parallel_screens::read(path, None)?,
        None => {
            Scene {
                duration: 100.0,
                ..Scene::default()
            }
            .run()?
            .lors
        }
    };
    let tracers = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(2.0);

    let mut recipe = Recipe::built_in("pept-ml")?;
    recipe.set("tracers", tracers)?;
    let lors = lors.with_sampling(recipe.sampling()?.unwrap_or_default())?;
    println!("{lors}\n");

    let points = recipe
        .pipeline()?
        .backend(Backend::auto())
        .fit(lors)?
        .into_points()?;
    let label = points
        .column_index("label")
        .expect("the recipe should end with trajectories");
    let rows = points.rows();
    let labels = rows.column(label);
    for trajectory in 0..10 {
        let n = labels
            .iter()
            .filter(|&&label| label == f64::from(trajectory))
            .count();
        if n > 0 {
            println!("trajectory {trajectory}: {n} points");
        }
    }
    Ok(())
}
