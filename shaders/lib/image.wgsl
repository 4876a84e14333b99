// `a` as an image [images, high, wide, a_len], seen from the cells of a coarser grid [images,
// grid_h, grid_w]: the cell (gy, gx) is at the pixel (gy·step_y, gx·step_x), and a tap is a
// displacement (dy, dx) from there. Negative displacements are written modulo 2³².
//
// Variables: high, wide, a_len, grid_h, grid_w, step_y, step_x as above; cells: how many there are.

// The position of a cell: the index of its pixel's first element, and the pixel's y and x. A cell
// past the last lies so far below the image that no tap reaches into it.
fn a_row(cell: u32, z: u32) -> vec3<u32> {
    let gx = cell % {{ grid_w }}u;
    let line = cell / {{ grid_w }}u;
    let gy = line % {{ grid_h }}u;
    let image = line / {{ grid_h }}u;
    let py = gy * {{ step_y }}u;
    let px = gx * {{ step_x }}u;
    let first = ((image * {{ high }}u + py) * {{ wide }}u + px) * {{ a_len }};
    return vec3<u32>(first, select(0x40000000u, py, cell < {{ cells }}u), px);
}

// The first element of the pixel at displacement `tap.xy` from a cell, or NONE.
fn a_tap(cell: vec3<u32>, tap: vec3<u32>) -> u32 {
    let inside = (cell.y + tap.x < {{ high }}u) & (cell.z + tap.y < {{ wide }}u);
    return select(NONE, cell.x + (tap.x * {{ wide }}u + tap.y) * {{ a_len }}, inside);
}
