use std::cmp::Ordering;

use fearless_simd::{Simd, f32x16, prelude::*, u32x16};

use super::leaves::{Interest, LANES, Leaves, Near, band};
use super::{root, squared_distance, to_u32};

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
    /// The total order of edges.
    fn total_cmp(&self, other: &Self) -> Ordering {
        let by_length = self
            .weight
            .total_cmp(&other.weight)
            .then(self.distance.total_cmp(&other.distance));
        by_length.then((self.low, self.high).cmp(&(other.low, other.high)))
    }
}

/// The component of padding, and of leaves with points of several components: never that of a point.
const MIXED: u32 = u32::MAX;
/// The component of no leaf.
const NONE: u32 = u32::MAX - 1;
/// Squared f32 distances are at most 3: as good as infinite.
const EVERYTHING: f32 = 8.0;
/// The search for another component starts this far beyond the core distance, and grows by this factor (squared).
const GROWTH: f32 = 4.0;

/// What is kept between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    near: Near,
    /// Core distances in f32, padded with a value above everything.
    cores: Vec<f32>,
    /// Components by place; padded.
    component: Vec<u32>,
    /// Union-find over places.
    parents: Vec<u32>,
    sizes: Vec<u32>,
    leaf_component: Vec<u32>,
    leaf_core: Vec<f32>,
    /// By component: the place of its lowest core, its best edge so far and the places that it joins.
    lowest: Vec<u32>,
    best: Vec<Option<Best>>,
}

/// The best edge out of a component.
#[derive(Clone, Copy, Debug)]
struct Best {
    edge: Edge,
    places: [u32; 2],
    /// Nothing above this f32 weight can be better.
    limit: f32,
}

/// The edges of the minimum spanning tree in their total order. `cores` are in leaf order.
#[inline(always)]
pub(super) fn spanning_tree<S: Simd>(
    simd: S,
    leaves: &Leaves,
    cores: &[f64],
    scratch: &mut Scratch,
    edges: &mut Vec<Edge>,
) {
    edges.clear();
    scratch.start(leaves, cores);
    scratch.forest(simd, leaves, cores, edges);
    while edges.len() + 1 < leaves.len() {
        scratch.boruvka_round(simd, leaves, cores, edges);
    }
    edges.sort_unstable_by(Edge::total_cmp);
}

impl Scratch {
    fn start(&mut self, leaves: &Leaves, cores: &[f64]) {
        let n = to_u32(leaves.len());
        let padded = leaves.n_leaves() * LANES;
        self.cores.clear();
        self.cores
            .extend(cores.iter().map(|&core| leaves.to_f32(core)));
        self.cores.resize(padded, f32::MAX);
        self.parents.clear();
        self.parents.extend(0..n);
        self.sizes.clear();
        self.sizes.resize(leaves.len(), 1);
    }

    /// Joins the components of two places; `false` if they are one already.
    fn join(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (root(&mut self.parents, a), root(&mut self.parents, b));
        if a == b {
            return false;
        }
        let (big, small) = if self.sizes[a as usize] >= self.sizes[b as usize] {
            (a, b)
        } else {
            (b, a)
        };
        self.parents[small as usize] = big;
        self.sizes[big as usize] += self.sizes[small as usize];
        true
    }

    /// Every point takes its nearest one (ties: smallest index) of those with a core distance no larger than its own, within its own.
    ///
    /// That edge's weight is the point's core distance, which no edge at the point undercuts: it is the point's smallest edge in the
    /// total order, and by the cut property one of the tree.
    #[inline(always)]
    fn forest<S: Simd>(&mut self, simd: S, leaves: &Leaves, cores: &[f64], edges: &mut Vec<Edge>) {
        for leaf in 0..leaves.n_leaves() {
            let mut nearest = [Nearest::NONE; LANES];
            let mut radius = 0.0_f32;
            for (nearest, place) in nearest.iter_mut().zip(leaves.places(leaf)) {
                let core = self.cores[place];
                nearest.limit = core + band(core);
                let point = leaves.splat(simd, place);
                self.nearest_in_leaf(simd, leaves, cores, place, &point, leaf, nearest);
                radius = radius.max(nearest.limit);
            }
            self.near.fill(simd, leaves, leaf, radius);
            for (nearest, place) in nearest.iter_mut().zip(leaves.places(leaf)) {
                let point = leaves.splat(simd, place);
                for block in self.near.blocks() {
                    let mut bits = self.near.within(simd, block, &point, nearest.limit);
                    while bits != 0 {
                        let other = self.near.leaf(block + bits.trailing_zeros() as usize);
                        bits &= bits - 1;
                        if other != leaf {
                            self.nearest_in_leaf(
                                simd, leaves, cores, place, &point, other, nearest,
                            );
                        }
                    }
                }
                let Nearest {
                    distance,
                    index,
                    place: other,
                    ..
                } = *nearest;
                if other != MIXED && self.join(to_u32(place), other) {
                    let own = leaves.order[place];
                    edges.push(Edge {
                        weight: cores[place],
                        distance,
                        low: own.min(index),
                        high: own.max(index),
                    });
                }
            }
        }
    }

