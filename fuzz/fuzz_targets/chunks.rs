#![no_main]

use libfuzzer_sys::fuzz_target;
use pept::io::chunks::{Chunks, Options, Skip};
use pept::io::source::Input;

fuzz_target!(|bytes: &[u8]| {
    // How it is read, and the table.
    let Some((&[rows, skip, limit], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let Ok(input) = Input::from_bytes("input", bytes) else {
        return;
    };
    let options = Options {
        skip: match skip {
            0 => Skip::Nothing,
            1..128 => Skip::First(skip.into()),
            // Every other row.
            _ => Skip::Rows((0..skip.into()).step_by(2).collect()),
        },
        limit: (limit < 128).then_some(limit.into()),
        ..Options::default()
    };
    let Ok(chunks) = Chunks::new(input, rows.into(), options) else {
        return;
    };
    let whole = chunks.read().map_err(|error| error.to_string());
    let parts: Result<Vec<_>, _> = chunks.iter().collect();
    match (whole, parts) {
        (Ok(whole), Ok(parts)) => {
            assert_eq!(whole.nrows(), chunks.n_rows());
            assert_eq!(parts.len(), chunks.n_chunks());
            for (n, part) in parts.iter().enumerate() {
                let again = chunks.chunk(n as isize).expect("it was read before");
                assert_eq!(part.dim(), again.dim());
            }
        }
        (Err(whole), Err(part)) => assert_eq!(whole, part.to_string()),
        (whole, parts) => panic!("{whole:?} {parts:?}"),
    }
});
