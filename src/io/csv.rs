//! Comma-separated tables: a line of column names, then rows of shortest round-trip numbers.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Output;
use super::chunks::{self, Chunks};
use super::source::Input;
use crate::data::{Contents, Table};
use crate::error::{Error, Result};

/// Writes a table.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] for a column name with a line break; no file is then left under that name.
pub fn write<C: Contents>(path: impl AsRef<Path>, table: &Table<C>) -> Result<()> {
    let mut writer = Writer::create(path)?;
    writer.write(table)?;
    writer.finish()
}

/// Writes a table in parts; it appears under its name when it is [finished](Self::finish).
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    output: Output,
    columns: Option<Arc<[String]>>,
}

impl Writer {
    /// Starts a table.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        Ok(Self {
            output: Output::create(&path)?,
            path,
            columns: None,
        })
    }

    /// Writes the next rows; the first part gives the names of columns.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Columns`] for other columns; [`Error::File`] for a column name with a line break.
    pub fn write<C: Contents>(&mut self, table: &Table<C>) -> Result<()> {
        let output = &mut self.output;
        write_part(&self.path, &mut self.columns, table, |text| {
            output.write_all(text)
        })
    }

    /// Puts the table in its place.
    ///
    /// # Errors
    /// [`Error::Io`]; no file is then left under that name.
    pub fn finish(self) -> Result<()> {
        self.output.finish()
    }
}

/// Bytes written at a time.
const AT_A_TIME: usize = 1 << 16;

/// Some rows, with the names before the first ones.
fn write_part<C: Contents>(
    path: &Path,
    columns: &mut Option<Arc<[String]>>,
    table: &Table<C>,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<()> {
    let mut text = Vec::new();
    match columns {
        None => {
            if let Some(name) = table.columns().iter().find(|name| name.contains('\n')) {
                return Err(Error::File {
                    path: path.to_owned(),
                    problem: format!(
                        "the column name {name:?} has a line break, which .csv cannot keep"
                    ),
                });
            }
            let names: Vec<_> = table.columns().iter().map(|name| quoted(name)).collect();
            text.extend_from_slice(names.join(",").as_bytes());
            text.push(b'\n');
            *columns = Some(table.columns().into());
        }
        Some(columns) if **columns == *table.columns() => (),
        Some(columns) => {
            return Err(Error::Columns(format!(
                "the file has the columns {}, the rows {}",
                columns.join(" "),
                table.columns().join(" ")
            )));
        }
    }
    for row in table.values().chunks_exact(table.columns().len()) {
        push_row(&mut text, row, b',');
        if text.len() >= AT_A_TIME {
            write(&text).map_err(Error::writing(path))?;
            text.clear();
        }
    }
    write(&text).map_err(Error::writing(path))
}

/// A table that grows: rows stand in the file, under its name, as soon as they are appended.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: std::fs::File,
    columns: Option<Arc<[String]>>,
}

impl Appender {
    /// A new file, without rows.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = std::fs::File::create(&path).map_err(Error::writing(&path))?;
        Ok(Self {
            path,
            file,
            columns: None,
        })
    }

    /// Appends rows; the first table gives the names of columns.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Columns`] for other columns.
    pub fn append<C: Contents>(&mut self, table: &Table<C>) -> Result<()> {
        let file = &mut self.file;
        write_part(&self.path, &mut self.columns, table, |text| {
            file.write_all(text)
        })
    }
}

/// A name in quotes where it would be read as something else without.
fn quoted(name: &str) -> Cow<'_, str> {
    if name.contains([',', '"']) || name.trim() != name {
        Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(name)
    }
}

/// A line of numbers.
pub(crate) fn push_row(line: &mut Vec<u8>, values: &[f64], separator: u8) {
    for &value in values {
        push_number(line, value);
        line.push(separator);
    }
    line.pop();
    line.push(b'\n');
}

/// Whole numbers (labels, counts) without point or exponent, the rest as short as reads back the same.
fn push_number(line: &mut Vec<u8>, value: f64) {
    /// Up to here every whole number is exact.
    const WHOLE: f64 = (1u64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() < WHOLE && !(value == 0.0 && value.is_sign_negative()) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        let whole = value as i64;
        write!(line, "{whole}").expect("writing to memory should not fail");
    } else {
        line.extend_from_slice(zmij::Buffer::new().format(value).as_bytes());
    }
}

/// Characters of a bad line or field that a message shows.
const SHOWN: usize = 60;

