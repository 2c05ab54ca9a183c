// Which combinations of 3 or 4 lines are near each other pair by pair, and may have a point that all of them pass within a distance?
//
// The masks of pairs.wgsl say which lines are near each line. A combination of lines, ascending, is extended by the lines behind
// its last one that are near all of them: the AND of their rows. `count` adds up the extensions for each workgroup, `scan`
// of bit_list.wgsl turns the sums into places, `write` fills a window of the list: in lexicographic order, without atomics.
//
// `judge` looks at whole combinations: a bit for each that may have its point, in f32 within a proven band (proof:
// pept-kernels, src/minpoints/filter.rs). bit_list.wgsl lists these bits, `pick` copies their combinations. Needs inclusive_sum.wgsl.

struct Search {
    n_parents: u32,     // combinations to extend, judge or pick from
    depth: u32,         // lines of each
    first_parent: u32,  // they begin here
    first_child: u32,   // `write`: which of the extensions to write, and how many
    n_children: u32,
    n_chunks: u32,      // `pick`: the number of set bits stands at chunks[n_chunks]
    padding_a: u32,
    padding_b: u32,
}

// The word of column c of a line's row is words[place + c / 32]; columns from `end` on do not count.
struct Row {
    place: u32,
    end: u32,
}

struct Line {
    ux: f32, uy: f32, uz: f32,
    mx: f32, my: f32, mz: f32,
}

struct Filter {
    distance: f32,           // D
    size_error: f32,         // of a distance, per unit of the point's coordinates
    error: f32,              // and what it has anyway
    gradient_error: f32,     // of the gradient, per unit of the distances
    inverse: f32,            // 1 / num_lines^2, rounded down
    eigenvalue_error: f32,
    min_eigenvalue: f32,     // below, f64 has to decide
    slack: f32,              // for the last comparison
}

@group(0) @binding(0) var<uniform> search: Search;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> words: array<u32>;
@group(0) @binding(3) var<storage, read> parents: array<u32>;
@group(0) @binding(4) var<storage, read_write> chunks: array<u32>;    // extensions of each workgroup, then their places; the sum
@group(0) @binding(5) var<storage, read_write> children: array<u32>;  // also what is picked
@group(0) @binding(6) var<storage, read_write> done: array<u32>;      // a workgroup says that it was here
@group(0) @binding(7) var<uniform> band: Filter;
@group(0) @binding(8) var<storage, read> lines: array<Line>;
@group(0) @binding(9) var<storage, read_write> mask: array<u32>;
@group(0) @binding(10) var<storage, read> list: array<u32>;

override WORKGROUP_SIZE: u32 = 64u;
const N_THREADS: u32 = 64u;  // = WORKGROUP_SIZE
const WORD_BITS: u32 = 32u;
const DONE: u32 = 0x600df00du;

// The combination that a thread extends.
var<private> places: array<u32, 3>;
var<private> first_word: u32;
var<private> end: u32;

fn begin(n: u32) {
    first_word = 0u;
    end = 0u;
    if n >= search.n_parents {
        return;
    }
    let address = (search.first_parent + n) * search.depth;
    end = 0xffffffffu;
    for (var k = 0u; k < search.depth; k++) {
        let line = parents[address + k];
        let row = rows[line];
        places[k] = row.place;
        end = min(end, row.end);
        first_word = line / WORD_BITS;  // a row has no bits up to its own line
    }
}

// The bits of the lines that are near all, in the word of columns 32 n and on.
fn near_all(n: u32) -> u32 {
    var bits = words[places[0] + n];
    for (var k = 1u; k < search.depth; k++) {
        bits &= words[places[k] + n];
    }
    let left = end - n * WORD_BITS;
    return bits & select((1u << (left & 31u)) - 1u, 0xffffffffu, left >= WORD_BITS);
}

