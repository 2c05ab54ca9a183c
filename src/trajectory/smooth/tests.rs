use ndarray::Array2;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::points::{COVARIANCES, Estimate, VELOCITIES};
use super::*;
use crate::linear_algebra::{Matrix, Vector, difference, dot, inverse, product, quadratic};

const SPEED: f64 = 0.0044; // rad/ms, 42 rpm
const RADIUS: f64 = 86.0;

fn circle(time: f64) -> Vector {
    let (sin, cos) = (SPEED * time).sin_cos();
    [
        250.0 + RADIUS * cos,
        240.0 + RADIUS * sin,
        350.0 + 5.0 * sin,
    ]
}

fn normal(rng: &mut Pcg64) -> Vector {
    std::array::from_fn(|_| StandardNormal.sample(rng))
}

/// Like the covariances of points between two planes: 0.4 mm, 0.4 mm and 1.2 mm, some better than others.
fn factor(n: usize) -> Matrix {
    let size = 1.0 + 0.5 * (n as f64).sin();
    [[0.4, 0.0, 0.0], [0.1, 0.4, 0.0], [0.2, -0.1, 1.2]].map(|row| row.map(|v| v * size))
}

fn row(time: f64, position: Vector, factor: &Matrix) -> Vec<f64> {
    let covariance: Matrix = factor.map(|a| factor.map(|b| dot(a, b)));
    let [[xx, xy, xz], [_, yy, yz], [_, _, zz]] = covariance;
    let [x, y, z] = position;
    vec![time, x, y, z, xx, xy, xz, yy, yz, zz]
}

fn noisy(time: f64, place: Vector, factor: &Matrix, rng: &mut Pcg64) -> Vec<f64> {
    row(time, sum_of(place, product(factor, normal(rng))), factor)
}

fn sum_of(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|axis| a[axis] + b[axis])
}

fn table(rows: &[Vec<f64>], extra: &[&str]) -> PointData {
    let values: Vec<f64> = rows.concat();
    let names: Vec<&str> = COVARIANCES.iter().chain(extra).copied().collect();
    let rows = Array2::from_shape_vec((rows.len(), 4 + names.len()), values).unwrap();
    PointData::with_columns(rows, &names).unwrap()
}

fn smooth(step: &Smooth, points: PointData) -> Vec<Estimate> {
    step.check().unwrap();
    estimates(&step.reduce(vec![points], &Context::FIRST).unwrap())
}

fn estimates(points: &PointData) -> Vec<Estimate> {
    let column = |name: &str| points.column(points.column_index(name).unwrap());
    let velocities = VELOCITIES.map(column);
    let [xx, xy, xz, yy, yz, zz] = COVARIANCES.map(column);
    let positions = points.positions().into_iter().enumerate();
    positions
        .map(|(n, position)| Estimate {
            position,
            velocity: [velocities[0][n], velocities[1][n], velocities[2][n]],
            covariance: [
                [xx[n], xy[n], xz[n]],
                [xy[n], yy[n], yz[n]],
                [xz[n], yz[n], zz[n]],
            ],
        })
        .collect()
}

fn distance(a: Vector, b: Vector) -> f64 {
    let d = difference(a, b);
    dot(d, d).sqrt()
}

/// The mean of squared normalised errors, which is 3 for honest covariances.
fn normalised(estimates: &[Estimate], truth: &[Vector]) -> f64 {
    let errors = estimates.iter().zip(truth).map(|(estimate, &truth)| {
        let (inverted, _) = inverse(&estimate.covariance, 0.0).unwrap();
        quadratic(&inverted, difference(estimate.position, truth))
    });
    errors.sum::<f64>() / truth.len() as f64
}

/// Uneven times.
fn times(n: usize) -> Vec<f64> {
    let step = |n: usize| 2.0 + 1.5 * ((n * n) as f64).sin();
    let mut time = 7e6;
    let all = (0..n).map(|n| {
        time += step(n);
        time
    });
    all.collect()
}

