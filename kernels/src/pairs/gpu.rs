use std::ops::{ControlFlow, Range};

use super::{Batch, Decision, Proposals};
use crate::error::{KernelError, Result};
use crate::gpu::{Buffer, DONE, Gpu, Pipeline, Readback, Use, Work, to_u32};

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
pub(crate) struct ListSize {
    n_words: u32,
    n_chunks: u32,
    capacity: u32,
    padding: u32,
}

impl ListSize {
    pub(crate) fn new(n_words: usize, n_chunks: usize, capacity: usize) -> Self {
        Self {
            n_words: to_u32(n_words),
            n_chunks: to_u32(n_chunks),
            capacity: to_u32(capacity),
            padding: 0,
        }
    }

    /// Workgroups that count and list the bits of so many words.
    pub(crate) fn n_chunks(n_words: usize) -> usize {
        n_words.div_ceil(CHUNK_WORDS)
    }
}

/// The shader `positions`' uniform.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Limits {
    max_squared: f32,
    min_sine_squared: f32,
    n_bands: u32,
    n_chunks: u32,
    capacity: u32,
    padding_a: u32,
    padding_b: u32,
    padding_c: u32,
}

/// The shader `positions`' view of a [`Band`].
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct BandWords {
    first_word: u32,
    row_words: u32,
    first_line: u32,
    padding: u32,
}

/// Lines that cross at less than half a degree are left to f64: the square of its sine.
const MIN_SINE_SQUARED: f32 = 7.62e-5;

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
    n_bands: usize,
    n_lines: usize,
    n_words: usize,
    n_tiles: usize,
    units: u64,
}

impl Extent {
    const NOTHING: Self = Self {
        n_bands: 0,
        n_lines: 0,
        n_words: 0,
        n_tiles: 0,
        units: 0,
    };

    /// With one band more. `first`: the first line of all.
    fn with(&self, band: &Band, first: usize) -> Self {
        Self {
            n_bands: self.n_bands + 1,
            n_lines: self.n_lines.max(band.end - first),
            n_words: self.n_words + band.n_words(),
            n_tiles: self.n_tiles + band.n_tiles(),
            units: self.units + band.units(),
        }
    }

    fn of(bands: &[Band]) -> Self {
        let first = bands.first().map_or(0, |band| band.lines.start);
        let with = |extent: Self, band| extent.with(band, first);
        bands.iter().fold(Self::NOTHING, with)
    }

    /// Bytes of the largest binding.
    fn binding(&self, decides: bool) -> u64 {
        let bytes_per_word = if decides { size_of::<Decision>() } else { 4 };
        let bytes = [
            bytes_per_word * self.n_words,
            size_of::<Line>() * self.n_lines,
            size_of::<Tile>() * self.n_tiles,
            size_of::<BandWords>() * self.n_bands,
        ];
        bytes
            .into_iter()
            .fold(0, |most, bytes| most.max(bytes as u64))
    }

    fn fits(&self, gpu: &Gpu, decides: bool) -> bool {
        self.n_tiles <= gpu.max_workgroups()
            && self.n_words.div_ceil(CHUNK_WORDS) <= gpu.max_workgroups()
            && self.n_words <= MAX_WORDS
            && self.binding(decides) <= gpu.max_binding()
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
    let first = bands[0].lines.start;
    let decides = batch.decide_at.is_some();
    let mut extent = Extent::NOTHING.with(&bands[0], first);
    let more = bands[1..].iter().take_while(|band| {
        extent = extent.with(band, first);
        extent.fits(gpu, decides) && extent.units <= gpu.budget(Work::Pairs)
    });
    let mut n = 1 + more.count();
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
    /// What was decided about the list.
    decisions: Option<Readback>,
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
        let decides = batch.decide_at.is_some();
        if !extent.fits(gpu, decides) {
            return Err(KernelError::TooLarge {
                what: "bytes or workgroups for the pairs of 64 lines on the GPU",
                needed: extent.binding(decides).max(extent.n_tiles as u64),
                available: gpu.max_binding().min(gpu.max_workgroups() as u64),
            });
        }
        let first = bands[0].lines.start;
        let end = bands[bands.len() - 1].end;
        let lines = packed(batch, first..end);
        let (tiles, first_words) = tiles(bands);
        let words = |(band, &first_word): (&Band, &usize)| BandWords {
            first_word: to_u32(first_word),
            row_words: to_u32(band.row_words()),
            first_line: to_u32(band.lines.start - first),
            padding: 0,
        };
        let words: Vec<BandWords> = bands.iter().zip(&first_words).map(words).collect();
        let (bits, decisions) = set_bits(gpu, batch, &lines, &tiles, &extent, &words)?;
        Ok(Self {
            bands: bands.to_vec(),
            first_words,
            bits,
            decisions,
        })
    }

