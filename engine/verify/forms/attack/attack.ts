import { adamHyperparameters } from "../../../../kernels/adam.ts";
import { simplexProjection } from "../../../../kernels/simplex-projection.ts";
import { likeliest } from "../../../attack/search/simplex.ts";
import type { Check, Form } from "../../check.ts";
import { compute } from "../../compute.ts";
import type { VerifyContext } from "../../context.ts";
import { part } from "../../layout.ts";
import { type Rows, TOLERANCES, largestDifference, mismatches, relativeL2 } from "../../rows.ts";
import { type AdamArrays, adamStep } from "../adam.ts";
import { nearestTokens } from "./nearest-tokens.ts";
import { type Replay, replay } from "./replay.ts";
import { type Trace, framedWith, openTrace } from "./trace.ts";

/** Absolute: the reference's bisection stops at 1e-5 in the shift. */
const PROJECTION_TOLERANCE = 2e-5;
/** A best and second best closer than this are a tie that rounding decides. */
const CLEAR_MARGIN = 1e-6;

/**
 * `attack/*`: a recorded attack by the product's own loop, from its first to its last iteration, fed the recorded draws; the prompts
 * evaluated and their pictures; and the steps between the nets alone, from the recorded numbers.
 */
export const attack: Form = async (check) => {
  const { golden, rows, context } = check;
  const trace = await openTrace(golden, context);
  const { name, attacker } = trace;
  await rows.guard(name, "loss", async () => {
    const replayed = await replay(trace);
    if (attacker !== "random") await iterations(trace, replayed, rows);
    if (attacker === "hard-prompt") {
      const chosen = replayed.iterations.flatMap(({ choice }) => [...choice]);
      await nearestTokens(trace, rows, context.files, chosen);
    }
    await evaluations(check, trace, replayed);
  });
  if (attacker !== "random") await rows.guard(name, "adam", () => rowSteps(trace, rows, context));
  if (golden.has("argmax")) await rows.guard(name, "argmax", () => argmaxRows(trace, rows));
  if (golden.has("image")) {
    await rows.guard(name, "x0", async () => {
      const image = await golden.array("image");
      const shape = image.shape.length === 3 ? [1, ...image.shape] : image.shape;
      await check.compare(name, "x0", await trace.target.encodeImage({ data: image.data, shape }), undefined, { key: "x0" });
    });
  }
};

/** Worst errors over the iterations, by tensor: one row each. */
class Worst {
  private readonly errors = new Map<string, number>();

  add(tensor: string, error: number): void {
    this.errors.set(tensor, Math.max(error, this.errors.get(tensor) ?? 0));
  }

  report(rows: Rows, name: string, tolerance: (tensor: string) => number): void {
    for (const [tensor, error] of this.errors) rows.error(name, tensor, error, tolerance(tensor));
  }
}

/**
 * Loss, gradients, and the rows after Adam and after the projection, of each iteration, whose moments have gone through all iterations
 * before it.
 */
async function iterations({ golden, name, loss: kind }: Trace, replayed: Replay, rows: Rows): Promise<void> {
  const losses = await golden.floats("loss");
  if (replayed.iterations.length !== losses.length) throw new Error(`the attack made ${replayed.iterations.length} iterations, the ` +
    `trace holds ${losses.length}`);
  const recorded = {
    d_input_embeddings: await golden.array("d_input_embeddings"),
    grad: await golden.array("grad"),
    "adam from own gradient": await golden.array("adam"),
  };
  const projected = golden.has("proj") ? await golden.array("proj") : undefined;
  const worst = new Worst();
  for (const [i, { loss, embeddingGradient, gradient, moved, rows: after }] of replayed.iterations.entries()) {
    const own = { d_input_embeddings: embeddingGradient, grad: gradient, "adam from own gradient": moved };
    worst.add("loss", relativeL2([loss], [losses[i]!]));
    for (const [tensor, expected] of Object.entries(recorded)) {
      worst.add(tensor, relativeL2(own[tensor as keyof typeof own], part(expected, i).data));
    }
    if (projected) worst.add("proj from own gradient", relativeL2(after, part(projected, i).data));
  }
  const { model, signs, embeddingGradient } = rows.tolerances;
  worst.report(rows, name, (tensor) =>
    tensor === "loss" ? model : kind === "l1" || tensor.endsWith("from own gradient") ? signs : embeddingGradient,
  );
}

