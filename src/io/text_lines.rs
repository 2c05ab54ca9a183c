//! Text tables of lines: rows `t x1 y1 z1 x2 y2 z2 ...` (ms, mm), of any size.
//!
//! Values are separated by blanks, tabs, commas or semicolons, which the first row shows. A line before it may name the columns, plain
//! or after a `#`, as the Python package `pept` writes it; then the first seven have to be `t x1 y1 z1 x2 y2 z2`. Empty lines and lines
//! that start with `#` are no rows. Between commas, semicolons or single tabs nothing is NaN. Windows line ends and a byte order mark
//! are understood.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::source::{
    Ahead, BLOCK_ROWS, Format, Input, LineSource, Pending, Progress, Unit, block, read_all,
};
use crate::data::{Attributes, Contents, LineData, Lines};
use crate::error::Result;

/// What a thread parses at a time.
const PIECE: usize = 1 << 18;
/// About the bytes of a row.
const ROW: usize = 64;
/// Characters of a bad line that a message shows.
const SHOWN: usize = 60;

/// Reads a whole file.
///
/// # Errors
/// As [`TextLines`] and [`Input::open`].
pub fn read(path: impl AsRef<Path>) -> Result<LineData> {
    read_all(TextLines::open(path)?)
}

/// Reads a text table of lines block by block.
///
/// Its errors are [`Error::Io`](crate::Error::Io), [`Error::File`](crate::Error::File) for a file without any row and
/// [`Error::Parse`](crate::Error::Parse) with the number of a line that is no row
/// or a row of another length, or that has NaN or infinity in the first seven columns.
#[derive(Debug)]
pub struct TextLines {
    lines: Ahead,
    n_lines: usize,
    head: Head,
    columns: Arc<[String]>,
    rows: Pending,
    pieces: Pieces,
    block_rows: usize,
    /// Whether a row has been read.
    has_rows: bool,
}

/// What is before the first row, and then how rows are written.
#[derive(Debug)]
enum Head {
    Unknown(Finder),
    Known(Layout),
}