    /// A line's band, and where the words of its row begin.
    fn row(&self, i: usize) -> Option<(&Band, usize)> {
        let after = self.bands.partition_point(|band| band.lines.start <= i);
        let n = after.checked_sub(1)?;
        let band = &self.bands[n];
        // Between bands are lines without partners.
        let first_word = || self.first_words[n] + (i - band.lines.start) * band.row_words();
        band.lines.contains(&i).then(|| (band, first_word()))
    }

    /// Adds the partners of line `i`, ascending.
    pub(super) fn partners(&self, i: usize, partners: &mut Vec<u32>) {
        let Some((band, first_word)) = self.row(i) else {
            return;
        };
        let first_line = to_u32(band.lines.start);
        let mut add = |bit: u32| partners.push(first_line + bit);
        match &self.bits {
            Bits::Mask(mask) => {
                let row = &mask.words()[first_word..][..band.row_words()];
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
                let first_bit = to_u32(32 * first_word);
                let row = &list[of_row(list, first_word, band.row_words())];
                row.iter().for_each(|&bit| add(bit - first_bit));
            }
        }
    }

    /// What was decided about the partners of line `i`.
    pub(super) fn decisions(&self, i: usize) -> Option<&[Decision]> {
        let (Bits::List(Some(list), n), Some(decisions)) = (&self.bits, &self.decisions) else {
            return None;
        };
        let (band, first_word) = self.row(i)?;
        let row = of_row(&list.words()[..*n], first_word, band.row_words());
        Some(&bytemuck::cast_slice(decisions.words())[row])
    }
}

/// Lines as the shaders take them.
fn packed(batch: &Batch, lines: Range<usize>) -> Vec<Line> {
    let line = |n| {
        let [ux, uy, uz, mx, my, mz] = batch.line(n);
        #[rustfmt::skip]
        return Line { ux, uy, uz, mx, my, mz };
    };
    lines.map(line).collect()
}

/// The tiles of some bands, with lines counted from the first one's, and where each band's words begin.
fn tiles(bands: &[Band]) -> (Vec<Tile>, Vec<usize>) {
    let first = bands[0].lines.start;
    let mut tiles = Vec::new();
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
    (tiles, first_words)
}

/// All bands of a batch.
#[derive(Debug)]
pub(crate) struct Bands(Vec<Band>);

impl Bands {
    pub(crate) fn new(batch: &Batch) -> Self {
        Self(bands(batch))
    }

    /// The bands from `first` on, `n` of them and all whose lines are partners of theirs.
    fn with_partners(&self, first: usize, n: usize) -> &[Band] {
        let rest = &self.0[first..];
        let end = rest[n - 1].end;
        let partners = rest[n..].iter().take_while(|band| band.lines.start < end);
        &rest[..n + partners.count()]
    }

    /// Whether each band's masks fit a binding, together with those of all its partners.
    pub(crate) fn have_whole_rows(&self, gpu: &Gpu) -> bool {
        let fits = |first: usize| Rows::fit(gpu, self.with_partners(first, 1));
        (0..self.0.len()).all(fits)
    }
}

/// Where a line's row is in the masks: see the shader `minpoints`' struct `Row`.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct RowPlace {
    place: u32,
    end: u32,
}

