/** A small SDXL in a real browser: fetched as a folder, what it takes and what helps where that is too much, and a picture. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wholeFolder } from "../support/xl-folder.ts";
import { TestBrowser, waitForText } from "./support.ts";

let browser: TestBrowser;
const folder = mkdtempSync(join(tmpdir(), "lethe-xl-"));

test.before(async () => {
  for (const [path, data] of Object.entries(wholeFolder())) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), data);
  }
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets", xl: join(folder, "xl") });
});

test.after(async () => {
  await browser?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("a folder of SDXL is fetched, estimated and drawn with", async () => {
  const { page, errors } = await browser.visit("/#models", "");
  await page.fill("#models [name=url]", `${browser.origin}/xl`);
  await page.click("#download-form [type=submit]");
  await waitForText(page, "#models [data-status]", /xl is here: folder in diffusers layout/, 60_000);
  await page.evaluate(() => Object.defineProperty(navigator, "deviceMemory", { value: 0.001 }));
  await page.click("#tab-generate");
  const [model] = await page.$$eval("#generate [name=model] option", (all) =>
    all.filter((o) => o.textContent?.startsWith("xl")).map((o) => (o as HTMLOptionElement).value));
  assert.ok(model, "not offered");
  await page.selectOption("#generate [name=model]", model);
  const need = await waitForText(page, "#generate [data-need]", /16x16 pixels; takes about/, 60_000);
  assert.match(need, /may not be enough\. Store its weights as float16.*command line.*--offload/s);
  await page.$$eval("#generate details", (all) => all.forEach((d) => d.setAttribute("open", "")));
  await page.selectOption("#generate [name=weights]", "f16");
  assert.not.match(await waitForText(page, "#generate [data-need]", /enough\. The command line/, 60_000), /float16/);
  await page.fill("#generate [name=prompt]", "a church");
  await page.fill("#generate [name=steps]", "2");
  await page.click("#generate [type=submit]");
  await waitForText(page, "#generate [data-status]", /Drawn in/, 120_000);
  assert.equal(errors, []);
});

test.run();
