//! How precisely a recording can say where a tracer is: the Cramér-Rao bound, and the noise of a recording that it needs.
//!
//! A LoR of direction v (a unit vector) tells nothing along v; across it, it passes the tracer at an offset, a vector in the plane
//! perpendicular to v. Let `p` be the [density](OffsetDensity) of offsets per area, the same in all directions of that plane, `s` the
//! share of LoRs that are the tracer's, and `b` the density of the other LoRs, (1 - s) of all, which is flat near the tracer. What is
//! seen per LoR and area at the offset u is then
//!
//! ```text
//! f(u) = s p(|u|) + (1 - s) b
//! ```
//!
//! Moving the tracer by d moves `p` by -P d with P = I - v v^T, so the Fisher information of one LoR on the position is the mean over
//! directions of P K P, K being the integral of grad f grad f^T / f over the plane. Since `f` depends on |u| only, K is a multiple of
//! P, and per LoR of the tracer, s of all:
//!
//! ```text
//! F = N s E[J P]        J = 1/2 integral |grad p|^2 / (p + beta)        beta = (1 - s) b / s
//! ```
//!
//! `beta` is the number of background LoRs per area for each LoR of the tracer; it may depend on the direction, without it J is the
//! information of `p` alone. No unbiased estimate from N LoRs has a covariance below F^-1. That share, background and the parameters of
//! `p` have to be estimated, too, costs nothing: `f` changes evenly in u with them and oddly with the position, so their information
//! does not mix. (Scenes without background in this form: `sigma = c sigma_eff / sqrt(N s)`, with [`axis_factors`] c and
//! [`OffsetDensity::effective_sigma`].)
//!
//! A tracer that moves costs more where its motion has to be estimated: [`motion_factor`].

mod noise;

use std::f64::consts::{PI, TAU};

use rayon::prelude::*;

use crate::data::LineData;
use crate::error::{Error, Result};
use crate::linear_algebra::{self, cholesky, dot, full};
pub use noise::{Noise, NoiseFit, TracerNoise};

/// A symmetric matrix of the axes x, y and z.
pub type Matrix = [[f64; 3]; 3];

/// Largest relative error of a piece of an integral, of the whole.
const TOLERANCE: f64 = 1e-11;
/// Nodes of the rule for offsets.
const NODES: usize = 16;
/// How often a piece may be halved.
const HALVINGS: u32 = 20;
/// Pieces of the integral over offsets end at these multiples of each term's size; beyond the last one, 1e-26 of it are left.
const PIECES: [f64; 13] = [
    0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 16.0, 32.0, 64.0,
];
/// Nodes of a rule over slopes.
const SLOPES: usize = 24;
/// Half-turns around a ring are cut into so many pieces: what limits the slopes changes from one edge to another.
const TURNS: usize = 16;
/// Nodes of the rule in such a piece.
const TURN_NODES: usize = 4;

/// How the offsets of a tracer's LoRs are spread: a part of an [`OffsetDensity`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Spread {
    /// A Gaussian with this standard deviation along each of the two perpendicular axes (mm).
    Gaussian(f64),
    /// A tail `exp(-rho / L) / (2 pi L^2)` with this L (mm).
    Exponential(f64),
}

impl Spread {
    /// Density per area (1/mm^2).
    fn at(self, rho: f64) -> f64 {
        match self {
            Self::Gaussian(sigma) => {
                let square = sigma * sigma;
                libm::exp(-0.5 * rho * rho / square) / (TAU * square)
            }
            Self::Exponential(scale) => libm::exp(-rho / scale) / (TAU * scale * scale),
        }
    }

    /// Minus the derivative of the logarithm of the density.
    fn fall(self, rho: f64) -> f64 {
        match self {
            Self::Gaussian(sigma) => rho / (sigma * sigma),
            Self::Exponential(scale) => 1.0 / scale,
        }
    }

    fn size(self) -> f64 {
        match self {
            Self::Gaussian(size) | Self::Exponential(size) => size,
        }
    }

    /// Share of offsets beyond a radius.
    fn beyond(self, radius: f64) -> f64 {
        let ratio = radius / self.size();
        match self {
            Self::Gaussian(_) => libm::exp(-0.5 * ratio * ratio),
            Self::Exponential(_) => (1.0 + ratio) * libm::exp(-ratio),
        }
    }

    /// The mean over all offsets that [`size_of_mean`](Self::size_of_mean) needs, of those beyond a radius alone.
    fn mean_beyond(self, radius: f64) -> f64 {
        let ratio = radius / self.size();
        match self {
            Self::Gaussian(sigma) => {
                libm::exp(-0.5 * ratio * ratio) * (0.5 * radius * radius + sigma * sigma)
            }
            Self::Exponential(scale) => {
                libm::exp(-ratio) * (radius * ratio + 2.0 * radius + 2.0 * scale)
            }
        }
    }

    /// What has to be averaged for the likeliest size.
    fn statistic(self, rho: f64) -> f64 {
        match self {
            Self::Gaussian(_) => 0.5 * rho * rho,
            Self::Exponential(_) => rho,
        }
    }

    /// The likeliest size for a mean of the statistic.
    fn size_of_mean(self, mean: f64) -> Self {
        match self {
            Self::Gaussian(_) => Self::Gaussian(mean.sqrt()),
            Self::Exponential(_) => Self::Exponential(0.5 * mean),
        }
    }
}

