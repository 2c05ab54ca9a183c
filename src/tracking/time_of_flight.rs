use serde::{Deserialize, Serialize};

use crate::data::{Attribute, Column, Data, Kind, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::kernels::{Cutoffs, cutpoints};
use crate::pipeline::{Context, Filter};
use crate::statistics::median;

/// Speed of light in mm/ms.
pub const SPEED_OF_LIGHT: f64 = 299_792_458.0;

/// Where photons were emitted, from the difference of their times of flight: lines `t x1 y1 z1 x2 y2 z2 t2` with both detection times.
///
/// The points become the attribute `tof` of the lines or, with [`points`](Self::points), are what is returned. With a
/// temporal resolution (ms) the attributes `temporal_resolution` and `spatial_resolution` (mm) are set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeOfFlight {
    temporal_resolution: Option<f64>,
    points: bool,
}

impl TimeOfFlight {
    /// Points as an attribute of the lines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The full width at half maximum of the time difference (ms).
    #[must_use]
    pub fn temporal_resolution(self, temporal_resolution: f64) -> Self {
        Self {
            temporal_resolution: Some(temporal_resolution),
            ..self
        }
    }

    /// Whether the points are returned instead of the lines.
    #[must_use]
    pub fn points(self, points: bool) -> Self {
        Self { points, ..self }
    }
}

/// Points `[t, x, y, z]` where the photons of each line were emitted.
fn emission_points(lines: &LineData) -> Result<Vec<[f64; 4]>> {
    let t2 = lines.column(lines.find_column(&Column::from("t2")).or_else(|error| {
        // Without names, the eighth column is the second time.
        lines.columns().get(7).map(|_| 7).ok_or(error)
    })?);
    let point = |(&[t1, x1, y1, z1, x2, y2, z2], t2): (&[f64; 7], f64)| {
        let (p, d) = ([x1, y1, z1], [x2 - x1, y2 - y1, z2 - z1]);
        let length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
        // A line without length is a point.
        let share = if length > 0.0 {
            0.5 - 0.5 * SPEED_OF_LIGHT * (t2 - t1) / length
        } else {
            0.0
        };
        let [x, y, z] = [0, 1, 2].map(|k| p[k] + d[k] * share);
        let way = (share * length).abs();
        [t1 - way / SPEED_OF_LIGHT, x, y, z]
    };
    Ok(lines.line_slice().rows().zip(t2).map(point).collect())
}

/// Checks that what was found is finite: it is where the lines are.
fn check_finite(points: &[[f64; 4]], context: &Context<'_>) -> Result<()> {
    match points
        .iter()
        .position(|point| !point.iter().all(|x| x.is_finite()))
    {
        Some(row) => Err(Error::NotFinite {
            sample: context.sample,
            row,
        }),
        None => Ok(()),
    }
}

fn positive(name: &'static str, value: Option<f64>) -> Result<()> {
    match value {
        Some(value) if !(value > 0.0 && value.is_finite()) => Err(Error::Parameter {
            name,
            value: value.to_string(),
            needed: "a number above 0",
        }),
        _ => Ok(()),
    }
}

impl Filter for TimeOfFlight {
    type Input = LineData;
    type Output = Data;

    fn gives(&self) -> Kind {
        if self.points {
            Kind::Points
        } else {
            Kind::Lines
        }
    }

    fn check(&self) -> Result<()> {
        positive("temporal_resolution", self.temporal_resolution)
    }

    fn filter(&self, sample: LineData, context: &Context<'_>) -> Result<Data> {
        let rows = emission_points(&sample)?;
        check_finite(&rows, context)?;
        let rows = rows.concat();
        let mut attributes = sample.attributes().clone();
        if let Some(resolution) = self.temporal_resolution {
            for (name, value) in [
                ("temporal_resolution", resolution),
                ("spatial_resolution", SPEED_OF_LIGHT * resolution),
            ] {
                attributes.insert(name.into(), Attribute::Number(value));
            }
        }
        let points = PointData::new(array_of_rows(rows, 4))?;
        Ok(if self.points {
            points.with_attributes(attributes).into()
        } else {
            attributes.insert("tof".into(), Attribute::Points(points));
            sample.with_attributes(attributes).into()
        })
    }
}

/// Cutpoints of pairs of lines whose time-of-flight points are close to each other; needs lines with the attribute `tof`, or with
/// both times.
///
/// The row is the mean of the first times and the midpoint of the shortest segment, strictly inside the cutoffs. The time-of-flight
/// points themselves are appended, unless only cutpoints are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CutpointsToF {
    max_distance: Option<f64>,
    cutoffs: Option<Cutoffs>,
    append_indices: bool,
    cutpoints_only: bool,
}

impl CutpointsToF {
    /// Pairs whose points are closer than the smaller of twice the spatial resolution and the points' largest standard deviation
    /// along an axis.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pairs whose points are closer than this (mm).
    #[must_use]
    pub fn max_distance(self, max_distance: f64) -> Self {
        Self {
            max_distance: Some(max_distance),
            ..self
        }
    }

