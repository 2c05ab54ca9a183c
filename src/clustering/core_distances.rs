use fearless_simd::{Simd, f32x16, prelude::*};

use super::leaves::{FAR, LANES, Leaves, Near, band, lanes, length_squared, splat};
use super::squared_distance;

/// A threshold is this much above the value that is expected.
const MARGIN: f32 = 1.3;
/// A threshold that held too few points grows by a factor (squared distances) within these limits.
const GROWTH: [f32; 2] = [1.3, 4.0];
/// A list of more than so many leaves that reaches this much further than needed (squared) is made anew.
const LONG: usize = 8 * LANES;
const SHRINK: f32 = 8.0;
/// Up to so many leaves the first guess in each comes from the centres of all.
const FEW_LEAVES: usize = 256;
/// The bracket of the rank is narrow enough with this many values in it.
const FEW: usize = 8;
/// How far from the rank a counting pass aims.
const AIM: f32 = 2.0;
/// Rows are padded to groups of four blocks.
const GROUP: usize = 4 * LANES;
/// [`LANES`] where places are `u32`.
const LANES_U32: u32 = 16;
/// Counting passes of a bracket, at most: beyond, ties in f32 are left to f64.
const MAX_PASSES: usize = 24;

/// What is kept between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    near: Near,
    /// f32 distances of one point, a block of 16 for each leaf in `row_leaves`.
    row: Vec<f32>,
    row_leaves: Vec<u32>,
    candidates: Vec<u32>,
    exact: Vec<f64>,
    centres: [Vec<f32>; 3],
    centre_row: Vec<f32>,
}

/// Squared distance of each point (in leaf order) to its `phi`-th nearest other point.
///
/// *Guess, then verify*: a threshold from the points before; the f32 distances within it; when they are more than `phi`, the value
/// of rank `phi` (the point itself has rank 0) is among them, whatever the guess. Counting passes bracket it; what
/// lies in the bracket, give or take the [`band`] of f32, is computed in f64, and the rank is taken there. Values below are surely
/// smaller, values above surely larger.
#[inline(always)]
pub(super) fn core_distances<S: Simd>(
    simd: S,
    leaves: &Leaves,
    phi: usize,
    scratch: &mut Scratch,
    cores: &mut Vec<f64>,
) {
    cores.clear();
    scratch.centres(leaves);
    scratch
        .row
        .resize((leaves.n_leaves() * LANES).next_multiple_of(GROUP), 0.0);
    let mut known = [FAR; LANES];
    for leaf in 0..leaves.n_leaves() {
        let mut guess = if leaf == 0 || leaves.n_leaves() <= FEW_LEAVES {
            let guess = scratch.guess(simd, leaves, leaf, phi);
            [guess / MARGIN, guess]
        } else {
            let first = leaves.splat(simd, leaf * LANES);
            next_guess(simd, leaves, &first, leaf - 1, &known)
        };
        let reach = (MARGIN * guess[1]).sqrt() + 0.5 * leaves.diagonal(leaf).sqrt();
        scratch.near.fill(simd, leaves, leaf, reach * reach);
        // Core distances (not squared) of the leaf's points so far; none is far away.
        known = [FAR; LANES];
        for (lane, place) in leaves.places(leaf).enumerate() {
            let point = leaves.splat(simd, place);
            if lane > 0 {
                guess = next_guess(simd, leaves, &point, leaf, &known);
            }
            let core = core_distance(simd, leaves, phi, place, &point, guess, scratch);
            known[lane] = leaves.to_f32(core).sqrt();
            cores.push(core);
        }
    }
}

/// What is expected for a point, and a threshold, from the core distances of its leaf's points before it.
///
/// The core distance is 1-Lipschitz: that of another point and the distance to it bound it. Often [`MARGIN`] times the smallest such
/// bound's own value is closer.
#[inline(always)]
fn next_guess<S: Simd>(
    simd: S,
    leaves: &Leaves,
    point: &[f32x16<S>; 3],
    leaf: usize,
    known: &[f32; LANES],
) -> [f32; 2] {
    let known = f32x16::from_slice(simd, known);
    let bounds = known + leaves.distances(simd, point, leaf).sqrt();
    let bound = bounds.reduce_min();
    // The known values of the lanes with that bound.
    let far = f32x16::splat(simd, FAR);
    let nearest = bounds
        .simd_le(f32x16::splat(simd, bound))
        .select(known, far)
        .reduce_min();
    let expected = nearest * nearest;
    [
        expected,
        (MARGIN * expected).min(bound * bound * (1.0 + 1e-5)),
    ]
}

