//! Text of two parallel screens: header lines, then rows `t x1 y1 x2 y2` (ms, mm).
//!
//! Numbers are separated by blanks, tabs or commas. The screens lie at z = 0 and z = separation. A header line such as
//! `Separation= 712` gives the separation when the caller does not. After the last row, empty lines or a line that is no row
//! may follow.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Output;
use super::csv::push_row;
use super::source::{
    Ahead, BLOCK_ROWS, Input, LineSource, Pending, Progress, Unit, block, line_columns, read_all,
};
use super::text_lines::{Line, Pieces, at_a_time, first_line, free_row, lines_of, shown};
use crate::data::{Attribute, Attributes, LineData, array_of_rows};
use crate::error::{Error, Result};

/// Numbers in a row.
const N_VALUES: usize = 5;
/// Values of a LoR.
const N_COLUMNS: usize = 7;
/// About the bytes of a row.
const ROW: usize = 40;

/// Reads a file. `separation` (mm) wins over the header's.
///
/// The table has the attributes `separation` and `header_lines` (how many lines were skipped).
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] without any row or any separation; [`Error::Parse`] for a line between rows that is
/// no row, and for NaN or infinity.
pub fn read(path: impl AsRef<Path>, separation: Option<f64>) -> Result<LineData> {
    let mut source = ParallelScreens::open(path)?;
    if let Some(separation) = separation {
        source = source.separation(separation)?;
    }
    read_all(source)
}

/// Reads a recording block by block, by the rules and with the errors of [`read`].
///
/// A line that is no row ends the table. That a row follows it, which is an error, shows only when the file is read to its end. While a
/// file is followed such a line is an error at once.
#[derive(Debug)]
pub struct ParallelScreens {
    lines: Ahead,
    n_lines: usize,
    given_separation: Option<f64>,
    header_separation: Option<f64>,
    skip_rows: usize,
    /// Once the first row has been seen.
    body: Option<Body>,
    columns: Arc<[String]>,
    rows: Pending,
    pieces: Pieces,
    block_rows: usize,
}

/// What is known with the first row.
#[derive(Debug)]
struct Body {
    separation: f64,
    attributes: Attributes,
    /// The first line that was no row.
    end: Option<Problem>,
    n_rows: usize,
}

/// Something wrong with a line: its number from 0, and what.
#[derive(Debug)]
struct Problem {
    line: usize,
    text: String,
}

