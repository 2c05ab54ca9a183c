use fearless_simd::{Simd, f32x16, prelude::*};

/// Points of a leaf, and lanes of a vector.
pub(super) const LANES: usize = 16;
/// Where padding lies: far from every point (coordinates are within 1), and its square is finite in f32.
pub(super) const FAR: f32 = 1e18;
/// Below this extent, squared distances underflow in f64, and f32 copies would tell what f64 cannot.
const SMALLEST_EXTENT: f64 = 1e-140;
/// Above this extent, squared distances overflow.
const LARGEST_EXTENT: f64 = 1e150;

/// Points in the order of a recursive median split: neighbours in space are neighbours in memory.
///
/// Coordinates about the centre are scaled by a power of two to an extent of at most 1 and rounded to f32. These copies are for
/// filtering only: [`band`] bounds what they can be wrong by, and f64 decides.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    /// The index that each point had in the input.
    pub(super) order: Vec<u32>,
    /// The points in f64.
    pub(super) points: Vec<[f64; 3]>,
    /// The points in f32, padded to whole leaves.
    pub(super) xyz: [Vec<f32>; 3],
    /// Lower and upper corners of the leaves' boxes, padded to whole vectors.
    pub(super) low: [Vec<f32>; 3],
    pub(super) high: [Vec<f32>; 3],
    /// The same of blocks of 16 leaves, which are neighbours too.
    block_low: [Vec<f32>; 3],
    block_high: [Vec<f32>; 3],
    /// From squared mm to squared f32 units.
    pub(super) squared_scale: f64,
    scratch: Vec<Place>,
    todo: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    xyz: [f32; 3],
    index: u32,
}

/// More than two f32 distances may be apart while their exact order is the other way round, at `value` (squared, f32 units).
///
/// Coordinates are off by `2^-26` (they are at most 1/2) and differences by at most `2^-25 + 2^-25`, so a squared distance `D` by at
/// most `2 sqrt(3 D) 2^-24`, and rounding adds `4 2^-24 D`, with second-order terms below `2^-46`: together less than half of
/// `2^-21 (sqrt(D) + D) + 2^-44`. Two of them: twice that.
#[inline(always)]
pub(super) fn band(value: f32) -> f32 {
    const UNIT: f32 = 1.0 / (1 << 20) as f32;
    const FLOOR: f32 = UNIT * UNIT / 8.0;
    UNIT * (value.max(0.0).sqrt() + value.max(0.0)) + 2.0 * FLOOR
}

impl Leaves {
    /// Number of points.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Number of leaves.
    pub(super) fn n_leaves(&self) -> usize {
        self.points.len().div_ceil(LANES)
    }

    /// The places of a leaf's points.
    pub(super) fn places(&self, leaf: usize) -> std::ops::Range<usize> {
        leaf * LANES..self.points.len().min((leaf + 1) * LANES)
    }

    /// Squared diagonal of a leaf's box.
    pub(super) fn diagonal(&self, leaf: usize) -> f32 {
        (0..3)
            .map(|k| (self.high[k][leaf] - self.low[k][leaf]).powi(2))
            .sum()
    }

