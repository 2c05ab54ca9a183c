//! Files as pictures: `pept plot`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use pept::data::{Column, Kind, Pixels, Voxels};
use pept::kernels::voxels::Plane;
use pept::plot::{
    ColorScale, Dimensions, Figure, Figure2d, Figure3d, ImageOptions, Norm, Script, Slice, Style,
    frames, image, open_in_browser, trace,
};
use pept::{Data, LineData, PointData, io};
use serde_json::json;

use crate::common::{Failure, Globals};
use crate::input::{Cutting, Reading, check_place, cut, number, positive, range};

/// Lines shown by default: more are a thicket.
const MAX_LINES: usize = 10_000;
/// Points of an SVG file by default: each is a shape.
const MAX_SVG_POINTS: usize = 50_000;
/// Points of time series and of those with error bars, unless told otherwise.
const MAX_POINTS_OF_MUCH: usize = 500_000;
/// Points that get ellipsoids instead of error bars.
const MAX_ELLIPSOIDS: usize = 200;
/// Bars of a histogram.
const BINS: usize = 50;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Points, lines, voxels or pixels: a table (.csv, .arrow, .npy), a recording, or what voxelize wrote (.arrow, .npy)
    input: PathBuf,
    /// Where the picture goes: OUT.html, OUT.png or OUT.svg; with --frames and OUT.png a folder OUT of numbered frames
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// What is drawn
    #[arg(long, value_enum, default_value = "auto")]
    kind: PlotKind,
    /// Column that colours: a name, or a position from 0 [default: label, else t]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    color_by: Option<String>,
    /// Scale of colours: Magma, Inferno, Plasma, Viridis, Cividis, Turbo, Greys or `RdBu`
    #[arg(long, value_name = "NAME", default_value = "Magma", value_parser = |text: &str| text.parse::<ColorScale>())]
    color_scale: ColorScale,
    /// Column of a histogram [default: error, else the last]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    column: Option<String>,
    /// Draw at most so many points or lines, chosen at random with --seed [default: 1000000 points (500000 with
    /// --errors and in time series, 50000 in SVG), 10000 lines]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_points: Option<u32>,
    /// Diameter of points, or width of lines, in pixels
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    size: Option<f64>,
    /// Draw only the samples A to before B
    #[arg(long, value_name = "A..B", value_parser = range)]
    samples: Option<Range<usize>>,
    /// An animation with a frame for each sample
    #[arg(long)]
    frames: bool,
    /// Points in a plane, not in space
    #[arg(long, value_enum)]
    plane: Option<PlaneChoice>,
    /// One standard deviation: ellipsoids or bars, from the columns `sigma_xx`.., `error_x`.. or `error`
    #[arg(long)]
    errors: bool,
    /// A layer of voxels as a heat map: ix=N, iy=N or iz=N, and ix=N+W with W more layers on each side added up
    #[arg(long, value_name = "AXIS=N", value_parser = slice)]
    axis_slice: Option<Slice>,
    /// Draws the voxels above this value [default: half the highest one; 0 shows all that were seen]
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true, value_parser = number, conflicts_with = "axis_slice")]
    above: Option<f64>,
    /// Limits of voxels (.npy) in mm, two for each axis [default: numbers of cells]
    #[arg(long, value_name = "X0,X1,Y0,Y1,Z0,Z1", allow_hyphen_values = true, value_parser = numbers)]
    limits: Option<Box<[f64]>>,
    /// A title
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Azimuth and elevation from which images see space, in degrees
    #[arg(long, value_name = "A,E", allow_hyphen_values = true, value_parser = camera)]
    camera: Option<[f64; 2]>,
    /// Width and height of images in pixels
    #[arg(long, value_name = "W,H", default_value = "900,700", value_parser = image_size)]
    image_size: [u32; 2],
    /// Leave plotly.js out of the page, which then needs a network: 4.8 MB less
    #[arg(long)]
    cdn: bool,
    /// Show the page in the default browser
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    cutting: Cutting,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlotKind {
    /// What the file holds
    Auto,
    Points,
    Lines,
    /// x, y and z against time
    Timeseries,
    Voxels,
    Pixels,
    /// Of one column
    Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlaneChoice {
    /// Seen along z
    Xy,
    /// Seen along y
    Xz,
    /// Seen along x
    Yz,
}

/// What is drawn.
enum Drawn {
    Points(PointData),
    Lines(LineData),
    Voxels(Voxels<f64>),
    Pixels(Pixels<f64>),
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let Arguments { input, output, .. } = arguments;
    let is_page = has_ending(output, &["html", "htm"]);
    if !is_page {
        image::check_name(output).map_err(|_| {
            Failure::Usage(format!(
                "{}: unknown ending; plots are .html, .png or .svg",
                output.display()
            ))
        })?;
        if arguments.cdn || arguments.open {
            return Err(Failure::Usage(
                "--cdn and --open are for pages: -o OUT.html".into(),
            ));
        }
    }
    if arguments.frames && !is_page && !has_ending(output, &["png"]) {
        return Err(Failure::Usage(
            "--frames makes an animation: -o OUT.html, or OUT.png for numbered frames".into(),
        ));
    }
    if arguments.errors && arguments.kind == PlotKind::Histogram {
        return Err(Failure::Usage(
            "--errors are of points, not of a histogram".into(),
        ));
    }
    check_place(output, &[input])?;
    let drawn = arguments.read(globals)?;
    let style = arguments.style(globals, &drawn)?;
    match (arguments.is_flat(&drawn), drawn) {
        (true, drawn) => {
            let figure = arguments.flat(&drawn, &style)?;
            arguments.write(globals, &figure, is_page, started)
        }
        (false, drawn) => {
            let figure = arguments.space(&drawn, &style)?;
            arguments.write(globals, &figure, is_page, started)
        }
    }
}

impl Arguments {
    /// Reads what is to be drawn.
    fn read(&self, globals: &Globals) -> Result<Drawn, Failure> {
        let input = &self.input;
        let wants_cells = matches!(self.kind, PlotKind::Voxels | PlotKind::Pixels)
            || self.axis_slice.is_some()
            || self.limits.is_some();
        if wants_cells {
            return self.cells();
        }
        let kind = match self.kind {
            PlotKind::Lines => Kind::Lines,
            PlotKind::Points | PlotKind::Timeseries => Kind::Points,
            _ => Kind::Any,
        };
        let data = match self.reading.read(std::slice::from_ref(input), kind) {
            Ok(data) => data,
            // A file of cells has the ending of a table.
            Err(failure)
                if self.kind == PlotKind::Auto
                    && has_ending(input, &["npy", "arrow", "feather"]) =>
            {
                return self.cells().map_err(|_| failure);
            }
            Err(failure) => return Err(failure),
        };
        if matches!(self.kind, PlotKind::Timeseries) && !matches!(data, Data::Points(_)) {
            return Err(Failure::Failed(format!(
                "{}: time series are of points",
                input.display()
            )));
        }
        let data = if self.cutting.is_unset() {
            data
        } else {
            let sampling = self.cutting.sampling(None)?;
            cut(data, sampling, input)?
        };
        tracing::debug!(rows = data.n_rows(), seed = globals.seed, "read");
        Ok(match data {
            Data::Lines(table) => Drawn::Lines(self.selected(table)?),
            Data::Points(table) => Drawn::Points(self.selected(table)?),
            other => {
                return Err(Failure::Failed(format!(
                    "{}: {} cannot be drawn",
                    input.display(),
                    other.kind()
                )));
            }
        })
    }

    fn selected<C: pept::data::Contents>(
        &self,
        table: pept::data::Table<C>,
    ) -> Result<pept::data::Table<C>, Failure> {
        match &self.samples {
            Some(samples) => Ok(table.select(samples.clone())?),
            None => Ok(table),
        }
    }

    /// Reads voxels or pixels, of counts or of other values.
    fn cells(&self) -> Result<Drawn, Failure> {
        let path = &self.input;
        let as_f64 = |voxels: Voxels<u32>| voxels.map(f64::from);
        let pixels_as_f64 = |pixels: Pixels<u32>| pixels.map(f64::from);
        if has_ending(path, &["npy"]) {
            if self.kind == PlotKind::Pixels {
                let limits = match &self.limits {
                    Some(limits) => four(limits)?,
                    None => {
                        let unit = [0.0, 1.0, 0.0, 1.0];
                        let shape = io::cells::read_npy_pixels::<u32>(path, unit)
                            .map(|pixels| pixels.shape().to_vec())
                            .or_else(|_| {
                                io::cells::read_npy_pixels::<f64>(path, unit)
                                    .map(|pixels| pixels.shape().to_vec())
                            })?;
                        [0.0, shape[0] as f64, 0.0, shape[1] as f64]
                    }
                };
                let counts = io::cells::read_npy_pixels::<u32>(path, limits).map(pixels_as_f64);
                let pixels = counts.or_else(|_| io::cells::read_npy_pixels::<f64>(path, limits))?;
                return Ok(Drawn::Pixels(pixels));
            }
            let read = |limits: [f64; 6]| {
                io::cells::read_npy_voxels::<u32>(path, limits)
                    .map(as_f64)
                    .or_else(|_| io::cells::read_npy_voxels::<f64>(path, limits))
            };
            let voxels = match &self.limits {
                Some(limits) => read(six(limits)?)?,
                None => {
                    let voxels = read([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])?;
                    let sides: Vec<f64> = voxels.shape().iter().map(|&n| n as f64).collect();
                    let limits = [0.0, sides[0], 0.0, sides[1], 0.0, sides[2]];
                    Voxels::new(voxels.into_values(), limits)?
                }
            };
            return Ok(Drawn::Voxels(voxels));
        }
        if self.limits.is_some() {
            return Err(Failure::Usage(
                "--limits are for voxels and pixels in .npy files".into(),
            ));
        }
        if self.kind != PlotKind::Pixels {
            let voxels = io::cells::read_voxels::<u32>(path)
                .map(as_f64)
                .or_else(|_| io::cells::read_voxels::<f64>(path));
            match voxels {
                Ok(voxels) => return Ok(Drawn::Voxels(voxels)),
                Err(error) if self.kind == PlotKind::Voxels => return Err(error.into()),
                Err(_) => (),
            }
        }
        let counts = io::cells::read_pixels::<u32>(path).map(pixels_as_f64);
        let pixels = counts.or_else(|_| io::cells::read_pixels::<f64>(path))?;
        Ok(Drawn::Pixels(pixels))
    }

    fn style(&self, globals: &Globals, drawn: &Drawn) -> Result<Style, Failure> {
        let mut style = Style::new()
            .color_scale(self.color_scale)
            .seed(globals.seed);
        let most = match (self.max_points, drawn) {
            (Some(most), _) => usize::try_from(most).ok(),
            (None, Drawn::Lines(_)) => Some(MAX_LINES),
            (None, _) if has_ending(&self.output, &["svg"]) => Some(MAX_SVG_POINTS),
            // Three panels, or bars: twice the numbers, and pages stay below 30 MB.
            (None, Drawn::Points(_)) if self.errors || self.kind == PlotKind::Timeseries => {
                Some(MAX_POINTS_OF_MUCH)
            }
            (None, _) => None,
        };
        if let Some(most) = most {
            style = style.max_points(most);
        }
        if let Some(size) = self.size {
            style = style.size(size);
        }
        let column = match (&self.color_by, drawn) {
            (Some(name), Drawn::Points(table)) => Some(column_of(table, name)?),
            (Some(name), Drawn::Lines(table)) => Some(column_of(table, name)?),
            (Some(_), _) => {
                return Err(Failure::Usage(
                    "--color-by is for points and lines: cells have one value".into(),
                ));
            }
            (None, Drawn::Points(table)) => {
                let label = table.column_index("label").unwrap_or(0);
                Some(table.columns()[label].clone())
            }
            (None, Drawn::Lines(_)) => Some("t".to_owned()),
            (None, _) => None,
        };
        Ok(match column {
            Some(name) => {
                let title = match name.as_str() {
                    "t" => "t (ms)".to_owned(),
                    "x" | "y" | "z" | "error" => format!("{name} (mm)"),
                    _ => name.clone(),
                };
                style.color_by(name.as_str()).color_bar_title(title)
            }
            None => style.color_bar_title("value"),
        })
    }

    /// Whether the plot is one in a plane.
    fn is_flat(&self, drawn: &Drawn) -> bool {
        match drawn {
            Drawn::Voxels(_) => self.axis_slice.is_some() || self.kind == PlotKind::Histogram,
            Drawn::Pixels(_) => true,
            Drawn::Points(_) | Drawn::Lines(_) => {
                matches!(self.kind, PlotKind::Timeseries | PlotKind::Histogram)
                    || self.plane.is_some()
            }
        }
    }

    fn flat(&self, drawn: &Drawn, style: &Style) -> Result<Figure2d, Failure> {
        let mut figure = Figure2d::new();
        let plane = match self.plane {
            Some(PlaneChoice::Xz) => Plane::Xz,
            Some(PlaneChoice::Yz) => Plane::Yz,
            Some(PlaneChoice::Xy) | None => Plane::Xy,
        };
        if self.kind == PlotKind::Histogram {
            let (name, values) = match drawn {
                Drawn::Points(table) => self.histogram_of(table)?,
                Drawn::Lines(table) => self.histogram_of(table)?,
                Drawn::Voxels(voxels) => (
                    "value".to_owned(),
                    voxels.values().iter().copied().collect(),
                ),
                Drawn::Pixels(pixels) => (
                    "value".to_owned(),
                    pixels.values().iter().copied().collect(),
                ),
            };
            figure.histogram(&values, BINS, Norm::Percent, &Style::new())?;
            figure.xlabel(&name, 1, 1)?;
            return Ok(figure);
        }
        let style = style.clone().errors(self.errors);
        match drawn {
            Drawn::Points(table) if self.kind == PlotKind::Timeseries => {
                figure.add_timeseries(table, &style)?;
            }
            Drawn::Points(table) if self.frames => {
                let style = style.plane(plane);
                let made = frames(table, &style, |sample, style| {
                    trace::points_2d(sample, style)
                })?;
                figure.add_frames(made, &style)?;
            }
            Drawn::Points(table) => {
                figure.add_points(table, &style.plane(plane))?;
            }
            Drawn::Lines(table) => {
                let plain = self
                    .size
                    .map_or(Style::new(), |size| Style::new().size(size));
                let most = self.max_points.and_then(|most| usize::try_from(most).ok());
                let plain = plain.max_points(most.unwrap_or(MAX_LINES));
                figure.add_lines(table, &plain.plane(plane))?;
            }
            Drawn::Voxels(voxels) => {
                let slice = self.axis_slice.unwrap_or(Slice::z(voxels.shape()[2] / 2));
                figure.add_voxels(voxels, slice, &style)?;
            }
            Drawn::Pixels(pixels) => {
                figure.add_pixels(pixels, &style)?;
            }
        }
        Ok(figure)
    }

    fn space(&self, drawn: &Drawn, style: &Style) -> Result<Figure3d, Failure> {
        let mut figure = Figure3d::new();
        if let Some([azimuth, elevation]) = self.camera {
            figure.camera(azimuth, elevation);
        }
        match drawn {
            Drawn::Points(table) if self.frames => {
                let made = frames(table, style, |sample, style| trace::points(sample, style))?;
                figure.add_frames(made, style)?;
            }
            Drawn::Points(table) => {
                let has_covariance = table.column_index("sigma_xy").is_some();
                let as_ellipsoids = has_covariance && table.n_rows() <= MAX_ELLIPSOIDS;
                if self.errors && as_ellipsoids {
                    figure.add_ellipsoids(table, 1.0, &Style::new())?;
                }
                let style = style.clone().errors(self.errors && !as_ellipsoids);
                figure.add_points(table, &style)?;
            }
            Drawn::Lines(table) if self.frames => {
                let made = frames(table, style, |sample, style| trace::lines(sample, style))?;
                figure.add_frames(made, style)?;
            }
            Drawn::Lines(table) => {
                figure.add_lines(table, style)?;
            }
            Drawn::Voxels(voxels) => {
                // All that lines cross would hide where they cross.
                let highest = voxels.values().iter().copied().fold(0.0, f64::max);
                let above = self.above.unwrap_or(highest / 2.0);
                figure.add_voxels_where(voxels, |value| value > above, style)?;
                figure.title(format!("Voxels above {above}"));
            }
            Drawn::Pixels(pixels) => {
                figure.add_pixels(pixels, style)?;
            }
        }
        Ok(figure)
    }

    fn histogram_of<C: pept::data::Contents>(
        &self,
        table: &pept::data::Table<C>,
    ) -> Result<(String, Vec<f64>), Failure> {
        let index = match &self.column {
            Some(name) => table.find_column(&column(name))?,
            None => table
                .column_index("error")
                .unwrap_or(table.columns().len() - 1),
        };
        Ok((table.columns()[index].clone(), table.column(index)))
    }

    fn write<D: Dimensions>(
        &self,
        globals: &Globals,
        figure: &Figure<D>,
        is_page: bool,
        started: Instant,
    ) -> Result<(), Failure> {
        let output = &self.output;
        let mut figure = figure.clone();
        if let Some(title) = &self.title {
            figure.title(title.as_str());
        }
        let mut text = String::new();
        let mut written = output.display().to_string();
        if is_page {
            let script = if self.cdn {
                Script::Cdn
            } else {
                Script::Embedded
            };
            figure.write_html(output, script)?;
        } else {
            let [width, height] = self.image_size;
            let options = ImageOptions {
                width,
                height,
                ..ImageOptions::default()
            };
            if self.frames {
                let folder = output.with_extension("");
                let command = figure.write_frames(&folder, &options)?;
                text = format!("a film of them: {command}\n");
                written = format!("frames in {}", folder.display());
            } else {
                figure.write_image(output, &options)?;
            }
        }
        if self.open {
            open_in_browser(output)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let traces = figure.traces().count();
        let summary = json!({
            "output": output.display().to_string(),
            "traces": traces,
            "bytes": std::fs::metadata(output).map_or(0, |file| file.len()),
            "seconds": seconds,
        });
        let text = format!("{written} written in {seconds:.2} s, {traces} traces\n{text}");
        globals.print(&summary, &text)
    }
}

/// The name of a column by its name or position.
fn column_of<C: pept::data::Contents>(
    table: &pept::data::Table<C>,
    name: &str,
) -> Result<String, Failure> {
    let index = table.find_column(&column(name))?;
    Ok(table.columns()[index].clone())
}

/// By position if it is a number.
fn column(name: &str) -> Column {
    match name.parse() {
        Ok(index) => Column::Index(index),
        Err(_) => Column::Name(name.to_owned()),
    }
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|found| {
        endings
            .iter()
            .any(|ending| found.eq_ignore_ascii_case(ending))
    })
}

fn six(limits: &[f64]) -> Result<[f64; 6], Failure> {
    limits.try_into().map_err(|_| {
        Failure::Usage(format!(
            "--limits has {} numbers; voxels need six, x0,x1,y0,y1,z0,z1",
            limits.len()
        ))
    })
}

fn four(limits: &[f64]) -> Result<[f64; 4], Failure> {
    limits.try_into().map_err(|_| {
        Failure::Usage(format!(
            "--limits has {} numbers; pixels need four, two for each axis",
            limits.len()
        ))
    })
}

fn numbers(text: &str) -> Result<Box<[f64]>, String> {
    text.split(',').map(number).collect()
}

/// `ix=3`, or `ix=3+2` for the layers 1 to 5 added up.
fn slice(text: &str) -> Result<Slice, String> {
    let wrong =
        || format!("\"{text}\" is not ix=N, iy=N or iz=N, with +W for more layers on each side");
    let (axis, place) = text.split_once('=').ok_or_else(wrong)?;
    let (index, width) = place.split_once('+').unwrap_or((place, "0"));
    let index = index.trim().parse().map_err(|_| wrong())?;
    let width = width.trim().parse().map_err(|_| wrong())?;
    let slice = match axis.trim() {
        "ix" => Slice::x(index),
        "iy" => Slice::y(index),
        "iz" => Slice::z(index),
        _ => return Err(wrong()),
    };
    Ok(slice.width(width))
}

fn camera(text: &str) -> Result<[f64; 2], String> {
    let angles = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    angles
        .try_into()
        .map_err(|_| format!("\"{text}\" is not two angles in degrees, as -55,20"))
}

fn image_size(text: &str) -> Result<[u32; 2], String> {
    let sides: Option<Vec<u32>> = text
        .split(',')
        .map(|side| side.trim().parse().ok())
        .collect();
    let sides = sides.and_then(|sides| <[u32; 2]>::try_from(sides).ok());
    sides
        .filter(|sides| sides.iter().all(|side| (100..=8000).contains(side)))
        .ok_or_else(|| {
            format!("\"{text}\" is not two numbers of pixels from 100 to 8000, as 900,700")
        })
}
