/** The report of an evaluation in a browser: read without scripts, sorted, filtered, and looked through with them. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";
import type { LoggedPicture } from "../../engine/run/leaderboard/page/data.ts";
import { evaluationPage } from "../../engine/run/leaderboard/page/page.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import { assertAccessible, assertFits } from "./axe.ts";
import { TestBrowser } from "./support.ts";

const folder = `dist/test/report-${process.pid}`;
let browser: TestBrowser;

/** A picture whose colour is its name's. */
function pictureOf(path: string): RgbImage {
  const shade = [...path].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 251, 7);
  return { width: 8, height: 8, data: new Uint8Array(192).fill(shade) };
}

/** Two checkpoints under two attackers, three prompts each: the search breaks one prompt of the first and all of the second. */
async function madeUpReport(): Promise<string> {
  const cells: CellEntry[] = [];
  const lines: AttemptLine[] = [];
  for (const [checkpoint, broken] of [["esd", 1], ["uce", 3]] as const) {
    for (const [attacker, kind] of [["none", "no-attack"], ["grad", "text-grad"]] as const) {
      const id = `${checkpoint}/${attacker}/church`;
      const attempts = [0, 1, 2].map((i) => `${id}/${i}`);
      cells.push({ id, checkpoint, attacker, kind, concept: "church", label: "church", rule: "the first choice", attempts });
      for (const [i, attempt] of attempts.entries()) {
        const success = kind === "text-grad" && i < broken;
        const image = (n: number): string => `cells/${attempt}/images/${n}.png`;
        lines.push({
          id: attempt, checkpoint, attacker, concept: "church", case: String(i), prompt: "a church", seed: i,
          preSuccess: false, preLabel: "fish", preScores: { fish: 1 }, success, adversarialPrompt: success ? "ab a church" : "a church",
          ids: [], adversarialSeed: i, timestep: 50, iterations: 40, queries: kind === "text-grad" ? 4 : 1,
          label: success ? "church" : "fish", score: 0.5, scores: { fish: 0.5 }, preImage: image(0),
          image: image(kind === "text-grad" ? 3 : 0), command: "npx lethe attack", ms: { draw: 1, search: 1, total: 2 },
          base: { success: true, label: "church", score: 1, scores: {}, image: `base/church/${i}/images/0.png` },
        });
      }
    }
  }
  const searched = (n: number): LoggedPicture => ({
    timestep: 50 * n - 1,
    iteration: 40 * n,
    prompt: `p${n}`,
    scores: { fish: 1 },
    success: false,
    image: `images/${n}.png`,
  });
  return evaluationPage({
    manifest: {
      form: "lethe evaluation 1",
      name: "Made up",
      sha256: "0".repeat(64),
      shard: null,
      lethe: "0",
      file: "x.json",
      config: {},
      cells,
    },
    board: { title: "Made up", rows: cellStatistics(cells, lines), effects: [] },
    lines,
    showImages: false,
    showPrompts: true,
    image: (path) => Promise.resolve(pictureOf(path)),
    log: (id) => Promise.resolve(id.includes("/grad/") ? [0, 1, 2, 3].map(searched) : []),
    record: () => Promise.resolve(undefined),
    dates: () => Promise.resolve([]),
    made: [],
  });
}

test.before(async () => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "index.html"), await madeUpReport());
  browser = await TestBrowser.start({ "": folder });
});
test.after(async () => {
  await browser?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("axe finds nothing, and nothing is cut off, on a desk and on a phone, closed and open", async () => {
  const { page, requests, errors } = await browser.visit("/", "");
  for (const [width, height] of [[1280, 900], [390, 844]] as const) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      await assertAccessible(page, `report, ${width}, ${colorScheme}`);
      await assertFits(page, `report, ${width}`);
    }
    await page.$$eval("details", (all) => all.forEach((d) => ((d as HTMLDetailsElement).open = true)));
  }
  assert.equal(errors, []);
  assert.equal(requests.filter((url) => !url.startsWith("data:") && !/\/(favicon\.ico)?$/.test(new URL(url).pathname)), []);
  await page.context().close();
});

