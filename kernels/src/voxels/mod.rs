//! Voxels: how many line *segments*, clipped to a box, run through each of its cells over a positive length; the 2-D twin for pixels.
//!
//! Both directions of a segment give the same cells. A segment within a face belongs to the upper cell, at the box's upper
//! face to the last one; one without length counts one cell. End points are rounded to 2^-16 cells, after that all is exact in integers:
//! there is no drift, and both backends run the same steps.
//!
//! [`on`] counts, [`sums_on`] adds up weights or the lengths of chords; [`Counts`] and [`Sums`] do so over many calls, on a GPU
//! without reading back in between; `encode` records into a host program's own commands. Sums are of whole numbers, so that no order of additions shows.
//!
//! Amanatides and Woo, "A fast voxel traversal algorithm for ray tracing", Eurographics (1987); Siddon, Medical Physics 12, 252
//! (1985), for the lengths.

mod cpu;
#[cfg(feature = "gpu")]
mod encode;
#[cfg(feature = "gpu")]
mod gpu;
mod grid;
mod segments;
mod walk;

use std::ops::Range;

use rayon::prelude::*;

use crate::backend::Backend;
use crate::error::{KernelError, Result};
#[cfg(feature = "gpu")]
pub use encode::{Prepared, Recorded, encode};
#[cfg(feature = "gpu")]
pub(crate) use gpu::WORKGROUP_SIZE;
pub use grid::{Grid, Plane};
pub use segments::Segments;
use walk::Track;

/// A largest weight counts as so many units.
const WEIGHT_UNITS: f64 = (1 << 20) as f64;

/// What a segment adds to the sum of a cell that it runs through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Amount {
    /// Its weight.
    #[default]
    Once,
    /// Its weight times the length within the cell (mm, to 2^-15 of the cell's diagonal).
    Length,
}

/// The number of segments through each cell of a grid, modulo 2^32, the last axis running fastest.
///
/// # Errors
/// [`KernelError::NotFinite`], [`KernelError::Parameter`] for segments in a plane and a grid of voxels,
/// [`KernelError::HostOutOfMemory`], and what a GPU may report.
pub fn on<'a>(
    backend: &Backend,
    segments: impl Into<Segments<'a>>,
    grid: &Grid,
) -> Result<Vec<u32>> {
    let segments = segments.into();
    segments.check(grid, 0)?;
    let tracks = tracks(grid, &segments, None);
    match backend {
        Backend::Cpu => cpu::counts(grid, &tracks),
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => match gpu::counts(gpu, grid, &tracks) {
            Err(error) if gpu.falls_back(&error) => cpu::counts(grid, &tracks),
            result => result,
        },
    }
}

/// The counts of each sample, a range of rows, in a grid of its own. On a GPU many samples go into one dispatch.
///
/// # Errors
/// As [`on`]; [`KernelError::SampleOutOfBounds`], [`KernelError::Parameter`] if there are not as many grids as samples.
pub fn on_samples<'a>(
    backend: &Backend,
    segments: impl Into<Segments<'a>>,
    samples: &[Range<usize>],
    grids: &[Grid],
) -> Result<Vec<Vec<u32>>> {
    let segments = segments.into();
    if samples.len() != grids.len() {
        return Err(KernelError::Parameter {
            name: "grids",
            value: grids.len().to_string(),
            needed: "as many as samples",
        });
    }
    for (sample, (rows, grid)) in samples.iter().zip(grids).enumerate() {
        let &Range { start, end } = rows;
        let n_lines = segments.len();
        if start > end || end > n_lines {
            return Err(KernelError::SampleOutOfBounds {
                sample,
                start,
                end,
                n_lines,
            });
        }
        segments.range(rows).check(grid, start)?;
    }
    let on_cpu = |first: usize| {
        let samples = samples[first..].par_iter().zip(&grids[first..]);
        samples
            .map(|(rows, grid)| cpu::counts(grid, &tracks(grid, &segments.range(rows), None)))
            .collect::<Result<Vec<_>>>()
    };
    match backend {
        Backend::Cpu => on_cpu(0),
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => {
            let tracks = |n: usize| tracks(&grids[n], &segments.range(&samples[n]), None);
            let mut found = Vec::with_capacity(samples.len());
            match gpu::counts_of_samples(gpu, grids, tracks, &mut found) {
                Err(error) if gpu.falls_back(&error) => found.extend(on_cpu(found.len())?),
                result => result?,
            }
            Ok(found)
        }
    }
}

