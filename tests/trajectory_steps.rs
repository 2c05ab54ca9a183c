use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use pept::pipeline::{IntoStep, Pipeline};
use pept::trajectory::{Interpolate, InterpolationKind, OutOfViewFilter, Velocity};
use pept::transform::Reorient;
use pept::{Attribute, PointData, Sampling};

use crate::support::{Needs, golden1, golden2, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, window, degree) in [
        ("velocity_w5_d2", 5, 2),
        ("velocity_w9_d3", 9, 3),
        ("velocity_w11_d2", 11, 2),
    ] {
        trials.push(trial(
            &format!("trajectory_steps::{name}"),
            Needs::Nothing,
            move || velocities_are_those_of_the_peer(name, window, degree),
        ));
    }
    for (name, kind) in [
        ("interpolate_linear", InterpolationKind::Linear),
        ("interpolate_nearest", InterpolationKind::Nearest),
        ("interpolate_cubic", InterpolationKind::Cubic),
    ] {
        trials.push(trial(
            &format!("trajectory_steps::{name}"),
            Needs::Nothing,
            move || interpolated_points_are_those_of_the_peer(name, kind),
        ));
    }
    let others: [(&str, fn()); 4] = [
        ("out_of_view", points_in_view_are_those_of_the_peer),
        (
            "out_of_view_isolated_groups",
            isolated_groups_need_more_than_k_points,
        ),
        ("reorient", principal_axes_are_those_of_the_peer),
        ("samples_on_their_own", nothing_bridges_two_samples),
    ];
    for (name, body) in others {
        trials.push(trial(
            &format!("trajectory_steps::{name}"),
            Needs::Nothing,
            body,
        ));
    }
    trials
}

fn points(name: &str) -> PointData {
    PointData::new(golden2(name)).unwrap()
}

fn fit<M>(step: impl IntoStep<M>, points: PointData) -> PointData {
    let out = Pipeline::new().then(step).fit(points).unwrap();
    out.into_points().unwrap()
}

fn velocities_are_those_of_the_peer(name: &str, window: usize, degree: usize) {
    let points = points(&format!("{name}__points"));
    let expected = golden2(&format!("{name}__velocity"));
    let step = Velocity::new(window).degree(degree);
    let out = fit(step.clone(), points.clone());
    assert_eq!(out.columns(), ["t", "x", "y", "z", "vx", "vy", "vz"]);
    assert_eq!(out.n_rows(), expected.nrows());
    let mut speeds = Vec::new();
    for ((row, point), velocity) in out
        .values()
        .chunks_exact(7)
        .zip(points.values().chunks_exact(4))
        .zip(expected.rows())
    {
        assert_eq!(row[..4], *point);
        // The peer does not centre and scale the times, and is the less accurate for it.
        assert_abs_diff_eq!(row[4..], *velocity.as_slice().unwrap(), epsilon = 1e-8);
        speeds.push(velocity.iter().map(|v| v * v).sum::<f64>().sqrt());
    }
    let out = fit(step.absolute(true), points);
    assert_eq!(out.columns(), ["t", "x", "y", "z", "v"]);
    assert_abs_diff_eq!(out.column(4)[..], speeds[..], epsilon = 1e-8);
}

fn interpolated_points_are_those_of_the_peer(name: &str, kind: InterpolationKind) {
    let expected = golden2(&format!("{name}__result"));
    let out = fit(
        Interpolate::new(1.7).kind(kind),
        points(&format!("{name}__points")),
    );
    assert_eq!(out.n_rows(), expected.nrows());
    assert_abs_diff_eq!(*out.values(), *expected.as_slice().unwrap(), epsilon = 1e-9);
}

fn points_in_view_are_those_of_the_peer() {
    // Given as several samples: the step takes all together.
    let points = points("out_of_view__points")
        .with_sampling(Sampling::count(100))
        .unwrap();
    let out = fit(OutOfViewFilter::new().max_time(200.0).k(5), points);
    assert_eq!(out.rows(), golden2("out_of_view__kept"));
}

