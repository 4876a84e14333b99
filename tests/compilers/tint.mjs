// node tint.mjs PACKAGE/index.js FOLDER: compiles every .wgsl file of FOLDER to a pipeline, with the
// limits that every WebGPU device has. Prints how many there were, then a line "NUMBER WHY" for each that
// is refused or warned of.
import { readFileSync, readdirSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [entry, folder] = process.argv.slice(2);
const { create, globals } = await import(pathToFileURL(entry));
Object.assign(globalThis, globals);
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] });

const names = readdirSync(folder).sort();
console.log(names.length);
for (const [i, name] of names.entries()) {
  const code = readFileSync(`${folder}/${name}`, 'utf8');
  const words = [];
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  for (const { type, message, lineNum } of (await module.getCompilationInfo()).messages) {
    words.push(`${type} in line ${lineNum}: ${message}`);
  }
  if (words.length === 0) {
    device.createComputePipeline({ layout: 'auto', compute: { module } });
  }
  const error = await device.popErrorScope();
  if (error && words.length === 0) words.push(error.message);
  if (words.length > 0) console.log(i, words.join('; ').replaceAll(/\s+/g, ' '));
}
// The device would keep the process alive.
process.exit(0);
