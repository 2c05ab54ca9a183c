//! What a detector sees of a pair of photons.

use std::f64::consts::{PI, TAU};

use super::random::{Random, turned};
use super::scene::{DISTORTION_TERMS, Detector, Ring, Screens};

/// Angles over which a ring's sensitivity is averaged; the average of a smooth periodic function converges fast.
const ANGLES: u32 = 96;
/// Parts of a turn in a sector, about: so many that no part reaches over two edges.
const PARTS: usize = 8;

/// The highest power of a distortion.
const DEGREE: usize = 5;
const _: () = assert!((DEGREE + 1) * (DEGREE + 2) / 2 - 1 == DISTORTION_TERMS);

/// A box: x, y, z, from and to.
pub(super) type Extent = [[f64; 2]; 3];

/// Directions, among them all pairs of photons that a detector may see from some places.
pub(super) trait Directions {
    /// The share of them among all.
    fn share(&self) -> f64;

    /// One of them, isotropic.
    fn draw(&self, random: &mut Random) -> [f64; 3];
}

/// A detector, ready to see pairs of photons.
pub(super) trait Camera: Sync {
    type Directions: Directions;

    /// What may be seen from places within a box, or from anywhere.
    fn directions(&self, places: Option<Extent>) -> Self::Directions;

    /// Whether a point lies in the field of view.
    fn is_inside(&self, point: [f64; 3]) -> bool;

    /// The share of isotropic pairs from a point both of whose photons arrive.
    fn sensitivity(&self, point: [f64; 3]) -> f64;

    /// Where a photon meets the detector's surface, and whether it does. Without branches: either is as likely.
    fn meet(&self, from: [f64; 3], direction: [f64; 3]) -> ([f64; 3], bool);

    /// Where a photon meets the detector's surface; `None` if it does not.
    #[inline]
    fn arrive(&self, from: [f64; 3], direction: [f64; 3]) -> Option<[f64; 3]> {
        let (hit, is_met) = self.meet(from, direction);
        is_met.then_some(hit)
    }

    /// Whether two photons make an event: on two screens, the first one above.
    fn is_pair(&self, ends: &[[f64; 3]; 2]) -> bool;

    /// What the detector takes for the places of two photons that met its surface at `hits`, and the blocks that saw them.
    fn seen(
        &self,
        hits: [[f64; 3]; 2],
        directions: [[f64; 3]; 2],
        random: &mut Random,
    ) -> [([f64; 3], usize); 2];

    /// The ends of the line through a point, neither blurred nor limited: the second photon's, then the first one's.
    fn clean(&self, point: [f64; 3], direction: [f64; 3]) -> [[f64; 3]; 2];

    /// Two photons that have nothing to do with each other, as they are seen.
    fn unrelated(&self, random: &mut Random) -> [([f64; 3], usize); 2];

    /// Number of blocks that can be busy.
    fn n_blocks(&self) -> usize;
}

/// Either of the detectors.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
pub(super) enum AnyCamera {
    Screens(ScreensCamera),
    Ring(RingCamera),
}

impl AnyCamera {
    /// `widest`: the largest angle (radians) between two photons and a straight line that matters.
    pub(super) fn new(detector: &Detector, blur: f64, widest: f64) -> Self {
        match detector {
            Detector::Screens(screens) => Self::Screens(ScreensCamera::new(*screens, blur, widest)),
            Detector::Ring(ring) => Self::Ring(RingCamera::new(*ring, blur, widest)),
        }
    }

    pub(super) fn is_inside(&self, point: [f64; 3]) -> bool {
        match self {
            Self::Screens(camera) => camera.is_inside(point),
            Self::Ring(camera) => camera.is_inside(point),
        }
    }

    pub(super) fn sensitivity(&self, point: [f64; 3]) -> f64 {
        match self {
            Self::Screens(camera) => camera.sensitivity(point),
            Self::Ring(camera) => camera.sensitivity(point),
        }
    }

    /// The share of the directions that may be seen from places within a box.
    pub(super) fn share(&self, places: Option<Extent>) -> f64 {
        match self {
            Self::Screens(camera) => camera.directions(places).share(),
            Self::Ring(camera) => camera.directions(places).share(),
        }
    }
}

/// Two parallel screens.
#[derive(Clone, Debug)]
pub(super) struct ScreensCamera {
    screens: Screens,
    blur: f64,
    widest: f64,
    distortion: Option<[Factors; 2]>,
}

/// Directions up, of slopes in a rectangle: along x and along y, from and to. `None`: all directions up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slopes(Option<[[f64; 2]; 2]>);