impl Scratch {
    fn centres(&mut self, leaves: &Leaves) {
        for k in 0..3 {
            let corners = leaves.low[k].iter().zip(&leaves.high[k]);
            self.centres[k].clear();
            self.centres[k].extend(corners.map(|(low, high)| 0.5 * (low + high)));
        }
        self.centre_row.resize(leaves.low[0].len(), 0.0);
    }

    /// About the squared distance from a leaf's centre to its `phi`-th neighbour, from the centres of all leaves.
    #[inline(always)]
    fn guess<S: Simd>(&mut self, simd: S, leaves: &Leaves, leaf: usize, phi: usize) -> f32 {
        let [x, y, z] = splat(simd, &self.centres, leaf);
        for first in (0..self.centre_row.len()).step_by(LANES) {
            let [other_x, other_y, other_z] = lanes(simd, &self.centres, first);
            let distances = length_squared(other_x - x, other_y - y, other_z - z);
            distances.store_slice(&mut self.centre_row[first..][..LANES]);
        }
        let rank = ((phi + 1) / LANES).min(leaves.n_leaves() - 1);
        let row = &mut self.centre_row[..leaves.n_leaves()];
        let value = *row.select_nth_unstable_by(rank, f32::total_cmp).1;
        value.max(0.25 * leaves.diagonal(leaf))
    }

    /// Number of row values up to a threshold.
    #[inline(always)]
    fn count<S: Simd>(&self, simd: S, n_padded: usize, threshold: f32) -> usize {
        let threshold = f32x16::splat(simd, threshold);
        let (zero, one) = (f32x16::splat(simd, 0.0), f32x16::splat(simd, 1.0));
        let mut sums = [zero; 2];
        for group in self.row[..n_padded].chunks_exact(GROUP) {
            for block in 0..GROUP / LANES {
                let values = f32x16::from_slice(simd, &group[block * LANES..][..LANES]);
                sums[block % 2] += values.simd_le(threshold).select(one, zero);
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small whole number"
        )]
        let count = (sums[0] + sums[1]).reduce_sum() as usize;
        count
    }
}

/// How much larger a threshold has to be, if the density is even, to hold more than `phi` points instead of `n_within`.
#[inline(always)]
fn growth(phi: usize, n_within: usize) -> f32 {
    let ratio = MARGIN * (phi + 1) as f32 / n_within.max(1) as f32;
    two_thirds_power(ratio).clamp(GROWTH[0], GROWTH[1])
}

/// About `x^(2/3)`, how the squared radius goes with the volume.
#[inline(always)]
fn two_thirds_power(x: f32) -> f32 {
    0.4 * x + 0.6 * x.sqrt()
}

