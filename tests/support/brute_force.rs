//! Kernels as their definitions read, over everything, in f64: the oracles.

use pept::kernels::cutpoints::Cutpoint;

/// All cutpoints of a sample, in (i, j) order.
pub(crate) fn cutpoints(
    lines: &[[f64; 7]],
    max_distance: f64,
    cutoffs: Option<[f64; 6]>,
) -> Vec<Cutpoint> {
    let mut found = Vec::new();
    let cutoffs = cutoffs.unwrap_or_else(|| bounding_box(lines));
    for i in 0..lines.len() {
        for j in i + 1..lines.len() {
            let (distance_squared, [x, y, z]) = match closest(&lines[i], &lines[j]) {
                Some(found) => found,
                None => continue,
            };
            let inside = cutoffs[0] < x
                && x < cutoffs[1]
                && cutoffs[2] < y
                && y < cutoffs[3]
                && cutoffs[4] < z
                && z < cutoffs[5];
            if distance_squared < max_distance * max_distance && inside {
                found.push(Cutpoint {
                    t: 0.5 * (lines[i][0] + lines[j][0]),
                    x,
                    y,
                    z,
                    i: i as u32,
                    j: j as u32,
                });
            }
        }
    }
    found
}

/// Squared length and midpoint of the shortest segment between two lines; `None` for parallel ones.
pub(crate) fn closest(a: &[f64; 7], b: &[f64; 7]) -> Option<(f64, [f64; 3])> {
    let dot = |x: [f64; 3], y: [f64; 3]| x[0] * y[0] + x[1] * y[1] + x[2] * y[2];
    let sub = |x: [f64; 3], y: [f64; 3]| [x[0] - y[0], x[1] - y[1], x[2] - y[2]];
    let (p, q) = ([a[1], a[2], a[3]], [b[1], b[2], b[3]]);
    let (u, r) = (sub([a[4], a[5], a[6]], p), sub([b[4], b[5], b[6]], q));
    let w = sub(q, p);
    let (uu, ur, rr, uw, rw) = (dot(u, u), dot(u, r), dot(r, r), dot(u, w), dot(r, w));
    let determinant = ur * ur - uu * rr;
    if determinant == 0.0 {
        return None;
    }
    let s = (ur * rw - rr * uw) / determinant;
    let t = (uu * rw - ur * uw) / determinant;
    let on_a: [f64; 3] = std::array::from_fn(|k| p[k] + s * u[k]);
    let on_b: [f64; 3] = std::array::from_fn(|k| q[k] + t * r[k]);
    let gap = sub(on_a, on_b);
    Some((
        dot(gap, gap),
        std::array::from_fn(|k| 0.5 * (on_a[k] + on_b[k])),
    ))
}

fn bounding_box(lines: &[[f64; 7]]) -> [f64; 6] {
    std::array::from_fn(|k| {
        let ends = lines
            .iter()
            .flat_map(|line| [line[1 + k / 2], line[4 + k / 2]]);
        if k % 2 == 0 {
            ends.fold(f64::INFINITY, f64::min)
        } else {
            ends.fold(f64::NEG_INFINITY, f64::max)
        }
    })
}

/// All minpoints of a sample, in lexicographic order: point and lines.
pub(crate) fn minpoints(
    lines: &[[f64; 7]],
    num_lines: usize,
    max_distance: f64,
    cutoffs: Option<[f64; 6]>,
) -> Vec<([f64; 4], Vec<u32>)> {
    let cutoffs = cutoffs.unwrap_or_else(|| bounding_box(lines));
    let mut found = Vec::new();
    let mut chosen: Vec<usize> = (0..num_lines).collect();
    while chosen.iter().all(|&n| n < lines.len()) {
        if let Some(point) = minpoint(lines, &chosen, max_distance, &cutoffs) {
            found.push((point, chosen.iter().map(|&n| n as u32).collect()));
        }
        // The next combination.
        let room = |k: usize| lines.len() - (num_lines - k);
        match (0..num_lines).rev().find(|&k| chosen[k] < room(k)) {
            Some(k) => {
                let first = chosen[k] + 1;
                for (n, line) in chosen[k..].iter_mut().enumerate() {
                    *line = first + n;
                }
            }
            None => break,
        }
    }
    found
}

