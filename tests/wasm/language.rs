//! What WGSL says of numbers, variables and control flow, by small kernels.

use dcgan::web::wasm::compile;
use wasmi::{Engine, Linker, Memory, MemoryType, Module, Store, Val};

/// Where the buffers start.
const X: usize = 64;
const Y: usize = 1024;

/// What the body of a kernel writes into its `y`, an array of integers, for these values of `x`. It sees
/// `lane`, the number of the invocation, of which there are `lanes`.
fn run(functions: &str, body: &str, lanes: u32, x: &[u32]) -> Vec<u32> {
    let source = format!(
        "@group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        {functions}
        @compute @workgroup_size({lanes})
        fn main(@builtin(local_invocation_index) lane: u32) {{ {body} }}"
    );
    run_source(&source, [1, 1, 1], x)
}

fn run_source(source: &str, groups: [u32; 3], x: &[u32]) -> Vec<u32> {
    let module = compile(&[source]).unwrap_or_else(|error| panic!("{error}"));
    let engine = Engine::default();
    let module = Module::new(&engine, &module).unwrap();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    memory.data_mut(&mut store)[X..X + bytes.len()].copy_from_slice(&bytes);
    let mut linker = Linker::new(&engine);
    linker.define("env", "memory", memory).unwrap();
    let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
    let function = instance.get_func(&store, "k0").unwrap();
    let count: u32 = groups.iter().product();
    let args = [X as u32, Y as u32, groups[0], groups[1], groups[2], 0, count];
    let args = args.map(|arg| Val::I32(arg as i32));
    function.call(&mut store, &args, &mut []).unwrap();
    bytemuck::pod_collect_to_vec(&memory.data(&store)[Y..])
}

#[track_caller]
fn check(functions: &str, body: &str, x: &[u32], want: &[u32]) {
    assert_eq!(run(functions, body, 1, x)[..want.len()], *want, "{body}");
}

#[test]
fn integers_divide_and_shift_as_in_wgsl() {
    let min = i32::MIN as u32;
    let quotients = "
        y[0] = x[0] / x[1]; y[1] = x[0] % x[1];
        y[2] = bitcast<u32>(bitcast<i32>(x[2]) / bitcast<i32>(x[3]));
        y[3] = bitcast<u32>(bitcast<i32>(x[2]) % bitcast<i32>(x[3]));
        y[4] = bitcast<u32>(-7 / bitcast<i32>(x[0])); y[5] = bitcast<u32>(-7 % bitcast<i32>(x[0]));
        let v = vec3<u32>(x[0], 9u, 10u) / vec3<u32>(x[1], 2u, 3u);
        y[6] = v.x; y[7] = v.y; y[8] = v.z;";
    let want = [2, 0, min, 0, -3_i32 as u32, -1_i32 as u32, 2, 4, 3];
    check("", quotients, &[2, 0, min, u32::MAX], &want);
    let shifts = "
        let v = vec4<u32>(x[0]) << vec4<u32>(x[1], 2u, 3u, 4u);
        y[0] = v.x; y[1] = v.w; y[2] = (vec2<u32>(x[2], 5u) >> vec2<u32>(31u)).x;
        y[3] = bitcast<u32>(bitcast<i32>(x[2]) >> 31u);";
    check("", shifts, &[3, 1, min], &[6, 48, 1, u32::MAX]);
    // A quotient that is not needed in the loop is computed before it, and must not stop there.
    let hoisted = "
        var sum = 0u;
        for (var i = 0u; i < x[0]; i++) { if (x[1] != 0u) { sum += 8u / x[1]; } sum += 1u; }
        y[0] = sum;";
    check("", hoisted, &[3, 0], &[3]);
    check("", hoisted, &[3, 4], &[9]);
}

