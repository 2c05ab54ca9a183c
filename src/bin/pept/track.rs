use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use pept::data::Kind;
use pept::io::source;
use pept::plot::Script;
use pept::{Data, Recipe, io};

use crate::common::{Failure, Globals, track, track_recording};
use crate::input::{
    Cutting, Reading, assignment, check_output, check_place, cut, not_negative, positive, range,
};
use crate::recording::{Blocks, Follow, LiveFiles, Recording};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The recording: ADAC Forte, modular camera, parallel-screens text with rows `t x1 y1 x2 y2` (ms, mm), or a table of lines (text, .arrow,
    /// .npy); compressed or not; several files and patterns are one run; - is standard input
    #[arg(required_unless_present = "print_recipe", value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Where the points go: OUT.csv, OUT.arrow or OUT.npy
    #[arg(
        short,
        long,
        value_name = "OUT",
        required_unless_present = "print_recipe"
    )]
    output: Option<PathBuf>,
    /// How to track: pept-ml, pept-ml-one-pass, pept-ml-second-pass, pept-ml-refined, pept-ml-smooth, pept-em, pept-em-link, pept-em-trajectory,
    /// birmingham, fpi, production, or a recipe FILE.toml
    #[arg(long, default_value = "pept-ml", value_name = "RECIPE")]
    recipe: String,
    /// Show the recipe and stop
    #[arg(long)]
    print_recipe: bool,
    #[command(flatten)]
    options: Options,
}

/// `pept run`: any pipeline.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The pipeline: a recipe FILE.toml, or the name of a built-in one
    recipe: String,
    /// What it takes: a recording (several files are one run), or a table of lines or points (.csv, .arrow, .npy)
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Where the points go: OUT.csv, OUT.arrow or OUT.npy
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// The largest number of tracers seen at the same time [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tracers: Option<u32>,
    #[command(flatten)]
    cutting: Cutting,
    /// Largest distance of two lines that make a cutpoint, in mm [default: the recipe's]
    #[arg(long, value_name = "MM", allow_negative_numbers = true, value_parser = not_negative)]
    max_distance: Option<f64>,
    /// Set any parameter of the recipe
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, f64)>,
    #[command(flatten)]
    reading: Reading,
    /// Also draw the result: a page with trajectories, errors, steps and the recipe
    #[arg(long, value_name = "OUT.html")]
    plot: Option<PathBuf>,
    /// Track a file that is still being written, or standard input: points go to OUT.live.csv as they come, with provisional labels, joins of
    /// these to OUT.live-joins.csv; the output is written at the end, which is Ctrl-C, or SECONDS without anything new
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, value_parser = positive)]
    follow: Option<Option<f64>>,
    /// Track only the samples A to before B
    #[arg(long, value_name = "A..B", value_parser = range)]
    samples: Option<Range<usize>>,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.print_recipe {
        let (recipe, _) = open(&arguments.recipe)?;
        return globals.print(&serde_json::json!({"recipe": recipe.text()}), recipe.text());
    }
    let Some(output) = &arguments.output else {
        return Err(Failure::Usage("an output is needed".into()));
    };
    execute(
        globals,
        &arguments.recipe,
        &arguments.inputs,
        output,
        &arguments.options,
    )
}

pub(crate) fn run_recipe(globals: &Globals, arguments: &RunArguments) -> Result<(), Failure> {
    let RunArguments {
        recipe,
        inputs,
        output,
        options,
    } = arguments;
    execute(globals, recipe, inputs, output, options)
}

/// A recipe, and whether it is a file.
fn open(name: &str) -> Result<(Recipe, bool), Failure> {
    let is_file = name.ends_with(".toml") || Path::new(name).is_file();
    let recipe = if is_file {
        Recipe::read(name)
    } else {
        Recipe::built_in(name)
    };
    Ok((recipe.map_err(|error| blame(is_file, error))?, is_file))
}

/// A built-in recipe can only fail for what stands on the command line.
fn blame(is_file: bool, error: pept::Error) -> Failure {
    if is_file {
        Failure::from(error)
    } else {
        Failure::usage(error)
    }
}