/// The density of a tracer's LoRs per area, by their offset from it: a mixture.
///
/// ```
/// use pept::detector::bound::{OffsetDensity, Spread};
///
/// let measured = OffsetDensity::new([(0.45, Spread::Gaussian(2.25)), (0.55, Spread::Exponential(3.5))])?;
/// assert!((measured.effective_sigma(0.0) - 3.317).abs() < 1e-3); // mm: the tail costs half of what the core alone, 2.25 mm, allows
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetDensity {
    /// Shares, with a sum of 1.
    terms: Vec<(f64, Spread)>,
}

impl OffsetDensity {
    /// A mixture; the shares are divided by their sum.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no terms, and for shares or sizes that are not above 0 and finite.
    pub fn new(terms: impl IntoIterator<Item = (f64, Spread)>) -> Result<Self> {
        let mut terms: Vec<_> = terms.into_iter().collect();
        let is_positive = |value: f64| value > 0.0 && value.is_finite();
        let is_good =
            |(share, spread): &(f64, Spread)| is_positive(*share) && is_positive(spread.size());
        let sum: f64 = terms.iter().map(|(share, _)| share).sum();
        if terms.is_empty() || !sum.is_finite() || !terms.iter().all(is_good) {
            return Err(Error::Parameter {
                name: "terms",
                value: format!("{terms:?}"),
                needed: "at least one, with shares and sizes above 0",
            });
        }
        for (share, _) in &mut terms {
            *share /= sum;
        }
        Ok(Self { terms })
    }

    /// As measured with the ADAC Forte: a core of 2.25 mm with a share of 0.45, and a tail of 3.5 mm.
    #[must_use]
    pub fn adac_forte() -> Self {
        Self {
            terms: vec![
                (0.45, Spread::Gaussian(2.25)),
                (0.55, Spread::Exponential(3.5)),
            ],
        }
    }

    /// The terms and their shares, which add up to 1.
    #[must_use]
    pub fn terms(&self) -> &[(f64, Spread)] {
        &self.terms
    }

    /// The density at an offset (1/mm^2).
    #[must_use]
    pub fn at(&self, rho: f64) -> f64 {
        self.terms
            .iter()
            .map(|(share, spread)| share * spread.at(rho))
            .sum()
    }

    /// The share of LoRs with an offset up to `radius` (mm).
    #[must_use]
    pub fn within(&self, radius: f64) -> f64 {
        1.0 - self
            .terms
            .iter()
            .map(|(share, spread)| share * spread.beyond(radius))
            .sum::<f64>()
    }

    /// Density and minus its slope.
    fn and_slope(&self, rho: f64) -> (f64, f64) {
        self.terms
            .iter()
            .fold((0.0, 0.0), |(density, slope), (share, spread)| {
                let value = share * spread.at(rho);
                (density + value, slope + value * spread.fall(rho))
            })
    }

    /// The Fisher information J of one of the tracer's LoRs along each axis perpendicular to it (1/mm^2), see [the module](self), to a
    /// relative error below 1e-8. `background`: LoRs per mm^2 that are not the tracer's, for each that is.
    #[must_use]
    pub fn information(&self, background: f64) -> f64 {
        let mut ends: Vec<f64> = self
            .terms
            .iter()
            .flat_map(|(_, spread)| PIECES.map(|piece| piece * spread.size()))
            .collect();
        ends.push(0.0);
        ends.sort_by(f64::total_cmp);
        let integrand = |rho: f64| {
            let (density, slope) = self.and_slope(rho);
            if density > 0.0 {
                // First the quotient: the square could be too small for a number.
                rho * slope * (slope / (density + background))
            } else {
                0.0
            }
        };
        PI * Rule::new(NODES).adaptive(&ends, &integrand)
    }

    /// `J^-1/2`: the standard deviation of a Gaussian that tells as much about the position (mm).
    #[must_use]
    pub fn effective_sigma(&self, background: f64) -> f64 {
        1.0 / self.information(background).sqrt()
    }

    /// How much a LoR at this offset pulls at an estimate of the position, per mm (1/mm^2): minus the slope of log(p + background),
    /// divided by the offset. And the probability that the LoR is the tracer's.
    fn weight(&self, rho: f64, background: f64) -> (f64, f64) {
        // Tails have a tip: their weight is not bounded.
        const TIP: f64 = 1e-2;
        let tails = self
            .terms
            .iter()
            .filter(|(_, spread)| matches!(spread, Spread::Exponential(_)));
        let tip = tails
            .map(|(_, spread)| TIP * spread.size())
            .fold(0.0, f64::max);
        let rho = rho.max(tip).max(f64::MIN_POSITIVE);
        let (density, slope) = self.and_slope(rho);
        let all = density + background;
        if all > 0.0 {
            (slope / (rho * all), density / all)
        } else {
            (0.0, 0.0)
        }
    }
}

/// A Gauss-Legendre rule on [-1, 1]: nodes and weights.
struct Rule(Vec<(f64, f64)>);

impl Rule {
    fn new(n: usize) -> Self {
        let node = |k: usize| {
            // Newton's method from a close estimate; the weight is that of the derivative.
            let mut x = libm::cos(PI * (k as f64 + 0.75) / (n as f64 + 0.5));
            let mut slope = 1.0;
            for _ in 0..8 {
                let (mut last, mut value) = (1.0, x);
                for degree in 2..=n {
                    let degree = degree as f64;
                    let next = ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * last) / degree;
                    (last, value) = (value, next);
                }
                slope = n as f64 * (last - x * value) / (1.0 - x * x);
                x -= value / slope;
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        };
        Self((0..n).map(node).collect())
    }

