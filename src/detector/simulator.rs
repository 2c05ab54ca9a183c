//! Simulated recordings, with the truth beside them.
//!
//! Every tracer emits pairs of photons at random times, isotropically, and the detector records those both of whose photons it sees.
//! Time is cut into blocks, each with its own stream of random numbers: blocks are made in parallel and come in order, and a recording
//! needs no more memory than a few of them. The same scene gives the same bytes, whatever the threads.

use rayon::prelude::*;

use super::camera::{AnyCamera, Camera, Directions, Extent, FORTE, radians};
use super::motion::{Motion, Piece, Prepared};
use super::random::{Purpose, Random};
use super::scene::{Detector, Problem, Scene, Slips, Tracer, forte_rate};
use super::spread::{Isotope, Ranges, Shape, scattered, shaken};
use super::vector::{add, basis, scaled};
use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::Result;

/// LoRs of a block, about.
const ROWS: f64 = 16_384.0;
/// Room for so many times the LoRs that a block has on average.
const EXPECTED: f64 = 1.05;
/// Emissions that a block may try for each of these.
const TRIES: f64 = 32.0;
/// Pairs of photons that are followed at once.
const CANDIDATES: usize = 64;
/// Steps of a random walk that a block may hold.
const WALK_STEPS: f64 = 262_144.0;
/// Pieces of a motion that are looked at, and places in each of them.
const PIECES: u32 = 64;
/// Times that fill an interval evenly are multiples of this, without the whole part.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// Directions that are tried for a scattered photon.
const SCATTERINGS: usize = 10_000;
/// Directions that are tried for an offset.
const REPLACEMENTS: usize = 1_000;
/// Largest time between two rows of the truth, unless the scene says more (ms).
const TRUTH_STEP: f64 = 1.0;

/// Makes the recording of a [`Scene`].
///
/// ```
/// use pept::detector::{Parts, Scene, Simulator};
///
/// let simulator = Simulator::new(Scene { duration: 20.0, ..Scene::default() })?;
/// let noisy = simulator.run()?.lors;
/// // The same photons without background, and lines that run through their tracer.
/// let clean = simulator.with_parts(Parts::CLEAN).run()?.lors;
/// assert!(clean.n_rows() < noisy.n_rows());
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulator {
    scene: Scene,
    parts: Parts,
    camera: AnyCamera,
    emitters: Vec<Emitter>,
    rates: Rates,
    /// Pairs per ms that each tracer emits.
    emitted: Vec<f64>,
    /// A box around all places of emission.
    extent: Option<Extent>,
    /// See [`shake`].
    shake: f64,
    /// The share of scattered LoRs among those of tracers.
    scattered: f64,
    stamps: Steps,
    /// Length of a block (ms).
    block: f64,
    n_blocks: u64,
}

/// Which parts of a simulation are shown. The same events are recorded with all of them, so that rows can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Random coincidences and screens out of step; without, the rows of the former are left out.
    pub random: bool,
    /// Scattered photons; without, they go straight on.
    pub scattered: bool,
    /// What moves a line away from its tracer: its shape, positron range, photons that are not in line, measured offsets.
    pub spread: bool,
    /// Blur, depth of absorption, crystals.
    pub detector: bool,
    /// Time stamps in steps.
    pub time_steps: bool,
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self {
        random: true,
        scattered: true,
        spread: true,
        detector: true,
        time_steps: true,
    };
    /// Lines that run through their tracer at their time.
    pub const CLEAN: Self = Self {
        random: false,
        scattered: false,
        spread: false,
        detector: false,
        time_steps: false,
    };
}

/// What a [`Simulator`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// The recording.
    pub lors: LineData,
    /// Where the tracers were: `t x y z label`, in the order of time.
    pub truth: PointData,
}

/// A part of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The LoRs `t x1 y1 z1 x2 y2 z2` (ms, mm), in the order of time.
    pub rows: Vec<[f64; 7]>,
    /// Where each of them comes from.
    pub sources: Vec<Source>,
    /// The block's end (ms).
    pub end: f64,
}

/// Where a LoR comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A tracer (from 0), straight.
    Tracer(u32),
    /// A tracer (from 0); one of the photons was scattered.
    Scattered(u32),
    /// Two unrelated photons: a random coincidence, or [screens out of step](super::Slips).
    Random,
}

/// LoRs per ms, while all tracers are there.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Of each tracer, scattered ones included: the mean over the time that it is in the field of view.
    pub tracers: Vec<f64>,
    /// Of two unrelated photons. LoRs of [screens out of step](super::Slips) count as what they would be in step.
    pub random: f64,
}

impl Rates {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.random + self.tracers.iter().sum::<f64>()
    }
}

/// A tracer, ready to emit.
#[derive(Clone, Debug)]
struct Emitter {
    motion: Prepared,
    /// When it is there; empty if always.
    present: Vec<[f64; 2]>,
    shape: Shape,
    ranges: Option<Ranges>,
}

impl Emitter {
    #[inline]
    fn is_present(&self, t: f64) -> bool {
        self.present.is_empty() || self.present.iter().any(|&[from, to]| from <= t && t < to)
    }
}

/// Multiples of a time.
#[derive(Clone, Copy, Debug)]
struct Steps {
    step: f64,
    /// Steps in a ms, if that is a whole number: then 3 steps of 0.1 are 0.3.
    per_ms: Option<f64>,
}

impl Steps {
    fn new(step: f64) -> Self {
        let per_ms = (1.0 / step).round();
        let is_whole = step > 0.0 && per_ms >= 1.0 && (per_ms * step - 1.0).abs() < 1e-12;
        Self {
            step,
            per_ms: is_whole.then_some(per_ms),
        }
    }

    fn at(&self, n: f64) -> f64 {
        self.per_ms.map_or(n * self.step, |per_ms| n / per_ms)
    }

    /// How many steps there are up to a time.
    fn number(&self, t: f64) -> f64 {
        self.per_ms
            .map_or(t / self.step, |per_ms| t * per_ms)
            .floor()
    }

    /// Rounded down.
    #[inline]
    fn stamp(&self, t: f64) -> f64 {
        if self.step > 0.0 {
            self.at(self.number(t))
        } else {
            t
        }
    }
}

/// Two photons where they meet the detector: the second one, then the first one.
#[derive(Clone, Copy, Debug)]
struct Photons {
    hits: [[f64; 3]; 2],
    directions: [[f64; 3]; 2],
}

impl Photons {
    /// Two photons from a place, the first one along `direction`, if both are seen.
    #[inline]
    fn arrive<C: Camera>(
        camera: &C,
        place: [f64; 3],
        direction: [f64; 3],
        back: [f64; 3],
    ) -> Option<Self> {
        let first = camera.arrive(place, direction)?;
        let second = camera.arrive(place, back)?;
        camera.is_pair(&[first, second]).then_some(Self {
            hits: [second, first],
            directions: [back, direction],
        })
    }
}

/// Puts the second screen out of step with the first one, now and then.
fn slip(slips: Slips, rows: &mut [[f64; 7]], sources: &mut [Source], random: &mut Random) {
    if slips.share == 0.0 {
        return;
    }
    let seen: Vec<[f64; 3]> = rows.iter().map(|row| [row[4], row[5], row[6]]).collect();
    let in_step = slips.length * (1.0 - slips.share) / slips.share;
    // Where a block starts, the screens may be out of step already.
    let mut is_out = random.uniform() < slips.share;
    let mut from = 0.0;
    while from < rows.len() as f64 {
        let mean = if is_out { slips.length } else { in_step };
        let to = from + mean * random.exponential();
        if is_out {
            let before = random.uniform() < 0.5;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 on; `as` saturates"
            )]
            let range = from as usize..rows.len().min(to as usize);
            for row in range {
                let other = if before {
                    row.checked_sub(1)
                } else {
                    Some(row + 1).filter(|&row| row < seen.len())
                };
                if let Some(other) = other {
                    rows[row][4..].copy_from_slice(&seen[other]);
                    sources[row] = Source::Random;
                }
            }
        }
        is_out = !is_out;
        from = to;
    }
}

