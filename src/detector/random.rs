//! Random numbers that are the same bytes on every system: `libm`, never std's functions.
//!
//! `rand_distr` is no help here, with or without its feature `std_math`: `ndarray` switches `num-traits` to std for the whole program. Its
//! way to exponential and normal numbers, the ziggurat of Marsaglia and Tsang (2000), is.

use std::f64::consts::{FRAC_PI_2, SQRT_2, TAU};
use std::sync::LazyLock;

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// All that happens in a block of time.
    Block,
    /// The steps of a random walk: tracer, part.
    Walk,
    /// The places of tracers.
    Places,
    /// Where the screens are out of step: block.
    Slips,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: [u64; 4],
    tables: &'static Tables,
}

#[derive(Debug)]
struct Tables {
    exponential: Ziggurat,
    normal: Ziggurat,
    /// Cosine and sine of parts of a turn.
    parts: [[f64; 2]; PARTS],
}

/// The area below a falling density in layers of the same area, each as wide as the widest x at its lower edge; the lowest one has the
/// tail too.
#[derive(Debug)]
struct Ziggurat {
    /// Widths of the layers, from below, and 0. The lowest one's is that of a rectangle of its area.
    widths: [f64; LAYERS + 1],
    /// The density there.
    heights: [f64; LAYERS + 1],
}

/// Layers of a [`Ziggurat`]: what eight bits choose from.
const LAYERS: usize = 256;
/// Where the tail of exp(-x) starts that makes 256 layers of the same area end at a height of 1.
const EXPONENTIAL_TAIL: f64 = 7.697_117_470_131_05;
/// The same of exp(-x^2 / 2).
const NORMAL_TAIL: f64 = 3.654_152_885_361_009;
/// Parts of a turn whose cosines and sines are kept: what eight bits choose from.
const PARTS: usize = 256;
/// Random numbers are multiples of this: f64 has no more bits.
const STEP: f64 = 1.0 / (1u64 << 53) as f64;

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let normal_tail = FRAC_PI_2.sqrt() * libm::erfc(NORMAL_TAIL / SQRT_2);
    Tables {
        exponential: Ziggurat::new(
            EXPONENTIAL_TAIL,
            libm::exp(-EXPONENTIAL_TAIL),
            |x| libm::exp(-x),
            |height| -libm::log(height),
        ),
        normal: Ziggurat::new(NORMAL_TAIL, normal_tail, bell, |height| {
            (-2.0 * libm::log(height)).sqrt()
        }),
        parts: std::array::from_fn(|part| {
            let (sin, cos) = libm::sincos(TAU * part as f64 / PARTS as f64);
            [cos, sin]
        }),
    }
});

/// The density of normal numbers, up to a factor.
fn bell(x: f64) -> f64 {
    libm::exp(-0.5 * x * x)
}

impl Ziggurat {
    /// With a tail of this area from `tail` on.
    fn new(
        tail: f64,
        area: f64,
        density: impl Fn(f64) -> f64,
        inverse: impl Fn(f64) -> f64,
    ) -> Self {
        let area = tail * density(tail) + area;
        let mut widths = [0.0; LAYERS + 1];
        widths[0] = area / density(tail);
        widths[1] = tail;
        for layer in 2..LAYERS {
            let below = widths[layer - 1];
            widths[layer] = inverse(area / below + density(below));
        }
        let heights = widths.map(density);
        Self { widths, heights }
    }

    /// Between the densities at a layer's edges.
    fn height(&self, layer: usize, share: f64) -> f64 {
        let [low, high] = [self.heights[layer], self.heights[layer + 1]];
        low + (high - low) * share
    }
}

impl Tables {
    /// Cosine and sine of an angle: of a part of a turn, and of the little that it is turned on, from -0.5 to 0.5 parts.
    #[inline]
    fn turned(&self, part: usize, place: f64) -> [f64; 2] {
        let [cos, sin] = self.parts[part];
        let angle = place * (TAU / PARTS as f64);
        // Taylor's series, up to 10^-17.
        let square = angle * angle;
        let up = angle * (1.0 - square * (1.0 / 6.0 - square * (1.0 / 120.0)));
        let on = 1.0 - square * (0.5 - square * (1.0 / 24.0 - square * (1.0 / 720.0)));
        [cos * on - sin * up, sin * on + cos * up]
    }
}

