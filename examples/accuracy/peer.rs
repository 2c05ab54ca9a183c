//! The Python library on the same LoRs.

use std::process::Command;

use pept::data::{LineData, PointData};
use pept::io;

use crate::cases::Case;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/accuracy/peer.py");

/// What it found.
pub(crate) struct Peer {
    pub(crate) method: &'static str,
    pub(crate) points: Result<PointData, String>,
    pub(crate) seconds: f64,
}

pub(crate) fn track(
    python: &str,
    case: &Case,
    lors: &LineData,
    size: usize,
    overlap: usize,
) -> pept::Result<Vec<Peer>> {
    let folder = std::env::temp_dir().join(format!("pept-accuracy-{}", std::process::id()));
    let failed = |problem: String| pept::Error::File {
        path: folder.clone(),
        problem,
    };
    std::fs::create_dir_all(&folder).map_err(|error| failed(error.to_string()))?;
    let path = |name: &str| folder.join(name).display().to_string();
    io::table::write_table(path("lors.npy"), lors)?;
    let mut methods = vec!["one pass", "two passes"];
    if case.tracers == 1 {
        methods.push("birmingham");
    }
    let jobs: Vec<String> = methods
        .iter()
        .enumerate()
        .map(|(n, method)| {
            format!(
                r#"{{"lors": {:?}, "out": {:?}, "method": "{method}", "sample_size": {size}, "overlap": {overlap}, "tracers": {}}}"#,
                path("lors.npy"),
                path(&format!("{n}.npy")),
                case.tracers + case.spare
            )
        })
        .collect();
    std::fs::write(path("jobs.json"), format!("[{}]", jobs.join(", ")))
        .map_err(|error| failed(error.to_string()))?;
    let output = Command::new(python)
        .args([SCRIPT, &path("jobs.json")])
        .output()
        .map_err(|error| failed(format!("{python}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Lines that are no JSON are what libraries print.
    let reports: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(serde_json::Value::is_object)
        .collect();
    let mut found = Vec::new();
    for (n, method) in methods.into_iter().enumerate() {
        let report = reports.get(n);
        let seconds = report
            .and_then(|report| report["seconds"].as_f64())
            .unwrap_or(f64::NAN);
        let points = match report.map(|report| report["problem"].as_str()) {
            Some(None) => {
                let points: PointData = io::npy::read(path(&format!("{n}.npy")))?;
                PointData::with_columns(points.rows().to_owned(), &["label"])
                    .map_err(|e| e.to_string())
            }
            Some(Some(problem)) => Err(problem.to_owned()),
            None => Err(String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .unwrap_or("no answer")
                .to_owned()),
        };
        found.push(Peer {
            method,
            points,
            seconds,
        });
    }
    let _ = std::fs::remove_dir_all(&folder);
    Ok(found)
}
