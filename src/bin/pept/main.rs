//! The program `pept`: tracks positron-emitting particles.

mod bench;
mod bound;
mod common;
mod convert;
mod demo;
mod evaluate;
mod info;
mod input;
mod interrupt;
mod kernel;
mod plot;
mod recording;
mod simulate;
mod track;
mod voxelize;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use common::Globals;

/// Positron emission particle tracking: lines of response in, tracer trajectories out.
#[derive(Debug, Parser)]
#[command(name = "pept", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Track a recording: lines of response to trajectories
    Track(track::Arguments),
    /// Run any pipeline: a recipe on a recording, or on a table of points
    Run(track::RunArguments),
    /// Cutpoints of a file: where pairs of lines pass close to each other
    Cutpoints(kernel::Arguments),
    /// Minpoints of a file: points nearest to combinations of lines
    Minpoints(kernel::MinpointsArguments),
    /// Count lines in voxels, or in pixels of a plane
    Voxelize(voxelize::Arguments),
    /// See it work without any data: simulate two tracers, track them, compare with the truth
    Demo(demo::Arguments),
    /// Describe this machine's GPUs, or a recording
    Info(info::Arguments),
    /// From one format to another
    Convert(convert::Arguments),
    /// Draw points, lines, voxels or time series: a page, PNG or SVG
    Plot(plot::Arguments),
    /// Simulate a recording, with the truth beside it
    Simulate(simulate::Arguments),
    /// Compare tracked points with the truth
    Evaluate(evaluate::Arguments),
    /// How precise positions can be: the Cramer-Rao bound, per axis and sample size
    Bound(bound::Arguments),
    /// Time the kernels: one thread, all threads, the GPU
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse(); // exits with 2 on wrong usage
    globals.start_logging();
    let result = globals.pool().and_then(|pool| {
        pool.install(|| match &command {
            Command::Track(arguments) => track::run(&globals, arguments),
            Command::Run(arguments) => track::run_recipe(&globals, arguments),
            Command::Cutpoints(arguments) => kernel::cutpoints(&globals, arguments),
            Command::Minpoints(arguments) => kernel::minpoints(&globals, arguments),
            Command::Voxelize(arguments) => voxelize::run(&globals, arguments),
            Command::Demo(arguments) => demo::run(&globals, arguments),
            Command::Info(arguments) => info::run(&globals, arguments),
            Command::Convert(arguments) => convert::run(&globals, arguments),
            Command::Plot(arguments) => plot::run(&globals, arguments),
            Command::Simulate(arguments) => simulate::run(&globals, arguments),
            Command::Evaluate(arguments) => evaluate::run(&globals, arguments),
            Command::Bound(arguments) => bound::run(&globals, arguments),
            Command::Bench(arguments) => bench::run(&globals, arguments),
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
