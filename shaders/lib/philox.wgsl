// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), bit for bit as in src/rng.rs.

// The upper 32 bits of a * b: WGSL has no 64-bit product, so it is made of 16-bit halves.
fn mul_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let low = al * bl;
    let mid = ah * bl + (low >> 16u);
    let cross = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (cross >> 16u);
}

// The ten-round bijection of `counter` under `key`.
fn philox4x32(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round += 1u) {
        c = vec4<u32>(
            mul_high(c.z, 0xcd9e8d57u) ^ c.y ^ k.x,
            c.z * 0xcd9e8d57u,
            mul_high(c.x, 0xd2511f53u) ^ c.w ^ k.y,
            c.x * 0xd2511f53u,
        );
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// An integer as a uniform number in [0, 1): its upper 24 bits, exact in f32.
fn unit(bits: u32) -> f32 {
    return f32(bits >> 8u) * (1.0 / 16777216.0);
}

// Two independent standard normal numbers from two integers (Box and Muller, 1958).
fn normal_pair(a: u32, b: u32) -> vec2<f32> {
    // 1 - [0, 1) is (0, 1]. An approximate logarithm may be above 0 near 1: the max keeps the root
    // real.
    let radius = sqrt(max(-2.0 * log(1.0 - unit(a)), 0.0));
    // WGSL promises the accuracy of sin and cos between -pi and pi only: half a turn off, both
    // change their sign.
    let angle = 6.2831855 * (unit(b) - 0.5);
    return vec2<f32>(-radius * cos(angle), -radius * sin(angle));
}
