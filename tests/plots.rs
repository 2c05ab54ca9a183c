use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use libtest_mimic::Trial;
use ndarray::{Array2, Array3};
use pept::data::{Pixels, Voxels};
use pept::plot::{
    ColorScale, Figure2d, Figure3d, ImageOptions, Norm, Page, Script, Slice, StepSummary, Style,
    Summary, frames, image, report, trace, vector_rows_2d,
};
use pept::{LineData, PointData, Sampling};
use serde_json::{Value, json};

use crate::support::{Needs, ignored, recording_42rpm, scratch, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "plots::images_are_drawn_without_a_browser",
            Needs::Nothing,
            images,
        ),
        trial(
            "plots::frames_become_numbered_images",
            Needs::Nothing,
            numbered_frames,
        ),
        trial(
            "plots::the_program_draws_every_kind_of_file",
            Needs::Nothing,
            program,
        ),
        trial(
            "plots::pages_are_the_same_bytes",
            Needs::Nothing,
            same_bytes,
        ),
    ];
    type Body = fn();
    let in_a_browser: [(&str, Needs, Body); 5] = [
        (
            "lines_and_points_draw_in_subplots",
            Needs::Nothing,
            subplots,
        ),
        ("every_kind_of_trace_draws", Needs::Nothing, every_kind),
        ("animations_and_reports_draw", Needs::Nothing, report_page),
        (
            "a_million_points_draw_and_fit_30_mb",
            Needs::Nothing,
            million,
        ),
        ("the_42_rpm_recording_draws", Needs::Recordings, recording),
    ];
    for (name, needs, body) in in_a_browser {
        let name = format!("plots::browser::{name}");
        trials.push(match browser() {
            Some(_) => trial(&name, needs, body),
            None => ignored(&name, "PEPT_CHROMIUM names no browser"),
        });
    }
    trials
}

/// The browser to look with: each page takes it some seconds.
fn browser() -> Option<PathBuf> {
    std::env::var_os("PEPT_CHROMIUM").map(PathBuf::from)
}

/// What became of a page: its status, and the pixels of a screenshot (three bytes each).
struct Seen {
    status: Value,
    width: usize,
    pixels: Vec<u8>,
}

impl Seen {
    /// Share of pixels in a part of the screenshot (left, right, top, bottom as shares) that have a colour: no white, no grey.
    fn colored(&self, [left, right, top, bottom]: [f64; 4]) -> f64 {
        let height = self.pixels.len() / 3 / self.width;
        let part = |share: f64, n: usize| (share * n as f64) as usize;
        let (mut colored, mut all) = (0, 0);
        for y in part(top, height)..part(bottom, height) {
            for x in part(left, self.width)..part(right, self.width) {
                let pixel = &self.pixels[(y * self.width + x) * 3..][..3];
                let spread = pixel.iter().max().unwrap() - pixel.iter().min().unwrap();
                colored += usize::from(spread > 24);
                all += 1;
            }
        }
        colored as f64 / f64::from(all)
    }
}

/// Opens a page, which has to draw without an error.
fn open(page: &Path, [width, height]: [usize; 2]) -> Seen {
    // Several at a time starve each other of the processor.
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock();
    let folder = scratch();
    let picture = folder.path().join("page.png");
    let output = Command::new(browser().unwrap())
        .args([
            "--headless",
            "--no-sandbox",
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--hide-scrollbars",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--window-size={width},{height}"))
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.canonicalize().unwrap().display()))
        .output()
        .unwrap();
    drop(guard);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("GL_"), "{said}");
    let dom = String::from_utf8_lossy(&output.stdout);
    let status = dom
        .split_once("id=\"pept-status\"")
        .and_then(|(_, rest)| rest.split_once('>')?.1.split_once("</pre>"))
        .unwrap_or_else(|| panic!("no status; {said}"));
    let status: Value = serde_json::from_str(&status.0.replace("&amp;", "&")).unwrap();
    assert_eq!(status["errors"], json!([]), "{status}");
    assert_eq!(status["drawn"], true, "{status}; {said}");
    let (width, _, pixels) = decoded(&std::fs::read(picture).unwrap());
    if let Some(kept) = std::env::var_os("PEPT_SCREENSHOTS") {
        let name = page.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(folder.path().join("page.png")).unwrap();
        std::fs::write(Path::new(&kept).join(format!("{name}.png")), bytes).unwrap();
    }
    Seen {
        status,
        width,
        pixels,
    }
}

