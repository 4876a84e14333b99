//! Reflection of a rendered kernel: its bindings, its workgroup, and whether it follows the rules
//! that make it portable.

use naga::proc::GlobalCtx;
use naga::valid::{Capabilities, FunctionInfo, ValidationFlags, Validator};
use naga::{AddressSpace, BinaryOperator, Expression, MathFunction, ScalarKind, StorageAccess};

use crate::error::{Error, Result};

/// Functions of `shaders/lib/math.wgsl` that may call what [`BANNED`] names.
const SAFE: [&str; 4] = ["safe_tanh", "safe_tanh4", "safe_exp", "safe_exp4"];

/// Built-in functions whose results differ too much between drivers, and their replacements.
const BANNED: [(MathFunction, &str, &str); 8] = [
    (MathFunction::Tanh, "tanh", "safe_tanh"),
    (MathFunction::Exp, "exp", "safe_exp"),
    (MathFunction::Exp2, "exp2", "safe_exp"),
    (MathFunction::Log, "log", "safe_log"),
    (MathFunction::Log2, "log2", "safe_log"),
    (MathFunction::Sin, "sin", "sin_cos_of_turns"),
    (MathFunction::Cos, "cos", "sin_cos_of_turns"),
    (MathFunction::Pow, "pow", "a product, or a power computed on the host"),
];

/// One storage buffer of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// Its `@binding` in group 0.
    pub slot: u32,
    /// Whether it is `read_write`.
    pub writes: bool,
}

/// The reflected interface of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// Its storage buffers, in order of their slots.
    pub bindings: Vec<Binding>,
    /// Its `@workgroup_size`.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Bytes of immediate data, passed with a dispatch.
    pub immediate_bytes: u32,
}

/// Parses, validates and lints a rendered kernel with the entry point `main`. `subgroups` tells
/// whether subgroup operations may be used.
///
/// # Errors
/// [`Error::Shader`] with the compiler's message against the numbered lines of `source`.
pub fn reflect(kernel: &str, source: &str, subgroups: bool) -> Result<Reflection> {
    let fail = |what: String| Error::Shader { kernel: kernel.to_owned(), what };
    let path = format!("{kernel}.wgsl");
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| fail(error.emit_to_string_with_path(source, &path)))?;
    let mut capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16;
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| fail(error.emit_to_string_with_path(source, &path)))?;

    let entry = match module.entry_points.as_slice() {
        [entry] if entry.name == "main" && entry.stage == naga::ShaderStage::Compute => entry,
        _ => return Err(fail("has no @compute entry point `main`, or more than one".into())),
    };
    for (handle, function) in module.functions.iter() {
        lint(&module, function, &info[handle]).map_err(fail)?;
    }
    lint(&module, &entry.function, info.get_entry_point(0)).map_err(fail)?;

    let mut bindings = Vec::new();
    let (mut workgroup_bytes, mut immediate_bytes) = (0, 0);
    for (_, variable) in module.global_variables.iter() {
        let size = |variable: &naga::GlobalVariable| {
            module.types[variable.ty].inner.size(GlobalCtx {
                types: &module.types,
                constants: &module.constants,
                overrides: &module.overrides,
                global_expressions: &module.global_expressions,
            })
        };
        let name = variable.name.clone().unwrap_or_default();
        match (variable.space, &variable.binding) {
            (AddressSpace::Storage { access }, Some(place)) if place.group == 0 => {
                let writes = access.contains(StorageAccess::STORE);
                bindings.push(Binding { name, slot: place.binding, writes });
            }
            (AddressSpace::WorkGroup, _) => {
                workgroup_bytes += size(variable).next_multiple_of(16);
            }
            (AddressSpace::Immediate, _) => immediate_bytes += size(variable),
            (AddressSpace::Private, _) => {}
            _ => return Err(fail(format!("`{name}` is not a storage buffer of group 0"))),
        }
    }
    bindings.sort_by_key(|binding| binding.slot);
    let workgroup_size = entry.workgroup_size;
    Ok(Reflection { bindings, workgroup_size, workgroup_bytes, immediate_bytes })
}

