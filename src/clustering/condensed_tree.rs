use super::{Edge, root, to_u32};

const NONE: u32 = u32::MAX;

/// A tree of points joined so far; indexed by its root point.
#[derive(Clone, Copy, Debug)]
struct Component {
    size: u32,
    /// Its cluster, [`NONE`] while it has fewer than `phi` points.
    cluster: u32,
    /// Its points, as a list through `next`.
    first: u32,
    last: u32,
}

/// A cluster of the condensed tree. Clusters come after their children.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// The excess of mass of the best choice at or below it, once its birth is known.
    mass: f64,
    /// The last of its [`Departure`]s.
    departures: u32,
    /// Its points: a part of the list from `first` to `last`.
    first: u32,
    last: u32,
    children: [u32; 2],
    /// Whether it is better than its children.
    better: bool,
}

/// Points that leave a cluster together; one for each edge.
#[derive(Clone, Copy, Debug)]
struct Departure {
    lambda: f64,
    size: u32,
    /// The one before in its cluster: it has a lambda at least as high.
    previous: u32,
}

/// What is kept between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    parents: Vec<u32>,
    next: Vec<u32>,
    components: Vec<Component>,
    clusters: Vec<Cluster>,
    departures: Vec<Departure>,
    todo: Vec<u32>,
    cluster_of: Vec<u32>,
    numbers: Vec<i32>,
}

/// Labels of `n` points from the sorted edges of their minimum spanning tree.
///
/// One pass from the shortest edge to the longest, without a dendrogram: a cluster is born when a component reaches `phi`
/// points; a smaller component that joins falls out of it there, seen from above; two clusters that meet are the
/// children of a new one.
pub(super) fn labels(
    n: usize,
    phi: usize,
    edges: &[Edge],
    scratch: &mut Scratch,
    labels: &mut Vec<i32>,
) {
    // Weight 0 (duplicates) gets the lambda of the smallest positive weight: no infinity enters a mass.
    let smallest = edges
        .iter()
        .map(|edge| edge.weight)
        .find(|&weight| weight > 0.0)
        .unwrap_or(1.0);
    scratch.start(to_u32(n));
    let Scratch {
        parents,
        next,
        components,
        clusters,
        departures,
        ..
    } = &mut *scratch;

    for edge in edges {
        let lambda = 1.0
            / if edge.weight > 0.0 {
                edge.weight
            } else {
                smallest
            }
            .sqrt();
        let (a, b) = (root(parents, edge.low), root(parents, edge.high));
        let (big, small) = if components[a as usize].size >= components[b as usize].size {
            (a, b)
        } else {
            (b, a)
        };
        let (x, y) = (components[big as usize], components[small as usize]);
        parents[small as usize] = big;
        next[x.last as usize] = y.first;
        let mut joined = Component {
            size: x.size + y.size,
            cluster: x.cluster,
            first: x.first,
            last: y.last,
        };
        let new_cluster = |children| Cluster {
            mass: 0.0,
            departures: to_u32(departures.len()),
            first: joined.first,
            last: joined.last,
            children,
            better: true,
        };
        if y.cluster != NONE {
            // Both are clusters: this edge is their birth, seen from above.
            for cluster in [x.cluster, y.cluster] {
                finish(clusters, cluster, lambda, departures);
            }
            clusters.push(new_cluster([x.cluster, y.cluster]));
            departures.push(Departure {
                lambda,
                size: joined.size,
                previous: NONE,
            });
            joined.cluster = to_u32(clusters.len() - 1);
        } else if x.cluster != NONE {
            let cluster = &mut clusters[x.cluster as usize];
            departures.push(Departure {
                lambda,
                size: y.size,
                previous: cluster.departures,
            });
            cluster.departures = to_u32(departures.len() - 1);
            cluster.last = joined.last;
        } else if joined.size as usize >= phi {
            clusters.push(new_cluster([NONE; 2]));
            departures.push(Departure {
                lambda,
                size: joined.size,
                previous: NONE,
            });
            joined.cluster = to_u32(clusters.len() - 1);
        }
        components[big as usize] = joined;
    }
    scratch.choose(labels);
}

/// A cluster's birth is known: its own excess of mass, against that of its children, who win only if strictly better.
fn finish(clusters: &mut [Cluster], cluster: u32, birth: f64, departures: &[Departure]) {
    let Cluster {
        departures: mut next,
        children,
        ..
    } = clusters[cluster as usize];
    let mut own = 0.0;
    while let Some(&Departure {
        lambda,
        size,
        previous,
    }) = departures.get(next as usize)
    {
        own += (lambda - birth) * f64::from(size); // exactly 0 for a tie
        next = previous;
    }
    let below: f64 = children
        .iter()
        .filter_map(|&child| clusters.get(child as usize))
        .map(|child| child.mass)
        .sum();
    let cluster = &mut clusters[cluster as usize];
    cluster.better = own >= below;
    cluster.mass = own.max(below);
}

impl Scratch {
    fn start(&mut self, n: u32) {
        self.parents.clear();
        self.parents.extend(0..n);
        self.next.clear();
        self.next.resize(n as usize, NONE);
        self.components.clear();
        self.components.extend((0..n).map(|point| Component {
            size: 1,
            cluster: NONE,
            first: point,
            last: point,
        }));
        self.clusters.clear();
        self.departures.clear();
    }

    /// The labels of the chosen clusters' points.
    fn choose(&mut self, labels: &mut Vec<i32>) {
        let n = self.next.len();
        self.cluster_of.clear();
        self.cluster_of.resize(n, NONE);
        self.todo.clear();
        // The last cluster holds all points; it is never chosen.
        if let Some(root) = self.clusters.last() {
            self.todo.extend(root.children);
        }
        while let Some(cluster) = self.todo.pop() {
            let Some(&Cluster {
                first,
                last,
                children,
                better,
                ..
            }) = self.clusters.get(cluster as usize)
            else {
                continue;
            };
            if !better {
                self.todo.extend(children);
                continue;
            }
            let mut point = first;
            loop {
                self.cluster_of[point as usize] = cluster;
                if point == last {
                    break;
                }
                point = self.next[point as usize];
            }
        }
        // Numbers in the order of the clusters' first points.
        self.numbers.clear();
        self.numbers.resize(self.clusters.len(), -1);
        let mut n_labels = 0;
        labels.clear();
        labels.extend(self.cluster_of.iter().map(|&cluster| {
            let Some(number) = self.numbers.get_mut(cluster as usize) else {
                return -1;
            };
            if *number < 0 {
                *number = n_labels;
                n_labels += 1;
            }
            *number
        }));
    }
}
