"use strict";
// A training on the visitor's device. `replay.js` runs the programs; this file feeds them and shows what they give.

/** Images of a preview. */
const SIDE = 4;
/** Steps that may be on their way: the GPU never waits for the page. */
const AHEAD = 3;
/** Most of the visitor's own images, and the fewest that teach anything. */
const [MOST_OWN, FEWEST_OWN] = [5000, 16];

/** The value of a scalar in a step of `step` images after `before` images: dcgan's `Curve::value`. */
function scalar([kind, c], before, step) {
  const after = before + step;
  const rise = (images) => (images === 0 ? 1 : Math.min(1, after / images));
  switch (kind) {
    case "Rate": return c.base * (rise(c.warm_up) * (c.decay === 0 ? 1 : Math.max(0, 1 - before / c.decay)));
    case "Fall": {
      const part = c.decay === 0 ? 0 : Math.min(1, before / c.decay);
      return rise(c.warm_up) * (c.to + (c.base - c.to) * (1 - part ** c.power));
    }
    case "Ema": return 1 - 0.5 ** (step / Math.max(1e-8, Math.min(c.half_life, 0.05 * after)));
    case "Line": return c.from + (c.to - c.from) * (c.images === 0 ? 1 : Math.min(1, before / c.images));
    default: throw new Error(`no curve ${kind}`);
  }
}

/** The images of a training in dcgan's order: a pure function of seed and step. */
class Order {
  constructor(seed, count, batch) { Object.assign(this, { seed, count, batch, epoch: -1 }); }

  /** The images of step `index`, and whether each is mirrored. */
  step(index, flip) {
    const batches = Math.floor(this.count / this.batch);
    const epoch = Math.floor(index / batches);
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.order = new Stream(this.seed, "shuffle", epoch).permutation(this.count);
      this.flips = new Stream(this.seed, "flip", epoch);
    }
    const first = (index % batches) * this.batch;
    return Array.from(this.order.subarray(first, first + this.batch), (item) => ({
      item, mirrored: flip && this.flips.block(item)[0] >>> 31 === 1,
    }));
  }
}

/** A training: its states on a device, and how far it has come. */
class Training {
  constructor(about, bytes) {
    const { height, width, channels, count, images, labels } = about;
    const one = height * width * channels;
    const set = { images: bytes.subarray(images, images + count * one), count, own: false };
    if (labels !== null) set.labels = new Uint32Array(bytes.slice(labels, labels + 4 * count).buffer);
    Object.assign(this, { about, one, set, bundled: set, rate: 1, seed: BigInt(about.seed) });
    this.stored = decodeAll(about.tensors, bytes);
  }

  /** The initial values of all states under the seed, as dcgan makes them. */
  initial() {
    const values = {};
    for (const { name, shape, init } of this.about.states) {
      const out = new Float32Array(size(shape));
      const [kind, rule] = typeof init === "string" ? [init, null] : Object.entries(init)[0];
      const stream = (from) => new Stream(this.seed, from);
      if (kind === "key") {
        const half = (shift) => Number((this.seed >> shift) & 0xffffffffn);
        values[name] = new Uint32Array([half(0n), half(32n), 0, 0]);
        continue;
      }
      if (kind === "constant") out.fill(rule);
      else if (kind === "normal") stream(rule[2]).normal(out).forEach((x, i) => { out[i] = rule[0] + f32(f32(rule[1]) * x); });
      else if (kind === "uniform") stream(rule[2]).uniform(out).forEach((x, i) => { out[i] = rule[0] + f32(f32(rule[1] - rule[0]) * x); });
      else if (kind === "unit") {
        const length = Math.sqrt(stream(rule).normal(out).reduce((sum, x) => sum + x * x, 0));
        out.forEach((x, i) => { out[i] = x / length; });
      } else out.set(this.stored[name]);
      values[name] = out;
    }
    return values;
  }

  /** Puts the training on a device: `{step, preview, start}` with `run`, and `set` and `get` of the step's states. */
  async begin(programs) {
    this.programs = programs ?? this.programs;
    this.values = this.initial();
    await this.programs.set(this.values);
    if (this.about.gpu.start) {
      await this.programs.run("start", {});
      const own = await this.programs.get();
      for (const [from, to] of this.about.copies) own[to] = own[from];
      await this.programs.set(own);
    }
    this.images = 0;
    this.steps = 0;
    this.seconds = 0;
    this.order = new Order(this.seed, this.set.count, this.about.step_images);
  }

