//! Recordings as streams of LoRs, block by block: a recording of any size needs little memory.
//!
//! [`Files`] reads several files as one run, [`open()`] a single one; [`detect`] says what a file is. Files may be compressed by gzip
//! or zstd. A scanner that is not among the formats is a type with the trait [`LineSource`], or a function ([`from_fn`]).
//!
//! # What damaged files give
//!
//! Nothing is allocated by a number that a file claims, and a line of text ends after at most 4 MiB.
//!
//! | input | ADAC | modular camera | parallel screens | lines, tables |
//! |---|---|---|---|---|
//! | no bytes | error | error | error | error |
//! | shorter than the header | error | error | - | - |
//! | cut off within the rows | what is there, less a partial word (warning) | the same | what is there: a row that misses values ends the table | error with the line number |
//! | cut off gzip or zstd | error | error | error | error |
//! | another format | error: no buffer flag | error: no block flag in 256 KiB | error: no row of 5 numbers, or a line of more than 4 MiB | error with the line number |
//! | no row, no LoR | error | error | error | error |
//! | NaN, infinity, numbers above 1.8e308 | - | - | error with the line number | error with the line number in the first seven columns, else kept |
//! | times that go back | kept: the clock has no sign | kept | kept as they are | kept as they are |
//! | Windows line ends, byte order mark | - | - | understood | understood |
//! | a header that is not UTF-8 | ignored | ignored | understood | names with replacement characters |
//! | text after the last row | read as words | read as words | ends the table, unless a row follows: error with the line number | error with the line number |
//! | fields without a value | - | - | no row | NaN between commas, semicolons or tabs |
//! | a clock that cannot be calibrated | error | - | - | - |
//!
//! Cutting a table with times that go back into samples by time is an error there, with the row.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use flate2::read::MultiGzDecoder;
use ndarray::Array2;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::adac_forte::{self, AdacForte};
use super::modular_camera::{self, ModularCamera};
use super::npy;
use super::parallel_screens::ParallelScreens;
use super::text_lines::{self, TextLines};
use crate::data::{Attributes, Contents, LineData, Lines, array_of_rows};
use crate::error::{Error, Result};

/// At most so many rows are in a block, unless another number is asked for: a megabyte.
pub const BLOCK_ROWS: usize = 1 << 14;
/// No line of text, and no piece of a file held at a time, is longer.
const LONGEST: usize = 1 << 22;
/// Bytes that tell one format from another.
const HEAD: usize = 1 << 18;
/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Gives the LoRs of a recording block by block.
///
/// ```
/// use pept::LineData;
/// use pept::io::source::{LineSource, read_all};
///
/// /// A scanner that sees one LoR a millisecond.
/// struct Mine {
///     time: f64,
/// }
///
/// impl LineSource for Mine {
///     fn next_block(&mut self) -> pept::Result<Option<LineData>> {
///         if self.time >= 1000.0 {
///             return Ok(None);
///         }
///         let rows = ndarray::Array2::from_shape_fn((100, 7), |(row, column)| match column {
///             0 => self.time + row as f64,
///             6 => 500.0, // z2
///             _ => 0.0,
///         });
///         self.time += 100.0;
///         LineData::new(rows).map(Some)
///     }
/// }
///
/// let lors = read_all(Mine { time: 0.0 })?;
/// assert_eq!(lors.n_rows(), 1000);
/// # Ok::<(), pept::Error>(())
/// ```
pub trait LineSource: Send {
    /// The next LoRs, rows `t x1 y1 z1 x2 y2 z2 ...` in the order of the file; `None` at the end.
    ///
    /// All blocks have the same columns, and at most a bounded number of rows. A block without rows says that the source is still at
    /// work (an ADAC recording is read twice): ask again.
    ///
    /// # Errors
    /// What is wrong with the recording, and where.
    fn next_block(&mut self) -> Result<Option<LineData>>;

    /// How far reading is. Stays valid and up to date while blocks are read, in other threads too.
    fn progress(&self) -> Progress {
        Progress::default()
    }

    /// Whether to follow a file that is still being written. While it does, what is unfinished at the end (a line, a word) waits; `None`
    /// says that nothing more is there *yet*, and a later call may give more. Turned off, the next calls give the rest.
    ///
    /// Returns false if the source cannot do that.
    fn set_follow(&mut self, follow: bool) -> bool {
        !follow
    }
}

impl<S: LineSource + ?Sized> LineSource for Box<S> {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        (**self).next_block()
    }

    fn progress(&self) -> Progress {
        (**self).progress()
    }

    fn set_follow(&mut self, follow: bool) -> bool {
        (**self).set_follow(follow)
    }
}

impl<S: LineSource + ?Sized> LineSource for &mut S {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        (**self).next_block()
    }

    fn progress(&self) -> Progress {
        (**self).progress()
    }

    fn set_follow(&mut self, follow: bool) -> bool {
        (**self).set_follow(follow)
    }
}

/// All LoRs of a recording as one table. Of the attributes those stay that are the same in all blocks.
///
/// # Errors
/// The source's; [`Error::Columns`] if its blocks have different columns.
pub fn read_all(mut source: impl LineSource) -> Result<LineData> {
    let mut empty = None;
    let first = loop {
        match source.next_block()? {
            Some(block) if block.n_rows() == 0 => empty = Some(block),
            Some(block) => break block.into_one_sample(),
            None => {
                let none = || LineData::new(Array2::zeros((0, Lines::COLUMNS.len())));
                return empty.map_or_else(none, Ok);
            }
        }
    };
    let mut values = Vec::new();
    let mut attributes = first.attributes().clone();
    while let Some(block) = source.next_block()? {
        check_columns(&first, &block)?;
        if block.n_rows() == 0 {
            continue;
        }
        attributes.retain(|name, value| block.attributes().get(name) == Some(value));
        if values.is_empty() {
            values.extend_from_slice(first.values());
        }
        values.extend_from_slice(block.values());
    }
    if values.is_empty() {
        return Ok(first); // the only one
    }
    let rows = array_of_rows(values, first.columns().len());
    Ok(first.with_rows(rows)?.with_attributes(attributes))
}

