//! Three numbers that are a vector.

#[inline]
pub(super) fn add(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

#[inline]
pub(super) fn scaled(a: [f64; 3], factor: f64) -> [f64; 3] {
    [a[0] * factor, a[1] * factor, a[2] * factor]
}

#[inline]
pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The vector of length 1 in this direction; `None` for none.
#[inline]
pub(super) fn unit(a: [f64; 3]) -> Option<[f64; 3]> {
    let length = dot(a, a).sqrt();
    (length > 0.0 && length.is_finite()).then(|| a.map(|x| x / length))
}

/// Two unit vectors at right angles to a unit vector and to each other; of z, these are x and y.
///
/// Duff et al., "Building an orthonormal basis, revisited", Journal of Computer Graphics Techniques 6 (2017).
#[inline]
pub(super) fn basis([x, y, z]: [f64; 3]) -> [[f64; 3]; 2] {
    let sign = 1.0_f64.copysign(z);
    let a = -1.0 / (sign + z);
    let b = x * y * a;
    [
        [1.0 + sign * x * x * a, sign * b, -sign * x],
        [b, sign + y * y * a, -y],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_is_orthonormal() {
        assert_eq!(basis([0.0, 0.0, 1.0]), [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
        for axis in [
            [1.0, 2.0, 3.0],
            [1.0, 0.0, 0.0],
            [0.3, -2.0, -9.0],
            [0.0, 0.0, -1.0],
        ] {
            let axis = unit(axis).unwrap();
            let [a, b] = basis(axis);
            for (one, other, expected) in [
                (a, a, 1.0),
                (b, b, 1.0),
                (a, b, 0.0),
                (a, axis, 0.0),
                (b, axis, 0.0),
            ] {
                assert!((dot(one, other) - expected).abs() < 1e-14);
            }
        }
        assert_eq!(unit([0.0; 3]), None);
        assert_eq!(unit([f64::NAN, 0.0, 1.0]), None);
    }
}
