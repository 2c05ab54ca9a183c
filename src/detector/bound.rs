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

use std::f64::consts::{PI, TAU};

use rayon::prelude::*;

use crate::data::{LineData, PointData};
use crate::error::{Error, Result};
use crate::statistics::quantile;

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
/// 1, 1, 9/4, 9/4, 225/64 for the orders 0 to 4: the sum of (2k + 1) P_k(0)^2 over the Legendre polynomials P_k up to the order.
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

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// `I - v v^T`.
fn projection(direction: [f64; 3]) -> Matrix {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            f64::from(u8::from(row == column)) - direction[row] * direction[column]
        })
    })
}

fn add(sum: &mut Matrix, factor: f64, matrix: &Matrix) {
    for (sums, values) in sum.iter_mut().zip(matrix) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += factor * value;
        }
    }
}

fn inverse(matrix: &Matrix) -> Option<Matrix> {
    let columns = [0, 1, 2].map(|axis| {
        let mut unit = [0.0; 3];
        unit[axis] = 1.0;
        solve(matrix, unit)
    });
    let [Some(x), Some(y), Some(z)] = columns else {
        return None;
    };
    Some([x, y, z])
}

/// Solves a symmetric positive definite system by Cholesky's method; `None` for another matrix, and for one that is nearly singular.
fn solve<const N: usize>(matrix: &[[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    /// Smallest part of a diagonal element that the others may leave.
    const SINGULAR: f64 = 1e-10;
    let mut lower = *matrix;
    for i in 0..N {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let rest = matrix[i][j] - sum;
            if i > j {
                lower[i][j] = rest / lower[j][j];
            } else if rest > SINGULAR * matrix[i][i] && rest.is_finite() {
                lower[i][i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    for i in 0..N {
        let sum: f64 = (0..i).map(|k| lower[i][k] * right[k]).sum();
        right[i] = (right[i] - sum) / lower[i][i];
    }
    for i in (0..N).rev() {
        let sum: f64 = (i + 1..N).map(|k| lower[k][i] * right[k]).sum();
        right[i] = (right[i] - sum) / lower[i][i];
    }
    Some(right)
}

/// Largest radius around a tracer that a fit looks at without being told (mm).
const LARGEST_RADIUS: f64 = 25.0;
/// The smallest.
const SMALLEST_RADIUS: f64 = 5.0;
/// Offsets are counted in so many steps up to the radius.
const BINS: usize = 500;
/// LoRs of a window for each trajectory.
const WINDOW: usize = 400;
/// The fewest LoRs of a tracer in a window that locate it, and in all that a fit needs.
const FEWEST: (f64, f64) = (20.0, 200.0);
/// Positions and density are fitted in turn, at most so often, or until the density tells the same to this part.
const ROUNDS: (usize, f64) = (12, 1e-3);
/// Steps of a fit of the density at most, and the relative change at which it ends.
const STEPS: (usize, f64) = (2_000, 1e-7);
/// Largest sizes of a Gaussian and of a tail, in radii: of a wider one, too much would lie beyond.
const WIDEST: (f64, f64) = (0.4, 0.25);
/// Steps towards a position, and the one that is small enough (mm).
const APPROACHES: (usize, f64) = (50, 1e-3);

/// Fits the noise of a recording: the density of its LoRs' offsets from tracers, the tracers' shares and the background.
///
/// Trajectories say about where tracers are. Windows of LoRs then locate each of them again: with constant velocity, the most likely
/// one for the present density. The offsets of all LoRs within a radius are fitted with a core and a tail - two Gaussians or a Gaussian
/// and an exponential, whatever is likelier - over a background of constant density, by expectation maximisation. Both are
/// repeated until nothing changes.
///
/// A position from the LoRs themselves is drawn towards each of them, so offsets come out too small; half of every LoR's own pull
/// is taken back, with which the variance of offsets is right to first order.
///
/// The other tracers' LoRs are background; a tracer in a window where another one is nearer than two radii is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoiseFit {
    radius: Option<f64>,
    window: Option<usize>,
}

/// The noise of a recording.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Noise {
    /// The density of offsets of all tracers.
    pub density: OffsetDensity,
    /// LoRs within this radius of a tracer were looked at (mm).
    pub radius: f64,
    /// Each tracer, in the order of labels.
    pub tracers: Vec<TracerNoise>,
}

/// What a recording says of one tracer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TracerNoise {
    /// The trajectory's label.
    pub label: f64,
    /// LoRs of the windows that were used, background and other tracers included.
    pub lors: usize,
    /// The part of them that are the tracer's.
    pub share: f64,
    /// Density of LoRs near the tracer that are not its own, per mm^2 and LoR in all.
    pub background: f64,
    /// Mean position (mm).
    pub position: [f64; 3],
    /// Mean of `P = I - v v^T` over its LoRs.
    pub mean_projection: Matrix,
}

impl TracerNoise {
    /// The bound for this tracer.
    ///
    /// # Errors
    /// As [`Bound::new`].
    pub fn bound(&self, density: &OffsetDensity) -> Result<Bound> {
        Bound::new(&self.mean_projection, density, self.share, self.background)
    }
}

impl NoiseFit {
    /// LoRs within 25 mm of a tracer, less where tracers are near each other; windows of 400 LoRs for each trajectory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// LoRs up to this far from a tracer (mm): several times the width of the noise, so that its tail can be told from the background.
    #[must_use]
    pub fn radius(self, radius: f64) -> Self {
        Self {
            radius: Some(radius),
            ..self
        }
    }

    /// LoRs of a window, background included.
    #[must_use]
    pub fn window(self, window: usize) -> Self {
        Self {
            window: Some(window),
            ..self
        }
    }

    /// Fits. `points` are tracked points, with a column `label` those of several trajectories, or known positions: one point alone is
    /// a tracer that does not move. Points with a label below 0 are left out, and so are LoRs before and after a trajectory.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a radius or window that is none, and if too few LoRs are near a trajectory.
    pub fn run(&self, lors: &LineData, points: &PointData) -> Result<Noise> {
        self.check()?;
        let mut lines: Vec<Line> = lors.line_slice().rows().filter_map(Line::new).collect();
        lines.sort_by(|a, b| a.t.total_cmp(&b.t)); // stable
        let trajectories = Trajectory::all(points);
        let mut fit = Fit::new(self, &lines, &trajectories)?;
        fit.measure_as_given();
        fit.fit_density()?;
        for _ in 0..ROUNDS.0 {
            let before = fit.sigma();
            fit.locate();
            fit.fit_density()?;
            if (fit.sigma() / before - 1.0).abs() < ROUNDS.1 {
                break;
            }
        }
        Ok(fit.noise())
    }

    fn check(&self) -> Result<()> {
        if let Some(radius) = self.radius
            && !(radius > 0.0 && radius.is_finite())
        {
            return Err(Error::Parameter {
                name: "radius",
                value: radius.to_string(),
                needed: "a distance in mm above 0",
            });
        }
        if let Some(window) = self.window
            && window < 2
        {
            return Err(Error::Parameter {
                name: "window",
                value: window.to_string(),
                needed: "2 LoRs or more",
            });
        }
        Ok(())
    }
}

/// A tracked trajectory: `t x y z` in the order of time.
struct Trajectory {
    label: f64,
    rows: Vec<[f64; 4]>,
}

impl Trajectory {
    fn all(points: &PointData) -> Vec<Self> {
        let n_columns = points.columns().len();
        let label = points.column_index("label");
        let rows = points.values().chunks_exact(n_columns).map(|row| {
            let label = label.map_or(0.0, |column| row[column] + 0.0); // -0 is 0
            (label, [row[0], row[1], row[2], row[3]])
        });
        let mut rows: Vec<(f64, [f64; 4])> = rows
            .filter(|(label, row)| *label >= 0.0 && row.iter().all(|value| value.is_finite()))
            .collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1[0].total_cmp(&b.1[0])));
        let trajectories = rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        trajectories
            .map(|rows| Self {
                label: rows[0].0,
                rows: rows.iter().map(|(_, row)| *row).collect(),
            })
            .collect()
    }

    fn has(&self, t: f64) -> bool {
        let (first, last) = (self.rows[0][0], self.rows[self.rows.len() - 1][0]);
        self.rows.len() == 1 || (first <= t && t <= last)
    }

    /// Between the rows in straight lines; before the first and after the last it stands still.
    fn at(&self, t: f64) -> [f64; 3] {
        let next = self.rows.partition_point(|row| row[0] < t);
        let place = |[_, x, y, z]: [f64; 4]| [x, y, z];
        match (
            next.checked_sub(1).map(|n| self.rows[n]),
            self.rows.get(next),
        ) {
            (Some(before), Some(after)) => {
                let share = (t - before[0]) / (after[0] - before[0]);
                std::array::from_fn(|axis| {
                    before[axis + 1] + share * (after[axis + 1] - before[axis + 1])
                })
            }
            (Some(row), None) => place(row),
            (None, row) => place(row.copied().unwrap_or_default()),
        }
    }
}

