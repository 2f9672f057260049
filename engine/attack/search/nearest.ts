import { argmax } from "../../../kernels/argmax.ts";
import { add, multiply } from "../../../kernels/elementwise.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Graph } from "../../runtime/graph.ts";
import { Tensor } from "../../runtime/tensor.ts";

/** Rows of the token table read at a time. */
const CHUNK = 1024;
/** Shorter rows count as being of this length, as torch's `F.normalize` has it. */
const SHORTEST = 1e-12;

/** Rows of the token table as the device has them: ids -> f32 [ids, tokenWidth]; zeros for an id outside the table. */
export async function tokenRows(model: StableDiffusion, ids: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
  const program = await model.program(`tokenRows ${ids.length}`, (g) => ({
    outputs: { rows: model.text.tokenRows(g, g.input("ids", { shape: [ids.length], dtype: "u32" })) },
  }));
  return program.computeFloats({ ids: Uint32Array.from(ids) }, "rows");
}

/** One over the length of every row of the token table, once for each of `tokens` slots: f32 [tokens, vocabulary]. */
export class InverseNorms {
  readonly tensor: Tensor;
  readonly ready: Promise<void>;

  constructor(private readonly model: StableDiffusion, private readonly tokens: number) {
    this.tensor = new Tensor(model.device, "attack.inverseNorms", f32([tokens, model.text.vocabularySize]));
    this.ready = this.fill();
    this.ready.catch(() => undefined); // told to whoever awaits it
  }

  /** Those of a model and a number of slots, made once. */
  static async for(model: StableDiffusion, tokens: number): Promise<Tensor> {
    const norms = model.keep(`attack.inverseNorms ${tokens}`, () => new InverseNorms(model, tokens));
    await norms.ready;
    return norms.tensor;
  }

  private async fill(): Promise<void> {
    const { vocabularySize, tokenWidth: width } = this.model.text;
    const inverse = new Float32Array(this.tokens * vocabularySize);
    for (let first = 0; first < vocabularySize; first += CHUNK) {
      const rows = await tokenRows(this.model, Array.from({ length: CHUNK }, (_, i) => first + i));
      for (let i = 0; i < Math.min(CHUNK, vocabularySize - first); i++) {
        const squared = rows.subarray(i * width, (i + 1) * width).reduce((sum, x) => sum + x * x, 0);
        inverse[first + i] = 1 / Math.max(SHORTEST, Math.sqrt(squared));
      }
    }
    for (let j = 1; j < this.tokens; j++) inverse.copyWithin(j * vocabularySize, 0, vocabularySize);
    this.tensor.write(inverse);
  }

  destroy(): void {
    this.tensor.destroy();
  }
}

/**
 * The token nearest by cosine to each row, over the whole table, bos and eos included: rows f32 [k, tokenWidth] -> u32 [k]; of equal ones
 * the lowest. Of SDXL a token's row is that of both tables side by side.
 * The length of the row itself changes nothing in the order, so it is left out.
 * @param barred what is added to each token's likeness, f32 [k, vocabulary]: far below zero for those that may not be chosen
 * Source: `nn_project` of Diffusion-MU-Attack's hard_prompt_.py (arXiv 2302.03668, algorithm 1).
 */
export function nearestTokens(g: Graph, model: StableDiffusion, rows: Value, inverseNorms: Value, barred?: Value): Value {
  const likeness = multiply(g, model.text.timesTable(g, rows), inverseNorms);
  return argmax(g, barred ? add(g, likeness, barred) : likeness);
}
