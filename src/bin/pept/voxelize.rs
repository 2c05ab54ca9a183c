//! Lines counted in the cells of a grid: `pept voxelize`.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ndarray::Dimension;
use pept::data::{Cells, Element, Kind, Pixels, Voxels};
use pept::kernels::voxels::{Amount, Grid, Plane};
use pept::{Backend, LineData, io};
use serde_json::{Value, json};

use crate::common::{Failure, Globals};
use crate::input::{Reading, check_place, number};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The recording: parallel-screens text, rows `t x1 y1 x2 y2` (ms, mm), or a table of lines (.csv, .arrow, .npy)
    input: PathBuf,
    /// Where the counts go: OUT.npy, OUT.vti (ParaView) or OUT.arrow
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Number of voxels along x, y and z
    #[arg(long, value_name = "NX,NY,NZ", value_parser = shape::<3>, conflicts_with = "pixels", required_unless_present = "pixels")]
    voxels: Option<[usize; 3]>,
    /// Number of pixels along the two axes of a plane, to which the lines are projected
    #[arg(long, value_name = "N1,N2", value_parser = shape::<2>)]
    pixels: Option<[usize; 2]>,
    /// The plane of pixels [default: xy]
    #[arg(long, value_enum, requires = "pixels")]
    plane: Option<PlaneChoice>,
    /// Limits of the grid in mm, two for each of its axes [default: the bounding box of the end points]
    #[arg(long, value_name = "X0,X1,Y0,Y1,Z0,Z1", allow_hyphen_values = true, value_parser = numbers)]
    limits: Option<Box<[f64]>>,
    /// Sums the lengths of the lines within each cell in mm, instead of counting them
    #[arg(long)]
    lengths: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PlaneChoice {
    /// Seen along z
    #[default]
    Xy,
    /// Seen along y
    Xz,
    /// Seen along x
    Yz,
}

impl From<PlaneChoice> for Plane {
    fn from(plane: PlaneChoice) -> Self {
        match plane {
            PlaneChoice::Xy => Self::Xy,
            PlaneChoice::Xz => Self::Xz,
            PlaneChoice::Yz => Self::Yz,
        }
    }
}

/// Which cells the command line asks for. No limits: those of the end points.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Voxels([usize; 3], Option<[f64; 6]>),
    Pixels([usize; 2], Option<[f64; 4]>, Plane),
}

impl Arguments {
    /// Checked as far as the command line alone shows.
    fn wanted(&self) -> Result<Wanted, Failure> {
        if let Some(shape) = self.pixels {
            let limits = self.limits("--pixels need four, two for each axis of the plane")?;
            let plane: Plane = self.plane.unwrap_or_default().into();
            let any = [0.0, 1.0, 0.0, 1.0];
            Grid::pixels(shape, limits.unwrap_or(any), plane).map_err(Failure::usage)?;
            return Ok(Wanted::Pixels(shape, limits, plane));
        }
        let Some(shape) = self.voxels else {
            return Err(Failure::Usage(
                "give --voxels NX,NY,NZ or --pixels N1,N2".into(),
            ));
        };
        if self.plane.is_some() {
            // clap lets this pass beside `conflicts_with`
            return Err(Failure::Usage("--plane is for --pixels".into()));
        }
        let limits = self.limits("--voxels need six, x0,x1,y0,y1,z0,z1")?;
        let any = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        Grid::voxels(shape, limits.unwrap_or(any)).map_err(Failure::usage)?;
        Ok(Wanted::Voxels(shape, limits))
    }

