// A trace of the gradient search on the bundled model. Its loss and embedding gradient are the model's own reference (the first tokens of
// whose prompt play the adversarial ones); what follows from them is worked out here in float64.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openTensorPath } from "../../engine/formats/open.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { finish } from "../support/device.ts";
import { type Tensor, floats, readFixture, readJson } from "../support/fixtures.ts";
import { EMOJI, allWithin, golden, run, withMemory } from "./support.ts";

const K = 3;
const STEPS = 2;
const LR = 0.01;
const DECAY = 0.1;

const tensors = readFixture("../../assets/emoji/reference/reference.safetensors");
const { cases } = readJson<{ readonly cases: readonly { readonly timestep: number }[] }>("../../assets/emoji/reference/reference.json");
const ids = [...(tensors.get("0.input_ids")!.data as Int32Array)];
const length = ids.length;
const eos = ids.at(-1)!;
const content = ids.slice(1, ids.indexOf(eos));
const [chosen, prompt] = [content.slice(0, K), content.slice(K)];
const framed = (inside: readonly number[]): number[] => [
  ids[0]!,
  ...inside,
  ...Array.from({ length: length - 1 - inside.length }, () => eos),
];

const file = await openTensorPath(nodeFiles, `${EMOJI}/text_encoder/model.safetensors`);
const table = await file.readFloat32("text_model.embeddings.token_embedding.weight");
await file.close();
const d = floats(tensors, "0.grad.token_embeddings");
const hidden = d.length / length;
const vocabulary = table.length / hidden;

/** hardtanh of the slots' embedding gradients times the token table, [K, vocabulary]. */
function oneHotGradient(): Float64Array {
  const out = new Float64Array(K * vocabulary);
  for (let j = 0; j < K; j++) {
    for (let token = 0; token < vocabulary; token++) {
      let sum = 0;
      for (let i = 0; i < hidden; i++) sum += d[(1 + j) * hidden + i]! * table[token * hidden + i]!;
      out[j * vocabulary + token] = Math.max(-1, Math.min(1, sum));
    }
  }
  return out;
}

/** TextGrad.bisection of the reference: the last midpoint of a bracket halved down to 1e-5. */
function bisect(row: Float64Array): Float64Array {
  const clipped = (mu: number): Float64Array => row.map((x) => Math.max(0, Math.min(1, x - mu)));
  const sum = (x: Float64Array): number => x.reduce((a, b) => a + b, 0);
  if (Math.abs(sum(clipped(0)) - 1) <= 1e-5) return clipped(0);
  let [low, high, mu] = [row.reduce((a, b) => Math.min(a, b)) - 1, row.reduce((a, b) => Math.max(a, b)), 0];
  while (high - low > 1e-5) {
    mu = (low + high) / 2;
    if (sum(clipped(mu)) > 1) low = mu;
    else high = mu;
  }
  return clipped(mu);
}

interface Search {
  readonly adam: number[];
  readonly proj: number[];
}

/** torch.optim.Adam with weight decay in its L2 form, then the projection of each row. */
function search(gradient: Float64Array, init: Float64Array): Search {
  const [m, v] = [new Float64Array(init.length), new Float64Array(init.length)];
  let x = init;
  const [moved, projected]: [number[], number[]] = [[], []];
  for (let step = 1; step <= STEPS; step++) {
    const next = x.map((p, i) => {
      const g = gradient[i]! + DECAY * p;
      m[i] = 0.9 * m[i]! + 0.1 * g;
      v[i] = 0.999 * v[i]! + 0.001 * g * g;
      return p - (LR / (1 - 0.9 ** step)) * (m[i]! / (Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8));
    });
    moved.push(...next);
    x = Float64Array.from(Array.from({ length: K }, (_, j) => [...bisect(next.subarray(j * vocabulary, (j + 1) * vocabulary))]).flat());
    projected.push(...x);
  }
  return { adam: moved, proj: projected };
}

const gradient = oneHotGradient();
const init = new Float64Array(K * vocabulary).fill(1 / vocabulary);
const { adam, proj } = search(gradient, init);
const rowsOf = Array.from({ length: STEPS * K }, (_, r) => proj.slice(r * vocabulary, (r + 1) * vocabulary));
const best = rowsOf.map((row) => row.indexOf(row.reduce((a, b) => Math.max(a, b))));
const margin = rowsOf.map((row, r) => row[best[r]!]! - row.reduce((a, x, i) => (i === best[r] ? a : Math.max(a, x)), -Infinity));

