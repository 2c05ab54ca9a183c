//! Random numbers that are the same bytes on every system: `libm`, never std's functions.
//!
//! `rand_distr` is no help here, with or without its feature `std_math`: `ndarray` switches `num-traits` to std for the whole program. Its
//! way to exponential numbers, the ziggurat of Marsaglia and Tsang (2000), is.

use std::f64::consts::TAU;
use std::sync::LazyLock;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

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
pub(super) struct Random(Pcg64, &'static Ziggurat);

/// The area below exp(-x) in layers of the same area, each as wide as the widest x at its lower edge; the lowest one has the tail too.
#[derive(Debug)]
struct Ziggurat {
    /// Widths of the layers, from below, and 0. The lowest one's is that of a rectangle of its area.
    widths: [f64; LAYERS + 1],
    /// exp(-x) there.
    heights: [f64; LAYERS + 1],
}

/// Layers of a [`Ziggurat`]: what eight bits choose from.
const LAYERS: usize = 256;
/// Where the tail starts that makes 256 layers of the same area end at a height of 1.
const TAIL: f64 = 7.697_117_470_131_05;

static ZIGGURAT: LazyLock<Ziggurat> = LazyLock::new(|| {
    let area = TAIL * libm::exp(-TAIL) + libm::exp(-TAIL);
    let mut widths = [0.0; LAYERS + 1];
    widths[0] = area / libm::exp(-TAIL);
    widths[1] = TAIL;
    for layer in 2..LAYERS {
        let below = widths[layer - 1];
        widths[layer] = -libm::log(area / below + libm::exp(-below));
    }
    let heights = widths.map(|x| libm::exp(-x));
    Ziggurat { widths, heights }
});

impl Random {
    /// The stream of this seed, purpose and numbers, and of nothing else.
    pub(super) fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let mut state = 0;
        let mut bytes = [0; 32];
        let parts = [seed, purpose as u64, a, b];
        for (eight, part) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(parts) {
            state = splitmix64(state ^ part);
            *eight = state.to_le_bytes();
        }
        Self(Pcg64::from_seed(bytes), &ZIGGURAT)
    }

    /// From 0 to below 1.
    #[inline]
    pub(super) fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * STEP
    }

    /// Between two numbers.
    #[inline]
    pub(super) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.uniform()
    }

    /// Exponential of mean 1.
    #[inline]
    pub(super) fn exponential(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        loop {
            // The layer and the place in it come from different bits.
            let bits = self.0.next_u64();
            let layer = (bits & 0xff) as usize;
            let x = (bits >> 11) as f64 * STEP * self.1.widths[layer];
            if x < self.1.widths[layer + 1] {
                return x;
            }
            if layer == 0 {
                return TAIL - libm::log(1.0 - self.uniform());
            }
            let [low, high] = [self.1.heights[layer], self.1.heights[layer + 1]];
            if low + (high - low) * self.uniform() < libm::exp(-x) {
                return x;
            }
        }
    }

    /// The sum of two of them.
    #[inline]
    pub(super) fn two_exponentials(&mut self) -> f64 {
        self.exponential() + self.exponential()
    }

    /// A point that is uniform in the unit disc, without its centre, and its squared distance from there.
    #[inline]
    fn in_disc(&mut self) -> ([f64; 2], f64) {
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square <= 1.0 && square > 0.0 {
                return ([x, y], square);
            }
        }
    }

    /// Cosine and sine of a uniform angle: twice that of a point in the disc, which takes neither a root nor libm.
    #[inline]
    pub(super) fn turn(&mut self) -> [f64; 2] {
        let ([x, y], square) = self.in_disc();
        [(x * x - y * y) / square, 2.0 * x * y / square]
    }

    /// Two independent standard normal numbers (Marsaglia's polar method).
    #[inline]
    pub(super) fn normals(&mut self) -> [f64; 2] {
        let ([x, y], square) = self.in_disc();
        let scale = (-2.0 * libm::log(square) / square).sqrt();
        [scale * x, scale * y]
    }

    /// Three of them.
    #[inline]
    pub(super) fn three_normals(&mut self) -> [f64; 3] {
        let [[x, y], [z, _]] = [self.normals(), self.normals()];
        [x, y, z]
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
pub(super) fn turned(turns: f64) -> [f64; 2] {
    let (sin, cos) = libm::sincos(TAU * (turns - turns.floor()));
    [cos, sin]
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
        assert!((mean(&mut || random.two_exponentials()) - 2.0).abs() < bound(2.0));
        assert!(mean(&mut || random.normals()[0]).abs() < bound(1.0));
        assert!((mean(&mut || random.normals()[1].powi(2)) - 1.0).abs() < bound(2.0));
        assert!((mean(&mut || random.three_normals()[2].powi(4)) - 3.0).abs() < bound(96.0));
        assert!(mean(&mut || random.turn()[0]).abs() < bound(0.5));
        assert!((mean(&mut || random.turn()[1].powi(2)) - 0.5).abs() < bound(0.125));
        assert!((mean(&mut || random.direction()[2].powi(2)) - 1.0 / 3.0).abs() < bound(0.1));

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
    fn a_turn_is_exact_at_quarters_however_many_there_were() {
        for turns in [0.0, 1.0, 1e6, -3.0] {
            assert_eq!(turned(turns), [1.0, 0.0]);
            let [cos, sin] = turned(turns + 0.25);
            assert!(cos.abs() < 1e-15 && (sin - 1.0).abs() < 1e-15);
        }
    }
}
