//! `pept evaluate`: tracked points against a truth.

use std::path::PathBuf;

use clap::Args;
use pept::io::table;
use pept::trajectory::{ErrorStatistics, Evaluation, Evaluator};
use serde_json::{Value, json};

use crate::common::{Failure, Globals};
use crate::input::{not_negative, positive};

/// Tracers that the text lists without being asked for more.
const LISTED: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Tracked points: t x y z, best with label (.csv, .arrow, .npy)
    tracked: PathBuf,
    /// The truth: t x y z label, each tracer's rows one label (.csv, .arrow)
    truth: PathBuf,
    /// Points further than this from all tracers are false, in mm
    #[arg(long, value_name = "MM", default_value = "5", allow_negative_numbers = true, value_parser = not_negative)]
    limit: f64,
    /// Longest time without a point that does not break a trajectory, and the length of the windows that are missed without one, in ms;
    /// give it to compare results that have points at different rates [default: 5 median steps between points]
    #[arg(long, value_name = "MS", allow_negative_numbers = true, value_parser = positive)]
    max_gap: Option<f64>,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let Arguments {
        tracked,
        truth,
        limit,
        max_gap,
    } = arguments;
    for path in [tracked, truth] {
        table::check_name(path).map_err(Failure::usage)?;
    }
    let mut evaluator = Evaluator::new(*limit);
    if let Some(max_gap) = max_gap {
        evaluator = evaluator.max_gap(*max_gap);
    }
    let tracked = table::read_points(tracked)?;
    let truth_table = table::read_points(truth)?;
    let found = evaluator.run(&tracked, &truth_table).map_err(|error| {
        // The library does not know the file.
        Failure::Failed(format!("{}: {error}", truth.display()))
    })?;
    let listed = if globals.verbose > 0 {
        usize::MAX
    } else {
        LISTED
    };
    globals.print(&summary(&found, *limit), &text(&found, *limit, listed))
}

fn summary(found: &Evaluation, limit: f64) -> Value {
    let tracers: Vec<Value> = found
        .tracers
        .iter()
        .map(|tracer| {
            json!({
                "label": tracer.label,
                "time": tracer.time,
                "points": tracer.points,
                "error": errors(&tracer.axes, &tracer.distance),
                "windows": tracer.windows,
                "missed": tracer.missed,
                "labels": tracer.labels,
                "main_label": tracer.main_label,
                "label_changes": tracer.label_changes,
                "completeness": tracer.completeness,
                "coverage": tracer.coverage,
            })
        })
        .collect();
    let normalised = found.normalised.map(|normalised| {
        json!({
            "points": normalised.points,
            "mean": normalised.mean,
            "median": normalised.median,
            "within_95": normalised.within_95,
        })
    });
    json!({
        "matched": found.errors.len(),
        "false_points": found.false_points,
        "duplicates": found.duplicates,
        "unlabelled": found.unlabelled,
        "limit": limit,
        "max_gap": found.max_gap,
        "error": errors(&found.axes, &found.distance),
        "windows": found.windows,
        "missed": found.missed,
        "miss_rate": found.miss_rate(),
        "completeness": found.completeness,
        "coverage": found.coverage,
        "label_changes": found.label_changes,
        "identity_switches": found.identity_switches,
        "shared_labels": found.shared_labels,
        "trajectories": found.trajectories,
        "false_trajectories": found.false_trajectories,
        "tracers_found": found.tracers_found(),
        "normalised_squared_error": normalised,
        "tracers": tracers,
    })
}

fn errors(axes: &[ErrorStatistics; 3], distance: &ErrorStatistics) -> Value {
    let figures = |errors: &ErrorStatistics| {
        json!({
            "mean": errors.mean,
            "median": errors.median,
            "deviation": errors.deviation,
            "rms": errors.rms,
            "q90": errors.q90,
            "q99": errors.q99,
            "max": errors.max,
        })
    };
    let [x, y, z] = axes;
    json!({"x": figures(x), "y": figures(y), "z": figures(z), "distance": figures(distance)})
}

fn text(found: &Evaluation, limit: f64, listed: usize) -> String {
    let percent = |share: f64| number(100.0 * share, 1);
    let mut text = format!(
        "points        {} matched within {limit} mm, {} false, {} duplicates, {} of no trajectory\n",
        found.errors.len(),
        found.false_points,
        found.duplicates,
        found.unlabelled,
    );
    text += &format!(
        "tracers       {} of {} found; {} % of their time missed (windows of {} ms: {} of {})\n",
        found.tracers_found(),
        found.tracers.len(),
        percent(found.miss_rate()),
        number(found.max_gap, 2),
        found.missed,
        found.windows,
    );
    text += &format!(
        "trajectories  {}, {} of them false; they cover {} % of the tracers' time, main labels {} %\n",
        found.trajectories,
        found.false_trajectories,
        percent(found.coverage),
        percent(found.completeness),
    );
    text += &format!(
        "identities    {} switches between tracers, in {} labels; {} changes of label along tracers\n",
        found.identity_switches, found.shared_labels, found.label_changes,
    );
    if let Some(normalised) = &found.normalised {
        text += &format!(
            "covariances   normalised squared error: mean {} (3 is right), {} % within the 95 % region, {} points\n",
            number(normalised.mean, 2),
            percent(normalised.within_95),
            normalised.points,
        );
    }
    text += &format!(
        "\n{:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
        "error, mm", "mean", "median", "st.dev.", "rms", "90 %", "99 %", "max"
    );
    let rows = ["x", "y", "z"].into_iter().zip(&found.axes);
    for (name, errors) in rows.chain([("distance", &found.distance)]) {
        text += &format!("{name:<10}");
        for value in [
            errors.mean,
            errors.median,
            errors.deviation,
            errors.rms,
            errors.q90,
            errors.q99,
            errors.max,
        ] {
            text += &format!(" {:>8}", number(value, 3));
        }
        text += "\n";
    }
    text += &format!(
        "\n{:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
        "tracer", "points", "mean", "rms", "missed %", "cover %", "main %", "labels", "changes"
    );
    for tracer in found.tracers.iter().take(listed) {
        text += &format!(
            "{:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
            tracer.label,
            tracer.points,
            number(tracer.distance.mean, 3),
            number(tracer.distance.rms, 3),
            percent(tracer.missed as f64 / tracer.windows as f64),
            percent(tracer.coverage),
            percent(tracer.completeness),
            tracer.labels,
            tracer.label_changes,
        );
    }
    if found.tracers.len() > listed {
        text += &format!(
            "... and {} more (all with -v or --json)\n",
            found.tracers.len() - listed
        );
    }
    text
}

/// A number with so many decimals, or a dash for none.
fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        "-".to_owned()
    }
}
