use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Gpu, to_u32};
use crate::error::{KernelError, Result};

/// A submission that takes longer has hung.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One dispatch of a kernel: buffers in the order of its bindings, the last one is read back.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) label: &'static str,
    /// Built inside the error scopes, if it is the first use.
    pub(crate) pipeline: fn(&Gpu) -> &wgpu::ComputePipeline,
    pub(crate) uniform: &'a [u8],
    pub(crate) inputs: &'a [&'a [u8]],
    /// 32-bit words of output.
    pub(crate) n_words: usize,
    pub(crate) n_workgroups: usize,
    /// What the time budget counts.
    pub(crate) units: u64,
}

/// The output of a [`Work`], mapped.
#[derive(Debug)]
pub(crate) struct Readback {
    view: wgpu::BufferView,
}

impl Readback {
    pub(crate) fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.view)
    }
}

impl Work<'_> {
    /// Uploads, runs and reads back.
    ///
    /// Errors of validation and memory are caught by scopes, a lost device by the map's result and the poison
    /// flag. A launch that failed silently reads back zeros: the caller checks a sentinel in the output.
    pub(crate) fn run(&self, gpu: &Gpu) -> Result<Readback> {
        gpu.check_lost()?;
        let start = Instant::now();
        let device = gpu.device();
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let (staging, submission) = self.submit(gpu);
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = sender.send(result); // nobody listens after an error
        });
        let errors = (
            pollster::block_on(validation.pop()),
            pollster::block_on(memory.pop()),
        );
        match errors {
            (_, Some(_)) => return Err(KernelError::OutOfMemory),
            (Some(error), None) => {
                gpu.check_lost()?;
                return Err(KernelError::Gpu {
                    reason: error.to_string(),
                });
            }
            (None, None) => {}
        }
        let wait = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(TIMEOUT),
        };
        let polled = device.poll(wait);
        gpu.check_lost()?;
        polled.map_err(|error| KernelError::Gpu {
            reason: error.to_string(),
        })?;
        match receiver.recv_timeout(TIMEOUT) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(KernelError::DeviceLost {
                    reason: error.to_string(),
                });
            }
            Err(_) => {
                return Err(KernelError::Gpu {
                    reason: "no answer from the device".into(),
                });
            }
        }
        let view = staging
            .get_mapped_range(..)
            .map_err(|error| KernelError::DeviceLost {
                reason: error.to_string(),
            })?;
        gpu.took(self.units, start.elapsed());
        Ok(Readback { view })
    }

    fn submit(&self, gpu: &Gpu) -> (wgpu::Buffer, wgpu::SubmissionIndex) {
        let device = gpu.device();
        let pipeline = (self.pipeline)(gpu);
        let buffer = |size: usize, usage| {
            let size = size as u64;
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(self.label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let upload = |bytes: &[u8], usage| {
            let buffer = buffer(bytes.len(), usage | wgpu::BufferUsages::COPY_DST);
            gpu.queue().write_buffer(&buffer, 0, bytes);
            buffer
        };
        let output_bytes = 4 * self.n_words;
        let output = buffer(
            output_bytes,
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        );
        let staging = buffer(
            output_bytes,
            wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        );

        let mut buffers = vec![upload(self.uniform, wgpu::BufferUsages::UNIFORM)];
        buffers.extend(
            self.inputs
                .iter()
                .map(|bytes| upload(bytes, wgpu::BufferUsages::STORAGE)),
        );
        buffers.push(output.clone());
        let entries: Vec<_> = (0..)
            .zip(&buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(self.label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some(self.label),
        });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(self.label),
                timestamp_writes: None,
            });
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(to_u32(self.n_workgroups), 1, 1);
        }
        encoder.copy_buffer_to_buffer(&output, 0, &staging, 0, Some(output_bytes as u64));
        let submission = gpu.queue().submit([encoder.finish()]);
        (staging, submission)
    }
}
