//! Detector physics.

pub mod bound;
mod efficiency;
pub mod simulator;

pub use efficiency::AdacGeometricEfficiency;