impl ParallelScreens {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Input::open(path).map(Self::new)
    }

    /// Reads text.
    #[must_use]
    pub fn new(input: Input) -> Self {
        Self {
            lines: Ahead::new(input, Unit::Lines, at_a_time()),
            n_lines: 0,
            given_separation: None,
            header_separation: None,
            skip_rows: 0,
            body: None,
            columns: line_columns(),
            rows: Pending::default(),
            pieces: Pieces::default(),
            block_rows: BLOCK_ROWS,
        }
    }

    /// The distance of the screens (mm), whatever the header says.
    ///
    /// # Errors
    /// [`Error::Parameter`] if it is not a positive number.
    pub fn separation(mut self, separation: f64) -> Result<Self> {
        check_separation(separation)?;
        self.given_separation = Some(separation);
        Ok(self)
    }

    /// The first lines are taken for header, even if they are rows.
    #[must_use]
    pub fn skip_rows(mut self, lines: usize) -> Self {
        self.skip_rows = lines;
        self
    }

    /// At most so many rows a block, at least 1.
    #[must_use]
    pub fn block_rows(mut self, rows: usize) -> Self {
        self.block_rows = rows.max(1);
        let at_a_time = self.block_rows.saturating_mul(ROW).min(at_a_time());
        self.lines.set_at_a_time(at_a_time);
        self
    }

    /// Reads header lines; the first row is not taken away.
    fn read_header(&mut self) -> Result<()> {
        let mut values = Vec::new();
        let mut n_bytes = 0;
        let mut has_rows = false;
        for line in lines_of(self.lines.whole()) {
            values.clear();
            free_row(line.text, 0, &mut values);
            if values.len() >= N_VALUES && self.n_lines >= self.skip_rows {
                has_rows = true;
                break;
            }
            self.header_separation = self.header_separation.or_else(|| separation_in(line.text));
            self.n_lines += 1;
            n_bytes += line.n_bytes;
        }
        self.lines.consume(n_bytes);
        if !has_rows {
            return Ok(());
        }
        if values.len() > N_VALUES {
            return Err(self.lines.input.origin().error_at(
                self.n_lines + 1,
                format!(
                    "a row of {} numbers, but parallel screens have {N_VALUES} (t x1 y1 x2 y2)",
                    values.len()
                ),
            ));
        }
        let separation = self.given_separation.or(self.header_separation);
        let separation = separation.ok_or_else(|| {
            self.lines.input.origin().error(
                "the header has no line `Separation= MM`; give the distance of the screens (--separation MM)",
            )
        })?;
        check_separation(separation)?;
        let header_lines = self.n_lines;
        tracing::debug!(path = %self.lines.input.name().display(), header_lines, separation, "parallel-screens file");
        self.body = Some(Body {
            separation,
            attributes: Attributes::from([
                ("separation".to_owned(), Attribute::Number(separation)),
                (
                    "header_lines".to_owned(),
                    Attribute::Number(header_lines as f64),
                ),
            ]),
            end: None,
            n_rows: 0,
        });
        Ok(())
    }

    /// Reads more rows; false at the end.
    fn read_rows(&mut self) -> Result<bool> {
        if !self.lines.fill()? {
            if let Some(body) = &self.body {
                let (path, rows) = (self.lines.input.name().display(), body.n_rows);
                tracing::debug!(%path, rows, "end of the parallel-screens file");
                return Ok(false);
            }
            if self.lines.follows {
                return Ok(false);
            }
            return Err(self.lines.input.origin().error(if self.n_lines == 0 {
                "the file is empty".to_owned()
            } else {
                format!(
                    "no line of {N_VALUES} numbers (t x1 y1 x2 y2) found; is it a parallel-screens text file?"
                )
            }));
        }
        if self.body.is_none() {
            self.read_header()?;
        }
        let Some(body) = &mut self.body else {
            return Ok(true);
        };
        let text = self.lines.whole();
        let n_bytes = text.len();
        let separation = body.separation;
        let input = &self.lines.input;
        let parse = |text: &[u8], values: &mut Vec<f64>| Piece::parse(text, separation, values);
        for (piece, values) in self.pieces.parse(text, parse) {
            let error = |problem: Problem| input.origin().error_at(problem.line + 1, problem.text);
            let of_file = |problem: Problem| Problem {
                line: problem.line + self.n_lines,
                ..problem
            };
            if piece.n_rows > 0
                && let Some(end) = body.end.take()
            {
                return Err(error(end));
            }
            if let Some(problem) = piece.error {
                return Err(error(of_file(problem)));
            }
            if body.end.is_none() {
                body.end = piece.end.map(of_file);
            }
            self.n_lines += piece.n_lines;
            body.n_rows += piece.n_rows;
            self.rows.push(values);
        }
        if self.lines.follows
            && let Some(end) = body.end.take()
        {
            return Err(input.origin().error_at(end.line + 1, end.text));
        }
        self.lines.consume(n_bytes);
        Ok(true)
    }
}

