use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use ndarray::{
    Array, Array2, Array3, ArrayView2, ArrayViewMut, Axis, CowArray, Dimension, Ix2, Ix3,
    StrideShape, Zip,
};

use super::{Attribute, Attributes, LineData};
use crate::Backend;
use crate::error::{Error, Result};
use crate::kernels::KernelError;
use crate::kernels::voxels::{self, Amount, Grid, Plane, Segments};

/// Fewest cells of an axis.
const FEWEST: usize = 2;
/// Values of a line that count: `t x1 y1 z1 x2 y2 z2`.
const LINE_COLUMNS: usize = 7;
/// Values of a line in a plane that count: `t x1 y1 x2 y2`.
const FLAT_COLUMNS: usize = 5;
/// Bytes of a cell while weights are summed: the sum in whole units, and its value.
const SUM_BYTES: usize = size_of::<u64>() + size_of::<f64>();
/// Grids of fewer bytes are made without asking how much memory there is: small ones come by the thousand.
const SMALL: u64 = 64 << 20;

/// Values in the cells of a box, an array of shape (nx, ny, nz).
pub type Voxels<T = u32> = Cells<T, Ix3>;
/// Values in the cells of a rectangle, an array of two axes: x and y, or those of another plane.
pub type Pixels<T = u32> = Cells<T, Ix2>;

/// Values in the cells of a grid: [`Voxels`] or [`Pixels`]. Counts of lines are `u32`; sums and fields are `f64`.
///
/// Arithmetic is that of [`values`](Self::values), an array of `ndarray`, and of [`map`](Self::map) and
/// [`zip_map`](Self::zip_map), which keep the grid.
///
/// ```
/// use ndarray::array;
/// use pept::data::Pixels;
///
/// let counts = Pixels::new(array![[1_u32, 2], [3, 4]], [0.0, 10.0, 0.0, 10.0])?;
/// let share = counts.map(|n| f64::from(n) / 10.0);
/// assert_eq!(share.values()[[1, 1]], 0.4);
/// assert_eq!(counts.zip_map(&counts, |a, b| a + b)?.values().sum(), 20);
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Cells<T, D: Dimension> {
    /// In standard layout, of the grid's shape; clones share them.
    values: Arc<Array<T, D>>,
    grid: Grid,
    attributes: Attributes,
}

impl<T, D: Dimension> Cells<T, D> {
    /// `values` in the order of the cells.
    fn of_values(values: Vec<T>, shape: impl Into<StrideShape<D>>, grid: Grid) -> Self {
        Self {
            values: Arc::new(
                Array::from_shape_vec(shape, values)
                    .expect("a grid should have a value for each cell"),
            ),
            grid,
            attributes: Attributes::new(),
        }
    }

    /// The values: a cell's indices along x, y and z, or along the two axes of the plane.
    #[must_use]
    pub fn values(&self) -> &Array<T, D> {
        &self.values
    }

    /// The values, to be changed in place.
    #[must_use]
    pub fn values_mut(&mut self) -> ArrayViewMut<'_, T, D>
    where
        T: Clone,
    {
        Arc::make_mut(&mut self.values).view_mut()
    }

    /// The values alone.
    #[must_use]
    pub fn into_values(self) -> Array<T, D>
    where
        T: Clone,
    {
        Arc::unwrap_or_clone(self.values)
    }

    /// All values, the last axis running fastest.
    pub(crate) fn as_slice(&self) -> &[T] {
        self.values
            .as_slice()
            .expect("values in standard layout should be contiguous")
    }

