//! What is simulated: a detector, its noise, tracers and how they move.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::motion::{Circle, Motion};
use super::scene_text::SceneText;
use super::simulator::{Simulation, Simulator};
use super::spread::{Isotope, Offsets, Shape};
use crate::error::{Error, Result};

/// What is simulated. Lengths are in mm, times in ms; LoRs are counted per ms, that is in kHz.
///
/// A scene is put together in Rust, from [`Scene::circle`] or [`Scene::new`] on, or comes from a text ([`SceneText`]):
///
/// ```
/// use pept::detector::{Scene, Tracer};
///
/// let scene = Scene {
///     duration: 20.0,
///     background: 0.2,
///     tracers: vec![Tracer::at([302.0, 302.0, 300.0])],
///     ..Scene::default()
/// };
/// let lors = scene.run()?.lors;
/// assert!(lors.n_rows() > 800);
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The detector.
    pub detector: Detector,
    /// Length of the recording.
    pub duration: f64,
    /// LoRs per ms, random ones included, while all tracers are there: the mean over the time that they are in the field of view.
    /// Without it the tracers' activities decide, in Bq.
    pub rate: Option<f64>,
    /// A place for which `rate` holds instead of the tracers' own mean; elsewhere they are seen better or worse.
    pub reference: Option<[f64; 3]>,
    /// Share of LoRs that join two unrelated photons: from 0 to 1.
    pub background: f64,
    /// Share of LoRs one of whose photons was scattered in water on its way.
    pub scattered: f64,
    /// Distances of true lines from their tracer as measured; they stand for positron range, `acollinearity`, `blur` and depth together.
    pub offsets: Option<Offsets>,
    /// Root mean square of the angle between a pair of photons and a straight line (degrees).
    pub acollinearity: f64,
    /// Standard deviation of a hit's error in both directions of the detector's surface.
    pub blur: f64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Time between two rows of the truth; without it, 1 ms or what shows the fastest motion.
    pub truth_step: Option<f64>,
    /// The tracers.
    pub tracers: Vec<Tracer>,
}

/// A detector.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
pub enum Detector {
    /// Two parallel screens.
    Screens(Screens),
    /// A ring of crystals about z, its middle at the origin.
    Ring(Ring),
}

/// Terms of a [distortion](Screens::distortion): two variables, up to the fifth power.
pub const DISTORTION_TERMS: usize = 20;

/// Two parallel screens, at z = 0 and z = `separation`, such as the ADAC Forte in Birmingham.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Screens {
    /// Distance of the screens.
    pub separation: f64,
    /// Sensitive in x, from and to.
    #[serde(default = "forte_x")]
    pub x: [f64; 2],
    /// Sensitive in y, from and to.
    #[serde(default = "forte_y")]
    pub y: [f64; 2],
    /// Time stamps are multiples of this, rounded down; 0 for exact ones.
    #[serde(default = "forte_time_step")]
    pub time_step: f64,
    /// Thickness of the crystals: photons are absorbed anywhere in them and seen on their face.
    #[serde(default)]
    pub depth: f64,
    /// Depth moves a hit by this at most.
    #[serde(default = "largest_spread")]
    pub max_spread: f64,
    /// How far off hits are seen that are at u, v on their screen, both from -1 to 1 across it: the factors (mm) of u, v, u^2, u v,
    /// v^2, u^3, u^2 v and so on up to v^5, first those along x and y of the first screen (z = 0), then those of the second one. In
    /// TOML lists may be shorter: what is left out is 0.
    #[serde(default = "undistorted", deserialize_with = "filled_up")]
    pub distortion: [[f64; DISTORTION_TERMS]; 4],
    /// Times in which the screens are out of step.
    #[serde(default)]
    pub slips: Option<Slips>,
}

/// Screens out of step: after a hit was lost or counted twice, each hit of the first screen is recorded with that of the event before
/// or after on the second one, until the electronics notice. Such LoRs join unrelated photons, in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slips {
    /// Share of LoRs that are recorded out of step.
    pub share: f64,
    /// Mean number of LoRs until the screens are in step again; their distribution is exponential.
    pub length: f64,
}