  /** The feeds of the next step. */
  feeds() {
    const { about, one, set } = this;
    const { width, channels } = about;
    const batch = this.order.step(this.steps, about.flip);
    const images = new Uint8Array(4 * Math.ceil(batch.length * one / 4));
    batch.forEach(({ item, mirrored }, i) => {
      const from = set.images.subarray(item * one, (item + 1) * one);
      if (!mirrored) { images.set(from, i * one); return; }
      for (let pixel = 0; pixel < one / channels; pixel++) {
        const row = pixel - (pixel % width);
        const other = row + width - 1 - (pixel - row);
        images.set(from.subarray(other * channels, (other + 1) * channels), i * one + pixel * channels);
      }
    });
    const schedule = Float32Array.from(about.schedule, ({ name, curve }) => {
      const value = scalar(Object.entries(curve)[0], this.images, about.step_images);
      return name.startsWith("lr") ? this.rate * value : value;
    });
    const feeds = { images, schedule };
    if (set.labels) {
      const classes = about.gpu.step.feeds.labels.shape[1];
      feeds.labels = new Float32Array(batch.length * classes);
      batch.forEach(({ item }, i) => { feeds.labels[i * classes + set.labels[item]] = 1; });
    }
    return feeds;
  }

  /** Starts a step; the promise gives its metrics by name. */
  async step() {
    const feeds = this.feeds();
    this.steps++;
    this.images += this.about.step_images;
    const fetched = await this.programs.run("step", feeds);
    return Object.fromEntries(this.about.metrics.map((name) => [name, fetched[name][0]]));
  }

  /** Images of seeds 0 and on. */
  async preview() {
    const { nz, distribution, classes } = this.about;
    const count = SIDE * SIDE;
    const z = new Float32Array(count * nz);
    for (let i = 0; i < count; i++) z.set(seededLatent(BigInt(i), nz, distribution), i * nz);
    const feeds = { z };
    if (classes) {
      feeds.labels = new Float32Array(count * classes.length);
      for (let i = 0; i < count; i++) feeds.labels[i * classes.length + (i % classes.length)] = 1;
    }
    return (await this.programs.run("preview", feeds)).images;
  }

  /** A checkpoint, as dcgan writes it: all states in the layouts of files. */
  async checkpoint() {
    const { about } = this;
    const values = { ...this.values, ...await this.programs.get() };
    const metadata = { ...about.metadata };
    const position = { step: this.steps, images: this.images, stage: 0, phase: 0, phase_images: this.images };
    Object.assign(metadata, {
      [about.keys.step]: String(this.steps), [about.keys.position]: JSON.stringify(position),
      [about.keys.seconds]: String(this.seconds),
    });
    if (this.seed !== BigInt(about.seed)) {
      const config = JSON.parse(metadata[about.keys.config]);
      metadata[about.keys.config] = JSON.stringify({ ...config, seed: Number(this.seed) });
    }
    const header = { __metadata__: metadata };
    const parts = [];
    let at = 0;
    for (const { name, file_shape: shape, reorder } of about.states) {
      const own = reorder ? reordered(values[name], reorder) : values[name];
      header[name] = { dtype: own instanceof Uint32Array ? "U32" : "F32", shape, data_offsets: [at, at + own.byteLength] };
      parts.push(own);
      at += own.byteLength;
    }
    const json = new TextEncoder().encode(JSON.stringify(header));
    const padded = new Uint8Array(8 * Math.ceil(json.length / 8)).fill(32);
    padded.set(json);
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(padded.length), true);
    return new Blob([length.buffer, padded, ...parts]);
  }
}

/** Values in another order of axes. */
function reordered(values, [sizes, strides]) {
  const out = new Float32Array(values.length);
  let to = 0;
  for (let i = 0; i < sizes[0]; i++) {
    for (let j = 0; j < sizes[1]; j++) {
      for (let k = 0; k < sizes[2]; k++) {
        const at = i * strides[0] + j * strides[1] + k * strides[2];
        for (let l = 0; l < sizes[3]; l++) out[to++] = values[at + l * strides[3]];
      }
    }
  }
  return out;
}

/** The programs on a GPU. */
class OnGpu {
  static async create(gpu, programs) {
    const own = new OnGpu();
    for (const [name, program] of Object.entries(programs)) own[name] = await GpuProgram.create(gpu, program, {});
    return own;
  }

  run(name, feeds) { return this[name].run(feeds); }
  set(values) { this.step.set(values); this.preview.set(values); }
  get() { return this.step.get(); }
}

/** The programs on the CPU, in one thread of its own. */
class OnCpu {
  constructor(programs, module) { this.pool = new CpuPool(programs, module, {}, 1); }
  run(name, feeds) { return this.pool.run(name, feeds); }
  async set(values) { await this.pool.set("step", values); await this.pool.set("preview", values); }
  get() { return this.pool.get("step"); }
}

