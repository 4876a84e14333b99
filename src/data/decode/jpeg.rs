//! Checks a JPEG marker by marker (ITU T.81, annex B) before it is decoded.
//!
//! The decoder (zune-jpeg 0.5) fills what is missing of a truncated file with gray, and where the
//! first component has fewer samples than another, or their numbers do not divide, its colors are
//! wrong. Neither is an error to it.

/// A JPEG that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jpeg {
    pub(super) width: u16,
    pub(super) height: u16,
    /// Whether all coefficients are in memory before the first pixel is made.
    pub(super) progressive: bool,
}

/// Walks the segments by their lengths and the coded data by its markers. Bytes after the end marker
/// are ignored.
///
/// # Errors
/// Why it is not read, as the end of a sentence that begins with its name.
pub(super) fn check(bytes: &[u8]) -> Result<Jpeg, String> {
    let truncated = || "is truncated: the JPEG stops before its end marker".to_owned();
    let mut found = None;
    let mut at = 2;
    loop {
        // To the next marker: FF and neither a stuffed zero, a restart nor a fill byte.
        let rest = bytes.get(at..).ok_or_else(truncated)?;
        at += rest.iter().position(|&b| b == 0xff).ok_or_else(truncated)? + 1;
        match *bytes.get(at).ok_or_else(truncated)? {
            0xd9 => return found.ok_or_else(|| "is damaged JPEG: it has no frame".into()),
            0xff => {}
            // Stuffing, TEM, restarts, a second start: no length follows.
            0x00 | 0x01 | 0xd0..=0xd8 => at += 1,
            marker => {
                let length = bytes.get(at + 1..at + 3).ok_or_else(truncated)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                let segment = bytes.get(at + 3..at + 1 + length).ok_or_else(truncated)?;
                let is_frame =
                    matches!(marker, 0xc0..=0xcf) && ![0xc4, 0xc8, 0xcc].contains(&marker);
                if is_frame && found.is_none() {
                    found = Some(frame(marker, segment)?);
                }
                at += 1 + length;
            }
        }
    }
}

/// A frame's header: precision, height, width, the number of components, and three bytes of each,
/// the second its horizontal and vertical sampling factors.
fn frame(marker: u8, segment: &[u8]) -> Result<Jpeg, String> {
    let damaged = || "is damaged JPEG: its frame header is cut short".to_owned();
    let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = segment else {
        return Err(damaged());
    };
    if precision != 8 {
        return Err(format!(
            "is JPEG of {precision} bits a sample, which is not read; convert it to PNG or to JPEG of \
             8 bits"
        ));
    }
    let components = rest.get(..3 * usize::from(count)).ok_or_else(damaged)?.chunks_exact(3);
    let factors: Vec<[u8; 2]> = components.map(|c| [c[1] >> 4, c[1] & 15]).collect();
    let most = |i: usize| factors.iter().map(|f| f[i]).max().unwrap_or(0);
    let most = [most(0), most(1)];
    let divides = |factor: &[u8; 2]| (0..2).all(|i| factor[i] > 0 && most[i] % factor[i] == 0);
    if factors.first() != Some(&most) || !factors.iter().all(divides) {
        let list: Vec<_> = factors.iter().map(|[h, v]| format!("{h}x{v}")).collect();
        return Err(format!(
            "is JPEG with rare sampling factors ({}), which are not read; save it again as PNG or as \
             common JPEG",
            list.join(", ")
        ));
    }
    Ok(Jpeg {
        width: u16::from_be_bytes([w1, w0]),
        height: u16::from_be_bytes([h1, h0]),
        progressive: matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG of nothing but a frame header.
    fn head(marker: u8, precision: u8, factors: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, marker, 0, 8 + 3 * factors.len() as u8, precision];
        bytes.extend([0, 40, 0, 56, factors.len() as u8]);
        factors.iter().for_each(|&f| bytes.extend([1, f, 0]));
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    #[test]
    fn frames_are_understood_and_rare_ones_refused() {
        let read = |factors: &[u8]| check(&head(0xc0, 8, factors));
        for factors in [&[0x11][..], &[0x22], &[0x11; 3], &[0x22, 0x11, 0x11], &[0x41, 0x21, 0x11]]
        {
            let jpeg = Jpeg { width: 56, height: 40, progressive: false };
            assert_eq!(read(factors), Ok(jpeg), "{factors:x?}");
        }
        assert_eq!(check(&head(0xc2, 8, &[0x11])).map(|jpeg| jpeg.progressive), Ok(true));
        // Luma below chroma; 3 that 2 does not divide; chroma beyond luma in one direction; none.
        for factors in [&[0x11, 0x22, 0x22][..], &[0x31, 0x21, 0x11], &[0x21, 0x12, 0x11], &[0x01]]
        {
            let what = read(factors);
            assert!(what.is_err_and(|what| what.contains("rare sampling factors")), "{factors:x?}");
        }
        assert!(check(&head(0xc1, 12, &[0x11])).is_err_and(|what| what.contains("12 bits")));
        let whole = head(0xc0, 8, &[0x11; 3]);
        for end in 0..whole.len() {
            assert!(check(&whole[..end]).is_err(), "{end}");
        }
    }
}
