#![doc = include_str!("../README.md")]
#![cfg_attr(
    test,
    expect(
        clippy::float_cmp,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tests compare exact results and cast small numbers"
    )
)]

pub mod clustering;
pub mod data;
pub mod detector;
mod error;
pub mod io;
mod linear_algebra;
pub mod pipeline;
#[cfg(feature = "plot")]
pub mod plot;
mod statistics;
pub mod tracking;
pub mod trajectory;
pub mod transform;

pub use data::{Attribute, Attributes, Data, LineData, PointData, Sampling};
pub use error::{Error, Result};
#[cfg(feature = "gpu")]
pub use kernels::Gpu;
pub use kernels::{Backend, KernelError};
/// The kernels, on plain slices.
pub use pept_kernels as kernels;
pub use pipeline::{Pipeline, Recipe};