/// A position that changes at constant velocity.
#[derive(Clone, Copy)]
struct Path {
    /// The middle of the window, and half its length (ms).
    middle: f64,
    half: f64,
    /// Position in the middle, and its change in half the window.
    terms: [[f64; 3]; 2],
}

impl Path {
    /// Time from the middle, from -1 to 1; 0 where all LoRs have one time.
    fn time(&self, t: f64) -> f64 {
        if self.half > 0.0 {
            (t - self.middle) / self.half
        } else {
            0.0
        }
    }

    fn at(&self, time: f64) -> [f64; 3] {
        let [position, change] = self.terms;
        std::array::from_fn(|axis| position[axis] + time * change[axis])
    }
}

/// A tracer in a window.
struct Job {
    trajectory: usize,
    window: std::ops::Range<usize>,
    given: Path,
    path: Path,
    measured: Option<Measured>,
}

/// Offsets of the LoRs near a path.
#[derive(Default)]
struct Measured {
    bins: Vec<u16>,
    /// Sum of `I - v v^T`, each times the probability that the LoR is the tracer's, and the sum of these.
    projections: Matrix,
    tracers: f64,
}

impl Measured {
    fn count(&mut self, offset: f64, radius: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of a bin, which `as` truncates as wanted"
        )]
        let bin = (offset / radius * BINS as f64) as u16;
        if usize::from(bin) < BINS {
            self.bins.push(bin);
        }
    }
}

