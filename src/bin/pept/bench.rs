use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use pept::detector::Scene;
use pept::kernels::{cutpoints, minpoints, time_order, voxels};
use pept::pipeline::Pipeline;
use pept::tracking::{BirminghamMethod, Cutpoints, Fpi, Hdbscan, Voxelize};
use pept::transform::Stack;
use pept::{Backend, Data, LineData, Sampling, io};
use serde_json::json;

use crate::common::{Failure, Globals};

/// Lines closer than this make a cutpoint, and lines this close to a point a minpoint (mm).
const MAX_DISTANCE: f64 = 0.5;
/// LoRs that are voxelised.
const VOXEL_LORS: usize = 80_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A recording [default: two simulated tracers]
    input: Option<PathBuf>,
    /// Only kernels whose name begins so
    #[arg(long, value_name = "KERNEL")]
    only: Option<String>,
    /// Runs of each, of which the best counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
}

/// What a job found; asked after its time was taken, it gives one number that is equal on every backend.
type Found = Result<Box<dyn FnOnce() -> u64>, Failure>;

/// Something to be timed.
struct Job {
    kernel: &'static str,
    size: usize,
    units: f64,
    unit: &'static str,
    /// Whether a GPU does it too.
    on_gpu: bool,
    /// Whether what it finds has to be equal everywhere.
    compared: bool,
    work: Box<dyn Fn(&Backend) -> Found + Sync>,
}

/// A line of the table.
struct Row {
    backend: &'static str,
    threads: usize,
    seconds: f64,
    found: u64,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let backend = globals.backend()?;
    let lors = match &arguments.input {
        Some(input) => io::parallel_screens::read(input, None)?,
        None => {
            let simulator = Scene {
                seed: globals.seed,
                ..Scene::default()
            };
            simulator.run()?.lors
        }
    };
    let jobs = jobs(&lors)?;
    let wanted = |job: &&Job| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| job.kernel.starts_with(only))
    };
    let names: Vec<&str> = jobs.iter().map(|job| job.kernel).collect();
    let jobs: Vec<&Job> = jobs.iter().filter(wanted).collect();
    if jobs.is_empty() {
        return Err(Failure::usage(format!(
            "no kernel begins with \"{}\", only {}",
            arguments.only.as_deref().unwrap_or_default(),
            names.join(", ")
        )));
    }
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
    let mut text = format!(
        "best of {}, kernels on {backend}\n{:<18} {:>7} {:>8} {:>8} {:>10} {:>22} {:>8}  {}\n",
        arguments.runs,
        "kernel",
        "size",
        "backend",
        "threads",
        "seconds",
        "per second",
        "ratio",
        "result"
    );
    let mut rows = Vec::new();
    let mut differs = Vec::new();
    for job in jobs {
        let best = |backend: &Backend| -> Result<(f64, u64), Failure> {
            let mut best = (f64::INFINITY, 0);
            for _ in 0..arguments.runs {
                let start = Instant::now();
                let found = (job.work)(backend)?;
                best = (best.0.min(start.elapsed().as_secs_f64()), found());
            }
            Ok(best)
        };
        let mut of_job = Vec::new();
        let (seconds, found) = one_thread.install(|| best(&Backend::Cpu))?;
        of_job.push(Row {
            backend: "cpu",
            threads: 1,
            seconds,
            found,
        });
        let threads = rayon::current_num_threads();
        if threads > 1 {
            let (seconds, found) = best(&Backend::Cpu)?;
            of_job.push(Row {
                backend: "cpu",
                threads,
                seconds,
                found,
            });
        }
        if job.on_gpu && !matches!(backend, Backend::Cpu) {
            let _ = (job.work)(&backend)?; // compiles the shaders
            let (seconds, found) = best(&backend)?;
            of_job.push(Row {
                backend: backend.name(),
                threads,
                seconds,
                found,
            });
        }
        for row in &of_job {
            let equal = !job.compared || row.found == of_job[0].found;
            if !equal {
                differs.push(job.kernel);
            }
            text += &format!(
                "{:<18} {:>7} {:>8} {:>8} {:>10.4} {:>14.4e} {:<7} {:>8.2}  {}\n",
                job.kernel,
                job.size,
                row.backend,
                row.threads,
                row.seconds,
                job.units / row.seconds,
                job.unit,
                of_job[0].seconds / row.seconds,
                match (job.compared, equal) {
                    (false, _) => "-",
                    (true, true) => "equal",
                    (true, false) => "DIFFERS",
                },
            );
            rows.push(json!({
                "kernel": job.kernel,
                "size": job.size,
                "backend": row.backend,
                "threads": row.threads,
                "units": job.units,
                "unit": job.unit,
                "seconds": row.seconds,
                "equal": equal,
            }));
        }
    }
    globals.print(&json!({"adapter": backend.adapter(), "rows": rows}), &text)?;
    if differs.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} differ between backends; please report this, and use --backend cpu",
        differs.join(", ")
    )))
}

