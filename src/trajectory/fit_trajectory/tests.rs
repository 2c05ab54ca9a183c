use std::f64::consts::PI;

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::band::{BAND, Band};
use super::*;
use crate::linear_algebra::Vector;

/// Lines for each ms, and how long (ms).
const RATE: f64 = 40.0;
const SPEED: f64 = 0.0044; // rad/ms, 42 rpm

fn circle(time: f64, phase: f64) -> Vector {
    let (sin, cos) = (SPEED * time + phase).sin_cos();
    [250.0 + 86.0 * cos, 240.0 + 86.0 * sin, 300.0 + 10.0 * sin]
}

fn normal(rng: &mut Pcg64) -> f64 {
    StandardNormal.sample(rng)
}

/// A line that misses a place as lines of a tracer between two planes do.
fn line_near(time: f64, place: Vector, rng: &mut Pcg64) -> [f64; 7] {
    let [a, b] = [0.0; 2].map(|_: f64| rng.random_range(-0.4..0.4));
    let length = f64::sqrt(a * a + b * b + 1.0);
    let width = if rng.random_range(0.0..1.0) < 0.55 {
        2.2
    } else {
        6.5
    };
    let mut offset = [0.0; 3].map(|_: f64| width * normal(rng));
    let along = (offset[0] * a + offset[1] * b + offset[2]) / (length * length);
    for (value, direction) in offset.iter_mut().zip([a, b, 1.0]) {
        *value -= along * direction;
    }
    let at = |z: f64| {
        let up = z - (place[2] + offset[2]);
        [place[0] + offset[0] + up * a, place[1] + offset[1] + up * b]
    };
    let ([x1, y1], [x2, y2]) = (at(0.0), at(712.0));
    [time, x1, y1, 0.0, x2, y2, 712.0]
}

/// Lines of tracers, where they are there, with 30 % background.
fn lines_of(duration: f64, tracers: &[&dyn Fn(f64) -> Option<Vector>], seed: u64) -> LineData {
    let mut rng = Pcg64::seed_from_u64(seed);
    let rows: Vec<[f64; 7]> = (0..(duration * RATE) as usize)
        .map(|n| {
            let time = n as f64 / RATE;
            let there = (rng.random_range(0.0..1.0) > 0.3)
                .then(|| tracers[n % tracers.len()](time))
                .flatten();
            if let Some(place) = there {
                return line_near(time, place, &mut rng);
            }
            let [x1, y1, x2, y2] = [0.0; 4].map(|_: f64| rng.random_range(0.0..500.0));
            [time, x1, y1, 0.0, x2, y2, 712.0]
        })
        .collect();
    LineData::new(Array2::from(rows)).unwrap()
}

/// Points as clustering would find them: 1 mm off, with labels.
fn points_of(
    times: &(impl Iterator<Item = f64> + Clone),
    tracers: &[&dyn Fn(f64) -> Vector],
) -> PointData {
    let mut rng = Pcg64::seed_from_u64(99);
    let mut rows = Vec::new();
    for (label, tracer) in tracers.iter().enumerate() {
        for time in times.clone() {
            let [x, y, z] = tracer(time).map(|value| value + normal(&mut rng));
            rows.push([time, x, y, z, label as f64]);
        }
    }
    PointData::with_columns(Array2::from(rows), &["label"]).unwrap()
}

fn every(step: f64, duration: f64) -> impl Iterator<Item = f64> + Clone {
    (0..(duration / step) as usize).map(move |n| (n as f64 + 0.5) * step)
}

/// Root mean square error (mm), and mean squared normalised error (3 if covariances are honest).
fn errors(out: &PointData, truth: impl Fn(f64, f64) -> Vector) -> (f64, f64) {
    let (mut squares, mut normalised) = (0.0, 0.0);
    for row in out.values().chunks_exact(14) {
        let truth = truth(row[0], row[13]);
        let mut error: Vec<f64> = (0..3).map(|axis| row[1 + axis] - truth[axis]).collect();
        squares += error.iter().map(|value| value * value).sum::<f64>();
        let mut band = Band::new(3);
        let entries = [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)];
        for ((a, b), value) in entries.into_iter().zip(&row[7..13]) {
            band.add(a, b, *value);
        }
        assert!(band.factorise());
        let right = error.clone();
        band.solve(&mut error);
        normalised += error.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
    }
    let n = out.n_rows() as f64;
    ((squares / n).sqrt(), normalised / n)
}

