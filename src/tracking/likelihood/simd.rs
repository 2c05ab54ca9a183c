//! The sums over lines, four at a time: the same bits with all vector instructions.

use fearless_simd::{Simd, f64x4, prelude::*};

use super::density::Density;
use super::lors::{Pack, Path};
use super::near::{Near, Sums};
use super::{LANES, MOMENTS, TERMS};

/// Where exponents end: exp(-44) = 8e-20.
pub(super) const LARGEST_EXPONENT: f64 = 44.0;

/// exp(-y) for y from 0 on, which ends at exp(-44). Relative error below 1e-12 up to y = 10, below 1e-8 everywhere.
///
/// A polynomial of y / 256, squared eight times: the same bits with all vector instructions, unlike the functions of the system.
#[inline(always)]
pub(super) fn exp_minus<S: Simd>(simd: S, y: f64x4<S>) -> f64x4<S> {
    let largest = f64x4::splat(simd, LARGEST_EXPONENT);
    let y = y.simd_lt(largest).select(y, largest) * (-1.0 / 256.0);
    let mut x = (y * (1.0 / 5040.0) + 1.0 / 720.0) * y + 1.0 / 120.0;
    x = ((((x * y + 1.0 / 24.0) * y + 1.0 / 6.0) * y + 0.5) * y + 1.0) * y + 1.0;
    for _ in 0..8 {
        x = x * x;
    }
    x
}

#[inline(always)]
fn load<S: Simd>(simd: S, values: &[[f64; LANES]; 3]) -> [f64x4<S>; 3] {
    [
        f64x4::from_slice(simd, &values[0]),
        f64x4::from_slice(simd, &values[1]),
        f64x4::from_slice(simd, &values[2]),
    ]
}

/// The sum of the lanes, always in the same order.
#[inline(always)]
fn total<S: Simd>(x: f64x4<S>) -> f64 {
    (x[0] + x[1]) + (x[2] + x[3])
}

/// Where a path of order Q is at a pack's times.
#[inline(always)]
pub(super) fn place<S: Simd, const Q: usize>(simd: S, path: &Path, pack: &Pack) -> [f64x4<S>; 3] {
    let tau = f64x4::from_slice(simd, &pack.tau);
    let mut x = [f64x4::splat(simd, 0.0); 3];
    for k in 0..3 {
        x[k] = f64x4::splat(simd, path[Q][k]);
        for m in (0..Q).rev() {
            x[k] = x[k] * tau + path[m][k];
        }
    }
    x
}

/// The perpendicular from a pack's lines to points, and its square.
#[inline(always)]
fn perpendicular<S: Simd>(simd: S, pack: &Pack, x: [f64x4<S>; 3]) -> ([f64x4<S>; 3], f64x4<S>) {
    let (p, u) = (load(simd, &pack.p), load(simd, &pack.u));
    let w = [x[0] - p[0], x[1] - p[1], x[2] - p[2]];
    let along = w[0] * u[0] + w[1] * u[1] + w[2] * u[2];
    let r = [
        w[0] - along * u[0],
        w[1] - along * u[1],
        w[2] - along * u[2],
    ];
    (r, r[0] * r[0] + r[1] * r[1] + r[2] * r[2])
}

#[inline(always)]
pub(super) fn crossing<S: Simd>(
    simd: S,
    packs: &[Pack],
    weights: &[[f64; LANES]],
    x: [f64; 3],
    radius: f64,
    step: usize,
) -> f64 {
    let x = [
        f64x4::splat(simd, x[0]),
        f64x4::splat(simd, x[1]),
        f64x4::splat(simd, x[2]),
    ];
    let zero = f64x4::splat(simd, 0.0);
    let rate = 1.0 / (radius * radius);
    let mut sum = zero;
    for (pack, weight) in packs.iter().zip(weights).step_by(step) {
        let (_, squared) = perpendicular(simd, pack, x);
        let height = 1.0 - squared * rate;
        let height = height.simd_gt(zero).select(height, zero);
        sum += height * f64x4::from_slice(simd, weight);
    }
    total(sum)
}

