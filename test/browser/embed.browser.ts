/** The page of docs/library.md, as it is written there. */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { TestBrowser } from "./support.ts";

test("the ten lines of docs/library.md draw a church in a page", async () => {
  const html = /```html\n(.*?)```/s.exec(readFileSync("docs/library.md", "utf8"))?.[1];
  assert.ok(html, "docs/library.md has a page in it");
  assert.ok(html.trim().split("\n").length <= 10, "ten lines");
  const folder = `dist/test/embed-${process.pid}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/index.html`, html);
  copyFileSync("dist/lethe.browser.js", `${folder}/lethe.browser.js`);
  cpSync("dist/browser", `${folder}/browser`, { recursive: true });
  const browser = await TestBrowser.start({ "": folder, assets: "assets" });
  try {
    const { page, requests, errors } = await browser.visit("/");
    await page.waitForFunction(
      () =>
        document
          .querySelector("canvas")!
          .getContext("2d")!
          .getImageData(0, 0, 64, 64)
          .data.some((v) => v > 0),
      null,
      { timeout: 180_000, polling: 500 },
    );
    const rgba = await page.$eval("canvas", (canvas) => [...canvas.getContext("2d")!.getImageData(0, 0, 64, 64).data]);
    const mean = rgba.reduce((a, b) => a + b, 0) / rgba.length;
    assert.ok(mean > 100 && mean < 254, `a picture, not one colour: mean ${mean}`);
    assert.equal(requests.filter((url) => !url.startsWith(browser.origin)), []);
    assert.equal(errors.filter((e) => !/404/.test(e)), []);
  } finally {
    await browser.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the attack of docs/library.md, bundled by esbuild as it says there, runs in a page", async () => {
  const folder = `dist/test/embed-attack-${process.pid}`;
  const blocks = [...readFileSync("docs/library.md", "utf8").matchAll(/`page\.js`:\n\n```js\n(.*?)```.*?```html\n(.*?)```/gs)];
  assert.is(blocks.length, 1);
  const [, program, html] = blocks[0]!;
  mkdirSync(`${folder}/node_modules`, { recursive: true });
  symlinkSync(resolve("."), `${folder}/node_modules/lethe`, "junction");
  writeFileSync(`${folder}/index.html`, html!);
  const small = program!.replace("maxTimesteps: 8", "maxTimesteps: 1, iterations: 2").replace("steps: 25", "steps: 2");
  assert.is.not(small, program);
  writeFileSync(`${folder}/page.js`, small);
  const flags = ["--bundle", "--splitting", "--format=esm", "--minify", `--outdir=${folder}/out`, "--log-level=error"];
  execFileSync(resolve("node_modules/esbuild/bin/esbuild"), [`${folder}/page.js`, ...flags]);
  const browser = await TestBrowser.start({ "": folder, assets: "assets" });
  try {
    const { page, errors } = await browser.visit("/");
    await page.waitForFunction(() => /^(found: |nothing found$)/.test(document.querySelector("p")?.textContent ?? ""), null, {
      timeout: 180_000, polling: 500,
    });
    assert.equal(errors.filter((e) => !/404/.test(e)), []);
  } finally {
    await browser.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

const WORKER = `
import { createJudge, httpFiles, loadStableDiffusion, openDevice } from "./lethe.browser.js";
try {
  const files = httpFiles("/assets");
  const device = await openDevice();
  const model = await loadStableDiffusion(device, { files, folder: "emoji" }, { unet: "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt" });
  const { judge } = await createJudge("classifier", device, { files, model: "emoji/classifier/object", label: "church" });
  const [{ image }] = await model.generate({ prompt: "a picture of a dog", steps: 2, seed: 7 });
  postMessage(await judge(image));
} catch (error) {
  postMessage({ label: String(error) });
}
`;

test("a Worker loads a PyTorch checkpoint and a judge, in parts of the library that come when they are needed", async () => {
  const folder = `dist/test/embed-worker-${process.pid}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/worker.js`, WORKER);
  writeFileSync(`${folder}/index.html`, `<!doctype html><script type="module">
    new Worker("worker.js", { type: "module" }).onmessage = ({ data }) => (document.title = JSON.stringify(data));
  </script>`);
  copyFileSync("dist/lethe.browser.js", `${folder}/lethe.browser.js`);
  cpSync("dist/browser", `${folder}/browser`, { recursive: true });
  const browser = await TestBrowser.start({ "": folder, assets: "assets" });
  try {
    const { page, errors } = await browser.visit("/");
    await page.waitForFunction(() => document.title !== "", null, { timeout: 180_000, polling: 500 });
    const { success, label, score } = JSON.parse(await page.title()) as Partial<Record<string, unknown>>;
    assert.equal([typeof success, typeof score], ["boolean", "number"], String(label));
    assert.equal(errors.filter((e) => !/404/.test(e)), []);
  } finally {
    await browser.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
