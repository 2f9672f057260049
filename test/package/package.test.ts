/** What is published: its files, its size, its entries for Node and browsers, and its types for a strict consumer. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, posix, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";

/** Not imported: bundled into a test, esbuild does not find its own program. */
const { build, buildSync } = createRequire(`${process.cwd()}/package.json`)("esbuild") as typeof import("esbuild");

/**
 * Bytes, gzip, of what a page loads to open a device, load a model of a diffusers folder, generate, and attack with text-grad:
 * the entry and what it imports statically. Engine, shaders and tokenizer code; the vocabulary comes with a model.
 */
const BUDGET = 150_000;

/** The same of the other entries, without what `lethe` itself loads. */
const ENTRY_BUDGETS: Readonly<Record<string, number>> = { probes: 17_000, unlearn: 40_000, quality: 46_000 };

/** The same of each part that `lethe` loads when it is first needed, by the name of the file it begins with. */
const PART_BUDGETS: Readonly<Record<string, number>> = {
  arithmetic: 3_000,
  cce: 2_000,
  "compile-messages": 1_000,
  completion: 3_000,
  controls: 3_000,
  "ddim-inversion": 6_000,
  "decode-png": 5_000,
  "diffusion-classifier": 3_000,
  "embedding-file": 2_000,
  eraser: 4_000,
  gate: 3_000,
  "given-kernels": 2_000,
  "hard-prompt": 2_000,
  identify: 5_000,
  "image-classifier": 7_000,
  img2img: 5_000,
  inspect: 10_000,
  "latent-classifier": 8_000,
  "latent-loss": 3_000,
  "load-file": 16_000,
  "load-second": 3_000,
  "load-synthetic": 6_000,
  "low-rank": 8_000,
  "measure-kernels": 5_000,
  method: 4_000,
  "mma-text": 3_000,
  "noise-probe": 3_000,
  open: 24_000,
  overlay: 14_000,
  png: 4_000,
  pytorch: 12_000,
  random: 1_000,
  "recall-probe": 7_000,
  rece: 5_000,
  "relearn-lora": 10_000,
  "ring-a-bell": 3_000,
  run: 8_000,
  "safree-prompts": 3_000,
  "seed-search": 1_000,
  "subgroup-probe": 3_000,
  "synonym-search": 2_000,
  target: 8_000,
  transfer: 1_000,
  transport: 9_000,
};

/** A consumer's project, outside the checkout, so that nothing of the checkout is found by going up. */
const folder = mkdtempSync(join(tmpdir(), "lethe-consumer-"));

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

let packed: Packed;

test.before(() => {
  execFileSync(process.execPath, ["scripts/build.mjs"], { stdio: "inherit" });
  packed = pack();
  install();
});

test.after(() => rmSync(folder, { recursive: true, force: true }));

function pack(): Packed {
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const out = execFileSync(npm, ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    shell: process.platform === "win32",
  });
  const parsed = JSON.parse(out) as unknown;
  return (Array.isArray(parsed) ? parsed : Object.values(parsed as object))[0] as Packed;
}

/** What npm install does with the tarball, without a registry: it is unpacked, and what it depends on is linked from the checkout. */
function install(): void {
  execFileSync("tar", ["-xzf", packed.filename], { cwd: folder });
  mkdirSync(join(folder, "node_modules"));
  renameSync(join(folder, "package"), join(folder, "node_modules/lethe"));
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync(join(folder, "node_modules/lethe/package.json"), "utf8"),
  ) as Record<string, Record<string, string>>;
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    if (!existsSync(`node_modules/${name}`)) continue; // an optional one
    mkdirSync(dirname(join(folder, "node_modules", name)), { recursive: true });
    symlinkSync(resolve("node_modules", name), join(folder, "node_modules", name), "junction");
  }
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
}

const gzip = (file: string): number => gzipSync(readFileSync(file), { level: 9 }).length;

/** Files that a module of dist/ names in `import ... from` and `export ... from`, or in `import()`. */
function imported(file: string, how: "statically" | "lazily"): string[] {
  const pattern = how === "statically" ? /\b(?:from|import)\s*"(\.[^"]+)"/g : /\bimport\("(\.[^"]+)"\)/g;
  return [...readFileSync(file, "utf8").matchAll(pattern)].map(([, path]) => posix.join(posix.dirname(file), path!));
}