/// A ring of blocks of crystals; the defaults are the HR++.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ring {
    /// From the axis to the front of the crystals.
    pub radius: f64,
    /// Length along the axis.
    pub axial: f64,
    /// Sectors around.
    pub sectors: usize,
    /// Blocks of a sector, along the axis.
    pub blocks: usize,
    /// Crystals of a block: around, along the axis.
    pub crystals: [usize; 2],
    /// Distance of their middles: around, along the axis.
    pub pitch: [f64; 2],
    /// Thickness of the crystals: photons are absorbed somewhere in them, and reported at the mean depth.
    pub depth: f64,
    /// Mean way of a photon in the crystals.
    pub attenuation_length: f64,
    /// Time stamps are multiples of this, rounded down; 0 for exact ones.
    pub time_step: f64,
    /// How long a block is blind after a hit.
    pub dead_time: f64,
    /// Share of the pairs that meet the ring that are recorded, where activities decide.
    pub efficiency: f64,
}

fn forte_x() -> [f64; 2] {
    [110.0, 494.0]
}

fn forte_y() -> [f64; 2] {
    [45.0, 559.0]
}

fn forte_time_step() -> f64 {
    0.1
}

fn undistorted() -> [[f64; DISTORTION_TERMS]; 4] {
    [[0.0; DISTORTION_TERMS]; 4]
}

/// Lists of factors of a [distortion](Screens::distortion), which may be shorter.
fn filled_up<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[[f64; DISTORTION_TERMS]; 4], D::Error> {
    let lists = <[Vec<f64>; 4]>::deserialize(deserializer)?;
    let mut all = undistorted();
    for (factors, list) in all.iter_mut().zip(&lists) {
        let Some(first) = factors.get_mut(..list.len()) else {
            let n = list.len();
            return Err(D::Error::custom(format!(
                "a list of {n} factors; there are {DISTORTION_TERMS} terms, up to the fifth power"
            )));
        };
        first.copy_from_slice(list);
    }
    Ok(all)
}

fn largest_spread() -> f64 {
    4.0
}

impl Screens {
    /// The ADAC Forte.
    #[must_use]
    pub fn new(separation: f64) -> Self {
        Self {
            separation,
            x: forte_x(),
            y: forte_y(),
            time_step: forte_time_step(),
            depth: 0.0,
            max_spread: largest_spread(),
            distortion: undistorted(),
            slips: None,
        }
    }

    fn middle(&self) -> [f64; 3] {
        let middle = |[from, to]: [f64; 2]| 0.5 * (from + to);
        [middle(self.x), middle(self.y), 0.5 * self.separation]
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            radius: 420.0,
            axial: 234.0,
            sectors: 72,
            blocks: 6,
            crystals: [8, 8],
            pitch: [4.61, 4.85],
            depth: 30.0,
            attenuation_length: 10.4, // BGO
            time_step: 1.0,
            dead_time: 0.000_7,
            // An HR+ records about 6 % of the pairs in its middle, of which 18 % meet the ring.
            efficiency: 0.3,
        }
    }
}

impl Detector {
    /// The middle of the field of view.
    #[must_use]
    pub fn middle(&self) -> [f64; 3] {
        match self {
            Self::Screens(screens) => screens.middle(),
            Self::Ring(_) => [0.0; 3],
        }
    }

    /// Time stamps are multiples of this (ms); 0 for exact ones.
    #[must_use]
    pub fn time_step(&self) -> f64 {
        match self {
            Self::Screens(screens) => screens.time_step,
            Self::Ring(ring) => ring.time_step,
        }
    }

    pub(super) fn slips(&self) -> Option<Slips> {
        match self {
            Self::Screens(screens) => screens.slips,
            Self::Ring(_) => None,
        }
    }

    pub(super) fn dead_time(&self) -> f64 {
        match self {
            Self::Screens(_) => 0.0,
            Self::Ring(ring) => ring.dead_time,
        }
    }

    /// The least energy (keV) of a photon that counts.
    pub(super) fn threshold(&self) -> f64 {
        match self {
            Self::Screens(_) => 360.0,
            Self::Ring(_) => 350.0,
        }
    }