impl TextLines {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Input::open(path).map(Self::new)
    }

    /// Reads text.
    #[must_use]
    pub fn new(input: Input) -> Self {
        Self {
            lines: Ahead::new(input, Unit::Lines, at_a_time()),
            n_lines: 0,
            head: Head::Unknown(Finder::default()),
            columns: Arc::from([]),
            rows: Pending::default(),
            pieces: Pieces::default(),
            block_rows: BLOCK_ROWS,
            has_rows: false,
        }
    }

    /// At most so many rows a block, at least 1.
    #[must_use]
    pub fn block_rows(mut self, rows: usize) -> Self {
        self.block_rows = rows.max(1);
        let at_a_time = self.block_rows.saturating_mul(ROW).min(at_a_time());
        self.lines.set_at_a_time(at_a_time);
        self
    }

    /// What separates values; by default what the first row shows.
    #[must_use]
    pub fn separator(mut self, separator: Separator) -> Self {
        self.head = Head::Unknown(Finder::new(Some(separator)));
        self
    }

    /// Finds out how rows are written; the first row is not taken away.
    fn read_head(&mut self) -> Result<()> {
        let Head::Unknown(finder) = &mut self.head else {
            return Ok(());
        };
        let mut n_bytes = 0;
        let mut found = None;
        for line in lines_of(self.lines.whole()) {
            let next = finder.next(line.text, self.n_lines + 1);
            found = next.map_err(|problem| {
                self.lines
                    .input
                    .origin()
                    .error_at(self.n_lines + 1 - problem.line, problem.text)
            })?;
            if found.is_some() {
                break;
            }
            self.n_lines += 1;
            n_bytes += line.n_bytes;
        }
        self.lines.consume(n_bytes);
        if let Some(layout) = found {
            self.columns = self.columns(&layout)?;
            self.head = Head::Known(layout);
        }
        Ok(())
    }

    fn columns(&self, layout: &Layout) -> Result<Arc<[String]>> {
        let standard = Lines::COLUMNS;
        let n = layout.n_columns;
        if n < standard.len() {
            return Err(self.lines.input.origin().error_at(
                self.n_lines + 1,
                format!(
                    "a row of {n} values, but lines have {} and more ({} ...)",
                    standard.len(),
                    standard.join(" ")
                ),
            ));
        }
        let Some(names) = &layout.names else {
            let extra = (standard.len()..n).map(|n| format!("col{n}"));
            let standard = standard.iter().copied().map(str::to_owned);
            return Ok(standard.chain(extra).collect());
        };
        let first = names.iter().take(standard.len()).map(String::as_str);
        if !first.eq(standard.iter().copied()) {
            return Err(self.lines.input.origin().error(format!(
                "the columns should be {} ..., but are \"{}\"",
                standard.join(" "),
                shown(names.join(" ").as_bytes())
            )));
        }
        Ok(names.iter().cloned().collect())
    }

    /// Reads more rows; false at the end.
    fn read_rows(&mut self) -> Result<bool> {
        if !self.lines.fill()? {
            if self.has_rows || self.lines.follows {
                return Ok(false);
            }
            return Err(self.lines.input.origin().error(if self.n_lines == 0 {
                "the file is empty"
            } else {
                "there is no row"
            }));
        }
        self.read_head()?;
        let Head::Known(layout) = &self.head else {
            return Ok(true);
        };
        let text = self.lines.whole();
        let n_bytes = text.len();
        let parse = |text: &[u8], values: &mut Vec<f64>| {
            parse_rows(text, layout, Lines::COLUMNS.len(), usize::MAX, values)
        };
        for (parsed, values) in self.pieces.parse(text, parse) {
            let parsed = parsed.map_err(|problem| {
                let line = self.n_lines + 1 + problem.line;
                self.lines.input.origin().error_at(line, problem.text)
            })?;
            self.n_lines += parsed.lines;
            self.has_rows |= parsed.rows > 0;
            self.rows.push(values);
        }
        self.lines.consume(n_bytes);
        Ok(true)
    }
}

impl LineSource for TextLines {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        loop {
            let wanted = self.block_rows.saturating_mul(self.columns.len());
            if let Some(values) = self.rows.take(wanted) {
                return block(values, &self.columns, &Attributes::new()).map(Some);
            }
            if !self.read_rows()? {
                return Ok(None);
            }
        }
    }

    fn progress(&self) -> Progress {
        self.lines.input.progress().clone()
    }

    fn set_follow(&mut self, follow: bool) -> bool {
        self.lines.set_follow(follow)
    }
}

/// What separates the values of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// Any number of blanks and tabs.
    Blank,
    /// One tab.
    Tab,
    /// A comma, and blanks around it.
    Comma,
    /// A semicolon, and blanks around it.
    Semicolon,
}

impl Separator {
    fn byte(self) -> u8 {
        match self {
            Self::Blank => b' ',
            Self::Tab => b'\t',
            Self::Comma => b',',
            Self::Semicolon => b';',
        }
    }
}

/// How the rows of a table are written.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) names: Option<Vec<String>>,
    pub(super) separator: Separator,
    pub(super) n_columns: usize,
}

/// Something wrong in a text.
#[derive(Debug)]
pub(super) struct Problem {
    /// In rows: how many lines of the text are before it. In a head: how many lines ago it was.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Finds out how rows are written, from the lines before the first and that.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// If it is known already.
    separator: Option<Separator>,
    /// The last line after a `#`.
    comment: Option<Vec<u8>>,
    /// A line of names and its number.
    names: Option<(Vec<u8>, usize)>,
}

impl Finder {
    pub(super) fn new(separator: Option<Separator>) -> Self {
        Self {
            separator,
            ..Self::default()
        }
    }

