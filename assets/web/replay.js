"use strict";
// Runs the programs of this page: on a GPU by WebGPU, or on the CPU by WebAssembly.
//
// A program is plain data: buffers, and steps that run a kernel over them. Its kernels are WGSL for a GPU,
// and the same WGSL compiled to one WebAssembly module for a CPU. `src/program/portable.rs` of dcgan, which
// writes them, explains every field.

// ---------------------------------------------------------------- The data of the page

/** The bytes of base64 text. */
function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Unpacks base64 of gzip of: the length of the JSON (u32), the JSON, and the bytes that it refers to. */
async function unpack(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const all = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(all.buffer).getUint32(0, true);
  const model = JSON.parse(new TextDecoder().decode(all.subarray(4, 4 + length)));
  return { model, bytes: all.slice(4 + length) };
}

/** The value of a 16-bit float by its bits. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The values of all 16-bit floats, once they are needed. */
let halves = null;

/** The values of a stored tensor: 32-bit floats, 16-bit floats, or 8-bit integers times a scale. */
function decode({ at, length, encoding, scales, inner }, bytes) {
  const start = bytes.byteOffset + at;
  if (encoding === "f32") return new Float32Array(bytes.buffer.slice(start, start + 4 * length));
  if (encoding === "u32") return new Uint32Array(bytes.buffer.slice(start, start + 4 * length));
  const out = new Float32Array(length);
  if (encoding === "f16") {
    const bits = new Uint16Array(bytes.buffer.slice(start, start + 2 * length));
    halves ??= Float32Array.from({ length: 65536 }, (_, i) => half(i));
    for (let i = 0; i < length; i++) out[i] = halves[bits[i]];
    return out;
  }
  // The scale of value i is that of its place along one axis, whose steps are `inner` values long.
  const integers = new Int8Array(bytes.buffer, start, length);
  for (let i = 0; i < length; i++) {
    out[i] = integers[i] * scales[Math.floor(i / inner) % scales.length];
  }
  return out;
}

/** All stored tensors by name. */
function decodeAll(tensors, bytes) {
  return Object.fromEntries(tensors.map((tensor) => [tensor.name, decode(tensor, bytes)]));
}

// ---------------------------------------------------------------- Programs

const size = (shape) => shape.reduce((product, n) => product * n, 1);

/** A GPU, and the states on it that programs share. */
class Gpu {
  static async open() {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return null;
    const device = await adapter.requestDevice();
    return Object.assign(new Gpu(), { adapter, device, states: new Map() });
  }

  /** The shared buffer of this name. */
  state(name, bytes) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    if (!this.states.has(name)) {
      this.states.set(name, this.device.createBuffer({ size: bytes, usage }));
    }
    return this.states.get(name);
  }
}

/** A program on a GPU. */
class GpuProgram {
  /** Compiles all kernels at once, and uploads the values of states that are not there yet. */
  static async create(gpu, program, values) {
    const { device } = gpu;
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    const pipelines = await Promise.all(program.kernels.map((code) => device.createComputePipelineAsync({
      layout: "auto", compute: { module: device.createShaderModule({ code }), entryPoint: "main" },
    })));
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const known = new Set(gpu.states.keys());
    const buffers = [];
    for (const { bytes, state, part } of program.buffers) {
      // A part has the buffer of the whole one, and starts later.
      if (part) buffers.push({ buffer: buffers[part[0]].buffer, offset: part[1], size: bytes });
      else if (state) buffers.push({ buffer: gpu.state(state, bytes), offset: 0, size: bytes });
      else buffers.push({ buffer: device.createBuffer({ size: bytes, usage }), offset: 0, size: bytes });
    }
    const own = Object.assign(new GpuProgram(), { device, program, buffers });
    const isNew = (name) => !known.has(program.buffers[program.states[name].buffer].state);
    own.set(Object.fromEntries(Object.entries(values).filter(([name]) => program.states[name] && isNew(name))));
    own.steps = program.steps.map((step) => step.copy ? step : {
      pipeline: pipelines[step.kernel],
      group: device.createBindGroup({
        layout: pipelines[step.kernel].getBindGroupLayout(0),
        entries: step.bind.map((at, binding) => ({ binding, resource: buffers[at] })),
      }),
      groups: step.groups,
    });
    const error = await device.popErrorScope() ?? await device.popErrorScope();
    if (error) throw new Error(error.message);
    return own;
  }

