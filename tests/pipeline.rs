use libtest_mimic::Trial;
use ndarray::Array2;
use pept::detector::{Scene, Simulation};
use pept::pipeline::{BlockOptions, Context, Filter, Pipeline, Reducer};
use pept::tracking::{Centroids, Cutpoints, Hdbscan, SplitLabels};
use pept::trajectory::{Segregate, evaluate};
use pept::transform::{Condition, Stack};
use pept::{Attribute, Backend, Data, Error, LineData, PointData, Recipe, Sampling, io};

use crate::support::{Needs, circle, on_every_backend, recording_42rpm, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_every_backend(
        "pipeline::two_tracers_are_found_on_their_circle",
        Needs::Nothing,
        simulated_tracers,
    );
    trials.extend(on_every_backend(
        "pipeline::output_does_not_depend_on_the_backend",
        Needs::Nothing,
        backends_agree,
    ));
    trials.extend(on_every_backend(
        "pipeline::real_output_does_not_depend_on_the_backend",
        Needs::Recordings,
        real_backends_agree,
    ));
    trials.extend(on_every_backend(
        "pipeline::selected_samples_give_what_they_give_in_the_whole",
        Needs::Nothing,
        selected_samples,
    ));
    trials.extend(on_every_backend(
        "pipeline::values_that_are_not_finite_are_named_by_sample_and_row",
        Needs::Nothing,
        not_finite,
    ));
    trials.extend(on_every_backend(
        "pipeline::a_recording_in_blocks_gives_what_it_gives_in_one_piece",
        Needs::Nothing,
        blocks,
    ));
    trials.extend([
        trial(
            "pipeline::real_recording_one_pass_gives_two_circles",
            Needs::Recordings,
            || real_recording("pept-ml-one-pass", 750..=797, 0.60, 1.76),
        ),
        trial(
            "pipeline::real_recording_full_recipe_gives_two_circles",
            Needs::Recordings,
            || real_recording("pept-ml", 1400..=1530, 0.29, 0.66),
        ),
        trial(
            "pipeline::output_does_not_depend_on_the_number_of_threads",
            Needs::Nothing,
            determinism,
        ),
        trial(
            "pipeline::filters_learn_behind_others_and_from_nothing_nothing",
            Needs::Nothing,
            learning_behind_others,
        ),
        trial(
            "pipeline::a_recipe_and_its_rust_twin_give_the_same",
            Needs::Nothing,
            recipe_and_rust,
        ),
        trial(
            "pipeline::own_filters_and_reducers_run_like_built_in_ones",
            Needs::Nothing,
            own_steps,
        ),
        trial(
            "pipeline::steps_that_do_not_fit_are_refused_before_any_work",
            Needs::Nothing,
            misfits,
        ),
        trial(
            "pipeline::a_stack_without_a_full_sample_gives_no_points",
            Needs::Nothing,
            short_stack,
        ),
        trial(
            "pipeline::cutpoints_are_in_the_order_of_time_with_indices_into_the_sample",
            Needs::Nothing,
            cutpoint_indices,
        ),
        trial(
            "pipeline::public_types_are_send_and_sync",
            Needs::Nothing,
            auto_traits,
        ),
    ]);
    trials
}

fn simulation() -> Simulation {
    Scene {
        duration: 200.0,
        ..Scene::default()
    }
    .run()
    .unwrap()
}

fn recipe(name: &str, tracers: f64) -> (Pipeline, Sampling) {
    let mut recipe = Recipe::built_in(name).unwrap();
    recipe.set("tracers", tracers).unwrap();
    (
        recipe.pipeline().unwrap(),
        recipe.sampling().unwrap().unwrap(),
    )
}