    /// Looks at the next line; gives the layout if it is a row.
    pub(super) fn next(&mut self, line: &[u8], number: usize) -> Result<Option<Layout>, Problem> {
        let text = line.trim_ascii();
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(comment) = text.strip_prefix(b"#") {
            self.comment = Some(comment.trim_ascii().to_vec());
            return Ok(None);
        }
        let candidates = match self.separator {
            Some(separator) => vec![separator],
            None => Separator::of(text),
        };
        let mut rows: Vec<(Separator, usize, bool)> = Vec::new();
        for separator in candidates {
            let mut values = Vec::new();
            if let Line::Row = row(line, separator, 0, &mut values).0 {
                let has_gaps = is_strict(separator) && has_gaps(line, separator);
                rows.push((separator, values.len(), has_gaps));
            }
        }
        if rows.is_empty() {
            return self.names_or_nothing(text, number).map(|()| None);
        }
        self.layout(&rows, number).map(Some)
    }

    /// The names of a table without rows.
    pub(super) fn only_names(&self) -> Option<Vec<String>> {
        let plain = self.names.as_ref().map(|(names, _)| names);
        let names = plain.or(self.comment.as_ref())?;
        let separator = self.separator.unwrap_or(Separator::of(names)[0]);
        Some(names_in(names, separator))
    }

    /// A line that is no row may name the columns.
    fn names_or_nothing(&mut self, text: &[u8], number: usize) -> Result<(), Problem> {
        let separator = self.separator.unwrap_or(Separator::of(text)[0]);
        let is_number = |name: &String| fast_float2::parse::<f64, _>(name).is_ok();
        if self.names.is_none() && !names_in(text, separator).iter().any(is_number) {
            self.names = Some((text.to_vec(), number));
            return Ok(());
        }
        Err(Problem {
            line: 0,
            text: format!("\"{}\" is not a row of numbers", shown(text)),
        })
    }

    /// The separator that fits the names, or leaves no gaps, or is more special.
    fn layout(&self, rows: &[(Separator, usize, bool)], number: usize) -> Result<Layout, Problem> {
        let fitting = |text: &[u8]| {
            rows.iter().find_map(|&(separator, n_columns, _)| {
                let has_blanks_only = !text.contains(&separator.byte());
                let by = if has_blanks_only {
                    Separator::Blank
                } else {
                    separator
                };
                let names = names_in(text, by);
                (names.len() == n_columns).then_some(Layout {
                    names: Some(names),
                    separator,
                    n_columns,
                })
            })
        };
        let no_gaps = rows.iter().find(|&&(_, _, has_gaps)| !has_gaps);
        let &(separator, n_columns, _) = no_gaps.unwrap_or(&rows[0]);
        if let Some((names, line)) = &self.names {
            return fitting(names).ok_or_else(|| Problem {
                line: number - line,
                text: format!(
                    "\"{}\" should name {n_columns} columns: the first row has so many values",
                    shown(names)
                ),
            });
        }
        let by_comment = self.comment.as_deref().and_then(fitting);
        Ok(by_comment.unwrap_or(Layout {
            names: None,
            separator,
            n_columns,
        }))
    }
}

impl Separator {
    /// What may separate the values of a line, the most special first.
    fn of(line: &[u8]) -> Vec<Self> {
        let mut found: Vec<_> = [Self::Semicolon, Self::Comma, Self::Tab]
            .into_iter()
            .filter(|separator| line.contains(&separator.byte()))
            .collect();
        found.push(Self::Blank);
        found
    }
}

/// Whether a separator counts one by one.
fn is_strict(separator: Separator) -> bool {
    separator != Separator::Blank
}

fn has_gaps(line: &[u8], separator: Separator) -> bool {
    line.split(|&byte| byte == separator.byte())
        .any(|field| field.trim_ascii().is_empty())
}

/// The names in a line, without blanks and quotes around them; a separator within quotes belongs to the name.
fn names_in(line: &[u8], separator: Separator) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    if separator == Separator::Blank {
        return line.split_whitespace().map(bare).collect();
    }
    let mut is_quoted = false;
    line.split(|c| {
        is_quoted ^= c == '"';
        c == char::from(separator.byte()) && !is_quoted
    })
    .map(bare)
    .collect()
}

