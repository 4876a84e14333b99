//! Numbers and names as people read and type them: `12.8k` images, `2m10s`, `1.5 GiB`.

use std::borrow::Cow;

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

/// An estimated duration in words: `a minute`, `40 minutes`, `3 hours`, `2 days`.
#[must_use]
pub fn about(seconds: f64) -> String {
    let minutes = seconds / 60.0;
    match minutes {
        ..1.5 => "a minute".into(),
        ..90.0 => format!("{minutes:.0} minutes"),
        ..2160.0 => format!("{:.0} hours", minutes / 60.0),
        _ => format!("{:.0} days", minutes / 1440.0),
    }
}

/// A number with four significant digits: `0.8123`, `1523`, `4.2e-7`.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.1e}");
    }
    let before = size.log10().floor() as i32;
    let text = format!("{value:.*}", (3 - before).max(0) as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A count with a noun: `1 image`, `2 images`, `3,000 images`.
#[must_use]
pub fn plural(n: u64, one: &str) -> String {
    let n_grouped = grouped(n);
    match (n, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        // A `y` after a vowel stays.
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => {
            format!("{n_grouped} {stem}ies")
        }
        _ if one.ends_with(['s', 'x', 'h']) => format!("{n_grouped} {one}es"),
        _ => format!("{n_grouped} {one}s"),
    }
}

/// [`count`] with a noun: `1 image`, `12.8k images`.
#[must_use]
pub fn counted(n: u64, one: &str) -> String {
    let words = plural(n, one);
    let (_, word) = words.split_once(' ').unwrap_or_default();
    format!("{} {word}", count(n))
}

/// A number with commas between thousands.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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

/// `text` made safe for a terminal: control characters other than tabs and newlines, and
/// bidirectional marks, are written as `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unprintable) {
        escaped(text, |c| c.escape_unicode().collect()).into()
    } else {
        text.into()
    }
}

/// `text` with `escape` applied to each character that is unsafe for a terminal.
#[must_use]
pub fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) { safe += &escape(c) } else { safe.push(c) }
    }
    safe
}

/// A control character (an escape code begins with one), or a bidirectional mark (Unicode Standard
/// Annex 9): what follows it may be shown before it.
fn is_unprintable(c: char) -> bool {
    let is_mark = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    is_mark || (c.is_control() && c != '\n' && c != '\t')
}

/// Reads a count as people type it: `25000`, `25_000`, `500k`, `1.5M`, `2G`, `1e6`, `2.5e5`.
///
/// # Errors
/// A clause that describes what is wrong and what would work: the command line puts the flag and
/// the value before it.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = |what: &str| format!("{what}; write a count as 25000, 500k or 1.5M");
    let trimmed = text.trim();
    let power =
        trimmed.split_once(['e', 'E']).map(|(digits, power)| (digits, power.parse::<u32>()));
    let (digits, scale) = match (power, trimmed.char_indices().next_back()) {
        (Some((digits, Ok(power))), _) => (digits, 10_u64.checked_pow(power)),
        (_, Some((at, 'k' | 'K'))) => (&trimmed[..at], Some(1_000)),
        (_, Some((at, 'm' | 'M'))) => (&trimmed[..at], Some(1_000_000)),
        (_, Some((at, 'g' | 'G'))) => (&trimmed[..at], Some(1_000_000_000)),
        _ => (trimmed, Some(1)),
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
    let scale = scale.ok_or_else(too_large)?;
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

/// Reads an amount of memory as people type it: `2GiB`, `500MB`, `1.5G`; units are powers of 1024.
///
/// # Errors
/// A sentence on what would work.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let fail = || format!("{text:?} is no amount of memory such as 800MiB or 2GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(fail()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| fail())?;
    if number > 0.0 && number.is_finite() { Ok((number * factor) as u64) } else { Err(fail()) }
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
    fn words_agree_with_their_numbers() {
        let cases = [
            (plural(0, "image"), "0 images"),
            (plural(1, "image"), "1 image"),
            (plural(3000, "image"), "3,000 images"),
            (counted(1, "image"), "1 image"),
            (counted(12_800, "image"), "12.8k images"),
            (plural(2, "class"), "2 classes"),
            (plural(2, "batch"), "2 batches"),
            (plural(1, "box"), "1 box"),
            (plural(2, "box"), "2 boxes"),
            (plural(2, "copy"), "2 copies"),
            (plural(2, "day"), "2 days"),
            (about(20.0), "a minute"),
            (about(100.0), "2 minutes"),
            (about(2400.0), "40 minutes"),
            (about(5400.0), "2 hours"),
            (about(36_000.0), "10 hours"),
            (about(200_000.0), "2 days"),
        ];
        for (text, wanted) in cases {
            assert_eq!(text, wanted);
        }
    }

    #[test]
    fn escape_codes_and_marks_are_seen_as_text() {
        let name = "cat\u{1b}]0;title\u{7}\u{9b}31m\u{202e}gnp.\u{2066}\r";
        let safe = r"cat\u{1b}]0;title\u{7}\u{9b}31m\u{202e}gnp.\u{2066}\u{d}";
        assert_eq!(printable(name), safe);
        let plain = "two lines,\n\ta tab, a 猫, \u{f6} and a combined o\u{308}";
        assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn numbers_have_four_significant_digits() {
        let cases = [
            (0.0, "0"),
            (0.81234, "0.8123"),
            (-1.5, "-1.5"),
            (1523.4, "1523"),
            (123_456.0, "123456"),
            (0.000_123_456, "0.0001235"),
            (4.24e-7, "4.2e-7"),
            (3e9, "3.0e9"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
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
            ("1e6", 1_000_000),
            ("2.5E5", 250_000),
            ("25e0", 25),
            ("12.8e3", 12_800),
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
            ("1e", "it is not a number"),
            ("e6", "it is not a number"),
            ("1e-6", "it is not a number"),
            ("1e6k", "it is not a number"),
            ("1.25e1", "it is not a whole number"),
            ("0e6", "it must be at least 1"),
            ("1e20", "it is too large"),
            ("1e99999", "it is too large"),
            ("1e99999999999", "it is not a number"),
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
