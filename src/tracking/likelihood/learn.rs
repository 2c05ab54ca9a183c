//! How a recording's lines lie around its tracers, from its beginning.

use rayon::prelude::*;

use super::density::{Density, Spreads};
use super::mixture::Mixture;
use super::model::{Model, Widths};

/// Where the search begins: lines of an ADAC Forte, and those of a ring of crystals.
const STARTS: [Widths; 2] = [
    Widths::USUAL,
    Widths {
        widths: [1.3, 3.0],
        narrow_share: 0.85,
        lean: 5.0,
    },
];

/// Lines so near (mm) are looked at, whatever the widths: likelihoods are compared.
const REACH: f64 = 38.4;

const STEPS: usize = 60;

/// Widths that differ by less than this factor find the same tracers.
const NEAR: f64 = 1.25;

/// So small a change (as a share) is the last.
const SETTLED: f64 = 5e-4;

/// Fewer lines of tracers say too little.
const FEWEST_LINES: f64 = 2000.0;

impl Model {
    /// The widths (mm) that fit `n` samples best, whose tracers `locate` finds, and the share of the narrow one; `None` if the samples
    /// say too little.
    ///
    /// Tracers are located with the widths so far, then widths, paths and counts are fitted together.
    pub(in crate::tracking) fn learned_widths<'a>(
        &self,
        n: usize,
        locate: impl Fn(usize, Self) -> Mixture<'a> + Sync,
    ) -> Option<Widths> {
        let found = self.best_fit(n, &locate)?;
        let ([narrow, wide], percent) = (found.widths, 100.0 * found.narrow_share);
        tracing::info!(
            lean = found.lean,
            "widths of a tracer's lines: {narrow:.2} mm ({percent:.0} %) and {wide:.2} mm",
        );
        Some(found)
    }

    fn best_fit<'a>(
        &self,
        n: usize,
        locate: &(impl Fn(usize, Self) -> Mixture<'a> + Sync),
    ) -> Option<Widths> {
        let [usual, other] = STARTS;
        let first = self.fitted(usual, n, locate);
        // Where it began: there is nothing to be found anew.
        if let Some(fit) = &first
            && is_near(&fit.widths, &usual)
        {
            return Some(fit.widths);
        }
        let better = |a: Fit, b: Fit| if b.gain_over(&a, self) > 0.0 { b } else { a };
        let fits = [first, self.fitted(other, n, locate)];
        let best = fits.into_iter().flatten().reduce(better)?;
        // Tracers that were one may be two by now.
        Some(self.fitted(best.widths, n, locate)?.widths)
    }

    fn fitted<'a>(
        &self,
        start: Widths,
        n: usize,
        locate: &(impl Fn(usize, Self) -> Mixture<'a> + Sync),
    ) -> Option<Fit> {
        let model = Self {
            widths: start,
            fit_widths: false,
            ..*self
        };
        let mut samples: Vec<Mixture<'a>> =
            (0..n).into_par_iter().map(|n| locate(n, model)).collect();
        for sample in &mut samples {
            sample.widen(REACH);
        }
        let density = fit_density(&mut samples, Density::new(&start))?;
        let fit = Fit {
            widths: density.widths(),
            n_tracers: samples.iter().map(|sample| sample.tracers().len()).sum(),
            densities: samples.iter_mut().map(Mixture::densities).collect(),
        };
        tracing::debug!(?start, widths = ?fit.widths, fit.n_tracers, "widths are learned");
        Some(fit)
    }
}

/// Whether lines look about the same with widths as with others, of lines that do not lean.
fn is_near(found: &Widths, other: &Widths) -> bool {
    let ratios = [0, 1].map(|k| found.widths[k] / other.widths[k]);
    let is_near = |ratio: f64| (1.0 / NEAR..NEAR).contains(&ratio);
    ratios.into_iter().all(is_near) && found.lean < NEAR - 1.0
}

/// Widths from one start.
struct Fit {
    widths: Widths,
    n_tracers: usize,
    /// Of each sample those of its lines near tracers (per mm^2), and that of the background.
    densities: Vec<(Vec<Option<f64>>, Option<f64>)>,
}

impl Fit {
    /// What the log likelihood of lines near the tracers of either gains, less what tracers must.
    fn gain_over(&self, other: &Self, model: &Model) -> f64 {
        let mut gain = (other.n_tracers as f64 - self.n_tracers as f64) * model.gain();
        for ((a, in_a), (b, in_b)) in self.densities.iter().zip(&other.densities) {
            // Without tracers, the other's background is as good as any.
            let (Some(in_a), Some(in_b)) = (in_a.or(*in_b), in_b.or(*in_a)) else {
                continue;
            };
            for (a, b) in a.iter().zip(b) {
                if a.is_some() || b.is_some() {
                    gain += libm::log(a.unwrap_or(in_a) / b.unwrap_or(in_b));
                }
            }
        }
        gain
    }
}

/// Widths, paths and counts of all samples together.
pub(super) fn fit_density(samples: &mut [Mixture<'_>], mut density: Density) -> Option<Density> {
    for _ in 0..STEPS {
        let spreads: Vec<Spreads> = samples
            .par_iter_mut()
            .map(|sample| {
                sample.expect();
                let spreads = sample.spreads();
                sample.step();
                spreads
            })
            .collect();
        let mut sum = Spreads::default();
        for spreads in spreads {
            sum += spreads;
        }
        if sum.weights[0] + sum.weights[1] < FEWEST_LINES {
            return None;
        }
        let next = sum.density()?;
        let change = next.change(&density);
        density = next;
        for sample in &mut *samples {
            sample.density = density;
            sample.is_current = false;
        }
        if change < SETTLED {
            break;
        }
    }
    Some(density)
}