    /// A squared distance of f64, as the f32 copies would have it.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to f32 is the purpose"
    )]
    pub(super) fn to_f32(&self, squared: f64) -> f32 {
        (squared * self.squared_scale) as f32
    }

    /// Sorts points into leaves; `false` if a coordinate is not finite or squared distances would overflow.
    pub(super) fn fill(&mut self, points: &[[f64; 3]]) -> bool {
        let mut low = [f64::INFINITY; 3];
        let mut high = [f64::NEG_INFINITY; 3];
        let mut finite = true;
        for point in points {
            for k in 0..3 {
                finite &= point[k].is_finite();
                low[k] = low[k].min(point[k]);
                high[k] = high[k].max(point[k]);
            }
        }
        let extent = (0..3).map(|k| high[k] - low[k]).fold(0.0, f64::max);
        if !finite || extent > LARGEST_EXTENT {
            return false;
        }
        let scale = if extent < SMALLEST_EXTENT {
            0.0
        } else {
            reciprocal_power_of_two(extent)
        };
        self.squared_scale = scale * scale;
        let centre: [f64; 3] = std::array::from_fn(|k| low[k] + 0.5 * (high[k] - low[k]));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32 is the purpose"
        )]
        let place = |(index, point): (u32, &[f64; 3])| Place {
            xyz: std::array::from_fn(|k| ((point[k] - centre[k]) * scale) as f32),
            index,
        };
        self.scratch.clear();
        self.scratch.extend((0..).zip(points).map(place));
        self.split();

        let padded = points.len().next_multiple_of(LANES);
        self.order.clear();
        self.order
            .extend(self.scratch.iter().map(|place| place.index));
        self.points.clear();
        self.points
            .extend(self.order.iter().map(|&index| points[index as usize]));
        for k in 0..3 {
            self.xyz[k].clear();
            self.xyz[k].extend(self.scratch.iter().map(|place| place.xyz[k]));
            self.xyz[k].resize(padded, FAR);
            let leaves = self.scratch.chunks(LANES);
            let n_boxes = leaves.len().next_multiple_of(LANES);
            self.low[k].clear();
            self.high[k].clear();
            for leaf in leaves {
                let coordinates = || leaf.iter().map(|place| place.xyz[k]);
                self.low[k].push(coordinates().fold(f32::INFINITY, f32::min));
                self.high[k].push(coordinates().fold(f32::NEG_INFINITY, f32::max));
            }
            self.block_low[k].clear();
            self.block_high[k].clear();
            for (low, high) in self.low[k].chunks(LANES).zip(self.high[k].chunks(LANES)) {
                self.block_low[k].push(low.iter().copied().fold(f32::INFINITY, f32::min));
                self.block_high[k].push(high.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            }
            let n_blocks = self.block_low[k].len().next_multiple_of(LANES);
            self.block_low[k].resize(n_blocks, FAR);
            self.block_high[k].resize(n_blocks, FAR);
            self.low[k].resize(n_boxes, FAR);
            self.high[k].resize(n_boxes, FAR);
        }
        true
    }

    /// Splits at the median of the widest axis, at multiples of [`LANES`], until a part is a leaf.
    fn split(&mut self) {
        self.todo.clear();
        self.todo.push((0, self.scratch.len()));
        while let Some((start, end)) = self.todo.pop() {
            if end - start <= LANES {
                continue;
            }
            let part = &mut self.scratch[start..end];
            let mut low = [f32::INFINITY; 3];
            let mut high = [f32::NEG_INFINITY; 3];
            for place in part.iter() {
                for k in 0..3 {
                    low[k] = low[k].min(place.xyz[k]);
                    high[k] = high[k].max(place.xyz[k]);
                }
            }
            let width = |k: usize| high[k] - low[k];
            let axis = (1..3).fold(
                0,
                |widest, k| if width(k) > width(widest) { k } else { widest },
            );
            let middle = (part.len() / 2).next_multiple_of(LANES);
            part.select_nth_unstable_by(middle, |a, b| a.xyz[axis].total_cmp(&b.xyz[axis]));
            self.todo.push((start, start + middle));
            self.todo.push((start + middle, end));
        }
    }

    /// The 16 squared distances (f32) of a point to a leaf's points.
    #[inline(always)]
    pub(super) fn distances<S: Simd>(
        &self,
        simd: S,
        point: &[f32x16<S>; 3],
        leaf: usize,
    ) -> f32x16<S> {
        let [x, y, z] = lanes(simd, &self.xyz, leaf * LANES);
        length_squared(x - point[0], y - point[1], z - point[2])
    }

    /// A point's coordinates in all lanes.
    #[inline(always)]
    pub(super) fn splat<S: Simd>(&self, simd: S, place: usize) -> [f32x16<S>; 3] {
        splat(simd, &self.xyz, place)
    }
}

// Vector code has no closures and no `array::map`: what is not inlined loses the vector instructions.

