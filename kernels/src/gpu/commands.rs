use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::buffers::{Buffer, Use};
use super::{Gpu, Pipeline, to_u32};
use crate::error::{KernelError, Result};

/// A submission that takes longer has hung.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What one submission does: dispatches and copies to the host, in order.
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    gpu: &'a Gpu,
    label: &'static str,
    encoder: wgpu::CommandEncoder,
    readbacks: Vec<Buffer>,
}

impl Commands<'_> {
    /// Runs a pipeline on `(binding, buffer)`s; `n_workgroups` is at most [`Gpu::max_workgroups`].
    pub(crate) fn dispatch(
        &mut self,
        pipeline: Pipeline,
        buffers: &[(u32, &Buffer)],
        n_workgroups: usize,
    ) {
        let pipeline = self.gpu.pipeline(pipeline);
        let entries: Vec<_> = buffers
            .iter()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: buffer.binding(),
            })
            .collect();
        let group = self
            .gpu
            .device()
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(self.label),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
        let mut pass = self
            .encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(self.label),
                timestamp_writes: None,
            });
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(to_u32(n_workgroups), 1, 1);
    }

    /// Sets a buffer to zeros.
    pub(crate) fn clear(&mut self, buffer: &Buffer) {
        self.encoder
            .clear_buffer(buffer.wgpu(), 0, Some(buffer.bytes()));
    }

    /// Copies the first bytes of a buffer to the host: the next of the submission's [`Readback`]s.
    pub(crate) fn read(&mut self, buffer: &Buffer, bytes: u64) -> Result<()> {
        let readback = self.gpu.buffer(bytes, Use::Readback)?;
        self.encoder
            .copy_buffer_to_buffer(buffer.wgpu(), 0, readback.wgpu(), 0, Some(bytes));
        self.readbacks.push(readback);
        Ok(())
    }
}

/// What the host reads.
#[derive(Debug)]
pub(crate) struct Readback {
    view: Option<wgpu::BufferView>,
    buffer: Buffer,
}

impl Readback {
    pub(crate) fn words(&self) -> &[u32] {
        match &self.view {
            Some(view) => bytemuck::cast_slice(view),
            None => &[],
        }
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        self.view = None; // before the buffer may be unmapped
        self.buffer.wgpu().unmap();
    }
}

impl Gpu {
    /// Records commands, submits them and waits for what they read back. `units`: what the time budget counts.
    ///
    /// Errors of validation and memory are caught by scopes, a lost device by the map's result and the poison
    /// flag. A launch that failed silently reads back zeros: the caller checks a sentinel in the output.
    pub(crate) fn submit(
        &self,
        label: &'static str,
        units: u64,
        record: impl FnOnce(&mut Commands<'_>) -> Result<()>,
    ) -> Result<Vec<Readback>> {
        self.check_lost()?;
        let start = Instant::now();
        let device = self.device();
        let mut commands = Commands {
            gpu: self,
            label,
            encoder: device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) }),
            readbacks: Vec::new(),
        };
        let (submission, mut readbacks) = self.scoped(|| {
            record(&mut commands)?;
            let submission = self.queue().submit([commands.encoder.finish()]);
            Ok((submission, commands.readbacks))
        })?;
        let (sender, receiver) = mpsc::channel();
        for readback in &readbacks {
            let sender = sender.clone();
            readback
                .wgpu()
                .map_async(wgpu::MapMode::Read, ..readback.bytes(), move |result| {
                    let _ = sender.send(result); // nobody listens after an error
                });
        }
        let wait = self.wait(submission, &receiver, readbacks.len());
        if let Err(error) = wait {
            readbacks.iter_mut().for_each(Buffer::discard);
            return Err(error);
        }
        let views = readbacks.into_iter().map(|buffer| {
            let view = buffer.wgpu().get_mapped_range(..buffer.bytes());
            let view = view.map_err(|error| KernelError::DeviceLost {
                reason: error.to_string(),
            })?;
            Ok(Readback {
                view: Some(view),
                buffer,
            })
        });
        let views = views.collect();
        self.took(units, start.elapsed());
        views
    }

    /// Runs `work` within error scopes.
    pub(crate) fn scoped<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let device = self.device();
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let errors = (
            pollster::block_on(validation.pop()),
            pollster::block_on(memory.pop()),
        );
        match errors {
            (_, Some(_)) => Err(KernelError::OutOfMemory),
            (Some(error), None) => {
                self.check_lost()?;
                Err(KernelError::Gpu {
                    reason: error.to_string(),
                })
            }
            (None, None) => result,
        }
    }

    fn wait(
        &self,
        submission: wgpu::SubmissionIndex,
        mapped: &mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
        n_readbacks: usize,
    ) -> Result<()> {
        let polled = self.device().poll(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(TIMEOUT),
        });
        self.check_lost()?;
        match polled {
            Ok(_) => {}
            // Submitted without an error, but never taken: a lost device says nothing else.
            Err(error @ wgpu::PollError::WrongSubmissionIndex(..)) => {
                return Err(KernelError::DeviceLost {
                    reason: error.to_string(),
                });
            }
            Err(error) => {
                return Err(KernelError::Gpu {
                    reason: error.to_string(),
                });
            }
        }
        for _ in 0..n_readbacks {
            match mapped.recv_timeout(TIMEOUT) {
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
        }
        Ok(())
    }
}
