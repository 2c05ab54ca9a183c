use std::path::Path;

use libtest_mimic::Trial;
use ndarray::{Array2, array};
use pept::data::{Contents, Lines, Points, Table};
use pept::io::{csv, npy, table};
use pept::{Attribute, Attributes, Error, LineData, PointData, Sampling};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{Needs, golden2, ignored, python, scratch, trial};

type Body = (&'static str, fn());

pub(crate) fn trials() -> Vec<Trial> {
    let bodies: [Body; 4] = [
        ("csv_keeps_rows_and_names", csv_round_trip),
        ("npy_keeps_rows", npy_round_trip),
        ("npy_is_what_other_readers_and_writers_say", other_npy),
        ("damaged_npy_files_are_errors", damaged_npy),
    ];
    let arrow: [Body; 5] = [
        ("arrow_keeps_everything", arrow_round_trip),
        (
            "arrow_keeps_tables_of_several_batches",
            several_arrow_batches,
        ),
        (
            "arrow_files_of_equal_tables_are_equal",
            equal_tables_give_equal_files,
        ),
        ("damaged_arrow_files_are_errors", damaged_arrow),
        ("foreign_files_are_errors", foreign_files),
    ];
    let needed = |(name, body): Body| trial(&format!("tables::{name}"), Needs::Nothing, body);
    let with_arrow = |(name, body): Body| {
        if cfg!(feature = "arrow") {
            needed((name, body))
        } else {
            ignored(&format!("tables::{name}"), "built without feature arrow")
        }
    };
    let mut trials: Vec<Trial> = bodies.into_iter().map(needed).collect();
    trials.extend(arrow.into_iter().map(with_arrow));
    for (package, script) in [
        (
            "pyarrow",
            "import sys, pyarrow.ipc\nt = pyarrow.ipc.open_file(sys.argv[1]).read_all()\nm = t.schema.metadata\n\
             assert m[b'pept.kind'] == b'points' and b'count' in m[b'pept.sampling'] and b'answer' in m[b'pept.attributes'], m\nprint(' '.join(t.column_names))\n\
             for row in zip(*[c.to_pylist() for c in t.columns]): print(*map(repr, row))",
        ),
        (
            "polars",
            "import sys, polars\nt = polars.read_ipc(sys.argv[1])\nprint(' '.join(t.columns))\n\
             for row in t.rows(): print(*map(repr, row))",
        ),
    ] {
        let name = format!("tables::{package}_reads_arrow_files");
        trials.push(if !cfg!(feature = "arrow") {
            ignored(&name, "built without feature arrow")
        } else if python(&["-c", &format!("import {package}")]).is_none() {
            ignored(&name, &format!("python3 has no {package}"))
        } else {
            trial(&name, Needs::Nothing, move || {
                another_program_reads(script);
            })
        });
    }
    trials
}

// What is equal: NaN is equal to NaN here.

fn same_numbers(a: &[f64], b: &[f64]) -> bool {
    let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(same)
}

fn same_rows<C: Contents>(a: &Table<C>, b: &Table<C>) -> bool {
    a.columns() == b.columns() && a.n_rows() == b.n_rows() && same_numbers(a.values(), b.values())
}

fn same<C: Contents>(a: &Table<C>, b: &Table<C>) -> bool {
    same_rows(a, b)
        && a.sampling() == b.sampling()
        && a.sample_ranges() == b.sample_ranges()
        && same_attributes(a.attributes(), b.attributes())
}

fn same_attributes(a: &Attributes, b: &Attributes) -> bool {
    let same_value = |a: &Attribute, b: &Attribute| match (a, b) {
        (Attribute::Number(a), Attribute::Number(b)) => same_numbers(&[*a], &[*b]),
        (Attribute::Array(a), Attribute::Array(b)) => same_numbers(a, b),
        (Attribute::Lines(a), Attribute::Lines(b)) => same(a, b),
        (Attribute::Points(a), Attribute::Points(b)) => same(a, b),
        (a, b) => a == b,
    };
    a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| same_value(a, b))
}

// Tables of all kinds.

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::ANY,
        (-9i32..9).prop_map(f64::from),
        -1e3..1e3,
        Just(f64::NAN),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
    ]
}

/// Rows and names.
fn bare<C: Contents>() -> impl Strategy<Value = Table<C>> {
    let names = vec!["label", "error", "größe", "a b", "x", "col7", "#"];
    let extra = prop::collection::vec(prop::sample::select(names), 0..4);
    (0_usize..20, extra).prop_flat_map(|(n_rows, extra)| {
        let n_columns = C::COLUMNS.len() + extra.len();
        prop::collection::vec(number(), n_rows * n_columns).prop_map(move |values| {
            let rows = Array2::from_shape_vec((n_rows, n_columns), values).unwrap();
            Table::with_columns(rows, &extra).unwrap()
        })
    })
}