/** A module of dist/ and all that is loaded with it. */
function loadedWith(file: string): Set<string> {
  const found = new Set<string>([file]);
  for (const one of found) for (const other of imported(one, "statically")) found.add(other);
  return found;
}

const sum = (files: Iterable<string>): number => [...files].reduce((bytes, file) => bytes + gzip(file), 0);
const without = (files: Set<string>, others: Set<string>): Set<string> => new Set([...files].filter((file) => !others.has(file)));
/** The library's entries besides `lethe`. */
function entryNames(): string[] {
  const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as { exports: Readonly<Record<string, unknown>> };
  return Object.keys(exports)
    .filter((path) => path.startsWith("./") && path !== "./package.json")
    .map((path) => path.slice(2));
}

test("what a page loads to generate and attack is under its budget, and mostly one file", () => {
  const files = loadedWith("dist/lethe.browser.js");
  const bytes = sum(files);
  const page = `page ${gzip("dist/web/page.js")}, its worker ${gzip("dist/web/worker.js")}`;
  console.log(`size: lethe ${bytes} bytes gzip of ${BUDGET} in ${files.size} files; ${page}`);
  assert.ok(bytes < BUDGET, `${bytes} bytes`);
  assert.ok(files.size <= 3, `${[...files].join(", ")}: shared code is cut up`);
});

test("every other entry has a budget of its own, and adds to what lethe loads without changing it", () => {
  assert.equal(entryNames().toSorted(), Object.keys(ENTRY_BUDGETS).toSorted());
  const main = loadedWith("dist/lethe.browser.js");
  for (const name of entryNames()) {
    const bytes = sum(without(loadedWith(`dist/${name}.browser.js`), main));
    console.log(`size: lethe/${name} ${bytes} bytes gzip of ${ENTRY_BUDGETS[name]}`);
    assert.ok(bytes < ENTRY_BUDGETS[name]!, `${name}: ${bytes} bytes`);
    assert.not.ok(main.has(`dist/${name}.browser.js`), `lethe loads lethe/${name}`);
  }
});

test("every part that is loaded when it is needed is under its budget", () => {
  const main = loadedWith("dist/lethe.browser.js");
  const seen = new Set<string>();
  const waiting = [...main];
  const done = new Set<string>();
  for (const file of waiting) {
    if (done.has(file)) continue;
    done.add(file);
    for (const part of imported(file, "lazily")) {
      const files = without(loadedWith(part), main);
      waiting.push(...files);
      const name = posix.basename(part).replace(/-[0-9A-Z]{8}\.js$/, "");
      if (seen.has(name)) continue;
      seen.add(name);
      const [bytes, budget] = [sum(files), PART_BUDGETS[name]];
      console.log(`size: part ${name} ${bytes} bytes gzip of ${budget}`);
      assert.ok(budget !== undefined && bytes < budget, `${name}: ${bytes} bytes of ${budget}`);
    }
  }
  assert.equal([...seen].toSorted(), Object.keys(PART_BUDGETS).toSorted());
});

