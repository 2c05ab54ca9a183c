//! ADAC Forte list mode (`.da01`, `.da02`, ...): two gamma camera heads that see pairs of photons.
//!
//! A header of 1008 bytes (the distance of the screens, the gantry angle, text) is followed by words of four bytes, little endian. A flag
//! opens a buffer and is followed by the computer's time in ms; all other words are events, each with the position of a hit along x or y
//! on one of the heads and the last eight bits of a clock. The clock's rate is that which fits the computer's times best, so a file is
//! read twice, in little memory.
//!
//! LoRs have their ends at z = -10 and z = separation + 10; positions are multiples of 0.59 mm.
//!
//! [`Writer`] makes such files: for tests, for simulated recordings, for tools that read nothing else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Output;
use super::source::{
    Ahead, BLOCK_ROWS, Input, LineSource, Progress, Unit, block, line_columns, read_all, values_for,
};
use crate::data::{Attribute, Attributes, LineData};
use crate::error::{Error, Result};

/// Bytes before the first word.
pub(super) const HEADER: usize = 1008;
/// The word that opens a buffer; the next one is the computer's time (ms).
pub(super) const FLAG: u32 = 0xFACE_FACE;
/// The step of positions (mm).
const STEP: f64 = 0.59;
/// Number of positions.
const N_POSITIONS: u16 = 1024;
/// y of a head's upper edge (mm): the file counts downwards.
const TOP: f64 = 600.0;
/// How far behind the screens the ends lie (mm).
const DEPTH: f64 = 10.0;
/// Tags are a clock modulo 256; a step of so many ticks and more is taken for one back, and does not count.
const TOO_MANY_TICKS: u8 = 130;
/// Bytes read at a time, and bytes of the first reading between two answers.
const AT_A_TIME: usize = 1 << 18;
const BETWEEN_ANSWERS: usize = 1 << 26;
/// About the bytes of a LoR.
const ROW: usize = 16;

/// Reads a whole recording.
///
/// # Errors
/// As [`AdacForte`] and [`AdacForte::open`].
pub fn read(path: impl AsRef<Path>) -> Result<LineData> {
    read_all(AdacForte::open(path)?)
}

/// Reads a recording block by block. Its blocks have the attributes `separation` (mm), `gantry_angle` and `clock_rate` (ticks/ms).
///
/// Blocks are without rows as long as the file is read for the first time; a [`clock_rate`](Self::clock_rate) makes that unnecessary.
///
/// Its errors are [`Error::Io`] and [`Error::File`], for a file without any LoR, and for one whose clock cannot be calibrated: that needs
/// two buffers of different time after the first.
#[derive(Debug)]
pub struct AdacForte {
    words: Ahead,
    phase: Phase,
    gantry_angle: i32,
    separation: f64,
    columns: Arc<[String]>,
    attributes: Attributes,
    block_rows: usize,
    has_rows: bool,
    is_finished: bool,
}

#[derive(Debug)]
enum Phase {
    Calibration(Box<Calibration>),
    Events(Box<Events>),
}

