// Drives pages of `dcgan export --to html` in a real browser, as a visitor would.
//
// node page.mjs PLAYWRIGHT CHROMIUM FOLDER [STEP ...]: PLAYWRIGHT is the folder of playwright-core. In FOLDER
// lie page.html and expected.json: {z: rows, images: rows}, the latents and images of seeds 0 and on by the
// CPU device, or {losses: rows}, the losses of D and G in the first steps of a training. Screenshots and what the page saves are written there. Each STEP is one of the functions below.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [playwright, browserName, folder, ...steps] = process.argv.slice(2);
const executablePath = execFileSync("sh", ["-c", 'command -v "$0"', browserName], { encoding: "utf8" }).trim();
const { chromium } = await import(pathToFileURL(`${playwright}/index.mjs`));
const expected = JSON.parse(readFileSync(`${folder}/expected.json`, "utf8"));
const url = `${pathToFileURL(`${folder}/page.html`)}`;

/** Opens the page; every message and every request but that for the page itself is a failure. */
async function open({ gpu = false, search = "", hash = "", viewport, colorScheme } = {}) {
  const args = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];
  if (gpu) args.push("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader");
  const browser = await chromium.launch({ executablePath, args });
  const context = await browser.newContext({ viewport, colorScheme, acceptDownloads: true });
  const page = await context.newPage();
  page.setDefaultTimeout(120000);
  const complaints = [];
  // That it has no GPU, that its GPU is experimental, and how this script could read pixels sooner.
  const known = /No available adapters|WebGPU is experimental|powerPreference option|willReadFrequently/;
  page.on("console", (message) => known.test(message.text()) || complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!/^(file|data|blob):/.test(request.url())) complaints.push(`a request of ${request.url()}`);
    if (request.url().startsWith("file:") && !request.url().startsWith(url)) complaints.push(request.url());
  });
  await page.goto(`${url}${search}${hash}`);
  await page.waitForFunction(() => {
    const { done, failed } = document.documentElement.dataset;
    return done || failed;
  }, null, { timeout: 240000 });
  assert.equal(await page.evaluate(() => document.documentElement.dataset.failed), undefined);
  const close = async () => {
    assert.deepEqual(complaints, []);
    await browser.close();
  };
  return { page, close };
}

/** The bytes of a canvas. */
const pixels = (page, selector) => page.evaluate((selector) => {
  const canvas = document.querySelector(selector);
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}, selector);

/** Waits until the pixels of a canvas differ from these. */
async function changed(page, selector, before) {
  // Software adapters on busy machines take their time.
  for (let i = 0; i < 2400; i++) {
    const now = await pixels(page, selector);
    if (now.some((x, i) => x !== before[i])) return now;
    await page.waitForTimeout(50);
  }
  return assert.fail(`${selector} stays the same`);
}

/** The page's latents and images of the first seeds are those of dcgan. */
async function equal(page, tolerance) {
  const found = await page.evaluate(async (count) => {
    const { app, generator, model } = globalThis.dcgan;
    const rows = Array.from({ length: count }, (_, i) => seededLatent(BigInt(i), model.nz, model.distribution));
    const conditions = rows.flatMap((_, i) => app.condition(new Point([[BigInt(i)]])));
    const images = [];
    await generator.images(rows, conditions, (i, values) => { images[i] = [...values]; });
    return { z: rows.map((row) => [...row]), images };
  }, expected.z.length);
  expected.z.forEach((row, i) => row.forEach((x, j) => assert.equal(found.z[i][j], Math.fround(x), `z ${i} ${j}`)));
  let worst = 0;
  expected.images.forEach((row, i) => {
    assert.equal(found.images[i].length, row.length);
    row.forEach((x, j) => {
      const off = Math.abs(found.images[i][j] - x);
      assert.ok(off <= tolerance, `image ${i}, value ${j}: ${found.images[i][j]} for ${x}`);
      worst = Math.max(worst, off);
    });
  });
  return worst;
}

const data = (page) => page.evaluate(() => ({ ...document.documentElement.dataset }));

