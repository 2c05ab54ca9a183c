use std::ops::Range;

use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use pept::kernels::{LineSlice, cutpoints, minpoints};
use pept::pipeline::{Filter, Pipeline, Step};
use pept::tracking::{BirminghamMethod, Centroids, CutpointsToF, LinesCentroids, TimeOfFlight};
use pept::trajectory::Segregate;
use pept::transform::OptimizeWindow;
use pept::{Attribute, Backend, Data, LineData, PointData, Sampling, clustering, io};

use crate::support::{
    Needs, canonical, golden_whole, golden1, golden2, on_every_backend, recording_42rpm, trial,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(on_every_backend(
        "golden::cutpoints_random",
        Needs::Nothing,
        |backend| {
            cutpoints_are_those_of_the_peer("cutpoints_random", 5.0, backend);
        },
    ));
    trials.extend(on_every_backend(
        "golden::cutpoints_tracers",
        Needs::Nothing,
        |backend| {
            cutpoints_are_those_of_the_peer("cutpoints_tracers", 0.5, backend);
        },
    ));
    trials.extend(on_every_backend(
        "golden::cutpoints_real_counts",
        Needs::Recordings,
        real_samples_have_the_peers_numbers,
    ));
    trials.extend(on_every_backend(
        "golden::minpoints_k3",
        Needs::Nothing,
        |backend| minpoints_are_those_of_the_peer("minpoints_k3", 3, 0.5, backend),
    ));
    trials.extend(on_every_backend(
        "golden::minpoints_k4",
        Needs::Nothing,
        |backend| minpoints_are_those_of_the_peer("minpoints_k4", 4, 1.0, backend),
    ));
    for (name, phi) in [("hdbscan_small", 20), ("hdbscan_medium", 40)] {
        trials.push(trial(
            &format!("golden::{name}"),
            Needs::Nothing,
            move || labels_are_those_of_the_peer(name, phi),
        ));
    }
    for (name, window, cut_distance, min_size) in [
        ("segregate_w20_d10_m5", 20, 10.0, 5),
        ("segregate_w6_d10_m5", 6, 10.0, 5),
        ("segregate_w20_d25_m30", 20, 25.0, 30),
    ] {
        let step = Segregate::new(window, cut_distance).min_trajectory_size(min_size);
        trials.push(trial(
            &format!("golden::{name}"),
            Needs::Nothing,
            move || trajectories_are_those_of_the_peer(name, step),
        ));
    }
    for fopt in ["0.05", "0.3", "0.5", "0.9", "1.0"] {
        trials.push(trial(
            &format!("golden::birmingham_fopt{fopt}"),
            Needs::Nothing,
            move || the_birmingham_method_is_that_of_the_peer(fopt),
        ));
    }
    trials.push(trial(
        "golden::lines_centroids",
        Needs::Nothing,
        centroids_of_lines_are_those_of_the_peer,
    ));
    trials.push(trial(
        "golden::time_of_flight",
        Needs::Nothing,
        time_of_flight_is_that_of_the_peer,
    ));
    trials.push(trial(
        "golden::steps_whose_parameters_decide_what_they_give_can_be_followed",
        Needs::Nothing,
        chains_of_kinds,
    ));
    trials.push(trial(
        "golden::sampling",
        Needs::Nothing,
        samples_are_those_of_the_peer,
    ));
    trials.push(trial(
        "golden::optimize_window",
        Needs::Nothing,
        the_window_is_as_good_as_the_peers,
    ));
    trials.push(trial(
        "golden::centroids",
        Needs::Nothing,
        centroids_are_those_of_the_peer,
    ));
    trials
}

/// The same pairs in the same order, coordinates within 1e-9 mm.
fn cutpoints_are_those_of_the_peer(name: &str, max_distance: f64, backend: &Backend) {
    let lines = golden2(&format!("{name}__lines"));
    let cutoffs: [f64; 6] = golden1(&format!("{name}__cutoffs")).try_into().unwrap();
    let expected = golden2(&format!("{name}__cutpoints"));
    let lines = LineSlice::new(lines.as_slice().unwrap(), lines.ncols()).unwrap();
    let found = cutpoints::on(
        backend,
        lines,
        &cutpoints::Params::new(max_distance).cutoffs(cutoffs),
    )
    .unwrap();
    let indices: Vec<_> = found.iter().map(|c| (c.i, c.j)).collect();
    let expected_indices: Vec<_> = expected
        .rows()
        .into_iter()
        .map(|row| (row[4] as u32, row[5] as u32))
        .collect();
    assert_eq!(indices, expected_indices);
    let found: Vec<f64> = found.iter().flat_map(|c| [c.t, c.x, c.y, c.z]).collect();
    let expected: Vec<f64> = expected
        .rows()
        .into_iter()
        .flat_map(|row| [row[0], row[1], row[2], row[3]])
        .collect();
    assert_abs_diff_eq!(found[..], expected[..], epsilon = 1e-9);
}

