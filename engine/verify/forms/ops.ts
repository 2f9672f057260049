import { type AdamOptions, adamHyperparameters } from "../../../kernels/adam.ts";
import type { Value } from "../../../kernels/kernel.ts";
import { gradients } from "../../runtime/autodiff.ts";
import { Graph } from "../../runtime/graph.ts";
import type { Step } from "../../runtime/plan/schedule.ts";
import { type HostArray, Program } from "../../runtime/program.ts";
import type { NDArray } from "../../nn/array.ts";
import { Layers } from "../../nn/layers.ts";
import { lookup } from "../../nn/leaf-store.ts";
import { Parameters } from "../../nn/parameters.ts";
import { timestepFeatures } from "../../diffusion/unet.ts";
import type { Check, Form } from "../check.ts";
import type { Case, Golden } from "../golden.ts";
import { channelsFirst, channelsLast } from "../layout.ts";
import { type AdamArrays, adamStep } from "./adam.ts";
import { OP_RECIPES, type OpRecipe } from "./ops-table.ts";
import { TOLERANCES, type Tolerances } from "../rows.ts";
import { NUMBER, numbersIn } from "../words.ts";

/** `ops/*`: single ops and small modules, forward and vector-Jacobian products for inputs and weights. */
export const ops: Form = async (check) => {
  const { golden, rows } = check;
  for (const c of golden.cases) {
    const op = String(c["op"]);
    await rows.guard(c.name, op, async () => {
      if (op === "torch.optim.Adam") await checkAdam(check, c);
      else if (op === "timestep_embedding") await checkTimestepEmbedding(check, c);
      else if (Object.hasOwn(OP_RECIPES, op)) await checkOp(check, c, OP_RECIPES[op]!);
      else {
        golden.account(...golden.names().filter((n) => n.startsWith(`${c.name}/`)));
        rows.failed(c.name, op, `no check for op "${op}"`);
      }
    });
  }
};

/** How a case's file names and lays out its tensors. */
interface Stored {
  readonly golden: Golden;
  readonly case: Case;
  readonly recipe: OpRecipe;
  /** A tensor's name in the file, and a weight's. */
  readonly own: (name: string) => string;
  readonly weight: (leaf: string) => string;
  /** Whether a tensor of this shape is stored channels first. */
  readonly first: (shape: readonly number[]) => boolean;
}

function storedBy(golden: Golden, c: Case, recipe: OpRecipe): Stored {
  const own = (name: string): string => `${c.name}/${name}`;
  return {
    golden, case: c, recipe, own,
    weight: (leaf) => own(recipe.prefix === undefined ? leaf : `p.${leaf.slice(recipe.prefix.length + 1)}`),
    first: (shape) => shape.length >= (recipe.channelsFirstFrom ?? 4),
  };
}

/** A tensor of the case as the device takes it. */
async function deviceArray({ golden, own, first }: Stored, name: string): Promise<NDArray> {
  const x = await golden.array(own(name));
  return first(x.shape) ? channelsLast(x) : { ...x, shape: x.shape.length === 0 ? [1] : x.shape };
}

/** What is recorded of a case: its outputs by their names in the file, and the numbers of its inputs. */
interface RecordedOp {
  readonly outputs: Readonly<Record<string, Value>>;
  readonly host: Readonly<Record<string, HostArray>>;
}

