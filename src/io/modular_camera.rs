//! Modular camera list mode (`.da_1`): four walls of detector buckets around the system.
//!
//! A header of 1000 bytes is followed by words of four bytes, little endian. A flag opens a block, and the word after it is skipped; all
//! other words are events, each with both ends of a LoR and a counter of four bits that goes on every 2 ms. Words that name no detector
//! are skipped, but their time counts.

use std::path::Path;
use std::sync::Arc;

use super::adac_forte::FLAG;
use super::source::{
    Ahead, BLOCK_ROWS, Input, LineSource, Progress, Unit, block, line_columns, read_all, values_for,
};
use crate::data::{Attributes, LineData};
use crate::error::Result;

/// Bytes before the first word.
pub(super) const HEADER: usize = 1000;
/// Time of a tick (ms).
const TICK: u8 = 2;
/// Bytes read at a time.
const AT_A_TIME: usize = 1 << 18;
/// The bytes of a LoR.
const ROW: usize = 4;
/// So many words without a block's flag are no recording.
const FLAG_WITHIN: usize = 1 << 16;

/// Reads a whole recording.
///
/// # Errors
/// As [`ModularCamera`] and [`ModularCamera::open`].
pub fn read(path: impl AsRef<Path>) -> Result<LineData> {
    read_all(ModularCamera::open(path)?)
}

/// Reads a recording block by block.
///
/// Its errors are [`Error::Io`](crate::Error::Io) and [`Error::File`](crate::Error::File), for a file without any LoR or without a block's flag in its first 256 KiB.
#[derive(Debug)]
pub struct ModularCamera {
    words: Ahead,
    columns: Arc<[String]>,
    block_rows: usize,
    /// Words before the first flag, as long as there is none.
    before_flag: Option<usize>,
    skips_word: bool,
    ticks: u64,
    last_tag: u8,
    has_rows: bool,
    is_finished: bool,
}

impl ModularCamera {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Input::open(path)?)
    }

    /// Reads a recording's bytes.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::File`](crate::Error::File) for bytes that are fewer than a header's.
    pub fn new(mut input: Input) -> Result<Self> {
        let found = input.read_full(&mut [0; HEADER])?;
        if found < HEADER {
            return Err(input.origin().error(format!(
                "{found} bytes, but the header of a modular camera's recording has {HEADER}"
            )));
        }
        Ok(Self {
            words: Ahead::new(input, Unit::Words, AT_A_TIME),
            columns: line_columns(),
            block_rows: BLOCK_ROWS,
            before_flag: Some(0),
            skips_word: false,
            ticks: 0,
            last_tag: 0,
            has_rows: false,
            is_finished: false,
        })
    }

    /// At most so many rows a block, at least 1.
    #[must_use]
    pub fn block_rows(mut self, rows: usize) -> Self {
        self.block_rows = rows.max(1);
        let at_a_time = self.block_rows.saturating_mul(ROW).min(AT_A_TIME);
        self.words.set_at_a_time(at_a_time);
        self
    }

    /// Appends LoRs of the words that have been read, until there are `wanted` values.
    fn decode(&mut self, wanted: usize, values: &mut Vec<f64>) {
        let mut n_words = 0;
        for &bytes in self.words.whole().as_chunks().0 {
            let word = u32::from_le_bytes(bytes);
            n_words += 1;
            if std::mem::take(&mut self.skips_word) {
                continue;
            }
            if word == FLAG {
                self.skips_word = true;
                self.before_flag = None;
                continue;
            }
            if let Some(n) = &mut self.before_flag {
                *n += 1;
            }
            let Event { tag, ends } = decode_word(word);
            self.ticks += u64::from(tag.wrapping_sub(self.last_tag) % 16);
            self.last_tag = tag;
            if let Some(ends) = ends {
                values.push(self.ticks as f64 * f64::from(TICK));
                values.extend_from_slice(&ends);
                if values.len() >= wanted {
                    break;
                }
            }
        }
        self.words.consume(n_words * size_of::<u32>());
    }
}

