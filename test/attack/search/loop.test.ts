// The loops of the attackers with a gradient, watched from outside: every iteration of a whole attack against the model's own noise loss
// and plain float64.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cce } from "../../../engine/attack/cce.ts";
import { hardPrompt, p4d } from "../../../engine/attack/hard-prompt.ts";
import type { Judgement } from "../../../engine/attack/judges/judgement.ts";
import type { AttackOptions } from "../../../engine/attack/options.ts";
import { resolveOptions } from "../../../engine/attack/resolve.ts";
import { attackIn } from "../../../engine/attack/run.ts";
import { framedIds, slotLayout } from "../../../engine/attack/search/slot-layout.ts";
import { NO_HOOKS } from "../../../engine/attack/session/hooks.ts";
import { Session } from "../../../engine/attack/session/session.ts";
import { seedSearch } from "../../../engine/attack/seed-search.ts";
import { textGrad } from "../../../engine/attack/text-grad.ts";
import { learnedPrompt } from "../../../engine/diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../../../engine/diffusion/stable-diffusion.ts";
import { openWeights } from "../../../engine/formats/diffusers.ts";
import type { NDArray } from "../../../engine/nn/array.ts";
import { nodeFiles } from "../../../engine/platform/node-files.ts";
import { Generator } from "../../../engine/runtime/random/random.ts";
import { finish } from "../../support/device.ts";
import { EMOJI, churchTarget, emojiModel } from "../../support/emoji.ts";
import { relativeError } from "../../support/op-test.ts";

const HIDDEN = 128;
const VOCABULARY = 8192;
const TOKENS = 3;
const RATE = 0.05;
const DECAY = 0.2;
const PROMPT = "a church";

/** Keeps what was drawn of it. */
class Noted extends Generator {
  readonly normals: Float32Array[] = [];
  readonly uniforms: Float32Array[] = [];
  readonly integers: Uint32Array[] = [];

  override randn(shape: readonly number[]): Float32Array {
    return noted(this.normals, super.randn(shape));
  }
  override rand(shape: readonly number[]): Float32Array {
    return noted(this.uniforms, super.rand(shape));
  }
  override randint(high: number, n: number): Uint32Array {
    return noted(this.integers, super.randint(high, n));
  }
}

function noted<T>(list: T[], drawn: T): T {
  list.push(drawn);
  return drawn;
}

interface Iteration {
  readonly read: Record<string, Float32Array>;
  readonly rows: Float32Array<ArrayBuffer>;
}

/** Runs an attack of two timesteps, or rounds, of two iterations each. */
async function watch(
  model: StableDiffusion,
  search: (session: Session) => Promise<void>,
  changed: Partial<AttackOptions>,
): Promise<{ random: Noted; iterations: Iteration[] }> {
  const options: AttackOptions = {
    attacker: "text-grad",
    prompt: PROMPT,
    target: await churchTarget(0),
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 3,
    attackSeed: 8,
    iterations: 2,
    timesteps: 4,
    maxTimesteps: 2,
    steps: 1,
    learningRate: RATE,
    weightDecay: DECAY,
    tokens: TOKENS,
    ...changed,
  };
  const randoms: Noted[] = [];
  const iterations: Promise<Iteration>[] = [];
  const session = new Session(model, resolveOptions(model, options), () => undefined, {
    ...NO_HOOKS,
    searchRandom: (seed) => noted(randoms, new Noted(seed)),
    onIteration: (objective) =>
      iterations.push(
        Promise.all([objective.program.read(), objective.readState()]).then(([read, { simplex }]) => ({
          read: read as Iteration["read"],
          rows: simplex,
        })),
      ),
  });
  await attackIn(session, search);
  assert.is(randoms.length, 1);
  return { random: randoms[0]!, iterations: await Promise.all(iterations) };
}

/** torch.optim.Adam with L2 decay in float64: the rows after each step, from the rows before it and the gradient there. */
class Adam {
  private step = 0;
  private readonly m: Float64Array;
  private readonly v: Float64Array;

  constructor(size: number, private readonly decay: number) {
    [this.m, this.v] = [new Float64Array(size), new Float64Array(size)];
  }

  next(before: Float32Array, gradient: Float32Array): Float64Array {
    const [m, v] = [this.m, this.v];
    const step = ++this.step;
    return Float64Array.from(before, (p, i) => {
      const d = gradient[i]! + this.decay * p;
      m[i] = 0.9 * m[i]! + 0.1 * d;
      v[i] = 0.999 * v[i]! + 0.001 * d * d;
      return p - ((RATE / (1 - 0.9 ** step)) * m[i]!) / (Math.sqrt(v[i]! / (1 - 0.999 ** step)) + 1e-8);
    });
  }
}

