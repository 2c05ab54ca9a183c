//! Detector physics.

pub mod simulator;