/// Also samples.
fn sampled<C: Contents>() -> impl Strategy<Value = Table<C>> {
    let ranges = prop::collection::vec((0_usize..21, 0_usize..21), 0..4);
    (bare::<C>(), 0..4, 0_usize..9, -5_isize..9, ranges).prop_map(
        |(table, rule, size, overlap, ranges)| {
            let n_rows = table.n_rows();
            let sampling = match rule {
                0 => Sampling::Whole,
                1 if size > 0 => Sampling::count(size).overlap(overlap.min(size as isize - 1)),
                2 => Sampling::List(vec![n_rows / 2, 0, n_rows / 3]),
                _ => {
                    let inside = |n: usize| n.min(n_rows);
                    let ranges = ranges.into_iter();
                    Sampling::Ranges(
                        ranges
                            .map(|(a, b)| inside(a.min(b))..inside(a.max(b)))
                            .collect(),
                    )
                }
            };
            table.with_sampling(sampling).unwrap()
        },
    )
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let texts = vec![
        "",
        "plain",
        "\"quoted\"\n\\ \u{1} µ 3",
        "{\"number\":\"1\"}",
    ];
    prop_oneof![
        number().prop_map(Attribute::Number),
        prop::sample::select(texts).prop_map(|text| Attribute::Text(text.to_owned())),
        prop::collection::vec(number(), 0..5).prop_map(Attribute::Array),
        (sampled::<Lines>(), number())
            .prop_map(|(table, inner)| table.with_attribute("inner", Attribute::Number(inner)))
            .prop_map(Attribute::Lines),
        sampled::<Points>().prop_map(Attribute::Points),
    ]
}

/// Also attributes.
fn whole<C: Contents>() -> impl Strategy<Value = Table<C>> {
    let names = vec!["separation", "_lines", "ähnlich", "a \"b\"", ""];
    let attributes = prop::collection::vec((prop::sample::select(names), attribute()), 0..4);
    (sampled::<C>(), attributes).prop_map(|(table, attributes)| {
        let set =
            |table: Table<C>, (name, value): (&str, Attribute)| table.with_attribute(name, value);
        attributes.into_iter().fold(table, set)
    })
}

fn run<T: std::fmt::Debug>(cases: u32, strategy: impl Strategy<Value = T>, test: impl Fn(T)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&strategy, |value| {
            test(value);
            Ok(())
        })
        .unwrap();
}

fn csv_round_trip() {
    let folder = scratch();
    let path = folder.path().join("table.csv");
    run(
        200,
        (bare::<Points>(), bare::<Lines>()),
        |(points, lines)| {
            table::write_table(&path, &points).unwrap();
            assert!(same_rows(&table::read_points(&path).unwrap(), &points));
            table::write_table(&path, &lines).unwrap();
            assert!(same_rows(&table::read_lines(&path).unwrap(), &lines));
            assert!(matches!(
                csv::read::<Points>(&path),
                Err(Error::File { .. })
            ));
        },
    );
}

fn npy_round_trip() {
    let folder = scratch();
    let path = folder.path().join("table.npy");
    run(200, bare::<Lines>(), |lines| {
        table::write_table(&path, &lines).unwrap();
        let back = table::read_lines(&path).unwrap();
        assert_eq!(back.n_rows(), lines.n_rows());
        assert!(same_numbers(back.values(), lines.values()));
        let expected = LineData::new(lines.rows().to_owned()).unwrap();
        assert_eq!(back.columns(), expected.columns());
        if lines.n_rows() > 0 {
            let other: Array2<f64> = ndarray_npy::read_npy(&path).unwrap();
            assert!(same_numbers(other.as_slice().unwrap(), lines.values()));
        }
        // The data are aligned, as NumPy wants them.
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!((length - 8 * lines.values().len() as u64) % 64, 0);
    });
}

/// Files that NumPy itself wrote, and those of another crate, by columns too.
fn other_npy() {
    let golden = crate::support::root().join("tests/golden/centroids__points.npy");
    let points = table::read_points(golden).unwrap();
    assert_eq!(points.rows(), golden2("centroids__points"));
    let folder = scratch();
    let path = folder.path().join("other.npy");
    let rows = array![[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]];
    ndarray_npy::write_npy(&path, &rows).unwrap();
    assert_eq!(table::read_points(&path).unwrap().rows(), rows);
    let by_column = rows.t().as_standard_layout().reversed_axes().to_owned();
    ndarray_npy::write_npy(&path, &by_column).unwrap();
    assert_eq!(table::read_points(&path).unwrap().rows(), rows);
    ndarray_npy::write_npy(&path, &rows.mapv(|value: f64| value as i32)).unwrap();
    assert_eq!(table::read_points(&path).unwrap().rows(), rows);
    assert!(matches!(npy::read::<Lines>(&path), Err(Error::File { .. })));
}

