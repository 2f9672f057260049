/** The Models tab in a real browser: what is dropped, what is fetched, what is kept, and what a visit after finds. */
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatBytes } from "../../engine/runtime/plan/estimate.ts";
import { BreakingServer } from "../web/breaking-server.ts";
import { TestBrowser, type Visit, dropFile, waitForText } from "./support.ts";

const UNET = "assets/emoji/unlearned/uce-like-fish/unet.safetensors";

let browser: TestBrowser;
let other: BreakingServer;
let visit: Visit;
let page: Page;

const status = (pattern: RegExp): Promise<string> => waitForText(page, "#models [data-status]", pattern, 60_000);

test.before(async () => {
  browser = await TestBrowser.start({ "": "dist/web", assets: "assets" });
  other = await BreakingServer.start();
  visit = await browser.visit("/#models", "");
  page = visit.page;
  await waitForText(page, "#models [data-storage]", /keeps/);
});

test.after(async () => {
  await browser?.stop();
  await other?.stop();
});

test("dropped files: a damaged one is refused by name, a good one can be chosen, kept and deleted", async () => {
  const good = readFileSync("assets/emoji/unlearned/uce-like-church/unet.safetensors");
  await dropFile(page, "#models [data-drop]", "broken.safetensors", good.subarray(0, 5000));
  assert.match(
    await waitForText(page, "#models [data-problem]", /broken/),
    /A file cannot be used.*broken\.safetensors.*(truncated|corrupt)/s,
  );
  await dropFile(page, "#models [data-drop]", "notes.txt", new TextEncoder().encode("hello"));
  await waitForText(page, "#models [data-problem]", /notes\.txt: holds nothing that can be loaded/);
  await dropFile(page, "#models [data-drop]", "erased.safetensors", good);
  await status(/erased\.safetensors: a UNet/);
  assert.ok(
    (await page.$$eval("#generate [name=overlay] option", (all) => all.map((o) => o.textContent))).includes("erased.safetensors (dropped)"),
  );
  await page.click('[aria-label="Keep erased.safetensors"]');
  await status(/is kept in this browser/);
  await page.click('[aria-label="Check erased.safetensors"]');
  await status(/1 file is unchanged/);
  await page.click('[aria-label="Delete erased.safetensors"]');
  await status(/gone/);
});

test("a model by its address: a wrong checksum is refused, a folder is fetched whole, listed after a reload, and checked", async () => {
  await page.fill("#models [name=url]", `${browser.origin}/${UNET}`);
  await page.fill("#models [name=sha256]", "0".repeat(64));
  await page.click("#download-form [type=submit]");
  await waitForText(page, "#models [data-problem]", /expected 0{64}: the file is damaged or another one, and was not kept/);
  assert.not.match(await page.innerText("#models [data-list]"), /unfinished/);
  await page.fill("#models [name=url]", `${browser.origin}/assets/emoji`);
  await page.fill("#models [name=sha256]", "");
  await page.click("#download-form [type=submit]");
  await status(/emoji is here: folder in diffusers layout/);
  await page.reload();
  await waitForText(page, "#models [data-list]", /kept in this browser/);
  await page.click('#models tr:has-text("kept in this browser") [aria-label="Check emoji"]');
  await status(/1[0-9] files are unchanged/);
});

test("a fetch that breaks off goes on after the page was opened again, and only the typed address is asked", async () => {
  const content = readFileSync(UNET);
  const file = { content, etag: '"v1"', modified: "Mon, 02 Nov 2026 10:00:00 GMT", breakAfter: 60_000 };
  other.files.set("/fish.safetensors", file);
  const url = `${other.origin}/fish.safetensors`;
  const foreign = (): string[] => visit.requests.filter((r) => !r.startsWith(`${browser.origin}/`) && !r.startsWith("blob:"));
  assert.equal(foreign(), [], "before an address was typed");
  await page.fill("#models [name=url]", url);
  await page.click("#download-form [type=submit]");
  await status(/the connection broke after \d+ bytes: trying again/);
  await page.click("#models [data-cancel]");
  await status(/Cancelled; what has come is kept/);
  await page.reload();
  const row = page.locator('#models tr:has-text("unfinished")');
  await row.waitFor();
  const size = formatBytes(content.length);
  assert.match(await row.innerText(), new RegExp(`[1-9]\\d+\\.\\d KiB of ${size}`));
  other.ranges();
  file.breakAfter = content.length;
  await page.click('[aria-label="Go on fish.safetensors"]');
  await status(/fish\.safetensors is here: a UNet/);
  const ranges = other.ranges();
  assert.ok(ranges.length === 1 && /^bytes=[1-9]\d{4,5}-$/.test(ranges[0]!), `one request for the rest: ${ranges.join()}`);
  await page.click('[aria-label="Check fish.safetensors"]');
  await status(/1 file is unchanged/);
  assert.is(await page.locator('#models tr:has-text("unfinished")').count(), 0);
  assert.ok((await page.innerText('#models tr:has-text("fish.safetensors")')).includes(size));
  // Its Worker fetched it: that these are here shows that a request of the Worker to anybody else would be seen.
  assert.ok(foreign().length >= 4);
  assert.equal([...new Set(foreign())], [url]);
  assert.equal(
    visit.errors.filter((e) => !/404|ERR_CONTENT_LENGTH_MISMATCH|ERR_INCOMPLETE|ERR_CONNECTION/.test(e)),
    [],
  );
});

test.run();