  /** Sets states that the program knows. */
  set(values) {
    for (const [name, { buffer, start }] of Object.entries(this.program.states)) {
      if (values[name]) this.device.queue.writeBuffer(this.buffers[buffer].buffer, start, values[name]);
    }
  }

  /** The values of its states. */
  get() {
    const encoder = this.device.createCommandEncoder();
    const reads = this.read(this.program.states, encoder);
    this.device.queue.submit([encoder.finish()]);
    return collect(reads);
  }

  /** Copies tensors to where they can be read once the encoder's commands are done. */
  read(views, encoder) {
    return Object.entries(views).map(([name, { buffer, start, shape, dtype }]) => {
      const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
      const copy = this.device.createBuffer({ size: 4 * size(shape), usage });
      const { buffer: from, offset } = this.buffers[buffer];
      encoder.copyBufferToBuffer(from, offset + start, copy, 0, 4 * size(shape));
      return { name, copy, dtype };
    });
  }

  /** Runs once; returns the fetches by name. */
  async run(feeds) {
    const { device, program, buffers, steps } = this;
    for (const [name, { buffer }] of Object.entries(program.feeds)) {
      device.queue.writeBuffer(buffers[buffer].buffer, 0, feeds[name]);
    }
    const encoder = device.createCommandEncoder();
    let pass = null;
    for (const step of steps) {
      if (step.copy) {
        pass?.end();
        pass = null;
        const [from, start, to, bytes] = step.copy;
        encoder.copyBufferToBuffer(buffers[from].buffer, buffers[from].offset + start,
          buffers[to].buffer, buffers[to].offset, bytes);
        continue;
      }
      pass ??= encoder.beginComputePass();
      pass.setPipeline(step.pipeline);
      pass.setBindGroup(0, step.group);
      pass.dispatchWorkgroups(...step.groups);
    }
    pass?.end();
    const reads = this.read(program.fetches, encoder);
    device.queue.submit([encoder.finish()]);
    return collect(reads);
  }
}

/** The values of what `GpuProgram.read` copied, by name. */
async function collect(reads) {
  return Object.fromEntries(await Promise.all(reads.map(async ({ name, copy, dtype }) => {
    await copy.mapAsync(GPUMapMode.READ);
    const data = copy.getMappedRange().slice(0);
    copy.destroy();
    return [name, dtype === "u32" ? new Uint32Array(data) : new Float32Array(data)];
  })));
}

/** Memory for programs on the CPU: their buffers, one behind the other, and the states that they share. */
class Cpu {
  constructor() {
    Object.assign(this, { memory: new WebAssembly.Memory({ initial: 1 }), end: 16, states: new Map() });
  }

  /** The first byte of so many new ones, which are zero. */
  allocate(bytes) {
    const start = this.end;
    this.end += 16 * Math.ceil(bytes / 16);
    // Kernels read whole vectors, which may end behind the last buffer.
    const missing = Math.ceil((this.end + 16) / 65536) - this.memory.buffer.byteLength / 65536;
    if (missing > 0) this.memory.grow(missing);
    return start;
  }

  /** The first byte of the shared buffer of this name. */
  state(name, bytes) {
    if (!this.states.has(name)) this.states.set(name, this.allocate(bytes));
    return this.states.get(name);
  }

  write(start, values) {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    new Uint8Array(this.memory.buffer, start).set(bytes);
  }
}