impl AdacForte {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Input::open(path)?)
    }

    /// Reads a recording's bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for bytes that are fewer than a header's or not followed by a buffer's flag.
    pub fn new(mut input: Input) -> Result<Self> {
        let (separation, gantry_angle) = read_header(&mut input)?;
        if input.origin().can_be_read_again() {
            input.set_passes(2);
        }
        let mut words = Ahead::new(input, Unit::Words, AT_A_TIME);
        if !words.fill()? || words.whole()[..4] != FLAG.to_le_bytes() {
            return Err(words.input.origin().error(format!(
                "no buffer flag (0x{FLAG:X}) after the header of {HEADER} bytes; is it an ADAC Forte recording?"
            )));
        }
        let mut recording = Self {
            words,
            phase: Phase::Calibration(Box::default()),
            gantry_angle,
            separation: f64::from(separation),
            columns: line_columns(),
            attributes: Attributes::new(),
            block_rows: BLOCK_ROWS,
            has_rows: false,
            is_finished: false,
        };
        recording.set_attributes();
        Ok(recording)
    }

    /// The distance of the screens (mm), whatever the header says.
    #[must_use]
    pub fn separation(mut self, separation: f64) -> Self {
        self.separation = separation;
        self.set_attributes();
        self
    }

    /// The clock's rate (ticks/ms), if it is known: the file is then read only once, and may be standard input.
    ///
    /// # Errors
    /// [`Error::Parameter`] if it is not a positive number.
    pub fn clock_rate(mut self, rate: f64) -> Result<Self> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(Error::Parameter {
                name: "clock_rate",
                value: rate.to_string(),
                needed: "ticks a ms above 0",
            });
        }
        self.words.input.set_passes(1);
        self.start_events(rate);
        Ok(self)
    }

    /// At most so many rows a block, at least 1.
    #[must_use]
    pub fn block_rows(mut self, rows: usize) -> Self {
        self.block_rows = rows.max(1);
        self.words.set_at_a_time(self.at_a_time());
        self
    }

    fn at_a_time(&self) -> usize {
        self.block_rows.saturating_mul(ROW).min(AT_A_TIME)
    }

    fn set_attributes(&mut self) {
        let attributes = [
            ("separation", self.separation),
            ("gantry_angle", f64::from(self.gantry_angle)),
        ];
        let attributes =
            attributes.map(|(name, value)| (name.to_owned(), Attribute::Number(value)));
        self.attributes.extend(attributes);
    }

    fn start_events(&mut self, rate: f64) {
        let rate_attribute = Attribute::Number(rate);
        self.attributes
            .insert("clock_rate".to_owned(), rate_attribute);
        self.phase = Phase::Events(Box::new(Events::new(rate)));
    }

    /// Reads on for the first time; true at the end.
    fn calibrate(&mut self) -> Result<bool> {
        let Phase::Calibration(calibration) = &mut self.phase else {
            return Ok(true);
        };
        let input = &self.words.input;
        if !input.origin().can_be_read_again() {
            return Err(input.origin().error(
                "an ADAC Forte recording is read twice, to calibrate its clock, which is not possible here; \
                 save it as a file, or give the clock's rate",
            ));
        }
        let mut n_bytes = 0;
        while n_bytes < BETWEEN_ANSWERS {
            if !self.words.fill()? {
                let rate = calibration
                    .rate()
                    .map_err(|problem| self.words.input.origin().error(problem))?;
                let mut input = self.words.input.again()?;
                read_header(&mut input)?;
                self.words = Ahead::new(input, Unit::Words, self.at_a_time());
                self.start_events(rate);
                return Ok(true);
            }
            let words = self.words.whole();
            calibration.add(words);
            let n = words.len();
            n_bytes += n;
            self.words.consume(n);
        }
        Ok(false)
    }
}

/// The distance of the screens and the gantry angle.
fn read_header(input: &mut Input) -> Result<(i32, i32)> {
    let mut header = [0; HEADER];
    let found = input.read_full(&mut header)?;
    if found < HEADER {
        return Err(input.origin().error(format!(
            "{found} bytes, but the header of an ADAC Forte recording has {HEADER}"
        )));
    }
    let number = |at: usize| {
        i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    Ok((number(0), number(4)))
}

impl LineSource for AdacForte {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        if self.is_finished {
            return Ok(None);
        }
        if !(self.separation > 0.0 && self.separation.is_finite()) {
            return Err(self.words.input.origin().error(format!(
                "the distance of the screens is {} mm; give it (separation)",
                self.separation
            )));
        }
        if !self.calibrate()? {
            return block(Vec::new(), &self.columns, &self.attributes).map(Some);
        }
        let Phase::Events(events) = &mut self.phase else {
            return Ok(None); // not after the calibration
        };
        let wanted = self.block_rows.saturating_mul(self.columns.len());
        let mut values = values_for(wanted);
        while values.len() < wanted {
            if !self.words.fill()? {
                break;
            }
            let n = events.decode(self.words.whole(), self.separation, wanted, &mut values);
            self.words.consume(n);
            // Who follows a file wants its rows at once.
            if self.words.follows && !values.is_empty() {
                break;
            }
        }
        if !values.is_empty() {
            self.has_rows = true;
            return block(values, &self.columns, &self.attributes).map(Some);
        }
        if self.words.follows {
            return Ok(None);
        }
        self.is_finished = true;
        let missing = "there is no LoR: no complete pair of hits";
        self.words.end_of_words(self.has_rows, missing)?;
        Ok(None)
    }

    fn progress(&self) -> Progress {
        self.words.input.progress().clone()
    }

    /// Possible with a known [`clock_rate`](Self::clock_rate).
    fn set_follow(&mut self, follow: bool) -> bool {
        match self.phase {
            Phase::Calibration(_) => !follow,
            Phase::Events(_) => self.words.set_follow(follow),
        }
    }
}

fn words_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&word| u32::from_le_bytes(word))
}

fn tag(word: u32) -> u8 {
    word.to_le_bytes()[3]
}