fn check_columns(first: &LineData, block: &LineData) -> Result<()> {
    if block.columns() == first.columns() {
        return Ok(());
    }
    Err(Error::Columns(format!(
        "a run has the columns {} and then {}",
        first.columns().join(" "),
        block.columns().join(" ")
    )))
}

/// How many bytes of a recording have been read. Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    /// 0: unknown.
    total: AtomicU64,
}

impl Progress {
    /// Nothing read yet of so many bytes, if that is known.
    #[must_use]
    pub fn new(bytes_total: Option<u64>) -> Self {
        let progress = Self::default();
        progress.set_total(bytes_total);
        progress
    }

    /// Bytes read, as they are in the file. A file that is read twice counts half each time.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.0.read.load(Memory::Relaxed)
    }

    /// Bytes that there are, if that is known.
    #[must_use]
    pub fn bytes_total(&self) -> Option<u64> {
        Some(self.0.total.load(Memory::Relaxed)).filter(|&total| total > 0)
    }

    /// So many bytes more have been read.
    pub fn advance(&self, bytes: u64) {
        self.0.read.fetch_add(bytes, Memory::Relaxed);
    }

    fn set_total(&self, bytes: Option<u64>) {
        self.0.total.store(bytes.unwrap_or(0), Memory::Relaxed);
    }
}

/// A recording's bytes, from a file, standard input or memory. What gzip or zstd compressed is unpacked.
pub struct Input {
    origin: Origin,
    reader: Box<dyn Read + Send>,
    /// Bytes taken from the origin.
    taken: Arc<AtomicU64>,
    /// Those of them that `progress` knows of.
    reported: u64,
    /// How often the origin will be read.
    passes: u64,
    is_again: bool,
    progress: Progress,
}

/// Where bytes come from.
#[derive(Clone)]
pub(super) struct Origin {
    name: PathBuf,
    place: Place,
    is_compressed: bool,
}

#[derive(Clone)]
enum Place {
    File,
    Memory(Arc<[u8]>),
    /// What can be read once only.
    Stream,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.display())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("origin", &self.origin)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// A file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::open_for(path, Progress::new(size_of_file(path)))
    }

    /// A file whose size is part of `progress` already.
    fn open_for(path: &Path, progress: Progress) -> Result<Self> {
        if path == Path::new(STANDARD_INPUT) {
            let name = PathBuf::from("standard input");
            return Self::new(name, Place::Stream, Box::new(std::io::stdin()), progress);
        }
        let open = || {
            let file = File::open(path)?;
            let kind = file.metadata()?.file_type();
            if kind.is_dir() {
                let problem = "is a directory";
                return Err(std::io::Error::new(ErrorKind::IsADirectory, problem));
            }
            Ok((file, kind.is_file()))
        };
        let (file, is_file) = open().map_err(Error::reading(path))?;
        let place = if is_file { Place::File } else { Place::Stream };
        Self::new(path.to_owned(), place, Box::new(file), progress)
    }

    /// Bytes in memory; `name` is for messages.
    ///
    /// # Errors
    /// None: what is wrong with the bytes shows when they are read.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let progress = Progress::new(Some(bytes.len() as u64));
        let reader = Box::new(Cursor::new(Arc::clone(&bytes)));
        Self::new(name.into(), Place::Memory(bytes), reader, progress)
    }

    /// Any bytes that can be read once, such as a connection's; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Io`] if not even the first can be read.
    pub fn from_reader(
        name: impl Into<PathBuf>,
        reader: impl Read + Send + 'static,
    ) -> Result<Self> {
        let progress = Progress::default();
        Self::new(name.into(), Place::Stream, Box::new(reader), progress)
    }

    fn new(
        name: PathBuf,
        place: Place,
        reader: Box<dyn Read + Send>,
        progress: Progress,
    ) -> Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut reader = Counted {
            reader,
            taken: Arc::clone(&taken),
        };
        let mut magic = vec![0; 4];
        let n = read_full(&mut reader, &mut magic).map_err(Error::reading(&name))?;
        magic.truncate(n);
        let compression = Compression::of(&magic);
        let all = Cursor::new(magic).chain(reader);
        Ok(Self {
            origin: Origin {
                name,
                place,
                is_compressed: compression.is_some(),
            },
            reader: match compression {
                None => Box::new(all),
                Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(all)),
                Some(Compression::Zstd) => Box::new(Zstd::new(BufReader::new(all))),
            },
            taken,
            reported: 0,
            passes: 1,
            is_again: false,
            progress,
        })
    }

    /// The file, or the name that stands for it in messages.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.origin.name
    }

    /// Whether the bytes are compressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.origin.is_compressed
    }

    /// How far reading is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the bytes are, as far as their beginning tells. They are still there to be read afterwards.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] if they are no known format.
    pub fn format(&mut self) -> Result<Format> {
        let mut head = vec![0; HEAD];
        let mut filled = 0;
        let found = loop {
            // What a pipe has so far may be enough.
            let n = self.read_some(&mut head[filled..])?;
            filled += n;
            let at_end = n == 0 || filled == HEAD;
            if let Some(found) = Format::of(&head[..filled], at_end) {
                break found;
            }
        };
        head.truncate(filled);
        let rest = std::mem::replace(&mut self.reader, Box::new(std::io::empty()));
        self.reader = Box::new(Cursor::new(head).chain(rest));
        found.map_err(|problem| self.origin.error(problem))
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Reads into all of `buffer`, or what there is.
    pub(super) fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize> {
        read_full(self, buffer).map_err(Error::reading(self.name()))
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        read_once(self, buffer).map_err(Error::reading(self.name()))
    }

    /// The origin is going to be read so often, by [`again`](Self::again).
    pub(super) fn set_passes(&mut self, passes: u64) {
        self.passes = passes;
        let known = self.reported;
        self.reported = self.share();
        self.progress.0.read.fetch_sub(known, Memory::Relaxed);
        self.progress.advance(self.reported);
    }

    /// What has been read, as a share of the bytes that there are.
    fn share(&self) -> u64 {
        let taken = self.taken.load(Memory::Relaxed);
        if self.is_again {
            taken.div_ceil(self.passes)
        } else {
            taken / self.passes
        }
    }

    /// The same bytes from the start.
    pub(super) fn again(&self) -> Result<Self> {
        Ok(Self {
            passes: self.passes,
            is_again: true,
            ..self.origin.open(self.progress.clone())?
        })
    }
}

