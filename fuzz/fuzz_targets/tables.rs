#![no_main]

use std::io::Write;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pept::io::table;

fuzz_target!(|bytes: &[u8]| {
    // These readers take names: a file in memory, if there is such a folder.
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("a temporary folder should be possible")
    });
    let Some((&first, bytes)) = bytes.split_first() else {
        return;
    };
    let ending = ["csv", "npy"][usize::from(first % 2)];
    let path = FOLDER.path().join("input").with_extension(ending);
    let mut file = std::fs::File::create(&path).expect("the file should be writable");
    file.write_all(bytes).expect("the file should be writable");
    drop(file);
    let _ = table::read_lines(&path);
    let _ = table::read_points(&path);
});
