//! Feature point identification: maxima of voxels.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch};
use ndarray::ArrayView3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Attribute, Attributes, PointData, Voxels, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Fewer cells than this are not spread over threads.
const FEW_CELLS: usize = 4_000_000;
/// Cells that are compared together.
const LANES: usize = 32;
/// Most steps of Newton's method.
const MAX_STEPS: usize = 100;
/// A step of Newton's method is halved down to this share of it.
const SMALLEST_SHARE: f64 = 1e-3;

/// Feature point identification: one point for each local maximum of voxels, where a Gaussian lies that has the values of the cells
/// around the maximum.
///
/// A cell is a maximum when it lies at least `w` cells from each face, has at least `r` times the largest value of all such cells and
/// more than `lld_counts`, and no cell up to `w` cells away on each axis has more. Of equal cells the first counts.
///
/// Gives rows `[t, x, y, z, error_x, error_y, error_z, error]` (ms, mm) in the order of the cells: position and standard deviations
/// of the Gaussian along each axis, and the norm of the deviations. The time is the mean of the lines in the attribute `_lines` of the
/// voxels; without them it is the number `t` of the attributes, or else NaN. No maximum, or fewer cells than 2 w + 1 along an axis:
/// no rows.
///
/// Wiggins, Santos and Ruggles, "A feature point identification method for positron emission particle tracking with multiple
/// tracers", Nuclear Instruments and Methods A 843, 22 (2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fpi {
    w: usize,
    r: f64,
    lld_counts: f64,
}

impl Default for Fpi {
    fn default() -> Self {
        Self::new(3, 0.4)
    }
}

impl Fpi {
    /// Maxima of the cells up to `w` away (at least 1) with at least the share `r` of the largest (above 0 and at most 1).
    #[must_use]
    pub fn new(w: usize, r: f64) -> Self {
        Self {
            w,
            r,
            lld_counts: 0.0,
        }
    }

    /// Only maxima above so many counts (the default is 0).
    #[must_use]
    pub fn lld_counts(self, lld_counts: f64) -> Self {
        Self { lld_counts, ..self }
    }
}

impl Filter for Fpi {
    type Input = Voxels;
    type Output = PointData;

    fn name(&self) -> &'static str {
        "FPI"
    }

    fn check(&self) -> Result<()> {
        let wrong = |name, value, needed| {
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        if self.w == 0 {
            return wrong("w", self.w.to_string(), "at least 1 cell");
        }
        if !(self.r > 0.0 && self.r <= 1.0) {
            let needed = "a share above 0 and at most 1";
            return wrong("r", self.r.to_string(), needed);
        }
        if !(self.lld_counts >= 0.0 && self.lld_counts.is_finite()) {
            let needed = "a number of counts, 0 or more";
            return wrong("lld_counts", self.lld_counts.to_string(), needed);
        }
        Ok(())
    }

    fn filter(&self, sample: Voxels, _: &Context<'_>) -> Result<PointData> {
        let peaks = locate(sample.values().view(), self.w, self.r, self.lld_counts);
        let (limits, cell) = (sample.limits(), sample.cell_size());
        let t = mean_time(sample.attributes());
        let mut rows = Vec::with_capacity(8 * peaks.len());
        for Peak { position, sigma } in peaks {
            rows.push(t);
            // Cell 0 is centred half a cell above the lower limit.
            rows.extend((0..3).map(|axis| limits[2 * axis] + (position[axis] + 0.5) * cell[axis]));
            let errors: [f64; 3] = std::array::from_fn(|axis| sigma[axis] * cell[axis]);
            rows.extend(errors);
            rows.push(errors.iter().map(|error| error * error).sum::<f64>().sqrt());
        }
        let extra = ["error_x", "error_y", "error_z", "error"];
        let points = PointData::with_columns(array_of_rows(rows, 8), &extra)?;
        Ok(points.with_attributes(sample.attributes().clone()))
    }
}

