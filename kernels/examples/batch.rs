//! Many overlapping samples in one call: a pair of lines that several samples share is looked at once, and a GPU gets
//! thousands of samples in one dispatch.
//!
//! `cargo run --release -p pept-kernels --example batch`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::ops::Range;

use pept_kernels::{Backend, KernelError, LineSlice, cutpoints, time_order};

fn main() -> Result<(), KernelError> {
    // A tracer that moves along x, seen by 20,000 lines in golden-angle directions.
    let lors: Vec<[f64; 7]> = (0..20_000)
        .map(|n| {
            let n = f64::from(n);
            let (x, angle, height) = (0.01 * n, 2.399_963 * n, (0.754_877 * n).fract() - 0.5);
            let [u, v, w] = [angle.cos(), angle.sin(), height].map(|d| 300.0 * d);
            [0.02 * n, x - u, -v, -w, x + u, v, w]
        })
        .collect();
    let lines = LineSlice::from_rows(&lors);
    let samples: Vec<Range<usize>> = (0..=lors.len() - 400)
        .step_by(100)
        .map(|first| first..first + 400)
        .collect();
    let backend = Backend::auto(); // a hardware GPU if there is one, else the CPU: the same bits
    let params = cutpoints::Params::new(0.5);
    let found = cutpoints::on_samples(&backend, lines, &samples, &params)?;
    for (n, points) in found.iter().enumerate().step_by(40) {
        let times: Vec<f64> = points.iter().map(|point| point.t).collect();
        let first = time_order(&times)[0] as usize;
        let x: f64 = points.iter().map(|point| point.x).sum::<f64>() / points.len() as f64;
        println!(
            "sample {n}: {} cutpoints from {:.2} ms on, mean x {x:.2} mm",
            points.len(),
            times[first]
        );
    }
    Ok(())
}
