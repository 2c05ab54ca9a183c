use serde::{Deserialize, Serialize};

use super::cutpoints::in_sample;
use crate::Backend;
use crate::data::{Attribute, LineData, Voxels, check_memory};
use crate::error::{Error, Result};
use crate::kernels::{Cutoffs, voxels};
use crate::pipeline::{Context, Filter};

/// Counts of samples that a GPU makes together take at most so many bytes.
const BATCH_BYTES: usize = 256 << 20;
/// Samples that a GPU gets together, at most.
const BATCH: usize = 512;

/// Counts the lines of each sample in voxels; the sample becomes the attribute `_lines`.
///
/// Limits that are not set are those of the sample's end points. A sample without lines gives zeros.
///
/// Amanatides and Woo, "A fast voxel traversal algorithm for ray tracing", Eurographics (1987).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voxelize {
    number_of_voxels: [usize; 3],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xlim: Option<[f64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ylim: Option<[f64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zlim: Option<[f64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", expecting = "limits can only be \"data\"")]
enum Limits {
    /// Those of all end points.
    Data,
}

impl Voxelize {
    /// `number_of_voxels` along x, y and z, 2 or more, in the bounding box of each sample's end points.
    #[must_use]
    pub fn new(number_of_voxels: [usize; 3]) -> Self {
        Self {
            number_of_voxels,
            xlim: None,
            ylim: None,
            zlim: None,
            limits: None,
        }
    }

    /// Limits along x, minimum and maximum (mm).
    #[must_use]
    pub fn xlim(self, xlim: [f64; 2]) -> Self {
        let xlim = Some(xlim);
        Self { xlim, ..self }
    }

    /// Limits along y, minimum and maximum (mm).
    #[must_use]
    pub fn ylim(self, ylim: [f64; 2]) -> Self {
        let ylim = Some(ylim);
        Self { ylim, ..self }
    }

    /// Limits along z, minimum and maximum (mm).
    #[must_use]
    pub fn zlim(self, zlim: [f64; 2]) -> Self {
        let zlim = Some(zlim);
        Self { zlim, ..self }
    }

    /// Limits that are not set become those of all end points of the data, found once, and not those of each sample. It has to be the
    /// pipeline's first step, on a table.
    #[must_use]
    pub fn limits_of_data(self) -> Self {
        let limits = Some(Limits::Data);
        Self { limits, ..self }
    }

    fn given(&self) -> [Option<[f64; 2]>; 3] {
        [self.xlim, self.ylim, self.zlim]
    }

    /// The limits set, and for the rest those of a box.
    fn within(&self, found: Cutoffs) -> Cutoffs {
        let mut limits = found;
        for (axis, given) in self.given().into_iter().enumerate() {
            if let Some([min, max]) = given {
                (limits[2 * axis], limits[2 * axis + 1]) = (min, max);
            }
        }
        limits
    }

    fn grid(&self, sample: &LineData) -> Result<voxels::Grid> {
        if self.limits.is_some() {
            return Err(Error::Parameter {
                name: "limits",
                value: "data".into(),
                needed: "numbers (xlim, ylim, zlim), where Voxelize is not the first step on a table",
            });
        }
        let mut limits = sample.line_slice().bounding_box();
        if sample.n_rows() == 0 {
            limits = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]; // any will do
        }
        let limits = self.within(limits);
        for (axis, limits) in ["x", "y", "z"].into_iter().zip(limits.chunks_exact(2)) {
            if limits[0] >= limits[1] {
                return Err(Error::Sampling(format!(
                    "all lines end at {axis} = {} mm, so that voxels have no width: set {axis}lim",
                    limits[0]
                )));
            }
        }
        Ok(voxels::Grid::voxels(self.number_of_voxels, limits)?)
    }

    fn with_sample(counts: Vec<u32>, grid: voxels::Grid, sample: LineData) -> Voxels {
        Voxels::of_counts(counts, grid).with_attribute("_lines", Attribute::Lines(sample))
    }
}

impl Filter for Voxelize {
    type Input = LineData;
    type Output = Voxels;

    fn check(&self) -> Result<()> {
        if let Some(n) = self.number_of_voxels.iter().find(|&&n| n < 2) {
            return Err(Error::Parameter {
                name: "number_of_voxels",
                value: n.to_string(),
                needed: "2 or more along each axis",
            });
        }
        let axes = ["xlim", "ylim", "zlim"].into_iter().zip(self.given());
        for (name, limits) in axes {
            if let Some([min, max]) = limits
                && !(min < max && (max - min).is_finite())
            {
                return Err(Error::Parameter {
                    name,
                    value: format!("[{min}, {max}]"),
                    needed: "two numbers, the first one smaller",
                });
            }
        }
        // A shape that no grid can have.
        voxels::Grid::voxels(
            self.number_of_voxels,
            self.within([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        )?;
        let cells = self.number_of_voxels.iter().product();
        // Each thread has one.
        check_memory(cells, size_of::<u32>() * rayon::current_num_threads())
    }

    fn for_data(&self, data: &LineData) -> Result<Option<Self>> {
        if self.limits.is_none() || data.n_rows() == 0 {
            let limits = None;
            return Ok(self.limits.is_some().then(|| Self {
                limits,
                ..self.clone()
            }));
        }
        let [x0, x1, y0, y1, z0, z1] = self.within(data.line_slice().bounding_box());
        Ok(Some(
            Self::new(self.number_of_voxels)
                .xlim([x0, x1])
                .ylim([y0, y1])
                .zlim([z0, z1]),
        ))
    }

    fn filter(&self, sample: LineData, context: &Context<'_>) -> Result<Voxels> {
        let grid = self.grid(&sample)?;
        let counts = voxels::on(context.backend, sample.line_slice(), &grid)
            .map_err(|error| in_sample(error, |row| (context.sample, row)))?;
        Ok(Self::with_sample(counts, grid, sample))
    }

    fn batch_size(&self, backend: &Backend) -> usize {
        if matches!(backend, Backend::Cpu) {
            return 1; // samples share nothing
        }
        let cells: usize = self.number_of_voxels.iter().product();
        (BATCH_BYTES / (cells * size_of::<u32>()).max(1)).clamp(1, BATCH)
    }

    fn filter_batch(&self, samples: LineData, context: &Context<'_>) -> Result<Vec<Voxels>> {
        let grids = samples
            .samples()
            .map(|sample| self.grid(&sample))
            .collect::<Result<Vec<_>>>()?;
        let counts = voxels::on_samples(
            context.backend,
            samples.line_slice(),
            samples.sample_ranges(),
            &grids,
        )?;
        let filled = counts.into_iter().zip(grids).zip(samples.samples());
        Ok(filled
            .map(|((counts, grid), sample)| Self::with_sample(counts, grid, sample))
            .collect())
    }
}
