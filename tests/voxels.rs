//! The kernel `voxels` on both backends: golden vectors, brute force, sums, slabs, bad input.

use approx::assert_abs_diff_eq;
use libtest_mimic::Trial;
use pept::Backend;
use pept::kernels::voxels::{Amount, Counts, Grid, Plane, Segments, Sums, on, on_samples, sums_on};
use pept::kernels::{KernelError, LineSlice};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::{Needs, brute_force, golden1, golden2, on_every_backend, shared_golden2};

/// End points, in cells.
type Ends = ([f64; 3], [f64; 3]);
type Body = (&'static str, Needs, fn(&Backend));

pub(crate) fn trials() -> Vec<Trial> {
    let bodies: [Body; 12] = [
        ("golden_traverse3d_random", Needs::Nothing, golden_3d),
        ("golden_traverse2d_random", Needs::Nothing, golden_2d),
        ("golden_traverse3d_real", Needs::Recordings, golden_real),
        (
            "ten_lines_have_the_known_answer",
            Needs::Nothing,
            known_answer,
        ),
        (
            "segments_of_few_digits_equal_brute_force",
            Needs::Nothing,
            few_digits,
        ),
        (
            "segments_in_the_upper_faces_belong_to_the_last_cells",
            Needs::Nothing,
            upper_faces,
        ),
        ("lines_can_be_projected_to_a_plane", Needs::Nothing, planes),
        ("samples_have_grids_of_their_own", Needs::Nothing, samples),
        ("sums_are_of_weights_and_lengths", Needs::Nothing, sums),
        (
            "chords_of_a_line_sum_to_its_chord_of_the_box",
            Needs::Nothing,
            chords,
        ),
        ("calls_accumulate", Needs::Nothing, accumulation),
        ("bad_input_is_refused", Needs::Nothing, bad_input),
    ];
    bodies
        .into_iter()
        .flat_map(|(name, needs, body)| on_every_backend(&format!("voxels::{name}"), needs, body))
        .collect()
}

fn limits(name: &str) -> (Vec<usize>, Vec<f64>) {
    let axes = ["x", "y", "z"].map(|axis| format!("{name}__grid_{axis}"));
    let axes = axes.iter().filter(|axis| {
        let path = crate::support::root().join(format!("tests/golden/{axis}.npy"));
        path.exists()
    });
    axes.map(|axis| golden1(axis))
        .map(|faces| (faces.len() - 1, [faces[0], faces[faces.len() - 1]]))
        .map(|(n, limits)| (n, limits.to_vec()))
        .fold(
            (Vec::new(), Vec::new()),
            |(mut shape, mut all), (n, limits)| {
                shape.push(n);
                all.extend(limits);
                (shape, all)
            },
        )
}

fn golden_3d(backend: &Backend) {
    let lines = golden2("traverse3d_random__lines");
    let (shape, limits) = limits("traverse3d_random");
    let grid = Grid::voxels(shape.try_into().unwrap(), limits.try_into().unwrap()).unwrap();
    let lines = LineSlice::new(lines.as_slice().unwrap(), 7).unwrap();
    let found = on(backend, lines, &grid).unwrap();
    let expected = crate::support::golden_values("traverse3d_random__voxels");
    assert!(found.iter().map(|&n| f64::from(n)).eq(expected));
}

fn golden_2d(backend: &Backend) {
    let lines = golden2("traverse2d_random__lines");
    let (shape, limits) = limits("traverse2d_random");
    let (shape, limits) = (shape.try_into().unwrap(), limits.try_into().unwrap());
    let grid = Grid::pixels(shape, limits, Plane::Xy).unwrap();
    let lines = Segments::flat(lines.as_slice().unwrap(), 5).unwrap();
    let found = on(backend, lines, &grid).unwrap();
    let expected = crate::support::golden_values("traverse2d_random__pixels");
    assert!(found.iter().map(|&n| f64::from(n)).eq(expected));
}

/// Real lines lie on a lattice and graze edges: 5 of 10^4 voxels may differ by 1.
fn golden_real(backend: &Backend) {
    let lines = shared_golden2("traverse3d_real__lines");
    let limits = shared_golden2("traverse3d_real__limits");
    let limits: Vec<f64> = limits.iter().copied().collect();
    let grid = Grid::voxels([64, 48, 32], limits.try_into().unwrap()).unwrap();
    let lines = LineSlice::new(lines.as_slice().unwrap(), 7).unwrap();
    let found = on(backend, lines, &grid).unwrap();
    let expected = crate::support::shared_golden_values("traverse3d_real__voxels");
    let mut different = 0;
    for (&found, expected) in found.iter().zip(expected) {
        let difference = (f64::from(found) - expected).abs();
        assert!(difference <= 1.0);
        different += usize::from(difference > 0.0);
    }
    assert!(
        different * 10_000 <= 5 * found.len(),
        "{different} voxels differ"
    );
}

fn known_answer(backend: &Backend) {
    let rows: Vec<f64> = (0..70).map(f64::from).collect();
    let lines = LineSlice::new(&rows, 7).unwrap();
    let grid = Grid::voxels([3, 4, 5], [1.0, 67.0, 2.0, 68.0, 3.0, 69.0]).unwrap();
    let mut expected = vec![0; 60];
    let planes: [&[(usize, usize, u32)]; 3] = [
        &[(0, 0, 2), (0, 1, 1), (1, 1, 2)],
        &[(1, 1, 1), (1, 2, 1), (2, 2, 1), (2, 3, 1)],
        &[(2, 3, 2), (3, 3, 1), (3, 4, 2)],
    ];
    for (x, plane) in planes.into_iter().enumerate() {
        for &(y, z, n) in plane {
            expected[(x * 4 + y) * 5 + z] = n;
        }
    }
    assert_eq!(on(backend, lines, &grid).unwrap(), expected);
}

/// Through corners, along edges and faces, without length; the other direction gives the same.
fn few_digits(backend: &Backend) {
    let quarters = |n: usize| (0..=4 * n).prop_map(|q| q as f64 / 4.0);
    let shapes = prop::array::uniform3(1_usize..12);
    let case = shapes.prop_flat_map(|shape| {
        let point = shape.map(quarters);
        (
            Just(shape),
            prop::collection::vec((point.clone(), point), 1..60),
        )
    });
    let test = |(shape, segments): ([usize; 3], Vec<Ends>)| {
        let [nx, ny, nz] = shape.map(|n| n as f64);
        let grid = Grid::voxels(shape, [0.0, nx, 0.0, ny, 0.0, nz]).unwrap();
        let row = |[a, b, c]: [f64; 3], [d, e, f]: [f64; 3]| [0.0, a, b, c, d, e, f];
        let mut expected = vec![0; grid.n_cells()];
        for (a, b) in &segments {
            for (cell, _) in brute_force::cells(shape, *a, *b) {
                expected[cell] += 1;
            }
        }
        let forward: Vec<[f64; 7]> = segments.iter().map(|(a, b)| row(*a, *b)).collect();
        let backward: Vec<[f64; 7]> = segments.iter().map(|(a, b)| row(*b, *a)).collect();
        for rows in [forward, backward] {
            let found = on(backend, LineSlice::from_rows(&rows), &grid).unwrap();
            prop_assert_eq!(&found, &expected);
        }
        Ok(())
    };
    let config = Config {
        cases: if matches!(backend, Backend::Cpu) {
            2_000
        } else {
            200
        },
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&case, test)
        .unwrap();
}

/// Lines that start and end anywhere in and around a box.
fn random_lines(n: usize) -> Vec<[f64; 7]> {
    let mut rng = Pcg64::seed_from_u64(1);
    let mut row = |n: usize| {
        std::array::from_fn(|k| {
            let x = 140.0 * rng.random::<f64>() - 20.0;
            if k == 0 { n as f64 } else { x }
        })
    };
    (0..n).map(&mut row).collect()
}

fn grid() -> Grid {
    Grid::voxels([37, 20, 25], [0.0, 100.0, 10.0, 90.0, -5.0, 120.0]).unwrap()
}

/// Where cells are no power of two of a mm, the faces are not whole numbers of cells in f64.
fn upper_faces(backend: &Backend) {
    for (lo, hi, n) in [
        (0.0, 70.25, 10),
        (0.0, 293.0, 100),
        (111.78, 491.78, 49),
        (0.0, 712.0, 23),
    ] {
        let grid = Grid::voxels([n; 3], [lo, hi, lo, hi, lo, hi]).unwrap();
        let along = [0.0, hi, hi, lo, hi, hi, hi];
        let point = [0.0, hi, hi, hi, hi, hi, hi];
        let found = on(backend, LineSlice::from_rows(&[along, point]), &grid).unwrap();
        let mut expected = vec![0; n * n * n];
        expected[n * n * n - n..].fill(1);
        expected[n * n * n - 1] = 2;
        assert_eq!(found, expected, "{lo}..{hi} in {n}");
    }
}

fn planes(backend: &Backend) {
    let lines = random_lines(300);
    for (plane, axes) in [
        (Plane::Xy, [0, 1]),
        (Plane::Xz, [0, 2]),
        (Plane::Yz, [1, 2]),
    ] {
        let grid = Grid::pixels([30, 17], [0.0, 100.0, 5.0, 95.0], plane).unwrap();
        let flat: Vec<f64> = lines
            .iter()
            .flat_map(|row| {
                let [a, b] = axes.map(|axis| row[1 + axis]);
                let [c, d] = axes.map(|axis| row[4 + axis]);
                [row[0], a, b, c, d]
            })
            .collect();
        let found = on(backend, LineSlice::from_rows(&lines), &grid).unwrap();
        assert_eq!(
            found,
            on(backend, Segments::flat(&flat, 5).unwrap(), &grid).unwrap()
        );
        assert!(found.iter().sum::<u32>() > 5_000);
        assert_eq!(
            (grid.shape(), grid.limits().len(), grid.n_cells()),
            (&[30, 17][..], 4, 510)
        );
    }
}

fn samples(backend: &Backend) {
    let lines = random_lines(400);
    let lines = LineSlice::from_rows(&lines);
    let samples = [0..100, 50..200, 200..200, 399..400, 0..400];
    let grids: Vec<Grid> = (0..5)
        .map(|n| {
            let low = f64::from(n);
            let shape = [10 + n as usize, 12, 9];
            Grid::voxels(shape, [low, 90.0, low, 80.0, low, 70.0]).unwrap()
        })
        .collect();
    let found = on_samples(backend, lines, &samples, &grids).unwrap();
    let rows = random_lines(400);
    for ((found, rows), grid) in found
        .iter()
        .zip(samples.iter().map(|range| &rows[range.clone()]))
        .zip(&grids)
    {
        assert_eq!(
            *found,
            on(&Backend::Cpu, LineSlice::from_rows(rows), grid).unwrap()
        );
    }
    assert!(found[4].iter().sum::<u32>() > 1_000);
}

fn sums(backend: &Backend) {
    let rows = random_lines(3_000);
    let lines = LineSlice::from_rows(&rows);
    let mut rng = Pcg64::seed_from_u64(2);
    let weights: Vec<f64> = rows.iter().map(|_| 3.0 * rng.random::<f64>()).collect();
    let grid = grid();
    for weights in [None, Some(&weights[..])] {
        for amount in [Amount::Once, Amount::Length] {
            let found = sums_on(backend, lines, weights, amount, &grid).unwrap();
            let on_cpu = sums_on(&Backend::Cpu, lines, weights, amount, &grid).unwrap();
            assert_eq!(found, on_cpu);
            // Against f64, within what rounding to 2^-16 cells and 2^-20 of a weight can do.
            let mut expected = vec![0.0; grid.n_cells()];
            let cell = grid.cell_size();
            for (n, row) in rows.iter().enumerate() {
                let weight = weights.map_or(1.0, |weights| weights[n]);
                let at = |first: usize| -> [f64; 3] {
                    std::array::from_fn(|k| (row[first + k] - grid.limits()[2 * k]) / cell[k])
                };
                let (a, b) = (at(1), at(4));
                let scaled = |d: [f64; 3]| -> f64 {
                    let squared: f64 = (0..3).map(|k| (d[k] * cell[k]).powi(2)).sum();
                    squared.sqrt()
                };
                let d: [f64; 3] = std::array::from_fn(|k| b[k] - a[k]);
                let in_cells = d.iter().map(|d| d * d).sum::<f64>().sqrt();
                let shape = [37, 20, 25];
                for (cell, length) in brute_force::cells(shape, a, b) {
                    expected[cell] += weight
                        * match amount {
                            Amount::Once => 1.0,
                            Amount::Length => length * scaled(d) / in_cells,
                        };
                }
            }
            let total = |values: &[f64]| values.iter().sum::<f64>();
            assert_abs_diff_eq!(
                total(&found) / total(&expected),
                1.0,
                epsilon = if amount == Amount::Once { 1e-4 } else { 1e-6 }
            );
            if amount == Amount::Length {
                assert_abs_diff_eq!(found[..], expected[..], epsilon = 0.05);
            }
        }
    }
    let counts: Vec<f64> = on(backend, lines, &grid)
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    assert_eq!(
        sums_on(backend, lines, None, Amount::Once, &grid).unwrap(),
        counts
    );
    let ones = vec![7.0; rows.len()];
    let sevens: Vec<f64> = counts.iter().map(|n| 7.0 * n).collect();
    assert_eq!(
        sums_on(backend, lines, Some(&ones), Amount::Once, &grid).unwrap(),
        sevens
    );
}

fn chords(backend: &Backend) {
    let grid = grid();
    let cell = grid.cell_size().into_iter().fold(f64::INFINITY, f64::min);
    for row in random_lines(60) {
        let line = LineSlice::from_rows(std::slice::from_ref(&row));
        let lengths = sums_on(backend, line, None, Amount::Length, &grid).unwrap();
        let (mut t0, mut t1) = (0.0_f64, 1.0_f64);
        for k in 0..3 {
            let (a, d) = (row[1 + k], row[4 + k] - row[1 + k]);
            let ends = [
                (grid.limits()[2 * k] - a) / d,
                (grid.limits()[2 * k + 1] - a) / d,
            ];
            t0 = t0.max(ends[0].min(ends[1]));
            t1 = t1.min(ends[0].max(ends[1]));
        }
        let length = (0..3)
            .map(|k| (row[4 + k] - row[1 + k]).powi(2))
            .sum::<f64>()
            .sqrt();
        let expected = (t1 - t0).max(0.0) * length;
        assert_abs_diff_eq!(lengths.iter().sum::<f64>(), expected, epsilon = 1e-4 * cell);
    }
}

fn accumulation(backend: &Backend) {
    let rows = random_lines(2_500);
    let grid = grid();
    let mut counts = Counts::new(backend, grid.clone()).unwrap();
    let mut sums = Sums::new(backend, grid.clone(), Amount::Length, None).unwrap();
    assert!(counts.read().unwrap().iter().all(|&n| n == 0));
    for rows in rows.chunks(1_000) {
        counts.add(LineSlice::from_rows(rows)).unwrap();
        sums.add(LineSlice::from_rows(rows), None).unwrap();
    }
    let all = LineSlice::from_rows(&rows);
    assert_eq!(
        counts.read().unwrap(),
        on(&Backend::Cpu, all, &grid).unwrap()
    );
    let expected = sums_on(&Backend::Cpu, all, None, Amount::Length, &grid).unwrap();
    assert_eq!(sums.read().unwrap(), expected);
    assert_eq!(counts.grid(), sums.grid());
}

fn bad_input(backend: &Backend) {
    let parameter = |result: Result<Grid, KernelError>, name: &str| match result {
        Err(KernelError::Parameter { name: found, .. }) => assert_eq!(found, name),
        other => panic!("{other:?}"),
    };
    let whole = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
    parameter(Grid::voxels([0, 2, 2], whole), "shape");
    parameter(Grid::voxels([16_384, 2, 2], whole), "shape");
    parameter(Grid::voxels([2_000, 2_000, 2_000], whole), "shape");
    parameter(Grid::voxels([usize::MAX; 3], whole), "shape");
    parameter(
        Grid::voxels([2; 3], [0.0, 0.0, 0.0, 1.0, 0.0, 1.0]),
        "limits",
    );
    parameter(
        Grid::voxels([2; 3], [0.0, 1.0, 2.0, 1.0, 0.0, 1.0]),
        "limits",
    );
    parameter(
        Grid::voxels([2; 3], [0.0, f64::NAN, 0.0, 1.0, 0.0, 1.0]),
        "limits",
    );
    parameter(
        Grid::voxels([2; 3], [f64::MIN, f64::MAX, 0.0, 1.0, 0.0, 1.0]),
        "limits",
    );
    let grid = Grid::voxels([2; 3], whole).unwrap();
    let line = [0.0, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9];
    let mut bad = [line; 3];
    bad[2][5] = f64::NAN;
    let on_bad = on(backend, LineSlice::from_rows(&bad), &grid);
    assert_eq!(on_bad, Err(KernelError::NotFinite { line: 2 }));
    let flat = Segments::flat(&[0.0; 5], 5).unwrap();
    assert!(matches!(
        on(backend, flat, &grid),
        Err(KernelError::Parameter { .. })
    ));
    let lines = [line; 2];
    let lines = LineSlice::from_rows(&lines);
    let weighted = |weights: &[f64]| sums_on(backend, lines, Some(weights), Amount::Once, &grid);
    assert!(matches!(
        weighted(&[1.0, -1.0]),
        Err(KernelError::Weight { line: 1, .. })
    ));
    assert!(matches!(
        weighted(&[f64::NAN, 1.0]),
        Err(KernelError::Weight { line: 0, .. })
    ));
    assert!(matches!(
        weighted(&[1.0]),
        Err(KernelError::Parameter { .. })
    ));
    assert_eq!(weighted(&[0.0, 0.0]).unwrap(), [0.0; 8]);
    let sample = on_samples(backend, lines, &[0..1, 1..3], &[grid.clone(), grid.clone()]);
    assert!(matches!(
        sample,
        Err(KernelError::SampleOutOfBounds { sample: 1, .. })
    ));
    assert!(matches!(
        weighted(&[f64::INFINITY, 1.0]),
        Err(KernelError::Weight { line: 0, .. })
    ));
    let mut unannounced = Sums::new(backend, grid.clone(), Amount::Once, None).unwrap();
    assert!(matches!(
        unannounced.add(lines, Some(&[0.4, 0.4])),
        Err(KernelError::Parameter { .. })
    ));
    // Nothing, far away, or too far for f64 to say where: no cell, no panic.
    let far = [
        [0.0, 1e300, 1.0, 1.0, -1e300, 1e300, 1.0],
        [0.0, 5.0, 5.0, 5.0, 6.0, 6.0, 6.0],
    ];
    let tiny = Grid::voxels([2; 3], [0.0, 1e-140, 0.0, 1.0, 0.0, 1.0]).unwrap();
    assert_eq!(
        on(backend, LineSlice::from_rows(&far), &tiny).unwrap(),
        [0; 8]
    );
    assert_eq!(
        on(backend, LineSlice::from_rows(&[]), &grid).unwrap(),
        [0; 8]
    );
}
