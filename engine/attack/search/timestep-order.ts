import { randomTokenIds } from "./vocabulary.ts";
import { Generator } from "../../runtime/random/random.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { ObjectiveView } from "./objective.ts";
import type { Session } from "../session/session.ts";

/** Token draws and noises at each timestep, the same at all. */
const SAMPLES = 2;

/**
 * The timesteps to attack at, in their order. "gradient": those where the loss has the largest gradient for the embeddings in the slots,
 * measured before the search with random tokens there; of a universal attack on the first case. A resumed search goes on with its own.
 * @throws UsageError for a broken state
 */
export async function searchSchedule(session: Session, view: ObjectiveView): Promise<readonly number[]> {
  const { options } = session;
  if (options.timestepOrder === "sequence") return options.schedule;
  if (options.resume) return savedSchedule(options.resume.search, options.schedule.length);
  const norms = new Map<number, number>();
  for (const timestep of options.timestepChoices) {
    options.signal?.throwIfAborted();
    norms.set(timestep, await gradientNorm(session, view, timestep));
  }
  return [...norms.keys()].toSorted((a, b) => norms.get(b)! - norms.get(a)!).slice(0, options.schedule.length);
}

/** Length of the gradient [tokens, tokenWidth] for the slots' embeddings, mean over some draws. */
async function gradientNorm({ model, options }: Session, { ids, slots, latents }: ObjectiveView, timestep: number): Promise<number> {
  const random = new Generator(options.attackSeed ?? 0);
  const { tokenWidth: width } = model.text;
  let sum = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const tokens = randomTokenIds(model.tokenizer, options.vocabulary, random, slots.length);
    const drawn = ids.slice();
    slots.forEach((position, j) => (drawn[position] = tokens[j]!));
    const noise = { data: random.randn(latents.shape) as Float32Array<ArrayBuffer>, shape: latents.shape };
    const { gradient } = await model.noiseLoss({ latents, noise, timestep, ids: drawn, loss: options.loss });
    const squares = slots.map((position) =>
      gradient.data.subarray(position * width, (position + 1) * width).reduce((s, x) => s + x * x, 0),
    );
    sum += Math.sqrt(squares.reduce((a, b) => a + b, 0)) / SAMPLES;
  }
  return sum;
}

function savedSchedule(state: unknown, length: number): readonly number[] {
  const { schedule } = (typeof state === "object" && state !== null ? state : {}) as { schedule?: unknown };
  if (!Array.isArray(schedule) || schedule.length !== length || !schedule.every((t) => Number.isSafeInteger(t))) {
    throw new UsageError(
      `the state to resume from holds no order of ${length} timesteps: resume with the same settings, or start the attack anew`,
    );
  }
  return schedule as number[];
}
