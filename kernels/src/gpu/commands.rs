use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::buffers::{Buffer, Use};
use super::{Gpu, Pipeline, Work, to_u32};
use crate::error::{KernelError, Result};

/// A submission that takes longer has hung.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What one submission does: dispatches and copies to the host, in order.
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    gpu: &'a Gpu,
    work: Work,
    encoder: wgpu::CommandEncoder,
    readbacks: Vec<Buffer>,
}

impl Commands<'_> {
    /// Runs a pipeline on `(binding, buffer)`s; `n_workgroups` is at most [`Gpu::max_workgroups`].
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] for more storage buffers than the device can bind.
    pub(crate) fn dispatch(
        &mut self,
        pipeline: Pipeline,
        buffers: &[(u32, &Buffer)],
        n_workgroups: usize,
    ) -> Result<()> {
        let storage = buffers.iter().filter(|(_, buffer)| buffer.is_storage());
        self.gpu.check_storage_buffers(storage.count())?;
        let pipeline = &self.gpu.pipeline(pipeline);
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
                label: Some(self.work.label()),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
        let mut pass = self
            .encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(self.work.label()),
                timestamp_writes: None,
            });
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(to_u32(n_workgroups), 1, 1);
        Ok(())
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
        // A device that was destroyed meanwhile has no such buffer, which is no reason to call the host's error handler.
        let device = self.buffer.device();
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        self.buffer.wgpu().unmap();
        if pollster::block_on(validation.pop()).is_some() {
            self.buffer.discard();
        }
    }
}

impl Gpu {
    /// Records commands, submits them and waits for what they read back. `units`: what the time budget of this work counts.
    ///
    /// Errors of validation and memory are caught by scopes, a lost device by the map's result and the poison
    /// flag. A launch that failed silently reads back zeros: the caller checks a sentinel in the output.
    pub(crate) fn submit(
        &self,
        work: Work,
        units: u64,
        record: impl FnOnce(&mut Commands<'_>) -> Result<()>,
    ) -> Result<Vec<Readback>> {
        self.check_lost()?;
        let (sender, mapped) = mpsc::channel();
        let (start, submission, mut readbacks) = self.scoped(|| {
            let label = Some(work.label());
            let descriptor = wgpu::CommandEncoderDescriptor { label };
            let mut commands = Commands {
                gpu: self,
                work,
                encoder: self.device().create_command_encoder(&descriptor),
                readbacks: Vec::new(),
            };
            record(&mut commands)?;
            let start = Instant::now();
            let submission = self.queue().submit([commands.encoder.finish()]);
            for readback in &commands.readbacks {
                let sender = sender.clone();
                let buffer = readback.wgpu();
                buffer.map_async(wgpu::MapMode::Read, ..readback.bytes(), move |result| {
                    let _ = sender.send(result); // nobody listens after an error
                });
            }
            Ok((start, submission, commands.readbacks))
        })?;
        if let Err(error) = self.wait(Some(submission), &mapped, readbacks.len()) {
            readbacks.iter_mut().for_each(Buffer::discard);
            return Err(error);
        }
        self.took(work, units, start);
        let views = readbacks.into_iter().map(|mut buffer| {
            match buffer.wgpu().get_mapped_range(..buffer.bytes()) {
                Ok(view) => Ok(Readback {
                    view: Some(view),
                    buffer,
                }),
                Err(error) => {
                    buffer.discard();
                    Err(self.is_lost(error))
                }
            }
        });
        views.collect()
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
        let error = match errors {
            (None, None) => return result,
            (_, Some(_)) => KernelError::OutOfMemory,
            (Some(error), None) => KernelError::Gpu {
                reason: error.to_string(),
            },
        };
        // What was made meanwhile may be invalid, or be mapped yet: nobody shall get it again.
        self.pool().forget();
        drop(result);
        self.pipelines().clear();
        let _ = self.device().poll(wgpu::PollType::Poll); // the lost callback speaks in here
        self.check_lost()?;
        self.probe()?;
        Err(error)
    }

    /// An error if the device makes no buffers: that is all that a lost one says where the handlers are the host's.
    pub(crate) fn probe(&self) -> Result<()> {
        let device = self.device();
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("pept.probe"),
            size: 4,
            usage: wgpu::BufferUsages::MAP_WRITE,
            mapped_at_creation: true,
        });
        let mapped = buffer.get_mapped_range_mut(..).map(drop);
        match (pollster::block_on(memory.pop()), mapped) {
            (None, Err(error)) => Err(self.is_lost(error)),
            _ => Ok(()),
        }
    }

    /// Waits for a submission, or all so far, and for so many answers.
    pub(crate) fn wait(
        &self,
        submission: Option<wgpu::SubmissionIndex>,
        mapped: &mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
        n_readbacks: usize,
    ) -> Result<()> {
        let polled = self.device().poll(wgpu::PollType::Wait {
            submission_index: submission,
            timeout: Some(TIMEOUT),
        });
        self.check_lost()?;
        match polled {
            Ok(_) => {}
            // Submitted without an error, but never taken: a lost device says nothing else.
            Err(error @ wgpu::PollError::WrongSubmissionIndex(..)) => {
                return Err(self.is_lost(error));
            }
            Err(error) => {
                // Whoever comes next need not wait as long.
                self.set_lost(format!(
                    "no answer within {} s ({error})",
                    TIMEOUT.as_secs()
                ));
                self.check_lost()?;
            }
        }
        // Another thread that polls may have taken an answer and be about to give it.
        for _ in 0..n_readbacks {
            match mapped.recv_timeout(TIMEOUT) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Err(self.is_lost(error));
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
