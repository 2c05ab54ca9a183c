//! What a recording is, and what is odd about it: `pept info`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use pept::io::source::{self, LineSource};
use pept::{Attribute, Attributes, LineData, PointData, io};
use serde_json::{Value, json};

use crate::common::{Failure, Globals};
use crate::input::Reading;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A recording (several files are one run), or a table of lines or points; without any, this machine's GPUs
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

pub(crate) fn run(globals: &Globals, arguments: &Arguments) -> Result<(), Failure> {
    let inputs = source::expand(&arguments.inputs)?;
    match inputs.as_slice() {
        [] => machine(globals),
        [only] if arguments.reading.are_points(only) => points(globals, only),
        _ => recording(globals, &arguments.reading, &inputs),
    }
}

fn points(globals: &Globals, input: &Path) -> Result<(), Failure> {
    let table: PointData = io::table::read_points(input)?;
    let (first, last) = table.time_span().unwrap_or_default();
    let json = json!({
        "file": input.display().to_string(),
        "format": "points",
        "rows": table.n_rows(),
        "columns": table.columns(),
        "first_time": first,
        "last_time": last,
    });
    let text = format!(
        "{}: table of points, {} rows\n{first} to {last} ms\ncolumns {}\n",
        input.display(),
        table.n_rows(),
        table.columns().join(" "),
    );
    globals.print(&json, &text)
}

fn recording(globals: &Globals, reading: &Reading, inputs: &[PathBuf]) -> Result<(), Failure> {
    let mut files = reading.open(inputs)?;
    let mut seen = Seen::default();
    while let Some(block) = files.next_block()? {
        seen.add(&block);
    }
    let names: Vec<String> = inputs
        .iter()
        .map(|input| input.display().to_string())
        .collect();
    let format = files
        .format()
        .map_or("recording".to_owned(), |format| format.to_string());
    globals.print(
        &seen.summary(&names, &format),
        &seen.text(&names.join(", "), &format),
    )
}

/// Bars of the count rate.
const BARS: usize = 12;
/// Characters of the longest one.
const LONGEST: usize = 40;
/// Width (mm) of the strips in which hits are counted, and the fewest in the ones beside an empty one that make it odd.
const STRIP: f64 = 20.0;
const FEW: u64 = 50;
/// A gap between two LoRs that is so many times the mean one happens by chance once in e^40 LoRs.
const LONG_GAP: f64 = 40.0;

/// A recording, seen once.
#[derive(Debug, Default)]
struct Seen {
    attributes: Attributes,
    columns: Vec<String>,
    rows: u64,
    first: f64,
    last: f64,
    previous: f64,
    rate: Rate,
    /// The longest gaps, and when they begin.
    gaps: Vec<(f64, f64)>,
    backwards: u64,
    first_backwards: Option<u64>,
    no_length: u64,
    repeated: u64,
    last_row: Vec<f64>,
    limits: [Option<(f64, f64)>; 3],
    /// Hits of each end in strips along x and y.
    strips: [BTreeMap<i64, u64>; 4],
}

impl Seen {
    fn add(&mut self, block: &LineData) {
        if self.columns.is_empty() {
            self.columns = block.columns().to_vec();
            self.attributes = block.attributes().clone();
        }
        for row in block.values().chunks_exact(self.columns.len()) {
            let t = row[0];
            if self.rows == 0 {
                (self.first, self.last, self.previous) = (t, t, t);
            }
            if t < self.previous {
                self.backwards += 1;
                self.first_backwards.get_or_insert(self.rows);
            }
            self.keep_gap(t - self.previous);
            self.previous = t;
            (self.first, self.last) = (self.first.min(t), self.last.max(t));
            self.rate.add(t);
            if row[1..4] == row[4..7] {
                self.no_length += 1;
            }
            if self.last_row == row[1..7] {
                self.repeated += 1;
            }
            self.last_row.clear();
            self.last_row.extend_from_slice(&row[1..7]);
            for (axis, limits) in self.limits.iter_mut().enumerate() {
                for value in [row[1 + axis], row[4 + axis]] {
                    let (low, high) = limits.unwrap_or((value, value));
                    *limits = Some((low.min(value), high.max(value)));
                }
            }
            for (strips, column) in self.strips.iter_mut().zip([1, 2, 4, 5]) {
                #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
                let strip = (row[column] / STRIP).floor() as i64;
                if strips.len() < 10_000 || strips.contains_key(&strip) {
                    *strips.entry(strip).or_default() += 1;
                }
            }
            self.rows += 1;
        }
    }

    /// Which gaps are too long shows at the end: the longest are kept.
    fn keep_gap(&mut self, gap: f64) {
        const KEPT: usize = 100;
        if self.gaps.len() == KEPT && self.gaps.last().is_some_and(|&(last, _)| gap <= last) {
            return;
        }
        let place = self.gaps.partition_point(|&(other, _)| other > gap);
        self.gaps.insert(place, (gap, self.previous));
        self.gaps.truncate(KEPT);
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.attributes.get(name) {
            Some(&Attribute::Number(value)) => Some(value),
            _ => None,
        }
    }

    fn lors_per_second(&self) -> Option<f64> {
        (self.last > self.first).then(|| 1000.0 * self.rows as f64 / (self.last - self.first))
    }