/// The normal equations at the end of the way to a position.
struct Located<const N: usize> {
    path: Path,
    matrix: [[f64; N]; N],
    /// Sums of the weights, and of the probabilities that LoRs are the tracer's.
    weights: f64,
    tracers: f64,
}

/// The most likely path from LoRs within a radius: with N = 3 a position, with N = 6 and a velocity. `None` where they do not determine
/// it.
///
/// Each step solves the weighted least squares of [`OffsetDensity::weight`]; the density being a mixture of Gaussians, or one of
/// infinitely many, the likelihood never falls.
fn locate<const N: usize>(
    lines: &[Line],
    mut path: Path,
    density: &OffsetDensity,
    background: f64,
    radius: f64,
) -> Option<Located<N>> {
    for _ in 0..APPROACHES.0 {
        let (mut matrix, mut right) = ([[0.0; N]; N], [0.0; N]);
        let (mut weights, mut tracers) = (0.0, 0.0);
        for line in lines {
            let time = path.time(line.t);
            let (offset, rho) = line.offset(path.at(time));
            if rho > radius {
                continue;
            }
            let (weight, tracer) = density.weight(rho, background);
            weights += weight;
            tracers += tracer;
            let across = projection(line.direction);
            let powers = [weight, weight * time, weight * time * time];
            for i in 0..N {
                right[i] -= powers[i / 3] * offset[i % 3];
                for j in 0..=i {
                    matrix[i][j] += powers[i / 3 + j / 3] * across[i % 3][j % 3];
                }
            }
        }
        let step = solve(&matrix, right)?;
        for (n, step) in step.iter().enumerate() {
            path.terms[n / 3][n % 3] += step;
        }
        if step.iter().all(|step| step.abs() < APPROACHES.1) {
            return Some(Located {
                path,
                matrix,
                weights,
                tracers,
            });
        }
    }
    None
}