/// Width, height and pixels (three bytes each) of a PNG file.
fn decoded(file: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    let n = frame.color_type.samples();
    let pixels = bytes.chunks_exact(n).flat_map(|pixel| pixel[..3].to_vec());
    (
        frame.width as usize,
        frame.height as usize,
        pixels.collect(),
    )
}

/// Points on a helix with a label for each half.
fn helix(n: usize) -> PointData {
    let rows = Array2::from_shape_fn((n, 6), |(row, column)| {
        let t = row as f64 * 1000.0 / n as f64;
        let angle = t * 0.05;
        [
            t,
            250.0 + 90.0 * angle.cos(),
            250.0 + 90.0 * angle.sin(),
            150.0 + 0.4 * t,
            0.5 + 0.3 * angle.sin(),
            f64::from(u8::from(row % 2 == 0)),
        ][column]
    });
    PointData::with_columns(rows, &["error", "label"]).unwrap()
}

/// Lines from screen to screen through the helix.
fn lines(n: usize) -> LineData {
    let points = helix(n);
    let rows = Array2::from_shape_fn((n, 7), |(row, column)| {
        let point = points.rows().row(row).to_vec();
        let (u, v) = (
            (row as f64 * 2.4).sin() * 0.4,
            (row as f64 * 1.7).cos() * 0.4,
        );
        let far = 712.0 - point[3];
        [
            point[0],
            point[1] - u * point[3],
            point[2] - v * point[3],
            0.0,
            point[1] + u * far,
            point[2] + v * far,
            712.0,
        ][column]
    });
    LineData::new(rows).unwrap()
}

/// A warm ball in cold voxels.
fn voxels() -> Voxels<f64> {
    let values = Array3::from_shape_fn((30, 24, 20), |(i, j, k)| {
        let [x, y, z] = [i as f64 - 15.0, j as f64 - 12.0, k as f64 - 10.0];
        (40.0 - x * x / 2.0 - y * y - z * z).max(0.0).round()
    });
    Voxels::new(values, [0.0, 300.0, 0.0, 240.0, 0.0, 200.0]).unwrap()
}

fn subplots() {
    let folder = scratch();
    let page = folder.path().join("subplots.html");
    let mut figure = Figure3d::with_subplots(1, 2);
    figure.title("A recording and what was found in it");
    figure.subplot_titles(["lines of response", "tracers"]);
    figure
        .add_lines(&lines(300), &Style::new().color_bar_title("t (ms)"))
        .unwrap();
    figure
        .add_points(&helix(2000), &Style::new().at(1, 2))
        .unwrap();
    figure.write_html(&page, Script::Embedded).unwrap();
    let seen = open(&page, [1300, 700]);
    assert_eq!(seen.status["traces"], 3);
    // Without a drawn canvas there is hardly a coloured pixel: axes and words are grey.
    assert!(seen.colored([0.05, 0.4, 0.2, 0.9]) > 0.02);
    assert!(seen.colored([0.5, 0.9, 0.2, 0.9]) > 0.005);
}