impl Directions for Slopes {
    fn share(&self) -> f64 {
        let sum = |[[x0, x1], [y0, y1]]: [[f64; 2]; 2]| {
            corner(x1, y1) - corner(x0, y1) - corner(x1, y0) + corner(x0, y0)
        };
        self.0.map_or(1.0, |slopes| sum(slopes) / TAU)
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> [f64; 3] {
        let Some([[x0, x1], [y0, y1]]) = self.0 else {
            let cos = 1.0 - random.uniform();
            let sin = (1.0 - cos * cos).sqrt();
            let [x, y] = random.turn();
            return [sin * x, sin * y, cos];
        };
        loop {
            // A solid angle has the density (1 + x^2 + y^2)^-3/2 in slopes.
            let (x, y) = (random.between(x0, x1), random.between(y0, y1));
            let square = 1.0 + x * x + y * y;
            let chance = random.uniform();
            if chance * chance * square * square * square < 1.0 {
                let z = 1.0 / square.sqrt();
                return [x * z, y * z, z];
            }
        }
    }
}

/// The factors of a screen, along x and y, of v^j u^i at j and i.
type Factors = [[[f64; 2]; DEGREE + 1]; DEGREE + 1];

/// The factors of both screens by the powers of v and u.
fn by_power([x, y, far_x, far_y]: &[[f64; DISTORTION_TERMS]; 4]) -> [Factors; 2] {
    [(x, y), (far_x, far_y)].map(|(x, y)| {
        let mut factors = Factors::default();
        let terms = (1..=DEGREE).flat_map(|degree| (0..=degree).map(move |j| (j, degree - j)));
        for (n, (j, i)) in terms.enumerate() {
            factors[j][i] = [x[n], y[n]];
        }
        factors
    })
}

impl ScreensCamera {
    fn new(screens: Screens, blur: f64, widest: f64) -> Self {
        Self {
            screens,
            blur,
            widest,
            distortion: (screens.distortion != [[0.0; DISTORTION_TERMS]; 4])
                .then(|| by_power(&screens.distortion)),
        }
    }

    /// How far off a hit is seen.
    #[inline]
    fn distortion(&self, [x, y, _]: [f64; 3], factors: &Factors) -> [f64; 2] {
        let across = |[from, to]: [f64; 2], x: f64| (2.0 * x - from - to) / (to - from);
        let (u, v) = (across(self.screens.x, x), across(self.screens.y, y));
        let horner =
            |sum: [f64; 2], by: f64, next: [f64; 2]| [sum[0] * by + next[0], sum[1] * by + next[1]];
        let mut sum = [0.0; 2];
        for (j, of_power) in factors.iter().enumerate().rev() {
            let along_u = of_power[..=DEGREE - j].iter().rev();
            sum = horner(
                sum,
                v,
                along_u.fold([0.0; 2], |sum, next| horner(sum, u, *next)),
            );
        }
        sum
    }

    /// Where a photon that met a screen at `hit` is seen.
    #[inline]
    fn seen_at(&self, hit: [f64; 3], direction: [f64; 3], random: &mut Random) -> [f64; 3] {
        let [mut x, mut y, z] = hit;
        if self.screens.depth > 0.0 {
            // Absorbed within the crystal, seen on its face: too far out.
            let depth = self.screens.depth * random.uniform();
            let [dx, dy, dz] = direction;
            let lean = ((dx * dx + dy * dy) / (dz * dz)).sqrt();
            let limited = depth.min(self.screens.max_spread / lean);
            x += limited * dx / dz.abs();
            y += limited * dy / dz.abs();
        }
        if let Some(distortion) = &self.distortion {
            let [dx, dy] = self.distortion(hit, &distortion[usize::from(z > 0.0)]);
            x += dx;
            y += dy;
        }
        if self.blur > 0.0 {
            let [dx, dy] = random.normals();
            x += self.blur * dx;
            y += self.blur * dy;
        }
        [x, y, z]
    }

    fn on_screen(&self, x: f64, y: f64) -> bool {
        let within = |[from, to]: [f64; 2], x: f64| (from <= x) & (x <= to);
        within(self.screens.x, x) & within(self.screens.y, y)
    }
}

impl Camera for ScreensCamera {
    type Directions = Slopes;

