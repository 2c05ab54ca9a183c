//! Simulated recordings of two parallel screens, with the truth beside them.

use std::f64::consts::TAU;

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use crate::data::{LineData, PointData};
use crate::error::{Error, Result};
use crate::io::parallel_screens;

/// Time between two rows of the truth (ms).
const TRUTH_STEP: f64 = 1.0;

/// Tracers evenly spaced on a circle between two parallel screens, seen through isotropic photon pairs.
///
/// The circle is parallel to the screens and half-way between them. Pairs count when both photons hit their screen.
/// Hits are blurred by a Gaussian; random coincidences join two points that are uniform on the screens.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulator {
    /// Number of tracers on the circle.
    pub tracers: usize,
    /// Centre of the circle (x, y; mm).
    pub centre: [f64; 2],
    /// Radius of the circle (mm).
    pub radius: f64,
    /// Turns a minute.
    pub rpm: f64,
    /// Distance of the screens, at z = 0 and z = separation (mm).
    pub separation: f64,
    /// Sensitive area of both screens: x from, to; y from, to (mm).
    pub screen: [[f64; 2]; 2],
    /// LoRs per ms, random coincidences included.
    pub rate: f64,
    /// Length of the recording (ms).
    pub duration: f64,
    /// Standard deviation of a hit's error in x and in y (mm).
    pub blur: f64,
    /// Share of LoRs that are random coincidences, from 0 to below 1.
    pub background: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Simulator {
    /// A scene like the 42 rpm recording of the ADAC Forte in Birmingham: two tracers, 48 LoRs a ms.
    fn default() -> Self {
        Self {
            tracers: 2,
            centre: [302.0, 302.0],
            radius: 86.0,
            rpm: 42.0,
            separation: 712.0,
            screen: [[110.0, 494.0], [45.0, 559.0]],
            rate: 48.0,
            duration: 1666.0,
            blur: 3.0,
            background: 0.3,
            seed: 0,
        }
    }
}

/// What a [`Simulator`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// The recording.
    pub lors: LineData,
    /// Where the tracers were: `t x y z label`, a row for each tracer and millisecond.
    pub truth: PointData,
}