#[inline(always)]
pub(super) fn select<S: Simd>(
    simd: S,
    packs: &[Pack],
    path: &Path,
    radius: f64,
    rows: &mut Vec<u32>,
) {
    let limit = f64x4::splat(simd, radius * radius);
    for (first, pack) in (0_u32..).step_by(LANES).zip(packs) {
        let x = place::<S, { TERMS - 1 }>(simd, path, pack);
        let (_, squared) = perpendicular(simd, pack, x);
        let mut bits = squared.simd_lt(limit).to_bitmask();
        while bits != 0 {
            rows.push(first + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
}

/// What the lines near a tracer look like from its path of order Q, as if it were alone.
#[inline(always)]
pub(super) fn look<S: Simd, const Q: usize>(
    simd: S,
    density: &Density,
    path: &Path,
    count: f64,
    background: f64,
    near: &mut Near,
) {
    let ([j1, j2], [c1, c2]) = (density.rates, density.peaks);
    for (pack, view) in near.packs.iter().zip(&mut near.views) {
        let (r, squared) = perpendicular(simd, pack, place::<S, Q>(simd, path, pack));
        squared.store_slice(&mut view.squared);
        let a = load(simd, &pack.lean);
        let growth = (a[0] * a[0] + a[1] * a[1] + a[2] * a[2]) * density.lean + 1.0;
        let shrink = density.lean / growth;
        let across = r[0] * a[0] + r[1] * a[1] + r[2] * a[2];
        let less = shrink * across;
        let pull = [r[0] - less * a[0], r[1] - less * a[1], r[2] - less * a[2]];
        let squared = squared - less * across;
        let height = 1.0 / growth.sqrt();
        let narrow = exp_minus(simd, squared * (0.5 * j1)) * height * c1;
        let wide = exp_minus(simd, squared * (0.5 * j2)) * height * c2;
        let (g, narrow_h, wide_h) = (narrow + wide, narrow * j1, wide * j2);
        for (pull, to) in pull.iter().zip(&mut view.r) {
            pull.store_slice(to);
        }
        shrink.store_slice(&mut view.shrink);
        g.store_slice(&mut view.g);
        (narrow_h + wide_h).store_slice(&mut view.h);
        (narrow_h * j1 + wide_h * j2).store_slice(&mut view.h2);
        (1.0 / (g * count + background)).store_slice(&mut view.inverse);
    }
}

/// The matrix of complete data, `sum n h / f M`, or the exact second derivative, which adds `((n h / f)^2 - n h2 / f) M r r^T M`; for
/// a path of order Q.
#[inline(always)]
pub(super) fn sums<S: Simd, const Q: usize>(
    simd: S,
    near: &Near,
    count: f64,
    reach: f64,
    exact: bool,
) -> Sums {
    let zero = f64x4::splat(simd, 0.0);
    let reach = f64x4::splat(simd, reach * reach);
    let exact = f64x4::splat(simd, f64::from(u8::from(exact)));
    let mut matrix = [[zero; 6]; MOMENTS];
    let mut vector = [[zero; 3]; TERMS];
    let (mut share, mut within) = (zero, zero);
    for (pack, view) in near.packs.iter().zip(&near.views) {
        let (u, a, r) = (
            load(simd, &pack.u),
            load(simd, &pack.lean),
            load(simd, &view.r),
        );
        let tau = f64x4::from_slice(simd, &pack.tau);
        let inverse = f64x4::from_slice(simd, &view.inverse);
        let scaled = inverse * count;
        let weight = f64x4::from_slice(simd, &view.h) * scaled;
        let outer = (weight * weight - f64x4::from_slice(simd, &view.h2) * scaled) * exact;
        share += f64x4::from_slice(simd, &view.g) * inverse;
        let inside = f64x4::from_slice(simd, &view.squared).simd_lt(reach);
        within += inside.select(inverse, zero);
        let wu = [weight * u[0], weight * u[1], weight * u[2]];
        let less = weight * f64x4::from_slice(simd, &view.shrink);
        let wa = [less * a[0], less * a[1], less * a[2]];
        let or = [outer * r[0], outer * r[1], outer * r[2]];
        let mut block = [
            weight - wu[0] * u[0] - wa[0] * a[0] + or[0] * r[0],
            or[0] * r[1] - wu[0] * u[1] - wa[0] * a[1],
            or[0] * r[2] - wu[0] * u[2] - wa[0] * a[2],
            weight - wu[1] * u[1] - wa[1] * a[1] + or[1] * r[1],
            or[1] * r[2] - wu[1] * u[2] - wa[1] * a[2],
            weight - wu[2] * u[2] - wa[2] * a[2] + or[2] * r[2],
        ];
        let mut pull = [weight * r[0], weight * r[1], weight * r[2]];
        for (m, sums) in matrix[..=2 * Q].iter_mut().enumerate() {
            for (sum, entry) in sums.iter_mut().zip(&mut block) {
                *sum += *entry;
                if m < 2 * Q {
                    *entry *= tau;
                }
            }
        }
        for (m, sums) in vector[..=Q].iter_mut().enumerate() {
            for (sum, entry) in sums.iter_mut().zip(&mut pull) {
                *sum -= *entry;
                if m < Q {
                    *entry *= tau;
                }
            }
        }
    }
    let mut sums = Sums {
        share: total(share),
        within: total(within),
        ..Sums::default()
    };
    for (totals, lanes) in sums.matrix.iter_mut().zip(&matrix[..=2 * Q]) {
        for (sum, lanes) in totals.iter_mut().zip(lanes) {
            *sum = total(*lanes);
        }
    }
    for (totals, lanes) in sums.vector.iter_mut().zip(&vector[..=Q]) {
        for (sum, lanes) in totals.iter_mut().zip(lanes) {
            *sum = total(*lanes);
        }
    }
    sums
}
