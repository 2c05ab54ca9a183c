use std::ops::ControlFlow;

use super::Params;
use super::filter::Filter;
use crate::error::{KernelError, Result};
use crate::gpu::{Buffer, DONE, Gpu, Pipeline, Readback, Use, Work, to_u32};
use crate::pairs::Batch;
use crate::pairs::gpu::{Bands, ListSize, Rows};

/// Combinations of a workgroup, one per thread (`judge`: a word of them). The shader's override of the same name.
pub(crate) const WORKGROUP_SIZE: u32 = 64;
/// Lines of the combinations that the shader can make.
const NUM_LINES: std::ops::RangeInclusive<usize> = 3..=4;
const WORD_BITS: usize = 32;
/// Combinations that are made at once, at most.
const LARGEST_WINDOW: usize = 1 << 20;
/// Bytes that a combination takes for each of its lines, at each of three depths, in buffers that are rounded up: twice what is needed.
const BYTES_EACH: u64 = 200;
/// Judging a combination takes as long as so many pairs.
const JUDGE_UNITS: u64 = 16;

/// The shader's uniform.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Search {
    n_parents: u32,
    depth: u32,
    first_parent: u32,
    first_child: u32,
    n_children: u32,
    n_chunks: u32,
    padding_a: u32,
    padding_b: u32,
}

/// Whether a GPU can make the combinations of so many lines of this batch.
pub(super) fn can_search(gpu: &Gpu, batch: &Batch, num_lines: usize) -> bool {
    NUM_LINES.contains(&num_lines) && Bands::new(batch).have_whole_rows(gpu)
}

/// Calls `work` with combinations of lines that may have a point, one after another in a slice, in order and never none, until all
/// were there or it breaks off. The GPU makes the next ones meanwhile.
pub(super) fn for_each(
    gpu: &Gpu,
    batch: &Batch,
    params: &Params,
    mut work: impl FnMut(&[u32]) -> ControlFlow<()> + Send,
) -> Result<()> {
    let mut combinations = Combinations::new(gpu, batch, params)?;
    let mut next = combinations.next()?;
    while let Some(found) = next {
        let (flow, after) = rayon::join(|| work(&found), || combinations.next());
        if flow.is_break() {
            return Ok(());
        }
        next = after?;
    }
    Ok(())
}

/// Makes combinations, deepest first, so that few of them are held.
struct Combinations<'a> {
    gpu: &'a Gpu,
    batch: &'a Batch,
    num_lines: usize,
    bands: Bands,
    n_done: usize,
    filter: Buffer,
    /// The masks of some lines, and combinations of them that are being extended: of one line, of two, ...
    rows: Option<Rows>,
    levels: Vec<Level>,
    /// Combinations that are made at once; smaller where memory is.
    window: usize,
}

/// Combinations of `depth` lines.
struct Level {
    parents: Buffer,
    n_parents: usize,
    depth: usize,
    /// Those before were counted or are being written.
    next_parent: usize,
    counted: Option<Counted>,
}

/// Parents whose extensions were counted.
struct Counted {
    search: Search,
    places: Buffer,
    n_groups: usize,
    total: u32,
    written: u32,
}

impl<'a> Combinations<'a> {
    fn new(gpu: &'a Gpu, batch: &'a Batch, params: &Params) -> Result<Self> {
        let filter = Filter::new(batch, params.num_lines, params.max_distance, 1.0);
        let num_lines = params.num_lines as u64;
        let bytes = (gpu.max_binding() / 4).min(gpu.memory_budget() / BYTES_EACH);
        let window = usize::try_from(bytes / num_lines).unwrap_or(usize::MAX);
        Ok(Self {
            gpu,
            batch,
            num_lines: params.num_lines,
            bands: Bands::new(batch),
            n_done: 0,
            filter: gpu.scoped(|| gpu.upload(bytemuck::bytes_of(&filter), Use::Uniform))?,
            rows: None,
            levels: Vec::new(),
            window: window
                .min(LARGEST_WINDOW)
                .min(gpu.max_workgroups() * WORKGROUP_SIZE as usize)
                .max(1),
        })
    }

