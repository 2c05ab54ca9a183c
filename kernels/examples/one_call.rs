//! A kernel in one call: where do these lines cross?
//!
//! `cargo run -p pept-kernels --example one_call`

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use pept_kernels::{Backend, KernelError, LineSlice, cutpoints};

fn main() -> Result<(), KernelError> {
    // Three lines of response through (10, 20, 30): t x1 y1 z1 x2 y2 z2 (ms, mm).
    let lors = [
        [0.0, -90.0, 20.0, 30.0, 110.0, 20.0, 30.0],
        [1.0, 10.0, -80.0, 30.1, 10.0, 120.0, 30.1],
        [2.0, 10.1, 20.0, -70.0, 10.1, 20.0, 130.0],
    ];
    let backend = Backend::auto(); // a hardware GPU if there is one, else the CPU: the same bits
    let params = cutpoints::Params::new(0.5);
    for point in cutpoints::on(&backend, LineSlice::from_rows(&lors), &params)? {
        println!(
            "lines {} and {} cross at ({:.2}, {:.2}, {:.2}) mm, {} ms",
            point.i, point.j, point.x, point.y, point.z, point.t
        );
    }
    Ok(())
}
