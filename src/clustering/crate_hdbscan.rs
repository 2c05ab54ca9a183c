use hdbscan::{Hdbscan, HdbscanHyperParams, NnAlgorithm};

/// HDBSCAN* labels of points (mm): 0, 1, ... for clusters, -1 for noise.
///
/// `min_cluster_size` = `min_samples` = `phi`; the core distance is that to the `phi`-th *other* point. Excess of mass, never a
/// single cluster. Fewer than `2 phi` points, or `phi` below 2: everything is noise.
///
/// Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates" (2013).
#[must_use]
pub fn hdbscan(points: &[[f64; 3]], phi: usize) -> Vec<i32> {
    let noise = || vec![-1; points.len()];
    if phi < 2 || points.len() < 2 * phi {
        return noise();
    }
    let rows: Vec<Vec<f64>> = points.iter().map(|point| point.to_vec()).collect();
    let params = HdbscanHyperParams::builder()
        .min_cluster_size(phi)
        .min_samples(phi + 1) // the crate counts the point itself
        .allow_single_cluster(false)
        .nn_algorithm(NnAlgorithm::BruteForce)
        .build();
    match Hdbscan::new(&rows, params).cluster() {
        Ok(labels) => labels,
        // Only for input that the checks above exclude, or coordinates that are not finite.
        Err(error) => {
            tracing::warn!(%error, "HDBSCAN found no clusters");
            noise()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_are_two_clusters_and_the_far_point_is_noise() {
        let group = |x: f64| (0..20).map(move |n| [x + f64::from(n % 5), f64::from(n / 5), f64::from(n % 3)]);
        let points: Vec<_> = group(0.0).chain(group(50.0)).chain([[500.0; 3]]).collect();
        let labels = hdbscan(&points, 8);
        assert!(labels[..20].iter().all(|&label| label == labels[0]));
        assert!(labels[20..40].iter().all(|&label| label == labels[20]));
        assert!(labels[0] != labels[20] && labels[40] == -1);
    }

    #[test]
    fn too_few_points_are_noise() {
        assert_eq!(hdbscan(&[], 5), []);
        assert_eq!(hdbscan(&[[0.0; 3]; 9], 5), [-1; 9]);
        assert_eq!(hdbscan(&[[0.0; 3]; 9], 0), [-1; 9]);
    }
}
