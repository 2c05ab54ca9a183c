//! HDBSCAN* as its definition reads, slow and plain: the oracle of the clusterer.
//!
//! Every step is the most direct one: full sorted distance rows, Prim over all pairs, a dendrogram, and a condensed tree
//! built from the top down.

/// What the reference finds.
#[derive(Debug, PartialEq)]
pub(crate) struct Clusters {
    /// Squared core distance of each point.
    pub(crate) cores: Vec<f64>,
    /// Edges of the minimum spanning tree, in the total order.
    pub(crate) edges: Vec<Edge>,
    /// Label of each point: -1 noise, clusters in the order of their smallest point.
    pub(crate) labels: Vec<i32>,
}

/// An edge, ordered as the definition orders edges: squared weight, squared distance, smaller index, larger index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) weight: f64,
    pub(crate) distance: f64,
    pub(crate) low: usize,
    pub(crate) high: usize,
}

impl Edge {
    fn before(&self, other: &Self) -> bool {
        let order = self
            .weight
            .total_cmp(&other.weight)
            .then(self.distance.total_cmp(&other.distance));
        order
            .then((self.low, self.high).cmp(&(other.low, other.high)))
            .is_lt()
    }
}

fn squared(a: [f64; 3], b: [f64; 3]) -> f64 {
    let d = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
}

/// Clusters `points` with `min_cluster_size` = `min_samples` = `phi`; at least `2 phi` points, `phi >= 2`.
pub(crate) fn hdbscan(points: &[[f64; 3]], phi: usize) -> Clusters {
    let cores = core_distances(points, phi);
    let edges = spanning_tree(points, &cores);
    let labels = labels(points.len(), phi, &edges);
    Clusters {
        cores,
        edges,
        labels,
    }
}

fn core_distances(points: &[[f64; 3]], phi: usize) -> Vec<f64> {
    let core = |&point: &[f64; 3]| {
        let mut row: Vec<f64> = points.iter().map(|&other| squared(point, other)).collect();
        row.sort_by(f64::total_cmp);
        row[phi] // index 0 is the point itself
    };
    points.iter().map(core).collect()
}

fn spanning_tree(points: &[[f64; 3]], cores: &[f64]) -> Vec<Edge> {
    let n = points.len();
    let edge = |i: usize, j: usize| {
        let distance = squared(points[i], points[j]);
        Edge {
            weight: cores[i].max(cores[j]).max(distance),
            distance,
            low: i.min(j),
            high: i.max(j),
        }
    };
    let mut best: Vec<Option<Edge>> = (0..n).map(|j| (j > 0).then(|| edge(0, j))).collect();
    let mut edges = Vec::new();
    for _ in 1..n {
        let next = (0..n)
            .filter(|&j| best[j].is_some())
            .reduce(|a, b| {
                if best[b].unwrap().before(&best[a].unwrap()) {
                    b
                } else {
                    a
                }
            })
            .unwrap();
        edges.push(best[next].take().unwrap());
        for (j, best) in best.iter_mut().enumerate() {
            if let Some(old) = best {
                let new = edge(next, j);
                if new.before(old) {
                    *best = Some(new);
                }
            }
        }
    }
    edges.sort_by(|a, b| {
        if a.before(b) {
            std::cmp::Ordering::Less
        } else {
            std::cmp::Ordering::Greater
        }
    });
    edges
}

/// A node of the dendrogram: a point, or the merger of two nodes at `lambda` = 1 / distance.
enum Node {
    Point,
    Merger { lambda: f64, children: [usize; 2] },
}

#[derive(Default)]
struct Cluster {
    birth: f64,
    /// (lambda, number of points) of those that leave, from the lowest lambda on.
    departures: Vec<(f64, usize)>,
    children: Vec<usize>,
    points: Vec<usize>,
}

impl Cluster {
    /// Sum of (lambda - birth) over its points, from the lowest lambda on.
    fn stability(&self) -> f64 {
        self.departures.iter().fold(0.0, |sum, &(lambda, size)| {
            sum + (lambda - self.birth) * size as f64
        })
    }
}

fn labels(n: usize, phi: usize, edges: &[Edge]) -> Vec<i32> {
    // A weight of 0 (duplicates) gets the lambda of the smallest positive weight, 1 if there is none.
    let smallest = edges
        .iter()
        .map(|edge| edge.weight)
        .filter(|&w| w > 0.0)
        .min_by(f64::total_cmp);
    let lambda = |weight: f64| {
        1.0 / if weight > 0.0 {
            weight
        } else {
            smallest.unwrap_or(1.0)
        }
        .sqrt()
    };

    let mut nodes: Vec<Node> = (0..n).map(|_| Node::Point).collect();
    let mut node_of: Vec<usize> = (0..n).collect(); // the topmost node of each point
    let mut members: Vec<Vec<usize>> = (0..n).map(|point| vec![point]).collect();
    for edge in edges {
        let (a, b) = (node_of[edge.low], node_of[edge.high]);
        let joined: Vec<usize> = members[a].iter().chain(&members[b]).copied().collect();
        for &point in &joined {
            node_of[point] = nodes.len();
        }
        nodes.push(Node::Merger {
            lambda: lambda(edge.weight),
            children: [a, b],
        });
        members.push(joined);
    }

    // From the top down: a cluster loses points until it splits into two of at least phi points.
    let mut clusters = vec![Cluster::default()];
    let mut todo = vec![(nodes.len() - 1, 0)];
    while let Some((mut node, cluster)) = todo.pop() {
        clusters[cluster].points = members[node].clone();
        while let Node::Merger { lambda, children } = nodes[node] {
            let sizes = children.map(|child| members[child].len());
            match (sizes[0] >= phi, sizes[1] >= phi) {
                (true, false) | (false, true) => {
                    let stays = usize::from(sizes[1] >= phi);
                    clusters[cluster]
                        .departures
                        .push((lambda, sizes[1 - stays]));
                    node = children[stays];
                }
                (both, _) => {
                    clusters[cluster]
                        .departures
                        .push((lambda, sizes[0] + sizes[1]));
                    for child in children.into_iter().filter(|_| both) {
                        let new = clusters.len();
                        clusters[cluster].children.push(new);
                        clusters.push(Cluster {
                            birth: lambda,
                            ..Cluster::default()
                        });
                        todo.push((child, new));
                    }
                    break;
                }
            }
        }
    }

    // Excess of mass: children win only if strictly better. Clusters come after their parents.
    let mut chosen = vec![true; clusters.len()];
    let mut best: Vec<f64> = clusters.iter().map(Cluster::stability).collect();
    for cluster in (0..clusters.len()).rev() {
        let children: f64 = clusters[cluster]
            .children
            .iter()
            .map(|&child| best[child])
            .sum();
        if children > best[cluster] {
            best[cluster] = children;
            chosen[cluster] = false;
        }
    }
    chosen[0] = false; // never a single cluster
    let mut labels = vec![-1; n];
    let mut todo: Vec<usize> = clusters[0].children.clone();
    let mut found: Vec<&[usize]> = Vec::new();
    while let Some(cluster) = todo.pop() {
        if chosen[cluster] {
            found.push(&clusters[cluster].points);
        } else {
            todo.extend(&clusters[cluster].children);
        }
    }
    found.sort_by_key(|points| points.iter().min().copied());
    for (label, points) in (0..).zip(found) {
        for &point in points {
            labels[point] = label;
        }
    }
    labels
}
