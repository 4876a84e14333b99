//! Options of a training, each defined once.
//!
//! `config!` takes a list of fields, one row each, and generates
//!
//! - the full struct, with a value in every field, `Default` and its JSON, in which a field at its
//!   default may be left out (see [`Stored`]);
//! - the same struct with optional fields, as set by a preset or a command line. It is applied to
//!   defaults or merged with another (`or`, `apply`), compared with a run's options (`conflict`),
//!   filled in by name (`set`), and defines the flags of the command line;
//! - a table of the fields ([`Field`]), and a check of their bounds.
//!
//! A row is a doc comment, whose first paragraph is the flag's help, and
//!
//! ```text
//! name: Type = default, "PLACEHOLDER" { further entries of Field };
//! ```
//!
//! In help texts and errors an option is written as its field in backticks, `norm_d`, which the
//! command line shows as a flag.

mod value;

pub use value::{Domain, Value};
pub(crate) use value::{named, read_named, typed};

use crate::error::{Error, Result};

/// Whether a field is stored in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Always: JSON without it is invalid.
    Required,
    /// Always; if missing, it has its default.
    Always,
    /// Only if it is not at its default.
    Changed,
}

/// The properties of an option except its type.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the library and in files.
    pub name: &'static str,
    /// Its name on the command line, such as `--norm-d`; if it has no flag, that of the flag that
    /// determines it.
    pub flag: Option<&'static str>,
    /// Its heading on the command line.
    pub heading: &'static str,
    /// The placeholder of its value there.
    pub value: &'static str,
    /// The lines of its documentation; the first paragraph is its help.
    pub docs: &'static [&'static str],
    /// Its default, as typed.
    pub default: fn(Domain) -> String,
    /// Its default in words, if it depends on other options; empty if nothing is to be shown.
    pub shown: Option<&'static str>,
    /// The valid values of its type, besides its default.
    pub domain: Domain,
    /// Whether it is stored in JSON.
    pub stored: Stored,
    /// Its position among the flags of its heading, if not in order of definition: these come
    /// first.
    pub order: Option<usize>,
    /// Another name of its flag.
    pub alias: Option<&'static str>,
    /// Whether the command line hides it.
    pub hidden: bool,
    /// Whether it is left out of the short help.
    pub rare: bool,
}

impl Field {
    /// A field that is set by a flag of its name.
    #[must_use]
    pub(crate) const fn new(
        [name, flag]: [&'static str; 2],
        [heading, value]: [&'static str; 2],
        docs: &'static [&'static str],
        default: fn(Domain) -> String,
        stored: Stored,
    ) -> Self {
        Self {
            name,
            flag: Some(flag),
            heading,
            value,
            docs,
            default,
            shown: None,
            domain: Domain::Any,
            stored,
            order: None,
            alias: None,
            hidden: false,
            rare: false,
        }
    }

    /// A field without a flag.
    #[must_use]
    pub(crate) const fn plain(
        name: &'static str,
        docs: &'static [&'static str],
        stored: Stored,
    ) -> Self {
        let field = Self::new([name, ""], ["", ""], docs, |_| String::new(), stored);
        Self { flag: None, ..field }
    }

    /// Its help: the first paragraph of its documentation, and its default.
    #[must_use]
    pub fn help(&self) -> String {
        self.with_default(self.paragraph())
    }

    /// Its help in short: the first sentence of it, and its default.
    #[must_use]
    pub fn brief(&self) -> String {
        let paragraph = self.paragraph();
        let sentence = paragraph.split_once(". ").map(|(first, _)| first.to_owned());
        self.with_default(sentence.unwrap_or(paragraph))
    }