#[test]
fn covariances_are_honest() {
    // Driven by noise in acceleration, or in its derivative, along all axes or one.
    let all = [1.0; 3];
    for (seed, derivative, size, axes) in [
        (1, 1, 0.02, all),
        (2, 2, 1e-4, all),
        (3, 1, 0.02, [0.0, 1.0, 0.0]),
        (4, 2, 1e-4, [1.0, 0.0, 1.0]),
    ] {
        let mut rng = Pcg64::seed_from_u64(seed);
        let times = times(4000);
        let mut derivatives = [[0.0; 3]; 3];
        let mut truth = vec![derivatives[0]];
        for pair in times.windows(2) {
            for _ in 0..4 {
                let step = 0.25 * (pair[1] - pair[0]);
                for n in 0..2 {
                    let rate = derivatives[n + 1].map(|value| step * value);
                    derivatives[n] = sum_of(derivatives[n], rate);
                }
                let noise = normal(&mut rng).map(|value| value * size * step.sqrt());
                let noise = std::array::from_fn(|axis| axes[axis] * noise[axis]);
                derivatives[derivative] = sum_of(derivatives[derivative], noise);
            }
            truth.push(derivatives[0]);
        }
        // Covariances that are wrong by a factor are put right.
        let mut rows = Vec::new();
        for (n, (&time, &place)) in times.iter().zip(&truth).enumerate() {
            let mut row = noisy(time, place, &factor(n), &mut rng);
            row[4..].iter_mut().for_each(|value| *value /= 3.0);
            rows.push(row);
        }
        let out = smooth(&Smooth::new(), table(&rows, &[]));
        let nees = normalised(&out, &truth);
        // Where nothing disturbs it, a coordinate has one error for all points.
        let tolerance = if axes == all { 0.3 } else { 0.8 };
        assert!((nees - 3.0).abs() < tolerance, "{seed}: {nees}");
    }
}

#[test]
fn covariances_of_tracers_at_rest_are_honest() {
    let mut rng = Pcg64::seed_from_u64(1);
    let rows: Vec<Vec<f64>> = (0..4000)
        .map(|n| {
            let row = noisy(f64::from(n), [1.0, 2.0, 3.0], &factor(n as usize), &mut rng);
            [row, vec![f64::from(n / 40)]].concat()
        })
        .collect();
    let out = smooth(&Smooth::new(), table(&rows, &["label"]));
    let nees = normalised(&out, &vec![[1.0, 2.0, 3.0]; 4000]);
    assert!((nees - 3.0).abs() < 0.5, "{nees}");
}

#[test]
fn a_circle_stays_one() {
    let mut rng = Pcg64::seed_from_u64(1);
    let times = times(3000);
    let truth: Vec<Vector> = times.iter().map(|&t| circle(t)).collect();
    let rows: Vec<Vec<f64>> = (0..3000)
        .map(|n| noisy(times[n], truth[n], &factor(n), &mut rng))
        .collect();
    for model in [
        MotionModel::ConstantVelocity,
        MotionModel::ConstantAcceleration,
    ] {
        let out = smooth(&Smooth::new().model(model), table(&rows, &[]));
        let mean = |value: &dyn Fn(usize) -> f64| (0..3000).map(value).sum::<f64>() / 3000.0;
        let radius = |n: usize| {
            let [x, y, _] = out[n].position;
            (x - 250.0).hypot(y - 240.0)
        };
        assert!((mean(&radius) - RADIUS).abs() < 0.03, "{model:?}");
        // Across its plane nothing changes, and that is seen.
        let across = mean(&|n| (out[n].position[2] - truth[n][2]).powi(2)).sqrt();
        assert!(across < 0.1, "{model:?} {across}");
        let square = |n: usize| {
            let error = difference(out[n].position, truth[n]);
            dot(error, error)
        };
        let rms = mean(&square).sqrt();
        assert!(rms < 0.4, "{model:?} {rms}"); // 1.5 mm before
        let speed = dot(out[1500].velocity, out[1500].velocity).sqrt();
        assert!((speed - SPEED * RADIUS).abs() < 0.03, "{speed}");
        // A motion smoother than the model's is known better than it says, never worse.
        let nees = normalised(&out, &truth);
        assert!((2.0..3.3).contains(&nees), "{model:?} {nees}");
    }
}

#[test]
fn lines_of_overlapping_samples_count_once() {
    // Each point is the mean of four parts that it shares with its neighbours.
    let mut rng = Pcg64::seed_from_u64(2);
    let parts: Vec<Vector> = (0..8003).map(|_| normal(&mut rng)).collect();
    let times = times(8000);
    let truth: Vec<Vector> = times.iter().map(|&t| circle(t)).collect();
    let matrix = factor(0);
    let rows: Vec<Vec<f64>> = (0..8000)
        .map(|n| {
            let mean = parts[n..n + 4]
                .iter()
                .fold([0.0; 3], |a, b| sum_of(a, b.map(|v| 0.5 * v)));
            row(times[n], sum_of(truth[n], product(&matrix, mean)), &matrix)
        })
        .collect();
    let nees = |step: &Smooth| normalised(&smooth(step, table(&rows, &[])), &truth);
    let aware = nees(&Smooth::new().overlap(0.75));
    assert!((aware - 3.0).abs() < 0.4, "{aware}");
    let unaware = nees(&Smooth::new());
    assert!(unaware > 6.0, "{unaware}");
}

