//! Text tables of any size, a chunk of rows at a time.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("table.txt");
//! # std::fs::write(&path, "# t value\n0 1\n1 2\n2 3\n3 4\n4 5\n").unwrap();
//! use pept::io::chunks::Chunks;
//!
//! let chunks = Chunks::open(&path, 2)?;
//! assert_eq!((chunks.n_rows(), chunks.n_chunks()), (5, 3));
//! assert_eq!(chunks.chunk(-1)?, ndarray::array![[4.0, 5.0]]);
//! let sums = chunks.map(|rows, _| Ok::<_, pept::Error>(rows.sum()))?;
//! assert_eq!(sums, [4.0, 12.0, 9.0]);
//! # Ok::<(), pept::Error>(())
//! ```
//!
//! Rows are separated and named as in [`text_lines`](super::text_lines), with any columns. Files may be compressed.

use std::collections::BTreeSet;
use std::path::Path;

use ndarray::Array2;
use rayon::prelude::*;

use super::source::{Ahead, Input, Origin, Unit};
use super::text_lines::{Finder, Layout, Separator, first_line, is_comment, parse_rows};
use crate::data::{Column, Contents, Table, array_of_rows};
use crate::error::{Error, Result};

/// Text read at a time, in order and at one place.
const AT_A_TIME: usize = 1 << 20;
const AT_A_PLACE: usize = 1 << 16;
/// Places in the file that are remembered at most.
const MOST_PLACES: usize = 1 << 16;

/// Rows that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// None.
    #[default]
    Nothing,
    /// The first of them.
    First(usize),
    /// These, counted from 0. They may be anything: a bad row is left out like this.
    Rows(BTreeSet<usize>),
}

impl Skip {
    fn has(&self, row: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::First(n) => row < *n,
            Self::Rows(rows) => rows.contains(&row),
        }
    }

    /// How many rows from this one on are kept, at least; 0 if it is left out itself.
    fn kept_from(&self, row: usize) -> usize {
        match self {
            Self::First(n) if row < *n => 0,
            Self::Nothing | Self::First(_) => usize::MAX,
            Self::Rows(rows) => rows
                .range(row..)
                .next()
                .map_or(usize::MAX, |next| next - row),
        }
    }
}

/// Which rows of a table are read, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What separates values; by default what the first row shows.
    pub separator: Option<Separator>,
    /// Rows that are left out.
    pub skip: Skip,
    /// At most so many of the others.
    pub limit: Option<usize>,
}

/// A text table that is read a chunk of rows at a time.
///
/// Opening it counts the rows and remembers where chunks start; nothing else is kept in memory.
#[derive(Debug)]
pub struct Chunks {
    origin: Origin,
    rows_per_chunk: usize,
    options: Options,
    layout: Option<Layout>,
    columns: Option<Vec<String>>,
    n_rows: usize,
    /// Where every `stride`-th chunk starts.
    places: Vec<Place>,
    stride: usize,
}

/// Where a row is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    offset: u64,
    /// Lines before it.
    n_lines: usize,
    /// Rows before it, with and without those left out.
    row: usize,
    n_kept: usize,
}

impl Chunks {
    /// Opens a table, to be read in chunks of so many rows; the last may have fewer.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Parse`] for a first row that is none; [`Error::Parameter`] for chunks of 0 rows; [`Error::File`] for
    /// an empty file.
    pub fn open(path: impl AsRef<Path>, rows_per_chunk: usize) -> Result<Self> {
        Self::with_options(path, rows_per_chunk, Options::default())
    }

    /// The same of some of the rows.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::File`] if no row is left.
    pub fn with_options(
        path: impl AsRef<Path>,
        rows_per_chunk: usize,
        options: Options,
    ) -> Result<Self> {
        Self::new(Input::open(path)?, rows_per_chunk, options)
    }

    /// The same of an input that can be read more than once.
    ///
    /// # Errors
    /// As [`with_options`](Self::with_options); [`Error::File`] for standard input.
    pub fn new(input: Input, rows_per_chunk: usize, options: Options) -> Result<Self> {
        if rows_per_chunk == 0 {
            return Err(Error::Parameter {
                name: "rows_per_chunk",
                value: "0".into(),
                needed: "1 and more",
            });
        }
        if !input.origin().can_be_read_again() {
            return Err(input
                .origin()
                .error("chunks are read from a file, in any order; save it as one"));
        }
        let mut chunks = Self {
            origin: input.origin().clone(),
            rows_per_chunk,
            options,
            layout: None,
            columns: None,
            n_rows: 0,
            places: Vec::new(),
            stride: 1,
        };
        chunks.find_rows(input)?;
        Ok(chunks)
    }