/** The prompts evaluated, the original first: their ids as they were put together, their texts, the ids of these, and the pictures. */
async function evaluations(check: Check, trace: Trace, { evaluations: made, inserted }: Replay): Promise<void> {
  const { golden, rows } = check;
  const { name, framedPrompt, target } = trace;
  if (golden.has("eval.ids")) {
    const framed = [framedPrompt, ...inserted.map((tokens) => framedWith(trace, tokens))];
    await check.compare(name, "eval.ids", framed.flatMap((ids) => [...ids]), 0, { key: "eval.ids" });
    const written = golden.list("eval_prompts");
    const wrong =
      written.length === made.length
        ? made.filter(({ evaluation }, i) => evaluation.prompt !== written[i]).length
        : Math.abs(written.length - made.length);
    rows.error(name, "eval_prompts", wrong, 0, "mismatches");
    const again = made.flatMap(({ evaluation }) => [...target.tokenizer.frame(evaluation.ids)]);
    await check.compare(name, "eval.retokenized_ids", again, 0, { key: "eval.retokenized_ids" });
  }
  const pictures = made.flatMap(({ image }) => [...image.data]);
  await check.compare(name, "eval.uint8", pictures, rows.tolerances.levels, { key: "eval.uint8", measure: "levels", optional: true });
}

/** Adam fed the recorded rows and gradients, and the projection fed the recorded rows: each step alone, without any net. */
async function rowSteps(trace: Trace, rows: Rows, context: VerifyContext): Promise<void> {
  const { golden } = trace;
  const [init, grads, moved] = [await golden.array("init"), await golden.array("grad"), await golden.array("adam")];
  const projected = golden.has("proj") ? await golden.array("proj") : undefined;
  const shape = grads.shape.slice(1);
  const options = { lr: golden.number("lr"), weightDecay: golden.number("weight_decay") };
  let state: AdamArrays = { parameter: init.data, m: new Float32Array(init.data.length), v: new Float32Array(init.data.length) };
  const worst = new Worst();
  let worstProjection = 0;
  for (let i = 0; i < grads.shape[0]!; i++) {
    const stepped = await adamStep(context, state, part(grads, i).data, shape, adamHyperparameters(options, i + 1));
    const after = part(moved, i).data;
    worst.add("adam", relativeL2(stepped.parameter, after));
    state = { ...stepped, parameter: part(projected ?? moved, i).data };
    if (!projected) continue;
    const { own } = await compute(context, "projected rows", { rows: { data: after, shape } }, (g, v) => ({
      own: simplexProjection(g, v["rows"]!, "reference"),
    }));
    worstProjection = Math.max(worstProjection, largestDifference(own!.data, state.parameter));
  }
  worst.report(rows, trace.name, () => TOLERANCES.opForward);
  if (projected) rows.error(trace.name, "proj", worstProjection, PROJECTION_TOLERANCE, "absolute");
}

/** The likeliest token of every recorded row wherever it is ahead of the second by more than rounding, and by how much it is. */
async function argmaxRows({ golden, name }: Trace, rows: Rows): Promise<void> {
  const [projected, expected, margins] = [await golden.floats("proj"), await golden.ints("argmax"), await golden.floats("argmax_margin")];
  const best = likeliest(projected, projected.length / expected.length, 2);
  const clear = [...margins.keys()].filter((i) => margins[i]! > CLEAR_MARGIN);
  const wrong = mismatches(clear.map((i) => best[i]![0]!.id), clear.map((i) => expected[i]!));
  rows.error(name, "argmax", wrong, 0, "mismatches", `${clear.length} of ${margins.length} clear of a tie`);
  rows.compare(name, "argmax_margin", best.map(([first, second]) => first!.share - second!.share), margins, CLEAR_MARGIN, "absolute");
}
