import { broadcastAdd, sumRows } from "../../../kernels/broadcast.ts";
import { multiply } from "../../../kernels/elementwise.ts";
import { elementCount, f32 } from "../../../kernels/kernel.ts";
import { reshape } from "../../../kernels/reshape.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Program } from "../../runtime/program.ts";

/** Prompts encoded together at most. */
const MOST = 64;

/** How far prompts' encodings are from a given one. Encodings stay on the device; a distance per prompt comes back. */
export class TextDistance {
  private constructor(
    private readonly model: StableDiffusion,
    private readonly program: Program,
    private readonly batch: number,
    private readonly minusTarget: Float32Array<ArrayBuffer>,
  ) {}

  /** @param target f32 [rows, D], flat @param lists about how many will be measured at a time */
  static async to(model: StableDiffusion, target: Float32Array, lists = MOST): Promise<TextDistance> {
    const batch = Math.min(lists, MOST);
    const { maxLength: length } = model.tokenizer;
    const width = elementCount(model.encodingShape(1, length));
    const program = await model.program(`text distance ${batch}x${length}`, (g) => {
      const hidden = model.recordPrompts(g, g.input("ids", { shape: [batch, length], dtype: "u32" }));
      const difference = broadcastAdd(g, reshape(g, hidden, [batch, width]), g.input("minusTarget", f32([width])));
      const squares = reshape(g, multiply(g, difference, difference), [batch, width, 1]);
      return { outputs: { distances: sumRows(g, squares, [batch, 1], "middle") } };
    });
    return new TextDistance(model, program, batch, target.map((x) => -x));
  }

  /**
   * Squared distance, summed over all rows, of each prompt's encoding; ids without frame. The last batch is filled up, so that one
   * program does for all.
   */
  async of(prompts: readonly (readonly number[])[]): Promise<number[]> {
    const { batch, model: { tokenizer } } = this;
    const distances: number[] = [];
    for (let first = 0; first < prompts.length; first += batch) {
      const ids = new Uint32Array(batch * tokenizer.maxLength);
      for (let i = 0; i < batch; i++) ids.set(tokenizer.frame(prompts[Math.min(first + i, prompts.length - 1)]!), i * tokenizer.maxLength);
      const read = await this.program.computeFloats({ ids, minusTarget: this.minusTarget }, "distances");
      distances.push(...read.subarray(0, Math.min(batch, prompts.length - first)));
    }
    return distances;
  }
}
