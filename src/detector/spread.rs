//! What moves a line of response away from its tracer: its shape, the positrons' range, photons that are not in line.

use std::f64::consts::PI;
use std::sync::Arc;

use serde::Deserialize;

use super::motion::Own;
use super::random::Random;
use super::scene::Problem;
use super::vector::{add, basis, scaled, unit};

/// A uniform random number from 0 to below 1, again and again.
pub type Uniform<'a> = dyn FnMut() -> f64 + 'a;

/// A place within a shape of one's own, from numbers that are uniform between 0 and 1 (mm).
pub type OwnPlace = dyn Fn(&mut Uniform<'_>) -> [f64; 3] + Send + Sync;

/// Where in a tracer its decays happen, about its position (mm).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Shape {
    /// All at the position.
    #[default]
    Point,
    /// Uniform in a sphere.
    Sphere(Sphere),
    /// Uniform in a cylinder.
    Cylinder(Cylinder),
    /// A function of your own: from uniform random numbers to an offset.
    Own(Own<OwnPlace>),
}

/// A sphere.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sphere {
    /// Radius (mm).
    pub radius: f64,
}

/// A cylinder.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cylinder {
    /// Radius (mm).
    pub radius: f64,
    /// Length (mm).
    pub height: f64,
    /// Axis, of any length.
    #[serde(default = "along_z")]
    pub axis: [f64; 3],
}

fn along_z() -> [f64; 3] {
    [0.0, 0.0, 1.0]
}

impl Shape {
    /// A function of your own.
    pub fn own(offset: impl Fn(&mut Uniform<'_>) -> [f64; 3] + Send + Sync + 'static) -> Self {
        Self::Own(Own(Arc::new(offset)))
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let sizes: &[(&'static str, f64)] = match self {
            Self::Point | Self::Own(_) => &[],
            Self::Sphere(sphere) => &[("sphere.radius", sphere.radius)],
            Self::Cylinder(cylinder) => {
                if unit(cylinder.axis).is_none() {
                    let text = "a direction needs three finite numbers that are not all 0";
                    return Err(Problem::new("cylinder.axis", text));
                }
                &[
                    ("cylinder.radius", cylinder.radius),
                    ("cylinder.height", cylinder.height),
                ]
            }
        };
        let wrong = sizes
            .iter()
            .find(|(_, size)| !(*size >= 0.0 && size.is_finite()));
        wrong.map_or(Ok(()), |(key, size)| {
            Err(Problem::new(
                key,
                format!("{size} is no size in mm from 0 on"),
            ))
        })
    }

    /// An offset from the tracer's position.
    #[inline]
    pub(super) fn offset(&self, random: &mut Random) -> [f64; 3] {
        match self {
            Self::Point => [0.0; 3],
            Self::Sphere(sphere) => {
                let radius = sphere.radius * libm::cbrt(random.uniform());
                scaled(random.direction(), radius)
            }
            Self::Cylinder(cylinder) => {
                let axis = unit(cylinder.axis).unwrap_or(along_z());
                let [first, second] = basis(axis);
                let radius = cylinder.radius * random.uniform().sqrt();
                let [cos, sin] = random.turn();
                let along = cylinder.height * (random.uniform() - 0.5);
                std::array::from_fn(|k| {
                    radius * (cos * first[k] + sin * second[k]) + along * axis[k]
                })
            }
            Self::Own(own) => (own.0)(&mut || random.uniform()),
        }
    }
}

/// Distances of true lines from their tracer as measured, at right angles to the line: a Gaussian core and an exponential tail.
///
/// The density per area is `core_share` N2(`core` per axis) + (1 - `core_share`) exp(-rho / `tail`) / (2 pi `tail`^2). It stands for
/// positron range, photons that are not in line, scatter near the tracer and blur together.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offsets {
    /// Share of lines in the core.
    pub core_share: f64,
    /// Standard deviation of the core along each axis (mm).
    pub core: f64,
    /// Decay length of the tail (mm).
    pub tail: f64,
}

impl Offsets {
    /// As measured with the ADAC Forte in Birmingham.
    pub const MEASURED: Self = Self {
        core_share: 0.45,
        core: 2.25,
        tail: 3.5,
    };