    fn paragraph(&self) -> String {
        let lines = self.docs.iter().map(|line| line.trim()).take_while(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    }

    fn with_default(&self, mut help: String) -> String {
        let default = self.shown.map_or_else(|| (self.default)(self.domain), Into::into);
        if !default.is_empty() {
            help += &format!(" [default: {default}]");
        }
        help
    }

    /// Refuses an invalid value.
    pub(crate) fn check<T: Value>(&self, value: &T) -> Result<()> {
        let wrong = |what| Error::config(self.name, format!("{value}: {what}"));
        value.check(self.domain).map_err(wrong)
    }
}

/// An option whose new value conflicts with the existing one.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The option.
    pub field: &'static Field,
    /// The new value.
    pub set: String,
    /// The existing value.
    pub has: String,
}

/// Whether serde can skip a field; if missing, it gets its type's default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `value`, or the default of `field` if JSON may omit it.
pub(crate) fn or_default<T, E: serde::de::Error>(
    value: Option<T>,
    field: &Field,
    default: T,
) -> Result<T, E> {
    match value {
        Some(value) => Ok(value),
        None if field.stored == Stored::Required => Err(E::missing_field(field.name)),
        None => Ok(default),
    }
}

/// The bytes of a field's flag: `norm_d` as `--norm-d`.
pub(crate) const fn flag<const N: usize>(name: &str) -> [u8; N] {
    let name = name.as_bytes();
    let mut bytes = [b'-'; N];
    let mut i = 0;
    while i < name.len() {
        if name[i] != b'_' {
            bytes[i + 2] = name[i];
        }
        i += 1;
    }
    bytes
}

/// The flag of a field, as a constant.
macro_rules! flag_of {
    ($field:ident) => {{
        const BYTES: [u8; stringify!($field).len() + 2] = $crate::config::flag(stringify!($field));
        match std::str::from_utf8(&BYTES) {
            Ok(flag) => flag,
            Err(_) => panic!("a name in Rust is UTF-8"),
        }
    }};
}
pub(crate) use flag_of;