#[test]
fn one_bad_point_bends_nothing_and_gaps_are_bridged() {
    let mut rng = Pcg64::seed_from_u64(3);
    let times: Vec<f64> = times(600)
        .into_iter()
        .filter(|t| !(7e6 + 500.0..7e6 + 560.0).contains(t))
        .collect();
    let mut rows: Vec<Vec<f64>> = times
        .iter()
        .enumerate()
        .map(|(n, &t)| noisy(t, circle(t), &factor(n), &mut rng))
        .collect();
    let good = smooth(&Smooth::new(), table(&rows, &[]));
    rows[100][2] += 60.0;
    rows[0][1] -= 30.0;
    let bad = smooth(&Smooth::new(), table(&rows, &[]));
    for (n, (a, b)) in good.iter().zip(&bad).enumerate() {
        let allowed = if n < 40 { 1.0 } else { 0.15 };
        assert!(
            distance(a.position, b.position) < allowed,
            "{n} {}",
            distance(a.position, b.position)
        );
        assert!(distance(b.position, circle(times[n])) < 2.0, "{n}");
    }
    let bent = smooth(&Smooth::new().gate(f64::INFINITY), table(&rows, &[]));
    assert!(distance(bent[100].position, circle(times[100])) > 2.0);
}

#[test]
fn a_point_that_says_nothing_gets_the_place_that_the_others_give() {
    let mut rng = Pcg64::seed_from_u64(4);
    let times = times(400);
    let mut rows: Vec<Vec<f64>> = times
        .iter()
        .map(|&t| noisy(t, circle(t), &factor(1), &mut rng))
        .collect();
    for n in [0, 1, 200, 399] {
        rows[n][1] += 500.0;
        rows[n][4] = f64::NAN;
    }
    rows[300][4..].fill(0.0);
    // Known along one direction only, as good as perfectly along another.
    rows[50][4..].copy_from_slice(&[1e-12, 0.0, 0.0, 1e12, 0.0, 1.0]);
    let out = smooth(&Smooth::new(), table(&rows, &[]));
    for (estimate, &time) in out.iter().zip(&times) {
        assert!(distance(estimate.position, circle(time)) < 2.0);
    }
    assert!(out[0].covariance[0][0] > out[2].covariance[0][0]);
}

#[test]
fn equal_times_and_few_points_are_legal() {
    let close = |a: Vector, b: Vector| distance(a, b) < 1e-3;
    let at = |time: f64, x: f64| row(time, [x, 2.0, 3.0], &factor(0));
    let step = Smooth::new();
    let one = smooth(&step, table(&[at(5.0, 1.0)], &[]));
    assert!(close(one[0].position, [1.0, 2.0, 3.0]) && one[0].velocity[0].is_nan());
    assert!((one[0].covariance[0][0] - 0.16).abs() < 1e-6);

    let two = smooth(&step, table(&[at(7.0, 5.0), at(5.0, 1.0)], &[]));
    assert!(close(two[1].position, [1.0, 2.0, 3.0]));
    assert!(distance(two[0].velocity, [2.0, 0.0, 0.0]) < 1e-3, "{two:?}");

    let same = smooth(&step, table(&[at(5.0, 1.0), at(5.0, 3.0)], &[]));
    assert!(close(same[0].position, [2.0, 2.0, 3.0]) && close(same[1].position, [2.0, 2.0, 3.0]));
    assert!(same[0].velocity[1].is_nan() && (same[1].covariance[0][0] - 0.08).abs() < 1e-9);
    assert!(smooth(&step, table(&[], &[])).is_empty());

    // Many, in pairs of equal times, at rest.
    let mut rng = Pcg64::seed_from_u64(5);
    let rows: Vec<Vec<f64>> = (0..500)
        .map(|n| noisy(f64::from(n / 2), [1.0, 2.0, 3.0], &factor(0), &mut rng))
        .collect();
    let out = smooth(&step, table(&rows, &[]));
    for estimate in &out {
        assert!(distance(estimate.position, [1.0, 2.0, 3.0]) < 0.5);
        assert!(distance(estimate.velocity, [0.0; 3]) < 0.02);
    }
}

