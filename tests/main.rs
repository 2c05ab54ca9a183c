//! One binary with all integration tests: linking wgpu once saves minutes.
//!
//! Trials that need what this machine lacks (an adapter, the recordings in `../shared`) are marked ignored, with the
//! reason in their name: libtest cannot do that at run time, libtest-mimic can.
#![expect(
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests compare exact results, cast small numbers and fail by panicking"
)]

/// CPU against GPU, and both against brute force.
mod agreement;
/// The program, as a person types it.
mod cli;
/// The clusterer against its plain reference.
mod clustering;

/// Conditions, groups, and what is done to columns.
mod condition_steps;
/// What is said of each kernel and step by vectors made with the Python package `pept`.
mod golden;
/// Devices: lost ones, small ones, those of a host program; memory; threads.
mod gpu;
/// Pipelines on real and simulated recordings: results, determinism, own steps.
mod pipeline;
/// Pictures, in a browser and without one.
mod plots;
/// Recordings of scanners: round trips, blocks, damage.
mod scanners;
/// Recordings that are compressed, in parts, still being written, or cut short.
mod streaming;
mod support;
/// Tables in every format: round trips, foreign and damaged files.
mod tables;
/// Steps on trajectories against vectors made with the Python package `pept`.
mod trajectory_steps;
/// Voxels, pixels and what is found in them.
mod voxel_steps;
/// The kernel `voxels` on both backends.
mod voxels;

use libtest_mimic::{Arguments, Trial};

fn main() {
    // The Arrow reader panics on damaged files; the library catches that, and thousands of them are tried.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let in_arrow = |place: &std::panic::Location<'_>| place.file().contains("/arrow-");
        if !panic.location().is_some_and(in_arrow) {
            report(panic);
        }
    }));
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(golden::trials());
    trials.extend(agreement::trials());
    trials.extend(voxels::trials());
    trials.extend(voxel_steps::trials());
    trials.extend(gpu::trials());
    trials.extend(clustering::trials());
    trials.extend(trajectory_steps::trials());
    trials.extend(condition_steps::trials());
    trials.extend(tables::trials());
    trials.extend(scanners::trials());
    trials.extend(streaming::trials());
    trials.extend(pipeline::trials());
    trials.extend(plots::trials());
    trials.extend(cli::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