async function tokenTable(): Promise<Float32Array> {
  return (await openWeights(nodeFiles, `${EMOJI}/text_encoder`)).readFloat32("text_model.embeddings.token_embedding.weight");
}

const near = (actual: ArrayLike<number>, expected: ArrayLike<number>, what: string, tolerance = 1e-5): void => {
  const error = relativeError(actual, expected);
  assert.ok(error < tolerance, `${what} is off by ${error}`);
};

interface Kind {
  readonly attacker: "text-grad" | "hard-prompt" | "p4d";
  readonly search: (session: Session) => Promise<void>;
}

for (const { attacker, search } of [
  { attacker: "text-grad", search: textGrad },
  { attacker: "hard-prompt", search: hardPrompt },
  { attacker: "p4d", search: p4d },
] satisfies Kind[]) {
  test(`${attacker}: each iteration has its timestep, its draws, and Adam's step from where the last one ended`, async () => {
    const original = await emojiModel();
    const model = attacker === "p4d" ? await emojiModel({ unet: `${EMOJI}/unlearned/esd-x-church/ESDx-church-UNet.pt` }) : original;
    const { random, iterations } = await watch(model, search, { attacker, ...(attacker === "p4d" && { original }) });
    assert.is(iterations.length, 4);
    const table = await tokenTable();
    const prompt = model.tokenizer.tokenize(PROMPT);
    const layout = slotLayout("prefix", TOKENS, prompt.length, 32);
    const latents = await model.encodeImage(await churchTarget(0));
    const width = attacker === "text-grad" ? VOCABULARY : HIDDEN;
    const adam = new Adam(TOKENS * width, DECAY);
    let before: Float32Array = new Float32Array(TOKENS * width).fill(1 / VOCABULARY);
    if (attacker !== "text-grad") {
      random.integers[0]!.forEach((id, j) => before.set(table.subarray(id * HIDDEN, (id + 1) * HIDDEN), j * HIDDEN));
    }
    for (const [i, { read, rows }] of iterations.entries()) {
      const timestep = [125, 125, 375, 375][i]!;
      const noise: NDArray = { data: random.normals[i] as Float32Array<ArrayBuffer>, shape: latents.shape };
      const choice = [...read["choice"]!];
      if (attacker === "text-grad") {
        choice.forEach((id, j) => {
          const row = before.subarray(j * VOCABULARY, (j + 1) * VOCABULARY);
          const share = (end: number): number => row.subarray(0, end).reduce((s, x) => s + x, 0);
          const goal = random.uniforms[i]![j]! * share(VOCABULARY);
          assert.ok(
            share(id) <= goal + 1e-5 && goal <= share(id + 1) + 1e-5,
            `iteration ${i}: token ${id} of slot ${j} is not the one drawn`,
          );
        });
      }
      const known = await model.noiseLoss({ latents, noise, timestep, ids: framedIds(layout, prompt, choice, model.tokenizer) });
      if (attacker === "p4d") {
        const wanted = await original.predictNoise(
          original.addNoise(latents, noise, timestep).noised,
          timestep,
          await original.encodeText(original.tokenizer.frame(prompt)),
        );
        near(
          read["loss"]!,
          [known.prediction.data.reduce((sum, x, e) => sum + (x - wanted.data[e]!) ** 2, 0) / wanted.data.length],
          `iteration ${i}: loss`,
        );
      } else {
        near(read["loss"]!, [known.loss], `iteration ${i}: loss`);
        near(read["embeddingGradient"]!, known.gradient.data, `iteration ${i}: gradient of the embeddings`);
      }
      const moved = adam.next(before, read["gradient"]!);
      near(read["moved"]!, moved, `iteration ${i}: rows after Adam`);
      if (attacker === "text-grad") {
        for (let j = 0; j < TOKENS; j++) {
          near([rows.subarray(j * VOCABULARY, (j + 1) * VOCABULARY).reduce((s, x) => s + x, 0)], [1], `iteration ${i}: sum of row ${j}`);
        }
      } else assert.equal(rows, read["moved"]);
      before = rows;
    }
  });
}