    /// What is odd, in words.
    fn warnings(&self) -> Vec<String> {
        let mut odd = Vec::new();
        if let Some(row) = self.first_backwards {
            odd.push(format!(
                "times go back {} times, first in row {row}",
                self.backwards
            ));
        }
        if self.rows > 1 && self.last <= self.first {
            odd.push("all LoRs have the same time".to_owned());
        }
        let mean = (self.last - self.first) / self.rows.max(1) as f64;
        let long: Vec<_> = self
            .gaps
            .iter()
            .filter(|(gap, _)| *gap > LONG_GAP * mean && self.rows > 100)
            .collect();
        if let Some((gap, at)) = long.first() {
            let n = long.len();
            odd.push(format!(
                "times jump: {n}{} of more than {LONG_GAP} mean ones, the longest {gap:.3} ms after {at:.3} ms",
                match n {
                    1 => " gap",
                    n if n == self.gaps.len() => " or more gaps",
                    _ => " gaps",
                }
            ));
        }
        if self.no_length > 0 {
            odd.push(format!("{} LoRs have no length", self.no_length));
        }
        if self.repeated * 100 > self.rows {
            odd.push(format!(
                "{} LoRs are the same as the one before",
                self.repeated
            ));
        }
        for (strips, (end, axis)) in
            self.strips
                .iter()
                .zip([(1, "x"), (1, "y"), (2, "x"), (2, "y")])
        {
            for gap in empty_strips(strips) {
                odd.push(format!(
                    "end {end} has no hit at {axis} from {} to {} mm: a dead part of a screen?",
                    gap.0, gap.1
                ));
            }
        }
        odd
    }

    fn summary(&self, names: &[String], format: &str) -> Value {
        let limits = |axis: usize| self.limits[axis].map(|(low, high)| [low, high]);
        let rate: Vec<Value> = self
            .rate
            .bars(self.last)
            .iter()
            .map(|&(from, to, rate)| json!({"from": from, "to": to, "lors_per_second": rate}))
            .collect();
        json!({
            "file": names.join(", "),
            "format": format.replace(' ', "-"),
            "rows": self.rows,
            "columns": self.columns,
            "header_lines": self.number("header_lines"),
            "first_time": self.first,
            "last_time": self.last,
            "lors_per_second": self.lors_per_second(),
            "separation": self.number("separation"),
            "gantry_angle": self.number("gantry_angle"),
            "clock_rate": self.number("clock_rate"),
            "x": limits(0),
            "y": limits(1),
            "z": limits(2),
            "first_unsorted_row": self.first_backwards,
            "rate": rate,
            "warnings": self.warnings(),
        })
    }

    fn text(&self, names: &str, format: &str) -> String {
        let mut text = format!("{names}: {format}\n{} LoRs", self.rows);
        if let Some(lines) = self.number("header_lines") {
            text += &format!(" after {lines} header lines");
        }
        text += &format!("\n{} to {} ms", self.first, self.last);
        if let Some(rate) = self.lors_per_second() {
            text += &format!(", {rate:.0} LoRs/s");
        }
        text.push('\n');
        for (name, unit) in [
            ("separation", " mm"),
            ("gantry_angle", ""),
            ("clock_rate", " ticks/ms"),
        ] {
            if let Some(value) = self.number(name) {
                text += &format!("{} {value}{unit}\n", name.replace('_', " "));
            }
        }
        for (axis, limits) in ["x", "y", "z"].iter().zip(self.limits) {
            if let Some((low, high)) = limits {
                text += &format!("{axis} {low} to {high} mm\n");
            }
        }
        let bars = self.rate.bars(self.last);
        let highest = bars.iter().map(|bar| bar.2).fold(0.0, f64::max);
        if highest > 0.0 {
            text += "LoRs/s from each time (ms) on:\n";
            for (from, _, rate) in bars {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of the longest bar"
                )]
                let length = (rate / highest * LONGEST as f64).round() as usize;
                text += &format!("{from:>14.3} {rate:>10.0} {}\n", "#".repeat(length));
            }
        }
        for warning in self.warnings() {
            text += &format!("odd: {warning}\n");
        }
        text
    }
}

/// Parts without hits between parts that have many (mm).
fn empty_strips(strips: &BTreeMap<i64, u64>) -> Vec<(f64, f64)> {
    let full: Vec<_> = strips.iter().filter(|(_, hits)| **hits >= FEW).collect();
    full.windows(2)
        .filter(|pair| {
            let between = pair[0].0 + 1..*pair[1].0;
            !between.is_empty() && strips.range(between).next().is_none()
        })
        .map(|pair| ((pair[0].0 + 1) as f64 * STRIP, *pair[1].0 as f64 * STRIP))
        .collect()
}

/// LoRs in equal times, whose number is not known before.
#[derive(Debug, Default)]
struct Rate {
    start: f64,
    width: f64,
    counts: Vec<u64>,
}

impl Rate {
    fn add(&mut self, t: f64) {
        if self.counts.is_empty() {
            (self.start, self.width) = (t, 1.0);
            self.counts = vec![0; 2 * BARS];
        }
        if !(t - self.start).is_finite() {
            return;
        }
        while t - self.start >= self.width * self.counts.len() as f64 {
            // Twice the width: pairs become one.
            for n in 0..BARS {
                self.counts[n] = self.counts[2 * n] + self.counts[2 * n + 1];
            }
            self.counts[BARS..].fill(0);
            self.width *= 2.0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates: what is before the start counts there"
        )]
        let bin = ((t - self.start) / self.width) as usize;
        self.counts[bin] += 1;
    }

    /// From, to (ms), LoRs/s.
    fn bars(&self, last: f64) -> Vec<(f64, f64, f64)> {
        let mut bars = Vec::new();
        for (n, &count) in self.counts.iter().enumerate() {
            let from = self.start + n as f64 * self.width;
            let to = (from + self.width).min(last);
            if to > from {
                bars.push((from, to, 1000.0 * count as f64 / (to - from)));
            }
        }
        bars
    }
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