fn bare(name: &str) -> String {
    let name = name.trim();
    let within = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    within.map_or_else(|| name.to_owned(), |within| within.replace("\"\"", "\""))
}

/// What a text is by its first lines; `None` if they do not show it. An unfinished last line counts only `at_end`.
pub(super) fn kind_of_text(head: &[u8], at_end: bool) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let end = if at_end {
        head.len()
    } else {
        memchr::memrchr(b'\n', head)?
    };
    lines_of(&head[..end]).find_map(|line| {
        let text = line.text.trim_ascii();
        let text = text.strip_prefix(b"#").unwrap_or(text);
        let separators = Separator::of(text);
        let names = names_in(&text[..text.len().min(SHOWN)], separators[0]);
        let begins = |names: &[String], with: &[&str]| {
            names
                .iter()
                .take(with.len())
                .map(String::as_str)
                .eq(with.iter().copied())
        };
        if begins(&names, &Lines::COLUMNS[..4]) {
            return Some(Format::Lines);
        }
        if begins(&names, crate::data::Points::COLUMNS) {
            return Some(Format::Points);
        }
        let mut values = Vec::new();
        let is_row = separators
            .into_iter()
            .any(|separator| matches!(row(text, separator, 0, &mut values).0, Line::Row))
            || matches!(free_row(text, 0, &mut values).0, Line::Row);
        match values.len() {
            5 if is_row => Some(Format::ParallelScreens),
            7.. if is_row => Some(Format::Lines),
            _ => None,
        }
    })
}

/// A line of a text.
pub(super) struct TextLine<'a> {
    /// Without its end.
    pub(super) text: &'a [u8],
    /// With its end.
    pub(super) n_bytes: usize,
}

/// The lines of a text, without their ends (`\n` or `\r\n`).
pub(super) fn lines_of(text: &[u8]) -> impl Iterator<Item = TextLine<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line = first_line(rest);
        rest = &rest[line.n_bytes..];
        Some(line)
    })
}

pub(super) fn first_line(text: &[u8]) -> TextLine<'_> {
    let (end, n_bytes) =
        memchr::memchr(b'\n', text).map_or((text.len(), text.len()), |end| (end, end + 1));
    let line = &text[..end];
    TextLine {
        text: line.strip_suffix(b"\r").unwrap_or(line),
        n_bytes,
    }
}

/// Text that is read at a time: what all threads parse.
pub(super) fn at_a_time() -> usize {
    const MOST: usize = 1 << 22;
    rayon::current_num_threads().saturating_mul(PIECE).min(MOST)
}

/// Parses texts of whole lines in parallel.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Values and bytes of the last text.
    n_values: usize,
    n_bytes: usize,
}

impl Pieces {
    /// What `parse` makes of pieces of a text, in order, and the values that it appends.
    pub(super) fn parse<T: Send>(
        &mut self,
        text: &[u8],
        parse: impl Fn(&[u8], &mut Vec<f64>) -> T + Sync,
    ) -> Vec<(T, Vec<f64>)> {
        let parse = |piece: &[u8]| {
            let mut values = Vec::with_capacity(self.expected(piece.len()));
            (parse(piece, &mut values), values)
        };
        let pieces = pieces(text);
        let parsed: Vec<_> = match pieces.as_slice() {
            &[piece] => vec![parse(piece)],
            pieces => pieces.par_iter().map(|piece| parse(piece)).collect(),
        };
        self.n_values = parsed.iter().map(|(_, values)| values.len()).sum();
        self.n_bytes = text.len();
        parsed
    }

    /// How many values a text has, if it is like the last one: memory that grows step by step costs more than parsing.
    fn expected(&self, n_bytes: usize) -> usize {
        let likely = match self.n_bytes {
            0 => n_bytes / 8,
            last => n_bytes * self.n_values / last,
        };
        (likely + likely / 16).min(n_bytes)
    }
}