    fn directions(&self, places: Option<Extent>) -> Slopes {
        let all = self.screens.separation;
        let [x, y, z] = places.unwrap_or([[f64::NEG_INFINITY, f64::INFINITY]; 3]);
        let widest = libm::tan(self.widest);
        // How far each screen is, at least.
        let (above, below) = ((all - z[1]).max(0.0), z[0].max(0.0));
        let slopes = |[from, to]: [f64; 2], [least, most]: [f64; 2]| {
            let (to_left, to_right) = ((most - from).max(0.0), (to - least).max(0.0));
            // One photon goes up, the other one down and to the other side.
            let steepest = |up: f64, down: f64| {
                // Steeper lines do not meet both screens; NaN is none.
                let slope = (up / above).min(down / below).min((to - from) / all);
                // The tangent of the sum of both angles.
                let left = 1.0 - slope * widest;
                if left > 0.0 {
                    (slope + widest) / left
                } else {
                    f64::INFINITY
                }
            };
            [-steepest(to_left, to_right), steepest(to_right, to_left)]
        };
        let slopes = [slopes(self.screens.x, x), slopes(self.screens.y, y)];
        // In slopes, directions are at most as dense as all directions up.
        let area = slopes.iter().map(|[from, to]| to - from).product::<f64>();
        Slopes((area < TAU).then_some(slopes))
    }

    fn is_inside(&self, [x, y, z]: [f64; 3]) -> bool {
        self.on_screen(x, y) && 0.0 < z && z < self.screens.separation
    }

    /// The solid angle of four rectangles, as [`AdacGeometricEfficiency`](super::AdacGeometricEfficiency) has it.
    fn sensitivity(&self, point: [f64; 3]) -> f64 {
        if !self.is_inside(point) {
            return 0.0;
        }
        let [x, y, below] = point;
        let above = self.screens.separation - below;
        let lean = |[from, to]: [f64; 2], x: f64| {
            let (before, after) = (x - from, to - x);
            [
                (after / above).min(before / below),
                (before / above).min(after / below),
            ]
        };
        let (x, y) = (lean(self.screens.x, x), lean(self.screens.y, y));
        let sum = corner(x[0], y[0]) + corner(x[1], y[0]) + corner(x[0], y[1]) + corner(x[1], y[1]);
        sum / TAU
    }

    #[inline]
    fn meet(&self, from: [f64; 3], direction: [f64; 3]) -> ([f64; 3], bool) {
        let height = if direction[2] > 0.0 {
            self.screens.separation
        } else {
            0.0
        };
        let length = (height - from[2]) / direction[2];
        let (x, y) = (
            from[0] + length * direction[0],
            from[1] + length * direction[1],
        );
        // From outside, the screen would be met backwards.
        ([x, y, height], (length > 0.0) & self.on_screen(x, y))
    }

    #[inline]
    fn is_pair(&self, [first, second]: &[[f64; 3]; 2]) -> bool {
        first[2] > second[2]
    }

    #[inline]
    fn seen(
        &self,
        [a, b]: [[f64; 3]; 2],
        [along_a, along_b]: [[f64; 3]; 2],
        random: &mut Random,
    ) -> [([f64; 3], usize); 2] {
        let a = self.seen_at(a, along_a, random);
        [a, self.seen_at(b, along_b, random)].map(|end| (end, usize::from(end[2] > 0.0)))
    }

    fn clean(&self, point: [f64; 3], direction: [f64; 3]) -> [[f64; 3]; 2] {
        [0.0, self.screens.separation].map(|height| {
            let length = (height - point[2]) / direction[2];
            [
                point[0] + length * direction[0],
                point[1] + length * direction[1],
                height,
            ]
        })
    }

    fn unrelated(&self, random: &mut Random) -> [([f64; 3], usize); 2] {
        [0.0, self.screens.separation].map(|height| {
            let [x, y] = [self.screens.x, self.screens.y].map(|[a, b]| random.between(a, b));
            ([x, y, height], usize::from(height > 0.0))
        })
    }

    fn n_blocks(&self) -> usize {
        2
    }
}

/// The solid angle of a rectangle of `x` by `y`, seen from a distance of 1 above one of its corners.
fn corner(x: f64, y: f64) -> f64 {
    libm::atan(x * y / (1.0 + x * x + y * y).sqrt())
}

/// A ring of blocks of crystals.
#[derive(Clone, Debug)]
pub(super) struct RingCamera {
    ring: Ring,
    blur: f64,
    /// Cosine and sine of the middle of each sector.
    sectors: Vec<[f64; 2]>,
    /// Cosine and sine of where each sector starts, and of where the last one ends.
    edges: Vec<[f64; 2]>,
    /// The sector in which each part of a turn starts; see [`parts`](Self::parts).
    first_sectors: Vec<u32>,
    /// Half the axial length.
    half: f64,
    /// Around: the middles of the crystals of a sector, and how far they are from the axis.
    around: Cells,
    reported: f64,
    /// Along the axis: the middles of the crystals of each block (z), and of the blocks.
    along: Cells,
    blocks: Cells,
    widest: f64,
    /// Directions over half a turn.
    angles: Vec<[f64; 2]>,
}

/// Directions near a plane across the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Belt {
    /// The largest cosine between the axis and a line.
    steepest: f64,
}

