use std::ops::Range;

use libtest_mimic::Trial;
use pept::Backend;
use pept::kernels::cutpoints::{Cutpoint, Params, Precision, in_pieces, on, on_samples};
use pept::kernels::{KernelError, LineSlice, minpoints};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::{Needs, brute_force, on_every_backend};

/// A test's name and what it does on a backend.
type Body = (&'static str, fn(&Backend));

pub(crate) fn trials() -> Vec<Trial> {
    let bodies: [Body; 16] = [
        (
            "random_lines_give_the_cutpoints_of_brute_force",
            random_lines,
        ),
        (
            "nearly_parallel_lines_lose_no_cutpoint",
            nearly_parallel_lines,
        ),
        ("far_and_tiny_lines_lose_no_cutpoint", far_and_tiny_lines),
        (
            "identical_parallel_and_zero_length_lines_are_harmless",
            degenerate_lines,
        ),
        (
            "thresholds_exactly_at_a_distance_decide_as_f64_does",
            exact_thresholds,
        ),
        (
            "unbounded_parameters_leave_the_decision_to_f64",
            unbounded_parameters,
        ),
        ("values_near_overflow_are_decided_by_f64", huge_values),
        (
            "samples_of_any_size_and_overlap_are_independent",
            many_samples,
        ),
        ("no_lines_give_no_cutpoints", no_lines),
        ("lines_that_are_not_finite_are_refused", not_finite),
        ("nasty_lines_lose_no_cutpoint", nasty_lines),
        ("pieces_are_the_whole_in_order", pieces),
        ("fast_positions_are_within_their_bound", fast_positions),
        ("minpoints_are_those_of_brute_force", all_minpoints),
        ("nasty_lines_lose_no_minpoint", nasty_minpoints),
        ("samples_of_minpoints_are_independent", samples_of_minpoints),
    ];
    bodies
        .into_iter()
        .flat_map(|(name, body)| {
            on_every_backend(&format!("agreement::{name}"), Needs::Nothing, body)
        })
        .collect()
}

fn assert_equals_brute_force(
    backend: &Backend,
    lines: &[[f64; 7]],
    max_distance: f64,
    cutoffs: Option<[f64; 6]>,
) -> usize {
    let params = Params::new(max_distance);
    let params = cutoffs.map_or(params, |cutoffs| params.cutoffs(cutoffs));
    let found = on(backend, LineSlice::from_rows(lines), &params).unwrap();
    let expected = brute_force::cutpoints(lines, max_distance, cutoffs);
    let first = (0..found.len().max(expected.len())).find(|&n| found.get(n) != expected.get(n));
    if let Some(n) = first {
        panic!(
            "max {max_distance}: row {n} is {:?}, should be {:?}",
            found.get(n),
            expected.get(n)
        );
    }
    found.len()
}

/// Lines between two screens around `centre`, of size `scale`; most pass near the centre.
fn screen_lines(rng: &mut Pcg64, n: usize, centre: [f64; 3], scale: f64) -> Vec<[f64; 7]> {
    (0..n)
        .map(|t| {
            let target: [f64; 3] =
                std::array::from_fn(|k| centre[k] + scale * 0.02 * (rng.random::<f64>() - 0.5));
            let direction = [
                rng.random::<f64>() - 0.5,
                rng.random::<f64>() - 0.5,
                0.5 + rng.random::<f64>(),
            ];
            let end = |sign: f64| -> [f64; 3] {
                std::array::from_fn(|k| target[k] + sign * scale * direction[k])
            };
            let (a, b) = (end(-1.0), end(1.0));
            [t as f64, a[0], a[1], a[2], b[0], b[1], b[2]]
        })
        .collect()
}

fn random_lines(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(1);
    // Below, at and above the sizes of words, blocks and tiles.
    for n in [
        2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 200, 257, 400, 611,
    ] {
        let lines = screen_lines(&mut rng, n, [250.0, 250.0, 350.0], 350.0);
        for max_distance in [0.0, 0.1, 1.0, 50.0] {
            assert_equals_brute_force(backend, &lines, max_distance, None);
        }
        let found = assert_equals_brute_force(
            backend,
            &lines,
            1.0,
            Some([245.0, 255.0, 240.0, 260.0, 200.0, 500.0]),
        );
        assert!(
            n < 60 || found > n,
            "the case should have cutpoints: {found} of {n} lines"
        );
    }
}

fn nearly_parallel_lines(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(2);
    let mut found = 0;
    for angle in [1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-12, 1e-15] {
        let lines: Vec<[f64; 7]> = (0..150)
            .map(|t| {
                let mut offset = |size: f64| size * (rng.random::<f64>() - 0.5);
                let (x, y) = (offset(1.0), offset(1.0));
                [
                    t as f64,
                    x,
                    y,
                    -350.0,
                    x + offset(700.0 * angle),
                    y + offset(700.0 * angle),
                    350.0,
                ]
            })
            .collect();
        for max_distance in [1e-6, 1e-2, 0.5] {
            found += assert_equals_brute_force(backend, &lines, max_distance, None);
        }
    }
    assert!(found > 5_000, "{found}");
}

fn far_and_tiny_lines(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(3);
    let mut found = 0;
    for (centre, scale) in [
        ([1e6, -1e6, 3e5], 350.0),
        ([0.0; 3], 1e-3),
        ([1e6; 3], 1e-3),
        ([0.0; 3], 1e6),
        ([1e-30; 3], 1e-30),
    ] {
        let mut lines = screen_lines(&mut rng, 150, centre, scale);
        // Some lines elsewhere, and some whose ends are far away though they pass near.
        for n in 0..10 {
            let shift = 1e6 * (n as f64 + 1.0);
            lines[n][1..].iter_mut().for_each(|x| *x += shift);
            let [_, a @ .., d, e, f] = lines[20 + n];
            let direction = [d - a[0], e - a[1], f - a[2]];
            for k in 0..3 {
                lines[20 + n][1 + k] -= 1e4 * direction[k];
                lines[20 + n][4 + k] -= 1e4 * direction[k];
            }
        }
        let near = centre
            .map(|c| [c - scale, c + scale])
            .concat()
            .try_into()
            .unwrap();
        for max_distance in [1e-4 * scale, 1e-2 * scale] {
            found += assert_equals_brute_force(backend, &lines, max_distance, None);
            found += assert_equals_brute_force(backend, &lines, max_distance, Some(near));
        }
    }
    assert!(found > 10_000, "{found}");
}

fn degenerate_lines(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(4);
    let mut lines = screen_lines(&mut rng, 100, [0.0; 3], 300.0);
    for n in 0..20 {
        lines[5 * n + 1] = lines[5 * n]; // identical
        let [_, a @ .., d, e, f] = lines[5 * n];
        lines[5 * n + 2] = [7.0, d, e, f, a[0], a[1], a[2]]; // reversed
        lines[5 * n + 3] = [8.0, a[0], a[1], a[2], a[0], a[1], a[2]]; // no length
    }
    for max_distance in [0.0, 1e-9, 0.5, 1e9] {
        assert_equals_brute_force(backend, &lines, max_distance, None);
    }
    let parallel: Vec<[f64; 7]> = (0..200)
        .map(|n| [0.0, f64::from(n), 0.0, -1.0, f64::from(n), 0.0, 1.0])
        .collect();
    assert_eq!(
        assert_equals_brute_force(
            backend,
            &parallel,
            1e9,
            Some([-1e9, 1e9, -1e9, 1e9, -1e9, 1e9])
        ),
        0
    );
}

/// The threshold is the f64 distance of a pair, and its neighbours: the filter may not decide.
fn exact_thresholds(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(5);
    let lines = screen_lines(&mut rng, 60, [250.0, 250.0, 350.0], 350.0);
    for n in 0..30 {
        let (squared, _) = brute_force::closest(&lines[n], &lines[59 - n]).unwrap();
        let distance = squared.sqrt();
        for max_distance in [distance.next_down(), distance, distance.next_up()] {
            assert_equals_brute_force(backend, &lines, max_distance, None);
        }
    }
}

fn unbounded_parameters(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(6);
    let lines = screen_lines(&mut rng, 50, [0.0; 3], 300.0);
    let everywhere = [f64::NEG_INFINITY, f64::INFINITY]
        .repeat(3)
        .try_into()
        .unwrap();
    assert_eq!(
        assert_equals_brute_force(backend, &lines, f64::INFINITY, Some(everywhere)),
        50 * 49 / 2
    );
    assert_equals_brute_force(backend, &lines, f64::INFINITY, None);
    assert_equals_brute_force(backend, &lines, 0.5, Some(everywhere));
    assert_equals_brute_force(backend, &lines, f64::MAX, None);
}

/// Such a line may seem to miss the cutoffs, since its direction is rounded to few digits.
fn a_line_of_lost_direction(backend: &Backend) {
    let short = [0.0, 0.0, 9.9, 9.9, 2.6e-162, 9.9, 9.9];
    let other = [0.0, 0.0, 9.9, 9.8, 1e-3, 9.9, 10.0];
    for rows in [[short, other], [other, short]] {
        let cutoffs = Some([-1e-3, 1e-3, -10.0, 10.0, -10.0, 10.0]);
        assert_equals_brute_force(backend, &rows, 0.5, cutoffs);
        assert_equals_brute_force(backend, &rows, 0.5, None);
    }
}

fn huge_values(backend: &Backend) {
    a_line_of_lost_direction(backend);
    let mut rng = Pcg64::seed_from_u64(7);
    for scale in [1e60, 1e80, 1e150, 1e300] {
        let lines = screen_lines(&mut rng, 40, [0.0; 3], scale);
        assert_equals_brute_force(backend, &lines, scale, None);
        assert_equals_brute_force(backend, &lines, f64::MAX, None);
    }
}

fn many_samples(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(8);
    let lines = screen_lines(&mut rng, 900, [250.0, 250.0, 350.0], 350.0);
    let mut samples: Vec<Range<usize>> = (0..8).map(|n| n * 100..n * 100 + 200).collect();
    samples.extend([5..5, 7..8, 10..12, 0..900, 899..900, 300..365, 900..900]);
    let found = on_samples(
        backend,
        LineSlice::from_rows(&lines),
        &samples,
        &Params::new(0.5),
    )
    .unwrap();
    assert_eq!(found.len(), samples.len());
    for (range, found) in samples.into_iter().zip(found) {
        assert_eq!(found, brute_force::cutpoints(&lines[range], 0.5, None));
    }
}

fn no_lines(backend: &Backend) {
    let none: Vec<Cutpoint> = Vec::new();
    assert_eq!(
        on(backend, LineSlice::from_rows(&[]), &Params::new(0.5)).unwrap(),
        none
    );
    assert_eq!(
        on(
            backend,
            LineSlice::from_rows(&[[1.0; 7]]),
            &Params::new(0.5)
        )
        .unwrap(),
        none
    );
    assert_eq!(
        on_samples(backend, LineSlice::from_rows(&[]), &[], &Params::new(0.5)).unwrap(),
        Vec::<Vec<Cutpoint>>::new()
    );
}

fn not_finite(backend: &Backend) {
    let line = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    for bad in [f64::NAN, f64::INFINITY] {
        for column in 0..7 {
            let mut lines = [line; 3];
            lines[2][column] = bad;
            assert_eq!(
                on(backend, LineSlice::from_rows(&lines), &Params::new(0.5)),
                Err(KernelError::NotFinite { line: 2 })
            );
        }
    }
}

/// Lines near each other in every bad way: a base line, turned and moved by anything from nothing to far too much.
fn nasty() -> impl Strategy<Value = Vec<[f64; 7]>> {
    let signed = |x: f64| prop_oneof![Just(0.0), Just(x), Just(-x), -x..x];
    let scale = prop_oneof![Just(1e-3), Just(1.0), Just(300.0), Just(1e6)];
    let line = (
        prop::array::uniform3(signed(1.0)),
        prop::array::uniform3(signed(1.0)),
        prop::sample::select(vec![0.0, 1e-16, 1e-12, 1e-8, 1e-4, 1e-2, 1.0]),
        prop::sample::select(vec![0.0, 1e-9, 1e-3, 1.0]),
        prop::bool::weighted(0.05),
    );
    let lines = prop::collection::vec(line, 2..9);
    (
        scale,
        signed(1e6),
        prop::array::uniform3(signed(1.0)),
        lines,
    )
        .prop_map(|(scale, shift, base, lines)| {
            let row = |(n, (turn, shove, angle, distance, is_point))| {
                let (turn, shove): ([f64; 3], [f64; 3]) = (turn, shove);
                let end = |s: f64| -> [f64; 3] {
                    std::array::from_fn(|k| {
                        let along = base[k] + angle * turn[k];
                        shift + scale * (distance * shove[k] + s * along)
                    })
                };
                let a = end(-1.0);
                let b = if is_point { a } else { end(1.0) };
                [n as f64, a[0], a[1], a[2], b[0], b[1], b[2]]
            };
            (0..).zip(lines).map(row).collect()
        })
}

fn run<T: std::fmt::Debug>(
    backend: &Backend,
    cases: u32,
    strategy: impl Strategy<Value = T>,
    test: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases: if matches!(backend, Backend::Cpu) {
            10 * cases
        } else {
            cases
        },
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&strategy, test)
        .unwrap();
}