#[test]
fn conversions_saturate_and_nan_passes() {
    let [nan, big, minus] = [f32::NAN, 1e20, -2.5].map(f32::to_bits);
    let conversions = "
        let f = bitcast<vec3<f32>>(vec3<u32>(x[0], x[1], x[2]));
        y[0] = u32(f.y); y[1] = u32(f.z); y[2] = bitcast<u32>(i32(f.z));
        let v = vec3<u32>(f); y[3] = v.y; y[4] = v.z;
        y[5] = bitcast<u32>(f32(x[0] != 0u)); y[6] = bitcast<u32>(vec2<f32>(vec2<bool>(x[0] != 0u, x[0] == 0u)).y);";
    let want = [u32::MAX, 0, -2_i32 as u32, u32::MAX, 0, 1.0_f32.to_bits(), 0];
    check("", conversions, &[nan, big, minus], &want);
    let extremes = "
        let a = bitcast<f32>(x[0]);
        y[0] = bitcast<u32>(max(a, 0.0)); y[1] = bitcast<u32>(clamp(vec2<f32>(a), vec2<f32>(0.0), vec2<f32>(1.0)).y);
        y[2] = bitcast<u32>(min(2.0, bitcast<f32>(x[1]))); y[3] = max(x[0], x[1]);
        y[4] = bitcast<u32>(max(-1, bitcast<i32>(x[2])));";
    let want = [nan, nan, 2.0_f32.to_bits(), nan.max(big), u32::MAX];
    check("", extremes, &[nan, big, minus], &want);
}

#[test]
fn vectors_of_three_have_three_lanes() {
    let body = "
        let v = vec3<u32>(x[0], x[1], x[2]) < vec3<u32>(2u, 2u, 2u);
        y[0] = u32(all(v)); y[1] = u32(any(v)); y[2] = u32(all(!v)); y[3] = u32(any(!v));
        var w = vec3<u32>(1u, 2u, 3u);
        w.y = x[0];
        w[2] += 4u;
        let c = w; y[4] = c[x[0]]; y[5] = w.y; y[6] = w.z; y[7] = w.zyx.y + w.xx.y;
        y[8] = select(vec3<u32>(0u), w, v).z; y[9] = select(w, vec3<u32>(0u), x[0] == 1u).x;
        let u = vec4<u32>(w.zy, w.x, 9u); y[10] = u.x; y[11] = u.y; y[12] = u.z; y[13] = u.w;";
    let want = [1, 1, 0, 0, 1, 1, 7, 2, 7, 0, 7, 1, 1, 9];
    check("", body, &[1, 1, 1], &want);
    let want = [0, 0, 1, 1];
    check("", body, &[2, 2, 2], &want);
}

#[test]
fn variables_follow_loops_and_branches() {
    // Both variables change at once.
    let fibonacci = "
        var a = 0u; var b = 1u;
        for (var i = 0u; i < x[0]; i++) { let t = a + b; a = b; b = t; }
        y[0] = a; y[1] = b;";
    check("", fibonacci, &[10], &[55, 89]);
    check("", fibonacci, &[0], &[0, 1]);
    let continues = "
        var sum = 0u; var last = 0u;
        for (var i = 0u; i < 10u; i++) {
            if (i % 2u == 0u) { continue; }
            if (i > x[0]) { last = i; break; }
            for (var j = 0u; j < i; j++) { if (j == 2u) { break; } sum += i; }
            sum += 100u;
        }
        y[0] = sum; y[1] = last;";
    check("", continues, &[5], &[317, 7]);
    let breaks_if = "
        var i = x[0]; var n = 0u;
        loop { n += i; if (n > 1000u) { continue; } continuing { i += 1u; break if i >= 5u; } }
        y[0] = n; y[1] = i;";
    check("", breaks_if, &[2], &[9, 5]);
    let branches = "
        var a = x[0]; var b = 7u;
        if (x[0] > 1u) { a = b; b = y[9] + 1u; y[9] = 5u; } else { b = a; a = 3u; y[9] = 6u; }
        y[0] = a; y[1] = b; y[2] = y[9];";
    check("", branches, &[2], &[7, 1, 5]);
    check("", branches, &[1], &[3, 1, 6]);
    let fresh = "
        var sum = 0u;
        for (var i = 0u; i < 3u; i++) { var k = 0u; k += i; sum = sum * 10u + k; }
        y[0] = sum;";
    check("", fresh, &[], &[12]);
}