/// A text in pieces of whole lines, as many as it pays to parse in parallel.
fn pieces(text: &[u8]) -> Vec<&[u8]> {
    if text.len() <= PIECE || rayon::current_num_threads() < 2 {
        return vec![text];
    }
    let mut pieces = Vec::with_capacity(text.len() / PIECE + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let after = rest.get(PIECE..).unwrap_or_default();
        let end = memchr::memchr(b'\n', after).map_or(rest.len(), |end| PIECE + end + 1);
        let (piece, others) = rest.split_at(end);
        pieces.push(piece);
        rest = others;
    }
    pieces
}

/// What [`parse_rows`] found.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) rows: usize,
    pub(super) lines: usize,
    pub(super) bytes: usize,
}

/// Appends rows of a text of whole lines, at most so many; the first `n_finite` values of each have to be finite.
pub(super) fn parse_rows(
    text: &[u8],
    layout: &Layout,
    n_finite: usize,
    max_rows: usize,
    values: &mut Vec<f64>,
) -> Result<Parsed, Problem> {
    // One loop for each, so that the compiler knows which.
    if is_strict(layout.separator) {
        parse_rows_as::<true>(text, layout, n_finite, max_rows, values)
    } else {
        parse_rows_as::<false>(text, layout, n_finite, max_rows, values)
    }
}

fn parse_rows_as<const STRICT: bool>(
    text: &[u8],
    layout: &Layout,
    n_finite: usize,
    max_rows: usize,
    values: &mut Vec<f64>,
) -> Result<Parsed, Problem> {
    let mut parsed = Parsed::default();
    let separator = layout.separator.byte();
    while parsed.bytes < text.len() && parsed.rows < max_rows {
        let start = values.len();
        let (line, end) = row_as::<STRICT>(text, parsed.bytes, separator, values);
        let problem = match line {
            Line::Blank => None,
            Line::Row => {
                let row = &values[start..];
                parsed.rows += 1;
                if row.len() != layout.n_columns {
                    Some(format!(
                        "a row of {} values, but those before it have {}",
                        row.len(),
                        layout.n_columns
                    ))
                } else if row.iter().take(n_finite).all(|value| value.is_finite()) {
                    None
                } else {
                    let line = first_line(&text[parsed.bytes..]).text;
                    Some(format!(
                        "NaN or infinity in \"{}\"; remove the row",
                        shown(line)
                    ))
                }
            }
            Line::Text => {
                let line = first_line(&text[parsed.bytes..]).text;
                (!is_comment(line)).then(|| format!("\"{}\" is not a row of numbers", shown(line)))
            }
        };
        if let Some(text) = problem {
            return Err(Problem {
                line: parsed.lines,
                text,
            });
        }
        parsed.lines += 1;
        parsed.bytes = match line {
            Line::Text => parsed.bytes + first_line(&text[parsed.bytes..]).n_bytes,
            _ => end,
        };
    }
    Ok(parsed)
}

pub(super) fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"#")
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Blank,
    /// Its values were appended.
    Row,
    /// Nothing was appended.
    Text,
}

/// The line that starts at a place, and where the next one starts unless it is text.
fn row(text: &[u8], separator: Separator, at: usize, values: &mut Vec<f64>) -> (Line, usize) {
    if is_strict(separator) {
        row_as::<true>(text, at, separator.byte(), values)
    } else {
        row_as::<false>(text, at, separator.byte(), values)
    }
}

/// The same with any number of blanks, tabs and commas between values.
#[inline]
pub(super) fn free_row(text: &[u8], at: usize, values: &mut Vec<f64>) -> (Line, usize) {
    row_as::<false>(text, at, b',', values)
}

