//! Tracers and a background over the lines of a sample: the E and the M step, and Newton's.

use std::f64::consts::PI;
use std::mem::replace;

use fearless_simd::dispatch;

use super::dense::{damp, fill};
use super::density::{Density, Spreads};
use super::lors::{Lors, Path, distance, length};
use super::model::Model;
use super::near::{Near, Sums, Tracer, View};
use super::simd::{look, sums};
use super::{COUPLED, LANES, UNKNOWNS};
use crate::linear_algebra::{backward, difference, dot, factorize, forward, norm};

/// A tracer's lines are those within so many of its widest scale.
const REACH: f64 = 6.0;

/// The list of a tracer's lines is made so much wider (mm), and made anew when the tracer moved that far.
const MARGIN: f64 = 4.0;

/// Newton's steps are taken when the last step was shorter than this (mm), and only up to twice that length.
const NEAR: f64 = 0.6;

/// So short a step (mm) and so small a change of a count (as a share) are the last.
const CONVERGED: f64 = 5e-4;
const SETTLED: f64 = 1e-3;

/// Lines that the background is given beforehand, so that it is never zero.
const PRIOR_LINES: f64 = 1.0;

/// The largest part of its distance by which a line is taken to have drawn a path to itself.
const MOST_DRAWN: f64 = 0.9;

/// Lines less likely to be a tracer's say nothing about how it leans.
const LEAST_RESPONSIBILITY: f64 = 1e-3;

/// Tracers that are solved for together, at most.
const MOST_COUPLED: usize = 12;

/// Tracers and a background over the lines of a sample.
#[derive(Clone, Debug)]
pub(in crate::tracking) struct Mixture<'a> {
    pub(super) lors: &'a Lors,
    pub(in crate::tracking) model: Model,
    pub(super) density: Density,
    pub(super) order: usize,
    pub(super) tracers: Vec<Tracer>,
    /// Lines per mm^2, and whether they stay as they are.
    pub(super) background: f64,
    pub(super) background_is_fixed: bool,
    /// Whether the views are those of the present paths.
    pub(super) is_current: bool,
    /// How many tracers each line is near to, and whether that is up to date.
    owners: Vec<u8>,
    owners_are_current: bool,
    /// f of the lines near several tracers.
    pub(super) totals: Vec<f64>,
    /// What tracers that are not looked at add to f of each line; empty if there are none.
    pub(super) others: Vec<f64>,
    /// Lines within so far of a tracer (mm) are its own.
    pub(super) reach: f64,
}

impl<'a> Mixture<'a> {
    /// No tracers yet. The order of motion is the model's, or as high as the times allow.
    pub(in crate::tracking) fn new(lors: &'a Lors, model: Model) -> Self {
        Self {
            lors,
            model,
            density: Density::new(&model.widths),
            order: model.order.min(lors.n_times.saturating_sub(1)),
            tracers: Vec::new(),
            background: 0.0,
            background_is_fixed: false,
            is_current: false,
            owners: vec![0; lors.len()],
            owners_are_current: false,
            totals: vec![0.0; lors.len()],
            others: Vec::new(),
            reach: REACH * model.wide(),
        }
    }

    pub(in crate::tracking) fn tracers(&self) -> &[Tracer] {
        &self.tracers
    }

    /// Looks at lines within `reach` (mm) of tracers.
    pub(super) fn widen(&mut self, reach: f64) {
        self.reach = reach;
        for tracer in &mut self.tracers {
            tracer.near.path[0] = [f64::INFINITY; 3];
        }
        self.has_changed();
    }

    /// Some of the tracers, all others as they are.
    pub(super) fn part(&self, members: &[usize]) -> Self {
        let mut others = vec![0.0; self.lors.len()];
        for (n, tracer) in self.tracers.iter().enumerate() {
            if !members.contains(&n) {
                for (n, &row) in tracer.near.rows.iter().enumerate() {
                    others[row as usize] += tracer.count * tracer.near.g(n);
                }
            }
        }
        let mut part = Self {
            tracers: members.iter().map(|&n| self.tracers[n].clone()).collect(),
            background_is_fixed: true,
            owners: vec![0; self.lors.len()],
            totals: vec![0.0; self.lors.len()],
            others,
            ..*self
        };
        part.has_changed();
        part
    }

