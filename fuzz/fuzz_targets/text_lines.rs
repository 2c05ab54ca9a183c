#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use pept::io::source::{BLOCK_ROWS, Input};
use pept::io::text_lines::TextLines;

fuzz_target!(|bytes: &[u8]| {
    common::same_in_blocks(|rows| {
        let source = TextLines::new(Input::from_bytes("input", bytes)?);
        Ok(source.block_rows(rows.unwrap_or(BLOCK_ROWS)))
    });
});
