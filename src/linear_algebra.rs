//! Vectors and matrices of space, and systems of equations that are symmetric: what several steps need.

pub(crate) type Vector = [f64; 3];
pub(crate) type Matrix = [[f64; 3]; 3];
/// xx, xy, xz, yy, yz, zz
pub(crate) type Symmetric = [f64; 6];

#[inline(always)]
pub(crate) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn norm(a: Vector) -> f64 {
    dot(a, a).sqrt()
}

/// From b to a.
#[inline(always)]
pub(crate) fn difference(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn squared_distance(a: Vector, b: Vector) -> f64 {
    let d = difference(a, b);
    dot(d, d)
}

/// `v v^T`
pub(crate) fn outer(v: Vector) -> Matrix {
    v.map(|x| v.map(|y| x * y))
}

/// `I - v v^T`: onto the plane perpendicular to a unit vector.
#[inline(always)]
pub(crate) fn projection([x, y, z]: Vector) -> Symmetric {
    [
        1.0 - x * x,
        -(x * y),
        -(x * z),
        1.0 - y * y,
        -(y * z),
        1.0 - z * z,
    ]
}

#[inline(always)]
pub(crate) fn full([xx, xy, xz, yy, yz, zz]: Symmetric) -> Matrix {
    [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
}

/// A symmetric matrix times a vector.
#[inline(always)]
pub(crate) fn times([xx, xy, xz, yy, yz, zz]: &Symmetric, [x, y, z]: Vector) -> Vector {
    [
        xx * x + xy * y + xz * z,
        xy * x + yy * y + yz * z,
        xz * x + yz * y + zz * z,
    ]
}

pub(crate) fn product(matrix: &Matrix, vector: Vector) -> Vector {
    matrix.map(|row| dot(row, vector))
}

/// `v^T A v`
pub(crate) fn quadratic(matrix: &Matrix, vector: Vector) -> f64 {
    dot(vector, product(matrix, vector))
}

/// `a + factor b`
pub(crate) fn added(a: &Matrix, factor: f64, b: &Matrix) -> Matrix {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| a[row][column] + factor * b[row][column])
    })
}

pub(crate) fn scaled(matrix: &Matrix, factor: f64) -> Matrix {
    matrix.map(|row| row.map(|value| value * factor))
}

pub(crate) const IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

pub(crate) fn trace(matrix: &Matrix) -> f64 {
    matrix[0][0] + matrix[1][1] + matrix[2][2]
}

pub(crate) fn make_symmetric<const N: usize>(matrix: &mut [[f64; N]; N]) {
    for n in 1..N {
        let (above, rest) = matrix.split_at_mut(n);
        for (value, row) in rest[0].iter_mut().zip(above) {
            let mean = 0.5 * (*value + row[n]);
            (*value, row[n]) = (mean, mean);
        }
    }
}

/// `A B A^T`
pub(crate) fn sandwich<const N: usize>(a: &[[f64; N]; N], b: &[[f64; N]; N]) -> [[f64; N]; N] {
    let mut half = [[0.0; N]; N];
    for (out, row) in half.iter_mut().zip(a) {
        for (factor, other) in row.iter().zip(b) {
            for (out, value) in out.iter_mut().zip(other) {
                *out += factor * value;
            }
        }
    }
    half.map(|row| std::array::from_fn(|n| row.iter().zip(&a[n]).map(|(a, b)| a * b).sum()))
}

