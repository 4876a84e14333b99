//! Lists of seeds as typed: `0-63`, `3,17,42`, `0-3,8`.

/// Seeds in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) Vec<u64>);

/// More seeds than this in one range are surely a typo.
const MOST: u64 = 1_000_000;

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |s: &str| {
            s.trim().parse::<u64>().map_err(|_| {
                format!(
                    "{:?} is no seed; seeds are whole numbers such as 0-63 or 3,17,42",
                    s.trim()
                )
            })
        };
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (first, last) = match part.split_once('-') {
                // A sign, not a range.
                Some(("", _)) => (number(part)?, number(part)?),
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if last < first {
                return Err(format!("the range {part} runs backwards; {last}-{first} would work"));
            }
            if last - first >= MOST {
                return Err(format!("the range {part} has more than {MOST} seeds"));
            }
            seeds.extend(first..=last);
        }
        Ok(Self(seeds))
    }
}

/// Ranges that a message lists.
const LISTED: usize = 8;

impl std::fmt::Display for Seeds {
    /// As they may be typed; of very many ranges, only the first.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let follows = |a: &u64, b: &u64| a.checked_add(1) == Some(*b);
        for (i, range) in self.0.chunk_by(follows).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            match range {
                _ if i == LISTED => return write!(f, "{comma}\u{2026}"),
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [one] => write!(f, "{comma}{one}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|s| s.0);
        assert_eq!(seeds("0-3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(seeds("7, 3,5-6"), Ok(vec![7, 3, 5, 6]));
        assert_eq!(seeds("18446744073709551615"), Ok(vec![u64::MAX]));
        let shown = |text: &str| seeds(text).map(|s| Seeds(s).to_string());
        assert_eq!(shown("0-3,8,7,20-21"), Ok("0-3, 8, 7, 20-21".into()));
        let odd = (0..40).map(|i| (2 * i).to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(shown(&odd), Ok("0, 2, 4, 6, 8, 10, 12, 14, \u{2026}".into()));
        for bad in ["", "a", "3-1", "-1", "1-", "0-2000000", "1.5"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
