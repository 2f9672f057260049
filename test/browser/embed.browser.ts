/** The README's page, as it is written there. */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { TestBrowser } from "./support.ts";

test("the README's ten lines draw a church in a page", async () => {
  const html = /```html\n(.*?)```/s.exec(readFileSync("README.md", "utf8"))?.[1];
  assert.ok(html, "README.md has a page in it");
  assert.ok(html.trim().split("\n").length <= 10, "ten lines");
  const folder = `dist/test/embed-${process.pid}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/index.html`, html);
  copyFileSync("dist/lethe.browser.js", `${folder}/lethe.browser.js`);
  const browser = await TestBrowser.start({ "": folder, assets: "assets" });
  try {
    const { page, requests, errors } = await browser.visit("/");
    await page.waitForFunction(() => document.querySelector("canvas")!.getContext("2d")!.getImageData(0, 0, 64, 64).data.some((v) => v > 0), null, { timeout: 180_000, polling: 500 });
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

test.run();