impl Directions for Belt {
    fn share(&self) -> f64 {
        self.steepest
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> [f64; 3] {
        let cos = random.between(-self.steepest, self.steepest);
        let sin = (1.0 - cos * cos).sqrt();
        let [x, y] = random.turn();
        [sin * x, sin * y, cos]
    }
}

impl RingCamera {
    fn new(ring: Ring, blur: f64, widest: f64) -> Self {
        let half = 0.5 * ring.axial;
        let turn = |sector: f64| turned(sector / ring.sectors as f64);
        let sectors: Vec<[f64; 2]> = (0..ring.sectors)
            .map(|sector| turn(sector as f64 + 0.5))
            .collect();
        // The front and the mean depth of absorption.
        let reported = ring.radius + mean_depth(ring.depth, ring.attenuation_length);
        let length = ring.axial / ring.blocks as f64;
        let blocks = Cells::new(ring.blocks, length, &[0.0]);
        let middles = blocks.middles.clone();
        let n_parts = PARTS * ring.sectors;
        let first_sector = |part: usize| {
            // `parts` reversed: where |x| + |y| is 1.
            let quarters = 4.0 * part as f64 / n_parts as f64;
            let (x, up) = if quarters < 2.0 {
                (1.0 - quarters, 1.0)
            } else {
                (quarters - 3.0, -1.0)
            };
            let angle = libm::atan2(up * (1.0 - x.abs()), x);
            let turns = angle / TAU;
            let sector = cell((turns - turns.floor()) * ring.sectors as f64, ring.sectors);
            u32::try_from(sector).unwrap_or(0)
        };
        Self {
            first_sectors: (0..n_parts).map(first_sector).collect(),
            around: Cells::new(ring.crystals[0], ring.pitch[0], &[0.0]),
            reported,
            along: Cells::new(ring.crystals[1], ring.pitch[1], &middles),
            blocks,
            edges: (0..ring.sectors)
                .chain([0])
                .map(|sector| turn(sector as f64))
                .collect(),
            sectors,
            half,
            widest,
            blur,
            angles: (0..ANGLES)
                .map(|n| turned(0.5 * f64::from(n) / f64::from(ANGLES)))
                .collect(),
            ring,
        }
    }

    /// How far it is (in lengths of `direction`) to the cylinder of this radius around the axis, forwards and backwards.
    #[inline]
    fn to_cylinder(point: [f64; 3], direction: [f64; 3], radius: f64) -> Option<[f64; 2]> {
        let ([x, y, _], [dx, dy, _]) = (point, direction);
        let across = dx * dx + dy * dy;
        let along = x * dx + y * dy;
        let root = along * along - across * (x * x + y * y - radius * radius);
        (root >= 0.0 && across > 0.0).then(|| {
            let root = root.sqrt();
            [(root - along) / across, (-root - along) / across]
        })
    }

    /// The parts of a turn that points are in: they are not of the same angle, but nearly, and come without an arc tangent.
    #[inline]
    fn parts(&self, [x, y]: [[f64; 2]; 2]) -> [usize; 2] {
        let n = self.first_sectors.len();
        // From 1 down to -1 above the axis x, and from -1 up to 1 below.
        let across = both(|k| x[k] / (x[k].abs() + y[k].abs()));
        let quarters = both(|k| {
            if y[k] >= 0.0 {
                1.0 - across[k]
            } else {
                3.0 + across[k]
            }
        });
        quarters.map(|quarters| cell(quarters * (0.25 * n as f64), n))
    }

    /// The sectors of two points: those in which their parts start, or neighbours.
    #[inline]
    fn sectors(&self, [x, y]: [[f64; 2]; 2]) -> [usize; 2] {
        let n = self.ring.sectors;
        let parts = self.parts([x, y]);
        // To the left of a direction, seen from the axis.
        let left = |[cos, sin]: [f64; 2], k: usize| cos * y[k] - sin * x[k];
        let first = parts.map(|part| self.first_sectors[part] as usize);
        let sectors: [usize; 2] = std::array::from_fn(|k| {
            // Without a branch, where either is likely.
            let sector = first[k] + usize::from(left(self.edges[first[k] + 1], k) >= 0.0);
            if sector == n { 0 } else { sector }
        });
        std::array::from_fn(|k| {
            if left(self.edges[sectors[k]], k) < 0.0 {
                (sectors[k] + n - 1) % n
            } else {
                sectors[k]
            }
        })
    }

