use std::ops::{ControlFlow, Range};

use super::filter::Filter;
use super::{Batch, Proposals};
use crate::error::{KernelError, Result};
use crate::gpu::{Buffer, DONE, Gpu, Pipeline, Readback, Use, to_u32};

/// Lines i of a tile, one per thread. The shader's override of the same name.
pub(crate) const WORKGROUP_SIZE: u32 = 64;
const TILE_I: usize = WORKGROUP_SIZE as usize;
/// Lines j of a tile: `TILE_J` of the shader.
const TILE_J: usize = 128;
const WORD_BITS: usize = 32;
/// Positions of bits are u32.
const MAX_WORDS: usize = 1 << 27;

/// Threads of a workgroup that lists bits.
pub(crate) const LIST_WORKGROUP_SIZE: u32 = 256;
/// Words of a chunk: `CHUNK_WORDS` of the shader.
const CHUNK_WORDS: usize = 1024;

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
    first_i: u32,
    end_i: u32,
    first_j: u32,
    end_j: u32,
    first_word: u32,
    row_words: u32,
}

/// The shader `bit_list`'s uniform.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Size {
    n_words: u32,
    n_chunks: u32,
    capacity: u32,
    padding: u32,
}

/// Up to [`TILE_I`] lines with all partners that they may have: the unit that is put into dispatches.
#[derive(Clone, Debug, PartialEq)]
struct Band {
    lines: Range<usize>,
    /// Columns go from the band's first line to here.
    end: usize,
}

impl Band {
    /// 32-bit words of a row.
    fn row_words(&self) -> usize {
        (self.end - self.lines.start).div_ceil(WORD_BITS)
    }

    fn n_words(&self) -> usize {
        self.lines.len() * self.row_words()
    }

    fn n_tiles(&self) -> usize {
        self.row_words().div_ceil(TILE_J / WORD_BITS)
    }

    /// Pairs that the shader computes, needed or not.
    fn units(&self) -> u64 {
        (self.n_tiles() * TILE_I * TILE_J) as u64
    }
}

/// Consecutive bands that one submission computes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    n_words: usize,
    n_tiles: usize,
    units: u64,
}

impl Extent {
    fn of(bands: &[Band]) -> Self {
        Self {
            n_words: bands.iter().map(Band::n_words).sum(),
            n_tiles: bands.iter().map(Band::n_tiles).sum(),
            units: bands.iter().map(Band::units).sum(),
        }
    }

    fn fits(&self, gpu: &Gpu) -> bool {
        self.n_tiles <= gpu.max_workgroups()
            && self.n_words.div_ceil(CHUNK_WORDS) <= gpu.max_workgroups()
            && self.n_words <= MAX_WORDS
            && 4 * self.n_words as u64 <= gpu.max_binding()
    }
}

