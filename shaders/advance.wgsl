// y = x with its third element, the step, incremented
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) i: u32) {
    y[i] = x[i] + select(0u, 1u, i == 2u);
}
