"use strict";
// What a visitor sees and does. `replay.js` runs the programs.

/** Most threads that make images on the CPU: each has a copy of the weights. */
const THREADS = 4;
const GRID = 64;
/** How far sliders go, in standard deviations. */
const REACH = 3;

/** Makes images, by the best device so far. */
class Generator {
  constructor(model, module, values) {
    const threads = Math.min(THREADS, Math.max(1, (navigator.hardwareConcurrency ?? 2) - 1));
    this.model = model;
    this.cpu = new CpuPool({ cpu: model.programs.cpu }, module, values, threads);
    this.one = null;
    this.many = null;
  }

  /** Compiles for a GPU: the program of one image first, so that it takes over soon. */
  async useGpu(gpu, values) {
    this.one = await GpuProgram.create(gpu, this.model.programs.one, values);
    const { many } = this.model.programs;
    this.many = many ? await GpuProgram.create(gpu, many, values) : this.one;
  }

  /** The feeds of a program for some latents, filled up to its batch as dcgan does. */
  feeds({ feeds }, rows, conditions) {
    const { nz, distribution } = this.model;
    const batch = feeds.z.shape[0];
    const z = draw(0n, "company", batch * nz, distribution);
    rows.forEach((row, i) => z.set(row, i * nz));
    const all = { z };
    for (const [name, { shape }] of Object.entries(feeds)) {
      if (name === "z") continue;
      const width = shape[1];
      const own = new Float32Array(batch * width);
      // The company is of the first class, or of no text.
      if (name === "labels") for (let i = rows.length; i < batch; i++) own[i * width] = 1;
      conditions.forEach((condition, i) => own.set(condition, i * width));
      all[name] = own;
    }
    return all;
  }

  /** Images of latents on conditions; `show(i, values)` gets each one as soon as it is there. */
  async images(rows, conditions, show) {
    const program = rows.length > 1 ? this.many : this.one;
    const { programs, height, width, channels } = this.model;
    const batch = (program?.program ?? programs.cpu).feeds.z.shape[0];
    const runs = [];
    for (let first = 0; first < rows.length; first += batch) {
      const own = rows.slice(first, first + batch);
      const feeds = this.feeds(program?.program ?? programs.cpu, own, conditions.slice(first, first + batch));
      const run = async () => {
        const { images } = await (program ? program.run(feeds) : this.cpu.run("cpu", feeds));
        const one = height * width * channels;
        own.forEach((_, i) => show(first + i, images.subarray(i * one, (i + 1) * one)));
      };
      // A GPU gets one run after the other: it has the feeds of one.
      if (program) await run(); else runs.push(run());
    }
    await Promise.all(runs);
  }
}

/** Draws an image on a canvas of its size. */
function paint(canvas, model, values) {
  [canvas.width, canvas.height] = [model.width, model.height];
  canvas.getContext("2d").putImageData(imageOf(model, values), 0, 0);
}

/** The latent between `a` and `b`: on the arc for normal latents, as in `dcgan walk`. */
function between(a, b, t, distribution) {
  let [wa, wb] = [1 - t, t];
  if (distribution === "normal") {
    const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
    const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
    if (Math.sin(angle) >= 1e-4) {
      [wa, wb] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
    }
  }
  return a.map((x, i) => wa * x + wb * b[i]);
}