/** Curves on a canvas: smoothed, with the last value in the legend. */
class Plot {
  constructor(id, names) {
    Object.assign(this, { canvas: find(id), legend: find(`${id}-legend`), names, points: names.map(() => []) });
  }

  clear() { this.points = this.names.map(() => []); this.draw(); }

  add(values) {
    values.forEach((value, k) => {
      const own = this.points[k];
      const before = own.at(-1) ?? value;
      own.push(0.9 * before + 0.1 * value);
    });
  }

  draw() {
    const { canvas, names, points } = this;
    const scale = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
    const context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const all = points.flat().filter(Number.isFinite);
    const [low, high] = [Math.min(0, ...sampled(all)), Math.max(...sampled(all), 0.1)];
    points.forEach((own, k) => {
      context.strokeStyle = style.getPropertyValue(`--c${k}`);
      context.lineWidth = 2 * scale;
      context.beginPath();
      const every = Math.max(1, Math.floor(own.length / 1000));
      for (let i = 0; i < own.length; i += every) {
        const x = (i / Math.max(1, own.length - 1)) * canvas.width;
        const y = canvas.height * (1 - (own[i] - low) / (high - low || 1));
        context.lineTo(x, y);
      }
      context.stroke();
    });
    this.legend.replaceChildren(...names.map((name, k) => {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.background = `var(--c${k})`;
      const last = points[k].at(-1);
      entry.append(swatch, `${name} ${last === undefined ? "" : last.toFixed(3)}`);
      return entry;
    }));
  }
}

/** At most a few thousand of some values: functions take no more arguments. */
const sampled = (values) => values.filter((_, i) => i % Math.ceil(values.length / 4000) === 0);

/** Draws images of values in [-1, 1], or of bytes, as a square on a canvas. */
function paintAll(canvas, { height, width, channels }, values) {
  const one = height * width * channels;
  [canvas.width, canvas.height] = [SIDE * width, SIDE * height];
  const context = canvas.getContext("2d");
  for (let i = 0; i < SIDE * SIDE && (i + 1) * one <= values.length; i++) {
    const image = imageOf({ height, width, channels }, values.subarray(i * one, (i + 1) * one));
    context.putImageData(image, (i % SIDE) * width, Math.floor(i / SIDE) * height);
  }
}

/** A file as bytes of the training's images: cropped at the center, and resized. */
async function readImage(file, { height, width, channels }) {
  const whole = await createImageBitmap(file);
  const scale = Math.min(whole.width / width, whole.height / height);
  const [w, h] = [width * scale, height * scale];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  if (channels < 4) context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, (whole.width - w) / 2, (whole.height - h) / 2, w, h, 0, 0, width, height);
  whole.close();
  const { data } = context.getImageData(0, 0, width, height);
  const out = new Uint8Array(height * width * channels);
  for (let p = 0; p < width * height; p++) {
    const [r, g, b] = data.subarray(4 * p, 4 * p + 3);
    if (channels === 1) out[p] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    else out.set(data.subarray(4 * p, 4 * p + channels), p * channels);
  }
  return out;
}

class App {
  constructor(training) {
    Object.assign(this, { training, running: false, pending: [] });
    const { metrics } = training.about;
    const known = (names) => names.filter((name) => metrics.includes(name));
    this.plots = [
      [new Plot("losses", known(["loss_d", "loss_g"])), known(["loss_d", "loss_g"])],
      [new Plot("outputs", known(["d_real", "d_fake"])), known(["d_real", "d_fake"])],
    ];
    this.history = [];
  }

  get every() { return 2 ** Number(find("every").value); }

  async reset() {
    await this.pause();
    await this.training.begin();
    this.history = [];
    this.plots.forEach(([plot]) => plot.clear());
    await this.show();
  }

  async show() {
    const { training } = this;
    paintAll(find("fakes"), training.about, await training.preview());
    this.plots.forEach(([plot]) => plot.draw());
    const rate = training.seconds ? ` ${Math.round(training.images / training.seconds)} images a second.` : "";
    find("progress").textContent = `Step ${training.steps}, ${training.images.toLocaleString("en")} images.${rate}`;
  }

  take(metrics) {
    this.history.push(metrics);
    for (const [plot, names] of this.plots) plot.add(names.map((name) => metrics[name]));
    if (Object.values(metrics).some((x) => !Number.isFinite(x))) {
      this.running = false;
      status("The training has diverged: a value is not finite. Reset it, and try lower learning rates.");
    }
  }

