//! A scanner of one's own: a type that gives LoRs in blocks is tracked as it is read, in little memory.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use std::f64::consts::TAU;

use ndarray::Array2;
use pept::io::source::LineSource;
use pept::pipeline::BlockOptions;
use pept::{LineData, Recipe};

/// A ring of 360 detectors that writes two bytes for each photon: the numbers of the detectors, one event each 0.02 ms.
struct Ring {
    events: std::vec::IntoIter<[u16; 2]>,
    time: f64,
}

/// Its radius (mm).
const RADIUS: f64 = 300.0;

impl Ring {
    /// What a driver or a file would give: a tracer at (40, 0, 0), and noise.
    fn simulated(n: usize) -> Self {
        let event = |n: usize| {
            let angle = n as f64 * 2.4; // the golden angle: all directions
            let x = if n.is_multiple_of(5) { -200.0 } else { 40.0 };
            // Where the line through (x, 0) leaves the ring, either way.
            let (sin, cos) = angle.sin_cos();
            let half = (RADIUS * RADIUS - (x * sin).powi(2)).sqrt();
            [-x * cos + half, -x * cos - half].map(|along| {
                let place = (along * sin).atan2(x + along * cos).rem_euclid(TAU);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to 360"
                )]
                let detector = (place.to_degrees().round() as u16) % 360;
                detector
            })
        };
        let events: Vec<_> = (0..n).map(event).collect();
        Self {
            events: events.into_iter(),
            time: 0.0,
        }
    }
}

impl LineSource for Ring {
    fn next_block(&mut self) -> pept::Result<Option<LineData>> {
        let events: Vec<_> = self.events.by_ref().take(1000).collect();
        if events.is_empty() {
            return Ok(None);
        }
        let mut rows = Array2::zeros((events.len(), 7));
        for (mut row, event) in rows.rows_mut().into_iter().zip(events) {
            self.time += 0.02;
            row[0] = self.time;
            for (n, detector) in event.into_iter().enumerate() {
                let (sin, cos) = f64::from(detector).to_radians().sin_cos();
                // Two rings in turn: lines are then not all in one plane.
                let z = if detector % 2 == 0 { -20.0 } else { 20.0 };
                let end = [RADIUS * cos, RADIUS * sin, z];
                for (axis, value) in end.into_iter().enumerate() {
                    row[1 + 3 * n + axis] = value;
                }
            }
        }
        LineData::new(rows).map(Some)
    }
}

fn main() -> pept::Result<()> {
    let mut scanner = Ring::simulated(20_000);
    let recipe = Recipe::built_in("birmingham")?;
    let options = BlockOptions::new(recipe.sampling()?.unwrap_or_default());
    let (points, report) = recipe
        .pipeline()?
        .run_blocks(|| scanner.next_block(), options)?;
    let points = points.into_points()?;
    let mean = |axis: usize| points.column(axis).iter().sum::<f64>() / points.n_rows() as f64;
    println!(
        "{} LoRs in {} samples: the tracer is at {:.1} {:.1} {:.1} mm",
        report.rows,
        report.samples,
        mean(1),
        mean(2),
        mean(3)
    );
    assert!((mean(1) - 40.0).abs() < 2.0 && mean(2).abs() < 2.0);
    Ok(())
}