    pub(super) fn check(&self) -> Result<(), Problem> {
        if !(0.0..=1.0).contains(&self.core_share) {
            let text = format!("{} is no share from 0 to 1", self.core_share);
            return Err(Problem::new("offsets.core_share", text));
        }
        for (key, size) in [("offsets.core", self.core), ("offsets.tail", self.tail)] {
            if !(size >= 0.0 && size.is_finite()) {
                return Err(Problem::new(
                    key,
                    format!("{size} is no size in mm from 0 on"),
                ));
            }
        }
        Ok(())
    }

    /// Two numbers at right angles to the line.
    #[inline]
    pub(super) fn sample(&self, random: &mut Random) -> [f64; 2] {
        if random.uniform() < self.core_share {
            let [a, b] = random.normals();
            return [self.core * a, self.core * b];
        }
        // rho exp(-rho): a sum of two exponential numbers.
        let distance = self.tail * random.two_exponentials();
        let [cos, sin] = random.turn();
        [distance * cos, distance * sin]
    }
}

/// What emits the positrons, and in what they come to rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Isotope {
    /// Largest kinetic energy of the positrons (MeV).
    pub endpoint: f64,
    /// Atomic number of the nucleus that is left.
    pub daughter: f64,
    /// Positrons per decay.
    pub positrons: f64,
    /// Effective mass number and atomic number of the matter around; water by default.
    pub matter: [f64; 2],
    /// Mean range (mm); without it, it follows from the energies (Palmer et al. 1992).
    pub mean_range: Option<f64>,
}

/// Effective mass number and atomic number of water.
const WATER: [f64; 2] = [13.0, 7.22];
const ELECTRON: f64 = 0.510_998_95; // MeV
const FINE_STRUCTURE: f64 = 1.0 / 137.035_999;

impl Isotope {
    /// The isotopes that scenes know by name, in water.
    pub const KNOWN: [(&str, Self); 5] = [
        ("F-18", Self::known(0.6335, 8.0, 0.967, 0.6)),
        ("Ga-68", Self::known(1.899, 30.0, 0.889, 3.5)),
        ("Cu-64", Self::known(0.653, 28.0, 0.175, 0.7)),
        ("O-15", Self::known(1.732, 7.0, 0.999, 3.0)),
        ("C-11", Self::known(0.960, 5.0, 0.998, 1.2)),
    ];

    const fn known(endpoint: f64, daughter: f64, positrons: f64, mean_range: f64) -> Self {
        Self {
            endpoint,
            daughter,
            positrons,
            matter: WATER,
            mean_range: Some(mean_range),
        }
    }

    /// Positrons of any endpoint (MeV), in water, as if they came from F-18.
    #[must_use]
    pub fn new(endpoint: f64) -> Self {
        Self {
            endpoint,
            mean_range: None,
            positrons: 1.0,
            ..Self::KNOWN[0].1
        }
    }