    /// Only cutpoints strictly inside the box `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm); by default the bounding box of the
    /// end points.
    #[must_use]
    pub fn cutoffs(self, cutoffs: Cutoffs) -> Self {
        Self {
            cutoffs: Some(cutoffs),
            ..self
        }
    }

    /// Appends `line_index1` and `line_index2`; a time-of-flight point has its line's index twice.
    #[must_use]
    pub fn append_indices(self, append_indices: bool) -> Self {
        Self {
            append_indices,
            ..self
        }
    }

    /// Whether the time-of-flight points are left out.
    #[must_use]
    pub fn cutpoints_only(self, cutpoints_only: bool) -> Self {
        Self {
            cutpoints_only,
            ..self
        }
    }

    fn limit(&self, sample: &LineData, points: &[[f64; 4]]) -> f64 {
        if let Some(max_distance) = self.max_distance {
            return max_distance;
        }
        let n = points.len() as f64;
        let deviation = |k: usize| {
            let mean = points.iter().map(|point| point[k]).sum::<f64>() / n;
            let squares = points.iter().map(|point| (point[k] - mean).powi(2));
            (squares.sum::<f64>() / n).sqrt()
        };
        let widest = (1..4).map(deviation).fold(0.0, f64::max);
        match sample.attributes().get("spatial_resolution") {
            Some(Attribute::Number(resolution)) => widest.min(2.0 * resolution),
            _ => widest,
        }
    }
}

impl Filter for CutpointsToF {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        positive("max_distance", self.max_distance)?;
        if let Some(cutoffs) = self.cutoffs {
            cutpoints::Params::new(1.0).cutoffs(cutoffs).check()?;
        }
        Ok(())
    }

    fn filter(&self, sample: LineData, context: &Context<'_>) -> Result<PointData> {
        let points: Vec<[f64; 4]> = match sample.attributes().get("tof") {
            // A table without rows is asked for its columns only.
            Some(Attribute::Points(points))
                if sample.n_rows() == 0 || points.n_rows() == sample.n_rows() =>
            {
                points
                    .slice_rows(0..sample.n_rows())?
                    .rows()
                    .rows()
                    .into_iter()
                    .map(|row| [row[0], row[1], row[2], row[3]])
                    .collect()
            }
            _ => emission_points(&sample)?,
        };
        check_finite(&points, context)?;
        let limit = self.limit(&sample, &points);
        let cutoffs = self
            .cutoffs
            .unwrap_or_else(|| sample.line_slice().bounding_box());
        let inside =
            |x: &[f64; 4]| (1..4).all(|k| cutoffs[2 * k - 2] < x[k] && x[k] < cutoffs[2 * k - 1]);
        let lines: Vec<&[f64; 7]> = sample.line_slice().rows().collect();
        let mut rows: Vec<[f64; 6]> = Vec::new();
        for (i, a) in points.iter().enumerate() {
            for (j, b) in points.iter().enumerate().skip(i + 1) {
                let squared: f64 = (1..4).map(|k| (a[k] - b[k]) * (a[k] - b[k])).sum();
                if squared < limit * limit
                    && let Some(x @ [t, ..]) = cutpoints::midpoint(lines[i], lines[j])
                    && inside(&x)
                {
                    rows.push([t, x[1], x[2], x[3], i as f64, j as f64]);
                }
            }
        }
        if !self.cutpoints_only {
            let own = (0_u32..)
                .zip(&points)
                .map(|(n, &[t, x, y, z])| [t, x, y, z, f64::from(n), f64::from(n)]);
            rows.extend(own);
        }
        rows.sort_by(|a, b| a[0].total_cmp(&b[0])); // stable
        let extra: &[&str] = if self.append_indices {
            &["line_index1", "line_index2"]
        } else {
            &[]
        };
        let n_columns = 4 + extra.len();
        let values = rows
            .iter()
            .flat_map(|row| &row[..n_columns])
            .copied()
            .collect();
        let found = PointData::with_columns(array_of_rows(values, n_columns), extra)?
            .with_attributes(sample.attributes().clone());
        Ok(if self.append_indices {
            found.with_attribute("_lines", Attribute::Lines(sample))
        } else {
            found
        })
    }
}

/// Finds the point where the sum of Gaussians about all points is largest, and appends the column `weight`: each point's term there.
///
/// From the median on by mean shift. `sigma` is by default the attribute `spatial_resolution`, a full width at half maximum, / 2.3548.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GaussianDensity {
    sigma: Option<f64>,
}

/// The full width at half maximum of a Gaussian, in standard deviations.
const FWHM: f64 = 2.3548;
/// Mean shift stops at steps this small, in `sigma`; or after this many.
const SMALL_STEP: f64 = 1e-12;
const MAX_STEPS: usize = 10_000;

impl GaussianDensity {
    /// Gaussians as wide as the spatial resolution.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The Gaussians' standard deviation (mm).
    #[must_use]
    pub fn sigma(self, sigma: f64) -> Self {
        let sigma = Some(sigma);
        Self { sigma }
    }
}

