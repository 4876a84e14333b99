//! Groups pairs by union-find.

/// The groups that `pairs` form, each sorted, in the order of their first members; elements without
/// a pair are in no group.
#[must_use]
pub fn components(pairs: &[[u32; 2]]) -> Vec<Vec<u32>> {
    let mut items: Vec<u32> = pairs.iter().flatten().copied().collect();
    items.sort_unstable();
    items.dedup();
    let place = |item: u32| items.partition_point(|&other| other < item);
    let mut parent: Vec<usize> = (0..items.len()).collect();
    for &[a, b] in pairs {
        let (a, b) = (root(&mut parent, place(a)), root(&mut parent, place(b)));
        // The first member is the root, so that groups come in its order.
        parent[a.max(b)] = a.min(b);
    }
    let mut groups = vec![Vec::new(); items.len()];
    for (at, &item) in items.iter().enumerate() {
        groups[root(&mut parent, at)].push(item);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// The root of an element, with path halving.
fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_one_group_whatever_the_order_of_their_links() {
        let pairs = [[7, 9], [1, 5], [30, 2], [9, 5], [2, 30]];
        let wanted = vec![vec![1, 5, 7, 9], vec![2, 30]];
        assert_eq!(components(&pairs), wanted);
        let back: Vec<_> = pairs.iter().rev().map(|&[a, b]| [b, a]).collect();
        assert_eq!(components(&back), wanted);
        assert!(components(&[]).is_empty());
    }

    #[test]
    fn a_long_chain_is_followed_to_its_end() {
        let pairs: Vec<_> = (0..10_000).map(|i| [i + 1, i]).collect();
        let groups = components(&pairs);
        assert_eq!((groups.len(), groups[0].len()), (1, 10_001));
    }
}