/// Whether a function follows the rules for kernels.
fn lint(
    module: &naga::Module,
    function: &naga::Function,
    info: &FunctionInfo,
) -> Result<(), String> {
    let name = function.name.as_deref().unwrap_or("main");
    for (_, expression) in function.expressions.iter() {
        match *expression {
            Expression::Math { fun, .. } if !SAFE.contains(&name) => {
                if let Some((_, builtin, instead)) = BANNED.iter().find(|ban| ban.0 == fun) {
                    return Err(format!(
                        "`{name}` calls the built-in `{builtin}`, which differs between drivers: \
                         use {instead}"
                    ));
                }
            }
            Expression::Binary {
                op: BinaryOperator::Divide | BinaryOperator::Modulo,
                left,
                ..
            } => {
                let kind = info[left].ty.inner_with(&module.types).scalar_kind();
                if kind == Some(ScalarKind::Sint) {
                    return Err(format!(
                        "`{name}` divides signed integers, which is slow and was wrong on some \
                         drivers: use u32"
                    ));
                }
            }
            Expression::AtomicResult { .. } => {
                let float = function.expressions.iter().any(|(handle, e)| {
                    matches!(e, Expression::AtomicResult { .. })
                        && info[handle].ty.inner_with(&module.types).scalar_kind()
                            == Some(ScalarKind::Float)
                });
                if float {
                    return Err(format!(
                        "`{name}` uses float atomics, whose sums depend on the order"
                    ));
                }
            }
            Expression::WorkGroupUniformLoadResult { .. } => {
                return Err(format!(
                    "`{name}` uses workgroupUniformLoad, which is miscompiled for Metal"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const HEAD: &str = "@group(0) @binding(3) var<storage, read_write> y: array<f32>;\n\
         @group(0) @binding(1) var<storage, read> x: array<f32>;\n\
         var<workgroup> tile: array<vec4<f32>, 8>;\n";

    fn kernel(body: &str) -> String {
        format!("{HEAD}@compute @workgroup_size(8, 4) fn main() {{ {body} }}\n")
    }

    #[test]
    fn bindings_are_found_by_name() {
        let found = reflect("k", &kernel("y[0] = x[0] + tile[0].x;"), false).unwrap();
        let x = Binding { name: "x".into(), slot: 1, writes: false };
        let y = Binding { name: "y".into(), slot: 3, writes: true };
        assert_eq!(found.bindings, [x, y]);
        assert_eq!(found.workgroup_size, [8, 4, 1]);
        assert_eq!(found.workgroup_bytes, 128);
    }

    #[test]
    fn errors_show_the_line() {
        for (body, part) in [("y[0] = z;", "z"), ("y[0] = 1u;", "y"), ("return }", "}")] {
            let error = reflect("k", &kernel(body), false).unwrap_err().to_string();
            assert!(error.contains("kernel k") && error.contains("k.wgsl:4"), "{error}");
            assert!(error.contains(part), "{error}");
        }
        let no_main = reflect("k", HEAD, false).unwrap_err().to_string();
        assert!(no_main.contains("main"), "{no_main}");
    }

    #[test]
    fn the_rules_are_kept() {
        for (body, part) in [
            ("y[0] = tanh(x[0]);", "safe_tanh"),
            ("y[0] = log(x[0]);", "safe_log"),
            ("y[0] = cos(x[0]);", "sin_cos_of_turns"),
            ("y[0] = exp(x[0]);", "safe_exp"),
            ("y[0] = exp2(x[0]);", "safe_exp"),
            ("y[0] = pow(x[0], 2.5);", "product"),
            ("y[0] = f32(i32(x[0]) / 3);", "u32"),
            ("y[0] = f32((vec4<i32>(i32(x[0])) % vec4<i32>(3)).x);", "u32"),
            ("y[0] = workgroupUniformLoad(&tile).x;", "Metal"),
        ] {
            let body = body.replace("(&tile).x", "(&tile)[0].x");
            let error = reflect("k", &kernel(&body), false).unwrap_err().to_string();
            assert!(error.contains(part), "{body}: {error}");
        }
        let twice = "fn safe_tanh(v: f32) -> f32 { return tanh(clamp(v, -15.0, 15.0)); }\n";
        let source = format!("{twice}{}", kernel("y[0] = safe_tanh(x[0]) + f32(u32(x[0]) / 3u);"));
        reflect("k", &source, false).unwrap();
    }

    #[test]
    fn subgroups_only_where_allowed() {
        let source = kernel("y[0] = subgroupAdd(x[0]);");
        assert!(reflect("k", &source, false).is_err());
        reflect("k", &source, true).unwrap();
    }
}