/// The time of a sample's points (ms), from the attributes of its voxels.
fn mean_time(attributes: &Attributes) -> f64 {
    if let Some(Attribute::Lines(lines)) = attributes.get("_lines")
        && lines.n_rows() > 0
    {
        return lines.column(0).iter().sum::<f64>() / lines.n_rows() as f64;
    }
    match attributes.get("t") {
        Some(Attribute::Number(t)) => *t,
        _ => f64::NAN,
    }
}

/// A local maximum, in cells: whole numbers are cell centres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Where the Gaussian is centred.
    pub position: [f64; 3],
    /// Its standard deviation along each axis. Infinite where the cells around the maximum all have its value.
    pub sigma: [f64; 3],
}

/// The local maxima of [`Fpi`] in a plain array, in the order (i, j, k) of their cells; `w` = 0 is taken for 1. NaN is nowhere a
/// maximum, and hides none.
#[must_use]
pub fn locate<T>(values: ArrayView3<'_, T>, w: usize, r: f64, lld_counts: f64) -> Vec<Peak>
where
    T: Copy + Into<f64> + PartialOrd + Send + Sync,
{
    let w = w.max(1);
    let (n_planes, n_rows, length) = values.dim();
    let needed = w.saturating_mul(2).saturating_add(1);
    if n_planes.min(n_rows).min(length) < needed {
        return Vec::new();
    }
    let values = values.as_standard_layout();
    let Some(cells) = values.as_slice() else {
        return Vec::new(); // never: the layout is standard
    };
    let mut search = Search {
        cells,
        n_rows,
        length,
        w,
        maxima: row_maxima(cells, length, n_rows),
        others: rows_around(w, n_rows),
        least: lld_counts.next_up(), // to have more is to have at least the next number
    };
    let planes = w..n_planes - w;
    search.least = search.least.max(r * search.largest(planes.clone()));
    if cells.len() < FEW_CELLS {
        planes.flat_map(|i| search.peaks(i)).collect()
    } else {
        planes
            .into_par_iter()
            .flat_map_iter(|i| search.peaks(i))
            .collect()
    }
}

/// The largest value of each row of `length` cells; NaN for a row of NaN alone.
fn row_maxima<T>(cells: &[T], length: usize, n_rows: usize) -> Vec<T>
where
    T: Copy + PartialOrd + Send + Sync,
{
    let mut maxima = vec![cells[0]; cells.len() / length];
    if cells.len() < FEW_CELLS {
        maximise(cells, length, &mut maxima);
    } else {
        cells
            .par_chunks(n_rows * length)
            .zip(maxima.par_chunks_mut(n_rows))
            .for_each(|(cells, maxima)| maximise(cells, length, maxima));
    }
    maxima
}

/// The largest value of some, at least one.
fn maximum<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut maximum = [values[0]];
    maximise(values, values.len(), &mut maximum);
    maximum[0]
}

/// The largest value of each row of `length` cells, into `maxima`.
fn maximise<T: Copy + PartialOrd>(cells: &[T], length: usize, maxima: &mut [T]) {
    let level = Level::new();
    dispatch!(level, simd => maximise_with(simd, cells, length, maxima));
}

/// Plain loops, compiled for each kind of vector instructions.
#[inline(always)]
fn maximise_with<S: Simd, T: Copy + PartialOrd>(
    _: S,
    cells: &[T],
    length: usize,
    maxima: &mut [T],
) {
    for (row, maximum) in cells.chunks_exact(length).zip(maxima) {
        *maximum = row[0];
        // NaN would stay, as nothing is larger.
        for &value in row {
            if value.partial_cmp(&value).is_some() {
                *maximum = value;
                break;
            }
        }
        let Some(last) = row.last_chunk::<LANES>() else {
            for &value in row {
                *maximum = larger(value, *maximum);
            }
            continue;
        };
        let mut lanes = [*maximum; LANES];
        for chunk in row.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                lanes[lane] = larger(chunk[lane], lanes[lane]);
            }
        }
        // Those that no whole chunk has; to see some twice does not matter.
        for lane in 0..LANES {
            lanes[lane] = larger(last[lane], lanes[lane]);
        }
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] = larger(lanes[lane + half], lanes[lane]);
            }
            half /= 2;
        }
        *maximum = lanes[0];
    }
}

