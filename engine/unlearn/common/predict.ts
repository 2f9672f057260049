import { linearCombination } from "../../../kernels/linear-combination.ts";
import { concat } from "../../../kernels/concat.ts";
import { type Value, elementCount, f32 } from "../../../kernels/kernel.ts";
import { slice } from "../../../kernels/slice.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { NDArray } from "../../nn/array.ts";
import { fromChannelsLast } from "../../nn/array.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { Program } from "../../runtime/program.ts";
import { Tensor } from "../../runtime/tensor.ts";

/** Latents [B, h, w, C] of a model, on the device. */
export function latentTensor(model: StableDiffusion, name: string, batch: number, [height, width]: readonly [number, number]): Tensor {
  return model.keep(
    `unlearn ${name} ${batch}x${height}x${width}`,
    () => new Tensor(model.device, name, f32([batch, height, width, model.parts.unet.config.inChannels])),
  );
}

/** Numbers of a tensor of latents, or of a program's output of that shape, as NCHW. */
export function asLatents(data: Float32Array<ArrayBuffer>, { type: { shape } }: Pick<Value, "type">): NDArray {
  return fromChannelsLast(data, shape as [number, number, number, number]);
}

/** Inputs `features` and `context` of a prediction, recorded. @returns [B, h, w, C] */
export function recordPrediction(g: Graph, model: StableDiffusion, latents: Value): { prediction: Value; context: Value } {
  const batch = latents.type.shape[0]!;
  const context = g.input("context", f32(model.encodingShape(batch, model.parts.textEncoder.config.maxLength)));
  const features = g.input("features", f32([batch, model.featureWidth]));
  return { prediction: model.recordUNet(g, latents, features, context), context };
}

/**
 * One prediction for each of several prompts of the same latents, and a sum of them with factors, kept in a tensor: nothing is read back.
 */
export class CombinedPrediction {
  private constructor(
    private readonly program: Program,
    readonly target: Tensor,
    private readonly model: StableDiffusion,
    private readonly count: number,
  ) {}

  /**
   * @param name tells several of one model apart
   * @param latents [B, h, w, C]
   * @param count prompts for each
   */
  static async for(model: StableDiffusion, name: string, latents: Tensor, count: number): Promise<CombinedPrediction> {
    const [batch, height, width] = latents.type.shape as [number, number, number, number];
    const target = latentTensor(model, `${name} target`, batch, [height, width]);
    const program = await model.program(`unlearn ${name} ${count} ${batch}x${height}x${width}`, (g) => {
      const one = g.tensor(latents);
      let rows: Value = one;
      for (let i = 1; i < count; i++) rows = concat(g, rows, one, 0);
      const { prediction } = recordPrediction(g, model, rows);
      const parts = Array.from({ length: count }, (_, i) => slice(g, prediction, i * batch, batch, 0));
      const factors = g.input("factors", f32([count]));
      return {
        outputs: Object.fromEntries(parts.map((part, i) => [`prediction ${i}`, part])),
        assigns: [[target, linearCombination(g, factors, parts)]],
      };
    });
    return new CombinedPrediction(program, target, model, count);
  }

  /** Queues it. @param contexts [count * B, T, D], all of a prompt's together, in the order of the factors */
  run(timestep: number, contexts: Float32Array<ArrayBuffer>, factors: readonly number[], signal?: AbortSignal): Promise<void> {
    const [batch, height, width] = this.target.type.shape as [number, number, number];
    const features = this.model.timestepFeatures(new Array<number>(this.count * batch).fill(timestep), this.model.sizesOf(height, width));
    return this.program.run({ features, context: contexts, factors: Float32Array.from(factors) }, { signal });
  }

  /** The predictions for prompt number `i` of the last run. */
  async read(i: number): Promise<NDArray> {
    return asLatents(await this.program.readFloats(`prediction ${i}`), this.target);
  }
}

/** Reads a tensor of latents as NCHW. */
export async function readLatents(tensor: Tensor): Promise<NDArray> {
  const data = (await tensor.read()) as Float32Array<ArrayBuffer>;
  if (data.length !== elementCount(tensor.type.shape)) throw new Error(`"${tensor.name}" was read in part`);
  return asLatents(data, tensor);
}

/** A batch's prediction by a model as it is at the time, kept in a tensor. */
export class KeptPrediction {
  private constructor(private readonly program: Program, readonly target: Tensor) {}

  static async for(model: StableDiffusion, batch: number, latentSize: readonly [number, number]): Promise<KeptPrediction> {
    const target = latentTensor(model, "kept prediction", batch, latentSize);
    const program = await model.program(`unlearn prediction ${target.type.shape.join("x")}`, (g) => {
      const { prediction } = recordPrediction(g, model, g.input("noised", target.type));
      return { outputs: {}, assigns: [[target, prediction]] };
    });
    return new KeptPrediction(program, target);
  }

  /** Queues it. @param noised NHWC @param context [B, T, D] */
  run(
    noised: Float32Array<ArrayBuffer>,
    features: Float32Array<ArrayBuffer>,
    context: Float32Array<ArrayBuffer>,
    signal?: AbortSignal,
  ): Promise<void> {
    return this.program.run({ noised, features, context }, { signal });
  }
}
