//! HDBSCAN*: density-based clustering of points in space.
//!
//! Core distance = distance to the `phi`-th nearest *other* point (duplicates count). The mutual reachability of two points
//! is the largest of their core distances and their own distance; its minimum spanning tree, cut from the
//! longest edge on, is condensed into clusters of at least `phi` points, from which those of the largest excess of mass are chosen,
//! never the single one of all points. Distances are squared, in f64 and never fused. Edges have the total order (weight, distance,
//! smaller index, larger index), which makes the tree and with it the labels unique, also with ties.
//!
//! Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates" (2013).
//!
//! [`hdbscan()`] is the one place that decides which implementation runs. The crate `hdbscan` ([`hdbscan_by_crate`]) is kept
//! for comparison: it resolves ties, and about one window in fifty of a second pass, differently.

mod condensed_tree;
mod core_distances;
mod crate_hdbscan;
mod spanning_tree;

pub use crate_hdbscan::hdbscan_by_crate;
pub use spanning_tree::Edge;

/// What [`hdbscan_details`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Squared core distance of each point.
    pub core_distances: Vec<f64>,
    /// Edges of the minimum spanning tree, in their total order.
    pub edges: Vec<Edge>,
    /// Label of each point: -1 noise, clusters 0, 1, ... in the order of their first points.
    pub labels: Vec<i32>,
}

/// Labels of points: 0, 1, ... for clusters, in the order of their first points, -1 for noise.
///
/// `min_cluster_size` = `min_samples` = `phi`. Fewer than `2 phi` points, `phi` below 2, or coordinates that are not finite:
/// everything is noise.
#[must_use]
pub fn hdbscan(points: &[[f64; 3]], phi: usize) -> Vec<i32> {
    hdbscan_details(points, phi).map_or_else(|| vec![-1; points.len()], |clusters| clusters.labels)
}

/// As [`hdbscan()`], with what led to the labels; `None` where everything is noise from the start.
#[must_use]
pub fn hdbscan_details(points: &[[f64; 3]], phi: usize) -> Option<Clusters> {
    let finite = points
        .iter()
        .flatten()
        .all(|coordinate| coordinate.is_finite());
    if phi < 2 || points.len() / 2 < phi || !finite {
        return None;
    }
    let core_distances = core_distances::core_distances(points, phi);
    let edges = spanning_tree::spanning_tree(points, &core_distances);
    let labels = condensed_tree::labels(points.len(), phi, &edges);
    Some(Clusters {
        core_distances,
        edges,
        labels,
    })
}

/// Squared distance, left to right.
#[inline(always)]
fn squared_distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    let d = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_are_two_clusters_and_the_far_point_is_noise() {
        let group = |x: f64| {
            (0..20).map(move |n| [x + f64::from(n % 5), f64::from(n / 5), f64::from(n % 3)])
        };
        let points: Vec<_> = group(0.0).chain(group(50.0)).chain([[500.0; 3]]).collect();
        let labels = hdbscan(&points, 8);
        assert_eq!(labels[..20], [0; 20]);
        assert_eq!(labels[20..40], [1; 20]);
        assert_eq!(labels[40], -1);
        let by_crate = hdbscan_by_crate(&points, 8);
        assert!(by_crate[0] != by_crate[20] && by_crate[40] == -1);
    }

    #[test]
    fn what_cannot_be_clustered_is_noise() {
        assert_eq!(hdbscan(&[], 5), []);
        assert_eq!(hdbscan(&[[0.0; 3]; 9], 5), [-1; 9]);
        assert_eq!(hdbscan(&[[0.0; 3]; 9], 1), [-1; 9]);
        assert_eq!(hdbscan(&[[f64::NAN; 3]; 9], 3), [-1; 9]);
        assert_eq!(hdbscan_by_crate(&[[0.0; 3]; 9], 5), [-1; 9]);
    }
}
