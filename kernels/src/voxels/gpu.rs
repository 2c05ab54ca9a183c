use std::ops::Range;

use rayon::prelude::*;

use super::Amount;
use super::grid::Grid;
use super::walk::{Faces, Track, Walk};
use crate::error::{KernelError, Result};
use crate::gpu::{Buffer, DONE, Gpu, Pipeline, Use, Work, to_u32};

/// Segments of a workgroup, one per thread. The shader's override of the same name.
pub(crate) const WORKGROUP_SIZE: u32 = 64;
/// Cells that a batch of samples' grids may have together.
const BATCH_CELLS: usize = 1 << 26;

#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Size {
    n_walks: u32,
    padding_a: u32,
    padding_b: u32,
    padding_c: u32,
}

impl Size {
    pub(super) fn new(n_walks: usize) -> Self {
        Self {
            n_walks: to_u32(n_walks),
            padding_a: 0,
            padding_b: 0,
            padding_c: 0,
        }
    }
}

/// A grid on the device, cut into slabs of planes that fit a binding.
#[derive(Debug)]
pub(super) struct DeviceGrid {
    gpu: Gpu,
    slabs: Vec<Slab>,
}

#[derive(Debug)]
struct Slab {
    planes: Range<u32>,
    /// Counts, or the low words of sums.
    low: Buffer,
    /// The high words of sums.
    high: Option<Buffer>,
}

impl DeviceGrid {
    /// Zeros.
    pub(super) fn new(gpu: &Gpu, grid: &Grid, sums: bool) -> Result<Self> {
        let plane_bytes = 4 * grid.plane_cells() as u64;
        let n_planes = to_u32(grid.shape()[0]);
        let planes_each = u32::try_from(gpu.max_binding() / plane_bytes).unwrap_or(u32::MAX);
        if planes_each == 0 {
            return Err(KernelError::TooLarge {
                what: "bytes for a plane of cells on the GPU",
                needed: plane_bytes,
                available: gpu.max_binding(),
            });
        }
        let firsts = (0..n_planes).step_by(planes_each as usize);
        let slabs = firsts.map(|first| {
            let planes = first..n_planes.min(first.saturating_add(planes_each));
            let bytes = plane_bytes * u64::from(planes.end - planes.start);
            let zeros = || -> Result<Buffer> { gpu.scoped(|| gpu.buffer(bytes, Use::Storage)) };
            let slab = Slab {
                planes,
                low: zeros()?,
                high: if sums { Some(zeros()?) } else { None },
            };
            gpu.submit(Work::Cells, 0, |commands| {
                commands.clear(&slab.low);
                slab.high.iter().for_each(|high| commands.clear(high));
                Ok(())
            })?;
            Ok(slab)
        });
        Ok(Self {
            gpu: gpu.clone(),
            slabs: slabs.collect::<Result<_>>()?,
        })
    }