/// Where the pairs of a block come from.
struct Origins<'a, D> {
    /// The motion of each tracer.
    pieces: Vec<Piece<'a>>,
    /// Directions that may be seen from anywhere in the scene.
    all: D,
}

/// What may become a LoR: a pair of photons of a tracer, or two unrelated ones.
#[derive(Clone, Copy)]
struct Candidate {
    t: f64,
    tracer: Option<u32>,
    /// Where its photons come from.
    place: [f64; 3],
    direction: [f64; 3],
    back: [f64; 3],
}

/// Chooses one of several by their weights.
struct Choice {
    /// Sums up to and with each of them.
    sums: Vec<f64>,
    /// For each of some parts of the total: those that end before it. Where to start, instead of halving all again and again.
    before: Vec<u32>,
    parts_per_weight: f64,
}

impl Choice {
    fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut total = 0.0;
        let sums: Vec<f64> = weights
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        let n_parts = 4 * sums.len();
        let start = |part: usize| {
            let from = total * part as f64 / n_parts as f64;
            u32::try_from(sums.partition_point(|sum| *sum <= from)).unwrap_or(0)
        };
        Self {
            before: (0..n_parts).map(start).collect(),
            parts_per_weight: n_parts as f64 / total,
            sums,
        }
    }

    fn total(&self) -> f64 {
        self.sums.last().copied().unwrap_or(0.0)
    }

    /// The first one whose sum is above a number from 0 to below the total, which is above 0.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates"
    )]
    fn of(&self, pick: f64) -> usize {
        let part = (pick * self.parts_per_weight) as usize;
        let mut n = self.before[part.min(self.before.len() - 1)] as usize;
        while self.sums[n] <= pick {
            n += 1;
        }
        n
    }
}

/// A block that is being filled.
struct Filling {
    random: Random,
    /// What happened last, in the order of time, until it is settled which of it is seen. A step is taken for all of them before the next
    /// one: processors work on several of them at once, where only one that is followed to its end makes them wait and guess wrong.
    candidates: Vec<Candidate>,
    rows: Vec<[f64; 7]>,
    sources: Vec<Source>,
    /// The time of the last hit of each block of crystals.
    last: Vec<f64>,
}

impl Simulator {
    /// Gets a scene ready.
    ///
    /// # Errors
    /// [`Error::Scene`](crate::Error::Scene) for a scene that makes no sense.
    pub fn new(scene: Scene) -> Result<Self> {
        Self::prepare(scene).map_err(|problem| problem.error("in Rust", None))
    }