fn arrow_round_trip() {
    let folder = scratch();
    let path = folder.path().join("table.arrow");
    run(
        200,
        (whole::<Points>(), whole::<Lines>()),
        |(points, lines)| {
            table::write_table(&path, &points).unwrap();
            assert!(same(&table::read_points(&path).unwrap(), &points));
            assert!(table::read_lines(&path).is_err());
            table::write_table(&path, &lines).unwrap();
            assert!(same(&table::read_lines(&path).unwrap(), &lines));
        },
    );
}

fn several_arrow_batches() {
    let rows = Array2::from_shape_fn((150_000, 5), |(row, column)| (row * 10 + column) as f64);
    let times = Sampling::time(1e4).overlap_time(2.5e3);
    for sampling in [times, Sampling::adaptive(1e3, 70).overlap_time(500.0)] {
        let points = PointData::new(rows.clone())
            .unwrap()
            .with_sampling(sampling)
            .unwrap();
        let folder = scratch();
        let path = folder.path().join("table.feather");
        table::write_table(&path, &points).unwrap();
        assert_eq!(table::read_points(&path).unwrap(), points);
    }
}

fn small() -> PointData {
    PointData::new(Array2::from_shape_fn((3, 5), |(row, column)| {
        (row * 10 + column) as f64 + 0.1
    }))
    .unwrap()
    .with_sampling(Sampling::count(2).overlap(1))
    .unwrap()
    .with_attribute("a", Attribute::Array(vec![1.0, f64::NAN]))
    .with_attribute("b", Attribute::Text("text".into()))
}

fn equal_tables_give_equal_files() {
    let folder = scratch();
    let bytes = |name: &str| {
        let path = folder.path().join(name);
        table::write_table(&path, &small()).unwrap();
        std::fs::read(path).unwrap()
    };
    let first = bytes("0.arrow");
    for n in 1..8 {
        assert_eq!(bytes(&format!("{n}.arrow")), first);
    }
}

/// Every byte changed in several ways, and the file cut everywhere: an error of this file, or a table.
fn damage(ending: &str) {
    let folder = scratch();
    let path = folder.path().join(format!("table.{ending}"));
    table::write_table(&path, &small()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(table::read_points(&path).is_ok());
    for n in 0..bytes.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[n] ^= mask;
            let _ = error_or_table(&path, &damaged);
        }
        assert!(
            !error_or_table(&path, &bytes[..n]),
            "cut at {n} it was read"
        );
    }
    let longer = [bytes.as_slice(), b"more"].concat();
    assert!(!error_or_table(&path, &longer));
}

/// Whether it is a table.
fn error_or_table(path: &Path, bytes: &[u8]) -> bool {
    std::fs::write(path, bytes).unwrap();
    match table::read_points(path) {
        Ok(table) => {
            assert!(table.values().len() <= 8 * bytes.len());
            true
        }
        Err(Error::File { problem, .. }) => {
            assert!(!problem.is_empty());
            false
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn damaged_npy() {
    damage("npy");
}

fn damaged_arrow() {
    damage("arrow");
}

fn foreign_files() {
    let folder = scratch();
    for contents in [
        &b""[..],
        b"t,x,y,z\n1,2,3,4\n",
        b"\x93NUMPY",
        b"ARROW1",
        b"FEA1",
        &[0xff; 100],
        &[0; 1000],
    ] {
        for ending in ["npy", "arrow", "feather"] {
            let path = folder.path().join(format!("foreign.{ending}"));
            assert!(!error_or_table(&path, contents));
        }
    }
    let unknown = folder.path().join("table.xyz");
    let problem = table::write_table(&unknown, &small()).unwrap_err();
    assert!(problem.to_string().contains(".csv, .npy, .arrow"));
    assert!(!unknown.exists());
}

fn another_program_reads(script: &str) {
    let folder = scratch();
    let path = folder.path().join("table.arrow");
    let rows = array![
        [0.1, 1e300, -0.0, f64::NAN],
        [f64::INFINITY, -1.0, 5e-324, f64::NEG_INFINITY]
    ];
    let points = PointData::new(rows).unwrap();
    let points = points
        .with_sampling(Sampling::count(1))
        .unwrap()
        .with_attribute("answer", Attribute::Number(42.0));
    table::write_table(&path, &points).unwrap();
    let text = python(&["-c", script, path.to_str().unwrap()]).expect("python3 should read it");
    let (names, rows) = text.split_once('\n').unwrap();
    assert_eq!(names, "t x y z");
    let values: Vec<f64> = rows
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    assert!(same_numbers(&values, points.values()));
}
