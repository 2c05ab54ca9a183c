use std::f64::consts::TAU;

use rayon::prelude::*;

use crate::data::Voxels;
use crate::error::{Error, Result};

/// How likely a camera of two parallel screens, such as the ADAC Forte in Birmingham, is to see a tracer at a point: the share of all
/// directions whose line meets both screens.
///
/// The screens are the faces of a box at its lower and upper z limit (mm).
///
/// Guida, "Positron emission particle tracking applied to solid-liquid mixing in mechanically agitated vessels", thesis, University of
/// Birmingham (2010).
#[derive(Clone, Debug, PartialEq)]
pub struct AdacGeometricEfficiency {
    /// x from, to; y from, to; z from, to (mm): from is below to.
    limits: [f64; 6],
}

impl AdacGeometricEfficiency {
    /// Screens at z = 0 and z = `separation` (mm), from x = 111.78 to 491.78 and from y = 46.78 to 556.78.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the separation is not above 0.
    pub fn new(separation: f64) -> Result<Self> {
        Self::with_zlim([0.0, separation])
    }

    /// Screens at both limits of z (mm).
    ///
    /// # Errors
    /// [`Error::Parameter`] if the limits are inverted, equal, NaN or infinite; so for the other axes.
    pub fn with_zlim(zlim: [f64; 2]) -> Result<Self> {
        let limits = [111.78, 491.78, 46.78, 556.78, 0.0, 1.0];
        Self { limits }.with_limits("zlim", 2, zlim)
    }

    /// Other limits of x (mm).
    ///
    /// # Errors
    /// As [`with_zlim`](Self::with_zlim).
    pub fn xlim(self, xlim: [f64; 2]) -> Result<Self> {
        self.with_limits("xlim", 0, xlim)
    }

    /// Other limits of y (mm).
    ///
    /// # Errors
    /// As [`with_zlim`](Self::with_zlim).
    pub fn ylim(self, ylim: [f64; 2]) -> Result<Self> {
        self.with_limits("ylim", 1, ylim)
    }

    fn with_limits(
        mut self,
        name: &'static str,
        axis: usize,
        [from, to]: [f64; 2],
    ) -> Result<Self> {
        if from < to && (to - from).is_finite() {
            self.limits[2 * axis] = from;
            self.limits[2 * axis + 1] = to;
            return Ok(self);
        }
        Err(Error::Parameter {
            name,
            value: format!("[{from}, {to}]"),
            needed: "two numbers, the lower one first",
        })
    }

    /// The box `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm).
    #[must_use]
    pub fn limits(&self) -> &[f64; 6] {
        &self.limits
    }

    /// The efficiency at a point (mm) of the box, its faces included: from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the point lies outside.
    pub fn at(&self, x: f64, y: f64, z: f64) -> Result<f64> {
        self.share([x, y, z]).ok_or_else(|| Error::Parameter {
            name: "point",
            value: format!("({x}, {y}, {z})"),
            needed: "a point between the screens, within xlim, ylim and zlim",
        })
    }

    /// The efficiency at each of many points (mm), in parallel; NaN outside the box.
    #[must_use]
    pub fn at_all(&self, points: &[[f64; 3]]) -> Vec<f64> {
        points
            .par_iter()
            .map(|&point| self.share(point).unwrap_or(f64::NAN))
            .collect()
    }

    /// The efficiency at the centres of cells that fill the box, in parallel.
    ///
    /// # Errors
    /// As [`Voxels::empty`]: fewer than 2 cells along an axis, or more than fit memory.
    pub fn on_grid(&self, shape: [usize; 3]) -> Result<Voxels<f64>> {
        let mut grid = Voxels::empty(shape, self.limits)?;
        let [x, y, z] = [0, 1, 2].map(|axis| grid.centers(axis));
        let mut values = grid.values_mut();
        if let Some(cells) = values.as_slice_mut() {
            let rows = cells.par_chunks_mut(z.len()).enumerate();
            rows.for_each(|(n, row)| {
                let (x, y) = (x[n / y.len()], y[n % y.len()]);
                for (value, &z) in row.iter_mut().zip(&z) {
                    *value = self.share([x, y, z]).unwrap_or(f64::NAN);
                }
            });
        }
        Ok(grid)
    }

