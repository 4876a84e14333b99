// y[i] = word i % 4 of Philox4x32-10 at counter (i / 4, step, stream, 0) under the key (seed), as
// in src/rng.rs: a uniform value in [0, 1), a standard normal one, or the word itself.
//
// kind:   "uniform", "normal" or "bits"
// stream: hash of the stream's name
// len:    number of elements
// key:    [seed's low word, seed's high word, step, 0]
// y:      [len], whole vectors; elements from len on become 0

{% include "lib/index.wgsl" %}
{% include "lib/math.wgsl" %}
{% include "lib/philox.wgsl" %}
{% set lane = "u32" if kind == "bits" else "f32" %}

@group(0) @binding(0) var<storage, read> key: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<{{ lane }}>>;

const BLOCKS = {{ (len + 3) // 4 }}u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let block = flat_group(wid, groups) * 64u + lid;
    if (block >= BLOCKS) {
        return;
    }
    let bits = philox4x32(
        vec4<u32>(block, key[2], {{ stream }}u, 0u),
        vec2<u32>(key[0], key[1]),
    );
{% if kind == "bits" %}
    var value = bits;
{% elif kind == "uniform" %}
    var value = vec4<f32>(unit(bits.x), unit(bits.y), unit(bits.z), unit(bits.w));
{% elif kind == "normal" %}
    var value = vec4<f32>(normal_pair(bits.x, bits.y), normal_pair(bits.z, bits.w));
{% endif %}
{% if len % 4 != 0 %}
    let inside = vec4<u32>(block * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>({{ len }}u);
    value = select(vec4<{{ lane }}>(0), value, inside);
{% endif %}
    y[block] = value;
}