const twice = (x: ArrayLike<number>): number[] => Array.from({ length: STEPS }, () => Array.from(x)).flat();
const f32 = (shape: number[], data: ArrayLike<number>): Tensor => ({ shape, data: Float32Array.from(data) });
const i32 = (shape: number[], data: ArrayLike<number>): Tensor => ({ shape, data: Int32Array.from(data) });
const latent = tensors.get("0.grad.x0")!.shape.slice(1);
const evaluated = [prompt, [...best.slice(-K), ...prompt]];

const json = {
  what: "text_grad attack",
  attacker: "text_grad",
  insertion_location: "prefix_k",
  k: K,
  iterations: STEPS,
  lr: LR,
  weight_decay: DECAY,
  criterion: "l2",
  task: "ClassifierTask",
  prompt_len: prompt.length,
  target_unet: "the same UNet weights",
  eval_prompts: evaluated.map((p) => p.join(" ")),
  cases: [{ name: "trace" }],
};
const trace: Record<string, Tensor> = {
  prompt_ids: i32([1, length], framed(prompt)),
  x0: tensors.get("0.grad.x0")!,
  noise: f32([STEPS, ...latent], twice(floats(tensors, "0.grad.noise"))),
  t: i32([STEPS], twice([cases[0]!.timestep])),
  loss: f32([STEPS], twice(floats(tensors, "0.grad.loss"))),
  d_input_embeddings: f32([STEPS, length, hidden], twice(d)),
  grad: f32([STEPS, K, vocabulary], twice(gradient)),
  init: f32([1, K, vocabulary], init),
  adam: f32([STEPS, K, vocabulary], adam),
  proj: f32([STEPS, K, vocabulary], proj),
  choice: i32([STEPS, K], twice(chosen)),
  argmax: i32([STEPS, K], best),
  argmax_margin: f32([STEPS, K], margin),
  "eval.ids": i32([2, length], evaluated.flatMap(framed)),
  "eval.retokenized_ids": i32([2, length], evaluated.flatMap(framed)),
};
const check = (changedJson: object = {}, changed: Record<string, Tensor> = {}) =>
  run("memory", { files: withMemory(golden("text_grad", { ...json, ...changedJson }, { ...trace, ...changed })), model: EMOJI });

test("every step of a trace, and the prompts evaluated", async () => {
  const result = await check();
  allWithin(result, 12);
  for (const tensor of [
    "loss",
    "d_input_embeddings",
    "grad",
    "adam",
    "adam from own gradient",
    "proj",
    "proj from own gradient",
    "argmax",
    "eval.ids",
    "eval.retokenized_ids",
  ]) {
    assert.ok(
      result.rows.some((r) => r.tensor === tensor),
      tensor,
    );
  }
});

test("other tokens, a flipped gradient, other layouts: the rows that depend on them fail", async () => {
  const failing = async (...args: Parameters<typeof check>): Promise<string[]> =>
    (await check(...args)).rows.filter((r) => !r.ok).map((r) => r.tensor);
  assert.ok((await failing({}, { choice: i32([STEPS, K], twice([5, 6, 7])) })).includes("loss"));
  assert.equal(await failing({}, { grad: f32([STEPS, K, vocabulary], twice(gradient.map((x) => -x))) }), ["grad", "adam"]);
  assert.ok((await failing({ insertion_location: "suffix_k" })).includes("eval.ids"));
  for (const changed of [{ lr: 2 * LR }, { weight_decay: 0 }]) {
    const rows = await failing(changed);
    for (const tensor of ["adam from own gradient", "adam"]) assert.ok(rows.includes(tensor), `${JSON.stringify(changed)}: ${tensor}`);
  }
});

test("what a trace may say that is not known is a failed row that quotes it", async () => {
  for (const [changed, pattern] of [
    [{ insertion_location: "nowhere" }, /"nowhere"/],
    [{ criterion: "huber" }, /"huber"/],
    [{ target_unet: "another one" }, /another one/],
    [{ attacker: "psychic" }, /"psychic"/],
    [{ task: "Other" }, /"Other"/],
  ] as const) {
    const { ok, rows } = await check(changed);
    assert.not.ok(ok);
    assert.ok(rows.some((r) => pattern.test(r.note ?? "")), String(pattern));
  }
});

finish();