    /// The grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Number of cells along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.grid.shape()
    }

    /// Limits of each axis, minimum and maximum (mm).
    #[must_use]
    pub fn limits(&self) -> &[f64] {
        self.grid.limits()
    }

    /// Size of a cell along each axis (mm).
    #[must_use]
    pub fn cell_size(&self) -> Vec<f64> {
        self.grid.cell_size()
    }

    /// Number of cells.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.grid.n_cells()
    }

    /// Where the cells of an axis begin and end, n + 1 positions (mm).
    ///
    /// # Panics
    /// If there is no such axis.
    #[must_use]
    pub fn grid_lines(&self, axis: usize) -> Vec<f64> {
        let (n, low, high) = self.axis(axis);
        let line = |k: usize| {
            if k == n {
                high // rounding could miss it
            } else {
                low + (high - low) * k as f64 / n as f64
            }
        };
        (0..=n).map(line).collect()
    }

    /// The centres of the cells of an axis, n positions (mm).
    ///
    /// # Panics
    /// If there is no such axis.
    #[must_use]
    pub fn centers(&self, axis: usize) -> Vec<f64> {
        let (n, low, high) = self.axis(axis);
        (0..n)
            .map(|k| low + (high - low) * (2 * k + 1) as f64 / (2 * n) as f64)
            .collect()
    }

    /// Number of cells of an axis, and its limits.
    fn axis(&self, axis: usize) -> (usize, f64, f64) {
        let limits = self.limits();
        (self.shape()[axis], limits[2 * axis], limits[2 * axis + 1])
    }

    /// A function of each value; grid and attributes stay.
    #[must_use]
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> Cells<U, D>
    where
        T: Copy,
    {
        Cells {
            values: Arc::new(self.values.map(|&value| f(value))),
            grid: self.grid.clone(),
            attributes: self.attributes.clone(),
        }
    }

    /// A function of the two values of each cell; the attributes are those of the first.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the other has another grid.
    pub fn zip_map<U, V>(
        &self,
        other: &Cells<U, D>,
        mut f: impl FnMut(T, U) -> V,
    ) -> Result<Cells<V, D>>
    where
        T: Copy,
        U: Copy,
    {
        if self.grid != other.grid {
            return Err(Error::Parameter {
                name: "other",
                value: format!(
                    "{} cells within {:?} mm",
                    times(other.shape()),
                    other.limits()
                ),
                needed: "cells of the same shape, limits and plane",
            });
        }
        Ok(Cells {
            values: Arc::new(
                Zip::from(&*self.values)
                    .and(&*other.values)
                    .map_collect(|&a, &b| f(a, b)),
            ),
            grid: self.grid.clone(),
            attributes: self.attributes.clone(),
        })
    }

    /// The attributes.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The same cells with an attribute set.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: Attribute) -> Self {
        self.attributes.insert(name.into(), value);
        self
    }
}

impl<D: Dimension> Cells<u32, D> {
    /// Counts further lines, of all samples, in the same grid.
    ///
    /// # Errors
    /// [`Error::Parameter`] for too little memory; [`Error::Kernel`] for values that are NaN or infinite, and what a GPU may
    /// report. The counts are then as before.
    pub fn add_lines(&mut self, backend: &Backend, lines: &LineData) -> Result<()> {
        check_memory(self.n_cells(), size_of::<u32>())?;
        let counts = voxels::on(backend, lines.line_slice(), &self.grid)?;
        for (value, count) in self.values_mut().iter_mut().zip(counts) {
            *value = value.saturating_add(count);
        }
        Ok(())
    }
}

impl<T> Voxels<T> {
    /// `values` of shape (nx, ny, nz) within `limits` = `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm).
    ///
    /// # Errors
    /// [`Error::Parameter`] for fewer than 2 cells along an axis; [`Error::Kernel`] for limits that are not finite, inverted or
    /// without a width, and for more cells than 16,383 along an axis or 2^31 in all.
    pub fn new(values: Array3<T>, limits: [f64; 6]) -> Result<Self>
    where
        T: Clone,
    {
        let (nx, ny, nz) = values.dim();
        Ok(Self {
            grid: voxel_grid([nx, ny, nz], limits)?,
            values: Arc::new(standard(values)),
            attributes: Attributes::new(),
        })
    }

    /// Zeros (whatever the type's default is).
    ///
    /// # Errors
    /// As `new`; [`Error::Parameter`] for too little memory.
    pub fn empty(shape: [usize; 3], limits: [f64; 6]) -> Result<Self>
    where
        T: Clone + Default,
    {
        let grid = voxel_grid(shape, limits)?;
        check_memory(grid.n_cells(), size_of::<T>())?;
        Ok(Self {
            values: Arc::new(Array::from_elem(shape, T::default())),
            grid,
            attributes: Attributes::new(),
        })
    }

    /// The centre `[x, y, z]` (mm) and the value of each cell, the last axis running fastest.
    pub fn iter(&self) -> impl Iterator<Item = ([f64; 3], T)>
    where
        T: Copy,
    {
        let [x, y, z] = [0, 1, 2].map(|axis| self.centers(axis));
        self.values
            .indexed_iter()
            .map(move |((i, j, k), &value)| ([x[i], y[j], z[k]], value))
    }

