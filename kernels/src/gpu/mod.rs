//! The device, its pipelines, and how work is handed to it safely.

mod device;
#[cfg(test)]
pub(crate) mod layout;
mod work;

pub use device::{Gpu, adapters};
pub(crate) use work::{Readback, Work};

/// `n` as the GPU counts.
pub(crate) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("counts at the GPU should fit u32: work is cut to the adapter's limits")
}
