//! What may happen to a GPU: nothing of it changes a result, hangs or panics.

use std::thread;

use libtest_mimic::Trial;
use pept::Backend;
use pept::kernels::cutpoints::{self, Cutpoint};
use pept::kernels::voxels::{self, Amount, Counts, Grid};
use pept::kernels::{Gpu, KernelError, LineSlice, background, minpoints, wgpu};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::on_a_gpu;

pub(crate) fn trials() -> Vec<Trial> {
    let bodies: [(&str, fn()); 7] = [
        ("a_lost_device_is_an_error_or_the_cpu_goes_on", lost_device),
        ("small_limits_change_nothing", small_limits),
        ("a_memory_budget_is_kept_and_changes_nothing", memory_budget),
        ("buffers_are_used_again", buffers),
        ("threads_share_a_device", threads),
        (
            "a_host_program_reads_counts_from_its_own_device",
            host_program,
        ),
        ("kernels_run_in_the_background", in_the_background),
    ];
    bodies
        .into_iter()
        .map(|(name, body)| on_a_gpu(&format!("gpu::{name}"), body))
        .collect()
}

/// Lines through a box, many near its centre.
fn rows_of_lines(n: usize) -> Vec<[f64; 7]> {
    let mut rng = Pcg64::seed_from_u64(1);
    let mut row = |n: usize| {
        let target: [f64; 3] = std::array::from_fn(|_| 50.0 + 6.0 * (rng.random::<f64>() - 0.5));
        let direction: [f64; 3] = std::array::from_fn(|_| rng.random::<f64>() - 0.5);
        let [a, b, c]: [f64; 3] = std::array::from_fn(|k| target[k] - 90.0 * direction[k]);
        let [d, e, f]: [f64; 3] = std::array::from_fn(|k| target[k] + 90.0 * direction[k]);
        [n as f64, a, b, c, d, e, f]
    };
    (0..n).map(&mut row).collect()
}

fn grid() -> Grid {
    Grid::voxels([60, 40, 30], [0.0, 100.0, 0.0, 100.0, 0.0, 100.0]).unwrap()
}

/// What all kernels say.
#[derive(Debug, PartialEq)]
struct Results {
    cutpoints: Vec<Cutpoint>,
    minpoints: Vec<[f64; 4]>,
    counts: Vec<u32>,
    sums: Vec<f64>,
    samples: Vec<Vec<u32>>,
}

fn all_kernels(backend: &Backend, rows: &[[f64; 7]]) -> Result<Results, KernelError> {
    let lines = LineSlice::from_rows(rows);
    let few = LineSlice::from_rows(&rows[..80]);
    let samples = [0..100, 50..300, 300..300];
    Ok(Results {
        cutpoints: cutpoints::on(backend, lines, &cutpoints::Params::new(0.3))?,
        minpoints: minpoints::on(backend, few, &minpoints::Params::new(3, 0.3))?
            .points()
            .to_vec(),
        counts: voxels::on(backend, lines, &grid())?,
        sums: voxels::sums_on(backend, lines, None, Amount::Length, &grid())?,
        samples: voxels::on_samples(backend, lines, &samples, &[grid(), grid(), grid()])?,
    })
}

/// A device of a host program, with its own limits.
fn device(change: impl Fn(&mut wgpu::Limits)) -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let adapter = adapters.into_iter().next().unwrap();
    let mut limits = adapter.limits();
    change(&mut limits);
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: limits,
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor)).unwrap()
}

fn lost_device() {
    let rows = rows_of_lines(400);
    let gpu = Gpu::new().unwrap();
    let backend = Backend::Gpu(gpu.clone());
    let expected = all_kernels(&Backend::Cpu, &rows).unwrap();
    assert_eq!(all_kernels(&backend, &rows).unwrap(), expected);
    let mut counts = Counts::new(&backend, grid()).unwrap();
    gpu.device().destroy();
    let is_lost = |error: KernelError| matches!(error, KernelError::DeviceLost { .. });
    assert!(is_lost(all_kernels(&backend, &rows).unwrap_err()));
    assert!(is_lost(
        counts.add(LineSlice::from_rows(&rows)).unwrap_err()
    ));
    assert!(is_lost(counts.read().unwrap_err()));
    let fallback = Backend::Gpu(gpu.with_fallback());
    assert_eq!(all_kernels(&fallback, &rows).unwrap(), expected);
    // A host program's device has handlers of its own: the loss shows when results are read.
    let (device, queue) = device(|_| {});
    let gpu = Gpu::from_device(device, queue);
    gpu.device().destroy();
    assert!(all_kernels(&Backend::Gpu(gpu.clone()), &rows).is_err());
    let fallback = Backend::Gpu(gpu.with_fallback());
    assert_eq!(all_kernels(&fallback, &rows).unwrap(), expected);
}

