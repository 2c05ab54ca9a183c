//! Recordings of scanners: what the Python package `pept` reads, round trips, blocks of any size, damage.

use std::io::Write;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use ndarray::Array2;
use pept::io::source::{
    Files, Format, Input, LineSource, Options, detect, expand, open, open_input, read_all,
};
use pept::io::{adac_forte, chunks, csv, modular_camera, parallel_screens, text_lines};
use pept::{Error, LineData};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{Needs, golden1, golden2, recording_42rpm, root, scratch, trial};

type Body = (&'static str, Needs, fn());

pub(crate) fn trials() -> Vec<Trial> {
    let bodies: [Body; 11] = [
        (
            "adac_files_give_the_lines_of_the_peer",
            Needs::Nothing,
            adac,
        ),
        ("adac_files_are_one_run", Needs::Nothing, adac_run),
        (
            "modular_words_are_those_of_the_peer",
            Needs::Nothing,
            modular,
        ),
        (
            "adac_keeps_what_its_clock_and_grid_can",
            Needs::Nothing,
            adac_round_trip,
        ),
        ("text_keeps_lines", Needs::Nothing, text_round_trip),
        ("screens_keep_lines", Needs::Nothing, screens_round_trip),
        (
            "chunks_are_the_table_in_pieces",
            Needs::Nothing,
            chunks_of_a_table,
        ),
        ("bad_inputs_say_what_is_wrong", Needs::Nothing, bad_inputs),
        ("any_bytes_give_rows_or_an_error", Needs::Nothing, any_bytes),
        ("the_corpus_of_the_fuzzers_is_read", Needs::Nothing, corpus),
        (
            "blocks_of_a_recording_are_the_recording",
            Needs::Recordings,
            recording,
        ),
    ];
    bodies
        .into_iter()
        .map(|(name, needs, body)| trial(&format!("scanners::{name}"), needs, body))
        .collect()
}

fn golden_file(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

fn with_block_rows(block_rows: usize) -> Options {
    Options {
        block_rows,
        ..Options::default()
    }
}

/// Times to rounding, positions exactly.
fn assert_same_lines(found: &LineData, expected: &Array2<f64>) {
    /// The clock's rate is one division, of sums that are exact here and rounded there.
    const ROUNDING: f64 = 1e-12;
    assert_eq!(found.rows().dim(), expected.dim());
    for (found, expected) in found.rows().rows().into_iter().zip(expected.rows()) {
        assert!((found[0] - expected[0]).abs() <= ROUNDING * expected[0].abs());
        assert_eq!(found.to_vec()[1..], expected.to_vec()[1..]);
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn adac() {
    let folder = scratch();
    for name in ["adac_0.da01", "adac_1.da02"] {
        let path = golden_file(name);
        let stem = name.split('.').next().unwrap();
        let lors = adac_forte::read(&path).unwrap();
        assert_same_lines(&lors, &golden2(&format!("{stem}__lines")));
        assert_eq!(detect(&path).unwrap(), Format::AdacForte);
        for rows in [1, 7, 100] {
            let source = adac_forte::AdacForte::open(&path).unwrap().block_rows(rows);
            assert_eq!(read_all(source).unwrap(), lors);
        }
        let compressed = folder.path().join(name);
        std::fs::write(&compressed, packed(&std::fs::read(&path).unwrap())).unwrap();
        assert_eq!(adac_forte::read(compressed).unwrap(), lors);
    }
}

fn adac_run() {
    let files = expand([golden_file("adac_*.da*")]).unwrap();
    assert_eq!(
        files,
        [golden_file("adac_0.da01"), golden_file("adac_1.da02")]
    );
    for rows in [1, 5, 100_000] {
        let source = Files::open(&files, &with_block_rows(rows)).unwrap();
        let progress = source.progress();
        let lors = read_all(source).unwrap();
        assert_same_lines(&lors, &golden2("adac_both__lines"));
        assert_eq!(Some(progress.bytes_read()), progress.bytes_total());
    }
}

fn modular() {
    let words = golden_words();
    let decoded = golden2("modular_words__decoded");
    let mut n_known = 0;
    for (&word, expected) in words.iter().zip(decoded.rows()) {
        let event = modular_camera::decode_word(word);
        // Unknown buckets hold garbage, and so do words without a pair (six bits that are all 0), which the format rejects.
        let Some(ends) = event.ends else { continue };
        n_known += 1;
        let expected = expected.to_vec();
        assert_eq!(f64::from(event.tag), expected[0]);
        assert_eq!(2.0 * f64::from(event.tag), expected[1]);
        assert_eq!(ends[..], expected[2..]);
    }
    assert_eq!(n_known, 1006);
    let rejected = |&word: &u32| modular_camera::decode_word(word).ends.is_none();
    let all_zero = words
        .iter()
        .zip(decoded.rows())
        .filter(|(_, row)| row.iter().all(|&v| v == 0.0));
    assert!(all_zero.map(|(word, _)| word).all(rejected));
}

fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    result.unwrap();
}

/// Rows within an ADAC's field of view, in the order of time.
fn seen_by_adac() -> impl Strategy<Value = Vec<[f64; 7]>> {
    let step = prop_oneof![6 => 0.0..1.0, 2 => 0.0..300.0, 1 => Just(0.0), 1 => 0.0..50_000.0];
    let row = (step, 0.0..603.0, -3.0..599.0, 0.0..603.0, -3.0..599.0);
    prop::collection::vec(row, 1..60).prop_map(|rows| {
        let mut time = 0.0;
        let row = |(step, x1, y1, x2, y2)| {
            time += step;
            [time, x1, y1, -10.0, x2, y2, 610.0]
        };
        rows.into_iter().map(row).collect()
    })
}

fn lines(rows: &[[f64; 7]]) -> LineData {
    let values = rows.iter().flatten().copied().collect();
    LineData::new(Array2::from_shape_vec((rows.len(), 7), values).unwrap()).unwrap()
}

fn adac_round_trip() {
    /// Half a tick of the writer's clock (ms), half a step of positions (mm), and rounding.
    const TICK: f64 = 0.5 / 256.0 + 1e-12;
    const STEP: f64 = 0.59 / 2.0 + 1e-9;
    let folder = scratch();
    let path = folder.path().join("run.da01");
    run(50, &(seen_by_adac(), 1..5_usize), |(rows, block_rows)| {
        adac_forte::write(&path, 600, &lines(&rows)).unwrap();
        let found = adac_forte::read(&path).unwrap();
        assert_eq!(found.n_rows(), rows.len());
        for (found, expected) in found.rows().rows().into_iter().zip(&rows) {
            assert!((found[0] - expected[0]).abs() <= TICK);
            for column in 1..7 {
                assert!((found[column] - expected[column]).abs() <= STEP);
            }
        }
        let blocks = open(&path, &with_block_rows(block_rows)).unwrap();
        assert_eq!(read_all(blocks).unwrap(), found);
        // What was read is kept exactly.
        adac_forte::write(&path, 600, &found).unwrap();
        assert_eq!(adac_forte::read(&path).unwrap(), found);
    });
    // Ends on the screens are moved along their line.
    let on_screens = [[1.0, 100.0, 200.0, 0.0, 400.0, 500.0, 600.0]];
    adac_forte::write(&path, 600, &lines(&on_screens)).unwrap();
    let found = adac_forte::read(&path).unwrap();
    for (found, expected) in found.values()[1..]
        .iter()
        .zip([95.0, 195.0, -10.0, 405.0, 505.0, 610.0])
    {
        assert!((found - expected).abs() <= STEP);
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e3..1e3_f64,
        (-9i32..9).prop_map(f64::from),
        (-10_000i32..10_000).prop_map(|value| f64::from(value) / 10.0),
        prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ]
}

fn text_round_trip() {
    let folder = scratch();
    let path = folder.path().join("lines.csv");
    let row = prop::array::uniform7(number());
    let rows = prop::collection::vec((row, prop::num::f64::ANY), 1..30);
    run(80, &(rows, 1..9_usize), |(rows, block_rows)| {
        let (rows, extra): (Vec<_>, Vec<f64>) = rows.into_iter().unzip();
        let table = lines(&rows).with_column("a, \"b\"", &extra);
        csv::write(&path, &table).unwrap();
        let same = |found: &LineData| {
            let bits = |table: &LineData| -> Vec<u64> {
                let values = table.values().iter();
                values
                    .map(|v| if v.is_nan() { 0 } else { v.to_bits() })
                    .collect()
            };
            assert_eq!(found.columns(), table.columns());
            assert_eq!(bits(found), bits(&table));
        };
        same(&text_lines::read(&path).unwrap());
        same(&read_all(open(&path, &with_block_rows(block_rows)).unwrap()).unwrap());
        same(&csv::read(&path).unwrap());
        // As the peer writes it, compressed.
        let mut text = format!(
            "# {} label\n",
            LineData::new(Array2::zeros((0, 7)))
                .unwrap()
                .columns()
                .join(" ")
        );
        for row in table.rows().rows() {
            let values: Vec<_> = row.iter().map(|value| format!("{value:.18e}")).collect();
            text.push_str(&values.join(" "));
            text.push('\n');
        }
        std::fs::write(&path, packed(text.as_bytes())).unwrap();
        let found = text_lines::read(&path).unwrap();
        assert_eq!(found.columns()[7], "label");
        assert_eq!(found.n_rows(), rows.len());
        for (found, expected) in found.rows().rows().into_iter().zip(&rows) {
            assert_eq!(found.to_vec()[..7], expected[..]);
        }
    });
}

fn screens_round_trip() {
    let folder = scratch();
    let path = folder.path().join("screens.csv");
    let rows = prop::collection::vec(prop::array::uniform5(number()), 1..30);
    run(80, &(rows, 1..9_usize), |(rows, block_rows)| {
        let lors = parallel_screens::from_rows(&rows, 712.5).unwrap();
        parallel_screens::write(&path, "A title", 712.5, &lors).unwrap();
        assert_eq!(detect(&path).unwrap(), Format::ParallelScreens);
        let found = parallel_screens::read(&path, None).unwrap();
        assert_eq!(found.values(), lors.values());
        let blocks = read_all(open(&path, &with_block_rows(block_rows)).unwrap()).unwrap();
        assert_eq!(blocks, found);
    });
}

fn chunks_of_a_table() {
    let folder = scratch();
    let path = folder.path().join("table.txt");
    let tables = (
        1..40_usize,
        1..50_usize,
        0..45_usize,
        prop::option::of(0..45_usize),
        any::<bool>(),
    );
    run(
        200,
        &tables,
        |(n_rows, per_chunk, skip, limit, is_compressed)| {
            let text: Vec<_> = (0..n_rows).map(|n| format!("{n}\t{}\n", n * n)).collect();
            let text = text.concat();
            let bytes = if is_compressed {
                packed(text.as_bytes())
            } else {
                text.into_bytes()
            };
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(chunks::number_of_lines(&path).unwrap(), n_rows as u64);
            let options = chunks::Options {
                skip: chunks::Skip::First(skip),
                limit,
                ..chunks::Options::default()
            };
            let opened = chunks::Chunks::with_options(&path, per_chunk, options);
            if skip >= n_rows {
                assert!(opened.is_err());
                return;
            }
            let chunks = opened.unwrap();
            let expected: Vec<f64> = (skip..n_rows)
                .take(limit.unwrap_or(n_rows))
                .map(|n| n as f64)
                .collect();
            assert_eq!(chunks.n_rows(), expected.len());
            assert_eq!(chunks.n_chunks(), expected.len().div_ceil(per_chunk));
            let by_iterator: Vec<f64> = chunks
                .iter()
                .flat_map(|chunk| chunk.unwrap().column(0).to_vec())
                .collect();
            let by_map = chunks
                .map(|rows, _| Ok::<_, Error>(rows.column(0).to_vec()))
                .unwrap();
            let n_chunks = chunks.n_chunks() as isize;
            let from_end: Vec<f64> = (-n_chunks..0)
                .flat_map(|n| chunks.chunk(n).unwrap().column(0).to_vec())
                .collect();
            for found in [by_iterator, by_map.concat(), from_end] {
                assert_eq!(found, expected);
            }
        },
    );
}

/// What reading gives: a number of rows, or part of the error.
enum Gives {
    Rows(usize),
    Error(&'static str),
}
use Gives::{Error as Problem, Rows};

fn read_as(bytes: &[u8], options: &Options) -> Result<LineData, Error> {
    open_input(Input::from_bytes("input", bytes)?, options).and_then(read_all)
}

fn adac_bytes() -> Vec<u8> {
    std::fs::read(golden_file("adac_0.da01")).unwrap()
}

fn modular_bytes() -> Vec<u8> {
    let words = golden_words();
    let flag = 0xFACE_FACE_u32.to_le_bytes();
    let words = words.into_iter().flat_map(u32::to_le_bytes);
    [b' '; 1000]
        .into_iter()
        .chain(flag)
        .chain([0; 4])
        .chain(words)
        .collect()
}

fn golden_words() -> Vec<u32> {
    let words = golden1("modular_words__words").into_iter();
    words.map(|word| word as u32).collect()
}

/// Damaged and odd files, and what each gives.
fn bad_inputs() {
    const SCREENS: &str = "Separation= 712\n0 1 2 3 4\n1 1 2 3 4\n";
    const LINES: &str = "t,x1,y1,z1,x2,y2,z2\n0,1,2,3,4,5,6\n1,1,2,3,4,5,6\n";
    let (adac, modular) = (adac_bytes(), modular_bytes());
    let (n_adac, n_modular) = (326, 1006);
    let cut = |bytes: &[u8], n: usize| bytes[..bytes.len() - n].to_vec();
    let screens = |text: &str| format!("{SCREENS}{text}").into_bytes();
    let lines = |text: &str| format!("{LINES}{text}").into_bytes();
    let (as_adac, as_modular) = (Some(Format::AdacForte), Some(Format::ModularCamera));
    let (as_screens, as_lines) = (Some(Format::ParallelScreens), Some(Format::Lines));
    let unsorted = "Separation= 712\n5 1 2 3 4\n1 1 2 3 4\n3 1 2 3 4\n";
    let long_line = [vec![b'1'; 5 << 20], b"\n".to_vec()].concat();
    let flags = |n: usize| [vec![0; 1008], 0xFACE_FACE_u32.to_le_bytes().repeat(n)].concat();
    let packed_lines = packed(LINES.as_bytes());
    let mut broken_sum = packed_lines.clone();
    let n = broken_sum.len();
    broken_sum[n - 7] ^= 0xff;
    #[rustfmt::skip] // a table: a case a line
    let cases: Vec<(&str, Option<Format>, Vec<u8>, Gives)> = vec![
        ("nothing", None, vec![], Problem("the file is empty")),
        ("nothing, ADAC", as_adac, vec![], Problem("0 bytes, but the header")),
        ("nothing, modular", as_modular, vec![], Problem("0 bytes, but the header")),
        ("nothing, screens", as_screens, vec![], Problem("the file is empty")),
        ("nothing, lines", as_lines, vec![], Problem("the file is empty")),
        ("zeros", None, vec![0; 9999], Problem("neither text nor a known recording")),
        ("UTF-16", None, b"\xff\xfe1\0 \0".to_vec(), Problem("UTF-16")),
        ("words only", None, b"hello\nworld\n".to_vec(), Problem("no line of 5 numbers")),
        ("a table of points", None, b"t,x,y,z\n1,2,3,4\n".to_vec(), Problem("not of lines")),
        ("ADAC, header cut off", as_adac, adac[..500].to_vec(), Problem("500 bytes")),
        ("ADAC, only its header", as_adac, adac[..1008].to_vec(), Problem("no buffer flag")),
        ("ADAC, one buffer", as_adac, adac[..1040].to_vec(), Problem("cannot calibrate")),
        ("ADAC, a header of zeros", as_adac, flags(100), Problem("the distance of the screens is 0 mm")),
        ("ADAC, flags only", as_adac, [&adac[..1008], &flags(100)[1008..]].concat(), Problem("cannot calibrate")),
        ("ADAC, last word cut off", None, cut(&adac, 1), Rows(n_adac)),
        ("ADAC, gzip", None, packed(&adac), Rows(n_adac)),
        ("ADAC, gzip cut off", None, cut(&packed(&adac), 100), Problem("cannot read")),
        ("ADAC read as modular", as_modular, adac.clone(), Rows(0)),
        ("modular read as ADAC", as_adac, modular.clone(), Problem("no buffer flag")),
        ("text read as ADAC", as_adac, screens(&"1 1 2 3 4\n".repeat(200)), Problem("no buffer flag")),
        ("text read as modular", as_modular, screens(&"1 1 2 3 4\n".repeat(200)), Problem("no block flag")),
        ("modular, header cut off", as_modular, modular[..999].to_vec(), Problem("999 bytes")),
        ("modular, only flags", as_modular, [&modular[..1000], &modular[1000..1008]].concat(), Problem("no LoR")),
        ("modular, last word cut off", None, cut(&modular, 4000 * 4 - 3), Problem("no LoR")),
        ("modular", None, modular.clone(), Rows(n_modular)),
        ("screens", None, screens(""), Rows(2)),
        ("screens, last row cut off", None, screens("2 1 2"), Rows(2)),
        ("screens, a row cut off in between", None, screens("2 1 2\n3 1 2 3 4\n"), Problem("input:4: \"2 1 2\"")),
        ("screens, trailing garbage", None, screens("END\n\0\u{1}garbage\n7\n"), Rows(2)),
        ("screens, garbage in between", None, screens("END\n3 1 2 3 4\n"), Problem("input:4: \"END\"")),
        ("screens, NaN", None, screens("2 nan 2 3 4\n"), Problem("input:4: NaN or infinity")),
        ("screens, a huge number", None, screens("2 1e999 2 3 4\n"), Problem("input:4: NaN or infinity")),
        ("screens, a long number", None, screens(&format!("2 {} 2 3 4\n", "1".repeat(300))), Rows(3)),
        ("screens, times go back", None, unsorted.into(), Rows(3)),
        ("screens, CRLF and mark", None, format!("\u{feff}{}", SCREENS.replace('\n', "\r\n")).into(), Rows(2)),
        ("screens, CR", as_screens, SCREENS.replace('\n', "\r").into(), Problem("no line of 5 numbers")),
        ("screens, Latin-1 header", None, [b"\xe4\xf6\xfc\n", SCREENS.as_bytes()].concat(), Rows(2)),
        ("screens without separation", None, b"0 1 2 3 4\n".to_vec(), Problem("Separation=")),
        ("screens, separation 0", None, b"Separation=0\n0 1 2 3 4\n".to_vec(), Problem("above 0")),
        ("screens of six values", as_screens, b"0 1 2 3 4 5\n".to_vec(), Problem("input:1: a row of 6")),
        ("lines", None, lines(""), Rows(2)),
        ("lines, last row cut off", None, lines("2,1,2"), Problem("input:4: a row of 3 values")),
        ("lines, trailing text", None, lines("END\n"), Problem("input:4: \"END\"")),
        ("lines, NaN", None, lines("2,1,nan,3,4,5,6\n"), Problem("input:4: NaN or infinity")),
        ("lines, a gap", None, lines("2,1,,3,4,5,6\n"), Problem("input:4: NaN or infinity")),
        ("lines, a huge number", None, lines("2,1,-1e400,3,4,5,6\n"), Problem("input:4: NaN")),
        ("lines, a longer row", None, lines("2,1,2,3,4,5,6,7\n"), Problem("input:4: a row of 8")),
        ("lines, empty lines", None, lines("\r\n\n"), Rows(2)),
        ("lines, CRLF and mark", None, format!("\u{feff}{}", LINES.replace('\n', "\r\n")).into(), Rows(2)),
        ("lines, other names", as_lines, LINES.replace("x2", "v").into(), Problem("should be t x1")),
        ("lines, a name missing", as_lines, LINES.replace(",z2", "").into(), Problem("should name 7")),
        ("lines, only names", None, b"t,x1,y1,z1,x2,y2,z2\n".to_vec(), Problem("there is no row")),
        ("lines of six values", as_lines, b"1 2 3 4 5 6\n".to_vec(), Problem("a row of 6 values")),
        ("lines, gzip", None, packed_lines.clone(), Rows(2)),
        ("lines, gzip cut off", as_lines, cut(&packed_lines, 2), Problem("cannot read")),
        ("lines, gzip with a wrong sum", as_lines, broken_sum, Problem("cannot read")),
        ("lines, gzip and garbage", as_lines, [packed_lines, b"garbage".to_vec()].concat(), Problem("cannot read")),
        ("zstd header only", as_lines, b"\x28\xb5\x2f\xfd".to_vec(), Problem("cannot read")),
        ("an endless line", as_lines, long_line.clone(), Problem("more than 4 MiB")),
        ("an endless line, screens", as_screens, long_line, Problem("more than 4 MiB")),
    ];
    assert!(cases.len() >= 30);
    for (name, format, bytes, expected) in cases {
        let options = Options {
            format,
            ..Options::default()
        };
        let found = read_as(&bytes, &options).map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(lors), Rows(0)) => assert!(lors.n_rows() > 0, "{name}"), // some garbage
            (Ok(lors), Rows(n)) => assert_eq!(lors.n_rows(), n, "{name}"),
            (Err(problem), Problem(part)) if problem.contains(part) => {}
            _ => panic!("{name}: {found:?}"),
        }
    }
}

/// What an error says, but for damaged archives: how far they can be unpacked depends on how much is asked for.
fn problem(error: &Error) -> String {
    match error {
        Error::Io { .. } => "damaged".to_owned(),
        other => other.to_string(),
    }
}

/// NaN is equal to NaN here.
fn bits(lors: &LineData) -> Vec<u64> {
    let bits = |value: &f64| if value.is_nan() { 1 } else { value.to_bits() };
    lors.values().iter().map(bits).collect()
}

/// Every reader on the same bytes: whole, in tiny blocks, and as chunks.
fn read_in_every_way(bytes: &[u8]) {
    for format in [
        None,
        Some(Format::AdacForte),
        Some(Format::ModularCamera),
        Some(Format::ParallelScreens),
        Some(Format::Lines),
    ] {
        let options = Options {
            format,
            separation: (format == Some(Format::ParallelScreens)).then_some(700.0),
            ..Options::default()
        };
        let shown = |lors: LineData| (lors.columns().to_vec(), bits(&lors));
        let read = |options: &Options| {
            let lors = read_as(bytes, options);
            lors.map(shown).map_err(|error| problem(&error))
        };
        let tiny = Options {
            block_rows: 3,
            ..options.clone()
        };
        let (whole, small) = (read(&options), read(&tiny));
        let is_damaged = |result: &Result<_, String>| {
            result
                .as_ref()
                .err()
                .is_some_and(|problem| problem == "damaged")
        };
        if !(is_damaged(&whole) || is_damaged(&small)) || whole.is_ok() || small.is_ok() {
            assert_eq!(small, whole);
        }
    }
    let input = Input::from_bytes("input", bytes).unwrap();
    if let Ok(chunks) = chunks::Chunks::new(input, 3, chunks::Options::default()) {
        let whole = chunks.read().map_err(|error| error.to_string());
        let parts: Result<Vec<_>, _> = chunks.iter().collect();
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => {
                let n_rows: usize = parts.iter().map(Array2::nrows).sum();
                assert_eq!((whole.nrows(), parts.len()), (n_rows, chunks.n_chunks()));
            }
            (Err(whole), Err(part)) => assert_eq!(whole, part.to_string()),
            (whole, parts) => panic!("{whole:?} {parts:?}"),
        }
    }
}

fn any_bytes() {
    let piece = prop_oneof![
        Just("1 2 3 4 5 6 7\n".to_owned()),
        Just("1,2,3,4,5\r\n".to_owned()),
        Just("Separation= 712\n".to_owned()),
        Just("# t x1 y1 z1 x2 y2 z2\n".to_owned()),
        Just("t,x,y,z\n".to_owned()),
        Just("1;;nan;-inf;1e999;.5;7\n".to_owned()),
        Just("\u{feff}".to_owned()),
        "[0-9eE+.,; \t\r\n#-]{0,30}",
        any::<String>(),
    ];
    let text = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    let word = prop_oneof![3 => any::<u32>(), 1 => Just(0xFACE_FACE), 1 => 0_u32..9];
    let words = (
        900..1100_usize,
        prop::collection::vec(word, 0..60),
        any::<bool>(),
    )
        .prop_map(|(header, words, is_whole)| {
            let header = if is_whole {
                if header < 1000 { 1000 } else { 1008 }
            } else {
                header
            };
            let mut bytes = vec![b' '; header];
            bytes.extend(0xFACE_FACE_u32.to_le_bytes());
            bytes.extend(words.into_iter().flat_map(u32::to_le_bytes));
            bytes
        });
    let damaged = (0..400_usize, any::<u8>()).prop_map(|(at, byte)| {
        let mut bytes = packed("Separation= 712\n1 2 3 4 5\n".repeat(20).as_bytes());
        let n = bytes.len();
        bytes[at % n] = byte;
        bytes
    });
    let anything = prop::collection::vec(any::<u8>(), 0..2000);
    run(400, &prop_oneof![text, words, damaged, anything], |bytes| {
        read_in_every_way(&bytes);
    });
}

/// What the fuzzers have found.
fn corpus() {
    let packed = std::fs::File::open(root().join("fuzz/corpus.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut n_files = 0;
    for file in archive.entries().unwrap() {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file.unwrap(), &mut bytes).unwrap();
        read_in_every_way(&bytes);
        n_files += 1;
    }
    assert!(n_files > 1_000, "{n_files}");
}

fn recording() {
    let path = recording_42rpm();
    let whole = parallel_screens::read(&path, None).unwrap();
    assert_eq!(whole.n_rows(), 80_000);
    let check = |path: &Path, rows: usize| {
        let mut source = open(path, &with_block_rows(rows)).unwrap();
        assert_eq!(read_all(&mut source).unwrap(), whole);
    };
    for rows in [1, 100, 12_345, usize::MAX] {
        check(&path, rows);
    }
    let folder = scratch();
    let compressed = folder.path().join("recording.gz");
    std::fs::write(&compressed, packed(&std::fs::read(&path).unwrap())).unwrap();
    check(&compressed, 1000);
    // As an ADAC recording and as a table, it is the same run.
    let adac = folder.path().join("run.da01");
    adac_forte::write(&adac, 712, &whole.sorted_by_time()).unwrap();
    let lors = adac_forte::read(&adac).unwrap();
    assert_eq!(lors.n_rows(), whole.n_rows());
    assert!((lors.time_span().unwrap().1 - whole.time_span().unwrap().1).abs() < 0.01);
    let table = folder.path().join("table.csv");
    csv::write(&table, &whole).unwrap();
    assert_eq!(text_lines::read(&table).unwrap().values(), whole.values());
}
