import { ADAM_HYPERPARAMETERS, adam, adamHyperparameters } from "../../../kernels/adam.ts";
import { clamp } from "../../../kernels/clamp.ts";
import { concat } from "../../../kernels/concat.ts";
import { add, scale } from "../../../kernels/elementwise.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { mseLoss } from "../../../kernels/loss.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { slice } from "../../../kernels/slice.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { NDArray } from "../../nn/array.ts";
import { gradients } from "../../runtime/autodiff.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { Program } from "../../runtime/program.ts";
import { Tensor } from "../../runtime/tensor.ts";

export interface InnerAttackOptions {
  readonly tokens: number;
  readonly learningRate: number;
  /** pgd: Adam follows gradients; fast: their signs. */
  readonly kind: "pgd" | "fast";
  /** As the published code: gradients are never set to zero, so that they add up, and what is handed on is from before the last step. */
  readonly published: boolean;
}

/** Embeddings [1, T, D] of a prompt with k embeddings behind its begin. @param ids the others', [1, T - k] @param rows [k, D] */
export function withEmbeddings(g: Graph, model: StableDiffusion, ids: Value, rows: Value): Value {
  const others = model.recordEmbeddings(g, ids);
  const begun = concat(g, slice(g, others, 0, 1, 1), reshape(g, rows, [1, ...rows.type.shape]), 1);
  return concat(g, begun, slice(g, others, 1, others.type.shape[1]! - 1, 1), 1);
}

/**
 * AdvUnlearn's inner attack (arXiv 2405.15234; attack_util.py): k embeddings in the prompt that lead the trained model's prediction to the
 * unchanged model's for the plain prompt. Rows, moments and the gradients' running sum stay on the device.
 */
export class InnerAttack {
  /** The embeddings, [k, D]. */
  readonly rows: Tensor;
  /** What is handed on. */
  readonly used: Tensor;
  private readonly running: Tensor;
  private readonly m: Tensor;
  private readonly v: Tensor;
  private step = 0;

  /**
   * @param model the trained one
   * @param latents [1, h, w, C] and the target prediction for them
   */
  constructor(
    private readonly model: StableDiffusion,
    private readonly latents: Tensor,
    private readonly target: Tensor,
    private readonly options: InnerAttackOptions,
  ) {
    const type = f32([options.tokens, model.parts.textEncoder.config.hiddenSize]);
    const state = (name: string): Tensor => model.keep(`unlearn attack ${name}`, () => new Tensor(model.device, `attack ${name}`, type));
    [this.rows, this.used, this.running, this.m, this.v] = [state("rows"), state("used"), state("gradient"), state("m"), state("v")];
  }

  /** Begins an attack, with these tokens' embeddings or those that the last one handed on. */
  async start(ids?: Uint32Array<ArrayBuffer>): Promise<void> {
    const { model, rows, options: { tokens } } = this;
    this.step = 0;
    const zeros = new Float32Array(rows.type.shape.reduce((a, b) => a * b, 1));
    for (const tensor of [this.running, this.m, this.v]) tensor.write(zeros);
    if (!ids) return this.used.copyTo(rows);
    const program = await model.program(`unlearn attack start ${tokens}`, (g) => {
      const embeddings = model.recordEmbeddings(g, g.input("ids", { shape: [1, tokens], dtype: "u32" }));
      return { outputs: {}, assigns: [[rows, reshape(g, embeddings, rows.type.shape)]] };
    });
    await program.run({ ids });
  }

  /** Queues a step, once latents and target are there. @param ids the prompt's without k places, [1, T - k] */
  async run(ids: Uint32Array<ArrayBuffer>, timestep: number, signal?: AbortSignal): Promise<void> {
    const { model } = this;
    const program = await this.program(ids.length);
    const hyper = adamHyperparameters({ lr: this.options.learningRate }, ++this.step);
    await program.run({ ids, features: model.timestepFeatures([timestep]), hyper }, { signal });
  }

  private program(length: number): Promise<Program> {
    const { model, rows, used, running, m, v, options: { kind, published } } = this;
    return this.model.program(`unlearn attack ${length}`, (g) => {
      const leaf = g.tensor(rows);
      const ids = g.input("ids", { shape: [1, length], dtype: "u32" });
      const context = model.recordTextEncoder(g, withEmbeddings(g, model, ids, leaf));
      const prediction = model.recordUNet(g, g.tensor(this.latents), g.input("features", f32([1, model.featureWidth])), context);
      const loss = mseLoss(g, prediction, g.tensor(this.target));
      const gradient = gradients(g, loss, [leaf], undefined, model.rescaleAt(prediction, context))[0]!;
      const whole = published ? add(g, g.tensor(running), gradient) : gradient;
      // The sign: whatever is above 1e-38 becomes more than 1.
      const followed = kind === "fast" ? clamp(g, scale(g, whole, 1e38)) : whole;
      const hyper = g.input("hyper", f32([ADAM_HYPERPARAMETERS]));
      const next = adam(g, { parameter: leaf, m: g.tensor(m), v: g.tensor(v) }, followed, hyper);
      return {
        outputs: { loss, gradient, followed },
        assigns: [[used, published ? leaf : next.parameter], [running, followed], [m, next.m], [v, next.v], [rows, next.parameter]],
      };
    });
  }

  /** Of the last step: its loss, its own gradient, and what Adam got. */
  async read(what: "loss" | "gradient" | "followed", length: number): Promise<NDArray> {
    const data = await (await this.program(length)).readFloats(what);
    return { data, shape: what === "loss" ? [1] : [...this.rows.type.shape] };
  }
}
