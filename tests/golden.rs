use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use pept::kernels::{LineSlice, cutpoints, minpoints};
use pept::pipeline::{Pipeline, Step};
use pept::tracking::Centroids;
use pept::trajectory::Segregate;
use pept::{Backend, PointData, Sampling, clustering, io};

use crate::support::{
    Needs, canonical, golden1, golden2, on_every_backend, recording_42rpm, trial,
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