    /// Goes through the file once.
    fn find_rows(&mut self, input: Input) -> Result<()> {
        let mut finder = Finder::new(self.options.separator);
        let limit = self.options.limit.unwrap_or(usize::MAX);
        let mut lines = Ahead::new(input, Unit::Lines, AT_A_TIME);
        let mut place = Place::default();
        let mut is_first = true;
        // At least to the first row, which shows the columns.
        let goes_on =
            |layout: &Option<Layout>, place: Place| layout.is_none() || place.n_kept < limit;
        while goes_on(&self.layout, place) && lines.fill()? {
            if std::mem::take(&mut is_first) {
                place.offset = lines.n_skipped() as u64; // the byte order mark
            }
            let text = lines.whole();
            let n_bytes = text.len();
            let mut rest = text;
            while !rest.is_empty() && goes_on(&self.layout, place) {
                let line = first_line(rest);
                rest = &rest[line.n_bytes..];
                let is_nothing = is_comment(line.text) || line.text.trim_ascii().is_empty();
                let is_row = if self.layout.is_some() {
                    !is_nothing
                } else {
                    let found = finder.next(line.text, place.n_lines + 1);
                    match found {
                        // A row that is left out may be anything.
                        Ok(Some(_)) | Err(_) if self.options.skip.has(place.row) => true,
                        Ok(Some(layout)) => {
                            self.layout = Some(layout);
                            true
                        }
                        Ok(None) => false,
                        Err(problem) => {
                            let line = place.n_lines + 1 - problem.line;
                            return Err(self.origin.error_at(line, problem.text));
                        }
                    }
                };
                if is_row {
                    if !self.options.skip.has(place.row) && place.n_kept < limit {
                        self.remember(place);
                        place.n_kept += 1;
                    }
                    place.row += 1;
                }
                place.n_lines += 1;
                place.offset += line.n_bytes as u64;
            }
            lines.consume(n_bytes);
        }
        self.n_rows = place.n_kept;
        self.columns = match &self.layout {
            Some(layout) => layout.names.clone(),
            None => finder.only_names(),
        };
        if place.n_lines == 0 {
            return Err(self.origin.error("the file is empty"));
        }
        if self.layout.is_none() && self.options.skip != Skip::Nothing {
            return Err(self.origin.error(format!(
                "no row is left: it has {} rows, and all of them are to be skipped",
                place.row
            )));
        }
        Ok(())
    }

    /// Remembers where a kept row is, if a chunk starts there.
    fn remember(&mut self, place: Place) {
        if !place.n_kept.is_multiple_of(self.rows_per_chunk) {
            return;
        }
        let chunk = place.n_kept / self.rows_per_chunk;
        if !chunk.is_multiple_of(self.stride) {
            return;
        }
        if self.places.len() == MOST_PLACES {
            let mut is_kept = [true, false].into_iter().cycle();
            self.places.retain(|_| is_kept.next().unwrap_or(true));
            self.stride *= 2;
        }
        self.places.push(place);
    }

    /// Number of rows, without those left out.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of chunks.
    #[must_use]
    pub fn n_chunks(&self) -> usize {
        self.n_rows.div_ceil(self.rows_per_chunk)
    }

    /// Rows of a chunk, but for the last one.
    #[must_use]
    pub fn rows_per_chunk(&self) -> usize {
        self.rows_per_chunk
    }

