use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cutpoints::in_sample;
use crate::Backend;
use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::kernels::{Cutoffs, minpoints, time_order};
use crate::pipeline::{Context, Filter};

/// Each is a column.
const MOST_LINES: usize = 1 << 16;

/// Points that are nearest to combinations of `num_lines` lines, all of which pass within `max_distance` of them.
///
/// Gives rows `[t, x, y, z]` (mean time of the lines; ms, mm), with `line_index1`, `line_index2`, ... if asked for, in the order of
/// time, ties in that of the lines. See [`kernels::minpoints`](crate::kernels::minpoints) for the exact definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minpoints {
    num_lines: usize,
    max_distance: f64,
    #[serde(default)]
    cutoffs: Option<Cutoffs>,
    #[serde(default)]
    append_indices: bool,
}

impl Minpoints {
    /// Combinations of `num_lines` lines within `max_distance` (mm) of their point.
    #[must_use]
    pub fn new(num_lines: usize, max_distance: f64) -> Self {
        Self {
            num_lines,
            max_distance,
            cutoffs: None,
            append_indices: false,
        }
    }

    /// Only points in the closed box `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm). By default it is the bounding box of
    /// the end points of each sample.
    #[must_use]
    pub fn cutoffs(self, cutoffs: Cutoffs) -> Self {
        Self {
            cutoffs: Some(cutoffs),
            ..self
        }
    }

    /// Appends the columns `line_index1`, ..., indices into the sample, whose lines become the attribute `_lines`.
    #[must_use]
    pub fn append_indices(self, append_indices: bool) -> Self {
        Self {
            append_indices,
            ..self
        }
    }

    fn params(&self) -> minpoints::Params {
        let params = minpoints::Params::new(self.num_lines, self.max_distance);
        match self.cutoffs {
            Some(cutoffs) => params.cutoffs(cutoffs),
            None => params,
        }
    }

    fn table(&self, sample: LineData, found: &minpoints::Minpoints) -> Result<PointData> {
        let n_indices = if self.append_indices {
            self.num_lines
        } else {
            0
        };
        let extra: Vec<String> = (1..=n_indices).map(|n| format!("line_index{n}")).collect();
        let times: Vec<f64> = found.points().iter().map(|point| point[0]).collect();
        let mut values = Vec::with_capacity(found.len() * (4 + extra.len()));
        for n in time_order(&times) {
            let n = n as usize;
            values.extend(found.points()[n]);
            if self.append_indices {
                values.extend(found.lines(n).iter().map(|&line| f64::from(line)));
            }
        }
        let rows = array_of_rows(values, 4 + extra.len());
        let attributes = sample.attributes().clone();
        let points = PointData::with_columns(rows, &extra)?.with_attributes(attributes);
        Ok(if self.append_indices {
            points.with_attribute("_lines", Attribute::Lines(sample))
        } else {
            points
        })
    }
}

impl Filter for Minpoints {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.num_lines > MOST_LINES {
            return Err(Error::Parameter {
                name: "num_lines",
                value: self.num_lines.to_string(),
                needed: "65,536 at most",
            });
        }
        Ok(self.params().check()?)
    }

    fn filter(&self, sample: LineData, context: &Context<'_>) -> Result<PointData> {
        let found = minpoints::on(context.backend, sample.line_slice(), &self.params());
        let found = found.map_err(|error| in_sample(error, |row| (context.sample, row)))?;
        self.table(sample, &found)
    }

    /// Overlapping samples share pairs.
    fn batch_size(&self, backend: &Backend) -> usize {
        match backend {
            Backend::Cpu => 8,
            _ => 128,
        }
    }

    fn filter_batch(&self, samples: LineData, context: &Context<'_>) -> Result<Vec<PointData>> {
        let ranges = samples.sample_ranges();
        let lines = samples.line_slice();
        let found = minpoints::on_samples(context.backend, lines, ranges, &self.params())?;
        found
            .into_par_iter()
            .enumerate()
            .map(|(n, found)| self.table(samples.sample(n), &found))
            .collect()
    }
}
