use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use super::lines::{Lines, Terms, solve, squared_distances};
use crate::data::{Attribute, LineData, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Lines within so many root mean squares of the point stay.
const KEPT: f64 = 1.5;
/// So many times a guess at the cut is moved to the next distance, before all are ranked.
const MOVES: usize = 12;
/// Partial sums, whatever the vectors.
const LANES: usize = 8;

/// The Birmingham method: the point nearest to the lines, found again and again without those that are far from it, until a fraction
/// `fopt` of them is left.
///
/// Gives one row `[t, x, y, z, error]` for a sample: mean time of the lines used (ms), coordinates (mm), and the root mean square of
/// their distances (mm); none where no point is determined (parallel lines, fewer than two).
///
/// Parker et al., "Positron emission particle tracking", Nuclear Instruments and Methods
/// A 326, 592 (1993).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BirminghamMethod {
    fopt: f64,
    get_used: bool,
}

impl Default for BirminghamMethod {
    fn default() -> Self {
        Self {
            fopt: 0.5,
            get_used: false,
        }
    }
}

impl BirminghamMethod {
    /// `fopt`: the fraction of lines that is used in the end, above 0 and at most 1.
    #[must_use]
    pub fn new(fopt: f64) -> Self {
        Self {
            fopt,
            ..Self::default()
        }
    }

    /// Whether the sample's lines become the attribute `_lines`, with a column `used` of 0 or 1.
    #[must_use]
    pub fn get_used(self, get_used: bool) -> Self {
        Self { get_used, ..self }
    }

    /// The point, the root mean square of distances, and for each line whether it is used.
    fn locate(&self, lines: &Lines) -> Option<([f64; 3], f64, Vec<bool>)> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of n"
        )]
        let target = ((lines.len() as f64 * self.fopt) as usize).max(1);
        let (point, mean, used) = search(&lines.columns(), &lines.terms, target)?;
        let used = used.iter().map(|&mask| mask != 0).collect();
        Some((point, mean.sqrt(), used))
    }
}

/// The point, the mean of squared distances, and a mask of the lines used: all bits or none.
///
/// Most rounds leave out one line and change few others: the sums follow the changes, and the distance to cut at is looked for near
/// the last one.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn search(
    columns: &[&[f64]; 6],
    terms: &[Terms],
    target: usize,
) -> Option<([f64; 3], f64, Vec<u64>)> {
    let n = terms.len();
    let (mut used, mut n_used) = (vec![u64::MAX; n], n);
    let mut squares = vec![0.0; n];
    let mut sums = sums_of(terms, &used);
    let mut cut = f64::INFINITY;
    loop {
        if n_used == target {
            // Without what the changes lost in rounding.
            sums = sums_of(terms, &used);
        }
        let point = solve(&sums, n_used as f64)?;
        squared_distances(columns, point, &mut squares);
        let mean = masked_sum(&squares, &used) / n_used as f64;
        if n_used == target {
            return Some((point, mean, used));
        }
        // The near ones stay; at least as many as wanted, and at least one less than before.
        let near = KEPT * KEPT * mean;
        let n_near = up_to(&squares, near);
        let size = n_near.max(target).min(n_used - 1);
        if n_near == size {
            cut = near;
        } else {
            cut = nth_smallest(&squares, size, cut.min(near))?;
        }
        n_used = change(terms, &squares, cut, &mut used, &mut sums);
        // Of equal ones the first.
        while n_used > size {
            let mut last = n - 1;
            while squares[last].to_bits() != cut.to_bits() {
                last -= 1;
            }
            squares[last] = f64::INFINITY;
            used[last] = 0;
            for k in 0..sums.len() {
                sums[k] -= terms[last][k];
            }
            n_used -= 1;
        }
    }
}

/// The sums of the lines used.
#[inline(always)]
fn sums_of(terms: &[Terms], used: &[u64]) -> Terms {
    let mut sums = [0.0; 9];
    for n in 0..terms.len() {
        if used[n] != 0 {
            for k in 0..sums.len() {
                sums[k] += terms[n][k];
            }
        }
    }
    sums
}

#[inline(always)]
fn masked_sum(squares: &[f64], used: &[u64]) -> f64 {
    let (squares, rest) = squares.as_chunks::<LANES>();
    let (used, used_rest) = used.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for n in 0..squares.len() {
        for k in 0..LANES {
            sums[k] += f64::from_bits(squares[n][k].to_bits() & used[n][k]);
        }
    }
    for k in 0..rest.len() {
        sums[k] += f64::from_bits(rest[k].to_bits() & used_rest[k]);
    }
    sums.iter().sum()
}

/// How many values are at most `cut`.
#[inline(always)]
fn up_to(squares: &[f64], cut: f64) -> usize {
    let mut n = 0;
    for &square in squares {
        n += usize::from(square <= cut);
    }
    n
}

/// The smallest value above `cut`.
#[inline(always)]
fn next_above(squares: &[f64], cut: f64) -> f64 {
    let mut least = [f64::INFINITY; LANES];
    let (chunks, rest) = squares.as_chunks::<LANES>();
    for chunk in chunks {
        for k in 0..LANES {
            let above = if chunk[k] > cut {
                chunk[k]
            } else {
                f64::INFINITY
            };
            least[k] = if above < least[k] { above } else { least[k] };
        }
    }
    for (k, &square) in rest.iter().enumerate() {
        if square > cut && square < least[k] {
            least[k] = square;
        }
    }
    least.iter().fold(f64::INFINITY, |a, &b| a.min(b))
}