fn simulated_tracers(backend: &Backend) {
    let Simulation { lors, truth } = simulation();
    let (pipeline, sampling) = recipe("pept-ml", 2.0);
    let points = pipeline
        .backend(backend.clone())
        .fit(lors.with_sampling(sampling).unwrap())
        .unwrap()
        .into_points()
        .unwrap();
    let found = evaluate(&points, &truth, 10.0).unwrap();
    assert!(
        found.errors.len() > 60 && found.false_points == 0,
        "{} {}",
        found.errors.len(),
        found.false_points
    );
    assert!(found.mean() < 1.5, "mean error {}", found.mean());
}

fn blocks(backend: &Backend) {
    let lors = simulation().lors.slice_rows(0..4_000).unwrap();
    let (pept_ml, count) = recipe("pept-ml", 2.0);
    let (birmingham, _) = recipe_of_one("birmingham");
    let ends_in_a_filter = Pipeline::new().then(Cutpoints::new(0.2));
    let (production, _) = recipe_of_one("production");
    let (pept_em, _) = recipe("pept-em", 2.0);
    let step = Pipeline::new().then(Begins::default());
    for (pipeline, sampling) in [
        (&pept_ml, count),
        // 4,000 lines are too few to learn widths from, those of the samples are enough.
        (&pept_em, Sampling::count(400).overlap(380)),
        // The first beginning says nothing.
        (&step, Sampling::count(3_000).overlap(2_990)),
        (&pept_ml, Sampling::time(7.0).overlap_time(5.0)),
        (&birmingham, Sampling::adaptive(5.0, 90).overlap_time(1.0)),
        (&birmingham, Sampling::count(40).overlap(-33)),
        (&birmingham, Sampling::List(vec![100; 7])),
        (&birmingham, Sampling::count(4_001)),
        (&ends_in_a_filter, Sampling::count(300)),
        (&production, Sampling::Whole),
    ] {
        let pipeline = pipeline.clone().backend(backend.clone());
        let whole = lors.clone().with_sampling(sampling.clone()).unwrap();
        let (expected, report) = pipeline.run(whole, &|_| ()).unwrap();
        for size in [7, 640, 10_000] {
            let (found, read) = pipeline
                .run_blocks(in_blocks(&lors, size), BlockOptions::new(sampling.clone()))
                .unwrap();
            assert_eq!(found, expected, "{sampling} in blocks of {size}");
            assert_eq!((read.rows, read.samples), (report.rows, report.samples));
            assert_eq!(read.time_span, report.time_span);
        }
    }
    // Some samples are those of the whole: what filters learn, they learn from its beginning.
    let sampling = Sampling::count(3_000).overlap(2_990);
    let whole = lors.clone().with_sampling(sampling.clone()).unwrap();
    let Data::List(expected) = step.fit(whole).unwrap() else {
        panic!("a filter gives a list");
    };
    for samples in [0..3, 40..60, 95..101] {
        let options = BlockOptions::new(sampling.clone()).samples(samples.clone());
        let found = step.run_blocks(in_blocks(&lors, 640), options).unwrap().0;
        assert_eq!(found, Data::List(expected[samples].to_vec()));
    }
    let broken = || Err(Error::Columns("the reader's error".into()));
    let error = pept_ml.run_blocks(broken, BlockOptions::new(Sampling::count(400)));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("the reader's error")
    );
}

