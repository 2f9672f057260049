/** A visitor who presses a button before the page has its own list of files: the press counts, and acts once the list is there. */
import { readdirSync } from "node:fs";
import type { Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { TestBrowser, textOf, waitForText } from "./support.ts";

/** Run in the Worker before its own code: its list of files comes when the test says so, and what the page asks for is kept. */
const HOLD = "{ const real = self.fetch; const held = new Promise((give) => (self.give = give)); self.fetch = async (url, ...rest) => { " +
  `if (String(url) === "assets.json") await held; return real.call(self, url, ...rest); }; ` +
  "self.calls = []; self.addEventListener('message', ({ data }) => self.calls.push(data.call)); }\n";

let browser: TestBrowser;
test.before(async () => {
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets" });
});
test.after(async () => {
  await browser?.stop();
});

/** Fills a tab's form and presses its button twice before the list of files is there, then lets the list come, and waits for the end. */
async function pressEarly(tab: string, call: string, end: RegExp, fill: (page: Page) => Promise<void>): Promise<void> {
  const { page, errors } = await browser.visit(`/#${tab}`, HOLD);
  await page.$$eval(`#${tab} details`, (all) => all.forEach((d) => ((d as HTMLDetailsElement).open = true)));
  await fill(page);
  for (let presses = 0; presses < 2; presses++) await page.click(`#${tab} [type=submit]`);
  await page.waitForTimeout(500);
  assert.is(await textOf(page, `#${tab} [data-problem]`), "");
  assert.is(await page.locator(`#${tab} [name=model] option, #${tab} [name=network] option`).count(), 0, "the list is not there yet");
  await page.workers()[0]!.evaluate(() => (self as unknown as { give(): void }).give());
  await waitForText(page, `#${tab} [data-status]`, end);
  assert.is(await textOf(page, `#${tab} [data-problem]`), "");
  const calls = await page.workers()[0]!.evaluate(() => (self as unknown as { calls: string[] }).calls);
  assert.equal(calls.filter((name) => name === call), [call], "two presses are one piece of work");
  assert.equal(errors.filter((e) => !/404/.test(e)), []);
  await page.context().close();
}

test("an attack, with its bundled pictures", () =>
  pressEarly("attack", "attack", /^Done in/, async (page) => {
    await page.selectOption("#attack [name=attacker]", "img2img");
    for (const [name, value] of Object.entries({ steps: "2", strengths: "1" })) await page.fill(`#attack [name=${name}]`, value);
  }));

test("a picture", () => pressEarly("generate", "draw", /^Drawn in/, (page) => page.fill("#generate [name=steps]", "2")));

test("UCE", () => pressEarly("erase", "erase", /^Done: 1 step in/, (page) => page.fill("#erase [name=retain]", "a castle")));

const church = "assets/emoji/dataset/church/imgs";
const pictures = readdirSync(church).map((name) => `${church}/${name}`);

test("quality of pictures, for which no weights are asked", () =>
  pressEarly("quality", "quality", /^Done in/, async (page) => {
    await page.selectOption("#quality [name=compared]", "own");
    for (const name of ["images", "real"]) await page.setInputFiles(`#quality [name=${name}]`, pictures);
  }));

test("what a picture shows", () =>
  pressEarly("classify", "classify", /^The model sees/, (page) => page.setInputFiles("#classify [name=picture]", pictures[0]!)));

test.run();