    pub(super) fn prepare(scene: Scene) -> Result<Self, Problem> {
        scene.check()?;
        let Scene { seed, duration, .. } = scene;
        let mut emitters: Vec<Emitter> = Vec::with_capacity(scene.tracers.len());
        for (number, tracer) in scene.tracers.iter().enumerate() {
            // One table for each isotope stays in the processor's caches, one for each tracer does not.
            let earlier = &scene.tracers[..number];
            let ranges = match earlier
                .iter()
                .position(|other| other.isotope == tracer.isotope)
            {
                Some(same) => emitters[same].ranges.clone(),
                None => tracer.isotope.as_ref().map(Ranges::new),
            };
            emitters.push(Emitter::new(tracer, ranges, seed, number, duration));
        }
        let shake = shake(&scene);
        // Six standard deviations.
        let camera = AnyCamera::new(&scene.detector, scene.blur, 6.0 * shake);
        let mut sensitivities = Vec::new();
        for (number, tracer) in scene.tracers.iter().enumerate() {
            let mean = mean_sensitivity(&camera, &scene, tracer, &emitters[number]);
            sensitivities.push(mean.map_err(|problem| problem.of_tracer(number))?);
        }
        let (emitted, random) = emissions(&scene, &camera, &sensitivities)?;
        let extent = extent(&scene);
        let tried = emitted.iter().sum::<f64>() * camera.share(extent);
        let listed = |tracer: &Tracer| tracer.emissions.as_ref().map(|times| times.len());
        let listed: usize = scene.tracers.iter().filter_map(listed).sum();
        let rates = Rates {
            tracers: emitted
                .iter()
                .zip(&sensitivities)
                .map(|(a, b)| a * b)
                .collect(),
            random,
        };
        let of_list = listed as f64 / duration;
        let longest = |tracer: &Tracer| match &tracer.motion {
            Motion::Walk(walk) => WALK_STEPS * walk.tau,
            _ => f64::INFINITY,
        };
        let block = scene.tracers.iter().map(longest).fold(duration, f64::min);
        let block = block
            .min(ROWS / (rates.total() + of_list))
            .min(TRIES * ROWS / (random + tried + of_list));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive; `as` saturates"
        )]
        let n_blocks = (duration / block).ceil() as u64;
        Ok(Self {
            parts: Parts::ALL,
            shake,
            scattered: scene.scattered / (1.0 - scene.background).max(f64::MIN_POSITIVE),
            stamps: Steps::new(scene.detector.time_step()),
            camera,
            emitters,
            rates,
            emitted,
            extent,
            block,
            n_blocks,
            scene,
        })
    }

    /// Shows only some parts.
    #[must_use]
    pub fn with_parts(self, parts: Parts) -> Self {
        Self { parts, ..self }
    }

    /// The scene.
    #[must_use]
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// How many LoRs there are to expect.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The share of isotropic pairs from a place that the detector sees.
    #[must_use]
    pub fn sensitivity(&self, place: [f64; 3]) -> f64 {
        self.camera.sensitivity(place)
    }

    /// Where a tracer (from 0) is at a time (ms), whether or not it is there.
    ///
    /// # Panics
    /// If there is no such tracer.
    #[must_use]
    pub fn position(&self, tracer: usize, t: f64) -> [f64; 3] {
        self.emitters[tracer].motion.at(t)
    }

    /// Whether a tracer (from 0) is there at a time (ms).
    ///
    /// # Panics
    /// If there is no such tracer.
    #[must_use]
    pub fn is_present(&self, tracer: usize, t: f64) -> bool {
        0.0 <= t && t < self.scene.duration && self.emitters[tracer].is_present(t)
    }

    /// The recording and its truth, in memory.
    ///
    /// # Errors
    /// None yet; the signature leaves room for some.
    pub fn run(&self) -> Result<Simulation> {
        let mut values = Vec::new();
        self.for_each_block(|block| {
            values.extend_from_slice(block.rows.as_flattened());
            Ok(())
        })?;
        let lors = self.table(values)?;
        let truth = self.truth()?;
        Ok(Simulation { lors, truth })
    }

    /// LoRs as a table.
    pub(super) fn table(&self, values: Vec<f64>) -> Result<LineData> {
        let lors = LineData::new(array_of_rows(values, 7))?;
        Ok(match &self.scene.detector {
            Detector::Screens(screens) => {
                lors.with_attribute("separation", Attribute::Number(screens.separation))
            }
            Detector::Ring(_) => lors,
        })
    }

    /// How many blocks the recording has.
    #[must_use]
    pub fn n_blocks(&self) -> u64 {
        self.n_blocks
    }

    /// A block, by its number from 0.
    #[must_use]
    pub fn block(&self, number: u64) -> Block {
        match &self.camera {
            AnyCamera::Screens(camera) => self.filled(camera, number),
            AnyCamera::Ring(camera) => self.filled(camera, number),
        }
    }

    /// Makes the blocks in parallel and hands them over in order, a few at a time.
    ///
    /// # Errors
    /// The first error of `consume`, which ends it.
    pub fn for_each_block(&self, consume: impl FnMut(Block) -> Result<()> + Send) -> Result<()> {
        self.for_each_mapped(|block| block, consume)
    }

    /// As [`for_each_block`](Self::for_each_block), with something done to each block in parallel before.
    ///
    /// # Errors
    /// The first error of `consume`, which ends it.
    pub fn for_each_mapped<T: Send>(
        &self,
        map: impl Fn(Block) -> T + Sync,
        mut consume: impl FnMut(T) -> Result<()> + Send,
    ) -> Result<()> {
        let window = 2 * rayon::current_num_threads() as u64;
        let make = |from: u64| -> Vec<T> {
            (from..self.n_blocks.min(from + window))
                .into_par_iter()
                .map(|number| map(self.block(number)))
                .collect()
        };
        let mut from = window;
        let mut ready = make(0);
        while !ready.is_empty() {
            // The next ones are made while these are consumed.
            let (consumed, made) = rayon::join(
                || ready.into_iter().try_for_each(&mut consume),
                || make(from),
            );
            consumed?;
            ready = made;
            from += window;
        }
        Ok(())
    }

    fn filled<C: Camera>(&self, camera: &C, number: u64) -> Block {
        let from = number as f64 * self.block;
        let to = ((number + 1) as f64 * self.block).min(self.scene.duration);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "about as many as a block is made for"
        )]
        let expected = (EXPECTED * self.rates.total() * (to - from)) as usize;
        let mut filling = Filling {
            random: Random::stream(self.scene.seed, Purpose::Block, number, 0),
            candidates: Vec::with_capacity(CANDIDATES),
            rows: Vec::with_capacity(expected),
            sources: Vec::with_capacity(expected),
            last: Vec::new(),
        };
        if self.scene.detector.dead_time() > 0.0 {
            filling.last = vec![f64::NEG_INFINITY; camera.n_blocks()];
        }
        let motions = self.emitters.iter().map(|emitter| &emitter.motion);
        let origins = Origins {
            pieces: motions.map(|motion| motion.between(from, to)).collect(),
            all: camera.directions(self.extent),
        };
        let mut listed = self.listed(from, to).into_iter().peekable();
        let directions: Vec<C::Directions> = origins
            .pieces
            .iter()
            .enumerate()
            .map(|(number, piece)| camera.directions(self.reach(number, piece, from, to)))
            .collect();
        // Emissions per ms that are tried.
        let tried = self.emitted.iter().zip(&directions);
        let choice = Choice::new(tried.map(|(rate, directions)| rate * directions.share()));
        let of_tracers = choice.total();
        let total = of_tracers + self.rates.random;
        let mut t = from;
        loop {
            let gap = filling.random.exponential() / total;
            t += if total > 0.0 { gap } else { f64::INFINITY };
            while let Some((t, tracer)) = listed.next_if(|(time, _)| *time <= t) {
                if filling.random.uniform() < directions[tracer].share() {
                    self.emit(
                        t,
                        tracer,
                        &origins.pieces[tracer],
                        &directions[tracer],
                        &mut filling,
                    );
                }
                if filling.candidates.len() == CANDIDATES {
                    self.settle(camera, &origins, &mut filling);
                }
            }
            if t >= to {
                break;
            }
            let pick = total * filling.random.uniform();
            if pick < of_tracers {
                let tracer = choice.of(pick);
                self.emit(
                    t,
                    tracer,
                    &origins.pieces[tracer],
                    &directions[tracer],
                    &mut filling,
                );
            } else {
                filling.candidates.push(Candidate {
                    t,
                    tracer: None,
                    place: [0.0; 3],
                    direction: [0.0; 3],
                    back: [0.0; 3],
                });
            }
            if filling.candidates.len() == CANDIDATES {
                self.settle(camera, &origins, &mut filling);
            }
        }
        self.settle(camera, &origins, &mut filling);
        let Filling {
            mut rows,
            mut sources,
            ..
        } = filling;
        if let (Some(slips), true) = (self.scene.detector.slips(), self.parts.random) {
            let mut random = Random::stream(self.scene.seed, Purpose::Slips, number, 0);
            slip(slips, &mut rows, &mut sources, &mut random);
        }
        Block {
            rows,
            sources,
            end: to,
        }
    }

    /// A box around the places where a tracer's pairs come from between two times, if one is known.
    fn reach(&self, tracer: usize, piece: &Piece<'_>, from: f64, to: f64) -> Option<Extent> {
        let margin = self.scene.tracers[tracer].reach()?;
        let extent = piece.extent(from, to)?;
        Some(extent.map(|[from, to]| [from - margin, to + margin]))
    }

    /// The emissions whose times are given, from one time to before another.
    fn listed(&self, from: f64, to: f64) -> Vec<(f64, usize)> {
        let mut listed = Vec::new();
        for (number, tracer) in self.scene.tracers.iter().enumerate() {
            if let Some(times) = &tracer.emissions {
                let start = times.partition_point(|t| *t < from);
                let some = times[start..].iter().take_while(|t| **t < to);
                listed.extend(some.map(|t| (*t, number)));
            }
        }
        listed.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
        listed
    }

    /// A pair of photons from a tracer.
    #[inline]
    fn emit(
        &self,
        t: f64,
        tracer: usize,
        piece: &Piece<'_>,
        directions: &impl Directions,
        filling: &mut Filling,
    ) {
        let random = &mut filling.random;
        let emitter = &self.emitters[tracer];
        if !emitter.is_present(t) {
            return;
        }
        let direction = directions.draw(random);
        let mut place = piece.at(t);
        if emitter.shape != Shape::Point {
            place = add(place, emitter.shape.offset(random));
        }
        if let Some(ranges) = &emitter.ranges {
            place = add(place, ranges.displacement(random));
        }
        let mut back = scaled(direction, -1.0);
        if self.scene.acollinearity > 0.0 {
            back = shaken(back, self.shake, random);
        }
        filling.candidates.push(Candidate {
            t,
            tracer: u32::try_from(tracer).ok(),
            place,
            direction,
            back,
        });
    }

    /// Records those of the candidates that are seen.
    fn settle<C: Camera>(
        &self,
        camera: &C,
        origins: &Origins<'_, C::Directions>,
        filling: &mut Filling,
    ) {
        let candidates = std::mem::take(&mut filling.candidates);
        let mut arrived = [(0, [[0.0; 3]; 2]); CANDIDATES];
        let mut n = 0;
        for (number, candidate) in candidates.iter().enumerate() {
            let (first, is_first) = camera.meet(candidate.place, candidate.direction);
            let (second, is_second) = camera.meet(candidate.place, candidate.back);
            let is_pair = is_first & is_second & camera.is_pair(&[first, second]);
            // Overwritten by the next one unless it arrives.
            arrived[n] = (number, [second, first]);
            n += usize::from(is_pair | candidate.tracer.is_none());
        }
        for &(number, hits) in &arrived[..n] {
            let candidate = &candidates[number];
            match candidate.tracer {
                Some(tracer) => self.see(camera, candidate, tracer, hits, origins, filling),
                None => {
                    let ends = camera.unrelated(&mut filling.random);
                    let is_caught =
                        self.catches(candidate.t, [ends[0].1, ends[1].1], &mut filling.last);
                    if is_caught && self.parts.random {
                        self.record(candidate.t, [ends[0].0, ends[1].0], Source::Random, filling);
                    }
                }
            }
        }
        filling.candidates = candidates;
        filling.candidates.clear();
    }

    /// Records a pair of photons of a tracer that arrive.
    #[inline]
    fn see<C: Camera>(
        &self,
        camera: &C,
        candidate: &Candidate,
        tracer: u32,
        hits: [[f64; 3]; 2],
        origins: &Origins<'_, C::Directions>,
        filling: &mut Filling,
    ) {
        let random = &mut filling.random;
        let Candidate {
            t,
            place,
            mut direction,
            back,
            ..
        } = *candidate;
        let mut photons = Photons {
            hits,
            directions: [back, direction],
        };
        if let Some(offsets) = &self.scene.offsets {
            let offset = offsets.sample(random);
            match Self::shifted(camera, place, direction, offset, &origins.all, random) {
                Some((found, along)) => (photons, direction) = (found, along),
                None => return,
            }
        }
        let mut shown = photons;
        let mut source = Source::Tracer(tracer);
        if self.scattered > 0.0
            && random.uniform() < self.scattered
            && let Some((found, along)) = self.scattered_pair(camera, place, random)
        {
            photons = found;
            if self.parts.scattered {
                source = Source::Scattered(tracer);
                shown = photons;
                direction = along;
            }
        }
        if !self.parts.spread && source == Source::Tracer(tracer) {
            shown = Photons {
                hits: camera.clean(origins.pieces[tracer as usize].at(t), direction),
                directions: [scaled(direction, -1.0), direction],
            };
        }
        let is_as_seen = shown.hits == photons.hits;
        let mut again = (!is_as_seen).then(|| random.clone());
        let seen = camera.seen(photons.hits, photons.directions, random);
        if !self.catches(t, [seen[0].1, seen[1].1], &mut filling.last) {
            return;
        }
        let ends = match (self.parts.detector, &mut again) {
            (false, _) => shown.hits,
            (true, None) => [seen[0].0, seen[1].0],
            // The same random numbers for the other photons.
            (true, Some(random)) => {
                let [a, b] = camera.seen(shown.hits, shown.directions, random);
                [a.0, b.0]
            }
        };
        self.record(t, ends, source, filling);
    }

    /// A pair whose line passes a place at this offset, and its direction.
    ///
    /// Offsets were measured on lines that were seen. So a line that one moves out of the field is replaced by another one, of another
    /// direction, and all offsets stay as likely as they were.
    #[inline]
    fn shifted<C: Camera>(
        camera: &C,
        place: [f64; 3],
        mut direction: [f64; 3],
        [a, b]: [f64; 2],
        all: &C::Directions,
        random: &mut Random,
    ) -> Option<(Photons, [f64; 3])> {
        for _ in 0..REPLACEMENTS {
            let [first, second] = basis(direction);
            let moved = add(place, add(scaled(first, a), scaled(second, b)));
            let back = scaled(direction, -1.0);
            if let Some(photons) = Photons::arrive(camera, moved, direction, back) {
                return Some((photons, direction));
            }
            direction = all.draw(random);
        }
        None
    }

    /// A pair from a place one of whose photons is scattered, and the direction of the other one.
    fn scattered_pair<C: Camera>(
        &self,
        camera: &C,
        place: [f64; 3],
        random: &mut Random,
    ) -> Option<(Photons, [f64; 3])> {
        let threshold = self.scene.detector.threshold();
        for _ in 0..SCATTERINGS {
            let direction = random.direction();
            let back = scaled(direction, -1.0);
            let (turning, turned) = scattered(place, back, threshold, random);
            if !camera.is_inside(turning) {
                continue;
            }
            let (Some(first), Some(second)) = (
                camera.arrive(place, direction),
                camera.arrive(turning, turned),
            ) else {
                continue;
            };
            if camera.is_pair(&[first, second]) {
                let photons = Photons {
                    hits: [second, first],
                    directions: [turned, direction],
                };
                return Some((photons, direction));
            }
            if camera.is_pair(&[second, first]) {
                let photons = Photons {
                    hits: [first, second],
                    directions: [direction, turned],
                };
                return Some((photons, direction));
            }
        }
        None
    }

    /// Whether neither of two blocks of crystals is blind; both are, for a while, from then on.
    #[inline]
    fn catches(&self, t: f64, blocks: [usize; 2], last: &mut [f64]) -> bool {
        if last.is_empty() {
            return true;
        }
        let dead_time = self.scene.detector.dead_time();
        let is_awake = blocks.iter().all(|&block| t - last[block] >= dead_time);
        if is_awake {
            blocks.iter().for_each(|&block| last[block] = t);
        }
        is_awake
    }

    #[inline]
    fn record(&self, t: f64, [a, b]: [[f64; 3]; 2], source: Source, filling: &mut Filling) {
        let t = if self.parts.time_steps {
            self.stamps.stamp(t)
        } else {
            t
        };
        filling.rows.push([t, a[0], a[1], a[2], b[0], b[1], b[2]]);
        filling.sources.push(source);
    }

    /// Where the tracers are: `t x y z label`, in the order of time; a row for each tracer that is there and each step, and one when it
    /// comes and when it leaves.
    ///
    /// # Errors
    /// None yet; the signature leaves room for some.
    pub fn truth(&self) -> Result<PointData> {
        let mut values = Vec::new();
        self.for_each_truth(|rows| {
            values.extend_from_slice(rows.as_flattened());
            Ok(())
        })?;
        PointData::with_columns(array_of_rows(values, 5), &["label"])
    }

    /// The same, some rows at a time.
    ///
    /// # Errors
    /// The first error of `consume`, which ends it.
    pub fn for_each_truth(&self, mut consume: impl FnMut(&[[f64; 5]]) -> Result<()>) -> Result<()> {
        /// Rows at a time, about.
        const ROWS: f64 = 65_536.0;
        let steps = Steps::new(self.truth_step());
        let n_steps = (ROWS / self.emitters.len().max(1) as f64).ceil();
        let mut n = 0.0;
        loop {
            let (from, to) = (steps.at(n), steps.at(n + n_steps));
            let is_last = to > self.scene.duration;
            let to = if is_last { f64::INFINITY } else { to };
            consume(&self.truth_between(from, to, steps))?;
            if is_last {
                return Ok(());
            }
            n += n_steps;
        }
    }

    /// Time between two rows of the truth (ms).
    #[must_use]
    pub fn truth_step(&self) -> f64 {
        let natural = self
            .scene
            .tracers
            .iter()
            .map(|tracer| tracer.motion.truth_step());
        let natural = natural.fold(TRUTH_STEP, f64::min);
        self.scene.truth_step.unwrap_or(natural)
    }

    /// The truth at times from one to before another, both of them multiples of the step, the first one of the recording's start.
    fn truth_between(&self, from: f64, to: f64, steps: Steps) -> Vec<[f64; 5]> {
        let duration = self.scene.duration;
        let mut rows = Vec::new();
        for (number, emitter) in self.emitters.iter().enumerate() {
            let mut times = Vec::new();
            for [start, end] in self.scene.tracers[number].present(duration) {
                if end < from || start >= to {
                    continue;
                }
                let mut n = steps.number(start.max(from));
                while steps.at(n) < end.min(to) {
                    if steps.at(n) > start {
                        times.push(steps.at(n));
                    }
                    n += 1.0;
                }
                let within = emitter.motion.times(start, end);
                times.extend(within.iter().map(|row| row[0]));
                times.extend([start, end]);
            }
            times.retain(|t| from <= *t && *t < to);
            times.sort_by(f64::total_cmp);
            times.dedup();
            let last = to.min(duration);
            let piece = emitter.motion.between(from, last);
            rows.extend(times.into_iter().map(|t| {
                let [x, y, z] = piece.at(t);
                [t, x, y, z, number as f64]
            }));
        }
        rows.sort_by(|a: &[f64; 5], b| a[0].total_cmp(&b[0])); // stable
        rows
    }
}

