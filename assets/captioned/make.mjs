// Draws avatars with known attributes, and writes captions of them:
//
//   npm install @dicebear/core@9.4.3 @dicebear/avataaars@9.4.3 @resvg/resvg-js@2.6.2
//   node make.mjs OUT COUNT
//
// OUT/00000.png … are 64x64 images, OUT/captions.txt has four captions of each. The first names all
// visible attributes; the others some of them. Pairs of a hair color and a color of the clothes that
// `held` names are never drawn together.
import { createAvatar } from '@dicebear/core';
import * as style from '@dicebear/avataaars';
import { Resvg } from '@resvg/resvg-js';
import { mkdirSync, writeFileSync } from 'node:fs';

const [out, count] = [process.argv[2], Number(process.argv[3])];
const skins = { dark: '614335', brown: 'ae5d29', tan: 'edb98a', pale: 'ffdbb4', yellow: 'f8d25c' };
const hairs = { black: '2c1b18', brown: '724133', blond: 'd6b370', red: 'c93305', pink: 'f59797', gray: 'e8e1e1' };
const clothes = { black: '262e33', blue: '5199e4', gray: '929598', green: 'a7ffc4', red: 'ff5c5c', white: 'ffffff', yellow: 'ffffb1', pink: 'ff488e' };
const hats = { black: '262e33', blue: '25557c', red: 'ff5c5c', white: 'e6e6e6' };
const tops = { long: ['bob', 'straight01', 'curvy', 'longButNotTooLong'], short: ['shortFlat', 'shortRound', 'shortWaved', 'theCaesar'] };
const garments = { shirt: ['shirtCrewNeck', 'shirtVNeck'], hoodie: ['hoodie'] };

// mulberry32
let state = 1605;
const random = () => {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const pick = (list) => list[Math.floor(random() * list.length)];
const key = (map) => pick(Object.keys(map));
/** Whether a hair color and a color of the clothes are held out: 8 of 48 pairs. */
const held = (hair, cloth) =>
  (Object.keys(hairs).indexOf(hair) + 2 * Object.keys(clothes).indexOf(cloth)) % 6 === 0;

/** Some attributes in a random order of phrases. */
const caption = (a, all) => {
  const hair = a.hat ? `a ${a.hat} hat` : `${all || random() < 0.5 ? a.length + ' ' : ''}${a.hair} hair`;
  const cloth = `a ${a.cloth} ${a.garment}`;
  const skin = `${a.skin} skin`;
  const extra = [a.glasses, a.beard && 'a beard'].filter((x) => x && (all || random() < 0.7));
  const parts = [hair, skin].filter(() => all || random() < 0.7);
  const list = [...parts, ...extra];
  if (list.length === 0) list.push(hair);
  if (random() < 0.5) list.reverse();
  const joined = (l) => (l.length < 2 ? l.join('') : `${l.slice(0, -1).join(', ')} and ${l[l.length - 1]}`);
  const who = pick(['a person', 'someone', 'a face']);
  if (!all && random() < 0.15) return `${who} with ${joined(list)}`;
  switch (Math.floor(random() * 3)) {
    case 0: return `${who} with ${joined(list)} in ${cloth}`;
    case 1: return `${who} in ${cloth} with ${joined(list)}`;
    default: return joined([cloth, ...list]);
  }
};

mkdirSync(out, { recursive: true });
const lines = [];
for (let i = 0; i < count; i++) {
  const a = { skin: key(skins), hair: key(hairs), cloth: key(clothes), garment: key(garments), length: key(tops) };
  a.hat = random() < 0.15 ? key(hats) : null;
  while (!a.hat && held(a.hair, a.cloth)) { a.hair = key(hairs); a.cloth = key(clothes); }
  a.glasses = pick([null, null, null, 'glasses', 'sunglasses']);
  a.beard = random() < 0.2;
  const options = {
    seed: 'fixed', size: 64,
    skinColor: [skins[a.skin]], hairColor: [hairs[a.hair]], facialHairColor: [hairs[a.hair]],
    clothesColor: [clothes[a.cloth]], clothing: [pick(garments[a.garment])],
    top: [a.hat ? 'winterHat02' : pick(tops[a.length])], hatColor: [hats[a.hat ?? 'black']], topProbability: 100,
    accessories: [a.glasses === 'glasses' ? 'prescription02' : 'sunglasses'], accessoriesColor: ['262e33'],
    accessoriesProbability: a.glasses ? 100 : 0,
    facialHair: ['beardMedium'], facialHairProbability: a.beard ? 100 : 0,
    mouth: [pick(['smile', 'serious', 'twinkle'])], eyes: [pick(['default', 'happy', 'side'])],
    eyebrows: ['defaultNatural'],
  };
  const svg = createAvatar(style, options).toString();
  const name = `${String(i).padStart(5, '0')}.png`;
  writeFileSync(`${out}/${name}`, new Resvg(svg, { background: '#65c9ff', fitTo: { mode: 'width', value: 64 } }).render().asPng());
  for (let k = 0; k < 4; k++) lines.push(`${name}\t${caption(a, k === 0)}`);
}
writeFileSync(`${out}/captions.txt`, lines.join('\n') + '\n');
