//! How fast recordings are read, from memory: bytes per second. One thread: `RAYON_NUM_THREADS=1 cargo bench --bench readers`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pept::detector::{Scene, Simulator};
use pept::io::source::{Input, LineSource, Options, open_input};
use pept::io::{adac_forte, csv, parallel_screens};

fn readers(criterion: &mut Criterion) {
    let mut scene = Scene::example("circle").expect("the scene should be there");
    scene.duration = 5_000.0; // ms: 240,000 LoRs
    let lors = Simulator::new(scene)
        .and_then(|simulator| simulator.run())
        .expect("the scene should be possible")
        .lors;
    let folder = tempfile::tempdir().expect("a temporary folder should be possible");
    let path = |name: &str| folder.path().join(name);
    adac_forte::write(path("adac.da01"), 712, &lors).expect("the recording should be writable");
    parallel_screens::write(path("screens.txt"), "bench", 712.0, &lors)
        .expect("the recording should be writable");
    csv::write(path("lines.csv"), &lors).expect("the table should be writable");
    let mut group = criterion.benchmark_group("readers");
    for name in ["adac.da01", "screens.txt", "lines.csv"] {
        let bytes: Arc<[u8]> = std::fs::read(path(name))
            .expect("the file should be there")
            .into();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| -> pept::Result<usize> {
                let input = Input::from_bytes(name, Arc::clone(&bytes))?;
                let mut source = open_input(input, &Options::default())?;
                let mut rows = 0;
                while let Some(block) = source.next_block()? {
                    rows += black_box(block).n_rows();
                }
                Ok(rows)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, readers);
criterion_main!(benches);
