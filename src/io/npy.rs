//! NumPy files: `numpy.load` reads what [`write()`] writes.
//!
//! An array has no column names: a table read back has the standard ones, then `col4`, `col5`, ... by position.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ndarray::{Array2, ShapeBuilder};

use super::Output;
use crate::data::{Contents, Table};
use crate::error::{Error, Result};

/// How every NumPy file starts.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes before the header of version 1: magic, version, length.
pub(super) const BEFORE_HEADER: usize = 10;
/// The data start at a multiple of this.
pub(super) const ALIGNMENT: usize = 64;
/// Values turned into bytes at a time.
const CHUNK: usize = 8192;
/// More columns than this are a damaged file: an array without rows could claim any number.
const MAX_COLUMNS: usize = 1 << 16;
/// For files that end too early.
pub(super) const CUT_OFF: &str = "the file is cut off within its header";

/// Room for everything before a table's values, with any number of rows.
const ROOM: usize = 2 * ALIGNMENT;

/// Writes the rows as an array of shape (rows, columns), `<f8`, row after row.
///
/// Names, sampling and attributes are not kept.
///
/// # Errors
/// [`Error::Io`]; no file is then left under that name.
pub fn write<C: Contents>(path: impl AsRef<Path>, table: &Table<C>) -> Result<()> {
    let mut writer = Writer::create(path.as_ref(), table.columns().len())?;
    writer.push(table.values())?;
    writer.finish()
}

/// Writes rows as they come, in the memory of a few; the array appears under its name when it is [finished](Self::finish).
#[derive(Debug)]
pub struct Writer {
    output: Output,
    path: PathBuf,
    n_values: u64,
    n_columns: u64,
}

impl Writer {
    /// Starts an array of this many columns.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Columns`] for none.
    pub fn create(path: impl AsRef<Path>, n_columns: usize) -> Result<Self> {
        if n_columns == 0 {
            return Err(Error::Columns("an array needs a column".into()));
        }
        let path = path.as_ref().to_owned();
        let mut writer = Self {
            output: Output::create(&path)?,
            path,
            n_values: 0,
            n_columns: n_columns as u64,
        };
        writer.write_header()?;
        Ok(writer)
    }

    fn write_header(&mut self) -> Result<()> {
        let n_rows = self.n_values / self.n_columns;
        let header = header("<f8", &[n_rows, self.n_columns], ROOM);
        self.output
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.output.write_all(&header))
            .map_err(Error::writing(&self.path))
    }

    /// Writes the next rows.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Columns`] for rows that are not whole.
    pub fn push(&mut self, values: &[f64]) -> Result<()> {
        let n = values.len() as u64;
        if !n.is_multiple_of(self.n_columns) {
            let columns = self.n_columns;
            let problem = format!("{n} values are no whole rows of {columns} columns");
            return Err(Error::Columns(problem));
        }
        let mut bytes = vec![[0; size_of::<f64>()]; CHUNK.min(values.len())];
        for chunk in values.chunks(CHUNK) {
            let bytes = &mut bytes[..chunk.len()];
            for (bytes, value) in bytes.iter_mut().zip(chunk) {
                *bytes = value.to_le_bytes();
            }
            self.output
                .write_all(bytes.as_flattened())
                .map_err(Error::writing(&self.path))?;
        }
        self.n_values += values.len() as u64;
        Ok(())
    }

    /// Ends the array, whose number of rows is known now.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing appears then.
    pub fn finish(mut self) -> Result<()> {
        self.write_header()?;
        self.output.finish()
    }
}

/// Everything before the values of an array in C order; at least `room` bytes.
pub(super) fn header(descr: &str, shape: &[u64], room: usize) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
    let mut header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        shape.join(", ")
    );
    let unpadded = BEFORE_HEADER + header.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT).max(room) - unpadded;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a header with few numbers should be short");
    [MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes()].concat()
}

/// Reads an array of two dimensions (rows, columns), or of one as a single row. Floats of 4 or 8 bytes, whole numbers and
/// booleans, in either byte order and either order of rows and columns.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for another kind of file or array, too few columns, or a length that is not the header's.
pub fn read<C: Contents>(path: impl AsRef<Path>) -> Result<Table<C>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    parse(&bytes).map_err(|problem| Error::File {
        path: path.to_owned(),
        problem,
    })
}