    /// Puts a part in the place of its members.
    pub(super) fn replace(&mut self, members: &[usize], part: Self) {
        let mut n = 0;
        self.tracers.retain(|_| {
            n += 1;
            !members.contains(&(n - 1))
        });
        self.tracers.extend(part.tracers);
        self.has_changed();
    }

    pub(super) fn other(&self, row: u32) -> f64 {
        self.others.get(row as usize).copied().unwrap_or(0.0)
    }

    /// Adds a tracer; its count is at first half the lines near it.
    pub(in crate::tracking) fn add(&mut self, origin: usize, path: Path) {
        let mut near = Near::default();
        near.select(self.lors, &path, self.reach + MARGIN);
        let count = 0.5 * near.rows.len() as f64;
        if self.tracers.is_empty() {
            self.background = self.per_area(count);
        }
        self.tracers.push(Tracer {
            origin,
            start: path[0],
            path,
            count,
            step: f64::INFINITY,
            change: f64::INFINITY,
            near,
        });
        self.has_changed();
    }

    /// Takes a tracer out.
    pub(in crate::tracking) fn remove(&mut self, n: usize) {
        self.tracers.remove(n);
        self.has_changed();
    }

    pub(super) fn has_changed(&mut self) {
        self.is_current = false;
        self.owners_are_current = false;
    }

    /// Lines in the surroundings of all tracers, per mm^2.
    fn per_area(&self, lines: f64) -> f64 {
        let area = PI * self.reach * self.reach * self.tracers.len().max(1) as f64;
        (lines + PRIOR_LINES) / area
    }