#[inline(always)]
fn larger<T: PartialOrd>(value: T, than: T) -> T {
    if value > than { value } else { than }
}

/// A row of cells beside another one.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    /// How many rows further it is.
    offset: isize,
    /// Whether its cells come first.
    earlier: bool,
}

/// The rows up to `w` away on both axes, without the row itself, the nearest first: they are the likeliest to have a larger value.
fn rows_around(w: usize, n_rows: usize) -> Vec<Neighbour> {
    let (w, n_rows) = (w.cast_signed(), n_rows.cast_signed());
    let mut steps: Vec<(isize, isize)> = (-w..=w)
        .flat_map(|i| (-w..=w).map(move |j| (i, j)))
        .filter(|&step| step != (0, 0))
        .collect();
    steps.sort_by_key(|&(i, j)| i * i + j * j);
    let neighbour = |(i, j)| Neighbour {
        offset: i * n_rows + j,
        earlier: (i, j) < (0, 0),
    };
    steps.into_iter().map(neighbour).collect()
}

/// Looks for maxima: most rows are left out for their largest value.
#[derive(Debug)]
struct Search<'a, T> {
    cells: &'a [T],
    /// Rows of a plane.
    n_rows: usize,
    /// Cells of a row.
    length: usize,
    w: usize,
    /// The largest value of each row.
    maxima: Vec<T>,
    others: Vec<Neighbour>,
    /// A maximum has at least this value.
    least: f64,
}

impl<T: Copy + Into<f64> + PartialOrd> Search<'_, T> {
    /// The rows of a plane that are not too near its faces.
    fn inner_rows(&self, i: usize) -> Range<usize> {
        i * self.n_rows + self.w..(i + 1) * self.n_rows - self.w
    }

    /// The cells of a row that are not too near its ends.
    fn inner_cells(&self, row: usize) -> &[T] {
        &self.cells[row * self.length + self.w..][..self.length - 2 * self.w]
    }

    /// The largest value that is not too near a face.
    fn largest(&self, planes: Range<usize>) -> f64 {
        let mut largest = f64::NEG_INFINITY;
        for i in planes {
            if self.plane_maximum(i).into() <= largest {
                continue;
            }
            for row in self.inner_rows(i) {
                // The row's own largest value may lie near a face.
                if self.maxima[row].into() > largest {
                    largest = largest.max(maximum(self.inner_cells(row)).into());
                }
            }
        }
        largest
    }

    /// The largest value of those rows of a plane that are not too near its faces.
    fn plane_maximum(&self, i: usize) -> T {
        maximum(&self.maxima[self.inner_rows(i)])
    }

    fn is_enough(&self, value: T) -> bool {
        value.into() >= self.least
    }

    /// The maxima of a plane.
    fn peaks(&self, i: usize) -> Vec<Peak> {
        let mut peaks = Vec::new();
        if !self.is_enough(self.plane_maximum(i)) {
            return peaks;
        }
        for row in self.inner_rows(i) {
            if !self.is_enough(self.maxima[row]) {
                continue;
            }
            for (k, &value) in (self.w..).zip(self.inner_cells(row)) {
                if self.is_enough(value) && self.is_largest(row, k, value) {
                    let cell = row * self.length + k;
                    peaks.push(self.peak([i, row % self.n_rows, k], cell));
                }
            }
        }
        peaks
    }

    /// Whether no cell around has more, and none before it as much.
    fn is_largest(&self, row: usize, k: usize, value: T) -> bool {
        let (from, n) = (k - self.w, 2 * self.w + 1);
        let own = &self.cells[row * self.length + from..][..n];
        let (before, after) = (&own[..self.w], &own[self.w + 1..]);
        if before.iter().rev().any(|&other| other >= value)
            || after.iter().any(|&other| other > value)
        {
            return false;
        }
        self.others.iter().all(|neighbour| {
            let row = row.wrapping_add_signed(neighbour.offset);
            let maximum = self.maxima[row];
            let there = &self.cells[row * self.length + from..][..n];
            if neighbour.earlier {
                maximum < value || !there.iter().any(|&other| other >= value)
            } else {
                maximum <= value || !there.iter().any(|&other| other > value)
            }
        })
    }

    /// The Gaussian at a cell.
    fn peak(&self, place: [usize; 3], cell: usize) -> Peak {
        let strides = [self.n_rows * self.length, self.length, 1];
        let (mut position, mut sigma) = ([0.0; 3], [0.0; 3]);
        for axis in 0..3 {
            let stride = strides[axis];
            let values = [cell - stride, cell, cell + stride].map(|n| self.cells[n].into());
            let fitted = fit(values);
            position[axis] = place[axis] as f64 + fitted.centre;
            sigma[axis] = fitted.sigma;
        }
        Peak { position, sigma }
    }
}

