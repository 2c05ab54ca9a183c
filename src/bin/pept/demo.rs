use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use pept::detector::{Detector, Scene, Screens, Simulation};
use pept::plot::Script;
use pept::trajectory::evaluate;
use pept::{Backend, Error, Recipe, io};
use serde_json::{Value, json};

use crate::common::{Failure, Globals, track};

/// A point further than this from both tracers is false (mm).
const FALSE_POINT: f64 = 20.0;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder for the results
    #[arg(short, long, value_name = "DIR", default_value = "pept-demo")]
    output: PathBuf,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let backend = globals.backend()?;
    let folder = &arguments.output;
    let file = |name: &str| folder.join(name);
    std::fs::create_dir_all(folder).map_err(|source| Error::Io {
        action: "write",
        path: folder.clone(),
        source,
    })?;
    for name in ["lors.csv", "truth.csv", "trajectories.csv", "report.html"] {
        io::check_writable(&file(name))?;
    }

    let screens = Screens::new(712.0);
    let scene = Scene {
        detector: Detector::Screens(screens),
        seed: globals.seed,
        ..Scene::default()
    };
    let Simulation { lors, truth } = scene.run()?;
    io::parallel_screens::write(
        file("lors.csv"),
        "Simulated by pept demo: two tracers at 42 rpm",
        screens.separation,
        &lors,
    )?;
    io::csv::write(file("truth.csv"), &truth)?;

    let started = Instant::now();
    let mut recipe = Recipe::built_in("pept-ml")?;
    recipe.set("tracers", 2.0)?;
    let pipeline = recipe.pipeline()?;
    // From the file, as a recording would be tracked.
    let lors = io::parallel_screens::read(file("lors.csv"), None)?
        .with_sampling(recipe.sampling()?.unwrap_or_default())?;
    let tracked = track(globals, &pipeline, lors.clone().into(), backend.clone())?;
    let points = tracked.table.clone().into_points()?;
    io::csv::write(file("trajectories.csv"), &points)?;
    let elapsed = started.elapsed();

    let found = evaluate(&points, &truth, FALSE_POINT)?;
    let page = tracked.page(
        "pept demo: two tracers at 42 rpm",
        recipe.text(),
        elapsed,
        found.errors.clone(),
    )?;
    page.write(file("report.html"), Script::Embedded)?;
    let agreement = if globals.cpu_only() {
        None
    } else {
        other_backend(&backend)
    };
    let agreement = match agreement {
        Some(other) => {
            let adapter = other.adapter().or_else(|| backend.adapter());
            let table = track(globals, &pipeline, lors.into(), other)?.table;
            Some((adapter.unwrap_or_default(), table == tracked.table))
        }
        None => None,
    };

    let mut json = tracked.summary(elapsed);
    json["mean_error"] = json!(found.mean());
    json["median_error"] = json!(found.median());
    json["rms_error"] = json!(found.rms());
    json["false_points"] = json!(found.false_points);
    json["folder"] = json!(folder.display().to_string());
    json["cpu_equals_gpu"] = agreement
        .as_ref()
        .map_or(Value::Null, |(_, equal)| json!(equal));
    let mut text = tracked.text(elapsed, globals.verbose > 0);
    text += &format!(
        "error against the truth: mean {:.2} mm, median {:.2} mm, rms {:.2} mm; {} of {} points are false\n",
        found.mean(),
        found.median(),
        found.rms(),
        found.false_points,
        found.errors.len() + found.false_points,
    );
    text += &match &agreement {
        Some((adapter, true)) => format!("CPU and GPU ({adapter}) give the same bits\n"),
        Some((adapter, false)) => format!("CPU and GPU ({adapter}) DIFFER\n"),
        None => "no GPU was compared with the CPU\n".to_owned(),
    };
    text += &format!(
        "{}: lors.csv, truth.csv, trajectories.csv, report.html written\n",
        folder.display()
    );
    globals.print(&json, &text)?;
    match agreement {
        Some((adapter, false)) => Err(Failure::Failed(format!(
            "CPU and GPU give different trajectories on {adapter}; please report this, and use --backend cpu"
        ))),
        _ => Ok(()),
    }
}

/// The backend to compare with: the CPU for a GPU, any GPU (software too) for the CPU.
fn other_backend(backend: &Backend) -> Option<Backend> {
    match backend {
        Backend::Cpu => Backend::gpu().ok(),
        _ => Some(Backend::Cpu),
    }
}