#[test]
fn two_circles_are_found_and_their_covariances_are_honest() {
    let (one, two) = (|t| circle(t, 0.0), |t| circle(t, PI));
    let lines = lines_of(1600.0, &[&|t| Some(one(t)), &|t| Some(two(t))], 1);
    let points = points_of(&every(5.0, 1600.0), &[&one, &two]);
    let step = FitTrajectory::new().knot_spacing(20.0);
    step.check().unwrap();
    let out = step.fit_lines(&lines, &points).unwrap();
    assert_eq!(out.columns()[4..], COLUMNS);
    assert_eq!(out.n_rows(), points.n_rows());
    let truth = |t, label| if label == 0.0 { one(t) } else { two(t) };
    let (rms, normalised) = errors(&out, truth);
    assert!(rms < 1.5, "{rms}"); // 280 lines of a tracer between two knots
    assert!((normalised - 3.0).abs() < 0.3, "{normalised}");

    // With fewer knots, as many as predict best, it is more accurate, and as honest.
    let out = FitTrajectory::new().fit_lines(&lines, &points).unwrap();
    let (rms, normalised) = errors(&out, truth);
    assert!(rms < 0.8, "{rms}");
    assert!((2.0..4.0).contains(&normalised), "{normalised}");
    for row in out.values().chunks_exact(14) {
        let speed = (row[4] * row[4] + row[5] * row[5]).sqrt();
        assert!((speed - 86.0 * SPEED).abs() < 0.05, "{speed}");
    }
    let radii: f64 = out
        .positions()
        .iter()
        .map(|[x, y, _]| (x - 250.0).hypot(y - 240.0))
        .sum();
    let radius = radii / out.n_rows() as f64;
    assert!((radius - 86.0).abs() < 0.1, "{radius}");
}