/// Filters learn from what those before them leave, and from nothing nothing.
fn learning_behind_others() {
    let lors = simulation().lors;
    let run = |pipeline: Pipeline, lors: &LineData| {
        // So many rows of samples that the first beginning, which says nothing, is not all.
        let sampling = Sampling::count(3_000).overlap(2_990);
        let lors = lors.clone().with_sampling(sampling).unwrap();
        let Data::List(tables) = pipeline.fit(lors).unwrap() else {
            panic!("a filter gives a list");
        };
        tables
    };
    let some = || Pipeline::new().then(Condition::new("x1 > 300"));
    let starts = run(some(), &lors).into_iter().map(|sample| {
        let Data::Lines(sample) = sample else {
            panic!("conditions keep lines");
        };
        sample.values()[0]
    });
    let starts: Vec<f64> = starts.collect();
    let learned = run(some().then(Begins::default()), &lors);
    assert_eq!(learned.len(), starts.len());
    for points in learned {
        let points = points.into_points().unwrap();
        let times: Vec<f64> = points.values().chunks(4).map(|row| row[0]).collect();
        assert!(times.len() > 5, "{times:?}");
        assert!(times.iter().all(|t| starts.contains(t)), "{times:?}");
    }
    let empty = lors.slice_rows(0..0).unwrap();
    let found = run(some().then(Begins::default()), &empty);
    assert!(found.iter().all(|points| points.n_rows() == 0));
    let (pept_em, sampling) = recipe("pept-em", 2.0);
    let found = pept_em.fit(empty.with_sampling(sampling).unwrap()).unwrap();
    assert_eq!(found.into_points().unwrap().n_rows(), 0);
}

/// What gives a table in blocks of so many rows.
fn in_blocks(
    lors: &LineData,
    size: usize,
) -> impl FnMut() -> pept::Result<Option<LineData>> + Send {
    let mut start = 0;
    move || {
        let end = (start + size).min(lors.n_rows());
        let block = (start < end).then(|| lors.slice_rows(start..end).unwrap());
        start = end;
        Ok(block)
    }
}

/// Learns the times of the samples that it is shown, once some begin late, and gives a point for each of them.
#[derive(Debug, Default)]
struct Begins(Vec<f64>);

impl Filter for Begins {
    type Input = LineData;
    type Output = PointData;

    fn learns(&self) -> bool {
        true
    }

    fn learn(&self, samples: Vec<LineData>) -> pept::Result<Option<Self>> {
        let starts = samples.iter().map(|sample| sample.values()[0]);
        let starts: Vec<f64> = starts.collect();
        Ok((starts.len() > 5 && starts[0] > 1.0).then_some(Self(starts)))
    }

    fn filter(&self, _: LineData, _: &Context<'_>) -> pept::Result<PointData> {
        let rows = self.0.iter().map(|&t| [t, 0.0, 0.0, 0.0]);
        PointData::new(Array2::from(rows.collect::<Vec<_>>()))
    }
}

fn recipe_of_one(name: &str) -> (Pipeline, Option<Sampling>) {
    let recipe = Recipe::built_in(name).unwrap();
    (recipe.pipeline().unwrap(), recipe.sampling().unwrap())
}

fn real_recording(
    name: &str,
    points_each: std::ops::RangeInclusive<usize>,
    rms_radial: f64,
    rms_plane: f64,
) {
    let lors = io::parallel_screens::read(recording_42rpm(), None).unwrap();
    let lors = lors
        .with_sampling(Sampling::count(400).overlap(300))
        .unwrap();
    let points = recipe(name, 2.0)
        .0
        .fit(lors)
        .unwrap()
        .into_points()
        .unwrap();
    let label = points.column_index("label").unwrap();
    for trajectory in [0.0, 1.0] {
        let rows = points.rows();
        let own: Vec<[f64; 3]> = rows
            .rows()
            .into_iter()
            .filter(|r| r[label] == trajectory)
            .map(|r| [r[1], r[2], r[3]])
            .collect();
        assert!(points_each.contains(&own.len()), "{} points", own.len());
        let circle = circle::fit(&own);
        assert!(
            (circle.radius - 85.7).abs() < 1.0,
            "radius {}",
            circle.radius
        );
        assert!(
            circle.rms_radial < rms_radial,
            "rms radial {}",
            circle.rms_radial
        );
        assert!(
            circle.rms_plane < rms_plane,
            "rms out of plane {}",
            circle.rms_plane
        );
    }
    assert!(points.rows().column(label).iter().all(|&label| label < 2.0));
}