impl<const N: usize> Located<N> {
    /// The inverse of the matrix, whose lower half is filled; `None` if it has none.
    fn inverse(&self) -> Option<[[f64; N]; N]> {
        let mut inverse = [[0.0; N]; N];
        for (n, column) in inverse.iter_mut().enumerate() {
            let mut unit = [0.0; N];
            unit[n] = 1.0;
            *column = solve(&self.matrix, unit)?;
        }
        Some(inverse)
    }

    /// Offsets from the path, with half of each LoR's pull taken back.
    fn measure(
        &self,
        lines: &[Line],
        density: &OffsetDensity,
        background: f64,
        radius: f64,
    ) -> Option<Measured> {
        if self.tracers < FEWEST.0 {
            return None;
        }
        // The matrix has the LoRs' weights; the covariance of the path is the inverse of their information.
        let inverse = self.inverse()?;
        let covariance = self.weights / (self.tracers * density.information(background));
        let mut measured = Measured::default();
        for line in lines {
            let time = self.path.time(line.t);
            let (mut offset, rho) = line.offset(self.path.at(time));
            if rho > 2.0 * radius {
                continue;
            }
            let (weight, tracer) = density.weight(rho, background);
            let powers = [1.0, time, time * time];
            let pull: [f64; 3] = std::array::from_fn(|i| {
                let terms = (0..N / 3).flat_map(|m| (0..N).map(move |n| (m, n)));
                terms
                    .map(|(m, n)| powers[m + n / 3] * inverse[3 * m + i][n] * offset[n % 3])
                    .sum()
            });
            for (offset, pull) in offset.iter_mut().zip(pull) {
                *offset += 0.5 * weight * covariance * pull;
            }
            let along = dot(offset, line.direction);
            let corrected = (dot(offset, offset) - along * along).max(0.0).sqrt();
            measured.count(corrected, radius);
            if rho <= radius {
                add(
                    &mut measured.projections,
                    tracer,
                    &projection(line.direction),
                );
                measured.tracers += tracer;
            }
        }
        Some(measured)
    }
}

/// A fit on its way.
struct Fit<'a> {
    lines: &'a [Line],
    trajectories: &'a [Trajectory],
    radius: f64,
    jobs: Vec<Job>,
    mixture: Mixture,
}

