use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};

use rayon::prelude::*;

use super::gpu::{Size, WORKGROUP_SIZE};
use super::grid::Grid;
use super::segments::Segments;
use super::tracks;
use super::walk::{Track, Walk};
use crate::error::{KernelError, Result};
use crate::gpu::{DONE, Gpu, Pipeline, to_u32};

/// Segments as integers, clipped to planes of a grid: what a host program uploads for [`encode`].
#[derive(Debug)]
pub struct Prepared {
    grid: Grid,
    planes: Range<u32>,
    walks: Vec<Walk>,
}

impl Prepared {
    /// For the planes `planes` along the grid's first axis: `0..grid.shape()[0]`, or those that a binding of the device can hold.
    ///
    /// # Errors
    /// As [`on`](super::on); [`KernelError::Parameter`] for planes that the grid has not.
    pub fn new<'a>(
        segments: impl Into<Segments<'a>>,
        grid: &Grid,
        planes: Range<usize>,
    ) -> Result<Self> {
        let segments = segments.into();
        segments.check(grid, 0)?;
        if planes.is_empty() || planes.end > grid.shape()[0] {
            return Err(KernelError::Parameter {
                name: "planes",
                value: format!("{planes:?}"),
                needed: "some of the grid's planes along its first axis",
            });
        }
        let planes = to_u32(planes.start)..to_u32(planes.end);
        let tracks = tracks(grid, &segments, None);
        let walk = |track: &Track| {
            let (low, high) = track.planes();
            let meets = low < planes.end && high >= planes.start;
            meets.then(|| track.walk(grid, &planes))
        };
        Ok(Self {
            grid: grid.clone(),
            walks: tracks.par_iter().filter_map(walk).collect(),
            planes,
        })
    }

    /// Segments that meet the planes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.walks.len()
    }

    /// Whether there are none; then there is nothing to record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    /// The contents of the buffer of segments.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        bytemuck::cast_slice(&self.walks)
    }

    /// Bytes of the buffer of counts: a u32 for each cell of the planes, the last axis running fastest.
    #[must_use]
    pub fn counts_bytes(&self) -> u64 {
        let n_planes = u64::from(self.planes.end - self.planes.start);
        4 * n_planes * self.grid.plane_cells() as u64
    }
}

/// Records the counting of segments into a host program's encoder, and submits nothing: the host does, with whatever else it has.
///
/// `segments` begins with the contents of `prepared`, `counts` with as many counts as
/// [`counts_bytes`](Prepared::counts_bytes) says, to which is added; both have the usage `STORAGE`. How long the submission takes is the
/// host's to decide.
///
/// # Errors
/// [`KernelError::Parameter`] for no segments, and for buffers that are too short or lack the usage; [`KernelError::TooLarge`] for more than
/// a binding or a dispatch can have; what else the device may report. Nothing is recorded then.
pub fn encode(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    prepared: &Prepared,
    segments: &wgpu::Buffer,
    counts: &wgpu::Buffer,
) -> Result<Recorded> {
    gpu.check_lost()?;
    let n_walks = prepared.len();
    if n_walks == 0 {
        return Err(KernelError::Parameter {
            name: "prepared",
            value: "no segments".into(),
            needed: "segments that meet the planes; otherwise there is nothing to record",
        });
    }
    let walks_bytes = prepared.contents().len() as u64;
    let counts_bytes = prepared.counts_bytes();
    let n_groups = n_walks.div_ceil(WORKGROUP_SIZE as usize);
    for (what, needed, available) in [
        ("bytes of segments", walks_bytes, gpu.max_binding()),
        ("bytes of counts", counts_bytes, gpu.max_binding()),
        (
            "workgroups for the segments",
            n_groups as u64,
            gpu.max_workgroups() as u64,
        ),
    ] {
        if needed > available {
            return Err(KernelError::TooLarge {
                what,
                needed,
                available,
            });
        }
    }
    gpu.check_storage_buffers(3)?; // segments, counts, flags
    check_buffer("segments", segments, walks_bytes)?;
    check_buffer("counts", counts, counts_bytes)?;
    let done_bytes = 4 * n_groups as u64;
    let (pipeline, group, done, readback) = gpu.scoped(|| {
        let device = gpu.device();
        let buffer = |size, usage, mapped_at_creation| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("pept.voxels"),
                size,
                usage,
                mapped_at_creation,
            })
        };
        use wgpu::BufferUsages as U;
        // Mapped: writing through the queue would wait for a submission.
        let size = buffer(size_of::<Size>() as u64, U::UNIFORM, true);
        match size.get_mapped_range_mut(..) {
            Ok(mut view) => view.copy_from_slice(bytemuck::bytes_of(&Size::new(n_walks))),
            Err(error) => {
                gpu.probe()?;
                return Err(KernelError::Gpu {
                    reason: error.to_string(),
                });
            }
        }
        size.unmap();
        let done = buffer(done_bytes, U::STORAGE | U::COPY_SRC, false); // zeros
        let readback = buffer(done_bytes, U::MAP_READ | U::COPY_DST, false);
        let pipeline = gpu.pipeline(Pipeline::VoxelCounts);
        let part = |binding, buffer, bytes| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: 0,
                size: wgpu::BufferSize::new(bytes),
            }),
        };
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("pept.voxels"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                part(0, &size, size_of::<Size>() as u64),
                part(1, segments, walks_bytes),
                part(2, counts, counts_bytes),
                part(3, &done, done_bytes),
            ],
        });
        Ok((pipeline, group, done, readback))
    })?;
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("pept.voxels"),
            timestamp_writes: None,
        });
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(to_u32(n_groups), 1, 1);
    }
    encoder.copy_buffer_to_buffer(&done, 0, &readback, 0, Some(done_bytes));
    Ok(Recorded {
        gpu: gpu.clone(),
        readback,
    })
}

