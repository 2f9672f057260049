import { type Moments, posteriorSample } from "../../diffusion/steering/encode.ts";
import { type NDArray, stackRows } from "../../nn/array.ts";
import { imagesToTensor } from "../../formats/picture/image.ts";
import { UsageError } from "../../runtime/errors.ts";
import { Generator } from "../../runtime/random/random.ts";
import type { TrainingPicture } from "../options.ts";
import type { UnlearnSession } from "../training.ts";
import type { PictureBatch } from "./batch.ts";

/** Sampling steps and guidance of pictures that the model draws for its own training. */
const DRAWN = { steps: 50, guidance: 7.5 } as const;

/** Which pictures a method wants where none are given. */
export interface WantedPictures {
  readonly prompts: readonly string[];
  /** Added to the seed of the first, so that two sets differ. */
  readonly seedOffset?: number;
}

/**
 * Batches of training pictures: all of them in an order of their own for each round, without an end. The order depends on the seed and the
 * round alone, so that a training can go on anywhere.
 */
export class PictureBatches {
  private readonly moments: (Moments | undefined)[] = [];

  private constructor(
    private readonly session: UnlearnSession,
    private readonly name: string,
    private readonly pictures: readonly TrainingPicture[],
  ) {}

  /** The same pictures under another name for replays. */
  named(name: string): PictureBatches {
    return new PictureBatches(this.session, name, this.pictures);
  }

  get count(): number {
    return this.pictures.length;
  }

  /**
   * @param name by which a replay knows the batches
   * @param given the user's; without them, the model draws `settings.pictures` for the wanted prompts
   * @throws UsageError for pictures of another size than the latents' or fewer than a batch takes
   */
  static async of(
    session: UnlearnSession,
    name: string,
    given: readonly TrainingPicture[] | undefined,
    wanted: WantedPictures,
  ): Promise<PictureBatches> {
    if (session.hooks.pictures) return new PictureBatches(session, name, []);
    const pictures = given ?? (await drawn(session, wanted));
    const { settings: { batch, latentSize }, base } = session;
    if (pictures.length < batch!) {
      throw new UsageError(`${pictures.length} ${name} pictures are too few for a batch of ${batch}; give more, or a smaller batch`);
    }
    const { factor } = base.parts.vae.config;
    for (const { image } of pictures) {
      const [, , height, width] = image.shape;
      if (height !== latentSize[0] * factor || width !== latentSize[1] * factor) {
        const size = `${latentSize[1] * factor}x${latentSize[0] * factor}`;
        throw new UsageError(`a ${name} picture is ${width}x${height}; the training pictures' size is ${size}`);
      }
    }
    return new PictureBatches(session, name, pictures);
  }

  /** The latents are drawn anew from each picture's posterior. @param index of the batch, from 0 @param count pictures of it */
  async next(index: number, count: number): Promise<PictureBatch> {
    const replayed = await this.session.hooks.pictures?.(this.name, index);
    if (replayed) return replayed;
    const chosen = Array.from({ length: count }, (_, i) => this.at(index * count + i));
    const latents: NDArray[] = [];
    for (const i of chosen) latents.push(await this.sample(i));
    return { latents: stackRows(latents), prompts: chosen.map((i) => this.pictures[i]!.prompt) };
  }

  /** The latents of a batch once more, by another sample of the posterior. */
  async again(index: number, count: number): Promise<NDArray> {
    const replayed = await this.session.hooks.pictures?.(`${this.name} again`, index);
    if (replayed) return replayed.latents;
    const latents: NDArray[] = [];
    for (let i = 0; i < count; i++) latents.push(await this.sample(this.at(index * count + i)));
    return stackRows(latents);
  }

  private at(position: number): number {
    const round = Math.floor(position / this.pictures.length);
    const order = this.pictures.map((_, i) => i);
    const random = new Generator(this.session.settings.seed + round);
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.randint(i + 1, 1)[0]!;
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order[position % this.pictures.length]!;
  }

  private async sample(i: number): Promise<NDArray> {
    const { base, draws } = this.session;
    const moments = (this.moments[i] ??= await base.encodeMoments(this.pictures[i]!.image));
    return posteriorSample(moments, draws.normal("posterior", moments.mean.shape), base.parts.vae.config.scalingFactor);
  }
}

async function drawn(session: UnlearnSession, { prompts, seedOffset = 0 }: WantedPictures): Promise<TrainingPicture[]> {
  const { base, settings, signal, phase } = session;
  await phase("pictures");
  const [height, width] = settings.latentSize.map((side) => side * base.parts.vae.config.factor) as [number, number];
  const pictures: TrainingPicture[] = [];
  for (let i = 0; i < settings.pictures!; i++) {
    const prompt = prompts[i % prompts.length]!;
    const [one] = await base.generate({ prompt, seed: settings.seed + seedOffset + i, height, width, signal, ...DRAWN });
    pictures.push({ image: imagesToTensor([one!.image]), prompt });
  }
  return pictures;
}