test("universal p4d: cases take turns, two in an iteration, each with its own prompt, picture, noise and prediction", async () => {
  const original = await emojiModel();
  const model = await emojiModel({ unet: `${EMOJI}/unlearned/esd-x-church/ESDx-church-UNet.pt` });
  const prompts = ["a church", "the church at night", "church"];
  const cases = await Promise.all(prompts.map(async (prompt, i) => ({ prompt, target: await churchTarget(i), seed: i })));
  const { random, iterations } = await watch(model, p4d, { attacker: "p4d", original, cases, casesPerStep: 2 });
  const losses: number[] = [];
  for (const [i, { read }] of iterations.entries()) {
    let loss = 0;
    for (const n of [0, 1]) {
      const number = (2 * i + n) % 3;
      const ids = model.tokenizer.tokenize(prompts[number]!);
      const latents = await model.encodeImage(cases[number]!.target);
      const noise: NDArray = { data: random.normals[2 * i + n] as Float32Array<ArrayBuffer>, shape: latents.shape };
      const timestep = [125, 125, 375, 375][i]!;
      const framed = framedIds(slotLayout("prefix", TOKENS, ids.length, 32), ids, read["choice"]!, model.tokenizer);
      const { prediction } = await model.noiseLoss({ latents, noise, timestep, ids: framed });
      const { noised } = original.addNoise(latents, noise, timestep);
      const wanted = await original.predictNoise(noised, timestep, await original.encodeText(original.tokenizer.frame(ids)));
      loss += prediction.data.reduce((sum, x, e) => sum + (x - wanted.data[e]!) ** 2, 0) / wanted.data.length / 2;
    }
    near(read["loss"]!, [loss], `iteration ${i}: loss`);
    losses.push(loss);
  }
  assert.is(new Set(losses).size, 4);
});

test("seed-search draws again where a seed has been used, and tries each only once", async () => {
  const model = await emojiModel();
  const drawn = [7, 7, 3, 7, 9, 3];
  const random = new (class extends Generator {
    override randint(): Uint32Array {
      return Uint32Array.of(drawn.shift()!);
    }
  })();
  const judge = async (): Promise<Judgement> => ({ success: false, label: "", score: 0, scores: {} });
  const options = resolveOptions(model, { attacker: "seed-search", prompt: PROMPT, judge, seed: 3, maxTimesteps: 2, steps: 1 });
  const session = new Session(model, options, () => undefined, { ...NO_HOOKS, searchRandom: () => random });
  await attackIn(session, seedSearch);
  assert.equal(session.evaluations.map((e) => e.seed), [3, 7, 9]);
});

test("cce: each iteration has its timesteps and noises, and Adam's step without decay from where the last one ended", async () => {
  const model = await emojiModel();
  const { random, iterations } = await watch(model, cce, { attacker: "cce", timestepsPerStep: 2 });
  assert.is(iterations.length, 4);
  const table = await tokenTable();
  const church = model.tokenizer.tokenize("church")[0]!;
  let before: Float32Array = table.slice(church * HIDDEN, (church + 1) * HIDDEN);
  const { ids, positions } = learnedPrompt(model, "a picture of <cce>", [{ name: "<cce>", rows: new Float32Array(HIDDEN) }]);
  const latents = await model.encodeImage(await churchTarget(0));
  const size = latents.data.length;
  const adam = new Adam(HIDDEN, 0);
  for (const [i, { read, rows }] of iterations.entries()) {
    const embeddings = new Float32Array(32 * HIDDEN);
    ids.forEach((id, at) => embeddings.set(id === VOCABULARY ? before : table.subarray(id * HIDDEN, (id + 1) * HIDDEN), at * HIDDEN));
    let loss = 0;
    const gradient = new Float64Array(HIDDEN);
    for (const [n, timestep] of random.integers[i]!.entries()) {
      const noise: NDArray = {
        data: random.normals[i]!.slice(n * size, (n + 1) * size) as Float32Array<ArrayBuffer>,
        shape: latents.shape,
      };
      const known = await model.noiseLoss({ latents, noise, timestep, embeddings: { data: embeddings, shape: [1, 32, HIDDEN] } });
      loss += known.loss / 2;
      for (let h = 0; h < HIDDEN; h++) gradient[h]! += known.gradient.data[positions[0]! * HIDDEN + h]! / 2;
    }
    near(read["loss"]!, [loss], `iteration ${i}: loss`);
    near(read["gradient"]!, gradient, `iteration ${i}: gradient`, 1e-4);
    near(read["moved"]!, adam.next(before, read["gradient"]!), `iteration ${i}: word after Adam`);
    assert.equal(rows, read["moved"]);
    before = rows;
  }
});

finish();
