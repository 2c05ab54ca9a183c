use serde::{Deserialize, Serialize};

use crate::data::{Attribute, PointData};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};
use crate::statistics::median;

/// Moves points so that an origin lies at 0: by default the median of each axis over all points.
///
/// Samples stay. The origin becomes the attribute `origin` (x, y, z in mm), so that another data set can be moved by the
/// same. Other columns are unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Center {
    origin: Option<[f64; 3]>,
}

impl Center {
    /// The origin is the median of each axis.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is subtracted (mm).
    #[must_use]
    pub fn origin(self, origin: [f64; 3]) -> Self {
        Self {
            origin: Some(origin),
        }
    }
}

impl Reducer for Center {
    type Input = PointData;
    type Output = PointData;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        match self.origin {
            Some(origin) if !origin.iter().all(|value| value.is_finite()) => {
                Err(Error::Parameter {
                    name: "origin",
                    value: format!("{origin:?}"),
                    needed: "three coordinates in mm",
                })
            }
            _ => Ok(()),
        }
    }

    fn reduce(&self, tables: Vec<PointData>, context: &Context<'_>) -> Result<PointData> {
        let points = PointData::stack(tables)?;
        let origin = match self.origin {
            Some(origin) => origin,
            None => medians(&points, context)?,
        };
        let mut values = points.values().to_vec();
        for row in values.chunks_exact_mut(points.columns().len()) {
            for (value, shift) in row[1..4].iter_mut().zip(&origin) {
                *value -= shift;
            }
        }
        Ok(points
            .with_values(values)
            .with_attribute("origin", Attribute::Array(origin.to_vec())))
    }
}

/// The median of each axis; NaN without points.
fn medians(points: &PointData, context: &Context<'_>) -> Result<[f64; 3]> {
    let positions = points.positions();
    let bad = |position: &[f64; 3]| position.iter().any(|value| !value.is_finite());
    if let Some(row) = positions.iter().position(bad) {
        return Err(Error::NotFinite {
            sample: context.sample,
            row,
        });
    }
    Ok([0_usize, 1, 2]
        .map(|axis| median(positions.iter().map(|position| position[axis]).collect())))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn points() -> PointData {
        PointData::new(array![
            [0.0, 1.0, 5.0, 0.0],
            [1.0, 9.0, 5.0, 1.0],
            [2.0, 2.0, 4.0, 10.0],
            [3.0, 4.0, 5.0, 3.0]
        ])
        .unwrap()
    }

    #[test]
    fn the_median_of_all_tables_moves_to_zero_and_samples_stay() {
        let tables = vec![points(), points()];
        let out = Center::new().reduce(tables, &Context::FIRST).unwrap();
        assert_eq!(out.sample_ranges(), [0..4, 4..8]);
        assert_eq!(out.sample(1).column(0), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(out.sample(1).column(1), [-2.0, 6.0, -1.0, 1.0]);
        assert_eq!(out.sample(0).column(2), [0.0, 0.0, -1.0, 0.0]);
        assert_eq!(out.sample(0).column(3), [-2.0, -1.0, 8.0, 1.0]);
        let origin = Attribute::Array(vec![3.0, 5.0, 2.0]);
        assert_eq!(out.attributes()["origin"], origin);
    }

    #[test]
    fn a_given_origin_is_subtracted() {
        let step = Center::new().origin([1.0, 2.0, 3.0]);
        let out = step.reduce(vec![points()], &Context::FIRST).unwrap();
        assert_eq!(out.values()[..4], [0.0, 0.0, 3.0, -3.0]);
        assert!(Center::new().origin([f64::NAN; 3]).check().is_err());
    }

    #[test]
    fn a_median_needs_finite_points_and_none_give_none() {
        let bad = PointData::new(array![[0.0, f64::NAN, 0.0, 0.0]]).unwrap();
        let out = Center::new().reduce(vec![bad], &Context::FIRST);
        assert!(matches!(out, Err(Error::NotFinite { row: 0, .. })));
        let out = Center::new().reduce(vec![points().empty()], &Context::FIRST);
        assert_eq!(out.unwrap().n_rows(), 0);
    }
}