impl Origin {
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    pub(super) fn can_be_read_again(&self) -> bool {
        !matches!(self.place, Place::Stream)
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> Error {
        Error::File {
            path: self.name.clone(),
            problem: problem.into(),
        }
    }

    pub(super) fn error_at(&self, line: usize, problem: impl Into<String>) -> Error {
        Error::Parse {
            path: self.name.clone(),
            line,
            problem: problem.into(),
        }
    }

    /// All bytes.
    fn open(&self, progress: Progress) -> Result<Input> {
        match &self.place {
            Place::File => Input::open_for(&self.name, progress),
            Place::Memory(bytes) => {
                let reader = Box::new(Cursor::new(Arc::clone(bytes)));
                Input::new(self.name.clone(), self.place.clone(), reader, progress)
            }
            Place::Stream => Err(self.error("it can be read only once")),
        }
    }

    /// The bytes from some place on, which should be within them.
    pub(super) fn open_at(&self, offset: u64) -> Result<Input> {
        if let (Place::File, false) = (&self.place, self.is_compressed) {
            let open = || {
                let mut file = File::open(&self.name)?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(file)
            };
            let file = open().map_err(Error::reading(&self.name))?;
            return Ok(Input {
                origin: self.clone(),
                reader: Box::new(file),
                taken: Arc::default(),
                reported: 0,
                passes: 1,
                is_again: false,
                progress: Progress::default(),
            });
        }
        let mut input = self.open(Progress::default())?;
        let skipped = std::io::copy(&mut (&mut input).take(offset), &mut std::io::sink());
        skipped.map_err(Error::reading(&self.name))?;
        Ok(input)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        let share = self.share();
        self.progress.advance(share - self.reported);
        self.reported = share;
        Ok(n)
    }
}

/// Bytes that a file has, if it is one.
fn size_of_file(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

fn read_once(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads into all of `buffer`, or what there is.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_once(reader, &mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Counts what is read.
struct Counted {
    reader: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.taken.fetch_add(n as u64, Memory::Relaxed);
        Ok(n)
    }
}

enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Unpacks zstd, all frames one after another.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            decoder: FrameDecoder::new(),
            is_in_frame: false,
        }
    }

    /// Goes on to the next frame; false at the end.
    fn next_frame(&mut self) -> std::io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(error) => self.skip_frame(error)?,
            }
        }
        Ok(false)
    }

    /// Skips a frame that is none of data; any other error stays one.
    fn skip_frame(&mut self, error: FrameDecoderError) -> std::io::Result<()> {
        let length = match &error {
            FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            }) => u64::from(*length),
            _ => return Err(std::io::Error::new(ErrorKind::InvalidData, error)),
        };
        let mut frame = self.source.by_ref().take(length);
        if std::io::copy(&mut frame, &mut std::io::sink())? < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in_frame && !self.next_frame()? {
                return Ok(0);
            }
            self.is_in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder
                    .decode_blocks(&mut self.source, one)
                    .map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))?;
            }
            match self.decoder.read(buffer)? {
                0 => self.is_in_frame = false,
                n => return Ok(n),
            }
            let sums = (
                self.decoder.get_checksum_from_data(),
                self.decoder.get_calculated_checksum(),
            );
            if let (Some(stored), Some(calculated)) = sums
                && stored != calculated
            {
                return Err(std::io::Error::new(
                    ErrorKind::InvalidData,
                    "the checksum of a zstd frame is wrong",
                ));
            }
        }
    }
}

/// What [`Ahead`] hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Lines,
    /// Of 4 bytes.
    Words,
}

impl Unit {
    /// Where the last whole one ends.
    fn cut(self, bytes: &[u8]) -> usize {
        match self {
            Self::Lines => memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1),
            Self::Words => bytes.len() / 4 * 4,
        }
    }
}

/// Bytes read ahead, and handed out in whole lines or words.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) input: Input,
    unit: Unit,
    at_a_time: usize,
    bytes: Vec<u8>,
    /// Handed out are those from `start` to `whole`; read are those to `end`.
    start: usize,
    whole: usize,
    end: usize,
    is_at_start: bool,
    is_finished: bool,
    pub(super) follows: bool,
}

impl Ahead {
    /// Reads about so many bytes at a time.
    pub(super) fn new(input: Input, unit: Unit, at_a_time: usize) -> Self {
        let mut ahead = Self {
            input,
            unit,
            at_a_time: 0,
            bytes: Vec::new(),
            start: 0,
            whole: 0,
            end: 0,
            is_at_start: true,
            is_finished: false,
            follows: false,
        };
        ahead.set_at_a_time(at_a_time);
        ahead
    }

    pub(super) fn set_at_a_time(&mut self, bytes: usize) {
        self.at_a_time = bytes.clamp(16, LONGEST);
    }

