/** What a visitor sees first: a recorded attack that needs no GPU, and its verdict as a picture. Every tab, for everybody. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { assertAccessible, assertFits } from "./axe.ts";
import { TestBrowser, textOf, waitForText } from "./support.ts";

const NO_GPU = `Object.defineProperty(navigator, "gpu", { value: undefined });\n`;

let browser: TestBrowser;
test.before(async () => {
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets" });
});
test.after(async () => {
  await browser?.stop();
});

test("without WebGPU the recorded attack plays to its end, the reason is said once, and the verdict is saved as a picture", async () => {
  const { page, errors } = await browser.visit("/", NO_GPU);
  await waitForText(page, "#notices", /There is no WebGPU here/);
  assert.ok(await page.isDisabled("#story [data-live]"));
  await waitForText(page, "#story [data-line]", /Did it really forget\?/);
  assert.is(await page.locator("#story [data-prompt] mark").count(), 5);
  await page.click("#story [data-end]");
  await waitForText(page, "#story [data-verdict] h2", /did not forget church/);
  assert.equal(await page.locator("#story .triptych strong").allTextContents(), ["Before", "\u201cForgotten\u201d", "Recovered"]);
  assert.is((await page.locator("#story .triptych mark").allTextContents()).length, 1);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#story [data-share]")]);
  const { width, height, data } = await decodePng("lethe.png", readFileSync(await download.path()));
  assert.equal([width, height], [1200, 630]);
  assert.ok(new Set(data).size > 100, "pictures are in it");
  for (const tab of ["generate", "attack", "classify", "kernels", "models"]) await page.click(`#tab-${tab}`);
  assert.is(await page.locator("[role=alert]").count(), 1);
  assert.match(await textOf(page, "#notices"), /chrome:\/\/flags/);
  assert.is(await textOf(page, "#device"), "");
  assert.equal(errors.filter((e) => !/WebGPU|gpu/i.test(e)), []);
  await page.context().close();
});

test("axe finds nothing on any tab, and nothing is cut off, on a desk and on a phone", async () => {
  const { page } = await browser.visit("/", NO_GPU);
  for (const [width, height] of [[1280, 900], [390, 844]] as const) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      for (const tab of ["story", "generate", "attack", "classify", "kernels", "models"]) {
        await page.click(`#tab-${tab}`);
        await assertAccessible(page, `${tab}, ${width}, ${colorScheme}`);
        await assertFits(page, `${tab}, ${width}`);
      }
    }
  }
  await page.context().close();
});

test.run();
