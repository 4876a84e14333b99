// The flat index of a workgroup, whose count is folded over x and y because one dimension holds
// only 65535. The last row is padded: guard against indices past the count.
fn flat_group(wid: vec3<u32>, groups: vec3<u32>) -> u32 {
    return wid.x + wid.y * groups.x;
}
