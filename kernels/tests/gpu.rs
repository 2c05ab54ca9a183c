//! Both backends say the same where it is hard for a GPU: pieces, slabs, limits, large samples.
//!
//! Without an adapter each test says so and passes; with `PEPT_REQUIRE_GPU=1` it fails.

#![cfg(feature = "gpu")]
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test fails by a panic, says what it could not do, and compares bits"
)]

use std::ops::{ControlFlow, Range};

use pept_kernels::cutpoints::{self, Cutpoint};
use pept_kernels::minpoints::{self, Minpoints};
use pept_kernels::voxels::{self, Counts, Grid, Prepared, encode};
use pept_kernels::{Backend, Gpu, KernelError, LineSlice, wgpu};

/// Numbers in 0..1, the same on every machine.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        // Knuth's linear congruential generator; the high bits are good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Lines of a camera 700 mm wide; every other one passes near one of two tracers, the rest anywhere.
fn lines(n: usize, spread: f64) -> Vec<[f64; 7]> {
    let mut random = Uniform(7);
    let mut line = |n: usize| {
        let size = if n.is_multiple_of(2) { spread } else { 300.0 };
        let target: [f64; 3] = std::array::from_fn(|k| {
            [250.0, 260.0, 350.0][k] + 40.0 * (n / 2 % 2) as f64 + size * (random.next() - 0.5)
        });
        let (u, v) = (random.next() - 0.5, random.next() - 0.5);
        let at = |z: f64| {
            [
                target[0] + u * (z - target[2]),
                target[1] + v * (z - target[2]),
            ]
        };
        let ([x1, y1], [x2, y2]) = (at(0.0), at(700.0));
        [n as f64, x1, y1, 0.0, x2, y2, 700.0]
    };
    (0..n).map(&mut line).collect()
}

/// A device of a host program, with its own limits and features; `None` where there is none.
fn device(
    features: wgpu::Features,
    change: impl Fn(&mut wgpu::Limits),
) -> Option<(wgpu::Device, wgpu::Queue)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let Some(adapter) = adapters.into_iter().next() else {
        let required = std::env::var_os("PEPT_REQUIRE_GPU").is_some_and(|v| v == "1");
        assert!(
            !required,
            "PEPT_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("not tested: no GPU adapter");
        return None;
    };
    if !adapter.features().contains(features) {
        eprintln!("not tested: {} lacks {features:?}", adapter.get_info().name);
        return None;
    }
    let mut limits = adapter.limits();
    change(&mut limits);
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        required_limits: limits,
        ..Default::default()
    };
    Some(pollster::block_on(adapter.request_device(&descriptor)).unwrap())
}

fn gpu(change: impl Fn(&mut wgpu::Limits)) -> Option<Gpu> {
    let (device, queue) = device(wgpu::Features::empty(), change)?;
    Some(Gpu::from_device(device, queue))
}

/// Overlapping samples, one on its own, and some with nothing to find.
const SAMPLES: [Range<usize>; 6] = [0..150, 50..200, 100..250, 250..250, 300..302, 320..397];

fn params(num_lines: usize) -> minpoints::Params {
    minpoints::Params::new(num_lines, 0.5)
}

fn minpoints(backend: &Backend, rows: &[[f64; 7]], num_lines: usize) -> Vec<Minpoints> {
    let lines = LineSlice::from_rows(rows);
    minpoints::on_samples(backend, lines, &SAMPLES, &params(num_lines)).unwrap()
}