    /// The names of the columns, if the file has any.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Number of columns.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        let named = self.columns.as_ref().map_or(0, Vec::len);
        self.layout
            .as_ref()
            .map_or(named, |layout| layout.n_columns)
    }

    /// A chunk by its number; negative ones count from the end.
    ///
    /// # Errors
    /// [`Error::File`] if there are not that many; [`Error::Parse`] with the number of a line that is no row or a row of another length;
    /// [`Error::Io`].
    pub fn chunk(&self, index: isize) -> Result<Array2<f64>> {
        let n = self.n_chunks();
        let found = if index < 0 {
            n.checked_add_signed(index)
        } else {
            usize::try_from(index).ok()
        };
        let index = found.filter(|&index| index < n).ok_or_else(|| {
            self.origin
                .error(format!("there is no chunk {index}, only 0..{n}"))
        })?;
        self.rows_from(index, AT_A_PLACE)?.next_chunk()
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub fn read(&self) -> Result<Array2<f64>> {
        let mut rows = self.rows_from(0, AT_A_TIME)?;
        rows.next_rows(self.n_rows)
    }

    /// The chunks, one after another. After an error there are no more.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            chunks: self,
            rows: None,
            next: 0,
        }
    }

    /// What a function makes of the rows and the number of each chunk, in order. Chunks are read and worked on in parallel, as many at a
    /// time as there are threads.
    ///
    /// # Errors
    /// The error of the first chunk that has one, its reading included; later ones are then not begun.
    pub fn map<T, E, F>(&self, function: F) -> Result<Vec<T>, E>
    where
        T: Send,
        E: From<Error> + Send,
        F: Fn(Array2<f64>, usize) -> Result<T, E> + Sync,
    {
        let n = self.n_chunks();
        let at_once = rayon::current_num_threads().max(1);
        let mut results = Vec::new();
        // A compressed file has only one beginning.
        let mut in_order = self.iter();
        for start in (0..n).step_by(at_once) {
            let numbers = start..n.min(start.saturating_add(at_once));
            let found: Vec<Result<T, E>> = if self.origin.is_compressed() {
                let chunks: Vec<_> = in_order.by_ref().take(numbers.len()).zip(numbers).collect();
                let chunks = chunks.into_par_iter();
                chunks
                    .map(|(rows, number)| function(rows?, number))
                    .collect()
            } else {
                let numbers = numbers.into_par_iter();
                numbers
                    .map(|number| {
                        let mut rows = self.rows_from(number, AT_A_PLACE)?;
                        function(rows.next_chunk()?, number)
                    })
                    .collect()
            };
            for result in found {
                results.push(result?);
            }
        }
        Ok(results)
    }

    /// Rows from the start of a chunk on.
    fn rows_from(&self, chunk: usize, at_a_time: usize) -> Result<Rows<'_>> {
        let remembered = self.places.get(chunk / self.stride);
        let place = remembered.copied().unwrap_or_default();
        let input = self.origin.open_at(place.offset)?;
        let mut rows = Rows {
            chunks: self,
            lines: Ahead::new(input, Unit::Lines, at_a_time),
            place,
        };
        let before = chunk.saturating_mul(self.rows_per_chunk);
        rows.pass(before.saturating_sub(place.n_kept))?;
        Ok(rows)
    }
}

impl<'a> IntoIterator for &'a Chunks {
    type Item = Result<Array2<f64>>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The chunks of a table, one after another.
#[derive(Debug)]
pub struct Iter<'a> {
    chunks: &'a Chunks,
    rows: Option<Rows<'a>>,
    next: usize,
}

impl Iterator for Iter<'_> {
    type Item = Result<Array2<f64>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.chunks.n_chunks() {
            return None;
        }
        let chunk = match &mut self.rows {
            Some(rows) => rows.next_chunk(),
            None => self
                .chunks
                .rows_from(0, AT_A_TIME)
                .and_then(|rows| self.rows.insert(rows).next_chunk()),
        };
        self.next = match chunk {
            Ok(_) => self.next + 1,
            Err(_) => usize::MAX,
        };
        Some(chunk)
    }
}

/// Reads rows one after another.
#[derive(Debug)]
struct Rows<'a> {
    chunks: &'a Chunks,
    lines: Ahead,
    place: Place,
}

