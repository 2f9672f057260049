/** Public functions say by name what they were not given. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../engine/diffusion/generate.ts";
import { attack, createJudge, decodePng, encodePng } from "../../engine/index.ts";

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

test.run();