test("browser files name no module of Node, and nothing from elsewhere", () => {
  const parts = readdirSync("dist/browser").filter((name) => name.endsWith(".js")).map((name) => `dist/browser/${name}`);
  const entries = ["lethe", ...entryNames()].map((name) => `dist/${name}.browser.js`);
  for (const file of [...entries, ...parts, "dist/web/page.js", "dist/web/worker.js"]) {
    const text = readFileSync(file, "utf8");
    assert.not.match(text, /from\s*["']node:|require\(["']|import\(["']node:|\bprocess\.versions\b/, file);
    assert.not.match(text, /["']https?:\/\/(?!www\.w3\.org)/, file);
  }
});

/** What a consumer's bundle of some code takes. */
function bundleOf(contents: string): { readonly bytes: number; readonly gzip: number; readonly text: string } {
  const file = buildSync({
    stdin: { contents, resolveDir: folder },
    absWorkingDir: folder,
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    minify: true,
    target: "es2022",
  }).outputFiles[0]!;
  return { bytes: file.contents.length, gzip: gzipSync(file.contents, { level: 9 }).length, text: file.text };
}

test("unused parts fall out of a consumer's bundle: the tokenizer, PNG or random numbers alone pull no shader", () => {
  const whole = bundleOf(`import * as lethe from "lethe"; console.log(lethe);`);
  assert.match(whole.text, /@compute/);
  for (const [name, budget] of [
    ["createTokenizer", 60_000],
    ["encodePng", 35_000],
    ["manualSeed", 30_000],
    ["createJudge", 375_000],
  ] as const) {
    const alone = bundleOf(`import { ${name} } from "lethe"; console.log(${name});`);
    console.log(`tree shaking: ${name} alone takes ${alone.bytes} bytes, ${alone.gzip} gzip, of ${whole.bytes} and ${whole.gzip}`);
    assert.ok(alone.bytes < budget, `${name}: ${alone.bytes} bytes`);
    if (name !== "createJudge") assert.not.match(alone.text, /@compute|storageBarrier|workgroup_id/, name);
  }
});

test("npm pack holds what is needed to run and nothing else", () => {
  const paths = packed.files.map((f) => f.path);
  const entries = ["lethe", ...entryNames()].flatMap((name) => [`dist/${name}.js`, `dist/${name}.browser.js`]);
  for (const wanted of [
    "dist/cli.js",
    ...entries,
    "dist/types/engine/index.d.ts",
    "dist/types/engine/unlearn/index.d.ts",
    "dist/types/engine/metrics/index.d.ts",
    "dist/web/index.html",
    "dist/web/worker.js",
    "dist/web/assets.json",
    "assets/emoji/model_index.json",
    "assets/clip/bpe_simple_vocab_16e6.txt.gz",
    "README.md",
    "LICENSE",
    "NOTICE",
    "examples/evaluate.sbatch",
    "examples/evaluate-job.yaml",
  ]) {
    assert.ok(paths.includes(wanted), wanted);
  }
  const meant = [
    /^dist\/(cli|(node|browser)\/[\w-]+-[0-9A-Z]{8})\.js$/,
    /^dist\/types\/.*\.d\.ts$/,
    /^dist\/web\/(index\.html|README\.md|style\.css|icon\.svg|page\.js|worker\.js|assets\.json)$/,
    /^(assets\/.*|docs\/[\w-]+\.(md|svg|webp)|examples\/evaluate(\.sbatch|-job\.yaml))$/,
    /^((README|ARCHITECTURE|CHANGELOG|CONTRIBUTING|SECURITY|bench\/README)\.md|CITATION\.cff|LICENSE|NOTICE|package\.json)$/,
  ];
  const strays = paths.filter((path) => !entries.includes(path) && !meant.some((known) => known.test(path)));
  assert.equal(strays, []);
  console.log(`npm pack: ${paths.length} files, ${(packed.size / 2 ** 20).toFixed(1)} MiB`);
});

test("links of the packed README lead to what is packed", () => {
  const text = readFileSync(join(folder, "node_modules/lethe/README.md"), "utf8");
  const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].map(([, to]) => to!).filter((to) => !to.startsWith("http"));
  assert.ok(links.length > 10, links.join(", "));
  assert.equal(links.filter((to) => !existsSync(join(folder, "node_modules/lethe", to))), []);
});

test("the page's list of bundled files is right", () => {
  const list = JSON.parse(readFileSync("dist/web/assets.json", "utf8")) as Record<string, { bytes: number }>;
  assert.ok(Object.keys(list).length > 40);
  for (const [path, { bytes }] of Object.entries(list)) assert.is(readFileSync(`assets/${path}`).length, bytes, path);
});

test("entries resolve as they should: Node's for Node, the browser's for a bundler", async () => {
  for (const name of ["", ...entryNames()]) {
    writeFileSync(join(folder, "where.js"), `console.log(import.meta.resolve("${posix.join("lethe", name)}"))`);
    const where = execFileSync(process.execPath, ["where.js"], { cwd: folder, encoding: "utf8" });
    assert.match(where, new RegExp(`lethe/dist/${name || "lethe"}\\.js`));
  }
  const bundled = await build({
    stdin: { contents: `export * from "lethe"`, resolveDir: folder },
    absWorkingDir: folder,
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
  });
  const used = Object.keys(bundled.metafile.inputs)
    .filter((p) => p.includes("dist/"))
    .map((p) => p.replace(/^.*dist\//, ""));
  assert.ok(used.includes("lethe.browser.js") && used.every((p) => p === "lethe.browser.js" || p.startsWith("browser/")), used.join(", "));
});

test("a consumer in Node draws, judges and attacks with what was packed", () => {
  const options = process.env.LETHE_ADAPTER ? JSON.stringify({ adapter: process.env.LETHE_ADAPTER }) : "";
  writeFileSync(join(folder, "run.js"), `
import { attack, createJudge, loadStableDiffusion, openDevice } from "lethe";
const device = await openDevice(${options});
const model = await loadStableDiffusion(device, "emoji", { unet: "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt" });
const { judge } = await createJudge("classifier", device, { model: "emoji/classifier/object", label: "church" });
const short = { tokens: 2, iterations: 1, scheduler: "ddim", steps: 1 };
const result = await attack(model, { attacker: "random", prompt: "a church", seed: 1, judge, ...short }, () => undefined);
console.log(JSON.stringify({ success: result.success, prompt: result.adversarialPrompt, label: result.label }));
process.exit();
`,
  );
  const { success, prompt, label } = JSON.parse(
    execFileSync(process.execPath, ["run.js"], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  ) as { success: boolean; prompt: string; label: string };
  assert.equal([typeof success, typeof label], ["boolean", "string"]);
  assert.ok(prompt.endsWith("a church"), prompt);
});

const CONSUMER = `
import { attack, classifierJudge, httpFiles, loadClassifier, loadStableDiffusion, openDevice, rgbaPixels } from "lethe";
import type { AttackEvent, AttackOptions, NDArray } from "lethe";
import { Trainer, type TrainerOptions } from "lethe/unlearn";
const device = await openDevice({ limits: "default" });
const source = { files: httpFiles("assets"), folder: "emoji" };
const model = await loadStableDiffusion(device, source, { weights: "f16" });
const [{ image } = { image: undefined }] = await model.generate({ prompt: "a church", onStep: (done, total) => console.log(done / total) });
const judge = classifierJudge(await loadClassifier(device, source), "church");
const options: AttackOptions = { attacker: "random", prompt: "a church", seed: 1, judge };
const result = await attack(model, options, (event: AttackEvent) => console.log(event.type));
const latents: NDArray = { data: new Float32Array(1024), shape: [1, 4, 16, 16] };
const noise: NDArray = await model.predictNoise(latents, 10, await model.encodeText(model.tokenizer.encode("x")));
export const out: [boolean, number, number] = [result.success, noise.data.length, image ? rgbaPixels(image).length : 0];
export const trainer = (options: TrainerOptions): Trainer => new Trainer(model, options);
const gpu: GPUDevice = device.gpu;
export const lost = gpu.lost;
// @ts-expect-error a prompt is required
await model.generate({});
`;

test("the declarations name nothing of WebGPU but what they bring for compilers that do not know it", () => {
  const known = new Set(readFileSync("scripts/webgpu-names.d.ts", "utf8").match(/\bGPU\w*/g));
  const used = readdirSync("dist/types", { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(".d.ts"))
    .flatMap((name) => (readFileSync(join("dist/types", name), "utf8").replace(/\/\*[^]*?\*\/|\/\/.*/g, "").match(/\bGPU\w*/g) ?? []));
  assert.equal([...new Set(used)].filter((name) => !known.has(name)), []);
});

for (const moduleResolution of ["bundler", "nodenext"]) {
  test(`types hold for a strict consumer without skipLibCheck, ${moduleResolution}`, () => {
    writeFileSync(join(folder, "index.ts"), CONSUMER);
    const module = moduleResolution === "nodenext" ? "nodenext" : "esnext";
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2022",
          lib: ["es2023", "dom"],
          module,
          moduleResolution,
          strict: true,
          noEmit: true,
          skipLibCheck: false,
          types: [],
        },
        files: ["index.ts"],
      }),
    );
    try {
      execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", folder], { encoding: "utf8" });
    } catch (error) {
      assert.unreachable(((error as { stdout?: string }).stdout ?? String(error)).slice(0, 3000));
    }
  });
}

test.run();