fn every_kind() {
    let folder = scratch();
    let voxels = voxels();
    let pixels = voxels.slice(2, 10, 1).unwrap();
    let mut space = Figure3d::with_subplots(2, 3);
    space.subplot_titles(["voxels", "cubes", "slice", "pixels", "vectors", "errors"]);
    space.add_voxels(&voxels, &Style::new()).unwrap();
    let at = |row, col| Style::new().at(row, col);
    space
        .add_voxels_where(&voxels, |value| value > 36.0, &at(1, 2).cubes(true))
        .unwrap();
    space.add_slice(&voxels, Slice::z(10), &at(1, 3)).unwrap();
    space
        .add_pixels(&pixels, &at(2, 1).color_scale(ColorScale::Viridis))
        .unwrap();
    let rows: Vec<[f64; 6]> = (0..27)
        .map(|n| {
            let [x, y, z] = [n % 3, n / 3 % 3, n / 9].map(f64::from);
            [x, y, z, y - 1.0, 1.0 - x, 0.3]
        })
        .collect();
    space.add_vectors(&rows, &at(2, 2)).unwrap();
    let few = helix(40);
    let n = few.n_rows();
    let mut few = few.with_column("sigma_xx", &vec![40.0; n]);
    for (name, value) in [
        ("xy", 20.0),
        ("xz", 0.0),
        ("yy", 60.0),
        ("yz", 0.0),
        ("zz", 300.0),
    ] {
        few = few.with_column(&format!("sigma_{name}"), &vec![value; n]);
    }
    space
        .add_points(&few, &at(2, 3).color_by("label").errors(true))
        .unwrap();
    space.add_ellipsoids(&few, 1.0, &at(2, 3)).unwrap();
    let page = folder.path().join("space.html");
    space.write_html(&page, Script::Embedded).unwrap();
    let seen = open(&page, [1400, 900]);
    assert_eq!(seen.status["traces"], 8);
    for row in 0..2 {
        for col in 0..3 {
            let (left, top) = (f64::from(col) * 0.33, 0.05 + f64::from(row) * 0.45);
            let share = seen.colored([left, left + 0.3, top, top + 0.42]);
            assert!(share > 0.004, "{row} {col}: {share}");
        }
    }

    let mut plane = Figure2d::with_subplots(2, 3);
    plane
        .add_points(&helix(9000), &at(1, 1).color_by("t").size(3.0))
        .unwrap();
    plane.add_lines(&lines(200), &at(1, 2)).unwrap();
    let bar = Style::new().color_bar_title("lines");
    plane
        .add_voxels(&voxels, Slice::x(15).width(1), &bar.clone().at(1, 3))
        .unwrap();
    plane.add_pixels(&pixels, &at(2, 1).contour(true)).unwrap();
    let picture = Array3::from_shape_fn((20, 30, 3), |(row, column, channel)| {
        [12 * row, 8 * column, 100][channel] as u8
    });
    plane.add_image(picture.view(), &at(2, 2)).unwrap();
    let u = Pixels::new(
        Array2::from_shape_fn((12, 12), |(_, j)| j as f64 - 6.0),
        [0.0, 12.0, 0.0, 12.0],
    )
    .unwrap();
    let v = Pixels::new(
        Array2::from_shape_fn((12, 12), |(i, _)| 6.0 - i as f64),
        [0.0, 12.0, 0.0, 12.0],
    )
    .unwrap();
    plane
        .add_vectors(&vector_rows_2d([&u, &v]).unwrap(), &at(2, 3))
        .unwrap();
    let page = folder.path().join("plane.html");
    plane.write_html(&page, Script::Embedded).unwrap();
    let seen = open(&page, [1400, 900]);
    assert_eq!(seen.status["traces"], 6);
    assert!(seen.colored([0.0, 1.0, 0.0, 1.0]) > 0.1);
}

fn report_page() {
    let folder = scratch();
    let points = helix(3000);
    let step = |name: &str, seconds| StepSummary {
        name: name.into(),
        backend: "cpu".into(),
        seconds,
        rows_in: 80_000,
        rows_out: 3_000,
    };
    let summary = Summary {
        facts: vec![
            ("LoRs".into(), "80,000 in 2.0 s".into()),
            ("speed".into(), "3.6 s: 0.5 x real time".into()),
        ],
        recipe: "[input]\nsample_size = 400\n\n[[step]]\nname = \"Cutpoints\"\n".into(),
        steps: vec![step("Cutpoints", 1.2), step("HDBSCAN", 2.4)],
        errors: points.column(4),
        points: Some(points.clone()),
        ..Summary::default()
    };
    let page = folder.path().join("report.html");
    let made = report("A test", &summary).unwrap();
    made.write(&page, Script::Embedded).unwrap();
    let seen = open(&page, [1200, 2600]);
    assert_eq!(seen.status["figures"], 3);
    assert!(seen.colored([0.0, 1.0, 0.0, 1.0]) > 0.02);

    let mut figure = Figure3d::new();
    let points = points.with_sampling(Sampling::count(300)).unwrap();
    let style = Style::new().size(4.0);
    let made = frames(&points, &style, |sample, style| {
        trace::points(sample, style)
    })
    .unwrap();
    figure.add_frames(made, &style).unwrap();
    let page = folder.path().join("frames.html");
    figure.write_html(&page, Script::Embedded).unwrap();
    let seen = open(&page, [900, 800]);
    assert_eq!(seen.status["traces"], 2);
    assert!(seen.colored([0.0, 0.9, 0.0, 0.8]) > 0.001);
}

fn million() {
    let folder = scratch();
    let page = folder.path().join("million.html");
    let mut figure = Figure3d::new();
    let style = Style::new().color_by("t").color_bar_title("t (ms)");
    figure.add_points(&helix(1_000_000), &style).unwrap();
    figure.write_html(&page, Script::Embedded).unwrap();
    let bytes = std::fs::metadata(&page).unwrap().len();
    assert!(bytes < 30_000_000, "{bytes}");
    let seen = open(&page, [900, 700]);
    assert_eq!(seen.status["traces"], 3);
    assert!(seen.colored([0.1, 0.8, 0.1, 0.9]) > 0.005);
}

