//! Detector physics: simulated recordings, what a camera can see, and how precisely.

pub mod bound;
mod camera;
mod efficiency;
mod formula;
mod motion;
mod random;
mod recording;
mod scene;
mod scene_text;
mod simulator;
mod spread;
mod vector;

pub use efficiency::AdacGeometricEfficiency;
pub use formula::Formula;
pub use motion::{Circle, Line, Motion, Own, Triangle, Walk};
pub use recording::Written;
pub use scene::{DISTORTION_TERMS, Detector, Ring, Scene, Screens, Slips, Tracer};
pub use scene_text::SceneText;
pub use simulator::{Block, Parts, Rates, Simulation, Simulator, Source};
pub use spread::{Cylinder, Isotope, Offsets, OwnPlace, Shape, Sphere, Uniform};