impl LineSource for ParallelScreens {
    fn next_block(&mut self) -> Result<Option<LineData>> {
        let wanted = self.block_rows.saturating_mul(N_COLUMNS);
        loop {
            if let (Some(body), Some(values)) = (&self.body, self.rows.take(wanted)) {
                return block(values, &self.columns, &body.attributes).map(Some);
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

/// What a text of whole lines after the header holds.
#[derive(Debug, Default)]
struct Piece {
    n_rows: usize,
    n_lines: usize,
    /// The first line that is no row, if no row follows it.
    end: Option<Problem>,
    error: Option<Problem>,
}

impl Piece {
    /// Appends the rows.
    fn parse(text: &[u8], separation: f64, values: &mut Vec<f64>) -> Self {
        let mut piece = Self::default();
        let mut at = 0;
        while at < text.len() {
            let start = values.len();
            let (line, next) = free_row(text, at, values);
            let problem = |text: String| Problem {
                line: piece.n_lines,
                text,
            };
            match (line, &values[start..]) {
                (Line::Blank, _) => {}
                (Line::Row, &[t, x1, y1, x2, y2]) => {
                    piece.n_rows += 1;
                    if let Some(end) = piece.end.take() {
                        piece.error = Some(end);
                        return piece;
                    }
                    if ![t, x1, y1, x2, y2].iter().all(|value| value.is_finite()) {
                        let line = shown(first_line(&text[at..]).text);
                        let text = format!("NaN or infinity in \"{line}\"; remove the row");
                        piece.error = Some(problem(text));
                        return piece;
                    }
                    values.truncate(start + 3);
                    values.extend([0.0, x2, y2, separation]);
                }
                (Line::Row | Line::Text, _) => {
                    // The end of the table, unless a row follows.
                    if piece.end.is_none() {
                        let line = shown(first_line(&text[at..]).text);
                        piece.end = Some(problem(format!(
                            "\"{line}\" is not a row of {N_VALUES} numbers (t x1 y1 x2 y2)"
                        )));
                    }
                    values.truncate(start);
                }
            }
            piece.n_lines += 1;
            at = match line {
                Line::Text => at + first_line(&text[at..]).n_bytes,
                Line::Blank | Line::Row => next,
            };
        }
        piece
    }
}

/// LoRs from a table in memory: rows `t x1 y1 x2 y2`, `separation` in mm.
///
/// # Errors
/// [`Error::Parameter`] for a separation that is not a positive number.
pub fn from_rows(rows: &[[f64; N_VALUES]], separation: f64) -> Result<LineData> {
    check_separation(separation)?;
    let values: Vec<f64> = rows
        .iter()
        .flat_map(|&[t, x1, y1, x2, y2]| [t, x1, y1, 0.0, x2, y2, separation])
        .collect();
    let rows = array_of_rows(values, N_COLUMNS);
    Ok(LineData::new(rows)?.with_attribute("separation", Attribute::Number(separation)))
}

/// Writes a whole recording: see [`Writer`].
///
/// # Errors
/// As [`Writer`]'s functions.
pub fn write(path: impl AsRef<Path>, title: &str, separation: f64, lors: &LineData) -> Result<()> {
    let mut writer = Writer::create(path, title, separation)?;
    writer.write(lors)?;
    writer.finish()
}

/// Writes a recording in parts, with the header that [`read`] understands.
///
/// Ends that do not lie on the screens, z = 0 and z = separation, are moved there along their line. Columns beyond the first seven are left
/// out.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    output: Output,
    separation: f64,
    n_rows: usize,
}

impl Writer {
    /// Starts a recording with screens so far from each other (mm). It appears under its name when it is [finished](Self::finish).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Parameter`] for a separation that is not positive.
    pub fn create(path: impl AsRef<Path>, title: &str, separation: f64) -> Result<Self> {
        check_separation(separation)?;
        let path = path.as_ref().to_owned();
        let mut output = Output::create(&path)?;
        writeln!(
            output,
            "{title}\nEach row is t (ms), x1, y1, x2, y2 (mm).\nSeparation= {separation}"
        )
        .map_err(Error::writing(&path))?;
        Ok(Self {
            path,
            output,
            separation,
            n_rows: 0,
        })
    }

    /// Writes the next LoRs.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for a LoR that meets no screen, with its row.
    #[expect(clippy::float_cmp, reason = "ends on the screens stay as they are")]
    pub fn write(&mut self, lors: &LineData) -> Result<()> {
        let mut line = Vec::new();
        for &[t, x1, y1, z1, x2, y2, z2] in lors.line_slice().rows() {
            let mut values = [t, x1, y1, x2, y2];
            if [z1, z2] != [0.0, self.separation] {
                if z1 == z2 {
                    return Err(Error::File {
                        path: self.path.clone(),
                        problem: format!("row {} is parallel to the screens", self.n_rows),
                    });
                }
                let at = |z: f64, a: f64, b: f64| a + (z - z1) / (z2 - z1) * (b - a);
                let end = self.separation;
                values = [
                    t,
                    at(0.0, x1, x2),
                    at(0.0, y1, y2),
                    at(end, x1, x2),
                    at(end, y1, y2),
                ];
            }
            line.clear();
            push_row(&mut line, &values, b'\t');
            self.output
                .write_all(&line)
                .map_err(Error::writing(&self.path))?;
            self.n_rows += 1;
        }
        Ok(())
    }

    /// Puts the whole recording in its place.
    ///
    /// # Errors
    /// [`Error::Io`]; no file is then left under that name.
    pub fn finish(self) -> Result<()> {
        self.output.finish()
    }
}

fn check_separation(separation: f64) -> Result<()> {
    if separation.is_finite() && separation > 0.0 {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "separation",
        value: separation.to_string(),
        needed: "a distance in mm above 0",
    })
}

/// The number after `Separation` and `=` or `:` in a header line.
fn separation_in(line: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(line).to_ascii_lowercase();
    let (_, rest) = text.split_once("separation")?;
    let number = rest.trim_start().strip_prefix(['=', ':'])?.trim_start();
    fast_float2::parse_partial(number)
        .ok()
        .map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: impl AsRef<[u8]>) -> ParallelScreens {
        ParallelScreens::new(Input::from_bytes("file.csv", text.as_ref()).unwrap())
    }

    fn read(text: impl AsRef<[u8]>) -> Result<LineData> {
        read_all(source(text))
    }

    fn problem(text: impl AsRef<[u8]>) -> String {
        read(text).unwrap_err().to_string()
    }

    const HEADER: &str = "A header\n1 2 3\nSeparation=   712\n";

    #[test]
    fn headers_separators_line_ends_and_trailing_lines_are_understood() {
        let expected = [
            0.5, 1.0, 2.0, 0.0, 3.0, 4.0, 712.0, 1e3, -1.0, 2.0, 0.0, 3.0, 4.5, 712.0,
        ];
        for rows in [
            "0.5 1 2 3 4\n1e3 -1 2 3 4.5",
            " 0.5\t1,2, 3 4\r\n\r\n1e3,-1,2,3,4.5\r\n",
            "0.5 1 2 3 4\n1e3 -1 2 3 4.5\n\n7\n",
        ] {
            let lors = read(format!("{HEADER}{rows}")).unwrap();
            assert_eq!(lors.values(), expected);
            assert_eq!(lors.attributes()["header_lines"], Attribute::Number(3.0));
        }
        assert!(problem("\u{feff}0.5 1 2 3 4\n").contains("Separation="));
    }

    #[test]
    fn a_line_between_rows_that_is_no_row_is_an_error_with_its_number() {
        assert!(
            problem(format!("{HEADER}1 2 3 4 5\n1 2 3 4\n1 2 3 4 5\n"))
                .starts_with("file.csv:5: \"1 2 3 4\"")
        );
        assert!(
            problem(format!("{HEADER}1 2 3 4 5\nabc\n1 2 3 4 5\n"))
                .starts_with("file.csv:5: \"abc\"")
        );
        assert!(
            problem(format!("{HEADER}1 2 3 4 5\n1 nan 3 4 5\n")).starts_with("file.csv:5: NaN")
        );
        assert!(
            problem(format!("{HEADER}1 2 3 4 5 6 7\n"))
                .starts_with("file.csv:4: a row of 7 numbers")
        );
    }

    #[test]
    fn files_without_rows_say_so() {
        assert_eq!(problem(""), "file.csv: the file is empty");
        assert!(problem([0u8, 159, 146, 150, 10, 7, 255]).contains("no line of 5 numbers"));
        assert!(problem(HEADER).contains("no line of 5 numbers"));
    }

    #[test]
    fn a_given_separation_wins_and_has_to_be_positive() {
        let read = |mm| {
            let source = source(format!("{HEADER}1 2 3 4 5")).separation(mm);
            source.and_then(read_all)
        };
        assert_eq!(read(100.0).unwrap().values()[6], 100.0);
        assert!(read(0.0).is_err() && read(f64::NAN).is_err());
        let zero = tests::read("Separation= 0\n1 2 3 4 5\n");
        assert!(zero.unwrap_err().to_string().contains("above 0"));
    }

    #[test]
    fn rows_at_the_start_are_skipped_where_one_wants_it() {
        let text = "1 2 3 4 5 6\n9 8 7 6 5\n1 2 3 4 5\n";
        let lors = source(text).separation(712.0).unwrap().skip_rows(2);
        let lors = read_all(lors).unwrap();
        assert_eq!(lors.values()[..3], [1.0, 2.0, 3.0]);
        assert_eq!(lors.attributes()["header_lines"], Attribute::Number(2.0));
        assert!(problem(text).starts_with("file.csv:1: a row of 6 numbers"));
    }

    #[test]
    fn headers_in_other_encodings_are_understood() {
        let text = [&b"Abstand: 70 cm \xfc\nSEPARATION : 700 mm \xe4\n1 2 3 4 5\n"[..]].concat();
        assert_eq!(read(text).unwrap().values()[6], 700.0);
    }

    #[test]
    fn blocks_of_any_size_give_the_same_rows_and_errors() {
        let good = format!("{HEADER}0.5 1 2 3 4\n\n1 2 3 4 5\r\n2 2 3 4 5\n3 2 3 4 5\n\nend\n7\n");
        let bad = format!("{good}4 2 3 4 5\n");
        let not_finite = format!("{HEADER}1 2 3 4 5\n1 2 3 4 inf\n");
        for rows in [1, 2, 3, 1000] {
            let read = |text: &str| read_all(source(text).block_rows(rows));
            assert_eq!(read(&good).unwrap(), tests::read(&good).unwrap());
            for text in [&bad, &not_finite] {
                let problem = read(text).unwrap_err().to_string();
                assert_eq!(problem, tests::problem(text));
            }
            let mut source = source(&good).block_rows(rows);
            while let Some(block) = source.next_block().unwrap() {
                assert!(block.n_rows() <= rows && block.attributes().len() == 2);
            }
        }
    }
}
