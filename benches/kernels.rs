//! Kernels on both backends: `cargo bench --bench kernels`. GPU timings include upload and read-back.

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use pept::detector::Scene;
use pept::kernels::{KernelError, cutpoints, minpoints, voxels};
use pept::{Backend, LineData, Sampling};

fn lors() -> LineData {
    let simulator = Scene {
        duration: 200.0,
        ..Scene::default()
    };
    simulator
        .run()
        .expect("the default scene should be possible")
        .lors
}

fn samples(lors: &LineData, size: usize) -> LineData {
    let lors = lors.clone().with_sampling(Sampling::count(size));
    lors.expect("the size should be legal")
}

/// Runs `work` on the CPU and on a GPU, if there is one.
fn on_every_backend<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    size: usize,
    work: impl Fn(&Backend) -> Result<T, KernelError>,
) {
    let mut backends = vec![Backend::Cpu];
    backends.extend(Backend::gpu());
    for backend in &backends {
        group.bench_function(BenchmarkId::new(backend.to_string(), size), |bencher| {
            bencher.iter(|| work(backend).expect("the kernel should work"));
        });
    }
}

fn all_cutpoints(criterion: &mut Criterion) {
    let lors = lors();
    let mut group = criterion.benchmark_group("cutpoints");
    for size in [200, 400, 1600] {
        let lors = samples(&lors, size);
        let pairs = lors.n_samples() * size * (size - 1) / 2;
        group.throughput(Throughput::Elements(pairs as u64));
        let params = cutpoints::Params::new(0.5);
        on_every_backend(&mut group, size, |backend| {
            cutpoints::on_samples(backend, lors.line_slice(), lors.sample_ranges(), &params)
        });
    }
}

fn all_minpoints(criterion: &mut Criterion) {
    let lors = lors();
    let mut group = criterion.benchmark_group("minpoints");
    for (size, num_lines) in [(200, 3), (400, 3), (200, 4)] {
        let lors = samples(&lors, size);
        let combinations = (0..num_lines).fold(1, |n, k| n * (size - k) / (k + 1));
        group.throughput(Throughput::Elements(
            (lors.n_samples() * combinations) as u64,
        ));
        let params = minpoints::Params::new(num_lines, 0.5);
        on_every_backend(&mut group, size * 10 + num_lines, |backend| {
            minpoints::on_samples(backend, lors.line_slice(), lors.sample_ranges(), &params)
        });
    }
}

fn all_voxels(criterion: &mut Criterion) {
    let lors = lors();
    let lines = lors.line_slice();
    let limits = lines.bounding_box();
    let mut group = criterion.benchmark_group("voxels");
    group.sample_size(10);
    group.throughput(Throughput::Elements(lors.n_rows() as u64));
    for size in [50, 100, 256] {
        let grid = voxels::Grid::voxels([size; 3], limits).expect("the grid should be legal");
        on_every_backend(&mut group, size, |backend| {
            voxels::on(backend, lines, &grid)
        });
    }
    let grid = voxels::Grid::pixels(
        [640, 480],
        [limits[0], limits[1], limits[2], limits[3]],
        voxels::Plane::Xy,
    )
    .expect("the grid should be legal");
    on_every_backend(&mut group, 640, |backend| voxels::on(backend, lines, &grid));
    drop(group);

    let mut group = criterion.benchmark_group("voxel lengths");
    group.sample_size(10);
    group.throughput(Throughput::Elements(lors.n_rows() as u64));
    let grid = voxels::Grid::voxels([100; 3], limits).expect("the grid should be legal");
    on_every_backend(&mut group, 100, |backend| {
        voxels::sums_on(backend, lines, None, voxels::Amount::Length, &grid)
    });
    drop(group);

    let mut group = criterion.benchmark_group("voxels of samples");
    let lors = samples(&lors, 400);
    let lors = lors
        .select(0..lors.n_samples().min(32))
        .expect("the samples should exist");
    group.throughput(Throughput::Elements(lors.n_samples() as u64));
    let grid = voxels::Grid::voxels([50; 3], limits).expect("the grid should be legal");
    let grids = vec![grid; lors.n_samples()];
    on_every_backend(&mut group, 50, |backend| {
        voxels::on_samples(backend, lors.line_slice(), lors.sample_ranges(), &grids)
    });
}

criterion_group!(benches, all_cutpoints, all_minpoints, all_voxels);
criterion_main!(benches);
