/** What diffusers and PyTorch made of the small SDXL: test/fixtures/make-xl.py. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import type { SchedulerJson } from "../../engine/diffusion/schedulers/index.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";

/** A change of a weight: its norm, and its dot with numbers hashed under "probe.NAME". */
type Changes = Readonly<Record<string, readonly [norm: number, dot: number]>>;

interface Reference {
  /** Token ids. */
  readonly prompt: readonly number[];
  readonly anchor: readonly number[];
  readonly kept: readonly number[];
  /** `latents`: after every step, [1, 4, 4, 4]. */
  readonly samples: readonly {
    readonly name: string; readonly class: string; readonly prediction: string;
    readonly timesteps: readonly number[]; readonly latents: readonly string[];
  }[];
  readonly esd: {
    readonly samplingSteps: number;
    readonly trained: number;
    readonly steps: readonly {
      readonly until: number; readonly t: number; readonly z: string; readonly target: string; readonly prediction: string;
      readonly loss: number;
    }[];
    readonly changes: Changes;
  };
  readonly uce: Changes;
}

export const reference = JSON.parse(readFileSync("test/fixtures/xl/xl.json", "utf8")) as Reference;

/** Base64 of little-endian float32. */
export function floats(text: string): Float32Array<ArrayBuffer> {
  return new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
}

/** Of SDXL base 1.0, -Turbo and -Lightning, but for the class and the spacing. */
export const SCHEDULE: SchedulerJson = {
  beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", num_train_timesteps: 1000, prediction_type: "epsilon",
  steps_offset: 1, interpolation_type: "linear", sample_max_value: 1, set_alpha_to_one: false, skip_prk_steps: true, trained_betas: null,
  clip_sample: false, use_karras_sigmas: false,
};

/** That weights changed as the reference's did, within `tolerance` of a change's norm. */
export function assertChanges(made: ReadonlyMap<string, Float32Array>, wanted: Changes, tolerance: number): void {
  for (const [name, [norm, dot]] of Object.entries(wanted)) {
    const d = made.get(name);
    assert.ok(d, name);
    const probe = hashNumbers(`probe.${name}`, d.length, 0, 1);
    const own = [Math.hypot(...d), d.reduce((sum, x, i) => sum + x * probe[i]!, 0)];
    for (const [i, expected] of [norm, dot].entries()) {
      assert.ok(Math.abs(own[i]! - expected) < tolerance * norm, `${name}: ${["norm", "dot"][i]} ${own[i]}, expected ${expected}`);
    }
  }
}
