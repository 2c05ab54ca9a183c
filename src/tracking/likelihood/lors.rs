//! A sample's lines, four at a time, and the paths that tracers take among them.

use std::cmp::Ordering;

use fearless_simd::{Level, dispatch};

use super::simd::crossing;
use super::{LANES, TERMS};
use crate::data::LineData;
use crate::linear_algebra::{difference, norm, squared_distance};

/// Four lines by coordinate: a point (mm), the unit direction, the time from -1 to 1, and how much it leans.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pack {
    /// Across the line and the axis of a ring, as long as the sine of the angle between the line and the normal of the crystals: where
    /// the depth at which photons are absorbed moves the line. Else 0.
    pub(super) lean: [[f64; LANES]; 3],
    pub(super) p: [[f64; LANES]; 3],
    pub(super) u: [[f64; LANES]; 3],
    pub(super) tau: [f64; LANES],
}

/// What fills the last pack: a line far from everything.
const FAR: Pack = Pack {
    p: [[1e18; LANES]; 3],
    u: [[1.0; LANES], [0.0; LANES], [0.0; LANES]],
    tau: [0.0; LANES],
    lean: [[0.0; LANES]; 3],
};

/// Fewest lines that show a ring, and how far (as a share of its radius) their ends may be from it.
const FEWEST_OF_RING: usize = 15;
const RING_TOLERANCE: f64 = 0.1;

/// A sample's lines, in an order that does not depend on that of the rows; those without length or with values that are not
/// finite are left out.
#[derive(Debug)]
pub(in crate::tracking) struct Lors {
    pub(super) packs: Vec<Pack>,
    pub(super) n: usize,
    /// The middle of the window and half its length (ms); 0 and 1 if all times are the same.
    pub(super) middle: f64,
    pub(super) half: f64,
    /// How many different times there are, up to 3: motion of a higher order cannot be known.
    pub(super) n_times: usize,
    /// Bounding box of the end points (mm).
    limits: [[f64; 2]; 3],
    pub(super) level: Level,
}

impl Lors {
    pub(in crate::tracking) fn new(lines: &LineData) -> Self {
        Self::from_rows(lines.line_slice().rows().collect())
    }

    /// Without the copies of a line.
    pub(in crate::tracking) fn of_distinct(lines: &LineData) -> Self {
        let mut rows: Vec<&[f64; 7]> = lines.line_slice().rows().collect();
        sort(&mut rows);
        rows.dedup_by(|a, b| compare(a, b).is_eq());
        Self::from_rows(rows)
    }

    fn from_rows(mut rows: Vec<&[f64; 7]>) -> Self {
        sort(&mut rows);
        rows.retain(|row| is_line(row));
        let n = rows.len();
        let mut packs = vec![FAR; n.div_ceil(LANES)];
        let mut n_times = 0;
        let mut limits = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        let mut span = [f64::INFINITY, f64::NEG_INFINITY];
        for (n, &&[t, x1, y1, z1, x2, y2, z2]) in rows.iter().enumerate() {
            let (p, q) = ([x1, y1, z1], [x2, y2, z2]);
            let d = difference(q, p);
            let length = norm(d);
            let (pack, lane) = (&mut packs[n / LANES], n % LANES);
            for k in 0..3 {
                pack.p[k][lane] = p[k];
                pack.u[k][lane] = d[k] / length;
                let [low, high] = limits[k];
                limits[k] = [low.min(p[k]).min(q[k]), high.max(p[k]).max(q[k])];
            }
            pack.tau[lane] = t;
            n_times = TERMS.min(n_times + usize::from(t > span[1]));
            span = [span[0].min(t), t];
        }
        let half = 0.5 * (span[1] - span[0]);
        let (middle, half) = if half > 0.0 && half.is_finite() {
            (span[0] + half, half)
        } else {
            n_times = n_times.min(1);
            (span[0], 1.0)
        };
        for (first, pack) in (0..).step_by(LANES).zip(&mut packs) {
            for tau in &mut pack.tau[..LANES.min(n - first)] {
                *tau = (*tau - middle) / half;
            }
        }
        if let Some(ring) = Ring::of(&rows, &limits) {
            for (n, row) in rows.iter().enumerate() {
                for (k, lean) in ring.across.into_iter().zip(ring.lean(row)) {
                    packs[n / LANES].lean[k][n % LANES] = lean;
                }
            }
        }
        Self {
            packs,
            n,
            middle,
            half,
            n_times,
            limits,
            level: Level::new(),
        }
    }

