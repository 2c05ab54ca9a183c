//! For tests of filters: how adapters may round, and random numbers.

/// How an adapter may round f32 operations. WGSL allows all of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rounding {
    Nearest,
    Fused,
    TowardZero,
    AwayFromZero,
    Up,
    FlushSubnormals,
}

pub(crate) const MODELS: [Rounding; 6] = [
    Rounding::Nearest,
    Rounding::Fused,
    Rounding::TowardZero,
    Rounding::AwayFromZero,
    Rounding::Up,
    Rounding::FlushSubnormals,
];

impl Rounding {
    pub(crate) fn is_directed(self) -> bool {
        matches!(self, Self::TowardZero | Self::AwayFromZero | Self::Up)
    }

    /// The f32 that an operation gives, from its (nearly) exact result.
    pub(crate) fn round(self, x: f64) -> f64 {
        let nearest = f64::from(x as f32);
        let below = if nearest > x {
            f64::from((x as f32).next_down())
        } else {
            nearest
        };
        let above = if nearest < x {
            f64::from((x as f32).next_up())
        } else {
            nearest
        };
        match self {
            Self::Nearest | Self::Fused => nearest,
            Self::TowardZero => {
                if x > 0.0 {
                    below
                } else {
                    above
                }
            }
            Self::AwayFromZero => {
                if x > 0.0 {
                    above
                } else {
                    below
                }
            }
            Self::Up => above,
            Self::FlushSubnormals if nearest.abs() < f64::from(f32::MIN_POSITIVE) => 0.0,
            Self::FlushSubnormals => nearest,
        }
    }

    /// A sum of products of f32 values: products are exact in f64.
    pub(crate) fn sum(self, terms: &[(f32, f32)]) -> f64 {
        terms.iter().fold(0.0, |sum, &(a, b)| {
            let product = f64::from(a) * f64::from(b);
            self.round(
                sum + if self == Self::Fused {
                    product
                } else {
                    self.round(product)
                },
            )
        })
    }
}

/// Numbers in 0..1, the same on every machine.
pub(crate) struct Uniform(pub(crate) u64);

impl Uniform {
    pub(crate) fn next(&mut self) -> f64 {
        // Knuth's linear congruential generator; the high bits are good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn vector(&mut self, size: f64) -> [f64; 3] {
        std::array::from_fn(|_| size * (self.next() - 0.5))
    }
}
