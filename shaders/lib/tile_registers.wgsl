// The product by register tiles: each invocation computes `rows` rows × 4·`cols` columns, and loads
// straight from storage. No workgroup memory, so no barrier.
//
// Variables: lanes: invocations of a workgroup. row_step, col_step: distance between an
// invocation's blocks of 4 rows or 4 columns; the lanes lie along the side whose step is not 4.
// one_n: whether one tile is as wide as the product. a_along: "k" where a row of `a` runs along the
// reduction, "m" where it runs along the product's rows; unit: how many of those (1, 4 or `rows`)
// always share a tap. a_run: whether 4 consecutive cells lie in one line of the image, `run`
// elements and `step_x` pixels apart. b_along: "k" or "n". taps: whether there is a loop over taps.
// flat: whether the reduction index holds the tap. split: whether each z computes a part of the
// reduction. k, chunk: the length of the whole reduction, and of one part. planes: whether each z
// is a separate product, of consecutive matrices.

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x + group.y * {{ groups_x }};
    if (tile >= {{ tiles }}) {
        return;
    }
    let z = group.z;
    let m0 = tile % {{ tiles_m }} * {{ tile_m }}u{% if row_step > 4 %} + lane * 4u{% endif %};
    let n0 = {% if one_n %}0u{% else %}tile / {{ tiles_m }} * {{ tile_n }}u{% endif %}{% if col_step > 4 %} + lane * 4u{% endif %};

{% for r in range(rows) %}{% for c in range(cols) %}
    var y{{ r }}_{{ c }} = vec4<f32>(0.0);
{%- endfor %}{% endfor %}

{% if a_along == "k" %}
{% for r in range(rows) %}
    let at{{ r }} = a_row(m0 + {{ r // 4 * row_step + r % 4 }}u, z);
{%- endfor %}
{% else %}
{% for u in range(rows // unit) %}
    let at{{ u }} = m_tap(m0 + {{ u * unit // 4 * row_step + u * unit % 4 }}u);
{%- endfor %}
{% endif %}

{% set loaded = rows %}{% include "lib/steps.wgsl" %}

{% if a_along == "k" %}
{% for r in range(rows) %}
        let a{{ r }} = {% if flat %}a_flat(at{{ r }}, k){% elif a_steady %}a_steady(a_at{{ r }}, a_in{{ r }}, k4){% else %}a_load(a_row{{ r }}, k){% endif %};
{%- for i in range(4) %}{% for c in range(cols) %}
        y{{ r }}_{{ c }} += a{{ r }}[{{ i }}] * b{{ i }}_{{ c }};
{%- endfor %}{% endfor %}{% endfor %}
{% else %}
        let cell0 = a_row(k, z);
{% for i in range(1, 4) %}
        let cell{{ i }} = {% if a_run %}cell0 + vec3<u32>({{ i * run }}u, 0u, {{ i * step_x }}u){% else %}a_row(k + {{ i }}u, z){% endif %};
{%- endfor %}
{% for i in range(4) %}
{% for u in range(rows // unit) %}
        let a_row{{ i }}_{{ u }} = a_tap(cell{{ i }}, at{{ u }}.xyz);
{%- endfor %}
{% for q in range(rows // 4) %}
{% if unit == 1 %}
        let a{{ i }}_{{ q }} = vec4<f32>(
            a_one(a_row{{ i }}_{{ 4 * q }}, at{{ 4 * q }}.w),
            a_one(a_row{{ i }}_{{ 4 * q + 1 }}, at{{ 4 * q + 1 }}.w),
            a_one(a_row{{ i }}_{{ 4 * q + 2 }}, at{{ 4 * q + 2 }}.w),
            a_one(a_row{{ i }}_{{ 4 * q + 3 }}, at{{ 4 * q + 3 }}.w));
{% elif unit == 4 %}
        let a{{ i }}_{{ q }} = a_load(a_row{{ i }}_{{ q }}, at{{ q }}.w);
{% else %}
        let a{{ i }}_{{ q }} = a_load(a_row{{ i }}_0, at0.w + {{ q * row_step }}u);
{% endif %}
{%- endfor %}{% endfor %}
{% for i in range(4) %}{% for r in range(rows) %}{% for c in range(cols) %}
        y{{ r }}_{{ c }} += a{{ i }}_{{ r // 4 }}[{{ r % 4 }}] * b{{ i }}_{{ c }};
{%- endfor %}{% endfor %}{% endfor %}
{% endif %}
    }
{% if taps %}
    }
    }
{% endif %}

{% for r in range(rows) %}
    let y_row{{ r }} = y_row(m0 + {{ r // 4 * row_step + r % 4 }}u, z);
{%- for c in range(cols) %}
    y_store(y_row{{ r }}, n0 + {{ c * col_step }}u, y{{ r }}_{{ c }});
{%- endfor %}{% endfor %}
}
