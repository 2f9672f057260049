/**
 * Minus the logarithm of a unit normal's density, summed over all elements: z^2 / 2 + ln(2 pi) / 2 each. A latent of true noise has
 * (1 + ln(2 pi)) / 2 an element; less is as abnormal as more. Source: Memories of Forgotten Concepts, src/utils.py.
 */
export function negativeLogLikelihood(z: Float32Array): number {
  return z.reduce((sum, x) => sum + x * x / 2, 0) + (z.length * Math.log(2 * Math.PI)) / 2;
}

/** What true noise of that many elements has: the mean and the standard deviation of `negativeLogLikelihood`. */
export function expectedLikelihood(elements: number): { readonly mean: number; readonly std: number } {
  return { mean: (elements * (1 + Math.log(2 * Math.PI))) / 2, std: Math.sqrt(elements / 2) };
}

/** Peak signal-to-noise ratio in dB of numbers in [0, 1]: 10 log10(1 / mean squared difference); Infinity for equal ones. */
export function psnr(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return -10 * Math.log10(sum / a.length);
}

/** The squared 2-Wasserstein distance of two normals fitted to lists of numbers (population variance). Source: MFC, analyze_latents.py. */
export function normalDistance(a: readonly number[], b: readonly number[]): number {
  const fit = (list: readonly number[]): readonly [number, number] => {
    const mean = list.reduce((s, x) => s + x, 0) / list.length;
    return [mean, list.reduce((s, x) => s + (x - mean) ** 2, 0) / list.length];
  };
  const [[m1, v1], [m2, v2]] = [fit(a), fit(b)];
  return (m1 - m2) ** 2 + v1 + v2 - 2 * Math.sqrt(v1 * v2);
}
