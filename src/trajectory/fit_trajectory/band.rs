//! Symmetric matrices of which only a band is not zero.

use super::TERMS;

/// Values of a row of a band matrix: the diagonal, and three coefficients of three coordinates before it.
pub(super) const BAND: usize = 3 * TERMS;

/// A symmetric matrix of which only a band is not zero; of its lower half.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// Row after row, the diagonal last.
    pub(super) values: Vec<f64>,
}

impl Band {
    pub(super) fn new(n: usize) -> Self {
        Self {
            values: vec![0.0; n * BAND],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / BAND
    }

    /// Adds to an entry of the lower half; others are left alone.
    pub(super) fn add(&mut self, row: usize, column: usize, value: f64) {
        if column <= row {
            self.values[row * BAND + BAND - 1 + column - row] += value;
        }
    }

    /// An entry within the band.
    pub(super) fn at(&self, a: usize, b: usize) -> f64 {
        let (row, column) = (a.max(b), a.min(b));
        self.values[row * BAND + BAND - 1 + column - row]
    }

    /// Becomes the lower triangle L with L L^T; false if it is not positive definite.
    pub(super) fn factorise(&mut self) -> bool {
        for row in 0..self.len() {
            let (above, own) = self.values.split_at_mut(row * BAND);
            let own = &mut own[..BAND];
            let first = row.saturating_sub(BAND - 1);
            for column in first..=row {
                // Entries of both rows from the first column that both have.
                let offset = BAND - 1 + column - row;
                let from = BAND - 1 + first - row;
                let n = offset - from;
                let other = if column == row {
                    &own[from..offset]
                } else {
                    let end = (column + 1) * BAND - 1;
                    &above[end - n..end]
                };
                let products: f64 = own[from..offset]
                    .iter()
                    .zip(other)
                    .map(|(a, b)| a * b)
                    .sum();
                let rest = own[offset] - products;
                own[offset] = if column < row {
                    rest / above[(column + 1) * BAND - 1]
                } else if rest > 0.0 && rest.is_finite() {
                    rest.sqrt()
                } else {
                    return false;
                };
            }
        }
        true
    }

    /// Solves L L^T x = b in place, after `factorise`.
    pub(super) fn solve(&self, values: &mut [f64]) {
        for row in 0..self.len() {
            let first = row.saturating_sub(BAND - 1);
            let entries = &self.values[row * BAND + BAND - 1 + first - row..][..row - first];
            let known = entries.iter().zip(&values[first..row]);
            let rest = values[row] - known.map(|(a, b)| a * b).sum::<f64>();
            values[row] = rest / self.values[(row + 1) * BAND - 1];
        }
        for row in (0..self.len()).rev() {
            let first = row.saturating_sub(BAND - 1);
            values[row] /= self.values[(row + 1) * BAND - 1];
            let value = values[row];
            let entries = &self.values[row * BAND + BAND - 1 + first - row..][..row - first];
            for (other, entry) in values[first..row].iter_mut().zip(entries) {
                *other -= entry * value;
            }
        }
    }

    /// The entries within the band of the inverse, after `factorise` (Takahashi, Fagan and Chin 1973).
    pub(super) fn selected_inverse(&self) -> Self {
        let n = self.len();
        let mut inverse = Self::new(n);
        for column in (0..n).rev() {
            let last = n.min(column + BAND);
            let pivot = self.at(column, column);
            for row in (column..last).rev() {
                let mut sum = if row == column { 1.0 / pivot } else { 0.0 };
                for k in column + 1..last {
                    sum -= self.at(k, column) * inverse.at(row, k);
                }
                inverse.add(row, column, sum / pivot);
            }
        }
        inverse
    }
}
