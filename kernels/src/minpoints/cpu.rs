use std::ops::{ControlFlow, Range};

use rayon::prelude::*;

use super::{Decide, Minpoints, Sums};
use crate::backend::Backend;
use crate::error::Result;
use crate::pairs::Batch;

/// First lines of combinations that one search takes.
const LINES_PER_SEARCH: usize = 16;
/// Searches for each thread before their points are handed over.
const SEARCHES: usize = 64;

/// Calls `work` with the minpoints of all combinations behind the one of these lines, if any: `most` at once. A GPU may find the near
/// pairs.
pub(super) fn for_each(
    backend: &Backend,
    decide: &Decide<'_>,
    done: &[u32],
    most: usize,
    mut work: impl FnMut(Minpoints) -> ControlFlow<()> + Send,
) -> Result<()> {
    let batch = decide.batch;
    let partners = Partners::new(backend, batch)?;
    let first = done.first().map_or(0, |&line| line as usize);
    let firsts = (first..batch.n_lines()).step_by(LINES_PER_SEARCH);
    let mut searches = firsts.map(|first| {
        let firsts = first..batch.n_lines().min(first + LINES_PER_SEARCH);
        Search::new(decide, &partners, firsts)
    });
    let _ = run(&mut searches, most, &mut |mut found: Minpoints| {
        if !done.is_empty() {
            found.drop_until(done);
        }
        work(found)
    });
    Ok(())
}

/// Runs searches side by side and hands over what they find, in order. One that finds `most` waits until those before it are done, and
/// is then divided into smaller ones: what is held at a time is `most` points for each search of a round, and one round for each line
/// of a combination at worst.
fn run<'a>(
    searches: &mut dyn Iterator<Item = Search<'a>>,
    most: usize,
    work: &mut impl FnMut(Minpoints) -> ControlFlow<()>,
) -> ControlFlow<()> {
    loop {
        let n = SEARCHES * rayon::current_num_threads();
        let mut round: Vec<Search<'_>> = Iterator::take(&mut *searches, n).collect();
        if round.is_empty() {
            return ControlFlow::Continue(());
        }
        round.par_iter_mut().for_each(|search| search.run(most));
        for mut search in round {
            let none = Minpoints::none(search.decide.params.num_lines);
            work(std::mem::replace(&mut search.found, none))?;
            if !search.is_done() {
                run(&mut search.rest(most), most, work)?;
            }
        }
    }
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
    /// Those that are to follow; further candidates may only come behind them.
    next: Range<usize>,
}

/// The search for combinations, which can be interrupted.
struct Search<'a> {
    decide: &'a Decide<'a>,
    partners: &'a Partners,
    /// First lines that are still to be looked at.
    firsts: Range<usize>,
    chosen: Vec<u32>,
    /// A stack of its own: as deep as there are lines in a combination.
    levels: Vec<Level>,
    found: Minpoints,
}

impl<'a> Search<'a> {
    /// All combinations with these first lines.
    fn new(decide: &'a Decide<'a>, partners: &'a Partners, firsts: Range<usize>) -> Self {
        Self {
            decide,
            partners,
            firsts,
            chosen: Vec::new(),
            levels: Vec::new(),
            found: Minpoints::none(decide.params.num_lines),
        }
    }

    /// Goes on until everything or `most` points are found.
    fn run(&mut self, most: usize) {
        while self.found.len() < most {
            let Some(level) = self.levels.last_mut() else {
                let Some(line) = self.firsts.next() else {
                    return;
                };
                self.start(line);
                continue;
            };
            let missing = self.decide.params.num_lines - self.chosen.len();
            let Range { start, end } = level.next;
            if missing == 1 {
                let now = start..end.min(start.saturating_add(most - self.found.len()));
                level.next.start = now.end;
                let sums = level.sums;
                for &line in &level.candidates[now] {
                    self.decide
                        .decide(&sums, &self.chosen, line, &mut self.found);
                }
            }
            if level.next.is_empty() || level.candidates.len() - start < missing {
                self.levels.pop();
                self.chosen.pop();
                continue;
            }
            if missing == 1 {
                continue; // as many as may be at once
            }
            level.next.start += 1;
            let left = &level.candidates[start..];
            let line = left[0];
            let mut both = Vec::with_capacity(left.len());
            intersect(&left[1..], self.partners.of(line), &mut both);
            let sums = self.decide.with(&level.sums, line);
            self.chosen.push(line);
            self.levels.push(Level {
                sums,
                next: 0..both.len(),
                candidates: both,
            });
        }
    }