/// The jobs, on samples of 400 LoRs that overlap by 300 (minpoints: 200 and 150).
fn jobs(lors: &LineData) -> Result<Vec<Job>, Failure> {
    let sampled = lors
        .clone()
        .with_sampling(Sampling::count(400).overlap(300))?;
    let short = lors
        .clone()
        .with_sampling(Sampling::count(200).overlap(150))?;
    let short = short.select(0..short.n_samples().min(20))?;
    let n_samples = sampled.n_samples();
    let pairs = (n_samples * (400 * 399 / 2)) as f64;
    let params = cutpoints::Params::new(MAX_DISTANCE);
    let (distinct, _) = cutpoints::count_candidates(
        &Backend::Cpu,
        sampled.line_slice(),
        sampled.sample_ranges(),
        &params,
    )
    .map_err(pept::Error::from)?;
    let few = sampled.select(0..n_samples.min(100))?;
    let points = Pipeline::new()
        .then(Cutpoints::new(MAX_DISTANCE))
        .fit(few.clone())?;
    let n_clustered = points.clone().flatten().len();
    let voxelised = lors.clone().with_sampling(Sampling::Whole)?;

    // Finished rows in the order of time; the peer's count of pairs, in which overlapping samples share none.
    let finished = sampled.clone();
    let alone = sampled.clone();
    let located = sampled.clone();
    let filtered = sampled;
    let mut jobs = vec![
        job("cutpoints", 400, pairs, "pairs", true, move |backend| {
            let pipeline = Pipeline::new()
                .then(Cutpoints::new(MAX_DISTANCE))
                .backend(backend.clone());
            let found = pipeline.fit(finished.clone())?;
            Ok(Box::new(move || of_data(found)))
        }),
        job(
            "cutpoints_alone",
            400,
            pairs,
            "pairs",
            true,
            move |backend| {
                // Each sample in a call of its own: nothing is shared.
                let found = alone.sample_ranges().iter().map(|range| {
                    cutpoints::on_samples(
                        backend,
                        alone.line_slice(),
                        std::slice::from_ref(range),
                        &params,
                    )
                });
                let found: Vec<_> = found.collect::<Result<_, _>>().map_err(pept::Error::from)?;
                let bits = |point: &cutpoints::Cutpoint| point.x.to_bits() ^ u64::from(point.j);
                Ok(Box::new(move || {
                    mixed(found.iter().flatten().flatten().map(bits))
                }))
            },
        ),
        job(
            "cutpoints_filter",
            400,
            distinct as f64,
            "pairs",
            true,
            move |backend| {
                let found = cutpoints::count_candidates(
                    backend,
                    filtered.line_slice(),
                    filtered.sample_ranges(),
                    &params,
                );
                let (_, candidates) = found.map_err(pept::Error::from)?;
                Ok(Box::new(move || candidates))
            },
        ),
    ];
    let combinations = short.n_samples() as f64 * (200.0 * 199.0 * 198.0 / 6.0);
    jobs.push(job(
        "minpoints3",
        200,
        combinations,
        "combinations",
        true,
        move |backend| {
            let params = minpoints::Params::new(3, MAX_DISTANCE);
            let found =
                minpoints::on_samples(backend, short.line_slice(), short.sample_ranges(), &params);
            let ordered = |sample: minpoints::Minpoints| -> Vec<[f64; 4]> {
                let times: Vec<f64> = sample.points().iter().map(|point| point[0]).collect();
                let order = time_order(&times).into_iter();
                order.map(|n| sample.points()[n as usize]).collect()
            };
            let found = found.map_err(pept::Error::from)?;
            let found: Vec<_> = found.into_iter().flat_map(ordered).collect();
            Ok(Box::new(move || {
                mixed(found.iter().flatten().map(|x| x.to_bits()))
            }))
        },
    ));
    jobs.push(job(
        "hdbscan",
        400,
        n_clustered as f64,
        "samples",
        false,
        move |_| {
            let pipeline = Pipeline::new().then(Hdbscan::new(0.15).max_tracers(2));
            let labelled = pipeline.fit(points.clone())?;
            Ok(Box::new(move || of_data(labelled)))
        },
    ));
    jobs.push(job(
        "birmingham",
        400,
        (n_samples * 400) as f64,
        "LoRs",
        false,
        move |_| {
            let pipeline = Pipeline::new().then(BirminghamMethod::new(0.5));
            let found = pipeline.fit(located.clone())?;
            Ok(Box::new(move || of_data(found)))
        },
    ));
    jobs.push(job(
        "voxelize_fpi_100",
        100,
        few.n_samples() as f64,
        "samples",
        true,
        move |backend| {
            let pipeline = Pipeline::new()
                .then(Voxelize::new([100; 3]))
                .then(Fpi::default())
                .then(Stack::new())
                .backend(backend.clone());
            let found = pipeline.fit(few.clone())?;
            Ok(Box::new(move || of_data(found)))
        },
    ));
    let limits = voxelised.line_slice().bounding_box();
    let n_lors = voxelised.n_rows().min(VOXEL_LORS);
    for (kernel, size) in [
        ("voxels_100", 100),
        ("voxels_256", 256),
        ("voxels_512", 512),
    ] {
        let lors = voxelised.clone();
        let grid = voxels::Grid::voxels([size; 3], limits).map_err(pept::Error::from)?;
        jobs.push(job(
            kernel,
            size,
            n_lors as f64,
            "LoRs",
            true,
            move |backend| {
                let n_columns = lors.columns().len();
                let lines =
                    pept::kernels::LineSlice::new(&lors.values()[..n_lors * n_columns], n_columns);
                let counts = lines.and_then(|lines| voxels::on(backend, lines, &grid));
                let counts = counts.map_err(pept::Error::from)?;
                Ok(Box::new(move || {
                    mixed(counts.iter().map(|&n| u64::from(n)))
                }))
            },
        ));
    }
    Ok(jobs)
}

fn job(
    kernel: &'static str,
    size: usize,
    units: f64,
    unit: &'static str,
    on_gpu: bool,
    work: impl Fn(&Backend) -> Found + Sync + 'static,
) -> Job {
    Job {
        kernel,
        size,
        units,
        unit,
        on_gpu,
        compared: kernel != "cutpoints_filter", // candidates may differ between adapters
        work: Box::new(work),
    }
}

fn of_data(data: Data) -> u64 {
    let bits = |table: Data| -> Vec<u64> {
        match table {
            Data::Points(table) => table.values().iter().map(|x| x.to_bits()).collect(),
            _ => Vec::new(),
        }
    };
    mixed(data.flatten().into_iter().flat_map(bits))
}

/// One number from many, in their order.
fn mixed(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, |mixed: u64, value| {
        (mixed.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
