import type { RgbImage } from "../formats/picture/image.ts";
import { type Clip, cosine } from "../vision/clip.ts";
import { NORMAL_975 } from "./intervals.ts";

/** The benchmark divides logits by it, whatever the model's own scale is. Source: AdvUnlearn train-scripts/img_retain_eval.py:66 */
const BENCHMARK_SCALE = 100;

/** CLIP scores as the Unlearned Diffusion Model Benchmark computes them. */
export class ClipScorer {
  private scale: Promise<number> | undefined;

  constructor(private readonly clip: Clip) {}

  /** logits_per_image of one picture and its caption: exp(logit_scale) times the cosine of their embeddings. */
  async logit(image: RgbImage, caption: string): Promise<number> {
    const scale = await (this.scale ??= this.clip.logitScale());
    return scale * cosine(await this.clip.embedImage(image), await this.clip.embedText(caption));
  }

  destroy(): Promise<void> {
    return this.clip.destroy();
  }
}

/** The benchmark's number: the logits' sum over 100 n. With a published CLIP, whose scale is 100, the mean cosine. */
export function clipScore(logits: readonly number[]): number {
  return logits.reduce((sum, x) => sum + x, 0) / (BENCHMARK_SCALE * logits.length);
}

/** The CLIP score's 95 % interval, by the normal distribution of the mean over captions; null of fewer than two. */
export function clipInterval(logits: readonly number[]): readonly [number, number] | null {
  if (logits.length < 2) return null;
  const score = clipScore(logits);
  const variance = logits.reduce((sum, x) => sum + (x / BENCHMARK_SCALE - score) ** 2, 0) / (logits.length - 1);
  const spread = NORMAL_975 * Math.sqrt(variance / logits.length);
  return [score - spread, score + spread];
}