    /// The field of view in words.
    pub(super) fn field(&self) -> String {
        match self {
            Self::Screens(Screens {
                x, y, separation, ..
            }) => format!(
                "x from {} to {}, y from {} to {}, z from 0 to {separation} mm",
                x[0], x[1], y[0], y[1]
            ),
            Self::Ring(Ring { radius, axial, .. }) => format!(
                "less than {radius} mm from the axis z, z from {} to {} mm",
                -0.5 * axial,
                0.5 * axial
            ),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Screens(screens) => screens.check(),
            Self::Ring(ring) => ring.check(),
        }
    }
}

impl Screens {
    fn check(&self) -> Result<(), Problem> {
        above_0("screens.separation", self.separation)?;
        for (key, [from, to]) in [("screens.x", self.x), ("screens.y", self.y)] {
            if !(from < to && (to - from).is_finite()) {
                return Err(Problem::new(
                    key,
                    format!("[{from}, {to}] are not two numbers, the lower one first"),
                ));
            }
        }
        from_0("screens.time_step", self.time_step)?;
        from_0("screens.depth", self.depth)?;
        from_0("screens.max_spread", self.max_spread)?;
        if !self.distortion.as_flattened().iter().all(|x| x.is_finite()) {
            let text = "its numbers have to be finite";
            return Err(Problem::new("screens.distortion", text));
        }
        self.slips.map_or(Ok(()), |slips| slips.check())
    }
}

impl Slips {
    fn check(&self) -> Result<(), Problem> {
        if !(0.0..1.0).contains(&self.share) {
            let text = format!("{} is no share from 0 to below 1", self.share);
            return Err(Problem::new("screens.slips.share", text));
        }
        above_0("screens.slips.length", self.length)
    }
}

/// Of all rings; a table has a row for each.
const MOST_CRYSTALS: usize = 1_000_000;

impl Ring {
    fn check(&self) -> Result<(), Problem> {
        above_0("ring.radius", self.radius)?;
        above_0("ring.axial", self.axial)?;
        if self.sectors < 3 || self.sectors > 100_000 {
            let text = "a ring has 3 sectors or more, and at most 100,000";
            return Err(Problem::new("ring.sectors", text));
        }
        if self.blocks == 0 || self.crystals.contains(&0) {
            let key = if self.blocks == 0 {
                "ring.blocks"
            } else {
                "ring.crystals"
            };
            return Err(Problem::new(key, "at least 1 is needed"));
        }
        for [a, b] in [
            [self.sectors, self.blocks],
            [self.sectors, self.crystals[0]],
            [self.blocks, self.crystals[1]],
        ] {
            if a.checked_mul(b).is_none_or(|n| n > MOST_CRYSTALS) {
                let text = format!(
                    "a ring has at most {MOST_CRYSTALS} blocks, and crystals around and along"
                );
                return Err(Problem::new("ring", text));
            }
        }
        for pitch in self.pitch {
            above_0("ring.pitch", pitch)?;
        }
        let length = self.axial / self.blocks as f64;
        if self.crystals[1] as f64 * self.pitch[1] > 1.01 * length {
            return Err(Problem::new(
                "ring.crystals",
                format!(
                    "{} crystals of {} mm do not fit a block of {length} mm along the axis",
                    self.crystals[1], self.pitch[1]
                ),
            ));
        }
        let face = 2.0 * self.radius * libm::tan(std::f64::consts::PI / self.sectors as f64);
        if self.crystals[0] as f64 * self.pitch[0] > 1.05 * face {
            return Err(Problem::new(
                "ring.crystals",
                format!(
                    "{} crystals of {} mm do not fit a sector of {face:.1} mm around",
                    self.crystals[0], self.pitch[0]
                ),
            ));
        }
        from_0("ring.depth", self.depth)?;
        above_0("ring.attenuation_length", self.attenuation_length)?;
        from_0("ring.time_step", self.time_step)?;
        from_0("ring.dead_time", self.dead_time)?;
        above_0("ring.efficiency", self.efficiency)?;
        share("ring.efficiency", self.efficiency)
    }
}

