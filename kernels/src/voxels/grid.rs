use crate::error::{KernelError, Result};
use crate::line::Cutoffs;

/// Cells of an axis, at most: positions are i32 of 2^-16 cells.
const MAX_CELLS: usize = 16_383;
/// Widths (mm) up to which, and cells (mm) from which on, squares of lengths are f64 with all their digits.
const MAX_WIDTH: f64 = 1e150;
const MIN_CELL: f64 = 1e-150;

/// A plane that lines are projected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Plane {
    /// Along z.
    #[default]
    Xy,
    /// Along y.
    Xz,
    /// Along x.
    Yz,
}

/// A box that is divided into equal cells: voxels, or pixels in a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    shape: [usize; 3],
    limits: Cutoffs,
    plane: Option<Plane>,
    /// Size of a cell along each axis, and cells in a mm.
    cell: [f64; 3],
    per_mm: [f64; 3],
}

impl Grid {
    /// `shape` voxels within `limits` = `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm).
    ///
    /// # Errors
    /// [`KernelError::Parameter`] for limits that are not finite or inverted or have no width, for no cells, or more than 16,383 along
    /// an axis or 2^31 in all; for lengths whose squares f64 cannot hold (a box wider than 1e150 mm, cells below 1e-150 mm).
    pub fn voxels(shape: [usize; 3], limits: Cutoffs) -> Result<Self> {
        let bad = |name, value: String, needed| KernelError::Parameter {
            name,
            value,
            needed,
        };
        if !limits.chunks(2).all(|limits| {
            let width = limits[1] - limits[0];
            width > 0.0 && width.is_finite()
        }) {
            return Err(bad(
                "limits",
                format!("{limits:?}"),
                "finite limits, each minimum below its maximum",
            ));
        }
        let legal = |n: &usize| (1..=MAX_CELLS).contains(n);
        let n_cells = shape.iter().try_fold(1_usize, |n, m| n.checked_mul(*m));
        if !shape.iter().all(legal) || n_cells.is_none_or(|n| n > 1 << 31) {
            return Err(bad(
                "shape",
                format!("{shape:?}"),
                "1 to 16,383 cells along each axis, 2^31 in all at most",
            ));
        }
        let width = |k: usize| limits[2 * k + 1] - limits[2 * k];
        let cell: [f64; 3] = std::array::from_fn(|k| width(k) / shape[k] as f64);
        if !(0..3).all(|k| width(k) <= MAX_WIDTH && cell[k] >= MIN_CELL) {
            return Err(bad(
                "limits",
                format!("{limits:?}"),
                "at most 1e150 mm wide, with cells of 1e-150 mm or more",
            ));
        }
        Ok(Self {
            shape,
            limits,
            plane: None,
            cell,
            per_mm: std::array::from_fn(|k| shape[k] as f64 / width(k)),
        })
    }

    /// `shape` pixels within `limits` = `[min, max, min, max]` (mm) of a plane, to which lines are projected.
    ///
    /// # Errors
    /// As [`voxels`](Self::voxels).
    pub fn pixels(shape: [usize; 2], limits: [f64; 4], plane: Plane) -> Result<Self> {
        let [a, b, c, d] = limits;
        let grid = Self::voxels([shape[0], shape[1], 1], [a, b, c, d, 0.0, 1.0])?;
        Ok(Self {
            plane: Some(plane),
            ..grid
        })
    }

    /// Number of cells along each axis: three, or two in a plane.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape[..self.n_axes()]
    }

    /// Limits of each axis, minimum and maximum (mm).
    #[must_use]
    pub fn limits(&self) -> &[f64] {
        &self.limits[..2 * self.n_axes()]
    }

    /// Size of a cell along each axis (mm).
    #[must_use]
    pub fn cell_size(&self) -> Vec<f64> {
        self.cell[..self.n_axes()].to_vec()
    }

    /// Number of cells. A grid's values lie in memory with the last axis running fastest.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.shape.iter().product()
    }

    fn n_axes(&self) -> usize {
        if self.plane.is_some() { 2 } else { 3 }
    }

    /// Number of cells along an axis.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 16,383: checked in `voxels`"
    )]
    pub(super) fn n(&self, axis: usize) -> u32 {
        self.shape[axis] as u32
    }

    /// Cells of a plane x = const.
    pub(super) fn plane_cells(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// The unit of lengths (mm): no chord of a cell is longer than 2^15 of them.
    pub(super) fn length_unit(&self) -> f64 {
        self.length([1.0; 3]) / 32_768.0
    }

    /// The plane of pixels; none for voxels.
    #[must_use]
    pub fn plane(&self) -> Option<Plane> {
        self.plane
    }

    /// A point (as seen in the grid's plane) in cells.
    pub(super) fn in_cells(&self, point: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|k| {
            let cells = (point[k] - self.limits[2 * k]) * self.per_mm[k];
            // The factor is rounded: what lies in the upper face may come out above it.
            if point[k] <= self.limits[2 * k + 1] {
                cells.min(self.shape[k] as f64)
            } else {
                cells
            }
        })
    }

    /// Length of a vector given in cells (mm).
    pub(super) fn length(&self, cells: [f64; 3]) -> f64 {
        let squared: f64 = (0..self.n_axes())
            .map(|axis| (cells[axis] * self.cell[axis]).powi(2))
            .sum();
        squared.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::line::LineSlice;
    use crate::voxels::{Amount, sums_on};

    #[test]
    fn lengths_whose_squares_f64_cannot_hold_are_refused() {
        for (n, width, legal) in [
            (1, 1e150, true),
            (16_383, 1e150, true),
            (1, 1.1e150, false),
            (16_383, 1e300, false),
            (1, 1e-150, true),
            (100, 1.1e-148, true),
            (1, 0.9e-150, false),
            (100, 0.9e-148, false),
            (1, 5e-324, false),
        ] {
            let refused = |result: Result<Grid>| match result {
                Ok(_) => false,
                Err(KernelError::Parameter { name, .. }) => name == "limits",
                Err(error) => panic!("{error:?}"),
            };
            let voxels = |k: usize| {
                let (mut shape, mut limits) = ([1; 3], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
                shape[k] = n;
                limits[2 * k + 1] = width;
                Grid::voxels(shape, limits)
            };
            for k in 0..3 {
                assert_eq!(refused(voxels(k)), !legal, "{n} cells in {width} mm");
            }
            let pixels = Grid::pixels([1, n], [0.0, 1.0, 0.0, width], Plane::Xz);
            assert_eq!(refused(pixels), !legal, "{n} pixels in {width} mm");
        }
    }

    #[test]
    fn chords_are_as_long_as_the_cells_at_any_legal_scale() {
        for size in [1e-149, 1.0, 1e149] {
            let limits = [0.0, size, 0.0, size, 0.0, size];
            let grid = Grid::voxels([2, 1, 1], limits).unwrap();
            let line = [
                0.0,
                0.0,
                0.5 * size,
                0.5 * size,
                size,
                0.5 * size,
                0.5 * size,
            ];
            let lines = LineSlice::from_rows(std::slice::from_ref(&line));
            let sums = sums_on(&Backend::Cpu, lines, None, Amount::Length, &grid).unwrap();
            for sum in sums {
                assert!((sum / size - 0.5).abs() < 1e-4, "{sum} of {size}");
            }
        }
    }
}