/// With thresholds from nothing to everything, and exactly at the distance of the first pair, and next to it.
fn nasty_lines(backend: &Backend) {
    let thresholds = prop::sample::select(vec![0.0, 1e-12, 1e-6, 1e-3, 0.5, 100.0, 1e9]);
    run(backend, 100, (nasty(), thresholds), |(lines, threshold)| {
        let mut tried = vec![threshold];
        if let Some((squared, _)) = brute_force::closest(&lines[0], &lines[1]) {
            let distance = squared.sqrt();
            tried.extend([distance.next_down().max(0.0), distance, distance.next_up()]);
        }
        for max_distance in tried.into_iter().filter(|distance| distance.is_finite()) {
            let cutoffs = [-1e7, 1e7, -1e7, 1e7, -1e7, 1e7];
            for cutoffs in [None, Some(cutoffs)] {
                let params = Params::new(max_distance);
                let params = cutoffs.map_or(params, |cutoffs| params.cutoffs(cutoffs));
                let found = on(backend, LineSlice::from_rows(&lines), &params).unwrap();
                let expected = brute_force::cutpoints(&lines, max_distance, cutoffs);
                prop_assert_eq!(found, expected);
            }
        }
        Ok(())
    });
}

fn pieces(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(9);
    let lines = screen_lines(&mut rng, 2_000, [250.0, 250.0, 350.0], 350.0);
    let mut lines_with_far_ones = lines.clone();
    lines_with_far_ones.insert(0, [0.0, 1e5, 1e5, 0.0, 1e5, 1e5 + 1.0, 0.0]);
    for lines in [&lines, &lines_with_far_ones] {
        let lines = LineSlice::from_rows(lines);
        let params = Params::new(0.5);
        let (mut all, mut n_pieces) = (Vec::new(), 0);
        let everything = in_pieces(backend, lines, &params, |piece| {
            all.extend_from_slice(piece);
            n_pieces += 1;
            std::ops::ControlFlow::Continue(())
        });
        everything.unwrap();
        assert_eq!(all, on(&Backend::Cpu, lines, &params).unwrap());
        assert!(
            all.len() > 50_000 && n_pieces > 10,
            "{} in {n_pieces}",
            all.len()
        );
        let mut first = Vec::new();
        let only_the_first = in_pieces(backend, lines, &params, |piece| {
            first.extend_from_slice(piece);
            std::ops::ControlFlow::Break(())
        });
        only_the_first.unwrap();
        assert!(first.len() < all.len() && all.starts_with(&first));
    }
}