/// Finds the rate of the clock: how many ticks lie between buffers, and how many ms.
#[derive(Debug, Default)]
struct Calibration {
    /// The next word is a time.
    expects_time: bool,
    first_time: Option<u32>,
    last_tag: Option<u8>,
    ticks: u64,
    /// Sums over the buffers after the first: of 1, ms, ticks, ms^2 and ms * ticks. Exact.
    n: i128,
    ms: i128,
    ticks_sum: i128,
    ms_ms: i128,
    ms_ticks: i128,
}

impl Calibration {
    fn add(&mut self, bytes: &[u8]) {
        let mut last = self.last_tag;
        for word in words_of(bytes) {
            if self.expects_time {
                self.expects_time = false;
                self.add_buffer(word);
            } else if word == FLAG {
                self.expects_time = true;
            } else {
                let tag = tag(word);
                let step = tag.wrapping_sub(last.unwrap_or(tag));
                if step < TOO_MANY_TICKS {
                    self.ticks += u64::from(step);
                }
                last = Some(tag);
            }
        }
        self.last_tag = last;
    }

    fn add_buffer(&mut self, time: u32) {
        let Some(first) = self.first_time else {
            self.first_time = Some(time);
            return;
        };
        let (ms, ticks) = (i128::from(time) - i128::from(first), i128::from(self.ticks));
        self.n += 1;
        self.ms += ms;
        self.ticks_sum += ticks;
        self.ms_ms += ms * ms;
        self.ms_ticks += ms * ticks;
    }

    /// The slope of the line of least squares (ticks/ms).
    fn rate(&self) -> Result<f64, String> {
        let slope = || {
            let above = self.n.checked_mul(self.ms_ticks)?;
            let above = above.checked_sub(self.ms.checked_mul(self.ticks_sum)?)?;
            let below = self.n.checked_mul(self.ms_ms)?;
            let below = below.checked_sub(self.ms.checked_mul(self.ms)?)?;
            (below > 0 && above > 0).then(|| above as f64 / below as f64)
        };
        slope().ok_or_else(|| {
            format!(
                "cannot calibrate the clock: {} buffers after the first, {} ticks; it needs two buffers with different times, later ones \
                 with more ticks",
                self.n, self.ticks
            )
        })
    }
}

/// What an event word does, by four of its bits.
#[derive(Clone, Copy)]
struct Action {
    /// Positions that it sets, of four in a word.
    lanes: u64,
    /// Of what is there before, this stays.
    keep: u8,
    /// This comes.
    set: u8,
}

const X1: u8 = 1;
const X2: u8 = 1 << 1;
const Y1: u8 = 1 << 2;
const Y2: u8 = 1 << 3;
const FIRST: u8 = 1 << 4;
const SECOND: u8 = 1 << 5;
const ALL: u8 = X1 | X2 | Y1 | Y2 | FIRST | SECOND;
/// A position, and the places of four: `x1 x2 y1 y2`.
const LANE: u64 = 0xffff;
const LANES: u64 = 0x0001_0001_0001_0001;

/// By the bits 7 (not x), 9 (not y), 22 (second of a pair) and 23 (not head B), the lowest first.
static ACTIONS: [Action; 16] = {
    let mut actions = [Action {
        lanes: 0,
        keep: ALL,
        set: 0,
    }; 16];
    let mut bits = 0;
    while bits < actions.len() {
        let action = &mut actions[bits];
        let is_b = bits & 8 == 0;
        if bits & 1 == 0 {
            if bits & 4 == 0 {
                action.keep = 0;
                action.set |= FIRST;
            } else {
                action.set |= SECOND;
            }
            action.set |= if is_b { X2 } else { X1 };
            action.lanes |= if is_b { LANE << 16 } else { LANE };
        }
        if bits & 2 == 0 {
            action.set |= if is_b { Y2 } else { Y1 };
            action.lanes |= if is_b { LANE << 48 } else { LANE << 32 };
        }
        bits += 1;
    }
    actions
};

fn action(word: u32) -> Action {
    let bits = (word >> 7 & 1) | (word >> 9 & 1) << 1 | (word >> 22 & 3) << 2;
    ACTIONS[bits as usize]
}

/// Which bit of the first position byte (bits 8 to 15 of a word) has which weight, in steps of positions; the weights below one step, and
/// the bits that are no position, are left out.
const WEIGHTS_1: [(u32, u16); 6] = [(5, 1), (3, 2), (6, 64), (4, 128), (2, 256), (0, 512)];
/// The same of the second (bits 16 to 23).
const WEIGHTS_2: [(u32, u16); 4] = [(2, 4), (3, 8), (5, 16), (0, 32)];

