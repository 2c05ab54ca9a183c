//! What targets share.

use pept::io::source::{LineSource, read_all};
use pept::{Error, LineData, Result};

/// A source gives the same rows, or the same error, in blocks of any size.
pub fn same_in_blocks<S: LineSource>(source: impl Fn(Option<usize>) -> Result<S>) {
    let read = |rows: Option<usize>| source(rows).and_then(read_all);
    match (read(None), read(Some(3))) {
        (Ok(whole), Ok(small)) => {
            assert_eq!(whole.columns(), small.columns());
            assert_eq!(bits(&whole), bits(&small));
        }
        // How far a damaged archive can be unpacked depends on how much is asked for.
        (Err(Error::Io { .. }), Err(_)) | (Err(_), Err(Error::Io { .. })) => {}
        (whole, small) => {
            let problem = |result: Result<LineData>| result.err().map(|error| error.to_string());
            assert_eq!(problem(whole), problem(small));
        }
    }
}

/// NaN is equal to NaN here.
fn bits(lors: &LineData) -> Vec<u64> {
    let bits = |value: &f64| if value.is_nan() { 1 } else { value.to_bits() };
    lors.values().iter().map(bits).collect()
}
