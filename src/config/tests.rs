#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(unreachable_pub, reason = "what `config!` makes is public")]

use serde::{Deserialize, Serialize};

use super::Stored::{Always, Required};
use super::*;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Color {
    #[default]
    Blue,
    DarkRed,
}
named!(Color);

config! {
    /// What is within.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Inner;
    /// [`Inner`] as far as it is set.
    pub struct InnerOptions stored Changed;
    flags "Colors" {
        /// Which color
        color: Color = Color::DarkRed, "COLOR";
        /// How strong,
        /// with `color`
        ///
        /// More on that.
        strength: f32 = 1e-8, "X" { domain: Domain::Positive("1e-8"), stored: Always };
    }
    others {
        /// Names.
        names: Vec<String> = Vec::new();
    }
}

config! {
    /// What is outside.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Outer;
    /// [`Outer`] as far as it is set.
    pub struct OuterOptions stored Changed;
    nested {
        /// As an object.
        inner: Inner as InnerOptions;
    }
    flags "Counts" {
        /// How many
        of_all: usize = 3, "N" { domain: Domain::Whole(1, 9), stored: Required };
        /// Seen so far
        seen: u64 = 10_000, "COUNT" { domain: Domain::Count };
        /// Whether
        on: bool = false, "true|false" { flag: Some("--switched-on") };
    }
}

#[test]
fn what_is_at_its_default_is_left_out_of_json_and_read_again() {
    let json = serde_json::to_string(&Outer::default()).unwrap();
    assert_eq!(json, r#"{"inner":{"strength":1e-8},"of_all":3}"#);
    let inner = Inner { color: Color::Blue, strength: 0.5, names: vec!["a".into()] };
    let outer = Outer { inner, of_all: 9, seen: 0, on: true };
    let json = serde_json::to_string(&outer).unwrap();
    let all =
        r#"{"inner":{"color":"blue","strength":0.5,"names":["a"]},"of_all":9,"seen":0,"on":true}"#;
    assert_eq!(json, all);
    assert_eq!(serde_json::from_str::<Outer>(&json).unwrap(), outer);
    let least = r#"{"inner":{},"of_all":3,"unknown":0}"#;
    assert_eq!(serde_json::from_str::<Outer>(least).unwrap(), Outer::default());
    for lacking in [r#"{"inner":{}}"#, r#"{"of_all":3}"#] {
        let error = serde_json::from_str::<Outer>(lacking).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
    }
}

#[test]
fn options_are_set_by_name_laid_over_one_another_and_compared() {
    let mut options = OuterOptions::default();
    for (name, text) in [("of_all", "5"), ("color", "blue"), ("seen", "20k"), ("on", "true")] {
        options.set(name, text).unwrap().unwrap();
    }
    assert!(options.set("off", "true").is_none() && options.set("names", "a").is_none());
    for (name, text, needed) in [
        ("of_all", "10", "from 1 to 9"),
        ("color", "green", "dark-red"),
        ("strength", "0", "1e-8"),
        ("seen", "-1", "negative"),
    ] {
        let wrong = options.set(name, text).unwrap().unwrap_err();
        assert!(wrong.contains(needed), "{wrong}");
    }
    let preset = OuterOptions { of_all: Some(7), seen: Some(0), ..OuterOptions::default() };
    let mut whole = Outer::default();
    options.clone().or(preset).apply(&mut whole);
    assert_eq!((whole.of_all, whole.seen, whole.on), (5, 20_000, true));
    assert_eq!((whole.inner.color, whole.inner.strength), (Color::Blue, 1e-8));

    assert!(options.conflict(&whole).is_none());
    whole.inner.color = Color::DarkRed;
    let Conflict { field, set, has } = options.conflict(&whole).unwrap();
    assert_eq!((field.name, &*set, &*has), ("color", "blue", "dark-red"));
    whole.inner.color = Color::Blue;
    whole.seen = 10_000;
    let Conflict { field, set, has } = options.conflict(&whole).unwrap();
    assert_eq!((field.name, &*set, &*has), ("seen", "20k", "10k"));
}

#[test]
fn a_value_that_an_option_does_not_take_is_an_error_that_names_it() {
    assert!(Outer::default().check_bounds().is_ok());
    let refused = |outer: Outer| match outer.check_bounds() {
        Err(Error::Config { field, what }) => (field, what),
        other => panic!("{other:?}"),
    };
    let (field, what) = refused(Outer { of_all: 10, ..Outer::default() });
    assert_eq!((field, &*what), ("of_all", "10: a whole number from 1 to 9 is needed"));
    for strength in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let inner = Inner { strength, ..Inner::default() };
        assert_eq!(refused(Outer { inner, ..Outer::default() }).0, "strength");
    }
}

#[test]
fn a_table_says_what_every_field_is() {
    let fields = OuterOptions::fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    assert_eq!(names, ["color", "strength", "names", "of_all", "seen", "on"]);
    let flags: Vec<Option<&str>> = fields.iter().map(|field| field.flag).collect();
    let (color, strength) = (Some("--color"), Some("--strength"));
    assert_eq!(
        flags,
        [color, strength, None, Some("--of-all"), Some("--seen"), Some("--switched-on")]
    );
    let help: Vec<String> = fields.iter().map(|field| field.help()).collect();
    assert_eq!(help[0], "Which color [default: dark-red]");
    assert_eq!(help[1], "How strong, with `color` [default: 1e-8]");
    assert_eq!(help[4], "Seen so far [default: 10k]");
}

#[cfg(feature = "cli")]
#[test]
fn a_row_is_a_flag() {
    use clap::{Args as _, FromArgMatches as _};

    let command = || OuterOptions::augment_args(clap::Command::new("test"));
    command().debug_assert();
    let parse = |words: &[&str]| {
        let words = [&["test"], words].concat();
        let matches = command().try_get_matches_from(words)?;
        OuterOptions::from_arg_matches(&matches)
    };
    let inner = InnerOptions { color: Some(Color::DarkRed), ..InnerOptions::default() };
    let seen = Some(10_000);
    let wanted = OuterOptions { inner, seen, on: Some(true), ..OuterOptions::default() };
    assert_eq!(parse(&["--color", "dark-red", "--seen=10k", "--switched-on"]).unwrap(), wanted);
    assert_eq!(parse(&["--switched-on=false"]).unwrap().on, Some(false));
    assert_eq!(parse(&[]).unwrap(), OuterOptions::default());
    for words in [["--of-all", "0"], ["--color", "green"], ["--strength", "nan"], ["--on", "true"]]
    {
        assert!(parse(&words).is_err(), "{words:?}");
    }
}
