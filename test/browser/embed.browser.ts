/** The page of docs/library.md, as it is written there. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
