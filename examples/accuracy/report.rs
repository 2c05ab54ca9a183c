//! The page.

use std::fmt::Write as _;

use crate::circle::Comparison;
use crate::measure::{Measured, OF_ONE_SAMPLE, Outcome};
use crate::static_pair;
use pept::trajectory::Evaluation;

use crate::{Options, Replicas};

pub(crate) fn report(
    done: &[Measured],
    n_cases: usize,
    replicas: &Replicas,
    options: &Options,
    seconds: f64,
) -> String {
    let mut text = String::from(
        "# Accuracy\n\n\
         Made by `cargo run --release --example accuracy`; every figure is a result of that run. Lengths in mm.\n\n",
    );
    if let Some(commit) = &options.commit {
        let _ = writeln!(text, "* Of commit {commit}.");
    }
    text.push_str(
        "\
         * Every scene of `pept simulate --example NAME` is simulated (seed 0), tracked by each recipe and compared with the truth.\n\
         * Samples are chosen as a user would with `pept bound`: 200 LoRs for each tracer, fewer where the tracer's speed blurs more than\n  \
           the bound allows, and for walks as many as blur as much as the bound, at most 200 where crossings are clustered; no parameter is\n  \
           fitted to a truth. Recipes are told how many tracers there may be: in `many` 20 more than\n  \
           there are.\n\
         * *rms / bound*: root mean square error along each axis in units of the Cramér-Rao bound for a sample of that size, for a tracer at\n  \
           rest with the first tracer's place and share of LoRs. Recipes that look at several samples can be below 1; goals in bounds are for\n  \
           those that look at one.\n\
         * *false*: points further than the limit from all tracers; *none*: points that the recipe gives no trajectory, which are not judged;\n  \
           *lost*: share of the tracers' time without a point for five samples; *found*: tracers with a point in 9 of 10 windows of two\n  \
           samples' steps (a point between two tracers is one of them half of the time); *labels*: changes of label along tracers;\n  \
           *switches*: changes of tracer along labels; *complete*: time that main labels cover.\n\
         * Trajectories may miss ten samples where that is longer than the recipe's `max_gap`; `production` has no limits in y.\n",
    );
    let peer = options.peer.as_ref().map_or(
        "* The peer, Python's `pept` 0.5.1, was not run: give `--peer PYTHON`.\n",
        |_| "* *peer*: Python's `pept` 0.5.1 with the same steps and samples, on the first LoRs, as many as 100 samples without overlap have; *same LoRs*: ours on these.\n",
    );
    text += peer;
    let lors: usize = done.iter().map(|found| found.lors).sum();
    let _ = writeln!(
        text,
        "* {} of {n_cases} recordings done, {lors} LoRs{}, {seconds:.0} s on {} threads.\n",
        done.len(),
        if options.quick {
            ", those above 600 ms a fifth of their length (`--quick`; but `fov` and low activity)"
        } else {
            ""
        },
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    text += "## Goals\n\n| scene | goal | best recipe | figures | met | met by |\n|---|---|---|---|---|---|\n";
    for found in done {
        goal(&mut text, found);
    }
    if let Some(comparison) = &replicas.circle {
        replica_goals(&mut text, comparison);
    }
    if let Some(comparison) = &replicas.static_pair {
        static_pair_goals(&mut text, comparison);
    }
    text += "\n";
    let is_missing =
        "is not here (`../shared` or `$PEPT_SHARED`): its replica was not compared.\n\n";
    text += "## circle\n\n";
    match &replicas.circle {
        Some(comparison) => replica_table(&mut text, comparison),
        None => text = text + "The 42 rpm recording " + is_missing,
    }
    text += "## Two static tracers\n\n";
    match &replicas.static_pair {
        Some(comparison) => static_pair_table(&mut text, comparison),
        None => text = text + "The static recording " + is_missing,
    }
    if options.peer.is_some() {
        peers(&mut text, done);
    }
    let mut scene = "";
    for found in done {
        if found.case.scene != scene {
            scene = found.case.scene;
            let _ = writeln!(text, "## {scene}\n");
        }
        table(&mut text, found);
    }
    text
}

fn own(found: &Measured) -> impl Iterator<Item = &Outcome> {
    let is_own = |outcome: &&Outcome| {
        !outcome.recipe.starts_with("peer") && !outcome.recipe.ends_with("same LoRs")
    };
    found.outcomes.iter().filter(is_own)
}

fn goal(text: &mut String, found: &Measured) {
    let Some(goal) = &found.case.goal else {
        return;
    };
    let excess = |outcome: &Outcome| {
        let scores = (goal.scores)(outcome, &found.case);
        let worst = scores.iter().map(|score| match score.limit {
            _ if score.value.is_nan() => f64::INFINITY,
            0.0 if score.value > 0.0 => 1.0 + score.value,
            0.0 => 0.0,
            limit => score.value / limit,
        });
        worst.fold(0.0, f64::max)
    };
    let judged = |outcome: &&Outcome| {
        let has_points = |found: &Evaluation| !found.errors.is_empty();
        (!goal.of_one_sample || OF_ONE_SAMPLE.contains(&outcome.recipe.as_str()))
            && outcome.found.as_ref().is_ok_and(has_points)
    };
    let best = own(found).filter(judged).min_by(|a, b| {
        let of_excess = excess(a).total_cmp(&excess(b));
        of_excess.then(a.mean().total_cmp(&b.mean()))
    });
    let (scene, variant) = (found.case.scene, &found.case.variant);
    let Some(best) = best else {
        let _ = writeln!(
            text,
            "| {scene}, {variant} | {} | - | - | **not met** | - |",
            goal.text
        );
        return;
    };
    let scores = (goal.scores)(best, &found.case);
    let figures: Vec<String> = scores
        .iter()
        .map(|score| format!("{} {}", score.name, number(score.value)))
        .collect();
    let meets = |outcome: &&Outcome| {
        judged(outcome)
            && (goal.scores)(outcome, &found.case)
                .iter()
                .all(|score| score.is_met())
    };
    let all: Vec<&str> = own(found)
        .filter(meets)
        .map(|outcome| outcome.recipe.as_str())
        .collect();
    let _ = writeln!(
        text,
        "| {scene}, {variant} | {} | {} | {} | {} | {} |",
        goal.text,
        best.recipe,
        figures.join(", "),
        if all.is_empty() { "**not met**" } else { "met" },
        if all.is_empty() {
            "-".to_owned()
        } else {
            all.join(", ")
        },
    );
}

/// Residuals of the replica, as a share of the recording's.
fn ratios(row: &crate::circle::Replica) -> [f64; 2] {
    [0, 1].map(|k| row.simulated[0][k] / row.real[k])
}

fn replica_goals(text: &mut String, comparison: &Comparison) {
    for row in &comparison.rows {
        let [radial, plane] = ratios(row);
        let is_met = [radial, plane]
            .iter()
            .all(|ratio| (ratio - 1.0).abs() <= 0.15);
        let _ = writeln!(
            text,
            "| circle, {} | residuals within 15 % of the recording's | | radial {radial:.2} ± {:.2}, out of plane {plane:.2} ± {:.2} of them | {} | |",
            row.recipe,
            row.simulated[1][0] / row.real[0],
            row.simulated[1][1] / row.real[1],
            if is_met { "met" } else { "**not met**" }
        );
    }
}

fn replica_table(text: &mut String, comparison: &Comparison) {
    let _ = writeln!(
        text,
        "Root mean square residuals to the best circle, radial / out of plane, mean of both tracers; samples of 400 LoRs. The replica: mean and\n\
         standard deviation of {} seeds; what the recording gives has such a deviation too. The distortion of the replica's screens (80 factors) and\n\
         how often they are out of step were fitted to this recording. What smoothing leaves of it is the camera's distortion\n\
         along the circle alone, which the factors do not hold in full.\n\n| recipe | recording | replica | ratio |\n|---|---|---|---|",
        comparison.seeds
    );
    for row in &comparison.rows {
        let [radial, plane] = ratios(row);
        let [mean, deviation] = row.simulated;
        let _ = writeln!(
            text,
            "| {} | {:.3} / {:.3} | {:.3} ± {:.3} / {:.3} ± {:.3} | {radial:.2} / {plane:.2} |",
            row.recipe, row.real[0], row.real[1], mean[0], deviation[0], mean[1], deviation[1]
        );
    }
    text.push('\n');
}

fn millimetres(values: [f64; 3]) -> String {
    values.map(|value| format!("{value:.2}")).join(" / ")
}

fn static_pair_goals(text: &mut String, comparison: &static_pair::Comparison) {
    for (recipe, real, _) in &comparison.rows {
        let _ = writeln!(
            text,
            "| static recording, {recipe} | scatter of 200 LoRs at most .46 / .49 / 1.38 | | {} | {} | |",
            millimetres(real.deviations),
            if real.is_wanted() {
                "met"
            } else {
                "**not met**"
            }
        );
    }
}

fn static_pair_table(text: &mut String, comparison: &static_pair::Comparison) {
    let [first, second] = comparison.shares;
    let _ = writeln!(
        text,
        "The static recording beside {} simulated ones with tracers at the same places, of the same shares ({first:.2} and {second:.2}) and rate, offsets\n\
         as measured in general, and none of the recording's own distortion, slips and its pause. False: further than 15 mm from both. Robust\n\
         standard deviations (from the median deviation) x / y / z, mean of both tracers; samples of 200 LoRs, none twice.\n\n\
         | recipe | recording | replica | ratio | false, recording | false, replica |\n|---|---|---|---|---|---|",
        comparison.seeds
    );
    for (recipe, real, replica) in &comparison.rows {
        let ratio = [0, 1, 2].map(|axis| replica.deviations[axis] / real.deviations[axis]);
        let _ = writeln!(
            text,
            "| {recipe} | {} | {} | {} | {:.1} % | {:.1} % |",
            millimetres(real.deviations),
            millimetres(replica.deviations),
            millimetres(ratio),
            100.0 * real.share_false,
            100.0 * replica.share_false
        );
    }
    let [real, replica] = comparison.bounds;
    let ratio = [0, 1, 2].map(|axis| replica[axis] / real[axis]);
    let _ = writeln!(
        text,
        "| Cramér-Rao bound of the noise fitted to it | {} | {} | {} | | |\n",
        millimetres(real),
        millimetres(replica),
        millimetres(ratio)
    );
}

/// Where the peer is better, by the same method on the same LoRs.
fn peers(text: &mut String, done: &[Measured]) {
    *text += "## Beside the peer\n\nThe same method on the same LoRs: rms error, points that are false, points within the limit, seconds. Better: closer by 2 % and more, or the\n\
              only one with points.\n\n\
              | scene | method | peer: rms | false | points | s | ours: rms | false | points | s | better |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    let pairs = [
        ("peer: one pass", "pept-ml-one-pass, same LoRs"),
        ("peer: two passes", "pept-ml, same LoRs"),
        ("peer: birmingham", "birmingham, same LoRs"),
    ];
    for found in done {
        for (peer, ours) in pairs {
            let find = |name: &str| found.outcomes.iter().find(|outcome| outcome.recipe == name);
            let (Some(peer), Some(ours)) = (find(peer), find(ours)) else {
                continue;
            };
            let cells = |outcome: &Outcome| match &outcome.found {
                Ok(found) => format!(
                    "{} | {} | {} | {:.2}",
                    number(found.rms()),
                    found.false_points,
                    found.errors.len(),
                    outcome.seconds
                ),
                Err(problem) => format!("{} | | | ", problem.replace('|', "/")),
            };
            // Closer by less than 2 % is no difference: clusters depend on random numbers.
            let (theirs, own) = (peer.rms(), ours.rms());
            let better = match (theirs.is_nan(), own.is_nan()) {
                (true, true) => "-",
                (true, false) => "ours",
                (false, true) => "**peer**",
                _ if (theirs / own - 1.0).abs() < 0.02 => "-",
                _ if theirs < own => "**peer**",
                _ => "ours",
            };
            let _ = writeln!(
                text,
                "| {}, {} | {} | {} | {} | {better} |",
                found.case.scene,
                found.case.variant,
                peer.recipe.trim_start_matches("peer: "),
                cells(peer),
                cells(ours)
            );
        }
    }
    text.push('\n');
}