impl Random {
    /// The stream of this seed, purpose and numbers, and of nothing else.
    pub(super) fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let mut mixed = 0;
        let state = [seed, purpose as u64, a, b].map(|part| {
            mixed = splitmix64(mixed ^ part);
            mixed
        });
        Self {
            state,
            tables: &TABLES,
        }
    }

    /// Bits of the generator xoshiro256++ (Blackman and Vigna 2021); whole rings are simulated 5 to 15 % faster than with `Pcg64`.
    #[inline]
    fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let bits = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        bits
    }

    /// From 0 to below 1.
    #[inline]
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * STEP
    }

    /// Between two numbers.
    #[inline]
    pub(super) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.uniform()
    }

    /// Exponential of mean 1.
    #[inline]
    pub(super) fn exponential(&mut self) -> f64 {
        let Ziggurat { widths, .. } = &self.tables.exponential;
        // The layer and the place in it come from different bits.
        let bits = self.bits();
        let layer = (bits & 0xff) as usize;
        let x = (bits >> 11) as f64 * STEP * widths[layer];
        if x < widths[layer + 1] {
            x
        } else {
            self.exponential_at_edge(layer, x)
        }
    }

    /// What 1 in 50 needs.
    #[cold]
    fn exponential_at_edge(&mut self, layer: usize, x: f64) -> f64 {
        if layer == 0 {
            return EXPONENTIAL_TAIL - libm::log(1.0 - self.uniform());
        }
        let share = self.uniform();
        if self.tables.exponential.height(layer, share) < libm::exp(-x) {
            x
        } else {
            self.exponential()
        }
    }

    /// Standard normal.
    #[inline]
    pub(super) fn normal(&mut self) -> f64 {
        let Ziggurat { widths, .. } = &self.tables.normal;
        let bits = self.bits();
        let layer = (bits & 0xff) as usize;
        // From -1 to 1.
        let place = (bits.cast_signed() >> 10) as f64 * STEP;
        let x = place * widths[layer];
        if x.abs() < widths[layer + 1] {
            x
        } else {
            self.normal_at_edge(layer, x)
        }
    }

    /// What 1 in 100 needs.
    #[cold]
    fn normal_at_edge(&mut self, layer: usize, x: f64) -> f64 {
        if layer == 0 {
            loop {
                // Marsaglia (1964).
                let beyond = self.exponential() / NORMAL_TAIL;
                if 2.0 * self.exponential() > beyond * beyond {
                    return (NORMAL_TAIL + beyond).copysign(x);
                }
            }
        }
        let share = self.uniform();
        if self.tables.normal.height(layer, share) < bell(x) {
            x
        } else {
            self.normal()
        }
    }

    /// The sum of two of them.
    #[inline]
    pub(super) fn two_exponentials(&mut self) -> f64 {
        self.exponential() + self.exponential()
    }

    /// Cosine and sine of a uniform angle.
    #[inline]
    pub(super) fn turn(&mut self) -> [f64; 2] {
        let bits = self.bits();
        let place = (bits >> 11) as f64 * STEP - 0.5;
        self.tables.turned((bits & 0xff) as usize, place)
    }

    /// Two independent standard normal numbers.
    #[inline]
    pub(super) fn normals(&mut self) -> [f64; 2] {
        [self.normal(), self.normal()]
    }

    /// Three of them.
    #[inline]
    pub(super) fn three_normals(&mut self) -> [f64; 3] {
        [self.normal(), self.normal(), self.normal()]
    }

    /// A unit vector, uniform on the sphere.
    #[inline]
    pub(super) fn direction(&mut self) -> [f64; 3] {
        let cos = 2.0 * self.uniform() - 1.0;
        let sin = (1.0 - cos * cos).sqrt();
        let [x, y] = self.turn();
        [sin * x, sin * y, cos]
    }
}

