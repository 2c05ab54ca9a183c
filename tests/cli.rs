use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{Needs, gpu, scratch, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "cli::bad_input_fails_with_a_clear_message_and_writes_nothing",
            Needs::Nothing,
            bad_input,
        ),
        trial(
            "cli::wrong_usage_exits_with_2_and_writes_nothing",
            Needs::Nothing,
            wrong_usage,
        ),
        trial(
            "cli::a_gpu_that_is_not_there_is_an_error",
            Needs::Nothing,
            missing_gpu,
        ),
        trial(
            "cli::demo_finds_its_tracers_and_what_it_wrote_can_be_tracked_again",
            Needs::Nothing,
            demo,
        ),
        trial(
            "cli::recipes_are_shown_and_taken_from_files",
            Needs::Nothing,
            recipes,
        ),
        trial(
            "cli::scenes_are_shown_simulated_and_bounded",
            Needs::Nothing,
            scenes,
        ),
        trial("cli::info_describes_the_machine", Needs::Nothing, machine),
        trial(
            "cli::kernels_and_recipes_work_on_files_of_every_kind",
            Needs::Nothing,
            files_of_every_kind,
        ),
    ]
}

/// A summary, from a command that has to succeed.
fn summary(folder: &Path, arguments: &[&str]) -> Value {
    let output = pept(
        folder,
        &[arguments, &["--json", "--backend", "cpu"]].concat(),
    );
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn files_of_every_kind() {
    let folder = scratch();
    let folder = folder.path();
    // Lines through (50, 50, 50) and a few elsewhere.
    let row = |n: usize| {
        let (sin, cos) = (n as f64).sin_cos();
        let x = if n.is_multiple_of(10) { 20.0 } else { 50.0 };
        let [u, v, w] = [40.0 * cos, 40.0 * sin, 30.0 - (n % 60) as f64];
        let ends = [x - u, 50.0 - v, 50.0 - w, x + u, 50.0 + v, 50.0 + w];
        let ends = ends.map(|end| end.to_string()).join(",");
        format!("{},{ends}\n", n as f64 * 0.05)
    };
    let rows: String = (0..2_000).map(row).collect();
    std::fs::write(
        folder.join("lors.csv"),
        format!("t,x1,y1,z1,x2,y2,z2\n{rows}"),
    )
    .unwrap();

    let cut = [
        "cutpoints",
        "lors.csv",
        "--max-distance",
        "0.1",
        "--sample-size",
        "100",
    ];
    let csv = summary(
        folder,
        &[&cut[..], &["-o", "cut.csv", "--append-indices"]].concat(),
    );
    let arrow = summary(folder, &[&cut[..], &["-o", "cut.arrow"]].concat());
    assert_eq!(
        (&csv["samples"], &csv["points"]),
        (&arrow["samples"], &arrow["points"])
    );
    assert_eq!(csv["samples"], 20);
    let points = pept::io::table::read_points(folder.join("cut.csv")).unwrap();
    assert_eq!(
        points.columns(),
        ["t", "x", "y", "z", "line_index1", "line_index2"]
    );
    let same = pept::io::table::read_points(folder.join("cut.arrow")).unwrap();
    assert_eq!(same.column(1), points.column(1));
    let box_of = ["--cutoffs", "49,51,49,51,49,51", "-o", "near.csv"];
    let near = summary(folder, &[&cut[..], &box_of].concat());
    assert!(near["points"].as_u64() < csv["points"].as_u64());

    let min = [
        "minpoints",
        "lors.csv",
        "--max-distance",
        "0.1",
        "--sample-size",
        "50",
    ];
    let min = summary(
        folder,
        &[&min[..], &["--num-lines", "3", "-o", "min.csv"]].concat(),
    );
    assert!(min["points"].as_u64() > Some(1_000), "{min}");

    // The Birmingham method, with samples by count and by time.
    let track = [
        "track",
        "lors.csv",
        "--recipe",
        "birmingham",
        "-o",
        "b.arrow",
    ];
    assert_eq!(summary(folder, &track)["points"], 10);
    let by_time = ["--sample-size", "5ms:90", "--overlap", "1ms"];
    let by_time = summary(folder, &[&track[..], &by_time].concat());
    assert!(by_time["samples"].as_u64() > Some(22), "{by_time}");
    let tracked = pept::io::table::read_points(folder.join("b.arrow")).unwrap();
    assert!(
        tracked.column(1).iter().all(|x| (x - 50.0).abs() < 0.5),
        "{tracked}"
    );

    // Any pipeline, on points.
    let recipe = "[[step]]\nname = \"Condition\"\ncondition = \"x < 50\"\n[[step]]\nname = \"Velocity\"\nwindow = 3\n";
    std::fs::write(folder.join("my.toml"), recipe).unwrap();
    let run = summary(folder, &["run", "my.toml", "b.arrow", "-o", "v.npy"]);
    assert!(run["points"].as_u64() <= by_time["points"].as_u64());
    let found = pept::io::table::read_points(folder.join("v.npy")).unwrap();
    assert_eq!(found.columns().len(), 6 + 3);

    // Steps for any table: lines stay lines, and points points.
    let early = "[[step]]\nname = \"Condition\"\ncondition = \"t < 50\"\n";
    std::fs::write(folder.join("any.toml"), early).unwrap();
    let lines = summary(folder, &["run", "any.toml", "lors.csv", "-o", "some.arrow"]);
    assert_eq!(
        (&lines["lors"], &lines["points"]),
        (&2_000.into(), &0.into())
    );
    let some = pept::io::table::read_lines(folder.join("some.arrow")).unwrap();
    assert_eq!(some.n_rows(), 1_000);
    summary(folder, &["run", "any.toml", "some.arrow", "-o", "same.csv"]);
    let same = pept::io::table::read_lines(folder.join("same.csv")).unwrap();
    assert_eq!(same.rows(), some.rows());
    summary(folder, &["run", "any.toml", "b.arrow", "-o", "p.csv"]);
    let points = pept::io::table::read_points(folder.join("p.csv")).unwrap();
    let early = tracked.column(0).iter().filter(|&&t| t < 50.0).count();
    assert!(early > 0 && points.n_rows() == early);

    // Voxels and pixels.
    let cells =
        |arguments: &[&str]| summary(folder, &[&["voxelize", "lors.csv"], arguments].concat());
    let npy = cells(&[
        "-o",
        "v.npy",
        "--voxels",
        "6,5,4",
        "--limits",
        "0,90,0,90,0,100",
    ]);
    assert_eq!(npy["shape"], serde_json::json!([6, 5, 4]));
    let limits = [0.0, 90.0, 0.0, 90.0, 0.0, 100.0];
    let voxels = pept::io::cells::read_npy_voxels::<u32>(folder.join("v.npy"), limits).unwrap();
    assert_eq!(npy["sum"], voxels.values().sum());
    cells(&[
        "-o",
        "v.arrow",
        "--voxels",
        "6,5,4",
        "--limits",
        "0,90,0,90,0,100",
    ]);
    assert_eq!(
        pept::io::cells::read_voxels::<u32>(folder.join("v.arrow")).unwrap(),
        voxels
    );
    let pixels = cells(&["-o", "p.npy", "--pixels", "64,48", "--plane", "xz"]);
    assert_eq!(pixels["shape"], serde_json::json!([64, 48]));
    // The lengths of a line sum to its length: all lines lie within their bounding box.
    let lengths = cells(&["-o", "l.npy", "--voxels", "7,7,7", "--lengths"]);
    let lors = pept::io::table::read_lines(folder.join("lors.csv")).unwrap();
    let length = |row: &[f64; 7]| {
        let squares = (1..4).map(|k| (row[k + 3] - row[k]).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let total: f64 = lors.line_slice().rows().map(length).sum();
    let relative = lengths["sum"].as_f64().unwrap() / total - 1.0;
    assert!(relative.abs() < 1e-3, "{relative}");

    // And what makes no sense.
    let fails = |arguments: &[&str], code: i32, message: &str| {
        let output = pept(folder, arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
        assert!(!folder.join("bad.csv").exists());
    };
    fails(
        &["cutpoints", "lors.csv", "-o", "bad.csv"],
        2,
        "--max-distance",
    );
    fails(
        &[&cut[..], &["-o", "bad.csv", "--cutoffs", "1,2"]].concat(),
        2,
        "six numbers",
    );
    fails(
        &[&cut[..], &["-o", "bad.csv", "--overlap", "1ms"]].concat(),
        2,
        "of one kind",
    );
    fails(
        &[&track[..4], &["-o", "bad.csv", "--sample-size", "5 s"]].concat(),
        2,
        "sample-size",
    );
    fails(
        &[&track[..4], &["-o", "bad.csv", "--tracers", "2"]].concat(),
        2,
        "unknown parameter",
    );
    fails(
        &["run", "my.toml", "lors.csv", "-o", "bad.csv"],
        1,
        "step 2 (Velocity)",
    );
    let voxelize = ["voxelize", "lors.csv", "-o"];
    for (rest, code, message) in [
        (["bad.csv", "--voxels", "5,5,5"], 2, "unknown ending"),
        (["bad.npy", "--voxels", "5,5"], 2, "3 whole numbers"),
        (["bad.npy", "--voxels", "5,1,5"], 2, "fewer than 2 cells"),
        (["bad.npy", "--pixels", "5,5,5"], 2, "2 whole numbers"),
        (["no/bad.npy", "--pixels", "5,5"], 1, "bad.npy"),
    ] {
        fails(&[&voxelize[..], &rest].concat(), code, message);
    }
    let five = [&voxelize[..], &["bad.npy", "--voxels", "5,5,5"]].concat();
    for (rest, message) in [
        (
            ["--limits", "1,0,0,1,0,1"],
            "each minimum below its maximum",
        ),
        (["--limits", "0,1,0,1"], "need six"),
        (["--plane", "xy"], "--plane is for --pixels"),
    ] {
        fails(&[&five[..], &rest].concat(), 2, message);
    }
    fails(
        &[
            &track[..2],
            &["--recipe", "pept-ml-second-pass", "-o", "bad.csv"],
        ]
        .concat(),
        1,
        "points",
    );
    fails(
        &[&track[..4], &["-o", "bad.csv", "--sample-size", "5s"]].concat(),
        2,
        "milliseconds",
    );
    let early =
        "[[step]]\nname = \"Cutpoints\"\nmax_distance = 1\n[[step]]\nname = \"SplitLabels\"\n";
    std::fs::write(folder.join("early.toml"), early).unwrap();
    fails(
        &["run", "early.toml", "lors.csv", "-o", "bad.csv"],
        1,
        "step 2 (SplitLabels): no column \"label\"",
    );
}

fn scenes() {
    let folder = scratch();
    let folder = folder.path();
    let shown = pept(folder, &["simulate", "--example", "circle"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    std::fs::write(folder.join("circle.toml"), &shown.stdout).unwrap();
    let simulate = ["simulate", "circle.toml", "--truth", "truth.csv", "-o"];
    let short = ["--set", "duration=300"];
    let csv = summary(folder, &[&simulate[..], &["lors.csv"], &short].concat());
    let n = csv["lors"].as_u64().unwrap();
    // Poisson: 14,400 expected, six standard deviations; 36 % of them random.
    assert!((n as f64 - 14_400.0).abs() < 6.0 * 120.0, "{csv}");
    let random = csv["random"].as_f64().unwrap() / n as f64;
    assert!((random - 0.36).abs() < 0.03, "{csv}");
    let lors = pept::io::parallel_screens::read(folder.join("lors.csv"), None).unwrap();
    assert_eq!(lors.n_rows() as u64, n);
    // The same, as a table and with other threads.
    let arrow = [&simulate[..], &["lors.arrow", "--threads", "1"], &short].concat();
    assert_eq!(summary(folder, &arrow)["lors"], csv["lors"]);
    let table = pept::io::table::read_lines(folder.join("lors.arrow")).unwrap();
    assert_eq!(table.rows().column(1), lors.rows().column(1));
    let other = [&simulate[..], &["other.csv", "--seed", "1"], &short].concat();
    summary(folder, &other);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_ne!(read("lors.csv"), read("other.csv"));

    let bound = summary(folder, &["bound", "circle.toml"]);
    let sigma = bound["effective_sigma"].as_f64().unwrap();
    assert!((sigma / 3.317 - 1.0).abs() < 1e-3, "{bound}");

    std::fs::write(folder.join("garbage.csv"), "no table\n").unwrap();
    std::fs::write(
        folder.join("backwards.csv"),
        "t,x,y,z\n5,300,300,300\n0,301,300,300\n",
    )
    .unwrap();
    let scene = text(&shown.stdout);
    let also = |motion: &str| format!("count = 2\n[[tracer]]\n{motion}");
    for (from, to, message) in [
        ("count = 2", &*also("table = \"none.csv\""), "none.csv"),
        (
            "count = 2",
            &also("table = \"garbage.csv\""),
            "garbage.csv: the columns should be t x y z first",
        ),
        (
            "count = 2",
            &also("table = \"backwards.csv\""),
            "the time of row 1 (from 0), 0, is not after 5",
        ),
        (
            "count = 2",
            &also("line = { from = [300, 300, 300], velocity = [2, 0, 0] }"),
            "tracer 2 (from 0), line: it leaves the field of view",
        ),
        (
            "count = 2",
            &also("position = [300, 700, 300]"),
            "outside of the field of view",
        ),
        ("share = 0.042", "share = 1.5", "screens.slips.share"),
        ("duration = 1666.0", "duration = 0.0", "duration"),
        ("rate = 48.0", "rate = -1.0", "rate"),
        ("background", "backgruond", "unknown field"),
        ("radius = 86.0", "radius = 300.0", "field of view"),
        ("count = 2", "count = 2\nactivity = -1", "activity"),
    ] {
        assert!(scene.contains(from), "{scene}");
        std::fs::write(folder.join("bad.toml"), scene.replace(from, to)).unwrap();
        assert_fails(
            folder,
            &[
                "simulate",
                "bad.toml",
                "-o",
                "out.csv",
                "--truth",
                "out-truth.csv",
            ],
            1,
            message,
        );
        for name in ["out.csv", "out-truth.csv"] {
            assert!(!folder.join(name).exists(), "{message}");
        }
    }
    assert_fails(folder, &["simulate", "--example", "cirle"], 2, "circle");
}

fn pept(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pept"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A recording of `n` rows that the program can read.
fn recording(n: usize) -> String {
    let rows = (0..n).map(|n| {
        format!(
            "{}\t{}\t{}\t{}\t{}\n",
            n as f64 * 0.1,
            200 + n % 7,
            300 + n % 5,
            310 - n % 11,
            290 - n % 3
        )
    });
    format!("Test\nSeparation= 500\n{}", rows.collect::<String>())
}

fn assert_fails(folder: &Path, arguments: &[&str], code: i32, message: &str) {
    let output = pept(folder, arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(error.contains(message), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("out")
                && !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

fn bad_input() {
    let folder = scratch();
    let folder = folder.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("empty.csv", b"");
    write(
        "garbage.csv",
        &(0..5000u32)
            .map(|n| (n * n % 251) as u8)
            .collect::<Vec<_>>(),
    );
    write(
        "four.csv",
        format!("{}1 2 3 4\n1 2 3 4 5\n", recording(500)).as_bytes(),
    );
    write(
        "nan.csv",
        format!("{}1 nan 3 4 5\n", recording(500)).as_bytes(),
    );
    write("short.csv", recording(100).as_bytes());
    write("no_separation.csv", b"1 2 3 4 5\n");
    std::fs::create_dir(folder.join("folder.csv")).unwrap();
    for (input, message) in [
        ("missing.csv", "cannot read missing.csv"),
        ("empty.csv", "empty.csv: the file is empty"),
        ("folder.csv", "cannot read folder.csv"),
        ("garbage.csv", "neither text nor a known recording"),
        (
            "four.csv",
            "four.csv:503: \"1 2 3 4\" is not a row of 5 numbers",
        ),
        ("nan.csv", "nan.csv:503: NaN or infinity"),
        (
            "short.csv",
            "100 LoRs are fewer than one sample (samples of 200 rows",
        ),
        ("no_separation.csv", "--separation"),
    ] {
        assert_fails(folder, &["track", input, "-o", "out.csv"], 1, message);
    }
    write("good.csv", recording(500).as_bytes());
    for (output, message) in [
        (
            "nowhere/out.csv",
            "cannot write nowhere/out.csv: the folder nowhere does not exist",
        ),
        ("folder.csv", "cannot write folder.csv"),
    ] {
        assert_fails(folder, &["track", "good.csv", "-o", output], 1, message);
    }
    assert_fails(
        folder,
        &["track", "good.csv", "-o", "out.csv", "--samples", "3..99"],
        1,
        "there are no samples 3..99",
    );
    assert_fails(
        folder,
        &[
            "track",
            "good.csv",
            "-o",
            "out.csv",
            "--recipe",
            "missing.toml",
        ],
        1,
        "cannot read missing.toml",
    );
    assert_fails(
        folder,
        &["track", "good.csv", "-o", "good.csv"],
        1,
        "good.csv would be overwritten",
    );
    write("none.toml", b"step = []\n");
    assert_fails(
        folder,
        &[
            "track",
            "good.csv",
            "-o",
            "out.csv",
            "--recipe",
            "none.toml",
        ],
        1,
        "at least one [[step]]",
    );
    write("overlap.toml", b"[input]\nsample_size = 5\noverlap = 5\n[[step]]\nname = \"Cutpoints\"\nmax_distance = 1\n");
    assert_fails(
        folder,
        &[
            "track",
            "good.csv",
            "-o",
            "out.csv",
            "--recipe",
            "overlap.toml",
        ],
        1,
        "overlap 5 must be smaller",
    );
    write(
        "whole.toml",
        b"[[step]]\nname = \"Cutpoints\"\nmax_distance = 1\n",
    );
    let whole = [
        "track",
        "good.csv",
        "-o",
        "out.csv",
        "--recipe",
        "whole.toml",
        "--overlap",
        "5",
    ];
    assert_fails(folder, &whole, 2, "--overlap needs a sample size");
    write("wrong.toml", b"[[step]]\nname = \"Cutpoint\"\n");
    assert_fails(
        folder,
        &[
            "track",
            "good.csv",
            "-o",
            "out.csv",
            "--recipe",
            "wrong.toml",
        ],
        1,
        "line 2: unknown step \"Cutpoint\"; did you mean \"Cutpoints\"",
    );
    write(
        "kinds.toml",
        b"[[step]]\nname = \"HDBSCAN\"\ntrue_fraction = 0.5\n",
    );
    assert_fails(
        folder,
        &[
            "track",
            "good.csv",
            "-o",
            "out.csv",
            "--recipe",
            "kinds.toml",
        ],
        1,
        "step 1 (HDBSCAN): points needed, lines found",
    );
}

fn wrong_usage() {
    let folder = scratch();
    let folder = folder.path();
    std::fs::write(folder.join("good.csv"), recording(500)).unwrap();
    let track = |more: &[&str], message: &str| {
        assert_fails(
            folder,
            &[&["track", "good.csv", "-o", "out.csv"], more].concat(),
            2,
            message,
        );
    };
    track(
        &["--overlap", "200"],
        "overlap 200 must be smaller than the sample size 200",
    );
    track(&["--sample-size", "50", "--overlap", "60"], "overlap 60");
    track(&["--recipe", "pept-lm"], "did you mean \"pept-ml\"?");
    track(&["--tracers", "0"], "0 is not in");
    track(&["--max-distance", "-1"], "negative");
    track(&["--set", "tracer=2"], "did you mean \"tracers\"?");
    track(&["--set", "tracers"], "NAME=VALUE");
    track(&["--samples", "5..5"], "A..B");
    track(&["--separation", "0"], "not above 0");
    track(&["--nonsense"], "--nonsense");
    assert_fails(folder, &["track", "good.csv", "-o", "out.xyz"], 2, ".csv");
    assert_fails(folder, &["track"], 2, "required");
    assert_fails(folder, &["trakc"], 2, "track");
}

fn missing_gpu() {
    let folder = scratch();
    let folder = folder.path();
    std::fs::write(folder.join("good.csv"), recording(500)).unwrap();
    let run = |backend: &str| {
        Command::new(env!("CARGO_BIN_EXE_pept"))
            .args(["track", "good.csv", "-o", "out.csv", "--backend", backend])
            .current_dir(folder)
            .env("VK_DRIVER_FILES", "nowhere.json")
            .output()
            .unwrap()
    };
    let output = run("gpu");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("error: no GPU adapter"),
        "{}",
        text(&output.stderr)
    );
    assert!(!folder.join("out.csv").exists());
    for backend in ["auto", "cpu"] {
        let output = run(backend);
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::fs::remove_file(folder.join("out.csv")).unwrap();
    }
}

fn demo() {
    let folder = scratch();
    let folder = folder.path();
    let output = pept(folder, &["demo", "--json", "-o", "demo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["trajectories"], 2);
    assert!(shown["mean_error"].as_f64().unwrap() < 1.0, "{shown}");
    assert_eq!(shown["false_points"], 0);
    assert_eq!(
        shown["cpu_equals_gpu"],
        gpu().map_or(Value::Null, |_| Value::Bool(true))
    );

    let track = [
        "track",
        "demo/lors.csv",
        "-o",
        "again.csv",
        "--tracers",
        "2",
        "--json",
        "--threads",
        "1",
        "--backend",
        "cpu",
    ];
    let output = pept(folder, &track);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["lors", "samples", "points", "trajectories"] {
        assert_eq!(again[key], shown[key], "{key}");
    }
    for key in ["seconds", "lors_per_second", "realtime_factor"] {
        assert!(again[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert_eq!(
        (
            &again["backend"],
            &again["threads"],
            &again["gpu_dispatches"]
        ),
        (&"cpu".into(), &1.into(), &0.into())
    );
    assert_eq!(again["steps"][0]["name"], "Cutpoints");

    // How good it is, and how good it could be: the simulated mixture of offsets is worth a Gaussian of 3.32 mm.
    let good = ["evaluate", "again.csv", "demo/truth.csv"];
    let good = summary(folder, &good);
    assert_eq!(
        (
            &good["tracers_found"],
            &good["false_points"],
            &good["identity_switches"]
        ),
        (&2.into(), &0.into(), &0.into())
    );
    assert!(good["completeness"].as_f64().unwrap() > 0.9, "{good}");
    assert!(
        good["error"]["distance"]["mean"].as_f64().unwrap() < 1.0,
        "{good}"
    );
    let best = summary(folder, &["bound", "demo/lors.csv", "--tracers", "2"]);
    let sigma = best["effective_sigma"].as_f64().unwrap();
    assert!((sigma / 3.317 - 1.0).abs() < 0.05, "{best}");
    assert_eq!(best["tracers"].as_array().unwrap().len(), 2);
    for (arguments, code) in [
        (vec!["evaluate", "again.csv", "demo/lors.csv"], 1),
        (vec!["evaluate", "again.csv", "nothing.csv"], 1),
        (
            vec!["evaluate", "again.csv", "demo/truth.csv", "--limit", "-1"],
            2,
        ),
        (vec!["bound", "nothing.csv"], 1),
    ] {
        let output = pept(folder, &arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("again.csv"), read("demo/trajectories.csv"));
    assert_eq!(
        read("again.csv").lines().next(),
        Some("t,x,y,z,error,cluster_size,label")
    );
}

fn recipes() {
    let folder = scratch();
    let folder = folder.path();
    let shown = pept(
        folder,
        &["track", "--print-recipe", "--recipe", "pept-ml-one-pass"],
    );
    assert!(shown.status.success());
    std::fs::write(folder.join("mine.toml"), &shown.stdout).unwrap();
    std::fs::write(folder.join("good.csv"), recording(900)).unwrap();
    for (recipe, output) in [("mine.toml", "a.csv"), ("pept-ml-one-pass", "b.csv")] {
        let run = pept(
            folder,
            &[
                "track",
                "good.csv",
                "-o",
                output,
                "--recipe",
                recipe,
                "--set",
                "max_distance=2",
                "-q",
            ],
        );
        assert!(
            run.status.success() && run.stdout.is_empty(),
            "{}",
            text(&run.stderr)
        );
    }
    assert_eq!(
        std::fs::read(folder.join("a.csv")).unwrap(),
        std::fs::read(folder.join("b.csv")).unwrap()
    );
}

fn machine() {
    let folder = scratch();
    let output = pept(folder.path(), &["info", "--json"]);
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        info["adapters"].as_array().unwrap().is_empty(),
        gpu().is_none()
    );
    std::fs::write(folder.path().join("good.csv"), recording(500)).unwrap();
    let output = pept(folder.path(), &["info", "good.csv", "--json"]);
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&info["rows"], &info["separation"], &info["header_lines"]),
        (&500.into(), &500.0.into(), &2.0.into())
    );
}
