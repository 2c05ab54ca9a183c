use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use fearless_simd::{Level, Simd, dispatch, f64x4, prelude::*};

use super::dense::Dense;
use super::learn::fit_density;
use super::lors::length;
use super::mixture::path_of;
use super::near::Sums;
use super::simd::{LARGEST_EXPONENT, exp_minus};
use super::simulated::{self, Tracer as Simulated};
use super::{LANES, Lors, Mixture, Model, Widths};
use crate::data::LineData;
use crate::linear_algebra::{dot, norm};

fn model(order: usize, widths: [f64; 2], narrow_share: f64, lean: f64) -> Model {
    let widths = Widths::given(Some(widths), narrow_share, lean);
    Model::new(order, widths, 25.0, 10.0)
}

const MODEL: fn(usize, f64) -> Model = |order, lean| model(order, [2.2, 6.5], 0.55, lean);

/// With lines that lean in some direction, each by as much as another.
fn leaning(mut lors: Lors) -> Lors {
    for n in 0..lors.len() {
        let (_, [_, y, z]) = lors.line(n);
        let size = 0.2 + 0.8 * (n % 7) as f64 / 6.0;
        for (k, lean) in [0.0, -z, y].into_iter().enumerate() {
            lors.packs[n / LANES].lean[k][n % LANES] = size * lean / y.hypot(z);
        }
    }
    lors
}

