// y[r, i] = exp(x[r, i] - max) / sum, with the row's maximum and its sum of exponentials. A
// workgroup of 64 takes a row: each invocation reads `each` values of it once, and holds them.
//
// Variables: rows, c: the sizes. each: c / 64, rounded up.
{% include "lib/index.wgsl" %}
{% include "lib/math.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(1) var<storage, read_write> y: array<{{ of.y }}>;

// Four neighbors form a vector: each invocation reads all of them, and all do so at the same time.
var<workgroup> parts: array<vec4<f32>, 16>;

fn larger(a: f32, b: f32) -> f32 {
    return select(b, a, a > b);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    // A group past the last row repeats the last one's work and stores nothing: all meet the
    // barriers.
    let row = flat_group(wid, nwg);
    // A lane without a value takes the row's first, which leaves the maximum as it is, and adds
    // nothing.
    let first = min(row, {{ rows - 1 }}u) * {{ c }}u;
{% for i in range(each) %}
    let in{{ i }} = {% if 64 * (i + 1) <= c %}true{% else %}lid + {{ 64 * i }}u < {{ c }}u{% endif %};
    let v{{ i }} = f32(x[first + select(0u, lid + {{ 64 * i }}u, in{{ i }})]);
{%- endfor %}

    var largest = v0;
{% for i in range(1, each) %}
    largest = larger(largest, v{{ i }});
{%- endfor %}
    parts[lid / 4u][lid % 4u] = largest;
    workgroupBarrier();
{% for i in range(16) %}
    let m{{ i }} = parts[{{ i }}];
    largest = larger(largest, larger(larger(m{{ i }}.x, m{{ i }}.y), larger(m{{ i }}.z, m{{ i }}.w)));
{%- endfor %}

    var sum = 0.0;
{% for i in range(each) %}
    let e{{ i }} = select(0.0, safe_exp(v{{ i }} - largest), in{{ i }});
    sum += e{{ i }};
{%- endfor %}
    workgroupBarrier();
    parts[lid / 4u][lid % 4u] = sum;
    workgroupBarrier();
    var all = parts[0];
{% for i in range(1, 16) %}
    all += parts[{{ i }}];
{%- endfor %}
    let total = (all.x + all.y) + (all.z + all.w);
    if (row < {{ rows }}u) {
{% for i in range(each) %}
        if (in{{ i }}) { y[first + lid + {{ 64 * i }}u] = {{ of.y }}(e{{ i }} / total); }
{%- endfor %}
    }
}
