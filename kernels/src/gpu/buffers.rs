//! A pool of buffers by size class: thousands of similar calls allocate once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Gpu;
use crate::error::{KernelError, Result};

/// Up to here sizes are rounded up to powers of two, above to multiples of it.
const COARSE: u64 = 16 << 20;
const SMALLEST: u64 = 256;
/// Larger buffers are not kept: a grid of one call would stay for good.
const LARGEST_KEPT: u64 = 64 << 20;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    Uniform,
    Storage,
    /// To be read by the host.
    Readback,
}

impl Use {
    fn usages(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as U;
        match self {
            Self::Uniform => U::UNIFORM | U::COPY_DST,
            Self::Storage => U::STORAGE | U::COPY_SRC | U::COPY_DST,
            Self::Readback => U::MAP_READ | U::COPY_DST,
        }
    }
}

/// Free buffers, and how many bytes there are in all.
#[derive(Debug)]
pub(super) struct Pool {
    free: Mutex<Free>,
    allocated: AtomicU64,
    budget: AtomicU64,
}

#[derive(Debug, Default)]
struct Free {
    buffers: HashMap<(u64, Use), Vec<wgpu::Buffer>>,
    /// Buffers of an earlier one do not come back.
    generation: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            free: Mutex::default(),
            allocated: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
        }
    }
}

impl Pool {
    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    pub(super) fn set_budget(&self, bytes: u64) {
        self.budget.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free buffer if there is one, and the generation.
    fn take(&self, class: u64, usage: Use) -> (Option<wgpu::Buffer>, u64) {
        let mut free = self.lock();
        let buffer = free.buffers.get_mut(&(class, usage)).and_then(Vec::pop);
        (buffer, free.generation)
    }

    /// Lets go of what nobody uses.
    pub(super) fn clear(&self) {
        self.drop_free(&mut self.lock());
    }

    /// Lets go of what nobody uses now, and of what is in use once it no longer is.
    pub(super) fn forget(&self) {
        let mut free = self.lock();
        free.generation += 1;
        self.drop_free(&mut free);
    }

    fn drop_free(&self, free: &mut Free) {
        for ((class, _), buffers) in free.buffers.drain() {
            self.allocated
                .fetch_sub(class * buffers.len() as u64, Ordering::Relaxed);
        }
    }

    /// Counts a new buffer, if the budget allows it.
    fn reserve(&self, bytes: u64) -> Result<()> {
        let fits = |allocated: u64| {
            allocated
                .checked_add(bytes)
                .filter(|&all| all <= self.budget())
        };
        let order = Ordering::Relaxed;
        if self.allocated.fetch_update(order, order, fits).is_ok() {
            return Ok(());
        }
        self.clear();
        match self.allocated.fetch_update(order, order, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(KernelError::OutOfMemory),
        }
    }
}

/// A buffer from the pool, with anything in it; goes back when dropped.
pub(crate) struct Buffer {
    gpu: Gpu,
    buffer: wgpu::Buffer,
    class: u64,
    usage: Use,
    bytes: u64,
    /// The pool's when this was taken or made; `None` if it shall not go back.
    generation: Option<u64>,
}

impl Buffer {
    /// The buffer itself.
    pub(crate) fn wgpu(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        self.gpu.device()
    }

    /// Bytes that were asked for; the buffer may have more.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_storage(&self) -> bool {
        self.usage == Use::Storage
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: 0,
            size: wgpu::BufferSize::new(self.bytes),
        })
    }

    /// Not to be used again: the device may still write to it.
    pub(super) fn discard(&mut self) {
        self.generation = None;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pool = self.gpu.pool();
        let mut free = pool.lock();
        if self.generation == Some(free.generation) {
            free.buffers
                .entry((self.class, self.usage))
                .or_default()
                .push(self.buffer.clone());
        } else {
            pool.allocated.fetch_sub(self.class, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("usage", &self.usage)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// A buffer of `bytes`, a multiple of 4, with anything in it.
    ///
    /// # Errors
    /// [`KernelError::OutOfMemory`] by the memory budget; by the device it shows in the scopes round the call.
    pub(crate) fn buffer(&self, bytes: u64, usage: Use) -> Result<Buffer> {
        let class = size_class(bytes, self.device().limits().max_buffer_size);
        let pool = self.pool();
        let (free, generation) = pool.take(class, usage);
        let buffer = match free {
            Some(buffer) => buffer,
            None => {
                pool.reserve(class)?;
                self.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some("pept"),
                    size: class,
                    usage: usage.usages(),
                    mapped_at_creation: false,
                })
            }
        };
        Ok(Buffer {
            gpu: self.clone(),
            buffer,
            class,
            usage,
            bytes: bytes.max(4),
            generation: (class <= LARGEST_KEPT).then_some(generation),
        })
    }

    /// A buffer that holds `contents`.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    pub(crate) fn upload(&self, contents: &[u8], usage: Use) -> Result<Buffer> {
        let buffer = self.buffer(contents.len() as u64, usage)?;
        self.queue().write_buffer(&buffer.buffer, 0, contents);
        Ok(buffer)
    }
}

fn size_class(bytes: u64, largest: u64) -> u64 {
    let class = if bytes <= COARSE {
        bytes.next_power_of_two().max(SMALLEST)
    } else {
        bytes.next_multiple_of(COARSE)
    };
    // A size that only the exact class can hold, or none: then the device says so.
    if class > largest { bytes } else { class }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_hold_what_was_asked_for_and_stay_within_limits() {
        let sizes = [0, 4, 256, 260, COARSE, COARSE + 4, 100 << 20];
        let classes = sizes.map(|bytes| size_class(bytes, 105 << 20));
        let expected = [
            256,
            256,
            256,
            512,
            COARSE,
            2 * COARSE,
            100 << 20, // 112 MiB would be too much
        ];
        assert_eq!(classes, expected);
    }

    #[test]
    fn buffers_that_were_in_use_at_an_error_are_not_used_again() {
        let Some(gpu) = Gpu::for_test() else {
            return;
        };
        let held = gpu.buffer(1_000, Use::Storage).unwrap();
        let error = gpu.scoped(|| {
            let buffer = gpu.buffer(1_000, Use::Readback)?;
            let _ = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4,
                usage: wgpu::BufferUsages::empty(),
                mapped_at_creation: false,
            });
            Ok(buffer)
        });
        assert!(matches!(error, Err(KernelError::Gpu { .. })), "{error:?}");
        assert_eq!(gpu.memory_in_use(), 1_024);
        drop(held);
        assert_eq!(gpu.memory_in_use(), 0);
        drop(gpu.buffer(1_000, Use::Storage).unwrap());
        assert_eq!(gpu.memory_in_use(), 1_024, "kept for later");
    }
}