#[test]
fn minpoints_of_3_and_4_lines_are_those_of_the_cpu() {
    let Some(gpu) = gpu(|_| {}) else { return };
    let backend = Backend::Gpu(gpu.clone());
    let rows = lines(400, 2.0);
    for num_lines in 2..=5 {
        let before = gpu.dispatches();
        let found = minpoints(&backend, &rows, num_lines);
        assert!(gpu.dispatches() > before);
        assert_eq!(found, minpoints(&Backend::Cpu, &rows, num_lines));
        let n: usize = found.iter().map(Minpoints::len).sum();
        assert!(n > 100, "{n} of {num_lines} lines");
    }
    // Coordinates that f32 says nothing about.
    let huge: Vec<[f64; 7]> = lines(40, 1.0)
        .into_iter()
        .map(|row| row.map(|x| 1e160 * x))
        .collect();
    let lines = LineSlice::from_rows(&huge);
    let everything = minpoints::Params::new(3, 1e160);
    let on = |backend: &Backend| minpoints::on(backend, lines, &everything).unwrap();
    assert_eq!(on(&backend), on(&Backend::Cpu));
}

#[test]
fn a_line_too_long_for_f64_has_the_same_minpoints_on_each_backend() {
    let Some(gpu) = gpu(|_| {}) else { return };
    let rows = [
        [0.0, 100.0, 0.0, 0.0, 1e200, 0.0, 0.0], // the square of its length overflows
        [1.0, 0.0, -5.0, 0.0, 200.0, 5.0, 0.0],
        [2.0, 0.0, 5.0, 0.0, 200.0, -5.0, 0.0],
    ];
    let lines = LineSlice::from_rows(&rows);
    let params = minpoints::Params::new(3, 1e-3);
    let params = params.cutoffs([-200.0, 200.0, -200.0, 200.0, -200.0, 200.0]);
    let found = minpoints::on(&Backend::Cpu, lines, &params).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        minpoints::on(&Backend::Gpu(gpu), lines, &params).unwrap(),
        found
    );
}

#[test]
fn small_limits_and_little_memory_change_no_minpoint() {
    let rows = lines(400, 2.0);
    for (binding, workgroups, memory, num_lines) in [
        (1 << 14, 16, u64::MAX, 3),
        (1 << 15, 65_535, 1 << 18, 4),
        (1 << 27, 65_535, 1 << 17, 3),
        // Not all rows that the first 64 lines need: the processor makes the combinations.
        (5_120, 32, u64::MAX, 3),
    ] {
        let Some(gpu) = gpu(|limits| {
            limits.max_storage_buffer_binding_size = binding;
            limits.max_compute_workgroups_per_dimension = workgroups;
        }) else {
            return;
        };
        gpu.set_memory_budget(memory);
        let backend = Backend::Gpu(gpu);
        assert_eq!(
            minpoints(&backend, &rows, num_lines),
            minpoints(&Backend::Cpu, &rows, num_lines),
            "binding of {binding} bytes, {memory} in all"
        );
    }
}

