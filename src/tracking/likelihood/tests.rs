use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use fearless_simd::{Level, Simd, dispatch, f64x4, prelude::*};

use super::dense::Dense;
use super::lors::length;
use super::mixture::path_of;
use super::near::Sums;
use super::simd::{LARGEST_EXPONENT, exp_minus};
use super::simulated::{self, Tracer as Simulated};
use super::{LANES, Lors, Mixture, Model, Widths};

fn model(order: usize, widths: [f64; 2], narrow_share: f64) -> Model {
    Model::new(
        order,
        Widths::given(Some(widths), narrow_share, 0.0),
        25.0,
        10.0,
    )
}

const MODEL: fn(usize) -> Model = |order| model(order, [2.2, 6.5], 0.55);

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
fn two(lors: &Lors, order: usize) -> Mixture<'_> {
    let mut mixture = Mixture::new(lors, MODEL(order));
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
    let lors = Lors::new(&simulated::lines(2, &tracers, 300, 8.0));
    for order in 0..=2 {
        let mixture = two(&lors, order);
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
        let lors = Lors::new(&simulated::lines(
            seed,
            &[Simulated::at_rest(x, 0.5)],
            200,
            8.0,
        ));
        let mut mixture = Mixture::new(&lors, MODEL(1));
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
    let mut lors = Lors::new(&simulated::lines(3, &tracers, 301, 8.0));
    let mut all = Vec::new();
    for level in levels() {
        lors.level = level;
        let mut mixture = two(&lors, 2);
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
    let mut mixture = Mixture::new(&lors, model(0, [1.0, 9.0], 0.3).fit_widths(true));
    mixture.add(0, [[303.0, 302.0, 345.0], [0.0; 3], [0.0; 3]]);
    mixture.settle();
    // Other starts end there too.
    let mut other = Mixture::new(&lors, model(0, [3.0, 5.0], 0.8).fit_widths(true));
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
