import { joinPath } from "../../../formats/file-system.ts";
import { FormatError } from "../../../formats/errors.ts";
import { imagesToTensor } from "../../../formats/picture/image.ts";
import type { NDArray } from "../../../nn/array.ts";
import { type SamplerPlan, type SchedulerName, createSamplerPlan, schedulerJsonFor } from "../../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { type Predict, denoise } from "../../../diffusion/steering/denoise.ts";
import { guided } from "../../../diffusion/steering/guided.ts";
import { Check, type Form } from "../../check.ts";
import type { Case, Golden } from "../../golden.ts";
import { TOLERANCES } from "../../rows.ts";

/** The check of a probe's reference. */
export class Subject extends Check {
  private constructor(
    check: Check,
    readonly base: StableDiffusion,
    /** The model that the reference says is probed. */
    readonly model: StableDiffusion,
  ) {
    super(check.golden, check.rows, check.context);
  }

  static async of(check: Check, unet: string): Promise<Subject> {
    return new Subject(check, await check.context.model(), await openUNet(check, unet));
  }

  /** Another UNet of the reference's folder: "base", NAME for NAME_unet.safetensors, or the file's name. */
  unet(name: string): Promise<StableDiffusion> {
    return openUNet(this, name);
  }

  get guidance(): number {
    return this.golden.number("guidance_scale");
  }

  ids(name: string): Promise<Int32Array> {
    return this.golden.ints(`ids.${name}`);
  }

  async encode(name: string, model = this.model): Promise<NDArray> {
    return model.encodeText(await this.ids(name));
  }

  /** Guided by the reference's scale. */
  async guidedBy(prompt: string, model = this.model, scale = this.guidance): Promise<Predict> {
    return guided(model, await this.encode("empty", model), await this.encode(prompt, model), scale);
  }

  plan(name: SchedulerName, steps: number, from = 0): SamplerPlan {
    return createSamplerPlan(name, schedulerJsonFor(name, this.model.parts.scheduler, this.model.isXl), steps, { from });
  }

  /** u8 [H, W, 3] as the VAE takes it. */
  async picture(tensor: string): Promise<NDArray> {
    const [height, width] = this.golden.shape(tensor) as [number, number];
    return imagesToTensor([{ width, height, data: Uint8Array.from(await this.golden.ints(tensor)) }]);
  }

  /** What the case grants; with operands or weights of halves no less than a sample of theirs. */
  tolerance(c: Case, field = "tolerance"): number {
    const { sample } = this.rows.tolerances;
    return sample === TOLERANCES.sample ? this.golden.number(field, c) : Math.max(sample, this.golden.number(field, c));
  }

  /** The picture in [0, 1], NCHW. */
  async decode(latents: NDArray): Promise<NDArray> {
    const { data, shape } = await this.model.decodeLatents(latents);
    return { data: data.map((v) => Math.min(1, Math.max(0, v / 2 + 0.5))), shape };
  }

  /** Compares the decoded picture where the reference has one. */
  async compareImage(c: Case, tensor: string, latents: NDArray): Promise<void> {
    if (this.golden.has(tensor)) await this.compare(c.name, "image", await this.decode(latents), this.tolerance(c), { key: tensor });
  }
}

/** The latents after every step. */
export async function stepsOf(options: Omit<Parameters<typeof denoise>[0], "onStep">): Promise<NDArray[]> {
  const steps: NDArray[] = [];
  await denoise({ ...options, onStep: (_step, _steps, latents) => void steps.push(latents) });
  return steps;
}

/** Recorded predictions [steps, ...] in place of a net's. */
export function recorded(predictions: Float32Array<ArrayBuffer>, size: number): Predict {
  return (_sample, _timestep, step) => Promise.resolve(predictions.slice(step * size, (step + 1) * size));
}

/** The latents that step `i` was recorded to begin with: those after the step before it, of [steps, ...]. */
export function latentsBefore(start: NDArray, steps: Float32Array<ArrayBuffer>, i: number): NDArray {
  return i === 0 ? start : { ...start, data: slab(steps, start.data.length, i - 1) };
}

/** Part `i` of numbers that lie after each other. */
export function slab(data: Float32Array<ArrayBuffer>, size: number, i: number): Float32Array<ArrayBuffer> {
  return data.slice(i * size, (i + 1) * size);
}

/** A form whose cases are checked one by one. @param unet which UNet the reference is of */
export function caseForm(
  unet: (golden: Golden) => string,
  check: (subject: Subject, c: Case) => Promise<void>,
  before?: (subject: Subject) => Promise<void>,
): Form {
  return async (plain) => {
    const { golden, rows } = plain;
    const subject = await Subject.of(plain, unet(golden));
    if (before) await rows.guard("", golden.name, () => before(subject));
    await subject.cases("", (c) => check(subject, c));
  };
}

/** The field that names the UNet. */
export const unetField = (golden: Golden): string => golden.text("unet");

async function openUNet({ golden, context }: Check, name: string): Promise<StableDiffusion> {
  if (name === "base") return context.model();
  const file = name.endsWith(".safetensors") ? name : `${name}_unet.safetensors`;
  if (/[/\\]/.test(file)) throw new FormatError(golden.path, `names a UNet ${JSON.stringify(name)} that is not beside it`);
  const path = joinPath(golden.folder, file);
  return context.model(path, { unet: path });
}

/** The file that a sentence such as "x.safetensors (partial: laid over the base UNet)" begins with. */
export function fileIn(golden: Golden, field: string): string {
  return golden.text(field).split(/\s/)[0]!;
}
