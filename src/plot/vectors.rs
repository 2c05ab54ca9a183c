//! Shapes made of short lines and triangles: arrows, ellipsoids.

use super::array::finite_range;
use super::rows::Rows;
use crate::data::{Pixels, Voxels};
use crate::error::{Error, Result};

/// The head of an arrow: its share of the length, and half its opening angle (radians).
const HEAD: f64 = 0.3;
const OPENING: f64 = 0.4;
/// Steps around and from pole to pole of an ellipsoid.
const AROUND: u32 = 12;
const POLES: u32 = 6;

/// Rows `x y u v` of two grids of components, for [`add_vectors`](super::Figure2d::add_vectors).
///
/// # Errors
/// [`Error::Parameter`] if the grids differ.
pub fn vector_rows_2d(components: [&Pixels<f64>; 2]) -> Result<Vec<[f64; 4]>> {
    let [u, v] = components;
    if u.grid() != v.grid() {
        return Err(other_grid());
    }
    let places = u.iter().zip(v.values());
    Ok(places.map(|(([x, y], u), &v)| [x, y, u, v]).collect())
}

/// Rows `x y z u v w` of three grids of components, for [`add_vectors`](super::Figure3d::add_vectors).
///
/// # Errors
/// [`Error::Parameter`] if the grids differ.
pub fn vector_rows(components: [&Voxels<f64>; 3]) -> Result<Vec<[f64; 6]>> {
    let [u, v, w] = components;
    if u.grid() != v.grid() || u.grid() != w.grid() {
        return Err(other_grid());
    }
    let places = u.iter().zip(v.values()).zip(w.values());
    Ok(places
        .map(|((([x, y, z], u), &v), &w)| [x, y, z, u, v, w])
        .collect())
}

fn other_grid() -> Error {
    Error::Parameter {
        name: "components",
        value: "different grids".to_owned(),
        needed: "grids of the same shape and limits",
    }
}

/// Arrows of rows `x y u v` as lines with gaps.
pub(super) fn arrows(rows: &Rows<'_>, factor: f64) -> [Vec<f64>; 2] {
    let norm = |row: &[f64]| row[2].hypot(row[3]);
    let longest = (0..rows.len())
        .map(|row| norm(rows.row(row)))
        .filter(|norm| norm.is_finite())
        .fold(0.0, f64::max);
    let side = |column: usize| {
        let range = finite_range(&rows.column(column));
        range.map_or(0.0, |(low, high)| high - low)
    };
    // The mean distance of arrows that fill a rectangle, or a line.
    let [width, height] = [side(0), side(1)];
    let n = (rows.len() as f64).max(2.0);
    let apart = if width > 0.0 && height > 0.0 {
        (width * height / n).sqrt()
    } else {
        width.max(height).max(1.0) / n
    };
    let scale = if longest > 0.0 {
        factor * apart / longest
    } else {
        0.0
    };
    let mut lines = [Vec::new(), Vec::new()];
    for row in 0..rows.len() {
        let row = rows.row(row);
        let [x, y, u, v] = [row[0], row[1], row[2] * scale, row[3] * scale];
        if !(u.is_finite() && v.is_finite()) || (u == 0.0 && v == 0.0) {
            continue;
        }
        let tip = [x + u, y + v];
        let barb = |angle: f64| {
            let (sin, cos) = angle.sin_cos();
            [
                tip[0] - HEAD * (u * cos - v * sin),
                tip[1] - HEAD * (u * sin + v * cos),
            ]
        };
        let gap = [f64::NAN; 2];
        for point in [[x, y], tip, gap, barb(OPENING), tip, barb(-OPENING), gap] {
            lines[0].push(point[0]);
            lines[1].push(point[1]);
        }
    }
    lines
}

/// Adds the surface `center + scale * L * (unit sphere)`, where `L L^T` is the covariance `xx xy xz yy yz zz`.
pub(super) fn ellipsoid(
    center: &[f64],
    covariance: &[f64],
    scale: f64,
    corners: &mut [Vec<f64>; 3],
    faces: &mut [Vec<u32>; 3],
) {
    let &[xx, xy, xz, yy, yz, zz] = covariance else {
        return;
    };
    // Cholesky; what is not positive definite is drawn flat.
    let root = |square: f64| square.max(0.0).sqrt();
    let over = |value: f64, by: f64| if by > 0.0 { value / by } else { 0.0 };
    let l11 = root(xx);
    let [l21, l31] = [over(xy, l11), over(xz, l11)];
    let l22 = root(yy - l21 * l21);
    let l32 = over(yz - l21 * l31, l22);
    let l33 = root(zz - l31 * l31 - l32 * l32);
    let Ok(first) = u32::try_from(corners[0].len()) else {
        return; // more than a page can hold
    };
    for pole in 0..=POLES {
        let (sin, cos) = (f64::from(pole) * std::f64::consts::PI / f64::from(POLES)).sin_cos();
        for around in 0..AROUND {
            let (s, c) = (f64::from(around) * std::f64::consts::TAU / f64::from(AROUND)).sin_cos();
            let unit = [sin * c * scale, sin * s * scale, cos * scale];
            corners[0].push(center[0] + l11 * unit[0]);
            corners[1].push(center[1] + l21 * unit[0] + l22 * unit[1]);
            corners[2].push(center[2] + l31 * unit[0] + l32 * unit[1] + l33 * unit[2]);
        }
    }
    for pole in 0..POLES {
        for around in 0..AROUND {
            let next = (around + 1) % AROUND;
            let at = |pole: u32, around: u32| first + pole * AROUND + around;
            let [a, b] = [at(pole, around), at(pole, next)];
            let [c, d] = [at(pole + 1, around), at(pole + 1, next)];
            for triangle in [[a, c, b], [b, c, d]] {
                for (list, corner) in faces.iter_mut().zip(triangle) {
                    list.push(corner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_arrow_is_as_long_as_arrows_are_apart() {
        let rows: Vec<[f64; 4]> = (0..100)
            .map(|n| [f64::from(n % 10), f64::from(n / 10), 2.0, 0.0])
            .collect();
        let rows = Rows::from(&rows).named(&["x", "y", "u", "v"]).unwrap();
        let [x, y] = arrows(&rows, 1.0);
        assert_eq!(x.len(), 700);
        assert!((x[1] - x[0] - 0.9).abs() < 1e-12 && y[1] == y[0]);
        let still = [[0.0, 0.0, 0.0, 0.0]];
        assert!(arrows(&Rows::from(&still), 1.0)[0].is_empty());
    }

    #[test]
    fn an_ellipsoid_reaches_as_far_as_its_deviations() {
        let (mut corners, mut faces) = (Default::default(), Default::default());
        let covariance = [4.0, 0.0, 0.0, 9.0, 0.0, 1.0];
        ellipsoid(
            &[10.0, 0.0, 0.0],
            &covariance,
            1.0,
            &mut corners,
            &mut faces,
        );
        let reach = |axis: usize| finite_range(&corners[axis]).unwrap();
        assert!((reach(0).1 - 12.0).abs() < 1e-12 && (reach(1).1 - 3.0).abs() < 1e-12);
        assert!((reach(2).1 - 1.0).abs() < 1e-12);
        let last = *faces.iter().flatten().max().unwrap();
        assert_eq!(last as usize, corners[0].len() - 1);
    }
}
