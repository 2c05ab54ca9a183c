//! Line segments as integers, and the walk from cell to cell that both backends take.
//!
//! Positions are in 2^-16 cells. Which of two axes has the next face is decided by cross-multiplication, so that nothing drifts and
//! equal ones step together: see `voxels.wgsl` for the form in one i32 per pair of axes, `walk` for how it is started anywhere along
//! the segment.

use std::ops::Range;

use super::Amount;
use super::grid::Grid;

/// Fractional bits of a position.
const BITS: u32 = 16;
const ONE: u32 = 1 << BITS;

/// A segment, clipped to the grid and rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Track {
    /// First and last cell along each axis.
    first: [u32; 3],
    last: [u32; 3],
    /// From the start to the first face that lies ahead.
    gap: [u32; 3],
    /// Extent.
    delta: [u32; 3],
    /// What it counts, in units.
    weight: u32,
}

/// A segment's way through cells: a thread's work. The shader's struct of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "gpu", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub(super) struct Walk {
    pub(super) first: u32,
    pub(super) n_steps: u32,
    pub(super) move_x: u32,
    pub(super) move_y: u32,
    pub(super) move_z: u32,
    pub(super) twice_x: i32,
    pub(super) twice_y: i32,
    pub(super) twice_z: i32,
    pub(super) xy: i32,
    pub(super) xz: i32,
    pub(super) yz: i32,
    pub(super) padding: u32,
}

/// Where the faces lie along a segment: see the shader's struct of the same name. 64-bit numbers have 32 fractional bits.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "gpu", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub(super) struct Faces {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) z: u64,
    pub(super) between_x: u64,
    pub(super) between_y: u64,
    pub(super) between_z: u64,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) weight: u32,
    pub(super) lengths: u32,
}

impl Track {
    /// `None` for a segment that misses the grid.
    pub(super) fn new(grid: &Grid, a: [f64; 3], b: [f64; 3]) -> Option<Self> {
        // Both directions give the same bits.
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        let (a, b) = clip(grid, grid.in_cells(a), grid.in_cells(b))?;
        let mut track = Self {
            first: [0; 3],
            last: [0; 3],
            gap: [ONE; 3],
            delta: [0; 3],
            weight: 1,
        };
        // Without branches: they would be mispredicted every other time.
        for k in 0..3 {
            let n = grid.n(k);
            let (a, b) = (rounded(a[k], n), rounded(b[k], n));
            let (up, down) = (u32::from(a < b), u32::from(a > b));
            // On a face it is the cell on the segment's side; within one, the upper cell, at the grid's upper face the last.
            let first = ((a - down) >> BITS).min(n - 1);
            track.first[k] = first;
            track.last[k] = ((b - up) >> BITS).min(n - 1);
            let ahead = up * (((first + 1) << BITS) - a) + down * a.wrapping_sub(first << BITS);
            track.gap[k] = ahead + (1 - up - down) * ONE;
            track.delta[k] = a.abs_diff(b);
        }
        Some(track)
    }

