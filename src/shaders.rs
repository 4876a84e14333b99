//! The kernel templates of `shaders/`, and how they become WGSL.
//!
//! A template is WGSL with minijinja's `{{ value }}`, `{% if %}`, `{% for %}` and
//! `{% include "lib/math.wgsl" %}`. A name that the context does not define is an error, and a
//! float becomes a WGSL literal of exactly its `f32`. Binding numbers stay in the WGSL: Rust finds
//! bindings by name ([`reflect`]). `of.x` is the type in which binding `x` keeps its floats, `f32`
//! unless the context says `f16`; kernels convert what they load and store, and compute in `f32`.

use std::sync::{Arc, LazyLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Object;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use crate::error::{Error, Result};

mod reflect;

pub use reflect::{Binding, Reflection, reflect};

/// Names every file of `shaders/` once.
macro_rules! files {
    ($($stem:literal),* $(,)?) => {
        &[$(($stem, include_str!(concat!("../shaders/", $stem, ".wgsl")))),*]
    };
}

/// Every file of `shaders/`: its path without the ending, and its text. Kernels have no slash in
/// their name; what several include stands under `lib/`.
pub const FILES: &[(&str, &str)] = files! {
    "abs",
    "add",
    "advance",
    "affine",
    "append",
    "broadcast_to",
    "canary",
    "centered_sums",
    "check_math",
    "choose",
    "clamp",
    "clamp_grad",
    "conv2d",
    "conv_transpose2d",
    "conv_weight_grad",
    "div",
    "elementwise",
    "exp",
    "fill",
    "filter_in",
    "filter_out",
    "finite",
    "from_u8",
    "gather",
    "greater",
    "leaky_relu",
    "leaky_relu_grad",
    "lib/both",
    "lib/index",
    "lib/math",
    "lib/operands",
    "lib/philox",
    "lib/picture",
    "lib/sizes",
    "lib/square",
    "lib/steps",
    "lib/tile_registers",
    "lib/tile_subgroup",
    "lib/tile_workgroup",
    "log",
    "matmul",
    "max_pool",
    "maximum",
    "minimum",
    "moments",
    "mul",
    "normalize",
    "one_minus_exp",
    "peak_fma",
    "random",
    "recip",
    "shift",
    "sigmoid",
    "sign",
    "softmax",
    "softmax_rows",
    "softplus",
    "sqrt",
    "sub",
    "sum",
    "sum_each",
    "sum_partials",
    "tanh",
};

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
    // Keeps the source range of an error, which is where the undefined name stands.
    templates.set_debug(true);
    templates.set_loader(|name| {
        let file = name.strip_suffix(".wgsl").and_then(template);
        Ok(file.map(str::to_owned))
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

/// `f32` whatever binding is asked for.
#[derive(Debug)]
struct AllF32;

impl Object for AllF32 {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from("f32"))
    }
}

/// What a kernel has to begin with where a binding keeps 16-bit floats.
fn directives(context: &Value) -> &'static str {
    let of = context.get_attr(OF).unwrap_or_default();
    let mut names = of.try_iter().into_iter().flatten();
    let half = names.any(|name| of.get_item(&name).is_ok_and(|of| of.as_str() == Some("f16")));
    if half { "enable f16;\n" } else { "" }
}

/// The text of `shaders/<stem>.wgsl`.
#[must_use]
pub fn template(stem: &str) -> Option<&'static str> {
    FILES.iter().find(|file| file.0 == stem).map(|file| file.1)
}

/// The numbers that come with a dispatch whose template has the variables `context`: the second of
/// each pair in its list `sizes`, if it has one.
pub(crate) fn immediates(context: &minijinja::Value) -> Vec<u32> {
    let pairs = context.get_attr("sizes").and_then(|sizes| sizes.try_iter());
    let number = |pair: minijinja::Value| u32::try_from(pair.get_item_by_index(1).ok()?).ok();
    pairs.into_iter().flatten().filter_map(number).collect()
}

/// The template `shaders/<stem>.wgsl` with its variables filled in.
///
/// # Errors
/// [`Error::Shader`] where there is no such template, or it names a variable that `context` lacks.
pub fn render(stem: &str, context: &Value) -> Result<String> {
    TEMPLATES
        .get_template(&format!("{stem}.wgsl"))
        .and_then(|template| template.render(context.clone()))
        .map(|source| format!("{}{source}", directives(context)))
        .map_err(|error| template_error(stem, &error))
}

/// A template that is no file, with its variables filled in; `name` is for error messages.
///
/// # Errors
/// [`Error::Shader`] where it is malformed or names a variable that `context` lacks.
pub fn render_str(name: &str, source: &str, context: &Value) -> Result<String> {
    TEMPLATES
        .render_named_str(name, source, context.clone())
        .map_err(|error| template_error(name, &error))
}

/// A float as the WGSL literal of exactly that number.
///
/// # Errors
/// [`Error::Shader`] for infinities and NaN, which WGSL has no literals for.
pub fn wgsl_f32(number: f32) -> Result<String> {
    if !number.is_finite() {
        return Err(Error::Shader {
            kernel: "template".into(),
            what: format!("{number} cannot be written in WGSL"),
        });
    }
    // Rust prints the shortest decimal that reads back as the same f32, with a point or an exponent.
    let literal = match number.abs() == f32::MAX {
        // But this one's, 3.4028235e38, lies beyond it, which WGSL forbids before it is rounded.
        true => format!("{}3.4028234e38f", if number > 0.0 { "" } else { "-" }),
        false => format!("{number:?}f"),
    };
    // In brackets, or `a -1.0f` would read as a difference.
    Ok(if number.is_sign_negative() { format!("({literal})") } else { literal })
}

/// What went wrong in a template, innermost include first, with the text it went wrong at.
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

    use std::collections::BTreeSet;
    use std::path::Path;

    use minijinja::context;

    use super::*;

    /// The stems under a folder of `shaders/`.
    fn stems(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                stems(&path, &format!("{prefix}{stem}/"), found);
            } else {
                assert_eq!(path.extension().unwrap(), "wgsl", "{}", path.display());
                found.insert(format!("{prefix}{stem}"));
            }
        }
    }

    #[test]
    fn the_table_lists_every_file() {
        let mut on_disk = BTreeSet::new();
        stems(&Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders"), "", &mut on_disk);
        let listed: BTreeSet<String> = FILES.iter().map(|file| file.0.to_owned()).collect();
        assert_eq!(listed, on_disk);
        assert_eq!(listed.len(), FILES.len(), "a stem is listed twice");
        assert!(FILES.is_sorted_by_key(|file| file.0), "keep the table in order");
    }

    #[test]
    fn floats_are_written_exactly() {
        for number in [0.0, -0.0, 1.0, 0.1, -0.2, 1e-8, 1e-40, 16_777_217.0, f32::MAX, f32::MIN] {
            let rendered = render_str("test", "{{ x }}", &context! { x => number }).unwrap();
            assert_eq!(rendered, wgsl_f32(number).unwrap());
            let digits = rendered.trim_matches(['(', ')', 'f']);
            assert_eq!(digits.parse::<f32>().unwrap().to_bits(), number.to_bits(), "{rendered}");
            // WGSL forbids a literal that lies outside, even if it would be rounded back.
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