/// The lower triangle L of `L L^T`; none if the matrix is not positive definite, or of a diagonal element the others leave this share
/// or less.
pub(crate) fn cholesky<const N: usize>(
    matrix: &[[f64; N]; N],
    singular: f64,
) -> Option<[[f64; N]; N]> {
    let mut factor = [[0.0; N]; N];
    for row in 0..N {
        for column in 0..=row {
            let products = factor[row][..column].iter().zip(&factor[column][..column]);
            let rest = matrix[row][column] - products.map(|(a, b)| a * b).sum::<f64>();
            factor[row][column] = if row > column {
                rest / factor[column][column]
            } else if rest > singular * matrix[row][row] && rest.is_finite() {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    Some(factor)
}

/// Solves `L L^T x = b` in place.
pub(crate) fn solve<const N: usize>(factor: &[[f64; N]; N], values: &mut [f64; N]) {
    for n in 0..N {
        let products = factor[n][..n].iter().zip(&values[..n]);
        let rest = values[n] - products.map(|(a, b)| a * b).sum::<f64>();
        values[n] = rest / factor[n][n];
    }
    for n in (0..N).rev() {
        let mut rest = values[n];
        for later in n + 1..N {
            rest -= factor[later][n] * values[later];
        }
        values[n] = rest / factor[n][n];
    }
}

/// The inverse of a symmetric matrix and the logarithm of its determinant; none as in [`cholesky`].
pub(crate) fn inverse(matrix: &Matrix, singular: f64) -> Option<(Matrix, f64)> {
    let factor = cholesky(matrix, singular)?;
    let mut inverted = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for row in &mut inverted {
        solve(&factor, row);
    }
    make_symmetric(&mut inverted);
    let log_determinant = 2.0 * libm::log(factor[0][0] * factor[1][1] * factor[2][2]);
    log_determinant
        .is_finite()
        .then_some((inverted, log_determinant))
}

/// Replaces the lower triangle of a symmetric matrix of any size by its Cholesky factor; `false` if it is not positive definite.
pub(crate) fn factorize(a: &mut [f64], size: usize) -> bool {
    for row in 0..size {
        let (above, own) = a.split_at_mut(row * size);
        for column in 0..row {
            let other = &above[column * size..][..=column];
            let mut sum = own[column];
            for k in 0..column {
                sum -= own[k] * other[k];
            }
            own[column] = sum / other[column];
        }
        let mut sum = own[row];
        for value in &own[..row] {
            sum -= value * value;
        }
        // Not `<=`: NaN is not positive either.
        if sum > 0.0 {
            own[row] = sum.sqrt();
        } else {
            return false;
        }
    }
    true
}

/// Solves `L y = x` in place, after [`factorize`].
pub(crate) fn forward(factor: &[f64], size: usize, x: &mut [f64]) {
    for row in 0..size {
        let mut sum = x[row];
        for k in 0..row {
            sum -= factor[row * size + k] * x[k];
        }
        x[row] = sum / factor[row * size + row];
    }
}

/// Solves `L^T y = x` in place, after [`factorize`].
pub(crate) fn backward(factor: &[f64], size: usize, x: &mut [f64]) {
    for row in (0..size).rev() {
        let mut sum = x[row];
        for k in row + 1..size {
            sum -= factor[k * size + row] * x[k];
        }
        x[row] = sum / factor[row * size + row];
    }
}

/// Eigenvalues of a symmetric matrix, descending, and their eigenvectors, by Jacobi's rotations.
pub(crate) fn eigen(mut matrix: Matrix) -> (Vector, Matrix) {
    /// Sweeps of the eigenvalue solver: it converges in about six.
    const MAX_SWEEPS: usize = 50;
    // Its columns are the eigenvectors.
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..MAX_SWEEPS {
        let outside = matrix[0][1].abs() + matrix[0][2].abs() + matrix[1][2].abs();
        if outside <= 0.0 {
            break;
        }
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            rotate(&mut matrix, &mut vectors, p, q);
        }
    }
    let mut order = [0_usize, 1, 2];
    order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a])); // stable
    let axes = order.map(|column| vectors.map(|row| row[column]));
    (order.map(|n| matrix[n][n]), axes)
}

/// Makes `matrix[p][q]` zero.
fn rotate(matrix: &mut Matrix, vectors: &mut Matrix, p: usize, q: usize) {
    if matrix[p][q].abs() <= 0.0 {
        return;
    }
    let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    for row in matrix.iter_mut().chain(vectors) {
        let (a, b) = (row[p], row[q]);
        row[p] = cosine * a - sine * b;
        row[q] = sine * a + cosine * b;
    }
    let (a, b) = (matrix[p], matrix[q]);
    matrix[p] = std::array::from_fn(|k| cosine * a[k] - sine * b[k]);
    matrix[q] = std::array::from_fn(|k| sine * a[k] + cosine * b[k]);
    matrix[p][q] = 0.0;
    matrix[q][p] = 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_factors_solve_what_they_came_from() {
        let matrix = [[4.0, 1.0, -0.5], [1.0, 3.0, 0.25], [-0.5, 0.25, 2.0]];
        let x = [1.0, -2.0, 0.5];
        let right = product(&matrix, x);
        let mut fixed = right;
        solve(&cholesky(&matrix, 0.0).unwrap(), &mut fixed);
        let (mut factor, mut any) = (matrix.concat(), right);
        assert!(factorize(&mut factor, 3));
        forward(&factor, 3, &mut any);
        backward(&factor, 3, &mut any);
        for n in 0..3 {
            assert!((fixed[n] - x[n]).abs() < 1e-14 && (any[n] - x[n]).abs() < 1e-14);
        }
        let (inverted, log_determinant) = inverse(&matrix, 0.0).unwrap();
        let back = product(&inverted, right);
        assert!(difference(back, x).iter().all(|d| d.abs() < 1e-14));
        assert!((log_determinant - 20.75_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        for matrix in [
            [[1.0, 2.0], [2.0, 1.0]],
            [[f64::NAN, 0.0], [0.0, 1.0]],
            [[1.0, 1.0], [1.0, 1.0]],
        ] {
            assert!(cholesky(&matrix, 0.0).is_none());
            assert!(!factorize(&mut matrix.concat(), 2));
        }
        assert!(cholesky(&[[1.0, 1.0], [1.0, 1.0 + 1e-12]], 1e-10).is_none());
    }
}
