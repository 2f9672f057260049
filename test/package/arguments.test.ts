/** Public functions say by name what they were not given. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../engine/diffusion/generate.ts";
import { attack, createJudge, decodePng, encodePng, loadPicture, type StableDiffusion } from "../../engine/index.ts";

/** Calls a function as JavaScript lets one. */
const call = (fn: unknown, ...args: unknown[]): Promise<unknown> =>
  Promise.resolve().then(() => (fn as (...a: unknown[]) => unknown)(...args));

async function refused(pattern: RegExp, fn: unknown, ...args: unknown[]): Promise<void> {
  try {
    await call(fn, ...args);
  } catch (error) {
    assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable(String(pattern));
}

test("arguments of the wrong kind are named", async () => {
  const png = encodePng({ data: new Uint8Array(12), width: 2, height: 2 });
  await refused(/^decodePng\(file, bytes\) takes .*got bytes, undefined$/, decodePng, png);
  await refused(/^decodePng\(file, bytes\) takes .*got string, string$/, decodePng, "x.png", "text");
  assert.is((await decodePng("x.png", png)).width, 2);
  const model = { defaultLatentSize: [8, 8], parts: { vae: { config: { factor: 8 } }, scheduler: {} } };
  await refused(/^generate: prompt must be a text, got undefined$/, generate, model, {});
  await refused(/^attack: options\.judge must be a function/, attack, model, { prompt: "x" });
  await refused(/^attack: options\.prompt must be a text, got number$/, attack, model, { prompt: 3, judge: () => undefined });
  await refused(/^createJudge: there is no judge "magic"; choose one of classifier, /, createJudge, "magic", {}, {});
});

test("loadPicture: bytes or a path, cut to the model's size", async () => {
  const png = encodePng({ data: new Uint8Array(12 * 8 * 3).fill(255), width: 12, height: 8 });
  const model = { defaultLatentSize: [1, 1], parts: { vae: { config: { factor: 8 } } } } as unknown as StableDiffusion;
  const { data, shape } = await loadPicture(model, { name: "x.png", bytes: png });
  assert.equal([shape, new Set(data)], [[1, 3, 8, 8], new Set([1])]);
  assert.equal((await loadPicture(model, "assets/emoji/dataset/church/imgs/0_0.png")).shape, [1, 3, 8, 8]);
  await refused(/^y: is not a PNG, JPEG or WebP image/, loadPicture, model, { name: "y", bytes: new Uint8Array(3) });
});

test.run();
