use std::array::from_fn;

use serde::{Deserialize, Serialize};

use crate::data::{Attribute, PointData};
use crate::error::{Error, Result};
use crate::linear_algebra::eigen;
use crate::pipeline::{Context, Reducer};

/// Three vectors, or a 3 x 3 matrix by rows.
type Matrix = [[f64; 3]; 3];

/// Turns points so that their principal axes are the coordinate axes.
///
/// The axes are the eigenvectors of the covariance (n - 1) of x, y, z over all points. The most spread one becomes the
/// first of `dimensions`. A row becomes `(p - origin) * basis + origin`: the columns of `basis` are the axes, by default
/// `origin` is the mean. The first two axes point to where their largest component is positive, and the third makes the
/// determinant +1.
///
/// Samples stay. The attributes `basis` (9 numbers, row after row) and `origin` (mm) let another data set be turned in the
/// same way; `eigenvalues` are the variances along this data's axes (mm², descending). Only x, y, z are turned,
/// other columns are unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reorient {
    dimensions: String,
    basis: Option<Matrix>,
    origin: Option<[f64; 3]>,
}

impl Default for Reorient {
    fn default() -> Self {
        Self {
            dimensions: "xyz".into(),
            basis: None,
            origin: None,
        }
    }
}

impl Reorient {
    /// The most spread axis becomes x, the least spread one z.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the axes become, the most spread one first: the letters x, y, z in any order.
    #[must_use]
    pub fn dimensions(self, dimensions: impl Into<String>) -> Self {
        Self {
            dimensions: dimensions.into(),
            ..self
        }
    }

    /// A basis to use as it is, its axes in the columns; `dimensions` do not matter then.
    #[must_use]
    pub fn basis(self, basis: [[f64; 3]; 3]) -> Self {
        Self {
            basis: Some(basis),
            ..self
        }
    }

    /// The point (mm) that stays where it is.
    #[must_use]
    pub fn origin(self, origin: [f64; 3]) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    /// The coordinates that the axes become.
    fn order(&self) -> Result<[usize; 3]> {
        let letters: Option<Vec<usize>> = self.dimensions.chars().map(|c| "xyz".find(c)).collect();
        let order = letters.and_then(|letters| <[usize; 3]>::try_from(letters).ok());
        order
            .filter(|order| (0..3).all(|axis| order.contains(&axis)))
            .ok_or_else(|| Error::Parameter {
                name: "dimensions",
                value: self.dimensions.clone(),
                needed: "the letters x, y and z in any order",
            })
    }
}

impl Reducer for Reorient {
    type Input = PointData;
    type Output = PointData;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        self.order()?;
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        if let Some(basis) = self.basis.filter(|basis| !finite(basis.as_flattened())) {
            return Err(Error::Parameter {
                name: "basis",
                value: format!("{basis:?}"),
                needed: "three rows of three numbers",
            });
        }
        if let Some(origin) = self.origin.filter(|origin| !finite(origin)) {
            return Err(Error::Parameter {
                name: "origin",
                value: format!("{origin:?}"),
                needed: "three coordinates in mm",
            });
        }
        Ok(())
    }

    fn reduce(&self, tables: Vec<PointData>, context: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        let positions = points.positions();
        let bad = |position: &[f64; 3]| position.iter().any(|value| !value.is_finite());
        if let Some(row) = positions.iter().position(bad) {
            return Err(Error::NotFinite {
                sample: context.sample,
                row,
            });
        }
        let mean = mean(&positions);
        let (eigenvalues, axes) = eigen(covariance(&positions, &mean));
        let basis = match self.basis {
            Some(basis) => basis,
            None => basis(&axes, self.order()?),
        };
        let origin = self.origin.unwrap_or(mean);
        let mut values = points.values().to_vec();
        for row in values.chunks_exact_mut(points.columns().len()) {
            let shifted: [f64; 3] = from_fn(|axis| row[axis + 1] - origin[axis]);
            let turned: [f64; 3] = from_fn(|column| {
                let products = shifted.iter().zip(&basis).map(|(p, row)| p * row[column]);
                products.sum::<f64>() + origin[column]
            });
            row[1..4].copy_from_slice(&turned);
        }
        let array = |values: &[f64]| Attribute::Array(values.to_vec());
        Ok(points
            .with_values(values)
            .with_attribute("basis", array(basis.as_flattened()))
            .with_attribute("origin", array(&origin))
            .with_attribute("eigenvalues", array(&eigenvalues)))
    }
}