impl<'a> Fit<'a> {
    fn new(options: &NoiseFit, lines: &'a [Line], trajectories: &'a [Trajectory]) -> Result<Self> {
        let n = trajectories.len().max(1);
        let size = options
            .window
            .unwrap_or(WINDOW.saturating_mul(n))
            .min(lines.len());
        // Each with the distance of the nearest other tracer.
        let mut jobs: Vec<(f64, Job)> = Vec::new();
        for start in (0..lines.len()).step_by(size.max(1)) {
            let window = start..start + size;
            if window.end > lines.len() {
                break;
            }
            let (first, last) = (lines[start].t, lines[window.end - 1].t);
            let (middle, half) = (0.5 * (first + last), 0.5 * (last - first));
            let place = |(n, trajectory): (usize, &Trajectory)| {
                let [before, now, after] = [first, middle, last].map(|t| trajectory.at(t));
                let change = std::array::from_fn(|axis| 0.5 * (after[axis] - before[axis]));
                let terms = [now, change];
                trajectory.has(middle).then_some((
                    n,
                    Path {
                        middle,
                        half,
                        terms,
                    },
                ))
            };
            let paths: Vec<(usize, Path)> =
                trajectories.iter().enumerate().filter_map(place).collect();
            for &(trajectory, path) in &paths {
                let others = paths.iter().filter(|(other, _)| *other != trajectory);
                let distance = |(_, other): &(usize, Path)| {
                    let between: [f64; 3] =
                        std::array::from_fn(|axis| other.terms[0][axis] - path.terms[0][axis]);
                    dot(between, between).sqrt()
                };
                let nearest = others.map(distance).fold(f64::INFINITY, f64::min);
                jobs.push((
                    nearest,
                    Job {
                        trajectory,
                        window: window.clone(),
                        given: path,
                        path,
                        measured: None,
                    },
                ));
            }
        }
        let mut distances: Vec<f64> = jobs.iter().map(|(nearest, _)| *nearest).collect();
        let radius = options.radius.unwrap_or_else(|| {
            distances.retain(|nearest| nearest.is_finite());
            if distances.is_empty() {
                return LARGEST_RADIUS;
            }
            (0.5 * quantile(&mut distances, 0.1)).clamp(SMALLEST_RADIUS, LARGEST_RADIUS)
        });
        let n_jobs = jobs.len();
        jobs.retain(|(nearest, _)| *nearest >= 2.0 * radius);
        if jobs.is_empty() {
            let value = if n_jobs == 0 {
                "none at the time of a window of LoRs".to_owned()
            } else {
                format!("never further than {} mm from each other", 2.0 * radius)
            };
            return Err(Error::Parameter {
                name: "trajectories",
                value,
                needed: "some during the recording that are two radii apart; take fewer tracers, or a smaller radius or window",
            });
        }
        Ok(Self {
            lines,
            trajectories,
            radius,
            jobs: jobs.into_iter().map(|(_, job)| job).collect(),
            mixture: Mixture::default(),
        })
    }

    /// Offsets from the given trajectories.
    fn measure_as_given(&mut self) {
        let (lines, radius) = (self.lines, self.radius);
        self.jobs.par_iter_mut().for_each(|job| {
            let mut measured = Measured::default();
            for line in &lines[job.window.clone()] {
                let (_, rho) = line.offset(job.given.at(job.given.time(line.t)));
                measured.count(rho, radius);
            }
            job.measured = Some(measured);
        });
    }

    /// Locates the tracers in all windows, and measures offsets from there.
    fn locate(&mut self) {
        let (lines, radius, mixture) = (self.lines, self.radius, &self.mixture);
        let density = mixture.density();
        self.jobs.par_iter_mut().for_each(|job| {
            let lines = &lines[job.window.clone()];
            let background = mixture.background(job.trajectory, radius);
            let still = Path {
                terms: [job.path.terms[0], [0.0; 3]],
                ..job.path
            };
            let moving =
                locate::<6>(lines, job.path, &density, background, radius).and_then(|found| {
                    let measured = found.measure(lines, &density, background, radius)?;
                    Some((found.path, measured))
                });
            // Times may not tell a velocity.
            let found = moving.or_else(|| {
                let found = locate::<3>(lines, still, &density, background, radius)?;
                let measured = found.measure(lines, &density, background, radius)?;
                Some((found.path, measured))
            });
            let moved = |path: &Path| {
                let way: [f64; 3] =
                    std::array::from_fn(|axis| path.terms[0][axis] - job.given.terms[0][axis]);
                dot(way, way).sqrt()
            };
            job.measured = None;
            match found {
                Some((path, measured)) if moved(&path) <= radius => {
                    job.path = path;
                    job.measured = Some(measured);
                }
                _ => job.path = job.given,
            }
        });
    }