    /// `None` outside the box.
    ///
    /// Guida's integrals over theta have a closed form, exact for every m: with u = cos theta, the integral of sin theta / sqrt(m^2 +
    /// sin^2 theta) is -asin(u / sqrt(1 + m^2)). At both ends that is an arcus tangent of what the limits of theta are made of, the
    /// solid angle of a rectangle seen from above one of its corners; four of them, all positive, so that no digits cancel, are the
    /// directions that meet both screens.
    fn share(&self, point: [f64; 3]) -> Option<f64> {
        let below: [f64; 3] = std::array::from_fn(|axis| point[axis] - self.limits[2 * axis]);
        let above: [f64; 3] = std::array::from_fn(|axis| self.limits[2 * axis + 1] - point[axis]);
        if !below.iter().chain(&above).all(|&distance| distance >= 0.0) {
            return None;
        }
        // How far a line may lean towards the upper and the lower limit of x or y, going up: the nearer edge counts. `min` passes over
        // 0 / 0, a point in the edge of one screen: the other one decides.
        let lean = |axis: usize| {
            [
                (above[axis] / above[2]).min(below[axis] / below[2]),
                (below[axis] / above[2]).min(above[axis] / below[2]),
            ]
        };
        let (x, y) = (lean(0), lean(1));
        let sum = corner(x[0], y[0]) + corner(x[1], y[0]) + corner(x[0], y[1]) + corner(x[1], y[1]);
        Some(sum / TAU)
    }
}

