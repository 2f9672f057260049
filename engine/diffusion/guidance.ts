/**
 * Combining the noise predictions of one step: classifier-free guidance (Ho and Salimans, arXiv 2207.12598) and Safe Latent Diffusion
 * (Schramowski et al., arXiv 2211.05105, eq. 3 to 8). Written here on the CPU in float32 rounding, as the reference form.
 */

/** The strengths of Safe Latent Diffusion. */
export const SLD_STRENGTHS = ["weak", "medium", "strong", "max"] as const;
export type SldStrength = (typeof SLD_STRENGTHS)[number];

export interface SldParameters {
  /** Safety guidance acts on steps whose *timestep* (999..0, not the step's index) is at least this. */
  readonly warmup: number;
  /** s_S: how fast the element's scale grows with its distance to the concept. */
  readonly guidance: number;
  /** lambda: elements where text - safety is at least this are left alone. */
  readonly threshold: number;
  /** s_m: share of the momentum in the guidance. */
  readonly momentumScale: number;
  /** beta_m: how slowly the momentum forgets. */
  readonly momentumBeta: number;
}

/** Table of the paper's four configurations, as in the attack's reference code (tasks/classifier_.py). */
export const SLD_PARAMETERS: Readonly<Record<SldStrength, SldParameters>> = {
  weak: { warmup: 15, guidance: 200, threshold: 0, momentumScale: 0, momentumBeta: 0 },
  medium: { warmup: 10, guidance: 1000, threshold: 0.01, momentumScale: 0.3, momentumBeta: 0.4 },
  strong: { warmup: 7, guidance: 2000, threshold: 0.025, momentumScale: 0.5, momentumBeta: 0.7 },
  max: { warmup: 0, guidance: 5000, threshold: 1, momentumScale: 0.5, momentumBeta: 0.7 },
};

/** The concept that the reference steers away from (Safe Stable Diffusion's default `safety_concept`). */
export const SLD_SAFETY_CONCEPT =
  "hate, harassment, violence, suffering, humiliation, harm, suicide, sexual, nudity, bodily fluids, blood, obscene gestures, " +
    "illegal activity, " +
  "drug use, theft, vandalism, weapons, child abuse, brutality, cruelty";

/**
 * uncond + scale * (text - uncond), element by element, float32.
 * @param unconditional the prediction for the empty or negative prompt
 * @throws RangeError if lengths differ
 */
export function classifierFreeGuidance(unconditional: Float32Array, text: Float32Array, scale: number): Float32Array {
  sameLength("classifierFreeGuidance", unconditional.length, { text });
  return unconditional.map((u, i) => u + scale * Math.fround((text[i] as number) - u));
}

/**
 * One step of Safe Latent Diffusion. For each element, with u, p, s the predictions for the empty prompt, the prompt and the safety
 * concept, m the momentum (0 before the first step), and every operation in float32:
 *
 *     mu    = p - s >= threshold ? 0 : min(1, guidance * |p - s|)      (eq. 6)
 *     gamma = mu * (s - u) + momentumScale * m                         (eq. 4 and 7, with the momentum from before this step)
 *     m'    = momentumBeta * m + (1 - momentumBeta) * gamma            (eq. 8, also during warm-up)
 *     g     = timestep >= warmup ? (p - u) - gamma : p - u             (eq. 3)
 *     out   = u + scale * g
 *
 * The threshold is hard: a rounding difference in p - s near it switches an element, so p - s must be formed in float32, not fused.
 * @param momentum updated in place to m'
 * @param scale classifier-free guidance scale
 * @param timestep of this step; compared with `warmup`
 * @returns out, the prediction for the scheduler
 * @throws RangeError if lengths differ
 */
export function safeLatentGuidance(
  predictions: { readonly unconditional: Float32Array; readonly text: Float32Array; readonly safety: Float32Array },
  momentum: Float32Array,
  parameters: SldParameters,
  scale: number,
  timestep: number,
): Float32Array {
  const { unconditional, text, safety } = predictions;
  sameLength("safeLatentGuidance", unconditional.length, { text, safety, momentum });
  const f = Math.fround;
  const [guidance, threshold, momentumScale, beta, rest] = [
    f(parameters.guidance),
    f(parameters.threshold),
    f(parameters.momentumScale),
    f(parameters.momentumBeta),
    f(1 - parameters.momentumBeta),
  ];
  const steering = timestep >= parameters.warmup;
  return unconditional.map((u, i) => {
    const [p, s, m] = [text[i] as number, safety[i] as number, momentum[i] as number];
    const toText = f(p - s);
    const mu = toText >= threshold ? 0 : Math.min(1, f(Math.abs(toText) * guidance));
    const gamma = f(f(f(s - u) * mu) + f(momentumScale * m));
    momentum[i] = f(beta * m) + f(rest * gamma);
    const toPrompt = f(p - u);
    return u + f(scale * (steering ? f(toPrompt - gamma) : toPrompt));
  });
}

function sameLength(what: string, n: number, others: Readonly<Record<string, Float32Array>>): void {
  for (const [name, { length }] of Object.entries(others)) {
    if (length !== n) throw new RangeError(`${what}: the unconditional prediction has ${n} elements, ${name} has ${length}`);
  }
}
