//! Points and lines: what several steps need.

use crate::data::LineData;
use crate::kernels::Cutoffs;

/// A matrix whose determinant, divided by the number of lines cubed, is at most this is singular.
const SINGULAR: f64 = 1e-12;

/// Distances (mm) of infinite lines from a point `[x, y, z]`; NaN for a line without length.
#[must_use]
pub fn find_distances(lines: &LineData, point: [f64; 3]) -> Vec<f64> {
    let (lines, mut distances) = (Lines::new(lines), Vec::new());
    lines.distances(point, &mut distances);
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

/// Lines ready for least squares.
#[derive(Debug)]
pub(super) struct Lines {
    rows: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    /// `I - u u^T`: xx, xy, xz, yy, yz, zz, and its product with the point.
    a: [f64; 6],
    b: [f64; 3],
    u: [f64; 3],
    p: [f64; 3],
}

impl Lines {
    pub(super) fn new(lines: &LineData) -> Self {
        let line = |[_, x1, y1, z1, x2, y2, z2]: &[f64; 7]| {
            let (p, d) = ([*x1, *y1, *z1], [x2 - x1, y2 - y1, z2 - z1]);
            let length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
            let u @ [x, y, z] = d.map(|d| d / length);
            let a = [
                1.0 - x * x,
                -(x * y),
                -(x * z),
                1.0 - y * y,
                -(y * z),
                1.0 - z * z,
            ];
            Line {
                a,
                b: product(&a, p),
                u,
                p,
            }
        };
        Self {
            rows: lines.line_slice().rows().map(line).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The point with the least sum of squared distances from some of the lines.
    pub(super) fn closest_point(&self, some: impl Iterator<Item = usize>) -> Option<[f64; 3]> {
        let (mut a, mut b, mut n) = ([0.0; 6], [0.0; 3], 0.0);
        for line in some.map(|n| &self.rows[n]) {
            for (sum, value) in a.iter_mut().zip(line.a) {
                *sum += value;
            }
            for (sum, value) in b.iter_mut().zip(line.b) {
                *sum += value;
            }
            n += 1.0;
        }
        let [xx, xy, xz, yy, yz, zz] = a;
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
            Some(product(&cofactors, b).map(|v| v / determinant))
        } else {
            None
        }
    }

    /// Replaces `distances` by those of all lines from a point.
    pub(super) fn distances(&self, [x, y, z]: [f64; 3], distances: &mut Vec<f64>) {
        distances.clear();
        distances.extend(self.rows.iter().map(|Line { u, p, .. }| {
            let w = [x - p[0], y - p[1], z - p[2]];
            let c = [
                w[1] * u[2] - w[2] * u[1],
                w[2] * u[0] - w[0] * u[2],
                w[0] * u[1] - w[1] * u[0],
            ];
            (c[0] * c[0] + c[1] * c[1] + c[2] * c[2]).sqrt()
        }));
    }
}

/// A symmetric matrix times a vector.
fn product([xx, xy, xz, yy, yz, zz]: &[f64; 6], [x, y, z]: [f64; 3]) -> [f64; 3] {
    [
        xx * x + xy * y + xz * z,
        xy * x + yy * y + yz * z,
        xz * x + yz * y + zz * z,
    ]
}
