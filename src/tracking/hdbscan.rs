use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::clustering;
use crate::data::PointData;
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};
use crate::statistics::quantile;

/// Standard deviation of the artificial cluster, as a share of the quartile range.
const SPREAD: f64 = 0.3;
/// Its centre, in quartile ranges above the upper quartile.
const OFFSET: f64 = 1.5;

/// Clusters the points of a sample by density and appends the column `label` (-1 is noise, clusters count from 0).
///
/// An artificial cluster is injected first and taken out afterwards, so that a characteristic length exists even with
/// one tracer. Its random numbers depend on the seed, the step and the sample's number alone.
///
/// Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates" (2013); for PEPT: Nicusan and
/// Windows-Yule, Review of Scientific Instruments 91, 013329 (2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hdbscan {
    true_fraction: f64,
    #[serde(default = "one")]
    max_tracers: usize,
}

fn one() -> usize {
    1
}

impl Hdbscan {
    /// `true_fraction`: the share of points that belong to tracers, above 0 and at most 1. One tracer at most.
    #[must_use]
    pub fn new(true_fraction: f64) -> Self {
        Self {
            true_fraction,
            max_tracers: 1,
        }
    }

    /// The largest number of tracers that are seen at the same time.
    #[must_use]
    pub fn max_tracers(self, max_tracers: usize) -> Self {
        Self {
            max_tracers,
            ..self
        }
    }

    /// Labels of the points, and the number of artificial points that helped.
    fn labels(&self, points: &[[f64; 3]], context: &Context<'_>) -> Vec<i32> {
        let n = points.len();
        if n < 2 {
            return vec![-1; n];
        }
        let mut all = points.to_vec();
        all.extend(self.artificial_points(points, context));
        let phi = floor(self.true_fraction * all.len() as f64 / (self.max_tracers + 1) as f64)
            .min(n)
            .max(2);
        let labels = clustering::hdbscan(&all, phi);
        let (real, artificial) = labels.split_at(n);
        renumbered(real, artificial)
    }

    fn artificial_points(&self, points: &[[f64; 3]], context: &Context<'_>) -> Vec<[f64; 3]> {
        let mut axis = Vec::with_capacity(points.len());
        let (mut centre, mut deviation) = ([0.0; 3], [0.0; 3]);
        for k in 0..3 {
            axis.clear();
            axis.extend(points.iter().map(|point| point[k]));
            let (lower, upper) = (quantile(&mut axis, 0.25), quantile(&mut axis, 0.75));
            centre[k] = upper + OFFSET * (upper - lower);
            deviation[k] = SPREAD * (upper - lower);
        }
        let m = floor(points.len() as f64 * self.true_fraction / self.max_tracers as f64);
        let mut rng = context.rng();
        let mut draw = |k: usize| -> f64 {
            let normal: f64 = StandardNormal.sample(&mut rng);
            centre[k] + deviation[k] * normal
        };
        (0..m).map(|_| [draw(0), draw(1), draw(2)]).collect()
    }
}

impl Filter for Hdbscan {
    type Input = PointData;
    type Output = PointData;

    fn name(&self) -> &'static str {
        "HDBSCAN"
    }

    fn check(&self) -> Result<()> {
        if !(self.true_fraction > 0.0 && self.true_fraction <= 1.0) {
            let needed = "a share above 0 and at most 1";
            return Err(Error::Parameter {
                name: "true_fraction",
                value: self.true_fraction.to_string(),
                needed,
            });
        }
        if self.max_tracers == 0 {
            return Err(Error::Parameter {
                name: "max_tracers",
                value: "0".into(),
                needed: "1 or more",
            });
        }
        Ok(())
    }

    fn filter(&self, sample: PointData, context: &Context<'_>) -> Result<PointData> {
        if sample.n_rows() < 2 {
            return Ok(sample.empty().with_column("label", &[]));
        }
        let positions = sample.positions();
        if let Some(row) = positions
            .iter()
            .position(|point| !point.iter().all(|x| x.is_finite()))
        {
            return Err(Error::NotFinite {
                sample: context.sample,
                row,
            });
        }
        let labels: Vec<f64> = self
            .labels(&positions, context)
            .into_iter()
            .map(f64::from)
            .collect();
        Ok(sample.with_column("label", &labels))
    }
}

/// Labels with any artificial point become noise; the others are numbered again in their order.
fn renumbered(real: &[i32], artificial: &[i32]) -> Vec<i32> {
    let n_labels = real
        .iter()
        .chain(artificial)
        .max()
        .map_or(0, |&label| index(label + 1));
    let (mut seen, mut taken) = (vec![false; n_labels], vec![false; n_labels]);
    let mark = |flags: &mut [bool], labels: &[i32]| {
        for &label in labels.iter().filter(|&&label| label >= 0) {
            flags[index(label)] = true;
        }
    };
    mark(&mut seen, real);
    mark(&mut taken, artificial);
    let mut next = 0;
    let new: Vec<i32> = seen
        .iter()
        .zip(&taken)
        .map(|(&seen, &taken)| {
            let keep = seen && !taken;
            next += i32::from(keep);
            if keep { next - 1 } else { -1 }
        })
        .collect();
    real.iter()
        .map(|&label| if label < 0 { -1 } else { new[index(label)] })
        .collect()
}

fn index(label: i32) -> usize {
    usize::try_from(label).expect("labels of clusters should not be negative")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what a huge count needs"
)]
fn floor(x: f64) -> usize {
    x as usize
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(
            (quantile(&mut values, 0.25), quantile(&mut values, 0.75)),
            (1.75, 3.25)
        );
        assert_eq!(quantile(&mut [7.0], 0.75), 7.0);
    }

    #[test]
    fn clusters_with_artificial_points_become_noise_and_the_rest_is_renumbered() {
        assert_eq!(
            renumbered(&[2, -1, 0, 1, 2], &[1, 1, -1]),
            [1, -1, 0, -1, 1]
        );
        assert_eq!(renumbered(&[-1, -1], &[]), [-1, -1]);
    }

    #[test]
    fn samples_too_small_to_cluster_keep_the_right_columns() {
        let context = Context::FIRST;
        for (rows, kept) in [(0, 0), (1, 0), (2, 2), (3, 3)] {
            let points = PointData::new(Array2::zeros((rows, 4))).unwrap();
            let out = Hdbscan::new(0.5).filter(points, &context).unwrap();
            assert_eq!(
                (out.n_rows(), out.columns().last().map(String::as_str)),
                (kept, Some("label"))
            );
            assert!(out.rows().column(4).iter().all(|&label| label == -1.0));
        }
    }

    #[test]
    fn a_single_tracer_is_found_with_the_help_of_the_artificial_cluster() {
        let context = Context::FIRST;
        // A dense cube of 729 points in a sparse lattice of 343.
        let mut rows = Array2::zeros((343 + 729, 4));
        for (n, mut row) in rows.rows_mut().into_iter().enumerate() {
            for (k, digit) in [1, 2, 3].into_iter().zip([0, 1, 2]) {
                let lattice = (n / 7_usize.pow(digit) % 7) as f64 * 10.0;
                let cube = 20.5 + (n / 9_usize.pow(digit) % 9) as f64 * 0.1;
                row[k] = if n < 343 { lattice } else { cube };
            }
        }
        let out = Hdbscan::new(0.5)
            .filter(PointData::new(rows).unwrap(), &context)
            .unwrap();
        let labels = out.rows().column(4).to_vec();
        assert!(labels[343..].iter().all(|&label| label == 0.0));
        assert!(labels[..343].iter().filter(|&&label| label == 0.0).count() < 20);
    }
}
