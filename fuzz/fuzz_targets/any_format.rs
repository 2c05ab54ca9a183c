#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use pept::io::source::{BLOCK_ROWS, Format, Input, Options, open_input};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut input) = Input::from_bytes("input", bytes) else {
        return;
    };
    // These want a file.
    if matches!(input.format(), Ok(Format::NumPy | Format::Arrow)) {
        return;
    }
    common::same_in_blocks(|rows| {
        let options = Options {
            block_rows: rows.unwrap_or(BLOCK_ROWS),
            ..Options::default()
        };
        open_input(Input::from_bytes("input", bytes)?, &options)
    });
});
