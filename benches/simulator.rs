//! How fast recordings are simulated, without writing them: LoRs per second of one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pept::detector::{Scene, Simulator};

fn simulator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator");
    for name in ["static", "circle", "velocity-ring-x", "walk", "many"] {
        let mut scene = Scene::example(name).expect("the scene should be there");
        scene.duration = 200.0; // ms
        let simulator = Simulator::new(scene).expect("the scene should be possible");
        let all = || -> usize {
            let blocks = (0..simulator.n_blocks()).map(|n| black_box(simulator.block(n)));
            blocks.map(|block| block.rows.len()).sum()
        };
        group.throughput(Throughput::Elements(all() as u64));
        group.bench_function(name, |bencher| bencher.iter(all));
    }
    group.finish();
}

criterion_group!(benches, simulator);
criterion_main!(benches);