#[inline(always)]
fn core_distance<S: Simd>(
    simd: S,
    leaves: &Leaves,
    phi: usize,
    place: usize,
    point: &[f32x16<S>; 3],
    [expected, threshold]: [f32; 2],
    scratch: &mut Scratch,
) -> f64 {
    let mut threshold = threshold.max(4.0 * band(0.0));
    // The row: all leaves within the threshold, until it holds enough. A further try adds leaves to it.
    let mut n_values = 0;
    let mut done = -1.0;
    scratch.row_leaves.clear();
    let (n_padded, n_within) = loop {
        let radius = threshold + band(threshold);
        let near = &scratch.near;
        if radius > near.radius || (near.len() > LONG && SHRINK * radius < near.radius) {
            scratch
                .near
                .fill(simd, leaves, place / LANES, MARGIN * radius);
        }
        for block in scratch.near.blocks() {
            let mut bits = scratch.near.between(simd, block, point, done, radius);
            while bits != 0 {
                let leaf = scratch.near.leaf(block + bits.trailing_zeros() as usize);
                bits &= bits - 1;
                leaves
                    .distances(simd, point, leaf)
                    .store_slice(&mut scratch.row[n_values..][..LANES]);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "there are fewer leaves than points, which are u32"
                )]
                scratch.row_leaves.push(leaf as u32);
                n_values += LANES;
            }
        }
        done = radius;
        let n_padded = n_values.next_multiple_of(GROUP);
        for padding in (n_values..n_padded).step_by(LANES) {
            f32x16::splat(simd, FAR).store_slice(&mut scratch.row[padding..][..LANES]);
        }
        let n_within = scratch.count(simd, n_padded, threshold);
        if n_within > phi {
            break (n_padded, n_within);
        }
        threshold *= growth(phi, n_within);
    };
    // Rank phi is in (low, high]: n_low values are up to low, n_high > phi up to high. Each pass aims just across the rank, from the
    // side that is further from it: first at what is expected, then as if the density were even, then between the ends.
    let (mut low, mut high, mut n_low, mut n_high) = (-1.0_f32, threshold, 0, n_within);
    let mut last = (threshold, n_within);
    for pass in 0..MAX_PASSES {
        if n_high - n_low <= FEW {
            break;
        }
        let above = n_high - phi > phi - n_low;
        let aim = if above {
            phi as f32 + AIM
        } else {
            (phi as f32 - AIM).max(0.5)
        };
        let from = low.max(0.0);
        let share = (aim - n_low as f32) / (n_high - n_low) as f32;
        let middle = match pass {
            0 => expected,
            1 => last.0 * two_thirds_power(aim / last.1.max(1) as f32),
            _ if pass % 4 == 3 => 0.5 * (from + high),
            _ => from + share * (high - from),
        };
        let middle = if low < middle && middle < high {
            middle
        } else {
            0.5 * (from + high)
        };
        if !(low < middle && middle < high) {
            break; // nothing lies between: ties
        }
        let n = scratch.count(simd, n_padded, middle);
        last = (middle, n);
        if n > phi {
            (high, n_high) = (middle, n);
        } else {
            (low, n_low) = (middle, n);
        }
    }
    // What f32 cannot tell from the bracket's ends belongs to the candidates. The band grows with the value.
    let width = band(threshold);
    let n_below = n_low - scratch.extract(simd, n_padded, low - width, low, high + width);
    scratch.exact.clear();
    for &other in &scratch.candidates {
        let distance = squared_distance(&leaves.points[place], &leaves.points[other as usize]);
        scratch.exact.push(distance);
    }
    nth(&mut scratch.exact, phi - n_below)
}

/// The value of a rank, from 0.
#[inline(always)]
fn nth(values: &mut [f64], rank: usize) -> f64 {
    /// Up to so many are sorted by insertion.
    const SMALL: usize = 24;
    if values.len() > SMALL {
        return *values.select_nth_unstable_by(rank, f64::total_cmp).1;
    }
    for end in 1..values.len() {
        let mut n = end;
        while n > 0 && values[n] < values[n - 1] {
            values.swap(n, n - 1);
            n -= 1;
        }
    }
    values[rank]
}

impl Scratch {
    /// Candidates: the row's values in (from, to], with their places. Returns how many of them are up to `low`.
    #[inline(always)]
    fn extract<S: Simd>(
        &mut self,
        simd: S,
        n_padded: usize,
        from: f32,
        low: f32,
        to: f32,
    ) -> usize {
        self.candidates.clear();
        let mut n_up_to_low = 0;
        let (from, to) = (f32x16::splat(simd, from), f32x16::splat(simd, to));
        for first in (0..n_padded).step_by(GROUP) {
            let group = &self.row[first..first + GROUP];
            let mut bits = 0;
            for block in 0..GROUP / LANES {
                let values = f32x16::from_slice(simd, &group[block * LANES..][..LANES]);
                let inside = values.simd_gt(from) & values.simd_le(to);
                bits |= inside.to_bitmask() << (block * LANES);
            }
            while bits != 0 {
                let n = bits.trailing_zeros();
                bits &= bits - 1;
                n_up_to_low += usize::from(group[n as usize] <= low);
                let leaf = self.row_leaves[first / LANES + n as usize / LANES];
                self.candidates.push(leaf * LANES_U32 + n % LANES_U32);
            }
        }
        n_up_to_low
    }
}
