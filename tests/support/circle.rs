//! How well points lie on a circle in space.

/// Least-squares plane and circle of points: radius, rms of the radial and of the out-of-plane residuals.
pub(crate) struct Circle {
    pub(crate) radius: f64,
    pub(crate) rms_radial: f64,
    pub(crate) rms_plane: f64,
}

/// The plane z = a + b x + c y, then the circle within it (Kasa). For planes that are not upright.
pub(crate) fn fit(points: &[[f64; 3]]) -> Circle {
    let n = points.len() as f64;
    let centre: [f64; 3] = std::array::from_fn(|k| points.iter().map(|p| p[k]).sum::<f64>() / n);
    let d: Vec<[f64; 3]> = points
        .iter()
        .map(|p| std::array::from_fn(|k| p[k] - centre[k]))
        .collect();
    let [b, c] = least_squares(d.iter().map(|p| ([p[0], p[1]], p[2])));
    // Orthonormal axes: two in the plane, and its normal.
    let unit = |v: [f64; 3]| {
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.map(|x| x / length)
    };
    let first = unit([1.0, 0.0, b]);
    let normal = unit([-b, -c, 1.0]);
    let second = [
        normal[1] * first[2] - normal[2] * first[1],
        normal[2] * first[0] - normal[0] * first[2],
        normal[0] * first[1] - normal[1] * first[0],
    ];
    let along = |p: &[f64; 3], axis: &[f64; 3]| p.iter().zip(axis).map(|(a, b)| a * b).sum::<f64>();
    let flat: Vec<[f64; 3]> = d
        .iter()
        .map(|p| [along(p, &first), along(p, &second), along(p, &normal)])
        .collect();
    let [x0, y0, k] = least_squares(
        flat.iter()
            .map(|p| ([2.0 * p[0], 2.0 * p[1], 1.0], p[0] * p[0] + p[1] * p[1])),
    );
    let radius = (k + x0 * x0 + y0 * y0).sqrt();
    let rms = |residual: &dyn Fn(&[f64; 3]) -> f64| {
        (flat.iter().map(|p| residual(p).powi(2)).sum::<f64>() / n).sqrt()
    };
    let rms_radial = rms(&|p| (p[0] - x0).hypot(p[1] - y0) - radius);
    Circle {
        radius,
        rms_radial,
        rms_plane: rms(&|p| p[2]),
    }
}

fn least_squares<const N: usize>(rows: impl Iterator<Item = ([f64; N], f64)>) -> [f64; N] {
    let mut a = [[0.0; N]; N];
    let mut b = [0.0; N];
    for (row, value) in rows {
        for i in 0..N {
            b[i] += row[i] * value;
            for j in 0..N {
                a[i][j] += row[i] * row[j];
            }
        }
    }
    for i in 0..N {
        for r in (0..N).filter(|&r| r != i) {
            let factor = a[r][i] / a[i][i];
            let pivot_row = a[i];
            for (value, pivot) in a[r].iter_mut().zip(pivot_row) {
                *value -= factor * pivot;
            }
            b[r] -= factor * b[i];
        }
    }
    std::array::from_fn(|i| b[i] / a[i][i])
}
