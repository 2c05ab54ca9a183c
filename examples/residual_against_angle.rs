//! What is left of tracers on a circle once each is fitted as a whole, against the angle:
//! `cargo run --example residual_against_angle [RECORDING [SEPARATION]]`. Without a recording it simulates two tracers at 42 rpm.
//!
//! A distortion of the camera is the same for tracers that pass the same place, noise is not. Draws the radial and the out-of-plane
//! residual, mean by angle, with the standard deviation that the covariances state for a point.
#![expect(clippy::print_stdout, reason = "a program shows what it found")]

use std::f64::consts::{PI, TAU};

use pept::data::Column;
use pept::detector::Scene;
use pept::plot::{Figure2d, ImageOptions, Script, Trace};
use pept::transform::GroupBy;
use pept::{PointData, Recipe};
use serde_json::json;

const BINS: usize = 24;

fn main() -> pept::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let recording = arguments.next();
    let separation = arguments.next().and_then(|text| text.parse().ok());
    let lors = match &recording {
        Some(path) => pept::io::parallel_screens::read(path, separation)?,
        None => Scene::circle(2).run()?.lors,
    };
    let mut recipe = Recipe::built_in("pept-em-trajectory")?;
    recipe.set("tracers", 2.0)?;
    let lors = lors.with_sampling(recipe.sampling()?.unwrap_or_default())?;
    let points = recipe.pipeline()?.fit(lors)?;
    let tracers = pept::Pipeline::new()
        .then(GroupBy::new(Column::from("label")))
        .fit(points)?;

    let mut figure = Figure2d::with_subplots(2, 1);
    figure
        .equal_axes(false)
        .subplot_titles(["radial residual", "out-of-plane residual"]);
    for (number, tracer) in tracers.into_points()?.samples().enumerate() {
        let bins = residuals(&tracer);
        println!("tracer {number}: {} points", tracer.n_rows());
        println!("  angle (degrees), radial, stated, out of plane, stated (mm)");
        for (angle, [radial, along], [a, b]) in &bins {
            println!("  {angle:6.1} {radial:7.3} {a:6.3} {along:7.3} {b:6.3}");
        }
        let color = ["#1f77b4", "#d62728"][number % 2];
        for row in 0..2 {
            let trace: Trace = json!({
                "type": "scatter", "mode": "lines+markers", "name": format!("tracer {number}"), "showlegend": row == 0,
                "x": bins.iter().map(|(angle, ..)| angle).collect::<Vec<_>>(),
                "y": bins.iter().map(|(_, mean, _)| mean[row]).collect::<Vec<_>>(),
                "error_y": { "type": "data", "array": bins.iter().map(|(.., stated)| stated[row]).collect::<Vec<_>>() },
                "marker": { "color": color }, "line": { "color": color },
            })
            .into();
            figure.add_trace(trace, row + 1, 1)?;
        }
    }
    for row in 1..=2 {
        figure
            .xlabel("angle (degrees)", row, 1)?
            .ylabel("mm", row, 1)?;
    }
    let folder = std::env::temp_dir();
    let [page, image] =
        ["html", "png"].map(|end| folder.join(format!("residual_against_angle.{end}")));
    figure.write_html(&page, Script::default())?;
    figure.write_image(&image, &ImageOptions::default())?;
    println!("{}\n{}", page.display(), image.display());
    Ok(())
}

/// By angle: the mean residuals in the plane of the circle and out of it, and their stated standard deviations.
fn residuals(points: &PointData) -> Vec<(f64, [f64; 2], [f64; 2])> {
    let column = |name: &str| points.column_index(name).map(|n| points.column(n));
    let sigmas: Option<Vec<_>> = ["xx", "xy", "xz", "yy", "yz", "zz"]
        .iter()
        .map(|name| column(&format!("sigma_{name}")))
        .collect();
    let places = points.positions();
    // The plane z = a x + b y + c, and its axes.
    let [a, b, c] = least_squares(places.iter().map(|[x, y, z]| ([*x, *y, 1.0], *z)));
    let normal = unit([-a, -b, 1.0]);
    let u = unit([1.0, 0.0, a]);
    let v = [
        normal[1] * u[2] - normal[2] * u[1],
        normal[2] * u[0] - normal[0] * u[2],
        normal[0] * u[1] - normal[1] * u[0],
    ];
    let flat: Vec<[f64; 3]> = places
        .iter()
        .map(|[x, y, z]| {
            let place = [*x, *y, z - c];
            [dot(place, u), dot(place, v), dot(place, normal)]
        })
        .collect();
    // The circle: p^2 + q^2 = 2 p0 p + 2 q0 q + constant.
    let equations = flat
        .iter()
        .map(|[p, q, _]| ([2.0 * p, 2.0 * q, 1.0], p * p + q * q));
    let [p0, q0, rest] = least_squares(equations);
    let radius = (rest + p0 * p0 + q0 * q0).sqrt();

    let mut sums = [[0.0; 5]; BINS];
    for (row, [p, q, along]) in flat.into_iter().enumerate() {
        let angle = (q - q0).atan2(p - p0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of a bin"
        )]
        let bin = (((angle + PI) / TAU * BINS as f64) as usize).min(BINS - 1);
        let outward = [0, 1, 2].map(|k| angle.cos() * u[k] + angle.sin() * v[k]);
        let variance = |e: [f64; 3]| {
            sigmas.as_ref().map_or(f64::NAN, |s| {
                let [xx, xy, xz, yy, yz, zz] = [0, 1, 2, 3, 4, 5].map(|k| s[k][row]);
                e[0] * (xx * e[0] + 2.0 * xy * e[1] + 2.0 * xz * e[2])
                    + e[1] * (yy * e[1] + 2.0 * yz * e[2])
                    + e[2] * zz * e[2]
            })
        };
        let values = [
            1.0,
            (p - p0).hypot(q - q0) - radius,
            along,
            variance(outward),
            variance(normal),
        ];
        for (sum, value) in sums[bin].iter_mut().zip(values) {
            *sum += value;
        }
    }
    let middle = |bin: usize| (bin as f64 + 0.5) * 360.0 / BINS as f64 - 180.0;
    let bins = sums
        .into_iter()
        .enumerate()
        .filter(|(_, sums)| sums[0] > 0.0);
    bins.map(|(bin, [n, radial, along, a, b])| {
        (
            middle(bin),
            [radial / n, along / n],
            [(a / n).sqrt(), (b / n).sqrt()],
        )
    })
    .collect()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    a.map(|x| x / dot(a, a).sqrt())
}

/// The three unknowns of linear equations, by Cramer's rule on the normal equations.
fn least_squares(equations: impl Iterator<Item = ([f64; 3], f64)>) -> [f64; 3] {
    let (mut m, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (factors, value) in equations {
        for k in 0..3 {
            for l in 0..3 {
                m[k][l] += factors[k] * factors[l];
            }
            right[k] += factors[k] * value;
        }
    }
    let determinant = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    [0, 1, 2].map(|k| {
        let mut changed = m;
        for l in 0..3 {
            changed[l][k] = right[l];
        }
        determinant(changed) / determinant(m)
    })
}