/** The op by its recipe, and the gradients that the file has. */
async function recordOp(stored: Stored, graph: Graph, weights: Parameters): Promise<RecordedOp> {
  const { golden, case: c, recipe, own } = stored;
  const inputs = new Map<string, Value>();
  const host: Record<string, HostArray> = {};
  for (const name of recipe.inputs.filter((n) => golden.has(own(n)))) {
    const integers = golden.dtype(own(name)).startsWith("I");
    const x = integers
      ? { data: Uint32Array.from(await golden.ints(own(name))), shape: golden.shape(own(name)) }
      : await deviceArray(stored, name);
    inputs.set(name, graph.input(name, { shape: x.shape, dtype: integers ? "u32" : "f32" }));
    host[name] = x.data;
  }
  const y = recipe.build({
    golden,
    case: c,
    layers: new Layers(graph, weights),
    input(name) {
      const value = inputs.get(name);
      if (!value) throw new Error(`the case has no tensor "${name}"`);
      return value;
    },
    weight: (name, layout = "plain") => (weights.has(name) ? weights.value(graph, name, layout, weights.storedShape(name)) : undefined),
    shape: (name) => golden.shape(own(name)),
  });
  // Every leaf with the names of its gradients: a weight's leaf may be made of several tensors.
  const leaves = [...inputs].map(([name, value]) => ({ name: `g${name}`, value, gradients: [`g${name}`] }));
  for (const { leaf, name, outputs: [value] } of graph.nodes) {
    if (leaf?.kind !== "parameter") continue;
    leaves.push({ name, value: value!, gradients: weights.tensorsOf(name).map((tensor) => gradientOf(stored, tensor)) });
  }
  const wanted = leaves.filter((l) => l.gradients.some((name) => golden.has(own(name))));
  if (wanted.length === 0) return { outputs: { y }, host };
  const gy = await deviceArray(stored, "gy");
  const seed = graph.input("gy", { shape: gy.shape, dtype: "f32" });
  const found = gradients(graph, y, wanted.map((l) => l.value), seed).map((g, i) => {
    if (!g) throw new Error(`${wanted[i]!.name}: the output does not depend on it`);
    return [wanted[i]!.name, g] as const;
  });
  return { outputs: { y, ...Object.fromEntries(found) }, host: { ...host, gy: gy.data } };
}

/** What the file calls the gradient of a weight. */
function gradientOf({ weight, case: c }: Stored, tensor: string): string {
  return `g${weight(tensor).slice(c.name.length + 1)}`;
}

async function checkOp(check: Check, c: Case, recipe: OpRecipe): Promise<void> {
  const { golden, rows } = check;
  const device = await check.context.device();
  const stored = storedBy(golden, c, recipe);
  const { own, first } = stored;
  const weights = new Parameters("weights", device, {
    name: golden.source,
    shape: (name) => (golden.has(stored.weight(name)) ? golden.shape(stored.weight(name)) : undefined),
    names: () => golden.names(),
    readFloat32: (name) => golden.floats(stored.weight(name)),
  });
  const graph = new Graph();
  const { outputs, host } = await recordOp(stored, graph, weights);
  await weights.load();
  const program = await Program.create(device, graph, { outputs, parameters: lookup(weights), label: c.name });
  try {
    await program.run(Object.fromEntries(Object.entries(host).filter(([name]) => program.hasInput(name))));
    const results = await program.read();
    const tolerances = program.steps.some(roundsToHalf) ? rows.tolerances : TOLERANCES;
    const zero = program.steps.some(onMatrixUnits) ? rows.tolerances.attentionZero : TOLERANCES.zero;
    const computed = Object.entries(outputs).flatMap(([name, { type: { shape } }]) => {
      const data = results[name] as Float32Array<ArrayBuffer>;
      if (weights.owns(name)) {
        return [...weights.inCheckpointOrder(name, data)].map(([tensor, part]) => [gradientOf(stored, tensor), part] as const);
      }
      return [[name, first(golden.shape(own(name))) ? channelsFirst({ data, shape }).data : data] as const];
    });
    for (const [name, actual] of computed.filter(([n]) => golden.has(own(n)))) {
      const relative = name === "y" ? tolerances.opForward : gradientTolerance(golden, c, name, tolerances);
      if (golden.isZero(own(name))) await check.compare(c.name, name, actual, zero, { key: own(name), measure: "absolute" });
      else await check.compare(c.name, name, actual, relative, { key: own(name) });
    }
  } finally {
    program.destroy();
    weights.destroy();
  }
}

