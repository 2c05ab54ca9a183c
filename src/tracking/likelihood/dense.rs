//! Symmetric matrices of any size, made of the blocks of paths.

use super::MOMENTS;
use crate::linear_algebra::{backward, factorize, forward};

/// Added to the diagonal of matrices, as a share of their trace: directions that nothing is known of stay as they are.
const DAMPING: f64 = 1e-9;

/// A path's blocks at a place on the diagonal of a matrix.
pub(super) fn fill(
    matrix: &mut [f64],
    size: usize,
    first: usize,
    blocks: &[[f64; 6]; MOMENTS],
    order: usize,
) {
    /// Places of xx, xy, xz, yy, yz, zz.
    const ENTRY: [[usize; 3]; 3] = [[0, 1, 2], [1, 3, 4], [2, 4, 5]];
    for m in 0..=order {
        for n in 0..=order {
            for k in 0..3 {
                let row = (first + 3 * m + k) * size + first + 3 * n;
                for l in 0..3 {
                    matrix[row + l] = blocks[m + n][ENTRY[k][l]];
                }
            }
        }
    }
}

pub(super) fn damp(matrix: &mut [f64], size: usize) {
    let trace: f64 = (0..size).map(|n| matrix[n * size + n]).sum();
    for n in 0..size {
        matrix[n * size + n] += DAMPING * trace;
    }
}

/// A symmetric matrix of any size.
#[derive(Debug)]
pub(super) struct Dense {
    pub(super) values: Vec<f64>,
    pub(super) size: usize,
}

impl Dense {
    pub(super) fn zeros(size: usize) -> Self {
        Self {
            values: vec![0.0; size * size],
            size,
        }
    }

    pub(super) fn get(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.size + column]
    }

    /// The rest of a row.
    pub(super) fn row(&mut self, row: usize, column: usize) -> &mut [f64] {
        &mut self.values[row * self.size + column..(row + 1) * self.size]
    }

    pub(super) fn set_block(&mut self, first: usize, blocks: &[[f64; 6]; MOMENTS], order: usize) {
        fill(&mut self.values, self.size, first, blocks, order);
    }

    pub(super) fn factorize(&mut self) -> bool {
        damp(&mut self.values, self.size);
        factorize(&mut self.values, self.size)
    }

    pub(super) fn inverse_of_factor(&self) -> Self {
        let mut inverse = Self::zeros(self.size);
        for (column, x) in inverse
            .values
            .chunks_exact_mut(self.size.max(1))
            .enumerate()
        {
            x[column] = 1.0;
            forward(&self.values, self.size, x);
            backward(&self.values, self.size, x);
        }
        inverse
    }
}