#[test]
fn pieces_of_minpoints_are_the_whole_in_order() {
    let rows = lines(250, 2.0);
    let slice = LineSlice::from_rows(&rows);
    let mut backends = vec![Backend::Cpu];
    backends
        .extend(gpu(|limits| limits.max_storage_buffer_binding_size = 1 << 14).map(Backend::Gpu));
    for backend in backends {
        for num_lines in 2..=3 {
            let whole = minpoints::on(&Backend::Cpu, slice, &params(num_lines)).unwrap();
            let (mut n, mut n_pieces) = (0, 0);
            minpoints::in_pieces(&backend, slice, &params(num_lines), |piece| {
                for k in 0..piece.len() {
                    assert_eq!(piece.points()[k], whole.points()[n]);
                    assert_eq!(piece.lines(k), whole.lines(n));
                    n += 1;
                }
                n_pieces += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(n, whole.len());
            assert!(n_pieces > 1);
            let mut n_pieces = 0;
            let breaks = |_: &Minpoints| {
                n_pieces += 1;
                ControlFlow::Break(())
            };
            minpoints::in_pieces(&backend, slice, &params(num_lines), breaks).unwrap();
            assert_eq!(n_pieces, 1);
        }
    }
}

#[test]
fn lines_through_one_point_come_in_small_pieces_from_the_beginning() {
    // 1.3e9 combinations: they could neither be held nor waited for.
    let rows: Vec<[f64; 7]> = (0..2_000)
        .map(|n| {
            let n = f64::from(n);
            let (angle, z) = (2.399_963 * n, 200.0 * (0.754_877 * n).fract() - 100.0);
            let (x, y) = (100.0 * angle.cos(), 100.0 * angle.sin());
            [n, -x, -y, -z, x, y, z]
        })
        .collect();
    let slice = LineSlice::from_rows(&rows);
    let params = minpoints::Params::new(3, 1e-3);
    let mut backends = vec![Backend::Cpu];
    backends.extend(gpu(|_| {}).map(Backend::Gpu));
    for backend in backends {
        let mut expected = (1..2_000).flat_map(|j| (j + 1..2_000).map(move |k| [0, j, k]));
        let (mut n, mut n_pieces) = (0, 0);
        minpoints::in_pieces(&backend, slice, &params, |piece| {
            assert!(piece.len() <= 4_096, "{} points", piece.len());
            n_pieces += 1;
            for k in 0..piece.len() {
                assert_eq!(
                    Some(piece.lines(k)),
                    expected.next().as_ref().map(|l| &l[..])
                );
            }
            n += piece.len();
            if n < 30_000 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .unwrap();
        assert!(n < 30_000 + 4_096 && n_pieces >= 8, "{n} in {n_pieces}");
    }
}

#[test]
fn minpoints_go_on_where_a_device_was_lost() {
    let Some(gpu) = gpu(|limits| limits.max_storage_buffer_binding_size = 1 << 14) else {
        return;
    };
    let rows = lines(400, 2.0);
    let slice = LineSlice::from_rows(&rows);
    let whole = minpoints::on(&Backend::Cpu, slice, &params(3)).unwrap();
    let device = gpu.device().clone();
    let backend = Backend::Gpu(gpu.with_fallback());
    let (mut found, mut n_pieces) = (Vec::new(), 0);
    minpoints::in_pieces(&backend, slice, &params(3), |piece| {
        n_pieces += 1;
        if n_pieces == 3 {
            device.destroy();
        }
        found.extend((0..piece.len()).map(|k| (piece.points()[k], piece.lines(k).to_vec())));
        ControlFlow::Continue(())
    })
    .unwrap();
    let expected = (0..whole.len()).map(|k| (whole.points()[k], whole.lines(k).to_vec()));
    assert!(found.into_iter().eq(expected));
}

#[test]
fn cutpoints_go_on_where_a_device_was_lost() {
    let Some(gpu) = gpu(|limits| limits.max_storage_buffer_binding_size = 1 << 16) else {
        return;
    };
    let rows = lines(2_000, 20.0);
    let slice = LineSlice::from_rows(&rows);
    let params = cutpoints::Params::new(0.5);
    let whole = cutpoints::on(&Backend::Cpu, slice, &params).unwrap();
    let backend = Backend::Gpu(gpu.clone().with_fallback());
    let (mut found, mut n_pieces) = (Vec::new(), 0);
    cutpoints::in_pieces(&backend, slice, &params, |piece| {
        n_pieces += 1;
        if n_pieces == 3 {
            gpu.device().destroy();
        }
        found.extend_from_slice(piece);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(n_pieces > 10);
    assert_eq!(found, whole);
    let lost = cutpoints::on(&Backend::Gpu(gpu), slice, &params).unwrap_err();
    assert!(matches!(lost, KernelError::DeviceLost { .. }), "{lost:?}");
}

#[test]
fn a_host_program_whose_device_is_lost_hears_it_from_each_kernel() {
    let rows = lines(200, 20.0);
    let slice = LineSlice::from_rows(&rows);
    let grid = Grid::voxels([10; 3], BOX).unwrap();
    type Call = fn(&Backend, LineSlice<'_>, &Grid) -> Option<KernelError>;
    let calls: [Call; 5] = [
        |backend, lines, _| {
            let params = cutpoints::Params::new(0.5);
            cutpoints::on(backend, lines, &params).err()
        },
        |backend, lines, _| minpoints::on(backend, lines, &params(3)).err(),
        |backend, lines, grid| voxels::on(backend, lines, grid).err(),
        |backend, _, grid| Counts::new(backend, grid.clone()).err(),
        |backend, lines, grid| {
            let Backend::Gpu(gpu) = backend else {
                return None;
            };
            let prepared = Prepared::new(lines, grid, 0..10).unwrap();
            let bytes = [prepared.contents().len() as u64, prepared.counts_bytes()];
            let usage = wgpu::BufferUsages::STORAGE;
            let buffers = bytes.map(|bytes| host_buffer(gpu.device(), bytes, usage));
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            encode(gpu, &mut encoder, &prepared, &buffers[0], &buffers[1]).err()
        },
    ];
    for call in calls {
        // A device each: a handle that knows would not ask again.
        for used_before in [false, true] {
            let Some(gpu) = gpu(|_| {}) else { return };
            let backend = Backend::Gpu(gpu.clone());
            if used_before {
                assert_eq!(call(&backend, slice, &grid), None);
            }
            gpu.device().destroy();
            for _ in 0..2 {
                let error = call(&backend, slice, &grid);
                assert!(
                    matches!(error, Some(KernelError::DeviceLost { .. })),
                    "{error:?}"
                );
            }
        }
    }
}

#[test]
fn a_host_program_whose_device_is_lost_hears_it_from_what_it_recorded() {
    use wgpu::BufferUsages as U;
    let rows = lines(200, 20.0);
    let slice = LineSlice::from_rows(&rows);
    let grid = Grid::voxels([10; 3], BOX).unwrap();
    let prepared = Prepared::new(slice, &grid, 0..10).unwrap();
    for waits in [true, false] {
        let Some((device, queue)) = device(wgpu::Features::empty(), |_| {}) else {
            return;
        };
        let gpu = Gpu::from_device(device.clone(), queue.clone());
        let segments = host_buffer(&device, prepared.contents().len() as u64, U::STORAGE);
        let counts = host_buffer(&device, prepared.counts_bytes(), U::STORAGE);
        let mut encoder = device.create_command_encoder(&Default::default());
        let recorded = encode(&gpu, &mut encoder, &prepared, &segments, &counts).unwrap();
        device.destroy();
        queue.submit([encoder.finish()]);
        let error = if waits {
            recorded.wait().unwrap_err()
        } else {
            let done = recorded.done();
            let _ = device.poll(wgpu::PollType::Poll);
            pollster::block_on(done).unwrap_err()
        };
        assert!(matches!(error, KernelError::DeviceLost { .. }), "{error:?}");
        let mut encoder = device.create_command_encoder(&Default::default());
        let error = encode(&gpu, &mut encoder, &prepared, &segments, &counts).unwrap_err();
        assert!(matches!(error, KernelError::DeviceLost { .. }), "{error:?}");
    }
}

const BOX: [f64; 6] = [0.0, 500.0, 0.0, 500.0, 0.0, 700.0];
/// What WebGPU promises for a storage binding.
const SMALL_BINDING: u64 = 128 << 20;

/// A large grid in slabs of 128 MiB holds what the CPU counts.
fn large_grid(shape: [usize; 3], n_lines: usize) {
    let Some(gpu) = gpu(|limits| limits.max_storage_buffer_binding_size = SMALL_BINDING) else {
        return;
    };
    let grid = Grid::voxels(shape, BOX).unwrap();
    let rows = lines(n_lines, 5.0);
    let slice = LineSlice::from_rows(&rows);
    let mut counts = Counts::new(&Backend::Gpu(gpu), grid.clone()).unwrap();
    counts.add(slice).unwrap();
    assert!(counts.buffers().len() > 1);
    let found = counts.read().unwrap();
    drop(counts);
    let expected = voxels::on(&Backend::Cpu, slice, &grid).unwrap();
    assert!(found == expected, "the grids differ");
    assert!(found.iter().map(|&n| u64::from(n)).sum::<u64>() > 300 * n_lines as u64);
}

#[test]
fn a_grid_of_512_cubed_fits_bindings_of_128_mib() {
    large_grid([512; 3], 300);
}

#[test]
#[ignore = "needs 7 GiB of memory"]
fn a_grid_of_1024_1024_512_fits_bindings_of_128_mib() {
    large_grid([1_024, 1_024, 512], 300);
}

/// The definition of a cutpoint, written anew: whether two lines are one, and where.
fn cutpoint(a: &[f64; 7], b: &[f64; 7], max_distance: f64) -> Option<[f64; 4]> {
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let (p, q) = ([a[1], a[2], a[3]], [b[1], b[2], b[3]]);
    let u = [a[4] - a[1], a[5] - a[2], a[6] - a[3]];
    let r = [b[4] - b[1], b[5] - b[2], b[6] - b[3]];
    let w = [q[0] - p[0], q[1] - p[1], q[2] - p[2]];
    let (uu, ur, rr, uw, rw) = (dot(u, u), dot(u, r), dot(r, r), dot(u, w), dot(r, w));
    let determinant = ur * ur - uu * rr;
    if determinant == 0.0 {
        return None;
    }
    let s = (ur * rw - rr * uw) / determinant;
    let t = (uu * rw - ur * uw) / determinant;
    let on_a = [p[0] + s * u[0], p[1] + s * u[1], p[2] + s * u[2]];
    let on_b = [q[0] + t * r[0], q[1] + t * r[1], q[2] + t * r[2]];
    let gap = [on_a[0] - on_b[0], on_a[1] - on_b[1], on_a[2] - on_b[2]];
    let m = [0, 1, 2].map(|k| 0.5 * (on_a[k] + on_b[k]));
    let inside = (0..3).all(|k| BOX[2 * k] < m[k] && m[k] < BOX[2 * k + 1]);
    (inside && dot(gap, gap) < max_distance * max_distance).then_some([
        0.5 * (a[0] + b[0]),
        m[0],
        m[1],
        m[2],
    ])
}

/// A number that any change of points or of their order changes.
fn mixed(hash: u64, point: [f64; 4], i: u32, j: u32) -> u64 {
    let words = [u64::from(i) << 32 | u64::from(j)].into_iter();
    let words = words.chain(point.map(f64::to_bits));
    words.fold(hash, |hash, word| {
        (hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    })
}

/// Number and hash of the cutpoints of one large sample, handed over in pieces.
fn in_pieces(backend: &Backend, rows: &[[f64; 7]], max_distance: f64) -> (usize, u64) {
    let params = cutpoints::Params::new(max_distance).cutoffs(BOX);
    let (mut n, mut hash, mut largest) = (0, 0, 0);
    cutpoints::in_pieces(backend, LineSlice::from_rows(rows), &params, |piece| {
        n += piece.len();
        largest = largest.max(piece.len());
        hash = piece
            .iter()
            .fold(hash, |hash, &Cutpoint { t, x, y, z, i, j }| {
                mixed(hash, [t, x, y, z], i, j)
            });
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(4 * largest < n, "a piece of {largest} of {n} points");
    (n, hash)
}

#[test]
fn a_sample_of_20_000_lines_comes_in_pieces() {
    let rows = lines(20_000, 40.0);
    let mut expected = (0, 0);
    for (i, a) in (0..).zip(&rows) {
        for (j, b) in (i + 1..).zip(&rows[i as usize + 1..]) {
            if let Some(point) = cutpoint(a, b, 0.02) {
                expected = (expected.0 + 1, mixed(expected.1, point, i, j));
            }
        }
    }
    assert!(expected.0 > 10_000, "{expected:?}");
    assert_eq!(in_pieces(&Backend::Cpu, &rows, 0.02), expected);
    if let Some(gpu) = gpu(|limits| limits.max_storage_buffer_binding_size = 8 << 20) {
        assert_eq!(in_pieces(&Backend::Gpu(gpu), &rows, 0.02), expected);
    }
}

#[test]
#[ignore = "minutes on a software adapter: 2e10 pairs"]
fn a_sample_of_200_000_lines_comes_in_pieces() {
    let rows = lines(200_000, 40.0);
    let expected = in_pieces(&Backend::Cpu, &rows, 0.002);
    assert!(expected.0 > 100_000, "{expected:?}");
    if let Some(gpu) = gpu(|_| {}) {
        assert_eq!(in_pieces(&Backend::Gpu(gpu), &rows, 0.002), expected);
    }
}

/// Counts, and cutpoints.
type Results = (Vec<u32>, Vec<Cutpoint>);

/// What is found on a device with a pipeline cache, and what the cache then holds.
#[expect(
    unsafe_code,
    reason = "a pipeline cache is the host program's to vouch for"
)]
fn with_cache(data: Option<&[u8]>, rows: &[[f64; 7]]) -> Option<(Results, Option<Vec<u8>>)> {
    let (device, queue) = device(wgpu::Features::PIPELINE_CACHE, |_| {})?;
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: None,
        data,
        fallback: true,
    };
    // SAFETY: `data` is what `get_data` gave in this process.
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    let gpu = Gpu::from_device_with_cache(device, queue, cache.clone());
    let backend = Backend::Gpu(gpu);
    let slice = LineSlice::from_rows(rows);
    let grid = Grid::voxels([20; 3], BOX).unwrap();
    let counts = voxels::on(&backend, slice, &grid).unwrap();
    let points = cutpoints::on(&backend, slice, &cutpoints::Params::new(0.3)).unwrap();
    Some(((counts, points), cache.get_data()))
}

#[test]
fn a_pipeline_cache_is_filled_and_taken() {
    let rows = lines(300, 5.0);
    let Some(((counts, points), data)) = with_cache(None, &rows) else {
        return;
    };
    assert!(counts.iter().any(|&n| n > 0) && !points.is_empty());
    let data = data.expect("the cache should have data");
    assert!(!data.is_empty());
    let (again, _) = with_cache(Some(&data), &rows).unwrap();
    assert_eq!(again, (counts, points));
}

/// Buffers of a host program.
fn host_buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage,
        mapped_at_creation: false,
    })
}

#[test]
fn a_host_program_records_counting_among_its_own_commands() {
    use wgpu::BufferUsages as U;
    let Some((device, queue)) = device(wgpu::Features::empty(), |_| {}) else {
        return;
    };
    let gpu = Gpu::from_device(device.clone(), queue.clone());
    let rows = lines(500, 30.0);
    let slice = LineSlice::from_rows(&rows);
    let grid = Grid::voxels([30, 20, 25], BOX).unwrap();
    let expected = voxels::on(&Backend::Cpu, slice, &grid).unwrap();
    let mut found = Vec::new();
    // The whole, and slabs as for a grid that no binding holds.
    for cuts in [vec![0, 30], vec![0, 7, 8, 30]] {
        found.clear();
        for cut in cuts.windows(2) {
            let prepared = Prepared::new(slice, &grid, cut[0]..cut[1]).unwrap();
            let bytes = prepared.contents().len() as u64;
            let segments = host_buffer(&device, bytes, U::STORAGE | U::COPY_DST);
            queue.write_buffer(&segments, 0, prepared.contents());
            let counts = host_buffer(&device, prepared.counts_bytes(), U::STORAGE | U::COPY_SRC);
            let own = host_buffer(&device, prepared.counts_bytes(), U::MAP_READ | U::COPY_DST);
            let mut encoder = device.create_command_encoder(&Default::default());
            // Twice: counts are added to.
            let first = encode(&gpu, &mut encoder, &prepared, &segments, &counts).unwrap();
            let second = encode(&gpu, &mut encoder, &prepared, &segments, &counts).unwrap();
            encoder.copy_buffer_to_buffer(&counts, 0, &own, 0, None);
            assert_eq!(gpu.dispatches(), 0);
            queue.submit([encoder.finish()]);
            first.wait().unwrap();
            own.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
            let done = second.done();
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            pollster::block_on(done).unwrap();
            let view = own.get_mapped_range(..).unwrap();
            let words = view.chunks_exact(4);
            found.extend(words.map(|word| u32::from_le_bytes(word.try_into().unwrap())));
        }
        assert!(found.iter().zip(&expected).all(|(&n, &one)| n == 2 * one));
        assert_eq!(found.len(), expected.len());
    }
}

#[test]
fn what_cannot_be_recorded_is_an_error() {
    use wgpu::BufferUsages as U;
    let Some((device, queue)) = device(wgpu::Features::empty(), |_| {}) else {
        return;
    };
    let gpu = Gpu::from_device(device.clone(), queue);
    let rows = lines(50, 30.0);
    let slice = LineSlice::from_rows(&rows);
    let grid = Grid::voxels([30, 20, 25], BOX).unwrap();
    let parameter = |error: KernelError, expected: &str| match error {
        KernelError::Parameter { name, .. } => assert_eq!(name, expected),
        error => panic!("{error:?}"),
    };
    for planes in [0..31, 5..5] {
        parameter(Prepared::new(slice, &grid, planes).unwrap_err(), "planes");
    }
    let prepared = Prepared::new(slice, &grid, 0..30).unwrap();
    let (bytes, counts_bytes) = (prepared.contents().len() as u64, prepared.counts_bytes());
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut refused = |prepared: &Prepared, segments: (u64, U), counts: (u64, U)| {
        let segments = host_buffer(&device, segments.0, segments.1);
        let counts = host_buffer(&device, counts.0, counts.1);
        encode(&gpu, &mut encoder, prepared, &segments, &counts).unwrap_err()
    };
    let (good_segments, good_counts) = ((bytes, U::STORAGE), (counts_bytes, U::STORAGE));
    let short = refused(&prepared, (bytes - 4, U::STORAGE), good_counts);
    parameter(short, "segments");
    let useless = refused(&prepared, good_segments, (counts_bytes, U::COPY_DST));
    parameter(useless, "counts");
    let nothing = Prepared::new(LineSlice::from_rows(&[]), &grid, 0..30).unwrap();
    parameter(refused(&nothing, good_segments, good_counts), "prepared");
    // Never submitted.
    let segments = host_buffer(&device, bytes, U::STORAGE);
    let counts = host_buffer(&device, counts_bytes, U::STORAGE);
    let mut encoder = device.create_command_encoder(&Default::default());
    let recorded = encode(&gpu, &mut encoder, &prepared, &segments, &counts).unwrap();
    drop(encoder);
    assert!(matches!(recorded.wait(), Err(KernelError::Gpu { .. })));
}

#[test]
fn a_device_with_too_few_storage_buffers_is_an_error_that_says_so() {
    let few = |limits: &mut wgpu::Limits| limits.max_storage_buffers_per_shader_stage = 4;
    let Some(gpu) = gpu(few) else { return };
    let rows = lines(100, 2.0);
    let slice = LineSlice::from_rows(&rows);
    let grid = Grid::voxels([10; 3], BOX).unwrap();
    let sums =
        |backend: &Backend| voxels::sums_on(backend, slice, None, voxels::Amount::Length, &grid);
    let fast = cutpoints::Params::new(0.5).precision(cutpoints::Precision::Fast);
    let backend = Backend::Gpu(gpu.clone());
    for error in [
        minpoints::on(&backend, slice, &params(3)).unwrap_err(),
        cutpoints::on(&backend, slice, &fast).unwrap_err(),
        sums(&backend).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                KernelError::DeviceLimit {
                    needed: 5..,
                    available: 4,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("max_storage_buffers_per_shader_stage = 4")
        );
    }
    // What needs no more runs, and the CPU may do the rest.
    let exact = cutpoints::Params::new(0.5);
    assert_eq!(
        cutpoints::on(&backend, slice, &exact).unwrap(),
        cutpoints::on(&Backend::Cpu, slice, &exact).unwrap()
    );
    assert_eq!(
        voxels::on(&backend, slice, &grid).unwrap(),
        voxels::on(&Backend::Cpu, slice, &grid).unwrap()
    );
    let fallback = Backend::Gpu(gpu.with_fallback());
    assert_eq!(sums(&fallback).unwrap(), sums(&Backend::Cpu).unwrap());
    assert_eq!(
        minpoints::on(&fallback, slice, &params(3)).unwrap(),
        minpoints::on(&Backend::Cpu, slice, &params(3)).unwrap()
    );
}

#[test]
fn without_memory_by_budget_each_kernel_says_so_or_the_cpu_goes_on() {
    let Some(gpu) = gpu(|_| {}) else { return };
    gpu.set_memory_budget(1_000);
    let rows = lines(100, 2.0);
    let slice = LineSlice::from_rows(&rows);
    let grid = Grid::voxels([10; 3], BOX).unwrap();
    let backend = Backend::Gpu(gpu.clone());
    let memory = KernelError::OutOfMemory;
    let counts = voxels::on(&backend, slice, &grid);
    assert_eq!(counts.unwrap_err(), memory);
    let found = minpoints::on(&backend, slice, &params(3));
    assert_eq!(found.unwrap_err(), memory);
    let fallback = Backend::Gpu(gpu.with_fallback());
    let found = minpoints::on(&fallback, slice, &params(3)).unwrap();
    assert_eq!(
        found,
        minpoints::on(&Backend::Cpu, slice, &params(3)).unwrap()
    );
}

/// The device's own word: in a process whose address space ends soon.
#[test]
fn without_memory_by_the_device_it_is_an_error() {
    const CHILD: &str = "PEPT_TEST_WITHOUT_MEMORY";
    if std::env::var_os(CHILD).is_none() {
        if gpu(|_| {}).is_none() {
            return;
        }
        let name = "without_memory_by_the_device_it_is_an_error";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        text.lines()
            .filter(|line| line.starts_with("not tested"))
            .for_each(|line| eprintln!("{line}"));
        assert!(output.status.success(), "{}\n{text}", output.status);
        return;
    }
    let Some(gpu) = gpu(|_| {}) else { return };
    let backend = Backend::Gpu(gpu);
    let rows = lines(100, 2.0);
    let slice = LineSlice::from_rows(&rows);
    let small = Grid::voxels([20; 3], BOX).unwrap();
    let expected = voxels::on(&backend, slice, &small).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = kib.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let limited = kib.is_some_and(|kib| {
        let limit = format!("--as={}", (kib << 10) + (600 << 20));
        let pid = std::process::id().to_string();
        let status = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &limit])
            .status();
        status.is_ok_and(|status| status.success())
    });
    if !limited {
        eprintln!("not tested: no prlimit to end the address space");
        return;
    }
    // 512 MiB each.
    let large = Grid::voxels([512; 3], BOX).unwrap();
    let mut held = Vec::new();
    let error = (0..8).find_map(|_| match Counts::new(&backend, large.clone()) {
        Ok(counts) => {
            held.push(counts);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(error, Some(KernelError::OutOfMemory));
    drop(held);
    // Nor has the processor 4 GiB.
    let huge = Grid::voxels([1_024; 3], BOX).unwrap();
    let memory = KernelError::HostOutOfMemory { bytes: 4 << 30 };
    let error = Counts::new(&Backend::Cpu, huge.clone()).err();
    assert_eq!(error, Some(memory.clone()));
    assert_eq!(voxels::on(&Backend::Cpu, slice, &huge), Err(memory));
    assert_eq!(voxels::on(&backend, slice, &small).unwrap(), expected);
}
