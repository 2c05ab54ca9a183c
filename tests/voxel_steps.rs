//! Steps on voxels, and what a detector sees, against vectors made with the Python package `pept`.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use libtest_mimic::Trial;
use ndarray::Array3;
use pept::detector::AdacGeometricEfficiency;
use pept::tracking::fpi;

use crate::support::{Needs, golden_values, golden2, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, w, r) in [("fpi_w3_r0.4", 3, 0.4), ("fpi_w2_r0.6", 2, 0.6)] {
        trials.push(trial(
            &format!("voxel_steps::{name}"),
            Needs::Nothing,
            move || peaks_are_those_of_the_peer(name, w, r),
        ));
    }
    trials.push(trial(
        "voxel_steps::guida_efficiency",
        Needs::Nothing,
        efficiencies_are_those_of_the_peer,
    ));
    trials
}

/// Positions and deviations, in cells, within 1e-6: the peer stops its fit 4e-7 from where the cells' values are met.
fn peaks_are_those_of_the_peer(name: &str, w: usize, r: f64) {
    let shape = [40, 36, 32];
    let values = Array3::from_shape_vec(shape, golden_values(&format!("{name}__voxels"))).unwrap();
    let expected = golden2(&format!("{name}__positions"));
    let counts = values.mapv(|value| value as u32);
    for found in [
        fpi::locate(values.view(), w, r, 0.0),
        fpi::locate(counts.view(), w, r, 0.0),
    ] {
        assert_eq!(found.len(), expected.nrows());
        for (peak, expected) in found.iter().zip(expected.rows()) {
            for axis in 0..3 {
                assert_abs_diff_eq!(peak.position[axis], expected[axis], epsilon = 1e-6);
                assert_abs_diff_eq!(peak.sigma[axis], expected[3 + axis], epsilon = 1e-6);
            }
        }
    }
}

fn efficiencies_are_those_of_the_peer() {
    let points = golden2("guida_efficiency__points");
    let expected = golden_values("guida_efficiency__efficiency");
    let points: Vec<[f64; 3]> = points
        .rows()
        .into_iter()
        .map(|row| [row[0], row[1], row[2]])
        .collect();
    let efficiency = AdacGeometricEfficiency::new(500.0).unwrap();
    for (found, expected) in efficiency.at_all(&points).iter().zip(&expected) {
        assert_relative_eq!(*found, *expected, max_relative = 1e-12);
    }
}