    /// Length in the grid's units.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a length within 16,383 cells of 2^15 units"
    )]
    fn length(&self, grid: &Grid) -> u32 {
        let cells = self.delta.map(|d| f64::from(d) / f64::from(ONE));
        (grid.length(cells) / grid.length_unit()).round() as u32
    }

    pub(super) fn with_weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// First and last plane x = const, in ascending order.
    pub(super) fn planes(&self) -> (u32, u32) {
        let (a, b) = (self.first[0], self.last[0]);
        (a.min(b), a.max(b))
    }

    /// Faces that are crossed along an axis.
    fn n_faces(&self, axis: usize) -> u32 {
        self.first[axis].abs_diff(self.last[axis])
    }

    /// The position of the n-th face of an axis, times the axis' extent.
    fn face(&self, axis: usize, n: u32) -> u64 {
        u64::from(self.gap[axis]) + (u64::from(n) << BITS)
    }

    /// How many of an axis' faces come before the n-th of x; those that come with it count if `with`.
    fn faces_before(&self, axis: usize, n: u32, with: bool) -> u32 {
        // Face m comes before where (gap + m 2^16) D_x < face_x D.
        let product = self.face(0, n) * u64::from(self.delta[axis]);
        let Some(product) = product.checked_sub(u64::from(!with)) else {
            return 0;
        };
        let position = product / u64::from(self.delta[0]);
        match position.checked_sub(u64::from(self.gap[axis])) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most the number of faces"
            )]
            Some(beyond) => ((beyond >> BITS) as u32 + 1).min(self.n_faces(axis)),
            None => 0,
        }
    }

    /// Faces crossed before the first cell within some planes x = const, and at the last one.
    fn steps_within(&self, planes: &Range<u32>) -> ([u32; 3], [u32; 3]) {
        let (first, n_x) = (self.first[0], self.n_faces(0));
        let (before, until) = if self.last[0] >= first {
            (
                planes.start.saturating_sub(first),
                (planes.end - 1).saturating_sub(first),
            )
        } else {
            (
                (first + 1).saturating_sub(planes.end),
                first.saturating_sub(planes.start),
            )
        };
        let mut from = [0; 3];
        let mut to = [n_x, self.n_faces(1), self.n_faces(2)];
        if before > 0 {
            from = [
                before,
                self.faces_before(1, before - 1, true),
                self.faces_before(2, before - 1, true),
            ];
        }
        if until < n_x {
            to = [
                until,
                self.faces_before(1, until, false),
                self.faces_before(2, until, false),
            ];
        }
        (from, to)
    }

    /// The way through the cells in some planes x = const, which the segment meets; indices count from the first plane.
    pub(super) fn walk(&self, grid: &Grid, planes: &Range<u32>) -> Walk {
        let (from, to) = self.steps_within(planes);
        let strides = [grid.n(1) * grid.n(2), grid.n(2), 1];
        let mut first = 0_u32;
        let mut moves = [0_u32; 3];
        let mut n_steps = 0;
        for k in 0..3 {
            let up = self.last[k] >= self.first[k];
            moves[k] = if up {
                strides[k]
            } else {
                strides[k].wrapping_neg()
            };
            let origin = if k == 0 { planes.start } else { 0 };
            let cell = if up {
                self.first[k] + from[k]
            } else {
                self.first[k] - from[k]
            };
            first += (cell - origin) * strides[k];
            n_steps += to[k] - from[k];
        }
        let order = |a: usize, b: usize| {
            // At most 2^30 each.
            let product = |a: usize, b: usize| {
                (self.face(a, from[a]) * u64::from(self.delta[b])).cast_signed()
            };
            let exact = product(a, b) - product(b, a);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "within twice the largest extent: below 2^31"
            )]
            {
                2 * (exact >> BITS) as i32 + i32::from(exact & i64::from(ONE - 1) != 0)
            }
        };
        let [twice_x, twice_y, twice_z] = self.delta.map(|d| 2 * d.cast_signed());
        let [move_x, move_y, move_z] = moves;
        Walk {
            first,
            n_steps,
            move_x,
            move_y,
            move_z,
            twice_x,
            twice_y,
            twice_z,
            xy: order(0, 1),
            xz: order(0, 2),
            yz: order(1, 2),
            padding: 0,
        }
    }

    /// Where the faces lie, for the same planes.
    pub(super) fn faces(&self, grid: &Grid, planes: &Range<u32>, amount: Amount) -> Faces {
        let lengths = amount == Amount::Length;
        let mut faces = Faces {
            weight: self.weight,
            lengths: u32::from(lengths),
            ..Faces::default()
        };
        if !lengths {
            return faces;
        }
        let total = self.length(grid);
        let (from, to) = self.steps_within(planes);
        let mut at = [0; 3];
        let mut between = [0; 3];
        for k in 0..3 {
            let along = |distance: u32| -> u64 {
                let exact = (u128::from(distance) * u128::from(total)) << 32;
                u64::try_from(exact / u128::from(self.delta[k])).unwrap_or(u64::MAX)
            };
            // An axis without faces has no position, one with a single face no distance.
            if self.n_faces(k) > 0 {
                at[k] = along(self.gap[k]);
            }
            if self.n_faces(k) > 1 {
                between[k] = along(ONE);
            }
        }
        let nth = |k: usize, n: u32| at[k].wrapping_add(u64::from(n).wrapping_mul(between[k]));
        let length = |position: u64| (position >> 32) as u32;
        faces.start = if from[0] > 0 {
            length(nth(0, from[0] - 1))
        } else {
            0
        };
        faces.end = if to[0] < self.n_faces(0) {
            length(nth(0, to[0]))
        } else {
            total
        };
        faces.x = nth(0, from[0]);
        faces.y = nth(1, from[1]);
        faces.z = nth(2, from[2]);
        [faces.between_x, faces.between_y, faces.between_z] = between;
        faces
    }
}

