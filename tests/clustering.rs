use libtest_mimic::Trial;
use pept::clustering::{Clusterer, Instructions, hdbscan, hdbscan_by_crate};
use pept::kernels::cutpoints;
use pept::{Backend, Sampling, io};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use rayon::prelude::*;

use crate::support::{Needs, canonical, recording_42rpm, reference_hdbscan, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "clustering::random_inputs_equal_the_reference_bit_for_bit",
            Needs::Nothing,
            random_inputs,
        ),
        trial(
            "clustering::real_samples_equal_the_reference_bit_for_bit",
            Needs::Recordings,
            real_samples,
        ),
        trial(
            "clustering::separated_clusters_are_those_of_the_crate_hdbscan",
            Needs::Nothing,
            separated_clusters,
        ),
        trial(
            "clustering::labels_do_not_depend_on_the_order_of_points",
            Needs::Nothing,
            order_of_points,
        ),
    ]
}

/// Cores, edges and labels, bit for bit, with every kind of vector instructions that this processor has.
pub(crate) fn assert_equals_reference(
    clusterers: &mut [(&str, Clusterer)],
    points: &[[f64; 3]],
    phi: usize,
    what: &str,
) {
    let expected = reference_hdbscan::hdbscan(points, phi);
    let expected_edges: Vec<_> = expected
        .edges
        .iter()
        .map(|e| (e.weight, e.distance, e.low, e.high))
        .collect();
    for (instructions, clusterer) in clusterers {
        let what = format!("{what}, n = {}, phi = {phi}, {instructions}", points.len());
        let labels = clusterer.labels(points, phi).to_vec();
        assert_eq!(
            clusterer.core_distances(),
            expected.cores,
            "core distances, {what}"
        );
        let edges = clusterer.edges().iter();
        let edges: Vec<_> = edges
            .map(|e| (e.weight, e.distance, e.low as usize, e.high as usize))
            .collect();
        assert_eq!(edges, expected_edges, "edges, {what}");
        assert_eq!(labels, expected.labels, "labels, {what}");
    }
}

pub(crate) fn clusterers() -> Vec<(&'static str, Clusterer)> {
    let instructions = Instructions::available().into_iter();
    instructions
        .map(|(name, instructions)| (name, Clusterer::with_instructions(instructions)))
        .collect()
}

/// A shape of random input, by number.
fn input(rng: &mut Pcg64, shape: usize, n: usize) -> (&'static str, Vec<[f64; 3]>) {
    let normal = |rng: &mut Pcg64| -> f64 { StandardNormal.sample(rng) };
    let mut point = |n: usize| -> [f64; 3] {
        let mut uniform = || rng.random::<f64>();
        match shape {
            0 => [uniform(), uniform(), uniform()].map(|x| 500.0 * x),
            // Clusters of different density in a uniform background.
            1 => {
                let cluster = n % 4;
                let spread = [0.3, 2.0, 8.0, 300.0][cluster];
                std::array::from_fn(|k| 100.0 * (cluster * (k + 1)) as f64 + spread * normal(rng))
            }
            // A grid: many ties.
            2 => [uniform(), uniform(), uniform()].map(|x| (6.0 * x).floor()),
            // Few places: duplicates.
            3 => {
                let place = (7.0 * uniform()).floor();
                [place, place * place, 0.0]
            }
            4 => [uniform(); 3].map(|x| 10.0 * x), // collinear
            5 => [1.5, -2.5, 1e6],                 // identical
            // Nested scales.
            6 => {
                let scale = 10.0_f64.powf(-6.0 * uniform());
                std::array::from_fn(|_| scale * normal(rng))
            }
            7 => [uniform(), uniform(), uniform()].map(|x| 1e120 * x),
            8 => [uniform(), uniform(), uniform()].map(|x| 1e-120 * x),
            9 => [1e9 + uniform(), 1e9 + uniform(), -1e9 + uniform()],
            // One axis without extent, and a far point.
            10 => [uniform(), 0.0, if n == 0 { 1e9 } else { uniform() }],
            // A moving tracer, rounded as detectors do.
            _ => {
                let t = n as f64 * 0.01;
                [t.cos(), t.sin(), 0.0].map(|x| (860.0 * x + 5.0 * normal(rng)).round() / 10.0)
            }
        }
    };
    let points = (0..n).map(&mut point).collect();
    let names = [
        "uniform",
        "clusters",
        "grid",
        "duplicates",
        "collinear",
        "identical",
        "nested",
        "huge",
        "tiny",
        "far",
        "flat",
        "moving",
    ];
    (names[shape], points)
}

