//! What is known of a tracer in the end: position, velocity, covariance.

use super::LANES;
use super::dense::Dense;
use super::mixture::Mixture;
use super::model::Model;
use super::near::{Sums, Tracer};

/// A point must be supported by so many lines along the direction that is known worst, and by this share of all of its lines: a beam
/// of lines is no tracer, wherever a few others happen to cross it.
const SUPPORT: f64 = 6.0;
const SHARE_OF_SUPPORT: f64 = 0.1;

/// What is known of a tracer in the end.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracking) struct Estimate {
    /// The mean time of its lines (ms): there the position is known best.
    pub(super) t: f64,
    /// mm.
    pub(super) position: [f64; 3],
    /// mm/ms; NaN where times do not tell.
    pub(super) velocity: [f64; 3],
    /// Covariance of the position (xx, xy, xz, yy, yz, zz; mm^2).
    pub(super) covariance: [f64; 6],
    /// Sum of responsibilities, and its share of the sample's lines.
    pub(super) count: f64,
    pub(super) share: f64,
    /// Root mean square offset of its lines, per axis (mm).
    pub(super) width: f64,
}

impl Estimate {
    /// Standard error of the position (mm).
    pub(super) fn error(&self) -> f64 {
        let [xx, _, _, yy, _, zz] = self.covariance;
        (xx + yy + zz).sqrt()
    }

    /// The values of [`Model::columns`].
    pub(in crate::tracking) fn row(&self, model: &Model) -> Vec<f64> {
        let mut row = vec![self.t];
        row.extend(self.position);
        if model.order > 0 {
            row.extend(self.velocity);
        }
        row.extend([self.error(), self.count, self.share, self.width]);
        row.extend(self.covariance);
        row
    }
}

impl<'a> Mixture<'a> {
    /// What is known of the tracers, each with what it was added as; without those of which nothing is known, whose number is
    /// the second value. After [`settle`](Self::settle).
    pub(in crate::tracking) fn estimates(&self) -> (Vec<(usize, Estimate)>, usize) {
        let sums: Vec<Sums> = self
            .tracers
            .iter()
            .map(|tracer| self.sums(tracer, true))
            .collect();
        let mut all = vec![None; self.tracers.len()];
        for group in self.groups() {
            let mut information = self.information(&group, &sums);
            if information.factorize() {
                let covariance = information.inverse_of_factor();
                let size = covariance.size / group.len();
                for (n, &member) in group.iter().enumerate() {
                    all[member] = self.estimate(&self.tracers[member], &covariance, n * size);
                }
            }
        }
        let origins = self.tracers.iter().map(|tracer| tracer.origin);
        let known = origins
            .zip(all)
            .filter_map(|(origin, estimate)| Some((origin, estimate?)));
        let known: Vec<(usize, Estimate)> = known.collect();
        let n_unknown = self.tracers.len() - known.len();
        (known, n_unknown)
    }

    pub(super) fn estimate(
        &self,
        tracer: &Tracer,
        covariance: &Dense,
        first: usize,
    ) -> Option<Estimate> {
        let (mut weight, mut time, mut squares) = (0.0, 0.0, 0.0);
        for (pack, view) in tracer.near.packs.iter().zip(&tracer.near.views) {
            for k in 0..LANES {
                let responsibility = tracer.count * view.g[k] * view.inverse[k];
                weight += responsibility;
                time += responsibility * pack.tau[k];
                squares += responsibility * view.squared[k];
            }
        }
        let tau = time / weight;
        let powers = [1.0, tau, tau * tau];
        let (mut position, mut entries) = ([0.0; 3], [[0.0; 3]; 3]);
        for m in 0..=self.order {
            for (k, (x, entries)) in position.iter_mut().zip(&mut entries).enumerate() {
                *x += powers[m] * tracer.path[m][k];
                for n in 0..=self.order {
                    for (l, entry) in entries.iter_mut().enumerate() {
                        let other = covariance.get(first + 3 * m + k, first + 3 * n + l);
                        *entry += powers[m] * powers[n] * other;
                    }
                }
            }
        }
        let speed = |k: usize| (tracer.path[1][k] + 2.0 * tau * tracer.path[2][k]) / self.lors.half;
        let velocity = if self.order == 0 {
            [f64::NAN; 3]
        } else {
            [0, 1, 2].map(speed)
        };
        let [[xx, xy, xz], [_, yy, yz], [_, _, zz]] = entries;
        let estimate = Estimate {
            t: self.lors.middle + tau * self.lors.half,
            position,
            velocity,
            covariance: [xx, xy, xz, yy, yz, zz],
            count: weight,
            share: weight / self.lors.len() as f64,
            width: (0.5 * squares / weight).sqrt(),
        };
        let error = estimate.error();
        let support = SUPPORT.max(SHARE_OF_SUPPORT * estimate.count);
        let known =
            error > 0.0 && error <= self.model.max_error && tracer.support(&entries) >= support;
        known.then_some(estimate)
    }

    /// The observed information of the paths of a group, lower triangle; where it is more than one tracer each path is followed by
    /// its count, since lines can then go from one to the other.
    ///
    /// It is the exact second derivative of the log likelihood, which is less than the information of complete data: what is
    /// lost by not knowing whose a line is, is lost (Louis, Journal of the Royal Statistical Society B 44, 226 (1982)).
    pub(super) fn information(&self, group: &[usize], sums: &[Sums]) -> Dense {
        let n_path = 3 * (self.order + 1);
        if let &[n] = group {
            let mut information = Dense::zeros(n_path);
            information.set_block(0, &sums[n].matrix, self.order);
            return information;
        }
        let size = n_path + 1;
        let mut information = Dense::zeros(size * group.len());
        for (a, &first) in group.iter().enumerate() {
            information.set_block(a * size, &sums[first].matrix, self.order);
            let tracer = &self.tracers[first];
            let pulls = &sums[first].vector.as_flattened()[..n_path];
            let row = information.row(a * size + n_path, a * size);
            for (entry, pull) in row.iter_mut().zip(pulls) {
                *entry -= pull / tracer.count;
            }
            for n in 0..tracer.near.rows.len() {
                let (own, _) = tracer.derivatives(n, self.order);
                for (entry, other) in row.iter_mut().zip(&own[..size]) {
                    *entry += own[n_path] * other;
                }
            }
            for (b, &second) in group.iter().enumerate().take(a) {
                let place = [a * size, b * size];
                self.add_shared(&mut information, place, [tracer, &self.tracers[second]]);
            }
        }
        information
    }

    /// The products of first derivatives at the lines that two tracers share.
    fn add_shared(&self, information: &mut Dense, place: [usize; 2], [a, b]: [&Tracer; 2]) {
        let mut m = 0;
        for (n, &line) in a.near.rows.iter().enumerate() {
            while b.near.rows.get(m).is_some_and(|&other| other < line) {
                m += 1;
            }
            if b.near.rows.get(m) == Some(&line) {
                let (x, size) = a.derivatives(n, self.order);
                let (y, _) = b.derivatives(m, self.order);
                for (k, x) in x[..size].iter().enumerate() {
                    let row = information.row(place[0] + k, place[1]);
                    for (entry, y) in row.iter_mut().zip(&y[..size]) {
                        *entry += x * y;
                    }
                }
            }
        }
    }
}