/// 16 consecutive values of three columns.
#[inline(always)]
pub(super) fn lanes<S: Simd>(simd: S, columns: &[Vec<f32>; 3], first: usize) -> [f32x16<S>; 3] {
    [
        f32x16::from_slice(simd, &columns[0][first..first + LANES]),
        f32x16::from_slice(simd, &columns[1][first..first + LANES]),
        f32x16::from_slice(simd, &columns[2][first..first + LANES]),
    ]
}

/// One value of three columns, in all lanes.
#[inline(always)]
pub(super) fn splat<S: Simd>(simd: S, columns: &[Vec<f32>; 3], n: usize) -> [f32x16<S>; 3] {
    [
        f32x16::splat(simd, columns[0][n]),
        f32x16::splat(simd, columns[1][n]),
        f32x16::splat(simd, columns[2][n]),
    ]
}

#[inline(always)]
pub(super) fn length_squared<S: Simd>(x: f32x16<S>, y: f32x16<S>, z: f32x16<S>) -> f32x16<S> {
    x * x + y * y + z * z
}

/// The leaves around one leaf.
///
/// Box distances are monotone in f32, operation by operation: no point is nearer to a query than its leaf's box.
#[derive(Debug, Default)]
pub(super) struct Near {
    leaves: Vec<u32>,
    low: [Vec<f32>; 3],
    high: [Vec<f32>; 3],
    /// The list is complete up to this distance (squared).
    pub(super) radius: f32,
}

/// Leaves that may hold the other end of an edge out of a component.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest<'a> {
    /// The component of each leaf's points, if it is one.
    pub(super) components: &'a [u32],
    /// The component that the edge leaves.
    pub(super) not: u32,
    /// The lowest core distance in each leaf.
    pub(super) cores: &'a [f32],
}

impl Interest<'_> {
    #[inline(always)]
    fn has(&self, leaf: usize, radius: f32) -> bool {
        self.components[leaf] != self.not && self.cores[leaf] <= radius
    }
}

impl Near {
    /// All leaves whose box is within `radius` of the leaf's.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&mut self, simd: S, all: &Leaves, leaf: usize, radius: f32) {
        self.fill_some(simd, all, leaf, radius, None);
    }

    /// Those of them that are of `interest`.
    #[inline(always)]
    pub(super) fn fill_some<S: Simd>(
        &mut self,
        simd: S,
        all: &Leaves,
        leaf: usize,
        radius: f32,
        interest: Option<Interest<'_>>,
    ) {
        self.radius = radius;
        self.leaves.clear();
        for k in 0..3 {
            self.low[k].clear();
            self.high[k].clear();
        }
        let low = splat(simd, &all.low, leaf);
        let high = splat(simd, &all.high, leaf);
        let limit = f32x16::splat(simd, radius);
        for first_block in (0..all.block_low[0].len()).step_by(LANES) {
            let gaps = box_distances(
                simd,
                &all.block_low,
                &all.block_high,
                first_block,
                &low,
                &high,
            );
            let mut blocks = gaps.simd_le(limit).to_bitmask();
            while blocks != 0 {
                let first = (first_block + blocks.trailing_zeros() as usize) * LANES;
                blocks &= blocks - 1;
                let gaps = box_distances(simd, &all.low, &all.high, first, &low, &high);
                let mut bits = gaps.simd_le(limit).to_bitmask();
                while bits != 0 {
                    let other = first + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if interest.is_some_and(|interest| !interest.has(other, radius)) {
                        continue;
                    }
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "there are fewer leaves than points, which are u32"
                    )]
                    self.leaves.push(other as u32);
                    for k in 0..3 {
                        self.low[k].push(all.low[k][other]);
                        self.high[k].push(all.high[k][other]);
                    }
                }
            }
        }
        let padded = self.leaves.len().next_multiple_of(LANES);
        for k in 0..3 {
            self.low[k].resize(padded, FAR);
            self.high[k].resize(padded, FAR);
        }
    }

    /// Number of leaves in the list.
    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Blocks of the list.
    #[inline(always)]
    pub(super) fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.leaves.len()).step_by(LANES)
    }

    /// Which leaves of a block have boxes within `radius` of a point.
    #[inline(always)]
    pub(super) fn within<S: Simd>(
        &self,
        simd: S,
        block: usize,
        point: &[f32x16<S>; 3],
        radius: f32,
    ) -> u64 {
        let gaps = box_distances(simd, &self.low, &self.high, block, point, point);
        gaps.simd_le(f32x16::splat(simd, radius)).to_bitmask()
    }

    /// Which leaves of a block have boxes further than `inner` from a point, but within `outer`.
    #[inline(always)]
    pub(super) fn between<S: Simd>(
        &self,
        simd: S,
        block: usize,
        point: &[f32x16<S>; 3],
        inner: f32,
        outer: f32,
    ) -> u64 {
        let gaps = box_distances(simd, &self.low, &self.high, block, point, point);
        let (inner, outer) = (f32x16::splat(simd, inner), f32x16::splat(simd, outer));
        (gaps.simd_gt(inner) & gaps.simd_le(outer)).to_bitmask()
    }

    /// A leaf of the list.
    #[inline(always)]
    pub(super) fn leaf(&self, n: usize) -> usize {
        self.leaves[n] as usize
    }
}