    /// Looks for a nearer point of no larger core distance in a leaf.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined into its two callers")]
    fn nearest_in_leaf<S: Simd>(
        &self,
        simd: S,
        leaves: &Leaves,
        cores: &[f64],
        place: usize,
        point: &[f32x16<S>; 3],
        leaf: usize,
        nearest: &mut Nearest,
    ) {
        let other_cores = f32x16::from_slice(simd, &self.cores[leaf * LANES..][..LANES]);
        let distances = leaves.distances(simd, point, leaf);
        let within = distances.simd_le(f32x16::splat(simd, nearest.limit));
        let mut bits =
            (within & other_cores.simd_le(f32x16::splat(simd, self.cores[place]))).to_bitmask();
        while bits != 0 {
            let other = leaf * LANES + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if other == place || cores[other] > cores[place] {
                continue;
            }
            let distance = squared_distance(&leaves.points[place], &leaves.points[other]);
            let index = leaves.order[other];
            if distance <= cores[place] && (distance, index) < (nearest.distance, nearest.index) {
                let value = leaves.to_f32(distance);
                *nearest = Nearest {
                    distance,
                    index,
                    place: to_u32(other),
                    limit: value + band(value),
                };
            }
        }
    }

    /// Every component but the largest takes its smallest edge to another one.
    #[inline(always)]
    fn boruvka_round<S: Simd>(
        &mut self,
        simd: S,
        leaves: &Leaves,
        cores: &[f64],
        edges: &mut Vec<Edge>,
    ) {
        let n = leaves.len();
        self.component.clear();
        for place in 0..to_u32(n) {
            let component = root(&mut self.parents, place);
            self.component.push(component);
        }
        self.component.resize(leaves.n_leaves() * LANES, MIXED);
        self.leaf_component.clear();
        self.leaf_core.clear();
        for leaf in 0..leaves.n_leaves() {
            let components = &self.component[leaves.places(leaf)];
            let one = components
                .iter()
                .all(|component| *component == components[0]);
            self.leaf_component
                .push(if one { components[0] } else { MIXED });
            self.leaf_core.push(
                self.cores[leaves.places(leaf)]
                    .iter()
                    .copied()
                    .fold(f32::MAX, f32::min),
            );
        }
        self.lowest.clear();
        self.lowest.resize(n, MIXED);
        self.best.clear();
        self.best.resize(n, None);
        let mut largest = self.component[0];
        for place in 0..n {
            let component = self.component[place];
            let lowest = &mut self.lowest[component as usize];
            if *lowest == MIXED || cores[place] < cores[*lowest as usize] {
                *lowest = to_u32(place);
            }
            if self.sizes[component as usize] > self.sizes[largest as usize] {
                largest = component;
            }
        }
        // The lowest core of each component first: its edge bounds the others' search.
        for component in (0..n).filter(|&component| component != largest as usize) {
            let lowest = self.lowest[component];
            if lowest != MIXED {
                let place = lowest as usize;
                let mut radius = GROWTH * (self.cores[place] + band(self.cores[place]));
                loop {
                    self.others(simd, leaves, place / LANES, radius, self.component[place]);
                    self.search(simd, leaves, cores, place, radius);
                    if self.best[component].is_some() || radius >= EVERYTHING {
                        break;
                    }
                    radius = (GROWTH * radius).min(EVERYTHING);
                }
            }
        }
        for leaf in 0..leaves.n_leaves() {
            if self.leaf_component[leaf] == largest {
                continue;
            }
            let mut radius = -1.0_f32;
            for place in leaves.places(leaf) {
                radius = radius.max(self.limit(place, largest));
            }
            if radius < 0.0 {
                continue;
            }
            let own = self.leaf_component[leaf];
            self.others(
                simd,
                leaves,
                leaf,
                radius,
                if own == MIXED { NONE } else { own },
            );
            for place in leaves.places(leaf) {
                let limit = self.limit(place, largest);
                if limit >= 0.0 {
                    self.search(simd, leaves, cores, place, limit);
                }
            }
        }
        for component in 0..n {
            if let Some(Best {
                edge,
                places: [a, b],
                ..
            }) = self.best[component]
                && self.join(a, b)
            {
                edges.push(edge);
            }
        }
    }