    /// Makes sure that there is something to hand out; false at the end. An unfinished line at the end counts as whole, unless the file
    /// is followed.
    pub(super) fn fill(&mut self) -> Result<bool> {
        while self.start == self.whole {
            if !self.refill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn refill(&mut self) -> Result<bool> {
        if self.is_finished {
            return Ok(false);
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        (self.start, self.whole) = (0, 0);
        let mut limit = self.at_a_time;
        loop {
            if self.end >= limit {
                self.whole = self.unit.cut(&self.bytes[..self.end]);
                if self.whole > 0 {
                    break;
                }
                if self.end >= LONGEST {
                    return Err(self.input.origin().error(format!(
                        "a line of more than {} MiB; is it a text file?",
                        LONGEST >> 20
                    )));
                }
                limit = (2 * self.end).min(LONGEST);
            }
            if self.bytes.len() < limit {
                self.bytes.resize(limit, 0);
            }
            let n = self.input.read_some(&mut self.bytes[self.end..limit])?;
            self.end += n;
            if self.follows {
                self.whole = self.unit.cut(&self.bytes[..self.end]);
                if self.whole > 0 {
                    break;
                }
                if n == 0 {
                    return Ok(false);
                }
            } else if n == 0 {
                self.is_finished = true;
                self.whole = match self.unit {
                    Unit::Lines => self.end,
                    Unit::Words => self.unit.cut(&self.bytes[..self.end]),
                };
                break;
            }
        }
        if self.is_at_start && self.unit == Unit::Lines {
            let mark = b"\xef\xbb\xbf";
            if self.bytes[..self.whole].starts_with(mark) {
                self.start = mark.len();
            }
        }
        self.is_at_start = false;
        Ok(true)
    }

    /// What there is to hand out.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes[self.start..self.whole]
    }

    /// Takes the first bytes of it away.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
    }

    /// Bytes of a byte order mark, before anything is taken away.
    pub(super) fn n_skipped(&self) -> usize {
        self.start
    }

    /// Bytes after the last whole word.
    fn n_left_over(&self) -> usize {
        self.end - self.whole
    }

    /// The end of a recording of words: an error if there was no LoR, a warning of a last word that is not whole.
    pub(super) fn end_of_words(&self, has_rows: bool, missing: &str) -> Result<()> {
        if !has_rows {
            return Err(self.input.origin().error(missing));
        }
        let n = self.n_left_over();
        if n > 0 {
            let path = self.input.name().display();
            tracing::warn!(
                "{path}: the last word is cut off ({n} of 4 bytes); all before it was read"
            );
        }
        Ok(())
    }

    pub(super) fn set_follow(&mut self, follow: bool) -> bool {
        if follow && self.input.is_compressed() {
            return false;
        }
        self.follows = follow;
        self.is_finished &= !follow;
        true
    }
}

/// Rows that wait for their block.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Whole rows each.
    parts: VecDeque<Vec<f64>>,
    /// Values of the first part that are gone.
    start: usize,
}

impl Pending {
    pub(super) fn push(&mut self, values: Vec<f64>) {
        if !values.is_empty() {
            self.parts.push_back(values);
        }
    }

    /// The next values, at most so many. What is taken in one piece is not copied.
    pub(super) fn take(&mut self, n: usize) -> Option<Vec<f64>> {
        let left = &self.parts.front()?[self.start..];
        if left.len() > n {
            let values = left[..n].to_vec();
            self.start += n;
            return Some(values);
        }
        let rest = (self.start > 0).then(|| left.to_vec());
        let part = self.parts.pop_front()?;
        self.start = 0;
        Some(rest.unwrap_or(part))
    }
}

/// A block of rows with the columns and attributes of a recording.
pub(super) fn block(
    values: Vec<f64>,
    columns: &Arc<[String]>,
    attributes: &Attributes,
) -> Result<LineData> {
    let rows = array_of_rows(values, columns.len());
    let lors = LineData::with_all_columns(rows, Arc::clone(columns))?;
    Ok(lors.with_attributes(attributes.clone()))
}

/// Memory for a block of so many values: at once if it is small, since growing costs more than filling it.
pub(super) fn values_for(wanted: usize) -> Vec<f64> {
    Vec::with_capacity(wanted.min(BLOCK_ROWS * Lines::COLUMNS.len()))
}

/// The standard columns of lines.
pub(super) fn line_columns() -> Arc<[String]> {
    Lines::COLUMNS.iter().copied().map(str::to_owned).collect()
}

/// Formats of recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// [ADAC Forte](super::adac_forte) list mode.
    AdacForte,
    /// [Modular camera](super::modular_camera) list mode.
    ModularCamera,
    /// [Text of two parallel screens](super::parallel_screens).
    ParallelScreens,
    /// [Text](super::text_lines) with a line `t x1 y1 z1 x2 y2 z2 ...` in each row.
    Lines,
    /// Text with a point `t x y z ...` in each row. No recording.
    Points,
    /// A [NumPy](super::npy) table, read as lines.
    NumPy,
    /// An Arrow table, read as lines.
    Arrow,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdacForte => "ADAC Forte",
            Self::ModularCamera => "modular camera",
            Self::ParallelScreens => "parallel screens",
            Self::Lines => "table of lines",
            Self::Points => "table of points",
            Self::NumPy => "NumPy table",
            Self::Arrow => "Arrow table",
        })
    }
}

impl Format {
    /// What begins like this; `None` if more bytes would tell, of which there are none `at_end`.
    fn of(head: &[u8], at_end: bool) -> Option<Result<Self, String>> {
        if head.is_empty() {
            return at_end.then(|| Err("the file is empty".to_owned()));
        }
        if head.starts_with(npy::MAGIC) {
            return Some(Ok(Self::NumPy));
        }
        if head.starts_with(b"ARROW1") {
            return Some(Ok(Self::Arrow));
        }
        // The first word after an ADAC header lies behind the first two after a modular camera's.
        let flag_at = |place: usize| {
            let word = head.get(place..place + 4)?;
            Some(word == adac_forte::FLAG.to_le_bytes())
        };
        if flag_at(modular_camera::HEADER) == Some(true) {
            return Some(Ok(Self::ModularCamera));
        }
        if flag_at(adac_forte::HEADER) == Some(true) {
            return Some(Ok(Self::AdacForte));
        }
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Some(Err("text in UTF-16; save it as UTF-8".to_owned()));
        }
        let text = &head[..memchr::memchr(0, head).unwrap_or(head.len())];
        let is_text = text.len() == head.len();
        if let Some(format) = text_lines::kind_of_text(text, at_end && is_text) {
            return Some(Ok(format));
        }
        if !is_text && (at_end || flag_at(adac_forte::HEADER).is_some()) {
            return Some(Err(
                "neither text nor a known recording; give its format if it is one".to_owned(),
            ));
        }
        (is_text && at_end).then(|| {
            Err(
                "no line of 5 numbers (t x1 y1 x2 y2, parallel screens) and none of 7 or more \
                 (t x1 y1 z1 x2 y2 z2 ..., lines) in its first lines; give its format"
                    .to_owned(),
            )
        })
    }

    /// Whether times count from the start of each file.
    fn has_own_clock(self) -> bool {
        matches!(self, Self::AdacForte | Self::ModularCamera)
    }
}