/// The sum over the segments through each cell of their `weights` (one each; without, all are 1), or of these times lengths.
///
/// Weights are rounded to 2^-20 of the largest.
///
/// # Errors
/// As [`on`]; [`KernelError::Weight`] for one that is negative or not finite, [`KernelError::Parameter`] for a wrong number of them.
pub fn sums_on<'a>(
    backend: &Backend,
    segments: impl Into<Segments<'a>>,
    weights: Option<&[f64]>,
    amount: Amount,
    grid: &Grid,
) -> Result<Vec<f64>> {
    let segments = segments.into();
    // Others are refused with their line, when they are added.
    let finite = |weights: &[f64]| {
        let weights = weights.iter().copied().filter(|weight| weight.is_finite());
        weights.fold(0.0, f64::max)
    };
    let largest = weights.map(finite);
    let on = |backend: &Backend| {
        let mut sums = Sums::new(backend, grid.clone(), amount, largest)?;
        sums.add(segments, weights)?;
        sums.read()
    };
    match backend {
        Backend::Cpu => on(backend),
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => match on(backend) {
            Err(error) if gpu.falls_back(&error) => on(&Backend::Cpu),
            result => result,
        },
    }
}

/// Segments as integers; those that miss the grid are left out.
fn tracks(grid: &Grid, segments: &Segments<'_>, weights: Option<&[u32]>) -> Vec<Track> {
    let track = |n: usize| {
        let (a, b) = segments.ends(n, grid.plane());
        let track = Track::new(grid, a, b)?;
        Some(weights.map_or(track, |weights| track.with_weight(weights[n])))
    };
    let places = (0..segments.len()).into_par_iter().with_min_len(256);
    places.filter_map(track).collect()
}

/// Counts of segments that many calls add to; on a GPU they stay there until read. They are u32: one of 2^32 is 0 again.
#[derive(Debug)]
pub struct Counts {
    grid: Grid,
    store: Store<u32>,
}

/// Sums of weights or lengths that many calls add to; on a GPU they stay there until read.
///
/// A cell holds 2^43 segments of the largest weight or, for lengths, 2^28 along its diagonal.
#[derive(Debug)]
pub struct Sums {
    grid: Grid,
    amount: Amount,
    largest: Option<f64>,
    store: Store<u64>,
}

#[derive(Debug)]
enum Store<T> {
    Cpu(Vec<T>),
    #[cfg(feature = "gpu")]
    Gpu(gpu::DeviceGrid),
}

impl Counts {
    /// Zeros.
    ///
    /// # Errors
    /// [`KernelError::HostOutOfMemory`] on the CPU; [`KernelError::OutOfMemory`] and what else a GPU may report.
    pub fn new(backend: &Backend, grid: Grid) -> Result<Self> {
        let store = match backend {
            Backend::Cpu => Store::Cpu(cpu::zeros(&grid)?),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => Store::Gpu(gpu::DeviceGrid::new(gpu, &grid, false)?),
        };
        Ok(Self { grid, store })
    }

    /// The grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Counts segments.
    ///
    /// # Errors
    /// As [`on`]. After an error of the GPU some of the segments may have been counted.
    pub fn add<'a>(&mut self, segments: impl Into<Segments<'a>>) -> Result<()> {
        let segments = segments.into();
        segments.check(&self.grid, 0)?;
        let tracks = tracks(&self.grid, &segments, None);
        match &mut self.store {
            Store::Cpu(cells) => {
                cpu::add_counts(&self.grid, &tracks, cells);
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Store::Gpu(cells) => cells.add(&self.grid, &tracks, Amount::Once),
        }
    }

    /// The counts so far, the last axis running fastest.
    ///
    /// # Errors
    /// What a GPU may report.
    pub fn read(&self) -> Result<Vec<u32>> {
        match &self.store {
            Store::Cpu(cells) => Ok(cells.clone()),
            #[cfg(feature = "gpu")]
            Store::Gpu(cells) => cells.counts(),
        }
    }

    /// The counts on the device, for a host program that goes on with them there: the planes along the first axis that each buffer
    /// holds, and the buffer, of u32, which may be longer than its counts. Keep none of them beyond this value: they are used
    /// again. None on the CPU.
    #[cfg(feature = "gpu")]
    #[must_use]
    pub fn buffers(&self) -> Vec<(Range<usize>, &wgpu::Buffer)> {
        match &self.store {
            Store::Cpu(_) => Vec::new(),
            Store::Gpu(cells) => cells.buffers(),
        }
    }
}

