//! Steps on voxels, and what a detector sees, against vectors made with the Python package `pept`.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use libtest_mimic::Trial;
use ndarray::Array3;
use pept::data::Voxels;
use pept::detector::{AdacGeometricEfficiency, Scene, Tracer};
use pept::pipeline::IntoStep;
use pept::tracking::{Cutpoints, Fpi, Voxelize, fpi};
use pept::transform::{Condition, Stack};
use pept::{Backend, Data, LineData, Pipeline, Sampling};

use crate::support::{
    Needs, golden_values, golden2, ignored, on_every_backend, python, scratch, trial,
};

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
    trials.extend(on_every_backend(
        "voxel_steps::voxelize_counts_each_sample_in_its_box",
        Needs::Nothing,
        samples_in_boxes,
    ));
    trials.push(trial(
        "voxel_steps::voxelize_refuses_what_makes_no_sense",
        Needs::Nothing,
        senseless,
    ));
    trials.push(trial(
        "voxel_steps::fpi_has_no_bias_on_simulated_truth",
        Needs::Nothing,
        no_bias,
    ));
    let name = "voxel_steps::vtk_reads_voxels";
    trials.push(if python(&["-c", "import vtk"]).is_none() {
        ignored(name, "python3 has no vtk")
    } else {
        trial(name, Needs::Nothing, vtk_reads_voxels)
    });
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

fn recording(tracers: usize, duration: f64) -> LineData {
    let places = [[387.3, 301.1, 355.2], [217.9, 304.4, 358.7]];
    let scene = Scene {
        tracers: places[..tracers].iter().copied().map(Tracer::at).collect(),
        background: 0.3,
        duration,
        ..Scene::default()
    };
    scene.run().unwrap().lors
}

fn samples_in_boxes(backend: &Backend) {
    let lors = recording(2, 50.0)
        .with_sampling(Sampling::count(200))
        .unwrap();
    let counted = |step: Voxelize| -> Vec<Voxels> {
        let pipeline = Pipeline::new().then(step).backend(backend.clone());
        let Data::List(list) = pipeline.fit(lors.clone()).unwrap() else {
            panic!("a filter should give a list")
        };
        let voxels = list.into_iter().map(|data| match data {
            Data::Voxels(voxels) => voxels,
            other => panic!("{other:?}"),
        });
        voxels.collect()
    };
    let shape = [20, 10, 5];
    let own_boxes = counted(Voxelize::new(shape));
    let one_box = counted(Voxelize::new(shape).limits_of_data());
    assert_eq!(own_boxes.len(), lors.n_samples());
    let whole = Voxels::from_lines(&Backend::Cpu, &lors, shape, None).unwrap();
    for (n, sample) in lors.samples().enumerate() {
        let alone = Voxels::from_lines(&Backend::Cpu, &sample, shape, None).unwrap();
        assert_eq!(own_boxes[n].values(), alone.values());
        assert_eq!(own_boxes[n].limits(), alone.limits());
        assert_eq!(one_box[n].limits(), whole.limits());
    }
    let x_only = counted(Voxelize::new(shape).xlim([300.0, 310.0]));
    assert_eq!(x_only[0].limits()[..2], [300.0, 310.0]);
    assert_eq!(x_only[0].limits()[2..], own_boxes[0].limits()[2..]);
}

fn senseless() {
    let lors = recording(1, 20.0);
    let message = |result: pept::Result<Data>| result.unwrap_err().to_string();
    let one_cell = Voxelize::new([1, 5, 5]).fit(lors.clone());
    assert!(message(one_cell).contains("2 or more"));
    let inverted = Voxelize::new([5; 3]).ylim([1.0, 0.0]).fit(lors.clone());
    assert!(message(inverted).contains("ylim"));
    // Voxels are no lines, and not what conditions look at.
    let into_cutpoints = Pipeline::new()
        .then(Voxelize::new([5; 3]))
        .then(Cutpoints::new(0.5));
    assert!(message(into_cutpoints.fit(lors.clone())).contains("step 2 (Cutpoints)"));
    let into_condition = Pipeline::new()
        .then(Voxelize::new([5; 3]))
        .then(Condition::new("t > 0"));
    assert!(message(into_condition.fit(lors.clone())).contains("voxels"));
    // All data are known to the first step only.
    let late = Pipeline::new()
        .then(Condition::new("t > 0"))
        .then(Voxelize::new([5; 3]).limits_of_data());
    assert!(message(late.fit(lors.clone())).contains("xlim"));
    let flat = lors.with_column("z2", &vec![0.0; lors.n_rows()]);
    assert!(message(Voxelize::new([5; 3]).fit(flat)).contains("zlim"));
}

/// The mean error is below a tenth of a cell on each axis: positions are those of cells' centres.
fn no_bias() {
    let lors = recording(2, 1_500.0);
    let lors = lors.with_sampling(Sampling::count(400)).unwrap();
    let pipeline = Voxelize::new([100; 3])
        .xlim([110.0, 494.0])
        .ylim([45.0, 559.0])
        .zlim([0.0, 712.0])
        + Fpi::new(3, 0.6)
        + Stack::new();
    let points = pipeline.fit(lors).unwrap().into_points().unwrap();
    let cell = [3.84, 5.14, 7.12];
    for tracer in [[387.3, 301.1, 355.2], [217.9, 304.4, 358.7]] {
        let near: Vec<[f64; 3]> = points
            .positions()
            .into_iter()
            .filter(|point| (0..3).all(|k| (point[k] - tracer[k]).abs() < 4.0 * cell[k]))
            .collect();
        assert!(near.len() > 120, "{}", near.len());
        for k in 0..3 {
            let errors = near.iter().map(|point| point[k] - tracer[k]);
            let mean = errors.sum::<f64>() / near.len() as f64 / cell[k];
            assert!(mean.abs() < 0.1, "axis {k}: {mean} cells");
        }
    }
}

fn vtk_reads_voxels() {
    let folder = scratch();
    let path = folder.path().join("voxels.vti");
    let values = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (100 * i + 10 * j + k) as u32);
    let voxels = Voxels::new(values, [0.0, 1.0, 10.0, 13.0, -4.0, 4.0]).unwrap();
    pept::io::cells::write_cells(&path, &voxels).unwrap();
    let script = "import sys, vtk\nr = vtk.vtkXMLImageDataReader()\nr.SetFileName(sys.argv[1])\nr.Update()\nd = r.GetOutput()\n\
        print(d.GetDimensions(), d.GetSpacing(), d.GetOrigin())\na = d.GetCellData().GetArray(0)\n\
        print([int(a.GetTuple1(n)) for n in range(a.GetNumberOfTuples())])";
    let read = python(&["-c", script, path.to_str().unwrap()]).unwrap();
    let mut order = Vec::new();
    for k in 0..4 {
        for j in 0..3 {
            order.extend((0..2).map(|i| 100 * i + 10 * j + k));
        }
    }
    assert_eq!(
        read.trim(),
        format!("(3, 4, 5) (0.5, 1.0, 2.0) (0.0, 10.0, -4.0)\n{order:?}")
    );
}
