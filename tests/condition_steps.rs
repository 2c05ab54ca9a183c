use libtest_mimic::Trial;
use ndarray::{Array2, array};
use pept::data::Column;
use pept::pipeline::Pipeline;
use pept::transform::{Condition, GroupBy, Inspect, Remove, SamplesCondition, Stack, Swap};
use pept::{Data, Error, LineData, PointData, Recipe, Sampling};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{Needs, trial};

/// A test's name and what it does.
type Body = (&'static str, fn());

pub(crate) fn trials() -> Vec<Trial> {
    let bodies: [Body; 12] = [
        (
            "debug_changes_nothing_not_even_lists_of_lists",
            debug_changes_nothing,
        ),
        ("rows_are_kept_sample_by_sample", rows_are_kept),
        ("conditions_read_as_in_python", read_as_in_python),
        (
            "wrong_names_are_refused_with_the_columns_there_are",
            wrong_names,
        ),
        (
            "what_is_no_condition_is_refused_before_any_work",
            no_conditions,
        ),
        ("closures_are_conditions", closures),
        ("groups_are_samples_for_what_follows", groups),
        ("samples_are_kept_as_a_whole", samples_are_kept),
        ("columns_are_removed_and_exchanged", columns_move),
        ("debug_passes_everything_on", debug),
        ("recipes_have_all_of_them", recipes),
        ("no_text_makes_the_parser_panic", any_text),
    ];
    bodies
        .into_iter()
        .map(|(name, body)| trial(&format!("condition_steps::{name}"), Needs::Nothing, body))
        .collect()
}

/// Rows `t x y z error label`: x = t, y = 10 t, error = 0.5 t, labels 1 0 -1 1 0 -1 ...
fn points(n: usize) -> PointData {
    let labels = [1.0, 0.0, -1.0];
    let rows = Array2::from_shape_fn((n, 6), |(row, column)| {
        let t = row as f64;
        [t, t, 10.0 * t, 0.0, 0.5 * t, labels[row % 3]][column]
    });
    PointData::with_columns(rows, &["error", "label"]).unwrap()
}

fn run(pipeline: &Pipeline, input: impl Into<Data>) -> PointData {
    pipeline.fit(input).unwrap().into_points().unwrap()
}

fn rows_are_kept() {
    let pipeline = Pipeline::new().then(Condition::new("error < 3, y > 10"));
    let input = points(10).with_sampling(Sampling::count(5)).unwrap();
    let Data::List(samples) = pipeline.fit(input).unwrap() else {
        panic!("a filter should give a list")
    };
    let times: Vec<Vec<f64>> = samples
        .into_iter()
        .map(|sample| sample.into_points().unwrap().column(0))
        .collect();
    assert_eq!(times, [vec![2.0, 3.0, 4.0], vec![5.0]]);
    // No samples at all: the columns stay.
    let none = points(2).with_sampling(Sampling::count(5)).unwrap();
    let out = run(&pipeline, none);
    assert_eq!((out.n_rows(), out.columns()), (0, points(0).columns()));
}

/// On the one row x = 1, y = 2, z = 3, order = 4.
fn read_as_in_python() {
    for (text, expected) in [
        ("-x ** 2 == -1", true),
        ("2 ** 3 ** y == 512", true),
        ("2 ** -x == 0.5", true),
        ("x < y < z < order", true),
        ("x < z < y", false),
        ("z > y > x", true),
        ("1 < 3 == 1", false),
        ("x == 1 & y == 2", false),
        ("(x == 1) & (y == 2)", true),
        ("(x == 2) | ~(y == 3)", true),
        ("not x == 2 and y == 2", true),
        ("x == 1 or y == 1 and z == 1", true),
        ("x == 1, y == 2 or 0, z == 3", true),
        ("x == 1, y == 1 or 0, z == 3", false),
        ("np.isclose(x, 1.000001), np.isfinite(z)", true),
        (
            "np.sqrt(order) == 2 and np.log(np.exp(x)) == 1 and np.abs(-z) == 3",
            true,
        ),
        ("order", true),
        ("'1' == 1 and '-1' == 4 and \"order\" == 4", true),
        ("order >= 4e0 and order <= .4e1", true),
    ] {
        let rows = array![[0.0, 1.0, 2.0, 3.0, 4.0]];
        let point = PointData::with_columns(rows, &["order"]).unwrap();
        let out = run(&Pipeline::new().then(Condition::new(text)), point);
        assert_eq!(out.n_rows() == 1, expected, "{text}");
    }
}

fn wrong_names() {
    let columns = "t x y z error label";
    let messages = [
        Pipeline::new().then(Condition::new("eror < 5")),
        Pipeline::new().then(Condition::new("'6' < 5")),
        Pipeline::new().then(SamplesCondition::new("all(eror < 5)")),
        Pipeline::new().then(GroupBy::new("lable")),
        Pipeline::new().then(Remove::new(["lable"])),
        Pipeline::new().then(Swap::new("x, lable")),
    ]
    .map(|pipeline| pipeline.fit(points(3)).unwrap_err().to_string());
    for message in messages {
        assert!(message.starts_with("step 1 ("), "{message}");
        assert!(message.contains(columns), "{message}");
    }
    let error = Pipeline::new()
        .then(Remove::new(["y"]))
        .fit(points(3))
        .unwrap_err();
    assert!(
        matches!(&error, Error::Step { source, .. } if matches!(**source, Error::Columns(_))),
        "{error}"
    );
}

fn no_conditions() {
    let refused = |pipeline: Pipeline| {
        // Without rows there is no work.
        pipeline.fit(points(0)).unwrap_err().to_string()
    };
    let error = refused(Pipeline::new().then(Condition::new("error < < 5")));
    assert!(
        error.starts_with("step 1 (Condition): condition = \"error < < 5\" at character 9"),
        "{error}"
    );
    // A mistake that would drop every row without a word.
    let error = refused(Pipeline::new().then(Condition::new("error < 15 & y > 10")));
    assert!(error.contains("parentheses"), "{error}");
    let error = refused(Pipeline::new().then(SamplesCondition::new("error < 15")));
    assert!(error.contains("all(..)"), "{error}");
    let error = refused(Pipeline::new().then(Swap::new("y")));
    assert!(error.contains("columns = \"y\""), "{error}");
}

fn closures() {
    let lines = LineData::new(Array2::from_shape_fn((4, 7), |(row, _)| row as f64)).unwrap();
    let Data::List(out) = Pipeline::new()
        .then(Condition::by(|lines: &LineData| {
            lines.column(4).iter().map(|x2| *x2 > 1.0).collect()
        }))
        .fit(lines)
        .unwrap()
    else {
        panic!("a filter should give a list")
    };
    let [Data::Lines(out)] = out.as_slice() else {
        panic!("lines should stay lines")
    };
    assert_eq!(out.column(0), [2.0, 3.0]);

    let input = points(10).with_sampling(Sampling::count(4)).unwrap();
    let pipeline = Pipeline::new().then(SamplesCondition::by(|sample: &PointData| {
        sample.values()[0] > 3.0
    }));
    assert_eq!(run(&pipeline, input).column(0), [4.0, 5.0, 6.0, 7.0]);
    assert!(pipeline.to_string().contains("SamplesCondition"));

    let wrong = Pipeline::new().then(Condition::by(|_: &PointData| Vec::new()));
    let error = wrong.fit(points(2)).unwrap_err().to_string();
    assert!(error.contains("0 values for 2 rows"), "{error}");
}

fn groups() {
    let pipeline = Pipeline::new().then(GroupBy::new("label"));
    let input = points(7).with_sampling(Sampling::count(2)).unwrap();
    let out = run(&pipeline, input);
    assert_eq!(out.column(0), [2.0, 5.0, 1.0, 4.0, 0.0, 3.0, 6.0]);
    assert_eq!(out.sample_ranges(), [0..2, 2..4, 4..7]);
    // By index, of what a filter made, and the groups are the samples that the next step judges.
    let pipeline = Pipeline::new()
        .then(Condition::new("label >= 0"))
        .then(GroupBy::new(-1_isize))
        .then(SamplesCondition::new("sample_size > 2"));
    assert_eq!(run(&pipeline, points(7)).column(0), [0.0, 3.0, 6.0]);
}

fn samples_are_kept() {
    let input = points(10).with_sampling(Sampling::count(3)).unwrap();
    let pipeline = Pipeline::new()
        .then(Condition::new("x != 4"))
        .then(SamplesCondition::new("sample_size > 2, np.max(error) < 5"));
    let out = run(&pipeline, input.clone());
    assert_eq!(out.column(0), [0.0, 1.0, 2.0, 6.0, 7.0, 8.0]);
    assert_eq!(out.sample_ranges(), [0..3, 3..6]);
    // What follows sees whole samples, in order.
    let Data::List(members) = pipeline.then(Condition::new("t > 0")).fit(input).unwrap() else {
        panic!("a filter should give a list")
    };
    let sizes: Vec<usize> = members.iter().map(Data::n_rows).collect();
    assert_eq!(sizes, [2, 3]);
}

fn columns_move() {
    let pipeline = Pipeline::new()
        .then(Swap::new("y, z").and("error, label"))
        .then(Remove::new([
            Column::from("err*"),
            Column::from("missing?"),
        ]))
        .then(Stack::new());
    let out = run(&pipeline, points(3));
    assert_eq!(out.columns(), ["t", "x", "y", "z", "label"]);
    assert_eq!(out.column(2), [0.0, 0.0, 0.0]);
    assert_eq!(out.column(3), [0.0, 10.0, 20.0]);
    assert_eq!(out.column(4), [0.0, 0.5, 1.0]);
}

fn debug() {
    let input = points(10).with_sampling(Sampling::count(3)).unwrap();
    let plain = Pipeline::new().then(Condition::new("x > 1"));
    let expected = plain.fit(input.clone()).unwrap();
    assert_eq!(
        plain.then(Inspect::new()).fit(input.clone()).unwrap(),
        expected
    );
    let alone = Pipeline::new().then(Inspect::new().verbose(1).max_samples(2));
    assert_eq!(alone.transformers()[0].name(), "Debug");
    assert_eq!(alone.fit(input.clone()).unwrap(), Data::from(input));
}

fn recipes() {
    let text = r#"
        [[step]]
        name = "Condition"
        condition = "error < 4, x > 0"
        [[step]]
        name = "Condition"
        condition = ["t != 2", "isfinite(y)"]
        [[step]]
        name = "GroupBy"
        column = "label"
        [[step]]
        name = "SamplesCondition"
        condition = "sample_size > 1"
        [[step]]
        name = "Debug"
        verbose = 2
        [[step]]
        name = "SplitAll"
        column = -1
        [[step]]
        name = "Swap"
        columns = ["y, z"]
        [[step]]
        name = "Swap"
        columns = "y, z"
        [[step]]
        name = "Remove"
        columns = ["err*", -1]
        [[step]]
        name = "Remove"
        columns = "nothing*, nowhere?"
        [[step]]
        name = "Stack"
    "#;
    let pipeline = Recipe::parse("own", text).unwrap().pipeline().unwrap();
    let out = run(&pipeline, points(10));
    // Of t = 1, 3, 4, 5, 6, 7: label -1 has 5, label 0 has 1 4 7, label 1 has 3 6.
    assert_eq!(out.column(0), [1.0, 4.0, 7.0, 3.0, 6.0]);
    assert_eq!(out.columns(), ["t", "x", "y", "z"]);

    let refused = |text: &str| {
        let recipe = Recipe::parse("own", text).unwrap();
        recipe.pipeline().unwrap_err().to_string()
    };
    let error = refused("[[step]]\nname = \"Condition\"\ncondition = \"error <\"");
    assert!(error.contains("\"error <\" at its end"), "{error}");
    let error = refused("[[step]]\nname = \"Condition\"\ncondition = 5");
    assert!(error.contains("text"), "{error}");
    let error = refused("[[step]]\nname = \"Condition\"\ncondition = []");
    assert!(error.contains("condition"), "{error}");
}

/// Random words of the grammar, and random characters.
fn any_text() {
    const WORDS: [&str; 40] = [
        "x",
        "order",
        "np.",
        "np",
        "abs(",
        "isclose(",
        "all(",
        "std(",
        "sample_size",
        "(",
        ")",
        "'0'",
        "\"",
        "'",
        ",",
        "1",
        ".5",
        "1e3",
        "2e",
        "+",
        "-",
        "*",
        "**",
        "/",
        "<",
        "<=",
        "==",
        "!=",
        "=",
        "and",
        "or",
        "not",
        "&",
        "|",
        "~",
        " ",
        "\n",
        "é",
        "$",
        "mean(",
    ];
    let words = proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..60);
    let characters = proptest::collection::vec(any::<char>(), 0..30);
    let table = PointData::with_columns(Array2::ones((2, 5)), &["order"]).unwrap();
    let config = Config {
        cases: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let parsed = std::cell::Cell::new(0);
    TestRunner::new_with_rng(config, rng)
        .run(&(words, characters, 0..3), |(words, characters, which)| {
            let characters: String = characters.into_iter().collect();
            let text = match which {
                0 => words.concat(),
                1 => words.join(" "),
                _ => words.concat() + &characters,
            };
            let rows = Pipeline::new().then(Condition::new(text.as_str()));
            let samples = Pipeline::new().then(SamplesCondition::new(text));
            for pipeline in [rows, samples] {
                if let Ok(data) = pipeline.fit(table.clone()) {
                    prop_assert!(data.n_rows() == 0 || data.n_rows() == 2);
                    parsed.set(parsed.get() + 1);
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(parsed.get() > 0, "some texts should be conditions");
}

/// Between a step that gives lists and one that maps over them.
fn debug_changes_nothing() {
    let rows = Array2::from_shape_fn((12, 5), |(n, k)| {
        if k == 4 {
            (n % 2) as f64
        } else {
            (n * k) as f64
        }
    });
    let points = PointData::with_columns(rows, &["label"]).unwrap();
    let points = points.with_sampling(Sampling::count(6)).unwrap();
    let split = Pipeline::new().then(pept::tracking::SplitLabels::new());
    let centroids = pept::tracking::Centroids::new();
    let plain = split
        .clone()
        .then(centroids.clone())
        .fit(points.clone())
        .unwrap();
    let looked_at = split.then(Inspect::new()).then(centroids);
    assert_eq!(looked_at.fit(points).unwrap(), plain);
}