/// A tracer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracer {
    /// How it moves.
    pub motion: Motion,
    /// How active it is beside the others; in Bq where the scene has no rate.
    pub activity: f64,
    /// When it comes.
    pub enter: f64,
    /// When it leaves.
    pub leave: f64,
    /// When it is away in between: from, to.
    pub gaps: Vec<[f64; 2]>,
    /// Where in it the decays happen.
    pub shape: Shape,
    /// How far its positrons go; not at all without.
    pub isotope: Option<Isotope>,
    /// The times of all its emissions, in order, instead of random ones; its activity then does not matter.
    pub emissions: Option<Arc<[f64]>>,
    /// Whether it may move where the detector does not see it.
    pub may_leave: bool,
}

impl Tracer {
    /// A point that moves and is always there.
    #[must_use]
    pub fn new(motion: Motion) -> Self {
        Self {
            motion,
            activity: 1.0,
            enter: 0.0,
            leave: f64::INFINITY,
            gaps: Vec::new(),
            shape: Shape::Point,
            isotope: None,
            emissions: None,
            may_leave: false,
        }
    }

    /// A point that does not move.
    #[must_use]
    pub fn at(position: [f64; 3]) -> Self {
        Self::new(Motion::Static(position))
    }

    fn check(&self, duration: f64) -> Result<(), Problem> {
        self.motion.check(duration)?;
        self.shape.check()?;
        if let Some(isotope) = &self.isotope {
            isotope.check()?;
        }
        above_0("activity", self.activity)?;
        from_0("enter", self.enter)?;
        if self.enter >= duration {
            let text = format!(
                "{} is after the recording's end at {duration} ms",
                self.enter
            );
            return Err(Problem::new("enter", text));
        }
        if self.leave.is_nan() || self.leave <= self.enter {
            let text = format!("{} is not after it enters ({})", self.leave, self.enter);
            return Err(Problem::new("leave", text));
        }
        let in_order = self.gaps.as_flattened().is_sorted_by(|a, b| a < b);
        if !in_order || self.gaps.as_flattened().iter().any(|t| !t.is_finite()) {
            let text = "gaps are [from, to] in the order of time, without overlaps";
            return Err(Problem::new("gaps", text));
        }
        let [first, last] = self.motion.span();
        if last < self.enter || first >= self.leave.min(duration) {
            let text = format!(
                "its times, {first} to {last} ms, are not within the recording, 0 to {duration} ms"
            );
            return Err(Problem::new("table", text));
        }
        let Some(times) = &self.emissions else {
            return Ok(());
        };
        if times.iter().all(|t| t.is_finite()) && times.is_sorted() {
            Ok(())
        } else {
            let text = "the times of emissions have to be finite and in order";
            Err(Problem::new("emissions", text))
        }
    }

    /// When it is there between time 0 and `duration`.
    pub(super) fn present(&self, duration: f64) -> Vec<[f64; 2]> {
        let [first, last] = self.motion.span();
        let start = self.enter.max(first);
        let end = self.leave.min(last).min(duration);
        let mut intervals = Vec::new();
        let mut from = start;
        for &[gap, back] in &self.gaps {
            if gap > from {
                intervals.push([from, gap.min(end)]);
            }
            from = from.max(back);
        }
        intervals.push([from, end]);
        intervals.retain(|[from, to]| from < to);
        intervals
    }
}

/// What is wrong with a scene.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// The key, within a tracer if there is one.
    pub(super) key: &'static str,
    pub(super) tracer: Option<usize>,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(key: &'static str, text: impl Into<String>) -> Self {
        Self {
            key,
            tracer: None,
            text: text.into(),
        }
    }

    pub(super) fn of_tracer(self, tracer: usize) -> Self {
        Self {
            tracer: Some(tracer),
            ..self
        }
    }

    /// The problem of a scene of this name, found in this line of its text.
    pub(super) fn error(self, name: &str, line: Option<usize>) -> Error {
        let tracer = self
            .tracer
            .map(|tracer| format!("tracer {tracer} (from 0), "));
        Error::Scene {
            name: name.to_owned(),
            line,
            problem: format!("{}{}: {}", tracer.unwrap_or_default(), self.key, self.text),
        }
    }
}

