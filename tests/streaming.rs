//! The program on recordings that are compressed, in parts, still being written, or cut short by Ctrl-C.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use libtest_mimic::Trial;
use pept::io::{self, adac_forte};
use serde_json::Value;

use crate::support::{Needs, recording_42rpm, scratch, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "streaming::files_of_a_run_pipes_and_archives_are_the_recording",
            Needs::Recordings,
            same_recording,
        ),
        trial(
            "streaming::a_growing_file_ends_as_the_whole",
            Needs::Recordings,
            growing,
        ),
        trial(
            "streaming::info_tells_what_is_odd",
            Needs::Nothing,
            oddities,
        ),
    ];
    if cfg!(unix) {
        trials.push(trial(
            "streaming::ctrl_c_ends_with_what_was_read",
            Needs::Recordings,
            interrupted,
        ));
    }
    trials
}

const TRACK: [&str; 8] = [
    "--recipe",
    "pept-ml-one-pass",
    "--tracers",
    "2",
    "--backend",
    "cpu",
    "--json",
    "-o",
];

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pept"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The summary of a command that has to succeed.
fn summary(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn track(folder: &Path, inputs: &[&str], output: &str) -> Value {
    let arguments = [&["track"], inputs, &TRACK, &[output]].concat();
    summary(command(folder, &arguments).spawn().unwrap())
}

fn convert(folder: &Path, from: &str, to: &str) {
    let mut command = command(folder, &["convert", from, "-o", to, "--json"]);
    summary(command.spawn().unwrap());
}

/// Waits for what should be there soon.
fn wait_for(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn same_recording() {
    let folder = scratch();
    let folder = folder.path();
    let text = std::fs::read_to_string(recording_42rpm()).unwrap();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    std::fs::write(folder.join("run.csv"), &text).unwrap();
    let whole = track(folder, &["run.csv"], "whole.csv");
    assert_eq!(whole["samples"], 797);

    let mut archive = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    archive.write_all(text.as_bytes()).unwrap();
    std::fs::write(folder.join("run.gz"), archive.finish().unwrap()).unwrap();
    track(folder, &["run.gz"], "archive.csv");
    assert_eq!(read("archive.csv"), read("whole.csv"));

    // Ten parts with the header each, in natural order: part10 is the last one.
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &&&str| {
        let numbers: Vec<_> = line.split_whitespace().map(str::parse::<f64>).collect();
        numbers.len() == 5 && numbers.iter().all(Result::is_ok)
    };
    let rows: Vec<&str> = lines.iter().filter(is_row).copied().collect();
    let header: Vec<&str> = lines
        .iter()
        .take_while(|line| !is_row(line))
        .copied()
        .collect();
    for (n, part) in (1..).zip(rows.chunks(8_000)) {
        let part = [&header, part].concat().join("\n");
        std::fs::write(folder.join(format!("part{n}.csv")), part + "\n").unwrap();
    }
    track(folder, &["part*.csv"], "parts.csv");
    assert_eq!(read("parts.csv"), read("whole.csv"));

    let mut child = command(
        folder,
        &[&["track", "-"], &TRACK[..], &["piped.csv"]].concat(),
    )
    .spawn()
    .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    summary(child);
    assert_eq!(read("piped.csv"), read("whole.csv"));

    // Some samples, which keep their numbers: what follows is not read.
    let some = track(folder, &["run.csv", "--samples", "10..20"], "some.csv");
    assert_eq!(some["samples"], 10);
    assert_eq!(some["lors"], 400 + 9 * 100);

    // Tables of it are the same, whether written in text or in binary numbers; blocks have to be of one kind.
    convert(folder, "run.csv", "lines.csv");
    convert(folder, "run.csv", "lines.npy");
    let [text, binary] =
        ["lines.csv", "lines.npy"].map(|name| io::table::read_lines(folder.join(name)).unwrap());
    assert_eq!(binary.n_rows(), 80_000);
    assert_eq!(text.values(), binary.values());
    std::fs::write(
        folder.join("more.csv"),
        "t,x1,y1,z1,x2,y2,z2,energy\n0,1,2,3,4,5,6,7\n",
    )
    .unwrap();
    let mut command = command(
        folder,
        &["convert", "lines.csv", "more.csv", "-o", "no.npy"],
    );
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("a run has the columns"), "{error}");
    assert!(!folder.join("no.npy").exists());

    // Ends behind the screens come back to them along their lines, whichever way.
    convert(folder, "run.csv", "run.da02");
    convert(folder, "run.da02", "back.txt");
    let (there, back) = (folder.join("run.csv"), folder.join("back.txt"));
    let [there, back] = [there, back].map(|path| {
        let lors = io::parallel_screens::read(path, None).unwrap();
        lors.sorted_by_time()
    });
    assert_eq!(
        there.attributes()["separation"],
        back.attributes()["separation"]
    );
    for (there, back) in there.rows().rows().into_iter().zip(back.rows().rows()) {
        assert!(
            (1..7).all(|k| (there[k] - back[k]).abs() < 0.31),
            "{there} {back}"
        );
    }

    // As the camera wrote it, but for rounding.
    let lors = io::parallel_screens::read(folder.join("run.csv"), None).unwrap();
    adac_forte::write(folder.join("run.da01"), 712, &lors.sorted_by_time()).unwrap();
    let adac = track(folder, &["run.da01"], "adac.csv");
    assert_eq!(adac["trajectories"], 2);
    assert_eq!(adac["lors"], 80_000);
}

fn growing() {
    let folder = scratch();
    let folder = folder.path();
    let text = std::fs::read_to_string(recording_42rpm()).unwrap();
    std::fs::write(folder.join("run.csv"), &text).unwrap();
    track(folder, &["run.csv"], "whole.csv");

    let mut grown = std::fs::File::create(folder.join("grown.csv")).unwrap();
    let arguments = [
        &["track", "grown.csv", "--follow=2"],
        &TRACK[..],
        &["live.csv"],
    ]
    .concat();
    let child = command(folder, &arguments).spawn().unwrap();
    // Cut within a row.
    let (first, rest) = text.as_bytes().split_at(text.len() / 2);
    grown.write_all(first).unwrap();
    let live = folder.join("live.live.csv");
    let rows = || std::fs::read_to_string(&live).map_or(0, |text| text.lines().count());
    wait_for(|| rows() > 700);
    assert!(!folder.join("live.csv").exists());
    let table = io::table::read_points(&live).unwrap();
    assert_eq!(table.columns().last().unwrap(), "label");
    grown.write_all(rest).unwrap();
    let shown = summary(child);
    assert_eq!(shown["interrupted"], false);
    // What stands where live points would go is not overwritten.
    let live_input = ["track", "live.live.csv", "--follow=1", "-o", "live.csv"];
    std::fs::write(&live, &text).unwrap();
    let output = command(folder, &live_input).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&live).unwrap(), text);
    std::fs::remove_file(&live).unwrap();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(read("live.csv"), read("whole.csv"));
    assert!(!live.exists());
}