/// The part of a segment within the grid, all in cells (Liang and Barsky 1984).
fn clip(grid: &Grid, a: [f64; 3], b: [f64; 3]) -> Option<([f64; 3], [f64; 3])> {
    let inside = |x: &[f64; 3], k: usize| (0.0..=f64::from(grid.n(k))).contains(&x[k]);
    if (0..3).all(|k| inside(&a, k) && inside(&b, k)) {
        return Some((a, b)); // what follows would give the same
    }
    let d: [f64; 3] = std::array::from_fn(|k| b[k] - a[k]);
    let (mut t0, mut t1) = (0.0_f64, 1.0_f64);
    for k in 0..3 {
        let n = f64::from(grid.n(k));
        if d[k] == 0.0 {
            if !(0.0..=n).contains(&a[k]) {
                return None;
            }
        } else {
            let (enter, leave) = (-a[k] / d[k], (n - a[k]) / d[k]);
            t0 = t0.max(enter.min(leave));
            t1 = t1.min(enter.max(leave));
        }
    }
    let is_point = d.iter().all(|&d| d == 0.0);
    if t0 >= t1 && !is_point {
        return None;
    }
    let at = |t: f64, end: [f64; 3]| -> [f64; 3] {
        if t > 0.0 && t < 1.0 {
            std::array::from_fn(|k| a[k] + t * d[k])
        } else {
            end
        }
    };
    let (start, end) = (at(t0, a), at(t1, b));
    // Coordinates that overflow in cells have no place.
    let finite = start.iter().chain(&end).all(|x| x.is_finite());
    finite.then_some((start, end))
}

/// A coordinate in 2^-16 cells, half rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the grid"
)]
fn rounded(x: f64, n: u32) -> u32 {
    let x = (x * f64::from(ONE)).clamp(0.0, f64::from(n << BITS));
    // `round` is a function call on processors without SSE4.1.
    let below = x as u32;
    below + u32::from(x - f64::from(below) >= 0.5)
}

impl Walk {
    /// Visits the cells in order.
    #[inline(always)]
    pub(super) fn visit(&self, mut cell: impl FnMut(u32)) {
        let mut walk = *self;
        cell(walk.first);
        while walk.n_steps > 0 {
            walk.step();
            cell(walk.first);
        }
    }

    /// Crosses the next face, or all that come at once: the shader's `step`. Returns which, as masks of all or no bits.
    ///
    /// Without branches: they would be mispredicted every other time.
    #[inline(always)]
    fn step(&mut self) -> [i32; 3] {
        let at_most_zero = |order: i32| (order - 1) >> 31;
        let at_least_zero = |order: i32| !(order >> 31);
        let x = at_most_zero(self.xy) & at_most_zero(self.xz);
        let y = at_least_zero(self.xy) & at_most_zero(self.yz);
        let z = at_least_zero(self.xz) & at_least_zero(self.yz);
        let moved = |by: u32, mask: i32| by & mask.cast_unsigned();
        let moves = moved(self.move_x, x)
            .wrapping_add(moved(self.move_y, y))
            .wrapping_add(moved(self.move_z, z));
        self.first = self.first.wrapping_add(moves);
        self.xy += (self.twice_y & x) - (self.twice_x & y);
        self.xz += (self.twice_z & x) - (self.twice_x & z);
        self.yz += (self.twice_z & y) - (self.twice_y & z);
        self.n_steps = self.n_steps.wrapping_add_signed(x + y + z);
        [x, y, z]
    }

    /// Visits the cells in order, with what each counts.
    #[inline(always)]
    pub(super) fn weigh(&self, faces: &Faces, mut cell: impl FnMut(u32, u64)) {
        let mut walk = *self;
        let mut at = *faces;
        let mut here = at.start;
        let value = |next: u32, here: u32| -> u64 {
            let length = if faces.lengths == 1 {
                next.wrapping_sub(here).cast_signed()
            } else {
                1
            };
            (i64::from(length) * i64::from(faces.weight)).cast_unsigned()
        };
        while walk.n_steps > 0 {
            let before = walk.first;
            let [x, y, z] = walk.step();
            let mut position = at.z;
            if z != 0 {
                at.z = at.z.wrapping_add(at.between_z);
            }
            if y != 0 {
                position = at.y;
                at.y = at.y.wrapping_add(at.between_y);
            }
            if x != 0 {
                position = at.x;
                at.x = at.x.wrapping_add(at.between_x);
            }
            let next = (position >> 32) as u32;
            cell(before, value(next, here));
            here = next;
        }
        cell(walk.first, value(at.end, here));
    }
}
