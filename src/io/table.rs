//! Tables in any of the formats, by the ending of the file's name.
//!
//! | ending | format | keeps |
//! |---|---|---|
//! | `.csv` | [comma-separated](super::csv) | rows, names |
//! | `.npy` | [NumPy](super::npy) | rows |
//! | `.arrow`, `.feather` | Arrow file (feature `arrow`) | rows, names, sampling, attributes |

use std::path::Path;

#[cfg(feature = "arrow")]
use super::arrow;
use super::{cells, csv, npy};
use crate::data::{Contents, Data, LineData, PointData, Table};
use crate::error::{Error, Result};

/// Reads lines.
///
/// # Errors
/// [`Error::File`] for an unknown ending; what the format's reader says.
pub fn read_lines(path: impl AsRef<Path>) -> Result<LineData> {
    read(path.as_ref())
}

/// Reads points.
///
/// # Errors
/// [`Error::File`] for an unknown ending; what the format's reader says.
pub fn read_points(path: impl AsRef<Path>) -> Result<PointData> {
    read(path.as_ref())
}

/// Writes a table.
///
/// # Errors
/// [`Error::File`] for an unknown ending; what the format's writer says. No file is then left under that name.
pub fn write_table<C: Contents>(path: impl AsRef<Path>, table: &Table<C>) -> Result<()> {
    let path = path.as_ref();
    match Format::of(path)? {
        Format::Csv => csv::write(path, table),
        Format::Npy => npy::write(path, table),
        #[cfg(feature = "arrow")]
        Format::Arrow => arrow::write(path, table),
    }
}

/// Writes what a pipeline gave: all its tables as one.
///
/// # Errors
/// As [`Data::into_table`] and [`write_table`].
pub fn write_data(path: impl AsRef<Path>, data: Data) -> Result<()> {
    match data.into_table()? {
        Data::Lines(table) => write_table(path, &table),
        Data::Points(table) => write_table(path, &table),
        Data::Voxels(voxels) => cells::write_cells(path, &voxels),
        list @ Data::List(_) => write_table(path, &list.into_points()?),
    }
}

/// Checks that a name has one of the endings.
///
/// # Errors
/// [`Error::File`] for an unknown ending.
pub fn check_name(path: impl AsRef<Path>) -> Result<()> {
    Format::of(path.as_ref()).map(|_| ())
}

fn read<C: Contents>(path: &Path) -> Result<Table<C>> {
    match Format::of(path)? {
        Format::Csv => csv::read(path),
        Format::Npy => npy::read(path),
        #[cfg(feature = "arrow")]
        Format::Arrow => arrow::read(path),
    }
}

enum Format {
    Csv,
    Npy,
    #[cfg(feature = "arrow")]
    Arrow,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default();
        let ending = ending.to_string_lossy().to_ascii_lowercase();
        let problem = match ending.as_str() {
            "csv" => return Ok(Self::Csv),
            "npy" => return Ok(Self::Npy),
            #[cfg(feature = "arrow")]
            "arrow" | "feather" => return Ok(Self::Arrow),
            #[cfg(not(feature = "arrow"))]
            "arrow" | "feather" => {
                "this program was built without Arrow files (feature `arrow`); use .csv or .npy"
            }
            "" => "the name needs an ending that says the format: .csv, .npy, .arrow or .feather",
            _ => "unknown ending; tables are .csv, .npy, .arrow or .feather",
        };
        Err(Error::File {
            path: path.to_owned(),
            problem: problem.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_endings_name_the_known_ones() {
        for name in ["table", "table.txt", "dir.csv/table"] {
            let problem = read_points(name).unwrap_err().to_string();
            assert!(problem.contains(".csv, .npy, .arrow or .feather"));
        }
        assert!(matches!(read_points("no/such.CSV"), Err(Error::Io { .. })));
    }
}