impl Emitter {
    fn new(
        tracer: &Tracer,
        ranges: Option<Ranges>,
        seed: u64,
        number: usize,
        duration: f64,
    ) -> Self {
        let mut present = tracer.present(duration);
        if present == [[0.0, duration]] {
            present.clear();
        } else if present.is_empty() {
            // Never: an interval that holds no time.
            present.push([0.0, 0.0]);
        }
        Self {
            motion: tracer.motion.prepare(seed, number, duration),
            present,
            shape: tracer.shape.clone(),
            ranges,
        }
    }
}

/// Standard deviation of the angle between two photons and a straight line, in both directions across it (radians).
fn shake(scene: &Scene) -> f64 {
    radians(scene.acollinearity) / std::f64::consts::SQRT_2
}

impl Tracer {
    /// How far from its position pairs come from, if that is known.
    fn reach(&self) -> Option<f64> {
        let size = match &self.shape {
            Shape::Point => 0.0,
            Shape::Sphere(sphere) => sphere.radius,
            Shape::Cylinder(cylinder) => cylinder.radius + cylinder.height,
            Shape::Own(_) => return None,
        };
        // Further out come fewer than one in 10^9.
        let range = self
            .isotope
            .as_ref()
            .map_or(0.0, |isotope| 3.0 * isotope.longest());
        Some(size + range)
    }
}

