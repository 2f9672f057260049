import { sqrt } from "../../kernels/activation.ts";
import { add, multiply } from "../../kernels/elementwise.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { matmul } from "../../kernels/matmul.ts";
import { sum } from "../../kernels/reduce.ts";
import { slice } from "../../kernels/slice.ts";
import { softmax } from "../../kernels/softmax.ts";
import { unet } from "../diffusion/unet.ts";
import { Layers } from "../nn/layers.ts";
import type { Graph } from "../runtime/graph.ts";
import type { HostArray } from "../runtime/program.ts";
import { Encodings, drawNoised, latentsInput } from "./common/noising.ts";
import { PictureBatches } from "./common/pictures.ts";
import { clipping, startTraining } from "./common/start.ts";
import type { Training, UnlearnSession } from "./training.ts";

/**
 * Forget-Me-Not (Zhang et al., arXiv 2303.17591; patch_lora.py, AttnController): on pictures of the concept, the attention that the
 * concept's tokens get in all cross attentions is made small: the root of the sum of squares of its probabilities.
 */
export async function startForgetMeNot(session: UnlearnSession): Promise<Training> {
  const { base, settings, images, draws, hooks } = session;
  const { latentSize, concepts } = settings;
  const batch = settings.batch!;
  const { unet: { config }, textEncoder } = base.parts;
  const tokens = textEncoder.config.maxLength;
  const pictures = await PictureBatches.of(session, "concept", images.concept, { prompts: concepts });
  /** Inputs of selected positions, [B, queries, T], by name: what they hold for a batch. */
  const inputs = new Map<string, { readonly queries: number; readonly rows: readonly number[] }>();

  const started = await startTraining(session, (g, model) => {
    const { parameters } = model.parts.unet;
    const layers = new Layers(g, parameters);
    const squares: [string, Value][] = [];
    layers.onCrossAttention = (path, q, k, heads) => {
      const one = attentionSquares(g, q, k, heads, (queries, head) => {
        // The authors pick picture r mod B for row r of the probabilities, whose batch is heads within pictures.
        const rows = Array.from({ length: batch }, (_, b) => (b * heads + head) % batch);
        const name = `positions ${queries} ${rows.join(" ")}`;
        inputs.set(name, { queries, rows });
        return g.input(name, f32([batch, queries, tokens]));
      });
      squares.push([path, one]);
    };
    const context = g.input("context", f32([batch, tokens, config.crossAttentionDim]));
    const noised = latentsInput(g, model, "noised", batch, latentSize);
    const prediction = unet(layers, config, noised, g.input("features", f32([batch, model.featureWidth])), context);
    const all = squares.map(([, s]) => s).reduce((a, b) => add(g, a, b));
    const outputs = Object.fromEntries(squares.map(([path, s]) => [`layer ${path}`, s]));
    return { loss: sqrt(g, all), outputs, rescaleAt: model.rescaleAt(prediction, context) };
  }, {
    decay: "decoupled",
    ...clipping(settings),
    apart: (tensor) => /attn2\.to_[kv]\.weight$/.test(tensor), // keys as tensors of their own
  });
  const { trainer } = started;
  const encodings = new Encodings(base);

  return {
    ...started,
    losses: ["loss"],
    async step(index) {
      const { latents, prompts, positions } = await pictures.next(index, batch);
      const { noised, features } = drawNoised(base, draws, latents);
      await trainer.prepare();
      const selected = positions ?? prompts.flatMap((prompt) => positionsOf(session, prompt));
      const fed: Record<string, HostArray> = {};
      for (const [name, { queries, rows }] of inputs) {
        fed[name] = Float32Array.from({ length: batch * queries * tokens }, (_, i) => {
          const row = rows[Math.floor(i / (queries * tokens))]!;
          return selected[row * tokens + (i % tokens)]!;
        });
      }
      await started.update(index, { noised, features, context: await encodings.of(prompts), ...fed });
      for (const path of crossAttentions(trainer.outputs())) {
        await hooks.observe?.(`layer ${path}`, async () => ({ data: (await trainer.output(`layer ${path}`)).map(Math.sqrt), shape: [1] }));
      }
    },
  };
}

function crossAttentions(outputs: readonly string[]): string[] {
  return outputs.flatMap((name) => (name.startsWith("layer ") ? [name.slice("layer ".length)] : []));
}

/** Sum of squares of the attention probabilities at selected positions. @param q [B, queries, heads * d] @param k [B, T, heads * d] */
function attentionSquares(g: Graph, q: Value, k: Value, heads: number, selected: (queries: number, head: number) => Value): Value {
  const [, queries, channels] = q.type.shape as [number, number, number];
  const size = channels / heads;
  let total: Value | undefined;
  for (let head = 0; head < heads; head++) {
    const [qh, kh] = [slice(g, q, head * size, size), slice(g, k, head * size, size)];
    const probabilities = softmax(g, matmul(g, qh, kh, { transposeB: true, scale: 1 / Math.sqrt(size) }));
    const chosen = multiply(g, probabilities, selected(queries, head));
    const squares = sum(g, multiply(g, chosen, chosen));
    total = total ? add(g, total, squares) : squares;
  }
  return total!;
}

/** 1 where a framed prompt has a concept's tokens, and with `pooler` an end of text, padding included where it has that id. */
function positionsOf({ base: { tokenizer }, settings: { concepts, pooler } }: UnlearnSession, prompt: string): number[] {
  const ids = [...tokenizer.encode(prompt)];
  const selected = ids.map((id) => (pooler === "on" && id === tokenizer.eosId ? 1 : 0));
  for (const concept of concepts) {
    const own = tokenizer.tokenize(concept);
    for (let at = 1; at + own.length <= ids.length; at++) {
      if (own.every((id, i) => ids[at + i] === id)) own.forEach((_, i) => (selected[at + i] = 1));
    }
  }
  return selected;
}