/// Bindings of 64 KiB and 32 workgroups: grids in slabs, pairs in many dispatches.
fn small_limits() {
    let rows = rows_of_lines(1_500);
    let (device, queue) = device(|limits| {
        limits.max_storage_buffer_binding_size = 1 << 16;
        limits.max_compute_workgroups_per_dimension = 32;
    });
    let gpu = Gpu::from_device(device, queue);
    let backend = Backend::Gpu(gpu.clone());
    assert_eq!(
        all_kernels(&backend, &rows).unwrap(),
        all_kernels(&Backend::Cpu, &rows).unwrap()
    );
    assert!(gpu.dispatches() > 30);
    // More lines than a binding holds, and a sample of so many that no band of pairs fits.
    let many = rows_of_lines(3_000);
    let samples: Vec<_> = (0..30).map(|n| 100 * n..100 * n + 100).collect();
    let params = cutpoints::Params::new(0.05);
    let on = |backend: &Backend| {
        cutpoints::on_samples(backend, LineSlice::from_rows(&many), &samples, &params)
    };
    assert_eq!(on(&backend).unwrap(), on(&Backend::Cpu).unwrap());
    let whole = cutpoints::on(&backend, LineSlice::from_rows(&many), &params);
    assert!(
        matches!(whole, Err(KernelError::TooLarge { .. })),
        "{whole:?}"
    );
    let fallback = Backend::Gpu(gpu.with_fallback());
    let whole = cutpoints::on(&fallback, LineSlice::from_rows(&many), &params);
    assert_eq!(
        whole,
        cutpoints::on(&Backend::Cpu, LineSlice::from_rows(&many), &params)
    );
    // A plane of cells that no binding holds.
    let flat = Grid::voxels([2, 200, 200], [0.0, 100.0, 0.0, 100.0, 0.0, 100.0]).unwrap();
    let found = voxels::on(&backend, LineSlice::from_rows(&rows), &flat);
    assert!(
        matches!(found, Err(KernelError::TooLarge { .. })),
        "{found:?}"
    );
}

fn memory_budget() {
    let rows = rows_of_lines(1_500);
    let lines = LineSlice::from_rows(&rows);
    let params = cutpoints::Params::new(0.3);
    let gpu = Gpu::new().unwrap();
    let backend = Backend::Gpu(gpu.clone());
    gpu.set_memory_budget(1 << 18);
    let found = cutpoints::on(&backend, lines, &params).unwrap();
    assert_eq!(found, cutpoints::on(&Backend::Cpu, lines, &params).unwrap());
    assert!((1..=1 << 18).contains(&gpu.memory_in_use()));
    let n_dispatches = gpu.dispatches();
    assert!(n_dispatches > 4, "{n_dispatches}");
    let counts = voxels::on(&backend, lines, &grid());
    assert_eq!(counts, Err(KernelError::OutOfMemory));
    gpu.set_memory_budget(1_000);
    assert_eq!(
        cutpoints::on(&backend, lines, &params),
        Err(KernelError::OutOfMemory)
    );
    gpu.set_memory_budget(u64::MAX);
    assert_eq!(cutpoints::on(&backend, lines, &params).unwrap(), found);
    assert_eq!(
        all_kernels(&backend, &rows).unwrap(),
        all_kernels(&Backend::Cpu, &rows).unwrap()
    );
}

fn buffers() {
    let rows = rows_of_lines(500);
    let gpu = Gpu::new().unwrap();
    let backend = Backend::Gpu(gpu.clone());
    all_kernels(&backend, &rows).unwrap();
    let after_one = gpu.memory_in_use();
    for _ in 0..5 {
        all_kernels(&backend, &rows).unwrap();
    }
    assert_eq!(gpu.memory_in_use(), after_one);
    gpu.trim();
    assert_eq!(gpu.memory_in_use(), 0);
}

fn threads() {
    let rows = rows_of_lines(500);
    let backend = Backend::gpu().unwrap();
    let expected = all_kernels(&Backend::Cpu, &rows).unwrap();
    thread::scope(|scope| {
        let found: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| all_kernels(&backend, &rows).unwrap()))
            .collect();
        for found in found {
            assert_eq!(found.join().unwrap(), expected);
        }
    });
}

fn host_program() {
    let rows = rows_of_lines(300);
    let (device, queue) = device(|_| {});
    let backend = Backend::Gpu(Gpu::from_device(device.clone(), queue.clone()));
    let mut counts = Counts::new(&backend, grid()).unwrap();
    counts.add(LineSlice::from_rows(&rows)).unwrap();
    let buffers = counts.buffers();
    let (planes, buffer) = &buffers[0];
    assert_eq!((buffers.len(), planes.clone()), (1, 0..60));
    // The host goes on with the counts, here by copying them.
    let bytes = 4 * grid().n_cells() as u64;
    let copy = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, Some(bytes));
    queue.submit([encoder.finish()]);
    copy.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let view = copy.get_mapped_range(..).unwrap();
    let words = view
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    assert!(words.eq(counts.read().unwrap()));
}

fn in_the_background() {
    let rows = rows_of_lines(200);
    let expected = all_kernels(&Backend::Cpu, &rows);
    let backend = Backend::gpu().unwrap();
    let found = background(move || all_kernels(&backend, &rows));
    assert_eq!(pollster::block_on(found), expected);
    let panicking = background(|| -> () { panic!("on purpose") });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pollster::block_on(panicking);
    }));
    assert!(caught.is_err());
}