    /// Offsets and LoRs of each trajectory.
    fn counts(&self) -> Vec<Counts> {
        let mut counts: Vec<Counts> = self
            .trajectories
            .iter()
            .map(|_| Counts::default())
            .collect();
        for job in &self.jobs {
            let Some(measured) = &job.measured else {
                continue;
            };
            let counts = &mut counts[job.trajectory];
            counts.lors += job.window.len();
            counts.windows += 1;
            counts.tracers += measured.tracers;
            add(&mut counts.projections, 1.0, &measured.projections);
            for (sum, place) in counts.positions.iter_mut().zip(job.path.terms[0]) {
                *sum += place;
            }
            counts.bins.resize(BINS, 0.0);
            for &bin in &measured.bins {
                counts.bins[usize::from(bin)] += 1.0;
            }
        }
        counts
    }

    fn fit_density(&mut self) -> Result<()> {
        let counts = self.counts();
        let near: f64 = counts.iter().flat_map(|counts| &counts.bins).sum();
        if near < FEWEST.1 {
            return Err(Error::Parameter {
                name: "points",
                value: format!("{near} LoRs within {} mm", self.radius),
                needed: "trajectories near which there are LoRs of this recording, some hundreds at least",
            });
        }
        let radius = self.radius;
        let starts = self.mixture.starts(radius);
        let fits: Vec<Mixture> = starts
            .into_par_iter()
            .map(|start| Mixture::fitted(start, &counts, radius))
            .collect();
        let likeliest = fits.into_iter().reduce(|best, other| {
            if other.log_likelihood > best.log_likelihood {
                other
            } else {
                best
            }
        });
        self.mixture = likeliest.unwrap_or_default();
        Ok(())
    }

    fn sigma(&self) -> f64 {
        self.mixture.density().effective_sigma(0.0)
    }

    fn noise(&self) -> Noise {
        let area = PI * self.radius * self.radius;
        let counts = self.counts();
        let tracers = self
            .trajectories
            .iter()
            .zip(&counts)
            .zip(self.mixture.amounts.iter());
        let tracers =
            tracers.filter(|((_, counts), amount)| counts.tracers > 0.0 && amount.tracer > 0.0);
        Noise {
            density: self.mixture.density(),
            radius: self.radius,
            tracers: tracers
                .map(|((trajectory, counts), amount)| {
                    let lors = counts.lors as f64;
                    TracerNoise {
                        label: trajectory.label,
                        lors: counts.lors,
                        share: (amount.tracer / lors).min(1.0),
                        background: amount.flat / (area * lors),
                        position: counts.positions.map(|sum| sum / counts.windows as f64),
                        mean_projection: counts
                            .projections
                            .map(|row| row.map(|value| value / counts.tracers)),
                    }
                })
                .collect(),
        }
    }
}

/// What was measured for a trajectory.
#[derive(Default)]
struct Counts {
    /// LoRs by their offset; empty without any window.
    bins: Vec<f64>,
    lors: usize,
    windows: usize,
    tracers: f64,
    projections: Matrix,
    positions: [f64; 3],
}

/// Core and tail over a background, fitted to counts of offsets.
#[derive(Clone, Debug, Default)]
struct Mixture {
    terms: Vec<(f64, Spread)>,
    /// Of each trajectory.
    amounts: Vec<Amount>,
    log_likelihood: f64,
}

/// LoRs of a trajectory.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    /// The tracer's, those beyond the radius included.
    tracer: f64,
    /// Background within the radius.
    flat: f64,
}

impl Mixture {
    fn density(&self) -> OffsetDensity {
        /// A smaller share tells nothing.
        const SMALLEST: f64 = 1e-6;
        let terms = self.terms.iter().filter(|(share, _)| *share > SMALLEST);
        let sum: f64 = terms.clone().map(|(share, _)| share).sum();
        OffsetDensity {
            terms: terms
                .map(|(share, spread)| (share / sum, *spread))
                .collect(),
        }
    }

    /// Background per mm^2 for each LoR of the tracer.
    fn background(&self, trajectory: usize, radius: f64) -> f64 {
        let Amount { tracer, flat } = self.amounts[trajectory];
        if tracer > 0.0 {
            flat / (PI * radius * radius * tracer)
        } else {
            0.0
        }
    }