/// A box around all places of emission, if one is known.
fn extent(scene: &Scene) -> Option<Extent> {
    let mut all = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    for tracer in &scene.tracers {
        let own = tracer.motion.extent(0.0, scene.duration)?;
        let reach = tracer.reach()?;
        let offset = scene
            .offsets
            .map_or(0.0, |offsets| 25.0 * offsets.tail + 7.0 * offsets.core);
        for (side, [from, to]) in all.iter_mut().zip(own) {
            let margin = reach + offset;
            *side = [side[0].min(from - margin), side[1].max(to + margin)];
        }
    }
    Some(all)
}

/// The mean sensitivity over the time that a tracer is in the field of view.
fn mean_sensitivity(
    camera: &AnyCamera,
    scene: &Scene,
    tracer: &Tracer,
    emitter: &Emitter,
) -> Result<f64, Problem> {
    let key = tracer.motion.key();
    let problem = |text: String| Err(Problem::new(key, text));
    let intervals = tracer.present(scene.duration);
    let n_pieces = match &tracer.motion {
        Motion::Static(_) => 1,
        _ => PIECES,
    };
    let (mut sum, mut n_seen, mut n) = (0.0, 0.0, 0.0);
    for &[start, end] in &intervals {
        let length = (end - start) / f64::from(n_pieces);
        for piece in 0..n_pieces {
            let from = start + f64::from(piece) * length;
            let motion = emitter.motion.between(from, from + length);
            let ends = [from, from + length].into_iter().map(|t| (t, false));
            let inner = (0..n_pieces).map(|_| {
                n += 1.0;
                let place: f64 = 0.5 + n * GOLDEN;
                (from + length * (place - place.floor()), true)
            });
            for (t, counts) in ends.chain(inner) {
                let place = motion.at(t);
                let [x, y, z] = place;
                if !place.iter().all(|x| x.is_finite()) {
                    return problem(format!("it is at ({x}, {y}, {z}) at {t} ms"));
                }
                if !camera.is_inside(place) && !tracer.may_leave {
                    let field = scene.detector.field();
                    return problem(match tracer.motion {
                        Motion::Static(_) => format!(
                            "it is outside of the field of view at ({x}, {y}, {z}); the field is {field}"
                        ),
                        _ => format!(
                            "it leaves the field of view: at {t} ms it is at ({x}, {y}, {z}); the field is {field}; shorten the recording or \
                             its time in it, slow it down, or allow it with may_leave = true"
                        ),
                    });
                }
                let sensitivity = camera.sensitivity(place);
                if counts && sensitivity > 0.0 {
                    // Intervals count by their length.
                    sum += sensitivity * length;
                    n_seen += length;
                }
            }
        }
    }
    if !tracer.may_leave
        && let Some(t) = emitter.motion.leaves(|place| camera.is_inside(place))
    {
        let field = scene.detector.field();
        return problem(format!(
            "it leaves the field of view at {t} ms; the field is {field}; reflect it with `within`, shorten the recording, or allow it with \
             may_leave = true"
        ));
    }
    if n_seen > 0.0 {
        Ok(sum / n_seen)
    } else if intervals.is_empty() {
        problem("it is never there: its gaps take all of its time".into())
    } else {
        problem(format!(
            "it never is in the field of view: {}",
            scene.detector.field()
        ))
    }
}

/// Pairs per ms that each tracer emits, and random LoRs per ms. `sensitivities`: of each tracer.
fn emissions(
    scene: &Scene,
    camera: &AnyCamera,
    sensitivities: &[f64],
) -> Result<(Vec<f64>, f64), Problem> {
    let Scene {
        background,
        tracers,
        ..
    } = scene;
    let of_listed_none = |tracer: &Tracer| {
        if tracer.emissions.is_some() {
            0.0
        } else {
            tracer.activity
        }
    };
    let activities: Vec<f64> = tracers.iter().map(of_listed_none).collect();
    if let Some(rate) = scene.rate {
        let sum: f64 = match scene.reference {
            None => activities
                .iter()
                .zip(sensitivities)
                .map(|(a, b)| a * b)
                .sum(),
            Some(place) => {
                let sensitivity = camera.sensitivity(place);
                if sensitivity <= 0.0 {
                    let field = scene.detector.field();
                    let text = format!("nothing is seen there: the field of view is {field}");
                    return Err(Problem::new("reference", text));
                }
                activities.iter().sum::<f64>() * sensitivity
            }
        };
        let scale = if sum > 0.0 {
            (1.0 - background) * rate / sum
        } else {
            0.0
        };
        let emitted = activities.iter().map(|activity| activity * scale);
        return Ok((emitted.collect(), background * rate));
    }
    match &scene.detector {
        Detector::Screens(screens) => {
            let middle = camera.sensitivity(scene.detector.middle());
            let all = scene.megabecquerel();
            let rate = forte_rate(all * FORTE.beside(screens));
            let positrons =
                |tracer: &Tracer| tracer.isotope.map_or(1.0, |isotope| isotope.beside_f18());
            let emitted = activities.iter().zip(tracers).map(|(activity, tracer)| {
                let share = activity * positrons(tracer) / (1e6 * all).max(f64::MIN_POSITIVE);
                (1.0 - background) * rate * share / middle
            });
            Ok((emitted.collect(), background * rate))
        }
        Detector::Ring(ring) => {
            if *background >= 1.0 {
                let text = "a share of 1 needs a rate";
                return Err(Problem::new("background", text));
            }
            let emitted: Vec<f64> = activities
                .iter()
                .zip(tracers)
                .map(|(activity, tracer)| {
                    let positrons = tracer.isotope.map_or(1.0, |isotope| isotope.positrons);
                    activity * positrons / 1000.0 * ring.efficiency
                })
                .collect();
            let seen: f64 = emitted.iter().zip(sensitivities).map(|(a, b)| a * b).sum();
            Ok((emitted, seen * background / (1.0 - background)))
        }
    }
}

