//! Numbers as people read and type them: `12.8k` images, `2m10s`, `1.5 GiB`.

/// A count in at most three or four digits: `999`, `12.8k`, `500k`, `1.3M`.
#[must_use]
pub fn count(n: u64) -> String {
    if n < 1000 {
        return n.to_string();
    }
    let mut value = n as f64;
    let mut unit = "";
    for next in ["k", "M", "G", "T"] {
        // From 999.5 on, three digits would read "1000".
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = usize::from(value < 99.95);
    let digits = format!("{value:.decimals$}");
    format!("{}{unit}", digits.strip_suffix(".0").unwrap_or(&digits))
}

/// A number and what it counts, in the plural unless it is one: `1 class`, `0 classes`, `7 copies`.
/// `shown` is the number as it is to be read.
#[must_use]
pub fn counted(shown: &str, n: u64, noun: &str) -> String {
    let after_consonant = |noun: &str| !noun.ends_with(['a', 'e', 'i', 'o', 'u']);
    match noun {
        _ if n == 1 => format!("{shown} {noun}"),
        _ if ["s", "x", "z", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => {
            format!("{shown} {noun}es")
        }
        _ => match noun.strip_suffix('y') {
            Some(stem) if after_consonant(stem) => format!("{shown} {stem}ies"),
            _ => format!("{shown} {noun}s"),
        },
    }
}

/// A duration in its two largest units: `0.4s`, `12s`, `2m10s`, `1h05m`, `3d04h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A number of bytes: `512 B`, `3.2 MiB`, `1.5 GiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let decimals = usize::from(value < 99.95);
    format!("{value:.decimals$} {unit}")
}

/// Reads a count as people type it: `25000`, `25_000`, `500k`, `1.5M`, `2G`.
///
/// # Errors
/// One clause that says what is wrong and what would work: the command line puts the flag and
/// the value before it.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = |what: &str| format!("{what}; write a count as 25000, 500k or 1.5M");
    let trimmed = text.trim();
    let (digits, scale) = match trimmed.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&trimmed[..at], 1_000_u64),
        Some((at, 'm' | 'M')) => (&trimmed[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&trimmed[..at], 1_000_000_000),
        _ => (trimmed, 1),
    };
    if digits.trim_start().starts_with('-') {
        return Err(wrong("it is negative"));
    }
    let digits = digits.replace('_', "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(wrong("it is not a number"));
    }
    // In integers, so that 0.3M is exactly 300000.
    let too_large = || wrong("it is too large");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut value = whole.checked_mul(scale).ok_or_else(too_large)?;
    let mut digit_scale = scale;
    for digit in fraction.bytes().map(|b| u64::from(b - b'0')) {
        if digit != 0 && digit_scale % 10 != 0 {
            return Err(wrong("it is not a whole number"));
        }
        digit_scale /= 10;
        value = value.checked_add(digit * digit_scale).ok_or_else(too_large)?;
    }
    if value == 0 { Err(wrong("it must be at least 1")) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short_and_never_read_1000k() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1k"),
            (12_800, "12.8k"),
            (99_949, "99.9k"),
            (99_960, "100k"),
            (128_000, "128k"),
            (999_499, "999k"),
            (999_500, "1M"),
            (1_260_000, "1.3M"),
            (2_000_000_000, "2G"),
        ];
        for (n, text) in cases {
            assert_eq!(count(n), text, "{n}");
        }
    }

    #[test]
    fn plurals_are_formed() {
        for (n, noun, text) in [
            (1, "class", "1 class"),
            (0, "class", "0 classes"),
            (2, "picture", "2 pictures"),
            (2, "copy", "2 copies"),
            (2, "day", "2 days"),
            (3, "batch", "3 batches"),
        ] {
            assert_eq!(counted(&n.to_string(), n, noun), text);
        }
    }

    #[test]
    fn durations_and_bytes_have_two_units_or_three_digits() {
        let cases = [
            (0.44, "0.4s"),
            (9.96, "10s"),
            (59.4, "59s"),
            (59.6, "1m00s"),
            (130.0, "2m10s"),
            (3_900.0, "1h05m"),
            (273_600.0, "3d04h"),
            (f64::NAN, "?"),
            (f64::INFINITY, "?"),
            (-1.0, "?"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
        let cases = [
            (512, "512 B"),
            (3_355_443, "3.2 MiB"),
            (1_048_575, "1.0 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (300 << 20, "300 MiB"),
            (102_360, "100 KiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text, "{n}");
        }
    }

    #[test]
    fn counts_are_read_exactly_or_refused_with_the_cause() {
        for (text, n) in [
            ("25000", 25_000),
            ("25_000", 25_000),
            ("500k", 500_000),
            ("2M", 2_000_000),
            ("1.5m", 1_500_000),
            ("0.3M", 300_000),
            ("1.000", 1),
            ("1.25k", 1_250),
            (" 7 ", 7),
            ("3G", 3_000_000_000),
        ] {
            assert_eq!(parse_count(text), Ok(n), "{text:?}");
        }
        for (text, cause) in [
            ("0", "it must be at least 1"),
            ("0k", "it must be at least 1"),
            ("-5", "it is negative"),
            ("-5k", "it is negative"),
            ("1.2345k", "it is not a whole number"),
            ("1.5", "it is not a whole number"),
            ("NaN", "it is not a number"),
            ("inf", "it is not a number"),
            ("", "it is not a number"),
            ("k", "it is not a number"),
            (".5k", "it is not a number"),
            ("1e6", "it is not a number"),
            ("5 0", "it is not a number"),
            ("500kk", "it is not a number"),
            ("99999999999999999999", "it is too large"),
            ("99999999999999G", "it is too large"),
        ] {
            let error = parse_count(text).expect_err(text);
            assert!(error.starts_with(cause) && error.contains("500k"), "{text:?}: {error}");
        }
    }
}