    /// Where fits begin: both shapes of the tail, from here or, at first, from several widths.
    fn starts(&self, radius: f64) -> Vec<Vec<(f64, Spread)>> {
        /// Widths of core and tail in radii.
        const WIDTHS: [[f64; 2]; 3] = [[0.02, 0.06], [0.06, 0.15], [0.12, 0.25]];
        let shapes = [Spread::Gaussian, Spread::Exponential];
        let start = |share: f64, core: f64, tail: Spread| {
            vec![(share, Spread::Gaussian(core)), (1.0 - share, tail)]
        };
        match self.terms[..] {
            [(share, Spread::Gaussian(core)), (_, tail)] => {
                // Equal second moments: of a tail 3 L^2, of a Gaussian sigma^2 along each axis.
                let (wide, long) = match tail {
                    Spread::Gaussian(sigma) => (sigma, sigma / 3.0_f64.sqrt()),
                    Spread::Exponential(scale) => (scale * 3.0_f64.sqrt(), scale),
                };
                // Neither a vanished term nor equal ones could come back.
                let share = share.clamp(0.05, 0.95);
                let core = core.min(0.9 * wide);
                vec![
                    start(share, core, Spread::Gaussian(wide)),
                    start(share, core, Spread::Exponential(long)),
                ]
            }
            _ => WIDTHS
                .iter()
                .flat_map(|[core, tail]| {
                    shapes.map(|shape| start(0.5, core * radius, shape(tail * radius)))
                })
                .collect(),
        }
    }

    /// Expectation maximisation; LoRs beyond the radius are data that lack.
    fn fitted(terms: Vec<(f64, Spread)>, counts: &[Counts], radius: f64) -> Self {
        let amounts = counts.iter().map(|counts| {
            let n: f64 = counts.bins.iter().sum();
            Amount {
                tracer: 0.5 * n,
                flat: 0.5 * n,
            }
        });
        let mut mixture = Self {
            terms,
            amounts: amounts.collect(),
            log_likelihood: f64::NEG_INFINITY,
        };
        for _ in 0..STEPS.0 {
            let before = mixture.parameters();
            mixture.step(counts, radius);
            let after = mixture.parameters();
            let change =
                |(before, after): (&f64, &f64)| (after - before).abs() <= STEPS.1 * before.abs();
            if before.iter().zip(&after).all(change) {
                break;
            }
        }
        mixture.log_likelihood = mixture.log_likelihood_of(counts, radius);
        mixture
    }

    /// What has to settle.
    fn parameters(&self) -> Vec<f64> {
        let flat: f64 = self.amounts.iter().map(|amount| amount.flat).sum();
        let terms = self
            .terms
            .iter()
            .flat_map(|(share, spread)| [*share, spread.size()]);
        terms.chain([flat]).collect()
    }

    /// Offsets in the middle of bins, and the terms' densities there.
    fn table(&self, radius: f64) -> Vec<(f64, Vec<f64>)> {
        (0..BINS)
            .map(|bin| {
                let rho = (bin as f64 + 0.5) / BINS as f64 * radius;
                let densities = self
                    .terms
                    .iter()
                    .map(|(share, spread)| share * spread.at(rho));
                (rho, densities.collect())
            })
            .collect()
    }

