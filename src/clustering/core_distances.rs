use super::squared_distance;

/// Squared distance of each point to its `phi`-th nearest other point.
pub(super) fn core_distances(points: &[[f64; 3]], phi: usize) -> Vec<f64> {
    let mut row = vec![0.0; points.len()];
    let core = |point| {
        for (distance, other) in row.iter_mut().zip(points) {
            *distance = squared_distance(point, other);
        }
        *row.select_nth_unstable_by(phi, f64::total_cmp).1 // index 0 is the point itself
    };
    points.iter().map(core).collect()
}
