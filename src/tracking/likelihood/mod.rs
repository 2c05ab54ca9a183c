//! The likelihood of lines of response: tracers that move as polynomials of time, and a background.
//!
//! In the plane perpendicular to line i a tracer k is seen with the density `g = sum_j share_j exp(-d^2 / 2 s_j^2) / (2 pi s_j^2)`,
//! d its distance from the line at the line's time. Lines arrive as a Poisson process of density `f_i = b + sum_k n_k g_ik`: `n_k` is
//! the expected number of the tracer's lines, b that of the background per mm^2 near the tracers, where alone it matters. So only
//! the lines near a tracer are looked at, and nothing needs to be known about the detector. But in a ring the unknown depth at which
//! photons are absorbed moves lines that lean: across the line and the axis, `s_j^2` is `1 + lean sin^2` times larger, `d^2` becomes
//! `r^T M r`, r the perpendicular and `M = 1 - u u^T - shrink a a^T`, and g is divided by the root of that factor.
//!
//! Manger, Renaud and Vanneste, "An expectation-maximization algorithm for positron emission particle tracking", Review of
//! Scientific Instruments 92, 085105 (2021).

mod dense;
mod density;
mod estimate;
mod learn;
mod lors;
mod mixture;
mod model;
mod near;
mod number;
mod simd;
#[cfg(test)]
pub(super) mod simulated;
#[cfg(test)]
mod tests;

pub(super) use lors::Lors;
pub(super) use mixture::Mixture;
pub(super) use model::{Model, Widths};

/// Lines of a pack, and lanes of a vector.
pub(super) const LANES: usize = 4;

/// Most terms of a motion: position, velocity, acceleration.
const TERMS: usize = 3;

/// Most unknowns of a path.
const UNKNOWNS: usize = 3 * TERMS;

/// Moments of time in a path's matrix.
const MOMENTS: usize = 2 * TERMS - 1;

/// Tracers nearer to each other than this many widest scales are solved for together.
const COUPLED: f64 = 4.0;
