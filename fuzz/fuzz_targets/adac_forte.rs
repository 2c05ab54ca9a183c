#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use pept::io::adac_forte::AdacForte;
use pept::io::source::{BLOCK_ROWS, Input};

fuzz_target!(|bytes: &[u8]| {
    common::same_in_blocks(|rows| {
        let source = AdacForte::new(Input::from_bytes("input", bytes)?)?;
        Ok(source.block_rows(rows.unwrap_or(BLOCK_ROWS)))
    });
});
