use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};

use super::filter::Filter;

const LANES: usize = 16;
/// Lines are filtered in blocks of this many; the columns are padded by it.
pub(super) const BLOCK: usize = 2 * LANES;

/// Adds the candidates among the lines `first..end`, ascending. The columns are padded by [`BLOCK`].
pub(super) fn propose(
    level: Level,
    columns: &[Vec<f32>; 6],
    line: &[f32; 6],
    first: usize,
    end: usize,
    filter: &Filter,
    candidates: &mut Vec<u32>,
) {
    dispatch!(level, simd => propose_with(simd, columns, line, first, end, filter, candidates));
}

#[inline(always)]
fn propose_with<S: Simd>(
    simd: S,
    columns: &[Vec<f32>; 6],
    line: &[f32; 6],
    first: usize,
    end: usize,
    filter: &Filter,
    candidates: &mut Vec<u32>,
) {
    let a = [
        f32x16::splat(simd, line[0]),
        f32x16::splat(simd, line[1]),
        f32x16::splat(simd, line[2]),
        f32x16::splat(simd, line[3]),
        f32x16::splat(simd, line[4]),
        f32x16::splat(simd, line[5]),
    ];
    let constants = [
        f32x16::splat(simd, filter.guard),
        f32x16::splat(simd, filter.k),
        f32x16::splat(simd, filter.max_squared),
    ];
    for start in (first..end).step_by(BLOCK) {
        let mut bits = proposes(simd, &a, columns, start, &constants)
            | proposes(simd, &a, columns, start + LANES, &constants) << LANES;
        if end - start < BLOCK {
            bits &= (1 << (end - start)) - 1;
        }
        while bits != 0 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the caller has fewer than 2^32 lines"
            )]
            candidates.push(start as u32 + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
}

/// [`Filter::proposes`] for 16 lines from `start` on, a bit each. Sums and differences are fused where the processor can.
#[inline(always)]
fn proposes<S: Simd>(
    simd: S,
    a: &[f32x16<S>; 6],
    columns: &[Vec<f32>; 6],
    start: usize,
    [guard, k, max_squared]: &[f32x16<S>; 3],
) -> u64 {
    // No closures in vector code: what is not inlined loses the vector instructions.
    let ux = f32x16::from_slice(simd, &columns[0][start..start + LANES]);
    let uy = f32x16::from_slice(simd, &columns[1][start..start + LANES]);
    let uz = f32x16::from_slice(simd, &columns[2][start..start + LANES]);
    let mx = f32x16::from_slice(simd, &columns[3][start..start + LANES]);
    let my = f32x16::from_slice(simd, &columns[4][start..start + LANES]);
    let mz = f32x16::from_slice(simd, &columns[5][start..start + LANES]);
    let t = a[2].mul_add(mz, a[1].mul_add(my, a[0] * mx))
        + a[5].mul_add(uz, a[4].mul_add(uy, a[3] * ux));
    let c = a[2].mul_add(uz, a[1].mul_add(uy, a[0] * ux));
    let x = (t.abs() - *guard).max(f32x16::splat(simd, 0.0));
    let sine_squared = (-c).mul_add(c, *k);
    (x * x).simd_le(*max_squared * sine_squared).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_plainest_instructions_propose_what_the_filter_does() {
        // Whole numbers over powers of two: nothing is rounded, so fusing changes nothing.
        let n = 100;
        let value = |k: usize, n: usize| ((n * (7 + k) + k * k) % 17) as f32 / 16.0 - 0.5;
        let columns: [Vec<f32>; 6] =
            std::array::from_fn(|k| (0..n + BLOCK).map(|n| value(k, n)).collect());
        let line = |n: usize| -> [f32; 6] { std::array::from_fn(|k| columns[k][n]) };
        let filter = Filter {
            guard: 0.125,
            k: 1.0,
            max_squared: 0.25,
            padding: 0,
        };
        for (first, end) in [(0, n), (3, 3), (5, 6), (10, 10 + BLOCK), (10, 11 + BLOCK)] {
            let expected: Vec<u32> = (first..end)
                .filter(|&other| filter.proposes(&line(1), &line(other)))
                .map(|other| other as u32)
                .collect();
            for level in [Level::new(), Level::baseline()] {
                let mut found = Vec::new();
                propose(level, &columns, &line(1), first, end, &filter, &mut found);
                assert_eq!(found, expected);
            }
        }
    }
}
