//! Kernels on both backends: `cargo bench --bench kernels`. GPU timings include upload and read-back.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pept::detector::simulator::Simulator;
use pept::kernels::cutpoints::{Params, on_samples};
use pept::{Backend, Sampling};

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

criterion_group!(benches, cutpoints);
criterion_main!(benches);
