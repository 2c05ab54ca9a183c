//! What a recording is read from and how it is cut: options of several commands.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pept::data::Kind;
use pept::io::source::{self, Files};
use pept::{Data, Sampling, io};

use crate::common::Failure;

/// How a recording is read.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Format of the input
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Distance of the screens in mm [default: the file's]
    #[arg(long, value_name = "MM", allow_negative_numbers = true, value_parser = positive)]
    separation: Option<f64>,
    /// Ticks of an ADAC recording's clock in a ms, which is then read only once [default: found from the file]
    #[arg(long, value_name = "TICKS", value_parser = positive)]
    clock_rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// By name and content
    Auto,
    /// ADAC Forte list mode
    Adac,
    /// Modular camera list mode
    Modular,
    /// Text of two parallel screens
    ParallelScreens,
    /// A table of lines: text, .arrow, .npy
    Lines,
    /// A table of points: .csv with column names, .arrow, .npy
    Points,
}

impl Reading {
    /// Whether the input is points, as far as one can tell without reading it.
    pub(crate) fn holds_points(&self, input: &Path) -> bool {
        match self.format {
            Format::Points => true,
            Format::Auto => is_table(input, "t,x,y,z") || !input.exists(),
            _ => false,
        }
    }

    /// Whether an input is a table of points, as its content says.
    pub(crate) fn are_points(&self, input: &Path) -> bool {
        self.holds_points(input)
            && input.exists()
            && (has_ending(input, "csv")
                || self.format == Format::Points
                || io::table::read_lines(input).is_err())
    }

    /// What the command line alone shows.
    fn check(&self) -> Result<(), Failure> {
        let has_screens = matches!(
            self.format,
            Format::Auto | Format::Adac | Format::ParallelScreens
        );
        if self.separation.is_some() && !has_screens {
            return Err(Failure::Usage(
                "--separation is for recordings of parallel screens".into(),
            ));
        }
        if self.clock_rate.is_some() && !matches!(self.format, Format::Auto | Format::Adac) {
            return Err(Failure::Usage(
                "--clock-rate is for ADAC recordings (--format adac)".into(),
            ));
        }
        Ok(())
    }

    /// Opens a recording of one or more files, which are not patterns any more.
    pub(crate) fn open(&self, inputs: &[PathBuf]) -> Result<Files, Failure> {
        self.check()?;
        if self.format == Format::Points {
            return Err(Failure::Usage(
                "--format points: lines are needed here".into(),
            ));
        }
        for input in inputs {
            let is_csv = self.format == Format::Auto && has_ending(input, "csv");
            if is_csv && is_table(input, "t,x,y,z") {
                return Err(Failure::Failed(format!(
                    "{}: lines are needed, but its columns are those of points (t,x,y,z)",
                    input.display()
                )));
            }
        }
        // Tables without lines in them say so better when they are read as what their name says.
        let by_name = |input: &PathBuf| match () {
            () if has_ending(input, "npy") => Some(source::Format::NumPy),
            () if has_ending(input, "arrow") || has_ending(input, "feather") => {
                Some(source::Format::Arrow)
            }
            () => None,
        };
        let named = inputs.first().and_then(by_name);
        let options = source::Options {
            format: match self.format {
                Format::Adac => Some(source::Format::AdacForte),
                Format::Modular => Some(source::Format::ModularCamera),
                Format::ParallelScreens => Some(source::Format::ParallelScreens),
                Format::Lines => Some(named.unwrap_or(source::Format::Lines)),
                Format::Auto | Format::Points => named,
            },
            separation: self.separation,
            clock_rate: self.clock_rate,
            ..source::Options::default()
        };
        Ok(Files::open(inputs, &options)?)
    }

    /// Whether a pipeline that takes this kind gets LoRs, block by block, and not a table.
    pub(crate) fn is_recording(&self, inputs: &[PathBuf], kind: Kind) -> bool {
        match (self.format, kind, inputs) {
            (_, Kind::Lines, _) => true,
            (Format::Points, ..) => false,
            (Format::Auto, _, [only]) => !is_table(only, "t,x,y,z") && !is_table(only, "t,x1,"),
            _ => true,
        }
    }

