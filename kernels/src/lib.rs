#![doc = include_str!("../README.md")]
//!
//! # The kernels
//!
//! | kernel | definition | CPU form | GPU form | shader |
//! |---|---|---|---|---|
//! | [`cutpoints`] | midpoints of the shortest segments between pairs of lines | `pairs/cpu.rs` | `pairs/gpu.rs` | `pairs.wgsl` |
//! | [`minpoints`] | points nearest to combinations of lines | `minpoints/cpu.rs` | `minpoints/gpu.rs` | `minpoints.wgsl` |
//! | [`voxels`] | line segments through each voxel or pixel: counts, weights, lengths | `voxels/cpu.rs` | `voxels/gpu.rs` | `voxels.wgsl` |
//!
//! # The rule
//!
//! Both forms return the same bits. For cutpoints and minpoints an f32 filter with a proven guard band *proposes*
//! pairs of lines, on either backend, and one f64 function *decides* and computes: `pairs/filter.rs`. For voxels both forms take the
//! same steps in integers: `voxels/walk.rs`.

#![cfg_attr(
    test,
    expect(
        clippy::cast_possible_truncation,
        reason = "rounding to f32 is what some tests are about"
    )
)]

mod backend;
mod background;
pub mod cutpoints;
mod error;
#[cfg(feature = "gpu")]
mod gpu;
mod line;
pub mod minpoints;
mod order;
mod pairs;
#[cfg(test)]
mod rounding;
pub mod voxels;

pub use backend::Backend;
pub use background::background;
pub use error::{KernelError, Result};
#[cfg(feature = "gpu")]
pub use gpu::{Gpu, adapters};
pub use line::{Cutoffs, LineSlice};
pub use order::time_order;
#[cfg(feature = "gpu")]
pub use wgpu;