impl Sums {
    /// Zeros. `largest`: the largest weight that may come, `None` if all are 1.
    ///
    /// # Errors
    /// [`KernelError::Parameter`] for a largest weight that is negative or not finite, [`KernelError::HostOutOfMemory`] on the CPU,
    /// and what a GPU may report.
    pub fn new(
        backend: &Backend,
        grid: Grid,
        amount: Amount,
        largest: Option<f64>,
    ) -> Result<Self> {
        if let Some(largest) = largest.filter(|&largest| !(0.0..f64::INFINITY).contains(&largest)) {
            return Err(KernelError::Parameter {
                name: "largest",
                value: largest.to_string(),
                needed: "a weight that is finite and not negative",
            });
        }
        let store = match backend {
            Backend::Cpu => Store::Cpu(cpu::zeros(&grid)?),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => Store::Gpu(gpu::DeviceGrid::new(gpu, &grid, true)?),
        };
        Ok(Self {
            grid,
            amount,
            largest,
            store,
        })
    }

    /// The grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Adds segments, with a weight each or 1.
    ///
    /// # Errors
    /// As [`sums_on`]; [`KernelError::Weight`] also for one above the largest. After an error of the GPU some of the segments may
    /// have been added.
    pub fn add<'a>(
        &mut self,
        segments: impl Into<Segments<'a>>,
        weights: Option<&[f64]>,
    ) -> Result<()> {
        let segments = segments.into();
        segments.check(&self.grid, 0)?;
        let weights = self.in_units(weights, segments.len())?;
        let tracks = tracks(&self.grid, &segments, weights.as_deref());
        match &mut self.store {
            Store::Cpu(cells) => {
                cpu::add_sums(&self.grid, &tracks, self.amount, cells);
                Ok(())
            }
            #[cfg(feature = "gpu")]
            Store::Gpu(cells) => cells.add(&self.grid, &tracks, self.amount),
        }
    }

    fn in_units(&self, weights: Option<&[f64]>, n: usize) -> Result<Option<Vec<u32>>> {
        let largest = match (weights, self.largest) {
            (None, None) => return Ok(None),
            (_, Some(largest)) => largest,
            (Some(_), None) => {
                return Err(KernelError::Parameter {
                    name: "largest",
                    value: "none".into(),
                    needed: "the largest weight that may come, where there are weights",
                });
            }
        };
        let Some(weights) = weights else {
            return self.in_units(Some(&vec![1.0; n]), n);
        };
        if weights.len() != n {
            return Err(KernelError::Parameter {
                name: "weights",
                value: weights.len().to_string(),
                needed: "as many as segments",
            });
        }
        let unit = self.weight_unit();
        let units = (0..).zip(weights).map(|(line, &value)| {
            if !(0.0..=largest).contains(&value) {
                return Err(KernelError::Weight {
                    line,
                    value,
                    largest,
                });
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 2^20; 0 for 0 / 0"
            )]
            Ok((value / unit).round() as u32)
        });
        units.collect::<Result<_>>().map(Some)
    }

    fn weight_unit(&self) -> f64 {
        self.largest.map_or(1.0, |largest| largest / WEIGHT_UNITS)
    }

    /// The sums so far, the last axis running fastest.
    ///
    /// # Errors
    /// What a GPU may report.
    pub fn read(&self) -> Result<Vec<f64>> {
        let unit = self.weight_unit()
            * match self.amount {
                Amount::Once => 1.0,
                Amount::Length => self.grid.length_unit(),
            };
        // A chord of less than a unit may have been rounded to -1.
        let value = |sum: u64| sum.cast_signed().max(0) as f64 * unit;
        match &self.store {
            Store::Cpu(cells) => Ok(cells.par_iter().map(|&sum| value(sum)).collect()),
            #[cfg(feature = "gpu")]
            Store::Gpu(cells) => cells.sums(value),
        }
    }
}