  /** Steps until it is paused, or so many of them. */
  async run(count = Infinity) {
    if (this.running) return;
    this.running = true;
    find("start").textContent = "Pause";
    let since = performance.now();
    for (let i = 0; i < count && this.running; i++) {
      this.pending.push(this.training.step());
      if (this.pending.length >= AHEAD) this.take(await this.pending.shift());
      if (this.training.steps % this.every === 0) {
        while (this.pending.length) this.take(await this.pending.shift());
        this.training.seconds += (performance.now() - since) / 1000;
        await this.show();
        since = performance.now();
      }
    }
    while (this.pending.length) this.take(await this.pending.shift());
    this.training.seconds += (performance.now() - since) / 1000;
    await this.show();
    this.running = false;
    find("start").textContent = "Start";
  }

  /** Waits until no step is on its way. */
  async pause() {
    this.running = false;
    await this.current;
  }

  go(count) { this.current = this.run(count).catch((error) => status(`The device failed: ${error.message}`)); return this.current; }

  async takeFiles(files) {
    const { training } = this;
    const { about } = training;
    await this.pause();
    const images = [];
    let bad = 0;
    for (const file of [...files].filter((f) => f.type.startsWith("image/")).slice(0, MOST_OWN)) {
      try { images.push(await readImage(file, about)); } catch { bad++; }
      if (images.length % 50 === 0) find("reals-note").textContent = `Reading: ${images.length}`;
    }
    const fewest = Math.max(FEWEST_OWN, about.step_images);
    if (images.length < fewest) {
      find("reals-note").textContent = `${images.length} images can be read, and at least ${fewest} are needed.`;
      return;
    }
    const bytes = new Uint8Array(images.length * training.one);
    images.forEach((image, i) => bytes.set(image, i * training.one));
    training.set = { images: bytes, count: images.length, own: true };
    this.showReals(bad);
    await this.reset();
  }

  showReals(bad = 0) {
    const { set, about } = this.training;
    paintAll(find("reals"), about, set.images);
    const more = bad ? `; ${bad} files cannot be read` : "";
    find("reals-note").textContent = `${set.count.toLocaleString("en")} images of ${about.width} × ${about.height} pixels${more}.`;
  }

  connect() {
    const { training } = this;
    find("start").addEventListener("click", () => (this.running ? this.pause() : this.go()));
    find("one").addEventListener("click", async () => { await this.pause(); await this.go(1); });
    find("reset").addEventListener("click", () => this.reset());
    find("seed").value = String(training.seed);
    find("seed").addEventListener("change", ({ target }) => {
      const good = /^\d{1,15}$/.test(target.value.trim());
      target.setAttribute("aria-invalid", String(!good));
      if (good) { training.seed = BigInt(target.value.trim()); this.reset(); }
    });
    find("rate").addEventListener("input", ({ target }) => {
      training.rate = 10 ** Number(target.value);
      find("times").textContent = `× ${training.rate.toPrecision(2)}`;
    });
    find("every").addEventListener("input", () => { find("steps").textContent = String(this.every); });
    find("save").addEventListener("click", async () => {
      const was = this.running;
      await this.pause();
      save(await training.checkpoint(), `checkpoint-${String(training.images).padStart(6, "0")}.safetensors`);
      if (was) this.go();
    });
    const own = find("own").parentElement;
    if (training.set.labels) find("own").hidden = true;
    else {
      find("files").addEventListener("change", ({ target }) => this.takeFiles(target.files));
      own.addEventListener("dragover", (event) => { event.preventDefault(); own.classList.add("dropping"); });
      own.addEventListener("dragleave", () => own.classList.remove("dropping"));
      own.addEventListener("drop", (event) => {
        event.preventDefault();
        own.classList.remove("dropping");
        this.takeFiles(event.dataTransfer.files);
      });
    }
    document.addEventListener("keydown", (event) => {
      if (event.key !== " " || ["INPUT", "BUTTON"].includes(event.target.tagName)) return;
      event.preventDefault();
      find("start").click();
    });
  }
}

async function main() {
  const opening = openGpu();
  const { model: about, bytes, module } = await load();
  const training = new Training(about, bytes);
  const app = new App(training);
  app.connect();
  app.showReals();
  const onCpu = async (why) => {
    await training.begin(new OnCpu(about.cpu, module));
    status(`Trains on the CPU by WebAssembly, ${why}`);
  };
  const gpu = await opening;
  if (gpu) {
    status("Compiling for the GPU");
    try {
      const start = performance.now();
      await training.begin(await OnGpu.create(gpu, about.gpu));
      document.documentElement.dataset.compiled = Math.round(performance.now() - start);
      status("Trains by WebGPU");
    } catch (error) {
      await onCpu(`as the GPU failed (${error.message})`);
    }
  } else await onCpu("as this browser has no WebGPU for a graphics card");
  await app.show();
  globalThis.dcgan = { app, training };
  document.documentElement.dataset.done = "true";
}

start(main);