/// What this processor has.
fn levels() -> Vec<Level> {
    let level = Level::new();
    #[cfg(target_arch = "x86_64")]
    let levels = [
        level.as_avx512().map(Level::Avx512),
        level.as_avx2().map(Level::Avx2),
        level.as_sse4_2().map(Level::Sse4_2),
        level.as_sse2().map(Level::Sse2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let levels = [Some(level)];
    levels.into_iter().flatten().collect()
}

#[test]
fn exponentials_are_within_their_bounds_and_the_same_bits_everywhere() {
    fn all(level: Level, y: f64) -> [f64; LANES] {
        #[inline(always)]
        fn four<S: Simd>(simd: S, y: f64) -> [f64; LANES] {
            exp_minus(simd, f64x4::splat(simd, y)).into()
        }
        dispatch!(level, simd => four(simd, y))
    }
    for n in 0..50_000 {
        let y = f64::from(n) * 1e-3;
        let [x, ..] = all(Level::new(), y);
        let exact = (-y.min(LARGEST_EXPONENT)).exp();
        let bound = if y <= 10.0 { 1e-12 } else { 1e-8 };
        assert!((x / exact - 1.0).abs() < bound, "{y}: {x} {exact}");
        for level in levels() {
            assert_eq!(all(level, y).map(f64::to_bits), [x.to_bits(); LANES]);
        }
    }
    for y in [f64::INFINITY, 1e300] {
        assert!((all(Level::new(), y)[0] / 8e-20 - 1.0).abs() < 0.1);
    }
}

#[test]
fn factors_solve_what_they_came_from() {
    let mut rng = Pcg64::seed_from_u64(1);
    for size in [1, 3, 6, 9, 20] {
        let root: Vec<f64> = (0..size * size)
            .map(|_| rng.random::<f64>() - 0.5)
            .collect();
        let mut matrix = Dense::zeros(size);
        for row in 0..size {
            for column in 0..size {
                let product: f64 = (0..size)
                    .map(|k| root[row * size + k] * root[column * size + k])
                    .sum();
                matrix.row(row, column)[0] = product + f64::from(u8::from(row == column));
            }
        }
        let original = matrix.values.clone();
        assert!(matrix.factorize());
        let inverse = matrix.inverse_of_factor();
        for row in 0..size {
            for column in 0..size {
                let product: f64 = (0..size)
                    .map(|k| original[row * size + k] * inverse.get(k, column))
                    .sum();
                assert!((product - f64::from(u8::from(row == column))).abs() < 1e-6);
            }
        }
    }
}

/// A mixture of two tracers near each other, not at its maximum.
fn two(lors: &Lors, order: usize, lean: f64) -> Mixture<'_> {
    let mut mixture = Mixture::new(lors, MODEL(order, lean));
    mixture.add(0, [[300.0, 301.0, 352.0], [1.0, -2.0, 0.5], [0.0; 3]]);
    mixture.add(1, [[309.0, 303.0, 356.0], [-1.0, 1.0, 1.5], [0.0; 3]]);
    mixture.expect();
    mixture
}

/// The log likelihood with other values of the unknowns, path and count of one tracer after those of the other.
fn log_likelihood_at(mixture: &Mixture<'_>, x: &[f64]) -> f64 {
    let mut other = mixture.clone();
    let n_path = 3 * (mixture.order + 1);
    for (tracer, x) in other.tracers.iter_mut().zip(x.chunks(n_path + 1)) {
        tracer.path = path_of(&x[..n_path]);
        tracer.count = x[n_path];
    }
    other.is_current = false;
    other.expect();
    other.log_likelihood()
}

#[test]
fn the_information_is_the_second_derivative_of_the_log_likelihood() {
    let tracers = [[301.0, 300.0, 350.0], [308.0, 304.0, 358.0]];
    let tracers = tracers.map(|x| Simulated::at_rest(x, 0.4));
    let lors = leaning(Lors::new(&simulated::lines(2, &tracers, 300, 8.0)));
    for (order, lean) in [(0, 0.0), (1, 0.0), (2, 0.0), (1, 3.0)] {
        let mixture = two(&lors, order, lean);
        let n_path = 3 * (order + 1);
        let sums: Vec<Sums> = mixture
            .tracers
            .iter()
            .map(|tracer| mixture.sums(tracer, true))
            .collect();
        let information = mixture.information(&[0, 1], &sums);
        let mut x = Vec::new();
        let mut gradient = Vec::new();
        for (tracer, sums) in mixture.tracers.iter().zip(&sums) {
            x.extend_from_slice(&tracer.path.as_flattened()[..n_path]);
            x.push(tracer.count);
            gradient.extend_from_slice(&sums.vector.as_flattened()[..n_path]);
            gradient.push(sums.share - 1.0);
        }
        let at = |changes: &[(usize, f64)]| {
            let mut x = x.clone();
            for &(n, change) in changes {
                x[n] += change;
            }
            log_likelihood_at(&mixture, &x)
        };
        let step = |n: usize| {
            if n % (n_path + 1) == n_path {
                0.1
            } else {
                2e-3
            }
        };
        for (n, gradient) in gradient.into_iter().enumerate() {
            let h = step(n);
            let slope = (at(&[(n, h)]) - at(&[(n, -h)])) / (2.0 * h);
            assert!(
                (slope - gradient).abs() < 1e-3 * (1.0 + slope.abs()),
                "{n}: {slope} {gradient}"
            );
            for m in 0..=n {
                let k = step(m);
                let corners =
                    at(&[(n, h), (m, k)]) - at(&[(n, h), (m, -k)]) - at(&[(n, -h), (m, k)])
                        + at(&[(n, -h), (m, -k)]);
                let curvature = -corners / (4.0 * h * k);
                let entry = information.get(n, m);
                assert!(
                    (curvature - entry).abs() < 2e-3 * (1.0 + curvature.abs()),
                    "{n} {m}: {curvature} {entry}"
                );
            }
        }
        // One tracer alone: the sums are all of it.
        let alone = mixture.information(&[0], &sums);
        for n in 0..n_path {
            for m in 0..=n {
                assert_eq!(alone.get(n, m), information.get(n, m));
            }
        }
    }
}

#[test]
fn no_step_lowers_the_likelihood_and_the_end_is_a_maximum() {
    for seed in 0..20 {
        let x = [300.0, 300.0, 350.0];
        let lines = simulated::lines(seed, &[Simulated::at_rest(x, 0.5)], 200, 8.0);
        let lors = leaning(Lors::new(&lines));
        let mut mixture = Mixture::new(&lors, MODEL(1, [0.0, 2.0][seed as usize % 2]));
        mixture.add(0, [[306.0, 297.0, 360.0], [0.0; 3], [0.0; 3]]);
        mixture.background_is_fixed = true;
        let mut before = f64::NEG_INFINITY;
        for _ in 0..30 {
            mixture.converge(1);
            let after = mixture.log_likelihood();
            assert!(after > before - 1e-6, "{before} {after}");
            before = after;
        }
        let sums = mixture.sums(&mixture.tracers[0], true);
        assert!((sums.share - 1.0).abs() < 1e-6);
        assert!(length(&sums.vector) < 1e-6, "{:?}", sums.vector);
    }
}

#[test]
fn all_vector_instructions_give_the_same_bits() {
    let tracers = [[301.0, 300.0, 350.0], [308.0, 304.0, 358.0]];
    let tracers = tracers.map(|x| Simulated::at_rest(x, 0.4));
    let mut lors = leaning(Lors::new(&simulated::lines(3, &tracers, 301, 8.0)));
    let mut all = Vec::new();
    for level in levels() {
        lors.level = level;
        let mut mixture = two(&lors, 2, 1.0);
        mixture.settle();
        let rows = mixture
            .estimates()
            .0
            .into_iter()
            .flat_map(|(_, estimate)| estimate.row(&mixture.model));
        let mut bits: Vec<u64> = rows.map(f64::to_bits).collect();
        let weights = vec![[1.0; LANES]; lors.packs.len()];
        bits.push(
            lors.crossing(&weights, [300.0, 301.0, 352.0], 20.0, 1)
                .to_bits(),
        );
        assert_eq!(bits.len(), 2 * 17 + 1);
        all.push(bits);
    }
    assert!(all.iter().all(|bits| *bits == all[0]));
}

#[test]
fn widths_are_fitted() {
    let x = [300.0, 300.0, 350.0];
    let lors = Lors::new(&simulated::lines(
        4,
        &[Simulated::at_rest(x, 0.7)],
        20_000,
        100.0,
    ));
    let mut mixture = Mixture::new(&lors, model(0, [1.0, 9.0], 0.3, 0.0).fit_widths(true));
    mixture.add(0, [[303.0, 302.0, 345.0], [0.0; 3], [0.0; 3]]);
    mixture.settle();
    // Other starts end there too.
    let mut other = Mixture::new(&lors, model(0, [3.0, 5.0], 0.8, 0.0).fit_widths(true));
    other.add(0, [[303.0, 302.0, 345.0], [0.0; 3], [0.0; 3]]);
    other.widen(mixture.reach); // the same lines
    other.settle();
    let widths = mixture.density.rates.map(|rate| 1.0 / rate.sqrt());
    assert!(
        (1.8..2.6).contains(&widths[0]) && (5.0..8.0).contains(&widths[1]),
        "{widths:?}"
    );
    assert!(
        mixture.density.change(&other.density) < 0.05,
        "{:?} {:?}",
        mixture.density,
        other.density
    );
}

#[test]
fn how_lines_lean_is_learned_and_makes_no_second_tracer() {
    let mut rng = Pcg64::seed_from_u64(5);
    let mut normal = || StandardNormal.sample(&mut rng);
    let x = [10.0, -20.0, 30.0];
    let rows = (0..8_000).map(|n| {
        let u: [f64; 3] = std::array::from_fn(|_| normal());
        let ends = [-1.0, 1.0].map(|side| [0, 1, 2].map(|k| x[k] + side * 400.0 * u[k] / norm(u)));
        let [[ax, ay, az], [bx, by, bz]] = ends;
        [f64::from(n), ax, ay, az, bx, by, bz]
    });
    let rows: Vec<[f64; 7]> = rows.collect();
    let mut lors = leaning(Lors::new(&LineData::new(Array2::from(rows)).unwrap()));
    let (widths, lean) = ([1.2, 4.0], 8.0);
    for n in 0..lors.len() {
        let (pack, lane) = (&mut lors.packs[n / LANES], n % LANES);
        let (u, a) = (pack.u.map(|u| u[lane]), pack.lean.map(|lean| lean[lane]));
        let width = widths[usize::from(n % 10 >= 7)];
        let across = width * (1.0 + lean * dot(a, a)).sqrt() / norm(a) * normal();
        let along = width / norm(a) * normal();
        let other = [
            u[1] * a[2] - u[2] * a[1],
            u[2] * a[0] - u[0] * a[2],
            u[0] * a[1] - u[1] * a[0],
        ];
        for k in 0..3 {
            pack.p[k][lane] += across * a[k] + along * other[k];
        }
    }
    let mut mixture = Mixture::new(&lors, model(0, [2.0, 6.0], 0.5, 1.0));
    mixture.add(0, [x, [0.0; 3], [0.0; 3]]);
    mixture.widen(60.0);
    let start = mixture.density;
    let mut samples = [mixture];
    let found = fit_density(&mut samples, start).unwrap().widths();
    assert!((found.lean / lean - 1.0).abs() < 0.1, "{found:?}");
    for (found, width) in found.widths.into_iter().zip(widths) {
        assert!((found / width - 1.0).abs() < 0.05, "{found} {width}");
    }
    assert!((found.narrow_share - 0.7).abs() < 0.03, "{found:?}");
    let [mixture] = &mut samples;
    mixture.settle();
    assert!(!mixture.split_one(&mut Vec::new()));
}
