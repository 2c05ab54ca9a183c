// Which voxels do line segments run through? (Amanatides and Woo 1987, in integers)
//
// A thread takes one segment, prepared by the host: its first voxel, the number of faces that it crosses, and whose
// face comes next. Which of two axes a, b is next is the sign of E_ab = gap_a D_b - gap_b D_a (gap: distance to the next
// face, D: extent of the segment, in 2^-16 cells). A step changes E by multiples of 2^16, so its low bits are constant, and
// 2 floor(E / 2^16) + [low bits != 0] has the same sign: one i32 per pair of axes, without rounding or drift.
// The CPU form takes the same steps (pept-kernels, src/voxels/walk.rs).

struct Walk {
    first: u32,      // index of the first voxel
    n_steps: u32,    // faces to cross; equal ones count each
    move_x: u32,     // what a step adds to the index (wrapping)
    move_y: u32,
    move_z: u32,
    twice_x: i32,    // 2 D of each axis
    twice_y: i32,
    twice_z: i32,
    xy: i32,         // whose face comes first, x's (below 0) or y's (above)
    xz: i32,
    yz: i32,
    padding: u32,
}

// Where along the segment its faces lie: the next face of each axis, and what comes between two of them, as 64-bit
// numbers (low, high word) whose high word is the length from the segment's start, in units.
struct Faces {
    x: vec2<u32>,
    y: vec2<u32>,
    z: vec2<u32>,
    between_x: vec2<u32>,
    between_y: vec2<u32>,
    between_z: vec2<u32>,
    start: u32,      // length at the first voxel
    end: u32,        // and behind the last one
    weight: u32,     // what each unit of length, or each voxel, counts
    lengths: u32,    // 1: lengths count, 0: voxels do
}

struct Size {
    n_walks: u32,
    padding_a: u32,
    padding_b: u32,
    padding_c: u32,
}

@group(0) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> walks: array<Walk>;
@group(0) @binding(2) var<storage, read_write> low: array<atomic<u32>>;    // counts, or the sums' low words
@group(0) @binding(3) var<storage, read_write> done: array<u32>;           // a workgroup says that it was here
@group(0) @binding(4) var<storage, read_write> high: array<atomic<u32>>;   // the sums' high words
@group(0) @binding(5) var<storage, read> faces: array<Faces>;

override WORKGROUP_SIZE: u32 = 64u;
const DONE: u32 = 0x600df00du;

// The state of a walk.
var<private> walk: Walk;
var<private> voxel: u32;
var<private> steps: vec3<bool>;

fn begin(n: u32) {
    walk = walks[n];
    voxel = walk.first;
}

// Crosses the next face, or all that come at once.
fn step() {
    let x = walk.xy <= 0 && walk.xz <= 0;
    let y = walk.xy >= 0 && walk.yz <= 0;
    let z = walk.xz >= 0 && walk.yz >= 0;
    voxel += select(0u, walk.move_x, x) + select(0u, walk.move_y, y) + select(0u, walk.move_z, z);
    walk.xy += select(0, walk.twice_y, x) - select(0, walk.twice_x, y);
    walk.xz += select(0, walk.twice_z, x) - select(0, walk.twice_x, z);
    walk.yz += select(0, walk.twice_z, y) - select(0, walk.twice_y, z);
    walk.n_steps -= select(0u, 1u, x) + select(0u, 1u, y) + select(0u, 1u, z);
    steps = vec3<bool>(x, y, z);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn counts(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        done[group.x] = DONE;
    }
    let n = group.x * WORKGROUP_SIZE + thread;
    if n >= size.n_walks {
        return;
    }
    begin(n);
    atomicAdd(&low[voxel], 1u);
    while walk.n_steps != 0u {
        step();
        atomicAdd(&low[voxel], 1u);
    }
}

// a + b of 64 bits.
fn sum64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let word = a.x + b.x;
    return vec2<u32>(word, a.y + b.y + select(0u, 1u, word < a.x));
}

// a * b in 64 bits.
fn product64(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let middle = vec2<u32>(a1 * b0, a0 * b1);
    var product = vec2<u32>(a0 * b0, a1 * b1 + (middle.x >> 16u) + (middle.y >> 16u));
    product = sum64(product, vec2<u32>(middle.x << 16u, 0u));
    return sum64(product, vec2<u32>(middle.y << 16u, 0u));
}

// Adds to a sum. The order of additions does not show: they are whole numbers.
fn add(n: u32, value: vec2<u32>) {
    let old = atomicAdd(&low[n], value.x);
    let word = value.y + select(0u, 1u, old > 0xffffffffu - value.x);
    if word != 0u {
        atomicAdd(&high[n], word);
    }
}

// `length` times `weight`; rounding can make a length -1.
fn weighed(length: i32, weight: u32) -> vec2<u32> {
    let product = product64(u32(abs(length)), weight);
    if length < 0 {
        return sum64(vec2<u32>(~product.x, ~product.y), vec2<u32>(1u, 0u));
    }
    return product;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        done[group.x] = DONE;
    }
    let n = group.x * WORKGROUP_SIZE + thread;
    if n >= size.n_walks {
        return;
    }
    begin(n);
    var at = faces[n];
    var here = at.start;
    while walk.n_steps != 0u {
        let before = voxel;
        step();
        var next = at.z.y;
        if steps.z { at.z = sum64(at.z, at.between_z); }
        if steps.y { next = at.y.y; at.y = sum64(at.y, at.between_y); }
        if steps.x { next = at.x.y; at.x = sum64(at.x, at.between_x); }
        add(before, weighed(select(1, i32(next - here), at.lengths == 1u), at.weight));
        here = next;
    }
    add(voxel, weighed(select(1, i32(at.end - here), at.lengths == 1u), at.weight));
}