    /// Steps until nothing moves, `steps` at most.
    pub(in crate::tracking) fn converge(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.step() {
                break;
            }
        }
        self.expect();
    }

    /// The E step: densities at the present paths.
    pub(super) fn expect(&mut self) {
        if replace(&mut self.is_current, true) {
            return;
        }
        let margin = self.reach + MARGIN;
        for tracer in &mut self.tracers {
            if distance(&tracer.path, &tracer.near.path) >= MARGIN {
                tracer.near.select(self.lors, &tracer.path, margin);
                self.owners_are_current = false;
            }
        }
        self.find_shared();
        let (level, density, background) = (self.lors.level, &self.density, self.background);
        for Tracer {
            path, count, near, ..
        } in &mut self.tracers
        {
            match self.order {
                0 => {
                    dispatch!(level, simd => look::<_, 0>(simd, density, path, *count, background, near));
                }
                1 => {
                    dispatch!(level, simd => look::<_, 1>(simd, density, path, *count, background, near));
                }
                _ => {
                    dispatch!(level, simd => look::<_, 2>(simd, density, path, *count, background, near));
                }
            }
            near.clear_padding();
        }
        for tracer in &self.tracers {
            for &(_, row) in &tracer.near.shared {
                self.totals[row as usize] = background + self.other(row);
            }
        }
        for tracer in &self.tracers {
            for &(n, row) in &tracer.near.shared {
                self.totals[row as usize] += tracer.count * tracer.near.g(n as usize);
            }
        }
        for Tracer { near, .. } in &mut self.tracers {
            for &(n, row) in &near.shared {
                let (view, lane) = (&mut near.views[n as usize / LANES], n as usize % LANES);
                view.inverse[lane] = 1.0 / self.totals[row as usize];
            }
        }
    }

    /// Which lines are near several tracers.
    fn find_shared(&mut self) {
        if replace(&mut self.owners_are_current, true) {
            return;
        }
        if self.others.is_empty() {
            self.owners.fill(0);
        } else {
            for (owners, &other) in self.owners.iter_mut().zip(&self.others) {
                *owners = u8::from(other > 0.0);
            }
        }
        for tracer in &self.tracers {
            for &row in &tracer.near.rows {
                let owners = &mut self.owners[row as usize];
                *owners = owners.saturating_add(1);
            }
        }
        for Tracer { near, .. } in &mut self.tracers {
            near.shared.clear();
            let places = (0..).zip(near.rows.iter().copied());
            near.shared
                .extend(places.filter(|&(_, row)| self.owners[row as usize] > 1));
        }
    }

    /// With the exact second derivative, or with that of complete data.
    pub(super) fn sums(&self, tracer: &Tracer, exact: bool) -> Sums {
        let (level, near, count, reach) = (self.lors.level, &tracer.near, tracer.count, self.reach);
        match self.order {
            0 => dispatch!(level, simd => sums::<_, 0>(simd, near, count, reach, exact)),
            1 => dispatch!(level, simd => sums::<_, 1>(simd, near, count, reach, exact)),
            _ => dispatch!(level, simd => sums::<_, 2>(simd, near, count, reach, exact)),
        }
    }

    /// One E step and one M step of all tracers; whether they have converged.
    ///
    /// Near the maximum the M step's matrix is replaced by the exact second derivative, which makes it Newton's.
    pub(super) fn step(&mut self) -> bool {
        self.expect();
        let sums = |tracer: &Tracer| self.sums(tracer, tracer.step < NEAR);
        let all: Vec<Sums> = self.tracers.iter().map(sums).collect();
        let mut converged = true;
        if self.model.fit_widths {
            let density = self.spreads().density().unwrap_or(self.density);
            converged = density.change(&self.density) < SETTLED;
            self.density = density;
        }
        for group in self.groups() {
            if group.len() > 1 && self.step_together(&group, &all) {
                continue;
            }
            for n in group {
                let mut step = solve(&all[n], self.order);
                let tracer = &self.tracers[n];
                if tracer.step < NEAR && !step.is_some_and(|step| length(&step) < 2.0 * NEAR) {
                    step = solve(&self.sums(tracer, false), self.order);
                }
                let count = tracer.count * all[n].share;
                self.tracers[n].go(step, count);
            }
        }
        for tracer in &self.tracers {
            converged &= tracer.step < CONVERGED && tracer.change < SETTLED;
        }
        if !self.background_is_fixed {
            let within: f64 = all.iter().map(|sums| sums.within).sum();
            self.background = self.per_area(self.background * within);
        }
        self.is_current = false;
        converged
    }

    /// Newton's step for tracers whose lines depend on each other, for which EM needs very many; `false` if it cannot be trusted.
    fn step_together(&mut self, group: &[usize], sums: &[Sums]) -> bool {
        if !group.iter().all(|&n| self.tracers[n].step < NEAR) {
            return false;
        }
        let mut matrix = self.information(group, sums);
        if !matrix.factorize() {
            return false;
        }
        let n_path = 3 * (self.order + 1);
        let mut x = Vec::with_capacity(matrix.size);
        for &n in group {
            x.extend_from_slice(&sums[n].vector.as_flattened()[..n_path]);
            x.push(sums[n].share - 1.0);
        }
        forward(&matrix.values, matrix.size, &mut x);
        backward(&matrix.values, matrix.size, &mut x);
        let steps = || {
            x.chunks_exact(n_path + 1)
                .map(|x| (path_of(&x[..n_path]), x[n_path]))
        };
        let short = group.iter().zip(steps()).all(|(&n, (step, more))| {
            length(&step) < 2.0 * NEAR && more.abs() < 0.5 * self.tracers[n].count
        });
        if short {
            for (&n, (step, more)) in group.iter().zip(steps()) {
                let count = self.tracers[n].count + more;
                self.tracers[n].go(Some(step), count);
            }
        }
        short
    }

    /// Tracers near each other, directly or by others, and those alone.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let limit = COUPLED * self.model.wide();
        let n = self.tracers.len();
        let mut done = vec![false; n];
        let mut groups = Vec::with_capacity(n);
        for first in 0..n {
            if replace(&mut done[first], true) {
                continue;
            }
            let mut group = vec![first];
            let mut next = 0;
            while let Some(&member) = group.get(next) {
                next += 1;
                for (other, done) in done.iter_mut().enumerate() {
                    if !*done && group.len() < MOST_COUPLED && self.apart(member, other) < limit {
                        *done = true;
                        group.push(other);
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    /// Distance of two tracers in the middle of the window (mm).
    pub(super) fn apart(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (&self.tracers[a].path[0], &self.tracers[b].path[0]);
        norm(difference(*a, *b))
    }

    /// Responsibilities of the two Gaussians for all lines, and sums of squared distances that these weigh; after [`expect`](Self::expect).
    pub(super) fn spreads(&self) -> Spreads {
        let mut spreads = Spreads::default();
        let ([j1, j2], [_, wide]) = (self.density.rates, self.density.peaks);
        if wide <= 0.0 || (j1 - j2).abs() < 1e-6 * j1 {
            return spreads;
        }
        let unknowns = 3.0 * (self.order + 1) as f64;
        for Tracer { count, near, .. } in &self.tracers {
            let pull = |view: &View, k: usize| count * view.h[k] * view.inverse[k];
            let pulls = near
                .views
                .iter()
                .flat_map(|view| (0..LANES).map(|k| pull(view, k)));
            // A line draws the path to itself: the path's covariance over that of the line, each in two dimensions (lines that lean draw
            // less across, which is left out).
            let leverage = 0.5 * unknowns / pulls.sum::<f64>();
            for (pack, view) in near.packs.iter().zip(&near.views) {
                for k in 0..LANES {
                    let scale = count * view.inverse[k];
                    let narrow = (view.h[k] - j2 * view.g[k]) / (j1 - j2);
                    let kept = 1.0 - (leverage * pull(view, k)).min(MOST_DRAWN);
                    let lean = pack.lean.map(|lean| lean[k]);
                    let square = dot(lean, lean);
                    // M shortened it.
                    let growth = 1.0 + self.density.lean * square;
                    let across = growth * dot(view.r.map(|r| r[k]), lean);
                    let squared = view.squared[k] - view.shrink[k] * across * across;
                    for (n, g) in [narrow, view.g[k] - narrow].into_iter().enumerate() {
                        spreads.weights[n] += scale * g;
                        spreads.squares[n] += scale * g * squared / kept;
                    }
                    let responsibility = scale * view.g[k];
                    if square > 0.0 && responsibility > LEAST_RESPONSIBILITY {
                        let across = across * across / (square * kept) * view.h[k] / view.g[k];
                        spreads.add_lean(square, responsibility, across);
                    }
                }
            }
        }
        spreads
    }

    /// Densities of the lines near tracers, and that of the background (per mm^2).
    pub(super) fn densities(&mut self) -> (Vec<Option<f64>>, Option<f64>) {
        self.expect();
        let mut densities = vec![None; self.lors.len()];
        for Tracer { near, .. } in &self.tracers {
            for (n, &row) in near.rows.iter().enumerate() {
                densities[row as usize] = Some(1.0 / near.inverse(n));
            }
        }
        (
            densities,
            (!self.tracers.is_empty()).then_some(self.background),
        )
    }

    /// The background's responsibility for each line, in packs; after [`converge`](Self::converge).
    pub(in crate::tracking) fn left_over(&self) -> Vec<[f64; LANES]> {
        let mut weights = vec![[1.0; LANES]; self.lors.packs.len()];
        for tracer in &self.tracers {
            for (n, &row) in tracer.near.rows.iter().enumerate() {
                let weight = &mut weights[row as usize / LANES][row as usize % LANES];
                *weight = self.background * tracer.near.inverse(n);
            }
        }
        weights
    }

    /// Of each line what is outside the narrow part of tracers: what a tracer that another one's wide part covers is found in.
    pub(in crate::tracking) fn outside_cores(&self) -> Vec<[f64; LANES]> {
        let mut weights = vec![[1.0; LANES]; self.lors.packs.len()];
        let [narrow, wide] = self.density.rates;
        for tracer in &self.tracers {
            for (n, &row) in tracer.near.rows.iter().enumerate() {
                let (view, lane) = (&tracer.near.views[n / LANES], n % LANES);
                // g and h are sums of both parts.
                let core = (view.h[lane] - wide * view.g[lane]) / (narrow - wide);
                let weight = &mut weights[row as usize / LANES][row as usize % LANES];
                *weight = (*weight - tracer.count * core * view.inverse[lane]).max(0.0);
            }
        }
        weights
    }
}

pub(super) fn path_of(x: &[f64]) -> Path {
    let mut path = Path::default();
    path.as_flattened_mut()[..x.len()].copy_from_slice(x);
    path
}

/// The step that the sums ask for; `None` if the matrix is not positive definite, or nothing is finite.
fn solve(sums: &Sums, order: usize) -> Option<Path> {
    let size = 3 * (order + 1);
    let mut matrix = [0.0; UNKNOWNS * UNKNOWNS];
    fill(&mut matrix, size, 0, &sums.matrix, order);
    damp(&mut matrix, size);
    if !factorize(&mut matrix, size) {
        return None;
    }
    let mut step = sums.vector;
    let x = &mut step.as_flattened_mut()[..size];
    forward(&matrix, size, x);
    backward(&matrix, size, x);
    x.iter().all(|x| x.is_finite()).then_some(step)
}
