#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use pept::io::parallel_screens::ParallelScreens;
use pept::io::source::{BLOCK_ROWS, Input};

fuzz_target!(|bytes: &[u8]| {
    common::same_in_blocks(|rows| {
        let source = ParallelScreens::new(Input::from_bytes("input", bytes)?);
        Ok(source.block_rows(rows.unwrap_or(BLOCK_ROWS)))
    });
});
