use multiversion::multiversion;
use rayon::prelude::*;

use super::Cutpoint;
use super::filter::{BLOCK, Batch, Filter, Sample};

/// Rows `i` of a sample that one task takes: large samples are spread over the threads.
const ROWS_PER_TASK: usize = 512;

pub(super) fn on_samples(batch: &Batch) -> Vec<Vec<Cutpoint>> {
    batch
        .samples
        .par_iter()
        .map(|sample| {
            let first_rows: Vec<usize> = sample.lines.clone().step_by(ROWS_PER_TASK).collect();
            let mut parts: Vec<Vec<Cutpoint>> = first_rows
                .into_par_iter()
                .map(|first| some_rows(batch, sample, first))
                .collect();
            if parts.len() == 1 {
                parts.remove(0)
            } else {
                parts.concat()
            }
        })
        .collect()
}

/// The cutpoints of [`ROWS_PER_TASK`] lines with all later lines of the sample.
fn some_rows(batch: &Batch, sample: &Sample, first: usize) -> Vec<Cutpoint> {
    let end = sample.lines.end;
    let (mut candidates, mut out) = (Vec::new(), Vec::new());
    for i in first..end.min(first + ROWS_PER_TASK) {
        candidates.clear();
        propose(
            &batch.columns,
            &batch.line(i),
            i + 1,
            end,
            &batch.filter,
            &mut candidates,
        );
        for &j in &candidates {
            batch.confirm(sample, i, j as usize, &mut out);
        }
    }
    out
}

/// The candidates among the lines `first..end`, ascending. The columns are padded by [`BLOCK`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn propose(
    columns: &[Vec<f32>; 6],
    line: &[f32; 6],
    first: usize,
    end: usize,
    filter: &Filter,
    candidates: &mut Vec<u32>,
) {
    for start in (first..end).step_by(BLOCK) {
        let block: [&[f32; BLOCK]; 6] = std::array::from_fn(|k| {
            columns[k][start..]
                .first_chunk()
                .expect("columns should be padded by one block")
        });
        let mut hits = [0u8; BLOCK];
        for n in 0..BLOCK {
            hits[n] = u8::from(filter.proposes(line, &std::array::from_fn(|k| block[k][n])));
        }
        let mut bits = pack(&hits);
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

/// Bit n is byte n, each 0 or 1.
#[inline(always)]
fn pack(bytes: &[u8; BLOCK]) -> u64 {
    let mut bits = 0;
    for (k, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        // The product moves byte n's lowest bit to bit 56 + n; no two of its terms meet.
        bits |= (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_the_order_of_bytes() {
        for n in 0..BLOCK {
            let mut bytes = [0; BLOCK];
            bytes[n] = 1;
            bytes[63 - n] = 1;
            assert_eq!(pack(&bytes), 1 << n | 1 << (63 - n));
        }
        assert_eq!(pack(&[1; BLOCK]), u64::MAX);
    }
}