    /// Adds segments.
    pub(super) fn add(&self, grid: &Grid, tracks: &[Track], amount: Amount) -> Result<()> {
        for slab in &self.slabs {
            let planes = &slab.planes;
            let within: Vec<&Track> = tracks
                .iter()
                .filter(|track| {
                    let (low, high) = track.planes();
                    low < planes.end && high >= planes.start
                })
                .collect();
            let walks: Vec<Walk> = within
                .par_iter()
                .with_min_len(256)
                .map(|track| track.walk(grid, planes))
                .collect();
            let faces: Vec<Faces> = match &slab.high {
                Some(_) => within
                    .par_iter()
                    .with_min_len(256)
                    .map(|track| track.faces(grid, planes, amount))
                    .collect(),
                None => Vec::new(),
            };
            add_walks(&self.gpu, &walks, &faces, &slab.low, slab.high.as_ref())?;
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> Result<Vec<u32>> {
        let mut cells = Vec::new();
        for slab in &self.slabs {
            cells.extend_from_slice(self.read(&slab.low)?.words());
        }
        Ok(cells)
    }

    pub(super) fn sums(&self, value: impl Fn(u64) -> f64) -> Result<Vec<f64>> {
        let mut cells = Vec::new();
        for slab in &self.slabs {
            let Some(high) = &slab.high else { continue };
            let (low, high) = (self.read(&slab.low)?, self.read(high)?);
            let words = low.words().iter().zip(high.words());
            cells.extend(words.map(|(&low, &high)| value(u64::from(high) << 32 | u64::from(low))));
        }
        Ok(cells)
    }

    fn read(&self, buffer: &Buffer) -> Result<crate::gpu::Readback> {
        read(&self.gpu, buffer)
    }

    pub(super) fn buffers(&self) -> Vec<(Range<usize>, &wgpu::Buffer)> {
        let slab = |slab| {
            let Slab { planes, low, .. }: &Slab = slab;
            (planes.start as usize..planes.end as usize, low.wgpu())
        };
        self.slabs.iter().map(slab).collect()
    }
}

fn read(gpu: &Gpu, buffer: &Buffer) -> Result<crate::gpu::Readback> {
    let mut readbacks = gpu.submit(Work::Cells, 0, |commands| {
        commands.read(buffer, buffer.bytes())
    })?;
    readbacks
        .pop()
        .ok_or_else(|| unreachable!("one buffer is read"))
}

pub(super) fn counts(gpu: &Gpu, grid: &Grid, tracks: &[Track]) -> Result<Vec<u32>> {
    let cells = DeviceGrid::new(gpu, grid, false)?;
    cells.add(grid, tracks, Amount::Once)?;
    cells.counts()
}

/// Counts of samples, each in its own grid; adds to `found` what is finished.
pub(super) fn counts_of_samples(
    gpu: &Gpu,
    grids: &[Grid],
    tracks: impl Fn(usize) -> Vec<Track> + Sync,
    found: &mut Vec<Vec<u32>>,
) -> Result<()> {
    let most = usize::try_from(gpu.max_binding() / 4).unwrap_or(usize::MAX);
    let mut most = most.min(BATCH_CELLS);
    while found.len() < grids.len() {
        let first = found.len();
        let mut n_cells = 0;
        let mut batch: Vec<(usize, usize)> = Vec::new(); // samples, and where their cells begin
        for (n, grid) in grids.iter().enumerate().skip(first) {
            if n_cells + grid.n_cells() > most {
                break;
            }
            batch.push((n, n_cells));
            n_cells += grid.n_cells();
        }
        if batch.is_empty() {
            found.push(counts(gpu, &grids[first], &tracks(first))?);
            continue;
        }
        match counts_of_batch(gpu, grids, &batch, n_cells, &tracks) {
            Ok(counts) => found.extend(counts),
            Err(KernelError::OutOfMemory) if batch.len() > 1 => most = n_cells / 2,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Counts of some samples in one buffer: their numbers, and where their cells begin.
fn counts_of_batch(
    gpu: &Gpu,
    grids: &[Grid],
    batch: &[(usize, usize)],
    n_cells: usize,
    tracks: &(impl Fn(usize) -> Vec<Track> + Sync),
) -> Result<Vec<Vec<u32>>> {
    let walks: Vec<Walk> = batch
        .par_iter()
        .flat_map_iter(|&(n, origin)| {
            let grid = &grids[n];
            let planes = 0..to_u32(grid.shape()[0]);
            tracks(n).into_iter().map(move |track| {
                let walk = track.walk(grid, &planes);
                Walk {
                    first: walk.first + to_u32(origin),
                    ..walk
                }
            })
        })
        .collect();
    let cells = gpu.scoped(|| gpu.buffer(4 * n_cells as u64, Use::Storage))?;
    gpu.submit(Work::Cells, 0, |commands| {
        commands.clear(&cells);
        Ok(())
    })?;
    add_walks(gpu, &walks, &[], &cells, None)?;
    let counts = read(gpu, &cells)?;
    let of_sample =
        |&(n, origin): &(usize, usize)| counts.words()[origin..][..grids[n].n_cells()].to_vec();
    Ok(batch.iter().map(of_sample).collect())
}

/// Runs walks in as many submissions as limits and time need. `faces`: for sums, one for each walk.
fn add_walks(
    gpu: &Gpu,
    walks: &[Walk],
    faces: &[Faces],
    low: &Buffer,
    high: Option<&Buffer>,
) -> Result<()> {
    let bytes_each = size_of::<Walk>().max(size_of::<Faces>()) as u64;
    let most = usize::try_from(gpu.max_binding() / bytes_each).unwrap_or(usize::MAX);
    let most = most.min(gpu.max_workgroups() * WORKGROUP_SIZE as usize);
    let cells = |walk: &Walk| u64::from(walk.n_steps) + 1;
    let mut first = 0;
    while first < walks.len() {
        let (mut n, mut units) = (0, 0);
        for walk in walks[first..].iter().take(most) {
            if n > 0 && units + cells(walk) > gpu.budget(Work::Cells) {
                break;
            }
            n += 1;
            units += cells(walk);
        }
        let end = first + n;
        let n_workgroups = n.div_ceil(WORKGROUP_SIZE as usize);
        let size = Size::new(n);
        let (size, walks_now, done) = gpu.scoped(|| {
            Ok((
                gpu.upload(bytemuck::bytes_of(&size), Use::Uniform)?,
                gpu.upload(bytemuck::cast_slice(&walks[first..end]), Use::Storage)?,
                gpu.buffer(4 * n_workgroups as u64, Use::Storage)?,
            ))
        })?;
        let mut bindings = vec![(0, &size), (1, &walks_now), (2, low), (3, &done)];
        let faces_now;
        let pipeline = match high {
            Some(high) => {
                faces_now = gpu.scoped(|| {
                    gpu.upload(bytemuck::cast_slice(&faces[first..end]), Use::Storage)
                })?;
                bindings.extend([(4, high), (5, &faces_now)]);
                Pipeline::VoxelSums
            }
            None => Pipeline::VoxelCounts,
        };
        let readbacks = gpu.submit(Work::Cells, units, |commands| {
            commands.clear(&done);
            commands.dispatch(pipeline, &bindings, n_workgroups)?;
            commands.read(&done, done.bytes())
        })?;
        let ran = |readback: &crate::gpu::Readback| readback.words().iter().all(|&w| w == DONE);
        if !readbacks.iter().all(ran) {
            return Err(KernelError::Gpu {
                reason: "the shader of voxels did not run to its end".into(),
            });
        }
        first = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::layout::assert_layout;

    #[test]
    fn structs_lie_in_memory_as_the_shader_reads_them() {
        assert_layout!(Walk in pept_shaders::VOXELS => first, n_steps, move_x, move_y, move_z,
            twice_x, twice_y, twice_z, xy, xz, yz, padding);
        assert_layout!(Faces in pept_shaders::VOXELS => x, y, z, between_x, between_y, between_z,
            start, end, weight, lengths);
        assert_layout!(Size in pept_shaders::VOXELS => n_walks, padding_a, padding_b, padding_c);
        let done = format!("const DONE: u32 = {DONE:#x}u;");
        assert!(pept_shaders::VOXELS.wgsl.contains(&done));
    }
}