/// Generates structs of options: see the top of this file. Blocks, in this order:
///
/// ```text
/// nested { field: Struct as PartialStruct; }    another such struct, as an object in JSON
/// flat { field: Struct as PartialStruct; }      another such struct, its fields beside the others
/// flags "Heading" { rows }                      as often as needed
/// others { field: Type = default { … }; }       without a flag: not in the partial struct
/// partial "Heading" { field: Type, "VALUE" { … }; }  only in the partial struct
/// ```
macro_rules! config {
    (
        $(#[$full_meta:meta])* pub struct $full:ident;
        $(#[$partial_meta:meta])* pub struct $partial:ident stored $stored:ident;
        $(nested { $($(#[$nested_meta:meta])* $nested:ident: $nested_ty:ty as $nested_partial:ty;)* })?
        $(flat { $($(#[$flat_meta:meta])* $flat:ident: $flat_ty:ty as $flat_partial:ty;)* })?
        $(flags $heading:literal { $(
            $(#[doc = $doc:literal])* $(#[serde($($serde:tt)*)])*
            $field:ident: $ty:ty = $default:expr, $value:literal $({ $($key:ident: $entry:expr),* $(,)? })?;
        )* })*
        $(others { $(
            $(#[doc = $other_doc:literal])*
            $other:ident: $other_ty:ty = $other_default:expr
                $(, { $($other_key:ident: $other_entry:expr),* $(,)? })?;
        )* })?
        $(partial $also_heading:literal { $(
            $(#[doc = $also_doc:literal])*
            $also:ident: $also_ty:ty, $also_value:literal { $($also_key:ident: $also_entry:expr),* $(,)? };
        )* })?
    ) => {
        $(#[$full_meta])*
        pub struct $full {
            $($($(#[$nested_meta])* pub $nested: $nested_ty,)*)?
            $($($(#[$flat_meta])* pub $flat: $flat_ty,)*)?
            $($($(#[doc = $doc])* pub $field: $ty,)*)*
            $($($(#[doc = $other_doc])* pub $other: $other_ty,)*)?
        }

        $(#[$partial_meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $partial {
            $($($(#[$nested_meta])* pub $nested: $nested_partial,)*)?
            $($($(#[$flat_meta])* pub $flat: $flat_partial,)*)?
            $($($(#[doc = $doc])* pub $field: Option<$ty>,)*)*
            $($($(#[doc = $also_doc])* pub $also: Option<$also_ty>,)*)?
        }

        impl Default for $full {
            fn default() -> Self {
                Self {
                    $($($nested: Default::default(),)*)?
                    $($($flat: Default::default(),)*)?
                    $($($field: $default,)*)*
                    $($($other: $other_default,)*)?
                }
            }
        }

        impl $full {
            /// Checks every option separately.
            ///
            /// # Errors
            /// [`Error::Config`](crate::error::Error::Config) for a value that the option does not take.
            pub fn check_bounds(&self) -> $crate::error::Result<()> {
                let default = Self::default();
                $($(self.$nested.check_bounds()?;)*)?
                $($(self.$flat.check_bounds()?;)*)?
                $($(
                    if self.$field != default.$field {
                        $partial::$field.check(&self.$field)?;
                    }
                )*)*
                // Unused in a struct without options of its own.
                let _ = default;
                Ok(())
            }

            /// Writes its fields into an object of JSON.
            pub(crate) fn entries<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                use $crate::config::Stored;
                let default = Self::default();
                $($(map.serialize_entry(stringify!($nested), &self.$nested)?;)*)?
                $($(
                    if $partial::$field.stored != Stored::Changed || self.$field != default.$field {
                        map.serialize_entry(stringify!($field), &self.$field)?;
                    }
                )*)*
                $($(
                    if $partial::$other.stored != Stored::Changed || self.$other != default.$other {
                        map.serialize_entry(stringify!($other), &self.$other)?;
                    }
                )*)?
                $($(self.$flat.entries(map)?;)*)?
                let _ = default;
                Ok(())
            }
        }

        impl serde::Serialize for $full {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let mut map = to.serialize_map(None)?;
                self.entries(&mut map)?;
                serde::ser::SerializeMap::end(map)
            }
        }

        impl<'de> serde::Deserialize<'de> for $full {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                struct Read {
                    $($($nested: $nested_ty,)*)?
                    $($(#[serde(flatten)] $flat: $flat_ty,)*)?
                    $($($(#[serde($($serde)*)])* $field: Option<$ty>,)*)*
                    $($($other: Option<$other_ty>,)*)?
                }
                use $crate::config::or_default;
                let read = Read::deserialize(from)?;
                let default = Self::default();
                Ok(Self {
                    $($($nested: read.$nested,)*)?
                    $($($flat: read.$flat,)*)?
                    $($($field: or_default(read.$field, &$partial::$field, default.$field)?,)*)*
                    $($($other: or_default(read.$other, &$partial::$other, default.$other)?,)*)?
                })
            }
        }

        #[expect(non_upper_case_globals, reason = "constants that are named after their fields")]
        impl $partial {
            $($(
                const $field: $crate::config::Field = $crate::config::Field {
                    $($($key: $entry,)*)?
                    ..$crate::config::Field::new(
                        [stringify!($field), $crate::config::flag_of!($field)],
                        [$heading, $value],
                        &[$($doc),*],
                        |domain| <$ty as $crate::config::Value>::show(&$default, domain),
                        $crate::config::Stored::$stored,
                    )
                };
            )*)*
            $($(
                const $other: $crate::config::Field = $crate::config::Field {
                    $($($other_key: $other_entry,)*)?
                    ..$crate::config::Field::plain(
                        stringify!($other),
                        &[$($other_doc),*],
                        $crate::config::Stored::$stored,
                    )
                };
            )*)?
            $($(
                const $also: $crate::config::Field = $crate::config::Field {
                    $($also_key: $also_entry,)*
                    ..$crate::config::Field::new(
                        [stringify!($also), $crate::config::flag_of!($also)],
                        [$also_heading, $also_value],
                        &[$($also_doc),*],
                        |_| String::new(),
                        $crate::config::Stored::$stored,
                    )
                };
            )*)?
        }

        impl $partial {
            /// Its fields, and those of nested structs.
            #[must_use]
            pub fn fields() -> Vec<&'static $crate::config::Field> {
                let within: Vec<Vec<_>> = vec![
                    $($(<$nested_partial>::fields(),)*)?
                    $($(<$flat_partial>::fields(),)*)?
                ];
                let own: &[&'static $crate::config::Field] = &[
                    $($(&Self::$field,)*)*
                    $($(&Self::$other,)*)?
                    $($(&Self::$also,)*)?
                ];
                within.into_iter().flatten().chain(own.iter().copied()).collect()
            }

            /// Sets the option of this name to a value as typed; `None` if there is no such option.
            ///
            /// # Errors
            /// A description of valid values, if the value is invalid.
            pub fn set(&mut self, name: &str, text: &str) -> Option<Result<(), String>> {
                use $crate::config::Value;
                $($(if let Some(done) = self.$nested.set(name, text) {
                    return Some(done);
                })*)?
                $($(if let Some(done) = self.$flat.set(name, text) {
                    return Some(done);
                })*)?
                $($(if name == stringify!($field) {
                    let value = <$ty as Value>::read(text, Self::$field.domain);
                    return Some(value.map(|value| self.$field = Some(value)));
                })*)*
                $($(if name == stringify!($also) {
                    let value = <$also_ty as Value>::read(text, Self::$also.domain);
                    return Some(value.map(|value| self.$also = Some(value)));
                })*)?
                None
            }

            /// The options set here, then those of `other`.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self {
                    $($($nested: self.$nested.or(other.$nested),)*)?
                    $($($flat: self.$flat.or(other.$flat),)*)?
                    $($($field: self.$field.or(other.$field),)*)*
                    $($($also: self.$also.or(other.$also),)*)?
                }
            }

            /// Applies the options that are set to `base`.
            pub fn apply(&self, base: &mut $full) {
                $($(self.$nested.apply(&mut base.$nested);)*)?
                $($(self.$flat.apply(&mut base.$flat);)*)?
                $($(if let Some(value) = &self.$field {
                    base.$field = value.clone();
                })*)*
            }

            /// The first option whose set value differs from that of `base`.
            #[must_use]
            pub fn conflict(&self, base: &$full) -> Option<$crate::config::Conflict> {
                use $crate::config::{Conflict, Value};
                $($(if let found @ Some(_) = self.$nested.conflict(&base.$nested) {
                    return found;
                })*)?
                $($(if let found @ Some(_) = self.$flat.conflict(&base.$flat) {
                    return found;
                })*)?
                $($(if let Some(value) = self.$field.as_ref().filter(|value| **value != base.$field) {
                    let (field, domain) = (&Self::$field, Self::$field.domain);
                    let (set, has) = (value.show(domain), base.$field.show(domain));
                    return Some(Conflict { field, set, has });
                })*)*
                None
            }
        }

        #[cfg(feature = "cli")]
        impl clap::FromArgMatches for $partial {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self {
                    $($($nested: clap::FromArgMatches::from_arg_matches(matches)?,)*)?
                    $($($flat: clap::FromArgMatches::from_arg_matches(matches)?,)*)?
                    $($($field: matches.get_one::<$ty>(stringify!($field)).cloned(),)*)*
                    $($($also: matches.get_one::<$also_ty>(stringify!($also)).cloned(),)*)?
                })
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?.or(std::mem::take(self));
                Ok(())
            }
        }

        #[cfg(feature = "cli")]
        impl clap::Args for $partial {
            fn augment_args(command: clap::Command) -> clap::Command {
                use $crate::cli::options::arg;
                $($(let command = <$nested_partial>::augment_args(command);)*)?
                $($(let command = <$flat_partial>::augment_args(command);)*)?
                $($(let command = command.arg(arg::<$ty>(&Self::$field));)*)*
                $($(let command = command.arg(arg::<$also_ty>(&Self::$also));)*)?
                command
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }
    };
}
pub(crate) use config;

#[cfg(test)]
mod tests;
