use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Backend;
use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::kernels::{Cutoffs, KernelError, cutpoints, time_order};
use crate::pipeline::{Context, Filter};

/// Midpoints of the shortest segments between all pairs of a sample's lines that pass close to each other.
///
/// Gives rows `[t, x, y, z]` (mean time of the two lines; ms, mm), with `line_index1` and `line_index2` if asked for, in the order of
/// time, ties in that of the pairs. See [`kernels::cutpoints`](crate::kernels::cutpoints) for the exact definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutpoints {
    max_distance: f64,
    #[serde(default)]
    cutoffs: Option<Cutoffs>,
    #[serde(default)]
    append_indices: bool,
}

impl Cutpoints {
    /// Pairs of lines closer than `max_distance` (mm).
    #[must_use]
    pub fn new(max_distance: f64) -> Self {
        Self {
            max_distance,
            cutoffs: None,
            append_indices: false,
        }
    }

    /// Only points strictly inside the box `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm). By default it is the bounding box of
    /// the end points of each sample.
    #[must_use]
    pub fn cutoffs(self, cutoffs: Cutoffs) -> Self {
        Self {
            cutoffs: Some(cutoffs),
            ..self
        }
    }

    /// Appends the columns `line_index1` and `line_index2`, indices into the sample, whose lines become the attribute `_lines`.
    #[must_use]
    pub fn append_indices(self, append_indices: bool) -> Self {
        Self {
            append_indices,
            ..self
        }
    }

    fn params(&self) -> cutpoints::Params {
        let params = cutpoints::Params::new(self.max_distance);
        match self.cutoffs {
            Some(cutoffs) => params.cutoffs(cutoffs),
            None => params,
        }
    }

    fn table(&self, sample: LineData, found: &[cutpoints::Cutpoint]) -> Result<PointData> {
        let extra: &[&str] = if self.append_indices {
            &["line_index1", "line_index2"]
        } else {
            &[]
        };
        let n_columns = 4 + extra.len();
        let mut values = Vec::with_capacity(found.len() * n_columns);
        let times: Vec<f64> = found.iter().map(|point| point.t).collect();
        for n in time_order(&times) {
            let point = &found[n as usize];
            values.extend([point.t, point.x, point.y, point.z]);
            if self.append_indices {
                values.extend([f64::from(point.i), f64::from(point.j)]);
            }
        }
        let rows = array_of_rows(values, n_columns);
        let attributes = sample.attributes().clone();
        let points = PointData::with_columns(rows, extra)?.with_attributes(attributes);
        Ok(if self.append_indices {
            points
                .with_attribute("_lines", Attribute::Lines(sample.clone()))
                .with_attribute("_sample", Attribute::Lines(sample))
        } else {
            points
        })
    }
}

impl Filter for Cutpoints {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        Ok(self.params().check()?)
    }

    fn filter(&self, sample: LineData, context: &Context<'_>) -> Result<PointData> {
        let found = cutpoints::on(context.backend, sample.line_slice(), &self.params());
        let found = found.map_err(|error| in_sample(error, |row| (context.sample, row)))?;
        self.table(sample, &found)
    }

    /// Overlapping samples share pairs.
    fn batch_size(&self, backend: &Backend) -> usize {
        match backend {
            Backend::Cpu => 32,
            _ => 512,
        }
    }

    fn filter_batch(&self, samples: LineData, context: &Context<'_>) -> Result<Vec<PointData>> {
        let ranges = samples.sample_ranges();
        let found = cutpoints::on_samples(
            context.backend,
            samples.line_slice(),
            ranges,
            &self.params(),
        )?;
        found
            .into_par_iter()
            .enumerate()
            .map(|(n, found)| self.table(samples.sample(n), &found))
            .collect()
    }
}

/// The same error on every backend, whichever samples the kernel was given together.
pub(super) fn in_sample(error: KernelError, place: impl Fn(usize) -> (usize, usize)) -> Error {
    match error {
        KernelError::NotFinite { line } => {
            let (sample, row) = place(line);
            Error::NotFinite { sample, row }
        }
        other => other.into(),
    }
}