#[test]
fn trajectories_are_smoothed_apart_and_noise_stays() {
    let mut rng = Pcg64::seed_from_u64(6);
    let mut rows = Vec::new();
    for n in 0..300 {
        let time = f64::from(n);
        for (label, x) in [(0.0, 0.0), (1.0, 40.0), (-1.0, -70.0)] {
            let mut row = noisy(time, [x, 0.1 * time, 0.0], &factor(0), &mut rng);
            row.push(label);
            rows.push(row);
        }
    }
    rows.push([row(50.0, [9.0, 9.0, 9.0], &factor(0)), vec![5.0]].concat()); // alone
    rows.swap(0, 500); // any order
    let points = table(&rows, &["label"]);
    let reduce = || {
        Smooth::new()
            .reduce(vec![points.clone()], &Context::FIRST)
            .unwrap()
    };
    let out = reduce();
    assert_eq!(out.columns()[4..10], COVARIANCES);
    assert_eq!(out.columns()[10..], ["label", "vx", "vy", "vz"]);
    let labels = points.column(10);
    assert_eq!(out.column(10), labels);
    for (n, estimate) in estimates(&out).iter().enumerate() {
        if labels[n] < 0.0 {
            assert_eq!(estimate.position, points.positions()[n]);
            assert!(estimate.velocity[0].is_nan() && estimate.covariance[0][0] > 0.0);
        } else if labels[n] < 2.0 {
            let time = points.column(0)[n];
            assert!(distance(estimate.position, [40.0 * labels[n], 0.1 * time, 0.0]) < 1.0);
        } else {
            assert!(distance(estimate.position, [9.0; 3]) < 1e-9);
        }
    }
    let alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let bits = |points: &PointData| -> Vec<u64> {
        points
            .values()
            .iter()
            .map(|value| value.to_bits())
            .collect()
    };
    assert_eq!(bits(&alone.install(reduce)), bits(&out));
}

#[test]
fn points_without_covariances_get_one_from_their_scatter() {
    let mut rng = Pcg64::seed_from_u64(7);
    let times = times(3000);
    let truth: Vec<Vector> = times.iter().map(|&t| circle(t)).collect();
    let rows: Vec<f64> = times
        .iter()
        .zip(&truth)
        .flat_map(|(&t, &place)| noisy(t, place, &factor(0), &mut rng)[..4].to_vec())
        .collect();
    let points = PointData::new(Array2::from_shape_vec((3000, 4), rows).unwrap()).unwrap();
    let out = smooth(&Smooth::new(), points.clone());
    let nees = normalised(&out, &truth);
    assert!((nees - 3.0).abs() < 0.5, "{nees}");
    // Too few: from `error` and `cluster_size`, or nothing.
    let few = points.slice_rows(..3).unwrap();
    let out = smooth(&Smooth::new(), few.clone());
    assert!(out[1].covariance[0][0].is_nan() && out[1].position == few.positions()[1]);
    let few = few
        .with_column("error", &[6.0; 3])
        .with_column("cluster_size", &[12.0; 3]);
    let out = smooth(&Smooth::new(), few.clone());
    assert!((out[1].covariance[0][0] - 1.0).abs() < 0.2, "{out:?}");
    assert!(distance(out[1].position, few.positions()[1]) < 0.5);
}

#[test]
fn long_trajectories_agree_with_short_ones_and_values_must_be_finite() {
    // Longer than the likelihood looks at, and than the states that are kept.
    let mut rng = Pcg64::seed_from_u64(8);
    let rows: Vec<Vec<f64>> = (0..25_000)
        .map(|n| noisy(f64::from(n), circle(f64::from(n)), &factor(0), &mut rng))
        .collect();
    let step = Smooth::new()
        .model(MotionModel::ConstantAcceleration)
        .process_noise(2e-9)
        .covariance_scale(1.0);
    let long = smooth(&step, table(&rows, &[]));
    let short = smooth(&step, table(&rows[10_000..11_000], &[]));
    assert!(distance(long[10_500].position, short[500].position) < 1e-3);
    assert!(smooth(&Smooth::new(), table(&rows, &[])).len() == 25_000);

    let mut rows = rows[..2].to_vec();
    rows[1][0] = f64::NAN;
    let out = step.reduce(vec![table(&rows, &[])], &Context::FIRST);
    assert!(matches!(out, Err(Error::NotFinite { row: 1, .. })));
}

#[test]
fn senseless_parameters_are_errors() {
    let velocity = Smooth::new().model(MotionModel::ConstantVelocity);
    assert!(velocity.clone().process_noise(0.0).check().is_ok());
    for step in [
        velocity.process_noise(-1.0),
        Smooth::new().process_noise(1.0),
        Smooth::new().covariance_scale(0.0),
        Smooth::new().overlap(1.0),
        Smooth::new().overlap(-0.1),
        Smooth::new().overlap(f64::NAN),
        Smooth::new().gate(f64::NAN),
    ] {
        assert!(
            matches!(step.check(), Err(Error::Parameter { .. })),
            "{step:?}"
        );
    }
}