const N_SHAPES: usize = 12;

fn random_inputs() {
    let mut rng = Pcg64::seed_from_u64(11);
    let mut clusterers = clusterers();
    for round in 0..3000 {
        // Sizes from 4 up, mostly small; phi from 2 to half.
        let n = 4
            + (10.0_f64.powf(rng.random::<f64>() * if round % 20 == 0 { 2.9 } else { 2.2 }))
                as usize;
        let phi = 2 + ((n / 2 - 2) as f64 * rng.random::<f64>().powi(2)) as usize;
        let (name, points) = input(&mut rng, round % N_SHAPES, n);
        assert_equals_reference(
            &mut clusterers,
            &points,
            phi,
            &format!("{name}, round {round}"),
        );
    }
}

/// Cutpoints of the 42 rpm recording, as the recipes cluster them; every tenth sample, all with `PEPT_ALL_SAMPLES=1`.
fn real_samples() {
    let step = if std::env::var_os("PEPT_ALL_SAMPLES").is_some() {
        1
    } else {
        10
    };
    let lors = io::parallel_screens::read(recording_42rpm(), None).unwrap();
    let lors = lors
        .with_sampling(Sampling::count(400).overlap(300))
        .unwrap();
    let samples: Vec<usize> = (0..lors.n_samples()).step_by(step).collect();
    samples
        .into_par_iter()
        .for_each_init(clusterers, |clusterers, n| {
            let found = cutpoints::on(
                &Backend::Cpu,
                lors.sample(n).line_slice(),
                &cutpoints::Params::new(0.5),
            )
            .unwrap();
            let points: Vec<[f64; 3]> = found.iter().map(|c| [c.x, c.y, c.z]).collect();
            assert_equals_reference(
                clusterers,
                &points,
                points.len() / 20,
                &format!("sample {n}"),
            );
        });
}

fn separated_clusters() {
    let mut rng = Pcg64::seed_from_u64(12);
    for _ in 0..20 {
        let points: Vec<[f64; 3]> = (0..300)
            .map(|n| {
                let centre = [0.0, 100.0, 250.0][n % 3];
                std::array::from_fn(|_| {
                    let x: f64 = StandardNormal.sample(&mut rng);
                    centre + x
                })
            })
            .collect();
        let own = hdbscan(&points, 40);
        assert_eq!(
            canonical(own.iter().map(|&l| f64::from(l))),
            canonical(hdbscan_by_crate(&points, 40).into_iter().map(f64::from))
        );
        assert_eq!(own.iter().max(), Some(&2));
    }
}

/// Without ties, the clusters are the same sets in any order of the rows.
fn order_of_points() {
    let mut rng = Pcg64::seed_from_u64(13);
    for _ in 0..30 {
        let (_, points) = input(&mut rng, 1, 200);
        let mut order: Vec<usize> = (0..points.len()).collect();
        for n in (1..order.len()).rev() {
            order.swap(n, rng.random_range(0..=n));
        }
        let shuffled: Vec<_> = order.iter().map(|&n| points[n]).collect();
        let labels = hdbscan(&points, 12);
        let shuffled = hdbscan(&shuffled, 12);
        let mut back = vec![0.0; points.len()];
        for (&n, &label) in order.iter().zip(&shuffled) {
            back[n] = f64::from(label);
        }
        assert_eq!(
            canonical(back),
            canonical(labels.into_iter().map(f64::from))
        );
    }
}