/// On the CPU fast is exact. On a GPU points are within the stated bound, and only pairs near a threshold come or go.
fn fast_positions(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(12);
    let mut worst = 0.0_f64;
    // Where f32 can say nothing, f64 decides: with unbounded parameters, or a line too short for a direction.
    let mut lines = screen_lines(&mut rng, 60, [0.0; 3], 300.0);
    lines[7] = [0.0, 0.0, 0.0, 0.0, 1e-160, 0.0, 0.0];
    let everywhere: [f64; 6] = [f64::NEG_INFINITY, f64::INFINITY]
        .repeat(3)
        .try_into()
        .unwrap();
    for (max_distance, cutoffs) in [
        (f64::INFINITY, None),
        (f64::MAX, None),
        (0.5, None),
        (0.5, Some(everywhere)),
    ] {
        let params = Params::new(max_distance).precision(Precision::Fast);
        let params = cutoffs.map_or(params, |cutoffs| params.cutoffs(cutoffs));
        let found = on(backend, LineSlice::from_rows(&lines), &params).unwrap();
        assert_eq!(found, brute_force::cutpoints(&lines, max_distance, cutoffs));
    }
    for (scale, max_distance) in [(350.0, 0.05), (1_000.0, 0.15), (1.0, 1.5e-4)] {
        let centre = [3.0 * scale, -scale, scale];
        let rows = screen_lines(&mut rng, 700, centre, scale);
        let lines = LineSlice::from_rows(&rows);
        let half = 1.1 * scale;
        // The points lie near a corner.
        let middle = centre.map(|c| c + 0.9 * half);
        let limits: [f64; 6] =
            std::array::from_fn(|k| middle[k / 2] + if k % 2 == 0 { -half } else { half });
        let params = Params::new(max_distance).cutoffs(limits);
        let exact = on(backend, lines, &params).unwrap();
        let fast = on(backend, lines, &params.precision(Precision::Fast)).unwrap();
        if matches!(backend, Backend::Cpu) {
            assert_eq!(fast, exact);
            continue;
        }
        assert!(exact.len() > 1_000 && fast.is_sorted_by_key(|point| (point.i, point.j)));
        let unit = |n: u32| -> [f64; 3] {
            let [_, a, b, c, d, e, f] = rows[n as usize];
            let d = [d - a, e - b, f - c];
            let length = d.iter().map(|d| d * d).sum::<f64>().sqrt();
            d.map(|d| d / length)
        };
        let bound = |i: u32, j: u32| {
            let (u, v) = (unit(i), unit(j));
            let cosine: f64 = (0..3).map(|k| u[k] * v[k]).sum();
            let sine = (1.0 - cosine * cosine).sqrt();
            let reach = half * 3.0_f64.sqrt() + max_distance;
            64.0 * 2.0_f64.powi(-24) * (reach + max_distance / sine) / sine
        };
        let key = |point: &Cutpoint| (point.i, point.j);
        let mut n_same = 0;
        for point in &exact {
            let bound = bound(point.i, point.j);
            match fast.binary_search_by_key(&key(point), key) {
                Ok(n) => {
                    let other = &fast[n];
                    let off = [point.x - other.x, point.y - other.y, point.z - other.z];
                    let off = off.iter().map(|d| d * d).sum::<f64>().sqrt();
                    assert!(
                        off <= bound,
                        "{off} mm, {bound} allowed: {point:?} {other:?}"
                    );
                    assert_eq!(point.t, other.t);
                    worst = worst.max(off / bound);
                    n_same += 1;
                }
                Err(_) => assert_is_near_a_threshold(&rows, point, max_distance, &limits, bound),
            }
        }
        for point in &fast {
            if exact.binary_search_by_key(&key(point), key).is_err() {
                let bound = bound(point.i, point.j);
                assert_is_near_a_threshold(&rows, point, max_distance, &limits, bound);
            }
        }
        assert!(n_same * 100 > 99 * exact.len());
    }
    // The bound is no more than some times too wide.
    assert!(
        matches!(backend, Backend::Cpu) || (0.01..1.0).contains(&worst),
        "{worst}"
    );
}