const known = {
  /** Without WebGPU: the page says so, and makes the same images by WebAssembly. */
  async cpu(tolerance) {
    const { page, close } = await open();
    assert.match(await page.textContent("#status"), /on the CPU by WebAssembly/);
    const worst = await equal(page, Number(tolerance));
    const { first } = await data(page);
    console.log(`cpu: within ${worst.toExponential(1)}; first image after ${first} ms`);
    await close();
  },

  /** A software adapter is not used unless the address says so. */
  async fallback() {
    const { page, close } = await open({ gpu: true });
    assert.match(await page.textContent("#status"), /on the CPU by WebAssembly/);
    await close();
  },

  /** WebGPU makes the same images. */
  async gpu(tolerance) {
    const { page, close } = await open({ gpu: true, search: "?device=gpu" });
    assert.match(await page.textContent("#status"), /by WebGPU/);
    const worst = await equal(page, Number(tolerance));
    const { first, compiled } = await data(page);
    console.log(`gpu: within ${worst.toExponential(1)}; first image after ${first} ms, compiled in ${compiled} ms`);
    await close();
  },

  /** Sliders, seeds, walks, the grid, arithmetic, what is kept and what is saved. */
  async visit() {
    const { page, close } = await open();
    let now = await pixels(page, "#image");

    await page.locator("#directions input, #coordinates input").first().fill("2.5");
    now = await changed(page, "#image", now);
    assert.match(await page.evaluate(() => location.hash), /directions=0%3A2.5|coordinates=0%3A2.5/);
    await page.click("#reset");
    now = await changed(page, "#image", now);

    await page.fill("#seed", "123456789012");
    await page.press("#seed", "Enter");
    now = await changed(page, "#image", now);
    assert.match(await page.textContent("#caption"), /Seed 123456789012/);
    await page.fill("#seed", "twelve");
    await page.press("#seed", "Enter");
    assert.equal(await page.getAttribute("#seed", "aria-invalid"), "true");
    await page.click("#new");
    now = await changed(page, "#image", now);

    await page.click("#walk");
    now = await changed(page, "#image", now);
    now = await changed(page, "#image", now);
    await page.click("#walk");
    assert.equal(await page.getAttribute("#walk", "aria-pressed"), "false");

    assert.equal(await page.locator("#grid .tile").count(), 64);
    await page.click("#grid .tile:nth-child(6)");
    assert.equal(await page.inputValue("#seed"), "5");
    await page.click("#after");
    await page.waitForFunction(() => document.querySelector("#grid .tile span").textContent === "64");
    await page.click("#before");

    // Keys, when nothing is being typed.
    await page.locator("#image").click();
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.inputValue("#seed"), "6");

    await page.click("#arithmetic button >> nth=0");
    await page.click("#grid .tile:nth-child(2)");
    await page.click("#grid .tile:nth-child(3)");
    await page.click("#arithmetic button >> nth=0");
    const inputs = page.locator("#arithmetic input");
    assert.equal(await inputs.nth(0).inputValue(), "1, 2");
    await inputs.nth(1).fill("7");
    await inputs.nth(1).press("Enter");
    await inputs.nth(2).fill("9, 11");
    await inputs.nth(2).press("Enter");
    await page.waitForFunction(() => !document.getElementById("large").disabled);
    await page.click("#large");
    assert.equal(await page.inputValue("#seed"), "1, 2; 7; 9, 11");
    await page.waitForFunction(() => /moved|Seeds 1, 2 − 7 \+ 9, 11/.test(document.getElementById("caption").textContent));

    // What is kept lies in the address, and comes back with it.
    await page.click("#favorite");
    await page.fill("#seed", "3");
    await page.press("#seed", "Enter");
    await page.click("#favorite");
    assert.equal(await page.locator("#favorites .tile").count(), 2);
    const hash = await page.evaluate(() => location.hash);
    const again = await open({ hash });
    assert.equal(await again.page.locator("#favorites .tile").count(), 2);
    assert.equal(await again.page.inputValue("#seed"), "3");
    await again.close();

    for (const [button, name] of [["#png", "saved.png"], ["#npy", "saved.npy"], ["#all", "all.npy"]]) {
      const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
      await download.saveAs(`${folder}/${name}`);
    }
    await close();
  },

  /** A class or a text changes the image. */
  async condition(kind) {
    const { page, close } = await open();
    const before = await pixels(page, "#image");
    if (kind === "class") {
      await page.selectOption("#class", "2");
      assert.match(await page.evaluate(() => location.hash), /class=2/);
    } else {
      await page.fill("#text", kind);
      await page.press("#text", "Enter");
      assert.equal(await page.textContent("#unknown"), "The model does not know: zebra");
    }
    await changed(page, "#image", before);
    await page.screenshot({ path: `${folder}/condition.png` });
    await close();
  },

  /** Wide and narrow, light and dark: nothing is wider than the window. */
  async looks() {
    for (const [name, width, height] of [["wide", 1280, 900], ["phone", 390, 844]]) {
      for (const colorScheme of ["light", "dark"]) {
        const { page, close } = await open({ viewport: { width, height }, colorScheme });
        const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(widths[0] <= widths[1], `${name}: ${widths}`);
        const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, input, select")]
          .filter((e) => !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label"))).length);
        assert.equal(unnamed, 0, "a control without a name");
        await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png`, fullPage: true });
        await close();
      }
    }
  },

  /** The page's steps are those of dcgan; it is paused, reset, goes on, and saves a checkpoint. */
  async train(device) {
    const { page, close } = await open({ gpu: device === "gpu", search: `?device=${device}` });
    assert.match(await page.textContent("#status"), device === "gpu" ? /WebGPU/ : /WebAssembly/);
    const steps = expected.losses.length;
    for (const round of [1, 2]) {
      // The second time after a reset.
      const found = await page.evaluate(async (steps) => {
        const { app } = globalThis.dcgan;
        await app.go(steps);
        return app.history.map(({ loss_d, loss_g }) => [loss_d, loss_g]);
      }, steps);
      assert.equal(found.length, steps);
      let worst = 0;
      expected.losses.forEach((row, step) => row.forEach((x, k) => {
        const off = Math.abs(found[step][k] - x) / Math.max(1, Math.abs(x));
        // Rounding grows from step to step.
        assert.ok(off <= 1e-4 * (1 + step), `round ${round}, step ${step}: ${found[step][k]} for ${x}`);
        worst = Math.max(worst, off);
      }));
      console.log(`train on ${device}: losses within ${worst.toExponential(1)}`);
      if (round === 1) {
        const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
        await download.saveAs(`${folder}/checkpoint.safetensors`);
        await page.click("#reset");
        await page.waitForFunction(() => /^Step 0/.test(document.getElementById("progress").textContent));
      }
    }
    const fakes = await pixels(page, "#fakes");
    await page.fill("#every", "1");
    await page.click("#start");
    await changed(page, "#fakes", fakes);
    await page.click("#start");
    await page.waitForFunction(() => document.getElementById("start").textContent === "Start");
    const paused = await page.textContent("#progress");
    await page.waitForTimeout(300);
    assert.equal(await page.textContent("#progress"), paused);
    await page.fill("#rate", "0.5");
    assert.match(await page.textContent("#times"), /3\.2/);
    await page.click("#one");
    await page.waitForFunction((before) => document.getElementById("progress").textContent !== before, paused);
    await page.screenshot({ path: `${folder}/train-${device}.png`, fullPage: true });
    await close();
  },

  /** The visitor's own images: too few are refused, enough are trained on. */
  async drop() {
    const { page, close } = await open({ viewport: { width: 390, height: 844 }, colorScheme: "dark" });
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(widths[0] <= widths[1], String(widths));
    const urls = await page.evaluate(() => Array.from({ length: 20 }, (_, i) => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 50, height: 40 });
      const context = canvas.getContext("2d");
      context.fillStyle = `hsl(${18 * i} 80% 50%)`;
      context.fillRect(0, 0, 50, 40);
      return canvas.toDataURL();
    }));
    const files = urls.map((url, i) => ({
      name: `${i}.png`, mimeType: "image/png", buffer: Buffer.from(url.split(",")[1], "base64"),
    }));
    await page.setInputFiles("#files", files.slice(0, 5));
    await page.waitForFunction(() => /5 images can be read, and at least 16/.test(document.getElementById("reals-note").textContent));
    await page.setInputFiles("#files", [...files, { name: "bad.png", mimeType: "image/png", buffer: Buffer.from("no image") }]);
    await page.waitForFunction(() => /^20 images of .*1 files cannot be read/.test(document.getElementById("reals-note").textContent));
    const reals = await pixels(page, "#reals");
    // hsl(0 80% 50%)
    assert.deepEqual(reals.slice(0, 4), [230, 25, 25, 255]);
    await page.click("#one");
    await page.waitForFunction(() => /^Step 1,/.test(document.getElementById("progress").textContent));
    await page.screenshot({ path: `${folder}/own.png`, fullPage: true });
    await close();
  },

  /** Texts of strangers stay texts. */
  async harmless(title) {
    const { page, close } = await open();
    assert.equal(await page.textContent("h1"), title);
    assert.equal(await page.evaluate(() => globalThis.stolen), undefined);
    await close();
  },
};

for (const step of steps) {
  const [name, ...words] = step.split("=");
  await known[name](words.join("="));
}
