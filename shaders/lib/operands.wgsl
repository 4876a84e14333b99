// The operands of a product, `a` and `b`, and its result `y`, four consecutive elements at a time.
//
// Contiguous elements of an operand are called a row; a row is named by the index of its first
// element, or NONE where it lies outside the tensor: it then reads as zeros, and memory is not
// touched. Rows whose length is a multiple of 4 are read as vectors.
//
// Variables: a_vec, b_vec, y_vec: whether a row holds whole vectors. a_len, b_len, n: elements of a
// row. a_none, b_none: whether a row may be NONE. a_over, b_over: whether positions past the end of
// a row may be read. b_rows: rows of `b` that one tap uses; b_past: whether rows past them may be
// read.

const NONE: u32 = 0xffffffffu;

{% if a_vec %}
@group(0) @binding(0) var<storage, read> a: array<vec4<{{ of.a }}>>;

{% if a_steady %}
// Vector `k4` of the row whose first vector is `at`, where it is `inside`.
fn a_steady(at: u32, inside: bool, k4: u32) -> vec4<f32> {
    let v = a[at + k4];
    return vec4<f32>({% if a_none %}select(vec4<{{ of.a }}>(), v, inside){% else %}v{% endif %});
}

{% endif %}
fn a_load(row: u32, j: u32) -> vec4<f32> {
{% if a_none or a_over %}
    let inside = {% if a_none %}(row != NONE){% else %}true{% endif %}{% if a_over %} & (j < {{ a_len }}){% endif %};
    return select(vec4<f32>(0.0), vec4<f32>(a[select(0u, (row + j) >> 2u, inside)]), inside);
{% else %}
    return vec4<f32>(a[(row + j) >> 2u]);
{% endif %}
}
{% else %}
@group(0) @binding(0) var<storage, read> a: array<{{ of.a }}>;

fn a_one(row: u32, j: u32) -> f32 {
    let inside = (row != NONE) & (j < {{ a_len }});
    return select(0.0, f32(a[select(0u, row + j, inside)]), inside);
}

fn a_load(row: u32, j: u32) -> vec4<f32> {
    return vec4<f32>(a_one(row, j), a_one(row, j + 1u), a_one(row, j + 2u), a_one(row, j + 3u));
}
{% endif %}

{% if b_vec %}
@group(0) @binding(1) var<storage, read> b: array<vec4<{{ of.b }}>>;

{% if b_steady %}
// Vector `k4` of the row whose first vector is `at`, where it is `inside`.
fn b_steady(at: u32, inside: bool, k4: u32) -> vec4<f32> {
    let v = b[at + k4];
    return vec4<f32>({% if b_past %}select(vec4<{{ of.b }}>(), v, inside){% else %}v{% endif %});
}

{% endif %}
fn b_load(row: u32, j: u32) -> vec4<f32> {
{% if b_past or b_over %}
    let inside = {% if b_past %}(row != NONE){% else %}true{% endif %}{% if b_over %} & (j < {{ b_len }}){% endif %};
    return select(vec4<f32>(0.0), vec4<f32>(b[select(0u, (row + j) >> 2u, inside)]), inside);
{% else %}
    return vec4<f32>(b[(row + j) >> 2u]);
{% endif %}
}
{% else %}
@group(0) @binding(1) var<storage, read> b: array<{{ of.b }}>;

fn b_one(row: u32, j: u32) -> f32 {
    let inside = (row != NONE) & (j < {{ b_len }});
    return select(0.0, f32(b[select(0u, row + j, inside)]), inside);
}

fn b_load(row: u32, j: u32) -> vec4<f32> {
    return vec4<f32>(b_one(row, j), b_one(row, j + 1u), b_one(row, j + 2u), b_one(row, j + 3u));
}
{% endif %}

// Row `i` among those of the tap that starts at row `first`.
fn b_row(i: u32, first: u32) -> u32 {
{% if b_past %}
    return select(NONE, (first + i) * {{ b_len }}, i < {{ b_rows }});
{% else %}
    return (first + i) * {{ b_len }};
{% endif %}
}

// Stores columns `j` to `j + 3` of the row of `y` that starts at element `row`.
{% if y_vec %}
@group(0) @binding(2) var<storage, read_write> y: array<vec4<{{ of.y }}>>;

fn y_store(row: u32, j: u32, v: vec4<f32>) {
    if ((row != NONE) & (j < {{ n }})) {
        y[(row + j) >> 2u] = vec4<{{ of.y }}>(v);
    }
}
{% else %}
@group(0) @binding(2) var<storage, read_write> y: array<{{ of.y }}>;

fn y_store(row: u32, j: u32, v: vec4<f32>) {
    if (row != NONE) {
        if (j < {{ n }}) { y[row + j] = {{ of.y }}(v.x); }
        if (j + 1u < {{ n }}) { y[row + j + 1u] = {{ of.y }}(v.y); }
        if (j + 2u < {{ n }}) { y[row + j + 2u] = {{ of.y }}(v.z); }
        if (j + 3u < {{ n }}) { y[row + j + 3u] = {{ of.y }}(v.w); }
    }
}
{% endif %}
