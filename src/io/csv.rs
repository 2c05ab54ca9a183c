//! Comma-separated tables: a line of column names, then rows of shortest round-trip numbers.

use std::io::Write;
use std::path::Path;

use super::Output;
use crate::data::{Contents, Table};
use crate::error::{Error, Result};

/// Writes a table.
///
/// # Errors
/// [`Error::Io`]; no file is then left under that name.
pub fn write<C: Contents>(path: impl AsRef<Path>, table: &Table<C>) -> Result<()> {
    let path = path.as_ref();
    let mut output = Output::create(path)?;
    write_to(&mut output, table).map_err(Error::writing(path))?;
    output.finish()
}

fn write_to<C: Contents>(output: &mut impl Write, table: &Table<C>) -> std::io::Result<()> {
    writeln!(output, "{}", table.columns().join(","))?;
    let mut line = Vec::new();
    for row in table.values().chunks_exact(table.columns().len()) {
        line.clear();
        push_row(&mut line, row, b',');
        output.write_all(&line)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut line = Vec::new();
        push_number(&mut line, value);
        String::from_utf8(line).unwrap()
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
}
