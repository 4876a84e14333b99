//! Sizes of images.

use std::str::FromStr;

use crate::config::typed;
use crate::error::{Error, Result};
pub use crate::model::size::Size;

/// The smallest and the largest side.
const SIDES: std::ops::RangeInclusive<usize> = 8..=1024;

/// The smallest feature map: the range of its shorter side, and the maximum of its longer one.
const BASE: std::ops::RangeInclusive<usize> = 4..=7;
const LONGEST_BASE: usize = 32;

impl Size {
    /// The generator's initial feature map, and how often it is doubled: the shorter side is 4 to
    /// 7.
    ///
    /// # Errors
    /// [`Error::Config`] (`size`) if no base times a power of two gives the size; it names the
    /// nearest valid sizes.
    pub fn base(self) -> Result<([usize; 2], usize)> {
        let Self { height, width } = self;
        let fail = |what: String| Err(Error::config("size", what));
        if !SIDES.contains(&height) || !SIDES.contains(&width) {
            let (least, most) = (SIDES.start(), SIDES.end());
            return fail(format!("{self}: both sides must lie between {least} and {most}"));
        }
        if let Some(found) = self.find_base() {
            return Ok(found);
        }
        let works = |side: usize| (Self { height: side, width: side }).find_base().is_some();
        let near = |side: usize| {
            let below = (*SIDES.start()..side).rev().find(|&s| works(s));
            let above = (side + 1..=*SIDES.end()).find(|&s| works(s));
            [below, above].into_iter().flatten().map(|s| s.to_string()).collect::<Vec<_>>()
        };
        let mut sides = near(height);
        if width != height {
            sides.extend(near(width));
        }
        fail(format!(
            "{self} is no base of 4 to 7 pixels doubled a whole number of times; sides that work: {}",
            sides.join(", ")
        ))
    }

    fn find_base(self) -> Option<([usize; 2], usize)> {
        (1..=8).find_map(|doublings| {
            let factor = 1 << doublings;
            let base = [self.height / factor, self.width / factor];
            let fits = base.map(|b| b * factor) == [self.height, self.width]
                && BASE.contains(&base[0].min(base[1]))
                && base[0].max(base[1]) <= LONGEST_BASE;
            fits.then_some((base, doublings))
        })
    }
}

typed!(Size);

impl FromStr for Size {
    type Err = String;

    /// `64`, or height × width as `96x64`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let side = |s: &str| {
            s.parse::<usize>().map_err(|_| format!("{text:?} is no size such as 64 or 96x64"))
        };
        let (height, width) = match text.split_once(['x', 'X', '×']) {
            Some((h, w)) => (side(h)?, side(w)?),
            None => (side(text)?, side(text)?),
        };
        let size = Self { height, width };
        size.base().map_err(|e| match e {
            Error::Config { what, .. } => what,
            other => other.to_string(),
        })?;
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let base = |s: &str| s.parse::<Size>().ok().and_then(|s| s.base().ok());
        assert_eq!(base("64"), Some(([4, 4], 4)));
        assert_eq!(base("96x64"), Some(([6, 4], 4)));
        assert_eq!(base("28"), Some(([7, 7], 2)));
        assert_eq!(base("8"), Some(([4, 4], 1)));
        assert_eq!(base("256"), Some(([4, 4], 6)));
        assert_eq!(base("1024x768"), Some(([8, 6], 7)));
        assert_eq!(base("768"), Some(([6, 6], 7)));
        assert_eq!(base("1024"), Some(([4, 4], 8)));
        for bad in ["0", "7", "100", "65", "2048", "64x", "x", "-64", "256x8"] {
            assert_eq!(base(bad), None, "{bad}");
        }
        let error = "100".parse::<Size>().expect_err("100 is 25 · 4");
        assert!(error.contains("96, 112"), "{error}");
    }
}