    pub(in crate::tracking) fn len(&self) -> usize {
        self.n
    }

    /// A line's point and direction.
    pub(in crate::tracking) fn line(&self, n: usize) -> ([f64; 3], [f64; 3]) {
        let (pack, lane) = (&self.packs[n / LANES], n % LANES);
        let ([px, py, pz], [ux, uy, uz]) = (&pack.p, &pack.u);
        (
            [px[lane], py[lane], pz[lane]],
            [ux[lane], uy[lane], uz[lane]],
        )
    }

    /// Whether a point is in the bounding box of the end points, give or take `margin` (mm).
    pub(in crate::tracking) fn contains(&self, x: &[f64; 3], margin: f64) -> bool {
        (0..3).all(|k| self.limits[k][0] - margin <= x[k] && x[k] <= self.limits[k][1] + margin)
    }

    /// The path through `position` (mm) at the time `t` (ms) with a velocity (mm/ms).
    pub(in crate::tracking) fn path(&self, t: f64, position: [f64; 3], velocity: [f64; 3]) -> Path {
        let step = velocity.map(|v| v * self.half);
        let tau = (t - self.middle) / self.half;
        let mut start = position;
        for k in 0..3 {
            start[k] -= step[k] * tau;
        }
        [start, step, [0.0; 3]]
    }

    /// The sum over every `step`-th pack of lines of `weight * (1 - d^2 / radius^2)`, where that is positive.
    pub(in crate::tracking) fn crossing(
        &self,
        weights: &[[f64; LANES]],
        x: [f64; 3],
        radius: f64,
        step: usize,
    ) -> f64 {
        dispatch!(self.level, simd => crossing(simd, &self.packs, weights, x, radius, step))
    }
}

/// Whether a row has a length, and finite values.
fn is_line(&[t, x1, y1, z1, x2, y2, z2]: &[f64; 7]) -> bool {
    let square = squared_distance([x1, y1, z1], [x2, y2, z2]);
    square > 0.0 && square.is_finite() && t.is_finite()
}

/// A camera whose crystals stand in a circle.
#[derive(Clone, Copy, Debug)]
struct Ring {
    /// Coordinates across the axis, the circle's centre there, and its radius (mm).
    across: [usize; 2],
    centre: [f64; 2],
    radius: f64,
}

impl Ring {
    /// The ring that all lines end in, if they do.
    fn of(rows: &[&[f64; 7]], limits: &[[f64; 2]; 3]) -> Option<Self> {
        if rows.len() < FEWEST_OF_RING {
            return None;
        }
        let around = |across: [usize; 2]| {
            let centre = across.map(|k| 0.5 * (limits[k][0] + limits[k][1]));
            let extents = across.map(|k| 0.5 * (limits[k][1] - limits[k][0]));
            let radius = 0.5 * (extents[0] + extents[1]);
            Self {
                across,
                centre,
                radius,
            }
        };
        let mut rings = [[0, 1], [1, 2], [0, 2]].map(around).into_iter();
        rings.find(|ring| {
            let ends = rows
                .iter()
                .flat_map(|row| [1, 4].map(|end| ring.across_axis(row, end)));
            let is_on_it =
                |[x, y]: [f64; 2]| (x.hypot(y) / ring.radius - 1.0).abs() < RING_TOLERANCE;
            ring.radius > 0.0 && ends.into_iter().all(is_on_it)
        })
    }

    fn across_axis(&self, row: &[f64; 7], end: usize) -> [f64; 2] {
        [0, 1].map(|k| row[end + self.across[k]] - self.centre[k])
    }

