//! Files in and out. Outputs appear under their name only when they are whole.

pub mod adac_forte;
#[cfg(feature = "arrow")]
pub mod arrow;
pub mod cells;
pub mod chunks;
pub mod csv;
pub mod modular_camera;
pub mod npy;
mod output;
pub mod parallel_screens;
pub mod source;
pub mod table;
pub mod text_lines;

pub use output::{Output, check_writable};
