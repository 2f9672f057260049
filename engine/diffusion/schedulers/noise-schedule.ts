/** The forward process: betas, their cumulative products, and the noising formulas (DDPM, arXiv 2006.11239). Float32 where torch is. */
import type { NoiseScheduleConfig, PredictionType } from "./config.ts";

const f = Math.fround;

/**
 * `torch.linspace(start, end, n)` in float32: counted up from the start in the first half, down from the end in the second.
 * torch's vectorised loop counts that way only at every eighth element and adds whole steps in between; done alike, the bits agree.
 */
function linspace32(start: number, end: number, n: number): Float32Array {
  const [a, b] = [f(start), f(end)];
  if (n === 1) return Float32Array.of(a);
  const step = f(f(b - a) / (n - 1));
  const counted = (i: number) => f(i < Math.floor(n / 2) ? a + step * i : b - step * (n - i - 1)); // one rounding: a fused multiply-add
  return Float32Array.from({ length: n }, (_, i) => {
    const first = i - (i % 8);
    return first + 8 <= n ? counted(first) + f(step * (i % 8)) : counted(i);
  });
}

/** The cosine schedule's alphas_cumprod at t in 0..1 (Improved DDPM, arXiv 2102.09672, eq. 17). */
const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;

/** float32 [numTrainTimesteps]: the variance added at each training step (diffusers `betas`). */
export function betas(config: NoiseScheduleConfig): Float32Array {
  const n = config.numTrainTimesteps;
  if (config.trainedBetas) return Float32Array.from(config.trainedBetas);
  if (config.betaSchedule === "linear") return linspace32(config.betaStart, config.betaEnd, n);
  if (config.betaSchedule === "scaled_linear") {
    return linspace32(Math.sqrt(config.betaStart), Math.sqrt(config.betaEnd), n).map((b) => b * b);
  }
  return Float32Array.from({ length: n }, (_, i) => Math.min(1 - alphaBar((i + 1) / n) / alphaBar(i / n), 0.999));
}

/**
 * float32 [numTrainTimesteps]: the signal's share of the variance at each timestep, the running product of 1 - beta.
 * Multiplied up in float64 and rounded per entry, as torch's cumprod does on the CPU.
 */
export function alphasCumprod(config: NoiseScheduleConfig): Float32Array {
  let product = 1;
  return betas(config).map((beta) => (product *= f(1 - beta)));
}

/** float32: noise over signal, sqrt((1 - ac) / ac), at each timestep (Karras et al.'s sigma). */
export function sigmasOf(ac: Float32Array): Float32Array {
  return ac.map((a) => Math.sqrt(f(f(1 - a) / a)));
}

/** alphas_cumprod at an integer timestep. @throws RangeError outside the table */
export function alphaAt(ac: Float32Array | Float64Array, timestep: number): number {
  const a = ac[timestep];
  if (a === undefined) throw new RangeError(`timestep must be a whole number in 0..${ac.length - 1}, got ${timestep}`);
  return a;
}

/**
 * x_t = sqrt(ac[t]) x_0 + sqrt(1 - ac[t]) noise (DDPM eq. 4; diffusers `add_noise`), float32.
 * @param ac from `alphasCumprod`
 * @throws RangeError for a timestep outside the table or different lengths
 */
export function addNoise(ac: Float32Array | Float64Array, clean: Float32Array, noise: Float32Array, timestep: number): Float32Array {
  sameLength("addNoise", clean, noise);
  const a = alphaAt(ac, timestep);
  const [signal, sigma] = [Math.sqrt(a), Math.sqrt(1 - a)];
  return clean.map((x, i) => signal * x + sigma * (noise[i] as number));
}

/**
 * v = sqrt(ac[t]) noise - sqrt(1 - ac[t]) x_0, the target of v-prediction (arXiv 2202.00512, appendix D; diffusers `get_velocity`),
 * float32.
 * @throws RangeError for a timestep outside the table or different lengths
 */
export function getVelocity(ac: Float32Array | Float64Array, clean: Float32Array, noise: Float32Array, timestep: number): Float32Array {
  sameLength("getVelocity", clean, noise);
  const a = alphaAt(ac, timestep);
  const [signal, sigma] = [Math.sqrt(a), Math.sqrt(1 - a)];
  return clean.map((x, i) => signal * (noise[i] as number) - sigma * x);
}

function sameLength(what: string, clean: Float32Array, noise: Float32Array): void {
  if (clean.length !== noise.length) {
    throw new RangeError(`${what}: the clean sample has ${clean.length} elements, the noise ${noise.length}`);
  }
}

/** Coefficients over (sample, model output). */
export interface Linear {
  readonly sample: number;
  readonly output: number;
}

/**
 * The predicted clean sample x_0 and noise epsilon as linear forms of (sample, output), where
 * sample = alpha x_0 + sigma epsilon with alpha^2 + sigma^2 = 1, and the output is epsilon, v = alpha epsilon - sigma x_0, or x_0.
 */
export function predictions(type: PredictionType, alpha: number, sigma: number): { clean: Linear; noise: Linear } {
  switch (type) {
    case "epsilon":
      return { clean: { sample: 1 / alpha, output: -sigma / alpha }, noise: { sample: 0, output: 1 } };
    case "v_prediction":
      return { clean: { sample: alpha, output: -sigma }, noise: { sample: sigma, output: alpha } };
    case "sample":
      return { clean: { sample: 0, output: 1 }, noise: { sample: 1 / sigma, output: -alpha / sigma } };
  }
}
