// The squares that minimal filtering cuts an operand into, four channels at a time: tiles of an
// image, which may overlap, or the taps of a kernel. The pixels of a square lie `step` apart; where
// that is not 1, a square has only the pixels of one remainder modulo `step`, and the remainders
// (a, b) come before the channel, as in an image of cells of step × step pixels.
//
// Variables: side: "large", "small" or "taps". large, small: channels of the two images. high, wide:
// size of the operand; item: elements between neighboring pixels. down, across: squares of an image.
// top, left: padding.

const NONE: u32 = 0xffffffffu;

// Square `row`, channels 4·quad to 4·quad + 3: its first element as if it were at (0, 0), then y,
// x.
fn square_at(row: u32, quad: u32) -> vec3<u32> {
{% if side == "taps" %}
    let part = row / {{ large }}u;
    return vec3<u32>(row % {{ large }}u * {{ small }}u + 4u * quad, part / {{ step }}u, part % {{ step }}u);
{% else %}
    let x = row % {{ across }}u * {{ 2 * step }}u;
    let line = row / {{ across }}u;
    let y = line % {{ down }}u * {{ 2 * step }}u;
    let image = line / {{ down }}u * {{ high * wide * item }}u;
{% if side == "large" %}
    let part = 4u * quad / {{ large }}u;
    let channel = 4u * quad % {{ large }}u;
    return vec3<u32>(image + channel, y + part / {{ step }}u - {{ top }}u, x + part % {{ step }}u - {{ left }}u);
{% else %}
    return vec3<u32>(image + 4u * quad, y, x);
{% endif %}
{% endif %}
}

// The vector at pixel (i, j) of a square, or NONE where that lies outside.
fn pixel(at: vec3<u32>, i: u32, j: u32) -> u32 {
    let y = at.y + i * {{ step }}u;
    let x = at.z + j * {{ step }}u;
    return select(NONE, (at.x + (y * {{ wide }}u + x) * {{ item }}u) >> 2u, (y < {{ high }}u) & (x < {{ wide }}u));
}