/// A Gaussian along one axis, in cells from the middle one of three.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gaussian {
    centre: f64,
    sigma: f64,
}

impl Gaussian {
    /// The one that is proportional to exp(u x - v x^2 / 2).
    fn new([u, v]: [f64; 2]) -> Self {
        Self {
            centre: u / v,
            sigma: 1.0 / v.sqrt(),
        }
    }
}

/// The Gaussian whose integrals over three cells are as `values`, the middle one of which is the largest.
///
/// Its integrals over equal cells are log-concave, so there is exactly one where the values are positive and not all equal.
fn fit(values: [f64; 3]) -> Gaussian {
    if !values.iter().all(|value| *value > 0.0) {
        return moments(values);
    }
    let wanted = [values[0] / values[1], values[2] / values[1]].map(libm::log);
    // The parabola through the logarithms, as if a cell's value were that at its centre.
    let parabola = [
        0.5 * (wanted[1] - wanted[0]),
        -(wanted[0] + wanted[1]), // curvature
    ];
    if !parabola[1].is_finite() {
        return moments(values);
    }
    if parabola[1] <= 0.0 {
        return Gaussian {
            centre: 0.0,
            sigma: f64::INFINITY,
        };
    }
    newton(wanted, parabola).unwrap_or(Gaussian::new(parabola))
}

/// Where a value is not positive there is no logarithm: mean and deviation of the values as weights of the cells.
fn moments(values: [f64; 3]) -> Gaussian {
    let [before, at, after] = values.map(|value| value.max(0.0));
    let sum = before + at + after;
    let centre = (after - before) / sum;
    let variance = (before + after) / sum - centre * centre;
    if variance.is_nan() {
        return Gaussian {
            centre: 0.0,
            sigma: f64::NAN,
        };
    }
    Gaussian {
        centre,
        sigma: variance.max(0.0).sqrt(),
    }
}

