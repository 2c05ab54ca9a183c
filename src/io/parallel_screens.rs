//! Text of two parallel screens: header lines, then rows `t x1 y1 x2 y2` (ms, mm).
//!
//! Numbers are separated by blanks, tabs or commas. The screens lie at z = 0 and z = separation. A header line such as
//! `Separation= 712` gives the separation when the caller does not. After the last row, empty lines or a line that is no row
//! may follow.

use std::io::Write;
use std::path::Path;

use super::Output;
use super::csv::push_row;
use crate::data::{Attribute, LineData, array_of_rows};
use crate::error::{Error, Result};

/// Numbers in a row.
const N_VALUES: usize = 5;
/// Characters of a bad line that a message shows.
const SHOWN: usize = 60;

/// Reads a file. `separation` (mm) wins over the header's.
///
/// The table has the attributes `separation` and `header_lines` (how many lines were skipped).
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] without any row or any separation; [`Error::Parse`] for a line between rows that is
/// no row, and for NaN or infinity.
pub fn read(path: impl AsRef<Path>, separation: Option<f64>) -> Result<LineData> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    parse(path, &bytes, separation)
}

fn parse(path: &Path, bytes: &[u8], separation: Option<f64>) -> Result<LineData> {
    let file_error = |problem: String| Error::File {
        path: path.to_owned(),
        problem,
    };
    let mut rows: Vec<[f64; N_VALUES]> = Vec::new();
    let mut header_lines = 0;
    let mut header_separation = None;
    let mut not_a_row: Option<Error> = None;
    for (index, line) in lines(bytes).enumerate() {
        let parse_error = |problem: String| Error::Parse {
            path: path.to_owned(),
            line: index + 1,
            problem,
        };
        let row = Row::parse(line);
        if rows.is_empty() && !matches!(row, Row::Numbers { n: N_VALUES.., .. }) {
            header_lines += 1;
            header_separation = header_separation.or_else(|| separation_in(line));
            continue;
        }
        match row {
            Row::Blank => {}
            Row::Numbers {
                n: N_VALUES,
                values,
            } => {
                if let Some(error) = not_a_row {
                    return Err(error);
                }
                if !values.iter().all(|value| value.is_finite()) {
                    return Err(parse_error(format!(
                        "NaN or infinity in \"{}\"; remove the row",
                        shown(line)
                    )));
                }
                rows.push(values);
            }
            Row::Numbers { n, .. } if rows.is_empty() => {
                return Err(parse_error(format!(
                    "a row of {n} numbers, but parallel screens have {N_VALUES} (t x1 y1 x2 y2)"
                )));
            }
            // The end of the table, unless a row follows.
            Row::Numbers { .. } | Row::Text => {
                not_a_row.get_or_insert_with(|| {
                    parse_error(format!(
                        "\"{}\" is not a row of {N_VALUES} numbers (t x1 y1 x2 y2)",
                        shown(line)
                    ))
                });
            }
        }
    }
    if bytes.is_empty() {
        return Err(file_error("the file is empty".into()));
    }
    if rows.is_empty() {
        return Err(file_error(format!(
            "no line of {N_VALUES} numbers (t x1 y1 x2 y2) found; is it a parallel-screens text file?"
        )));
    }
    let separation = separation.or(header_separation).ok_or_else(|| {
        file_error("the header has no line `Separation= MM`; give the distance of the screens (--separation MM)".into())
    })?;
    tracing::debug!(path = %path.display(), rows = rows.len(), header_lines, separation, "parallel-screens file read");
    let lors = from_rows(&rows, separation)?;
    Ok(lors.with_attribute("header_lines", Attribute::Number(header_lines as f64)))
}

/// LoRs from a table in memory: rows `t x1 y1 x2 y2`, `separation` in mm.
///
/// # Errors
/// [`Error::Parameter`] for a separation that is not a positive number.
pub fn from_rows(rows: &[[f64; N_VALUES]], separation: f64) -> Result<LineData> {
    if !(separation.is_finite() && separation > 0.0) {
        return Err(Error::Parameter {
            name: "separation",
            value: separation.to_string(),
            needed: "a distance in mm above 0",
        });
    }
    let values: Vec<f64> = rows
        .iter()
        .flat_map(|&[t, x1, y1, x2, y2]| [t, x1, y1, 0.0, x2, y2, separation])
        .collect();
    let rows = array_of_rows(values, 7);
    Ok(LineData::new(rows)?.with_attribute("separation", Attribute::Number(separation)))
}

/// Writes LoRs whose ends lie on the two screens, with the header that [`read`] understands.
///
/// # Errors
/// [`Error::Io`]; no file is then left under that name.
pub fn write(path: impl AsRef<Path>, title: &str, separation: f64, lors: &LineData) -> Result<()> {
    let path = path.as_ref();
    let mut output = Output::create(path)?;
    let mut line = Vec::new();
    let mut write_all = || {
        writeln!(
            output,
            "{title}\nEach row is t (ms), x1, y1, x2, y2 (mm).\nSeparation= {separation}"
        )?;
        for &[t, x1, y1, _, x2, y2, _] in lors.line_slice().rows() {
            line.clear();
            push_row(&mut line, &[t, x1, y1, x2, y2], b'\t');
            output.write_all(&line)?;
        }
        Ok(())
    };
    write_all().map_err(Error::writing(path))?;
    output.finish()
}

/// The lines of a text, without their ends (`\n` or `\r\n`) and without a byte order mark.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut start = 0;
    memchr::memchr_iter(b'\n', body)
        .chain([body.len()])
        .map(move |end| {
            let line = &body[start..end];
            start = end + 1;
            line.strip_suffix(b"\r").unwrap_or(line)
        })
}

enum Row {
    Blank,
    /// `n` numbers and nothing else; `values` are the first of them.
    Numbers {
        n: usize,
        values: [f64; N_VALUES],
    },
    Text,
}

impl Row {
    fn parse(line: &[u8]) -> Self {
        let is_separator = |byte: &u8| matches!(byte, b' ' | b'\t' | b',');
        let skip = |text: &mut &[u8]| {
            let n = text.iter().take_while(|byte| is_separator(byte)).count();
            *text = &text[n..];
        };
        let mut values = [0.0; N_VALUES];
        let mut n = 0;
        let mut text = line;
        skip(&mut text);
        while !text.is_empty() {
            let Ok((value, length)) = fast_float2::parse_partial::<f64, _>(text) else {
                return Self::Text;
            };
            text = &text[length..];
            if !text.first().is_none_or(is_separator) {
                return Self::Text;
            }
            skip(&mut text);
            if let Some(place) = values.get_mut(n) {
                *place = value;
            }
            n += 1;
        }
        if n == 0 {
            Self::Blank
        } else {
            Self::Numbers { n, values }
        }
    }
}

/// The number after `Separation` and `=` or `:` in a header line.
fn separation_in(line: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(line).ok()?.to_ascii_lowercase();
    let (_, rest) = text.split_once("separation")?;
    let number = rest.trim_start().strip_prefix(['=', ':'])?.trim_start();
    fast_float2::parse_partial(number)
        .ok()
        .map(|(value, _)| value)
}

/// The start of a line, for a message.
fn shown(line: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(line)
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
    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Result<LineData> {
        parse(Path::new("file.csv"), text.as_ref(), None)
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
            parse(
                Path::new("f"),
                format!("{HEADER}1 2 3 4 5").as_bytes(),
                Some(mm),
            )
        };
        assert_eq!(read(100.0).unwrap().values()[6], 100.0);
        assert!(read(0.0).is_err() && read(f64::NAN).is_err());
    }
}