fn recording() {
    let folder = scratch();
    let folder = folder.path();
    let input = recording_42rpm();
    let mut arguments = vec!["track", input.to_str().unwrap(), "-o", "points.csv"];
    arguments.extend([
        "--recipe",
        "pept-ml-one-pass",
        "--tracers",
        "2",
        "--backend",
        "cpu",
    ]);
    pept(folder, &arguments);
    pept(folder, &["plot", "points.csv", "-o", "trajectories.html"]);
    let seen = open(&folder.join("trajectories.html"), [1000, 800]);
    assert!(seen.status["traces"].as_u64() >= Some(2));
    assert!(seen.colored([0.1, 0.85, 0.1, 0.9]) > 0.005);
    let series = [
        "plot",
        "points.csv",
        "-o",
        "series.html",
        "--kind",
        "timeseries",
    ];
    pept(folder, &series);
    let seen = open(&folder.join("series.html"), [1000, 800]);
    assert!(seen.colored([0.0, 1.0, 0.0, 1.0]) > 0.005);
}

fn pept(folder: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_pept"))
        .current_dir(folder)
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn images() {
    let options = ImageOptions {
        width: 500,
        height: 400,
        scale: 1.0,
    };
    let mut space = Figure3d::new();
    space
        .add_points(&helix(500), &Style::new().size(5.0))
        .unwrap();
    space
        .add_slice(&voxels(), Slice::z(10), &Style::new())
        .unwrap();
    let (width, height, pixels) = decoded(&space.png(&options).unwrap());
    assert_eq!((width, height), (500, 400));
    let colored = pixels
        .chunks_exact(3)
        .filter(|pixel| pixel.iter().max().unwrap() - pixel.iter().min().unwrap() > 24);
    assert!(colored.count() > 2_000);
    let svg = space.svg(&options).unwrap();
    assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>\n"));
    for part in ["z (mm)", "label 1", "width=\"500\""] {
        assert!(svg.contains(part), "{part}");
    }
    assert_eq!(svg.matches("<svg").count(), 1);
    assert!(svg.matches("<circle").count() > 500);

    let mut plane = Figure2d::new();
    plane
        .histogram(&helix(500).column(4), 20, Norm::Percent, &Style::new())
        .unwrap();
    plane.xlabel("error & spread (mm)", 1, 1).unwrap();
    let svg = plane.svg(&options).unwrap();
    assert!(svg.contains("error &amp; spread (mm)"));
    // A page's other traces are no image.
    plane
        .add_trace(json!({"type": "pie", "values": [1]}), 1, 1)
        .unwrap();
    let problem = plane.svg(&options).unwrap_err().to_string();
    assert!(problem.contains("trace type = pie"), "{problem}");
    let odd = ImageOptions {
        width: 1,
        ..options
    };
    assert!(space.png(&odd).is_err());
    // A figure without anything is one.
    assert!(Figure3d::new().png(&options).is_ok() && Figure2d::new().svg(&options).is_ok());
    assert!(image::svg(&json!({}), &options).is_ok());
    // Nonsense is no panic.
    for trace in [
        json!({"type": "heatmap", "z": [[1, null], []]}),
        json!({"type": "heatmap", "z": [[]]}),
        json!({"type": "scatter3d", "x": [1e300, null], "y": [1], "z": ["a"]}),
        json!({"type": "mesh3d", "x": [1], "y": [1], "z": [1], "i": [9], "j": [-1], "k": [1e30]}),
        json!({"type": "surface", "z": [[1], [2]]}),
        json!({"type": "box"}),
        json!({"type": "bar", "x": [1], "y": [null]}),
        json!({"type": "image", "source": "data:image/png;base64,AAAA"}),
    ] {
        let figure = json!({
            "data": [trace],
            "layout": {"scene": {}, "xaxis": {"range": [1, 1]}, "yaxis": {"type": "log"}, "showlegend": true},
        });
        assert!(image::png(&figure, &options).is_ok(), "{figure}");
        assert!(image::svg(&figure, &options).is_ok(), "{figure}");
    }
}

fn numbered_frames() {
    let folder = scratch();
    let points = helix(90).with_sampling(Sampling::count(30)).unwrap();
    let mut figure = Figure3d::new();
    let small = ImageOptions {
        width: 300,
        height: 300,
        scale: 1.0,
    };
    assert!(figure.write_frames(folder.path(), &small).is_err());
    let style = Style::new();
    let made = frames(&points, &style, |sample, style| {
        trace::points(sample, style)
    })
    .unwrap();
    figure.add_frames(made, &style).unwrap();
    let frames = folder.path().join("frames");
    let command = figure.write_frames(&frames, &small).unwrap();
    assert!(command.starts_with("ffmpeg -framerate 10 ") && command.contains("frame_%05d.png"));
    let read = |n: usize| std::fs::read(frames.join(format!("frame_{n:05}.png"))).unwrap();
    assert!(read(0) != read(1) && read(1) != read(2));
    assert!(!frames.join("frame_00003.png").exists());
}

fn same_bytes() {
    let page = || {
        let mut figure = Figure3d::new();
        figure
            .add_points(&helix(5_000), &Style::new().max_points(500))
            .unwrap();
        let mut page = Page::new("same");
        page.figure(&figure, 500);
        page.html(Script::Cdn).unwrap()
    };
    assert_eq!(page(), page());
    assert!(page().contains("500 of 5,000 points shown"));
}

fn program() {
    let folder = scratch();
    let folder = folder.path();
    pept::io::table::write_table(folder.join("points.csv"), &helix(400)).unwrap();
    pept::io::table::write_table(folder.join("lines.csv"), &lines(60)).unwrap();
    let counts = voxels().map(|value| value as u32);
    pept::io::cells::write_cells(folder.join("counts.npy"), &counts).unwrap();
    let is_png = |name: &str| {
        let file = std::fs::read(folder.join(name)).unwrap();
        assert!(decoded(&file).0 == 1800, "{name}");
    };
    let page = |name: &str, part: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(
            text.contains(part) && text.len() < 200_000,
            "{name}: {part}"
        );
    };
    let done = pept(
        folder,
        &[
            "plot",
            "points.csv",
            "-o",
            "p.html",
            "--cdn",
            "--title",
            "Two < three",
        ],
    );
    assert_eq!(done["traces"], 2);
    page("p.html", "Two \\u003c three");
    pept(
        folder,
        &[
            "plot",
            "points.csv",
            "-o",
            "p.png",
            "--plane",
            "yz",
            "--color-by",
            "error",
        ],
    );
    is_png("p.png");
    pept(
        folder,
        &[
            "plot",
            "points.csv",
            "-o",
            "s.svg",
            "--kind",
            "timeseries",
            "--errors",
        ],
    );
    assert!(
        std::fs::read_to_string(folder.join("s.svg"))
            .unwrap()
            .contains("t (ms)")
    );
    pept(
        folder,
        &[
            "plot",
            "points.csv",
            "-o",
            "h.png",
            "--kind",
            "histogram",
            "--column",
            "error",
        ],
    );
    is_png("h.png");
    let sampled = [
        "--sample-size",
        "20",
        "--samples",
        "0..2",
        "--max-points",
        "30",
    ];
    let lines = ["plot", "lines.csv", "-o", "l.html", "--cdn"];
    pept(folder, &[&lines[..], &sampled[..]].concat());
    page("l.html", "30 of 40 lines shown");
    let series = [
        "plot",
        "points.csv",
        "-o",
        "f.html",
        "--cdn",
        "--frames",
        "--sample-size",
        "100",
    ];
    pept(folder, &series);
    page("f.html", "\"sliders\"");
    pept(folder, &["plot", "counts.npy", "-o", "v.html", "--cdn"]);
    page("v.html", "\"square\"");
    let limits = ["--limits", "0,300,0,240,0,200"];
    let slice = [
        "plot",
        "counts.npy",
        "-o",
        "v.png",
        "--axis-slice",
        "iz=10+1",
    ];
    pept(folder, &[&slice[..], &limits[..]].concat());
    is_png("v.png");
    #[cfg(feature = "arrow")]
    {
        pept::io::cells::write_cells(folder.join("counts.arrow"), &counts).unwrap();
        pept(
            folder,
            &[
                "plot",
                "counts.arrow",
                "-o",
                "a.svg",
                "--axis-slice",
                "ix=3",
            ],
        );
    }
    for (arguments, code, message) in [
        (&["points.csv", "-o", "p.gif"][..], 2, ".html, .png or .svg"),
        (
            &["points.csv", "-o", "p.png", "--open"],
            2,
            "--cdn and --open",
        ),
        (
            &["counts.npy", "-o", "p.png", "--axis-slice", "ix"],
            2,
            "ix=N",
        ),
        (
            &["counts.npy", "-o", "p.png", "--axis-slice", "ix=99"],
            1,
            "layer",
        ),
        (
            &["points.csv", "-o", "p.png", "--color-by", "w"],
            1,
            "no column",
        ),
        (&["none.csv", "-o", "p.png"], 1, "none.csv"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pept"))
            .current_dir(folder)
            .arg("plot")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}