fn minpoint(
    lines: &[[f64; 7]],
    chosen: &[usize],
    max_distance: f64,
    cutoffs: &[f64; 6],
) -> Option<[f64; 4]> {
    let k = chosen.len() as f64;
    let (mut a, mut b, mut t) = ([[0.0; 3]; 3], [0.0; 3], 0.0);
    let mut unit = Vec::new();
    for &n in chosen {
        let [time, x1, y1, z1, x2, y2, z2] = lines[n];
        let (p, d) = ([x1, y1, z1], [x2 - x1, y2 - y1, z2 - z1]);
        let length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
        let u = d.map(|d| d / length);
        let projector: [[f64; 3]; 3] = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                if i == j {
                    1.0 - u[i] * u[i]
                } else {
                    -(u[i] * u[j])
                }
            })
        });
        for i in 0..3 {
            for j in 0..3 {
                a[i][j] += projector[i][j];
            }
            b[i] += projector[i][0] * p[0] + projector[i][1] * p[1] + projector[i][2] * p[2];
        }
        t += time;
        unit.push((p, u));
    }
    let cofactor = |i: usize, j: usize| {
        let (r, s) = ((i + 1) % 3, (i + 2) % 3);
        let (c, d) = ((j + 1) % 3, (j + 2) % 3);
        a[r][c] * a[s][d] - a[r][d] * a[s][c]
    };
    let determinant =
        a[0][0] * cofactor(0, 0) + a[0][1] * cofactor(0, 1) + a[0][2] * cofactor(0, 2);
    // NaN is singular too.
    if determinant / (k * k * k) <= 1e-12 || determinant.is_nan() {
        return None;
    }
    let scale = 1.0 / determinant;
    let x: [f64; 3] = std::array::from_fn(|i| {
        (cofactor(i, 0) * b[0] + cofactor(i, 1) * b[1] + cofactor(i, 2) * b[2]) * scale
    });
    let inside = (0..3).all(|k| cutoffs[2 * k] <= x[k] && x[k] <= cutoffs[2 * k + 1]);
    let near = unit.iter().all(|(p, u)| {
        let w: [f64; 3] = std::array::from_fn(|k| x[k] - p[k]);
        let c = [
            w[1] * u[2] - w[2] * u[1],
            w[2] * u[0] - w[0] * u[2],
            w[0] * u[1] - w[1] * u[0],
        ];
        (c[0] * c[0] + c[1] * c[1] + c[2] * c[2]).sqrt() <= max_distance
    });
    (inside && near).then_some([t / k, x[0], x[1], x[2]])
}

/// The cells that a segment runs through and the length in each, by sorting its crossings with all faces. Coordinates are in
/// cells; for a segment of few binary digits this is exact.
pub(crate) fn cells(shape: [usize; 3], a: [f64; 3], b: [f64; 3]) -> Vec<(usize, f64)> {
    let d: [f64; 3] = std::array::from_fn(|k| b[k] - a[k]);
    let mut times = vec![0.0, 1.0];
    for k in 0..3 {
        if d[k] != 0.0 {
            let faces = (0..=shape[k]).map(|n| (n as f64 - a[k]) / d[k]);
            times.extend(faces.filter(|t| (0.0..=1.0).contains(t)));
        }
    }
    times.sort_by(f64::total_cmp);
    times.dedup();
    if d == [0.0; 3] {
        times = vec![0.0, 0.0];
    }
    let length = d.iter().map(|d| d * d).sum::<f64>().sqrt();
    let cell = |t: &[f64]| {
        let mut index = 0;
        for k in 0..3 {
            let middle = a[k] + 0.5 * (t[0] + t[1]) * d[k];
            if !(0.0..=shape[k] as f64).contains(&middle) {
                return None;
            }
            index = index * shape[k] + (middle as usize).min(shape[k] - 1);
        }
        Some((index, (t[1] - t[0]) * length))
    };
    times.windows(2).filter_map(cell).collect()
}
