/// The order of times, ties in the order in which they stand: indices into `times`.
///
/// One stable pass over buckets of time; the few of a bucket are sorted. At most 2^32 finite times.
#[must_use]
pub fn time_order(times: &[f64]) -> Vec<u32> {
    let (first, last) = times
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &t| {
            (a.min(t), b.max(t))
        });
    let n_buckets = times.len();
    let per_ms = (n_buckets as f64 - 0.5) / (last - first);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and gives 0 for NaN where all times are equal"
    )]
    let bucket = |t: f64| (((t - first) * per_ms) as usize).min(n_buckets - 1);
    let mut ends = vec![0_u32; n_buckets];
    for &t in times {
        ends[bucket(t)] += 1;
    }
    let mut before = 0;
    for end in &mut ends {
        (before, *end) = (before + *end, before); // its first place
    }
    let mut order = vec![0; times.len()];
    for (n, &t) in (0..).zip(times) {
        let place = &mut ends[bucket(t)];
        order[*place as usize] = n;
        *place += 1;
    }
    let mut start = 0;
    for end in ends {
        let bucket = &mut order[start..end as usize];
        if bucket.len() > 1 {
            bucket.sort_by(|&a, &b| times[a as usize].total_cmp(&times[b as usize]));
        }
        start = end as usize;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_a_stable_sort() {
        let cases: [&[f64]; 8] = [
            &[],
            &[1.0],
            &[2.0, 1.0, 2.0, 1.0, 0.5],
            &[3.0; 5],
            &[1e-300, 0.0, 1e300, -1e300, 0.0, -0.0],
            &[f64::MAX, f64::MIN, 0.0],
            &[1.0, 1.0 + f64::EPSILON, 1.0, 1.0 + f64::EPSILON],
            &[5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 1e9],
        ];
        for times in cases {
            let mut expected: Vec<u32> = (0..).take(times.len()).collect();
            expected.sort_by(|&a, &b| times[a as usize].total_cmp(&times[b as usize]));
            assert_eq!(time_order(times), expected, "{times:?}");
        }
    }
}