const fn weights(of: &[(u32, u16)]) -> [u16; 256] {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < sums.len() {
        let mut n = 0;
        while n < of.len() {
            if byte >> of[n].0 & 1 == 1 {
                sums[byte] += of[n].1;
            }
            n += 1;
        }
        byte += 1;
    }
    sums
}

static SUMS_1: [u16; 256] = weights(&WEIGHTS_1);
static SUMS_2: [u16; 256] = weights(&WEIGHTS_2);

/// The position that a word tells, from 0 to 1023.
fn position(word: u32) -> u16 {
    let [_, first, second, _] = word.to_le_bytes();
    N_POSITIONS - 1 - SUMS_1[usize::from(first)] - SUMS_2[usize::from(second)]
}

/// The bits of a word for a position.
fn position_bits(position: u16) -> u32 {
    let rest = N_POSITIONS - 1 - position;
    let bits = |weights: &[(u32, u16)]| {
        let set = weights.iter().filter(|(_, weight)| rest & weight != 0);
        set.fold(0, |bits, (bit, _)| bits | 1 << bit)
    };
    bits(&WEIGHTS_1) << 8 | bits(&WEIGHTS_2) << 16
}

/// Makes LoRs of words.
struct Events {
    /// ms by ticks since the word before.
    steps: [f64; 256],
    time: f64,
    last_tag: u8,
    /// The next word is a time.
    expects_time: bool,
    have: u8,
    positions: u64,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl Events {
    fn new(rate: f64) -> Self {
        let mut steps = [0.0; 256];
        for (ticks, step) in (0..TOO_MANY_TICKS).zip(&mut steps) {
            *step = f64::from(ticks) / rate;
        }
        Self {
            steps,
            time: 0.0,
            last_tag: 0,
            expects_time: false,
            have: 0,
            positions: 0,
        }
    }

    /// Appends LoRs until there are `wanted` values; how many bytes that took.
    fn decode(
        &mut self,
        bytes: &[u8],
        separation: f64,
        wanted: usize,
        values: &mut Vec<f64>,
    ) -> usize {
        // Kept in registers.
        let (mut time, mut last_tag, mut have) = (self.time, self.last_tag, self.have);
        let mut positions = self.positions;
        let mut expects_time = self.expects_time;
        let mut n_words = 0;
        for word in words_of(bytes) {
            n_words += 1;
            if expects_time {
                expects_time = false;
                continue;
            }
            if word == FLAG {
                expects_time = true;
                continue;
            }
            let tag = tag(word);
            time += self.steps[usize::from(tag.wrapping_sub(last_tag))];
            last_tag = tag;
            let action = action(word);
            let everywhere = u64::from(position(word)) * LANES;
            positions ^= (positions ^ everywhere) & action.lanes;
            have = have & action.keep | action.set;
            if have == ALL {
                have = 0;
                let along = |position: u64| (position & LANE) as f64 * STEP;
                values.extend_from_slice(&[
                    time,
                    along(positions),
                    TOP - along(positions >> 32),
                    -DEPTH,
                    along(positions >> 16),
                    TOP - along(u64::from(N_POSITIONS) - (positions >> 48)),
                    separation + DEPTH,
                ]);
                if values.len() >= wanted {
                    break;
                }
            }
        }
        (self.time, self.last_tag, self.have) = (time, last_tag, have);
        self.positions = positions;
        self.expects_time = expects_time;
        n_words * size_of::<u32>()
    }
}

/// Ticks of [`Writer`]'s clock a ms: a power of two, so that times are read back without rounding.
const TICKS_PER_MS: u32 = 256;
/// Ticks of a word that says only that time went on.
const LONG_STEP: u64 = 128;
/// ms between two buffers.
const BUFFER: u64 = 100;
/// ms without a LoR that a file may have: each takes eight bytes.
const LONGEST_SILENCE: u64 = 3_600_000;
/// Neither x nor y.
const NO_POSITION: u32 = 1 << 7 | 1 << 9;

/// Writes a recording, LoR after LoR.
///
/// It is read back with times rounded to 1/256 ms, positions to 0.59 mm, and ends at z = -10 and z = separation + 10. Ends elsewhere are
/// moved along their line. Limits: times from 0 to 2^32 ms (49 days), in order, at most an hour between two; positions from 0 to 603 mm
/// along x, from -3 to 599 mm along y.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("run.da01");
/// use pept::{LineData, io::adac_forte};
/// let lors = LineData::new(ndarray::array![[1.5, 59.0, 600.0, -10.0, 118.0, 541.0, 610.0]])?;
/// let mut writer = adac_forte::Writer::create(&path, 600)?;
/// writer.write(&lors)?;
/// writer.finish()?;
/// assert_eq!(adac_forte::read(&path)?.values(), lors.values());
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    output: Output,
    separation: f64,
    /// Words that wait to be written.
    bytes: Vec<u8>,
    ticks: u64,
    /// ms of the next buffer.
    next_buffer: u64,
    /// Buffers after the first.
    n_buffers: usize,
    n_rows: usize,
}

