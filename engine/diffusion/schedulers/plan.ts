/**
 * A sampler as a table. Every scheduler here is linear in the sample, the model output, what earlier steps stored, and fresh noise,
 * with coefficients known before the run; so a scheduler is a function that writes this table, and one interpreter runs them all:
 * `runSamplerStep` on the CPU, one linear-combination kernel per `LinearCombination` on the GPU.
 */

/**
 * What a coefficient multiplies: the current sample, this step's model output, fresh unit-normal noise, or history slot 0, 1, ...
 * (a tensor of the sample's shape that an earlier `store` wrote).
 */
export type Operand = "sample" | "output" | "noise" | number;

export interface Term {
  readonly operand: Operand;
  /** float64; a GPU rounds it to float32. */
  readonly coefficient: number;
}

/** `clamp(sum of coefficient * operand)`; at most 8 terms, each operand at most once. */
export interface LinearCombination {
  readonly terms: readonly Term[];
  /** Limit the result to [-clamp, clamp] (`clip_sample`); absent: no limit. */
  readonly clamp?: number;
}

/** Writes a history slot. */
export interface Store {
  readonly slot: number;
  readonly value: LinearCombination;
}

/**
 * One model call and the update after it:
 * output = model(inputScale * sample, timestep); then each store in order; then sample = next.
 * A store and `next` may read slots written by the stores before them; all of them read the sample from before the update.
 */
export interface SamplerStep {
  /** What the model gets; may be fractional. */
  readonly timestep: number;
  /** `scale_model_input`: the model sees inputScale * sample. */
  readonly inputScale: number;
  /** The reference draws one unit-normal tensor of the sample's shape after this step's model call. */
  readonly needsNoise: boolean;
  readonly stores: readonly Store[];
  readonly next: LinearCombination;
}

export interface SamplerPlan {
  /** Unit noise times this is the first sample. */
  readonly initNoiseSigma: number;
  /** How many history slots the steps use. */
  readonly historySlots: number;
  /** In order; one model call each. */
  readonly steps: readonly SamplerStep[];
  /** Noise levels of the sigma-space samplers (Euler, Euler-ancestral, LMS), one more than steps, ending in 0; absent for the others. */
  readonly sigmas?: readonly number[];
}

/** A linear combination from (operand, coefficient) pairs; zero coefficients are left out. */
export function combine(terms: readonly (readonly [Operand, number])[], clamp?: number): LinearCombination {
  const kept = terms.filter(([, coefficient]) => coefficient !== 0).map(([operand, coefficient]) => ({ operand, coefficient }));
  return clamp === undefined ? { terms: kept } : { terms: kept, clamp };
}

/** The tensors of a running sampler, all float32 of one length. */
export interface SamplerState {
  sample: Float32Array;
  /** By slot; undefined until stored. */
  readonly history: (Float32Array | undefined)[];
}

/** The state before the first step. @param unitNoise unit-normal float32, any layout */
export function startSampler(plan: SamplerPlan, unitNoise: Float32Array): SamplerState {
  return { sample: unitNoise.map((v) => v * plan.initNoiseSigma), history: Array.from({ length: plan.historySlots }, () => undefined) };
}

/** What the model is given: inputScale * sample, float32. */
export function modelInput(step: SamplerStep, state: SamplerState): Float32Array {
  return step.inputScale === 1 ? state.sample : state.sample.map((v) => v * step.inputScale);
}

/**
 * Applies one step to the state on the CPU (sums in float64, stored as float32); the reference for the GPU's form.
 * @param output the model's answer for `modelInput(step, state)` at `step.timestep`
 * @param noise unit-normal, needed where `step.needsNoise`
 * @throws Error if lengths differ, noise is missing, or a slot is read before it is written
 */
export function runSamplerStep(step: SamplerStep, state: SamplerState, output: Float32Array, noise?: Float32Array): void {
  if (step.needsNoise && noise === undefined) throw new Error(`sampler step at t=${step.timestep}: noise is needed and was not given`);
  for (const { slot, value } of step.stores) state.history[slot] = evaluate(value, step, state, output, noise);
  state.sample = evaluate(step.next, step, state, output, noise);
}

function evaluate(
  combination: LinearCombination,
  step: SamplerStep,
  state: SamplerState,
  output: Float32Array,
  noise: Float32Array | undefined,
): Float32Array {
  const n = state.sample.length;
  const sum = new Float64Array(n);
  for (const { operand, coefficient } of combination.terms) {
    const x = operand === "sample" ? state.sample : operand === "output" ? output : operand === "noise" ? noise : state.history[operand];
    if (x === undefined) {
      throw new Error(
        `sampler step at t=${step.timestep}: ${operand === "noise" ? "noise" : `history slot ${operand}`} is read but was never set`,
      );
    }
    if (x.length !== n) {
      throw new Error(
        `sampler step at t=${step.timestep}: ${typeof operand === "number" ? `history slot ${operand}` : operand} has ${x.length} ` +
          `elements, the sample has ${n}`,
      );
    }
    for (let i = 0; i < n; i++) sum[i] = (sum[i] as number) + coefficient * (x[i] as number);
  }
  const { clamp } = combination;
  if (clamp !== undefined) for (let i = 0; i < n; i++) sum[i] = Math.min(clamp, Math.max(-clamp, sum[i] as number));
  return Float32Array.from(sum);
}