/// Newton's method with halved steps for the logarithms of both outer cells' integrals relative to that of the middle one.
///
/// The unknowns are those of exp(u x - v x^2 / 2): the logarithms are nearly linear in them, and their derivatives never singular. `None`
/// if it does not end near the middle cell.
fn newton(wanted: [f64; 2], [u, v]: [f64; 2]) -> Option<Gaussian> {
    let scale = wanted[0].abs().max(wanted[1].abs()).max(1.0);
    // Integration over a cell adds 1/12 to the variance (Sheppard's correction), unless the Gaussian is narrow.
    let narrower = 1.0 / (1.0 - v / 12.0).max(0.5);
    let mut at = [u * narrower, v * narrower];
    let mut found = Integrals::new(at)?;
    let mut errors = found.errors(wanted);
    for _ in 0..MAX_STEPS {
        if worst(errors) <= 4.0 * f64::EPSILON * scale {
            break;
        }
        let [[a, b], [c, d]] = found.derivatives();
        let determinant = a * d - b * c;
        let step = [
            (errors[0] * d - errors[1] * b) / determinant,
            (errors[1] * a - errors[0] * c) / determinant,
        ];
        let mut share = 1.0;
        let better = loop {
            let next = [at[0] - share * step[0], at[1] - share * step[1]];
            if let Some(integrals) = Integrals::new(next) {
                let next_errors = integrals.errors(wanted);
                if worst(next_errors) < worst(errors) {
                    break Some((next, integrals, next_errors));
                }
            }
            share *= 0.5;
            if share < SMALLEST_SHARE {
                break None; // rounding is all that is left
            }
        };
        let Some(better) = better else { break };
        (at, found, errors) = better;
    }
    let gaussian = Gaussian::new(at);
    // Where the values are almost equal, rounding hides how much the integrals differ from the values at the centres.
    let resolved = worst(errors) <= 1e-9 * v;
    (resolved && gaussian.centre.abs() <= 1.0).then_some(gaussian)
}

fn worst(errors: [f64; 2]) -> f64 {
    errors[0].abs().max(errors[1].abs())
}

/// Of a Gaussian over each of three cells: logarithm of the integral, mean of x and of x^2.
#[derive(Clone, Copy, Debug)]
struct Integrals {
    logs: [f64; 3],
    means: [f64; 3],
    squares: [f64; 3],
}

impl Integrals {
    /// `None` where it is no Gaussian, or too narrow for f64.
    fn new([u, v]: [f64; 2]) -> Option<Self> {
        if !(v > 0.0 && v.is_finite()) {
            return None;
        }
        let Gaussian { centre, sigma } = Gaussian::new([u, v]);
        let faces = [-1.5, -0.5, 0.5, 1.5].map(|face| (face - centre) / sigma);
        let heights = faces.map(|z| libm::exp(-0.5 * z * z) / (2.0 * PI).sqrt());
        let mut integrals = Self {
            logs: [0.0; 3],
            means: [0.0; 3],
            squares: [0.0; 3],
        };
        for cell in 0..3 {
            let share = share_between(faces[cell], faces[cell + 1]);
            if !(share > 0.0 && share.is_finite()) {
                return None;
            }
            let shift = sigma * (heights[cell] - heights[cell + 1]) / share;
            let spread = faces[cell] * heights[cell] - faces[cell + 1] * heights[cell + 1];
            integrals.logs[cell] = libm::log(share);
            integrals.means[cell] = centre + shift;
            integrals.squares[cell] =
                centre * (centre + 2.0 * shift) + sigma * sigma * (1.0 + spread / share);
        }
        Some(integrals)
    }

    fn errors(&self, wanted: [f64; 2]) -> [f64; 2] {
        [
            self.logs[0] - self.logs[1] - wanted[0],
            self.logs[2] - self.logs[1] - wanted[1],
        ]
    }

    /// Those of the errors by u and v: an integral's logarithm has the mean of x and minus half that of x^2.
    fn derivatives(&self) -> [[f64; 2]; 2] {
        [0, 2].map(|cell| {
            [
                self.means[cell] - self.means[1],
                -0.5 * (self.squares[cell] - self.squares[1]),
            ]
        })
    }
}

