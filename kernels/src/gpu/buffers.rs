//! A pool of buffers by size class: thousands of similar calls allocate once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
    free: Mutex<HashMap<(u64, Use), Vec<wgpu::Buffer>>>,
    allocated: AtomicU64,
    budget: AtomicU64,
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

    fn take(&self, class: u64, usage: Use) -> Option<wgpu::Buffer> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.get_mut(&(class, usage)).and_then(Vec::pop)
    }

    /// Lets go of what nobody uses.
    pub(super) fn clear(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        for ((class, _), buffers) in free.drain() {
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
    keep: bool,
}

impl Buffer {
    /// The buffer itself.
    pub(crate) fn wgpu(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Bytes that were asked for; the buffer may have more.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
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
        self.keep = false;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pool = self.gpu.pool();
        if self.keep {
            let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry((self.class, self.usage))
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
        let buffer = match pool.take(class, usage) {
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
            keep: class <= LARGEST_KEPT,
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
}
