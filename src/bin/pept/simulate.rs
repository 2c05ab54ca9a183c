//! `pept simulate`: a scene to a recording, with the truth beside it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pept::detector::{Detector, Scene, SceneText, Simulator, Written};
use pept::io;
use serde_json::json;

use crate::common::{Failure, Globals};
use crate::input::positive;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The scene: a FILE.toml, or the name of an example
    #[arg(required_unless_present = "example")]
    scene: Option<String>,
    /// Where the LoRs go. Screens: OUT.csv or OUT.txt, parallel-screens text, or OUT.da01, ADAC Forte; a ring: OUT.csv, a table of lines;
    /// both: OUT.npy, a NumPy array of lines; these are written as they are made. Also OUT.arrow, a table that is held in memory
    #[arg(short, long, value_name = "LORS", required_unless_present = "example")]
    output: Option<PathBuf>,
    /// Where the tracers' true positions go: a table `t x y z label`, TRUTH.csv, TRUTH.npy or TRUTH.arrow
    #[arg(long, value_name = "TRUTH")]
    truth: Option<PathBuf>,
    /// Show an example scene and stop; a wrong NAME lists them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["scene", "output", "truth"])]
    example: Option<String>,
    /// Length of the recording in ms [default: the scene's]
    #[arg(long, value_name = "MS", allow_negative_numbers = true, value_parser = positive)]
    duration: Option<f64>,
    /// Set a parameter of the scene, or any value: distance=8, rate=48, screens.separation=250, tracer.0.circle.rpm=60
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(name) = &arguments.example {
        let mut text = SceneText::example(name).map_err(Failure::usage)?;
        change(&mut text, arguments).map_err(Failure::usage)?;
        return globals.print(&json!({"scene": text.text()}), text.text());
    }
    let (Some(name), Some(output)) = (&arguments.scene, &arguments.output) else {
        return Err(Failure::Usage("a scene and an output are needed".into()));
    };
    let is_file = name.ends_with(".toml") || Path::new(name).is_file();
    // What is wrong with an example stands on the command line.
    let blame = |error: pept::Error| {
        if is_file {
            Failure::from(error)
        } else {
            Failure::usage(error)
        }
    };
    let mut scene = open(name, is_file, arguments).map_err(blame)?;
    // The seed 0, which is the default, leaves the scene's own.
    if globals.seed != 0 {
        scene.seed = globals.seed;
    }
    let started = Instant::now();
    let simulator = Simulator::new(scene).map_err(blame)?;
    let truth = arguments.truth.as_deref();
    simulator
        .check_names(output, truth)
        .map_err(Failure::usage)?;
    check_outputs(output, truth, is_file.then_some(Path::new(name)))?;
    let bar = progress_bar(globals, simulator.scene().duration);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time for a progress bar"
    )]
    let show = |t: f64| bar.set_position(t as u64);
    let written = simulator.write(output, truth, &show)?;
    bar.finish_and_clear();
    report(
        globals,
        arguments,
        &simulator,
        written,
        started.elapsed().as_secs_f64(),
    )
}

fn open(name: &str, is_file: bool, arguments: &Arguments) -> pept::Result<Scene> {
    let mut text = if is_file {
        SceneText::read(name)?
    } else {
        SceneText::example(name)?
    };
    change(&mut text, arguments)?;
    text.scene()
}

fn change(text: &mut SceneText, arguments: &Arguments) -> pept::Result<()> {
    for (name, value) in &arguments.set {
        text.set(name, value)?;
    }
    match arguments.duration {
        Some(duration) => text.set("duration", &format!("{duration:?}")),
        None => Ok(()),
    }
}

/// Three different files.
fn check_outputs(lors: &Path, truth: Option<&Path>, scene: Option<&Path>) -> Result<(), Failure> {
    io::check_writable(lors)?;
    if let Some(truth) = truth {
        io::check_writable(truth)?;
    }
    let same = |a: &Path, b: &Path| {
        a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    if truth.is_some_and(|truth| same(lors, truth)) {
        return Err(Failure::Usage(
            "the LoRs and the truth need files of their own".into(),
        ));
    }
    let outputs = [Some(lors), truth];
    let overwritten = outputs
        .into_iter()
        .flatten()
        .find(|output| scene.is_some_and(|scene| same(output, scene)));
    match overwritten {
        Some(output) => Err(Failure::Failed(format!(
            "{} would be overwritten by the output; choose another name",
            output.display()
        ))),
        None => Ok(()),
    }
}

fn report(
    globals: &Globals,
    arguments: &Arguments,
    simulator: &Simulator,
    written: Written,
    seconds: f64,
) -> Result<(), Failure> {
    let scene = simulator.scene();
    let Written {
        lors,
        random,
        scattered,
        truth_rows,
    } = written;
    let (detector, tracers) = (
        match scene.detector {
            Detector::Screens(_) => "screens",
            _ => "ring",
        },
        scene.tracers.len(),
    );
    let (lors_per_second, rate) = (lors as f64 / seconds, lors as f64 / scene.duration);
    let summary = json!({
        "lors": lors,
        "true": lors - random - scattered,
        "random": random,
        "scattered": scattered,
        "rate": rate,
        "duration": scene.duration,
        "tracers": tracers,
        "truth_rows": truth_rows,
        "detector": detector,
        "seed": scene.seed,
        "seconds": seconds,
        "lors_per_second": lors_per_second,
        "threads": rayon::current_num_threads(),
    });
    let truth = arguments.truth.as_ref();
    let files = arguments.output.iter().chain(truth);
    let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
    let text = format!(
        "{lors} LoRs ({random} random, {scattered} scattered) of {tracers} tracers in {} ms: {rate:.1} a ms\n\
         {seconds:.2} s, {:.1} million LoRs per second, {} threads\n{} written\n",
        scene.duration,
        lors_per_second / 1e6,
        rayon::current_num_threads(),
        files.join(", ")
    );
    globals.print(&summary, &text)
}

/// A progress bar on standard error, if that is a terminal.
fn progress_bar(globals: &Globals, duration: f64) -> ProgressBar {
    if globals.quiet || globals.json {
        return ProgressBar::hidden();
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; `as` saturates"
    )]
    let bar = ProgressBar::new(duration as u64);
    let style = ProgressStyle::with_template("simulating [{bar:32}] {pos}/{len} ms, {eta} left")
        .expect("the template should be valid")
        .progress_chars("=> ");
    bar.set_style(style);
    bar
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
