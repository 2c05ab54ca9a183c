//! What tests share.

pub(crate) mod brute_force;
pub(crate) mod circle;
pub(crate) mod reference_hdbscan;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::Trial;
use ndarray::Array2;
use pept::Backend;

/// What a trial needs beside the repository.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Needs {
    Nothing,
    /// The recordings in `../shared`.
    Recordings,
}

/// A trial that panics to fail, ignored (with the reason in its name) where what it needs is missing.
pub(crate) fn trial(name: &str, needs: Needs, body: impl FnOnce() + Send + 'static) -> Trial {
    if needs == Needs::Recordings && recordings().is_none() {
        return ignored(name, "no ../shared/data, see PEPT_SHARED");
    }
    Trial::test(name, move || match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => Ok(()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text
                .or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("the test panicked")
                .to_owned()
                .into())
        }
    })
}

/// A trial that cannot run here.
pub(crate) fn ignored(name: &str, reason: &str) -> Trial {
    Trial::test(format!("{name} [ignored: {reason}]"), || Ok(())).with_ignored_flag(true)
}

/// What python3 prints, if it succeeds.
pub(crate) fn python(arguments: &[&str]) -> Option<String> {
    let output = Command::new("python3").args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

/// One trial for each backend: `name::cpu` and `name::gpu`.
pub(crate) fn on_every_backend(name: &str, needs: Needs, body: fn(&Backend)) -> Vec<Trial> {
    let cpu = trial(&format!("{name}::cpu"), needs, move || body(&Backend::Cpu));
    let name = format!("{name}::gpu");
    let gpu = match gpu() {
        Some(backend) => trial(&name, needs, move || body(&backend)),
        None if gpu_is_required() => trial(&name, Needs::Nothing, || {
            panic!("PEPT_REQUIRE_GPU is set, but there is no adapter")
        }),
        None => ignored(&name, "no GPU adapter"),
    };
    vec![cpu, gpu]
}

/// A trial that makes a device of its own.
pub(crate) fn on_a_gpu(name: &str, body: fn()) -> Trial {
    if gpu().is_some() || gpu_is_required() {
        return trial(name, Needs::Nothing, body);
    }
    ignored(name, "no GPU adapter")
}

fn gpu_is_required() -> bool {
    std::env::var_os("PEPT_REQUIRE_GPU").is_some_and(|value| value == "1")
}

/// One device for all tests.
pub(crate) fn gpu() -> Option<Backend> {
    static GPU: OnceLock<Option<Backend>> = OnceLock::new();
    GPU.get_or_init(|| Backend::gpu().ok()).clone()
}

/// The folder with real recordings.
pub(crate) fn recordings() -> Option<PathBuf> {
    let shared =
        std::env::var_os("PEPT_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let data = shared.join("data");
    data.is_dir().then_some(data)
}

/// The 42 rpm recording: two tracers on a circle.
pub(crate) fn recording_42rpm() -> PathBuf {
    recordings()
        .expect("the trial should need the recordings")
        .join("sample_2p_42rpm.csv")
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A golden array of two dimensions.
pub(crate) fn golden2(name: &str) -> Array2<f64> {
    read(&root().join("tests/golden"), name)
}

/// One that holds real data and stays in `../shared`.
pub(crate) fn shared_golden2(name: &str) -> Array2<f64> {
    read(&shared_golden(), name)
}

/// The values of a golden array of any dimensions, the last one running fastest.
pub(crate) fn golden_values(name: &str) -> Vec<f64> {
    let values: ndarray::ArrayD<f64> = read(&root().join("tests/golden"), name);
    values.iter().copied().collect()
}

/// Those of one that stays in `../shared`.
pub(crate) fn shared_golden_values(name: &str) -> Vec<f64> {
    let values: ndarray::ArrayD<f64> = read(&shared_golden(), name);
    values.iter().copied().collect()
}

fn shared_golden() -> PathBuf {
    let data = recordings().expect("the trial should need the recordings");
    data.parent()
        .expect("data should lie in a folder")
        .join("golden")
}

fn read<T: ndarray_npy::ReadNpyExt>(folder: &Path, name: &str) -> T {
    ndarray_npy::read_npy(folder.join(format!("{name}.npy")))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A golden list of numbers, whole or not.
pub(crate) fn golden1(name: &str) -> Vec<f64> {
    let path = root().join("tests/golden").join(format!("{name}.npy"));
    if let Ok(values) = ndarray_npy::read_npy::<_, ndarray::Array1<f64>>(&path) {
        return values.to_vec();
    }
    if let Ok(values) = ndarray_npy::read_npy::<_, ndarray::Array1<i32>>(&path) {
        return values.iter().map(|&value| f64::from(value)).collect();
    }
    let values: ndarray::Array1<i64> =
        ndarray_npy::read_npy(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    values.iter().map(|&value| value as f64).collect()
}

/// A golden array of whole numbers in two dimensions.
pub(crate) fn golden_whole(name: &str) -> Array2<i64> {
    read(&root().join("tests/golden"), name)
}

/// Labels numbered in the order of their first appearance; noise stays -1.
pub(crate) fn canonical(labels: impl IntoIterator<Item = f64>) -> Vec<i32> {
    let mut known: Vec<f64> = Vec::new();
    labels
        .into_iter()
        .map(|label| {
            if label < 0.0 {
                return -1;
            }
            let n = known.iter().position(|&k| k == label).unwrap_or_else(|| {
                known.push(label);
                known.len() - 1
            });
            n as i32
        })
        .collect()
}

/// A folder that goes away with the value.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder should be possible")
}
