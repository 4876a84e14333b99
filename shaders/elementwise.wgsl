// A chain of elementwise ops as one kernel: each lane loads the values of every input that belong
// to four neighboring places of the output, calls the ops' functions in turn, and stores what other
// kernels need.
//
// Variables: length: vectors in the output; sizes: see lib/sizes.wgsl; bindings: {access, type};
// functions: the ops' WGSL, each under its own name; loads, calls: expressions; stores: {binding,
// call, of: the type of its values, offset: WGSL of the vector that the first one becomes}.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}
{% include "lib/math.wgsl" %}
{% for b in bindings %}
@group(0) @binding({{ loop.index0 }}) var<storage, {{ b.access }}> b{{ loop.index0 }}: array<{{ b.type }}>;
{%- endfor %}
{% for f in functions %}
{{ f }}
{%- endfor %}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = flat_group(wid, nwg) * 64u + lid;
    if (i < {{ length }}) {
{%- for load in loads %}
        let x{{ loop.index0 }} = {{ load }};
{%- endfor %}
{%- for call in calls %}
        let y{{ loop.index0 }} = {{ call }};
{%- endfor %}
{%- for store in stores %}
        b{{ store.binding }}[i{{ store.offset }}] = vec4<{{ store.of }}>(y{{ store.call }});
{%- endfor %}
    }
}
