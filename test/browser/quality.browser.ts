/** The page's Quality tab in a real browser: two folders of pictures are compared, and what cannot be is told. */
import { readdirSync } from "node:fs";
import type { Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { assertAccessible, assertFits } from "./axe.ts";
import { TestBrowser, type Visit, waitForText } from "./support.ts";

let browser: TestBrowser;
let visit: Visit;
let page: Page;

test.before(async () => {
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets" });
  visit = await browser.visit("/#quality");
  page = visit.page;
});

test.after(async () => {
  await browser?.stop();
});

const pictures = (concept: string): string[] =>
  readdirSync(`assets/emoji/dataset/${concept}/imgs`).map((name) => `assets/emoji/dataset/${concept}/imgs/${name}`);
const status = (pattern: RegExp): Promise<string> => waitForText(page, "#quality [data-status]", pattern);
const score = async (): Promise<number> => Number(await page.textContent("#quality [data-result] tbody td.number"));

test("pictures are compared with the bundled real ones by a classifier, which is never called FID", async () => {
  await page.waitForSelector("#quality [name=network] option[value='emoji/classifier/object']", { state: "attached" });
  await page.setInputFiles("#quality [name=images]", pictures("fish"));
  await page.click("#quality [type=submit]");
  await status(/^Done in/);
  assert.ok((await score()) > 1);
  const said = await page.textContent("#quality [data-result]");
  assert.match(said!, /Frechet distance.*kernel distance/);
  assert.match(said!, /12 pictures against 22 real ones.*not an FID/);
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 900 });
    await assertAccessible(page, `quality at ${width}`);
    await assertFits(page, `quality at ${width}`);
  }
});

test("pictures compared with themselves are at no distance", async () => {
  await page.selectOption("#quality [name=compared]", "own");
  await page.setInputFiles("#quality [name=real]", pictures("fish"));
  await page.click("#quality [type=submit]");
  await page.waitForFunction(() => document.querySelector("#quality [data-result]")?.textContent?.includes("12 pictures against 12"));
  assert.ok((await score()) < 1e-6);
});

test("one picture, and weights of another network, are told", async () => {
  await page.setInputFiles("#quality [name=images]", pictures("fish").slice(0, 1));
  await page.click("#quality [type=submit]");
  await waitForText(page, "#quality [data-problem]", /at least two pictures/);
  await page.setInputFiles("#quality [name=images]", pictures("fish"));
  await page.selectOption("#quality [name=network]", "");
  await page.setInputFiles("#quality [name=weights]", "assets/emoji/classifier/object/model.safetensors");
  await page.click("#quality [type=submit]");
  await waitForText(page, "#quality [data-problem]", /has no tensor "Conv2d_1a_3x3/);
  assert.equal(visit.errors.filter((e) => !/has no tensor|at least two/.test(String(e))), []);
});

test.run();
