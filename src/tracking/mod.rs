//! From lines of response to points: a file per step.

mod centroids;
mod cutpoints;
mod hdbscan;
mod split_labels;

pub use centroids::Centroids;
pub use cutpoints::Cutpoints;
pub use hdbscan::Hdbscan;
pub use split_labels::SplitLabels;