fn assert_is_near_a_threshold(
    rows: &[[f64; 7]],
    point: &Cutpoint,
    max_distance: f64,
    limits: &[f64; 6],
    bound: f64,
) {
    let pair = (&rows[point.i as usize], &rows[point.j as usize]);
    let (squared, middle) = brute_force::closest(pair.0, pair.1).unwrap();
    let near_limits = (0..6).any(|k| (middle[k / 2] - limits[k]).abs() <= bound);
    let near_distance = (squared.sqrt() - max_distance).abs() <= 2.0 * bound;
    assert!(near_limits || near_distance, "{point:?}");
}

/// Points and lines of the n-th minpoints.
fn rows(found: &minpoints::Minpoints) -> Vec<([f64; 4], Vec<u32>)> {
    let row = |(n, point): (usize, &[f64; 4])| (*point, found.lines(n).to_vec());
    found.points().iter().enumerate().map(row).collect()
}

fn all_minpoints(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(10);
    let mut n_found = 0;
    for (n, num_lines) in [
        (1, 2),
        (2, 2),
        (90, 2),
        (2, 3),
        (40, 3),
        (70, 3),
        (30, 4),
        (18, 5),
        (14, 6),
    ] {
        let lines = screen_lines(&mut rng, n, [250.0, 250.0, 350.0], 350.0);
        for max_distance in [0.0, 0.5, 2.0, 1e9] {
            for cutoffs in [None, Some([247.0, 253.0, 240.0, 260.0, 200.0, 500.0])] {
                let params = minpoints::Params::new(num_lines, max_distance);
                let params = cutoffs.map_or(params, |cutoffs| params.cutoffs(cutoffs));
                let found = minpoints::on(backend, LineSlice::from_rows(&lines), &params).unwrap();
                let expected = brute_force::minpoints(&lines, num_lines, max_distance, cutoffs);
                assert_eq!(
                    rows(&found),
                    expected,
                    "{num_lines} of {n}, {max_distance} mm"
                );
                n_found += found.len();
            }
        }
    }
    assert!(n_found > 50_000, "{n_found}");
    let bad = minpoints::on(
        backend,
        LineSlice::from_rows(&[]),
        &minpoints::Params::new(1, 0.5),
    );
    assert!(matches!(
        bad,
        Err(KernelError::Parameter {
            name: "num_lines",
            ..
        })
    ));
}