fn execute(
    globals: &Globals,
    name: &str,
    patterns: &[PathBuf],
    output: &Path,
    options: &Options,
) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut recipe, is_file) = open(name)?;
    let blame = |error| blame(is_file, error);
    let named = [
        ("tracers", options.tracers.map(f64::from)),
        ("max_distance", options.max_distance),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)));
    let set = options
        .set
        .iter()
        .map(|(name, value)| (name.as_str(), *value));
    for (name, value) in named.chain(set) {
        recipe.set(name, value).map_err(blame)?;
    }
    let pipeline = recipe.pipeline().map_err(blame)?;
    let files = source::expand(patterns)?;
    let [input, ..] = files.as_slice() else {
        return Err(Failure::Usage("an input is needed".into()));
    };
    let kind = match (pipeline.check(Kind::Lines), pipeline.check(Kind::Points)) {
        (Ok(()), Ok(())) => Kind::Any,
        (Ok(()), Err(_)) => Kind::Lines,
        (Err(_), Ok(())) if options.reading.holds_points(input) => Kind::Points,
        // It takes the file to tell.
        (Err(error), Ok(())) => {
            return Err(Failure::Failed(format!(
                "{error}; if {} is a table of points, give --format points",
                input.display()
            )));
        }
        (Err(error), Err(_)) => return Err(blame(error)),
    };
    let sampling = recipe.sampling().map_err(blame)?;
    if let Some(sampling) = &sampling
        && options.cutting.is_unset()
    {
        sampling.check().map_err(blame)?;
    }
    let cuts_itself = pipeline
        .transformers()
        .first()
        .filter(|step| step.name() == "OptimizeWindow");
    if let Some(step) = cuts_itself.filter(|_| !options.cutting.is_unset()) {
        tracing::warn!(
            "{} cuts the input anew: --sample-size and --overlap change nothing with this recipe",
            step.name()
        );
    }
    let sampling = options.cutting.sampling(sampling)?;
    let mut inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    inputs.extend(is_file.then_some(Path::new(name)));
    let gives = pipeline.gives(kind).map_err(blame)?;
    if gives == Kind::Voxels {
        io::cells::check_name(output).map_err(Failure::usage)?;
        check_place(output, &inputs)?;
    } else {
        check_output(output, &inputs)?;
    }

    if let Some(plot) = &options.plot {
        let is_page = plot.extension().is_some_and(|ending| ending == "html");
        if !is_page {
            return Err(Failure::Usage(format!(
                "{}: --plot makes a page, OUT.html; `pept plot` makes .png and .svg",
                plot.display()
            )));
        }
        check_place(plot, &inputs)?;
        check_place(plot, &[output])?;
    }
    let backend = globals.backend()?;
    let follow = options.follow.map(|patience| Follow {
        patience: patience.map(Duration::from_secs_f64),
        once: input == Path::new("-"),
    });
    let mut live = None;
    // A grid is of one sample: there is not much to read.
    let tracked = if kind != Kind::Points
        && gives != Kind::Voxels
        && options.reading.is_recording(&files, kind)
    {
        if follow.is_some() {
            for path in LiveFiles::paths(output) {
                check_place(&path, &inputs)?;
            }
        }
        let blocks = Blocks::open(follow, &files, || options.reading.open(&files))?;
        if follow.is_some() {
            let pipeline = pipeline.clone().backend(backend.clone()).seed(globals.seed);
            live = Some(LiveFiles::create(&pipeline, output)?);
        }
        let recording = Recording {
            blocks,
            sampling,
            samples: options.samples.clone(),
            live: live.as_mut(),
        };
        track_recording(globals, &pipeline, recording, backend).map_err(|failure| {
            match (failure, follow) {
                (Failure::Failed(message), Some(_)) => Failure::Failed(format!(
                    "{message}; what had been found is in {}",
                    LiveFiles::paths(output)[0].display()
                )),
                (failure, _) => failure,
            }
        })?
    } else if follow.is_some() {
        return Err(Failure::Failed(
            "--follow is for recordings that are tracked as they are read".into(),
        ));
    } else {
        let data = options.reading.read(&files, kind)?;
        let data = selected(cut(data, sampling, input)?, options.samples.clone())?;
        if gives == Kind::Voxels && data.n_samples() > 1 {
            return Err(Failure::Failed(format!(
                "the recipe ends in voxels, a grid for each of {} samples, but a file holds one: choose a sample with --samples",
                data.n_samples()
            )));
        }
        track(globals, &pipeline, data, backend)?
    };
    io::table::write_data(output, tracked.table.clone())?;
    if let Some(live) = live {
        live.remove();
    }
    let elapsed = started.elapsed();
    let mut written = output.display().to_string();
    if let Some(plot) = &options.plot {
        let title = format!("{}, {}", input.display(), recipe.name());
        let page = tracked.page(&title, recipe.text(), elapsed, Vec::new())?;
        page.write(plot, Script::Embedded)?;
        written += &format!(", {}", plot.display());
    }
    let text = format!(
        "{}{written} written\n",
        tracked.text(elapsed, globals.verbose > 0),
    );
    globals.print(&tracked.summary(elapsed), &text)
}

fn selected(data: Data, samples: Option<Range<usize>>) -> Result<Data, Failure> {
    Ok(match (data, samples) {
        (Data::Lines(table), Some(samples)) => Data::Lines(table.select(samples)?),
        (Data::Points(table), Some(samples)) => Data::Points(table.select(samples)?),
        (data, _) => data,
    })
}
