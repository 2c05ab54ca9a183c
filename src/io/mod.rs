//! Files in and out. Outputs appear under their name only when they are whole.

#[cfg(feature = "arrow")]
pub mod arrow;
pub mod cells;
pub mod csv;
pub mod npy;
mod output;
pub mod parallel_screens;
pub mod table;

pub use output::{Output, check_writable};
