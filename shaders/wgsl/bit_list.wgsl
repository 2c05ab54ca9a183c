// The positions of all set bits of a mask, ascending: count, scan, write. No atomics, so one order. Needs inclusive_sum.wgsl.
//
// The mask is cut into chunks of CHUNK_WORDS words, one for each workgroup of `count` and `write`. `count` adds up
// the bits of each chunk, `scan` (one workgroup) turns the sums into places in the list, `write` fills it.

struct Size {
    n_words: u32,
    n_chunks: u32,
    capacity: u32,  // of the list; positions past it are not written
    padding: u32,
}

@group(0) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> words: array<u32>;
// For each chunk its bits, then its place in the list; then the number of all bits, DONE, and a DONE for each chunk written.
@group(0) @binding(2) var<storage, read_write> chunks: array<u32>;
@group(0) @binding(3) var<storage, read_write> list: array<u32>;

override WORKGROUP_SIZE: u32 = 256u;
const N_THREADS: u32 = 256u;  // = WORKGROUP_SIZE
const WORDS_PER_THREAD: u32 = 4u;
const CHUNK_WORDS: u32 = 1024u;
const DONE: u32 = 0x600df00du;

fn bits_of(first: u32) -> u32 {
    var bits = 0u;
    for (var n = first; n < min(first + WORDS_PER_THREAD, size.n_words); n++) {
        bits += countOneBits(words[n]);
    }
    return bits;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let bits = inclusive_sum(thread, bits_of(group.x * CHUNK_WORDS + thread * WORDS_PER_THREAD));
    if thread == N_THREADS - 1u {
        chunks[group.x] = bits;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn scan(@builtin(local_invocation_index) thread: u32) {
    var before = 0u;
    for (var first = 0u; first < size.n_chunks; first += N_THREADS) {
        let n = first + thread;
        var bits = 0u;
        if n < size.n_chunks {
            bits = chunks[n];
        }
        let sum = inclusive_sum(thread, bits);
        if n < size.n_chunks {
            chunks[n] = before + sum - bits;
        }
        before += sums[N_THREADS - 1u];
    }
    if thread == 0u {
        chunks[size.n_chunks] = before;
        chunks[size.n_chunks + 1u] = DONE;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn write(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = group.x * CHUNK_WORDS + thread * WORDS_PER_THREAD;
    let bits = bits_of(first);
    let place = chunks[group.x];
    let sum = inclusive_sum(thread, bits);
    // What `count` and `scan` said has to be true.
    if thread == N_THREADS - 1u && place + sum == chunks[group.x + 1u] {
        chunks[size.n_chunks + 2u + group.x] = DONE;
    }
    var next = place + sum - bits;
    for (var n = first; n < min(first + WORDS_PER_THREAD, size.n_words); n++) {
        var left = words[n];
        while left != 0u {
            if next < size.capacity {
                list[next] = n * 32u + firstTrailingBit(left);
            }
            next++;
            left &= left - 1u;
        }
    }
}