#[test]
fn functions_return_early() {
    let root = "
        fn root(n: u32) -> u32 {
            for (var i = 0u; i < 100u; i++) {
                for (var j = i; j < i + 1u; j++) { if (j * j >= n) { return i; } }
                if (n > 9000u) { break; }
            }
            return 99u;
        }
        fn half(n: u32) -> vec2<u32> { if (n % 2u == 0u) { return vec2<u32>(n / 2u, 0u); } else { return vec2<u32>(n, 1u); } }
        fn note(n: u32) { if (n > 3u) { return; } y[5] = n; }";
    let body = "
        y[0] = root(x[0]); y[1] = root(x[1]); y[2] = root(0u);
        let h = half(x[0]); y[3] = h.x + 10u * h.y; y[4] = half(x[2]).x;
        note(x[2]); note(9u); if (x[2] == 3u) { y[6] = root(17u); return; } y[7] = 1u;";
    check(root, body, &[26, 9999, 3], &[6, 99, 0, 13, 3, 3, 5, 0]);
    check(root, body, &[26, 9999, 2], &[6, 99, 0, 13, 1, 2, 0, 1]);
}

#[test]
fn what_is_written_is_read_in_order() {
    let body = "
        y[0] = 1u; let a = y[0]; y[0] = 2u; y[1] = a * 10u + y[0];
        for (var i = 2u; i < 5u; i++) { y[i] = y[i - 1u] + x[i]; }";
    check("", body, &[0, 0, 100, 200, 300], &[2, 12, 112, 312, 612]);
}

#[test]
fn indices_wrap() {
    // The address is that of the sum, whatever its terms.
    let body = "
        for (var i = 0u; i < 8u; i += 4u) {
            y[i - 4u + x[0]] = x[(i + 4u) >> 2u];
            y[(i + 12u - x[0]) >> 2u] += 1u;
        }";
    check("", body, &[4, 20, 30], &[20, 0, 1, 1, 30]);
}

#[test]
fn every_invocation_has_its_place() {
    let source = "
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @compute @workgroup_size(3, 2)
        fn main(
            @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_id) local: vec3<u32>, @builtin(global_invocation_id) global: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
        ) {
            let at = (global.z * groups.y * 2u + global.y) * groups.x * 3u + global.x;
            y[at] = x[0] + lane + 10u * local.x + 100u * local.y
                + 1000u * (group.x + groups.x * (group.y + groups.y * group.z));
        }";
    let groups = [2, 3, 2];
    let got = run_source(source, groups, &[7]);
    for z in 0..2 {
        for y in 0..6 {
            for x in 0..6 {
                let [local_x, local_y] = [x % 3, y % 2];
                let group = x / 3 + 2 * (y / 2 + 3 * z);
                let lane = local_x + 3 * local_y;
                let want = 7 + lane + 10 * local_x + 100 * local_y + 1000 * group;
                assert_eq!(got[((z * 6 + y) * 6 + x) as usize], want, "{x}, {y}, {z}");
            }
        }
    }
}

#[test]
fn functions_have_the_accuracy_of_the_cpu_device() {
    let numbers: Vec<f32> = (-700..=700).map(|i| i as f32 / 50.0).collect();
    let bits: Vec<u32> = numbers.iter().map(|x| x.to_bits()).collect();
    let source = |function: &str| {
        format!(
            "let v = vec4<f32>(bitcast<f32>(x[lane]));
            y[2u * lane] = bitcast<u32>({function}(v.x)); y[2u * lane + 1u] = bitcast<u32>({function}(v).y);"
        )
    };
    for (name, exact) in [("exp", f64::exp as fn(f64) -> f64), ("tanh", f64::tanh)] {
        for (bits, numbers) in bits.chunks(200).zip(numbers.chunks(200)) {
            let got = run("", &source(name), bits.len() as u32, bits);
            for (pair, &x) in got.chunks(2).zip(numbers) {
                assert_eq!(pair[0], pair[1], "{name}({x}): scalars and vectors differ");
                let (got, want) = (f64::from(f32::from_bits(pair[0])), exact(f64::from(x)));
                assert!((got - want).abs() <= 3e-7 * want.abs(), "{name}({x}): {got}, not {want}");
            }
        }
    }
}
