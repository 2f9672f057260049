import type { ObjectiveShape } from "../../engine/attack/search/iteration-program.ts";
import { Objective } from "../../engine/attack/search/objective.ts";
import { Parameters } from "../../engine/nn/parameters.ts";
import { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { syntheticWeights } from "../../engine/loading/synthetic.ts";
import { type Estimate, estimateProgram } from "../../engine/runtime/plan/estimate.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { ProgramOptions } from "../../engine/runtime/program.ts";
import type { Growth } from "../results.ts";
import { type Bench, type Prepared, type RowName, measureTask } from "../task.ts";
import { prepareIteration, recordUpdate, updateInputs } from "./attack.ts";
import { type BenchModel, recorded } from "./model.ts";
import { recordUNet, unetInputs } from "./unet.ts";

/** Where the curves are measured. The vocabulary's last is CLIP's; the bundled model halves its latents twice, SD 1.4 three times. */
export const GROWTH_POINTS = {
  "latent size": [8, 16, 24, 32, 48, 64, 96],
  batch: [1, 2, 4, 8],
  "tokens k": [1, 2, 4, 8, 16],
  vocabulary: [1024, 4096, 16384, 49408],
} as const satisfies Readonly<Record<Growth["by"], readonly number[]>>;

/** What a smoke test takes of them: the first two. */
const QUICK_POINTS = 2;
/** Latent size and tokens of the curves by something else. */
const TOKENS = 5;
/** The model whose memory is estimated, and whose token table gives the shapes of the search update. */
const LARGE = "synthetic:sd14";

type Point = Pick<Growth, "curve" | "by" | "at">;

/**
 * Time and memory of a UNet forward, of an attack iteration and of the search update alone, against latent size, batch, tokens and
 * vocabulary; beside them, what the kernels' own counts of operations and bytes ask for. SD 1.4's memory at its own sizes is estimated from
 * its graphs.
 * @param openModel opens a model by name; each iteration has one of its own, so that its memory is not another's
 */
export async function runGrowth(
  bench: Bench,
  { name, model }: BenchModel,
  openModel: (name: string) => Promise<StableDiffusion>,
  quick: boolean,
): Promise<void> {
  const points = (by: Growth["by"]): readonly number[] => (quick ? GROWTH_POINTS[by].slice(0, QUICK_POINTS) : GROWTH_POINTS[by]);
  const own = Math.min(16, model.parts.unet.config.sampleSize);
  for (const at of points("latent size")) await unetRow(bench, name, model, { curve: "UNet forward", by: "latent size", at }, at, 1, false);
  for (const at of points("batch")) await unetRow(bench, name, model, { curve: "UNet forward", by: "batch", at }, own, at, false);
  for (const at of points("batch")) await unetRow(bench, name, model, { curve: "UNet with gradient", by: "batch", at }, own, at, true);
  const iterations: readonly (readonly [Point, ObjectiveShape])[] = [
    ...points("latent size").map(
      (at) => [{ curve: "attack iteration", by: "latent size", at }, iterationShape(model, at, TOKENS)] as const,
    ),
    ...points("tokens k").map((at) => [{ curve: "attack iteration", by: "tokens k", at }, iterationShape(model, own, at)] as const),
  ];
  for (const [point, shape] of iterations) await iterationRow(bench, name, point, shape, openModel);
  const large = await openModel(LARGE);
  try {
    for (const at of points("tokens k")) {
      await updateRow(bench, large, { curve: "search update", by: "tokens k", at }, GROWTH_POINTS.vocabulary.at(-1)!, at);
    }
    for (const at of points("vocabulary")) await updateRow(bench, large, { curve: "search update", by: "vocabulary", at }, at, TOKENS);
    estimates(bench, large, points);
  } finally {
    await large.destroy();
  }
}

function iterationShape(model: StableDiffusion, size: number, tokens: number): ObjectiveShape {
  return { tokens, length: model.parts.textEncoder.config.maxLength, height: size, width: size, loss: "mse", projection: "exact" };
}

/** Names of a curve's row: `UNet forward by latent size: 32`. */
function rowOf(model: string, { curve, by, at }: Point, gradient: boolean): RowName {
  return { suite: "growth", model, name: `${curve} by ${by}: ${at}`, direction: gradient ? "forward+gradient" : "forward" };
}

const heldBytes = ({ liveBytes, ownBytes }: Estimate): number => liveBytes + ownBytes;

function estimateOf(model: StableDiffusion, record: (g: Graph) => ProgramOptions): Estimate {
  const g = new Graph();
  return estimateProgram(g, record(g), model.device.capabilities, model.device.bufferSharing);
}

/**
 * Measures a point.
 * @param weightBytes of the weights that preparing uploads, which do not count
 */
async function measurePoint(
  bench: Bench,
  row: RowName,
  point: Point,
  estimate: Estimate,
  weightBytes: number,
  prepare: () => Promise<Prepared>,
): Promise<void> {
  let before = 0;
  const add: Bench["add"] = (r) =>
    bench.add(
      r.peakBytes === undefined
        ? r
        : { ...r, growth: { ...point, bytes: r.peakBytes - before - weightBytes, arithmeticBytes: heldBytes(estimate), estimated: false } },
    );
  await measureTask({ ...bench, add }, row, () => {
    before = bench.device.usage.allocatedBytes;
    return prepare();
  });
}

async function unetRow(
  bench: Bench,
  name: string,
  model: StableDiffusion,
  point: Point,
  size: number,
  batch: number,
  gradient: boolean,
): Promise<void> {
  const row = rowOf(name, point, gradient);
  if (!bench.wants(row.name)) return;
  const record = (g: Graph): ProgramOptions => recordUNet(g, model, size, batch, gradient);
  await measurePoint(
    bench,
    row,
    point,
    estimateOf(model, record),
    0,
    await recorded(model, row.name, record, unetInputs(model, size, batch)),
  );
}

async function iterationRow(
  bench: Bench,
  name: string,
  point: Point,
  shape: ObjectiveShape,
  openModel: (name: string) => Promise<StableDiffusion>,
): Promise<void> {
  const row = rowOf(name, point, true);
  if (!bench.wants(row.name)) return;
  const model = await openModel(name);
  try {
    const estimate = Objective.estimate(model, shape);
    await measurePoint(bench, row, point, estimate, estimate.weightBytes, () => prepareIteration(model, shape));
  } finally {
    await model.destroy();
  }
}

/** The model with a token table of that many rows, made up. */
function withVocabulary(model: StableDiffusion, vocabularySize: number): StableDiffusion {
  const { config } = model.parts.textEncoder;
  const parameters = new Parameters("text_encoder", model.device, syntheticWeights("text_encoder"));
  return new StableDiffusion({ ...model.parts, textEncoder: { config: { ...config, vocabularySize }, parameters } });
}

async function updateRow(bench: Bench, base: StableDiffusion, point: Point, vocabulary: number, tokens: number): Promise<void> {
  const row = rowOf(LARGE, point, false);
  if (!bench.wants(row.name)) return;
  const model = withVocabulary(base, vocabulary);
  const record = (g: Graph): ProgramOptions => recordUpdate(g, model, tokens);
  try {
    await measurePoint(
      bench,
      row,
      point,
      estimateOf(model, record),
      0,
      await recorded(model, row.name, record, updateInputs(model, tokens)),
    );
  } finally {
    model.parts.textEncoder.parameters.destroy();
  }
}

/** SD 1.4's memory at its own sizes, from its graphs. */
function estimates(bench: Bench, model: StableDiffusion, points: (by: Growth["by"]) => readonly number[]): void {
  const full = model.parts.unet.config.sampleSize;
  const add = (curve: string, by: Growth["by"], at: number, gradient: boolean, make: () => Estimate): void => {
    const row = rowOf(LARGE, { curve, by, at }, gradient);
    if (!bench.wants(row.name)) return;
    bench.begin(row.name);
    const estimate = make();
    const bytes = estimate.ownBytes + estimate.buffers.reduce((a, b) => a + b, 0);
    bench.add({
      ...row,
      name: `${row.name} (estimated)`,
      engine: "lethe",
      flops: estimate.flops,
      bytes: 0,
      dispatches: estimate.dispatches,
      growth: { curve, by, at, bytes, arithmeticBytes: heldBytes(estimate), estimated: true },
    });
  };
  const forward = (size: number, batch: number) => (): Estimate => estimateOf(model, (g) => recordUNet(g, model, size, batch, false));
  const iteration = (of: StableDiffusion, size: number, tokens: number) => (): Estimate =>
    Objective.estimate(of, iterationShape(of, size, tokens));
  for (const at of points("latent size")) add("UNet forward", "latent size", at, false, forward(at, 1));
  for (const at of points("latent size")) add("attack iteration", "latent size", at, true, iteration(model, at, TOKENS));
  for (const at of points("batch")) add("UNet forward", "batch", at, false, forward(full, at));
  for (const at of points("batch")) {
    add("UNet with gradient", "batch", at, true, () => estimateOf(model, (g) => recordUNet(g, model, full, at, true)));
  }
  for (const at of points("tokens k")) add("attack iteration", "tokens k", at, true, iteration(model, full, at));
  for (const at of points("vocabulary")) {
    add("attack iteration", "vocabulary", at, true, iteration(withVocabulary(model, at), full, TOKENS));
  }
}