/// Squared distances of the 16 boxes from `first` on from a box.
#[inline(always)]
fn box_distances<S: Simd>(
    simd: S,
    lows: &[Vec<f32>; 3],
    highs: &[Vec<f32>; 3],
    first: usize,
    low: &[f32x16<S>; 3],
    high: &[f32x16<S>; 3],
) -> f32x16<S> {
    let [low_x, low_y, low_z] = lanes(simd, lows, first);
    let [high_x, high_y, high_z] = lanes(simd, highs, first);
    let x = gap(simd, low_x - high[0], low[0] - high_x);
    let y = gap(simd, low_y - high[1], low[1] - high_y);
    let z = gap(simd, low_z - high[2], low[2] - high_z);
    length_squared(x, y, z)
}

/// The gap of two intervals: 0 if they meet.
#[inline(always)]
fn gap<S: Simd>(simd: S, below: f32x16<S>, above: f32x16<S>) -> f32x16<S> {
    below.max(above).max(f32x16::splat(simd, 0.0))
}

/// `1 / p` with the smallest power of two `p >= x`, exactly; for normal positive `x`.
fn reciprocal_power_of_two(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const BIAS: u64 = 1023;
    let exponent = (x.to_bits() >> 52) + u64::from(x.to_bits() & MANTISSA != 0);
    f64::from_bits((2 * BIAS - exponent) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_inverted_exactly() {
        for (x, expected) in [
            (1.0, 1.0),
            (1.5, 0.5),
            (2.0, 0.5),
            (1e-140, 2.0_f64.powi(465)),
            (3.0, 0.25),
        ] {
            assert_eq!(reciprocal_power_of_two(x), expected, "{x}");
        }
    }

    #[test]
    fn leaves_hold_every_point_once_within_its_box() {
        let points: Vec<[f64; 3]> = (0..301)
            .map(|n| [f64::from(n * n % 97), f64::from(n % 13), f64::from(n)])
            .collect();
        let mut leaves = Leaves::default();
        assert!(leaves.fill(&points));
        let mut order = leaves.order.clone();
        order.sort_unstable();
        assert_eq!(order, (0..301).collect::<Vec<_>>());
        for leaf in 0..leaves.n_leaves() {
            for place in leaves.places(leaf) {
                assert_eq!(leaves.points[place], points[leaves.order[place] as usize]);
                for k in 0..3 {
                    assert!(
                        (leaves.low[k][leaf]..=leaves.high[k][leaf])
                            .contains(&leaves.xyz[k][place])
                    );
                }
            }
        }
        assert!(!leaves.fill(&[[f64::NAN, 0.0, 0.0]]) && !leaves.fill(&[[0.0; 3], [1e200; 3]]));
    }
}
