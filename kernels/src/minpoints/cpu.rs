use std::ops::ControlFlow;

use rayon::prelude::*;

use super::{Decide, Minpoints, Sums};
use crate::backend::Backend;
use crate::error::Result;
use crate::pairs::Batch;

/// First lines of combinations that one task takes.
const LINES_PER_TASK: usize = 16;
/// Tasks for each thread before their points are handed over.
const TASKS: usize = 64;

/// Calls `work` with the minpoints of all combinations behind the one of these lines, if any. A GPU may find the near pairs.
pub(super) fn for_each(
    backend: &Backend,
    decide: &Decide<'_>,
    done: &[u32],
    mut work: impl FnMut(Vec<Minpoints>) -> ControlFlow<()> + Send,
) -> Result<()> {
    let batch = decide.batch;
    let partners = Partners::new(backend, batch)?;
    let first = done.first().map_or(0, |&line| line as usize);
    let firsts: Vec<usize> = (first..batch.n_lines()).step_by(LINES_PER_TASK).collect();
    let found_from = |&first: &usize| {
        let mut search = Search {
            decide,
            partners: &partners,
            chosen: Vec::new(),
            found: Minpoints::none(decide.params.num_lines),
        };
        for line in first..batch.n_lines().min(first + LINES_PER_TASK) {
            search.start(line);
        }
        if !done.is_empty() {
            search.found.drop_until(done);
        }
        search.found
    };
    for firsts in firsts.chunks(TASKS * rayon::current_num_threads()) {
        let found = firsts.par_iter().map(found_from).collect();
        if work(found).is_break() {
            break;
        }
    }
    Ok(())
}

/// The lines after each line that are near it.
#[derive(Debug)]
struct Partners {
    starts: Vec<usize>,
    lines: Vec<u32>,
}

impl Partners {
    fn new(backend: &Backend, batch: &Batch) -> Result<Self> {
        let parts = batch.map(backend, |lines, proposals| {
            let (mut partners, mut all, mut lens) = (Vec::new(), Vec::new(), Vec::new());
            for i in lines {
                proposals.partners(i, &mut partners);
                all.extend_from_slice(&partners);
                lens.push(partners.len());
            }
            (lens, all)
        })?;
        let mut found = Self {
            starts: vec![0],
            lines: Vec::new(),
        };
        let mut end = 0;
        for (lens, mut lines) in parts {
            found.starts.extend(lens.iter().map(|len| {
                end += len;
                end
            }));
            found.lines.append(&mut lines);
        }
        Ok(found)
    }

    fn of(&self, line: u32) -> &[u32] {
        let line = line as usize;
        &self.lines[self.starts[line]..self.starts[line + 1]]
    }
}

/// What may follow some chosen lines: lines that are near all of them.
#[derive(Debug)]
struct Level {
    sums: Sums,
    candidates: Vec<u32>,
    next: usize,
}

/// The search for combinations.
struct Search<'a> {
    decide: &'a Decide<'a>,
    partners: &'a Partners,
    chosen: Vec<u32>,
    found: Minpoints,
}

impl Search<'_> {
    /// All combinations whose first line this is.
    fn start(&mut self, line: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^32 lines")]
        let line = line as u32;
        let end = self.decide.batch.later(line as usize).end;
        let partners = self.partners.of(line);
        let within = partners.partition_point(|&other| (other as usize) < end);
        self.chosen.clear();
        self.chosen.push(line);
        // A stack of its own: as deep as there are lines in a combination.
        let mut levels = vec![Level {
            sums: self.decide.with(&Sums::ZERO, line),
            candidates: partners[..within].to_vec(),
            next: 0,
        }];
        while let Some(level) = levels.last_mut() {
            let missing = self.decide.params.num_lines - self.chosen.len();
            let left = &level.candidates[level.next..];
            if missing == 1 {
                let sums = level.sums;
                for &line in left {
                    self.decide
                        .decide(&sums, &self.chosen, line, &mut self.found);
                }
            }
            if missing == 1 || left.len() < missing {
                levels.pop();
                self.chosen.pop();
                continue;
            }
            let line = left[0];
            let mut both = Vec::with_capacity(left.len());
            intersect(&left[1..], self.partners.of(line), &mut both);
            level.next += 1;
            let sums = self.decide.with(&level.sums, line);
            self.chosen.push(line);
            levels.push(Level {
                sums,
                candidates: both,
                next: 0,
            });
        }
    }
}

/// What two ascending lists have in common.
fn intersect(a: &[u32], b: &[u32], both: &mut Vec<u32>) {
    let mut b = b.iter().copied().peekable();
    for &x in a {
        while b.next_if(|&y| y < x).is_some() {}
        match b.peek() {
            Some(&y) if y == x => both.push(x),
            Some(_) => {}
            None => return,
        }
    }
}
