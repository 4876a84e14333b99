// The product by workgroup tiles: `tile_m` × `tile_n` of the product at a time, `depth` of the
// reduction at a time. An invocation loads one 4 × 4 block of each operand into workgroup memory
// (larger tiles have fewer blocks than invocations), turned so that its vectors lie along the
// product, and computes `rows` × `rows` of the product, in blocks of 4 × 4 that lie `row_step` and
// `col_step` apart. Anything outside an operand is written as zeros, so every element is written
// before it is read, and no invocation leaves early.
//
// Variables: lanes: invocations. unroll: steps of the reduction that the innermost loop takes at a
// time. a_blocks, b_blocks: blocks of each operand; b_first: the first invocation that loads a
// block of `b`. pitch: vectors from one step of the reduction to the next in workgroup memory. The
// others are those of tile_registers.wgsl; `unit` is 1 or 4, and every loop runs over whole tiles
// of `depth`: elements past the reduction read as zeros.

{% set down = row_step // 4 %}
{% set across = col_step // 4 %}
{% set a_some = a_blocks < lanes %}
{% set b_some = b_blocks < lanes %}
var<workgroup> a_tile: array<vec4<f32>, {{ depth * pitch }}>;
var<workgroup> b_tile: array<vec4<f32>, {{ depth * pitch }}>;

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + group.y * {{ groups_x }};
    let z = group.z;
    // The rows of a workgroup past the last tile lie past the last row: it computes and stores
    // nothing.
    let m0 = tile / {{ tiles_n }} * {{ tile_m }}u;
    let n0 = tile % {{ tiles_n }} * {{ tile_n }}u;

    // The block that this invocation loads: neighbors read neighboring vectors.
{% if a_some %}
    let a_brings = lane < {{ a_blocks }}u;
{% endif %}
{% if b_some %}
    let b_lane = lane - {{ b_first }}u;
    let b_brings = b_lane < {{ b_blocks }}u;
{% else %}
    let b_lane = lane;
{% endif %}
{% if a_along == "k" %}
    let a_k = lane % {{ depth // 4 }}u * 4u;
    let a_quad = lane / {{ depth // 4 }}u;
{% for i in range(4) %}
    let at{{ i }} = a_row(m0 + a_quad * 4u + {{ i }}u, z);
{%- endfor %}
{% else %}
    let a_k = lane / {{ tile_m // 4 }}u * 4u;
    let a_quad = lane % {{ tile_m // 4 }}u;
{% for u in range(4 // unit) %}
    let at{{ u }} = m_tap(m0 + a_quad * 4u + {{ u }}u);
{%- endfor %}
{% endif %}
{% if b_along == "k" %}
    let b_k = b_lane % {{ depth // 4 }}u * 4u;
    let b_quad = b_lane / {{ depth // 4 }}u;
{% else %}
    let b_k = b_lane / {{ tile_n // 4 }}u * 4u;
    let b_quad = b_lane % {{ tile_n // 4 }}u;
{% endif %}

    // The part that it computes.
    let column = lane % {{ across }}u;
    let line = lane / {{ across }}u;
{% for r in range(rows) %}{% for c in range(cols) %}
    var y{{ r }}_{{ c }} = vec4<f32>(0.0);
{%- endfor %}{% endfor %}

{% if taps %}
    for (var tap_y = 0u; tap_y < tap_rows(z); tap_y += 1u) {
    for (var tap_x = 0u; tap_x < tap_cols(z); tap_x += 1u) {
    let tap = tap_at(tap_y, tap_x, z);
{% else %}
    let tap = vec3<u32>(0u, 0u, {% if planes %}z * {{ b_rows }}{% else %}0u{% endif %});
{% endif %}
{% if a_along == "k" and not flat %}
{% for i in range(4) %}
    let a_row{{ i }} = a_tap(at{{ i }}, tap);
{%- endfor %}
{% endif %}
{% if b_along == "k" %}
{% for i in range(4) %}
    let b_row{{ i }} = b_row(n0 + b_quad * 4u + {{ i }}u, tap.z);
{%- endfor %}
{% endif %}

    for (var step = 0u; step < {{ chunk }}; step += {{ depth }}u) {
        let k = {% if split %}z * {{ chunk }} + {% endif %}step;
{% for i in range(4) %}
        var a{{ i }} = vec4<f32>(0.0);
        var b{{ i }} = vec4<f32>(0.0);
{%- endfor %}
        {% if a_some %}if (a_brings) { {%- endif %}
{% if a_along == "k" %}
{% for i in range(4) %}
        a{{ i }} = {% if flat %}a_flat(at{{ i }}, k + a_k){% else %}a_load(a_row{{ i }}, k + a_k){% endif %};
{%- endfor %}
{% else %}
{% for i in range(4) %}
        let cell{{ i }} = a_row(k + a_k + {{ i }}u, z);
{% if unit == 1 %}
        a{{ i }} = vec4<f32>(
            a_one(a_tap(cell{{ i }}, at0.xyz), at0.w),
            a_one(a_tap(cell{{ i }}, at1.xyz), at1.w),
            a_one(a_tap(cell{{ i }}, at2.xyz), at2.w),
            a_one(a_tap(cell{{ i }}, at3.xyz), at3.w));
{% else %}
        a{{ i }} = a_load(a_tap(cell{{ i }}, at0.xyz), at0.w);
{% endif %}
{%- endfor %}
{% endif %}
        {% if a_some %} } {%- endif %}
        {% if b_some %}if (b_brings) { {%- endif %}
{% if b_along == "k" %}
{% for i in range(4) %}
        b{{ i }} = b_load(b_row{{ i }}, k + b_k);
{%- endfor %}
{% else %}
{% for i in range(4) %}
        b{{ i }} = b_load(b_row(k + b_k + {{ i }}u, tap.z), n0 + b_quad * 4u);
{%- endfor %}
{% endif %}
        {% if b_some %} } {%- endif %}

        workgroupBarrier();
        {% if a_some %}if (a_brings) { {%- endif %}
{% for i in range(4) %}
        a_tile[(a_k + {{ i }}u) * {{ pitch }}u + a_quad] = {% if a_along == "k" %}vec4<f32>(a0[{{ i }}], a1[{{ i }}], a2[{{ i }}], a3[{{ i }}]){% else %}a{{ i }}{% endif %};
{%- endfor %}
        {% if a_some %} } {%- endif %}
        {% if b_some %}if (b_brings) { {%- endif %}
{% for i in range(4) %}
        b_tile[(b_k + {{ i }}u) * {{ pitch }}u + b_quad] = {% if b_along == "k" %}vec4<f32>(b0[{{ i }}], b1[{{ i }}], b2[{{ i }}], b3[{{ i }}]){% else %}b{{ i }}{% endif %};
{%- endfor %}
        {% if b_some %} } {%- endif %}
        workgroupBarrier();

        for (var s = 0u; s < {{ depth * pitch }}u; s += {{ unroll * pitch }}u) {
{% for i in range(unroll) %}
{% for q in range(cols) %}
            let p{{ i }}_{{ q }} = a_tile[s + line + {{ i * pitch + q * down }}u];
            let q{{ i }}_{{ q }} = b_tile[s + column + {{ i * pitch + q * across }}u];
{%- endfor %}
{% for r in range(rows) %}{% for c in range(cols) %}
            y{{ r }}_{{ c }} += p{{ i }}_{{ r // 4 }}[{{ r % 4 }}] * q{{ i }}_{{ c }};
{%- endfor %}{% endfor %}
{% endfor %}
        }
    }
{% if taps %}
    }
    }
{% endif %}

{% for r in range(rows) %}
    let y_row{{ r }} = y_row(m0 + line * 4u + {{ r // 4 * down * 4 + r % 4 }}u, z);
{%- for c in range(cols) %}
    y_store(y_row{{ r }}, n0 + column * 4u + {{ c * across * 4 }}u, y{{ r }}_{{ c }});
{%- endfor %}{% endfor %}
}
