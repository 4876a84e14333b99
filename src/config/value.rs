//! The types of options: how values are parsed, shown and bounded.

use std::fmt::Display;

use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as Unknown, StrDeserializer};

use crate::human;
use crate::human::parse_count;

/// The valid values of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// Anything that can be parsed.
    Any,
    /// Whole numbers from the first to the second.
    Whole(u64, u64),
    /// Amounts such as `10k`, 0 among them.
    Count,
    /// One of these; else the error message.
    OneOf(&'static [u64], &'static str),
    /// Numbers above 0, such as these.
    Positive(&'static str),
    /// Numbers of at least 0.
    NonNegative,
    /// Numbers from 0 to below 1.
    Fraction,
    /// Numbers from 0 to 1.
    Share,
}

/// The upper bound of any number: more is a typo.
pub(crate) const MOST: u64 = 1 << 20;

impl Domain {
    /// Whole numbers from `least` on.
    #[must_use]
    pub const fn from(least: u64) -> Self {
        Self::Whole(least, MOST)
    }

    /// A description of valid values.
    fn needed(self) -> String {
        match self {
            Self::Any => "a number is needed".into(),
            Self::Whole(least, most) => {
                format!("a whole number from {least} to {most} is needed")
            }
            Self::Count => "write a count as 25000, 500k or 1.5M".into(),
            Self::OneOf(_, what) => what.into(),
            Self::Positive(such) => format!("a number above 0 is needed, such as {such}"),
            Self::NonNegative => "a number of at least 0 is needed".into(),
            Self::Fraction => "a number of at least 0 and below 1 is needed".into(),
            Self::Share => "a number from 0 to 1 is needed".into(),
        }
    }

    fn has_whole(self, x: u64) -> bool {
        match self {
            Self::Whole(least, most) => (least..=most).contains(&x),
            Self::OneOf(all, _) => all.contains(&x),
            _ => true,
        }
    }

    fn has_number(self, x: f64) -> bool {
        match self {
            Self::Positive(_) => x > 0.0 && x.is_finite(),
            Self::NonNegative => x >= 0.0 && x.is_finite(),
            Self::Fraction => (0.0..1.0).contains(&x),
            Self::Share => (0.0..=1.0).contains(&x),
            _ => x.is_finite(),
        }
    }
}

/// A type of options.
pub trait Value: Clone + PartialEq + Display + Send + Sync + 'static {
    /// The value of a flag given without one, if allowed.
    const ALONE: Option<&'static str> = None;

    /// Parses a value as typed.
    ///
    /// # Errors
    /// A description of valid values.
    fn read(text: &str, domain: Domain) -> Result<Self, String>;

    /// Refuses a value outside of the domain.
    ///
    /// # Errors
    /// A description of valid values.
    fn check(&self, _domain: Domain) -> Result<(), String> {
        Ok(())
    }

    /// The value as typed.
    fn show(&self, _domain: Domain) -> String {
        self.to_string()
    }

    /// How the command line parses it.
    #[cfg(feature = "cli")]
    #[must_use]
    fn parser(domain: Domain) -> clap::builder::ValueParser {
        clap::builder::ValueParser::new(move |text: &str| Self::read(text, domain))
    }
}

/// [`Value`] for numbers: which type a domain uses, how to parse it, and how to show a number.
macro_rules! numbers {
    ($($ty:ty, $wide:ty, $has:ident, $show:ident;)+) => { $(
        impl Value for $ty {
            fn read(text: &str, domain: Domain) -> Result<Self, String> {
                if domain == Domain::Count && text.trim() != "0" {
                    return Ok(parse_count(text)? as Self);
                }
                let value: Self = text.trim().parse().map_err(|_| domain.needed())?;
                value.check(domain).map(|()| value)
            }

            fn check(&self, domain: Domain) -> Result<(), String> {
                if domain.$has(*self as $wide) { Ok(()) } else { Err(domain.needed()) }
            }

            fn show(&self, domain: Domain) -> String {
                $show(*self as $wide, self.to_string(), domain)
            }
        }
    )+ };
}

numbers! {
    usize, u64, has_whole, show_whole;
    u64, u64, has_whole, show_whole;
    f32, f64, has_number, show_number;
    f64, f64, has_number, show_number;
}

/// As `10k` if that is exact and shorter.
fn show_whole(n: u64, plain: String, domain: Domain) -> String {
    let short = human::count(n);
    let exact = n >= 10_000 && domain == Domain::Count && parse_count(&short) == Ok(n);
    if exact { short } else { plain }
}

/// As `1e-8` if it avoids counting zeros.
fn show_number(x: f64, plain: String, _: Domain) -> String {
    match plain.strip_prefix("0.0000") {
        Some(_) => format!("{:e}", plain.parse().unwrap_or(x)),
        None => plain,
    }
}

impl Value for bool {
    const ALONE: Option<&'static str> = Some("true");

    fn read(text: &str, _: Domain) -> Result<Self, String> {
        text.parse().map_err(|_| "true or false is needed".into())
    }
}

/// The value of an enum with this name in files.
pub(crate) fn read_named<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    let text: StrDeserializer<'_, Unknown> = text.into_deserializer();
    T::deserialize(text).map_err(|unknown| unknown.to_string())
}

/// Enums whose values are typed and shown by their names in files; `Name = "value"` for a flag that
/// may be given without a value.
macro_rules! named {
    ($($name:ty $(= $alone:literal)?),+ $(,)?) => { $(
        impl std::fmt::Display for $name {
            /// As typed.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }

        impl $crate::config::Value for $name {
            $(const ALONE: Option<&'static str> = Some($alone);)?

            fn read(text: &str, _: $crate::config::Domain) -> Result<Self, String> {
                $crate::config::read_named(text)
            }

            #[cfg(feature = "cli")]
            fn parser(_: $crate::config::Domain) -> clap::builder::ValueParser {
                clap::builder::EnumValueParser::<Self>::new().into()
            }
        }
    )+ };
}

/// Types parsed by their `FromStr`.
macro_rules! typed {
    ($($name:ty),+ $(,)?) => { $(
        impl $crate::config::Value for $name {
            fn read(text: &str, _: $crate::config::Domain) -> Result<Self, String> {
                text.parse()
            }
        }
    )+ };
}

pub(crate) use {named, typed};