/// More samples than the executor takes at a time.
fn many_samples() -> (Pipeline, LineData) {
    let lors = Scene {
        duration: 700.0,
        ..Scene::default()
    }
    .run()
    .unwrap()
    .lors;
    let lors = lors
        .with_sampling(Sampling::count(200).overlap(150))
        .unwrap();
    assert!(lors.n_samples() > 600);
    (recipe("pept-ml", 2.0).0, lors)
}

fn determinism() {
    let (pipeline, lors) = many_samples();
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let pipeline = pipeline.clone().seed(seed);
        pool.install(|| pipeline.fit(lors.clone()))
            .unwrap()
            .into_points()
            .unwrap()
    };
    let expected = run(1, 0);
    for threads in [1, 2, 7] {
        assert_eq!(run(threads, 0), expected);
    }
    assert_ne!(run(2, 1), expected, "the seed should matter");
}

fn backends_agree(backend: &Backend) {
    let (pipeline, lors) = many_samples();
    let expected = pipeline.fit(lors.clone()).unwrap();
    assert_eq!(
        pipeline.backend(backend.clone()).fit(lors).unwrap(),
        expected
    );
}

fn real_backends_agree(backend: &Backend) {
    let lors = io::parallel_screens::read(recording_42rpm(), None).unwrap();
    let lors = lors
        .with_sampling(Sampling::count(400).overlap(300))
        .unwrap();
    let pipeline = recipe("pept-ml", 2.0).0;
    let expected = pipeline.fit(lors.clone()).unwrap();
    assert_eq!(
        pipeline.backend(backend.clone()).fit(lors).unwrap(),
        expected
    );
}

/// A part of a recording gives what the whole gives there, random numbers included.
fn selected_samples(backend: &Backend) {
    let (_, lors) = many_samples();
    let filters = Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Hdbscan::new(0.15).max_tracers(2))
        .backend(backend.clone());
    let Data::List(all) = filters.fit(lors.clone()).unwrap() else {
        panic!("filters should give a list")
    };
    let Data::List(some) = filters.fit(lors.select(530..540).unwrap()).unwrap() else {
        panic!("filters should give a list")
    };
    assert_eq!(some, all[530..540]);
}

fn not_finite(backend: &Backend) {
    let mut rows = simulation().lors.rows().to_owned();
    rows[[550, 3]] = f64::NAN;
    rows[[720, 3]] = f64::NAN;
    let fit = |sampling: Sampling| {
        let lors = LineData::new(rows.clone())
            .unwrap()
            .with_sampling(sampling)
            .unwrap();
        Pipeline::new()
            .then(Cutpoints::new(0.5))
            .backend(backend.clone())
            .fit(lors)
    };
    let error = fit(Sampling::count(200).overlap(100))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "step 1 (Cutpoints): row 150 of sample 4 has a NaN or infinite value; remove it first"
    );
    // Rows between samples do not matter.
    assert!(fit(Sampling::Ranges(vec![0..550, 551..700])).is_ok());
}

fn recipe_and_rust() {
    let lors = simulation()
        .lors
        .with_sampling(Sampling::count(400).overlap(300))
        .unwrap();
    let rust = Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Hdbscan::new(0.15).max_tracers(2))
        .then(SplitLabels::new())
        .then(Centroids::new().error(true).cluster_size(true))
        .then(Stack::new())
        .then(Segregate::new(40, 10.0));
    assert_eq!(
        recipe("pept-ml-one-pass", 2.0).0.fit(lors.clone()).unwrap(),
        rust.fit(lors).unwrap()
    );
}

/// The mean line of each sample, as a point half-way.
#[derive(Debug)]
struct Middle;

impl Filter for Middle {
    type Input = LineData;
    type Output = PointData;

    fn filter(&self, sample: LineData, context: &Context<'_>) -> pept::Result<PointData> {
        let mean = sample.rows().mean_axis(ndarray::Axis(0)).unwrap();
        let row = [
            mean[0],
            0.5 * (mean[1] + mean[4]),
            0.5 * (mean[2] + mean[5]),
            context.sample as f64,
        ];
        PointData::new(Array2::from(vec![row]))
    }
}

