//! HDBSCAN* from 100 to 200,000 points, at a fixed `phi` and at 5 % of the points, for each kind of vector instructions:
//! `cargo bench --bench clustering`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pept::clustering::{Clusterer, Instructions};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

/// Like the cutpoints of a sample: two tracers in a wide background.
fn points(n: usize) -> Vec<[f64; 3]> {
    let mut rng = Pcg64::seed_from_u64(1);
    let mut point = |n: usize| {
        let (centre, spread) = [(200.0, 5.0), (370.0, 5.0), (300.0, 90.0)][n % 3];
        std::array::from_fn(|_| {
            let normal: f64 = StandardNormal.sample(&mut rng);
            centre + spread * normal
        })
    };
    (0..n).map(&mut point).collect()
}

fn hdbscan(criterion: &mut Criterion) {
    for (name, instructions) in Instructions::available() {
        let mut group = criterion.benchmark_group(format!("hdbscan/{name}"));
        group.sample_size(10);
        let mut clusterer = Clusterer::with_instructions(instructions);
        for n in [
            100, 300, 1_000, 1_600, 3_000, 10_000, 20_000, 50_000, 200_000,
        ] {
            let points = points(n);
            group.throughput(Throughput::Elements(n as u64));
            let mut sizes = vec![("5 percent", (n / 20).max(2))];
            sizes.extend((n >= 300).then_some(("phi 75", 75)));
            // 5 % of the largest sets is no size that tracking uses.
            for (what, phi) in sizes.into_iter().filter(|&(_, phi)| phi <= 2_500) {
                group.bench_function(BenchmarkId::new(what, n), |bencher| {
                    bencher.iter(|| clusterer.labels(&points, phi).len());
                });
            }
        }
    }
}

criterion_group!(benches, hdbscan);
criterion_main!(benches);