/// NaN without points.
fn mean(positions: &[[f64; 3]]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for position in positions {
        for (sum, value) in sums.iter_mut().zip(position) {
            *sum += value;
        }
    }
    sums.map(|sum| sum / positions.len() as f64)
}

/// Divided by n - 1; zero for fewer than two points.
fn covariance(positions: &[[f64; 3]], mean: &[f64; 3]) -> Matrix {
    let mut sums = [[0.0; 3]; 3];
    for position in positions {
        let difference: [f64; 3] = from_fn(|axis| position[axis] - mean[axis]);
        for (row, a) in sums.iter_mut().zip(difference) {
            for (sum, b) in row.iter_mut().zip(difference) {
                *sum += a * b;
            }
        }
    }
    if positions.len() < 2 {
        return [[0.0; 3]; 3];
    }
    let n = (positions.len() - 1) as f64;
    sums.map(|row| row.map(|sum| sum / n))
}

/// A right-handed basis, whose column `order[n]` is the n-th axis.
fn basis(axes: &Matrix, order: [usize; 3]) -> Matrix {
    let (first, second) = (upright(axes[0]), upright(axes[1]));
    let third = cross(first, second);
    // The cross product is right-handed in this order; an odd permutation of it needs the opposite.
    let even = matches!(order, [0, 1, 2] | [1, 2, 0] | [2, 0, 1]);
    let third = if even { third } else { third.map(|x| -x) };
    let mut basis = [[0.0; 3]; 3];
    for (axis, column) in [first, second, third].into_iter().zip(order) {
        for (row, component) in basis.iter_mut().zip(axis) {
            row[column] = component;
        }
    }
    basis
}

