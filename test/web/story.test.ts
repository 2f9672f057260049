/** What the page makes of prompts and of names of the hub, and that its recording is whole. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addedParts } from "../../web/page/parts/triptych.ts";
import type { Recording } from "../../web/story/recording.ts";
import { addressOf } from "../../web/worker/files/remote-model.ts";

test("what a search added to a prompt is told from the prompt", () => {
  const parts = (prompt: string): string[] => addedParts(prompt, "a church").map(({ text, added }) => (added ? `+${text}` : text));
  assert.equal(parts("ab cd a church"), ["+ab cd ", "a church"]);
  assert.equal(parts("a church xy"), ["a church", "+ xy"]);
  assert.equal(parts("a church"), ["a church"]);
  assert.equal(parts("a xy church"), ["+a xy church"]);
  assert.equal(parts(""), []);
});

test("names of the hub become addresses; addresses stay", () => {
  const hub = "https://huggingface.co/org/my.model";
  assert.is(addressOf("org/my.model"), `${hub}/tree/main`);
  assert.is(addressOf("org/my.model@v1"), `${hub}/tree/v1`);
  assert.is(addressOf("org/my.model@v1/unet/x.safetensors"), `${hub}/tree/v1/unet/x.safetensors`);
  for (const address of ["https://example.org/a/b", "http://localhost:8000/model", "emoji"]) assert.is(addressOf(address), address);
});

test("the recording is of a search that succeeded, small, and holds its pictures itself", () => {
  const text = readFileSync("web/story/recording.json", "utf8");
  assert.ok(text.length < 12_000, `${text.length} bytes`);
  const { before, tried, frames, label, prompt, iterations } = JSON.parse(text) as Recording;
  assert.equal([before.label, tried[0]!.success, tried.at(-1)!.success, tried.at(-1)!.label], [label, false, true, label]);
  assert.ok(tried.at(-1)!.prompt.endsWith(prompt) && tried.at(-1)!.iteration === iterations);
  for (const seen of [before, ...tried]) assert.match(seen.picture, /^data:image\/webp;base64,[\w+/]+=*$/);
  assert.ok(frames.length > 10 && frames.every(({ slots }) => slots.length === 5));
});

test.run();