    /// The middles of the crystals at two points within the ring of crystals, their sectors, and their blocks in there. Two at a time:
    /// processors work on one while they wait for the other.
    #[inline]
    fn crystals(&self, [a, b]: [[f64; 3]; 2]) -> [([f64; 3], [usize; 2]); 2] {
        let [x, y, z] = [[a[0], b[0]], [a[1], b[1]], [a[2], b[2]]];
        let sectors = self.sectors([x, y]);
        let turns = sectors.map(|sector| self.sectors[sector]);
        let offsets = both(|k| y[k] * turns[k][0] - x[k] * turns[k][1]);
        let across = offsets.map(|offset| self.around.middle(0, offset));
        let blocks = z.map(|z| self.blocks.number(z));
        let middles = blocks.map(|block| self.blocks.middles[block]);
        let along = both(|k| self.along.middle(blocks[k], z[k] - middles[k]));
        let end_x = both(|k| self.reported * turns[k][0] - across[k] * turns[k][1]);
        let end_y = both(|k| self.reported * turns[k][1] + across[k] * turns[k][0]);
        std::array::from_fn(|k| ([end_x[k], end_y[k], along[k]], [sectors[k], blocks[k]]))
    }

    /// Where a photon that met the ring at `hit` is absorbed, and what blur makes of it.
    #[inline]
    fn absorbed(&self, hit: [f64; 3], direction: [f64; 3], random: &mut Random) -> [f64; 3] {
        let mut place = hit;
        let Ring {
            depth,
            attenuation_length: length,
            radius,
            ..
        } = self.ring;
        if depth > 0.0 {
            // Absorbed somewhere on the way through the ring of crystals, or it would not have been seen.
            let outward = hit[0] * direction[0] + hit[1] * direction[1];
            let way = loop {
                let way = length * random.exponential();
                if way * outward < depth * radius {
                    break way;
                }
            };
            place = std::array::from_fn(|k| hit[k] + way * direction[k]);
        }
        if self.blur > 0.0 {
            let [across, along] = random.normals().map(|x| x * self.blur);
            let [x, y, z] = place;
            let distance = (x * x + y * y).sqrt();
            place = [
                x - across * y / distance,
                y + across * x / distance,
                z + along,
            ];
        }
        place
    }
}

/// Of two.
#[inline]
fn both(f: impl Fn(usize) -> f64) -> [f64; 2] {
    [f(0), f(1)]
}

/// Cells of one width side by side, around a middle, in each of some groups.
#[derive(Clone, Debug)]
struct Cells {
    n: usize,
    per_mm: f64,
    /// Half their number.
    half: f64,
    /// Of all cells of the first group, of the second one, and so on.
    middles: Vec<f64>,
}

impl Cells {
    /// Groups with these middles.
    fn new(n: usize, width: f64, groups: &[f64]) -> Self {
        let half = 0.5 * n as f64;
        let cells =
            |&group: &f64| (0..n).map(move |cell| group + (cell as f64 + 0.5 - half) * width);
        Self {
            n,
            per_mm: 1.0 / width,
            half,
            middles: groups.iter().flat_map(cells).collect(),
        }
    }

    /// The cell at this offset from the middle, or the nearest one.
    #[inline]
    fn number(&self, offset: f64) -> usize {
        cell(offset * self.per_mm + self.half, self.n)
    }

    /// Its middle, in a group.
    #[inline]
    fn middle(&self, group: usize, offset: f64) -> f64 {
        self.middles[group * self.n + self.number(offset)]
    }
}

/// The cell of a number among `n` of width 1, the nearest one for numbers outside.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates"
)]
fn cell(place: f64, n: usize) -> usize {
    (place as u32 as usize).min(n - 1) // u32: in fewer instructions
}

/// Mean of an exponential depth of this length that is at most `depth`.
fn mean_depth(depth: f64, length: f64) -> f64 {
    if depth > 0.0 {
        let rest = libm::exp(-depth / length);
        length - depth * rest / (1.0 - rest)
    } else {
        0.0
    }
}

impl Camera for RingCamera {
    type Directions = Belt;

