/** The probes that need no more than pictures and prompts, in the page: one short run each, with their controls. */
import type { Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { TestBrowser, type Visit, linkText, waitForText } from "./support.ts";

let browser: TestBrowser;
let visit: Visit;
let page: Page;

interface Line {
  readonly control?: string;
  readonly timestep: number;
  readonly probe?: Readonly<Record<string, number | string>>;
}

/** Fills the form, runs the probe and reads its log and record. */
async function run(
  attacker: string,
  values: Readonly<Record<string, string | number>>,
): Promise<{ readonly lines: readonly Line[]; readonly record: { readonly settings: Readonly<Record<string, unknown>> } }> {
  await page.selectOption("#attack [name=attacker]", attacker);
  for (const [name, value] of Object.entries(values)) await page.fill(`#attack [name=${name}]`, String(value));
  await page.click("#attack [type=submit]");
  await waitForText(page, "#attack [data-status]", /^Done in/, 120_000);
  const lines = (await linkText(page, "#attack [data-log]")).trim().split("\n").map((line) => JSON.parse(line) as Line);
  return { lines, record: JSON.parse(await linkText(page, "#attack [data-record]")) as { settings: Record<string, unknown> } };
}

/** Tries by control; "" is the probe itself. */
function tries(lines: readonly Line[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { control = "", timestep } of lines) if (timestep >= 0) counts[control] = (counts[control] ?? 0) + 1;
  return counts;
}

test.before(async () => {
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets" });
  visit = await browser.visit("/#attack", "");
  page = visit.page;
  await page.click("#attack details summary");
});

test.after(async () => {
  await browser?.stop();
});

test("the list has the probes that the page has fields for, and no others", async () => {
  const offered = await page.$$eval("#attack [name=attacker] option", (options) => options.map((o) => (o as HTMLOptionElement).value));
  for (const probe of ["img2img", "ddim-inversion", "noise-probe"]) assert.ok(offered.includes(probe), probe);
  for (const probe of ["completion", "rece-closed-form", "inpainting"]) assert.not.ok(offered.includes(probe), probe);
});

test("img2img: pictures at every strength, of the concept, of something else, and under another prompt", async () => {
  const { lines, record } = await run("img2img", { steps: 2, strengths: "0.5,1" });
  assert.equal(tries(lines), { "": 2, unrelated: 2, "never-saw": 2 });
  assert.is(record.settings["controlPicture"], "emoji/control/banana.png");
  assert.is(record.settings["controlPrompt"], "a banana in noto style");
  await waitForText(page, "#attack [data-verdict]", /One prompt gives no verdict/);
  assert.match((await page.textContent("#attack [data-cards]"))!, /control unrelated: strength 0\.5/);
});

test("ddim-inversion: the picture drawn again, with decibels, beside those of its controls", async () => {
  assert.ok(await page.isVisible("#attack [data-target-field]"));
  const { lines } = await run("ddim-inversion", { steps: 2 });
  assert.equal(tries(lines), { "": 1, ordinary: 1, "never-saw": 1 });
  for (const { timestep, probe } of lines) if (timestep >= 0) assert.type(probe!["psnr"], "number");
  await waitForText(page, "#attack [data-verdict]", /ordinary: .* dB/);
});

test("noise-probe: no picture is asked for; without a prompt of something else a control is missing, and that is said", async () => {
  await page.selectOption("#attack [name=attacker]", "noise-probe");
  for (const hidden of ["[data-target-field]", "[data-control-field]", "[name=strengths]"]) {
    assert.not.ok(await page.isVisible(`#attack ${hidden}`), hidden);
  }
  const { lines } = await run("noise-probe", { steps: 2, etas: "1.5", varianceScales: "1,1.04", controlPrompt: "" });
  assert.equal(tries(lines), { "": 2, seeds: 2 });
  await waitForText(page, "#attack [data-verdict]", /Not made: never-saw/);
});

test("nothing failed unseen", () => {
  assert.equal(visit.errors.filter((e) => !/404/.test(e)), []);
});

test.run();