/// The share of a normal distribution from `low` to `high`, exact in its tails too.
fn share_between(low: f64, high: f64) -> f64 {
    let (low, high) = (low * FRAC_1_SQRT_2, high * FRAC_1_SQRT_2);
    0.5 * if low > 0.5 {
        libm::erfc(low) - libm::erfc(high)
    } else if high < -0.5 {
        libm::erfc(-high) - libm::erfc(-low)
    } else {
        libm::erf(high) - libm::erf(low)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::{Array2, Array3, s};
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::data::LineData;

    /// Straight from the definition.
    fn seeds(values: ArrayView3<'_, u32>, w: usize, r: f64, lld_counts: f64) -> Vec<[usize; 3]> {
        let (n_x, n_y, n_z) = values.dim();
        if n_x.min(n_y).min(n_z) < 2 * w + 1 {
            return Vec::new();
        }
        let inner = values.slice(s![w..n_x - w, w..n_y - w, w..n_z - w]);
        let peak = f64::from(*inner.iter().max().unwrap());
        let mut seeds = Vec::new();
        for ((i, j, k), &value) in inner.indexed_iter() {
            let around = values.slice(s![i..=i + 2 * w, j..=j + 2 * w, k..=k + 2 * w]);
            let counts = around
                .indexed_iter()
                .all(|(place, &other)| other < value || (other == value && place >= (w, w, w)));
            if counts && f64::from(value) >= r * peak && f64::from(value) > lld_counts {
                seeds.push([i + w, j + w, k + w]);
            }
        }
        seeds
    }

    fn rounded(peaks: &[Peak]) -> Vec<[f64; 3]> {
        peaks
            .iter()
            .map(|peak| peak.position.map(f64::round))
            .collect()
    }

    #[test]
    fn maxima_are_those_of_the_definition() {
        let mut rng = Pcg64::seed_from_u64(1);
        let mut n_seeds = 0;
        for n in 0..600 {
            let w = rng.random_range(1..4_usize);
            let long = if n % 10 == 0 { 2 * LANES + 5 } else { 12 };
            let shape: [usize; 3] =
                [12, 12, long].map(|most| rng.random_range(2 * w..most.max(2 * w + 1)));
            let most = [2_u32, 5, 100, 1_000_000][n % 4];
            let mut values = Array3::from_shape_simple_fn(shape, || rng.random_range(0..most));
            if n % 3 == 0 {
                values.mapv_inplace(|value| if value < most / 2 { 0 } else { value });
            }
            let (r, lld) = ([0.01, 0.4, 0.9, 1.0][n % 4], [0.0, 1.0, 30.0][n % 3]);
            let expected = seeds(values.view(), w, r, lld);
            n_seeds += expected.len();
            let found = locate(values.view(), w, r, lld);
            assert_eq!(found.len(), expected.len(), "{shape:?}, w = {w}");
            for (peak, seed) in found.iter().zip(&expected) {
                for ((position, &place), sigma) in peak.position.iter().zip(seed).zip(peak.sigma) {
                    let offset = position - place as f64;
                    assert!(offset.abs() <= 0.5 + 1e-9 && sigma >= 0.0);
                }
            }
            // Axes in another order in memory, other types: the same maxima.
            let turned = values.view().permuted_axes([2, 1, 0]);
            let turned = turned.as_standard_layout().into_owned();
            assert_eq!(
                locate(turned.view().permuted_axes([2, 1, 0]), w, r, lld),
                found
            );
            assert_eq!(locate(values.mapv(f64::from).view(), w, r, lld), found);
        }
        assert!(n_seeds > 500, "{n_seeds}");
    }

    #[test]
    fn many_cells_are_searched_in_parallel_with_the_same_result() {
        let mut rng = Pcg64::seed_from_u64(2);
        let shape = [170, 160, 150];
        assert!(shape.iter().product::<usize>() >= FEW_CELLS);
        let mut values = Array3::<u32>::zeros(shape);
        let mut expected = Vec::new();
        for i in (5..165).step_by(20) {
            for j in (5..155).step_by(30) {
                let k = rng.random_range(3..147);
                values[[i, j, k]] = rng.random_range(50..=100);
                expected.push([i, j, k].map(|n| n as f64));
            }
        }
        let found = locate(values.view(), 3, 0.4, 0.0);
        assert_eq!(rounded(&found), expected);
        assert!(found.iter().all(|peak| peak.sigma == [0.0; 3]));
    }

    #[test]
    fn a_plateau_gives_one_point() {
        let mut values = Array3::<u32>::zeros([9, 9, 9]);
        values.slice_mut(s![4..6, 3..5, 4..6]).fill(7);
        let found = locate(values.view(), 3, 0.4, 0.0);
        // The first of the equal cells, next to one that is as large: half-way between them.
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].position, [4.5, 3.5, 4.5]);
        values.fill(7);
        assert!(locate(values.view(), 3, 0.4, 0.0).is_empty()); // the first cell of all lies in a face
        values[[4, 4, 4]] = 8;
        let found = locate(values.view(), 4, 0.4, 0.0);
        assert_eq!(rounded(&found), [[4.0; 3]]);
    }

    #[test]
    fn points_near_a_face_do_not_count() {
        let shape = [12, 11, 10];
        for w in 1..4 {
            for axis in 0..3 {
                for (distance, n_found) in [(w, 1), (w - 1, 0)] {
                    for place in [distance, shape[axis] - 1 - distance] {
                        let mut cell = [5, 5, 5];
                        cell[axis] = place;
                        let mut values = Array3::<u32>::zeros(shape);
                        values[cell] = 3;
                        let found = locate(values.view(), w, 1.0, 0.0);
                        assert_eq!(found.len(), n_found, "{cell:?}, w = {w}");
                    }
                }
            }
        }
        // One near a face is no peak either, but hides smaller ones around.
        let mut values = Array3::<u32>::zeros(shape);
        values[[1, 5, 5]] = 100;
        values[[8, 5, 5]] = 10;
        assert_eq!(
            rounded(&locate(values.view(), 2, 1.0, 0.0)),
            [[8.0, 5.0, 5.0]]
        );
        values[[8, 5, 5]] = 0;
        values[[3, 5, 5]] = 10;
        assert!(locate(values.view(), 2, 1.0, 0.0).is_empty());
    }

    #[test]
    fn weaker_points_need_their_share_of_the_strongest_and_of_counts() {
        let mut values = Array3::<u32>::zeros([20, 9, 9]);
        values[[4, 4, 4]] = 40;
        values[[14, 4, 4]] = 100;
        let number = |r, lld| locate(values.view(), 3, r, lld).len();
        assert_eq!([number(0.4, 0.0), number(0.41, 0.0)], [2, 1]);
        assert_eq!([number(0.1, 39.0), number(0.1, 40.0)], [2, 1]);
        assert_eq!(number(0.1, 100.0), 0);
        values.fill(0);
        assert!(locate(values.view(), 3, 0.4, 0.0).is_empty());
    }

    #[test]
    fn integrated_gaussians_are_recovered() {
        for sigma in [0.25, 0.4, 0.7, 1.0, 1.5, 3.0, 10.0] {
            for centre in [-0.49, -0.3, 0.0, 0.01, 0.25, 0.5] {
                let axis = |centre: f64, sigma: f64| -> [f64; 9] {
                    std::array::from_fn(|n| {
                        let low = n as f64 - 4.5 - centre;
                        share_between(low / sigma, (low + 1.0) / sigma)
                    })
                };
                let (x, y, z) = (axis(centre, sigma), axis(-0.2, 0.8), axis(0.1, 1.2));
                let values = Array3::from_shape_fn([9, 9, 9], |(i, j, k)| 1e3 * x[i] * y[j] * z[k]);
                let found = locate(values.view(), 3, 0.9, 0.0);
                let [peak] = found.as_slice() else {
                    panic!("{found:?}")
                };
                let wanted = [centre, -0.2, 0.1];
                for (axis, sigma) in [sigma, 0.8, 1.2].into_iter().enumerate() {
                    assert_abs_diff_eq!(peak.position[axis], 4.0 + wanted[axis], epsilon = 1e-9);
                    assert_abs_diff_eq!(peak.sigma[axis], sigma, epsilon = 1e-9);
                }
            }
        }
    }

    #[test]
    fn no_three_values_are_too_strange() {
        let strange = [
            0.0,
            -1.0,
            1e-320,
            1e-300,
            1e-15,
            0.1,
            0.5,
            0.9,
            1.0 - 1e-12,
            1.0 - 1e-16,
            1.0,
        ];
        for before in strange {
            for after in strange {
                let fitted = fit([before, 1.0, after]);
                assert!(
                    fitted.centre.abs() <= 0.5 + 1e-9 && fitted.sigma >= 0.0,
                    "{before} {after} {fitted:?}"
                );
                let mirrored = fit([after, 1.0, before]);
                assert_abs_diff_eq!(mirrored.centre, -fitted.centre, epsilon = 1e-6);
            }
        }
        assert_eq!(fit([1.0; 3]).sigma, f64::INFINITY);
        assert_eq!(
            fit([0.0, 3.0, 0.0]),
            Gaussian {
                centre: 0.0,
                sigma: 0.0
            }
        );
        assert_eq!(fit([0.0, 2.0, 2.0]).centre, 0.5);
        // NaN hides nothing.
        let mut values = Array3::from_elem([40, 7, 40], f64::NAN);
        values[[20, 3, 20]] = 5.0;
        let found = locate(values.view(), 3, 0.4, 0.0);
        assert_eq!(found[0].position, [20.0, 3.0, 20.0]);
        values[[20, 3, 20]] = f64::INFINITY;
        assert_eq!(locate(values.view(), 3, 0.4, 0.0).len(), 1);
    }

    #[test]
    fn points_are_in_millimetres_at_the_mean_time() {
        let mut values = Array3::<u32>::zeros([8, 8, 10]);
        values[[3, 4, 5]] = 9;
        values[[3, 4, 6]] = 3;
        let step = Fpi::new(2, 0.5);
        let limits = [0.0, 8.0, -8.0, 8.0, 100.0, 105.0];
        let sample = Voxels::new(values, limits).unwrap();
        let out = step.filter(sample, &Context::FIRST).unwrap();
        assert_eq!(
            out.columns(),
            ["t", "x", "y", "z", "error_x", "error_y", "error_z", "error"]
        );
        let row = out.values();
        assert_eq!(row.len(), 8);
        assert!(row[0].is_nan());
        // The fourth cell of size 1, the fifth of size 2, the centroid of cells 5 and 6 of size 0.5.
        assert_abs_diff_eq!(row[1], 3.5);
        assert_abs_diff_eq!(row[2], 1.0);
        assert_abs_diff_eq!(row[3], 102.875, epsilon = 1e-12);
        let deviation = 0.5 * (0.25_f64 * 0.75).sqrt();
        assert_abs_diff_eq!(row[6], deviation, epsilon = 1e-12);
        assert_abs_diff_eq!(row[7], deviation, epsilon = 1e-12);

        let mut attributes = Attributes::new();
        assert!(mean_time(&attributes).is_nan());
        attributes.insert("t".to_owned(), Attribute::Number(7.0));
        assert_eq!(mean_time(&attributes), 7.0);
        let mut lines = Array2::zeros((4, 7));
        lines
            .column_mut(0)
            .assign(&ndarray::arr1(&[1.0, 2.0, 3.0, 6.0]));
        let lines = LineData::new(lines).unwrap();
        attributes.insert("_lines".to_owned(), Attribute::Lines(lines));
        assert_eq!(mean_time(&attributes), 3.0);

        for n in [2, 3] {
            let small = Voxels::new(Array3::zeros([n, 4, 4]), limits).unwrap();
            let out = step.filter(small, &Context::FIRST).unwrap();
            assert_eq!((out.n_rows(), out.columns().len()), (0, 8));
        }
    }

    #[test]
    fn parameters_are_checked() {
        assert!(Fpi::default().check().is_ok());
        assert!(Fpi::new(1, 1.0).lld_counts(5.0).check().is_ok());
        for wrong in [
            Fpi::new(0, 0.4),
            Fpi::new(3, 0.0),
            Fpi::new(3, 1.1),
            Fpi::new(3, f64::NAN),
            Fpi::default().lld_counts(-1.0),
            Fpi::default().lld_counts(f64::INFINITY),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
