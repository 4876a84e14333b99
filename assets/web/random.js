"use strict";
// The random numbers of dcgan (`src/rng.rs`, `src/math.rs`), with the same bits.

const f32 = Math.fround;

/** The upper 32 bits of a product of two integers. */
function high(a, b) {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = ah * bl + ((al * bl) >>> 16);
  const cross = al * bh + (middle & 0xffff);
  return ah * bh + (middle >>> 16) + (cross >>> 16);
}

/** Philox4x32-10 (Salmon et al., SC 2011): four integers from a counter and a key. */
function philox(counter, key) {
  let [a, b, c, d] = counter;
  let [k, l] = key;
  for (let round = 0; round < 10; round++) {
    [a, b, c, d] = [
      (high(c, 0xcd9e8d57) ^ b ^ k) >>> 0, Math.imul(c, 0xcd9e8d57) >>> 0,
      (high(a, 0xd2511f53) ^ d ^ l) >>> 0, Math.imul(a, 0xd2511f53) >>> 0,
    ];
    k = (k + 0x9e3779b9) >>> 0;
    l = (l + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

/** 32-bit FNV-1a of a text's UTF-8. */
function hash(text) {
  let sum = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
  return sum;
}

/** The random numbers of dcgan: of a seed (a BigInt of 64 bits), a name and a step, by index. */
class Stream {
  constructor(seed, name, step = 0) {
    this.key = [Number(seed & 0xffffffffn), Number((seed >> 32n) & 0xffffffffn)];
    Object.assign(this, { name: hash(name), step, index: 0 });
  }

  /** Four integers. */
  block(index) { return philox([index, this.step, this.name, 0], this.key); }

  /** The next integer. */
  next() {
    if (this.index % 4 === 0) this.words = this.block(this.index / 4);
    return this.words[this.index++ % 4];
  }

  /** The next integer below a bound, without bias (Lemire, 2019). */
  below(bound) {
    for (;;) {
      const word = this.next();
      if (Math.imul(word, bound) >>> 0 >= (4294967296 - bound) % bound) return high(word, bound) >>> 0;
    }
  }

  /** A permutation of 0 to n - 1 (Fisher and Yates). */
  permutation(n) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  /** Fills an array from the start of the stream with values of N(0, 1). */
  normal(out) {
    for (let i = 0; i < out.length; i += 4) {
      const [a, b, c, d] = this.block(i / 4);
      const four = [...normalPair(a, b), ...normalPair(c, d)];
      for (let j = 0; j < 4 && i + j < out.length; j++) out[i + j] = four[j];
    }
    return out;
  }

  /** Fills an array from the start of the stream with values in [0, 1). */
  uniform(out) {
    for (let i = 0; i < out.length; i += 4) {
      const four = this.block(i / 4);
      for (let j = 0; j < 4 && i + j < out.length; j++) out[i + j] = unit(four[j]);
    }
    return out;
  }
}

/** An integer as a value in [0, 1). */
const unit = (bits) => (bits >>> 8) / 16777216;

/** The polynomial c[0] + x (c[1] + x (c[2] + ...)), rounded to 32 bits after every operation. */
function polynomial(x, c) {
  let sum = f32(c[c.length - 1]);
  for (let i = c.length - 2; i >= 0; i--) sum = f32(f32(sum * x) + f32(c[i]));
  return sum;
}

const bits = new DataView(new ArrayBuffer(4));

/** The logarithm of a number in (0, 1], with the same bits as dcgan's (Cephes' `logf`). */
function log(x) {
  bits.setFloat32(0, x);
  const own = bits.getUint32(0);
  const n = ((own - 0x3f3504f3) | 0) >> 23;
  bits.setUint32(0, (own - (n << 23)) >>> 0);
  const m = f32(bits.getFloat32(0) - 1);
  const c = [3.333333e-1, -2.4999994e-1, 2.0000715e-1, -1.6668058e-1, 1.4249323e-1, -1.2420141e-1,
    1.1676999e-1, -1.151461e-1, 7.037684e-2];
  const square = f32(m * m);
  let small = f32(f32(m * square) * polynomial(m, c));
  small = f32(small + f32(n * f32(-2.1219444e-4)));
  small = f32(small - f32(0.5 * square));
  return f32(f32(m + small) + f32(n * f32(0.6933594)));
}

/** [sin, cos] of unit(bits) turns, with the same bits as dcgan's. */
function sinCosOfTurns(bits) {
  const k = bits >>> 8;
  const quarter = (k + (1 << 21)) >> 22;
  const x = f32((k - (quarter << 22)) * f32(f32(Math.PI / 2) / 4194304));
  const square = f32(x * x);
  const s = polynomial(square, [-1.6666655e-1, 8.332161e-3, -1.9515296e-4]);
  const sin = f32(x + f32(f32(x * square) * s));
  const c = polynomial(square, [4.1666646e-2, -1.3887316e-3, 2.4433157e-5]);
  const cos = f32(f32(1 - f32(0.5 * square)) + f32(f32(square * square) * c));
  return [[sin, cos], [cos, -sin], [-sin, -cos], [-cos, sin]][quarter & 3];
}

/** Two standard normal values from two integers (Box and Muller, 1958). */
function normalPair(a, b) {
  const radius = f32(Math.sqrt(f32(-2 * log(f32(1 - unit(a))))));
  const [sin, cos] = sinCosOfTurns(b);
  return [f32(radius * cos), f32(radius * sin)];
}

/** Latent vectors: `length` values of "normal", or of "uniform" in [-1, 1]. */
function draw(seed, name, length, distribution) {
  const [stream, out] = [new Stream(seed, name), new Float32Array(length)];
  return distribution === "normal" ? stream.normal(out) : stream.uniform(out).map((x) => 2 * x - 1);
}

/** The latent vector of a seed: that of `dcgan sample --seeds SEED`. */
const seededLatent = (seed, nz, distribution) => draw(seed, "latent", nz, distribution);
