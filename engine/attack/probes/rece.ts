import { guided } from "../../diffusion/steering/guided.ts";
import type { NDArray } from "../../nn/array.ts";
import type { Parameters } from "../../nn/parameters.ts";
import { InputError } from "../../runtime/errors.ts";
import { type KeyOrValue, closedFormEncoding, normalSums, residual } from "./closed-form.ts";
import { type Probe, type ProbeUnit, upTo } from "./studio.ts";

/** The UNets of an edited model and of the one it was made from. */
export interface UNetPair {
  readonly edited: Parameters;
  readonly original: Parameters;
}

/** Keys and values that cross attentions take of the text, of both models. @throws InputError for a matrix that only one of them has */
export async function keysAndValues({ edited, original }: UNetPair): Promise<KeyOrValue[]> {
  const names = [...original.source.names()].filter((n) => /attn2\.to_[kv]\.weight$/.test(n));
  const matrices: KeyOrValue[] = [];
  for (const name of names) {
    if (!edited.has(name) || edited.storedShape(name).join() !== original.storedShape(name).join()) {
      throw new InputError(`the two models do not belong together: "${name}" is missing or of another shape in the unlearned one`);
    }
    matrices.push({ edited: await edited.source.readFloat32(name), original: await original.source.readFloat32(name) });
  }
  return matrices;
}

/**
 * One solve for the text encoding that makes edited keys and values what the original ones were for the prompt (RECE, arXiv 2407.12383).
 * It means something only where nothing but these was edited: a residual that hardly falls says so without a picture.
 */
export const receClosedForm: Probe = async (studio) => {
  const { model, original, prompt, options } = studio;
  const c = await studio.encode(prompt, original);
  const pair = { edited: model.parts.unet.parameters, original: original.parts.unet.parameters };
  const sums = normalSums(await keysAndValues(pair), c.shape[2]!);
  const adversarial = closedFormEncoding(c.data, sums, options.reg);
  const { controlPrompt } = options;
  const before = residual(c.data, c.data, sums);
  const ratio = before > 0 ? residual(adversarial, c.data, sums) / before : 1;
  const units = (encoding: (seed: number) => Promise<NDArray>, note: ProbeUnit["note"], control?: string): ProbeUnit[] =>
    upTo(options.seeds).map((i) =>
      studio.unit(i, { prompt }, control, note, async (seed) => {
        const plan = studio.plan();
        const predict = guided(model, await studio.encode(""), await encoding(seed), studio.guidance);
        return studio.draw({ plan, start: studio.start(plan, seed), predict });
      }),
    );
  return [
    ...units(async () => ({ data: adversarial, shape: c.shape }), { reg: options.reg, residualRatio: ratio }),
    ...units(() => studio.encode(prompt), { reg: options.reg }, "plain"),
    ...(controlPrompt === null
      ? []
      : units(
          async () => ({
            data: closedFormEncoding((await studio.encode(controlPrompt, original)).data, sums, options.reg),
            shape: c.shape,
          }),
          { reg: options.reg },
          "unrelated",
        )),
    ...units(
      async (seed) => ({ data: randomRows(adversarial, c.shape[2]!, studio.random(seed).randn(c.shape)), shape: c.shape }),
      { reg: options.reg },
      "random",
    ),
  ];
};

/** Random rows with the norms of others. */
function randomRows(like: Float32Array, width: number, draws: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const out = new Float32Array(like.length);
  for (let r = 0; r < like.length; r += width) {
    const row = Array.from({ length: width }, (_, i) => draws[r + i]!);
    const scale = Math.hypot(...like.subarray(r, r + width)) / Math.hypot(...row);
    row.forEach((x, i) => (out[r + i] = x * scale));
  }
  return out;
}
