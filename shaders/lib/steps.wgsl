// How a tile walks through its reduction: opens the loops over taps, where there are any, and over `k`
// by 4 at a time, and loads what they need of `b`: b0_c to b3_c, a vector of columns c for each of the
// four. Of `a` it finds the rows that the tile loads along the reduction. The tile closes the loops.
//
// Variables: loaded: rows of `a` that the tile names at0, at1, …; the others are the tile's.
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
{%- endfor %}
{% endif %}
{% if b_along == "k" %}
{% for j in range(4 * cols) %}
    let b_row{{ j }} = b_row(n0 + {{ j // 4 * col_step + j % 4 }}u, tap.z);
{%- endfor %}
{% endif %}

{% if split %}
    let k_end = min((z + 1u) * {{ chunk }}, {{ k }});
    for (var k = z * {{ chunk }}; k < k_end; k += 4u) {
{% else %}
    for (var k = 0u; k < {{ k }}; k += 4u) {
{% endif %}
{% if b_along == "k" %}
{% for j in range(4 * cols) %}
        let t{{ j }} = b_load(b_row{{ j }}, k);
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