fn above_0(key: &'static str, value: f64) -> Result<(), Problem> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(Problem::new(key, format!("{value} is no number above 0")))
    }
}

fn from_0(key: &'static str, value: f64) -> Result<(), Problem> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(Problem::new(key, format!("{value} is no number from 0 on")))
    }
}

fn share(key: &'static str, value: f64) -> Result<(), Problem> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(Problem::new(
            key,
            format!("{value} is no share from 0 to 1"),
        ))
    }
}

/// Activity (MBq) and LoRs per ms of the ADAC Forte at a separation of 525 mm.
const FORTE_RATES: [[f64; 2]; 9] = [
    [0.0, 0.0],
    [1.0, 8.3],
    [5.0, 37.0],
    [10.0, 65.0],
    [20.0, 98.0],
    [28.0, 110.0],
    [37.0, 114.0],
    [50.0, 109.0],
    // Beyond what was measured: no more.
    [f64::MAX, 109.0],
];
/// Random LoRs for each true one there: 16 % of all at 1 MBq, 44 % at 50 MBq, in between as linear as randoms are.
const FORTE_RANDOMS: [[f64; 2]; 2] = [[1.0, 0.16 / 0.84], [50.0, 0.44 / 0.56]];

/// LoRs per ms of the ADAC Forte at an activity (MBq) at 525 mm.
pub(super) fn forte_rate(activity: f64) -> f64 {
    let after = FORTE_RATES.partition_point(|[known, _]| *known < activity);
    let after = after.clamp(1, FORTE_RATES.len() - 1);
    let ([a, from], [b, to]) = (FORTE_RATES[after - 1], FORTE_RATES[after]);
    from + (to - from) * ((activity - a) / (b - a))
}

/// The share of random LoRs at an activity (MBq) at 525 mm.
pub(super) fn forte_background(activity: f64) -> f64 {
    let [[a, from], [b, to]] = FORTE_RANDOMS;
    let ratio = (from + (to - from) * ((activity - a) / (b - a))).max(0.0);
    ratio / (1.0 + ratio)
}

impl Default for Scene {
    /// As [`circle`](Self::circle) of two tracers.
    fn default() -> Self {
        Self::circle(2)
    }
}

impl Scene {
    /// Tracers evenly spaced on the circle of the 42 rpm recording of the ADAC Forte in Birmingham, with the noise measured there.
    #[must_use]
    pub fn circle(tracers: usize) -> Self {
        let on_circle = |tracer: usize| {
            Tracer::new(Motion::Circle(Circle {
                centre: [290.5, 268.5, 281.0],
                radius: 86.0,
                rpm: -42.3,
                phase: 47.0 + 360.0 * (tracer as f64 / tracers as f64),
                axis: [0.0, 0.0, 1.0],
                rise: 0.0,
            }))
        };
        Self {
            rate: Some(48.0),
            background: 0.36,
            offsets: Some(Offsets::MEASURED),
            tracers: (0..tracers).map(on_circle).collect(),
            ..Self::new(Detector::Screens(Screens::new(712.0)), 1666.0)
        }
    }

    /// No tracers and no noise.
    #[must_use]
    pub fn new(detector: Detector, duration: f64) -> Self {
        Self {
            detector,
            duration,
            rate: None,
            reference: None,
            background: 0.0,
            scattered: 0.0,
            offsets: None,
            acollinearity: 0.0,
            blur: 0.0,
            seed: 0,
            truth_step: None,
            tracers: Vec::new(),
        }
    }

    /// One of the [`examples`](Self::examples).
    ///
    /// # Errors
    /// [`Error::Scene`] with the nearest name for an unknown one.
    pub fn example(name: &str) -> Result<Self> {
        SceneText::example(name)?.scene()
    }