/// Reads a table with a first line of column names, of which the standard ones come first, and then rows of numbers.
///
/// An empty field is NaN. Windows line ends, a byte order mark and blanks around fields are understood. Names after a `#`, as the
/// Python package `pept` writes them, or none, and other separators are understood as in [`chunks`].
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if the names are others; [`Error::Parse`] with the number of a line that is no row.
pub fn read<C: Contents>(path: impl AsRef<Path>) -> Result<Table<C>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    if is_foreign(&bytes) {
        return foreign(path, bytes);
    }
    parse(path, &bytes)
}

/// Whether the first line is a comment or numbers, or names between anything but commas.
fn is_foreign(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.trim_ascii();
    let first = line
        .split(|byte| b", ;\t".contains(byte))
        .next()
        .unwrap_or_default();
    line.starts_with(b"#")
        || (!first.is_empty() && parse_number(first).is_some())
        || (!line.contains(&b',') && line.iter().any(|byte| b" ;\t".contains(byte)))
}

fn foreign<C: Contents>(path: &Path, bytes: Vec<u8>) -> Result<Table<C>> {
    let table = Chunks::new(
        Input::from_bytes(path, bytes)?,
        usize::MAX,
        chunks::Options::default(),
    )?;
    let rows = table.read()?;
    let Some(names) = table.columns() else {
        return Table::new(rows);
    };
    let n_standard = C::COLUMNS.len();
    let standard = names.iter().take(n_standard).map(String::as_str);
    if !standard.eq(C::COLUMNS.iter().copied()) {
        return Err(Error::File {
            path: path.to_owned(),
            problem: format!(
                "the columns should be {} first, but they are {}",
                C::COLUMNS.join(" "),
                names.join(" ")
            ),
        });
    }
    Table::with_all_columns(rows, names)
}

fn parse<C: Contents>(path: &Path, bytes: &[u8]) -> Result<Table<C>> {
    let file_error = |problem: String| Error::File {
        path: path.to_owned(),
        problem,
    };
    if bytes.is_empty() {
        return Err(file_error("the file is empty".into()));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = bytes
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .zip(1..);
    let header = lines.next().map_or(&b""[..], |(line, _)| line);
    let mut columns = column_names(&String::from_utf8_lossy(header));
    for (n, column) in columns.iter_mut().enumerate() {
        if column.is_empty() {
            *column = format!("col{n}");
        }
    }
    let n_standard = C::COLUMNS.len();
    let standard = columns.iter().take(n_standard).map(String::as_str);
    if !standard.eq(C::COLUMNS.iter().copied()) {
        return Err(file_error(format!(
            "the first line should name the columns, {} first, but it is \"{}\"",
            C::COLUMNS.join(","),
            shown(header)
        )));
    }
    let mut values = Vec::new();
    let mut blank_line = None;
    for (line, number) in lines {
        let parse_error = |line: usize, problem: String| Error::Parse {
            path: path.to_owned(),
            line,
            problem,
        };
        if line.is_empty() {
            blank_line.get_or_insert(number);
            continue;
        }
        if let Some(blank_line) = blank_line {
            return Err(parse_error(blank_line, "an empty line between rows".into()));
        }
        let start = values.len();
        for field in line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let value = parse_number(field).ok_or_else(|| {
                parse_error(number, format!("\"{}\" is not a number", shown(field)))
            })?;
            values.push(value);
        }
        let found = values.len() - start;
        if found != columns.len() {
            return Err(parse_error(
                number,
                format!(
                    "a row of {found} values, but the first line names {} columns",
                    columns.len()
                ),
            ));
        }
    }
    let rows = crate::data::array_of_rows(values, columns.len());
    Table::with_all_columns(rows, columns)
}