#[derive(Debug)]
struct Count;

impl Reducer for Count {
    type Input = PointData;
    type Output = PointData;

    fn reduce(&self, tables: Vec<PointData>, _: &Context<'_>) -> pept::Result<PointData> {
        PointData::new(Array2::from(vec![[tables.len() as f64; 4]]))
    }
}

fn own_steps() {
    let lors = simulation()
        .lors
        .with_sampling(Sampling::count(100))
        .unwrap();
    let n = lors.n_samples();
    let points = Pipeline::new()
        .then(Middle)
        .then(Stack::new())
        .fit(lors.clone())
        .unwrap()
        .into_points()
        .unwrap();
    assert_eq!(
        points.rows().column(3).to_vec(),
        (0..n).map(|sample| sample as f64).collect::<Vec<_>>()
    );
    let (data, report) = Pipeline::new()
        .then(Middle)
        .then(Count)
        .run(lors, &|_| ())
        .unwrap();
    assert_eq!(data.into_points().unwrap().values(), [n as f64; 4]);
    let rows: Vec<_> = report
        .steps
        .iter()
        .map(|step| (step.name, step.rows_in, step.rows_out))
        .collect();
    assert_eq!(rows, [("Middle", 100 * n, n), ("Count", n, 1)]);
}

fn misfits() {
    let lors = simulation().lors;
    let fit = |pipeline: Pipeline| pipeline.fit(lors.clone()).unwrap_err().to_string();
    let error = fit(Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Cutpoints::new(0.5)));
    assert_eq!(error, "step 2 (Cutpoints): lines needed, points found");
    let error = fit(Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Hdbscan::new(1.5)));
    assert!(
        error.starts_with("step 2 (HDBSCAN): true_fraction = 1.5"),
        "{error}"
    );
    let error = fit(Pipeline::new()
        .then(Cutpoints::new(0.5))
        .then(Stack::samples(3, 3)));
    assert!(error.starts_with("step 2 (Stack): overlap 3"), "{error}");
}

fn short_stack() {
    let points = PointData::with_columns(Array2::zeros((5, 5)), &["error"]).unwrap();
    let pipeline = Pipeline::new()
        .then(Stack::samples(10, 9))
        .then(Hdbscan::new(0.5))
        .then(SplitLabels::new())
        .then(Centroids::new().cluster_size(true))
        .then(Segregate::new(20, 10.0));
    let out = pipeline.fit(points).unwrap().into_points().unwrap();
    assert_eq!(out.n_rows(), 0);
    assert_eq!(
        out.columns(),
        ["t", "x", "y", "z", "error", "cluster_size", "label"]
    );
}

fn cutpoint_indices() {
    let lors = simulation()
        .lors
        .with_sampling(Sampling::count(200))
        .unwrap();
    let first = lors.select(1..2).unwrap();
    let step = Cutpoints::new(0.5).append_indices(true);
    let out = Pipeline::new()
        .then(step)
        .fit(first.clone())
        .unwrap()
        .into_points();
    let out = out.unwrap();
    assert_eq!(out.columns()[4..], ["line_index1", "line_index2"]);
    assert!(out.n_rows() > 100);
    let rows: Vec<_> = out
        .rows()
        .rows()
        .into_iter()
        .map(|r| (r[0], r[4], r[5]))
        .collect();
    assert!(rows.is_sorted());
    let Some(Attribute::Lines(lines)) = out.attributes().get("_lines") else {
        panic!("no lines attached")
    };
    for (t, i, j) in rows {
        assert_eq!(
            t,
            0.5 * (lines.rows()[[i as usize, 0]] + lines.rows()[[j as usize, 0]])
        );
    }
}

fn auto_traits() {
    fn check<T: Send + Sync>() {}
    check::<Pipeline>();
    check::<LineData>();
    check::<Recipe>();
    check::<Backend>();
    check::<Error>();
}