/// The axis or its opposite: that with a positive largest component, the first one of equal ones.
fn upright(axis: [f64; 3]) -> [f64; 3] {
    let largest =
        axis.iter().copied().fold(
            0.0_f64,
            |largest, x| {
                if x.abs() > largest.abs() { x } else { largest }
            },
        );
    if largest < 0.0 {
        axis.map(|x| -x)
    } else {
        axis
    }
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    /// Corners of a box with edges 2, 6 and 4 along orthogonal directions.
    fn points(directions: Matrix) -> PointData {
        let signs = [-1.0, 1.0];
        let mut rows = Vec::new();
        for a in signs {
            for b in signs {
                for c in signs {
                    let sizes = [a, 3.0 * b, 2.0 * c];
                    let at = |axis: usize| -> f64 {
                        let parts = directions.iter().zip(sizes);
                        10.0 + parts.map(|(d, size)| size * d[axis]).sum::<f64>()
                    };
                    rows.push([rows.len() as f64, at(0), at(1), at(2)]);
                }
            }
        }
        PointData::new(Array2::from(rows)).unwrap()
    }

    const TILTED: Matrix = [[0.6, 0.0, 0.8], [0.64, 0.6, -0.48], [-0.48, 0.8, 0.36]];

    fn run(step: &Reorient, points: PointData) -> PointData {
        step.check().unwrap();
        step.reduce(vec![points], &Context::FIRST).unwrap()
    }

    fn numbers(points: &PointData, name: &str) -> Vec<f64> {
        match &points.attributes()[name] {
            Attribute::Array(values) => values.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The spread of each coordinate.
    fn widths(points: &PointData) -> [f64; 3] {
        [1, 2, 3].map(|column| {
            let values = points.column(column);
            let max = values.iter().copied().fold(f64::MIN, f64::max);
            max - values.iter().copied().fold(f64::MAX, f64::min)
        })
    }

    fn near(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn the_most_spread_axis_becomes_the_first_dimension_and_the_basis_is_a_rotation() {
        for (dimensions, expected) in [
            ("xyz", [6.0, 4.0, 2.0]),
            ("xzy", [6.0, 2.0, 4.0]),
            ("yxz", [4.0, 6.0, 2.0]),
            ("yzx", [2.0, 6.0, 4.0]),
            ("zxy", [4.0, 2.0, 6.0]),
            ("zyx", [2.0, 4.0, 6.0]),
        ] {
            let out = run(&Reorient::new().dimensions(dimensions), points(TILTED));
            assert!(near(&widths(&out), &expected), "{dimensions}");
            let b = numbers(&out, "basis");
            let (x, y, z) = ([b[0], b[3], b[6]], [b[1], b[4], b[7]], [b[2], b[5], b[8]]);
            assert!(near(&cross(x, y), &z), "{dimensions}: {b:?}");
            assert!(near(&numbers(&out, "origin"), &[10.0; 3]));
            // Sums of squares over n - 1: 8 corners at 3, 2 and 1 mm.
            let eigenvalues = [72.0 / 7.0, 32.0 / 7.0, 8.0 / 7.0];
            assert!(near(&numbers(&out, "eigenvalues"), &eigenvalues));
        }
    }

    #[test]
    fn signs_are_those_of_the_largest_components() {
        let out = run(&Reorient::new(), points(TILTED));
        // Of the axes (0.64, 0.6, -0.48) and (-0.48, 0.8, 0.36); the third is their cross product.
        let expected = [0.64, -0.48, 0.6, 0.6, 0.8, 0.0, -0.48, 0.36, 0.8];
        assert!(near(&numbers(&out, "basis"), &expected));
        // The opposite directions have the same axes.
        let opposite = TILTED.map(|direction| direction.map(|x| -x));
        let out = run(&Reorient::new(), points(opposite));
        assert!(near(&numbers(&out, "basis"), &expected));
    }

    #[test]
    fn a_given_basis_and_origin_are_used_and_samples_and_other_columns_stay() {
        let rows = array![[0.0, 1.0, 2.0, 3.0, 9.0], [1.0, 4.0, 5.0, 6.0, 9.0]];
        let table = PointData::new(rows).unwrap();
        // x becomes y, y becomes z, z becomes x.
        let step = Reorient::new()
            .basis([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
            .origin([1.0, 0.0, 0.0]);
        let out = step
            .reduce(vec![table.clone(), table], &Context::FIRST)
            .unwrap();
        assert_eq!(out.sample_ranges(), [0..2, 2..4]);
        assert_eq!(
            out.sample(1).values(),
            [0.0, 4.0, 0.0, 2.0, 9.0, 1.0, 7.0, 3.0, 5.0, 9.0]
        );
    }

    #[test]
    fn one_point_stays_and_none_is_no_error() {
        let point = PointData::new(array![[0.0, 1.0, 2.0, 3.0]]).unwrap();
        assert_eq!(
            run(&Reorient::new(), point.clone()).values(),
            point.values()
        );
        assert_eq!(run(&Reorient::new(), point.empty()).n_rows(), 0);
    }

    #[test]
    fn senseless_parameters_and_points_that_are_not_finite_are_errors() {
        for dimensions in ["", "xy", "xyy", "xyzx", "abc"] {
            let step = Reorient::new().dimensions(dimensions);
            assert!(matches!(step.check(), Err(Error::Parameter { .. })));
        }
        assert!(Reorient::new().basis([[f64::NAN; 3]; 3]).check().is_err());
        assert!(Reorient::new().origin([f64::NAN; 3]).check().is_err());
        let bad = PointData::new(array![[0.0, f64::NAN, 0.0, 0.0]]).unwrap();
        let out = Reorient::new().reduce(vec![bad], &Context::FIRST);
        assert!(matches!(out, Err(Error::NotFinite { row: 0, .. })));
    }
}
