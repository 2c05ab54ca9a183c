//! Writes the accuracy report: `cargo run --release --example accuracy -- [-o docs/accuracy.md] [--quick] [--peer PYTHON] [SCENE..]`.
//!
//! Every scene, tracked by every recipe, beside the truth, the Cramer-Rao bound and the goal; with `--peer` (a Python that has
//! `pept==0.5.1`) beside that library on the same LoRs. Every figure comes from this program.
#![expect(
    clippy::float_cmp,
    clippy::print_stderr,
    reason = "parameters are exact; a program shows how far it is"
)]

mod cases;
mod circle;
mod measure;
mod peer;
mod report;
mod static_pair;

use std::path::PathBuf;
use std::time::Instant;

/// What the command line says.
pub(crate) struct Options {
    output: String,
    /// Recordings of a fifth of the length, fewer seeds.
    quick: bool,
    peer: Option<String>,
    /// See [`commit`].
    commit: Option<String>,
    scenes: Vec<String>,
}

/// Real recordings beside simulated ones, where they are there.
pub(crate) struct Replicas {
    circle: Option<circle::Comparison>,
    static_pair: Option<static_pair::Comparison>,
}

fn main() -> pept::Result<()> {
    let mut options = Options {
        output: "docs/accuracy.md".into(),
        quick: false,
        peer: None,
        commit: commit(),
        scenes: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-o" => options.output = arguments.next().unwrap_or(options.output),
            "--peer" => options.peer = arguments.next(),
            "--quick" => options.quick = true,
            _ => options.scenes.push(argument),
        }
    }
    let started = Instant::now();
    let is_wanted = |scene: &str| {
        options.scenes.is_empty() || options.scenes.iter().any(|name| scene.starts_with(name))
    };
    let mut cases: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| is_wanted(case.scene))
        .collect();
    // A page that is looked at early has one of each kind.
    cases.sort_by_key(|case| !case.beside_peer);
    let (n_cases, mut done) = (cases.len(), Vec::new());
    let seeds = if options.quick { 6 } else { 12 };
    let replicas = Replicas {
        circle: recording("sample_2p_42rpm.csv")
            .map(|path| circle::compare(&path, seeds))
            .transpose()?,
        static_pair: recording("sample_2p_static.csv")
            .map(|path| static_pair::compare(&path, seeds))
            .transpose()?,
    };
    for case in cases {
        done.push(measure::measure(case, &options)?);
        let seconds = started.elapsed().as_secs_f64();
        let case = &done[done.len() - 1].case;
        eprintln!("{seconds:>6.0} s  {} {}", case.scene, case.variant);
        // After each of them: it may take long, and what is there can be read.
        let text = report::report(&done, n_cases, &replicas, &options, seconds);
        std::fs::write(&options.output, text).map_err(|error| pept::Error::File {
            path: options.output.clone().into(),
            problem: error.to_string(),
        })?;
    }
    Ok(())
}

/// A real recording, in `../shared` or where `$PEPT_SHARED` says, if it is there.
fn recording(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("PEPT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    Some(shared.join("data").join(name)).filter(|path| path.exists())
}

/// What git calls the sources, if they are a clone's.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