fn interrupted() {
    let folder = scratch();
    let folder = folder.path();
    let text = std::fs::read_to_string(recording_42rpm()).unwrap();
    let end = text.len() / 2 + text[text.len() / 2..].find('\n').unwrap() + 1;
    let (first, rest) = text.split_at(end);
    std::fs::write(folder.join("half.csv"), first).unwrap();
    let half = track(folder, &["half.csv"], "half.out.csv");

    let follow = [&["track", "half.csv", "--follow"], &TRACK[..], &["out.csv"]].concat();
    let child = command(folder, &follow).spawn().unwrap();
    let live = folder.join("out.live.csv");
    let rows = || std::fs::read_to_string(&live).map_or(0, |text| text.lines().count());
    wait_for(|| rows() > 700);
    let kill = || {
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
    };
    assert!(kill().unwrap().success());
    let shown = summary(child);
    assert_eq!(shown["interrupted"], true);
    assert_eq!(shown["points"], half["points"]);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(read("out.csv"), read("half.out.csv"));

    // Not followed: what comes after it is not looked at.
    let piped = [&["track", "-"], &TRACK[..], &["piped.csv"]].concat();
    let mut child = command(folder, &piped).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(first.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    std::thread::sleep(Duration::from_millis(100));
    // It may have stopped reading already.
    let _ = input.write_all(rest.as_bytes());
    drop(input);
    let shown = summary(child);
    assert_eq!(shown["interrupted"], true);
    assert!(shown["lors"].as_f64().unwrap() < 80_000.0);
}

fn oddities() {
    let folder = scratch();
    let folder = folder.path();
    let mut text = "Separation= 500\n".to_owned();
    for n in 0..2_000 {
        // Nothing between x = 300 and 400, a pause of 50 ms, one row out of order.
        let x = 200 + n % 100 + if n % 3 == 0 { 200 } else { 0 };
        let pause = if n > 1_000 { 50.0 } else { 0.0 };
        let t = if n == 1_500 {
            1.0
        } else {
            f64::from(n) * 0.1 + pause
        };
        text += &format!("{t} {x} 300 250 {}\n", 200 + n % 90);
    }
    std::fs::write(folder.join("odd.csv"), text).unwrap();
    let shown = summary(
        command(folder, &["info", "odd.csv", "--json"])
            .spawn()
            .unwrap(),
    );
    assert_eq!(shown["rows"], 2_000);
    assert_eq!(shown["format"], "parallel-screens");
    assert_eq!(shown["separation"], 500.0);
    assert_eq!(shown["first_unsorted_row"], 1_500);
    let warnings = shown["warnings"].to_string();
    for odd in [
        "times go back 1 times",
        "times jump",
        "end 1 has no hit at x from 300 to 400 mm",
    ] {
        assert!(warnings.contains(odd), "{odd}: {warnings}");
    }
    let rate = shown["rate"].as_array().unwrap();
    let lors: f64 = rate
        .iter()
        .map(|bar| {
            let value = |key: &str| bar[key].as_f64().unwrap();
            value("lors_per_second") * (value("to") - value("from")) / 1000.0
        })
        .sum();
    assert!((lors - 2_000.0).abs() < 1.0, "{lors}");
}