#[inline(always)]
fn row_as<const STRICT: bool>(
    text: &[u8],
    mut at: usize,
    separator: u8,
    values: &mut Vec<f64>,
) -> (Line, usize) {
    let start = values.len();
    let is_skipped = |byte: u8| match byte {
        b' ' => true,
        b'\t' => !STRICT || separator != b'\t',
        byte => !STRICT && byte == separator,
    };
    let skip = |at: &mut usize| {
        while text.get(*at).is_some_and(|&byte| is_skipped(byte)) {
            *at += 1;
        }
    };
    loop {
        // Most values start where the last separator ended.
        let is_number = |&byte: &u8| byte.is_ascii_digit() || byte == b'-';
        if !text.get(at).is_some_and(is_number) {
            skip(&mut at);
            if let Some(next) = line_end(text, at) {
                if values.len() == start {
                    return (Line::Blank, next);
                }
                if STRICT {
                    values.push(f64::NAN); // after the last separator
                }
                return (Line::Row, next);
            }
            if STRICT && text[at] == separator {
                values.push(f64::NAN);
                at += 1;
                continue;
            }
        }
        let Some((value, length)) = number(&text[at..]) else {
            break;
        };
        values.push(value);
        at += length;
        match text.get(at) {
            Some(&byte) if byte == separator => {
                at += 1;
                continue;
            }
            Some(&byte) if is_skipped(byte) => skip(&mut at),
            _ => {
                if let Some(next) = line_end(text, at) {
                    return (Line::Row, next);
                }
                break;
            }
        }
        if STRICT {
            // Blanks after a value.
            if let Some(next) = line_end(text, at) {
                return (Line::Row, next);
            }
            if text[at] != separator {
                break;
            }
            at += 1;
        }
    }
    values.truncate(start);
    (Line::Text, at)
}

/// Where the next line starts, if this one ends at `at`.
#[inline(always)]
fn line_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at) {
        None => Some(at),
        Some(b'\n') => Some(at + 1),
        Some(b'\r') => match text.get(at + 1) {
            None => Some(at + 1),
            Some(b'\n') => Some(at + 2),
            Some(_) => None,
        },
        Some(_) => None,
    }
}

/// The number at the start of a text, and its length.
#[inline(always)]
fn number(text: &[u8]) -> Option<(f64, usize)> {
    short_number(text).or_else(|| fast_float2::parse_partial(text).ok())
}

/// The number at the start of a text if it takes at most seven bytes, such as `-432.5`, without a branch on its digits: half the time of
/// a loop. Mantissa and power of ten are exact, so that their quotient is the nearest number.
#[inline(always)]
fn short_number(text: &[u8]) -> Option<(f64, usize)> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    const LOW: u64 = 0x7f * EACH;
    const POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    let is_negative = *text.first()? == b'-';
    let sign = usize::from(is_negative);
    let word = u64::from_le_bytes(*text.get(sign..)?.first_chunk()?);
    // The high bit of each byte that is no digit, and of each that is a point.
    let digits = word ^ (u64::from(b'0') * EACH);
    let not_digit = (((digits & LOW) + 0x76 * EACH) | digits) & HIGH;
    let point = word ^ (u64::from(b'.') * EACH);
    let is_point = !(((point & LOW) + LOW) | point) & HIGH;
    let end = not_digit & !is_point;
    if end == 0 {
        return None;
    }
    let before = (end & end.wrapping_neg()) - 1; // bits below the end
    let length = end.trailing_zeros() / 8;
    let points = is_point & before;
    let (digits, n_digits, n_after) = if points == 0 {
        (digits, length, 0)
    } else {
        // Without the point.
        let at = points.trailing_zeros() / 8;
        let front = (1 << (8 * at)) - 1;
        (
            (digits & front) | (digits >> 8 & !front),
            length - 1,
            length - 1 - at,
        )
    };
    let next = text[sign + length as usize];
    if n_digits == 0 || points.count_ones() > 1 || next | 0x20 == b'e' {
        return None;
    }
    // Eight digits, zeros before them: pairs, pairs of pairs, all.
    let digits = digits << (64 - 8 * n_digits);
    let digits = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let digits = (digits * 100 + (digits >> 16)) & 0x0000_ffff_0000_ffff;
    let mantissa = (digits * 10_000 + (digits >> 32)) & 0xffff_ffff;
    let value = mantissa as f64 / POWERS[n_after as usize & 7];
    let value = if is_negative { -value } else { value };
    Some((value, sign + length as usize))
}

