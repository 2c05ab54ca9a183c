use std::cmp::Ordering;

use super::squared_distance;

/// An edge of the minimum spanning tree of the mutual reachability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Squared mutual reachability.
    pub weight: f64,
    /// Squared distance.
    pub distance: f64,
    /// The point with the smaller index.
    pub low: u32,
    /// The point with the larger index.
    pub high: u32,
}

impl Edge {
    fn new(points: &[[f64; 3]], cores: &[f64], a: usize, b: usize) -> Self {
        let index = |n| u32::try_from(n).expect("points should be fewer than 2^32");
        let distance = squared_distance(&points[a], &points[b]);
        Self {
            weight: cores[a].max(cores[b]).max(distance),
            distance,
            low: index(a.min(b)),
            high: index(a.max(b)),
        }
    }

    /// The total order of edges.
    pub(super) fn total_cmp(&self, other: &Self) -> Ordering {
        let by_length = self
            .weight
            .total_cmp(&other.weight)
            .then(self.distance.total_cmp(&other.distance));
        by_length.then((self.low, self.high).cmp(&(other.low, other.high)))
    }
}

/// The edges of the minimum spanning tree in their total order, by Prim's algorithm over all pairs.
pub(super) fn spanning_tree(points: &[[f64; 3]], cores: &[f64]) -> Vec<Edge> {
    let n = points.len();
    // The points outside the tree, and the best edge of each to the tree.
    let mut outside: Vec<usize> = (1..n).collect();
    let mut best: Vec<Edge> = outside
        .iter()
        .map(|&j| Edge::new(points, cores, 0, j))
        .collect();
    let mut edges = Vec::with_capacity(n.saturating_sub(1));
    while let Some(nearest) = (0..best.len()).reduce(|a, b| {
        if best[b].total_cmp(&best[a]).is_lt() {
            b
        } else {
            a
        }
    }) {
        edges.push(best.swap_remove(nearest));
        let added = outside.swap_remove(nearest);
        for (best, &j) in best.iter_mut().zip(&outside) {
            let distance = squared_distance(&points[added], &points[j]);
            let weight = cores[added].max(cores[j]).max(distance);
            if weight <= best.weight {
                let new = Edge::new(points, cores, added, j);
                if new.total_cmp(best).is_lt() {
                    *best = new;
                }
            }
        }
    }
    edges.sort_unstable_by(Edge::total_cmp);
    edges
}