fn minpoints_are_those_of_the_peer(
    name: &str,
    num_lines: usize,
    max_distance: f64,
    backend: &Backend,
) {
    let lines = golden2(&format!("{name}__lines"));
    let cutoffs: [f64; 6] = golden1(&format!("{name}__cutoffs")).try_into().unwrap();
    let expected = golden2(&format!("{name}__minpoints"));
    let lines = LineSlice::new(lines.as_slice().unwrap(), lines.ncols()).unwrap();
    let params = minpoints::Params::new(num_lines, max_distance).cutoffs(cutoffs);
    let found = minpoints::on(backend, lines, &params).unwrap();
    assert_eq!(found.len(), expected.nrows());
    for (n, row) in expected.rows().into_iter().enumerate() {
        let lines: Vec<f64> = found.lines(n).iter().map(|&line| f64::from(line)).collect();
        assert_eq!(lines[..], row.as_slice().unwrap()[4..]);
        assert_abs_diff_eq!(
            found.points()[n][..],
            row.as_slice().unwrap()[..4],
            epsilon = 1e-9
        );
    }
}

fn real_samples_have_the_peers_numbers(backend: &Backend) {
    let lors = io::parallel_screens::read(recording_42rpm(), None).unwrap();
    let lors = lors
        .with_sampling(Sampling::count(400).overlap(300))
        .unwrap();
    let params = cutpoints::Params::new(0.5);
    let found =
        cutpoints::on_samples(backend, lors.line_slice(), lors.sample_ranges(), &params).unwrap();
    let counts: Vec<f64> = found.iter().map(|sample| sample.len() as f64).collect();
    assert_eq!(counts, golden1("cutpoints_real_counts__counts"));
}

fn labels_are_those_of_the_peer(name: &str, phi: usize) {
    let points: Vec<[f64; 3]> = golden2(&format!("{name}__points"))
        .rows()
        .into_iter()
        .map(|row| [row[0], row[1], row[2]])
        .collect();
    let labels = clustering::hdbscan(&points, phi).into_iter().map(f64::from);
    assert_eq!(
        canonical(labels),
        canonical(golden1(&format!("{name}__labels")))
    );
}

fn points(name: &str) -> PointData {
    PointData::new(golden2(name)).unwrap()
}

fn trajectories_are_those_of_the_peer(name: &str, step: Segregate) {
    // Given as several samples: the step takes all together.
    let points = points(&format!("{name}__points"))
        .with_sampling(Sampling::count(100))
        .unwrap();
    let out = Pipeline::new()
        .then(step)
        .fit(points)
        .unwrap()
        .into_points()
        .unwrap();
    let labels = out.rows().column(4).to_vec();
    assert_eq!(
        canonical(labels.iter().copied()),
        canonical(golden1(&format!("{name}__labels")))
    );
    assert_eq!(
        canonical(labels.iter().copied()),
        labels.iter().map(|&label| label as i32).collect::<Vec<_>>()
    );
}

fn centroids_are_those_of_the_peer() {
    let step = Step::filter(Centroids::new().error(true).cluster_size(true));
    let out = Pipeline::new()
        .then(step)
        .fit(points("centroids__points"))
        .unwrap()
        .into_points()
        .unwrap();
    assert_eq!(out.columns(), ["t", "x", "y", "z", "error", "cluster_size"]);
    let expected = golden2("centroids__centroid");
    assert_abs_diff_eq!(*out.values(), *expected.as_slice().unwrap(), epsilon = 1e-9);
}

fn fit_points(step: impl Filter, lines: LineData) -> PointData {
    let out = Pipeline::new().then(Step::filter(step)).fit(lines).unwrap();
    out.into_points().unwrap()
}

fn the_birmingham_method_is_that_of_the_peer(fopt: &str) {
    let name = format!("birmingham_fopt{fopt}");
    let lines = LineData::new(golden2(&format!("{name}__lines"))).unwrap();
    let step = BirminghamMethod::new(fopt.parse().unwrap()).get_used(true);
    let out = fit_points(step, lines);
    assert_eq!(out.columns(), ["t", "x", "y", "z", "error"]);
    let expected = golden1(&format!("{name}__location"));
    assert_abs_diff_eq!(*out.values(), *expected, epsilon = 1e-8);
    let Some(Attribute::Lines(used)) = out.attributes().get("_lines") else {
        panic!("the lines should be attached")
    };
    assert_eq!(used.column(7), golden1(&format!("{name}__used")));
}

/// The peer ignores what it rejects: its point is that of all lines.
fn centroids_of_lines_are_those_of_the_peer() {
    let lines = LineData::new(golden2("lines_centroids__lines")).unwrap();
    let out = fit_points(LinesCentroids::new().iterations(0), lines.clone());
    let expected = golden2("lines_centroids__point");
    assert_abs_diff_eq!(*out.values(), *expected.as_slice().unwrap(), epsilon = 1e-8);
    assert_ne!(
        fit_points(LinesCentroids::new(), lines).values(),
        out.values()
    );
}

