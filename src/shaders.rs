//! The kernel templates in `shaders/`, and how they are rendered to WGSL.
//!
//! A template is WGSL with minijinja's `{{ value }}`, `{% if %}`, `{% for %}` and
//! `{% include "lib/math.wgsl" %}`. A name that the context does not define is an error, and a
//! float becomes a WGSL literal of exactly its `f32`. Binding numbers stay in the WGSL: Rust finds
//! bindings by name ([`reflect`]). `of.x` is the type in which binding `x` keeps its floats, `f32`
//! unless the context says `f16`; kernels convert what they load and store, and compute in `f32`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Object;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use crate::error::{Error, Result};

mod reflect;

pub use reflect::{Binding, Reflection, reflect};

/// The folder `shaders/`, as of compile time.
static FOLDER: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/shaders");

/// Every file in `shaders/`: its text by its path without the ending. Kernels have no slash in
/// their name; shared includes are under `lib/`.
static FILES: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let mut files = BTreeMap::new();
    add(&FOLDER, &mut files);
    files
});

/// Adds the files of a folder and of those in it.
fn add(folder: &'static Dir<'static>, files: &mut BTreeMap<String, &'static str>) {
    for file in folder.files() {
        let stem = file.path().with_extension("");
        let parts: Vec<_> = stem.iter().map(|part| part.to_string_lossy()).collect();
        files.insert(parts.join("/"), file.contents_utf8().expect("WGSL is text"));
    }
    folder.dirs().for_each(|folder| add(folder, files));
}

/// Every file in `shaders/`: its path without the ending, and its text, in order.
pub(crate) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().map(|(stem, text)| (stem.as_str(), *text))
}

/// All templates, ready to render.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()
            .expect("the usual delimiters differ from each other"),
    );
    // Keeps the source range of an error, which locates the undefined name.
    templates.set_debug(true);
    templates.set_loader(|name| {
        let file = name.strip_suffix(".wgsl").and_then(|stem| FILES.get(stem));
        Ok(file.map(|text| (*text).to_owned()))
    });
    templates.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(ErrorKind::UndefinedError.into());
        }
        if value.is_number() && !value.is_integer() {
            let number = f64::try_from(value.clone())? as f32;
            out.write_str(&wgsl_f32(number).map_err(|what| {
                minijinja::Error::new(ErrorKind::InvalidOperation, what.to_string())
            })?)?;
            return Ok(());
        }
        write!(out, "{value}")?;
        Ok(())
    });
    templates.add_global(OF, Value::from_object(AllF32));
    templates
});

/// The variable that holds, for each binding, the type of its floats.
const OF: &str = "of";

/// `f32` for every binding.
#[derive(Debug)]
struct AllF32;

impl Object for AllF32 {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from("f32"))
    }
}

/// The header that a kernel needs if a binding stores 16-bit floats.
fn directives(context: &Value) -> &'static str {
    let of = context.get_attr(OF).unwrap_or_default();
    let mut names = of.try_iter().into_iter().flatten();
    let half = names.any(|name| of.get_item(&name).is_ok_and(|of| of.as_str() == Some("f16")));
    if half { "enable f16;\n" } else { "" }
}

/// The sizes passed with a dispatch whose template has the variables `context`: the second of each
/// pair in its list `sizes`, if any.
pub(crate) fn immediates(context: &minijinja::Value) -> Vec<u32> {
    let pairs = context.get_attr("sizes").and_then(|sizes| sizes.try_iter());
    let number = |pair: minijinja::Value| u32::try_from(pair.get_item_by_index(1).ok()?).ok();
    pairs.into_iter().flatten().filter_map(number).collect()
}

/// The template `shaders/<stem>.wgsl` with its variables filled in.
///
/// # Errors
/// [`Error::Shader`] if there is no such template, or it names a variable that `context` lacks.
pub fn render(stem: &str, context: &Value) -> Result<String> {
    TEMPLATES
        .get_template(&format!("{stem}.wgsl"))
        .and_then(|template| template.render(context.clone()))
        .map(|source| format!("{}{source}", directives(context)))
        .map_err(|error| template_error(stem, &error))
}