    /// The sum of the layers `index - width` to `index + width` along `axis` (0, 1 or 2), as many of them as there are.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an axis or a layer that does not exist.
    pub fn slice(&self, axis: usize, index: usize, width: usize) -> Result<Pixels<T>>
    where
        T: Copy + AddAssign,
    {
        let (plane, [a, b]) = match axis {
            0 => (Plane::Yz, [1, 2]),
            1 => (Plane::Xz, [0, 2]),
            2 => (Plane::Xy, [0, 1]),
            _ => {
                return Err(Error::Parameter {
                    name: "axis",
                    value: axis.to_string(),
                    needed: "0, 1 or 2",
                });
            }
        };
        let (shape, limits) = (self.shape(), self.limits());
        let n_layers = shape[axis];
        if index >= n_layers {
            return Err(Error::Parameter {
                name: "index",
                value: format!("{index} of {n_layers} layers"),
                needed: "a layer, numbered from 0",
            });
        }
        let limits = [
            limits[2 * a],
            limits[2 * a + 1],
            limits[2 * b],
            limits[2 * b + 1],
        ];
        let grid = Grid::pixels([shape[a], shape[b]], limits, plane)?;
        let first = index.saturating_sub(width);
        let last = index.saturating_add(width).min(n_layers - 1);
        let layer = |n: usize| self.values.index_axis(Axis(axis), n);
        let mut values = standard(layer(first).to_owned());
        for n in first + 1..=last {
            Zip::from(&mut values)
                .and(layer(n))
                .for_each(|sum, &value| *sum += value);
        }
        Ok(Pixels {
            values: Arc::new(values),
            grid,
            attributes: self.attributes.clone(),
        })
    }
}

impl Voxels<u32> {
    /// Zeros in as few cells as there can be.
    pub(crate) fn smallest(&self) -> Self {
        let shape = [FEWEST; 3];
        let grid = Grid::voxels(shape, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
            .expect("a grid of few cells should be legal");
        Self::of_values(vec![0; grid.n_cells()], shape, grid)
    }

    /// Counts that a kernel made.
    pub(crate) fn of_counts(counts: Vec<u32>, grid: Grid) -> Self {
        let shape = [grid.shape()[0], grid.shape()[1], grid.shape()[2]];
        Self::of_values(counts, shape, grid)
    }

    /// The number of lines through each voxel: segments from the first to the second point, clipped to `limits`. `None`: the
    /// bounding box of all end points. Samples do not matter, and attributes are not taken over.
    ///
    /// Exact, and the same on every backend: see [`kernels::voxels`](crate::kernels::voxels).
    ///
    /// # Errors
    /// As `new`; [`Error::Parameter`] for no lines or lines in a plane where no limits are given, and for too little
    /// memory; [`Error::Kernel`] for values that are NaN or infinite, and what a GPU may report.
    pub fn from_lines(
        backend: &Backend,
        lines: &LineData,
        shape: [usize; 3],
        limits: Option<[f64; 6]>,
    ) -> Result<Self> {
        let grid = voxel_grid(shape, box_of(lines, limits)?)?;
        check_memory(grid.n_cells(), size_of::<u32>())?;
        let counts = voxels::on(backend, lines.line_slice(), &grid)?;
        Ok(Self::of_values(counts, shape, grid))
    }
}

impl Voxels<f64> {
    /// The sum over the lines through each voxel of their weights (one each; `None`: 1), or of these times the length within the
    /// voxel (mm). Otherwise as `from_lines`.
    ///
    /// # Errors
    /// As `from_lines`; [`Error::Kernel`] also for weights that are negative, not finite, or not as
    /// many as lines.
    pub fn from_weighted_lines(
        backend: &Backend,
        lines: &LineData,
        weights: Option<&[f64]>,
        amount: Amount,
        shape: [usize; 3],
        limits: Option<[f64; 6]>,
    ) -> Result<Self> {
        let grid = voxel_grid(shape, box_of(lines, limits)?)?;
        check_memory(grid.n_cells(), SUM_BYTES)?;
        let sums = voxels::sums_on(backend, lines.line_slice(), weights, amount, &grid)?;
        Ok(Self::of_values(sums, shape, grid))
    }
}

impl<T> Pixels<T> {
    /// `values` of two axes within `limits` = `[min, max, min, max]` (mm), in the plane xy.
    ///
    /// # Errors
    /// As `Voxels::new`.
    pub fn new(values: Array2<T>, limits: [f64; 4]) -> Result<Self>
    where
        T: Clone,
    {
        let (n0, n1) = values.dim();
        Ok(Self {
            grid: pixel_grid([n0, n1], limits, Plane::Xy)?,
            values: Arc::new(standard(values)),
            attributes: Attributes::new(),
        })
    }

