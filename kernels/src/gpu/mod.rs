//! The device, its pipelines and buffers, and how work is handed to it safely.

mod buffers;
mod commands;
mod device;
#[cfg(test)]
pub(crate) mod layout;
mod pipelines;

pub(crate) use buffers::{Buffer, Use};
pub(crate) use commands::Readback;
pub(crate) use device::Work;
pub use device::{Gpu, adapters};
pub(crate) use pipelines::Pipeline;

/// What kernels write when they are done: a launch that failed reads back zeros. The shaders' constant of the same name.
pub(crate) const DONE: u32 = 0x600d_f00d;

/// `n` as the GPU counts.
pub(crate) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("counts at the GPU should fit u32: work is cut to the adapter's limits")
}