impl Scene {
    /// What the ADAC Forte's rates follow from: activities of F-18 (MBq) with as many positrons.
    pub(super) fn megabecquerel(&self) -> f64 {
        let of = |tracer: &Tracer| {
            let positrons = tracer
                .isotope
                .map_or(1.0, |isotope: Isotope| isotope.beside_f18());
            tracer.activity * positrons / 1e6
        };
        self.tracers
            .iter()
            .filter(|tracer| tracer.emissions.is_none())
            .map(of)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::motion::Walk;
    use super::super::scene::{Ring, Screens};
    use super::super::spread::{Offsets, Sphere};
    use super::super::vector::dot;
    use super::*;

    #[test]
    fn every_tracer_has_the_ranges_of_its_isotope() {
        let isotopes = ["F-18", "Ga-68", "F-18", ""].map(Isotope::named);
        let tracers = isotopes.map(|isotope| Tracer {
            isotope,
            ..Tracer::at([0.0; 3])
        });
        let scene = Scene {
            detector: Detector::Ring(Ring::default()),
            offsets: None,
            rate: Some(100.0),
            tracers: tracers.into(),
            ..Scene::default()
        };
        let simulator = Simulator::new(scene).unwrap();
        let mut random = Random::stream(4, Purpose::Block, 0, 0);
        for (emitter, isotope) in simulator.emitters.iter().zip(isotopes) {
            let Some(ranges) = &emitter.ranges else {
                assert_eq!(isotope, None);
                continue;
            };
            let wanted = isotope.unwrap().mean_range.unwrap();
            // Half the range along each axis.
            let mut square = |_| ranges.displacement(&mut random)[0].powi(2);
            let mean = (0..20_000).map(&mut square).sum::<f64>() / 20_000.0;
            assert!(
                (mean.sqrt() / wanted - 0.55).abs() < 0.12,
                "{mean} {wanted}"
            );
        }
    }

    #[test]
    fn a_choice_is_the_first_whose_sum_is_above() {
        let mut random = Random::stream(3, Purpose::Block, 0, 0);
        for n in [1, 2, 7, 80] {
            let weights: Vec<f64> = (0..n)
                .map(|k| {
                    if k % 3 == 1 {
                        0.0
                    } else {
                        random.exponential()
                    }
                })
                .collect();
            let choice = Choice::new(weights.iter().copied());
            for _ in 0..10_000 {
                let pick = choice.total() * random.uniform();
                let expected = choice.sums.partition_point(|sum| *sum <= pick);
                assert_eq!(choice.of(pick), expected);
                assert!(weights[expected] > 0.0);
            }
        }
    }

    #[test]
    fn screens_out_of_step_exchange_hits_of_neighbours_in_bursts() {
        let scene = |slips| {
            let mut screens = Screens::new(600.0);
            screens.slips = slips;
            let mut scene = Scene::new(Detector::Screens(screens), 4000.0);
            scene.rate = Some(50.0);
            scene.tracers = vec![Tracer::at([302.0, 302.0, 300.0])];
            Simulator::new(scene).unwrap()
        };
        let slips = Slips {
            share: 0.1,
            length: 50.0,
        };
        let (calm, slipped) = (scene(None), scene(Some(slips)));
        let (mut n, mut n_moved, mut bursts) = (0, 0, 0);
        for number in 0..calm.n_blocks() {
            let (calm, slipped) = (calm.block(number), slipped.block(number));
            assert_eq!(calm.rows.len(), slipped.rows.len());
            let mut was_moved = false;
            for (row, (a, b)) in calm.rows.iter().zip(&slipped.rows).enumerate() {
                assert_eq!(a[..4], b[..4]);
                let is_moved = a != b;
                if is_moved {
                    let neighbours = [row.wrapping_sub(1), row + 1];
                    let mut neighbours = neighbours.iter().filter_map(|&row| calm.rows.get(row));
                    assert!(neighbours.any(|other| other[4..] == b[4..]));
                    assert_eq!(slipped.sources[row], Source::Random);
                    bursts += usize::from(!was_moved);
                }
                was_moved = is_moved;
                n_moved += usize::from(is_moved);
                n += 1;
            }
        }
        // 200,000 LoRs, 400 bursts: 5 standard deviations of the share are 0.1 * 5 * sqrt(2 / 400).
        let share = n_moved as f64 / n as f64;
        assert!((share - 0.1).abs() < 0.036, "{share}");
        assert!((300..500).contains(&bursts), "{bursts}");
        let clean = slipped.with_parts(Parts::CLEAN).block(0);
        assert!(!clean.sources.contains(&Source::Random));
    }

    fn forte(tracers: Vec<Tracer>) -> Scene {
        Scene {
            rate: Some(30.0),
            background: 0.2,
            offsets: Some(Offsets::MEASURED),
            tracers,
            ..Scene::new(Detector::Screens(Screens::new(600.0)), 1000.0)
        }
    }

    fn ring(tracers: Vec<Tracer>) -> Scene {
        Scene {
            rate: Some(315.0),
            background: 0.3,
            acollinearity: 0.25,
            tracers,
            ..Scene::new(Detector::Ring(Ring::default()), 100.0)
        }
    }

    fn middle() -> Tracer {
        Tracer::at([302.0, 302.0, 300.0])
    }

    fn simulator(scene: Scene) -> Simulator {
        Simulator::new(scene).unwrap()
    }

    fn blocks(simulator: &Simulator) -> (Vec<[f64; 7]>, Vec<Source>) {
        let (mut rows, mut sources) = (Vec::new(), Vec::new());
        simulator
            .for_each_block(|block| {
                assert!(block.rows.iter().all(|row| row[0] <= block.end));
                rows.extend(block.rows);
                sources.extend(block.sources);
                Ok(())
            })
            .unwrap();
        assert_eq!(rows.len(), sources.len());
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0]));
        (rows, sources)
    }

    /// Direction of a line and the vector from a point to it.
    fn to_line(row: &[f64; 7], point: [f64; 3]) -> ([f64; 3], [f64; 3]) {
        let [_, x1, y1, z1, x2, y2, z2] = *row;
        let direction = super::super::vector::unit([x2 - x1, y2 - y1, z2 - z1]).unwrap();
        let from = [x1 - point[0], y1 - point[1], z1 - point[2]];
        (
            direction,
            add(from, scaled(direction, -dot(from, direction))),
        )
    }

    fn distance(row: &[f64; 7], point: [f64; 3]) -> f64 {
        let (_, between) = to_line(row, point);
        dot(between, between).sqrt()
    }

    /// The largest difference between the distribution of values and a function, in units of 1 / sqrt(n).
    fn kolmogorov(mut values: Vec<f64>, below: impl Fn(f64) -> f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let both = |(k, x): (usize, &f64)| {
            let expected = below(*x);
            (expected - k as f64 / n)
                .abs()
                .max((expected - (k + 1) as f64 / n).abs())
        };
        values.iter().enumerate().map(both).fold(0.0, f64::max) * n.sqrt()
    }

    /// Larger in 1 of 10^6 cases.
    const LIMIT: f64 = 2.69;

    #[test]
    fn clean_lines_run_through_their_tracer_at_their_time() {
        let walk = Walk {
            from: [-20.0, 0.0, 0.0],
            step: 0.5,
            tau: 0.3,
            within: None,
        };
        let moving = [
            Scene {
                duration: 50.0,
                ..Scene::circle(3)
            },
            Scene {
                duration: 20.0,
                scattered: 0.2,
                ..ring(vec![
                    Tracer {
                        isotope: Isotope::named("Ga-68"),
                        shape: Shape::Sphere(Sphere { radius: 2.0 }),
                        ..Tracer::at([10.0, 100.0, -50.0])
                    },
                    Tracer::new(Motion::own(|t| [t, -2.0 * t, 3.0 * t])),
                    Tracer::new(Motion::Walk(walk)),
                ])
            },
        ];
        for scene in moving {
            let noisy = simulator(scene);
            let clean = noisy.clone().with_parts(Parts::CLEAN);
            let (rows, sources) = blocks(&clean);
            assert!(rows.len() > 1000);
            for (row, source) in rows.iter().zip(&sources) {
                let Source::Tracer(tracer) = source else {
                    panic!("{source:?}");
                };
                let distance = distance(row, clean.position(*tracer as usize, row[0]));
                assert!(distance < 1e-9, "{distance}");
            }
            // The same events as with noise, except for random ones.
            let (noisy_rows, noisy_sources) = blocks(&noisy);
            let of_tracers: Vec<_> = noisy_rows
                .iter()
                .zip(&noisy_sources)
                .filter(|(_, source)| **source != Source::Random)
                .collect();
            assert_eq!(of_tracers.len(), rows.len());
            let step = noisy.scene().detector.time_step();
            for ((a, source), (b, own)) in of_tracers.iter().zip(rows.iter().zip(&sources)) {
                assert!(a[0] <= b[0] && b[0] - a[0] <= step * 1.000_001);
                match source {
                    Source::Scattered(tracer) => assert_eq!(*own, Source::Tracer(*tracer)),
                    other => assert_eq!(*other, own),
                }
            }
            let only_time = Parts {
                time_steps: false,
                ..Parts::ALL
            };
            let (exact, _) = blocks(&noisy.clone().with_parts(only_time));
            assert!(exact.iter().zip(&noisy_rows).all(|(a, b)| a[1..] == b[1..]));
        }
    }

    #[test]
    fn offsets_of_a_static_tracer_have_the_stated_mixture() {
        let simulator = simulator(Scene {
            background: 0.0,
            duration: 5000.0,
            ..forte(vec![middle()])
        });
        let (rows, _) = blocks(&simulator);
        let distances = rows.iter().map(|row| distance(row, [302.0, 302.0, 300.0]));
        let below = |r: f64| {
            let core = 1.0 - (-0.5 * (r / 2.25).powi(2)).exp();
            let tail = 1.0 - (1.0 + r / 3.5) * (-r / 3.5).exp();
            0.45 * core + 0.55 * tail
        };
        let found = kolmogorov(distances.collect(), below);
        assert!(found < LIMIT, "{found}");
        // And in all directions alike.
        let angles = rows.iter().map(|row| {
            let (direction, between) = to_line(row, [302.0, 302.0, 300.0]);
            let [first, second] = basis(direction);
            libm::atan2(dot(between, second), dot(between, first))
        });
        let found = kolmogorov(angles.collect(), |angle| {
            0.5 + angle / std::f64::consts::TAU
        });
        assert!(found < LIMIT, "{found}");
    }

    #[test]
    fn directions_are_isotropic_among_those_that_are_seen() {
        // A line in the window of slopes [-a, a] x [-b, b] about z has the solid angle 4 corner(a, b).
        let corner = |x: f64, y: f64| (x * y / (1.0 + x * x + y * y).sqrt()).atan();
        for separation in [600.0, 150.0] {
            let scene = Scene {
                background: 0.0,
                offsets: None,
                detector: Detector::Screens(Screens::new(separation)),
                duration: 5000.0,
                ..forte(vec![Tracer::at([302.0, 302.0, 0.5 * separation])])
            };
            let (rows, _) = blocks(&simulator(scene));
            let (a, b) = (384.0 / separation, 514.0 / separation);
            let slope = |row: &[f64; 7], k: usize| (row[4 + k] - row[1 + k]) / separation;
            let all = corner(a, b);
            let found = kolmogorov(rows.iter().map(|row| slope(row, 0).abs()).collect(), |x| {
                corner(x, b) / all
            });
            assert!(found < LIMIT, "{found}");
            let found = kolmogorov(rows.iter().map(|row| slope(row, 1).abs()).collect(), |y| {
                corner(a, y) / all
            });
            assert!(found < LIMIT, "{found}");
        }
        // In the middle of a ring the cosine to the axis is uniform.
        let scene = Scene {
            background: 0.0,
            acollinearity: 0.0,
            duration: 300.0,
            ..ring(vec![Tracer::at([0.0; 3])])
        };
        let (rows, _) = blocks(&simulator(scene).with_parts(Parts::CLEAN));
        let steepest = 117.0 / 117.0_f64.hypot(420.0);
        let cosines = rows.iter().map(|row| to_line(row, [0.0; 3]).0[2]);
        let found = kolmogorov(cosines.collect(), |cos| 0.5 * (1.0 + cos / steepest));
        assert!(found < LIMIT, "{found}");
    }

    #[test]
    fn rates_and_shares_are_kept() {
        let far = Tracer {
            activity: 3.0,
            ..Tracer::at([200.0, 400.0, 200.0])
        };
        let scenes = [
            forte(vec![middle(), far]),
            Scene {
                scattered: 0.1,
                ..forte(vec![middle()])
            },
            ring(vec![
                Tracer::at([50.0, 0.0, 60.0]),
                Tracer::at([0.0, -150.0, 0.0]),
            ]),
            Scene::circle(2),
            Scene {
                duration: 30.0,
                ..Scene::example("many").unwrap()
            },
        ];
        for scene in scenes {
            let simulator = simulator(scene);
            let Scene {
                rate,
                duration,
                background,
                scattered,
                ..
            } = *simulator.scene();
            let (_, sources) = blocks(&simulator);
            let count =
                |is: &dyn Fn(&Source) -> bool| sources.iter().filter(|s| is(s)).count() as f64;
            let expected = rate.unwrap() * duration;
            // Five standard deviations, and what dead time takes.
            let assert_near = |found: f64, expected: f64| {
                let bound = 5.0 * expected.max(1.0).sqrt() + 0.005 * expected;
                assert!((found - expected).abs() < bound, "{found} {expected}");
            };
            assert_near(sources.len() as f64, expected);
            assert_near(count(&|s| *s == Source::Random), expected * background);
            assert_near(
                count(&|s| matches!(s, Source::Scattered(_))),
                expected * scattered,
            );
            for (tracer, rate) in simulator.rates().tracers.iter().enumerate() {
                let number = tracer as u32;
                let found =
                    count(&|s| [Source::Tracer(number), Source::Scattered(number)].contains(s));
                assert_near(found, rate * duration);
            }
        }
    }

    #[test]
    fn activities_divide_what_is_seen() {
        let weak = Tracer::at([299.0, 302.0, 300.0]);
        let strong = Tracer {
            activity: 3.0,
            ..Tracer::at([305.0, 302.0, 300.0])
        };
        let simulator = simulator(forte(vec![weak, strong]));
        let rates = &simulator.rates().tracers;
        assert!((rates[1] / rates[0] - 3.0).abs() < 1e-3);
    }

    #[test]
    fn a_tracer_is_seen_where_the_detector_sees_it() {
        // Along the axis of the ring: as many as the sensitivity says, none outside.
        let scene = Scene {
            duration: 800.0,
            ..Scene::example("fov").unwrap()
        };
        let simulator = simulator(scene);
        let (rows, sources) = blocks(&simulator);
        let mut counts = [0.0; 8];
        for (row, _) in rows
            .iter()
            .zip(&sources)
            .filter(|(_, s)| **s == Source::Tracer(0))
        {
            counts[(row[0] / 100.0) as usize] += 1.0;
        }
        assert_eq!(counts[..3], [0.0; 3]);
        for (n, count) in counts.iter().enumerate().skip(4) {
            let sensitivity = |t: f64| simulator.sensitivity([0.0, 0.0, -200.0 + 0.25 * t]);
            let times = (0..100).map(|t| n as f64 * 100.0 + f64::from(t) + 0.5);
            let mean = times.map(sensitivity).sum::<f64>() / 100.0;
            let expected = 0.7 * 300.0 * 100.0 * mean / simulator.sensitivity([0.0; 3]);
            let bound = 5.0 * expected.sqrt() + 0.01 * expected;
            assert!((count - expected).abs() < bound, "{n}: {count} {expected}");
        }
        let random = sources.iter().filter(|s| **s == Source::Random).count() as f64;
        assert!((random - 72_000.0).abs() < 5.0 * 72_000.0_f64.sqrt() + 400.0);
    }

    #[test]
    fn the_seed_decides_and_threads_do_not() {
        let rows = |seed, threads| {
            let simulator = simulator(Scene {
                seed,
                duration: 3000.0,
                ..forte(vec![
                    middle(),
                    Tracer::new(Motion::Walk(Walk {
                        from: [302.0, 302.0, 300.0],
                        step: 0.1,
                        tau: 0.5,
                        within: None,
                    })),
                ])
            });
            assert!(simulator.n_blocks() > 4);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| blocks(&simulator))
        };
        let first = rows(1, 1);
        for threads in [2, 7] {
            assert_eq!(rows(1, threads), first);
        }
        assert_ne!(rows(2, 2), first);
    }

    #[test]
    fn blocks_are_independent_and_do_not_show() {
        let simulator = simulator(forte(vec![middle()]));
        assert!(simulator.n_blocks() > 1);
        let (rows, _) = blocks(&simulator.clone().with_parts(Parts {
            time_steps: false,
            ..Parts::ALL
        }));
        // Times between events are exponential, across blocks too.
        let gaps = rows.windows(2).map(|pair| pair[1][0] - pair[0][0]);
        let found = kolmogorov(gaps.collect(), |gap| 1.0 - (-30.0 * gap).exp());
        assert!(found < LIMIT, "{found}");
        assert_eq!(simulator.block(1), simulator.block(1));
        assert_ne!(
            simulator.block(0).rows[0][1..],
            simulator.block(1).rows[0][1..]
        );
    }

    #[test]
    fn tracers_come_and_go_and_their_truth_with_them() {
        let tracer = Tracer {
            enter: 10.25,
            leave: 60.5,
            gaps: vec![[20.0, 40.0]],
            ..middle()
        };
        let simulator = simulator(Scene {
            duration: 100.0,
            ..forte(vec![middle(), tracer])
        });
        let exact = simulator.clone().with_parts(Parts::CLEAN);
        let (rows, sources) = blocks(&exact);
        let mut n = 0.0;
        for (row, _) in rows
            .iter()
            .zip(&sources)
            .filter(|(_, s)| **s == Source::Tracer(1))
        {
            let t = row[0];
            assert!(
                (10.25..20.0).contains(&t) || (40.0..60.5).contains(&t),
                "{t}"
            );
            assert!(exact.is_present(1, t));
            n += 1.0;
        }
        let expected: f64 = 12.0 * 30.25;
        assert!((n - expected).abs() < 5.0 * expected.sqrt(), "{n}");
        let truth = simulator.truth().unwrap();
        let times: Vec<f64> = truth
            .values()
            .chunks_exact(5)
            .filter(|row| row[4] == 1.0)
            .map(|row| row[0])
            .collect();
        assert_eq!(times[..3], [10.25, 11.0, 12.0]);
        assert_eq!(times[9..13], [19.0, 20.0, 40.0, 41.0]);
        assert_eq!(times[times.len() - 2..], [60.0, 60.5]);
        let first: Vec<f64> = (0..=100).map(f64::from).collect();
        let others: Vec<f64> = truth
            .values()
            .chunks_exact(5)
            .filter(|row| row[4] == 0.0)
            .map(|row| row[0])
            .collect();
        assert_eq!(others, first);
        assert!(truth.column(0).is_sorted());
    }

    #[test]
    fn the_truth_shows_fast_motion_and_rows_of_tables() {
        let scene = Scene::example("velocity-screens-x").unwrap();
        let simulator = simulator(Scene {
            duration: 100.0,
            ..scene
        });
        assert_eq!(simulator.truth_step(), 1000.0 / 16.0 / 256.0);
        let truth = simulator.truth().unwrap();
        let reach = truth.column(1).into_iter().fold(0.0, f64::max);
        assert!((reach - 312.0).abs() < 1e-9);

        let rows = vec![
            [0.0, 300.0, 300.0, 300.0],
            [0.7, 301.0, 300.0, 300.0],
            [2.0, 300.0, 300.0, 300.0],
        ];
        let table = Tracer::new(Motion::Table(rows.into()));
        let truth = simulator_of(table).truth().unwrap();
        assert_eq!(truth.column(0), [0.0, 0.7, 1.0, 2.0]);
        // Steps of 0.1 are written as such.
        let scene = Scene {
            truth_step: Some(0.1),
            duration: 0.5,
            ..forte(vec![middle()])
        };
        let truth = Simulator::new(scene).unwrap().truth().unwrap();
        assert_eq!(truth.column(0), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    }

    fn simulator_of(tracer: Tracer) -> Simulator {
        simulator(forte(vec![tracer]))
    }

    #[test]
    fn given_emissions_are_seen_or_not() {
        let times: Vec<f64> = (0..200_000).map(|n| f64::from(n) * 0.005).collect();
        let simulator = simulator(Scene {
            background: 0.0,
            ..forte(vec![Tracer {
                emissions: Some(times.into()),
                ..middle()
            }])
        });
        let (rows, _) = blocks(&simulator.clone().with_parts(Parts::CLEAN));
        let expected = 200_000.0 * simulator.sensitivity([302.0, 302.0, 300.0]);
        assert!((rows.len() as f64 - expected).abs() < 5.0 * expected.sqrt());
        assert!(
            rows.iter()
                .all(|row| (row[0] / 0.005 - (row[0] / 0.005).round()).abs() < 1e-6)
        );
    }

    #[test]
    fn time_stamps_are_decimal_and_blind_blocks_see_nothing() {
        let (rows, _) = blocks(&simulator(forte(vec![middle()])));
        assert!(
            rows.iter()
                .all(|row| (row[0] * 10.0).round() / 10.0 == row[0])
        );
        let (rows, _) = blocks(&simulator(ring(vec![Tracer::at([0.0; 3])])));
        assert!(rows.iter().all(|row| row[0].fract() == 0.0));
        // Blind for 0.02 ms after each hit, at 1.5 hits per ms and block: both awake in about 1 / (1 + 0.03)^2 of cases.
        let blind = Detector::Ring(Ring {
            dead_time: 0.02,
            ..Ring::default()
        });
        // One recording's share has a standard deviation of 0.0055.
        let share = (0..16).map(|seed| {
            let scene = Scene {
                detector: blind.clone(),
                seed,
                ..ring(vec![Tracer::at([0.0; 3])])
            };
            blocks(&simulator(scene)).0.len() as f64 / 31_500.0 / 16.0
        });
        let share: f64 = share.sum();
        assert!((0.90..0.96).contains(&share), "{share}");
    }

    #[test]
    fn positron_range_and_shape_move_lines() {
        let mean = |tracer: Tracer| {
            let scene = Scene {
                background: 0.0,
                offsets: None,
                ..forte(vec![tracer])
            };
            let (rows, _) = blocks(&simulator(scene));
            let distances = rows.iter().map(|row| distance(row, [302.0, 302.0, 300.0]));
            distances.sum::<f64>() / rows.len() as f64
        };
        for (name, range) in [("F-18", 0.6), ("Ga-68", 3.5)] {
            let found = mean(Tracer {
                isotope: Isotope::named(name),
                ..middle()
            });
            // Gaussian of half the range in both directions.
            let expected = 0.5 * range * (std::f64::consts::PI / 2.0).sqrt();
            assert!(
                (found / expected - 1.0).abs() < 0.03,
                "{name}: {found} {expected}"
            );
        }
        let found = mean(Tracer {
            shape: Shape::Sphere(Sphere { radius: 4.0 }),
            ..middle()
        });
        // Mean distance of a ball's points from an axis: 3 pi r / 16.
        let expected = 3.0 * std::f64::consts::PI / 4.0;
        assert!((found / expected - 1.0).abs() < 0.02, "{found}");
    }

    #[test]
    fn rings_report_crystals() {
        let scene = ring(vec![Tracer::at([13.0, 7.0, 3.0])]);
        let (rows, sources) = blocks(&simulator(scene));
        let mut crystals: Vec<[i64; 3]> = rows
            .iter()
            .flat_map(|&[_, a, b, c, d, e, f]| [[a, b, c], [d, e, f]])
            .map(|end| {
                let distance = (end[0] * end[0] + end[1] * end[1]).sqrt();
                assert!((428.5..429.1).contains(&distance), "{distance}");
                end.map(|x| (x * 1e6).round() as i64)
            })
            .collect();
        crystals.sort_unstable();
        crystals.dedup();
        assert!(crystals.len() <= 72 * 6 * 64, "{}", crystals.len());
        // The lines of a tracer pass it within what crystals and angles allow.
        let near = rows
            .iter()
            .zip(&sources)
            .filter(|(_, s)| **s == Source::Tracer(0));
        let mut distances: Vec<f64> = near
            .map(|(row, _)| distance(row, [13.0, 7.0, 3.0]))
            .collect();
        distances.sort_by(f64::total_cmp);
        let median = distances[distances.len() / 2];
        assert!((0.5..2.0).contains(&median), "{median}");
    }

    #[test]
    fn linking_has_the_distances_that_it_claims() {
        let simulator = simulator(Scene::example("linking").unwrap());
        let apart = |a, b, t| {
            let (a, b) = (simulator.position(a, t), simulator.position(b, t));
            let between = add(a, scaled(b, -1.0));
            dot(between, between).sqrt()
        };
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!((apart(a, b, 0.0) - 34.64).abs() < 0.01);
        }
        let times = || (0..20_000).map(|n| f64::from(n) * 0.05);
        let nearest = times()
            .map(|t| apart(0, 2, t))
            .fold(f64::INFINITY, f64::min);
        assert!((nearest - 5.0).abs() < 0.1, "{nearest}");
        assert!(times().all(|t| apart(1, 2, t) > 20.0));
        for tracer in 0..3 {
            for t in times() {
                let (a, b) = (
                    simulator.position(tracer, t),
                    simulator.position(tracer, t + 0.01),
                );
                let between = add(a, scaled(b, -1.0));
                let speed = dot(between, between).sqrt() / 0.01;
                assert!((0.499..0.801).contains(&speed), "{speed}");
                assert!((dot(a, a).sqrt() - 20.0).abs() < 1e-4);
            }
        }
    }
}
