"use strict";
// What pages that make images and pages that train have in common.

const find = (id) => document.getElementById(id);
const status = (text) => { find("status").textContent = text; };

/** An image of values in [-1, 1] (halves away from zero, as in dcgan), or of bytes. */
function imageOf({ height, width, channels }, values) {
  const byte = values instanceof Uint8Array ? (x) => x : (x) => Math.floor(f32(x + 1) * 127.5 + 0.5);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 4; c++) {
      const from = channels === 1 && c < 3 ? 0 : c;
      image.data[4 * i + c] = from < channels ? byte(values[i * channels + from]) : 255;
    }
  }
  return image;
}

/** Hands a file to the visitor. */
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Fallback adapters are CPUs, which WebAssembly uses better. `?device=gpu` and `?device=cpu` choose. */
async function openGpu() {
  const device = new URLSearchParams(location.search).get("device");
  if (device === "cpu" || !navigator.gpu) return null;
  const gpu = await Gpu.open().catch(() => null);
  return gpu && (device === "gpu" || !gpu.adapter.info.isFallbackAdapter) ? gpu : null;
}

/** The page's model and bytes, once, and its WebAssembly module. */
async function load() {
  const { model, bytes } = await unpack(find("data").textContent);
  find("data").remove();
  const [at, length] = model.module;
  return { model, bytes, module: await WebAssembly.compile(bytes.subarray(at, at + length)) };
}

/** Runs a page, and says so if it cannot be. */
const start = (main) => main().catch((error) => {
  status(`This browser cannot show the page: ${error.message}. It takes WebAssembly with SIMD, which browsers have since 2023.`);
  document.documentElement.dataset.failed = error.message;
});
