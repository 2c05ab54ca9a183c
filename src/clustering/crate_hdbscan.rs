use hdbscan::{Hdbscan, HdbscanHyperParams, NnAlgorithm};

/// Labels of points by the crate `hdbscan`, for comparison. See [`hdbscan()`](super::hdbscan()).
#[must_use]
pub fn hdbscan_by_crate(points: &[[f64; 3]], phi: usize) -> Vec<i32> {
    let noise = || vec![-1; points.len()];
    // It panics when min_samples exceeds the points.
    if phi < 2 || points.len() / 2 < phi {
        return noise();
    }
    let rows: Vec<Vec<f64>> = points.iter().map(|point| point.to_vec()).collect();
    let params = HdbscanHyperParams::builder()
        .min_cluster_size(phi)
        .min_samples(phi + 1) // it counts the point itself
        .allow_single_cluster(false)
        .nn_algorithm(NnAlgorithm::KdTree)
        .build();
    Hdbscan::new(&rows, params)
        .cluster()
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the crate hdbscan found no clusters");
            noise()
        })
}
