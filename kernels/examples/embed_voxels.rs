//! Voxels on a host program's own wgpu device: counts stay there, and a shader of the host goes on with them.
//!
//! `cargo run --release -p pept-kernels --example embed_voxels`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::error::Error;

use pept_kernels::voxels::{Counts, Grid};
use pept_kernels::{Backend, Gpu, LineSlice, wgpu};

/// The host's own shader: the largest count of each plane x = const.
const BRIGHTEST: &str = "
    @group(0) @binding(0) var<storage, read> counts: array<u32>;
    @group(0) @binding(1) var<storage, read_write> brightest: array<u32>;

    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
        let n_planes = arrayLength(&brightest);
        if thread.x >= n_planes { return; }
        let n = 40u * 40u;
        var largest = 0u;
        for (var k = 0u; k < n; k++) {
            largest = max(largest, counts[thread.x * n + k]);
        }
        brightest[thread.x] = largest;
    }";

fn main() -> Result<(), Box<dyn Error>> {
    // The host has a device already.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options = wgpu::RequestAdapterOptions::default();
    let adapter = match pollster::block_on(instance.request_adapter(&options)) {
        Ok(adapter) => adapter,
        Err(error) => {
            println!("no GPU here: {error}");
            return Ok(());
        }
    };
    let (device, queue) =
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;

    // Lines through (30, 50, 50), counted on it in two calls.
    let backend = Backend::Gpu(Gpu::from_device(device.clone(), queue.clone()));
    let grid = Grid::voxels([40; 3], [0.0, 100.0, 0.0, 100.0, 0.0, 100.0])?;
    let mut counts = Counts::new(&backend, grid)?;
    let line = |n: u32| {
        let (sin, cos) = (0.618 * f64::from(n)).sin_cos();
        let [u, v, w] = [70.0 * cos, 70.0 * sin, f64::from(n % 60) - 30.0];
        [
            0.0,
            30.0 - u,
            50.0 - v,
            50.0 - w,
            30.0 + u,
            50.0 + v,
            50.0 + w,
        ]
    };
    for block in [0..500, 500..1_000] {
        let lors: Vec<[f64; 7]> = block.map(line).collect();
        counts.add(LineSlice::from_rows(&lors))?;
    }

    // The host's pass reads the counts where they are. (A grid larger than a binding would lie in several buffers.)
    let buffers = counts.buffers();
    let (planes, voxels) = &buffers[0];
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * planes.len() as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let brightest = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let readback = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(BRIGHTEST.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry {
                binding: 0,
                resource: voxels.as_entire_binding(),
            },
            wgpu::BindGroupEntry {
                binding: 1,
                resource: brightest.as_entire_binding(),
            },
        ],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&brightest, 0, &readback, 0, None);
    queue.submit([encoder.finish()]);
    readback.map_async(wgpu::MapMode::Read, .., |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let view = readback.get_mapped_range(..)?;
    let words = view
        .chunks_exact(4)
        .map(|word| word.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)));
    let (plane, count) = (0..)
        .zip(words)
        .max_by_key(|&(_, count)| count)
        .unwrap_or_default();
    println!(
        "{}: most lines, {count}, meet in plane {plane} (x from {} mm)",
        adapter.get_info().name,
        2.5 * f64::from(plane)
    );
    Ok(())
}
