import { HARD_PROMPT, P4D } from "../../../attack/hard-prompt.ts";
import { randomTokens } from "../../../attack/random.ts";
import { resolveOptions } from "../../../attack/resolve.ts";
import { attackIn } from "../../../attack/run.ts";
import { type GradientAttacker, gradientSearch } from "../../../attack/search/gradient-search.ts";
import type { Objective } from "../../../attack/search/objective.ts";
import { type RowKind, SIMPLEX, embedTokens } from "../../../attack/search/row-kinds.ts";
import type { Evaluation } from "../../../attack/session/evaluation.ts";
import { Session } from "../../../attack/session/session.ts";
import { TEXT_GRAD } from "../../../attack/text-grad.ts";
import { FormatError } from "../../../formats/errors.ts";
import type { RgbImage } from "../../../formats/picture/image.ts";
import type { NDArray } from "../../../nn/array.ts";
import { Generator } from "../../../runtime/random/random.ts";
import { Tensor } from "../../../runtime/tensor.ts";
import { part } from "../../layout.ts";
import { NUMBER, numbersIn } from "../../words.ts";
import type { Trace } from "./trace.ts";

/** What one iteration of the attack came to. */
export interface ReplayedIteration {
  readonly loss: number;
  /** The tokens in the slots, [k]. */
  readonly choice: Uint32Array;
  /** [length, hidden] */
  readonly embeddingGradient: Float32Array;
  /** Gradient of the rows, the rows after Adam, and after the projection: [k, width] each. */
  readonly gradient: Float32Array;
  readonly moved: Float32Array;
  readonly rows: Float32Array;
}

export interface Replay {
  readonly iterations: readonly ReplayedIteration[];
  /** The original prompt's first. */
  readonly evaluations: readonly { readonly evaluation: Evaluation; readonly image: RgbImage }[];
  /** The tokens put into each evaluated prompt but the original. */
  readonly inserted: readonly (readonly number[])[];
}

/** Hands out recorded draws in the place of its own, in their order. @throws Error when they are used up or of another size */
class RecordedRandom extends Generator {
  private normals = 0;
  private integers = 0;

  constructor(
    private readonly recorded: { readonly normals?: readonly Float32Array[]; readonly integers?: readonly (readonly number[])[] },
  ) {
    super();
  }

  override randn(shape: readonly number[]): Float32Array {
    const { normals } = this.recorded;
    return normals ? ofSize(normals[this.normals++], shape, `noise ${this.normals}`) : super.randn(shape);
  }

  override randint(_high: number, n: number): Uint32Array {
    return Uint32Array.from(ofSize(this.recorded.integers?.[this.integers++], [n], `drawn tokens ${this.integers}`));
  }
}

function ofSize<T extends ArrayLike<number>>(recorded: T | undefined, shape: readonly number[], what: string): T {
  const size = shape.reduce((a, b) => a * b, 1);
  if (recorded?.length !== size) {
    throw new Error(
      `the attack draws ${what} [${shape.join(", ")}], the trace holds ${recorded ? `${recorded.length} numbers of it` : "none"}`,
    );
  }
  return recorded;
}

/**
 * Runs a trace's attack by the product's own loop: its search, its Adam, its rows, its pictures. Put in are the recorded noises and draws,
 * and what a last digit decides: the rows that each iteration begins with (a projection by bisection jumps by up to 1e-5 in every element,
 * and operands rounded to f16 lead to other nearest tokens), and of probabilities the tokens that stood highest at the end of a timestep,
 * which a tie leaves open.
 * @throws FormatError for a trace whose tensors do not belong together; whatever the attack throws
 */
export async function replay(trace: Trace): Promise<Replay> {
  const { golden, target, layout, attacker } = trace;
  const evaluations: { evaluation: Evaluation; image: RgbImage }[] = [];
  const iterations: Promise<ReplayedIteration>[] = [];
  const inserted: number[][] = [];
  const pictureNoise = golden.has("eval.init_latent") ? await golden.array("eval.init_latent") : undefined;
  const search = attacker === "random" ? await recordedTries(trace, inserted) : await recordedSearch(trace, inserted);
  const resolved = resolveOptions(target, { ...(await optionsOf(trace)), ...search.options });
  const latentSize: readonly [number, number] = pictureNoise ? (pictureNoise.shape.slice(2) as [number, number]) : resolved.latentSize;
  const session = new Session(
    target,
    { ...resolved, latentSize, ...(search.schedule && { schedule: search.schedule }) },
    (event) => void (event.type === "evaluation" && evaluations.push(event)),
    {
      searchRandom: () => search.random,
      pictureRandom: (seed) =>
        pictureNoise ? new RecordedRandom({ normals: [part(pictureNoise, evaluations.length).data] }) : new Generator(seed),
      ...(search.latents && { targetLatents: () => search.latents! }),
      onIteration(objective) {
        const results = readIteration(objective, layout.slots.length);
        results.catch(() => undefined); // awaited below, unless the attack fails first
        iterations.push(results);
        search.next?.(objective);
      },
    },
  );
  await attackIn(session, search.run);
  return { iterations: await Promise.all(iterations), evaluations, inserted };
}

async function readIteration(objective: Objective, k: number): Promise<ReplayedIteration> {
  const [read, { simplex: rows }] = await Promise.all([objective.program.read(), objective.readState()]);
  const { loss, choice, embeddingGradient, gradient, moved } = read as Record<string, Float32Array>;
  return {
    loss: loss![0]!,
    choice: Uint32Array.from(choice!.subarray(0, k)),
    embeddingGradient: embeddingGradient!,
    gradient: gradient!,
    moved: moved!,
    rows,
  };
}