/// The start of a line, for a message.
pub(super) fn shown(line: &[u8]) -> String {
    let start = &line[..line.len().min(4 * SHOWN + 4)];
    let text: String = String::from_utf8_lossy(start)
        .chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(text: impl AsRef<[u8]>) -> TextLines {
        TextLines::new(Input::from_bytes("file", text.as_ref()).unwrap())
    }

    fn read(text: impl AsRef<[u8]>) -> Result<LineData> {
        read_all(source(text))
    }

    fn problem(text: impl AsRef<[u8]>) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn separators_names_comments_and_line_ends_are_understood() {
        let expected = [
            0.5, 1.0, -2.0, 1e300, 7.0, 8.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -0.5,
        ];
        for text in [
            "0.5 1 -2 1e300 7 8 9\n1 2 3 4 5 6 -.5",
            "# t x1 y1 z1 x2 y2 z2\n0.5 1 -2 1e300 7 8 9\n1 2 3 4 5 6 -5e-1\n",
            "\u{feff}t,x1,y1,z1,x2,y2,z2\r\n0.5,1,-2,1e300,7,8,9\r\n1,2,3,4,5,6,-0.5\r\n\r\n",
            "\n# a comment\n\"t\";x1;y1; z1 ;x2;y2;z2\n0.5; 1;-2 ;1E300;7;8;9\n\n# more\n1;2;3;4;5;6;-.5",
            "t\tx1\ty1\tz1\tx2\ty2\tz2\n0.5\t1\t-2\t1e300\t7\t8\t9\n1\t2\t3\t4\t5\t6\t-0.5\n",
            " 0.5  1 -2\t1e300 7 8 9 \t\n\t1 2 3 4 5 6 -0.500\n",
        ] {
            let lors = read(text).unwrap();
            assert_eq!(lors.values(), expected, "{text}");
            assert_eq!(lors.columns()[6], "z2");
        }
    }

    #[test]
    fn further_columns_keep_names_and_gaps() {
        let named = read("t,x1,y1,z1,x2,y2,z2,label,\"a, b\"\n1,2,3,4,5,6,7,,nan\n").unwrap();
        assert_eq!(named.columns()[7..], ["label", "a, b"]);
        assert!(named.values()[7..].iter().all(|value| value.is_nan()));
        let tabs = read("# t x1 y1 z1 x2 y2 z2 a b\n1\t2\t3\t4\t5\t6\t7\t\t9\n").unwrap();
        assert!(tabs.values()[7].is_nan());
        assert_eq!(tabs.columns()[8], "b");
        // Tabs at the ends of lines are no columns, unless names say so.
        let ends = read("1\t2\t3\t4\t5\t6\t7\t\n").unwrap();
        assert_eq!(ends.columns().len(), 7);
        let unnamed = read("1 2 3 4 5 6 7 8").unwrap();
        assert_eq!(unnamed.columns()[7], "col7");
        let given = source("1 2 3 4 5 6 7").separator(Separator::Comma);
        assert!(read_all(given).is_err());
        let latin = read(b"t,x1,y1,z1,x2,y2,z2,gr\xf6\xdfe\n1,2,3,4,5,6,7,8\n").unwrap();
        assert_eq!(latin.columns()[7], "gr\u{fffd}\u{fffd}e");
    }

    #[test]
    fn bad_files_say_what_and_where() {
        let row = "1 2 3 4 5 6 7\n";
        for (text, expected) in [
            (String::new(), "file: the file is empty"),
            ("\n# t\n".into(), "file: there is no row"),
            ("1 2 3 4 5 6\n".into(), "file:1: a row of 6 values"),
            (
                format!("{row}{row}1 2 3\n"),
                "file:3: a row of 3 values, but those before it have 7",
            ),
            (
                format!("{row}1 2 3 4 5 6 7 8\n"),
                "file:2: a row of 8 values",
            ),
            (
                format!("{row}1 2 3 4 5 6 x\n"),
                "file:2: \"1 2 3 4 5 6 x\" is not a row",
            ),
            (
                format!("{row}\n1 2 nan 4 5 6 7\n"),
                "file:3: NaN or infinity in \"1 2 nan",
            ),
            (
                format!("{row}1 2 1e999 4 5 6 7\n"),
                "file:2: NaN or infinity",
            ),
            (format!("{row}end"), "file:2: \"end\" is not"),
            (format!("1 2 x 4 5 6 7\n{row}"), "file:1: \"1 2 x 4"),
            (
                format!("a title\nnames\n{row}"),
                "file:2: \"names\" is not a row",
            ),
            (
                format!("a title\n{row}"),
                "file:1: \"a title\" should name 7 columns",
            ),
            (
                format!("t x y z a b c\n{row}"),
                "file: the columns should be t x1",
            ),
            (
                "1,2,3,4,5,6,7\n1 2 3 4 5 6 7\n".into(),
                "file:2: \"1 2 3 4 5 6 7\" is not",
            ),
            ("1 2 3 4 5 6 7\r1 2 3 4 5 6 7\r".into(), "file:1: "),
        ] {
            let found = problem(&text);
            assert!(found.starts_with(expected), "{text:?}: {found}");
        }
        assert!(problem([7, 255, 0, 159, 10]).starts_with("file"));
    }

    #[test]
    fn parallel_pieces_count_their_lines() {
        let row = "1.5 2 3 4 5 6 7\n";
        let n = 12 * PIECE / row.len();
        let mut text = row.repeat(n);
        text.push_str("\n# t\n1 2\n");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .unwrap();
        let found = pool.install(|| problem(&text));
        assert!(
            found.starts_with(&format!("file:{}: a row of 2", n + 3)),
            "{found}"
        );
        text.truncate(n * row.len());
        let lors = pool.install(|| read(&text)).unwrap();
        assert_eq!(lors.n_rows(), n);
        assert!(
            lors.values()
                .chunks(7)
                .all(|row| row == [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
        );
    }

    fn decimal() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::num::f64::ANY.prop_map(|value| value.to_string()),
            prop::num::f64::ANY.prop_map(|value| format!("{value:e}")),
            (-1e4..1e4).prop_map(|value| format!("{value:.18e}")),
            (-1e4..1e4).prop_map(|value| format!("{value:.3}")),
            (any::<i64>(), 0..25_usize).prop_map(|(value, n)| {
                let mut text = value.to_string();
                let at = text.len() - n.min(text.trim_start_matches('-').len());
                text.insert(at, '.');
                text
            }),
            "-?[0-9]{0,20}\\.?[0-9]{0,20}(e-?[0-9]{1,3})?",
        ]
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_standard_library(text in decimal(), rest in "[ ,;x]?") {
            let found = number(format!("{text}{rest}").as_bytes());
            match text.parse::<f64>() {
                Ok(expected) => {
                    let (value, length) = found.unwrap();
                    prop_assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan());
                    prop_assert_eq!(length, text.len());
                }
                Err(_) => prop_assert!(found.is_none_or(|(_, length)| length != text.len())),
            }
        }

        #[test]
        fn blocks_of_any_size_give_the_same(
            lines in prop::collection::vec(
                prop_oneof![
                    8 => Just("1 2 3 4 5 6 7"),
                    8 => Just("0.125 -2e3 3.25 4 5.000000000000000001 6 7\r"),
                    2 => Just(""),
                    1 => Just("# 1 2"),
                    1 => Just("1 2 3"),
                    1 => Just("1 2 3 4 nan 6 7"),
                    1 => Just("1 2 3 4 5 6 7 what is this"),
                ],
                0..12,
            ),
            rows in 1..5_usize,
        ) {
            let text = lines.join("\n");
            let whole = read(&text).map_err(|error| error.to_string());
            let small = read_all(source(&text).block_rows(rows)).map_err(|error| error.to_string());
            prop_assert_eq!(whole, small);
            let mut source = source(&text).block_rows(rows);
            while let Ok(Some(block)) = source.next_block() {
                prop_assert!((1..=rows).contains(&block.n_rows()));
            }
        }
    }
}
