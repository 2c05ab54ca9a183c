// Where do pairs of lines come nearest to each other, in f32? For the precision `Fast`, which keeps these positions.
//
// Lines are as in pairs.wgsl, and so is the mask; its set bits are in `list`, and their number in `chunks`, see
// bit_list.wgsl. With the points p = u x m of each line that are nearest to the centre, W = p_j - p_i and n = u_i x u_j, the
// nearest points are p_i + s u_i and p_j + t u_j, s = (W x u_j).n / n.n and t = (W x u_i).n / n.n.

struct Limits {
    max_squared: f32,        // of the distance
    min_sine_squared: f32,   // below, f64 has to decide
    n_bands: u32,
    n_chunks: u32,
    capacity: u32,           // of the list; if it is longer, nothing is decided
    padding_a: u32,
    padding_b: u32,
    padding_c: u32,
}

struct Line {
    ux: f32, uy: f32, uz: f32,
    mx: f32, my: f32, mz: f32,
}

// Consecutive lines whose bits stand together.
struct Band {
    first_word: u32,
    row_words: u32,
    first_line: u32,
    padding: u32,
}

@group(0) @binding(0) var<uniform> limits: Limits;
@group(0) @binding(1) var<storage, read> lines: array<Line>;
@group(0) @binding(2) var<storage, read> bands: array<Band>;
@group(0) @binding(3) var<storage, read> chunks: array<u32>;
@group(0) @binding(4) var<storage, read> list: array<u32>;
// The midpoint about the centre, divided by the scale; and REJECTED, ACCEPTED or UNDECIDED.
@group(0) @binding(5) var<storage, read_write> points: array<vec4<f32>>;

override WORKGROUP_SIZE: u32 = 64u;
const REJECTED: f32 = 1.0;
const ACCEPTED: f32 = 2.0;
const UNDECIDED: f32 = 3.0;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let n_bits = chunks[limits.n_chunks];
    if n_bits > limits.capacity {
        return;
    }
    for (var n = thread.x; n < n_bits; n += groups.x * WORKGROUP_SIZE) {
        let word = list[n] / 32u;
        // The last band that begins at or before the word.
        var low = 0u;
        var high = limits.n_bands;
        while high - low > 1u {
            let middle = (low + high) / 2u;
            if bands[middle].first_word <= word {
                low = middle;
            } else {
                high = middle;
            }
        }
        let band = bands[low];
        let row = (word - band.first_word) / band.row_words;
        let first_bit = 32u * (band.first_word + row * band.row_words);
        points[n] = nearest(band.first_line + row, band.first_line + list[n] - first_bit);
    }
}

fn nearest(i: u32, j: u32) -> vec4<f32> {
    let a = lines[i];
    let b = lines[j];
    let u = vec3<f32>(a.ux, a.uy, a.uz);
    let v = vec3<f32>(b.ux, b.uy, b.uz);
    let p = cross(u, vec3<f32>(a.mx, a.my, a.mz));
    let q = cross(v, vec3<f32>(b.mx, b.my, b.mz));
    let w = q - p;
    let normal = cross(u, v);
    let sine_squared = dot(normal, normal);
    if sine_squared < limits.min_sine_squared {
        return vec4<f32>(0.0, 0.0, 0.0, UNDECIDED);
    }
    let on_a = p + (dot(cross(w, v), normal) / sine_squared) * u;
    let on_b = q + (dot(cross(w, u), normal) / sine_squared) * v;
    let gap = on_a - on_b;
    let accepted = dot(gap, gap) < limits.max_squared;
    return vec4<f32>(0.5 * (on_a + on_b), select(REJECTED, ACCEPTED, accepted));
}
