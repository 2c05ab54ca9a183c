//! One kernel on a file, for scripts: `pept cutpoints`, `pept minpoints`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use pept::data::Kind;
use pept::kernels::Cutoffs;
use pept::tracking::{Cutpoints, Minpoints};
use pept::{Pipeline, io};

use crate::common::{Failure, Globals, track};
use crate::input::{Cutting, Reading, check_output, cut, not_negative, number};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The recording: parallel-screens text, rows `t x1 y1 x2 y2` (ms, mm), or a table of lines (.csv, .arrow, .npy)
    input: PathBuf,
    /// Where the points go: OUT.csv, OUT.arrow or OUT.npy
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Largest distance in mm: of two lines for cutpoints, of each line from the point for minpoints
    #[arg(long, value_name = "MM", allow_negative_numbers = true, value_parser = not_negative)]
    max_distance: f64,
    /// Only points in this box, in mm [default: the bounding box of each sample's end points]
    #[arg(long, value_name = "X0,X1,Y0,Y1,Z0,Z1", allow_hyphen_values = true, value_parser = cutoffs)]
    cutoffs: Option<Box<Cutoffs>>,
    /// Appends the columns `line_index1`, `line_index2`, ...: the lines of each point, numbered within the sample
    #[arg(long)]
    append_indices: bool,
    #[command(flatten)]
    cutting: Cutting,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, Args)]
pub(crate) struct MinpointsArguments {
    /// Lines that a point is made from
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..))]
    num_lines: u16,
    #[command(flatten)]
    arguments: Arguments,
}

pub(crate) fn cutpoints(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let mut step = Cutpoints::new(arguments.max_distance).append_indices(arguments.append_indices);
    if let Some(cutoffs) = &arguments.cutoffs {
        step = step.cutoffs(**cutoffs);
    }
    run(globals, arguments, &Pipeline::new().then(step))
}

pub(crate) fn minpoints(globals: &Globals, arguments: &MinpointsArguments) -> Result<(), Failure> {
    let MinpointsArguments {
        num_lines,
        arguments,
    } = arguments;
    let step = Minpoints::new(usize::from(*num_lines), arguments.max_distance);
    let mut step = step.append_indices(arguments.append_indices);
    if let Some(cutoffs) = &arguments.cutoffs {
        step = step.cutoffs(**cutoffs);
    }
    run(globals, arguments, &Pipeline::new().then(step))
}

fn run(globals: &Globals, arguments: &Arguments, pipeline: &Pipeline) -> Result<(), Failure> {
    let started = Instant::now();
    let Arguments { input, output, .. } = arguments;
    pipeline.check(Kind::Lines).map_err(Failure::usage)?;
    let sampling = arguments.cutting.sampling(None)?;
    check_output(output, &[input])?;
    let backend = globals.backend()?;
    let lors = cut(
        arguments
            .reading
            .read(std::slice::from_ref(input), Kind::Lines)?,
        sampling,
        input,
    )?;
    let found = track(globals, pipeline, lors, backend)?;
    io::table::write_data(output, found.table.clone())?;
    let elapsed = started.elapsed();
    let text = format!(
        "{}{} written\n",
        found.text(elapsed, globals.verbose > 0),
        output.display()
    );
    globals.print(&found.summary(elapsed), &text)
}

fn cutoffs(text: &str) -> Result<Box<Cutoffs>, String> {
    let numbers = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    match Cutoffs::try_from(numbers) {
        Ok(cutoffs) => Ok(Box::new(cutoffs)),
        Err(_) => Err(format!("\"{text}\" is not six numbers x0,x1,y0,y1,z0,z1")),
    }
}