impl LineSource for ModularCamera {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        if self.is_finished {
            return Ok(None);
        }
        let wanted = self.block_rows.saturating_mul(self.columns.len());
        let mut values = values_for(wanted);
        let mut is_at_end = false;
        while values.len() < wanted {
            if !self.words.fill()? {
                is_at_end = !self.words.follows;
                break;
            }
            self.decode(wanted, &mut values);
            if self.before_flag.is_some_and(|n| n > FLAG_WITHIN) {
                return Err(self.no_flag());
            }
            // Who follows a file wants its rows at once.
            if self.words.follows && !values.is_empty() {
                break;
            }
        }
        if is_at_end && self.before_flag.is_some() {
            return Err(self.no_flag());
        }
        if !values.is_empty() {
            self.has_rows = true;
            return block(values, &self.columns, &Attributes::new()).map(Some);
        }
        if !is_at_end {
            return Ok(None);
        }
        self.is_finished = true;
        let missing = "there is no LoR: no word of a known pair of detectors";
        self.words.end_of_words(self.has_rows, missing)?;
        Ok(None)
    }

    fn progress(&self) -> Progress {
        self.words.input.progress().clone()
    }

    fn set_follow(&mut self, follow: bool) -> bool {
        self.words.set_follow(follow)
    }
}

impl ModularCamera {
    fn no_flag(&self) -> crate::Error {
        self.words.input.origin().error(format!(
            "no block flag (0x{FLAG:X}) in the first words after the header of {HEADER} bytes; is it a modular camera's recording?"
        ))
    }
}

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// The clock modulo 16, in ticks of 2 ms.
    pub tag: u8,
    /// `x1 y1 z1 x2 y2 z2` (mm), if it names a pair of detectors.
    pub ends: Option<[f64; 6]>,
}

/// Decodes a word that is no flag, nor the word after one.
#[inline]
#[must_use]
pub fn decode_word(word: u32) -> Event {
    let reversed = word.reverse_bits();
    let (a, b) = (reversed >> 16, reversed & 0xFFFF);
    Event {
        tag: (b & 15) as u8,
        ends: ends(a, b),
    }
}

fn ends(a: u32, b: u32) -> Option<[f64; 6]> {
    let [first, second] = BUCKETS[(a & 63 | a >> 14 << 6) as usize];
    if first == NO_BUCKET {
        return None;
    }
    let [x1, y1, z1] = detector(first, b >> 7 & 3, b >> 10 & 7, a >> 8 & 3);
    let [x2, y2, z2] = detector(second, b >> 13 & 3, b >> 4 & 7, a >> 11 & 3);
    Some([x1, y1, z1, x2, y2, z2])
}

/// Where a pair of buckets is not known.
const NO_BUCKET: u8 = u8::MAX;

/// The two buckets by the number of a pair and the two bits that say which of them are on the second level.
static BUCKETS: [[u8; 2]; 256] = {
    /// Pairs that a bucket is the first of, and how far the second is at least.
    const PARTNERS: u8 = 7;
    const NEAREST: u8 = 5;
    const PAIRS: u8 = 28;
    const LEVEL: u8 = 16;
    let mut buckets = [[NO_BUCKET; 2]; 256];
    let mut level = 0;
    while level < 4 {
        let mut pair = 0;
        while pair < PAIRS {
            let mut first = pair / PARTNERS;
            let mut second = first + NEAREST + pair % PARTNERS;
            if level & 1 != 0 {
                first += LEVEL;
            }
            if level & 2 != 0 {
                second += LEVEL;
            }
            // Walls are the even groups of four.
            if (first / 4).is_multiple_of(2) && (second / 4).is_multiple_of(2) {
                buckets[pair as usize + 1 + 64 * level] = [first, second];
            }
            pair += 1;
        }
        level += 1;
    }
    buckets
};