    /// Nodes and weights on another interval.
    fn on(&self, from: f64, to: f64) -> impl Iterator<Item = (f64, f64)> + '_ {
        let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
        self.0
            .iter()
            .map(move |(x, weight)| (middle + half * x, half * weight))
    }

    fn integral(&self, from: f64, to: f64, f: &impl Fn(f64) -> f64) -> f64 {
        self.on(from, to).map(|(x, weight)| weight * f(x)).sum()
    }

    /// Halves the pieces between ascending ends until the halves tell nothing new.
    fn adaptive(&self, ends: &[f64], f: &impl Fn(f64) -> f64) -> f64 {
        let pieces: Vec<(f64, f64, f64)> = ends
            .windows(2)
            .map(|ends| (ends[0], ends[1], self.integral(ends[0], ends[1], f)))
            .collect();
        let all: f64 = pieces.iter().map(|(_, _, integral)| integral.abs()).sum();
        pieces
            .into_iter()
            .map(|piece| self.refined(piece, f, TOLERANCE * all, HALVINGS))
            .sum()
    }

    fn refined(
        &self,
        (from, to, integral): (f64, f64, f64),
        f: &impl Fn(f64) -> f64,
        tolerance: f64,
        halvings: u32,
    ) -> f64 {
        let middle = 0.5 * (from + to);
        let (low, high) = (self.integral(from, middle, f), self.integral(middle, to, f));
        if halvings == 0 || (low + high - integral).abs() <= tolerance {
            return low + high;
        }
        self.refined((from, middle, low), f, tolerance, halvings - 1)
            + self.refined((middle, to, high), f, tolerance, halvings - 1)
    }
}

/// The shape of a detector: which lines it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Geometry {
    /// Two equal rectangles, from and to each limit (mm), parallel to xy at the two limits of z.
    ParallelScreens {
        /// Along x.
        x: [f64; 2],
        /// Along y.
        y: [f64; 2],
        /// Where the screens stand.
        z: [f64; 2],
    },
    /// A cylinder around an axis parallel to z.
    Ring {
        /// Where the axis is (x, y; mm).
        centre: [f64; 2],
        /// Radius of the detectors' front (mm).
        radius: f64,
        /// From and to along the axis (mm).
        z: [f64; 2],
    },
}

/// A direction with the lines around it.
struct Ray {
    direction: [f64; 3],
    /// Share of the lines seen from the point.
    weight: f64,
    /// Density of random pairs per mm^2, for one random pair in all, in units of the density of the tracer's lines in this direction.
    random: f64,
}

impl Geometry {
    /// The mean of `P = I - v v^T` over the directions v of the LoRs that an isotropic source at a point sends to the detector.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a point that is not inside, and for a detector that is none.
    pub fn mean_projection(&self, position: [f64; 3]) -> Result<Matrix> {
        let mut mean = [[0.0; 3]; 3];
        for ray in self.rays(position)? {
            add(&mut mean, ray.weight, &projection(ray.direction));
        }
        Ok(mean)
    }