    fn step(&mut self, counts: &[Counts], radius: f64) {
        let area = PI * radius * radius;
        let table = self.table(radius);
        // Of each term: LoRs and the sum of their statistics, first those beyond the radius.
        let all: f64 = self.amounts.iter().map(|amount| amount.tracer).sum();
        let beyond = |(share, spread): &(f64, Spread)| {
            [
                all * share * spread.beyond(radius),
                all * share * spread.mean_beyond(radius),
            ]
        };
        let mut sums: Vec<[f64; 2]> = self.terms.iter().map(beyond).collect();
        let share_beyond: f64 = self
            .terms
            .iter()
            .map(|(share, spread)| share * spread.beyond(radius))
            .sum();
        for (amount, counts) in self.amounts.iter_mut().zip(counts) {
            let mut tracer = amount.tracer * share_beyond;
            let mut flat = 0.0;
            for (&n, (rho, densities)) in counts.bins.iter().zip(&table) {
                let ground = amount.flat / area;
                let sum = ground + amount.tracer * densities.iter().sum::<f64>();
                if n <= 0.0 || sum <= 0.0 {
                    continue;
                }
                flat += n * ground / sum;
                let terms = self.terms.iter().zip(densities).zip(&mut sums);
                for (((_, spread), density), [number, statistic]) in terms {
                    let part = n * amount.tracer * density / sum;
                    tracer += part;
                    *number += part;
                    *statistic += part * spread.statistic(*rho);
                }
            }
            *amount = Amount { tracer, flat };
        }
        let all: f64 = sums.iter().map(|[number, _]| number).sum();
        for ((share, spread), [number, statistic]) in self.terms.iter_mut().zip(sums) {
            if number > 0.0 && all > 0.0 {
                *share = number / all;
                *spread = match spread.size_of_mean(statistic / number) {
                    Spread::Gaussian(sigma) => {
                        Spread::Gaussian(sigma.clamp(radius / BINS as f64, WIDEST.0 * radius))
                    }
                    Spread::Exponential(scale) => {
                        Spread::Exponential(scale.clamp(radius / BINS as f64, WIDEST.1 * radius))
                    }
                };
            } else {
                *share = 0.0;
            }
        }
    }

    /// Of a Poisson process in the plane, but for a constant.
    fn log_likelihood_of(&self, counts: &[Counts], radius: f64) -> f64 {
        let table = self.table(radius);
        let within: f64 = self
            .terms
            .iter()
            .map(|(share, spread)| share * (1.0 - spread.beyond(radius)))
            .sum();
        let of_trajectory = |(amount, counts): (&Amount, &Counts)| {
            let ground = amount.flat / (PI * radius * radius);
            let logs = counts.bins.iter().zip(&table).filter(|(n, _)| **n > 0.0);
            let logs = logs.map(|(n, (_, densities))| {
                n * libm::log(ground + amount.tracer * densities.iter().sum::<f64>())
            });
            logs.sum::<f64>() - amount.tracer * within - amount.flat
        };
        self.amounts.iter().zip(counts).map(of_trajectory).sum()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    use super::*;

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
        let (mut rng, n, radius) = (Pcg64::seed_from_u64(4), 2_000_000, 30.0);
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
        for axis in 0..3 {
            let expected = factors[axis] * forte.effective_sigma(0.0) / (0.8 * 200.0_f64).sqrt();
            assert_close(alone.sigma(200.0)[axis], expected, 1e-9);
            assert_close(
                flat.covariance(200.0)[axis][axis],
                expected * expected,
                1e-9,
            );
        }
        // At 20, 60 and 85 %, random pairs cost up to a few hundredths of the information.
        for (random, from, to) in [(0.2, 1.000_5, 1.01), (0.6, 1.002, 1.02), (0.85, 1.01, 1.06)] {
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
        const WINDOWS: usize = 2_000;
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
            println!(
                "axis {axis}: {:.4} of {:.4} mm",
                (squares / n).sqrt(),
                sigma[axis]
            );
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
            let (lors, points) = recording(60_000, speed);
            let noise = NoiseFit::new().run(&lors, &points).unwrap();
            println!("{:?} {}", noise.density, noise.density.effective_sigma(0.0));
            let forte = OffsetDensity::adac_forte();
            assert_close(
                noise.density.effective_sigma(0.0),
                forte.effective_sigma(0.0),
                0.02,
            );
            assert!(matches!(noise.density.terms()[1].1, Spread::Exponential(_)));
            for (tracer, share) in noise.tracers.iter().zip([0.5, 0.3]) {
                println!(
                    "{} {} {:e} {:?}",
                    tracer.share, tracer.lors, tracer.background, tracer.position
                );
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