async function optionsOf({
  golden,
  target,
  original,
  prompt,
  layout,
  loss,
  insertion,
}: Trace): Promise<Parameters<typeof resolveOptions>[1]> {
  const words = golden.describe("eval.uint8");
  const sampling = numbersIn(words, `(\\d+) LMS steps, guidance ${NUMBER}`);
  if (!sampling && golden.has("eval.uint8")) {
    throw new FormatError(golden.path, `the JSON does not say how the pictures were sampled: ${words || "nothing"}`);
  }
  const [steps, guidance] = (sampling ?? [1, 1]) as [number, number]; // pictures that nothing is compared with
  return {
    attacker: "random", loss, steps, guidance, insert: insertion,
    prompt: target.tokenizer.decode(prompt),
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 0, // all noise is recorded
    tokens: layout.slots.length,
    learningRate: golden.number("lr"),
    weightDecay: golden.number("weight_decay"),
    ...(original && { original }),
  };
}

/** How a recorded attack is run by the product. */
interface RecordedSearch {
  readonly options: Partial<Parameters<typeof resolveOptions>[1]>;
  readonly schedule?: readonly number[];
  readonly latents?: NDArray;
  readonly random: Generator;
  readonly run: (session: Session) => Promise<void>;
  /** Called when an iteration was queued: puts in what the next one is fed. */
  readonly next?: (objective: Objective) => void;
}

async function recordedTries({ golden, layout }: Trace, inserted: number[][]): Promise<RecordedSearch> {
  inserted.push(...inRows(await golden.ints("random_tokens"), layout.slots.length));
  return {
    options: { maxTimesteps: inserted.length, attackSeed: 0 },
    random: new RecordedRandom({ integers: inserted }),
    run: randomTokens,
  };
}

async function recordedSearch(trace: Trace, inserted: number[][]): Promise<RecordedSearch> {
  const { golden, original, iterations, layout, attacker } = trace;
  const k = layout.slots.length;
  const timesteps = [...(await golden.ints("t"))];
  const schedule = timesteps.filter((_, i) => i % iterations === 0);
  if (timesteps.some((t, i) => t !== schedule[Math.floor(i / iterations)])) {
    throw new FormatError(golden.path, `"t" does not hold ${iterations} iterations of each timestep`);
  }
  const [latents, noise] = [await golden.array("x0"), await golden.array("noise")];
  const [height, width] = latents.shape.slice(2).map((side) => side * trace.target.parts.vae.config.factor) as [number, number];
  // seen by nobody: its latents are fed
  const picture: NDArray = { data: new Float32Array(3 * height * width), shape: [1, 3, height, width] };
  const normals = Array.from({ length: noise.shape[0]! }, (_, i) => part(noise, i).data);
  const common = {
    attacker,
    target: picture,
    iterations,
    projection: "reference",
    maxTimesteps: schedule.length,
    timesteps: schedule.length,
  } as const;
  const compared = original && P4D.target ? { target: P4D.target } : {};
  const recordedRows = await golden.array(attacker === "hard-prompt" ? "adam" : "proj");
  let queued = 0;
  if (attacker === "hard-prompt") {
    const random = new RecordedRandom({ normals, integers: [[...(await golden.ints("init_ids"))]] });
    const hardPrompt: GradientAttacker = { ...HARD_PROMPT, ...compared, rows: watched(HARD_PROMPT.rows, inserted) };
    const next = (objective: Objective): void => objective.setRows(part(recordedRows, queued++).data);
    return { options: common, schedule, latents, random, run: (session) => gradientSearch(session, hardPrompt), next };
  }
  const init = await golden.floats("init");
  const vocabulary = trace.target.parts.textEncoder.config.vocabularySize;
  const drawnAtRandom = init.some((x) => Math.abs(x * vocabulary - 1) > 1e-5);
  const drawn = inRows(await golden.ints("choice"), k);
  const highest = inRows(await golden.ints("argmax"), k).filter((_, i) => (i + 1) % iterations === 0);
  const tokens = trace.target.keep(
    `verify.drawnTokens ${k}`,
    () => new Tensor(trace.target.device, "verify.drawnTokens", { shape: [k], dtype: "u32" }),
  );
  tokens.write(Uint32Array.from(drawn[0]!));
  const next = (objective: Objective): void => {
    objective.setRows(part(recordedRows, queued++).data);
    if (queued < drawn.length) tokens.write(Uint32Array.from(drawn[queued]!));
  };
  const rows: RowKind = {
    ...SIMPLEX,
    name: "simplex, its tokens recorded",
    prepare: () => Promise.resolve(tokens),
    choose: (recording) => embedTokens(recording, recording.prepared!),
    read: () => Promise.resolve(highest[inserted.length]!.map((id) => [{ id, share: 1 }])),
  };
  const initialRows: GradientAttacker["initialRows"] = drawnAtRandom ? () => Promise.resolve(init) : TEXT_GRAD.initialRows;
  const textGrad: GradientAttacker = { initialRows, ...compared, rows: watched(rows, inserted) };
  return {
    options: common,
    schedule,
    latents,
    random: new RecordedRandom({ normals }),
    run: (session) => gradientSearch(session, textGrad),
    next,
  };
}

/** A kind of rows that also notes the tokens read of it. */
function watched(rows: RowKind, seen: number[][]): RowKind {
  return {
    ...rows,
    async read(...args) {
      const tokens = await rows.read(...args);
      seen.push(tokens.map(([best]) => best!.id));
      return tokens;
    },
  };
}

function inRows(flat: ArrayLike<number>, width: number): number[][] {
  return Array.from({ length: flat.length / width }, (_, i) => Array.from({ length: width }, (_x, j) => flat[i * width + j]!));
}