/// The largest value not above `cut`.
#[inline(always)]
fn largest_up_to(squares: &[f64], cut: f64) -> f64 {
    let mut most = [f64::NEG_INFINITY; LANES];
    let (chunks, rest) = squares.as_chunks::<LANES>();
    for chunk in chunks {
        for k in 0..LANES {
            let not_above = if chunk[k] <= cut {
                chunk[k]
            } else {
                f64::NEG_INFINITY
            };
            most[k] = if not_above > most[k] {
                not_above
            } else {
                most[k]
            };
        }
    }
    for (k, &square) in rest.iter().enumerate() {
        if square <= cut && square > most[k] {
            most[k] = square;
        }
    }
    most.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b))
}

/// The value that `size` values are not above, found from a guess; `None` if that many are no numbers.
#[inline(always)]
fn nth_smallest(squares: &[f64], size: usize, guess: f64) -> Option<f64> {
    let mut cut = guess;
    let mut n = up_to(squares, cut);
    for _ in 0..MOVES {
        if n < size {
            cut = next_above(squares, cut);
            n = up_to(squares, cut);
            continue;
        }
        let top = largest_up_to(squares, cut);
        cut = top.next_down();
        n = up_to(squares, cut);
        if n < size {
            return Some(top);
        }
    }
    let mut ranked = squares.to_vec();
    let (_, nth, _) = ranked.select_nth_unstable_by(size - 1, f64::total_cmp);
    (!nth.is_nan()).then_some(*nth)
}

/// Uses the lines that are not beyond `cut`; gives their number.
#[inline(always)]
fn change(terms: &[Terms], squares: &[f64], cut: f64, used: &mut [u64], sums: &mut Terms) -> usize {
    let mut n_used = 0;
    let n = squares.len();
    let mut first = 0;
    while first < n {
        // Most of them stay what they were.
        let end = n.min(first + LANES);
        let (near, before) = (&squares[first..end], &mut used[first..end]);
        let mut changed = 0;
        for (square, used) in near.iter().zip(&*before) {
            let mask = if *square <= cut { u64::MAX } else { 0 };
            changed |= mask ^ used;
            n_used += usize::from(mask != 0);
        }
        if changed != 0 {
            for k in 0..near.len() {
                let mask = if near[k] <= cut { u64::MAX } else { 0 };
                if mask != before[k] {
                    let sign = if mask == 0 { -1.0 } else { 1.0 };
                    for (sum, term) in sums.iter_mut().zip(&terms[first + k]) {
                        *sum += sign * term;
                    }
                    before[k] = mask;
                }
            }
        }
        first = end;
    }
    n_used
}

impl Filter for BirminghamMethod {
    type Input = LineData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.fopt > 0.0 && self.fopt <= 1.0 {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "fopt",
            value: self.fopt.to_string(),
            needed: "a fraction above 0 and at most 1",
        })
    }

    fn filter(&self, sample: LineData, _: &Context<'_>) -> Result<PointData> {
        let mut row = Vec::new();
        let mut flags = vec![0.0; sample.n_rows()];
        let lines = Lines::new(&sample);
        if let Some((point, rms, used)) = self.locate(&lines) {
            for (&row, used) in lines.rows.iter().zip(used) {
                flags[row] = f64::from(u8::from(used));
            }
            let (mut sum, mut n_used) = (0.0, 0.0);
            for (t, used) in sample.rows().column(0).iter().zip(&flags) {
                if *used > 0.0 {
                    sum += t;
                    n_used += 1.0;
                }
            }
            row.extend([sum / n_used, point[0], point[1], point[2], rms]);
        }
        let points = PointData::with_columns(array_of_rows(row, 5), &["error"])?
            .with_attributes(sample.attributes().clone());
        Ok(if self.get_used {
            points.with_attribute(
                "_lines",
                Attribute::Lines(sample.with_column("used", &flags)),
            )
        } else {
            points
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn far_lines_do_not_pull_and_hopeless_samples_give_no_row() {
        let through = |x: f64, n: usize| {
            let (sin, cos) = (n as f64).sin_cos();
            [n as f64, x - cos, -sin, -0.3, x + cos, sin, 0.3]
        };
        let mut rows: Vec<[f64; 7]> = (0..30).map(|n| through(5.0, n)).collect();
        rows.extend((30..40).map(|n| through(300.0, n)));
        let lines = LineData::new(Array2::from(rows)).unwrap();
        let step = BirminghamMethod::new(0.5).get_used(true);
        let out = step.filter(lines.clone(), &Context::FIRST).unwrap();
        let point = out.values();
        assert!(
            (point[1] - 5.0).abs() < 1e-9 && point[4] < 1e-9,
            "{point:?}"
        );
        let Some(Attribute::Lines(used)) = out.attributes().get("_lines") else {
            panic!("the lines should be attached")
        };
        let used = used.column(7);
        assert_eq!(used.iter().sum::<f64>(), 20.0);
        assert!(used[30..].iter().all(|&used| used == 0.0));

        // Lines without length are no lines, and void nothing.
        let mut with_dots: Vec<[f64; 7]> = lines.line_slice().rows().copied().collect();
        with_dots.insert(3, [7.0; 7]);
        let dotted = LineData::new(Array2::from(with_dots)).unwrap();
        let point_of = |lines| step.filter(lines, &Context::FIRST).unwrap();
        assert_eq!(point_of(dotted).values(), point_of(lines).values());

        let parallel = [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]; 5];
        for few in [&parallel[..0], &parallel[..1], &parallel[..]] {
            let lines = LineData::new(Array2::from(few.to_vec())).unwrap();
            let out = step.filter(lines, &Context::FIRST).unwrap();
            assert_eq!((out.n_rows(), out.columns().len()), (0, 5));
        }
    }
}
