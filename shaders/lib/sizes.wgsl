// The sizes passed with each dispatch, for kernels that serve tensors of all sizes.
//
// Variables: sizes: pairs of a name and a number; empty where all sizes are literals.
{% if sizes %}
struct Sizes {
{%- for size in sizes %}
    {{ size[0] }}: u32,
{%- endfor %}
}

var<immediate> sizes: Sizes;
{% endif %}