/// One step of the generator `SplitMix64` (Steele, Lea and Flood 2014): spreads every bit over all others.
fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Cosine and sine of a number of turns.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 on"
)]
pub(super) fn turned(turns: f64) -> [f64; 2] {
    let parts = (turns - turns.floor()) * PARTS as f64;
    let nearest = (parts + 0.5) as usize;
    TABLES.turned(nearest % PARTS, parts - nearest as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right_and_streams_differ() {
        const N: usize = 200_000;
        let mut random = Random::stream(1, Purpose::Block, 0, 0);
        let mean =
            |values: &mut dyn FnMut() -> f64| (0..N).map(|_| values()).sum::<f64>() / N as f64;
        // Five standard deviations of each mean.
        let bound = |variance: f64| 5.0 * (variance / N as f64).sqrt();
        assert!((mean(&mut || random.uniform()) - 0.5).abs() < bound(1.0 / 12.0));
        assert!((mean(&mut || random.exponential()) - 1.0).abs() < bound(1.0));
        assert!((mean(&mut || random.exponential().powi(2)) - 2.0).abs() < bound(20.0));
        // The tail of the lowest layer too.
        for from in [0.1, 1.0, 5.0, 7.0, 8.0, 9.0_f64] {
            let share = (-from).exp();
            let found = mean(&mut || f64::from(u8::from(random.exponential() > from)));
            assert!((found - share).abs() < bound(share), "{from}: {found}");
        }
        for from in [0.1, 1.0, 3.0, 3.6, 3.7, 4.0_f64] {
            let share = 0.5 * libm::erfc(from / SQRT_2);
            for sign in [1.0, -1.0] {
                let found = mean(&mut || f64::from(u8::from(sign * random.normal() > from)));
                assert!((found - share).abs() < bound(share), "{from}: {found}");
            }
        }
        assert!((mean(&mut || random.two_exponentials()) - 2.0).abs() < bound(2.0));
        assert!(mean(&mut || random.normals()[0]).abs() < bound(1.0));
        assert!((mean(&mut || random.normals()[1].powi(2)) - 1.0).abs() < bound(2.0));
        assert!((mean(&mut || random.three_normals()[2].powi(4)) - 3.0).abs() < bound(96.0));
        assert!(mean(&mut || random.turn()[0]).abs() < bound(0.5));
        assert!((mean(&mut || random.turn()[1].powi(2)) - 0.5).abs() < bound(0.125));
        let angle = |[cos, sin]: [f64; 2]| libm::atan2(sin, cos);
        for from in [-3.0, -0.7, 0.001, 0.02, 0.5, 2.5_f64] {
            let share = 0.5 - from / TAU;
            let found = mean(&mut || f64::from(u8::from(angle(random.turn()) > from)));
            assert!((found - share).abs() < bound(0.25), "{from}: {found}");
            let [cos, sin] = random.turn();
            assert!((cos * cos + sin * sin - 1.0).abs() < 1e-15);
        }
        assert!((mean(&mut || random.direction()[2].powi(2)) - 1.0 / 3.0).abs() < bound(0.1));

        // As the generator's authors have it.
        let mut random = Random {
            state: [1, 2, 3, 4],
            ..random
        };
        let bits = [(); 4].map(|()| random.bits());
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
        ];
        assert_eq!(bits, expected);

        let first = |seed, purpose, a, b| Random::stream(seed, purpose, a, b).uniform().to_bits();
        let mut all = vec![
            first(0, Purpose::Block, 0, 0),
            first(1, Purpose::Block, 0, 0),
            first(0, Purpose::Walk, 0, 0),
            first(0, Purpose::Block, 1, 0),
            first(0, Purpose::Block, 0, 1),
        ];
        assert_eq!(first(0, Purpose::Block, 0, 0), all[0]);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn angles_are_turned_as_by_a_sine_and_a_cosine() {
        let mut random = Random::stream(9, Purpose::Block, 0, 0);
        for _ in 0..10_000 {
            let turns = random.between(-3.0, 3.0);
            let (sin, cos) = libm::sincos(TAU * turns);
            let found = turned(turns);
            // What 2 pi is off by, as f64 has it, in three turns.
            assert!((found[0] - cos).abs() < 3e-15 && (found[1] - sin).abs() < 3e-15);
        }
        for turns in [1e17, -1e17, 1e300] {
            let [cos, sin] = turned(turns);
            assert!((cos * cos + sin * sin - 1.0).abs() < 1e-15);
        }
        assert!(turned(f64::NAN).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn a_turn_is_exact_at_quarters_however_many_there_were() {
        for turns in [0.0, 1.0, 1e6, -3.0] {
            assert_eq!(turned(turns), [1.0, 0.0]);
            let [cos, sin] = turned(turns + 0.25);
            assert!(cos.abs() < 1e-15 && (sin - 1.0).abs() < 1e-15);
        }
    }
}