/// Where a detector of a bucket on one of the walls is.
#[inline]
fn detector(bucket: u8, block: u32, segment: u32, plane: u32) -> [f64; 3] {
    /// Width of a block with the gap to the next, the gap's half, a segment's width and its half.
    const BLOCK: f64 = 91.0;
    const HALF_GAP: f64 = 20.5;
    const SEGMENT: f64 = 6.25;
    const HALF_SEGMENT: f64 = 3.125;
    const PLANE: f64 = 13.5;
    const BUCKET: f64 = 95.0;
    const WALL: f64 = 250.0;
    /// How often the distance of the wall and the place along it are in x and in z.
    const WALLS: [[f64; 4]; 4] = [
        [1.0, 0.0, 0.0, 1.0],
        [-1.0, 0.0, 0.0, -1.0],
        [0.0, 1.0, -1.0, 0.0],
        [0.0, -1.0, 1.0, 0.0],
    ];
    let along = (2.0 - f64::from(block)) * BLOCK
        - HALF_GAP
        - HALF_SEGMENT
        - f64::from(7 - segment) * SEGMENT;
    let up = f64::from(3 - bucket % 4) * BUCKET + f64::from(plane) * PLANE;
    let [wall_x, along_x, wall_z, along_z] = WALLS[usize::from(bucket / 8 % 4)];
    let x = WALL * wall_x + along * along_x;
    let z = WALL * wall_z + along * along_z;
    [x, up, z]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word of the pair 1 (buckets 0 and 5, of which the second moves to 21 or the first to 16), or of any other.
    fn word(pair: u32, board: u32, tag: u32) -> u32 {
        let (a, b) = (pair | board << 14, tag);
        (a << 16 | b).reverse_bits()
    }

    fn file(words: &[u32]) -> Vec<u8> {
        let words = words.iter().flat_map(|word| word.to_le_bytes());
        [0; HEADER].into_iter().chain(words).collect()
    }

    fn source(bytes: &[u8]) -> Result<ModularCamera> {
        ModularCamera::new(Input::from_bytes("file", bytes).unwrap())
    }

    /// Buckets 0 and 9.
    const GOOD: u32 = 5;

    #[test]
    fn words_of_unknown_detectors_have_no_ends_but_a_time() {
        for (pair, board, is_known) in [
            (0, 0, false),
            (GOOD, 0, true),
            (GOOD, 1, true),
            (GOOD, 2, true),
            (GOOD, 3, true),
            (1, 0, false), // buckets 0 and 5
            (28, 0, false),
            (29, 0, false),
            (63, 0, false),
        ] {
            let event = decode_word(word(pair, board, 9));
            assert_eq!((event.ends.is_some(), event.tag), (is_known, 9));
        }
        let [x1, y1, z1, x2, y2, z2] = decode_word(word(GOOD, 0, 0)).ends.unwrap();
        let z = 2.0 * 91.0 - 20.5 - 3.125 - 7.0 * 6.25;
        assert_eq!(
            [x1, y1, z1, x2, y2, z2],
            [250.0, 285.0, z, -250.0, 190.0, -z]
        );
    }

    #[test]
    fn time_goes_on_through_flags_and_rejected_words() {
        let words = [
            FLAG,
            word(GOOD, 0, 7),
            word(GOOD, 0, 3),
            word(0, 0, 10),
            word(GOOD, 0, 1),
            FLAG,
        ];
        let whole = read_all(source(&file(&words)).unwrap()).unwrap();
        assert_eq!(whole.column(0), [6.0, 34.0]);
        for rows in [1, 2, 3] {
            let mut cut = file(&words);
            cut.push(7); // a word cut off
            let blocks = source(&cut).unwrap().block_rows(rows);
            assert_eq!(read_all(blocks).unwrap(), whole);
        }
    }

    #[test]
    fn damaged_recordings_say_what_is_wrong() {
        let problem = |bytes: &[u8]| source(bytes).and_then(read_all).unwrap_err().to_string();
        assert!(problem(b"").contains("0 bytes, but the header"));
        assert!(problem(&[0; HEADER - 1]).contains("999 bytes"));
        assert!(problem(&[0; HEADER]).contains("no block flag"));
        assert!(problem(&file(&[word(GOOD, 0, 0)])).contains("no block flag"));
        assert!(problem(&file(&vec![word(GOOD, 0, 0); FLAG_WITHIN + 1])).contains("no block flag"));
        assert!(problem(&file(&[FLAG, 0, word(0, 0, 0)])).contains("no LoR"));
    }

    #[test]
    fn an_unfinished_recording_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.da_1");
        let bytes = file(&[FLAG, 0, word(GOOD, 0, 3), word(GOOD, 0, 4)]);
        std::fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
        let mut source = ModularCamera::open(&path).unwrap();
        assert!(source.set_follow(true));
        assert_eq!(source.next_block().unwrap().unwrap().column(0), [6.0]);
        assert_eq!(source.next_block().unwrap(), None);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(source.next_block().unwrap().unwrap().column(0), [8.0]);
        assert!(source.set_follow(false));
        assert_eq!(source.next_block().unwrap(), None);
    }
}