fn time_of_flight_is_that_of_the_peer() {
    let lines = LineData::with_columns(golden2("time_of_flight__lines"), &["t2"]).unwrap();
    let step = TimeOfFlight::new().temporal_resolution(1e-7);
    let points = fit_points(step.clone().points(true), lines.clone());
    let expected = golden2("time_of_flight__tof");
    assert_eq!(points.n_rows(), expected.nrows());
    // 1e-7 ms are 30 mm.
    for (found, expected) in points.values().chunks(4).zip(expected.rows()) {
        assert_abs_diff_eq!(found[0], expected[0], epsilon = 1e-12);
        assert_abs_diff_eq!(
            found[1..],
            expected.as_slice().unwrap()[1..],
            epsilon = 1e-6
        );
    }
    let cutoffs: [f64; 6] = golden1("time_of_flight__cutoffs").try_into().unwrap();
    let pairs = CutpointsToF::new()
        .cutoffs(cutoffs)
        .append_indices(true)
        .cutpoints_only(true);
    let out = Pipeline::new().then(step).then(pairs).fit(lines).unwrap();
    let out = out.into_points().unwrap();
    let expected = golden2("time_of_flight__cutpoints");
    assert_eq!(out.n_rows(), expected.nrows());
    let sorted = |rows: ndarray::ArrayView2<'_, f64>| {
        let mut rows: Vec<Vec<f64>> = rows.rows().into_iter().map(|row| row.to_vec()).collect();
        rows.sort_by(|a, b| a[4].total_cmp(&b[4]).then(a[5].total_cmp(&b[5])));
        rows
    };
    for (found, expected) in sorted(out.rows()).iter().zip(sorted(expected.view())) {
        assert_eq!(found[4..], expected[4..]);
        assert_abs_diff_eq!(found[..4], expected[..4], epsilon = 1e-6);
    }
}

fn golden_ranges(name: &str) -> Vec<Range<usize>> {
    let ranges = golden_whole(name);
    ranges
        .rows()
        .into_iter()
        .map(|row| row[0] as usize..row[1] as usize)
        .collect()
}

fn samples_are_those_of_the_peer() {
    let points = points("sampling__data");
    for (name, rule) in [
        ("n30_o0", Sampling::count(30)),
        ("n30_o20", Sampling::count(30).overlap(20)),
        ("n30_om5", Sampling::count(30).overlap(-5)),
        ("tw", Sampling::time(5.5)),
        ("tw_o", Sampling::time(5.5).overlap_time(2.0)),
        ("aw", Sampling::adaptive(5.5, 40)),
        ("aw_o", Sampling::adaptive(5.5, 40).overlap_time(2.0)),
    ] {
        let sampled = points.clone().with_sampling(rule).unwrap();
        assert_eq!(
            sampled.sample_ranges(),
            golden_ranges(&format!("sampling__{name}")),
            "{name}"
        );
    }
}

fn the_window_is_as_good_as_the_peers() {
    let points = points("optimize_window__data");
    // The cutting, with the window that the peer found.
    let window = 1.399_209_182_464_956_8;
    let cut = Sampling::adaptive(window, 25).overlap_time(0.5 * window);
    let cut = points.clone().with_sampling(cut).unwrap();
    assert_eq!(
        cut.sample_ranges(),
        golden_ranges("optimize_window__indices")
    );
    let distance = |window: f64| {
        let all = Sampling::adaptive(window, usize::MAX).overlap_time(0.5 * window);
        let all = points.clone().with_sampling(all).unwrap();
        let sizes = all.sample_ranges().iter().map(|range| range.len() as f64);
        let mut sizes: Vec<f64> = sizes.filter(|n| (7.5..=75.0).contains(n)).collect();
        sizes.sort_by(f64::total_cmp);
        let n = sizes.len();
        (0.5 * (sizes[(n - 1) / 2] + sizes[n / 2]) - 25.0).abs()
    };
    let step = OptimizeWindow::new(25).overlap(0.5);
    let out = Pipeline::new().then(step).fit(points.clone()).unwrap();
    let Data::Points(out) = out else {
        panic!("points should stay points")
    };
    let Sampling::Adaptive { window: found, .. } = *out.sampling() else {
        panic!("{}", out.sampling())
    };
    assert!(
        distance(found) <= distance(window),
        "{found}: {}",
        distance(found)
    );
}

/// What gives lines or points by its parameters can be followed by what takes them.
fn chains_of_kinds() {
    let lines = LineData::with_columns(golden2("time_of_flight__lines"), &["t2"]).unwrap();
    let density = Pipeline::new()
        .then(TimeOfFlight::new().temporal_resolution(1e-7).points(true))
        .then(pept::tracking::GaussianDensity::new())
        .then(Centroids::new());
    let point = density
        .fit_sample(lines.clone())
        .unwrap()
        .into_points()
        .unwrap();
    assert_eq!((point.n_rows(), point.columns().len()), (1, 4));
    let of_lines = Pipeline::new()
        .then(pept::tracking::Cutpoints::new(50.0).append_indices(true))
        .then(pept::tracking::Hdbscan::new(0.3))
        .then(pept::tracking::SplitLabels::new().extract_lines(true))
        .then(LinesCentroids::new());
    of_lines.check(pept::data::Kind::Lines).unwrap();
    let found = of_lines.fit_sample(lines).unwrap().into_points().unwrap();
    assert_eq!(found.columns(), ["t", "x", "y", "z"]);
}
