use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use pept::{Recipe, Sampling, io};

use crate::common::{Failure, Globals, track};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The recording: parallel-screens text, rows `t x1 y1 x2 y2` (ms, mm)
    #[arg(required_unless_present = "print_recipe")]
    input: Option<PathBuf>,
    /// Where the points go: OUT.csv
    #[arg(
        short,
        long,
        value_name = "OUT",
        required_unless_present = "print_recipe"
    )]
    output: Option<PathBuf>,
    /// How to track: pept-ml, pept-ml-one-pass, or a recipe FILE.toml
    #[arg(long, default_value = "pept-ml", value_name = "RECIPE")]
    recipe: String,
    /// Show the recipe and stop
    #[arg(long)]
    print_recipe: bool,
    /// The largest number of tracers seen at the same time [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tracers: Option<u32>,
    /// LoRs of a sample [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    sample_size: Option<u32>,
    /// LoRs that a sample shares with the one before; negative skips some [default: the recipe's share of the sample size]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    overlap: Option<i32>,
    /// Largest distance of two lines that make a cutpoint, in mm [default: the recipe's]
    #[arg(long, value_name = "MM", allow_negative_numbers = true, value_parser = not_negative)]
    max_distance: Option<f64>,
    /// Set any parameter of the recipe
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, f64)>,
    /// Format of the recording
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Distance of the screens in mm [default: the file's]
    #[arg(long, value_name = "MM", allow_negative_numbers = true, value_parser = positive)]
    separation: Option<f64>,
    /// Track only the samples A to before B
    #[arg(long, value_name = "A..B", value_parser = range)]
    samples: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// By content
    Auto,
    /// Text of two parallel screens
    ParallelScreens,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let is_file = arguments.recipe.ends_with(".toml") || Path::new(&arguments.recipe).is_file();
    // A built-in recipe can only fail for what stands on the command line.
    let blame = |error: pept::Error| {
        if is_file {
            Failure::from(error)
        } else {
            Failure::usage(error)
        }
    };
    let mut recipe = if is_file {
        Recipe::read(&arguments.recipe)
    } else {
        Recipe::built_in(&arguments.recipe)
    }
    .map_err(blame)?;
    if arguments.print_recipe {
        return globals.print(&serde_json::json!({"recipe": recipe.text()}), recipe.text());
    }
    let (Some(input), Some(output)) = (&arguments.input, &arguments.output) else {
        return Err(Failure::Usage("an input and an output are needed".into()));
    };
    if !output
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
    {
        return Err(Failure::Usage(format!(
            "cannot write {}: the name has to end in .csv",
            output.display()
        )));
    }
    let named = [
        ("tracers", arguments.tracers.map(f64::from)),
        ("max_distance", arguments.max_distance),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)));
    for (name, value) in named.chain(
        arguments
            .set
            .iter()
            .map(|(name, value)| (name.as_str(), *value)),
    ) {
        recipe.set(name, value).map_err(blame)?;
    }
    let pipeline = recipe.pipeline().map_err(blame)?;
    pipeline.check(pept::data::Kind::Lines).map_err(blame)?;
    let sampling = sampling(arguments, recipe.sampling().map_err(blame)?);
    sampling.check().map_err(blame)?;
    if arguments.overlap.is_some() && matches!(sampling, Sampling::Count { size: 0, .. }) {
        return Err(Failure::Usage(
            "--overlap needs a sample size: the recipe has none, give --sample-size".into(),
        ));
    }
    for read in [
        Some(input.as_path()),
        is_file.then_some(Path::new(&arguments.recipe)),
    ]
    .into_iter()
    .flatten()
    {
        if is_same_file(read, output) {
            return Err(Failure::Failed(format!(
                "{} would be overwritten by the output; choose another name",
                read.display()
            )));
        }
    }

    io::check_writable(output)?;
    let backend = globals.backend()?;
    let lors = match arguments.format {
        Format::Auto | Format::ParallelScreens => {
            io::parallel_screens::read(input, arguments.separation)?
        }
    };
    let mut lors = lors.with_sampling(sampling)?;
    if lors.n_samples() == 0 {
        let problem = format!(
            "{} LoRs are fewer than one sample ({}); use a smaller --sample-size",
            lors.n_rows(),
            lors.sampling()
        );
        return Err(Failure::Failed(format!("{}: {problem}", input.display())));
    }
    if let Some(range) = &arguments.samples {
        lors = lors.select(range.clone())?;
    }
    let tracked = track(globals, &pipeline, lors, backend)?;
    io::csv::write(output, &tracked.points)?;
    let elapsed = started.elapsed();
    let text = format!(
        "{}{} written\n",
        tracked.text(elapsed, globals.verbose > 0),
        output.display()
    );
    globals.print(&tracked.summary(elapsed), &text)
}

/// Whether two names lead to one file that exists.
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The command line's sampling, completed by the recipe's.
fn sampling(arguments: &Arguments, recipe: Option<Sampling>) -> Sampling {
    let (recipe_size, recipe_overlap) = match recipe {
        Some(Sampling::Count { size, overlap }) => (size, overlap),
        _ => (0, 0),
    };
    let size = arguments
        .sample_size
        .map_or(recipe_size, |size| size as usize);
    let overlap = match (arguments.overlap, arguments.sample_size) {
        (Some(overlap), _) => overlap as isize,
        (None, None) => recipe_overlap,
        // The recipe's share of the size.
        (None, Some(_)) => share_of(size, recipe_overlap, recipe_size).unwrap_or(0),
    };
    Sampling::count(size).overlap(overlap)
}

/// `overlap / whole` of `size`, rounded towards 0.
fn share_of(size: usize, overlap: isize, whole: usize) -> Option<isize> {
    isize::try_from(size)
        .ok()?
        .checked_mul(overlap)?
        .checked_div(isize::try_from(whole).ok()?)
}

fn number(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| format!("\"{text}\" is not a number"))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).and_then(|value| {
        if value > 0.0 {
            Ok(value)
        } else {
            Err(format!("{value} is not above 0"))
        }
    })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|value| {
        if value >= 0.0 {
            Ok(value)
        } else {
            Err(format!("{value} is negative"))
        }
    })
}

fn assignment(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), number(value)?))
}

fn range(text: &str) -> Result<Range<usize>, String> {
    let bounds = text
        .split_once("..")
        .and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    bounds
        .filter(|range: &Range<usize>| range.start < range.end)
        .ok_or_else(|| format!("\"{text}\" is not A..B with A below B"))
}
