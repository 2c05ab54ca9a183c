use std::ops::Range;

use rayon::prelude::*;

use super::Cutpoint;
use super::filter::{Batch, Sample};
use crate::error::{KernelError, Result};
use crate::gpu::{Gpu, Readback, Work, to_u32};

/// Lines i of a tile, one per thread. The shader's override of the same name.
pub(crate) const WORKGROUP_SIZE: u32 = 64;
const TILE_I: usize = WORKGROUP_SIZE as usize;
/// Lines j of a tile: `TILE_J` of the shader.
const TILE_J: usize = 128;
const WORD_BITS: usize = 32;
/// What each tile writes when it is done: a launch that failed reads back zeros.
const DONE: u32 = 0x600d_f00d;

#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Line {
    ux: f32,
    uy: f32,
    uz: f32,
    mx: f32,
    my: f32,
    mz: f32,
}

#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Tile {
    first_line: u32,
    n_lines: u32,
    first_i: u32,
    first_j: u32,
    first_word: u32,
    row_words: u32,
    done_word: u32,
    padding: u32,
}

/// Up to [`TILE_I`] rows of a sample's triangle of pairs: the unit that is put into dispatches.
#[derive(Clone, Copy, Debug)]
struct Band {
    /// Index of the sample.
    sample: usize,
    /// Its first row, within the sample.
    first_i: usize,
    n_rows: usize,
    /// 32-bit words of a row: columns from `first_i` to the end.
    row_words: usize,
}

impl Band {
    fn n_words(&self) -> usize {
        self.n_rows * self.row_words
    }

    fn n_tiles(&self) -> usize {
        self.row_words.div_ceil(TILE_J / WORD_BITS)
    }

    /// Pairs that the shader computes, needed or not.
    fn units(&self) -> u64 {
        (self.n_tiles() * TILE_I * TILE_J) as u64
    }
}

pub(super) fn on_samples(gpu: &Gpu, batch: &Batch) -> Result<Vec<Vec<Cutpoint>>> {
    let mut found = vec![Vec::new(); batch.samples.len()];
    let lines: Vec<Line> = (0..batch.n_lines())
        .map(|n| {
            let [ux, uy, uz, mx, my, mz] = batch.line(n);
            Line {
                ux,
                uy,
                uz,
                mx,
                my,
                mz,
            }
        })
        .collect();
    let mut bands = bands(&batch.samples).peekable();
    while bands.peek().is_some() {
        let mut dispatch = Dispatch::default();
        while let Some(band) = bands.next_if(|band| dispatch.has_room(gpu, batch, band)) {
            dispatch.push(batch, band);
        }
        let sizes = dispatch.run(gpu, batch, &lines)?;
        for (sample, mut rows) in sizes {
            found[sample].append(&mut rows);
        }
    }
    Ok(found)
}

/// All bands of all samples that have pairs, in order.
fn bands(samples: &[Sample]) -> impl Iterator<Item = Band> + '_ {
    samples
        .iter()
        .enumerate()
        .flat_map(|(sample, Sample { lines, .. })| {
            let n = lines.len();
            // The last line has no later one to pair with.
            (0..n.saturating_sub(1))
                .step_by(TILE_I)
                .map(move |first_i| Band {
                    sample,
                    first_i,
                    n_rows: TILE_I.min(n - first_i),
                    row_words: (n - first_i).div_ceil(WORD_BITS),
                })
        })
}

/// The bands that one submission computes.
#[derive(Debug, Default)]
struct Dispatch {
    bands: Vec<Band>,
    n_words: usize,
    n_tiles: usize,
    units: u64,
    /// The lines that they use: a batch may hold more than a binding.
    lines: Range<usize>,
}

impl Dispatch {
    /// Whether a band still fits the adapter's limits and the time budget. The first one always does.
    fn has_room(&self, gpu: &Gpu, batch: &Batch, band: &Band) -> bool {
        let words = self.n_words + band.n_words() + self.n_tiles + band.n_tiles();
        let line_bytes = self.lines_with(batch, band).len() * size_of::<Line>();
        self.bands.is_empty()
            || (self.units + band.units() <= gpu.budget()
                && self.n_tiles + band.n_tiles() <= gpu.max_workgroups()
                && (4 * words).max(line_bytes) as u64 <= gpu.max_binding())
    }