pub(super) fn for_each(
    gpu: &Gpu,
    batch: &Batch,
    mut work: impl FnMut(Range<usize>, &Proposals<'_>) -> ControlFlow<()> + Send,
) -> Result<()> {
    let bands = bands(batch);
    let run = |first: usize| match &bands[first..] {
        [] => None,
        rest => Some(some_bands(gpu, batch, rest)),
    };
    let mut line = 0;
    let mut next = run(0);
    let mut n_done = 0;
    while let Some(masks) = next {
        let masks = match masks {
            Ok(masks) => masks,
            Err(error) if gpu.falls_back(&error) => {
                let _ = work(line..batch.n_lines(), &Proposals::Cpu(batch));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        n_done += masks.bands.len();
        let end = bands.get(n_done).map_or(batch.n_lines(), |b| b.lines.start);
        let lines = line..end;
        line = end;
        let (flow, after) = rayon::join(|| work(lines, &Proposals::Gpu(&masks)), || run(n_done));
        if flow.is_break() {
            return Ok(());
        }
        next = after;
    }
    if line < batch.n_lines() {
        let _ = work(line..batch.n_lines(), &Proposals::Cpu(batch)); // none has partners
    }
    Ok(())
}

/// All bands that have pairs, in order.
fn bands(batch: &Batch) -> Vec<Band> {
    let mut bands = Vec::new();
    let mut first = 0;
    while first < batch.n_lines() {
        let lines = first..batch.n_lines().min(first + TILE_I);
        let end = batch.later(lines.end - 1).end;
        if lines.clone().any(|i| !batch.later(i).is_empty()) {
            bands.push(Band { lines, end });
        }
        first += TILE_I;
    }
    bands
}

/// Computes as many of the bands as limits, time and memory allow, at least one.
fn some_bands(gpu: &Gpu, batch: &Batch, bands: &[Band]) -> Result<Masks> {
    let fits = |n: &usize| {
        let extent = Extent::of(&bands[..*n]);
        extent.fits(gpu) && extent.units <= gpu.budget()
    };
    let mut n = (2..=bands.len()).take_while(fits).last().unwrap_or(1);
    loop {
        match Masks::compute(gpu, batch, &bands[..n]) {
            Err(KernelError::OutOfMemory) if n > 1 => n /= 2,
            result => return result,
        }
    }
}

/// The candidates of some bands.
#[derive(Debug)]
pub(crate) struct Masks {
    bands: Vec<Band>,
    /// Where each band's words begin.
    first_words: Vec<usize>,
    bits: Bits,
}

/// Bits that are set: few ones are read as a list, many as the mask.
#[derive(Debug)]
enum Bits {
    List(Option<Readback>, usize),
    Mask(Readback),
}

impl Masks {
    fn compute(gpu: &Gpu, batch: &Batch, bands: &[Band]) -> Result<Self> {
        let extent = Extent::of(bands);
        if !extent.fits(gpu) {
            return Err(KernelError::TooLarge {
                what: "bytes for the pairs of 64 lines on the GPU",
                needed: 4 * extent.n_words as u64,
                available: gpu.max_binding(),
            });
        }
        let first = bands[0].lines.start;
        let end = bands[bands.len() - 1].end;
        let lines: Vec<Line> = (first..end)
            .map(|n| {
                let [ux, uy, uz, mx, my, mz] = batch.line(n);
                #[rustfmt::skip]
                return Line { ux, uy, uz, mx, my, mz };
            })
            .collect();
        let mut tiles = Vec::with_capacity(extent.n_tiles);
        let mut first_words = Vec::with_capacity(bands.len());
        let mut first_word = 0;
        for band in bands {
            for n in 0..band.n_tiles() {
                let first_j = band.lines.start + n * TILE_J;
                tiles.push(Tile {
                    first_i: to_u32(band.lines.start - first),
                    end_i: to_u32(band.lines.end - first),
                    first_j: to_u32(first_j - first),
                    end_j: to_u32((first_j + TILE_J).min(band.end) - first),
                    first_word: to_u32(first_word + n * TILE_J / WORD_BITS),
                    row_words: to_u32(band.row_words()),
                });
            }
            first_words.push(first_word);
            first_word += band.n_words();
        }
        Ok(Self {
            bands: bands.to_vec(),
            first_words,
            bits: set_bits(gpu, &batch.filter, &lines, &tiles, &extent)?,
        })
    }

    /// Adds the partners of line `i`, ascending.
    pub(super) fn partners(&self, i: usize, partners: &mut Vec<u32>) {
        let after = self.bands.partition_point(|band| band.lines.start <= i);
        let Some(n) = after.checked_sub(1) else {
            return;
        };
        let band = &self.bands[n];
        if !band.lines.contains(&i) {
            return; // between bands, where no line has partners
        }
        let row_words = band.row_words();
        let first_word = self.first_words[n] + (i - band.lines.start) * row_words;
        let first_line = to_u32(band.lines.start);
        let mut add = |bit: u32| partners.push(first_line + bit);
        match &self.bits {
            Bits::Mask(mask) => {
                let row = &mask.words()[first_word..][..row_words];
                for (word, &bits) in (0..).zip(row) {
                    let mut bits = bits;
                    while bits != 0 {
                        add(32 * word + bits.trailing_zeros());
                        bits &= bits - 1;
                    }
                }
            }
            Bits::List(list, n) => {
                let list = list.as_ref().map_or(&[][..], |list| &list.words()[..*n]);
                let place = |word: usize| list.partition_point(|&bit| (bit as usize) / 32 < word);
                let row = &list[place(first_word)..place(first_word + row_words)];
                let first_bit = to_u32(32 * first_word);
                row.iter().for_each(|&bit| add(bit - first_bit));
            }
        }
    }
}

fn set_bits(
    gpu: &Gpu,
    filter: &Filter,
    lines: &[Line],
    tiles: &[Tile],
    extent: &Extent,
) -> Result<Bits> {
    let n_chunks = extent.n_words.div_ceil(CHUNK_WORDS);
    let mask_bytes = 4 * extent.n_words as u64;
    let storage = |words: usize| gpu.buffer(4 * words as u64, Use::Storage);
    let buffers = gpu.scoped(|| {
        let size = Size {
            n_words: to_u32(extent.n_words),
            n_chunks: to_u32(n_chunks),
            capacity: to_u32(extent.n_words), // a longer list is larger than the mask
            padding: 0,
        };
        Ok((
            storage(extent.n_words)?,
            storage(extent.n_words)?,
            storage(2 * n_chunks + 2)?,
            storage(tiles.len())?,
            gpu.upload(bytemuck::bytes_of(filter), Use::Uniform)?,
            gpu.upload(bytemuck::bytes_of(&size), Use::Uniform)?,
            gpu.upload(bytemuck::cast_slice(lines), Use::Storage)?,
            gpu.upload(bytemuck::cast_slice(tiles), Use::Storage)?,
        ))
    });
    let (mask, list, chunks, done, filter, size, lines, tiles) = buffers?;
    let readbacks = gpu.submit("pept.pairs", extent.units, |commands| {
        commands.clear(&done);
        commands.clear(&chunks);
        let pairs: [(u32, &Buffer); 5] = [
            (0, &filter),
            (1, &lines),
            (2, &tiles),
            (3, &mask),
            (4, &done),
        ];
        commands.dispatch(Pipeline::Pairs, &pairs, extent.n_tiles);
        commands.dispatch(
            Pipeline::BitCount,
            &[(0, &size), (1, &mask), (2, &chunks)],
            n_chunks,
        );
        commands.dispatch(Pipeline::BitScan, &[(0, &size), (2, &chunks)], 1);
        commands.dispatch(
            Pipeline::BitWrite,
            &[(0, &size), (1, &mask), (2, &chunks), (3, &list)],
            n_chunks,
        );
        commands.read(&done, done.bytes())?;
        commands.read(&chunks, chunks.bytes())
    })?;
    let [done, chunks] = &readbacks[..] else {
        unreachable!("two buffers are read")
    };
    let n_bits = chunks.words()[n_chunks] as usize;
    let flags = done.words().iter().chain(&chunks.words()[n_chunks + 1..]);
    if !flags.copied().all(|word| word == DONE) {
        return Err(KernelError::Gpu {
            reason: "the shader of pairs did not run to its end".into(),
        });
    }
    let read = |buffer: &Buffer, bytes: u64| -> Result<Option<Readback>> {
        Ok(gpu
            .submit("pept.pairs", 0, |commands| commands.read(buffer, bytes))?
            .pop())
    };
    if n_bits == 0 {
        Ok(Bits::List(None, 0))
    } else if n_bits <= extent.n_words {
        Ok(Bits::List(read(&list, 4 * n_bits as u64)?, n_bits))
    } else {
        read(&mask, mask_bytes)?
            .map(Bits::Mask)
            .ok_or_else(|| unreachable!("one buffer is read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::layout::assert_layout;

    #[test]
    fn structs_lie_in_memory_as_the_shaders_read_them() {
        assert_layout!(Filter in pept_shaders::PAIRS => guard, k, max_squared, padding);
        assert_layout!(Line in pept_shaders::PAIRS => ux, uy, uz, mx, my, mz);
        assert_layout!(Tile in pept_shaders::PAIRS =>
            first_i, end_i, first_j, end_j, first_word, row_words);
        assert_layout!(Size in pept_shaders::BIT_LIST => n_words, n_chunks, capacity, padding);
    }

    #[test]
    fn constants_are_those_of_the_shaders() {
        for (shader, constants) in [
            (
                pept_shaders::PAIRS,
                vec![
                    format!("const TILE_J: u32 = {TILE_J}u;"),
                    format!("const WORD_BITS: u32 = {WORD_BITS}u;"),
                    format!("const DONE: u32 = {DONE:#x}u;"),
                ],
            ),
            (
                pept_shaders::BIT_LIST,
                vec![
                    format!("const N_THREADS: u32 = {LIST_WORKGROUP_SIZE}u;"),
                    format!("const CHUNK_WORDS: u32 = {CHUNK_WORDS}u;"),
                    format!("const DONE: u32 = {DONE:#x}u;"),
                ],
            ),
        ] {
            for constant in constants {
                assert!(shader.wgsl.contains(&constant), "{constant}");
            }
        }
    }
}
