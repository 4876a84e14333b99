//! The library's options as flags: their help, and how texts that name them are spelled here.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use clap::{Arg, ArgAction, CommandFactory as _};

use crate::config::{Field, Value};
use crate::error::Error;
use crate::train::listing::fields;

use super::Cli;

/// The flag of an option.
pub(crate) fn arg<T: Value>(field: &'static Field) -> Arg {
    let mut arg = Arg::new(field.name)
        .value_name(field.value)
        .help(spelled(&field.brief(), own_flag))
        .long_help(spelled(&field.help(), own_flag))
        .help_heading(field.heading)
        .value_parser(T::parser(field.domain))
        .action(ArgAction::Set)
        .hide_possible_values(true)
        .hide(field.hidden)
        .hide_short_help(field.rare);
    if let Some(long) = field.flag.and_then(|flag| flag.strip_prefix("--")) {
        arg = arg.long(long);
    }
    if let Some(alias) = field.alias {
        arg = arg.visible_alias(alias);
    }
    if let Some(order) = field.order {
        arg = arg.display_order(order);
    }
    match T::ALONE {
        Some(value) => arg.num_args(0..=1).require_equals(true).default_missing_value(value),
        None => arg,
    }
}

/// An error's message, with flags for options.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::Config { field, what } => format!("{}: {}", flag(field), spell(what)),
        Error::File { path, what }
        | Error::Damaged { path, what }
        | Error::Changed { path, what } => {
            format!("{}: {}", path.display(), spell(what))
        }
        other => spell(&other.to_string()),
    }
}

/// A text of the library, with flags for options.
pub(super) fn spell(text: &str) -> String {
    spelled(text, any_flag)
}

/// The flag of an option, by the option's name.
pub(super) fn flag(name: &'static str) -> &'static str {
    any_flag(name).unwrap_or(name)
}

/// The flag of a training option.
fn own_flag(name: &str) -> Option<&'static str> {
    static FLAGS: OnceLock<BTreeMap<&'static str, &'static str>> = OnceLock::new();
    let flags = FLAGS.get_or_init(|| {
        fields().iter().filter_map(|field| Some((field.name, field.flag?))).collect()
    });
    flags.get(name).copied()
}

/// The flag of that name, of any command.
fn any_flag(name: &str) -> Option<&'static str> {
    static FLAGS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    own_flag(name).or_else(|| {
        let flags = FLAGS.get_or_init(|| {
            let command = Cli::command();
            let longs = command.get_subcommands().flat_map(|command| command.get_arguments());
            let longs = longs.filter_map(|arg| arg.get_long());
            longs.map(|long| (long.replace('-', "_"), format!("--{long}"))).collect()
        });
        flags.get(name).map(String::as_str)
    })
}

/// `text` with the flag for each option that is named in backticks.
fn spelled(text: &str, flag: impl Fn(&str) -> Option<&'static str>) -> String {
    let (mut spelled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('`') {
        let named = after.split_once('`').and_then(|(name, after)| Some((flag(name)?, after)));
        let (is, then) = named.unwrap_or(("`", after));
        spelled += before;
        spelled += is;
        rest = then;
    }
    spelled + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Field;

    #[test]
    fn options_in_texts_are_spelled_as_flags() {
        let shown = |error: Error| message(&error);
        for (error, wanted) in [
            (
                Error::config("norm_d", "`norm_d` none, `n_critic`"),
                "--norm-d: --norm-d none, --n-critic",
            ),
            (Error::config("filter", "leave `filter` out"), "--resize: leave --resize out"),
            (Error::config("classes", "`conditioning`=x"), "--conditional: --conditional=x"),
            (Error::config("per_class", "`lists`"), "--per-class: `lists`"),
            (Error::Memory("lower `batch` or `grid`".into()), "lower --batch or --grid"),
            (Error::file("a`size`b", "`size`"), "a`size`b: --size"),
            (Error::Lost("a ` b `size".into()), "a ` b `size"),
        ] {
            assert_eq!(shown(error), wanted);
        }
    }

    /// Every option of a training is a flag of `dcgan train`, with its help, its default and nothing
    /// in backticks; no two have one name.
    #[test]
    fn every_option_is_a_flag_of_train() {
        let mut command = Cli::command();
        let train = command.find_subcommand_mut("train").expect("a command").clone();
        let fields: Vec<&Field> = fields();
        let mut names = BTreeSet::new();
        let mut shown = 0;
        for field in fields.into_iter().filter(|field| !field.heading.is_empty()) {
            assert!(names.insert(field.name), "{} is there twice", field.name);
            let arg = train.get_arguments().find(|arg| arg.get_id() == field.name);
            let arg = arg.unwrap_or_else(|| panic!("{} is no flag", field.name));
            let long = arg.get_long().map(|long| format!("--{long}"));
            assert_eq!(long.as_deref(), field.flag);
            assert_eq!(arg.get_help_heading(), Some(field.heading));
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("[default: ") && !help.contains('`'), "{help}");
            shown += 1;
        }
        assert!(shown > 40, "{shown}");
    }
}