/** Rows of 32-bit floats as a NumPy file, which `dcgan sample --latents` takes. */
function npy(rows) {
  const shape = `(${rows.length}, ${rows[0].length})`;
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const head = new Uint8Array([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  return new Blob([head, header, ...rows.map((row) => Float32Array.from(row))]);
}

/** The vector of a text, and the words that the model does not know; see dcgan's `src/text`. */
function encodeText({ width, words, bins, vectors }, text) {
  const own = text.split(/[^\p{Alphabetic}\p{N}]+/u).filter(Boolean).map((word) => word.toLowerCase());
  const vector = new Float32Array(width);
  if (vectors) {
    const whole = vectors[own.join(" ")];
    const parts = whole ? [whole] : own.map((word) => vectors[word]).filter(Boolean);
    parts.forEach((part) => part.forEach((x, i) => { vector[i] += x; }));
    const square = vector.reduce((sum, x) => sum + x * x, 0) / width;
    if (square > 0) vector.forEach((x, i) => { vector[i] = x / Math.sqrt(square); });
    return { vector, unknown: whole ? [] : own.filter((word) => !vectors[word]) };
  }
  const at = new Map(words.map((word, i) => [word, i]));
  const known = own.filter((word) => at.has(word));
  const set = new Set(known.map((word) => at.get(word)));
  for (let i = 0; i + 1 < known.length; i++) set.add(words.length + hash(`${known[i]} ${known[i + 1]}`) % bins);
  for (const i of set) vector[i] = Math.sqrt(width / set.size);
  return { vector, unknown: own.filter((word) => !at.has(word)) };
}

/** Seeds as typed: "3, 17"; null if they are none. */
function seedsOf(text) {
  const parts = text.split(/[\s,]+/).filter(Boolean);
  if (parts.length === 0 || !parts.every((part) => /^\d{1,20}$/.test(part))) return null;
  const seeds = parts.map(BigInt);
  return seeds.every((seed) => seed < 1n << 64n) ? seeds : null;
}

// ---------------------------------------------------------------- What is shown

/** An image: seeds of its latent (A - B + C if there are three lists), sliders, class, text. */
class Point {
  constructor(seeds) {
    this.seeds = seeds;
    this.directions = new Map();
    this.coordinates = new Map();
    this.label = null;
    this.text = null;
  }

  /** As in the address. */
  toString() {
    const pairs = (map) => [...map].map(([i, x]) => `${i}:${x}`).join(",");
    const fields = { seed: this.seeds.map((list) => list.join(",")).join(";") };
    if (this.directions.size) fields.directions = pairs(this.directions);
    if (this.coordinates.size) fields.coordinates = pairs(this.coordinates);
    if (this.label !== null) fields.class = this.label;
    if (this.text !== null) fields.text = this.text;
    return new URLSearchParams(fields).toString();
  }

  /** What an address means; null if nothing of this model. */
  static parse(text, model) {
    const fields = new URLSearchParams(text);
    const seeds = (fields.get("seed") ?? "").split(";").map(seedsOf);
    if (seeds.includes(null) || ![1, 3].includes(seeds.length)) return null;
    const point = new Point(seeds);
    const pairs = (name, count) => new Map((fields.get(name) ?? "").split(",").filter(Boolean)
      .map((pair) => pair.split(":").map(Number))
      .filter(([i, x]) => Number.isInteger(i) && i >= 0 && i < count && Math.abs(x) <= 2 * REACH));
    point.directions = pairs("directions", model.directions.length);
    point.coordinates = pairs("coordinates", model.nz);
    const label = fields.get("class");
    if (/^\d+$/.test(label) && Number(label) < (model.classes?.length ?? 0)) point.label = Number(label);
    if (model.text && fields.has("text")) point.text = fields.get("text");
    return point;
  }

  copy() {
    return Object.assign(new Point(this.seeds), this, {
      directions: new Map(this.directions), coordinates: new Map(this.coordinates),
    });
  }
}

class App {
  constructor(model, generator) {
    Object.assign(this, { model, generator, walking: null, drawn: 0, wanted: 0, pick: null, first: 0n });
    const [own, favorites] = this.fromAddress();
    this.point = own ?? new Point([[0n]]);
    this.favorites = favorites;
    this.arithmetic = [null, null, null];
  }

  fromAddress() {
    const text = location.hash.slice(1);
    const favorites = new URLSearchParams(text).getAll("favorite");
    return [Point.parse(text, this.model), favorites.map((f) => Point.parse(f, this.model)).filter(Boolean)];
  }

  toAddress() {
    const favorites = this.favorites.map((f) => `&favorite=${encodeURIComponent(f)}`).join("");
    history.replaceState(null, "", `#${this.point}${favorites}`);
  }

  /** The latent of a point without its sliders. */
  base({ seeds }) {
    const { nz, distribution } = this.model;
    const mean = (list) => {
      const sum = new Float32Array(nz);
      list.forEach((seed) => seededLatent(seed, nz, distribution).forEach((x, i) => { sum[i] += x; }));
      return sum.map((x) => x / list.length);
    };
    const [a, b, c] = seeds.map(mean);
    return b ? a.map((x, i) => x - b[i] + c[i]) : a;
  }

  /** Moves a latent by a point's sliders. */
  moved(z, { directions, coordinates }) {
    const out = Float32Array.from(z);
    for (const [k, amount] of directions) {
      this.model.directions[k].vector.forEach((x, i) => { out[i] += amount * x; });
    }
    for (const [i, x] of coordinates) out[i] = x;
    return out;
  }

  latent(point) { return this.moved(this.base(point), point); }

  /** The condition of a point, if the model has any: a class as dcgan would choose it, or a text. */
  condition(point) {
    const { classes, text } = this.model;
    if (text) {
      const examples = text.examples.length;
      const own = point.text ?? (examples ? text.examples[Number(point.seeds[0][0] % BigInt(examples))] : "");
      return [encodeText(text, own).vector];
    }
    if (!classes) return [];
    const condition = new Float32Array(classes.length);
    condition[this.label(point)] = 1;
    return [condition];
  }

  label({ label, seeds }) {
    return label ?? Number(seeds[0][0] % BigInt(this.model.classes.length));
  }

  describe(point) {
    const { classes, text } = this.model;
    const of = point.seeds.length === 3 ? `Seeds ${point.seeds.map((s) => s.join(", ")).join(" − ").replace(/ − ([^−]*)$/, " + $1")}` : `Seed ${point.seeds[0].join(", ")}`;
    const kind = classes ? `, ${classes[this.label(point)]}` : text && point.text ? `, “${point.text}”` : "";
    return of + kind + (point.directions.size || point.coordinates.size ? ", moved" : "");
  }

  /** Images of points on canvases. */
  async draw(points, canvases) {
    await this.generator.images(points.map((p) => this.latent(p)), points.flatMap((p) => this.condition(p)),
      (i, values) => paint(canvases[i], this.model, values));
  }

  /** Shows the point; while one image is being made, only the newest of later ones is made next. */
  async show(latent = null) {
    this.wanted++;
    this.next = latent;
    if (this.busy) return this.busy;
    const loop = async () => {
      while (this.drawn !== this.wanted) {
        this.drawn = this.wanted;
        const { point, next } = this;
        await this.generator.images([next ?? this.latent(point)], this.condition(point),
          (_, values) => paint(find("image"), this.model, values));
        const text = this.describe(point);
        find("caption").textContent = text;
        find("image").setAttribute("aria-label", `Generated image. ${text}`);
      }
    };
    this.busy = loop().finally(() => { this.busy = null; });
    return this.busy;
  }

  /** Another point: its controls, its image, its address. */
  go(point) {
    this.stop();
    this.point = point;
    this.controls();
    this.toAddress();
    return this.show();
  }

  goSeed(seed) {
    const point = this.point.copy();
    point.seeds = [[BigInt.asUintN(64, seed)]];
    return this.go(point);
  }

  // -------------------------------------------------------------- Controls

  controls() {
    const { point, model } = this;
    find("seed").value = point.seeds.map((list) => list.join(", ")).join("; ");
    find("class").value = point.label ?? "";
    find("text").value = point.text ?? "";
    for (const bar of this.bars) bar.set(point);
    if (model.text) {
      const unknown = point.text ? encodeText(model.text, point.text).unknown : [];
      find("unknown").textContent = unknown.length ? `The model does not know: ${unknown.join(", ")}` : "";
    }
  }

  /** A slider over one entry of a point's map; `start(point)` is its value where the map has none. */
  bar(name, map, index, start) {
    const label = document.createElement("label");
    label.className = "bar";
    const text = document.createElement("span");
    text.textContent = name;
    const input = Object.assign(document.createElement("input"), { type: "range", min: -REACH, max: REACH, step: 0.1 });
    const output = document.createElement("output");
    label.append(text, input, output);
    const set = (point) => {
      input.value = point[map].get(index) ?? start(point);
      output.textContent = Number(input.value).toFixed(1);
    };
    input.addEventListener("input", () => {
      this.stop();
      const x = Number(input.value);
      if (map === "directions" && x === 0) this.point[map].delete(index); else this.point[map].set(index, x);
      output.textContent = x.toFixed(1);
      this.toAddress();
      this.show();
    });
    this.bars.push({ set });
    return label;
  }

  sliders() {
    const { directions, nz } = this.model;
    this.bars = [];
    const bars = directions.map(({ name }, k) => this.bar(name, "directions", k, () => 0));
    find("directions").append(...bars.slice(0, 8));
    if (bars.length > 8) {
      find("more").hidden = false;
      find("more").querySelector("div").append(...bars.slice(8));
    }
    // Many: made when they are first looked at.
    const single = find("coordinates");
    single.open = directions.length === 0;
    const fill = () => {
      const box = single.querySelector("div");
      if (!single.open || box.childElementCount) return;
      for (let i = 0; i < nz; i++) {
        box.append(this.bar(`z ${i + 1}`, "coordinates", i, (point) => this.base(point)[i]));
      }
      this.controls();
    };
    single.addEventListener("toggle", fill);
    fill();
  }

  /** A button with the image of a point. */
  tile(point, text, choose) {
    const tile = document.createElement("button");
    tile.className = "tile";
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.model.width, this.model.height];
    const caption = document.createElement("span");
    caption.textContent = text;
    tile.append(canvas, caption);
    tile.addEventListener("click", choose);
    return { tile, canvas };
  }

  async grid() {
    const round = (this.round = (this.round ?? 0) + 1);
    const points = Array.from({ length: GRID }, (_, i) => {
      const point = new Point([[BigInt.asUintN(64, this.first + BigInt(i))]]);
      [point.label, point.text] = [this.point.label, this.point.text];
      return point;
    });
    const tiles = points.map((point) => this.tile(point, point.seeds[0][0].toString(), () => this.choose(point)));
    tiles.forEach(({ tile }, i) => tile.setAttribute("aria-label", `Seed ${points[i].seeds[0][0]}`));
    find("grid").replaceChildren(...tiles.map(({ tile }) => tile));
    // In parts, so that the large image does not wait long.
    for (let i = 0; i < GRID && round === this.round; i += 16) {
      await this.draw(points.slice(i, i + 16), tiles.slice(i, i + 16).map(({ canvas }) => canvas));
    }
  }

  choose(point) {
    const seed = point.seeds[0][0];
    if (this.pick === null) {
      this.goSeed(seed);
      find("image").scrollIntoView({ block: "nearest" });
      return;
    }
    const input = this.terms[this.pick].input;
    input.value = input.value.trim() ? `${input.value.trim()}, ${seed}` : `${seed}`;
    input.dispatchEvent(new Event("change"));
  }

  showFavorites() {
    find("favorites").hidden = this.favorites.length === 0;
    const tiles = this.favorites.map((point) => this.tile(point, this.describe(point), () => this.go(point.copy())));
    find("favorites").querySelector(".tiles").replaceChildren(...tiles.map(({ tile }) => tile));
    return this.favorites.length ? this.draw(this.favorites, tiles.map(({ canvas }) => canvas)) : null;
  }

  favorite() {
    const own = this.point.toString();
    const at = this.favorites.findIndex((f) => f.toString() === own);
    if (at >= 0) this.favorites.splice(at, 1); else this.favorites.push(this.point.copy());
    this.toAddress();
    this.showFavorites();
  }

  setUpArithmetic() {
    this.terms = ["A", "B", "C"].map((name, k) => {
      const box = document.createElement("div");
      const canvas = document.createElement("canvas");
      const label = document.createElement("label");
      label.textContent = `${["", "− ", "+ "][k]}${name} `;
      const input = Object.assign(document.createElement("input"), { autocomplete: "off", placeholder: "seeds" });
      label.append(input);
      const pick = document.createElement("button");
      pick.textContent = "Pick";
      pick.setAttribute("aria-pressed", "false");
      pick.setAttribute("aria-label", `Pick seeds of ${name} in the grid`);
      pick.addEventListener("click", () => {
        this.pick = this.pick === k ? null : k;
        this.terms.forEach((term, i) => term.pick.setAttribute("aria-pressed", String(this.pick === i)));
        find("picking").textContent = this.pick === null
          ? "Choose one to see it large." : `Choose seeds of ${"ABC"[this.pick]}.`;
      });
      input.addEventListener("change", () => this.add(k, input));
      box.append(canvas, label, pick);
      find("arithmetic").append(box);
      return { canvas, input, pick };
    });
    const box = document.createElement("div");
    this.sum = document.createElement("canvas");
    const text = document.createElement("span");
    text.textContent = "= A − B + C";
    box.append(this.sum, text);
    find("arithmetic").append(box);
    for (const canvas of [...this.terms.map((term) => term.canvas), this.sum]) {
      [canvas.width, canvas.height] = [this.model.width, this.model.height];
    }
    find("large").addEventListener("click", () => this.go(this.result()));
  }

  /** The point A - B + C. */
  result() {
    const point = new Point(this.arithmetic);
    [point.label, point.text] = [this.point.label, this.point.text];
    return point;
  }

  async add(k, input) {
    const seeds = seedsOf(input.value);
    input.setAttribute("aria-invalid", String(!seeds && input.value.trim() !== ""));
    this.arithmetic[k] = seeds;
    const complete = !this.arithmetic.includes(null);
    find("large").disabled = !complete;
    if (seeds) {
      const point = new Point([seeds]);
      [point.label, point.text] = [this.point.label, this.point.text];
      await this.draw([point], [this.terms[k].canvas]);
    }
    if (complete) await this.draw([this.result()], [this.sum]);
  }

  // -------------------------------------------------------------- Walks

  /** From the image to random others, two seconds each, until it is stopped. */
  async walk() {
    if (this.walking) { this.stop(); return; }
    const own = (this.walking = {});
    find("walk").setAttribute("aria-pressed", "true");
    find("walk").textContent = "Stop";
    const { nz, distribution } = this.model;
    let seed = null;
    let a = this.base(this.point);
    while (this.walking === own) {
      seed = randomSeed();
      const b = seededLatent(seed, nz, distribution);
      const start = performance.now();
      for (let t = 0; t < 1 && this.walking === own;) {
        t = Math.min(1, (performance.now() - start) / 2000);
        await this.show(this.moved(between(a, b, t, distribution), this.point));
        await new Promise((resolve) => requestAnimationFrame(resolve));
      }
      if (this.walking !== own) return;
      a = b;
      this.point.seeds = [[seed]];
      this.controls();
      this.toAddress();
    }
  }

  stop() {
    this.walking = null;
    find("walk").setAttribute("aria-pressed", "false");
    find("walk").textContent = "Walk";
  }

  // -------------------------------------------------------------- Start

  connect() {
    const { model } = this;
    this.sliders();
    this.setUpArithmetic();
    if (model.classes) {
      find("classes").hidden = false;
      const names = [["", "by seed, in turn"], ...model.classes.map((name, i) => [i, name])];
      find("class").append(...names.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
      find("class").addEventListener("change", ({ target }) => {
        this.go(Object.assign(this.point.copy(), { label: target.value === "" ? null : Number(target.value) }));
        this.grid();
      });
    }
    if (model.text) {
      find("texts").hidden = false;
      find("examples").append(...model.text.examples.map((value) => Object.assign(document.createElement("option"), { value })));
      find("text").placeholder = model.text.examples[0] ?? "";
      find("text").addEventListener("change", ({ target }) => {
        this.go(Object.assign(this.point.copy(), { text: target.value.trim() || null }));
        this.grid();
      });
    }
    find("seed").addEventListener("change", ({ target }) => {
      const seeds = target.value.split(";").map(seedsOf);
      const good = !seeds.includes(null) && [1, 3].includes(seeds.length);
      target.setAttribute("aria-invalid", String(!good));
      if (good) this.go(Object.assign(this.point.copy(), { seeds }));
    });
    const name = () => `seed-${this.point.seeds.flat().join("-")}`;
    const actions = {
      new: () => this.goSeed(randomSeed()),
      walk: () => this.walk(),
      favorite: () => this.favorite(),
      png: () => find("image").toBlob((blob) => save(blob, `${name()}.png`)),
      npy: () => save(npy([this.latent(this.point)]), `${name()}.npy`),
      all: () => save(npy(this.favorites.map((f) => this.latent(f))), "latents.npy"),
      reset: () => this.go(Object.assign(this.point.copy(), { directions: new Map(), coordinates: new Map() })),
      before: () => { this.first = BigInt.asUintN(64, this.first - BigInt(GRID)); this.grid(); },
      after: () => { this.first = BigInt.asUintN(64, this.first + BigInt(GRID)); this.grid(); },
    };
    for (const [id, act] of Object.entries(actions)) find(id).addEventListener("click", act);
    const keys = {
      n: actions.new, w: actions.walk, f: actions.favorite, s: actions.png, 0: actions.reset,
      ArrowRight: () => this.goSeed(this.point.seeds[0][0] + 1n), ArrowLeft: () => this.goSeed(this.point.seeds[0][0] - 1n),
    };
    document.addEventListener("keydown", (event) => {
      const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    addEventListener("hashchange", () => {
      const [point, favorites] = this.fromAddress();
      this.favorites = favorites;
      this.showFavorites();
      if (point) this.go(point);
    });
  }
}

/** A seed of at most nine digits. */
const randomSeed = () => BigInt(crypto.getRandomValues(new Uint32Array(1))[0] % 1000000000);

async function main() {
  const gpu = openGpu();
  const { model, bytes, module } = await load();
  const values = decodeAll(model.tensors, bytes);
  const generator = new Generator(model, module, values);
  const app = new App(model, generator);
  app.connect();
  app.controls();
  status("Making the first image");
  await app.show();
  const milliseconds = Math.round(performance.now());
  document.documentElement.dataset.first = milliseconds;
  const onCpu = "on the CPU by WebAssembly, as this browser has no WebGPU for a graphics card";
  const found = await gpu;
  status(found ? "Compiling for the GPU" : onCpu);
  if (found) {
    try {
      const start = performance.now();
      await generator.useGpu(found, values);
      const { vendor, architecture } = found.adapter.info;
      status(`by WebGPU on ${[vendor, architecture].filter(Boolean).join(" ") || "the GPU"}`);
      document.documentElement.dataset.compiled = Math.round(performance.now() - start);
      found.device.lost.then(({ reason }) => {
        if (reason === "destroyed") return;
        generator.one = generator.many = null;
        status("on the CPU by WebAssembly, as the GPU was lost");
      });
    } catch (error) {
      generator.one = generator.many = null;
      status(`on the CPU by WebAssembly: the GPU failed (${error.message})`);
    }
  }
  await Promise.all([app.grid(), app.showFavorites()]);
  document.documentElement.dataset.done = "true";
  globalThis.dcgan = { app, generator, model };
}

start(main);