    /// One of those that scenes know by name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::KNOWN.iter().find(|(known, _)| *known == name);
        found.map(|(_, isotope)| *isotope)
    }

    /// Positrons beside those of F-18 of the same activity.
    pub(super) fn beside_f18(&self) -> f64 {
        self.positrons / Self::KNOWN[0].1.positrons
    }

    /// The range of the fastest positrons (mm).
    pub(super) fn longest(&self) -> f64 {
        let range = self.range(self.endpoint);
        // Means are 0.28 of that for F-18 and a smaller share for none.
        self.mean_range.map_or(range, |mean| range.max(4.0 * mean))
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let positive = [
            self.endpoint,
            self.positrons,
            self.matter[0],
            self.matter[1],
        ];
        let mean = self.mean_range.unwrap_or(1.0);
        let above_0 = |x: &f64| *x > 0.0 && x.is_finite();
        if positive.iter().chain([&mean]).all(above_0)
            && self.daughter >= 0.0
            && self.daughter <= 100.0
            && self.matter[1] < 100.0
        {
            Ok(())
        } else {
            Err(Problem::new("isotope", "its numbers have to be above 0"))
        }
    }

    /// The range (mm) at an energy (MeV).
    fn range(&self, energy: f64) -> f64 {
        let [a, z] = self.matter;
        let b1 = 4.569 * a / libm::pow(z, 1.209);
        let b2 = 1.0 / (2.873 - 0.023_09 * z);
        b1 * energy * energy / (b2 + energy)
    }

    /// The density of positrons at an energy (MeV), up to a factor: an allowed beta decay with its Coulomb correction.
    fn density(&self, energy: f64) -> f64 {
        let total = energy + ELECTRON;
        let momentum = (total * total - ELECTRON * ELECTRON).sqrt();
        let repulsion = 2.0 * PI * FINE_STRUCTURE * self.daughter * total / momentum;
        let correction = if repulsion > 0.0 {
            repulsion / (libm::exp(repulsion) - 1.0)
        } else {
            1.0
        };
        let rest = self.endpoint - energy;
        correction * momentum * total * rest * rest
    }
}

/// Ranges of positrons, equally likely from one to the next.
#[derive(Clone, Debug)]
pub(super) struct Ranges(Arc<[f64]>);

impl Ranges {
    pub(super) fn new(isotope: &Isotope) -> Self {
        /// Energies of the spectrum.
        const ENERGIES: u32 = 8192;
        /// Ranges that are kept.
        const KEPT: u32 = 1024;
        let energy = |n: f64| isotope.endpoint * n / f64::from(ENERGIES);
        let mut sum = 0.0;
        let below: Vec<f64> = (0..ENERGIES)
            .map(|n| {
                sum += isotope.density(energy(f64::from(n) + 0.5));
                sum
            })
            .collect();
        let mut ranges: Vec<f64> = (0..=KEPT)
            .map(|n| {
                let wanted = sum * f64::from(n) / f64::from(KEPT);
                let cell = below
                    .partition_point(|&sum| sum < wanted)
                    .min(below.len() - 1);
                let before = if cell == 0 { 0.0 } else { below[cell - 1] };
                let share = ((wanted - before) / (below[cell] - before)).clamp(0.0, 1.0);
                isotope.range(energy(cell as f64 + share))
            })
            .collect();
        if let Some(wanted) = isotope.mean_range {
            let scale = wanted / Self::mean_of(&ranges);
            ranges.iter_mut().for_each(|range| *range *= scale);
        }
        Self(ranges.into())
    }

    fn mean_of(ranges: &[f64]) -> f64 {
        let middles = ranges.windows(2).map(|pair| 0.5 * (pair[0] + pair[1]));
        middles.sum::<f64>() / (ranges.len() - 1) as f64
    }

    /// From a decay to where its positron meets an electron: Gaussian along each axis, with half the range as its width.
    #[inline]
    pub(super) fn displacement(&self, random: &mut Random) -> [f64; 3] {
        let place = random.uniform() * (self.0.len() - 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the table"
        )]
        let cell = place as usize;
        let (a, b) = (self.0[cell], self.0[cell + 1]);
        let range = a + (place - cell as f64) * (b - a);
        scaled(random.three_normals(), 0.5 * range)
    }
}

/// A direction turned by a small random angle: normal in both directions across it, of this width (radians).
#[inline]
pub(super) fn shaken(direction: [f64; 3], width: f64, random: &mut Random) -> [f64; 3] {
    let [first, second] = basis(direction);
    let [a, b] = random.normals();
    let (a, b) = (width * a, width * b);
    let scale = 1.0 / (1.0 + a * a + b * b).sqrt();
    std::array::from_fn(|k| scale * (direction[k] + a * first[k] + b * second[k]))
}

