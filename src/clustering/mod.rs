//! Density-based clustering.
//!
//! [`hdbscan`] is the one place that decides which implementation runs.

mod crate_hdbscan;

pub use crate_hdbscan::hdbscan;