/// Whether a file with this ending (in small letters) is one: `da01`, `da02`, ...
#[must_use]
pub fn is_ending(ending: &str) -> bool {
    ending.strip_prefix("da").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The distance of the screens as the header keeps it, in whole mm.
///
/// # Errors
/// [`Error::Parameter`] for one that is not a number above 0.5.
pub fn whole_separation(separation: f64) -> Result<i32> {
    let rounded = separation.round();
    if !(rounded > 0.0 && rounded <= f64::from(i32::MAX)) {
        return Err(Error::Parameter {
            name: "separation",
            value: separation.to_string(),
            needed: "a distance in mm above 0",
        });
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the limits"
    )]
    Ok(rounded as i32)
}

/// Writes a whole recording: see [`Writer`].
///
/// # Errors
/// As [`Writer`]'s functions.
pub fn write(path: impl AsRef<Path>, separation: i32, lors: &LineData) -> Result<()> {
    let mut writer = Writer::create(path, separation)?;
    writer.write(lors)?;
    writer.finish()
}

impl Writer {
    /// Starts a recording with screens so far from each other (mm). It appears under its name when it is [finished](Self::finish).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Parameter`] for a separation that is not positive.
    pub fn create(path: impl AsRef<Path>, separation: i32) -> Result<Self> {
        let path = path.as_ref();
        if separation <= 0 {
            return Err(Error::Parameter {
                name: "separation",
                value: separation.to_string(),
                needed: "a distance in mm above 0",
            });
        }
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&separation.to_le_bytes());
        let mut writer = Self {
            path: path.to_owned(),
            output: Output::create(path)?,
            separation: f64::from(separation),
            bytes,
            ticks: 0,
            next_buffer: BUFFER,
            n_buffers: 0,
            n_rows: 0,
        };
        writer.buffer(0);
        writer.word(NO_POSITION); // the clock's start
        Ok(writer)
    }

    /// Writes LoRs, which go on from those before.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for a LoR beyond the limits, with its row.
    pub fn write(&mut self, lors: &LineData) -> Result<()> {
        for &row in lors.line_slice().rows() {
            let problem = |problem: &str| Error::File {
                path: self.path.clone(),
                problem: format!("row {}: {problem}", self.n_rows),
            };
            let ticks = self.ticks_of(row[0]).map_err(problem)?;
            let positions = self.positions_of(row).map_err(problem)?;
            self.advance(ticks);
            for (position, flags) in positions.into_iter().zip(FLAGS) {
                self.word(position_bits(position) | flags);
            }
            self.n_rows += 1;
            if self.bytes.len() >= AT_A_TIME {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Puts the whole recording in its place.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] if it has no LoR. No file is then left under that name.
    pub fn finish(mut self) -> Result<()> {
        if self.n_rows == 0 {
            return Err(Error::File {
                path: self.path,
                problem: "there is no LoR to write".into(),
            });
        }
        // The clock can be calibrated with two.
        let now = self.ticks.div_ceil(u64::from(TICKS_PER_MS));
        self.next_buffer = now.max(self.next_buffer - BUFFER + 1);
        loop {
            self.advance(self.next_buffer * u64::from(TICKS_PER_MS));
            if self.n_buffers >= 2 {
                break;
            }
            self.next_buffer = self.next_buffer - BUFFER + 1;
        }
        self.flush()?;
        self.output.finish()
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.output.write_all(&self.bytes);
        self.bytes.clear();
        written.map_err(Error::writing(&self.path))
    }

    /// A word of the present time.
    fn word(&mut self, word: u32) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "tags are the clock modulo 256"
        )]
        let tag = u32::from(self.ticks as u8);
        self.bytes
            .extend_from_slice(&(word | tag << 24).to_le_bytes());
    }

    fn buffer(&mut self, ms: u64) {
        let ms = u32::try_from(ms).unwrap_or(u32::MAX); // not reached: checked in `ticks_of`
        self.bytes.extend_from_slice(&FLAG.to_le_bytes());
        self.bytes.extend_from_slice(&ms.to_le_bytes());
    }

    /// Lets time go on to so many ticks, with the buffers on the way.
    fn advance(&mut self, ticks: u64) {
        loop {
            let buffer = self.next_buffer * u64::from(TICKS_PER_MS);
            let next = ticks.min(buffer);
            while self.ticks < next {
                self.ticks += (next - self.ticks).min(LONG_STEP);
                if self.ticks < ticks || self.ticks == buffer {
                    self.word(NO_POSITION);
                }
            }
            if buffer > ticks {
                return;
            }
            self.buffer(self.next_buffer);
            self.n_buffers += 1;
            self.next_buffer += BUFFER;
        }
    }

    fn ticks_of(&self, time: f64) -> Result<u64, &'static str> {
        const LATEST: f64 = u32::MAX as f64;
        if !(0.0..LATEST).contains(&time) {
            return Err("its time is not from 0 to 2^32 ms");
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0..2^40"
        )]
        let ticks = (time * f64::from(TICKS_PER_MS)).round() as u64;
        match ticks.checked_sub(self.ticks) {
            None => Err("its time is before that of the row before; sort the rows by time"),
            Some(ticks) if ticks > LONGEST_SILENCE * u64::from(TICKS_PER_MS) => {
                Err("its time is more than an hour after that of the row before, or after 0")
            }
            Some(_) => Ok(ticks),
        }
    }

    /// The positions `x1 y1 x2 y2`.
    fn positions_of(
        &self,
        [_, x1, y1, z1, x2, y2, z2]: [f64; 7],
    ) -> Result<[u16; 4], &'static str> {
        // Where the line passes the planes of the ends.
        let at = |plane: f64, end: f64, from: f64, to: f64, z: f64| {
            if (z - plane).abs() <= 0.0 {
                end
            } else {
                from + (to - from) * ((plane - z1) / (z2 - z1))
            }
        };
        let (front, back) = (-DEPTH, self.separation + DEPTH);
        let steps = [
            at(front, x1, x1, x2, z1) / STEP,
            (TOP - at(front, y1, y1, y2, z1)) / STEP,
            at(back, x2, x1, x2, z2) / STEP,
            f64::from(N_POSITIONS) - (TOP - at(back, y2, y1, y2, z2)) / STEP,
        ];
        let mut positions = [0; 4];
        for (position, step) in positions.iter_mut().zip(steps) {
            let step = step.round();
            if !(0.0..f64::from(N_POSITIONS)).contains(&step) {
                return Err(
                    "it passes the screens outside the field of view, from 0 to 603 mm along x and -3 to 599 mm along y",
                );
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within 0..1024"
            )]
            let whole = step as u16;
            *position = whole;
        }
        Ok(positions)
    }
}