fn check_buffer(name: &'static str, buffer: &wgpu::Buffer, bytes: u64) -> Result<()> {
    let (size, usage) = (buffer.size(), buffer.usage());
    if size >= bytes && usage.contains(wgpu::BufferUsages::STORAGE) {
        return Ok(());
    }
    Err(KernelError::Parameter {
        name,
        value: format!("a buffer of {size} bytes for {usage:?}, {bytes} bytes needed"),
        needed: "a long enough buffer with the usage STORAGE",
    })
}

/// What [`encode`] recorded. Once the host has submitted it, this tells whether the device did it: a launch that fails says nothing else.
#[derive(Debug)]
#[must_use = "only this tells whether the device did what was recorded"]
pub struct Recorded {
    gpu: Gpu,
    readback: wgpu::Buffer,
}

impl Recorded {
    /// Waits until it is done; to be called after the submission.
    ///
    /// # Errors
    /// [`KernelError::DeviceLost`], also if there is no answer within a minute; [`KernelError::Gpu`] if the device did not do it, also because it never got it.
    pub fn wait(self) -> Result<()> {
        let (sender, answer) = mpsc::channel();
        self.readback
            .map_async(wgpu::MapMode::Read, .., move |result| {
                let _ = sender.send(result); // nobody listens after an error
            });
        self.gpu.wait(None, &answer, 1)?;
        self.check()
    }

    /// Whether each workgroup of the shader was there, as the mapped flags say.
    fn check(&self) -> Result<()> {
        let view = self.readback.get_mapped_range(..);
        let view = view.map_err(|error| self.gpu.is_lost(error))?;
        let flags: &[u32] = bytemuck::cast_slice(&view);
        if flags.iter().all(|&flag| flag == DONE) {
            return Ok(());
        }
        Err(KernelError::Gpu {
            reason: "the recorded shader of voxels did not run, or was never submitted".into(),
        })
    }

    /// Ready when it is done; to be called after the submission. The host has to poll the device meanwhile, as for any read-back of its own.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn done(self) -> impl Future<Output = Result<()>> + Send {
        let state: Arc<Mutex<(Option<Answer>, Option<Waker>)>> = Arc::default();
        let answer = Arc::clone(&state);
        self.readback
            .map_async(wgpu::MapMode::Read, .., move |result| {
                let waker = {
                    let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
                    answer.0 = Some(result);
                    answer.1.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            });
        Mapped {
            recorded: self,
            state,
        }
    }
}

type Answer = Result<(), wgpu::BufferAsyncError>;

/// The flags on their way to the host.
struct Mapped {
    recorded: Recorded,
    state: Arc<Mutex<(Option<Answer>, Option<Waker>)>>,
}

impl Future for Mapped {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let answer = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0.is_none() {
                state.1 = Some(context.waker().clone());
            }
            state.0.take()
        };
        match answer {
            Some(Ok(())) => Poll::Ready(self.recorded.check()),
            Some(Err(error)) => Poll::Ready(Err(self.recorded.gpu.is_lost(error))),
            None => Poll::Pending,
        }
    }
}