/// Five points have four others each, six have five.
fn isolated_groups_need_more_than_k_points() {
    let group = |start: f64, n: u32| (0..n).map(move |n| start + 10.0 * f64::from(n));
    let (five, six) = (group(0.0, 5), group(10_000.0, 6));
    let times: Vec<f64> = five.clone().chain(six.clone()).collect();
    let rows: Vec<[f64; 4]> = times.iter().map(|&t| [t, 1.0, 2.0, 3.0]).collect();
    let points = PointData::new(rows.into()).unwrap();
    let kept = |k: usize| fit(OutOfViewFilter::new().k(k), points.clone()).column(0);
    assert_eq!(kept(4), times);
    assert_eq!(kept(5), six.collect::<Vec<_>>());
    assert!(kept(6).is_empty());
    let default = fit(OutOfViewFilter::new(), points.clone());
    assert_eq!(default.column(0), kept(5));
}

fn principal_axes_are_those_of_the_peer() {
    let points = points("reorient__points");
    let numbers = |table: &PointData, name: &str| match &table.attributes()[name] {
        Attribute::Array(values) => values.clone(),
        other => panic!("{name} should be an array, not {other:?}"),
    };
    let out = fit(Reorient::new(), points.clone());
    assert_abs_diff_eq!(
        numbers(&out, "eigenvalues")[..],
        golden1("reorient__eigenvalues")[..],
        epsilon = 1e-9
    );
    let origin = numbers(&out, "origin");
    assert_abs_diff_eq!(origin[..], golden1("reorient__origin")[..], epsilon = 1e-11);
    let b = numbers(&out, "basis");
    let determinant = b[0] * (b[4] * b[8] - b[5] * b[7]) - b[1] * (b[3] * b[8] - b[5] * b[6])
        + b[2] * (b[3] * b[7] - b[4] * b[6]);
    assert_abs_diff_eq!(determinant, 1.0, epsilon = 1e-12);
    // Axes and coordinates up to their signs.
    let expected = golden2("reorient__basis");
    let signs: Vec<f64> = (0..3)
        .map(|axis| {
            let products = (0..3).map(|row| b[3 * row + axis] * expected[[row, axis]]);
            products.sum::<f64>().signum()
        })
        .collect();
    for (n, &component) in b.iter().enumerate() {
        let (row, axis) = (n / 3, n % 3);
        assert_abs_diff_eq!(
            component * signs[axis],
            expected[[row, axis]],
            epsilon = 1e-9
        );
    }
    let rotated = golden2("reorient__rotated");
    for (row, expected) in out.values().chunks_exact(4).zip(rotated.rows()) {
        assert_eq!(row[0], expected[0]);
        let coordinates = row[1..].iter().zip(expected.iter().skip(1));
        for ((found, expected), (origin, sign)) in coordinates.zip(origin.iter().zip(&signs)) {
            assert_abs_diff_eq!((found - origin) * sign, expected - origin, epsilon = 1e-8);
        }
    }
    // What was stored turns the same points in the same way.
    let matrix = [[b[0], b[1], b[2]], [b[3], b[4], b[5]], [b[6], b[7], b[8]]];
    let step = Reorient::new()
        .basis(matrix)
        .origin([origin[0], origin[1], origin[2]]);
    assert_eq!(fit(step, points), out);
}

fn nothing_bridges_two_samples() {
    let all = points("velocity_w5_d2__points");
    let halves = all.clone().with_sampling(Sampling::count(30)).unwrap();
    let velocities = fit(Velocity::new(5), halves.clone());
    let alone = fit(Velocity::new(5), halves.sample(1));
    assert_eq!(velocities.sample(1).values(), alone.values());
    assert_ne!(velocities.values(), fit(Velocity::new(5), all).values());
    let step = Interpolate::new(1.7);
    let interpolated = fit(step.clone(), halves.clone());
    assert_eq!(
        interpolated.sample(1).values(),
        fit(step, halves.sample(1)).values()
    );
}
