use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::Amount;
use super::grid::Grid;
use super::walk::{Track, Walk};
use crate::error::{KernelError, Result};

/// Fewer tracks than this are not spread over threads.
const FEW_TRACKS: usize = 2_000;
/// Segments that take their steps together.
const LANES: usize = 16;

pub(super) fn counts(grid: &Grid, tracks: &[Track]) -> Result<Vec<u32>> {
    let mut cells = zeros(grid)?;
    add_counts(grid, tracks, &mut cells);
    Ok(cells)
}

/// A grid's cells.
pub(super) fn zeros<T: Copy + From<u8>>(grid: &Grid) -> Result<Vec<T>> {
    let n = grid.n_cells();
    // `vec!` ends the program where memory is short, but only it gets zeros that no thread has to write: so it is tried before.
    let mut trial = Vec::<T>::new();
    if trial.try_reserve_exact(n).is_err() {
        return Err(KernelError::HostOutOfMemory {
            bytes: (n * size_of::<T>()) as u64,
        });
    }
    drop(trial);
    Ok(vec![T::from(0); n])
}

pub(super) fn add_counts(grid: &Grid, tracks: &[Track], cells: &mut [u32]) {
    in_slabs(grid, tracks, cells, |tracks, planes, cells| {
        let walks: Vec<Walk> = tracks.map(|track| track.walk(grid, planes)).collect();
        // Those that step together should have as many steps.
        let order = by_steps(&walks);
        let (groups, rest) = order.as_chunks::<LANES>();
        for group in groups {
            count_together(&walks, group, cells);
        }
        for &n in rest {
            count(walks[n as usize], cells);
        }
    });
}

/// The order of walks by their number of steps, long ones all alike.
fn by_steps(walks: &[Walk]) -> Vec<u32> {
    const LONG: usize = 4_095;
    let steps = |walk: &Walk| (walk.n_steps as usize).min(LONG);
    let mut places = vec![0_u32; LONG + 2];
    for walk in walks {
        places[steps(walk) + 1] += 1;
    }
    for n in 1..places.len() {
        places[n] += places[n - 1];
    }
    let mut order = vec![0; walks.len()];
    for (n, walk) in (0..).zip(walks) {
        let place = &mut places[steps(walk)];
        order[*place as usize] = n;
        *place += 1;
    }
    order
}

/// Steps of [`LANES`] segments at once, until one is at its end; then one after another.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn count_together(walks: &[Walk], group: &[u32; LANES], cells: &mut [u32]) {
    let (mut cell, mut n_steps) = ([0_u32; LANES], [0_i32; LANES]);
    let (mut moves, mut twice) = ([[0_u32; LANES]; 3], [[0_i32; LANES]; 3]);
    let (mut xy, mut xz, mut yz) = ([0_i32; LANES], [0_i32; LANES], [0_i32; LANES]);
    // No closures: what is not inlined here costs as much as the steps.
    for n in 0..LANES {
        let walk = &walks[group[n] as usize];
        cell[n] = walk.first;
        n_steps[n] = walk.n_steps.cast_signed();
        moves[0][n] = walk.move_x;
        moves[1][n] = walk.move_y;
        moves[2][n] = walk.move_z;
        twice[0][n] = walk.twice_x;
        twice[1][n] = walk.twice_y;
        twice[2][n] = walk.twice_z;
        xy[n] = walk.xy;
        xz[n] = walk.xz;
        yz[n] = walk.yz;
    }
    loop {
        let least = n_steps.iter().fold(i32::MAX, |least, &n| least.min(n));
        if least <= 0 {
            break;
        }
        for n in 0..LANES {
            let count = &mut cells[cell[n] as usize];
            *count = count.wrapping_add(1);
        }
        for n in 0..LANES {
            let x = ((xy[n] - 1) >> 31) & ((xz[n] - 1) >> 31);
            let y = !(xy[n] >> 31) & ((yz[n] - 1) >> 31);
            let z = !(xz[n] >> 31) & !(yz[n] >> 31);
            cell[n] = cell[n]
                .wrapping_add(moves[0][n] & x.cast_unsigned())
                .wrapping_add(moves[1][n] & y.cast_unsigned())
                .wrapping_add(moves[2][n] & z.cast_unsigned());
            xy[n] = xy[n]
                .wrapping_add(twice[1][n] & x)
                .wrapping_sub(twice[0][n] & y);
            xz[n] = xz[n]
                .wrapping_add(twice[2][n] & x)
                .wrapping_sub(twice[0][n] & z);
            yz[n] = yz[n]
                .wrapping_add(twice[2][n] & y)
                .wrapping_sub(twice[1][n] & z);
            n_steps[n] = n_steps[n].wrapping_add(x + y + z);
        }
    }
    for n in 0..LANES {
        let rest = Walk {
            first: cell[n],
            n_steps: n_steps[n].cast_unsigned(),
            xy: xy[n],
            xz: xz[n],
            yz: yz[n],
            ..walks[group[n] as usize]
        };
        count(rest, cells);
    }
}

fn count(walk: Walk, cells: &mut [u32]) {
    walk.visit(|cell| {
        let count = &mut cells[cell as usize];
        *count = count.wrapping_add(1);
    });
}

pub(super) fn add_sums(grid: &Grid, tracks: &[Track], amount: Amount, cells: &mut [u64]) {
    in_slabs(grid, tracks, cells, |tracks, planes, cells| {
        for track in tracks {
            let faces = track.faces(grid, planes, amount);
            track.walk(grid, planes).weigh(&faces, |cell, value| {
                let sum = &mut cells[cell as usize];
                *sum = sum.wrapping_add(value);
            });
        }
    });
}

/// Hands out each slab of planes with the tracks that meet it, slabs in parallel.
fn in_slabs<T: Send>(
    grid: &Grid,
    tracks: &[Track],
    cells: &mut [T],
    work: impl Fn(&mut dyn Iterator<Item = &Track>, &Range<u32>, &mut [T]) + Sync,
) {
    let plane_cells = grid.plane_cells();
    let n_all = grid.shape()[0];
    let n_planes = if tracks.len() < FEW_TRACKS {
        n_all // no thread is worth it
    } else {
        n_all.div_ceil(n_slabs(size_of_val(cells))).max(1)
    };
    let slab = |(n, cells): (usize, &mut [T])| {
        let first = n * n_planes;
        #[expect(clippy::cast_possible_truncation, reason = "at most 16,383 planes")]
        let planes = first as u32..(first + cells.len() / plane_cells) as u32;
        let mut within = tracks.iter().filter(|track| {
            let (low, high) = track.planes();
            low < planes.end && high >= planes.start
        });
        work(&mut within, &planes, cells);
    };
    cells
        .par_chunks_mut(n_planes * plane_cells)
        .enumerate()
        .for_each(slab);
}

/// Small slabs stay in cache, but each starts its tracks anew: the square root was measured to balance both.
fn n_slabs(bytes: usize) -> usize {
    (bytes.isqrt() / 1_000 + 1).next_multiple_of(rayon::current_num_threads())
}
