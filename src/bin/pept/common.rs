//! What all commands share: global options, failures, progress, the summary of a run.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use pept::pipeline::{BlockOptions, Pipeline, Progress, Report};
use pept::plot::{Page, StepSummary, Summary, report};
use pept::{Backend, Data};
use serde_json::{Value, json};

use crate::recording::Recording;

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Where kernels run: auto is a hardware GPU if there is one, else the CPU
    #[arg(long, global = true, value_enum, default_value = "auto")]
    backend: BackendChoice,
    /// Number of threads [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Seed of all random numbers
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print one JSON object with the summary on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell more: the time of each step, what was read (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BackendChoice {
    Auto,
    Cpu,
    Gpu,
}

impl Globals {
    pub(crate) fn start_logging(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => tracing::Level::ERROR,
            (false, 0) => tracing::Level::WARN,
            (false, 1) => tracing::Level::DEBUG,
            (false, _) => tracing::Level::TRACE,
        };
        // wgpu and its drivers talk a lot at lower levels: ours only, theirs from warnings up with -vv.
        let others = if self.verbose > 1 {
            tracing::Level::WARN
        } else {
            tracing::Level::ERROR
        };
        let filter = tracing_subscriber::filter::Targets::new()
            .with_default(others)
            .with_target("pept", level)
            // The step Debug was asked for.
            .with_target(
                "pept::transform::debug",
                if self.quiet {
                    level
                } else {
                    level.max(tracing::Level::INFO)
                },
            )
            .with_target("pept_kernels", level);
        use tracing_subscriber::prelude::*;
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .without_time()
            .with_target(false);
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .init();
    }

    pub(crate) fn pool(&self) -> Result<rayon::ThreadPool, Failure> {
        let threads = self.threads.map_or(0, usize::from); // 0: one per core
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start {threads} threads: {error}")))
    }

    pub(crate) fn backend(&self) -> Result<Backend, Failure> {
        match self.backend {
            BackendChoice::Auto => Ok(Backend::auto()),
            BackendChoice::Cpu => Ok(Backend::Cpu),
            BackendChoice::Gpu => Ok(Backend::gpu().map_err(pept::Error::from)?),
        }
    }

    /// Whether kernels must not touch a GPU.
    pub(crate) fn cpu_only(&self) -> bool {
        self.backend == BackendChoice::Cpu
    }

    /// Prints a summary: as JSON, or as text unless quiet.
    pub(crate) fn print(&self, json: &Value, text: &str) -> Result<(), Failure> {
        let text = match (self.json, self.quiet) {
            (true, _) => format!("{json:#}\n"),
            (false, true) => return Ok(()),
            (false, false) => text.to_owned(),
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Failed(
                format!("cannot write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// A progress bar on standard error, if that is a terminal.
    fn progress_bar(&self) -> ProgressBar {
        if self.quiet || self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(0);
        bar.set_style(bar_style(SAMPLES));
        bar
    }
}

/// Why the program ends without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong usage: the command line alone shows it. Exit code 2.
    Usage(String),
    /// A file, a device or the data. Exit code 1.
    Failed(String),
}

impl Failure {
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
        };
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(std::io::stderr(), "error: {message}");
        ExitCode::from(code)
    }

    /// What the command line alone shows.
    pub(crate) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<pept::Error> for Failure {
    fn from(error: pept::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A tracked recording and what it took.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// A table of points or, from `pept run`, of lines.
    pub(crate) table: Data,
    report: Report,
    rows_in: usize,
    from_points: bool,
    samples: usize,
    recorded: Duration,
    backend: Backend,
    /// Whether Ctrl-C ended it before the end of the recording.
    interrupted: bool,
}

/// Runs a pipeline over a recording as it is read, with a progress bar.
pub(crate) fn track_recording(
    globals: &Globals,
    pipeline: &Pipeline,
    recording: Recording<'_>,
    backend: Backend,
) -> Result<Tracked, Failure> {
    let Recording {
        mut blocks,
        sampling,
        samples,
        live,
    } = recording;
    let pipeline = &pipeline.clone().backend(backend.clone()).seed(globals.seed);
    tracing::debug!("{pipeline}");
    let bar = globals.progress_bar();
    let started = Instant::now();
    let read = blocks.progress();
    if let Some(total) = read.bytes_total() {
        bar.set_style(bar_style(
            "{msg:<24} [{bar:32}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        ));
        bar.set_length(total);
    }
    let show = |progress: Progress| {
        if progress.step == 0 && bar.length() == read.bytes_total() {
            if progress.done == 1 {
                bar.set_message(name_of(pipeline, 0));
            }
            bar.set_position(read.bytes_read());
        } else {
            show_samples(&bar, pipeline, progress);
        }
    };
    let rule = sampling.to_string();
    let mut options = BlockOptions::new(sampling).progress(&show);
    if let Some(samples) = samples {
        options = options.samples(samples);
    }
    if let Some(live) = live {
        options = options.observer(|data| live.push(data));
    }
    let (data, report) = pipeline.run_blocks(|| blocks.next(), options)?;
    bar.finish_and_clear();
    tracing::debug!(seconds = started.elapsed().as_secs_f64(), "pipeline done");
    if report.samples == 0 {
        return Err(Failure::Failed(format!(
            "{} LoRs are fewer than one sample ({rule}); use a smaller --sample-size",
            report.rows
        )));
    }
    let (first, last) = report.time_span.unwrap_or_default();
    Ok(Tracked {
        table: data.into_table()?,
        rows_in: report.rows,
        from_points: false,
        samples: report.samples,
        recorded: Duration::try_from_secs_f64((last - first) / 1000.0).unwrap_or_default(),
        report,
        backend,
        interrupted: blocks.interrupted,
    })
}

/// Runs a pipeline over LoRs with a progress bar.
pub(crate) fn track(
    globals: &Globals,
    pipeline: &Pipeline,
    lors: Data,
    backend: Backend,
) -> Result<Tracked, Failure> {
    let pipeline = pipeline.clone().backend(backend.clone()).seed(globals.seed);
    tracing::debug!("{pipeline}");
    let (first, last) = lors.time_span().unwrap_or_default();
    let (rows_in, samples) = (lors.n_rows(), lors.n_samples());
    let from_points = matches!(lors, Data::Points(_));

    let bar = globals.progress_bar();
    let started = Instant::now();
    let show = |progress: Progress| show_samples(&bar, &pipeline, progress);
    let (data, report) = pipeline.run(lors, &show)?;
    bar.finish_and_clear();
    tracing::debug!(seconds = started.elapsed().as_secs_f64(), "pipeline done");
    let recorded = Duration::try_from_secs_f64((last - first) / 1000.0).unwrap_or_default();
    Ok(Tracked {
        table: data.into_table()?,
        report,
        rows_in,
        from_points,
        samples,
        recorded,
        backend,
        interrupted: false,
    })
}

/// Samples of the first filters; later ones have their own number.
fn show_samples(bar: &ProgressBar, pipeline: &Pipeline, progress: Progress) {
    if progress.done == 1 || bar.length() != Some(progress.total as u64) {
        if progress.done == 1 {
            bar.set_style(bar_style(SAMPLES));
        }
        bar.set_length(progress.total as u64);
        bar.set_message(name_of(pipeline, progress.step));
    }
    bar.set_position(progress.done as u64);
}

fn name_of(pipeline: &Pipeline, step: usize) -> &'static str {
    pipeline
        .transformers()
        .get(step)
        .map_or("", |step| step.name())
}

const SAMPLES: &str = "{msg:<24} [{bar:32}] {pos}/{len} samples, {rate}/s, {eta} left";

fn bar_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template should be valid")
        .with_key(
            "rate",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A number that cannot be shown is not worth an error.
                let _ = write!(out, "{:.0}", state.per_sec());
            },
        )
        .progress_chars("=> ")
}

impl Tracked {
    /// What the rows of the table are.
    fn what(&self) -> &'static str {
        match self.table {
            Data::Lines(_) => "lines",
            _ => "points",
        }
    }

    /// Number of trajectories: distinct labels from 0 on.
    fn trajectories(&self) -> usize {
        let label = match &self.table {
            Data::Points(table) => table
                .column_index("label")
                .map(|column| table.column(column)),
            _ => None,
        };
        let Some(mut labels) = label else {
            return 0;
        };
        labels.retain(|&label| label >= 0.0);
        labels.sort_by(f64::total_cmp);
        labels.dedup();
        labels.len()
    }

    /// The summary that `--json` prints.
    pub(crate) fn summary(&self, elapsed: Duration) -> Value {
        let seconds = elapsed.as_secs_f64();
        // The contract's name, also where a recipe starts from points.
        let lors_per_second = self.rows_in as f64 / seconds;
        let steps: Vec<Value> = self
            .report
            .steps
            .iter()
            .map(|step| json!({"name": step.name, "backend": step.backend, "seconds": step.seconds, "in": step.rows_in, "out": step.rows_out}))
            .collect();
        json!({
            "lors": self.rows_in,
            "samples": self.samples,
            "points": if self.what() == "points" { self.table.n_rows() } else { 0 },
            "trajectories": self.trajectories(),
            "seconds": seconds,
            "lors_per_second": lors_per_second,
            "realtime_factor": self.recorded.as_secs_f64() / seconds,
            "backend": self.backend.name(),
            "adapter": self.backend.adapter(),
            "threads": rayon::current_num_threads(),
            "gpu_dispatches": self.backend.gpu_dispatches(),
            "interrupted": self.interrupted,
            "steps": steps,
        })
    }

    /// A page with numbers, trajectories and steps. `errors`: distances from the truth (mm), where it is known.
    pub(crate) fn page(
        &self,
        title: &str,
        recipe: &str,
        elapsed: Duration,
        errors: Vec<f64>,
    ) -> Result<Page, Failure> {
        let seconds = elapsed.as_secs_f64();
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let steps = self.report.steps.iter().map(|step| StepSummary {
            name: step.name.to_owned(),
            backend: step.backend.to_owned(),
            seconds: step.seconds,
            rows_in: step.rows_in,
            rows_out: step.rows_out,
        });
        let summary = Summary {
            facts: vec![
                fact("LoRs", self.rows_in.to_string()),
                fact("samples", self.samples.to_string()),
                fact(self.what(), self.table.n_rows().to_string()),
                fact("trajectories", self.trajectories().to_string()),
                fact(
                    "time",
                    format!(
                        "{seconds:.2} s, {:.1} x real time",
                        self.recorded.as_secs_f64() / seconds
                    ),
                ),
                fact("threads", rayon::current_num_threads().to_string()),
                fact("kernels on", self.backend.to_string()),
                fact("pept", env!("CARGO_PKG_VERSION").to_owned()),
            ],
            recipe: recipe.to_owned(),
            steps: steps.collect(),
            points: match &self.table {
                Data::Points(points) => Some(points.clone()),
                _ => None,
            },
            errors,
            max_points: 0,
        };
        Ok(report(title, &summary)?)
    }

    /// The summary for people; with the time of each step if asked for.
    pub(crate) fn text(&self, elapsed: Duration, steps: bool) -> String {
        let seconds = elapsed.as_secs_f64();
        let (n_rows, what) = (self.table.n_rows(), self.what());
        let mut text = format!(
            "{} {} in {} samples -> {n_rows} {what}, {} trajectories\n{seconds:.2} s ({:.1} x real time), {} threads, kernels on {}\n",
            self.rows_in,
            if self.from_points { "points" } else { "LoRs" },
            self.samples,
            self.trajectories(),
            self.recorded.as_secs_f64() / seconds,
            rayon::current_num_threads(),
            self.backend,
        );
        if self.interrupted {
            text += "interrupted: this is what had been read\n";
        }
        if steps {
            text += &format!(
                "{:<16} {:>7} {:>9} {:>10} {:>10}\n",
                "step", "backend", "seconds", "rows in", "rows out"
            );
            for step in &self.report.steps {
                text += &format!(
                    "{:<16} {:>7} {:>9.3} {:>10} {:>10}\n",
                    step.name, step.backend, step.seconds, step.rows_in, step.rows_out
                );
            }
        }
        text
    }
}