    fn directions(&self, places: Option<Extent>) -> Belt {
        let reach = |[from, to]: [f64; 2]| from.abs().max(to.abs());
        let radius = self.ring.radius;
        let steepest = |[x, y, z]: Extent| {
            let farthest = (reach(x) * reach(x) + reach(y) * reach(y)).sqrt();
            if farthest >= radius {
                return 1.0;
            }
            // The shortest chord leans most, and no line more than one from the nearest wall over the nearest edge.
            let chord = 2.0 * (radius * radius - farthest * farthest).sqrt();
            let middle = z[0].max(-z[1]).max(0.0);
            let edge = (self.half - middle).max(0.0) / (radius - farthest);
            let slope = edge.min(self.ring.axial / chord);
            (slope / (1.0 + slope * slope).sqrt() + self.widest).min(1.0)
        };
        Belt {
            steepest: places.map_or(1.0, steepest),
        }
    }

    fn is_inside(&self, [x, y, z]: [f64; 3]) -> bool {
        x * x + y * y < self.ring.radius * self.ring.radius && z.abs() <= self.half
    }

    fn sensitivity(&self, point: [f64; 3]) -> f64 {
        if !self.is_inside(point) {
            return 0.0;
        }
        let (up, down) = (self.half - point[2], self.half + point[2]);
        let mut sum = 0.0;
        for &[cos, sin] in &self.angles {
            let lengths = Self::to_cylinder(point, [cos, sin, 0.0], self.ring.radius);
            let Some([forward, backward]) = lengths else {
                return 0.0;
            };
            let backward = -backward;
            // Of slopes that both photons may have, the cosine is uniform.
            let cosine = |slope: f64| slope / (1.0 + slope * slope).sqrt();
            sum += cosine((up / forward).min(down / backward))
                + cosine((down / forward).min(up / backward));
        }
        0.5 * sum / f64::from(ANGLES)
    }

    #[inline]
    fn meet(&self, from: [f64; 3], direction: [f64; 3]) -> ([f64; 3], bool) {
        let ([x, y, _], [dx, dy, _]) = (from, direction);
        let beyond = x * x + y * y - self.ring.radius * self.ring.radius;
        let across = dx * dx + dy * dy;
        let along = x * dx + y * dy;
        let forward = ((along * along - across * beyond).sqrt() - along) / across;
        let hit: [f64; 3] = std::array::from_fn(|k| from[k] + forward * direction[k]);
        // From outside, the cylinder would be met backwards or from behind.
        let is_met = (beyond < 0.0) & (across > 0.0) & (hit[2].abs() <= self.half);
        (hit, is_met)
    }

    #[inline]
    fn is_pair(&self, _: &[[f64; 3]; 2]) -> bool {
        true
    }

    #[inline]
    fn seen(
        &self,
        [a, b]: [[f64; 3]; 2],
        [along_a, along_b]: [[f64; 3]; 2],
        random: &mut Random,
    ) -> [([f64; 3], usize); 2] {
        let a = self.absorbed(a, along_a, random);
        let ends = self.crystals([a, self.absorbed(b, along_b, random)]);
        ends.map(|(end, [sector, block])| (end, sector * self.ring.blocks + block))
    }

    fn clean(&self, point: [f64; 3], direction: [f64; 3]) -> [[f64; 3]; 2] {
        let lengths = Self::to_cylinder(point, direction, self.ring.radius);
        let [forward, backward] = lengths.unwrap_or([self.ring.radius, -self.ring.radius]);
        [backward, forward].map(|length| std::array::from_fn(|k| point[k] + length * direction[k]))
    }

    fn unrelated(&self, random: &mut Random) -> [([f64; 3], usize); 2] {
        let one = |random: &mut Random| {
            let [cos, sin] = random.turn();
            let hit = [
                self.ring.radius * cos,
                self.ring.radius * sin,
                random.between(-self.half, self.half),
            ];
            self.absorbed(hit, [cos, sin, 0.0], random)
        };
        loop {
            let a = one(random);
            let ends = self.crystals([a, one(random)]);
            let [sector, other] = ends.map(|(_, [sector, _])| sector);
            // No coincidence of a sector with itself.
            if sector != other {
                return ends.map(|(end, [sector, block])| (end, sector * self.ring.blocks + block));
            }
        }
    }

    fn n_blocks(&self) -> usize {
        self.ring.sectors * self.ring.blocks
    }
}

/// The ADAC Forte where its rates were measured.
pub(super) const FORTE: Reference = Reference { separation: 525.0 };

/// Screens of the ADAC Forte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    separation: f64,
}

impl Reference {
    /// How much more than these screens others see of what is in their middle.
    pub(super) fn beside(self, screens: &Screens) -> f64 {
        let in_the_middle = |screens: Screens| {
            let middle = Detector::Screens(screens).middle();
            ScreensCamera::new(screens, 0.0, 0.0).sensitivity(middle)
        };
        in_the_middle(*screens) / in_the_middle(Screens::new(self.separation))
    }
}

