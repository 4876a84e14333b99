//! How a fused kernel locates the input element that belongs to an output element.

/// The element of an input that belongs to output element `i` (a flat index).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Element `i`.
    Full,
    /// Element 0.
    Scalar,
    /// Element `i % period`: the input has the output's last axes.
    Cyclic(usize),
    /// Element `Σ coordinate_d · stride_d` for these (size, stride) of the output's axes; neighboring
    /// axes that can be walked as one are one.
    Strided(Vec<(usize, usize)>),
}

impl Access {
    /// How an input of shape `x` is broadcast to `y`.
    pub(super) fn of(x: &[usize], y: &[usize]) -> Self {
        let (nx, ny) = (x.iter().product::<usize>(), y.iter().product::<usize>());
        if nx == ny {
            return Self::Full;
        }
        if nx == 1 {
            return Self::Scalar;
        }
        let used = x.iter().position(|&s| s != 1).unwrap_or(x.len());
        let tail = &x[used..];
        if y.ends_with(tail) {
            return Self::Cyclic(nx);
        }
        let lead = y.len() - x.len();
        let mut stride = nx;
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (d, &size) in y.iter().enumerate().filter(|&(_, &size)| size != 1) {
            let own = if d < lead { 1 } else { x[d - lead] };
            stride /= own;
            let step = if own == 1 { 0 } else { stride };
            match axes.last_mut() {
                Some(last) if last.1 == step * size => *last = (last.0 * size, step),
                _ => axes.push((size, step)),
            }
        }
        Self::Strided(axes)
    }

    /// The input element for output element `i`.
    pub(super) fn index(&self, i: usize) -> usize {
        match self {
            Self::Full => i,
            Self::Scalar => 0,
            Self::Cyclic(period) => i % period,
            Self::Strided(axes) => {
                let mut rest = i;
                let mut at = 0;
                for &(size, stride) in axes.iter().rev() {
                    at += rest % size * stride;
                    rest /= size;
                }
                at
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_broadcast() {
        assert_eq!(Access::of(&[2, 3], &[2, 3]), Access::Full);
        assert_eq!(Access::of(&[6], &[2, 1, 3]), Access::Full);
        assert_eq!(Access::of(&[], &[2, 3]), Access::Scalar);
        assert_eq!(Access::of(&[1, 3], &[2, 3]), Access::Cyclic(3));
        assert_eq!(Access::of(&[1, 2, 3], &[5, 2, 3]), Access::Cyclic(6));
        let column = Access::of(&[2, 1], &[2, 3]);
        assert_eq!(column, Access::Strided(vec![(2, 1), (3, 0)]));
        assert_eq!((0..6).map(|i| column.index(i)).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1]);
        let middle = Access::of(&[2, 1, 2], &[2, 3, 2]);
        let at: Vec<_> = (0..12).map(|i| middle.index(i)).collect();
        assert_eq!(at, [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]);
        // One value per image, and one per image and channel.
        assert_eq!(
            Access::of(&[4, 1, 1, 1], &[4, 2, 3, 5]),
            Access::Strided(vec![(4, 1), (30, 0)])
        );
        let channels = Access::of(&[4, 1, 1, 5], &[4, 2, 3, 5]);
        assert_eq!(channels, Access::Strided(vec![(4, 5), (6, 0), (5, 1)]));
        // Windows of 2×2 of an image.
        let windows = Access::of(&[4, 3, 1, 3, 1, 5], &[4, 3, 2, 3, 2, 5]);
        let axes = vec![(12, 15), (2, 0), (3, 5), (2, 0), (5, 1)];
        assert_eq!(windows, Access::Strided(axes));
    }
}
