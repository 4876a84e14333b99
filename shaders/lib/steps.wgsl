// How a tile walks through its reduction: opens the loops over taps, if any, and over `k` by 4 at a
// time, and loads the part of `b` that they need: b0_c to b3_c, a vector of columns c for each of
// the four. Of `a` it finds the rows that the tile loads along the reduction. The tile closes the
// loops.
//
// A row that lies along the reduction, is read by vectors and has no end within a step is found
// once, its position and whether it exists: the loop only has to load.
//
// Variables: a_steady, b_steady: whether the rows of an operand are such rows. loaded: rows of `a` that the tile names at0, at1, …; the others are the tile's.
{% if taps %}
    for (var tap_y = 0u; tap_y < tap_rows(z); tap_y += 1u) {
    for (var tap_x = 0u; tap_x < tap_cols(z); tap_x += 1u) {
    let tap = tap_at(tap_y, tap_x, z);
{% else %}
    let tap = vec3<u32>(0u, 0u, {% if planes %}z * {{ b_rows }}{% else %}0u{% endif %});
{% endif %}
{% if a_along == "k" and not flat %}
{% for r in range(loaded) %}
    let a_row{{ r }} = a_tap(at{{ r }}, tap);
{%- if a_steady %}
    let a_in{{ r }} = a_row{{ r }} != NONE;
    let a_at{{ r }} = select(0u, a_row{{ r }} >> 2u, a_in{{ r }});
{%- endif %}{% endfor %}
{% endif %}
{% if b_along == "k" %}
{% for j in range(4 * cols) %}
{% set column %}n0 + {{ j // 4 * col_step + j % 4 }}u{% endset %}
    let b_row{{ j }} = b_row({{ column }}, tap.z);
{%- if b_steady %}
    let b_in{{ j }} = {% if b_past %}{{ column }} < {{ b_rows }}{% else %}true{% endif %};
    let b_at{{ j }} = select(0u, b_row{{ j }} >> 2u, b_in{{ j }});
{%- endif %}{% endfor %}
{% endif %}

{% if split %}
    let k_end = min((z + 1u) * {{ chunk }}, {{ k }});
    for (var k = z * {{ chunk }}; k < k_end; k += 4u) {
{% else %}
    for (var k = 0u; k < {{ k }}; k += 4u) {
{% endif %}
{% if a_steady or b_steady %}
        let k4 = k >> 2u;
{% endif %}
{% if b_along == "k" %}
{% for j in range(4 * cols) %}
        let t{{ j }} = {% if b_steady %}b_steady(b_at{{ j }}, b_in{{ j }}, k4){% else %}b_load(b_row{{ j }}, k){% endif %};
{%- endfor %}
{% for i in range(4) %}{% for c in range(cols) %}
        let b{{ i }}_{{ c }} = vec4<f32>(t{{ 4 * c }}[{{ i }}], t{{ 4 * c + 1 }}[{{ i }}], t{{ 4 * c + 2 }}[{{ i }}], t{{ 4 * c + 3 }}[{{ i }}]);
{%- endfor %}{% endfor %}
{% else %}
{% for i in range(4) %}
        let b_row{{ i }} = b_row(k + {{ i }}u, tap.z);
{%- for c in range(cols) %}
        let b{{ i }}_{{ c }} = b_load(b_row{{ i }}, n0 + {{ c * col_step }}u);
{%- endfor %}{% endfor %}
{% endif %}
