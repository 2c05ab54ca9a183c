use crate::error::{KernelError, Result};
use crate::line::Cutoffs;

/// Cells of an axis, at most: positions are i32 of 2^-16 cells.
const MAX_CELLS: usize = 16_383;

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
    /// an axis or 2^31 in all.
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
        Ok(Self {
            shape,
            limits,
            plane: None,
            cell: std::array::from_fn(|k| width(k) / shape[k] as f64),
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
