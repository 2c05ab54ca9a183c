use std::ops::Range;

use rayon::prelude::*;

use super::Amount;
use super::grid::Grid;
use super::walk::Track;

/// Planes x = const are worked on together while they fit a core's cache.
const SLAB_BYTES: usize = 1 << 20;
/// Fewer tracks than this are not spread over threads.
const FEW_TRACKS: usize = 2_000;

pub(super) fn counts(grid: &Grid, tracks: &[Track]) -> Vec<u32> {
    let mut cells = vec![0; grid.n_cells()];
    add_counts(grid, tracks, &mut cells);
    cells
}

pub(super) fn add_counts(grid: &Grid, tracks: &[Track], cells: &mut [u32]) {
    in_slabs(grid, tracks, cells, |track, planes, cells| {
        track.walk(grid, planes).visit(|cell| {
            let count = &mut cells[cell as usize];
            *count = count.wrapping_add(1);
        });
    });
}

pub(super) fn add_sums(grid: &Grid, tracks: &[Track], amount: Amount, cells: &mut [u64]) {
    in_slabs(grid, tracks, cells, |track, planes, cells| {
        let faces = track.faces(planes, amount);
        track.walk(grid, planes).weigh(&faces, |cell, value| {
            let sum = &mut cells[cell as usize];
            *sum = sum.wrapping_add(value);
        });
    });
}

/// Hands out each track with each slab of planes that it meets, slabs in parallel.
fn in_slabs<T: Send>(
    grid: &Grid,
    tracks: &[Track],
    cells: &mut [T],
    work: impl Fn(&Track, &Range<u32>, &mut [T]) + Sync,
) {
    let plane_cells = grid.plane_cells();
    let n_planes = (SLAB_BYTES / size_of::<T>() / plane_cells).max(1);
    let n_planes = if tracks.len() < FEW_TRACKS {
        grid.shape()[0] // no thread is worth it
    } else {
        n_planes.min(grid.shape()[0])
    };
    let slab = |(n, cells): (usize, &mut [T])| {
        let first = n * n_planes;
        #[expect(clippy::cast_possible_truncation, reason = "at most 16,383 planes")]
        let planes = first as u32..(first + cells.len() / plane_cells) as u32;
        for track in tracks {
            let (low, high) = track.planes();
            if low < planes.end && high >= planes.start {
                work(track, &planes, cells);
            }
        }
    };
    cells
        .par_chunks_mut(n_planes * plane_cells)
        .enumerate()
        .for_each(slab);
}
