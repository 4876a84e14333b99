{% include "lib/math.wgsl" %}

// Which of x[start .. start + pieces] is the first of the largest, or the first NaN.
fn first_largest(start: u32) -> u32 {
    var largest = f32(x[start]);
    var at = start;
    for (var j = start + 1u; j < start + {{ pieces }}u; j++) {
        let next = f32(x[j]);
        let better = !is_nan(largest) && (next > largest || is_nan(next));
        largest = select(largest, next, better);
        at = select(at, j, better);
    }
    return at;
}