/** Whether a step may round its operands with f16 arithmetic (products, attention on matrix units) or what it stores. */
function roundsToHalf({ node, plan, typeOf }: Step): boolean {
  return typeOf !== undefined || /^(matmul|conv2d)/.test(node.kernel!.name) || onMatrixUnits({ plan });
}

function onMatrixUnits({ plan }: Pick<Step, "plan">): boolean {
  return plan.dispatches.some(({ shader }) => shader.name.startsWith("attention-matrix"));
}

/** 1e-4; where a norm's groups have but two values the gradient for x nearly cancels. */
function gradientTolerance(golden: Golden, c: Case, name: string, tolerances: Tolerances): number {
  if (name !== "gx" || !String(c["op"]).startsWith("group_norm")) return tolerances.opGradient;
  const [, channels, ...rest] = golden.shape(`${c.name}/x`) as [number, number, ...number[]];
  const perGroup = (channels / golden.number("groups", c)) * rest.reduce((a, b) => a * b, 1);
  return perGroup <= 2 ? tolerances.onePixelNorm : tolerances.opGradient;
}

/** Sines as Stable Diffusion's UNets take them: cosines first, frequencies from 1 down to 1e-4. */
async function checkTimestepEmbedding(check: Check, c: Case): Promise<void> {
  const { golden } = check;
  const timesteps = [...(await golden.floats(`${c.name}/t`))];
  for (const [name, key] of ["y", "y64"].map((n) => [n, `${c.name}/${n}`] as const).filter(([, k]) => golden.has(k))) {
    const sines = timestepFeatures({ blockOutChannels: [golden.shape(key)[1]!], flipSinToCos: true, freqShift: 0 }, timesteps);
    await check.compare(c.name, name, sines, TOLERANCES.timestepEmbedding, { key, measure: "absolute" });
  }
}

/**
 * What a case's `words` say of Adam; betas and epsilon are torch's own where they say nothing.
 * @throws Error if they do not give rate and decay
 */
function adamOptions(golden: Golden, c: Case): AdamOptions {
  const words = golden.text("words", c);
  const [lr] = numbersIn(words, `lr=${NUMBER}`) ?? [];
  const [weightDecay] = numbersIn(words, `weight_decay=${NUMBER}`) ?? [];
  if (lr === undefined || weightDecay === undefined) throw new Error(`"words" does not give lr and weight_decay: ${words}`);
  const [beta1, beta2] = numbersIn(words, String.raw`betas\s*=?\s*\(${NUMBER},\s*${NUMBER}\)`) ?? [];
  const [eps] = numbersIn(words, String.raw`eps\s*=?\s*${NUMBER}`) ?? [];
  return {
    lr,
    weightDecay,
    ...(beta1 !== undefined && { beta1 }),
    ...(beta2 !== undefined && { beta2 }),
    ...(eps !== undefined && { eps }),
  };
}

/** Every step of torch.optim.Adam from the parameters before it, and the moments at the end. */
async function checkAdam(check: Check, c: Case): Promise<void> {
  const { golden, rows } = check;
  const options = adamOptions(golden, c);
  const [grads, params] = [await golden.array(`${c.name}/grads`), await golden.array(`${c.name}/params`)];
  const [count, ...shape] = grads.shape as [number, ...number[]];
  const n = grads.data.length / count;
  let state: AdamArrays = { parameter: params.data.slice(0, n), m: new Float32Array(n), v: new Float32Array(n) };
  const path: number[] = [];
  for (let step = 0; step < count; step++) {
    const gradient = grads.data.slice(step * n, (step + 1) * n);
    state = await adamStep(check.context, state, gradient, shape, adamHyperparameters(options, step + 1));
    path.push(...state.parameter);
  }
  rows.compare(c.name, "params", path, params.data.subarray(n), TOLERANCES.opForward);
  await check.compare(c.name, "exp_avg", state.m, TOLERANCES.opForward, { key: `${c.name}/exp_avg` });
  await check.compare(c.name, "exp_avg_sq", state.v, TOLERANCES.opForward, { key: `${c.name}/exp_avg_sq` });
}