    /// Directions from a point inside that the detector sees on both sides.
    fn rays(&self, position: [f64; 3]) -> Result<Vec<Ray>> {
        let wrong = |name, value: String, needed| {
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        let is_interval = |[from, to]: [f64; 2]| from < to && (to - from).is_finite();
        let (limits, inside) = match *self {
            Self::ParallelScreens { x, y, z } => {
                let inside = |axis: usize, [from, to]: [f64; 2]| {
                    from < position[axis] && position[axis] < to
                };
                (vec![x, y, z], inside(0, x) && inside(1, y) && inside(2, z))
            }
            Self::Ring { centre, radius, z } => {
                let (x, y) = (position[0] - centre[0], position[1] - centre[1]);
                let inside =
                    x * x + y * y < radius * radius && z[0] < position[2] && position[2] < z[1];
                (vec![[0.0, radius], z], inside)
            }
        };
        if !limits.into_iter().all(is_interval) {
            return wrong(
                "geometry",
                format!("{self:?}"),
                "limits from smaller to larger numbers",
            );
        }
        if !inside {
            return wrong(
                "position",
                format!("{position:?}"),
                "a point inside the detector",
            );
        }
        let mut rays = match *self {
            Self::ParallelScreens { x, y, z } => screen_rays(x, y, z, position),
            Self::Ring { centre, radius, z } => ring_rays(centre, radius, z, position),
        };
        // So far weights are solid angles, and random pairs per solid angle.
        let solid_angle: f64 = rays.iter().map(|ray| ray.weight).sum();
        for ray in &mut rays {
            ray.weight /= solid_angle;
            ray.random *= solid_angle;
        }
        Ok(rays)
    }
}

/// Lines that meet two screens: in terms of the slopes dx/dz and dy/dz, those of a rectangle.
///
/// Random pairs are uniform on both screens. Two small areas and what is seen from one to the other, dA1 cos dA2 cos / D^2, are an area
/// across the line times a solid angle: per these, pairs have the density D^2 / (A^2 cos^2), with D = S / cos.
fn screen_rays(x: [f64; 2], y: [f64; 2], z: [f64; 2], position: [f64; 3]) -> Vec<Ray> {
    let (down, up) = (position[2] - z[0], z[1] - position[2]);
    let slopes = |[from, to]: [f64; 2], at: f64| {
        let lowest = ((at - to) / down).max((from - at) / up);
        let highest = ((at - from) / down).min((to - at) / up);
        (lowest, highest)
    };
    let (along_x, along_y) = (slopes(x, position[0]), slopes(y, position[1]));
    let distance_per_area = (z[1] - z[0]) / ((x[1] - x[0]) * (y[1] - y[0]));
    let rule = Rule::new(SLOPES);
    let mut rays = Vec::with_capacity(SLOPES * SLOPES);
    for (u, along) in rule.on(along_x.0, along_x.1) {
        for (v, across) in rule.on(along_y.0, along_y.1) {
            let square = 1.0 + u * u + v * v;
            let length = square.sqrt();
            rays.push(Ray {
                direction: [u / length, v / length, 1.0 / length],
                weight: along * across / (square * length),
                random: distance_per_area * distance_per_area * square * square,
            });
        }
    }
    rays
}

/// Lines that meet a cylinder twice: in terms of the half-turn around its axis and the slope along it.
///
/// Random pairs are uniform on the cylinder. As for screens, with two ends that can be exchanged: 2 D^2 / (A^2 cos^2), which is the same
/// for all places.
fn ring_rays(centre: [f64; 2], radius: f64, z: [f64; 2], position: [f64; 3]) -> Vec<Ray> {
    let [x, y, z0] = [
        position[0] - centre[0],
        position[1] - centre[1],
        position[2],
    ];
    let (turns, slopes) = (Rule::new(TURN_NODES), Rule::new(SLOPES));
    let mut rays = Vec::with_capacity(TURNS * TURN_NODES * SLOPES);
    let step = PI / TURNS as f64;
    for piece in 0..TURNS {
        let from = piece as f64 * step;
        for (angle, turn) in turns.on(from, from + step) {
            let (cos, sin) = (libm::cos(angle), libm::sin(angle));
            // The cylinder is at -back and forth along the direction.
            let along = x * cos + y * sin;
            let root = (radius * radius - x * x - y * y + along * along).sqrt();
            let (forth, back) = (root - along, root + along);
            let lowest = ((z[0] - z0) / forth).max((z0 - z[1]) / back);
            let highest = ((z[1] - z0) / forth).min((z0 - z[0]) / back);
            for (slope, width) in slopes.on(lowest, highest) {
                let square = 1.0 + slope * slope;
                let length = square.sqrt();
                let pairs = square / (PI * (z[1] - z[0]));
                rays.push(Ray {
                    direction: [cos / length, sin / length, slope / length],
                    weight: turn * width / (square * length),
                    random: 2.0 * pairs * pairs,
                });
            }
        }
    }
    rays
}

/// The mean of `P = I - v v^T` over the directions v of the lines that pass a point within `radius` (mm); `None` if there are none.
#[must_use]
pub fn mean_projection(lines: &LineData, position: [f64; 3], radius: f64) -> Option<Matrix> {
    let (mut sum, mut n) = ([[0.0; 3]; 3], 0.0);
    for line in lines.line_slice().rows().filter_map(Line::new) {
        if line.offset(position).1 <= radius {
            add(&mut sum, 1.0, &projection(line.direction));
            n += 1.0;
        }
    }
    (n > 0.0).then(|| sum.map(|row| row.map(|value| value / n)))
}

/// What the directions of LoRs make of their noise along x, y and z: the factors c of `sigma = c sigma_eff / sqrt(N s)`, from
/// the [mean projection](mean_projection). `None` where all directions are the same.
#[must_use]
pub fn axis_factors(mean_projection: &Matrix) -> Option<[f64; 3]> {
    let inverse = inverse(mean_projection)?;
    Some([0, 1, 2].map(|axis| inverse[axis][axis].sqrt()))
}

/// What estimating motion costs: the factor on the variance of the position at the middle of a window whose LoRs come at uniform times
/// if a polynomial of this order in time is fitted instead of a constant.
///
/// 1, 1, 9/4, 9/4, 225/64 for the orders 0 to 4: the sum of `(2k + 1) P_k(0)^2` over the Legendre polynomials up to the order.
#[must_use]
pub fn motion_factor(order: usize) -> f64 {
    let (mut sum, mut at_zero) = (1.0, 1.0);
    for k in (2..=order).step_by(2) {
        let k = k as f64;
        at_zero *= (k - 1.0) / k; // P_k(0) without sign; odd ones are 0
        sum += (2.0 * k + 1.0) * at_zero * at_zero;
    }
    sum
}

/// The Cramér-Rao bound of a tracer's position. See [the module](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The least covariance that one LoR in all would allow (mm^2).
    covariance: Matrix,
}

impl Bound {
    /// From the [mean projection](mean_projection) of the tracer's LoRs and the density of their offsets. `share`: the part of all LoRs
    /// that are the tracer's. `background`: the density of LoRs near it that are not its own, per mm^2 and LoR in all.
    ///
    /// # Errors
    /// [`Error::Parameter`] for shares that are none, a negative background, and where all directions are the same.
    pub fn new(
        mean_projection: &Matrix,
        density: &OffsetDensity,
        share: f64,
        background: f64,
    ) -> Result<Self> {
        check_share(share)?;
        if !(background >= 0.0 && background.is_finite()) {
            return Err(Error::Parameter {
                name: "background",
                value: background.to_string(),
                needed: "a density that is not negative",
            });
        }
        let information = share * density.information(background / share);
        Self::of_information(&mean_projection.map(|row| row.map(|value| information * value)))
    }

    /// From the shape of the detector, for an isotropic tracer at `position`. `share`: the part of all LoRs that are the tracer's.
    /// `random`: the part that joins points uniform on the detector; others, those of other tracers, are not near.
    ///
    /// # Errors
    /// As [`new`](Self::new), and as [`Geometry::mean_projection`].
    pub fn from_geometry(
        geometry: &Geometry,
        position: [f64; 3],
        density: &OffsetDensity,
        share: f64,
        random: f64,
    ) -> Result<Self> {
        check_share(share)?;
        if !(random >= 0.0 && share + random <= 1.0 + 1e-9) {
            return Err(Error::Parameter {
                name: "random",
                value: random.to_string(),
                needed: "a part of the LoRs from 0 to what the tracer leaves",
            });
        }
        let rays = geometry.rays(position)?;
        let alone = density.information(0.0);
        let informations: Vec<f64> = rays
            .par_iter()
            .map(|ray| match random {
                0.0 => alone,
                _ => density.information(random / share * ray.random),
            })
            .collect();
        let mut information = [[0.0; 3]; 3];
        for (ray, of_ray) in rays.iter().zip(informations) {
            add(
                &mut information,
                share * ray.weight * of_ray,
                &projection(ray.direction),
            );
        }
        Self::of_information(&information)
    }