/// The solid angle of a rectangle of `x` by `y`, seen from a distance of 1 above one of its corners.
fn corner(x: f64, y: f64) -> f64 {
    libm::atan(x * y / (1.0 + x * x + y * y).sqrt())
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// Guida's integrals as they stand, by Simpson's rule.
    fn by_quadrature(efficiency: &AdacGeometricEfficiency, point: [f64; 3]) -> f64 {
        const N: usize = 4_000;
        let limits = efficiency.limits();
        let size: [f64; 3] = std::array::from_fn(|n| limits[2 * n + 1] - limits[2 * n]);
        let [x, y, z]: [f64; 3] =
            std::array::from_fn(|n| 2.0 * point[n] - limits[2 * n] - limits[2 * n + 1]);
        let [l, h, s] = size;
        let larger = |to: f64, half: f64| ((s - z) / (half - to)).max((s + z) / (half + to));
        let first = larger(x, l).atan();
        let last = std::f64::consts::PI - larger(-x, l).atan();
        let step = (last - first) / N as f64;
        let integral = |m: f64| {
            let at = |n: usize| {
                let sin = (first + n as f64 * step).sin();
                1.0 / (m * m / (sin * sin) + 1.0).sqrt()
            };
            let inner: f64 = (1..N)
                .map(|n| if n % 2 == 1 { 4.0 } else { 2.0 } * at(n))
                .sum();
            (at(0) + inner + at(N)) * step / 3.0
        };
        (integral(larger(y, h)) + integral(larger(-y, h))) / TAU
    }

    #[test]
    fn the_closed_form_is_the_integral() {
        let efficiency = AdacGeometricEfficiency::with_zlim([-10.0, 510.0]).unwrap();
        for x in [112.0, 150.0, 250.0, 301.78, 491.0] {
            for y in [47.0, 250.0, 301.78, 500.0] {
                for z in [-9.9, 0.0, 250.0, 509.0] {
                    let value = efficiency.at(x, y, z).unwrap();
                    let integral = by_quadrature(&efficiency, [x, y, z]);
                    assert_relative_eq!(value, integral, max_relative = 1e-9);
                }
            }
        }
    }

    #[test]
    fn known_answers() {
        let efficiency = AdacGeometricEfficiency::with_zlim([-10.0, 510.0]).unwrap();
        let at = |x| efficiency.at(x, 250.0, 250.0).unwrap();
        assert!((at(250.0) - 0.186_693_02).abs() < 1e-8);
        assert!((at(260.0) - 0.197_305_17).abs() < 1e-8);
        // The middle of a cube sees each of its six faces, two of them screens.
        let cube = AdacGeometricEfficiency::new(2.0).unwrap();
        let cube = cube.xlim([0.0, 2.0]).unwrap().ylim([0.0, 2.0]).unwrap();
        assert_relative_eq!(cube.at(1.0, 1.0, 1.0).unwrap(), 1.0 / 3.0, epsilon = 1e-15);
    }

    #[test]
    fn both_sides_of_the_middle_are_alike() {
        let efficiency = AdacGeometricEfficiency::new(500.0).unwrap();
        let middle = [301.78, 301.78, 250.0];
        for shift in [[10.0, 20.0, 30.0], [180.0, 1.0, 249.0], [0.0, 254.0, 100.0]] {
            let at = |signs: [f64; 3]| {
                let [x, y, z] = std::array::from_fn(|n| middle[n] + signs[n] * shift[n]);
                efficiency.at(x, y, z).unwrap()
            };
            let value = at([1.0, 1.0, 1.0]);
            for signs in [[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]] {
                assert_relative_eq!(at(signs), value, max_relative = 1e-9);
            }
        }
    }

    #[test]
    fn faces_edges_and_corners_have_values_and_what_is_outside_has_none() {
        let efficiency = AdacGeometricEfficiency::new(2.0).unwrap();
        let efficiency = efficiency
            .xlim([0.0, 4.0])
            .unwrap()
            .ylim([0.0, 6.0])
            .unwrap();
        let at = |x, y, z| efficiency.at(x, y, z).unwrap();
        // In a side face all lines but those within the face leave the box.
        assert_eq!([at(0.0, 3.0, 1.0), at(2.0, 6.0, 0.5)], [0.0; 2]);
        // In a screen the other one decides: half of its solid angle, as lines have two directions.
        assert_relative_eq!(
            at(2.0, 3.0, 2.0),
            4.0 * corner(1.0, 1.5) / TAU,
            epsilon = 1e-15
        );
        // In its edge, half as much of the screen is on either side; in its corner a quarter.
        assert_relative_eq!(
            at(0.0, 3.0, 2.0),
            2.0 * corner(2.0, 1.5) / TAU,
            epsilon = 1e-15
        );
        assert_relative_eq!(at(4.0, 6.0, 0.0), corner(2.0, 3.0) / TAU, epsilon = 1e-15);
        for point in [
            [-1e-9, 3.0, 1.0],
            [4.1, 3.0, 1.0],
            [2.0, f64::NAN, 1.0],
            [2.0, 3.0, 2.5],
            [2.0, f64::INFINITY, 1.0],
        ] {
            let [x, y, z] = point;
            let message = efficiency.at(x, y, z).unwrap_err().to_string();
            assert!(message.contains(&format!("({x}, {y}, {z})")), "{message}");
            let all = efficiency.at_all(&[point, [2.0, 3.0, 1.0]]);
            assert!(all[0].is_nan());
            assert_eq!(all[1], at(2.0, 3.0, 1.0));
        }
    }

    #[test]
    fn grids_hold_the_values_of_their_cell_centres() {
        let efficiency = AdacGeometricEfficiency::with_zlim([-10.0, 510.0]).unwrap();
        let grid = efficiency.on_grid([3, 4, 5]).unwrap();
        assert_eq!(grid.limits(), efficiency.limits());
        let x = 111.78 + 380.0 * 0.5 / 3.0;
        let y = 46.78 + 510.0 * 3.5 / 4.0;
        let expected = efficiency.at(x, y, -10.0 + 520.0 * 2.5 / 5.0).unwrap();
        assert_relative_eq!(grid.values()[[0, 3, 2]], expected, max_relative = 1e-12);
        for wrong in [
            [1, 4, 5],
            [4, 0, 4],
            [0, 4, 4],
            [4, 4, 0],
            [usize::MAX, 2, 2],
        ] {
            assert!(efficiency.on_grid(wrong).is_err());
        }
    }

    #[test]
    fn inverted_limits_are_refused() {
        assert!(AdacGeometricEfficiency::new(0.0).is_err());
        assert!(AdacGeometricEfficiency::new(f64::NAN).is_err());
        assert!(AdacGeometricEfficiency::with_zlim([5.0, -5.0]).is_err());
        let efficiency = AdacGeometricEfficiency::new(500.0).unwrap();
        assert!(efficiency.clone().xlim([1.0, f64::INFINITY]).is_err());
        let message = efficiency.ylim([3.0, 2.0]).unwrap_err().to_string();
        assert!(message.starts_with("ylim = [3, 2]"), "{message}");
    }
}
