//! Lines of a plot: thinned out, smoothed, and the range that shows them. A point is (images, value).

/// Maximum points of a line: more cannot be seen.
const POINTS: usize = 400;

/// A point of a line.
pub(super) type Point = (f64, f64);

/// A range for y that holds nearly all points: a few spikes, common at the start, must not flatten
/// the rest.
pub(super) fn range(points: &[Point]) -> (f64, f64) {
    let mut y: Vec<f64> = points.iter().map(|p| p.1).collect();
    y.sort_by(f64::total_cmp);
    let at = |share: f64| y.get((share * (y.len().max(1) - 1) as f64).round() as usize).copied();
    let (Some(low), Some(high)) = (at(0.01), at(0.99)) else { return (0.0, 1.0) };
    let low = if low < 0.0 { low * 1.1 } else { 0.0 };
    let high = if high > 0.0 { high * 1.1 } else { 0.0 };
    if high - low < 1e-6 { (low, low + 1.0) } else { (low, high) }
}

/// `points` in at most [`POINTS`] groups.
fn groups<T>(points: &[T]) -> impl Iterator<Item = &[T]> {
    points.chunks(points.len().div_ceil(POINTS).max(1))
}

/// The highest and lowest point of every group, in order: the outline of all points.
pub(super) fn envelope(points: &[Point]) -> Vec<Point> {
    let mut outline = Vec::new();
    for group in groups(points) {
        let by_height = |a: &usize, b: &usize| group[*a].1.total_cmp(&group[*b].1);
        let low = (0..group.len()).min_by(by_height).unwrap_or(0);
        let high = (0..group.len()).max_by(by_height).unwrap_or(0);
        outline.push(group[low.min(high)]);
        if low != high {
            outline.push(group[low.max(high)]);
        }
    }
    outline
}

/// The mean of every group.
pub(super) fn means(points: &[Point]) -> Vec<Point> {
    let mean = |group: &[Point]| {
        let n = group.len() as f64;
        let sum = group.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (sum.0 / n, sum.1 / n)
    };
    groups(points).map(mean).collect()
}

/// A Gaussian mean over neighbors, with a fiftieth of all points as standard deviation, so that a
/// short curve is left unchanged.
pub(super) fn smooth(points: &[Point]) -> Vec<Point> {
    let sigma = points.len() as f64 / 50.0;
    let reach = (3.0 * sigma) as usize;
    let smoothed = |i: usize| {
        let from = i.saturating_sub(reach);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (j, point) in points.iter().enumerate().take(i + reach + 1).skip(from) {
            let weight = (-0.5 * ((j as f64 - i as f64) / sigma).powi(2)).exp();
            sum += weight * point.1;
            weights += weight;
        }
        sum / weights
    };
    // Below two thirds of a step there are no neighbors in reach.
    if reach < 2 {
        return points.to_vec();
    }
    points.iter().enumerate().map(|(i, p)| (p.0, smoothed(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_do_not_set_the_range_and_means_keep_the_level() {
        let mut points: Vec<(f64, f64)> =
            (0..10_000).map(|i| (f64::from(i), 1.0 + f64::from(i % 2))).collect();
        points[3].1 = 500.0;
        assert_eq!(range(&points), (0.0, 2.2));
        assert_eq!(range(&[(0.0, -20.0), (1.0, 10.0)]), (-22.0, 11.0));
        assert_eq!((range(&[]), range(&[(0.0, 0.0)])), ((0.0, 1.0), (0.0, 1.0)));
        assert!(envelope(&points).contains(&(3.0, 500.0)));
        assert!(envelope(&points).len() <= 2 * POINTS && means(&points).len() <= POINTS);
        let line = smooth(&means(&points));
        assert!(line[100..].iter().all(|p| (p.1 - 1.5).abs() < 0.01), "{line:?}");
        assert_eq!(smooth(&points[..5]), points[..5], "few points stay as they are");
    }
}