    fn of_information(information: &Matrix) -> Result<Self> {
        let covariance = inverse(information).ok_or_else(|| Error::Parameter {
            name: "directions",
            value: "all the same".to_owned(),
            needed: "LoRs in several directions",
        })?;
        Ok(Self { covariance })
    }

    /// The least covariance of a position from `lors` LoRs, background included (mm^2).
    #[must_use]
    pub fn covariance(&self, lors: f64) -> Matrix {
        self.covariance.map(|row| row.map(|value| value / lors))
    }

    /// The least standard deviations along x, y and z from `lors` LoRs, background included (mm).
    #[must_use]
    pub fn sigma(&self, lors: f64) -> [f64; 3] {
        [0, 1, 2].map(|axis| (self.covariance[axis][axis] / lors).sqrt())
    }

    /// The number of LoRs from which on motion at `speed` (mm/ms) blurs more than the bound: `rate` LoRs come in a ms, and in the time T
    /// of the window an estimate that takes the tracer for still smears it over `speed T`, a standard deviation of `speed T / sqrt(12)`.
    /// The motion is taken along the axis with the smallest bound. Estimates that fit a velocity are not blurred.
    #[must_use]
    pub fn largest_window(&self, speed: f64, rate: f64) -> f64 {
        let [x, y, z] = self.sigma(1.0);
        let blur = speed / (rate * 12.0_f64.sqrt()); // of one LoR's time
        libm::cbrt((x.min(y).min(z) / blur) * (x.min(y).min(z) / blur))
    }
}

fn check_share(share: f64) -> Result<()> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "share",
        value: share.to_string(),
        needed: "a part of the LoRs, above 0 and at most 1",
    })
}

/// A line, ready to be measured.
#[derive(Clone, Copy)]
struct Line {
    t: f64,
    point: [f64; 3],
    direction: [f64; 3],
}

impl Line {
    /// `None` for a line without length or with values that are not finite.
    fn new(&[t, x1, y1, z1, x2, y2, z2]: &[f64; 7]) -> Option<Self> {
        let direction = [x2 - x1, y2 - y1, z2 - z1];
        let length = dot(direction, direction).sqrt();
        (length > 0.0 && length.is_finite() && t.is_finite()).then(|| Self {
            t,
            point: [x1, y1, z1],
            direction: direction.map(|value| value / length),
        })
    }

    /// From the line to a point, the shortest way, and its length.
    fn offset(&self, position: [f64; 3]) -> ([f64; 3], f64) {
        let from: [f64; 3] = std::array::from_fn(|axis| position[axis] - self.point[axis]);
        let along = dot(from, self.direction);
        let offset: [f64; 3] =
            std::array::from_fn(|axis| from[axis] - along * self.direction[axis]);
        (offset, dot(offset, offset).sqrt())
    }
}

fn add(sum: &mut Matrix, factor: f64, matrix: &Matrix) {
    for (sums, values) in sum.iter_mut().zip(matrix) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += factor * value;
        }
    }
}

/// Smallest part of a diagonal element that the others may leave.
const SINGULAR: f64 = 1e-10;

/// `I - v v^T`.
fn projection(direction: [f64; 3]) -> Matrix {
    full(linear_algebra::projection(direction))
}

fn inverse(matrix: &Matrix) -> Option<Matrix> {
    linear_algebra::inverse(matrix, SINGULAR).map(|(inverse, _)| inverse)
}