/// Radians of degrees.
pub(super) fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    fn share<C: Camera>(camera: &C, point: [f64; 3], n: u32, among: Option<&C::Directions>) -> f64 {
        let mut random = Random::stream(5, Purpose::Block, 0, 0);
        let seen = (0..n).filter(|_| {
            let direction = match among {
                Some(directions) => directions.draw(&mut random),
                None => random.direction(),
            };
            let back = direction.map(|x| -x);
            let ends = [camera.arrive(point, direction), camera.arrive(point, back)];
            ends.iter().all(Option::is_some)
        });
        let count = seen.count() as f64 / f64::from(n);
        count * among.map_or(1.0, Directions::share)
    }

    fn assert_shares(camera: &impl Camera, point: [f64; 3]) {
        const N: u32 = 400_000;
        let expected = camera.sensitivity(point);
        // A box that reaches as far to other sides, the place alone, any place.
        let around = |reach: f64| Some(point.map(|x| [x - 2.0 * reach, x + reach]));
        let boxes = [None, around(0.0), around(20.0), around(150.0)];
        let directions = boxes.map(|places| camera.directions(places));
        let shares = directions.iter().map(Directions::share);
        assert!(
            shares
                .clone()
                .all(|share| share >= expected * (1.0 - 1e-12))
        );
        let [any, alone, near, far] = directions.each_ref().map(Directions::share);
        assert!(alone <= near && near <= far && far <= any);
        for among in [None].into_iter().chain(directions.iter().map(Some)) {
            let found = share(camera, point, N, among);
            let bound = 5.0 * (expected.max(1e-4) / f64::from(N)).sqrt();
            assert!(
                (found - expected).abs() < bound,
                "{point:?}: {found} {expected} {bound}"
            );
        }
    }

    #[test]
    fn the_sensitivity_is_the_share_of_isotropic_pairs_that_arrive() {
        for separation in [100.0, 250.0, 600.0] {
            let camera = ScreensCamera::new(Screens::new(separation), 0.0, 0.0);
            assert_eq!(camera.directions(None).0.is_none(), separation < 300.0);
            for share in [0.05, 0.5, 0.8] {
                assert_shares(&camera, [302.0, 302.0, share * separation]);
                assert_shares(&camera, [140.0, 500.0, share * separation]);
            }
            assert_eq!(camera.sensitivity([302.0, 302.0, -1.0]), 0.0);
        }
        let camera = RingCamera::new(Ring::default(), 0.0, 0.0);
        let places = [
            [0.0; 3],
            [100.0, -150.0, 20.0],
            [0.0, 150.0, -110.0],
            [-300.0, 0.0, 60.0],
        ];
        for point in places {
            assert_shares(&camera, point);
        }
        let small = camera.directions(Some([[-5.0, 5.0], [-5.0, 5.0], [60.0, 70.0]]));
        assert!(small.share() < 0.15, "{small:?}");
        assert_eq!(camera.directions(None).share(), 1.0);
        assert_eq!(camera.sensitivity([0.0, 0.0, 118.0]), 0.0);
        assert_eq!(camera.sensitivity([0.0, 421.0, 0.0]), 0.0);
        // Known answers: the efficiency of the specification; the middle of a ring sees |cos| up to axial / diagonal.
        let efficiency = Screens {
            x: [111.78, 491.78],
            y: [46.78, 556.78],
            ..Screens::new(520.0)
        };
        let camera = ScreensCamera::new(efficiency, 0.0, 0.0);
        let found = camera.sensitivity([250.0, 250.0, 260.0]);
        assert!((found - 0.186_693_02).abs() < 1e-8, "{found}");
        let camera = RingCamera::new(Ring::default(), 0.0, 0.0);
        let expected = 117.0 / (117.0_f64.powi(2) + 420.0_f64.powi(2)).sqrt();
        assert!((camera.sensitivity([0.0; 3]) - expected).abs() < 1e-12);
    }

    #[test]
    fn every_point_is_in_the_sector_of_its_angle() {
        for n in [3, 14, 72, 1000] {
            let ring = Ring {
                sectors: n,
                ..Ring::default()
            };
            let camera = RingCamera::new(ring, 0.0, 0.0);
            for k in 0..20_000 {
                let angle = f64::from(k) * 0.001 + 1e-7;
                let expected = (angle / TAU).fract() * n as f64;
                if (expected - expected.round()).abs() > 1e-9 {
                    let [found, other] =
                        camera.sectors([[3.0 * angle.cos(), 1.0], [3.0 * angle.sin(), 0.0]]);
                    assert_eq!(other, 0);
                    assert_eq!(found, expected as usize, "{n} {angle}");
                }
            }
            assert!(camera.sectors([[-0.0, 1.0], [-0.0, 0.0]])[0] < n);
        }
    }

    #[test]
    fn crystals_are_on_the_ring_and_near_what_they_saw() {
        let ring = Ring::default();
        let camera = RingCamera::new(ring, 0.0, 0.0);
        let reported = ring.radius + mean_depth(ring.depth, ring.attenuation_length);
        let mut random = Random::stream(6, Purpose::Block, 0, 0);
        let mut ends = Vec::new();
        let mut bias = 0.0;
        const N: usize = 100_000;
        let directions = camera.directions(None);
        for _ in 0..N {
            // Lines that pass the axis at some distance: the depth of absorption moves their ends.
            let direction = directions.draw(&mut random);
            let point = [150.0 * direction[1], -150.0 * direction[0], 0.0];
            let Some(hit) = camera.arrive(point, direction) else {
                continue;
            };
            let [(end, block), _] = camera.seen([hit; 2], [direction; 2], &mut random);
            assert!(block < 432);
            let distance = (end[0] * end[0] + end[1] * end[1]).sqrt();
            assert!((reported..reported + 0.5).contains(&distance));
            let [forward, _] = RingCamera::to_cylinder(point, direction, reported).unwrap();
            let clean: [f64; 3] = std::array::from_fn(|k| point[k] + forward * direction[k]);
            let offset: [f64; 3] = std::array::from_fn(|k| end[k] - clean[k]);
            // Half a crystal's diagonal, and what 21 mm more of depth do where lines lean by up to 21 and 16 degrees.
            assert!(super::super::vector::dot(offset, offset).sqrt() < 14.0);
            bias += (offset[0] * -clean[1] + offset[1] * clean[0]) / distance;
            ends.push(end.map(|x| (x * 1e6).round() as i64));
        }
        // Where lines lean, photons are absorbed less deep than on average, by up to 0.4 mm.
        let bias = bias / ends.len() as f64;
        assert!(bias.abs() < 0.4, "{bias}");
        ends.sort_unstable();
        ends.dedup();
        let n_crystals = 72 * 6 * 64;
        assert!(ends.len() > n_crystals / 2 && ends.len() <= n_crystals);
        assert!((reported - 428.6).abs() < 0.1, "{}", reported);
    }

    #[test]
    fn a_distortion_is_the_sum_of_its_terms_in_the_order_of_degrees() {
        let mut screens = Screens {
            x: [-1.0, 1.0],
            y: [-1.0, 1.0],
            ..Screens::new(600.0)
        };
        let [u, v] = [0.7, -0.4_f64];
        let mut expected = [0.0; 4];
        let mut n = 0;
        for degree in 1..=5 {
            for j in 0..=degree {
                let term = u.powi(degree - j) * v.powi(j);
                for (list, expected) in expected.iter_mut().enumerate() {
                    let factor = (1 + n) as f64 * [1.0, -0.3, 0.7, 0.1][list];
                    screens.distortion[list][n] = factor;
                    *expected += factor * term;
                }
                n += 1;
            }
        }
        assert_eq!(n, DISTORTION_TERMS);
        let camera = ScreensCamera::new(screens, 0.0, 0.0);
        let mut random = Random::stream(8, Purpose::Block, 0, 0);
        let hits = [[u, v, 0.0], [u, v, 600.0]];
        let directions = [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]];
        let seen = camera.seen(hits, directions, &mut random);
        for (k, ([x, y, z], screen)) in seen.into_iter().enumerate() {
            assert_eq!((screen, z), (k, hits[k][2]));
            assert!((x - u - expected[2 * k]).abs() < 1e-12);
            assert!((y - v - expected[2 * k + 1]).abs() < 1e-12);
        }
    }

    #[test]
    fn the_depth_of_a_screen_moves_hits_outwards_up_to_its_limit() {
        let screens = Screens {
            depth: 16.0,
            ..Screens::new(600.0)
        };
        let camera = ScreensCamera::new(screens, 0.0, 0.0);
        let mut random = Random::stream(7, Purpose::Block, 0, 0);
        let mut largest: f64 = 0.0;
        for _ in 0..1_000 {
            let direction = [0.48, 0.0, -0.64_f64.sqrt()];
            let hits = [[300.0, 300.0, 0.0]; 2];
            let [([x, y, z], block), _] = camera.seen(hits, [direction; 2], &mut random);
            assert!(x >= 300.0 && y == 300.0 && z == 0.0 && block == 0);
            largest = largest.max(x - 300.0);
        }
        assert!((3.99..4.0001).contains(&largest), "{largest}");
    }
}
