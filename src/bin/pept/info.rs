use std::path::{Path, PathBuf};

use clap::Args;
use pept::{Attribute, io};
use serde_json::{Value, json};

use crate::common::{Failure, Globals};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A recording; without one, this machine's GPUs
    input: Option<PathBuf>,
    /// Distance of the screens in mm [default: the file's]
    #[arg(long, value_name = "MM")]
    separation: Option<f64>,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.input {
        Some(input) => recording(globals, input, arguments.separation),
        None => machine(globals),
    }
}

fn recording(globals: &Globals, input: &Path, separation: Option<f64>) -> Result<(), Failure> {
    let lors = io::parallel_screens::read(input, separation)?;
    let rows = lors.rows();
    let times = rows.column(0);
    let (first, last) = lors.time_span().unwrap_or_default();
    let unsorted = times
        .windows(2)
        .into_iter()
        .position(|pair| pair[1] < pair[0])
        .map(|row| row + 1);
    let rate = (last > first).then(|| 1000.0 * lors.n_rows() as f64 / (last - first));
    let number = |name: &str| match lors.attributes().get(name) {
        Some(&Attribute::Number(value)) => value,
        _ => f64::NAN,
    };
    let limits: Vec<(f64, f64)> = (1..3)
        .map(|axis| {
            let values = rows
                .column(axis)
                .into_iter()
                .chain(rows.column(axis + 3))
                .copied();
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), value| {
                (lo.min(value), hi.max(value))
            })
        })
        .collect();
    let (separation, header_lines) = (number("separation"), number("header_lines"));
    let json = json!({
        "file": input.display().to_string(),
        "format": "parallel-screens",
        "rows": lors.n_rows(),
        "header_lines": header_lines,
        "first_time": first,
        "last_time": last,
        "lors_per_second": rate,
        "separation": separation,
        "x": [limits[0].0, limits[0].1],
        "y": [limits[1].0, limits[1].1],
        "first_unsorted_row": unsorted,
    });
    let mut text = format!(
        "{}: parallel screens (text)\n{} LoRs after {header_lines} header lines\n{first} to {last} ms{}\nseparation {separation} mm, x {} to {} mm, y {} to {} mm\n",
        input.display(),
        lors.n_rows(),
        rate.map_or(String::new(), |rate| format!(", {rate:.0} LoRs/s")),
        limits[0].0,
        limits[0].1,
        limits[1].0,
        limits[1].1,
    );
    if let Some(row) = unsorted {
        text += &format!("times are not sorted: row {row} is earlier than the row before\n");
    }
    globals.print(&json, &text)
}

fn machine(globals: &Globals) -> Result<(), Failure> {
    let adapters = if globals.cpu_only() {
        Vec::new()
    } else {
        adapters()
    };
    let mut text = format!(
        "pept {}, {} threads\n",
        env!("CARGO_PKG_VERSION"),
        rayon::current_num_threads()
    );
    if adapters.is_empty() {
        text += "no GPU adapter (Vulkan, Metal or DX12); kernels run on the CPU\n";
    }
    for adapter in &adapters {
        let field = |name: &str| adapter[name].as_str().unwrap_or_default().to_owned();
        let note = if adapter["software"] == true {
            ": software, used only with --backend gpu"
        } else {
            ""
        };
        text += &format!(
            "{} ({}, {}, {}){note}\n  largest binding {} MiB, {} workgroups a dimension\n",
            field("name"),
            field("type"),
            field("api"),
            field("driver"),
            adapter["max_binding_mib"],
            adapter["max_workgroups"],
        );
    }
    let json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "threads": rayon::current_num_threads(),
        "adapters": adapters,
    });
    globals.print(&json, &text)
}

#[cfg(feature = "gpu")]
fn adapters() -> Vec<Value> {
    pept::kernels::adapters()
        .iter()
        .map(|(info, limits)| {
            json!({
                "name": info.name,
                "type": format!("{:?}", info.device_type),
                "api": info.backend.to_string(),
                "driver": format!("{} {}", info.driver, info.driver_info).trim(),
                "software": info.device_type == pept::kernels::wgpu::DeviceType::Cpu,
                "max_binding_mib": limits.max_storage_buffer_binding_size >> 20,
                "max_workgroups": limits.max_compute_workgroups_per_dimension,
            })
        })
        .collect()
}

#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<Value> {
    Vec::new()
}
