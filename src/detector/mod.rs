//! Detector physics.

mod efficiency;
pub mod simulator;

pub use efficiency::AdacGeometricEfficiency;