/** A program on the CPU; `kernels` are the exports of its module, made for that memory. */
class CpuProgram {
  constructor(cpu, kernels, program, values) {
    const starts = [];
    for (const { bytes, state, part } of program.buffers) {
      starts.push(part ? starts[part[0]] + part[1] : state ? cpu.state(state, bytes) : cpu.allocate(bytes));
    }
    Object.assign(this, { cpu, kernels, program, starts });
    this.set(values);
  }

  /** Sets states that the program knows. */
  set(values) {
    for (const [name, { buffer, start }] of Object.entries(this.program.states)) {
      if (values[name]) this.cpu.write(this.starts[buffer] + start, values[name]);
    }
  }

  /** The values of its states. */
  get() { return this.read(this.program.states); }

  read(views) {
    return Object.fromEntries(Object.entries(views).map(([name, { buffer, start, shape, dtype }]) => {
      const Values = dtype === "u32" ? Uint32Array : Float32Array;
      return [name, new Values(this.cpu.memory.buffer, this.starts[buffer] + start, size(shape)).slice()];
    }));
  }

  /** Runs once; returns the fetches by name. */
  run(feeds) {
    const { cpu, kernels, program, starts } = this;
    for (const [name, { buffer }] of Object.entries(program.feeds)) cpu.write(starts[buffer], feeds[name]);
    for (const step of program.steps) {
      if (step.copy) {
        const [from, start, to, bytes] = step.copy;
        const first = starts[from] + start;
        new Uint8Array(cpu.memory.buffer).copyWithin(starts[to], first, first + bytes);
        continue;
      }
      const [x, y, z] = step.groups;
      kernels[`k${step.kernel}`](...step.bind.map((at) => starts[at]), x, y, z, 0, x * y * z);
    }
    return this.read(program.fetches);
  }
}

/** The other end of a `CpuPool`: answers in a thread of its own. */
function serve() {
  const cpu = new Cpu();
  const programs = {};
  onmessage = async ({ data: { id, create, program, run, set } }) => {
    try {
      let result = true;
      if (create) {
        const { exports } = await WebAssembly.instantiate(create.module, { env: { memory: cpu.memory } });
        for (const [name, own] of Object.entries(create.programs)) {
          programs[name] = new CpuProgram(cpu, exports, own, create.values);
        }
      }
      if (set) programs[program].set(set);
      else if (run) result = programs[program].run(run);
      else if (program) result = programs[program].get();
      postMessage({ id, result });
    } catch (error) {
      postMessage({ id, error: String(error) });
    }
  };
}

/** Programs in several threads, each with a copy of everything: runs are shared out among them. */
class CpuPool {
  constructor(programs, module, values, threads) {
    // This script, as text: pages from disk may not load another file.
    const source = [...document.scripts].find((script) => script.id === "replay").textContent;
    this.url = URL.createObjectURL(new Blob([source, "\nserve();"], { type: "text/javascript" }));
    const create = { programs, module, values };
    Object.assign(this, { create, threads, workers: [], next: 0, waiting: new Map() });
  }

  /** Sends a message to a worker, and waits for its answer. */
  ask(worker, message) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      worker.postMessage({ ...message, id });
    });
  }

  start() {
    const worker = new Worker(this.url);
    const answer = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) reject(new Error(error)); else resolve(result);
    };
    worker.addEventListener("message", answer);
    const slot = { worker, busy: 0, ready: this.ask(worker, { create: this.create }) };
    this.workers.push(slot);
    return slot;
  }

  /** Runs a program once in the least busy thread; a new one if all are busy and there may be more. */
  run(program, feeds) { return this.least({ program, run: feeds }); }

  /** Sets and gets the states of a program; for pools of one thread. */
  set(program, values) { return this.least({ program, set: values }); }
  get(program) { return this.least({ program }); }

  async least(message) {
    let slot = this.workers.reduce((a, b) => (a && a.busy <= b.busy ? a : b), null);
    if (!slot || (slot.busy > 0 && this.workers.length < this.threads)) slot = this.start();
    slot.busy++;
    try {
      await slot.ready;
      return await this.ask(slot.worker, message);
    } finally {
      slot.busy--;
    }
  }
}
