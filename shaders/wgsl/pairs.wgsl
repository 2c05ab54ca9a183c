// Which pairs of lines may pass within a given distance of each other?
//
// A line is its unit direction u and its moment m = (P - c) x u about the batch's centre, divided by
// the batch's scale. For two lines |u_i.m_j + m_i.u_j| = distance * sin(angle), so the test needs
// neither a cross product nor a division. `Filter` widens it by a proven guard band: every pair that
// the f64 formula accepts has its bit set (proof: pept-kernels, src/pairs/filter.rs), whatever
// the adapter's rounding.
//
// A workgroup takes a tile of TILE_I x TILE_J pairs: one line i for each thread, in registers, the
// lines j in workgroup memory. Each thread writes the bits of its row as whole words, at addresses that
// follow from the pair: the order of the result depends on no atomic.

struct Filter {
    guard: f32,        // g: what rounding may add to |T|
    k: f32,            // 1 and what rounding may take from sin^2 = 1 - c^2
    max_squared: f32,  // m2: the largest distance, widened and squared
    padding: u32,
}

struct Line {
    ux: f32, uy: f32, uz: f32,
    mx: f32, my: f32, mz: f32,
}

struct Tile {
    first_i: u32,     // its rows: lines first_i..end_i
    end_i: u32,
    first_j: u32,     // its columns: lines first_j..end_j, at most TILE_J
    end_j: u32,
    first_word: u32,  // where the bits of pair (first_i, first_j) stand in `words`
    row_words: u32,   // words from one row to the next
}

@group(0) @binding(0) var<uniform> band: Filter;
@group(0) @binding(1) var<storage, read> lines: array<Line>;
@group(0) @binding(2) var<storage, read> tiles: array<Tile>;
@group(0) @binding(3) var<storage, read_write> words: array<u32>;
@group(0) @binding(4) var<storage, read_write> done: array<u32>;  // a tile says that it was computed

override WORKGROUP_SIZE: u32 = 64u;  // = TILE_I
const TILE_J: u32 = 128u;
const WORD_BITS: u32 = 32u;
const DONE: u32 = 0x600df00du;

var<workgroup> tile_lines: array<Line, TILE_J>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = tiles[group.x];

    for (var n = thread; n < TILE_J; n += WORKGROUP_SIZE) {
        tile_lines[n] = lines[min(tile.first_j + n, tile.end_j - 1u)];
    }
    workgroupBarrier();

    if thread == 0u {
        done[group.x] = DONE;
    }
    let i = tile.first_i + thread;
    if i >= tile.end_i {
        return;
    }
    let a = lines[i];
    let address = tile.first_word + thread * tile.row_words;
    let n_words = (tile.end_j - tile.first_j + WORD_BITS - 1u) / WORD_BITS;
    for (var word = 0u; word < n_words; word++) {
        var bits = 0u;
        for (var bit = 0u; bit < WORD_BITS; bit++) {
            let b = tile_lines[word * WORD_BITS + bit];
            let t = a.ux * b.mx + a.uy * b.my + a.uz * b.mz + a.mx * b.ux + a.my * b.uy + a.mz * b.uz;
            let c = a.ux * b.ux + a.uy * b.uy + a.uz * b.uz;
            let x = max(abs(t) - band.guard, 0.0);
            let candidate = x * x <= band.max_squared * (band.k - c * c);
            bits |= select(0u, 1u << bit, candidate);
        }
        // Only pairs i < j < end_j count.
        let first = tile.first_j + word * WORD_BITS;
        words[address + word] = bits & above(i, first) & below(tile.end_j, first);
    }
}

// Bits of the columns j > i, in the word that starts at column `first`.
fn above(i: u32, first: u32) -> u32 {
    if i < first { return 0xffffffffu; }
    let n = i - first + 1u;
    return select(0xffffffffu << (n & 31u), 0u, n >= WORD_BITS);
}

// Bits of the columns j < n, in the word that starts at column `first`.
fn below(n: u32, first: u32) -> u32 {
    let left = n - first;
    return select((1u << (left & 31u)) - 1u, 0xffffffffu, left >= WORD_BITS);
}