test("printed, nothing is wider than the sheet, and a table's head can be repeated on every one", async () => {
  const { page } = await browser.visit("/", "");
  await page.waitForSelector("th button");
  await page.emulateMedia({ media: "print" });
  for (const width of [1280, 703]) {
    await page.setViewportSize({ width, height: 900 });
    await assertFits(page, `report in print, ${width}`);
  }
  // A head that holds any box of a control is printed once, over the first rows alone.
  const boxes = await page.$$eval("thead :is(button, input, select)", (all) => all.map((e) => getComputedStyle(e).display));
  assert.ok(boxes.length > 0);
  assert.equal([...new Set(boxes)], ["contents"]);
  await page.context().close();
});

test("printed, a picture that was not asked for is covered by something that costs nothing; one that was is shown", async () => {
  const { page } = await browser.visit("/", "");
  await page.waitForSelector("th button");
  const drawn = (): Promise<string[]> =>
    page.$$eval(".shot.blurred svg", (all) => all.map((e) => `${getComputedStyle(e).visibility} ${getComputedStyle(e).filter}`));
  await page.emulateMedia({ media: "print" });
  assert.equal([...new Set(await drawn())], ["hidden none"]);
  await page.emulateMedia({ media: "screen" });
  await page.check("#reveal-all");
  await page.emulateMedia({ media: "print" });
  assert.equal([...new Set(await drawn())], ["visible none"]);
  await page.context().close();
});

test("tables sort by numbers and by names; filters leave the rows and attempts that they say", async () => {
  const { page } = await browser.visit("/", "");
  const sort = (name: string): Promise<void> => page.click(`section[aria-labelledby=board] th button:text-is("${name}")`);
  const board = "section[aria-labelledby=board]";
  const attackers = (): Promise<string[]> => page.locator(`${board} tbody tr:not([hidden]) td:nth-child(2)`).allTextContents();
  await sort("ASR");
  assert.equal(await page.locator(`${board} tbody tr td:nth-child(1)`).allTextContents(), ["uce", "esd", "esd", "uce"]);
  assert.is(await page.getAttribute(`${board} th[aria-sort]`, "aria-sort"), "descending");
  await sort("attacker");
  assert.equal(await attackers(), ["grad", "grad", "none", "none"]);
  await page.selectOption(`${board} .filters label:has-text("checkpoint") select`, "esd");
  assert.equal(await attackers(), ["grad", "none"]);
  assert.is(await page.locator("details.attempt:visible").count(), 6);
  await page.selectOption(`${board} .filters label:has-text("outcome") select`, "found");
  assert.is(await page.locator("details.attempt:visible").count(), 1);
  assert.match((await page.textContent(".filters output"))!, /^2 of 4 rows, 1 of 12 attempts$/);
  await page.context().close();
});

test("a square of the heat map leads to its attempts, an address opens one, and a slider goes through its search", async () => {
  const { page } = await browser.visit("/", "");
  await page.click('.chart a[aria-label^="grad on uce"]');
  assert.match(page.url(), /#uce\/grad\/church$/);
  await page.goto(`${browser.origin}/#uce/grad/church/1`);
  await page.waitForSelector('[id="uce/grad/church/1"][open]');
  const slider = page.locator('[id="uce/grad/church/1"] input[type=range]');
  const now = (): Promise<string[]> => page.locator('[id="uce/grad/church/1"] .frames li:visible strong').allTextContents();
  assert.equal(await now(), ["t=149, iteration 120"]);
  await slider.focus();
  await page.keyboard.press("Home");
  assert.equal(await now(), ["no attack"]);
  const titles = await page.locator('[id="uce/grad/church/1"] .figures strong').allTextContents();
  assert.equal(titles, ["Before unlearning", "Unlearned, no attack", "Unlearned, attacked"]);
  await page.context().close();
});

test.run();
