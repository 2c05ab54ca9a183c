use super::Edge;

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

/// Labels of `n` points from the sorted edges of their minimum spanning tree.
///
/// One pass from the shortest edge to the longest, without a dendrogram: a cluster is born when a component reaches `phi`
/// points; a smaller component that joins falls out of it there, seen from above; two clusters that meet are the
/// children of a new one.
pub(super) fn labels(n: usize, phi: usize, edges: &[Edge]) -> Vec<i32> {
    // Weight 0 (duplicates) gets the lambda of the smallest positive weight: no infinity enters a mass.
    let smallest = edges
        .iter()
        .map(|edge| edge.weight)
        .find(|&weight| weight > 0.0)
        .unwrap_or(1.0);
    let n_u32 = u32::try_from(n).expect("points should be fewer than 2^32");
    let mut parents: Vec<u32> = (0..n_u32).collect();
    let mut next: Vec<u32> = vec![NONE; n];
    let mut components: Vec<Component> = (0..n_u32)
        .map(|point| Component {
            size: 1,
            cluster: NONE,
            first: point,
            last: point,
        })
        .collect();
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut departures: Vec<Departure> = Vec::with_capacity(edges.len());

    for edge in edges {
        let lambda = 1.0
            / if edge.weight > 0.0 {
                edge.weight
            } else {
                smallest
            }
            .sqrt();
        let (a, b) = (root(&mut parents, edge.low), root(&mut parents, edge.high));
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
                finish(&mut clusters, cluster, lambda, &departures);
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
    chosen_labels(n, &clusters, &next)
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

fn chosen_labels(n: usize, clusters: &[Cluster], next: &[u32]) -> Vec<i32> {
    /// Points of chosen clusters, before clusters are numbered in the order of their first points.
    const UNNUMBERED: i32 = i32::MIN;
    let mut labels = vec![-1; n];
    // The last cluster holds all points; it is never chosen.
    let mut todo: Vec<u32> = clusters
        .last()
        .map_or_else(Vec::new, |root| root.children.to_vec());
    let mut cluster_of = vec![NONE; n];
    while let Some(cluster) = todo.pop() {
        let Some(&Cluster {
            first,
            last,
            children,
            better,
            ..
        }) = clusters.get(cluster as usize)
        else {
            continue;
        };
        if !better {
            todo.extend(children);
            continue;
        }
        let mut point = first;
        loop {
            labels[point as usize] = UNNUMBERED;
            cluster_of[point as usize] = cluster;
            if point == last {
                break;
            }
            point = next[point as usize];
        }
    }
    let mut numbers = vec![-1; clusters.len()];
    let mut n_labels = 0;
    for (label, &cluster) in labels
        .iter_mut()
        .zip(&cluster_of)
        .filter(|(label, _)| **label == UNNUMBERED)
    {
        let number = &mut numbers[cluster as usize];
        if *number < 0 {
            *number = n_labels;
            n_labels += 1;
        }
        *label = *number;
    }
    labels
}

fn root(parents: &mut [u32], mut n: u32) -> u32 {
    while parents[n as usize] != n {
        parents[n as usize] = parents[parents[n as usize] as usize]; // path halving
        n = parents[n as usize];
    }
    n
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("clusters should be fewer than points")
}
