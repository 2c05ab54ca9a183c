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
//! for comparison: it resolves ties differently, and now and then misses a cluster of a small window.

mod condensed_tree;
mod core_distances;
mod crate_hdbscan;
mod instructions;
mod leaves;
mod spanning_tree;

use std::cell::RefCell;

use fearless_simd::{Simd, dispatch};

pub use crate_hdbscan::hdbscan_by_crate;
pub use instructions::Instructions;
pub use spanning_tree::Edge;

/// Clusters points, and keeps its memory from call to call.
#[derive(Debug, Default)]
pub struct Clusterer {
    instructions: Instructions,
    leaves: leaves::Leaves,
    core_scratch: core_distances::Scratch,
    tree_scratch: spanning_tree::Scratch,
    condensed: condensed_tree::Scratch,
    /// Squared core distances, in leaf order.
    cores: Vec<f64>,
    edges: Vec<Edge>,
    labels: Vec<i32>,
}

impl Clusterer {
    /// A clusterer that uses the best vector instructions of this processor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A clusterer that uses particular vector instructions; the results are the same bits.
    #[must_use]
    pub fn with_instructions(instructions: Instructions) -> Self {
        Self {
            instructions,
            ..Self::default()
        }
    }

    /// Labels of points: 0, 1, ... for clusters, in the order of their first points, -1 for noise.
    ///
    /// `min_cluster_size` = `min_samples` = `phi`. Fewer than `2 phi` points, `phi` below 2, coordinates that are not finite or more
    /// than 1e150 apart: everything is noise.
    pub fn labels(&mut self, points: &[[f64; 3]], phi: usize) -> &[i32] {
        if phi >= 2 && points.len() / 2 >= phi && self.leaves.fill(points) {
            dispatch!(self.instructions.level(), simd => self.build_tree(simd, phi));
            condensed_tree::labels(
                points.len(),
                phi,
                &self.edges,
                &mut self.condensed,
                &mut self.labels,
            );
        } else {
            self.cores.clear();
            self.edges.clear();
            self.labels.clear();
            self.labels.resize(points.len(), -1);
        }
        &self.labels
    }

    #[inline(always)]
    fn build_tree<S: Simd>(&mut self, simd: S, phi: usize) {
        let Self {
            leaves,
            core_scratch,
            tree_scratch,
            cores,
            edges,
            ..
        } = self;
        core_distances::core_distances(simd, leaves, phi, core_scratch, cores);
        spanning_tree::spanning_tree(simd, leaves, cores, tree_scratch, edges);
    }

    /// Squared core distances of the points that were clustered last; none if they were noise from the start.
    #[must_use]
    pub fn core_distances(&self) -> Vec<f64> {
        let mut cores = vec![0.0; self.cores.len()];
        for (&index, &core) in self.leaves.order.iter().zip(&self.cores) {
            cores[index as usize] = core;
        }
        cores
    }

    /// Edges of the minimum spanning tree of the points that were clustered last, in their total order.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }
}

/// Labels of points by this thread's [`Clusterer`]. See [`Clusterer::labels`].
#[must_use]
pub fn hdbscan(points: &[[f64; 3]], phi: usize) -> Vec<i32> {
    thread_local! {
        static CLUSTERER: RefCell<Clusterer> = RefCell::default();
    }
    CLUSTERER.with_borrow_mut(|clusterer| clusterer.labels(points, phi).to_vec())
}

/// An index of a point, leaf or cluster.
fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("points should be fewer than 2^32")
}

/// The root of the tree of a union-find that holds `n`; shortens the way to it.
fn root(parents: &mut [u32], mut n: u32) -> u32 {
    while parents[n as usize] != n {
        parents[n as usize] = parents[parents[n as usize] as usize]; // path halving
        n = parents[n as usize];
    }
    n
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
        assert!(hdbscan(&[], 5).is_empty());
        assert_eq!(hdbscan(&[[0.0; 3]; 9], 5), [-1; 9]);
        assert_eq!(hdbscan(&[[0.0; 3]; 9], 1), [-1; 9]);
        assert_eq!(hdbscan(&[[f64::NAN; 3]; 9], 3), [-1; 9]);
        assert_eq!(hdbscan_by_crate(&[[0.0; 3]; 9], 5), [-1; 9]);
    }
}
