//! Points and lines: what several steps need.

use crate::data::LineData;
use crate::kernels::Cutoffs;
use crate::linear_algebra::{projection, times};

/// A matrix whose determinant, divided by the number of lines cubed, is at most this is singular.
const SINGULAR: f64 = 1e-12;

/// Distances (mm) of infinite lines from a point `[x, y, z]`; NaN for a line without length.
#[must_use]
pub fn find_distances(lines: &LineData, point: [f64; 3]) -> Vec<f64> {
    let mut distances = vec![f64::NAN; lines.n_rows()];
    let (lines, mut squares) = (Lines::new(lines), Vec::new());
    lines.squared_distances(point, &mut squares);
    for (&row, square) in lines.rows.iter().zip(squares) {
        distances[row] = square.sqrt();
    }
    distances
}

/// The point `[x, y, z]` with the least sum of squared distances from infinite lines; `None` if all are parallel, or fewer than two.
#[must_use]
pub fn closest_point(lines: &LineData) -> Option<[f64; 3]> {
    let lines = Lines::new(lines);
    lines.closest_point(0..lines.len())
}

/// The bounding box `[xmin, xmax, ymin, ymax, zmin, zmax]` of the end points; `inf, -inf` for no lines.
#[must_use]
pub fn cutoffs(lines: &LineData) -> Cutoffs {
    lines.line_slice().bounding_box()
}

/// Lines ready for least squares; those without length or with values that are not finite are left out.
#[derive(Debug)]
pub(super) struct Lines {
    /// The rows that they stand in.
    pub(super) rows: Vec<usize>,
    pub(super) terms: Vec<Terms>,
    /// Points and unit directions by coordinate: `px py pz ux uy uz`.
    columns: [Vec<f64>; 6],
}

/// What a line adds to the normal equations: `I - u u^T` (xx, xy, xz, yy, yz, zz), and its product with the point.
pub(super) type Terms = [f64; 9];

impl Lines {
    pub(super) fn new(lines: &LineData) -> Self {
        let n = lines.n_rows();
        let (mut rows, mut terms) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut columns: [Vec<f64>; 6] = std::array::from_fn(|_| Vec::with_capacity(n));
        for (row, [_, x1, y1, z1, x2, y2, z2]) in lines.line_slice().rows().enumerate() {
            let (p, d) = ([*x1, *y1, *z1], [x2 - x1, y2 - y1, z2 - z1]);
            let length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
            if !(length > 0.0 && length.is_finite()) {
                continue;
            }
            let u = d.map(|d| d / length);
            let a @ [xx, xy, xz, yy, yz, zz] = projection(u);
            let [bx, by, bz] = times(&a, p);
            rows.push(row);
            terms.push([xx, xy, xz, yy, yz, zz, bx, by, bz]);
            for (column, value) in columns.iter_mut().zip(p.into_iter().chain(u)) {
                column.push(value);
            }
        }
        Self {
            rows,
            terms,
            columns,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The point with the least sum of squared distances from some of the lines.
    pub(super) fn closest_point(&self, some: impl Iterator<Item = usize>) -> Option<[f64; 3]> {
        let (mut sums, mut n) = ([0.0; 9], 0.0);
        for line in some {
            for (sum, value) in sums.iter_mut().zip(&self.terms[line]) {
                *sum += value;
            }
            n += 1.0;
        }
        solve(&sums, n)
    }

    /// Replaces `squares` by the squared distances of all lines from a point.
    pub(super) fn squared_distances(&self, point: [f64; 3], squares: &mut Vec<f64>) {
        squares.resize(self.len(), 0.0);
        squared_distances(&self.columns(), point, squares);
    }

    /// Points and unit directions by coordinate.
    pub(super) fn columns(&self) -> [&[f64]; 6] {
        let [px, py, pz, ux, uy, uz] = &self.columns;
        [px, py, pz, ux, uy, uz]
    }
}

/// The point that `n` lines' terms determine.
#[inline(always)]
pub(super) fn solve(sums: &Terms, n: f64) -> Option<[f64; 3]> {
    let [xx, xy, xz, yy, yz, zz, bx, by, bz] = sums;
    let cofactors = [
        yy * zz - yz * yz,
        xz * yz - xy * zz,
        xy * yz - xz * yy,
        xx * zz - xz * xz,
        xy * xz - xx * yz,
        xx * yy - xy * xy,
    ];
    let determinant = xx * cofactors[0] + xy * cofactors[1] + xz * cofactors[2];
    // Not `<=`: NaN is singular too.
    if determinant / (n * n * n) > SINGULAR {
        let [x, y, z] = times(&cofactors, [*bx, *by, *bz]);
        Some([x / determinant, y / determinant, z / determinant])
    } else {
        None
    }
}

/// Squared distances of lines from a point; within a `multiversion` function in its vectors.
#[inline(always)]
pub(super) fn squared_distances(
    [px, py, pz, ux, uy, uz]: &[&[f64]; 6],
    [x, y, z]: [f64; 3],
    squares: &mut [f64],
) {
    // Slices of one length: no checks, and vectors.
    let n = squares.len();
    let (px, py, pz) = (&px[..n], &py[..n], &pz[..n]);
    let (ux, uy, uz) = (&ux[..n], &uy[..n], &uz[..n]);
    for (n, square) in squares.iter_mut().enumerate() {
        let (wx, wy, wz) = (x - px[n], y - py[n], z - pz[n]);
        let cx = wy * uz[n] - wz * uy[n];
        let cy = wz * ux[n] - wx * uz[n];
        let cz = wx * uy[n] - wy * ux[n];
        *square = cx * cx + cy * cy + cz * cz;
    }
}
