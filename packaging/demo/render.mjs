// Renders the art of the demo: node render.mjs WORKDIR (the folder that holds node_modules).
// Writes WORKDIR/art/<n>.png|webp and WORKDIR/art/art.json. With --foreign it renders two styles that
// no picture of the demo shows, into WORKDIR/foreign, for foreign_pairs.py; they are never shipped.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const SIZE = 192;
const FOREIGN = ["openmoji", "emojione"];
const here = path.dirname(fileURLToPath(import.meta.url));
const work = path.resolve(process.argv[2]);
const foreign = process.argv.includes("--foreign");
const art = path.join(work, foreign ? "foreign" : "art");
const require = createRequire(path.join(work, "package.json"));

function svgOf(set, name) {
  const entry = set.icons[name];
  const width = entry.width ?? set.width ?? 16;
  const height = entry.height ?? set.height ?? 16;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"` +
    ` viewBox="${entry.left ?? 0} ${entry.top ?? 0} ${width} ${height}">${entry.body}</svg>`;
}

function renderFrom(first) {
  const { Resvg } = require("@resvg/resvg-js");
  const jobs = JSON.parse(readFileSync(path.join(art, "jobs.json"), "utf8"));
  for (let i = first; i < jobs.length; i++) {
    if (!jobs[i].svg) continue;
    writeFileSync(path.join(art, "at"), String(i));
    const png = new Resvg(jobs[i].svg, { fitTo: { mode: "width", value: SIZE } }).render().asPng();
    writeFileSync(path.join(art, jobs[i].file), png);
  }
}

function plan() {
  const classes = JSON.parse(readFileSync(path.join(here, "classes.json"), "utf8"));
  const names = require("emojibase-data/en/data.json");
  const byLabel = new Map(names.map((e) => [e.label.toLowerCase(), e]));
  const sets = {};
  const drawn = ["noto", "noto-v1", "fluent-emoji-flat", "twemoji", "fxemoji", "streamline-emojis"];
  for (const style of foreign ? FOREIGN : drawn) {
    sets[style] = require(`@iconify-json/${style}/icons.json`);
  }
  const slug = (label) => label.replace(/[’:!.()“”]/g, "").replace(/ /g, "-");
  const jobs = [];
  const add = (style, label, keywords, cls, iconName) => {
    const set = sets[style];
    if (!set?.icons[iconName]) return;
    const job = { style, name: label, keywords, class: cls, source: iconName, svg: svgOf(set, iconName) };
    jobs.push({ ...job, file: `${jobs.length}.png` });
  };
  const add3d = (label, keywords, cls, hex) => {
    if (foreign) return;
    const folder = path.join(work, "node_modules/@lobehub/fluent-emoji-3d/assets");
    const code = hex.toLowerCase();
    const source = [code, code.replace(/-fe0f$/, ""), `${code}-fe0f`]
      .find((c) => existsSync(path.join(folder, `${c}.webp`)));
    if (!source) return;
    const file = `${jobs.length}.webp`;
    copyFileSync(path.join(folder, `${source}.webp`), path.join(art, file));
    jobs.push({ style: "fluent-emoji-3d", name: label, keywords, class: cls, source, file });
  };
  const cldr = foreign ? FOREIGN : ["noto", "noto-v1", "fluent-emoji-flat", "twemoji"];
  const taken = new Set();
  for (const [cls, spec] of Object.entries(classes)) {
    for (const label of spec.emoji) {
      const entry = byLabel.get(label);
      if (!entry) throw new Error(`no emoji is called ${label}`);
      taken.add(label);
      for (const style of cldr) add(style, cls, entry.tags ?? [], cls, slug(label));
      add3d(cls, entry.tags ?? [], cls, entry.hexcode);
    }
    const tags = byLabel.get(spec.emoji[0]).tags ?? [];
    for (const name of spec.fxemoji) add("fxemoji", cls, tags, cls, name);
    for (const name of spec.streamline) add("streamline-emojis", cls, tags, cls, name);
  }
  // Groups 3 to 7: animals, food, travel, activities, objects. Other art of a class stays out.
  const words = new Set(Object.keys(classes).flatMap((c) => c.split(" ")));
  const isKin = (label) => label.split(/[ -]/).some((w) => words.has(w) || words.has(w.replace(/s$/, "")));
  const skip = /clock face|o’clock|-thirty|moon|sign|person|woman|man|Tokyo|tower|globe|mahjong/i;
  for (const e of names) {
    const label = e.label.toLowerCase();
    if (![3, 4, 5, 6, 7].includes(e.group) || taken.has(label) || isKin(label) || skip.test(label)) continue;
    for (const style of cldr) if (style !== "twemoji") add(style, label, e.tags ?? [], null, slug(label));
    add3d(label, e.tags ?? [], null, e.hexcode);
    const old = label.replace(/[ -]/g, "");
    add("fxemoji", label, e.tags ?? [], null, old);
    add("streamline-emojis", label, e.tags ?? [], null, slug(label));
  }
  return jobs;
}

if (process.argv.includes("--from")) {
  renderFrom(Number(process.argv.at(-1)));
} else {
  mkdirSync(art, { recursive: true });
  const jobs = plan();
  writeFileSync(path.join(art, "jobs.json"), JSON.stringify(jobs));
  // resvg aborts the whole process on a few icons: a child renders, and starts again after those.
  const self = fileURLToPath(import.meta.url);
  let first = 0;
  for (;;) {
    const child = spawnSync(process.execPath, [self, ...process.argv.slice(2), "--from", String(first)], { encoding: "utf8" });
    if (child.status === 0) break;
    const at = Number(readFileSync(path.join(art, "at"), "utf8"));
    console.log(`skipped ${jobs[at].style} ${jobs[at].source}`);
    first = at + 1;
  }
  const done = jobs.filter((j) => existsSync(path.join(art, j.file))).map(({ svg, ...rest }) => rest);
  writeFileSync(path.join(art, "art.json"), JSON.stringify(done, null, 1));
  const count = (f) => done.filter(f).length;
  console.log(`${done.length} sprites, ${count((j) => j.class)} of a class`);
}
