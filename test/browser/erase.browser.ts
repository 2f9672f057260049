/** The page's Erase tab in a real browser: a concept is erased at once, seen, kept as weights, and attacked by one click. */
import type { Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesSource } from "../../engine/formats/byte-source.ts";
import { openTensorFile } from "../../engine/formats/open.ts";
import { TestBrowser, type Visit, linkBytes, linkText, waitForText } from "./support.ts";

let browser: TestBrowser;
let visit: Visit;
let page: Page;

test.before(async () => {
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets" });
  visit = await browser.visit("/#erase");
  page = visit.page;
});

test.after(async () => {
  await browser?.stop();
});

const status = (tab: string, pattern: RegExp): Promise<string> => waitForText(page, `#${tab} [data-status]`, pattern);

test("UCE erases at once: pictures before and after, weights and a report", async () => {
  await waitForText(page, "#erase [data-need]", /MiB/);
  await page.fill("#erase [name=retain]", "a castle\n");
  await page.click("#erase [type=submit]");
  await status("erase", /^Done: 1 step in/);
  const cards = await page.$$eval("#erase [data-cards] li", (all) => all.map((li) => li.textContent));
  assert.equal(cards.map((text) => text!.replace(/show/g, "")), [
    "erasedchurchbefore", "retaineda castlebefore", "erasedchurchafter step 1", "retaineda castleafter step 1",
  ]);
  const file = await openTensorFile(bytesSource("weights", await linkBytes(page, "#erase [data-verdict] a[download$=\".pt\"]")));
  assert.ok(file.entries.has("conv_in.weight"), "the whole UNet, as the recipe's authors write it");
  const report = await linkText(page, "#erase [data-verdict] a[download=\"report.html\"]");
  assert.match(report, /Before, during, after/);
  assert.match(report, /2308\.14761/);
});

test("ESD-x trains step by step, and can be cancelled", async () => {
  await page.selectOption("#erase [name=method]", "esd-x");
  await page.fill("#erase [name=steps]", "100000");
  await page.click("#erase [type=submit]");
  await status("erase", /^step \d+ of 100000, loss \d\.\d+/);
  await page.click("#erase [data-cancel]");
  await status("erase", /^Cancelled/);
  await page.selectOption("#erase [name=method]", "uce");
});

test("one click attacks the erased model", async () => {
  await page.click("#erase [type=submit]");
  await status("erase", /^Done: 1 step in/);
  await page.$$eval("#attack details", (all) => all.forEach((d) => ((d as HTMLDetailsElement).open = true)));
  for (const [name, value] of Object.entries({ tokens: 2, iterations: 2, maxTimesteps: 1, steps: 2 })) {
    await page.$eval(`#attack [name=${name}]`, (input, v) => ((input as HTMLInputElement).value = v), String(value));
  }
  await page.click("#erase [data-attack]");
  await page.waitForSelector("#attack:not([hidden])");
  await status("attack", /^Done in/);
  const record = JSON.parse(await linkText(page, "#attack [data-record]")) as { settings: { unet: string } };
  assert.is(record.settings.unet, "church-uce.pt");
  assert.equal(visit.errors, []);
});

test.run();
