// The product by register tiles whose rows a subgroup shares: each workgroup is one subgroup, and
// computes `rows` rows × 4·`cols`·`lanes` columns. The lanes lie side by side along the columns.
// Each loads four elements of one row of `a` for all (or of four rows, where those lie side by
// side), and broadcasts them: a row is loaded once, not once per lane.
//
// Control flow is the same for all lanes, as broadcasts demand. Variables: those of
// tile_registers.wgsl, but `unit` is 1 or 4; `rows` is a multiple of `lanes`, or of 4·`lanes` where
// a_along is "m".

{% set blocks = rows // lanes if a_along == "k" else rows // lanes // 4 %}
@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = group.x + group.y * {{ groups_x }};
    if (tile >= {{ tiles }}) {
        return;
    }
    let z = group.z;
    let m0 = tile % {{ tiles_m }} * {{ tile_m }}u;
    let n0 = tile / {{ tiles_m }} * {{ tile_n }}u + lane * 4u;

{% for r in range(rows) %}{% for c in range(cols) %}
    var y{{ r }}_{{ c }} = vec4<f32>(0.0);
{%- endfor %}{% endfor %}

    // The rows of `a` that this lane loads.
{% if a_along == "k" %}
{% for q in range(blocks) %}
    let at{{ q }} = a_row(m0 + {{ q * lanes }}u + lane, z);
{%- endfor %}
{% else %}
{% for q in range(blocks) %}{% for u in range(4 // unit) %}
    let at{{ q }}_{{ u }} = m_tap(m0 + {{ q * lanes * 4 + u }}u + lane * 4u);
{%- endfor %}{% endfor %}
{% endif %}

{% set loaded = blocks %}{% include "lib/steps.wgsl" %}

{% if a_along == "k" %}
{% for q in range(blocks) %}
        let a{{ q }} = {% if flat %}a_flat(at{{ q }}, k){% else %}a_load(a_row{{ q }}, k){% endif %};
{%- endfor %}
{% else %}
        let cell0 = a_row(k, z);
{% for i in range(1, 4) %}
        let cell{{ i }} = {% if a_run %}cell0 + vec3<u32>({{ i * run }}u, 0u, {{ i * step_x }}u){% else %}a_row(k + {{ i }}u, z){% endif %};
{%- endfor %}
{% for i in range(4) %}{% for q in range(blocks) %}
{% if unit == 1 %}
        let a{{ i }}_{{ q }} = vec4<f32>(
            a_one(a_tap(cell{{ i }}, at{{ q }}_0.xyz), at{{ q }}_0.w),
            a_one(a_tap(cell{{ i }}, at{{ q }}_1.xyz), at{{ q }}_1.w),
            a_one(a_tap(cell{{ i }}, at{{ q }}_2.xyz), at{{ q }}_2.w),
            a_one(a_tap(cell{{ i }}, at{{ q }}_3.xyz), at{{ q }}_3.w));
{% else %}
        let a{{ i }}_{{ q }} = a_load(a_tap(cell{{ i }}, at{{ q }}_0.xyz), at{{ q }}_0.w);
{% endif %}
{%- endfor %}{% endfor %}
{% endif %}
{% for r in range(rows) %}
{% for i in range(4) %}
{% if a_along == "k" %}
        let s{{ r }}_{{ i }} = subgroupBroadcast(a{{ r // lanes }}[{{ i }}], {{ r % lanes }}u);
{% else %}
        let s{{ r }}_{{ i }} = subgroupBroadcast(a{{ i }}_{{ r // 4 // lanes }}[{{ r % 4 }}], {{ r // 4 % lanes }}u);
{% endif %}
{%- endfor %}
{% for c in range(cols) %}
        y{{ r }}_{{ c }} += s{{ r }}_0 * b0_{{ c }} + s{{ r }}_1 * b1_{{ c }} + s{{ r }}_2 * b2_{{ c }} + s{{ r }}_3 * b3_{{ c }};
{%- endfor %}{% endfor %}
    }
{% if taps %}
    }
    }
{% endif %}

{% for r in range(rows) %}
    let y_row{{ r }} = y_row(m0 + {{ r }}u, z);
{%- for c in range(cols) %}
    y_store(y_row{{ r }}, n0 + {{ c * col_step }}u, y{{ r }}_{{ c }});
{%- endfor %}{% endfor %}
}