/// A float as the WGSL literal of exactly that value.
///
/// # Errors
/// [`Error::Shader`] for infinities and NaN, which have no WGSL literals.
fn wgsl_f32(number: f32) -> Result<String> {
    if !number.is_finite() {
        return Err(Error::Shader {
            kernel: "template".into(),
            what: format!("{number} cannot be written in WGSL"),
        });
    }
    // Rust prints the shortest decimal that reads back as the same f32, with a point or an exponent.
    let literal = match number.abs() == f32::MAX {
        // Except for this one, 3.4028235e38, which WGSL forbids before rounding.
        true => format!("{}3.4028234e38f", if number > 0.0 { "" } else { "-" }),
        false => format!("{number:?}f"),
    };
    // In brackets, or `a -1.0f` would read as a difference.
    Ok(if number.is_sign_negative() { format!("({literal})") } else { literal })
}

/// The error in a template, innermost include first, with the text where it occurred.
fn template_error(kernel: &str, error: &minijinja::Error) -> Error {
    let mut inner = error;
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<minijinja::Error>() {
            inner = cause;
        }
        next = cause.source();
    }
    let mut what = format!("template: {}", inner.kind());
    if let Some(detail) = inner.detail() {
        what += &format!(": {detail}");
    }
    if let Some(text) = inner.range().and_then(|range| inner.template_source()?.get(range)) {
        what += &format!(" at `{text}`");
    }
    if let (Some(name), Some(line)) = (inner.name(), inner.line()) {
        what += &format!(" ({name}, line {line})");
    }
    Error::Shader { kernel: kernel.to_owned(), what }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use minijinja::context;

    use super::*;

    /// A template that is not a file, with its variables filled in.
    fn render_str(name: &str, source: &str, context: &Value) -> Result<String> {
        TEMPLATES
            .render_named_str(name, source, context.clone())
            .map_err(|error| template_error(name, &error))
    }

    #[test]
    fn floats_are_written_exactly() {
        for number in [0.0, -0.0, 1.0, 0.1, -0.2, 1e-8, 1e-40, 16_777_217.0, f32::MAX, f32::MIN] {
            let rendered = render_str("test", "{{ x }}", &context! { x => number }).unwrap();
            assert_eq!(rendered, wgsl_f32(number).unwrap());
            let digits = rendered.trim_matches(['(', ')', 'f']);
            assert_eq!(digits.parse::<f32>().unwrap().to_bits(), number.to_bits(), "{rendered}");
            // WGSL forbids a literal out of range, even if it would be rounded back.
            assert!(digits.parse::<f64>().unwrap().abs() <= f64::from(f32::MAX), "{rendered}");
            let source = format!("fn f() -> f32 {{ return {rendered}; }}");
            let module = naga::front::wgsl::parse_str(&source).unwrap();
            let literal = module.functions.iter().next().unwrap().1;
            let same = literal.expressions.iter().any(|(_, e)| {
                matches!(e, naga::Expression::Literal(naga::Literal::F32(v)) if v.to_bits() == number.to_bits())
            });
            assert!(same, "{rendered}");
        }
        for number in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let error = render_str("test", "{{ x }}", &context! { x => number }).unwrap_err();
            assert!(error.to_string().contains("cannot be written in WGSL"), "{error}");
        }
        assert_eq!(render_str("test", "{{ 7 }}u", &context! {}).unwrap(), "7u");
    }

    #[test]
    fn undefined_names_are_errors() {
        let context = context! { stream => 1, kind => "uniform" };
        let error = render("random", &context).unwrap_err().to_string();
        assert!(error.contains("kernel random"), "{error}");
        assert!(error.contains("`len") && error.contains("line"), "{error}");
        let error = render_str("test", "{% if x %}{% endif %}", &context).unwrap_err().to_string();
        assert!(error.contains("kernel test") && error.contains("line 1"), "{error}");
        let error = render("no_such_kernel", &context).unwrap_err().to_string();
        assert!(error.contains("no_such_kernel"), "{error}");
    }

    #[test]
    fn blocks_leave_no_empty_lines() {
        let source = "a\n  {% if true %}\nb\n  {% endif %}\nc\n";
        assert_eq!(render_str("test", source, &context! {}).unwrap(), "a\nb\nc\n");
    }
}