    /// Reads lines or points, as a pipeline needs.
    pub(crate) fn read(&self, inputs: &[PathBuf], kind: Kind) -> Result<Data, Failure> {
        self.check()?;
        if let ([only], Kind::Points | Kind::Any) = (inputs, kind) {
            let is_points = match (self.format, kind) {
                (Format::Points, _) | (Format::Auto, Kind::Points) => true,
                (Format::Auto, _) => has_ending(only, "csv") && is_table(only, "t,x,y,z"),
                _ => false,
            };
            if is_points {
                return Ok(io::table::read_points(only)?.into());
            }
            // A table that is no table of lines may be one of points.
            if self.format == Format::Auto && is_table(only, "t,x1,") {
                return Ok(match io::table::read_lines(only) {
                    Ok(lines) => lines.into(),
                    Err(error) => match io::table::read_points(only) {
                        Ok(points) => points.into(),
                        Err(_) => return Err(error.into()),
                    },
                });
            }
        }
        Ok(source::read_all(self.open(inputs)?)?.into())
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Whether a file is a table by its name or, for .csv, by the columns that its first line names.
fn is_table(path: &Path, columns: &str) -> bool {
    use std::io::Read;
    if !has_ending(path, "csv") {
        return ["arrow", "feather", "npy"]
            .iter()
            .any(|known| has_ending(path, known));
    }
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    let start = String::from_utf8_lossy(&start);
    let start = start.trim_start_matches(['\u{feff}', '#']);
    let is_between = |c: char| [',', ';', '"'].contains(&c) || c.is_whitespace();
    let names: Vec<_> = start
        .split(is_between)
        .filter(|name| !name.is_empty())
        .collect();
    read.is_ok() && names.join(",").starts_with(columns)
}

/// How a recording is cut into samples.
#[derive(Debug, Args)]
pub(crate) struct Cutting {
    /// LoRs of a sample, or its time as 5ms, or both limits as 5ms:200 [default: the recipe's]
    #[arg(long, value_name = "N|MS|MS:N", value_parser = size)]
    sample_size: Option<Size>,
    /// LoRs, or time as 2ms, that a sample shares with the one before; negative skips some [default: the recipe's share of the sample
    /// size]
    #[arg(long, value_name = "N|MS", allow_hyphen_values = true, value_parser = overlap)]
    overlap: Option<Overlap>,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Rows(usize),
    Time(f64),
    Adaptive(f64, usize),
}

#[derive(Clone, Copy, Debug)]
enum Overlap {
    Rows(isize),
    Time(f64),
}

impl Cutting {
    /// Whether the command line says nothing.
    pub(crate) fn is_unset(&self) -> bool {
        self.sample_size.is_none() && self.overlap.is_none()
    }

    /// The command line's sampling, completed by the recipe's.
    pub(crate) fn sampling(&self, recipe: Option<Sampling>) -> Result<Sampling, Failure> {
        let recipe = recipe.unwrap_or_default();
        let mismatch = || {
            Failure::Usage(
                "--overlap and the sample size have to be of one kind: both LoRs, or both times"
                    .into(),
            )
        };
        let sampling = match self.sample_size {
            None => recipe.clone(),
            Some(Size::Rows(rows)) => Sampling::count(rows),
            Some(Size::Time(window)) => Sampling::time(window),
            Some(Size::Adaptive(window, rows)) => Sampling::adaptive(window, rows),
        };
        let sampling = match (self.overlap, sampling) {
            (Some(_), Sampling::Whole | Sampling::Count { size: 0, .. }) => {
                return Err(Failure::Usage(
                    "--overlap needs a sample size: the recipe has none, give --sample-size".into(),
                ));
            }
            (Some(Overlap::Rows(rows)), Sampling::Count { size, .. }) => {
                Sampling::count(size).overlap(rows)
            }
            (Some(Overlap::Time(time)), by_time) if by_time.is_by_time() => {
                by_time.overlap_time(time)
            }
            (Some(_), _) => return Err(mismatch()),
            (None, sampling) if self.sample_size.is_none() => sampling,
            (None, sampling) => with_share_of(&recipe, sampling),
        };
        sampling.check().map_err(Failure::usage)?;
        Ok(sampling)
    }
}

/// The same share of overlap as another rule has, rounded towards 0.
fn with_share_of(other: &Sampling, sampling: Sampling) -> Sampling {
    match (other, sampling) {
        (
            &Sampling::Count {
                size: whole,
                overlap,
            },
            Sampling::Count { size, .. },
        ) if whole > 0 => {
            let share = |size: usize| {
                isize::try_from(size)
                    .ok()?
                    .checked_mul(overlap)?
                    .checked_div(isize::try_from(whole).ok()?)
            };
            Sampling::count(size).overlap(share(size).unwrap_or(0))
        }
        (other, sampling) => {
            let share = match *other {
                Sampling::Count { size, overlap } if size > 0 => overlap as f64 / size as f64,
                Sampling::Time { window, overlap }
                | Sampling::Adaptive {
                    window, overlap, ..
                } => overlap / window,
                _ => 0.0,
            };
            match sampling {
                Sampling::Time { window, .. } | Sampling::Adaptive { window, .. } => {
                    sampling.overlap_time(share * window)
                }
                #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
                Sampling::Count { size, .. } => {
                    Sampling::count(size).overlap((share * size as f64) as isize)
                }
                other => other,
            }
        }
    }
}

/// A table's file for results, which has to be none of the inputs.
pub(crate) fn check_output(output: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    io::table::check_name(output).map_err(Failure::usage)?;
    check_place(output, inputs)
}

/// A file for results that can be written and is none of the inputs.
pub(crate) fn check_place(output: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    let is_same = |input: &&&Path| matches!((input.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if let Some(input) = inputs.iter().find(is_same) {
        return Err(Failure::Failed(format!(
            "{} would be overwritten by the output; choose another name",
            input.display()
        )));
    }
    Ok(io::check_writable(output)?)
}

/// Cuts a table into samples; none is an error.
pub(crate) fn cut(data: Data, sampling: Sampling, input: &Path) -> Result<Data, Failure> {
    let rule = sampling.to_string();
    let data = match data {
        Data::Lines(table) => Data::Lines(table.with_sampling(sampling)?),
        Data::Points(table) => Data::Points(table.with_sampling(sampling)?),
        list => list,
    };
    if data.n_samples() > 0 {
        return Ok(data);
    }
    let rows = match data {
        Data::Points(_) => "points",
        _ => "LoRs",
    };
    Err(Failure::Failed(format!(
        "{}: {} {rows} are fewer than one sample ({rule}); use a smaller --sample-size",
        input.display(),
        data.n_rows()
    )))
}

fn size(text: &str) -> Result<Size, String> {
    let rows = |text: &str| match text.trim().parse::<usize>() {
        Ok(rows) if rows >= 1 => Ok(rows),
        _ => Err(format!("\"{text}\" is no number of LoRs above 0")),
    };
    match text.split_once("ms") {
        None if text.trim().ends_with('s') => Err(format!(
            "\"{text}\" is not N, 5ms or 5ms:200: times are in milliseconds"
        )),
        None => match rows(text)? {
            1 => Err("1 is not in 2.. (a sample needs lines that can cross)".into()),
            rows => Ok(Size::Rows(rows)),
        },
        Some((window, "")) => positive(window).map(Size::Time),
        Some((window, rest)) => match rest.strip_prefix(':') {
            Some(most) => Ok(Size::Adaptive(positive(window)?, rows(most)?)),
            None => Err(format!("\"{text}\" is not N, 5ms or 5ms:200")),
        },
    }
}

fn overlap(text: &str) -> Result<Overlap, String> {
    match text.strip_suffix("ms") {
        Some(time) => number(time).map(Overlap::Time),
        None => match text.trim().parse() {
            Ok(rows) => Ok(Overlap::Rows(rows)),
            Err(_) => Err(format!(
                "\"{text}\" is not N or 2ms (times are in milliseconds)"
            )),
        },
    }
}

pub(crate) fn number(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| format!("\"{text}\" is not a number"))
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    number(text).and_then(|value| {
        if value > 0.0 {
            Ok(value)
        } else {
            Err(format!("{value} is not above 0"))
        }
    })
}

pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|value| {
        if value >= 0.0 {
            Ok(value)
        } else {
            Err(format!("{value} is negative"))
        }
    })
}

pub(crate) fn assignment(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), number(value)?))
}

pub(crate) fn range(text: &str) -> Result<Range<usize>, String> {
    let bounds = text
        .split_once("..")
        .and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    bounds
        .filter(|range: &Range<usize>| range.start < range.end)
        .ok_or_else(|| format!("\"{text}\" is not A..B with A below B"))
}