impl Rows<'_> {
    /// As many rows as the chunk has that starts here.
    fn next_chunk(&mut self) -> Result<Array2<f64>> {
        let left = self.chunks.n_rows - self.place.n_kept;
        self.next_rows(self.chunks.rows_per_chunk.min(left))
    }

    fn next_rows(&mut self, n: usize) -> Result<Array2<f64>> {
        let Some(layout) = &self.chunks.layout else {
            return Ok(Array2::zeros((0, self.chunks.n_columns())));
        };
        let mut values = Vec::new();
        let end = self.place.n_kept + n;
        while self.place.n_kept < end {
            let kept = self.chunks.options.skip.kept_from(self.place.row);
            if kept == 0 {
                self.pass_row()?;
                continue;
            }
            self.fill()?;
            let at_most = kept.min(end - self.place.n_kept);
            let text = self.lines.whole();
            let parsed = parse_rows(text, layout, 0, at_most, &mut values).map_err(|problem| {
                let line = self.place.n_lines + 1 + problem.line;
                self.chunks.origin.error_at(line, problem.text)
            })?;
            self.lines.consume(parsed.bytes);
            self.place.n_lines += parsed.lines;
            self.place.row += parsed.rows;
            self.place.n_kept += parsed.rows;
        }
        Ok(array_of_rows(values, layout.n_columns))
    }

    /// Leaves so many kept rows behind, without a look at their values.
    fn pass(&mut self, n: usize) -> Result<()> {
        let end = self.place.n_kept + n;
        while self.place.n_kept < end {
            let is_kept = !self.chunks.options.skip.has(self.place.row);
            self.pass_row()?;
            self.place.n_kept += usize::from(is_kept);
        }
        Ok(())
    }

    /// Leaves a row behind.
    fn pass_row(&mut self) -> Result<()> {
        loop {
            self.fill()?;
            let line = first_line(self.lines.whole());
            let is_row = !is_comment(line.text) && !line.text.trim_ascii().is_empty();
            let n_bytes = line.n_bytes;
            self.lines.consume(n_bytes);
            self.place.n_lines += 1;
            if is_row {
                self.place.row += 1;
                return Ok(());
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        if self.lines.fill()? {
            return Ok(());
        }
        Err(self.chunks.origin.error(format!(
            "the file has become shorter while it was read: {} rows, {} before",
            self.place.row, self.chunks.n_rows
        )))
    }
}

/// Number of lines of a text file, which may be compressed; a last line without an end counts.
///
/// # Errors
/// [`Error::Io`].
pub fn number_of_lines(path: impl AsRef<Path>) -> Result<u64> {
    let mut input = Input::open(path)?;
    let mut bytes = vec![0; AT_A_TIME];
    let mut n_lines = 0;
    let mut last = b'\n';
    loop {
        let n = input.read_full(&mut bytes)?;
        let Some(&byte) = bytes[..n].last() else {
            return Ok(n_lines + u64::from(last != b'\n'));
        };
        n_lines += memchr::memchr_iter(b'\n', &bytes[..n]).count() as u64;
        last = byte;
    }
}

/// A table for each distinct value of a column, ascending, NaN last. Rows keep their order, tables their attributes.
///
/// ```
/// use pept::{PointData, io::chunks::group_by_column};
/// let rows = ndarray::array![[0.0, 1.0, 1.0, 1.0, 7.0], [1.0, 2.0, 2.0, 2.0, -1.0], [2.0, 3.0, 3.0, 3.0, 7.0]];
/// let points = PointData::with_columns(rows, &["label"])?;
/// let groups = group_by_column(&points, "label")?;
/// assert_eq!(groups[1].column(0), [0.0, 2.0]);
/// # Ok::<(), pept::Error>(())
/// ```
///
/// # Errors
/// [`Error::Columns`] if there is no such column.
pub fn group_by_column<C: Contents>(
    table: &Table<C>,
    column: impl Into<Column>,
) -> Result<Vec<Table<C>>> {
    let values = table.column(table.find_column(&column.into())?);
    // One zero and one NaN, the latter after all numbers.
    let key = |value: f64| {
        if value.is_nan() {
            f64::NAN
        } else {
            value + 0.0
        }
    };
    let mut rows: Vec<(f64, usize)> = values.into_iter().map(key).zip(0..).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: rows of a value keep their order
    let groups = rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    Ok(groups
        .map(|group| {
            let rows: Vec<usize> = group.iter().map(|&(_, row)| row).collect();
            table.take(&rows)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use ndarray::{array, s};

    use super::*;
    use crate::data::PointData;

    fn open(text: impl AsRef<[u8]>, rows: usize, options: Options) -> Result<Chunks> {
        let input = Input::from_bytes("file", text.as_ref()).unwrap();
        Chunks::new(input, rows, options)
    }

    /// Ten rows, of which the first value is their number.
    fn text() -> String {
        let rows: Vec<_> = (0..10).map(|n| format!("{n},{},-1\n", n * n)).collect();
        let rows = rows.concat();
        format!("a,b,c\n{rows}")
    }

    fn firsts(rows: &Array2<f64>) -> Vec<f64> {
        rows.column(0).to_vec()
    }

    #[test]
    fn chunks_are_found_from_either_end() {
        let chunks = open(text(), 4, Options::default()).unwrap();
        assert_eq!(
            (chunks.n_rows(), chunks.n_chunks(), chunks.n_columns()),
            (10, 3, 3)
        );
        assert_eq!(chunks.columns().unwrap(), ["a", "b", "c"]);
        for (index, expected) in [
            (0, vec![0.0, 1.0, 2.0, 3.0]),
            (1, vec![4.0, 5.0, 6.0, 7.0]),
            (2, vec![8.0, 9.0]),
            (-1, vec![8.0, 9.0]),
            (-3, vec![0.0, 1.0, 2.0, 3.0]),
        ] {
            assert_eq!(firsts(&chunks.chunk(index).unwrap()), expected);
        }
        for index in [3, -4, isize::MAX, isize::MIN] {
            let problem = chunks.chunk(index).unwrap_err().to_string();
            assert!(problem.contains("only 0..3"), "{problem}");
        }
        let all = chunks.read().unwrap();
        assert_eq!(all.slice(s![9, ..]), array![9.0, 81.0, -1.0]);
        let pieces: Vec<_> = chunks.iter().map(Result::unwrap).collect();
        let views: Vec<_> = pieces.iter().map(|piece| piece.view()).collect();
        assert_eq!(ndarray::concatenate(ndarray::Axis(0), &views).unwrap(), all);
    }

    #[test]
    fn rows_can_be_skipped_and_limited() {
        let read = |skip: Skip, limit: Option<usize>| {
            let options = Options {
                skip,
                limit,
                ..Options::default()
            };
            let chunks = open(text(), 3, options)?;
            let all = chunks.read()?;
            let pieces: Vec<_> = (&chunks).into_iter().collect::<Result<_>>()?;
            assert_eq!(pieces.len(), chunks.n_chunks());
            let one_by_one: Vec<f64> = (0..chunks.n_chunks())
                .flat_map(|n| firsts(&chunks.chunk(n.cast_signed()).unwrap()))
                .collect();
            assert_eq!(one_by_one, firsts(&all));
            Ok::<_, Error>(firsts(&all))
        };
        let rows = |range: std::ops::Range<u8>| range.map(f64::from).collect::<Vec<_>>();
        assert_eq!(read(Skip::First(2), None).unwrap(), rows(2..10));
        assert_eq!(read(Skip::Nothing, Some(4)).unwrap(), rows(0..4));
        assert_eq!(read(Skip::First(2), Some(4)).unwrap(), rows(2..6));
        assert_eq!(read(Skip::First(9), Some(100)).unwrap(), rows(9..10));
        assert_eq!(read(Skip::Nothing, Some(0)).unwrap(), rows(0..0));
        let listed = Skip::Rows([0, 3, 4, 9, 77].into());
        assert_eq!(
            read(listed.clone(), None).unwrap(),
            [1.0, 2.0, 5.0, 6.0, 7.0, 8.0]
        );
        assert_eq!(read(listed, Some(5)).unwrap(), [1.0, 2.0, 5.0, 6.0, 7.0]);
        for all in [
            Skip::First(10),
            Skip::First(usize::MAX),
            Skip::Rows((0..10).collect()),
        ] {
            let problem = read(all, None).unwrap_err().to_string();
            assert!(problem.contains("it has 10 rows"), "{problem}");
        }
        assert!(matches!(
            open(text(), 0, Options::default()),
            Err(Error::Parameter { .. })
        ));
    }

    #[test]
    fn bad_rows_are_errors_of_their_chunk_unless_skipped() {
        let bad = "\u{feff}# a b\r\n1 2\r\n\r\n3 4\r\n5\r\n# more\r\nsix\r\n7 8\r\n9 nan";
        let chunks = open(bad, 1, Options::default()).unwrap();
        assert_eq!((chunks.n_rows(), chunks.columns().unwrap().len()), (6, 2));
        assert_eq!(chunks.chunk(1).unwrap(), array![[3.0, 4.0]]);
        assert_eq!(chunks.chunk(4).unwrap(), array![[7.0, 8.0]]);
        assert!(chunks.chunk(5).unwrap()[[0, 1]].is_nan());
        for (index, expected) in [
            (2, "file:5: a row of 1 values, but those before it have 2"),
            (3, "file:7: \"six\" is not a row"),
        ] {
            assert_eq!(
                chunks.chunk(index).unwrap_err().to_string()[..expected.len()],
                *expected
            );
        }
        assert!(chunks.read().unwrap_err().to_string().starts_with("file:5"));
        let mut found = chunks.iter();
        assert!(found.nth(1).unwrap().is_ok());
        assert!(found.next().unwrap().is_err() && found.next().is_none());
        let options = Options {
            skip: Skip::Rows([2, 3].into()),
            ..Options::default()
        };
        assert_eq!(
            firsts(&open(bad, 9, options).unwrap().read().unwrap()),
            [1.0, 3.0, 7.0, 9.0]
        );
        // Rows before the first that counts may be anything.
        let options = |n| Options {
            skip: Skip::First(n),
            ..Options::default()
        };
        let junk = "x y\n1 2 3\njunk 1\n1 2\n";
        assert_eq!(
            open(junk, 1, options(2)).unwrap().read().unwrap(),
            array![[1.0, 2.0]]
        );
        assert!(open(junk, 1, options(0)).is_err());
    }

    #[test]
    fn tables_without_rows_have_no_chunks() {
        for (text, columns) in [("a;b\n", 2), ("# a b c\n\n", 3), ("\n", 0)] {
            let chunks = open(text, 5, Options::default()).unwrap();
            assert_eq!((chunks.n_chunks(), chunks.n_columns()), (0, columns));
            assert_eq!(chunks.read().unwrap().dim(), (0, columns));
            assert!(chunks.iter().next().is_none() && chunks.chunk(0).is_err());
        }
        let problem = open("", 5, Options::default()).unwrap_err().to_string();
        assert_eq!(problem, "file: the file is empty");
    }

    #[test]
    fn results_are_in_order_and_the_first_error_wins() {
        let rows: Vec<_> = (0..1000).map(|n| format!("{n} 0\n")).collect();
        let rows = rows.concat();
        let chunks = open(&rows, 3, Options::default()).unwrap();
        let sums = chunks.map(|rows, n| Ok::<_, Error>((n, rows.sum())));
        for (n, (number, sum)) in sums.unwrap().into_iter().enumerate() {
            let expected: usize = (3 * n..(3 * n + 3).min(1000)).sum();
            assert_eq!((number, sum), (n, expected as f64));
        }
        let failed = chunks.map(|_, n| {
            let problem = format!("chunk {n}");
            if n % 50 == 49 {
                Err(Error::Sampling(problem))
            } else {
                Ok(())
            }
        });
        assert_eq!(failed.unwrap_err().to_string(), "chunk 49");
        let bad = open(format!("{rows}x\n{rows}"), 10, Options::default()).unwrap();
        let failed = bad.map(|rows, _| Ok::<_, Error>(rows));
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .starts_with("file:1001: \"x\"")
        );
    }

    #[test]
    fn few_places_are_enough_for_many_chunks() {
        let n = 3 * MOST_PLACES;
        let rows: Vec<_> = (0..n).map(|n| format!("{n}\n")).collect();
        let rows = rows.concat();
        let chunks = open(rows, 1, Options::default()).unwrap();
        assert!(chunks.places.len() <= MOST_PLACES && chunks.stride == 4);
        for index in [0, 1, 77_777, n - 2, n - 1] {
            assert_eq!(
                chunks.chunk(index.cast_signed()).unwrap(),
                array![[index as f64]]
            );
        }
    }

    #[test]
    fn lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (text, n) in [("", 0), ("a", 1), ("a\n", 1), ("a\n\nb", 3), ("\n\n", 2)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(number_of_lines(&path).unwrap(), n);
        }
        assert!(number_of_lines(folder.path()).is_err());
    }

    #[test]
    fn groups_are_tables_of_one_value() {
        let values = [2.0, -1.0, f64::NAN, 0.0, -1.0, -0.0, 2.0];
        let rows = Array2::from_shape_fn((values.len(), 4), |(row, _)| row as f64);
        let points = PointData::new(rows).unwrap().with_column("label", &values);
        let groups = group_by_column(&points, "label").unwrap();
        let times: Vec<_> = groups.iter().map(|group| group.column(0)).collect();
        assert_eq!(
            times,
            [vec![1.0, 4.0], vec![3.0, 5.0], vec![0.0, 6.0], vec![2.0]]
        );
        assert!(group_by_column(&points, 9).is_err());
        assert!(group_by_column(&points.empty(), 0).unwrap().is_empty());
    }
}