    /// The next combinations that may have a point.
    fn next(&mut self) -> Result<Option<Vec<u32>>> {
        loop {
            let found = match self.step() {
                // Half as many at once.
                Err(KernelError::OutOfMemory) if self.window > WORKGROUP_SIZE as usize => {
                    self.window /= 2;
                    continue;
                }
                found => found?,
            };
            match found {
                Step::Found(found) if found.is_empty() => {}
                Step::Found(found) => return Ok(Some(found)),
                Step::OnTheWay => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// One submission or two; nothing has changed after an error.
    fn step(&mut self) -> Result<Step> {
        let Some(level) = self.levels.last() else {
            return self.next_rows();
        };
        let Some(rows) = &self.rows else {
            unreachable!("levels are of some rows");
        };
        let deepest = level.depth + 1 == self.num_lines;
        match &level.counted {
            Some(counted) if counted.written < counted.total => {
                let units = rows.row_words as u64 * level.depth as u64 + JUDGE_UNITS;
                let left = (counted.total - counted.written) as usize;
                let n_children = left.min(self.at_once(units));
                let found = if deepest {
                    Step::Found(self.judged(rows, level, counted, n_children)?)
                } else {
                    let children = self.written(rows, level, counted, n_children)?;
                    let deeper = Level::new(children, n_children, level.depth + 1);
                    self.levels.push(deeper);
                    Step::OnTheWay
                };
                let place = self.levels.len() - if deepest { 1 } else { 2 };
                if let Some(counted) = &mut self.levels[place].counted {
                    counted.written += to_u32(n_children);
                }
                return Ok(found);
            }
            _ if level.next_parent < level.n_parents => {
                let units = rows.row_words as u64 * level.depth as u64;
                let most = (u32::MAX as usize / (WORD_BITS * rows.row_words)).max(1); // places are u32
                let left = level.n_parents - level.next_parent;
                let n = left.min(self.at_once(units)).min(most);
                let counted = self.counted(rows, level, n)?;
                if let Some(level) = self.levels.last_mut() {
                    level.next_parent += n;
                    level.counted = Some(counted);
                }
            }
            _ => {
                self.levels.pop();
            }
        }
        Ok(Step::OnTheWay)
    }

    /// Combinations for a submission, if each takes so many units.
    fn at_once(&self, units: u64) -> usize {
        let within_time = usize::try_from(self.gpu.budget(Work::Combinations) / units.max(1))
            .unwrap_or(usize::MAX);
        self.window.min(within_time).max(1)
    }

    /// The masks of the next lines, and these as combinations of one line.
    fn next_rows(&mut self) -> Result<Step> {
        self.rows = None;
        let Some((rows, n_bands)) = Rows::compute(self.gpu, self.batch, &self.bands, self.n_done)?
        else {
            return Ok(Step::End);
        };
        let lines: Vec<u32> = (0..to_u32(rows.n_first)).collect();
        let gpu = self.gpu;
        let parents = gpu.scoped(|| gpu.upload(bytemuck::cast_slice(&lines), Use::Storage))?;
        self.levels.push(Level::new(parents, lines.len(), 1));
        self.n_done += n_bands;
        self.rows = Some(rows);
        Ok(Step::OnTheWay)
    }

    /// Counts the extensions of the next `n` parents.
    fn counted(&self, rows: &Rows, level: &Level, n: usize) -> Result<Counted> {
        let gpu = self.gpu;
        let n_groups = n.div_ceil(WORKGROUP_SIZE as usize);
        let search = Search {
            n_parents: to_u32(n),
            depth: to_u32(level.depth),
            first_parent: to_u32(level.next_parent),
            ..Search::default()
        };
        let size = ListSize::new(0, n_groups, 0);
        let (places, done, uniform, size) = gpu.scoped(|| {
            Ok((
                gpu.buffer(4 * (n_groups as u64 + 2), Use::Storage)?,
                gpu.buffer(4 * n_groups as u64, Use::Storage)?,
                gpu.upload(bytemuck::bytes_of(&search), Use::Uniform)?,
                gpu.upload(bytemuck::bytes_of(&size), Use::Uniform)?,
            ))
        })?;
        let units = (n * level.depth * rows.row_words) as u64;
        let readbacks = gpu.submit(Work::Combinations, units, |commands| {
            commands.clear(&done);
            commands.clear(&places);
            let buffers: [(u32, &Buffer); 6] = [
                (0, &uniform),
                (1, &rows.rows),
                (2, &rows.words),
                (3, &level.parents),
                (4, &places),
                (6, &done),
            ];
            commands.dispatch(Pipeline::MinpointsCount, &buffers, n_groups)?;
            commands.dispatch(Pipeline::BitScan, &[(0, &size), (2, &places)], 1)?;
            commands.read(&done, done.bytes())?;
            commands.read(&places, places.bytes())
        })?;
        let [done, sums] = &readbacks[..] else {
            unreachable!("two buffers are read")
        };
        check_done(&[done.words(), &sums.words()[n_groups + 1..]])?;
        Ok(Counted {
            search,
            n_groups,
            total: sums.words()[n_groups],
            written: 0,
            places,
        })
    }

    /// The uniform for the next `n_children` extensions, and room for them.
    fn window(
        &self,
        level: &Level,
        counted: &Counted,
        n_children: usize,
    ) -> Result<(Buffer, Buffer, Buffer)> {
        let gpu = self.gpu;
        let search = Search {
            first_child: counted.written,
            n_children: to_u32(n_children),
            ..counted.search
        };
        gpu.scoped(|| {
            Ok((
                gpu.upload(bytemuck::bytes_of(&search), Use::Uniform)?,
                gpu.buffer(4 * (n_children * (level.depth + 1)) as u64, Use::Storage)?,
                gpu.buffer(4 * counted.n_groups as u64, Use::Storage)?,
            ))
        })
    }

    /// Writes extensions.
    fn written(
        &self,
        rows: &Rows,
        level: &Level,
        counted: &Counted,
        n_children: usize,
    ) -> Result<Buffer> {
        let (search, children, done) = self.window(level, counted, n_children)?;
        let units = (n_children * level.depth * rows.row_words) as u64;
        let readbacks = self.gpu.submit(Work::Combinations, units, |commands| {
            commands.clear(&done);
            let buffers = write_bindings(rows, level, counted, &search, &children, &done);
            commands.dispatch(Pipeline::MinpointsWrite, &buffers, counted.n_groups)?;
            commands.read(&done, done.bytes())
        })?;
        check_done(&[words(&readbacks, 0)])?;
        Ok(children)
    }

    /// Writes extensions and picks those that may have a point.
    fn judged(
        &self,
        rows: &Rows,
        level: &Level,
        counted: &Counted,
        n_children: usize,
    ) -> Result<Vec<u32>> {
        let gpu = self.gpu;
        let k = self.num_lines;
        let n_words = n_children.div_ceil(WORD_BITS);
        let size = ListSize::new(n_words, ListSize::n_chunks(n_words), n_children);
        let n_chunks = ListSize::n_chunks(n_words);
        let n_groups = n_words.div_ceil(WORKGROUP_SIZE as usize);
        let search = Search {
            n_parents: to_u32(n_children),
            depth: to_u32(k),
            n_chunks: to_u32(n_chunks),
            ..Search::default()
        };
        let (write, children, written) = self.window(level, counted, n_children)?;
        let storage = |words: usize| gpu.buffer(4 * words as u64, Use::Storage);
        let (judge, size, mask, list, chunks, picked, judged) = gpu.scoped(|| {
            Ok((
                gpu.upload(bytemuck::bytes_of(&search), Use::Uniform)?,
                gpu.upload(bytemuck::bytes_of(&size), Use::Uniform)?,
                storage(n_words)?,
                storage(n_children)?,
                storage(2 * n_chunks + 2)?,
                storage(k * n_children)?,
                storage(n_groups)?,
            ))
        })?;
        let units = rows.row_words as u64 * level.depth as u64 + JUDGE_UNITS;
        let readbacks = gpu.submit(Work::Combinations, n_children as u64 * units, |commands| {
            for buffer in [&written, &judged, &chunks, &picked] {
                commands.clear(buffer);
            }
            let buffers = write_bindings(rows, level, counted, &write, &children, &written);
            commands.dispatch(Pipeline::MinpointsWrite, &buffers, counted.n_groups)?;
            let buffers: [(u32, &Buffer); 6] = [
                (0, &judge),
                (3, &children),
                (6, &judged),
                (7, &self.filter),
                (8, &rows.lines),
                (9, &mask),
            ];
            commands.dispatch(Pipeline::MinpointsJudge, &buffers, n_groups)?;
            let buffers: [(u32, &Buffer); 4] = [(0, &size), (1, &mask), (2, &chunks), (3, &list)];
            commands.dispatch(Pipeline::BitCount, &buffers[..3], n_chunks)?;
            commands.dispatch(Pipeline::BitScan, &[(0, &size), (2, &chunks)], 1)?;
            commands.dispatch(Pipeline::BitWrite, &buffers, n_chunks)?;
            let buffers: [(u32, &Buffer); 5] = [
                (0, &judge),
                (3, &children),
                (4, &chunks),
                (5, &picked),
                (10, &list),
            ];
            commands.dispatch(Pipeline::MinpointsPick, &buffers, n_groups)?;
            commands.read(&written, written.bytes())?;
            commands.read(&judged, judged.bytes())?;
            commands.read(&chunks, chunks.bytes())
        })?;
        let sums = words(&readbacks, 2);
        check_done(&[
            words(&readbacks, 0),
            words(&readbacks, 1),
            &sums[n_chunks + 1..],
        ])?;
        let n_picked = sums[n_chunks] as usize;
        if n_picked == 0 {
            return Ok(Vec::new());
        }
        let bytes = 4 * (k * n_picked) as u64;
        let readbacks = gpu.submit(Work::Combinations, 0, |commands| {
            commands.read(&picked, bytes)
        })?;
        let picked = words(&readbacks, 0);
        // Lines ascend; what was not written is zeros.
        let ascends = |lines: &[u32]| lines.is_sorted_by(|a, b| a < b);
        if !picked.chunks_exact(k).all(ascends) {
            return Err(not_done());
        }
        let first_line = to_u32(rows.first_line);
        Ok(picked.iter().map(|line| first_line + line).collect())
    }
}

impl Level {
    fn new(parents: Buffer, n_parents: usize, depth: usize) -> Self {
        Self {
            parents,
            n_parents,
            depth,
            next_parent: 0,
            counted: None,
        }
    }
}

/// What a step gave.
enum Step {
    Found(Vec<u32>),
    OnTheWay,
    End,
}

fn write_bindings<'b>(
    rows: &'b Rows,
    level: &'b Level,
    counted: &'b Counted,
    search: &'b Buffer,
    children: &'b Buffer,
    done: &'b Buffer,
) -> [(u32, &'b Buffer); 7] {
    [
        (0, search),
        (1, &rows.rows),
        (2, &rows.words),
        (3, &level.parents),
        (4, &counted.places),
        (5, children),
        (6, done),
    ]
}

fn words(readbacks: &[Readback], n: usize) -> &[u32] {
    readbacks.get(n).map_or(&[], Readback::words)
}

fn check_done(flags: &[&[u32]]) -> Result<()> {
    let done = |flags: &&[u32]| !flags.is_empty() && flags.iter().all(|&word| word == DONE);
    if flags.iter().all(done) {
        Ok(())
    } else {
        Err(not_done())
    }
}

fn not_done() -> KernelError {
    KernelError::Gpu {
        reason: "the shader of minpoints did not run to its end".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::layout::assert_layout;

    #[test]
    fn structs_lie_in_memory_as_the_shader_reads_them() {
        assert_layout!(Filter in pept_shaders::MINPOINTS => distance, size_error, error,
            gradient_error, inverse, eigenvalue_error, min_eigenvalue, slack);
        assert_layout!(Search in pept_shaders::MINPOINTS => n_parents, depth, first_parent,
            first_child, n_children, n_chunks, padding_a, padding_b);
        for constant in [
            format!("const N_THREADS: u32 = {WORKGROUP_SIZE}u;"),
            format!("const WORD_BITS: u32 = {WORD_BITS}u;"),
            format!("const DONE: u32 = {DONE:#x}u;"),
        ] {
            assert!(
                pept_shaders::MINPOINTS.wgsl.contains(&constant),
                "{constant}"
            );
        }
    }
}
