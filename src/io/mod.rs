//! Files in and out. Outputs appear under their name only when they are whole.

pub mod csv;
mod output;
pub mod parallel_screens;

pub use output::{Output, check_writable};