impl Filter for GaussianDensity {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        positive("sigma", self.sigma)
    }

    fn filter(&self, sample: PointData, context: &Context<'_>) -> Result<PointData> {
        let sigma = match (self.sigma, sample.attributes().get("spatial_resolution")) {
            (Some(sigma), _) => sigma,
            (None, Some(Attribute::Number(resolution))) => resolution / FWHM,
            _ => {
                return Err(Error::Columns(
                    "no sigma, and no attribute spatial_resolution: give one, or use TimeOfFlight with a temporal_resolution first".into(),
                ));
            }
        };
        let points = sample.positions();
        if points.is_empty() {
            return Ok(sample.with_column("weight", &[]));
        }
        if let Some(row) = points
            .iter()
            .position(|point| !point.iter().all(|x| x.is_finite()))
        {
            return Err(Error::NotFinite {
                sample: context.sample,
                row,
            });
        }
        let mut centre = [0, 1, 2].map(|k| median(points.iter().map(|point| point[k]).collect()));
        let term = |point: &[f64; 3], centre: &[f64; 3]| {
            let squared: f64 = (0..3).map(|k| (point[k] - centre[k]).powi(2)).sum();
            libm::exp(-squared / (2.0 * sigma * sigma))
        };
        for _ in 0..MAX_STEPS {
            let (mut sum, mut next) = (0.0, [0.0; 3]);
            for point in &points {
                let weight = term(point, &centre);
                sum += weight;
                for k in 0..3 {
                    next[k] += weight * point[k];
                }
            }
            if sum == 0.0 {
                break; // every point is too far from the median to count
            }
            let next = next.map(|x| x / sum);
            let step: f64 = (0..3).map(|k| (next[k] - centre[k]).powi(2)).sum();
            centre = next;
            if step.sqrt() < SMALL_STEP * sigma {
                break;
            }
        }
        let weights: Vec<f64> = points.iter().map(|point| term(point, &centre)).collect();
        Ok(sample.with_column("weight", &weights))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_densest_place_weighs_most() {
        let points = array![
            [0.0, 0.0, 0.0, 0.0],
            [1.0, 0.1, 0.0, 0.0],
            [2.0, -0.1, 0.0, 0.0],
            [3.0, 40.0, 0.0, 0.0]
        ];
        let points = PointData::new(points).unwrap();
        let context = Context::FIRST;
        let out = GaussianDensity::new()
            .sigma(1.0)
            .filter(points.clone(), &context)
            .unwrap();
        let weights = out.column(4);
        assert!((weights[0] - 1.0).abs() < 1e-6 && weights[1] > 0.99 && weights[3] < 1e-9);
        assert!(GaussianDensity::new().filter(points, &context).is_err());
    }

    #[test]
    fn the_centre_is_where_the_sum_of_gaussians_is_largest() {
        // Four corners of a square narrower than a Gaussian: the middle; weights follow from the distance alone.
        let corner = |n: usize, k: usize| if n >> k & 1 == 0 { -0.6 } else { 0.6 };
        let rows = ndarray::Array2::from_shape_fn((4, 4), |(n, k)| match k {
            1 | 2 => 5.0 + corner(n, k - 1),
            _ => 0.0,
        });
        let step = GaussianDensity::new().sigma(1.5);
        let out = step
            .filter(PointData::new(rows).unwrap(), &Context::FIRST)
            .unwrap();
        let expected = libm::exp(-2.0 * 0.36 / (2.0 * 1.5 * 1.5));
        for weight in out.column(4) {
            assert!((weight - expected).abs() < 1e-12, "{weight} {expected}");
        }
    }

    #[test]
    fn emission_points_join_the_cutpoints_unless_unwanted() {
        let lines = array![
            [1.0, -10.0, 0.0, 0.0, 10.0, 0.0, 0.0, 1.0],
            [2.0, 0.0, -10.0, 0.0, 0.0, 10.0, 0.0, 2.0],
            [3.0, 0.0, 0.0, -10.0, 0.0, 0.0, 10.0, 3.0]
        ];
        let lines = LineData::with_columns(lines, &["t2"]).unwrap();
        let rows = |step: CutpointsToF| {
            let out = step
                .append_indices(true)
                .filter(lines.clone(), &Context::FIRST)
                .unwrap();
            assert_eq!(out.columns()[4..], ["line_index1", "line_index2"]);
            let own = (0..out.n_rows()).filter(|&n| out.rows()[[n, 4]] == out.rows()[[n, 5]]);
            (out.n_rows(), own.count())
        };
        let step = CutpointsToF::new().max_distance(1.0);
        assert_eq!(rows(step.clone()), (3 + 3, 3));
        assert_eq!(rows(step.cutpoints_only(true)), (3, 0));
    }

    #[test]
    fn equal_times_mean_the_middle_of_the_line() {
        let line = array![[1.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 1.0]];
        let lines = LineData::with_columns(line, &["t2"]).unwrap();
        let step = TimeOfFlight::new().points(true);
        let Data::Points(points) = step.filter(lines, &Context::FIRST).unwrap() else {
            panic!("points were asked for")
        };
        assert_eq!(points.values()[1..], [5.0, 0.0, 0.0]);
        assert!(points.values()[0] < 1.0);
    }
}
