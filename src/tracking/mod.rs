//! From lines of response to points: a file per step.

mod birmingham;
mod centroids;
mod cutpoints;
pub mod fpi;
mod hdbscan;
mod likelihood;
mod lines;
mod lines_centroids;
mod minpoints;
mod pept_em;
mod refine;
mod split_labels;
mod time_of_flight;
mod voxelize;

pub use birmingham::BirminghamMethod;
pub use centroids::Centroids;
pub use cutpoints::Cutpoints;
pub use fpi::Fpi;
pub use hdbscan::Hdbscan;
pub use lines::{closest_point, cutoffs, find_distances};
pub use lines_centroids::LinesCentroids;
pub use minpoints::Minpoints;
pub use pept_em::PeptEm;
pub use refine::Refine;
pub use split_labels::SplitLabels;
pub use time_of_flight::{CutpointsToF, GaussianDensity, SPEED_OF_LIGHT, TimeOfFlight};
pub use voxelize::Voxelize;