    fn limits<const N: usize>(&self, needed: &str) -> Result<Option<[f64; N]>, Failure> {
        let Some(limits) = &self.limits else {
            return Ok(None);
        };
        match <[f64; N]>::try_from(&limits[..]) {
            Ok(limits) => Ok(Some(limits)),
            Err(_) => Err(Failure::Usage(format!(
                "--limits has {} numbers; {needed}",
                limits.len()
            ))),
        }
    }
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let Arguments { input, output, .. } = arguments;
    let wanted = arguments.wanted()?;
    io::cells::check_name(output).map_err(Failure::usage)?;
    check_place(output, &[input])?;
    let backend = globals.backend()?;
    let lors = LineData::from_data(
        arguments
            .reading
            .read(std::slice::from_ref(input), Kind::Lines)?,
    )?;
    let done = Done {
        globals,
        arguments,
        backend: &backend,
        lors: lors.n_rows(),
        started,
    };
    match (wanted, arguments.lengths) {
        (Wanted::Voxels(shape, limits), false) => {
            let voxels = Voxels::<u32>::from_lines(&backend, &lors, shape, limits)?;
            done.counts(&voxels)
        }
        (Wanted::Voxels(shape, limits), true) => {
            let amount = Amount::Length;
            let voxels =
                Voxels::<f64>::from_weighted_lines(&backend, &lors, None, amount, shape, limits)?;
            done.lengths(&voxels)
        }
        (Wanted::Pixels(shape, limits, plane), false) => {
            let pixels = Pixels::<u32>::from_lines(&backend, &lors, shape, limits, plane)?;
            done.counts(&pixels)
        }
        (Wanted::Pixels(shape, limits, plane), true) => {
            let pixels = Pixels::<f64>::from_weighted_lines(
                &backend,
                &lors,
                None,
                Amount::Length,
                shape,
                limits,
                plane,
            )?;
            done.lengths(&pixels)
        }
    }
}

/// What is left to do: to write the cells and to say so.
#[derive(Debug)]
struct Done<'a> {
    globals: &'a Globals,
    arguments: &'a Arguments,
    backend: &'a Backend,
    lors: usize,
    started: Instant,
}

impl Done<'_> {
    fn counts<D: Dimension>(&self, cells: &Cells<u32, D>) -> Result<(), Failure> {
        let sum: u64 = cells.values().iter().map(|&n| u64::from(n)).sum();
        let largest = cells.values().iter().max().copied().unwrap_or_default();
        self.write(cells, &json!(sum), &json!(largest))
    }

    fn lengths<D: Dimension>(&self, cells: &Cells<f64, D>) -> Result<(), Failure> {
        let sum: f64 = cells.values().iter().sum();
        let largest = cells.values().iter().copied().fold(0.0, f64::max);
        self.write(cells, &json!(sum), &json!(largest))
    }

    fn write<T: io::cells::Value, D: Dimension>(
        &self,
        cells: &Cells<T, D>,
        sum: &Value,
        largest: &Value,
    ) -> Result<(), Failure> {
        let output = &self.arguments.output;
        io::cells::write_cells(output, cells)?;
        let seconds = self.started.elapsed().as_secs_f64();
        let lors_per_second = self.lors as f64 / seconds;
        let (shape, size) = (cells.shape(), cells.cell_size());
        let summary = json!({
            "lors": self.lors,
            "shape": shape,
            "limits": cells.limits(),
            "cell_size": size,
            "sum": sum,
            "max": largest,
            "seconds": seconds,
            "lors_per_second": lors_per_second,
            "backend": self.backend.name(),
        });
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let size: Vec<String> = size.iter().map(|size| format!("{size:.4}")).collect();
        let text = format!(
            "{} LoRs in {} cells of {} mm: sum {sum}, largest {largest}\n{seconds:.2} s ({lors_per_second:.0} LoRs/s), kernels on {}\n{} written\n",
            self.lors,
            shape.join(" x "),
            size.join(" x "),
            self.backend,
            output.display(),
        );
        self.globals.print(&summary, &text)
    }
}

fn shape<const N: usize>(text: &str) -> Result<[usize; N], String> {
    let numbers = text.split(',').map(|word| word.trim().parse().ok());
    let numbers: Option<Vec<usize>> = numbers.collect();
    let shape = numbers.and_then(|numbers| <[usize; N]>::try_from(numbers).ok());
    let shape = shape.ok_or_else(|| format!("\"{text}\" is not {N} whole numbers"))?;
    if shape.iter().any(|&n| n < 2) {
        return Err(format!("\"{text}\" has fewer than 2 cells along an axis"));
    }
    Ok(shape)
}

fn numbers(text: &str) -> Result<Box<[f64]>, String> {
    text.split(',').map(number).collect()
}