fn nasty_minpoints(backend: &Backend) {
    let thresholds = prop::sample::select(vec![0.0, 1e-12, 1e-6, 1e-3, 0.5, 100.0, 1e9]);
    let strategy = (nasty(), thresholds, 2_usize..5);
    run(
        backend,
        100,
        strategy,
        |(lines, max_distance, num_lines)| {
            let params = minpoints::Params::new(num_lines, max_distance);
            let found = minpoints::on(backend, LineSlice::from_rows(&lines), &params).unwrap();
            let expected = brute_force::minpoints(&lines, num_lines, max_distance, None);
            prop_assert_eq!(rows(&found), expected);
            Ok(())
        },
    );
}

fn samples_of_minpoints(backend: &Backend) {
    let mut rng = Pcg64::seed_from_u64(11);
    let lines = screen_lines(&mut rng, 150, [250.0, 250.0, 350.0], 350.0);
    let samples = [0..40, 10..50, 60..60, 61..62, 50..110, 149..150];
    let params = minpoints::Params::new(3, 1.0);
    let found =
        minpoints::on_samples(backend, LineSlice::from_rows(&lines), &samples, &params).unwrap();
    assert_eq!(found.len(), samples.len());
    for (range, found) in samples.into_iter().zip(&found) {
        let expected = brute_force::minpoints(&lines[range], 3, 1.0, None);
        assert_eq!(rows(found), expected);
    }
}