    /// Lists the leaves within `radius` of a leaf that may have better edges out of a component.
    #[inline(always)]
    fn others<S: Simd>(&mut self, simd: S, leaves: &Leaves, leaf: usize, radius: f32, not: u32) {
        let interest = Interest {
            components: &self.leaf_component,
            not,
            cores: &self.leaf_core,
        };
        self.near
            .fill_some(simd, leaves, leaf, radius, Some(interest));
    }

    /// How far a place has to look for an edge better than its component's best; negative if it has not.
    #[inline(always)]
    fn limit(&self, place: usize, largest: u32) -> f32 {
        let component = self.component[place];
        if component == largest {
            return -1.0;
        }
        let limit = self.best[component as usize].map_or(EVERYTHING, |best| best.limit);
        if self.cores[place] <= limit {
            limit
        } else {
            -1.0
        }
    }

    /// Looks for a better edge from a place to another component, up to a weight of `limit`, among the leaves in `near`.
    #[inline(always)]
    fn search<S: Simd>(
        &mut self,
        simd: S,
        leaves: &Leaves,
        cores: &[f64],
        place: usize,
        mut limit: f32,
    ) {
        let component = self.component[place];
        let point = leaves.splat(simd, place);
        let own = u32x16::splat(simd, component);
        for block in self.near.blocks() {
            let mut bits = self.near.within(simd, block, &point, limit);
            while bits != 0 {
                let leaf = self.near.leaf(block + bits.trailing_zeros() as usize);
                bits &= bits - 1;
                if self.leaf_component[leaf] == component || self.leaf_core[leaf] > limit {
                    continue;
                }
                let other_cores = f32x16::from_slice(simd, &self.cores[leaf * LANES..][..LANES]);
                let weights = leaves.distances(simd, &point, leaf).max(other_cores);
                let others =
                    u32x16::from_slice(simd, &self.component[leaf * LANES..][..LANES]).simd_eq(own);
                let mut lanes =
                    weights.simd_le(f32x16::splat(simd, limit)).to_bitmask() & !others.to_bitmask();
                while lanes != 0 {
                    let other = leaf * LANES + lanes.trailing_zeros() as usize;
                    lanes &= lanes - 1;
                    let distance = squared_distance(&leaves.points[place], &leaves.points[other]);
                    let (a, b) = (leaves.order[place], leaves.order[other]);
                    let weight = cores[place].max(cores[other]).max(distance);
                    let edge = Edge {
                        weight,
                        distance,
                        low: a.min(b),
                        high: a.max(b),
                    };
                    let best = &mut self.best[component as usize];
                    if best.is_none_or(|best| edge.total_cmp(&best.edge).is_lt()) {
                        let value = leaves.to_f32(weight);
                        limit = limit.min(value + band(value));
                        *best = Some(Best {
                            edge,
                            places: [to_u32(place), to_u32(other)],
                            limit: value + band(value),
                        });
                    }
                }
            }
        }
    }
}

/// The nearest point found so far.
#[derive(Clone, Copy, Debug)]
struct Nearest {
    distance: f64,
    index: u32,
    place: u32,
    /// Nothing above this f32 distance can be nearer.
    limit: f32,
}

impl Nearest {
    const NONE: Self = Self {
        distance: f64::INFINITY,
        index: u32::MAX,
        place: MIXED,
        limit: 0.0,
    };
}