impl Simulator {
    fn check(&self) -> Result<()> {
        let positive = [
            ("rate", self.rate),
            ("duration", self.duration),
            ("separation", self.separation),
            ("screen", self.screen[0][1] - self.screen[0][0]),
            ("screen", self.screen[1][1] - self.screen[1][0]),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Parameter {
                    name,
                    value: value.to_string(),
                    needed: "a number above 0",
                });
            }
        }
        if !(self.background >= 0.0 && self.background < 1.0) {
            let needed = "a share from 0 to below 1";
            return Err(Error::Parameter {
                name: "background",
                value: self.background.to_string(),
                needed,
            });
        }
        if self.tracers == 0
            || !self.on_screen([
                self.centre[0] - self.radius.abs(),
                self.centre[1] - self.radius.abs(),
            ])
            || !self.on_screen([
                self.centre[0] + self.radius.abs(),
                self.centre[1] + self.radius.abs(),
            ])
        {
            let needed = "at least one tracer, on a circle between the screens";
            return Err(Error::Parameter {
                name: "tracers",
                value: self.tracers.to_string(),
                needed,
            });
        }
        Ok(())
    }

    fn on_screen(&self, hit: [f64; 2]) -> bool {
        (0..2).all(|k| self.screen[k][0] <= hit[k] && hit[k] <= self.screen[k][1])
    }

    /// Where a tracer is at a time (ms).
    #[must_use]
    pub fn position(&self, tracer: usize, t: f64) -> [f64; 3] {
        let share = tracer as f64 / self.tracers as f64;
        let angle = TAU * (share + t * self.rpm / 60_000.0);
        let [x, y] = self.centre;
        [
            x + self.radius * libm::cos(angle),
            y + self.radius * libm::sin(angle),
            0.5 * self.separation,
        ]
    }

    /// Makes the recording and its truth.
    ///
    /// # Errors
    /// [`Error::Parameter`] for values that make no sense.
    pub fn run(&self) -> Result<Simulation> {
        self.check()?;
        let mut rng = Pcg64::seed_from_u64(self.seed);
        let mut rows = Vec::new();
        let mut t = 0.0;
        loop {
            t -= libm::log(1.0 - rng.random::<f64>()) / self.rate;
            if t > self.duration {
                break;
            }
            let random = rng.random::<f64>() < self.background;
            let hits = if random {
                self.random_pair(&mut rng)
            } else {
                self.true_pair(t, &mut rng)
            };
            rows.push([t, hits[0], hits[1], hits[2], hits[3]]);
        }
        Ok(Simulation {
            lors: parallel_screens::from_rows(&rows, self.separation)?,
            truth: self.truth()?,
        })
    }

    /// Hits of two unrelated photons: x, y on the first screen, x, y on the second.
    fn random_pair(&self, rng: &mut Pcg64) -> [f64; 4] {
        std::array::from_fn(|k| {
            let [from, to] = self.screen[k % 2];
            from + (to - from) * rng.random::<f64>()
        })
    }

    /// Hits of the two photons of an annihilation, as the detector sees them.
    fn true_pair(&self, t: f64, rng: &mut Pcg64) -> [f64; 4] {
        let [x, y, z] = self.position(rng.random_range(0..self.tracers), t);
        loop {
            // Uniform on the sphere; the first screen is at z = 0, so only upward directions are drawn.
            let cos = rng.random::<f64>();
            let sin = (1.0 - cos * cos).sqrt();
            let angle = TAU * rng.random::<f64>();
            let slope = [sin / cos * libm::cos(angle), sin / cos * libm::sin(angle)];
            let up = self.separation - z;
            let clean = [
                x - slope[0] * z,
                y - slope[1] * z,
                x + slope[0] * up,
                y + slope[1] * up,
            ];
            if self.on_screen([clean[0], clean[1]]) && self.on_screen([clean[2], clean[3]]) {
                return clean.map(|hit| {
                    let error: f64 = StandardNormal.sample(rng);
                    hit + self.blur * error
                });
            }
        }
    }

    fn truth(&self) -> Result<PointData> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive: checked; `as` saturates"
        )]
        let n_times = (self.duration / TRUTH_STEP).ceil() as usize + 1;
        let mut rows = Array2::zeros((n_times * self.tracers, 5));
        for (n, mut row) in rows.rows_mut().into_iter().enumerate() {
            let (time, tracer) = (n / self.tracers, n % self.tracers);
            let (t, label) = (time as f64 * TRUTH_STEP, tracer as f64);
            let [x, y, z] = self.position(tracer, t);
            row.assign(&ndarray::aview1(&[t, x, y, z, label]));
        }
        PointData::with_columns(rows, &["label"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_lines_run_through_a_tracer() {
        let simulator = Simulator {
            blur: 0.0,
            background: 0.0,
            duration: 50.0,
            ..Simulator::default()
        };
        let Simulation { lors, .. } = simulator.run().unwrap();
        assert!(lors.n_rows() > 1000);
        for &[t, x1, y1, _, x2, y2, _] in lors.line_slice().rows() {
            let middle = [0.5 * (x1 + x2), 0.5 * (y1 + y2)];
            let nearest = (0..2)
                .map(|k| {
                    let [x, y, _] = simulator.position(k, t);
                    (middle[0] - x).hypot(middle[1] - y)
                })
                .fold(f64::INFINITY, f64::min);
            assert!(nearest < 1e-9, "{nearest}");
        }
    }

    #[test]
    fn the_seed_decides_and_the_rate_is_kept() {
        let simulator = |seed| Simulator {
            seed,
            duration: 500.0,
            ..Simulator::default()
        };
        let run = |seed| simulator(seed).run().unwrap().lors;
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        // Poisson: 24,000 expected, five standard deviations.
        assert!((run(1).n_rows() as f64 - 24_000.0).abs() < 5.0 * 24_000.0_f64.sqrt());
    }

    #[test]
    fn impossible_scenes_are_errors() {
        let default = Simulator::default;
        for bad in [
            Simulator {
                tracers: 0,
                ..default()
            },
            Simulator {
                radius: 1000.0,
                ..default()
            },
            Simulator {
                background: 1.0,
                ..default()
            },
            Simulator {
                rate: f64::NAN,
                ..default()
            },
        ] {
            assert!(matches!(bad.run(), Err(Error::Parameter { .. })), "{bad:?}");
        }
    }
}