    /// Zeros (whatever the type's default is) in the plane xy.
    ///
    /// # Errors
    /// As `Voxels::empty`.
    pub fn empty(shape: [usize; 2], limits: [f64; 4]) -> Result<Self>
    where
        T: Clone + Default,
    {
        let grid = pixel_grid(shape, limits, Plane::Xy)?;
        check_memory(grid.n_cells(), size_of::<T>())?;
        Ok(Self {
            values: Arc::new(Array::from_elem(shape, T::default())),
            grid,
            attributes: Attributes::new(),
        })
    }

    /// The same values, said to lie in another plane.
    #[must_use]
    pub fn with_plane(self, plane: Plane) -> Self {
        Self {
            grid: in_plane(&self.grid, plane),
            ..self
        }
    }

    /// The centre (mm, along the axes of the plane) and the value of each cell, the last axis running fastest.
    pub fn iter(&self) -> impl Iterator<Item = ([f64; 2], T)>
    where
        T: Copy,
    {
        let [a, b] = [0, 1].map(|axis| self.centers(axis));
        self.values
            .indexed_iter()
            .map(move |((i, j), &value)| ([a[i], b[j]], value))
    }
}

impl Pixels<u32> {
    /// The number of lines, projected to a plane, through each pixel. Otherwise as
    /// `Voxels::from_lines`.
    ///
    /// # Errors
    /// As `Voxels::from_lines`.
    pub fn from_lines(
        backend: &Backend,
        lines: &LineData,
        shape: [usize; 2],
        limits: Option<[f64; 4]>,
        plane: Plane,
    ) -> Result<Self> {
        let grid = pixel_grid(shape, rectangle_of(lines, limits, plane)?, plane)?;
        check_memory(grid.n_cells(), size_of::<u32>())?;
        let counts = voxels::on(backend, lines.line_slice(), &grid)?;
        Ok(Self::of_values(counts, shape, grid))
    }

    /// The number of lines through each pixel, of lines in the plane: rows `t x1 y1 x2 y2 ...` (ms, mm).
    ///
    /// # Errors
    /// [`Error::Columns`] for rows of less than five values; as `Voxels::from_lines`.
    pub fn from_rows(
        backend: &Backend,
        rows: ArrayView2<'_, f64>,
        shape: [usize; 2],
        limits: Option<[f64; 4]>,
    ) -> Result<Self> {
        let n_columns = rows.ncols();
        if n_columns < FLAT_COLUMNS {
            return Err(Error::Columns(format!(
                "lines in a plane need the columns t x1 y1 x2 y2, but the rows have {n_columns} values"
            )));
        }
        let rows = rows.as_standard_layout();
        let values = contiguous(&rows);
        let limits = match limits {
            Some(limits) => limits,
            None => flat_bounds(values, n_columns)?,
        };
        let grid = pixel_grid(shape, limits, Plane::Xy)?;
        check_memory(grid.n_cells(), size_of::<u32>())?;
        let counts = voxels::on(backend, Segments::flat(values, n_columns)?, &grid)?;
        Ok(Self::of_values(counts, shape, grid))
    }
}

impl Pixels<f64> {
    /// The sum over the lines, projected to a plane, through each pixel of their weights (one each; `None`: 1), or of these times
    /// the length within the pixel (mm).
    ///
    /// # Errors
    /// As `Voxels::from_weighted_lines`.
    pub fn from_weighted_lines(
        backend: &Backend,
        lines: &LineData,
        weights: Option<&[f64]>,
        amount: Amount,
        shape: [usize; 2],
        limits: Option<[f64; 4]>,
        plane: Plane,
    ) -> Result<Self> {
        let grid = pixel_grid(shape, rectangle_of(lines, limits, plane)?, plane)?;
        check_memory(grid.n_cells(), SUM_BYTES)?;
        let sums = voxels::sums_on(backend, lines.line_slice(), weights, amount, &grid)?;
        Ok(Self::of_values(sums, shape, grid))
    }
}

impl<T, D: Dimension> fmt::Display for Cells<T, D>
where
    T: Copy + Into<f64>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: &[&str] = match self.grid.plane() {
            None => &["x", "y", "z"],
            Some(Plane::Xy) => &["x", "y"],
            Some(Plane::Xz) => &["x", "z"],
            Some(Plane::Yz) => &["y", "z"],
        };
        let kind = if axes.len() == 3 { "voxels" } else { "pixels" };
        writeln!(
            f,
            "{kind}: {} cells of {} mm",
            times(self.shape()),
            times(&self.cell_size())
        )?;
        let limits: Vec<String> = axes
            .iter()
            .zip(self.limits().chunks_exact(2))
            .map(|(axis, limits)| format!("{axis} {} to {}", limits[0], limits[1]))
            .collect();
        writeln!(f, "limits: {} mm", limits.join(", "))?;
        let (mut sum, mut least, mut largest) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
        for &value in &*self.values {
            let value: f64 = value.into();
            sum += value;
            least = least.min(value);
            largest = largest.max(value);
        }
        writeln!(f, "values: sum {sum}, {least} to {largest}")?;
        let names: Vec<&str> = self.attributes.keys().map(String::as_str).collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(" ")
        };
        write!(f, "attributes: {names}")
    }
}