fn parse<C: Contents>(bytes: &[u8]) -> Result<Table<C>, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("not a NumPy file (.npy)")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(CUT_OFF)?;
    let (length, rest) = match version[0] {
        1 => rest
            .split_first_chunk::<2>()
            .map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            Some((length, rest))
        }),
        other => {
            return Err(format!(
                "version {other} of the NumPy format; 1 to 3 are known"
            ));
        }
    }
    .ok_or(CUT_OFF)?;
    let (header, data) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
    let header = std::str::from_utf8(header)
        .ok()
        .and_then(Header::parse)
        .ok_or("the header is damaged, or the array holds records instead of numbers")?;
    let (size, decode) = element(header.descr).ok_or_else(|| {
        let found: String = header.descr.chars().take(20).collect();
        format!(
            "an array of type {found:?}; floats of 4 or 8 bytes, whole numbers and booleans can be read"
        )
    })?;
    let (n_rows, n_columns) = match header.shape[..] {
        [n_columns] => (1, n_columns),
        [n_rows, n_columns] => (n_rows, n_columns),
        _ => {
            return Err(format!(
                "an array of {} dimensions; a table has 2",
                header.shape.len()
            ));
        }
    };
    // Before anything is allocated: the header's numbers may be anything.
    let expected = n_rows
        .checked_mul(n_columns)
        .and_then(|n| n.checked_mul(size));
    if expected != Some(data.len()) {
        return Err(format!(
            "the header says {n_rows} x {n_columns} values of {size} bytes, but {} bytes follow it",
            data.len()
        ));
    }
    if n_columns < C::COLUMNS.len() || n_columns > MAX_COLUMNS {
        return Err(format!(
            "an array of {n_columns} columns, but {} starts with {}",
            C::NAME,
            C::COLUMNS.join(" ")
        ));
    }
    let values: Vec<f64> = data.chunks_exact(size).map(decode).collect();
    let shape = (n_rows, n_columns).set_f(header.fortran_order);
    let rows = Array2::from_shape_vec(shape, values).map_err(|error| error.to_string())?;
    Table::new(rows).map_err(|error| error.to_string())
}

/// What a header says.
pub(super) struct Header<'a> {
    pub(super) descr: &'a str,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// A Python dictionary with exactly these three keys.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim().strip_prefix('{')?.strip_suffix('}')?;
        let mut rest = text.trim_start();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" => {
                    let (text, after) = quoted(value)?;
                    descr = Some(text);
                    after
                }
                "fortran_order" => {
                    let yes = value.strip_prefix("True");
                    fortran_order = Some(yes.is_some());
                    yes.or_else(|| value.strip_prefix("False"))?
                }
                "shape" => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(numbers(inside)?);
                    after
                }
                _ => return None,
            }
            .trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        }
        Some(Self {
            descr: descr?,
            fortran_order: fortran_order?,
            shape: shape?,
        })
    }
}

/// A quoted text at the start, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('\'')
        .and_then(|rest| rest.split_once('\''))
        .or_else(|| text.strip_prefix('"')?.split_once('"'))
}

/// The numbers of a tuple. Python 2 wrote `3L`.
fn numbers(inside: &str) -> Option<Vec<usize>> {
    inside
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_end_matches('L').parse().ok())
        .collect()
}

/// Makes a number of the bytes of one element.
type Decode = fn(&[u8]) -> f64;

/// Bytes of an element of a type such as `<f8`, and what makes a number of them.
fn element(descr: &str) -> Option<(usize, Decode)> {
    let (order, code) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" => false,
        ">" => true,
        _ => return None,
    };
    macro_rules! number {
        ($type:ty, $convert:path) => {{
            let decode: Decode = if big_endian {
                |bytes| $convert(<$type>::from_be_bytes(array(bytes)))
            } else {
                |bytes| $convert(<$type>::from_le_bytes(array(bytes)))
            };
            (size_of::<$type>(), decode)
        }};
    }
    Some(match code {
        "f8" => number!(f64, std::convert::identity),
        "f4" => number!(f32, f64::from),
        "i8" => number!(i64, signed),
        "i4" => number!(i32, f64::from),
        "i2" => number!(i16, f64::from),
        "i1" => number!(i8, f64::from),
        "u8" => number!(u64, unsigned),
        "u4" => number!(u32, f64::from),
        "u2" => number!(u16, f64::from),
        "u1" | "b1" => number!(u8, f64::from),
        _ => return None,
    })
}

/// The nearest number: exact up to 2^53.
fn signed(value: i64) -> f64 {
    value as f64
}

/// The nearest number: exact up to 2^53.
fn unsigned(value: u64) -> f64 {
    value as f64
}

pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PointData;

    /// A file of the given version.
    fn file(version: u8, descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({shape}), }}  \n");
        let mut bytes = [MAGIC, &[version, 0]].concat();
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        bytes.extend_from_slice(&length[..if version == 1 { 2 } else { 4 }]);
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn points(bytes: &[u8]) -> PointData {
        parse(bytes).unwrap()
    }

    fn problem(bytes: &[u8]) -> String {
        parse::<crate::data::Points>(bytes).unwrap_err()
    }

    #[test]
    fn rows_that_come_in_pieces_or_not_at_all_are_those_of_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let [whole, pieces] = ["whole.npy", "pieces.npy"].map(|name| folder.path().join(name));
        let rows = (0..10_000).map(|n| [f64::from(n), 0.5, -1.0, f64::NAN]);
        let rows: Vec<[f64; 4]> = rows.collect();
        for n in [0, 1, 10_000] {
            let rows = &rows[..n];
            write(
                &whole,
                &PointData::new(Array2::from(rows.to_vec())).unwrap(),
            )
            .unwrap();
            let mut writer = Writer::create(&pieces, 4).unwrap();
            for rows in rows.chunks(777) {
                writer.push(rows.as_flattened()).unwrap();
            }
            writer.finish().unwrap();
            let [whole, pieces] = [&whole, &pieces].map(|path| std::fs::read(path).unwrap());
            assert_eq!(whole, pieces);
            assert_eq!(points(&pieces).n_rows(), n);
            assert_eq!((pieces.len() - 32 * n) % ALIGNMENT, 0);
        }
    }

    #[test]
    fn every_type_and_byte_order_is_read() {
        macro_rules! check {
            ($code:literal, $type:ty) => {
                let values = ["1", "2", "3", "4", "5", "6", "7", "100"]
                    .map(|value| value.parse::<$type>().unwrap());
                let expected = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 100.0];
                let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
                for version in 1..=3 {
                    let little = file(version, concat!("<", $code), false, "2, 4", &little);
                    let big = file(version, concat!(">", $code), false, "2, 4", &big);
                    assert_eq!(points(&little).values(), expected);
                    assert_eq!(points(&big).values(), expected);
                }
            };
        }
        check!("f8", f64);
        check!("f4", f32);
        check!("i8", i64);
        check!("i4", i32);
        check!("i2", i16);
        check!("i1", i8);
        check!("u8", u64);
        check!("u4", u32);
        check!("u2", u16);
        check!("u1", u8);
        assert!(problem(&file(1, "<c16", false, "1, 4", &[0; 64])).contains("<c16"));
        assert!(problem(&file(1, "|O", false, "1, 4", &[0; 32])).contains("|O"));
    }

    #[test]
    fn columns_first_and_single_rows_are_understood() {
        let by_column = file(1, "|u1", true, "2, 4", &[1, 5, 2, 6, 3, 7, 4, 8]);
        let expected = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        assert_eq!(points(&by_column).values(), expected);
        let row = points(&file(1, "|i1", false, "5,", &[1, 2, 3, 4, 255]));
        assert_eq!(row.values(), [1.0, 2.0, 3.0, 4.0, -1.0]);
        assert_eq!(row.columns(), ["t", "x", "y", "z", "col4"]);
        assert_eq!(points(&file(1, "<f8", false, "0, 4", &[])).n_rows(), 0);
    }

    #[test]
    fn shapes_that_do_not_fit_the_file_are_errors_before_anything_is_allocated() {
        for shape in [
            "1000000000000000000, 4",
            "4611686018427387904, 4",
            "2, 4",
            "18446744073709551615, 18446744073709551615",
        ] {
            assert!(
                problem(&file(1, "<f8", false, shape, &[0; 32])).contains("but 32 bytes follow")
            );
        }
        assert!(problem(&file(1, "<f8", false, "0, 1000000000000", &[])).contains("columns"));
        assert!(problem(&file(1, "<f8", false, "1000000000000, 0", &[])).contains("0 columns"));
        assert!(problem(&file(1, "<f8", false, "2, 2", &[0; 32])).contains("t x y z"));
        assert!(problem(&file(1, "<f8", false, "1, 2, 2", &[0; 32])).contains("3 dimensions"));
        assert!(problem(&file(1, "<f8", false, "", &[0; 8])).contains("0 dimensions"));
    }

    #[test]
    fn other_files_say_so() {
        assert!(problem(b"").contains("not a NumPy file"));
        assert!(problem(b"t,x,y,z\n").contains("not a NumPy file"));
        assert!(problem(MAGIC).contains("cut off"));
        assert!(problem(&file(9, "<f8", false, "1, 4", &[0; 32])).contains("version 9"));
        let header = b"{'descr': [('t', '<f8')], 'fortran_order': False, 'shape': (1,), }\n";
        let mut bytes = [MAGIC, &[1, 0]].concat();
        bytes.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 8]);
        assert!(problem(&bytes).contains("records"));
    }
}