fn n_extensions() -> u32 {
    var bits = 0u;
    for (var n = first_word; n * WORD_BITS < end; n++) {
        bits += countOneBits(near_all(n));
    }
    return bits;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    begin(group.x * WORKGROUP_SIZE + thread);
    let sum = inclusive_sum(thread, n_extensions());
    if thread == N_THREADS - 1u {
        chunks[group.x] = sum;
        done[group.x] = DONE;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn write(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let parent = group.x * WORKGROUP_SIZE + thread;
    let place = chunks[group.x];
    // Nothing of this workgroup may be wanted.
    let window_end = search.first_child + search.n_children;
    if place < window_end && chunks[group.x + 1u] > search.first_child {
        begin(parent);
    } else {
        begin(search.n_parents);
    }
    let n_own = n_extensions();
    var next = place + inclusive_sum(thread, n_own) - n_own;
    if thread == 0u {
        done[group.x] = DONE;
    }
    if next >= window_end || next + n_own <= search.first_child {
        return;
    }
    let address = (search.first_parent + parent) * search.depth;
    for (var n = first_word; n * WORD_BITS < end; n++) {
        var left = near_all(n);
        while left != 0u {
            if next >= search.first_child && next < window_end {
                let child = (next - search.first_child) * (search.depth + 1u);
                for (var k = 0u; k < search.depth; k++) {
                    children[child + k] = parents[address + k];
                }
                children[child + search.depth] = n * WORD_BITS + firstTrailingBit(left);
            }
            next++;
            left &= left - 1u;
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn judge(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        done[group.x] = DONE;
    }
    let first = (group.x * WORKGROUP_SIZE + thread) * WORD_BITS;
    if first >= search.n_parents {
        return;
    }
    var bits = 0u;
    for (var bit = 0u; bit < min(WORD_BITS, search.n_parents - first); bit++) {
        bits |= select(0u, 1u << bit, may_have_point((first + bit) * search.depth));
    }
    mask[first / WORD_BITS] = bits;
}

// Whether f64 has to look at the combination that begins here.
fn may_have_point(address: u32) -> bool {
    // A x = b, as in f64, but with moments about the centre.
    var xx = 0.0;
    var xy = 0.0;
    var xz = 0.0;
    var yy = 0.0;
    var yz = 0.0;
    var zz = 0.0;
    var b = vec3<f32>();
    for (var k = 0u; k < search.depth; k++) {
        let line = lines[parents[address + k]];
        xx += 1.0 - line.ux * line.ux;
        xy -= line.ux * line.uy;
        xz -= line.ux * line.uz;
        yy += 1.0 - line.uy * line.uy;
        yz -= line.uy * line.uz;
        zz += 1.0 - line.uz * line.uz;
        b += cross(vec3<f32>(line.ux, line.uy, line.uz), vec3<f32>(line.mx, line.my, line.mz));
    }
    let c_xx = yy * zz - yz * yz;
    let c_xy = xz * yz - xy * zz;
    let c_xz = xy * yz - xz * yy;
    let c_yy = xx * zz - xz * xz;
    let c_yz = xy * xz - xx * yz;
    let c_zz = xx * yy - xy * xy;
    let determinant = xx * c_xx + xy * c_xy + xz * c_xz;
    let eigenvalue = determinant * band.inverse - band.eigenvalue_error;
    if !(eigenvalue >= band.min_eigenvalue) {
        return true;
    }
    // The bound holds for any x; one step of refinement makes it tight.
    var x = vec3<f32>();
    for (var step = 0u; step < 2u; step++) {
        x += vec3<f32>(
            c_xx * b.x + c_xy * b.y + c_xz * b.z,
            c_xy * b.x + c_yy * b.y + c_yz * b.z,
            c_xz * b.x + c_yz * b.y + c_zz * b.z,
        ) / determinant;
        b = vec3<f32>();
        for (var k = 0u; k < search.depth; k++) {
            let line = lines[parents[address + k]];
            let u = vec3<f32>(line.ux, line.uy, line.uz);
            b -= cross(u, cross(x, u) - vec3<f32>(line.mx, line.my, line.mz));
        }
    }
    var gradient = vec3<f32>();
    var farthest = 0.0;
    var sum = 0.0;
    for (var k = 0u; k < search.depth; k++) {
        let line = lines[parents[address + k]];
        let u = vec3<f32>(line.ux, line.uy, line.uz);
        let q = cross(x, u) - vec3<f32>(line.mx, line.my, line.mz);
        gradient += cross(u, q);
        farthest = max(farthest, dot(q, q));
        sum += size(q);
    }
    let error = band.size_error * size(x) + band.error;
    let slope = size(gradient) + band.gradient_error * sum + f32(search.depth) * error;
    let far = band.distance + error + slope / eigenvalue;
    return !(farthest > far * far * band.slack);
}

fn size(v: vec3<f32>) -> f32 {
    return abs(v.x) + abs(v.y) + abs(v.z);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn pick(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let n_bits = min(chunks[search.n_chunks], search.n_parents);
    for (var n = thread.x; n < n_bits; n += groups.x * WORKGROUP_SIZE) {
        for (var k = 0u; k < search.depth; k++) {
            children[n * search.depth + k] = parents[list[n] * search.depth + k];
        }
    }
}