/// What a file is, as far as its beginning tells.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if it is no known format.
pub fn detect(path: impl AsRef<Path>) -> Result<Format> {
    Input::open(path)?.format()
}

/// How times go on from one file of a run to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Those of list-mode formats, whose clock starts at 0 in each file, go on from the last time of the file before. So do those of a
    /// table that begins before the file before it ended; a table that begins later is taken as it is.
    #[default]
    Auto,
    /// Each file's times go on from the last time of the file before.
    Continue,
    /// As they are.
    Keep,
}

/// How recordings are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Their format; by default what they look like.
    pub format: Option<Format>,
    /// The distance of the screens (mm), of an ADAC or parallel-screens recording; by default the file's.
    pub separation: Option<f64>,
    /// The clock's rate (ticks/ms) of an ADAC recording, which is then read only once; by default the file's.
    pub clock_rate: Option<f64>,
    /// At most so many rows a block, at least 1.
    pub block_rows: usize,
    /// How times go on from file to file.
    pub times: Times,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            separation: None,
            clock_rate: None,
            block_rows: BLOCK_ROWS,
            times: Times::default(),
        }
    }
}

/// Opens a recording; `-` is standard input.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if it is no recording; [`Error::Parameter`] for options that do not fit its format.
pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Box<dyn LineSource>> {
    open_input(Input::open(path)?, options)
}

/// The same of bytes from elsewhere.
///
/// # Errors
/// As [`open()`].
pub fn open_input(input: Input, options: &Options) -> Result<Box<dyn LineSource>> {
    source_of(input, options).map(|(_, source)| source)
}

fn source_of(mut input: Input, options: &Options) -> Result<(Format, Box<dyn LineSource>)> {
    let format = match options.format {
        Some(format) => format,
        None => input.format()?,
    };
    check_options(format, options)?;
    let rows = options.block_rows;
    let source: Box<dyn LineSource> = match format {
        Format::AdacForte => {
            let mut source = AdacForte::new(input)?.block_rows(rows);
            if let Some(separation) = options.separation {
                source = source.separation(separation);
            }
            if let Some(rate) = options.clock_rate {
                source = source.clock_rate(rate)?;
            }
            Box::new(source)
        }
        Format::ModularCamera => Box::new(ModularCamera::new(input)?.block_rows(rows)),
        Format::ParallelScreens => {
            let mut source = ParallelScreens::new(input).block_rows(rows);
            if let Some(separation) = options.separation {
                source = source.separation(separation)?;
            }
            Box::new(source)
        }
        Format::Lines => Box::new(TextLines::new(input).block_rows(rows)),
        Format::Points => return Err(input.origin().error("a table of points, not of lines")),
        Format::NumPy | Format::Arrow => Box::new(Blocks::new(read_table(format, &input)?, rows)),
    };
    Ok((format, source))
}

fn check_options(format: Format, options: &Options) -> Result<()> {
    let has_separation = matches!(format, Format::AdacForte | Format::ParallelScreens);
    if let Some(separation) = options.separation
        && !has_separation
    {
        return Err(Error::Parameter {
            name: "separation",
            value: separation.to_string(),
            needed: "a recording of parallel screens or of an ADAC Forte; this one is neither",
        });
    }
    if let Some(rate) = options.clock_rate
        && format != Format::AdacForte
    {
        return Err(Error::Parameter {
            name: "clock_rate",
            value: rate.to_string(),
            needed: "a recording of an ADAC Forte; this one is none",
        });
    }
    Ok(())
}

/// A table that is read whole.
fn read_table(format: Format, input: &Input) -> Result<LineData> {
    let origin = input.origin();
    if origin.is_compressed() || !origin.can_be_read_again() {
        return Err(origin.error("a table of this format has to be an uncompressed file"));
    }
    match format {
        #[cfg(feature = "arrow")]
        Format::Arrow => super::arrow::read(origin.name()),
        #[cfg(not(feature = "arrow"))]
        Format::Arrow => {
            Err(origin
                .error("this program was built without Arrow files (feature `arrow`); use .npy"))
        }
        _ => npy::read(origin.name()),
    }
}

/// A table in memory as a source.
#[derive(Clone, Debug)]
pub struct Blocks {
    lors: LineData,
    rows: usize,
    next: usize,
    progress: Progress,
}

impl Blocks {
    /// At most so many rows a block, at least 1.
    #[must_use]
    pub fn new(lors: LineData, block_rows: usize) -> Self {
        let bytes = size_of_val(lors.values()) as u64;
        Self {
            lors,
            rows: block_rows.max(1),
            next: 0,
            progress: Progress::new(Some(bytes)),
        }
    }
}

impl LineSource for Blocks {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        let start = self.next;
        if start == self.lors.n_rows() {
            return Ok(None);
        }
        self.next = start.saturating_add(self.rows).min(self.lors.n_rows());
        let block = self.lors.slice_rows(start..self.next)?;
        self.progress.advance(size_of_val(block.values()) as u64);
        Ok(Some(block))
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

/// A source that asks a function for each block; `None` ends it.
///
/// ```
/// # let mut rows = vec![ndarray::Array2::zeros((3, 7)); 2];
/// let mut next_rows = move || rows.pop(); // ask a scanner here
/// let source = pept::io::source::from_fn(move || next_rows().map(pept::LineData::new).transpose());
/// assert_eq!(pept::io::source::read_all(source)?.n_rows(), 6);
/// # Ok::<(), pept::Error>(())
/// ```
pub fn from_fn<F: FnMut() -> Result<Option<LineData>> + Send>(next_block: F) -> FromFn<F> {
    FromFn(next_block)
}

/// What [`from_fn`] gives.
#[derive(Clone)]
pub struct FromFn<F>(F);

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

impl<F: FnMut() -> Result<Option<LineData>> + Send> LineSource for FromFn<F> {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        (self.0)()
    }
}

