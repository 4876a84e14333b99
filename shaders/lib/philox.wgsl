// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), bit for bit as in src/rng.rs. Include it
// after lib/math.wgsl.

// The upper 32 bits of a * b: WGSL has no 64-bit product, so it is composed of 16-bit halves.
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

// An integer as a uniform value in [0, 1): its upper 24 bits, exact in f32.
fn unit(bits: u32) -> f32 {
    return f32(bits >> 8u) * (1.0 / 16777216.0);
}

// (sin, cos) of unit(bits) turns. A driver's own may be off by 2^-11, which shows in a latent, so
// these are the polynomials of src/math.rs on the remainder from the nearest quarter turn.
fn sin_cos_of_turns(bits: u32) -> vec2<f32> {
    let k = i32(bits >> 8u);
    let quarter = (k + 2097152) >> 22u;
    let x = f32(k - (quarter << 22u)) * (1.5707964 / 4194304.0);
    let z = x * x;
    let sine = x + x * z * ((-1.9515296e-4 * z + 8.332161e-3) * z - 1.6666655e-1);
    let p = (2.4433157e-5 * z - 1.3887316e-3) * z + 4.1666646e-2;
    let cosine = 1.0 - 0.5 * z + z * z * p;
    // One quarter turn on, (sin, cos) becomes (cos, -sin); two, both change their sign.
    let turned = select(vec2<f32>(sine, cosine), vec2<f32>(cosine, -sine), (quarter & 1) == 1);
    return select(turned, -turned, (quarter & 2) == 2);
}

// Two independent standard normal values from two integers (Box and Muller, 1958).
fn normal_pair(a: u32, b: u32) -> vec2<f32> {
    // 1 - [0, 1) is (0, 1]. A logarithm rounded differently than on the host may be above 0 at 1:
    // the max keeps the root real.
    let radius = sqrt(max(-2.0 * safe_log(1.0 - unit(a)), 0.0));
    return radius * sin_cos_of_turns(b).yx;
}