/// Mean way of a photon of 511 keV in water until it is scattered (mm).
const SCATTERING_LENGTH: f64 = 104.0;

/// Where a photon of 511 keV is scattered in water, and where it goes then (Klein and Nishina), if it keeps this energy (keV).
#[inline]
pub(super) fn scattered(
    from: [f64; 3],
    direction: [f64; 3],
    least: f64,
    random: &mut Random,
) -> ([f64; 3], [f64; 3]) {
    const ENERGY: f64 = 511.0;
    let place = add(
        from,
        scaled(direction, SCATTERING_LENGTH * random.exponential()),
    );
    let lowest = (2.0 - ENERGY / least).max(-1.0);
    let cos = loop {
        let cos = random.between(lowest, 1.0);
        let kept = 1.0 / (2.0 - cos);
        // 2 at most, straight on.
        let density = kept * kept * (kept + 1.0 / kept - (1.0 - cos * cos));
        if 2.0 * random.uniform() < density {
            break cos;
        }
    };
    let sin = (1.0 - cos * cos).sqrt();
    let [first, second] = basis(direction);
    let [a, b] = random.turn();
    let turned = std::array::from_fn(|k| cos * direction[k] + sin * (a * first[k] + b * second[k]));
    (place, turned)
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::super::vector::dot;
    use super::*;

    const N: usize = 200_000;

    fn random() -> Random {
        Random::stream(8, Purpose::Block, 0, 0)
    }

    /// The largest difference between the distribution of values and a function.
    fn distance(mut values: Vec<f64>, below: impl Fn(f64) -> f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let both = |(k, x): (usize, &f64)| {
            let expected = below(*x);
            let (a, b) = (k as f64 / n, (k + 1) as f64 / n);
            (expected - a).abs().max((expected - b).abs())
        };
        values.iter().enumerate().map(both).fold(0.0, f64::max)
    }

    /// Kolmogorov and Smirnov: larger in 1 of 10^6 cases.
    fn limit() -> f64 {
        2.69 / (N as f64).sqrt()
    }

    #[test]
    fn shapes_are_uniform_in_volume() {
        let mut random = random();
        let sphere = Shape::Sphere(Sphere { radius: 2.0 });
        let offsets: Vec<[f64; 3]> = (0..N).map(|_| sphere.offset(&mut random)).collect();
        let radii = offsets.iter().map(|x| dot(*x, *x).sqrt()).collect();
        assert!(distance(radii, |r| (r / 2.0).powi(3)) < limit());
        // A coordinate of a ball: (3 r^2 z - z^3) / 4 r^3 + 1/2.
        let heights = offsets.iter().map(|x| x[1]).collect();
        let below = |z: f64| (12.0 * z - z * z * z) / 32.0 + 0.5;
        assert!(distance(heights, below) < limit());

        let axis = [1.0, 2.0, 2.0];
        let cylinder = Shape::Cylinder(Cylinder {
            radius: 3.0,
            height: 4.0,
            axis,
        });
        let offsets: Vec<[f64; 3]> = (0..N).map(|_| cylinder.offset(&mut random)).collect();
        let along = |x: &[f64; 3]| dot(*x, axis) / 3.0;
        let heights = offsets.iter().map(along).collect();
        assert!(distance(heights, |z| (z + 2.0) / 4.0) < limit());
        let radii = offsets
            .iter()
            .map(|x| (dot(*x, *x) - along(x).powi(2)).sqrt());
        assert!(distance(radii.collect(), |r| r * r / 9.0) < limit());

        let line = Shape::own(|uniform| [uniform(), 0.0, 1.0]);
        assert_eq!(line.offset(&mut random)[1..], [0.0, 1.0]);
    }

    #[test]
    fn offsets_have_the_stated_mixture() {
        let mut random = random();
        let offsets: Vec<[f64; 2]> = (0..N)
            .map(|_| Offsets::MEASURED.sample(&mut random))
            .collect();
        let distances = offsets.iter().map(|[a, b]| (a * a + b * b).sqrt());
        let below = |r: f64| {
            let core = 1.0 - (-0.5 * (r / 2.25).powi(2)).exp();
            let tail = 1.0 - (1.0 + r / 3.5) * (-r / 3.5).exp();
            0.45 * core + 0.55 * tail
        };
        assert!(distance(distances.collect(), below) < limit());
        let angles = offsets.iter().map(|[a, b]| b.atan2(*a)).collect();
        assert!(distance(angles, |angle| 0.5 + angle / (2.0 * PI)) < limit());
    }

    #[test]
    fn positrons_have_the_mean_ranges_of_their_isotopes() {
        for (name, mean) in [
            ("F-18", 0.6),
            ("Ga-68", 3.5),
            ("Cu-64", 0.7),
            ("O-15", 3.0),
            ("C-11", 1.2),
        ] {
            let isotope = Isotope::named(name).unwrap();
            let ranges = Ranges::new(&isotope);
            assert!((Ranges::mean_of(&ranges.0) - mean).abs() < 1e-12, "{name}");
            // The formula alone comes near.
            let own = Ranges::new(&Isotope {
                mean_range: None,
                ..isotope
            });
            let found = Ranges::mean_of(&own.0);
            assert!((found / mean - 1.0).abs() < 0.1, "{name}: {found}");
            assert!((own.0[1024] / isotope.range(isotope.endpoint) - 1.0).abs() < 1e-9);
            // Half the range along each axis: a mean distance of sqrt(8 / pi) halves.
            let mut random = random();
            let lengths = (0..N).map(|_| {
                let x = ranges.displacement(&mut random);
                dot(x, x).sqrt()
            });
            let found = lengths.sum::<f64>() / N as f64;
            let expected = mean * (2.0 / PI).sqrt();
            assert!((found / expected - 1.0).abs() < 0.01, "{name}: {found}");
        }
        // F-18's mean energy is 0.25 MeV.
        let isotope = Isotope::named("F-18").unwrap();
        let energies = (0..1000).map(|n| isotope.endpoint * (f64::from(n) + 0.5) / 1000.0);
        let sum: f64 = energies.clone().map(|e| isotope.density(e)).sum();
        let mean = energies.map(|e| e * isotope.density(e)).sum::<f64>() / sum;
        assert!((mean - 0.25).abs() < 0.002, "{mean}");
        assert!(Isotope::named("F-19").is_none());
    }

    #[test]
    fn photons_are_shaken_and_scattered_as_said() {
        let mut random = random();
        let straight = unit([1.0, 2.0, -3.0]).unwrap();
        let width = 0.004;
        let square = |direction: [f64; 3]| 2.0 * (1.0 - dot(direction, straight));
        let mean = (0..N)
            .map(|_| square(shaken(straight, width, &mut random)))
            .sum::<f64>();
        let ratio = mean / N as f64 / (2.0 * width * width);
        assert!((ratio - 1.0).abs() < 0.02, "{ratio}");

        // 360 keV are left at 54.5 degrees.
        let lowest = (0..N)
            .map(|_| {
                let (place, direction) = scattered([0.0; 3], straight, 360.0, &mut random);
                let along = unit(place).unwrap();
                assert!(dot(along, straight) > 1.0 - 1e-9);
                assert!((dot(direction, direction) - 1.0).abs() < 1e-9);
                dot(direction, straight)
            })
            .fold(1.0, f64::min);
        assert!((lowest - (2.0 - 511.0 / 360.0)).abs() < 1e-3, "{lowest}");
    }
}