/// The names in a line, without blanks and quotes around them; a comma within quotes belongs to the name.
fn column_names(line: &str) -> Vec<String> {
    let mut is_quoted = false;
    let names = line.split(|c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    let bare = |name: &str| {
        let name = name.trim();
        let within = name
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        within.map_or_else(|| name.to_owned(), |within| within.replace("\"\"", "\""))
    };
    names.map(bare).collect()
}

/// All of a field as a number; an empty one is NaN.
fn parse_number(field: &[u8]) -> Option<f64> {
    if field.is_empty() {
        return Some(f64::NAN);
    }
    fast_float2::parse(field).ok()
}

/// The start of a text, for a message.
fn shown(text: &[u8]) -> String {
    let start = &text[..text.len().min(4 * SHOWN)];
    let text = String::from_utf8_lossy(start);
    let visible = text.chars().map(|c| if c.is_control() { '.' } else { c });
    visible.take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointData;

    fn text(value: f64) -> String {
        let mut line = Vec::new();
        push_number(&mut line, value);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn names_with_commas_quotes_and_blanks_survive() {
        let names = ["a,b", "say \"x\"", " blank ", "plain"];
        let line: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        assert_eq!(line[3], "plain");
        assert_eq!(column_names(&line.join(",")), names);
        assert_eq!(column_names(" t , \"x\",y"), ["t", "x", "y"]);
    }

    #[test]
    fn numbers_are_short_and_read_back_the_same() {
        assert_eq!(
            [0.0, -1.0, 80_000.0, 0.1, 1e300].map(text),
            ["0", "-1", "80000", "0.1", "1e+300"]
        );
        for value in [
            0.1 + 0.2,
            -0.0,
            5e-324,
            f64::MAX,
            1.0 / 3.0,
            9_007_199_254_740_993.0,
            f64::INFINITY,
        ] {
            assert_eq!(
                text(value).parse::<f64>().unwrap().to_bits(),
                value.to_bits()
            );
        }
        assert!(text(f64::NAN).parse::<f64>().unwrap().is_nan());
    }

    fn points(text: impl AsRef<[u8]>) -> Result<PointData> {
        parse(Path::new("file.csv"), text.as_ref())
    }

    fn problem(text: impl AsRef<[u8]>) -> String {
        points(text).unwrap_err().to_string()
    }

    #[test]
    fn names_line_ends_and_special_numbers_are_understood() {
        let expected = [0.5, 1.0, -2.0, 1e300, 7.0, 8.0, 9.0, -0.5];
        for text in [
            "t,x,y,z\n0.5,1,-2,1e+300\n7,8,9,-.5",
            "\u{feff}t,x,y,z\r\n0.5,1,-2,1e300\r\n7,8,9,-5e-1\r\n\r\n\r\n",
            " t , \"x\" ,y,z\n 0.5, 1 ,\t-2,1E300\n7,8,9,-0.5\n\n",
        ] {
            assert_eq!(points(text).unwrap().values(), expected);
        }
        let special = points("t,x,y,z,a\nNaN,nan,inf,-inf,\n").unwrap();
        assert_eq!(special.columns(), ["t", "x", "y", "z", "a"]);
        assert!(special.values()[..2].iter().all(|value| value.is_nan()));
        assert_eq!(special.values()[2..4], [f64::INFINITY, f64::NEG_INFINITY]);
        assert!(special.values()[4].is_nan());
        assert_eq!(points("t,x,y,z").unwrap().n_rows(), 0);
    }

    #[test]
    fn other_names_and_bad_rows_say_what_is_there() {
        assert_eq!(problem(""), "file.csv: the file is empty");
        assert!(problem("t,x,y\n1,2,3\n").contains("t,x,y,z first, but it is \"t,x,y\""));
        assert!(problem("1,2,3,4\n").contains("\"1,2,3,4\""));
        assert!(problem([0u8, 159, 146, 150, 10, 7, 255]).starts_with("file.csv: the first line"));
        assert!(
            problem("t,x,y,z\n1,2,3,4\n1,2,3,four\n")
                .starts_with("file.csv:3: \"four\" is not a number")
        );
        assert!(problem("t,x,y,z\n1,2,3\n").starts_with("file.csv:2: a row of 3 values"));
        assert!(problem("t,x,y,z\n1,2,3,4,5\n").starts_with("file.csv:2: a row of 5 values"));
        assert!(problem("t,x,y,z\n1,2,3,4\n\n5,6,7,8\n").starts_with("file.csv:3: an empty"));
    }

    #[test]
    fn tables_of_the_python_package_and_without_names_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.csv");
        let rows = ndarray::array![[1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.5]];
        for (text, last) in [
            (
                "# t x y z error\n1.000000000000000000e+00 2 3 4 5\n2 3 4 5 6.5\n",
                "error",
            ),
            ("t x y z error\n1 2 3 4 5\n2 3 4 5 6.5\n", "error"),
            ("1;2;3;4;5\n2;3;4;5;6.5\n", "col4"),
        ] {
            std::fs::write(&path, text).unwrap();
            let table: PointData = read(&path).unwrap();
            assert_eq!(table.rows(), rows);
            assert_eq!(table.columns()[4], last);
        }
        std::fs::write(&path, "# x y z t\n1 2 3 4\n").unwrap();
        let error = read::<crate::data::Points>(&path).unwrap_err();
        assert!(
            error.to_string().contains("should be t x y z first"),
            "{error}"
        );
    }
}