/// Several files as one run.
pub struct Files {
    /// Those not yet begun, the first one last.
    waiting: Vec<PathBuf>,
    current: Option<Current>,
    options: Options,
    /// The time of the last row.
    last_time: f64,
    /// Rows without any, for their columns.
    first: Option<LineData>,
    progress: Progress,
    follow: bool,
}

struct Current {
    source: Box<dyn LineSource>,
    format: Format,
    /// Added to its times; unknown before its first row.
    offset: Option<f64>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("waiting", &self.waiting)
            .field("options", &self.options)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Files {
    /// Files in this order; `-` alone is standard input. [`expand`] makes files of patterns.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] if one of them is missing or no recording; [`Error::Parameter`] for options that do not fit.
    pub fn open<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        options: &Options,
    ) -> Result<Self> {
        let paths: Vec<PathBuf> = paths
            .into_iter()
            .map(|path| path.as_ref().to_owned())
            .collect();
        let [first, others @ ..] = paths.as_slice() else {
            return Err(Error::File {
                path: PathBuf::new(),
                problem: "no file to read".into(),
            });
        };
        let standard_input = Path::new(STANDARD_INPUT);
        if !others.is_empty() && paths.iter().any(|path| path == standard_input) {
            return Err(Error::File {
                path: standard_input.to_owned(),
                problem: "standard input cannot be one of several files".into(),
            });
        }
        for path in others {
            let mut input = Input::open(path)?;
            let format = match options.format {
                Some(format) => format,
                None => input.format()?,
            };
            check_options(format, options)?;
        }
        let sizes: Option<Vec<u64>> = paths.iter().map(|path| size_of_file(path)).collect();
        let progress = Progress::new(sizes.map(|sizes| sizes.iter().sum()));
        let mut files = Self {
            current: None,
            options: options.clone(),
            last_time: 0.0,
            first: None,
            progress,
            follow: false,
            waiting: Vec::new(),
        };
        files.begin(first)?;
        files.waiting = others.iter().rev().cloned().collect();
        Ok(files)
    }

    /// The format of the file that is read now.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.current.as_ref().map(|current| current.format)
    }

    fn begin(&mut self, path: &Path) -> Result<()> {
        let input = Input::open_for(path, self.progress.clone())?;
        let (format, source) = source_of(input, &self.options)?;
        self.current = Some(Current {
            source,
            format,
            offset: None,
        });
        Ok(())
    }
}

impl LineSource for Files {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(path) = self.waiting.pop() else {
                    return Ok(None);
                };
                self.begin(&path)?;
                continue;
            };
            let is_last = self.waiting.is_empty();
            if is_last && self.follow {
                current.source.set_follow(true);
            }
            let Some(block) = current.source.next_block()? else {
                if is_last {
                    return Ok(None); // more may come, or none ever
                }
                self.current = None;
                continue;
            };
            match &self.first {
                None => self.first = Some(block.empty()),
                Some(first) => check_columns(first, &block)?,
            }
            let n_columns = block.columns().len();
            let values = block.values();
            let (Some(&first_time), Some(last_row)) =
                (values.first(), values.len().checked_sub(n_columns))
            else {
                return Ok(Some(block));
            };
            let offset = *current.offset.get_or_insert_with(|| {
                let is_continued = match self.options.times {
                    Times::Keep => false,
                    Times::Continue => true,
                    Times::Auto => current.format.has_own_clock() || first_time < self.last_time,
                };
                if is_continued { self.last_time } else { 0.0 }
            });
            self.last_time = values[last_row] + offset;
            if offset == 0.0 {
                return Ok(Some(block));
            }
            let mut values = values.to_vec();
            for time in values.iter_mut().step_by(n_columns) {
                *time += offset;
            }
            return Ok(Some(block.with_values(values)));
        }
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Follows the last file.
    fn set_follow(&mut self, follow: bool) -> bool {
        let is_possible = match &mut self.current {
            Some(current) if self.waiting.is_empty() => current.source.set_follow(follow),
            _ => true, // known when the last one is begun
        };
        self.follow = follow && is_possible;
        is_possible
    }
}

/// Files named by paths and patterns (`run*.da*`), each once, in natural order: `run2` comes before `run10`.
///
/// A path that exists is no pattern.
///
/// # Errors
/// [`Error::File`] for a pattern that fits no file or makes no sense; [`Error::Io`] for a folder that cannot be read.
pub fn expand<P: AsRef<Path>>(inputs: impl IntoIterator<Item = P>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        let input = input.as_ref();
        let pattern = input
            .to_str()
            .filter(|text| text.contains(['*', '?', '[']))
            .filter(|_| !input.exists());
        let Some(pattern) = pattern else {
            files.push(input.to_owned());
            continue;
        };
        let problem = |problem: String| Error::File {
            path: input.to_owned(),
            problem,
        };
        let found = glob::glob(pattern).map_err(|error| problem(error.to_string()))?;
        let before = files.len();
        for path in found {
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                Error::reading(path)(error.into())
            })?;
            if !path.is_dir() {
                files.push(path);
            }
        }
        if files.len() == before {
            return Err(problem("no file fits this pattern".into()));
        }
    }
    files.sort_by(|a, b| natural_order(a, b));
    files.dedup();
    Ok(files)
}

