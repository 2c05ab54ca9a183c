//! A filter of your own: one method, and it runs in parallel like the built-in ones.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use ndarray::Array2;
use pept::data::{LineData, PointData};
use pept::detector::Scene;
use pept::pipeline::{Context, Filter};
use pept::transform::Stack;
use pept::{Pipeline, Sampling};

/// Where a sample's lines cross the plane half-way between their ends, on average.
#[derive(Debug)]
struct MiddleOfLines;

impl Filter for MiddleOfLines {
    type Input = LineData;
    type Output = PointData;

    fn filter(&self, sample: LineData, _: &Context<'_>) -> pept::Result<PointData> {
        let n = sample.n_rows() as f64;
        let mut mean = [0.0; 4];
        for [t, x1, y1, z1, x2, y2, z2] in sample.line_slice().rows() {
            for (sum, value) in
                mean.iter_mut()
                    .zip([*t, (x1 + x2) / 2.0, (y1 + y2) / 2.0, (z1 + z2) / 2.0])
            {
                *sum += value / n;
            }
        }
        PointData::new(Array2::from(vec![mean]))
    }
}

fn main() -> pept::Result<()> {
    let one_tracer = Scene {
        background: 0.0,
        duration: 20.0,
        ..Scene::circle(1)
    };
    let lors = one_tracer.run()?.lors.with_sampling(Sampling::count(100))?;
    let points = Pipeline::new()
        .then(MiddleOfLines)
        .then(Stack::new())
        .fit(lors)?
        .into_points()?;
    println!("{points}");
    Ok(())
}
