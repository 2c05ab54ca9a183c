//! Arrays of numbers as plotly.js reads them: little-endian bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Times and lengths that `f32` would shift by more than this (ms, mm) stay `f64`.
const FINEST: f64 = 0.005;
/// Other values stay `f64` where `f32` has fewer than this many steps over their span.
const STEPS: f64 = 1e4;

/// Times (ms) or coordinates (mm); NaN is a gap.
pub(super) fn coordinates(values: &[f64]) -> Value {
    typed(values, |largest, _| rounding(largest) <= FINEST)
}

/// Values that give a colour or a height.
pub(super) fn values(values: &[f64]) -> Value {
    typed(values, |largest, span| rounding(largest) * STEPS <= span)
}

/// Values of `columns` columns, row after row.
pub(super) fn matrix(cells: &[f64], columns: usize) -> Value {
    let mut array = values(cells);
    array["shape"] = json!(format!("{}, {columns}", cells.len() / columns.max(1)));
    array
}

/// How far `f32` is from a value of this size, at most.
fn rounding(value: f64) -> f64 {
    value * f64::from(f32::EPSILON) / 2.0
}

fn typed(values: &[f64], f32_is_enough: impl Fn(f64, f64) -> bool) -> Value {
    let (low, high) = finite_range(values).unwrap_or((0.0, 0.0));
    let (kind, bytes): (_, Vec<u8>) = if f32_is_enough(low.abs().max(high.abs()), high - low) {
        #[expect(clippy::cast_possible_truncation, reason = "found to be near enough")]
        let bytes = values.iter().flat_map(|&v| (v as f32).to_le_bytes());
        ("f4", bytes.collect())
    } else {
        ("f8", values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    json!({"dtype": kind, "bdata": STANDARD.encode(bytes)})
}

/// The smallest and the largest of the finite values.
pub(super) fn finite_range(values: &[f64]) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// The numbers of an array, typed or plain; what is no number is NaN. `None` if it is no array.
pub(super) fn numbers(value: &Value) -> Option<Vec<f64>> {
    if let Some(list) = value.as_array() {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        // Rows of a matrix one after another.
        return Some(
            list.iter()
                .flat_map(|value| numbers(value).unwrap_or_else(|| vec![number(value)]))
                .collect(),
        );
    }
    let bytes = STANDARD.decode(value["bdata"].as_str()?).ok()?;
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().copied().map(number).collect()
    }
    Some(match value["dtype"].as_str()? {
        "f4" | "float32" => each(&bytes, |b| f64::from(f32::from_le_bytes(b))),
        "f8" | "float64" => each(&bytes, f64::from_le_bytes),
        "u1" | "uint8" => each(&bytes, |b| f64::from(u8::from_le_bytes(b))),
        "u2" | "uint16" => each(&bytes, |b| f64::from(u16::from_le_bytes(b))),
        "u4" | "uint32" => each(&bytes, |b| f64::from(u32::from_le_bytes(b))),
        "i1" | "int8" => each(&bytes, |b| f64::from(i8::from_le_bytes(b))),
        "i2" | "int16" => each(&bytes, |b| f64::from(i16::from_le_bytes(b))),
        "i4" | "int32" => each(&bytes, |b| f64::from(i32::from_le_bytes(b))),
        _ => return None,
    })
}

/// Rows and columns of a matrix, typed or plain.
pub(super) fn shape(value: &Value) -> Option<[usize; 2]> {
    if let Some(list) = value.as_array() {
        return Some([list.len(), list.first()?.as_array()?.len()]);
    }
    let (rows, columns) = value["shape"].as_str()?.split_once(',')?;
    Some([rows.trim().parse().ok()?, columns.trim().parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_f32_where_that_loses_nothing_and_read_back() {
        let near = [0.5, -300.25, f64::NAN, 711.0];
        let array = coordinates(&near);
        assert_eq!(array["dtype"], "f4");
        assert_eq!(array["bdata"].as_str().unwrap().len(), 24);
        let back = numbers(&array).unwrap();
        assert!(back[2].is_nan() && back[1] == -300.25);
        let late = [3.6e6, 3.6e6 + 0.001];
        assert_eq!(coordinates(&late)["dtype"], "f8");
        assert_eq!(numbers(&coordinates(&late)).unwrap(), late);
        assert_eq!(values(&[1e9, 1e9 + 1.0])["dtype"], "f8");
        assert_eq!(values(&[0.0, 1e9])["dtype"], "f4");
        let cells = matrix(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
        assert_eq!(shape(&cells), Some([2, 3]));
        let plain = json!([[1, 2, 3], [4, 5, null]]);
        assert_eq!(shape(&plain), Some([2, 3]));
        assert_eq!(numbers(&plain).unwrap()[..5], [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