/// Solves a symmetric positive definite system; `None` for another matrix, and for one that is nearly singular.
fn solve<const N: usize>(matrix: &[[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    linear_algebra::solve(&cholesky(matrix, SINGULAR)?, &mut right);
    Some(right)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    use super::noise::{LARGEST_RADIUS, Path, locate};
    use super::*;
    use crate::data::PointData;

    /// Detector F, centred, by the distance of its screens.
    fn screens(separation: f64) -> Geometry {
        Geometry::ParallelScreens {
            x: [110.0, 494.0],
            y: [45.0, 559.0],
            z: [0.0, separation],
        }
    }

    const CENTRE: [f64; 2] = [302.0, 302.0];

    fn assert_close(value: f64, expected: f64, relative: f64) {
        assert!(
            (value / expected - 1.0).abs() <= relative,
            "{value} is not {expected}"
        );
    }

    #[test]
    fn rules_are_exact_for_polynomials() {
        for n in [1, 2, 5, 16, 24] {
            let rule = Rule::new(n);
            let power = |x: f64, k: usize| (0..k).fold(1.0, |product, _| product * x);
            for k in 0..2 * n {
                let integral = rule.integral(0.0, 1.0, &|x| power(x, k));
                assert_close(integral, 1.0 / (k as f64 + 1.0), 1e-13);
            }
        }
    }

    #[test]
    fn information_of_densities() {
        let of = |terms: &[(f64, Spread)], background| {
            OffsetDensity::new(terms.to_vec())
                .unwrap()
                .information(background)
        };
        // In closed form: 1 / sigma^2, and 1 / (2 L^2).
        for size in [1e-3, 2.25, 700.0] {
            assert_close(
                of(&[(1.0, Spread::Gaussian(size))], 0.0) * size * size,
                1.0,
                1e-10,
            );
            assert_close(
                of(&[(9.0, Spread::Exponential(size))], 0.0) * size * size,
                0.5,
                1e-10,
            );
        }
        // By scipy.integrate.quad, 1e-12.
        let forte = OffsetDensity::adac_forte();
        let known = [
            (0.0, 0.090_872_465_245_607_33),
            (1e-6, 0.090_729_135_282_770_09),
            (1e-4, 0.086_103_140_523_527_46),
            (1e-3, 0.069_152_782_964_291_75),
        ];
        for (background, information) in known {
            assert_close(forte.information(background), information, 1e-8);
        }
        assert!((forte.effective_sigma(0.0) - 3.32).abs() < 0.005);
        let core = OffsetDensity::new([(1.0, Spread::Gaussian(2.25))]).unwrap();
        assert_close(core.effective_sigma(0.0), 2.25, 1e-9);
        // Scales far apart tell as much as each alone.
        let mixed = of(
            &[(0.5, Spread::Gaussian(1e-3)), (0.5, Spread::Gaussian(1e3))],
            0.0,
        );
        assert_close(mixed, 0.5e6, 1e-4);
        assert_close(forte.within(1e9), 1.0, 1e-15);
        assert_close(core.within(2.25), 1.0 - (-0.5_f64).exp(), 1e-14);
    }

    #[test]
    fn factors_of_the_detectors() {
        let known = [
            (250.0, [1.12, 1.15, 1.49]),
            (400.0, [1.08, 1.11, 1.74]),
            (600.0, [1.05, 1.07, 2.14]),
            (712.0, [1.04, 1.06, 2.38]),
        ];
        for (separation, expected) in known {
            let position = [CENTRE[0], CENTRE[1], 0.5 * separation];
            let mean = screens(separation).mean_projection(position).unwrap();
            let factors = axis_factors(&mean).unwrap();
            for (factor, expected) in factors.into_iter().zip(expected) {
                assert!(
                    (factor - expected).abs() < 0.006,
                    "{separation}: {factors:?}"
                );
            }
        }
        let ring = Geometry::Ring {
            centre: [0.0; 2],
            radius: 420.0,
            z: [-117.0, 117.0],
        };
        let factors = axis_factors(&ring.mean_projection([0.0; 3]).unwrap()).unwrap();
        for (factor, expected) in factors.into_iter().zip([1.40, 1.40, 1.01]) {
            assert!((factor - expected).abs() < 0.006, "{factors:?}");
        }
    }

    #[test]
    fn the_rules_over_directions_are_those_of_many_directions() {
        let ring = Geometry::Ring {
            centre: [10.0, 0.0],
            radius: 80.0,
            z: [-60.0, 67.0],
        };
        let (mut rng, n) = (Pcg64::seed_from_u64(3), 400_000);
        for (geometry, position) in [
            (screens(500.0), [200.0, 400.0, 130.0]),
            (ring, [40.0, -30.0, 20.0]),
        ] {
            let (mut mean, mut seen) = ([[0.0; 3]; 3], 0.0);
            for _ in 0..n {
                let direction = isotropic(&mut rng);
                if meets(&geometry, position, direction) {
                    add(&mut mean, 1.0, &projection(direction));
                    seen += 1.0;
                }
            }
            let rule = geometry.mean_projection(position).unwrap();
            for (row, expected) in rule.iter().zip(mean) {
                for (value, expected) in row.iter().zip(expected) {
                    // Four standard deviations of values in [-1, 1].
                    assert!(
                        (value - expected / seen).abs() < 4.0 / f64::sqrt(seen),
                        "{rule:?}"
                    );
                }
            }
        }
    }

    fn isotropic(rng: &mut Pcg64) -> [f64; 3] {
        let z = 2.0 * rng.random::<f64>() - 1.0;
        let (angle, sin) = (TAU * rng.random::<f64>(), (1.0 - z * z).sqrt());
        [sin * angle.cos(), sin * angle.sin(), z]
    }

    /// Whether a line hits the detector on both sides.
    fn meets(geometry: &Geometry, position: [f64; 3], v: [f64; 3]) -> bool {
        let at = |k: f64| -> [f64; 3] { std::array::from_fn(|axis| position[axis] + k * v[axis]) };
        let within = |value: f64, [from, to]: [f64; 2]| from <= value && value <= to;
        match *geometry {
            Geometry::ParallelScreens { x, y, z } => z.iter().all(|z| {
                let [hit_x, hit_y, _] = at((z - position[2]) / v[2]);
                within(hit_x, x) && within(hit_y, y)
            }),
            Geometry::Ring { centre, radius, z } => {
                let (x, y) = (position[0] - centre[0], position[1] - centre[1]);
                let (a, b) = (v[0] * v[0] + v[1] * v[1], x * v[0] + y * v[1]);
                let root = (b * b - a * (x * x + y * y - radius * radius)).sqrt();
                [(-b + root) / a, (-b - root) / a]
                    .into_iter()
                    .all(|k| within(at(k)[2], z))
            }
        }
    }

    #[test]
    fn random_pairs_are_as_dense_as_points_on_the_detector() {
        // Of the pairs, those that pass a point within a radius, by direction weighed with the tracer's.
        let (mut rng, n, radius) = (Pcg64::seed_from_u64(4), 2_000_000, 10.0);
        let ring = Geometry::Ring {
            centre: [0.0; 2],
            radius: 200.0,
            z: [-100.0, 100.0],
        };
        for (geometry, position) in [
            (screens(400.0), [250.0, 330.0, 150.0]),
            (ring, [40.0, 20.0, -10.0]),
        ] {
            let mut near = 0.0;
            for _ in 0..n {
                let mut random = |[from, to]: [f64; 2]| from + (to - from) * rng.random::<f64>();
                let [[x1, y1, z1], [x2, y2, z2]] = match geometry {
                    Geometry::ParallelScreens { x, y, z } => z.map(|z| [random(x), random(y), z]),
                    Geometry::Ring { radius, z, .. } => [0, 1].map(|_| {
                        let angle = random([0.0, TAU]);
                        [radius * angle.cos(), radius * angle.sin(), random(z)]
                    }),
                };
                let line = Line::new(&[0.0, x1, y1, z1, x2, y2, z2]).unwrap();
                near += f64::from(u8::from(line.offset(position).1 < radius));
            }
            let rays = geometry.rays(position).unwrap();
            let density: f64 = rays.iter().map(|ray| ray.weight * ray.random).sum();
            assert_close(near / f64::from(n) / (PI * radius * radius), density, 0.03);
        }
    }

    #[test]
    fn bounds_have_their_formula_and_say_what_is_wrong() {
        let forte = OffsetDensity::adac_forte();
        let position = [CENTRE[0], CENTRE[1], 300.0];
        let mean = screens(600.0).mean_projection(position).unwrap();
        let factors = axis_factors(&mean).unwrap();
        let alone = Bound::from_geometry(&screens(600.0), position, &forte, 0.8, 0.0).unwrap();
        let flat = Bound::new(&mean, &forte, 0.8, 0.0).unwrap();
        for (axis, factor) in factors.into_iter().enumerate() {
            let expected = factor * forte.effective_sigma(0.0) / (0.8 * 200.0_f64).sqrt();
            assert_close(alone.sigma(200.0)[axis], expected, 1e-9);
            assert_close(
                flat.covariance(200.0)[axis][axis],
                expected * expected,
                1e-9,
            );
        }
        // At 20, 60 and 85 %, random pairs cost up to a few hundredths of the information.
        for (random, from, to) in [(0.2, 1.005, 1.01), (0.6, 1.02, 1.03), (0.85, 1.05, 1.1)] {
            let share = 1.0 - random;
            let without =
                Bound::from_geometry(&screens(600.0), position, &forte, share, 0.0).unwrap();
            let with =
                Bound::from_geometry(&screens(600.0), position, &forte, share, random).unwrap();
            let cost = with.covariance(1.0)[0][0] / without.covariance(1.0)[0][0];
            assert!(from < cost && cost < to, "{cost}");
        }
        let wrong = |position, share, random| {
            Bound::from_geometry(&screens(600.0), position, &forte, share, random).is_err()
        };
        assert!(
            wrong([0.0; 3], 0.5, 0.0) && wrong(position, 0.0, 0.0) && wrong(position, 0.6, 0.5)
        );
        assert!(wrong(position, f64::NAN, 0.0) && wrong(position, 0.5, f64::NAN));
        let parallel = projection([0.0, 0.0, 1.0]);
        assert!(Bound::new(&parallel, &forte, 1.0, 0.0).is_err());
        assert_eq!(axis_factors(&parallel), None);
        assert!(Bound::new(&mean, &forte, 1.0, -1.0).is_err());
        for terms in [
            vec![],
            vec![(0.0, Spread::Gaussian(1.0))],
            vec![(1.0, Spread::Exponential(-1.0))],
        ] {
            assert!(OffsetDensity::new(terms).is_err());
        }
    }

    #[test]
    fn windows_grow_until_motion_blurs_more_than_the_bound() {
        let mean = screens(600.0)
            .mean_projection([302.0, 302.0, 300.0])
            .unwrap();
        let bound = Bound::new(&mean, &OffsetDensity::adac_forte(), 0.8, 0.0).unwrap();
        let (speed, rate) = (0.25, 30.0);
        let n = bound.largest_window(speed, rate);
        assert_close(bound.sigma(n)[0], speed * n / rate / 12.0_f64.sqrt(), 1e-12);
        assert_eq!(
            [0, 1, 2, 3, 4].map(motion_factor),
            [1.0, 1.0, 2.25, 2.25, 225.0 / 64.0]
        );
    }

    /// An offset of the Forte's mixture: its length.
    fn offset(rng: &mut Pcg64) -> f64 {
        let log = |rng: &mut Pcg64| -libm::log(1.0 - rng.random::<f64>());
        if rng.random::<f64>() < 0.45 {
            2.25 * (2.0 * log(rng)).sqrt()
        } else {
            3.5 * (log(rng) + log(rng))
        }
    }

    /// A LoR of an isotropic tracer in F that both screens see, or a random pair.
    fn lor(rng: &mut Pcg64, geometry: &Geometry, position: Option<[f64; 3]>, t: f64) -> [f64; 7] {
        let Geometry::ParallelScreens { x, y, z } = *geometry else {
            panic!("screens")
        };
        let Some(position) = position else {
            let mut random = |[from, to]: [f64; 2]| from + (to - from) * rng.random::<f64>();
            return [t, random(x), random(y), z[0], random(x), random(y), z[1]];
        };
        let v = loop {
            let v = isotropic(rng);
            if meets(geometry, position, v) {
                break v;
            }
        };
        // A direction across it.
        let across = loop {
            let gauss: [f64; 3] = std::array::from_fn(|_| StandardNormal.sample(rng));
            let along = dot(gauss, v);
            let across: [f64; 3] = std::array::from_fn(|axis| gauss[axis] - along * v[axis]);
            let length = dot(across, across).sqrt();
            if length > 1e-3 {
                break across.map(|value| value / length);
            }
        };
        let rho = offset(rng);
        let end = |z: f64| -> [f64; 3] {
            let k = (z - position[2]) / v[2];
            std::array::from_fn(|axis| position[axis] + rho * across[axis] + k * v[axis])
        };
        let ([x1, y1, z1], [x2, y2, z2]) = (end(z[0]), end(z[1]));
        [t, x1, y1, z1, x2, y2, z2]
    }

    #[test]
    fn likeliest_positions_scatter_as_the_bound_says() {
        const WINDOWS: usize = 4_000;
        const SIZE: usize = 400;
        let (geometry, position, share) = (screens(600.0), [302.0, 302.0, 300.0], 0.8);
        let density = OffsetDensity::adac_forte();
        let bound =
            Bound::from_geometry(&geometry, position, &density, share, 1.0 - share).unwrap();
        let rays = geometry.rays(position).unwrap();
        let random: f64 = rays.iter().map(|ray| ray.weight * ray.random).sum();
        let background = (1.0 - share) / share * random;
        let errors: Vec<[f64; 3]> = (0..WINDOWS as u64)
            .into_par_iter()
            .map(|seed| {
                let mut rng = Pcg64::seed_from_u64(seed);
                let lines: Vec<Line> = (0..SIZE)
                    .map(|_| {
                        let tracer = (rng.random::<f64>() < share).then_some(position);
                        Line::new(&lor(&mut rng, &geometry, tracer, 0.0)).unwrap()
                    })
                    .collect();
                // From 2 mm beside.
                let start = position.map(|value| value + 2.0);
                let path = Path {
                    middle: 0.0,
                    half: 0.0,
                    terms: [start, [0.0; 3]],
                };
                let found = locate::<3>(&lines, path, &density, background, 60.0).unwrap();
                std::array::from_fn(|axis| found.path.terms[0][axis] - position[axis])
            })
            .collect();
        let sigma = bound.sigma(SIZE as f64);
        for axis in 0..3 {
            let n = WINDOWS as f64;
            let squares: f64 = errors.iter().map(|error| error[axis] * error[axis]).sum();
            let mean = errors.iter().map(|error| error[axis]).sum::<f64>() / n;
            assert_close((squares / n).sqrt(), sigma[axis], 0.05);
            assert!(mean.abs() < 4.0 * sigma[axis] / n.sqrt());
        }
    }

    /// Two tracers that move, with shares of 0.5 and 0.3.
    fn recording(n: u32, speed: f64) -> (LineData, PointData) {
        let mut rng = Pcg64::seed_from_u64(5);
        let geometry = screens(600.0);
        let at = |tracer: usize, t: f64| {
            [[280.0, 260.0, 300.0], [330.0, 350.0, 320.0]][tracer].map(|value| value + speed * t)
        };
        let (mut lors, mut points) = (Vec::new(), Vec::new());
        for k in 0..n {
            let t = f64::from(k) / 30.0;
            let tracer = match rng.random::<f64>() {
                u if u < 0.5 => Some(at(0, t)),
                u if u < 0.8 => Some(at(1, t)),
                _ => None,
            };
            lors.push(lor(&mut rng, &geometry, tracer, t));
            if k % 100 == 0 {
                for tracer in 0..2 {
                    // Tracked with errors.
                    let [x, y, z] = at(tracer, t).map(|value| {
                        let error: f64 = StandardNormal.sample(&mut rng);
                        value + 1.5 * error
                    });
                    points.push([t, x, y, z, tracer as f64]);
                }
            }
        }
        let lors = LineData::new(Array2::from(lors)).unwrap();
        (
            lors,
            PointData::with_columns(Array2::from(points), &["label"]).unwrap(),
        )
    }

    #[test]
    fn noise_is_found_again() {
        for speed in [0.0, 0.02] {
            let (lors, points) = recording(40_000, speed);
            let noise = NoiseFit::new().run(&lors, &points).unwrap();
            let forte = OffsetDensity::adac_forte();
            assert_close(
                noise.density.effective_sigma(0.0),
                forte.effective_sigma(0.0),
                0.02,
            );
            assert!(matches!(noise.density.terms()[1].1, Spread::Exponential(_)));
            for (tracer, share) in noise.tracers.iter().zip([0.5, 0.3]) {
                assert_close(tracer.share, share, 0.03);
                let bound = tracer.bound(&noise.density).unwrap().sigma(400.0);
                let position = tracer.position;
                let exact =
                    Bound::from_geometry(&screens(600.0), position, &forte, share, 0.2).unwrap();
                for (sigma, exact) in bound.into_iter().zip(exact.sigma(400.0)) {
                    assert_close(sigma, exact, 0.03);
                }
            }
        }
    }

    #[test]
    fn one_known_position_is_enough_and_none_is_an_error() {
        let (lors, _) = recording(8_000, 0.0);
        let one = PointData::new(ndarray::array![[0.0, 280.0, 260.0, 300.0]]).unwrap();
        let noise = NoiseFit::new().run(&lors, &one).unwrap();
        assert_eq!((noise.tracers.len(), noise.radius), (1, LARGEST_RADIUS));
        assert_close(noise.tracers[0].share, 0.5, 0.1);
        let none = PointData::new(Array2::zeros((0, 4))).unwrap();
        assert!(NoiseFit::new().run(&lors, &none).is_err());
        assert!(
            NoiseFit::new()
                .run(&LineData::new(Array2::zeros((0, 7))).unwrap(), &one)
                .is_err()
        );
        let far = PointData::new(ndarray::array![[0.0, -9e3, 260.0, 300.0]]).unwrap();
        assert!(NoiseFit::new().run(&lors, &far).is_err());
        assert!(NoiseFit::new().radius(-1.0).run(&lors, &one).is_err());
        assert!(NoiseFit::new().window(1).run(&lors, &one).is_err());
    }
}
