/** What is published: its files, its size, its entries for Node and browsers, and its types for a strict consumer. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";

/** Not imported: bundled into a test, esbuild does not find its own program. */
const { build, buildSync } = createRequire(`${process.cwd()}/package.json`)("esbuild") as typeof import("esbuild");

/** Engine, shaders and tokenizer code; the vocabulary comes with a model. */
const BUDGET = 150_000;

const folder = `dist/test/consumer-${process.pid}`;

test.before(() => {
  execFileSync(process.execPath, ["scripts/build.mjs"], { stdio: "inherit" });
  mkdirSync(`${folder}/node_modules`, { recursive: true });
  symlinkSync(resolve("."), `${folder}/node_modules/lethe`, "junction");
});

test.after(() => rmSync(folder, { recursive: true, force: true }));

const gzip = (file: string): number => gzipSync(readFileSync(file), { level: 9 }).length;

test("the browser library is under its budget", () => {
  const bytes = gzip("dist/lethe.browser.js");
  console.log(`size: dist/lethe.browser.js ${bytes} bytes gzip of ${BUDGET}; page ${gzip("dist/web/page.js")}, its worker ${gzip("dist/web/worker.js")}`);
  assert.ok(bytes < BUDGET, `${bytes} bytes`);
});

test("browser files name no module of Node, and nothing from elsewhere", () => {
  for (const file of ["dist/lethe.browser.js", "dist/web/page.js", "dist/web/worker.js"]) {
    const text = readFileSync(file, "utf8");
    assert.not.match(text, /from\s*["']node:|require\(["']|import\(["']node:|\bprocess\.versions\b/, file);
    assert.not.match(text, /["']https?:\/\/(?!www\.w3\.org)/, file);
  }
});

test("unused parts fall out of a consumer's bundle", () => {
  const size = (code: string): number => buildSync({ stdin: { contents: code, resolveDir: resolve(folder) }, bundle: true, write: false, format: "esm", platform: "browser", minify: true, target: "es2022" }).outputFiles[0]!.contents.length;
  const whole = size(`import * as lethe from "lethe"; console.log(lethe);`);
  const png = size(`import { encodePng } from "lethe"; console.log(encodePng);`);
  assert.ok(png < whole / 3, `encodePng alone takes ${png} of ${whole} bytes`);
});

test("npm pack holds what is needed to run and nothing else", () => {
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const out = execFileSync(npm, ["pack", "--dry-run", "--ignore-scripts", "--json"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], shell: process.platform === "win32" });
  const parsed = JSON.parse(out) as unknown;
  const [packed] = (Array.isArray(parsed) ? parsed : Object.values(parsed as object)) as { size: number; files: { path: string }[] }[];
  const paths = packed!.files.map((f) => f.path);
  for (const wanted of ["dist/cli.js", "dist/lethe.js", "dist/lethe.browser.js", "dist/types/engine/index.d.ts", "dist/web/index.html", "dist/web/worker.js", "dist/web/assets.json", "assets/emoji/model_index.json", "assets/clip/bpe_simple_vocab_16e6.txt.gz", "README.md", "LICENSE", "NOTICE", "examples/evaluate.sbatch", "examples/evaluate-job.yaml"]) assert.ok(paths.includes(wanted), wanted);
  const strays = paths.filter((p) => !/^(dist\/(cli|lethe|lethe\.browser)\.js|dist\/types\/.*\.d\.ts|dist\/web\/(index\.html|style\.css|icon\.svg|page\.js|worker\.js|assets\.json)|assets\/.*|docs\/report\.png|examples\/evaluate(\.sbatch|-job\.yaml)|README\.md|ARCHITECTURE\.md|LICENSE|NOTICE|package\.json)$/.test(p));
  assert.equal(strays, []);
  console.log(`npm pack: ${paths.length} files, ${(packed!.size / 2 ** 20).toFixed(1)} MiB`);
});

test("the page's list of bundled files is right", () => {
  const list = JSON.parse(readFileSync("dist/web/assets.json", "utf8")) as Record<string, { bytes: number }>;
  assert.ok(Object.keys(list).length > 40);
  for (const [path, { bytes }] of Object.entries(list)) assert.is(readFileSync(`assets/${path}`).length, bytes, path);
});

test("entries resolve as they should: Node's for Node, the browser's for a bundler", async () => {
  writeFileSync(`${folder}/where.mjs`, `console.log(import.meta.resolve("lethe"))`);
  assert.match(execFileSync(process.execPath, [`${folder}/where.mjs`], { encoding: "utf8" }), /dist\/lethe\.js/);
  const bundled = await build({ stdin: { contents: `export * from "lethe"`, resolveDir: resolve(folder) }, bundle: true, write: false, metafile: true, format: "esm", platform: "browser", target: "es2022" });
  assert.equal(Object.keys(bundled.metafile.inputs).filter((p) => p.includes("dist/")).map((p) => p.replace(/^.*dist\//, "")), ["lethe.browser.js"]);
});

const CONSUMER = `
import { attack, classifierJudge, httpFiles, loadClassifier, loadStableDiffusion, openDevice, rgbaPixels, type AttackEvent, type NDArray } from "lethe";
const device = await openDevice({ limits: "default" });
const source = { files: httpFiles("assets"), folder: "emoji" };
const model = await loadStableDiffusion(device, source, { weights: "f16" });
const [{ image } = { image: undefined }] = await model.generate({ prompt: "a church", onStep: (done, total) => console.log(done / total) });
const judge = classifierJudge(await loadClassifier(device, source), "church");
const result = await attack(model, { attacker: "random", prompt: "a church", seed: 1, judge }, (event: AttackEvent) => console.log(event.type));
const latents: NDArray = { data: new Float32Array(1024), shape: [1, 4, 16, 16] };
const noise: NDArray = await model.predictNoise(latents, 10, await model.encodeText(model.tokenizer.encode("x")));
export const out: [boolean, number, number] = [result.success, noise.data.length, image ? rgbaPixels(image).length : 0];
const gpu: GPUDevice = device.gpu;
export const lost = gpu.lost;
// @ts-expect-error a prompt is required
await model.generate({});
`;

for (const moduleResolution of ["bundler", "nodenext"]) {
  test(`types hold for a strict consumer without skipLibCheck, ${moduleResolution}`, () => {
    assert.ok(existsSync("dist/types/engine/index.d.ts"));
    writeFileSync(`${folder}/package.json`, `{ "type": "module" }`);
    writeFileSync(`${folder}/index.ts`, CONSUMER);
    const module = moduleResolution === "nodenext" ? "nodenext" : "esnext";
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ compilerOptions: { target: "es2022", lib: ["es2023", "dom"], module, moduleResolution, strict: true, noEmit: true, skipLibCheck: false, types: [] }, files: ["index.ts"] }));
    try {
      execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", folder], { encoding: "utf8" });
    } catch (error) {
      assert.unreachable(((error as { stdout?: string }).stdout ?? String(error)).slice(0, 3000));
    }
  });
}

test.run();