    /// Across the axis: see [`Pack::lean`].
    fn lean(&self, row: &[f64; 7]) -> [f64; 2] {
        let [[ax, ay], [bx, by]] = [1, 4].map(|end| self.across_axis(row, end));
        let (dx, dy) = (bx - ax, by - ay);
        let length = (dx * dx + dy * dy).sqrt();
        let sine = (ax * dy - ay * dx) / (length * self.radius);
        let factor = sine.clamp(-1.0, 1.0) / length;
        if factor.is_finite() {
            [-dy * factor, dx * factor]
        } else {
            [0.0; 2]
        }
    }
}

fn compare(a: &[f64; 7], b: &[f64; 7]) -> Ordering {
    let mut values = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    values
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// By time, then by coordinates: the same lines in any order give the same bits.
fn sort(rows: &mut [&[f64; 7]]) {
    if !rows.is_sorted_by(|a, b| a[0].total_cmp(&b[0]).is_le()) {
        rows.sort_unstable_by(|a, b| compare(a, b));
        return;
    }
    for equal in rows.chunk_by_mut(|a, b| a[0].total_cmp(&b[0]).is_eq()) {
        if equal.len() > 1 {
            equal.sort_unstable_by(|a, b| compare(a, b));
        }
    }
}

/// Coefficients of 1, tau and tau^2 (mm).
pub(super) type Path = [[f64; 3]; TERMS];

/// The largest way that a path is in the window, or a bit more (mm).
pub(super) fn length(step: &Path) -> f64 {
    step.iter().copied().map(norm).sum()
}

/// The largest distance between two paths in the window, or a bit more (mm).
pub(super) fn distance(a: &Path, b: &Path) -> f64 {
    let mut difference = *a;
    for m in 0..TERMS {
        for k in 0..3 {
            difference[m][k] -= b[m][k];
        }
    }
    length(&difference)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use ndarray::Array2;

    use super::*;
    use crate::linear_algebra::dot;

    #[test]
    fn lines_lean_in_a_ring_around_any_axis_and_nowhere_else() {
        let on_ring = |angle: f64| [420.0 * angle.cos() + 10.0, 420.0 * angle.sin() - 20.0];
        let chord = |n: usize| {
            let (from, width) = (n as f64 * 0.37, PI - 0.02 * (n % 40) as f64);
            let ([ax, ay], [bx, by]) = (on_ring(from), on_ring(from + width));
            (width, [n as f64, ax, ay, -50.0 + n as f64, bx, by, 40.0])
        };
        let chords: Vec<(f64, [f64; 7])> = (0..100).map(chord).collect();
        for turn in 0..3 {
            let row = |&(_, [t, a, b, c, d, e, f]): &(f64, [f64; 7])| match turn {
                0 => [t, a, b, c, d, e, f],
                1 => [t, c, a, b, f, d, e],
                _ => [t, b, c, a, e, f, d],
            };
            let rows: Vec<[f64; 7]> = chords.iter().map(row).collect();
            let lors = Lors::new(&LineData::new(Array2::from(rows)).unwrap());
            for (n, (width, _)) in chords.iter().enumerate() {
                let (_, u) = lors.line(n);
                let lean = lors.packs[n / LANES].lean.map(|lean| lean[n % LANES]);
                let (square, expected) = (dot(lean, lean), (0.5 * width).cos().powi(2));
                assert!(
                    (square - expected).abs() < 0.01,
                    "{turn} {n}: {square} {expected}"
                );
                let axis = [2, 0, 1][turn];
                assert!(dot(lean, u).abs() < 1e-9 && lean[axis].abs() < 1e-9);
            }
        }
        let screens = (0..100).map(|n| {
            let x = 7.0 * f64::from(n);
            [
                f64::from(n),
                x % 380.0,
                x % 510.0,
                0.0,
                (3.0 * x) % 380.0,
                (5.0 * x) % 510.0,
                712.0,
            ]
        });
        let rows: Vec<[f64; 7]> = screens.collect();
        let lors = Lors::new(&LineData::new(Array2::from(rows)).unwrap());
        assert!(lors.packs.iter().all(|pack| pack.lean == [[0.0; LANES]; 3]));
    }
}
