//! From one format to another: `pept convert`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use pept::data::{Contents as _, Lines};
use pept::io::source::{self, Files, LineSource};
use pept::io::{self, adac_forte, csv, npy, parallel_screens};
use pept::{Attribute, LineData};
use serde_json::json;

use crate::common::{Failure, Globals};
use crate::input::{Reading, check_place};
use crate::interrupt;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A recording (several files and patterns are one run), or a table of lines or points
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Tables: OUT.csv, OUT.npy, OUT.arrow. Recordings of screens also: OUT.txt, text `t x1 y1 x2 y2`, and OUT.da01, ADAC Forte. LoRs are
    /// written as they are read, but for .arrow, which is held in memory
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy)]
enum Output {
    Csv,
    Adac,
    Screens,
    Npy,
    Table,
}

impl Output {
    fn of(path: &Path) -> Result<Self, Failure> {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("txt") => Ok(Self::Screens),
            Some("npy") => Ok(Self::Npy),
            Some(ending) if adac_forte::is_ending(ending) => Ok(Self::Adac),
            _ if io::table::check_name(path).is_ok() => Ok(Self::Table),
            _ => Err(Failure::Usage(format!(
                "{}: the name has to end in .csv, .txt, .da01, .arrow or .npy",
                path.display()
            ))),
        }
    }
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let output = &arguments.output;
    let format = Output::of(output)?;
    let inputs = source::expand(&arguments.inputs)?;
    let paths: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    check_place(output, &paths)?;
    interrupt::watch()?;
    let (rows, what) = match inputs.as_slice() {
        [only] if arguments.reading.are_points(only) => {
            if matches!(format, Output::Adac | Output::Screens) {
                return Err(Failure::Failed(format!(
                    "{}: points cannot be written as a recording; use .csv, .arrow or .npy",
                    only.display()
                )));
            }
            let points = io::table::read_points(only)?;
            io::table::write_table(output, &points)?;
            (points.n_rows(), "points")
        }
        _ => (
            lines(arguments.reading.open(&inputs)?, output, format)?,
            "LoRs",
        ),
    };
    let seconds = started.elapsed().as_secs_f64();
    globals.print(
        &json!({"rows": rows, "kind": what, "seconds": seconds}),
        &format!(
            "{rows} {what} in {seconds:.2} s\n{} written\n",
            output.display()
        ),
    )
}

fn lines(mut files: Files, output: &Path, format: Output) -> Result<usize, Failure> {
    match format {
        Output::Csv => {
            let mut writer = csv::Writer::create(output)?;
            let rows = each_block(&mut files, |block| writer.write(block))?;
            writer.finish()?;
            Ok(rows)
        }
        Output::Adac => screens(
            &mut files,
            output,
            |distance| adac_forte::Writer::create(output, adac_forte::whole_separation(distance)?),
            adac_forte::Writer::write,
            adac_forte::Writer::finish,
        ),
        Output::Screens => screens(
            &mut files,
            output,
            |distance| {
                let title = format!("converted by pept {}", env!("CARGO_PKG_VERSION"));
                parallel_screens::Writer::create(output, &title, distance)
            },
            parallel_screens::Writer::write,
            parallel_screens::Writer::finish,
        ),
        Output::Npy => {
            let create = |n_columns| npy::Writer::create(output, n_columns);
            let rows = by_first_block(
                &mut files,
                |block| create(block.columns().len()),
                |writer, block| writer.push(block.values()),
                npy::Writer::finish,
            )?;
            if rows == 0 {
                create(Lines::COLUMNS.len())?.finish()?;
            }
            Ok(rows)
        }
        Output::Table => {
            let lors = source::read_all(files)?;
            io::table::write_table(output, &lors)?;
            Ok(lors.n_rows())
        }
    }
}

/// A recording of screens, by a writer that needs their distance (mm), which the first LoRs tell.
fn screens<W>(
    files: &mut Files,
    output: &Path,
    create: impl Fn(f64) -> pept::Result<W>,
    write: impl Fn(&mut W, &LineData) -> pept::Result<()>,
    finish: impl Fn(W) -> pept::Result<()>,
) -> Result<usize, Failure> {
    let create = |block: &LineData| create(separation(block, output)?);
    match by_first_block(files, create, write, finish)? {
        0 => Err(Failure::Failed("there is no LoR to write".into())),
        rows => Ok(rows),
    }
}

/// All blocks, by a writer that the first of them with LoRs tells how to begin; without any there is none, and nothing is written.
fn by_first_block<W>(
    files: &mut Files,
    create: impl Fn(&LineData) -> pept::Result<W>,
    write: impl Fn(&mut W, &LineData) -> pept::Result<()>,
    finish: impl Fn(W) -> pept::Result<()>,
) -> Result<usize, Failure> {
    let mut writer = None;
    let rows = each_block(files, |block| {
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(create(block)?),
        };
        write(writer, block)
    })?;
    if let Some(writer) = writer {
        finish(writer)?;
    }
    Ok(rows)
}

fn each_block(
    files: &mut Files,
    mut write: impl FnMut(&LineData) -> pept::Result<()>,
) -> Result<usize, Failure> {
    let mut rows = 0;
    while let Some(block) = files.next_block()? {
        if interrupt::is_wanted() {
            return Err(Failure::Failed("interrupted; nothing was written".into()));
        }
        rows += block.n_rows();
        if block.n_rows() > 0 {
            write(&block)?;
        }
    }
    Ok(rows)
}

/// The distance of the screens (mm): that of the recording, or of the first LoR's ends.
fn separation(lors: &LineData, output: &Path) -> pept::Result<f64> {
    if let Some(&Attribute::Number(separation)) = lors.attributes().get("separation") {
        return Ok(separation);
    }
    let separation = lors.rows().row(0)[6] - lors.rows().row(0)[3];
    if separation > 0.0 {
        return Ok(separation);
    }
    Err(pept::Error::File {
        path: output.to_owned(),
        problem: "these lines are not between two screens; give --separation, or write a table"
            .into(),
    })
}
