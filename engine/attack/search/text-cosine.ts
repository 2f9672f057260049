import { multiply } from "../../../kernels/elementwise.ts";
import { type Value, elementCount, f32 } from "../../../kernels/kernel.ts";
import { linearCombination } from "../../../kernels/linear-combination.ts";
import { sumRows } from "../../../kernels/broadcast.ts";
import { sum } from "../../../kernels/reduce.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { slice } from "../../../kernels/slice.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { gradients } from "../../runtime/autodiff.ts";

/** Prompts encoded together at most. */
const MOST = 64;

/** What an encoding h is to the target t. */
export interface Likeness {
  readonly cosine: number;
  /** h t / |t|, and |h|^2. */
  readonly dot: number;
  readonly square: number;
}

/** The cosine between prompts' whole encodings, all rows as the UNet takes them, and a given one. */
export class TextCosine {
  private constructor(private readonly model: StableDiffusion, private readonly unit: Float32Array<ArrayBuffer>) {}

  /** @param target f32 [rows, D], flat */
  static to(model: StableDiffusion, target: Float32Array): TextCosine {
    const length = Math.sqrt(target.reduce((squares, x) => squares + x * x, 0));
    return new TextCosine(model, target.map((x) => x / length) as Float32Array<ArrayBuffer>);
  }

  private get shape(): readonly [number, number] {
    const { maxLength } = this.model.tokenizer;
    return [maxLength, elementCount(this.model.encodingShape(1, maxLength))];
  }

  /** Of each prompt; ids without frame. The last batch is filled up, so that one program does for all. */
  async of(prompts: readonly (readonly number[])[]): Promise<Likeness[]> {
    const { model, unit, shape: [length, width] } = this;
    const batch = Math.min(MOST, prompts.length);
    const program = await model.program(`text cosine ${batch}x${length}`, (g) => {
      const hidden = reshape(g, model.recordPrompts(g, g.input("ids", { shape: [batch, length], dtype: "u32" })), [batch, width, 1]);
      const targets = reshape(g, g.input("targets", f32([batch, width])), [batch, width, 1]);
      const summed = (x: Value, y: Value): Value => sumRows(g, multiply(g, x, y), [batch, 1], "middle");
      return { outputs: { dots: summed(hidden, targets), squares: summed(hidden, hidden) } };
    });
    const targets = new Float32Array(batch * width);
    for (let i = 0; i < batch; i++) targets.set(unit, i * width);
    const all: Likeness[] = [];
    for (let first = 0; first < prompts.length; first += batch) {
      const ids = new Uint32Array(batch * length);
      for (let i = 0; i < batch; i++) ids.set(model.tokenizer.frame(prompts[Math.min(first + i, prompts.length - 1)]!), i * length);
      const { dots, squares } = (await program.compute({ ids, targets })) as Record<"dots" | "squares", Float32Array>;
      for (let i = 0; i < Math.min(batch, prompts.length - first); i++) {
        const [dot, square] = [dots[i]!, squares[i]!];
        all.push({ dot, square, cosine: dot / Math.sqrt(square) });
      }
    }
    return all;
  }

  /**
   * How the cosine changes with each token of the table in each place, to first order: the gradient for the token rows, times the table.
   * f32 [tokens, vocabulary]. @param likeness the prompt's own
   */
  async gradient(ids: readonly number[], { dot, square }: Likeness): Promise<Float32Array> {
    const { model, unit, shape: [length, width] } = this;
    const { tokenWidth } = model.text;
    const program = await model.program(`text cosine gradient ${ids.length} of ${length}`, (g) => {
      const framed = g.input("ids", { shape: [1, length], dtype: "u32" });
      const embeddings = model.recordEmbeddings(g, framed);
      const hidden = reshape(g, model.recordTextEncoder(g, embeddings, framed), [width]);
      const parts = [sum(g, multiply(g, hidden, g.input("target", f32([width])))), sum(g, multiply(g, hidden, hidden))];
      // With these factors the two sums together have the cosine's own gradient at h.
      const loss = linearCombination(g, g.input("factors", f32([2])), parts);
      const [gradient] = gradients(g, loss, [embeddings]);
      const places = reshape(g, slice(g, gradient!, 1, ids.length, 1), [ids.length, tokenWidth]);
      return { outputs: { scores: model.text.timesTable(g, places) } };
    });
    const norm = Math.sqrt(square);
    const factors = Float32Array.of(1 / norm, -dot / (2 * norm ** 3));
    return program.computeFloats({ ids: Uint32Array.from(model.tokenizer.frame(ids)), target: unit, factors }, "scores");
  }
}