/// Numbers as a product.
fn times<N: ToString>(numbers: &[N]) -> String {
    let words: Vec<String> = numbers.iter().map(N::to_string).collect();
    words.join(" x ")
}

/// The same values, the last axis running fastest.
fn standard<T: Clone, D: Dimension>(values: Array<T, D>) -> Array<T, D> {
    if values.is_standard_layout() {
        values
    } else {
        values.as_standard_layout().into_owned()
    }
}

fn contiguous<'a>(rows: &'a CowArray<'_, f64, Ix2>) -> &'a [f64] {
    rows.as_slice()
        .expect("rows in standard layout should be contiguous")
}

fn voxel_grid(shape: [usize; 3], limits: [f64; 6]) -> Result<Grid> {
    check_shape(&shape)?;
    Ok(Grid::voxels(shape, limits)?)
}

fn pixel_grid(shape: [usize; 2], limits: [f64; 4], plane: Plane) -> Result<Grid> {
    check_shape(&shape)?;
    Ok(Grid::pixels(shape, limits, plane)?)
}

/// The same pixels in another plane.
fn in_plane(grid: &Grid, plane: Plane) -> Grid {
    let (shape, limits) = (grid.shape(), grid.limits());
    let limits = [limits[0], limits[1], limits[2], limits[3]];
    Grid::pixels([shape[0], shape[1]], limits, plane)
        .expect("what is a grid in one plane should be one in another")
}

fn check_shape(shape: &[usize]) -> Result<()> {
    if shape.iter().all(|&n| n >= FEWEST) {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "shape",
        value: format!("{shape:?}"),
        needed: "at least 2 cells along each axis",
    })
}

/// The limits given, or the bounding box of the lines' end points.
fn box_of(lines: &LineData, limits: Option<[f64; 6]>) -> Result<[f64; 6]> {
    if let Some(limits) = limits {
        return Ok(limits);
    }
    let bounds = lines.line_slice().bounding_box();
    check_bounds(&bounds, lines.values(), lines.columns().len(), LINE_COLUMNS)?;
    Ok(bounds)
}

/// The limits given, or the bounding rectangle of the lines' end points as seen in a plane.
fn rectangle_of(lines: &LineData, limits: Option<[f64; 4]>, plane: Plane) -> Result<[f64; 4]> {
    if let Some(limits) = limits {
        return Ok(limits);
    }
    let [x0, x1, y0, y1, z0, z1] = lines.line_slice().bounding_box();
    let bounds = match plane {
        Plane::Xy => [x0, x1, y0, y1],
        Plane::Xz => [x0, x1, z0, z1],
        Plane::Yz => [y0, y1, z0, z1],
    };
    check_bounds(&bounds, lines.values(), lines.columns().len(), LINE_COLUMNS)?;
    Ok(bounds)
}

/// The bounding rectangle of the end points of rows `t x1 y1 x2 y2 ...`.
fn flat_bounds(values: &[f64], n_columns: usize) -> Result<[f64; 4]> {
    let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut bounds = [low, high, low, high];
    for row in values.chunks_exact(n_columns) {
        for axis in 0..2 {
            let (a, b) = (row[1 + axis], row[3 + axis]);
            bounds[2 * axis] = bounds[2 * axis].min(a.min(b));
            bounds[2 * axis + 1] = bounds[2 * axis + 1].max(a.max(b));
        }
    }
    check_bounds(&bounds, values, n_columns, FLAT_COLUMNS)?;
    Ok(bounds)
}

/// Checks that a bounding box can be the limits of a grid. Of each row of `n_columns` values the first `used` count.
fn check_bounds(bounds: &[f64], values: &[f64], n_columns: usize, used: usize) -> Result<()> {
    let bad = |value: String, needed| Error::Parameter {
        name: "limits",
        value,
        needed,
    };
    if values.is_empty() {
        return Err(bad(
            "the bounding box of no lines".to_owned(),
            "give them in mm",
        ));
    }
    if !bounds.iter().all(|bound| bound.is_finite()) {
        let is_bad = |row: &[f64]| !row[..used].iter().all(|value| value.is_finite());
        let line = values.chunks_exact(n_columns).position(is_bad);
        let line = line.unwrap_or_default();
        return Err(KernelError::NotFinite { line }.into());
    }
    if bounds.chunks_exact(2).any(|pair| pair[0] >= pair[1]) {
        return Err(bad(
            format!("the bounding box {bounds:?}"),
            "a width along each axis is needed, but the lines lie in a plane; give limits in mm",
        ));
    }
    Ok(())
}