    fn lines_with(&self, batch: &Batch, band: &Band) -> Range<usize> {
        let lines = &batch.samples[band.sample].lines;
        if self.bands.is_empty() {
            return lines.clone();
        }
        self.lines.start.min(lines.start)..self.lines.end.max(lines.end)
    }

    fn push(&mut self, batch: &Batch, band: Band) {
        self.lines = self.lines_with(batch, &band);
        self.n_words += band.n_words();
        self.n_tiles += band.n_tiles();
        self.units += band.units();
        self.bands.push(band);
    }

    /// Computes the masks of all bands and confirms their candidates: (sample, rows) in order.
    fn run(&self, gpu: &Gpu, batch: &Batch, lines: &[Line]) -> Result<Vec<(usize, Vec<Cutpoint>)>> {
        let first = self.lines.start;
        let lines: &[u8] = bytemuck::cast_slice(&lines[self.lines.clone()]);
        let n_words = self.n_words + self.n_tiles;
        let needed = (lines.len() as u64).max(4 * n_words as u64);
        if needed > gpu.max_binding() || self.n_tiles > gpu.max_workgroups() {
            return Err(KernelError::TooLarge {
                what: "bytes for a sample on the GPU",
                needed,
                available: gpu.max_binding(),
            });
        }

        let mut tiles = Vec::with_capacity(self.n_tiles);
        let mut first_words = Vec::with_capacity(self.bands.len());
        let mut first_word = 0;
        for band in &self.bands {
            let sample = &batch.samples[band.sample].lines;
            for n in 0..band.n_tiles() {
                tiles.push(Tile {
                    first_line: to_u32(sample.start - first),
                    n_lines: to_u32(sample.len()),
                    first_i: to_u32(band.first_i),
                    first_j: to_u32(band.first_i + n * TILE_J),
                    first_word: to_u32(first_word + n * TILE_J / WORD_BITS),
                    row_words: to_u32(band.row_words),
                    done_word: to_u32(self.n_words + tiles.len()),
                    padding: 0,
                });
            }
            first_words.push(first_word);
            first_word += band.n_words();
        }
        let work = Work {
            label: "pept.cutpoints",
            pipeline: Gpu::cutpoints,
            uniform: bytemuck::bytes_of(&batch.filter),
            inputs: &[lines, bytemuck::cast_slice(&tiles)],
            n_words,
            n_workgroups: tiles.len(),
            units: self.units,
        };
        let readback: Readback = work.run(gpu)?;
        let (mask, done) = readback.words().split_at(self.n_words);
        if done.iter().any(|&word| word != DONE) {
            return Err(KernelError::Gpu {
                reason: "the cutpoints shader did not run to its end".into(),
            });
        }
        Ok(self
            .bands
            .par_iter()
            .zip(first_words)
            .map(|(band, first_word)| {
                (
                    band.sample,
                    confirm(batch, band, &mask[first_word..][..band.n_words()]),
                )
            })
            .collect())
    }
}

/// The candidates of a band's mask that the f64 formula accepts, in (i, j) order.
fn confirm(batch: &Batch, band: &Band, mask: &[u32]) -> Vec<Cutpoint> {
    let sample = &batch.samples[band.sample];
    let first = sample.lines.start + band.first_i;
    let mut out = Vec::new();
    for (i, row) in (first..).zip(mask.chunks_exact(band.row_words)) {
        for (word, &bits) in row.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                batch.confirm(
                    sample,
                    i,
                    first + word * WORD_BITS + bits.trailing_zeros() as usize,
                    &mut out,
                );
                bits &= bits - 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::filter::Filter;
    use super::*;
    use crate::gpu::layout::assert_layout;

    #[test]
    fn structs_lie_in_memory_as_the_shader_reads_them() {
        assert_layout!(Filter in pept_shaders::CUTPOINTS => guard, k, max_squared, padding);
        assert_layout!(Line in pept_shaders::CUTPOINTS => ux, uy, uz, mx, my, mz);
        assert_layout!(Tile in pept_shaders::CUTPOINTS =>
            first_line, n_lines, first_i, first_j, first_word, row_words, done_word, padding);
    }

    #[test]
    fn constants_are_those_of_the_shader() {
        let text = pept_shaders::CUTPOINTS.wgsl;
        assert!(text.contains(&format!("const TILE_J: u32 = {TILE_J}u;")));
        assert!(text.contains(&format!("const WORD_BITS: u32 = {WORD_BITS}u;")));
        assert!(text.contains(&format!("const DONE: u32 = {DONE:#x}u;")));
    }
}