/// Bits of the words `x1 y1 x2 y2`: which coordinate, which head, which of the pair.
const FLAGS: [u32; 4] = {
    const HEAD_A: u32 = 1 << 23;
    const SECOND_HIT: u32 = 1 << 22;
    const NOT_X: u32 = 1 << 7;
    const NOT_Y: u32 = 1 << 9;
    [
        NOT_Y | HEAD_A,
        NOT_X | HEAD_A,
        NOT_Y | SECOND_HIT,
        NOT_X | SECOND_HIT,
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording of a flag at 0 ms and these words.
    fn file(words: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&600_i32.to_le_bytes());
        bytes[4..8].copy_from_slice(&(-90_i32).to_le_bytes());
        let words = [FLAG, 0].iter().chain(words);
        bytes.extend(words.flat_map(|word| word.to_le_bytes()));
        bytes
    }

    /// A pair of hits.
    fn pair(tag: u32) -> [u32; 4] {
        [0, 1, 2, 3].map(|n| position_bits(100) | FLAGS[n] | tag << 24)
    }

    fn source(bytes: &[u8]) -> Result<AdacForte> {
        AdacForte::new(Input::from_bytes("file", bytes).unwrap())
    }

    fn read(words: &[u32]) -> Result<LineData> {
        read_all(source(&file(words))?)
    }

    fn problem(words: &[u32]) -> String {
        read(words).unwrap_err().to_string()
    }

    /// Two buffers, 10 ticks a ms, and a pair at 0.5 ms.
    fn good() -> Vec<u32> {
        let mut words = vec![NO_POSITION];
        words.extend(pair(5));
        words.extend([
            NO_POSITION | 10 << 24,
            FLAG,
            1,
            NO_POSITION | 20 << 24,
            FLAG,
            2,
        ]);
        words
    }

    #[test]
    fn positions_survive() {
        for position in 0..N_POSITIONS {
            // Whatever the other bits are.
            for others in [0, FLAGS[0], FLAGS[1], FLAGS[2], FLAGS[3], !0] {
                let others = others & !position_bits(0);
                assert_eq!(super::position(position_bits(position) | others), position);
            }
        }
    }

    #[test]
    fn actions_are_those_of_the_format() {
        for bits in 0..16_u32 {
            let word = (bits & 1) << 7 | (bits >> 1 & 1) << 9 | (bits >> 2) << 22;
            let (is_x, is_y) = (word >> 7 & 1 == 0, word >> 9 & 1 == 0);
            let (is_b, is_second) = (word >> 23 & 1 == 0, word >> 22 & 1 == 1);
            let found = action(word);
            let mut have = ALL & !(SECOND | Y1);
            if is_x && !is_second {
                have = FIRST;
            }
            if is_x && is_second {
                have |= SECOND;
            }
            if is_x {
                have |= if is_b { X2 } else { X1 };
            }
            if is_y {
                have |= if is_b { Y2 } else { Y1 };
            }
            assert_eq!(ALL & !(SECOND | Y1) & found.keep | found.set, have);
            let lane = |is_set: bool, n: u32| if is_set { LANE << (16 * n) } else { 0 };
            let x = lane(is_x, u32::from(is_b));
            let y = lane(is_y, 2 + u32::from(is_b));
            assert_eq!(found.lanes, x | y);
        }
    }

    #[test]
    fn a_pair_of_hits_is_a_lor() {
        let lors = read(&good()).unwrap();
        let (x, y) = (100.0 * STEP, 600.0 - 924.0 * STEP);
        assert_eq!(lors.values(), [0.5, x, 600.0 - x, -10.0, x, y, 610.0]);
        for (name, value) in [
            ("separation", 600.0),
            ("gantry_angle", -90.0),
            ("clock_rate", 10.0),
        ] {
            assert_eq!(lors.attributes()[name], Attribute::Number(value));
        }
        let other = source(&file(&good())).unwrap().separation(700.0);
        assert_eq!(read_all(other).unwrap().values()[6], 710.0);
        let faster = source(&file(&good())).unwrap().clock_rate(20.0).unwrap();
        assert_eq!(read_all(faster).unwrap().values()[0], 0.25);
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(source(&file(&good())).unwrap().clock_rate(rate).is_err());
        }
    }

    #[test]
    fn a_new_pair_forgets_the_hits_before_it() {
        let mut words = vec![NO_POSITION];
        words.extend(&pair(1)[..3]);
        words.extend(pair(2));
        words.push(pair(3)[3]); // alone
        words.extend(good());
        // From tag 3 to tag 0 is no step.
        assert_eq!(read(&words).unwrap().column(0), [0.2, 0.8]);
    }

    #[test]
    fn calibration_does_not_depend_on_where_words_are_cut() {
        let bytes = file(&good());
        let mut whole = Calibration::default();
        whole.add(&bytes[HEADER..]);
        let mut pieces = Calibration::default();
        for word in bytes[HEADER..].chunks(4) {
            pieces.add(word);
        }
        assert_eq!(whole.rate().unwrap(), 10.0);
        assert_eq!(pieces.rate().unwrap(), 10.0);
    }

    #[test]
    fn steps_back_do_not_count() {
        // Tags 0, 129, 2 (a step of 129), 1 (255): 258 ticks in 2 ms.
        let tags = |tags: [u32; 4]| tags.map(|tag| NO_POSITION | tag << 24);
        let mut words = tags([0, 129, 2, 1]).to_vec();
        words.extend([FLAG, 2]);
        words.extend(tags([1, 2, 3, 4]));
        let mut calibration = Calibration::default();
        calibration.add(&file(&words)[HEADER..]);
        assert_eq!(calibration.ticks, 261);
    }

    #[test]
    fn damaged_recordings_say_what_is_wrong() {
        assert!(
            source(b"")
                .unwrap_err()
                .to_string()
                .contains("0 bytes, but the header")
        );
        assert!(
            source(&[0; HEADER - 1])
                .unwrap_err()
                .to_string()
                .contains("1007 bytes")
        );
        for no_flag in [&[0; HEADER][..], &[0; HEADER + 3], &[0; HEADER + 4]] {
            assert!(
                source(no_flag)
                    .unwrap_err()
                    .to_string()
                    .contains("no buffer flag")
            );
        }
        assert!(problem(&[]).contains("cannot calibrate the clock"));
        assert!(problem(&pair(0)).contains("cannot calibrate"));
        let one_time = [good(), good()[5..8].to_vec()].concat();
        assert!(problem(&one_time[..8]).contains("1 buffers after the first"));
        assert!(problem(&[FLAG, 7, FLAG, 7, FLAG, 7]).contains("different times"));
        let only_time = [FLAG, 1, FLAG, 2, FLAG, 3];
        assert!(problem(&only_time).contains("cannot calibrate"));
        let nothing: Vec<u32> = good()
            .into_iter()
            .filter(|word| !pair(5).contains(word))
            .collect();
        assert!(problem(&nothing).contains("no LoR"));
        let only_once = Input::from_reader("pipe", std::io::Cursor::new(file(&good()))).unwrap();
        let problem = read_all(AdacForte::new(only_once).unwrap())
            .unwrap_err()
            .to_string();
        assert!(problem.contains("read twice"));
    }

    #[test]
    fn what_is_there_of_a_cut_off_recording_is_read() {
        let bytes = file(&good());
        // Within the last word, its time missing, and within its flag.
        for cut in 1..=8 {
            let source = source(&bytes[..bytes.len() - cut]).unwrap();
            let lors = read_all(source.clock_rate(10.0).unwrap()).unwrap();
            assert_eq!(lors.column(0), [0.5]);
        }
    }

    #[test]
    fn blocks_of_any_size_give_the_same() {
        let mut words = vec![NO_POSITION];
        for tag in 0..100 {
            words.extend(pair(tag));
            if tag % 10 == 3 {
                words.extend([FLAG, tag]);
            }
        }
        let whole = read(&words).unwrap();
        assert_eq!(whole.n_rows(), 100);
        for rows in [1, 2, 7, 100, usize::MAX] {
            let blocks = source(&file(&words)).unwrap().block_rows(rows);
            assert_eq!(read_all(blocks).unwrap(), whole);
            let mut blocks = source(&file(&words)).unwrap().block_rows(rows);
            while let Some(block) = blocks.next_block().unwrap() {
                assert!(block.n_rows() <= rows);
            }
            assert_eq!(blocks.next_block().unwrap(), None);
            let progress = blocks.progress();
            assert_eq!(Some(progress.bytes_read()), progress.bytes_total());
        }
    }

    #[test]
    fn an_unfinished_recording_is_followed_if_its_clock_is_known() {
        assert!(!source(&file(&good())).unwrap().set_follow(true));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.da01");
        let bytes = file(&good());
        let cut = HEADER + 8 + 4 * 4 + 2; // within the pair
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let mut source = AdacForte::open(&path).unwrap().clock_rate(10.0).unwrap();
        assert!(source.set_follow(true));
        assert_eq!(source.next_block().unwrap(), None);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(source.next_block().unwrap().unwrap().column(0), [0.5]);
        assert_eq!(source.next_block().unwrap(), None);
        assert!(source.set_follow(false));
        assert_eq!(source.next_block().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_written_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.da01");
        let lors = |row: [f64; 7]| LineData::new(ndarray::array![row]).unwrap();
        let row = [1.0, 100.0, 100.0, -10.0, 100.0, 100.0, 610.0];
        let with = |at: usize, value: f64| {
            let mut row = row;
            row[at] = value;
            let problem = write(&path, 600, &lors(row)).map_err(|error| error.to_string());
            assert_eq!(path.exists(), problem.is_ok());
            problem.err().unwrap_or_default()
        };
        for (at, value, expected) in [
            (0, -0.1, "row 0: its time is not from 0"),
            (0, f64::NAN, "its time is not from 0"),
            (0, 1e300, "its time is not from 0"),
            (0, 4e6, "more than an hour"),
            (1, -1.0, "outside the field of view"),
            (1, 604.0, "outside"),
            (2, 601.0, "outside"),
            (5, f64::NAN, "outside"),
            (6, -10.0, "outside"), // parallel to the screens
        ] {
            assert!(
                with(at, value).contains(expected),
                "{at} {value}: {}",
                with(at, value)
            );
        }
        assert_eq!(with(0, 0.0), "");
        assert!(matches!(
            Writer::create(&path, 0),
            Err(Error::Parameter { .. })
        ));
        let mut writer = Writer::create(&path, 600).unwrap();
        writer.write(&lors(row)).unwrap();
        let earlier = writer.write(&lors([0.5, 100.0, 100.0, -10.0, 100.0, 100.0, 610.0]));
        assert!(
            earlier
                .unwrap_err()
                .to_string()
                .contains("row 1: its time is before")
        );
        let empty = Writer::create(&path, 600).unwrap().finish();
        assert!(empty.unwrap_err().to_string().contains("no LoR"));
    }
}