    /// The names of the scenes that the library brings.
    pub fn examples() -> impl Iterator<Item = &'static str> + Clone {
        super::scene_text::EXAMPLES.iter().map(|(name, _)| *name)
    }

    /// Reads a scene file.
    ///
    /// # Errors
    /// As [`SceneText::read`] and [`SceneText::scene`].
    pub fn read(path: impl AsRef<std::path::Path>) -> Result<Self> {
        SceneText::read(path)?.scene()
    }

    /// The recording and its truth.
    ///
    /// # Errors
    /// [`Error::Scene`] for a scene that makes no sense.
    pub fn run(&self) -> Result<Simulation> {
        Simulator::new(self.clone())?.run()
    }

    /// Whether all numbers make sense by themselves.
    pub(super) fn check(&self) -> Result<(), Problem> {
        above_0("duration", self.duration)?;
        self.detector.check()?;
        if let Some(rate) = self.rate {
            above_0("rate", rate)?;
        }
        if let Some(reference) = self.reference {
            if self.rate.is_none() {
                return Err(Problem::new(
                    "reference",
                    "this is the place of a rate, and there is none",
                ));
            }
            if !reference.iter().all(|x| x.is_finite()) {
                return Err(Problem::new("reference", "all numbers have to be finite"));
            }
        }
        share("background", self.background)?;
        share("scattered", self.scattered)?;
        share("background and scattered", self.background + self.scattered)?;
        from_0("acollinearity", self.acollinearity)?;
        if self.acollinearity > 5.0 {
            let text = format!(
                "{} degrees are no small angle (0.25 is usual)",
                self.acollinearity
            );
            return Err(Problem::new("acollinearity", text));
        }
        from_0("blur", self.blur)?;
        if let Some(step) = self.truth_step {
            above_0("truth_step", step)?;
        }
        if let Some(offsets) = &self.offsets {
            offsets.check()?;
            self.check_beside_offsets()?;
        }
        if self.tracers.is_empty() && !(self.background >= 1.0 && self.rate.is_some()) {
            return Err(Problem::new(
                "tracer",
                "a scene needs at least one, or a rate and background = 1",
            ));
        }
        for (number, tracer) in self.tracers.iter().enumerate() {
            let checked = tracer.check(self.duration);
            checked.map_err(|problem| problem.of_tracer(number))?;
        }
        Ok(())
    }

    /// What the measured offsets stand for must not be added to them.
    fn check_beside_offsets(&self) -> Result<(), Problem> {
        let text =
            "the measured offsets contain this already: set offsets = \"none\", or leave it out";
        if self.acollinearity > 0.0 {
            return Err(Problem::new("acollinearity", text));
        }
        if self.blur > 0.0 {
            return Err(Problem::new("blur", text));
        }
        if matches!(&self.detector, Detector::Screens(screens) if screens.depth > 0.0) {
            return Err(Problem::new("screens.depth", text));
        }
        match self
            .tracers
            .iter()
            .position(|tracer| tracer.isotope.is_some())
        {
            Some(tracer) => Err(Problem::new("isotope", text).of_tracer(tracer)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fortes_rates_are_as_measured() {
        for (activity, rate) in [
            (0.0, 0.0),
            (0.5, 4.15),
            (1.0, 8.3),
            (24.0, 104.0),
            (60.0, 109.0),
        ] {
            assert!((forte_rate(activity) - rate).abs() < 1e-9, "{activity}");
        }
        assert!((forte_background(1.0) - 0.16).abs() < 1e-12);
        assert!((forte_background(50.0) - 0.44).abs() < 1e-12);
        assert!((0.16..0.44).contains(&forte_background(20.0)));
    }

    #[test]
    fn a_tracer_is_there_except_for_its_gaps() {
        let tracer = Tracer {
            enter: 10.0,
            leave: 90.0,
            gaps: vec![[0.0, 20.0], [30.0, 40.0], [80.0, 95.0]],
            ..Tracer::at([0.0; 3])
        };
        assert_eq!(tracer.present(100.0), [[20.0, 30.0], [40.0, 80.0]]);
        assert_eq!(tracer.present(50.0), [[20.0, 30.0], [40.0, 50.0]]);
    }

    fn problem(change: impl FnOnce(&mut Scene)) -> String {
        let mut scene = Scene::default();
        change(&mut scene);
        let error = scene.run().unwrap_err();
        assert!(matches!(error, Error::Scene { line: None, .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn impossible_scenes_are_errors_that_name_what_is_wrong() {
        type Change = fn(&mut Scene);
        let cases: [(Change, &str); 25] = [
            (
                |scene| scene.duration = 0.0,
                "duration: 0 is no number above 0",
            ),
            (|scene| scene.duration = f64::NAN, "duration: NaN"),
            (|scene| scene.rate = Some(-1.0), "rate: -1"),
            (
                |scene| scene.background = 1.1,
                "background: 1.1 is no share",
            ),
            (
                |scene| scene.scattered = 0.9,
                "background and scattered: 1.26",
            ),
            (
                |scene| scene.blur = 1.0,
                "blur: the measured offsets contain this",
            ),
            (
                |scene| scene.acollinearity = 0.25,
                "acollinearity: the measured",
            ),
            (
                |scene| scene.tracers[1].isotope = Isotope::named("F-18"),
                "tracer 1 (from 0), isotope",
            ),
            (
                |scene| scene.tracers.clear(),
                "tracer: a scene needs at least one",
            ),
            (
                |scene| scene.tracers[0].activity = -2.0,
                "tracer 0 (from 0), activity: -2",
            ),
            (|scene| scene.tracers[0].activity = 0.0, "activity: 0"),
            (
                |scene| scene.tracers[0].enter = 2000.0,
                "enter: 2000 is after",
            ),
            (
                |scene| scene.tracers[0].leave = -1.0,
                "leave: -1 is not after",
            ),
            (|scene| scene.tracers[0].gaps = vec![[3.0, 2.0]], "gaps"),
            (
                |scene| scene.tracers[1] = Tracer::at([302.0, 302.0, 800.0]),
                "tracer 1 (from 0), position: it is outside of the field of view at (302, 302, 800)",
            ),
            (
                |scene| scene.tracers[1] = Tracer::at([f64::NAN; 3]),
                "position: all numbers",
            ),
            (
                |scene| scene.detector = Detector::Screens(Screens::new(0.0)),
                "screens.separation: 0",
            ),
            (
                |scene| {
                    scene.detector = Detector::Screens(Screens {
                        x: [5.0, 4.0],
                        ..Screens::new(500.0)
                    });
                },
                "screens.x: [5, 4]",
            ),
            (
                |scene| {
                    scene.detector = Detector::Ring(Ring {
                        sectors: 2,
                        ..Ring::default()
                    });
                },
                "ring.sectors",
            ),
            (
                |scene| {
                    scene.detector = Detector::Ring(Ring {
                        crystals: [8, 9],
                        ..Ring::default()
                    });
                },
                "ring.crystals: 9 crystals",
            ),
            (
                |scene| {
                    scene.detector = Detector::Ring(Ring {
                        crystals: [9, 8],
                        ..Ring::default()
                    });
                },
                "ring.crystals: 9 crystals of 4.61 mm do not fit a sector",
            ),
            (
                |scene| scene.tracers[0].emissions = Some(vec![1.0, 0.5].into()),
                "emissions",
            ),
            (|scene| scene.truth_step = Some(0.0), "truth_step"),
            (
                |scene| {
                    scene.tracers[0].motion = Motion::Circle(Circle {
                        centre: [302.0, 302.0, 300.0],
                        radius: 200.0,
                        rpm: 1.0,
                        phase: 0.0,
                        axis: [0.0, 0.0, 0.0],
                        rise: 0.0,
                    });
                },
                "circle.axis",
            ),
            (
                |scene| scene.tracers[0].motion = Motion::own(|_| [f64::NAN; 3]),
                "own: it is at (NaN, NaN, NaN)",
            ),
        ];
        for (change, expected) in cases {
            let message = problem(change);
            assert!(message.contains(expected), "{message}");
        }
        // Too fast: it leaves before the end.
        let message = problem(|scene| {
            scene.tracers[0].motion = Motion::Line(super::super::Line {
                from: [302.0, 302.0, 300.0],
                velocity: [1.0, 0.0, 0.0],
            });
        });
        assert!(
            message.contains("line: it leaves the field of view") && message.contains("may_leave"),
            "{message}"
        );
    }
}
