//! Order statistics that several steps need.

/// Quantile with linear interpolation between the neighbouring order statistics; reorders `values`, of which there is at least one.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    let position = q * (values.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position in a list, which `as` truncates as wanted"
    )]
    let below = position as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (high - low) * (position - below as f64)
}

/// The median, of an even number of values the mean of the middle two; NaN without values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => 0.5 * (values[middle - 1] + values[middle]),
        _ => values[middle],
    }
}