/// Numbers within names by their value, the rest as it stands.
fn natural_order(a: &Path, b: &Path) -> Ordering {
    let (left, right) = (a.to_string_lossy(), b.to_string_lossy());
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while let (Some(x), Some(y)) = (left.first(), right.first()) {
        if !(x.is_ascii_digit() && y.is_ascii_digit()) {
            if x != y {
                return x.cmp(y);
            }
            (left, right) = (&left[1..], &right[1..]);
            continue;
        }
        let (x, y) = (number(&mut left), number(&mut right));
        let order = x.len().cmp(&y.len()).then(x.cmp(y));
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The digits at the start, without leading zeros; they are taken away.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let n = text.iter().take_while(is_digit).count();
    let (digits, rest) = text.split_at(n);
    *text = rest;
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;
    use crate::data::Attribute;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut input = Input::from_bytes("bytes", bytes).unwrap();
        let mut all = Vec::new();
        input.read_to_end(&mut all)?;
        assert_eq!(
            input.progress().bytes_read(),
            input.progress().bytes_total().unwrap_or(0)
        );
        Ok(all)
    }

    #[test]
    fn all_members_and_frames_are_unpacked() {
        let text: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n.wrapping_mul(n) % 251).to_le_bytes())
            .collect();
        let (front, back) = text.split_at(70_000);
        let nothing: &[u8] = &[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]; // a frame to skip
        for packed in [
            text.clone(),
            gzip(&text),
            [gzip(front), gzip(back)].concat(),
            [gzip(front), gzip(&[]), gzip(back)].concat(),
            zstd(&text),
            [zstd(front), nothing.to_vec(), zstd(back)].concat(),
            [nothing.to_vec(), zstd(&text), nothing.to_vec()].concat(),
        ] {
            assert!(unpacked(&packed).unwrap() == text);
        }
        for short in [&b""[..], b"1", b"\x1f", b"abc"] {
            assert_eq!(unpacked(short).unwrap(), short);
        }
    }

    #[test]
    fn damaged_archives_are_errors() {
        let text = b"1 2 3 4 5\n".repeat(10_000);
        for packed in [gzip(&text), zstd(&text)] {
            assert!(unpacked(&packed[..packed.len() - 3]).is_err());
            assert!(unpacked(&packed[..packed.len() / 2]).is_err());
            assert!(unpacked(&packed[..5]).is_err());
            let mut other = packed.clone();
            let n = other.len();
            other[n - 6] ^= 1;
            assert!(unpacked(&other).is_err());
            assert!(unpacked(&[packed, b"garbage".to_vec()].concat()).is_err());
        }
    }

    #[test]
    fn lines_and_words_are_handed_out_whole_whatever_is_read_at_a_time() {
        let text = b"\xef\xbb\xbfa\n\nbcdefghijklmnopqrstuvwxyz0123456789\nend";
        for (unit, start, end) in [(Unit::Lines, 3, text.len()), (Unit::Words, 0, 44)] {
            for at_a_time in [1, 16, 17, 1000] {
                let input = Input::from_bytes("text", &text[..]).unwrap();
                let mut ahead = Ahead::new(input, unit, at_a_time);
                let mut all = Vec::new();
                while ahead.fill().unwrap() {
                    let whole = ahead.whole();
                    let is_last = start + all.len() + whole.len() == end;
                    assert!(is_last || unit.cut(whole) == whole.len());
                    let n = whole.len().min(8);
                    all.extend_from_slice(&whole[..n]);
                    ahead.consume(n);
                }
                assert_eq!(all, text[start..end]);
                assert_eq!(ahead.n_left_over(), text.len() - end);
            }
        }
    }

    #[test]
    fn endless_lines_are_an_error() {
        let input = Input::from_reader("zeros", std::io::repeat(b'0')).unwrap();
        let mut ahead = Ahead::new(input, Unit::Lines, 100);
        assert!(
            ahead
                .fill()
                .unwrap_err()
                .to_string()
                .contains("more than 4 MiB")
        );
        assert!(ahead.bytes.len() <= LONGEST);
    }

    fn kind(bytes: &[u8]) -> Result<Format> {
        let mut input = Input::from_bytes("file", bytes).unwrap();
        let found = input.format();
        let mut all = Vec::new();
        input.read_to_end(&mut all).unwrap();
        if !input.is_compressed() {
            assert_eq!(all, bytes); // all is still there
        }
        found
    }

    #[test]
    fn formats_are_known_by_their_content() {
        let flag = adac_forte::FLAG.to_le_bytes();
        let adac = [&[0; adac_forte::HEADER][..], &flag].concat();
        let modular = [&[b' '; modular_camera::HEADER][..], &flag, &[1; 8]].concat();
        let screens = "Some words\n1 2 3\nSeparation= 712\n0 1\t2, 3 4\n".as_bytes();
        for (bytes, format) in [
            (&adac[..], Format::AdacForte),
            (&gzip(&adac), Format::AdacForte),
            (&modular, Format::ModularCamera),
            (screens, Format::ParallelScreens),
            (&zstd(screens), Format::ParallelScreens),
            (b"\xef\xbb\xbf1 2 3 4 5", Format::ParallelScreens),
            (b"t,x1,y1,z1,x2,y2,z2\n", Format::Lines),
            (b"# t x1 y1 z1 x2 y2 z2\n1 2 3 4 5 6 7\n", Format::Lines),
            (b"1;2;3;4;5;6;7;8\r\n", Format::Lines),
            (b"t,x,y,z,error\n1,2,3,4,5\n", Format::Points),
            (b"# t x y z\n", Format::Points),
            (b"\x93NUMPY", Format::NumPy),
            (b"ARROW1\0\0", Format::Arrow),
        ] {
            assert_eq!(kind(bytes).unwrap(), format);
        }
        for (bytes, problem) in [
            (&b""[..], "the file is empty"),
            (b"\xff\xfe1\0", "UTF-16"),
            (&[0; 5000], "neither text"),
            (b"1 2 3\nabc\n", "no line of 5 numbers"),
        ] {
            assert!(kind(bytes).unwrap_err().to_string().contains(problem));
        }
    }

    #[test]
    fn natural_order_is_that_of_people() {
        let sorted = [
            "", "1", "01", "2", "10", "a", "a.da1", "a.da2", "a.da10", "a1b2", "a1b10", "a2", "b",
        ];
        for (n, a) in sorted.iter().enumerate() {
            for (m, b) in sorted.iter().enumerate() {
                let found = natural_order(Path::new(a), Path::new(b));
                // Numbers of equal value in the order of their text.
                let equal = ["1", "01"];
                if !(equal.contains(a) && equal.contains(b)) || n == m {
                    assert_eq!(found, n.cmp(&m), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn patterns_give_files_once_in_natural_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["run.da10", "run.da9", "[x]*.csv", "other"] {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::create_dir(path("run.dadir")).unwrap();
        let found = expand([path("run.da*"), path("run.da9"), path("[x]*.csv")]).unwrap();
        assert_eq!(found, [path("[x]*.csv"), path("run.da9"), path("run.da10")]);
        let missing = expand([path("no*")]).unwrap_err().to_string();
        assert!(missing.contains("no file fits this pattern"));
        assert!(expand([path("a[")]).is_err());
        // What does not exist says so when it is opened.
        assert_eq!(expand([path("none")]).unwrap(), [path("none")]);
    }

    fn screens(folder: &Path, name: &str, times: &[f64]) -> PathBuf {
        let path = folder.join(name);
        let rows: Vec<_> = times.iter().map(|t| format!("{t} 1 2 3 4\n")).collect();
        std::fs::write(&path, format!("Separation= 700\n{}", rows.concat())).unwrap();
        path
    }

    #[test]
    fn times_go_on_from_file_to_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            screens(folder.path(), "a", &[1.0, 5.0]),
            screens(folder.path(), "b", &[2.0, 3.0]), // starts again
            screens(folder.path(), "c", &[9.0]),      // goes on
        ];
        let times = |times: Times, block_rows: usize| {
            let options = Options {
                block_rows,
                times,
                ..Options::default()
            };
            let files = Files::open(&files, &options).unwrap();
            let progress = files.progress();
            let lors = read_all(files).unwrap();
            assert_eq!(Some(progress.bytes_read()), progress.bytes_total());
            assert_eq!(lors.attributes()["separation"], Attribute::Number(700.0));
            lors.column(0)
        };
        for rows in [0, 1, 1000] {
            assert_eq!(times(Times::Auto, rows), [1.0, 5.0, 7.0, 8.0, 9.0]);
            assert_eq!(times(Times::Continue, rows), [1.0, 5.0, 7.0, 8.0, 17.0]);
            assert_eq!(times(Times::Keep, rows), [1.0, 5.0, 2.0, 3.0, 9.0]);
        }
    }

    #[test]
    fn files_that_do_not_go_together_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let a = screens(folder.path(), "a", &[1.0]);
        let lines = folder.path().join("lines");
        std::fs::write(&lines, "1 2 3 4 5 6 7 8\n").unwrap();
        let options = Options::default();
        let both = read_all(Files::open([&a, &lines], &options).unwrap());
        assert!(both.unwrap_err().to_string().contains("z2 and then t"));
        let missing = folder.path().join("missing");
        assert!(matches!(
            Files::open([&a, &missing], &options),
            Err(Error::Io { .. })
        ));
        assert!(Files::open([&a, &PathBuf::from("-")], &options).is_err());
        assert!(Files::open([""; 0], &options).is_err());
        assert!(open(folder.path(), &options).is_err());
        let separation = Options {
            separation: Some(1.0),
            ..options.clone()
        };
        let found = open(&lines, &separation).map(|_| ());
        assert!(matches!(found, Err(Error::Parameter { .. })));
        let rate = Options {
            clock_rate: Some(1.0),
            ..options
        };
        assert!(Files::open([&a], &rate).is_err());
    }

    #[test]
    fn tables_in_memory_and_functions_are_sources() {
        let rows = Array2::from_shape_fn((10, 8), |(row, column)| (row * 8 + column) as f64);
        let lors = LineData::new(rows)
            .unwrap()
            .with_attribute("a", Attribute::Number(1.0));
        for rows in [0, 1, 3, 10, usize::MAX] {
            assert_eq!(read_all(Blocks::new(lors.clone(), rows)).unwrap(), lors);
        }
        let mut blocks = Blocks::new(lors.clone(), 4);
        let source = from_fn(|| {
            let block = blocks.next_block()?;
            Ok(block.map(|block| block.with_attribute("b", Attribute::Number(2.0))))
        });
        assert_eq!(read_all(source).unwrap().attributes().len(), 2);
        let mut n = 0.0;
        let different = from_fn(|| {
            n += 1.0;
            Ok((n < 4.0).then(|| lors.clone().with_attribute("a", Attribute::Number(n))))
        });
        let all = read_all(different).unwrap();
        assert_eq!((all.n_rows(), all.attributes().len()), (30, 0));
        assert_eq!(read_all(from_fn(|| Ok(None))).unwrap().n_rows(), 0);
        assert_eq!(Blocks::new(lors, 1).progress().bytes_total(), Some(640));
    }

    #[test]
    fn a_growing_file_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = screens(folder.path(), "a", &[1.0]);
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        let mut files = Files::open([&path], &Options::default()).unwrap();
        assert!(files.set_follow(true));
        let mut next = || {
            let block = files.next_block()?;
            Ok::<_, Error>(block.map(|block| block.column(0)))
        };
        assert_eq!(next().unwrap(), Some(vec![1.0]));
        assert_eq!(next().unwrap(), None);
        file.write_all(b"2 1 2 3 4\n3 1 2").unwrap();
        assert_eq!(next().unwrap(), Some(vec![2.0]));
        assert_eq!(next().unwrap(), None);
        file.write_all(b" 3 4\n4 1 2 3 4").unwrap();
        assert_eq!(next().unwrap(), Some(vec![3.0]));
        assert_eq!(next().unwrap(), None);
        assert!(files.set_follow(false));
        assert_eq!(files.next_block().unwrap().unwrap().column(0), [4.0]);
        assert_eq!(files.next_block().unwrap(), None);

        file.write_all(b"\nbad\n").unwrap();
        let mut files = Files::open([&path], &Options::default()).unwrap();
        files.set_follow(true);
        let problem = files.next_block().unwrap_err().to_string();
        assert!(problem.contains("a:6: \"bad\""), "{problem}");
        let packed = folder.path().join("packed");
        std::fs::write(&packed, gzip(b"1 2 3 4 5 6 7\n")).unwrap();
        let mut source = open(&packed, &Options::default()).unwrap();
        assert!(!source.set_follow(true) && source.set_follow(false));
    }
}