/// Checks, before a grid is allocated, that it fits the memory that is there.
///
/// # Errors
/// [`Error::Parameter`] with both sizes.
pub(crate) fn check_memory(n_cells: usize, bytes_per_cell: usize) -> Result<()> {
    let needed = (n_cells as u64).saturating_mul(bytes_per_cell as u64);
    if needed <= SMALL {
        return Ok(());
    }
    check_fits(n_cells, needed, available_memory())
}

fn check_fits(n_cells: usize, needed: u64, available: u64) -> Result<()> {
    const MB: u64 = 1_000_000;
    if needed <= available {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "shape",
        value: format!(
            "{n_cells} cells, which need {} MB of memory of {} MB available",
            needed.div_ceil(MB),
            available / MB
        ),
        needed: "choose fewer cells, or tighter limits with cells of that size",
    })
}

/// Bytes that this process can still take from the system and from its control group; no limit where that is unknown.
fn available_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let of_system = match system.available_memory() {
        0 => u64::MAX,
        available => available,
    };
    // Not its `free_memory`: that takes cached files for used, which give way.
    let of_group = system.cgroup_limits().map_or(u64::MAX, |limits| {
        limits.total_memory.saturating_sub(limits.rss)
    });
    of_system.min(of_group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ShapeBuilder, s};

    const CUBE: [f64; 6] = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0];

    /// Rows 0..70 as 10 x 7: their box is [1, 67] x [2, 68] x [3, 69].
    fn ten_lines() -> LineData {
        lines_of((0..70).map(f64::from).collect())
    }

    fn lines_of(values: Vec<f64>) -> LineData {
        LineData::new(crate::data::array_of_rows(values, 7)).unwrap()
    }

    fn ten_lines_in_voxels() -> Voxels {
        Voxels::<u32>::from_lines(&Backend::Cpu, &ten_lines(), [3, 4, 5], None).unwrap()
    }

    fn parameter<T: fmt::Debug>(result: Result<T>) -> (&'static str, String) {
        match result {
            Err(Error::Parameter {
                name,
                value,
                needed,
            }) => (name, format!("{value}: {needed}")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ten_lines_have_the_known_answer() {
        let mut expected = Array3::<u32>::zeros((3, 4, 5));
        let planes: [&[(usize, usize, u32)]; 3] = [
            &[(0, 0, 2), (0, 1, 1), (1, 1, 2)],
            &[(1, 1, 1), (1, 2, 1), (2, 2, 1), (2, 3, 1)],
            &[(2, 3, 2), (3, 3, 1), (3, 4, 2)],
        ];
        for (x, plane) in planes.into_iter().enumerate() {
            for &(y, z, n) in plane {
                expected[[x, y, z]] = n;
            }
        }
        let voxels = ten_lines_in_voxels();
        assert_eq!(voxels.values(), &expected);
        assert_eq!(voxels.limits(), [1.0, 67.0, 2.0, 68.0, 3.0, 69.0]);
        let again = Voxels::new(expected, [1.0, 67.0, 2.0, 68.0, 3.0, 69.0]).unwrap();
        assert_eq!(voxels, again);
        assert!(voxels.attributes().is_empty());
        let weighted = |amount| {
            let lines = ten_lines();
            Voxels::<f64>::from_weighted_lines(&Backend::Cpu, &lines, None, amount, [3, 4, 5], None)
                .unwrap()
        };
        assert_eq!(weighted(Amount::Once), voxels.map(f64::from));
        // Ten lines along (3, 3, 3).
        let length = weighted(Amount::Length).values().sum();
        assert!((length - 10.0 * 27.0_f64.sqrt()).abs() < 0.05);
    }

    #[test]
    fn grid_lines_and_centers_lie_within_the_limits() {
        let voxels = ten_lines_in_voxels();
        assert_eq!(voxels.grid_lines(0), [1.0, 23.0, 45.0, 67.0]);
        assert_eq!(voxels.centers(0), [12.0, 34.0, 56.0]);
        assert_eq!(voxels.grid_lines(2).len(), 6);
        assert_eq!(voxels.grid_lines(2)[5], 69.0);
        assert_eq!((voxels.shape(), voxels.n_cells()), (&[3, 4, 5][..], 60));
        assert_eq!(voxels.cell_size(), [22.0, 16.5, 13.2]);
        let cells: Vec<([f64; 3], u32)> = voxels.iter().collect();
        assert_eq!(cells.len(), 60);
        let [y, z] = [1, 2].map(|axis| voxels.centers(axis));
        assert_eq!(cells[0], ([12.0, y[0], z[0]], 2));
        assert_eq!(cells[59], ([56.0, y[3], z[4]], 2));
        let pixels = voxels.slice(1, 0, 9).unwrap();
        assert_eq!(pixels.iter().next().unwrap().0, [12.0, z[0]]);
    }

    #[test]
    fn slices_are_sums_of_layers() {
        let voxels = ten_lines_in_voxels().with_attribute("kept", Attribute::Number(1.0));
        let values = voxels.values();
        let one = voxels.slice(0, 1, 0).unwrap();
        assert_eq!(one.values(), &values.slice(s![1, .., ..]));
        assert_eq!(one.grid().plane(), Some(Plane::Yz));
        assert_eq!(one.limits(), [2.0, 68.0, 3.0, 69.0]);
        assert_eq!(one.attributes(), voxels.attributes());
        let some = voxels.slice(1, 0, 1).unwrap();
        assert_eq!(
            some.values(),
            &values.slice(s![.., 0..2, ..]).sum_axis(Axis(1))
        );
        assert_eq!(some.grid().plane(), Some(Plane::Xz));
        let all = voxels.slice(2, 3, usize::MAX).unwrap();
        assert_eq!(all.values(), &values.sum_axis(Axis(2)));
        assert_eq!(all.grid().plane(), Some(Plane::Xy));
        assert_eq!(parameter(voxels.slice(3, 0, 0)).0, "axis");
        assert!(
            parameter(voxels.slice(2, 5, 1))
                .1
                .starts_with("5 of 5 layers")
        );
    }

    #[test]
    fn grids_that_make_no_sense_are_errors() {
        let cells = |shape| parameter(Voxels::<u32>::empty(shape, CUBE)).1;
        assert!(cells([2, 1, 2]).contains("at least 2 cells"));
        assert!(cells([0, 2, 2]).contains("at least 2 cells"));
        assert_eq!(
            parameter(Pixels::new(
                Array2::<f64>::zeros((2, 1)),
                [0.0, 1.0, 0.0, 1.0]
            ))
            .0,
            "shape"
        );
        let kernel = |result: Result<Voxels>| match result {
            Err(Error::Kernel(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        for bad in [1.0, 2.0, f64::NAN, f64::NEG_INFINITY] {
            let limits = [bad, 1.0, 0.0, 1.0, 0.0, 1.0];
            assert!(kernel(Voxels::empty([2; 3], limits)).starts_with("limits"));
        }
        assert!(kernel(Voxels::empty([2, 2, 20_000], CUBE)).contains("16,383"));
        assert!(kernel(Voxels::empty([16_000; 3], CUBE)).contains("2^31"));
    }

    #[test]
    fn lines_without_a_box_need_limits() {
        let count = |lines: &LineData, limits| {
            Voxels::<u32>::from_lines(&Backend::Cpu, lines, [2; 3], limits)
        };
        let none = lines_of(Vec::new());
        assert!(parameter(count(&none, None)).1.contains("no lines"));
        assert_eq!(count(&none, Some(CUBE)).unwrap().values().sum(), 0);
        let flat = lines_of(vec![0.0, 0.1, 0.1, 0.5, 0.9, 0.9, 0.5]);
        let (name, text) = parameter(count(&flat, None));
        assert_eq!(name, "limits");
        assert!(text.contains("lie in a plane; give limits"));
        assert_eq!(count(&flat, Some(CUBE)).unwrap().values().sum(), 2);
        let in_plane = |plane| Pixels::<u32>::from_lines(&Backend::Cpu, &flat, [2; 2], None, plane);
        assert_eq!(in_plane(Plane::Xy).unwrap().values().sum(), 2);
        assert_eq!(parameter(in_plane(Plane::Yz)).0, "limits");
        let mut rows: Vec<f64> = (0..14).map(f64::from).collect();
        rows[9] = f64::INFINITY;
        assert!(matches!(
            count(&lines_of(rows), None),
            Err(Error::Kernel(KernelError::NotFinite { line: 1 }))
        ));
    }

    #[test]
    fn lines_in_a_plane_are_those_of_projected_ones() {
        let lines = ten_lines();
        let rows = lines.rows();
        for (plane, [a, b]) in [
            (Plane::Xy, [1, 2]),
            (Plane::Xz, [1, 3]),
            (Plane::Yz, [2, 3]),
        ] {
            let flat = rows.select(Axis(1), &[0, a, b, a + 3, b + 3]);
            let projected =
                Pixels::<u32>::from_lines(&Backend::Cpu, &lines, [5, 4], None, plane).unwrap();
            let found = Pixels::<u32>::from_rows(&Backend::Cpu, flat.view(), [5, 4], None).unwrap();
            assert_eq!(found.with_plane(plane), projected);
            let weighted = Pixels::<f64>::from_weighted_lines(
                &Backend::Cpu,
                &lines,
                Some(&[2.0; 10]),
                Amount::Once,
                [5, 4],
                None,
                plane,
            );
            assert_eq!(weighted.unwrap(), projected.map(|n| 2.0 * f64::from(n)));
            let by_column = flat.t().as_standard_layout().into_owned();
            let found =
                Pixels::<u32>::from_rows(&Backend::Cpu, by_column.t(), [5, 4], None).unwrap();
            assert_eq!(found.values(), projected.values());
        }
        let short = rows.slice(s![.., ..4]);
        let found = Pixels::<u32>::from_rows(&Backend::Cpu, short, [2; 2], None);
        assert!(matches!(found, Err(Error::Columns(_))));
    }

    #[test]
    fn lines_can_be_added() {
        let lines = ten_lines();
        let all = ten_lines_in_voxels();
        let limits = [1.0, 67.0, 2.0, 68.0, 3.0, 69.0];
        let mut voxels = Voxels::<u32>::empty([3, 4, 5], limits).unwrap();
        for rows in [0..4, 4..10] {
            let some = lines.slice_rows(rows).unwrap();
            voxels.add_lines(&Backend::Cpu, &some).unwrap();
        }
        assert_eq!(voxels, all);
        let twice = all.zip_map(&all, |a, b| a + b).unwrap();
        voxels.add_lines(&Backend::Cpu, &lines).unwrap();
        assert_eq!(voxels, twice);
    }

    #[test]
    fn only_cells_of_one_grid_can_be_zipped() {
        let a = Voxels::<u32>::empty([2; 3], CUBE).unwrap();
        let b = Voxels::<f64>::empty([2; 3], [0.0, 1.0, 0.0, 1.0, 0.0, 2.0]).unwrap();
        assert_eq!(parameter(a.zip_map(&b, |_, b| b)).0, "other");
        let a = Pixels::<u32>::empty([2; 2], [0.0, 1.0, 0.0, 1.0]).unwrap();
        let b = a.clone().with_plane(Plane::Xz);
        assert_eq!(parameter(a.zip_map(&b, |_, b| b)).0, "other");
    }

    #[test]
    fn values_lie_in_standard_layout_and_can_be_changed() {
        let by_column =
            Array3::from_shape_vec((2, 2, 2).f(), vec![0, 4, 2, 6, 1, 5, 3, 7]).unwrap();
        let mut voxels = Voxels::new(by_column, CUBE).unwrap();
        assert_eq!(voxels.as_slice(), [0, 1, 2, 3, 4, 5, 6, 7]);
        voxels.values_mut()[[0, 0, 1]] = 9;
        assert_eq!(voxels.into_values().sum(), 36);
    }

    #[test]
    fn a_summary_says_what_there_is() {
        let voxels = ten_lines_in_voxels().with_attribute("note", Attribute::Text("a".into()));
        assert_eq!(
            voxels.to_string(),
            "voxels: 3 x 4 x 5 cells of 22 x 16.5 x 13.2 mm\n\
             limits: x 1 to 67, y 2 to 68, z 3 to 69 mm\n\
             values: sum 14, 0 to 2\n\
             attributes: note"
        );
        let pixels = voxels.slice(0, 0, 0).unwrap().to_string();
        assert!(pixels.starts_with("pixels: 4 x 5 cells"));
        assert!(pixels.contains("limits: y 2 to 68, z 3 to 69 mm"));
    }

    #[test]
    fn grids_larger_than_the_memory_are_refused_before_they_are_made() {
        assert!(check_memory(1 << 44, 8).is_err());
        assert!(check_memory(1_000, 8).is_ok());
        assert!(check_fits(1, 100, 100).is_ok());
        let (name, text) = parameter(check_fits(5, 2_500_000, 1_999_999));
        assert_eq!(name, "shape");
        assert!(text.contains("5 cells, which need 3 MB of memory of 1 MB available"));
        assert!(text.contains("fewer cells"));
    }
}
