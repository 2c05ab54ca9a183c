//! Kernels on both backends: `cargo bench --bench kernels`. GPU timings include upload and read-back.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pept::detector::simulator::Simulator;
use pept::kernels::cutpoints::{Params, on_samples};
use pept::{Backend, Sampling, clustering};

fn cutpoints(criterion: &mut Criterion) {
    let lors = Simulator {
        duration: 200.0,
        ..Simulator::default()
    }
    .run()
    .expect("the default scene should be possible")
    .lors;
    let mut group = criterion.benchmark_group("cutpoints");
    let mut backends = vec![Backend::Cpu];
    backends.extend(Backend::gpu());
    for size in [200, 400, 1600] {
        let lors = lors
            .clone()
            .with_sampling(Sampling::count(size))
            .expect("the size should be legal");
        let pairs = lors.n_samples() * size * (size - 1) / 2;
        group.throughput(Throughput::Elements(pairs as u64));
        for backend in &backends {
            group.bench_function(BenchmarkId::new(backend.to_string(), size), |bencher| {
                bencher.iter(|| {
                    on_samples(
                        backend,
                        lors.line_slice(),
                        lors.sample_ranges(),
                        &Params::new(0.5),
                    )
                });
            });
        }
    }
}

fn hdbscan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hdbscan");
    for n in [78, 1600] {
        // A lattice that is denser in the middle.
        let points: Vec<[f64; 3]> = (0..n)
            .map(|n| {
                let u = [n % 13, n / 13 % 11, n % 17].map(|k| f64::from(k) / 8.0 - 0.9);
                u.map(|x| 100.0 * x * x * x)
            })
            .collect();
        group.bench_function(BenchmarkId::from_parameter(n), |bencher| {
            bencher.iter(|| clustering::hdbscan(&points, points.len() / 20 + 2));
        });
    }
}

criterion_group!(benches, cutpoints, hdbscan);
criterion_main!(benches);