/// The masks of consecutive lines, left on the device for a kernel that goes on with them there. All lines are counted from
/// `first_line`; to the first `n_first` of them belong also the rows of all partners.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) first_line: usize,
    pub(crate) n_first: usize,
    /// Words of the longest row.
    pub(crate) row_words: usize,
    pub(crate) lines: Buffer,
    pub(crate) rows: Buffer,
    pub(crate) words: Buffer,
}

impl Rows {
    fn fit(gpu: &Gpu, bands: &[Band]) -> bool {
        let extent = Extent::of(bands);
        let largest = extent.n_words.max(extent.n_lines * size_of::<Line>() / 4);
        4 * largest as u64 <= gpu.max_binding()
    }

    /// For as many bands from `first` on as fit, and their number; `None` behind the last one.
    pub(crate) fn compute(
        gpu: &Gpu,
        batch: &Batch,
        bands: &Bands,
        first: usize,
    ) -> Result<Option<(Self, usize)>> {
        let n_left = bands.0.len() - first;
        if n_left == 0 {
            return Ok(None);
        }
        // Memory is also for what goes on with them.
        let fits = |n: &usize| {
            let bands = bands.with_partners(first, *n);
            let bytes = 4 * Extent::of(bands).n_words as u64;
            Self::fit(gpu, bands) && bytes <= gpu.memory_budget() / 8
        };
        // Twice as many while they fit, then the largest number between.
        let (mut low, mut high) = (1, 2);
        while high <= n_left && fits(&high) {
            (low, high) = (high, 2 * high);
        }
        high = high.min(n_left + 1);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if fits(&middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut n = low;
        loop {
            match Self::of_bands(gpu, batch, bands.with_partners(first, n), n) {
                Err(KernelError::OutOfMemory) if n > 1 => n /= 2,
                rows => return Ok(Some((rows?, n))),
            }
        }
    }

    fn of_bands(gpu: &Gpu, batch: &Batch, bands: &[Band], n_first: usize) -> Result<Self> {
        let first = bands[0].lines.start;
        let end = bands.iter().fold(0, |end, band| end.max(band.end));
        let (tiles, first_words) = tiles(bands);
        // A line without a row has no partners.
        let mut places = vec![RowPlace::default(); end - first];
        for (band, first_word) in bands.iter().zip(&first_words) {
            for i in band.lines.clone() {
                let word = to_u32(first_word + (i - band.lines.start) * band.row_words());
                places[i - first] = RowPlace {
                    place: word.wrapping_sub(to_u32((band.lines.start - first) / WORD_BITS)),
                    end: to_u32(batch.later(i).end.max(first) - first),
                };
            }
        }
        let extent = Extent::of(bands);
        let (lines, rows, words, filter) = gpu.scoped(|| {
            Ok((
                gpu.upload(
                    bytemuck::cast_slice(&packed(batch, first..end)),
                    Use::Storage,
                )?,
                gpu.upload(bytemuck::cast_slice(&places), Use::Storage)?,
                gpu.buffer(4 * extent.n_words as u64, Use::Storage)?,
                gpu.upload(bytemuck::bytes_of(&batch.filter), Use::Uniform)?,
            ))
        })?;
        let units_each = (TILE_I * TILE_J) as u64;
        let mut done = 0;
        while done < tiles.len() {
            let within_time =
                usize::try_from(gpu.budget(Work::Pairs) / units_each).unwrap_or(usize::MAX);
            let within_binding = usize::try_from(gpu.max_binding()).unwrap_or(usize::MAX);
            let most = gpu
                .max_workgroups()
                .min(within_binding / size_of::<Tile>())
                .min(within_time.max(1));
            let now = &tiles[done..tiles.len().min(done + most)];
            let (tiles, flags) = gpu.scoped(|| {
                Ok((
                    gpu.upload(bytemuck::cast_slice(now), Use::Storage)?,
                    gpu.buffer(4 * now.len() as u64, Use::Storage)?,
                ))
            })?;
            let units = now.len() as u64 * units_each;
            let readbacks = gpu.submit(Work::Pairs, units, |commands| {
                commands.clear(&flags);
                let buffers: [(u32, &Buffer); 5] = [
                    (0, &filter),
                    (1, &lines),
                    (2, &tiles),
                    (3, &words),
                    (4, &flags),
                ];
                commands.dispatch(Pipeline::Pairs, &buffers, now.len())?;
                commands.read(&flags, flags.bytes())
            })?;
            let ran = |flags: &Readback| flags.words().iter().all(|&word| word == DONE);
            if !readbacks.iter().all(ran) {
                return Err(not_done());
            }
            done += now.len();
        }
        let longest = bands.iter().map(Band::row_words).max();
        Ok(Self {
            first_line: first,
            n_first: bands[n_first - 1].lines.end - first,
            row_words: longest.unwrap_or(0),
            lines,
            rows,
            words,
        })
    }
}

fn not_done() -> KernelError {
    KernelError::Gpu {
        reason: "the shader of pairs did not run to its end".into(),
    }
}

/// The part of a list of bits that belongs to a row.
fn of_row(list: &[u32], first_word: usize, row_words: usize) -> Range<usize> {
    let place = |word: usize| list.partition_point(|&bit| (bit as usize) / 32 < word);
    place(first_word)..place(first_word + row_words)
}

/// The set bits of all bands' masks, and what was decided about them if that is asked for.
fn set_bits(
    gpu: &Gpu,
    batch: &Batch,
    lines: &[Line],
    tiles: &[Tile],
    extent: &Extent,
    bands: &[BandWords],
) -> Result<(Bits, Option<Readback>)> {
    let n_chunks = extent.n_words.div_ceil(CHUNK_WORDS);
    let mask_bytes = 4 * extent.n_words as u64;
    let storage = |words: usize| gpu.buffer(4 * words as u64, Use::Storage);
    let buffers = gpu.scoped(|| {
        // A longer list is larger than the mask.
        let size = ListSize::new(extent.n_words, n_chunks, extent.n_words);
        Ok((
            storage(extent.n_words)?,
            storage(extent.n_words)?,
            storage(2 * n_chunks + 2)?,
            storage(tiles.len())?,
            gpu.upload(bytemuck::bytes_of(&batch.filter), Use::Uniform)?,
            gpu.upload(bytemuck::bytes_of(&size), Use::Uniform)?,
            gpu.upload(bytemuck::cast_slice(lines), Use::Storage)?,
            gpu.upload(bytemuck::cast_slice(tiles), Use::Storage)?,
        ))
    });
    let (mask, list, chunks, done, filter, size, lines, tiles) = buffers?;
    let positions = match batch.decide_at {
        Some(max_distance) => Some(gpu.scoped(|| {
            let limits = Limits::new(max_distance / batch.scale, bands.len(), n_chunks, extent);
            Ok((
                gpu.upload(bytemuck::bytes_of(&limits), Use::Uniform)?,
                gpu.upload(bytemuck::cast_slice(bands), Use::Storage)?,
                storage(size_of::<Decision>() / 4 * extent.n_words)?,
            ))
        })?),
        None => None,
    };
    let readbacks = gpu.submit(Work::Pairs, extent.units, |commands| {
        commands.clear(&done);
        commands.clear(&chunks);
        let pairs: [(u32, &Buffer); 5] = [
            (0, &filter),
            (1, &lines),
            (2, &tiles),
            (3, &mask),
            (4, &done),
        ];
        commands.dispatch(Pipeline::Pairs, &pairs, extent.n_tiles)?;
        commands.dispatch(
            Pipeline::BitCount,
            &[(0, &size), (1, &mask), (2, &chunks)],
            n_chunks,
        )?;
        commands.dispatch(Pipeline::BitScan, &[(0, &size), (2, &chunks)], 1)?;
        commands.dispatch(
            Pipeline::BitWrite,
            &[(0, &size), (1, &mask), (2, &chunks), (3, &list)],
            n_chunks,
        )?;
        if let Some((limits, bands, points)) = &positions {
            let buffers: [(u32, &Buffer); 6] = [
                (0, limits),
                (1, &lines),
                (2, bands),
                (3, &chunks),
                (4, &list),
                (5, points),
            ];
            let n_workgroups = extent.n_words.div_ceil(TILE_I).min(gpu.max_workgroups());
            commands.clear(points);
            commands.dispatch(Pipeline::Positions, &buffers, n_workgroups)?;
        }
        commands.read(&done, done.bytes())?;
        commands.read(&chunks, chunks.bytes())
    })?;
    let [done, chunks] = &readbacks[..] else {
        unreachable!("two buffers are read")
    };
    let n_bits = chunks.words()[n_chunks] as usize;
    let flags = done.words().iter().chain(&chunks.words()[n_chunks + 1..]);
    if !flags.copied().all(|word| word == DONE) {
        return Err(not_done());
    }
    let read = |buffer: &Buffer, bytes: u64| -> Result<Option<Readback>> {
        Ok(gpu
            .submit(Work::Pairs, 0, |commands| commands.read(buffer, bytes))?
            .pop())
    };
    if n_bits == 0 {
        Ok((Bits::List(None, 0), None))
    } else if n_bits <= extent.n_words {
        let decisions = match &positions {
            Some((_, _, points)) => read(points, (size_of::<Decision>() * n_bits) as u64)?,
            None => None,
        };
        let list = read(&list, 4 * n_bits as u64)?;
        Ok((Bits::List(list, n_bits), decisions))
    } else {
        let mask = read(&mask, mask_bytes)?;
        let mask = mask.unwrap_or_else(|| unreachable!("one buffer is read"));
        Ok((Bits::Mask(mask), None))
    }
}

impl Limits {
    /// `max_distance` is in the batch's scale.
    fn new(max_distance: f64, n_bands: usize, n_chunks: usize, extent: &Extent) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32 is the purpose"
        )]
        let max_squared = (max_distance * max_distance).min(f64::from(f32::MAX)) as f32;
        Self {
            max_squared,
            min_sine_squared: MIN_SINE_SQUARED,
            n_bands: to_u32(n_bands),
            n_chunks: to_u32(n_chunks),
            capacity: to_u32(extent.n_words),
            padding_a: 0,
            padding_b: 0,
            padding_c: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Filter;
    use super::*;
    use crate::gpu::layout::assert_layout;

    #[test]
    fn structs_lie_in_memory_as_the_shaders_read_them() {
        assert_layout!(Filter in pept_shaders::PAIRS => guard, k, max_squared, padding);
        assert_layout!(Line in pept_shaders::PAIRS => ux, uy, uz, mx, my, mz);
        assert_layout!(Tile in pept_shaders::PAIRS =>
            first_i, end_i, first_j, end_j, first_word, row_words);
        assert_layout!(ListSize in pept_shaders::BIT_LIST as Size => n_words, n_chunks, capacity, padding);
        assert_layout!(RowPlace in pept_shaders::MINPOINTS as Row => place, end);
        assert_layout!(Line in pept_shaders::MINPOINTS => ux, uy, uz, mx, my, mz);
        assert_layout!(BandWords in pept_shaders::POSITIONS as Band =>
            first_word, row_words, first_line, padding);
        assert_layout!(Line in pept_shaders::POSITIONS => ux, uy, uz, mx, my, mz);
        assert_layout!(Limits in pept_shaders::POSITIONS => max_squared,
            min_sine_squared, n_bands, n_chunks, capacity, padding_a, padding_b, padding_c);
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
            (
                pept_shaders::POSITIONS,
                vec![
                    format!("const REJECTED: f32 = {:?};", Decision::REJECTED),
                    format!("const ACCEPTED: f32 = {:?};", Decision::ACCEPTED),
                ],
            ),
        ] {
            for constant in constants {
                assert!(shader.wgsl.contains(&constant), "{constant}");
            }
        }
    }
}
