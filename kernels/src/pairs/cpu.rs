use multiversion::multiversion;

use super::filter::Filter;

/// Lines are filtered in blocks of this many; the columns are padded by it.
pub(super) const BLOCK: usize = 64;

/// The candidates among the lines `first..end`, ascending. The columns are padded by [`BLOCK`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn propose(
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