    /// Begins with the combinations whose first line this is.
    fn start(&mut self, line: usize) {
        let end = self.decide.batch.later(line).end;
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^32 lines")]
        let line = line as u32;
        let partners = self.partners.of(line);
        let within = partners.partition_point(|&other| (other as usize) < end);
        self.chosen.clear();
        self.chosen.push(line);
        self.levels.push(Level {
            sums: self.decide.with(&Sums::ZERO, line),
            candidates: partners[..within].to_vec(),
            next: 0..within,
        });
    }

    fn is_done(&self) -> bool {
        self.firsts.is_empty() && self.levels.iter().all(|level| level.next.is_empty())
    }

    /// What is left, in order: a search for each line that may be chosen next, or for `most` of those that would be the last.
    fn rest(self, most: usize) -> impl Iterator<Item = Self> {
        let Self {
            decide,
            partners,
            firsts,
            chosen,
            levels,
            ..
        } = self;
        let above = chosen.len() - levels.len();
        let deepest_first = levels.into_iter().enumerate().rev();
        let chosen_next = deepest_first.flat_map(move |(n, level)| {
            let chosen = chosen[..=above + n].to_vec();
            let is_last = chosen.len() + 1 == decide.params.num_lines;
            let Range { start, end } = level.next;
            let step = if is_last { most } else { 1 };
            (start..end).step_by(step).map(move |start| Self {
                chosen: chosen.clone(),
                levels: vec![Level {
                    sums: level.sums,
                    candidates: level.candidates.clone(),
                    next: start..end.min(start + step),
                }],
                ..Self::new(decide, partners, 0..0)
            })
        });
        chosen_next.chain(firsts.map(move |line| Self::new(decide, partners, line..line + 1)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::LineSlice;
    use crate::minpoints::Params;
    use crate::rounding::Uniform;

    #[test]
    fn pieces_of_any_size_are_the_whole_in_order() {
        // Lines that pass near a point, but for every fourth.
        let mut random = Uniform(3);
        let rows: Vec<[f64; 7]> = (0..40)
            .map(|n| {
                let [x, y, z] = random.vector(if n % 4 == 0 { 90.0 } else { 3.0 });
                let [u, v, w] = random.vector(100.0);
                [f64::from(n), x - u, y - v, z - w, x + u, y + v, z + w]
            })
            .collect();
        let lines = LineSlice::from_rows(&rows);
        for num_lines in 2..=5 {
            let params = Params::new(num_lines, 2.0);
            let samples = [0..25, 10..40];
            let batch = params.batch(lines, &samples).unwrap();
            let decide = Decide::new(&batch, &params);
            let found = |most: usize, done: &[u32]| {
                let mut all = Minpoints::none(num_lines);
                for_each(&Backend::Cpu, &decide, done, most, |piece| {
                    assert!(piece.len() <= most);
                    all.points.extend(piece.points);
                    all.lines.extend(piece.lines);
                    ControlFlow::Continue(())
                })
                .unwrap();
                all
            };
            let whole = found(usize::MAX, &[]);
            assert!(whole.len() > 100, "{} of {num_lines}", whole.len());
            for most in [1, 3, 50] {
                assert_eq!(found(most, &[]), whole, "{most} of {num_lines} lines");
                let mut rest = whole.clone();
                let done = whole.lines(whole.len() / 2).to_vec();
                rest.drop_until(&done);
                assert_eq!(found(most, &done), rest);
            }
        }
    }
}