#[test]
fn nothing_is_invented_in_gaps_and_bad_points_do_not_matter() {
    // Away for 400 ms; seen by nobody for 100 ms before.
    let there = |t: f64| !(300.0..800.0).contains(&t);
    let lines = lines_of(1000.0, &[&|t| there(t).then(|| circle(t, 0.0))], 2);
    let times = every(5.0, 1000.0).filter(|t| !(400.0..800.0).contains(t));
    let points = points_of(&times, &[&|t| circle(t, 0.0)]);
    let step = FitTrajectory::new().knot_spacing(30.0);
    let regular = step
        .clone()
        .time_step(1.0)
        .fit_lines(&lines, &points)
        .unwrap();
    let times = regular.column(0);
    assert!(!times.iter().any(|t| (304.0..800.0).contains(t)));
    assert!(times.iter().filter(|&&t| t < 300.0).count() > 290);
    assert!(times.iter().filter(|&&t| t > 800.0).count() > 190);
    for row in regular.values().chunks_exact(14) {
        let sigma = (row[7] + row[10] + row[12]).sqrt();
        let truth = circle(row[0], 0.0);
        let error = (0..3)
            .map(|k| (row[1 + k] - truth[k]).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(error < 4.0 * sigma && sigma < 12.0, "{row:?}");
    }

    let mut values = points.values().to_vec();
    values[5 * 20 + 1] += 60.0;
    values[5 * 21 + 4] = -1.0;
    let worse = PointData::with_columns(array_of_rows(values, 5), &["label"]).unwrap();
    let good = step.fit_lines(&lines, &points).unwrap();
    let bad = step.fit_lines(&lines, &worse).unwrap();
    assert_eq!(bad.n_rows() + 1, good.n_rows());
    for (a, b) in good.positions().iter().zip(bad.positions()).take(20) {
        assert!((0..3).all(|axis| (a[axis] - b[axis]).abs() < 0.1));
    }
}

#[test]
fn hopeless_lines_and_points_give_no_rows() {
    let lines = lines_of(100.0, &[&|t| Some(circle(t, 0.0))], 3);
    let points = points_of(&every(5.0, 100.0), &[&|t| circle(t, 0.0)]);
    let step = FitTrajectory::new();
    let rows = |lines: &LineData, points: &PointData| {
        let out = step.fit_lines(lines, points).unwrap();
        assert_eq!(out.columns()[4..], COLUMNS);
        out.n_rows()
    };
    assert_eq!(rows(&lines, &points), 20);
    assert_eq!(rows(&lines.slice_rows(..0).unwrap(), &points), 0);
    assert_eq!(rows(&lines, &points.slice_rows(..0).unwrap()), 0);
    assert_eq!(rows(&lines, &points.slice_rows(..1).unwrap()), 0);
    // Parallel, all the same, without length, of other times.
    let some = |row: &dyn Fn(f64) -> [f64; 7]| {
        let rows: Vec<[f64; 7]> = every(0.1, 100.0).map(row).collect();
        LineData::new(Array2::from(rows)).unwrap()
    };
    let parallel = some(&|t| {
        let [x, y, _] = circle(t, 0.0);
        [t, x, y, 0.0, x, y, 712.0]
    });
    let identical = some(&|t| [t, 336.0, 240.0, 0.0, 337.0, 241.0, 712.0]);
    let dots = some(&|t| [t, 300.0, 300.0, 300.0, 300.0, 300.0, 300.0]);
    let later = some(&|t| [t + 1e6, 336.0, 240.0, 0.0, 337.0, 241.0, 712.0]);
    for lines in [parallel, identical, dots, later] {
        assert_eq!(rows(&lines, &points), 0);
    }
    let mut values = lines.values().to_vec();
    values[9] = f64::NAN;
    let broken = LineData::new(array_of_rows(values, 7)).unwrap();
    assert!(matches!(
        step.fit_lines(&broken, &points),
        Err(Error::NotFinite { row: 1, .. })
    ));
}

#[test]
fn threads_and_the_order_of_rows_do_not_matter_and_lines_are_an_attribute() {
    let lines = lines_of(300.0, &[&|t| Some(circle(t, 0.0))], 4);
    let points = points_of(&every(5.0, 300.0), &[&|t| circle(t, 0.0)]);
    let step = FitTrajectory::new();
    let all = step.fit_lines(&lines, &points).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let alone = pool.install(|| step.fit_lines(&lines, &points).unwrap());
    assert_eq!(all.values(), alone.values());
    let backwards: Vec<usize> = (0..lines.n_rows()).rev().collect();
    let reversed = step.fit_lines(&lines.take(&backwards), &points).unwrap();
    assert_eq!(all.values(), reversed.values());

    let reduce = |points: PointData| step.reduce(vec![points], &Context::FIRST);
    assert!(matches!(reduce(points.clone()), Err(Error::Columns(_))));
    assert_eq!(reduce(points.empty()).unwrap().n_rows(), 0);
    let with_lines = points.with_attribute("_lines", Attribute::Lines(lines));
    let out = reduce(with_lines).unwrap();
    assert_eq!(out, all);
}

#[test]
fn band_matrices_agree_with_dense_ones() {
    const N: usize = 40;
    let mut rng = Pcg64::seed_from_u64(5);
    let mut band = Band::new(N);
    for row in 0..N {
        for column in row.saturating_sub(BAND - 1)..row {
            band.add(row, column, normal(&mut rng));
        }
        band.add(row, row, 30.0);
    }
    let entry = |row: usize, column: usize| {
        let within = row.abs_diff(column) < BAND;
        if within { band.at(row, column) } else { 0.0 }
    };
    let mut rest: Vec<[f64; N]> = (0..N)
        .map(|row| std::array::from_fn(|column| entry(row, column)))
        .collect();
    // Gauss-Jordan, without a pivot: it is positive definite.
    let mut inverse: Vec<[f64; N]> = (0..N)
        .map(|n| std::array::from_fn(|m| f64::from(u8::from(n == m))))
        .collect();
    for n in 0..N {
        let pivot = rest[n][n];
        for m in 0..N {
            rest[n][m] /= pivot;
            inverse[n][m] /= pivot;
        }
        for k in (0..N).filter(|&k| k != n) {
            let factor = rest[k][n];
            for m in 0..N {
                rest[k][m] -= factor * rest[n][m];
                inverse[k][m] -= factor * inverse[n][m];
            }
        }
    }
    assert!(band.factorise());
    let right: Vec<f64> = (0..N).map(|_| normal(&mut rng)).collect();
    let mut solution = right.clone();
    band.solve(&mut solution);
    for (row, value) in inverse.iter().zip(&solution) {
        let dense: f64 = row.iter().zip(&right).map(|(a, b)| a * b).sum();
        assert!((dense - value).abs() < 1e-12);
    }
    let selected = band.selected_inverse();
    for (row, values) in inverse.iter().enumerate() {
        for (column, value) in values.iter().enumerate().take(row + 1) {
            if row - column >= BAND {
                continue;
            }
            assert!((selected.at(row, column) - value).abs() < 1e-13);
            assert_eq!(selected.at(row, column), selected.at(column, row));
        }
    }
    let mut indefinite = Band::new(2);
    indefinite.add(0, 0, 1.0);
    indefinite.add(1, 0, 2.0);
    indefinite.add(1, 1, 1.0);
    assert!(!indefinite.factorise());
}

#[test]
fn senseless_parameters_are_errors() {
    let new = FitTrajectory::new;
    for step in [
        new().knot_spacing(0.0),
        new().knot_spacing(f64::NAN),
        new().time_step(-1.0),
        new().max_gap(0.0),
        new().widths(2.0, 2.0, 0.5),
        new().widths(2.0, 6.0, 1.0),
    ] {
        assert!(
            matches!(step.check(), Err(Error::Parameter { .. })),
            "{step:?}"
        );
    }
    let lines = lines_of(10.0, &[&|t| Some(circle(t, 0.0))], 6);
    let points = points_of(&every(5.0, 10.0), &[&|t| circle(t, 0.0)]);
    let many = new()
        .knot_spacing(5.0)
        .time_step(1e-9)
        .fit_lines(&lines, &points);
    assert!(matches!(
        many,
        Err(Error::Parameter {
            name: "time_step",
            ..
        })
    ));
}

#[test]
fn a_tracer_that_goes_may_end_anywhere_in_a_block() {
    // A little before a block does: curves with long knot spacings reach into the next one, others do not.
    for before in [1.0, 5.0, 9.0, 13.0] {
        let end = 2.0 * 4096.0 / RATE - before;
        let lines = lines_of(400.0, &[&|t| (t < end).then(|| circle(t, 0.0))], 5);
        let points = points_of(&every(4.0, end), &[&|t| circle(t, 0.0)]);
        let out = FitTrajectory::new().fit_lines(&lines, &points).unwrap();
        assert!(out.n_rows() > 40, "{end}: {}", out.n_rows());
    }
}