fn table(text: &mut String, found: &Measured) {
    let case = &found.case;
    let _ = write!(
        text,
        "**{}**: {} LoRs, {:.0} a ms, limit {} mm",
        case.variant, found.lors, found.rate, case.limit
    );
    if let Some(bound) = &found.bound {
        let [x, y, z] = bound.sigma(200.0 * case.tracers as f64);
        let _ = write!(
            text,
            "; bound for {} LoRs: {x:.3} {y:.3} {z:.3} mm",
            200 * case.tracers
        );
    }
    *text += "\n\n| recipe | sample | points/s | mean | median | rms | rms x, y, z | rms / bound | false | none | lost % | found | labels | switches | complete % | s |\n\
              |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for outcome in &found.outcomes {
        let (size, overlap) = outcome.sample;
        let sample = if overlap == 0 {
            size.to_string()
        } else {
            format!("{size}, overlap {overlap}")
        };
        match &outcome.found {
            Err(problem) => {
                let _ = writeln!(
                    text,
                    "| {} | {sample} | {} |",
                    outcome.recipe,
                    problem.replace('|', "/")
                );
            }
            Ok(evaluation) => {
                let axes = evaluation.axes.map(|axis| number(axis.rms)).join(" ");
                let times = outcome
                    .times_bound()
                    .map(|ratio| match ratio.is_finite() {
                        true => format!("{ratio:.2}"),
                        false => "-".into(),
                    })
                    .join(" ");
                let _ = writeln!(
                    text,
                    "| {} | {sample} | {:.0} | {} | {} | {} | {axes} | {times} | {} | {} | {:.1} | {} | {} | {} | {:.1} | {:.2} |",
                    outcome.recipe,
                    1000.0 * outcome.points_per_ms,
                    number(evaluation.mean()),
                    number(evaluation.median()),
                    number(evaluation.rms()),
                    evaluation.false_points,
                    evaluation.unlabelled,
                    outcome.missed_percent(),
                    outcome.n_found,
                    evaluation.label_changes,
                    evaluation.identity_switches,
                    100.0 * evaluation.completeness,
                    outcome.seconds,
                );
            }
        }
    }
    text.push('\n');
}

/// Three figures.
fn number(value: f64) -> String {
    if !value.is_finite() {
        "-".into()
    } else if value.fract() == 0.0 && value.abs() < 1e6 {
        format!("{value:.0}")
    } else if value.abs() < 10.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.1}")
    }
}
