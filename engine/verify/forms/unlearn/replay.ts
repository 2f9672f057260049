import type { NDArray } from "../../../nn/array.ts";
import {
  type UnlearnHooks, type UnlearnOptions, type Unlearned, allTensors, resolveUnlearn, tensorsOf, unlearn,
} from "../../../unlearn/index.ts";
import { part } from "../../layout.ts";
import { compareExamples } from "./examples.ts";
import { RecordedDraws } from "./draws.ts";
import { type Named, UpdateChecks, checkTrained } from "./probes.ts";
import type { Trace } from "./trace.ts";

/** A tensor of the trace, and whose tolerance it has if not its own. */
export type Compared = string | Comparison;

interface Comparison {
  readonly tensor: string;
  readonly tolerance: string;
  /** Results in each row of the tensor, of which some may be recorded only in part. Absent: a row is a result. */
  readonly inRow?: number;
  /** Absolute tolerance of the first of a run's losses. */
  readonly first?: number | undefined;
}

function compared(entry: Compared): Comparison {
  return typeof entry === "string" ? { tensor: entry, tolerance: entry } : entry;
}

/** How a trace's quantities are called there and in the product. */
export interface ReplaySpec {
  readonly options: UnlearnOptions;
  readonly draws: ConstructorParameters<typeof RecordedDraws>[0];
  /** By what the method calls an intermediate result. */
  readonly observed: Readonly<Record<string, Compared>>;
  /** By the method's name of a loss, likewise. */
  readonly losses?: Readonly<Record<string, Compared>>;
  /** A training's tensors by the names of the trace. Default: those of the one component that is trained. */
  readonly named?: (components: ReadonlyMap<string, ReadonlyMap<string, NDArray>>) => Named;
  /** Told of all intermediate results. */
  readonly onObserved?: NonNullable<UnlearnHooks["observe"]>;
  /** The weights before training, by the trace's names, where they are not the model's. */
  readonly before?: () => Named;
  /** What else is checked after each update. */
  readonly onUpdate?: (trainer: Parameters<UpdateChecks["check"]>[0], checks: UpdateChecks, step: number) => Promise<void>;
  readonly hooks?: Pick<UnlearnHooks, "pictures" | "initial">;
  /** Checks nothing but what `onUpdate` does. */
  readonly quiet?: boolean;
  /** What else is checked at the end. */
  readonly onResult?: (result: Unlearned) => Promise<void>;
}

/** Runs a trace's method by the product's own loop, with the recorded draws, and compares all that it makes on the way. */
export async function replay(trace: Trace, spec: ReplaySpec): Promise<void> {
  const { golden, rows, name, model } = trace;
  const counts = new Map<string, number>();
  const component = trainedComponent(trace, spec);
  const named = spec.named ?? ((components) => components.get(component) ?? new Map<string, NDArray>());
  let checks: UpdateChecks | undefined;
  let updates = 0;
  const losses: Record<string, number[]> = {};
  const result = await unlearn(model, spec.options, (event) => {
    if (event.type !== "step") return;
    for (const [loss, value] of Object.entries(event.losses)) (losses[loss] ??= []).push(value);
  }, {
    ...spec.hooks,
    draws: new RecordedDraws(spec.draws),
    async observe(what, read) {
      await spec.onObserved?.(what, read);
      const entry = spec.observed[what];
      if (entry === undefined) return;
      const { tensor, tolerance, inRow } = compared(entry);
      const count = counts.get(what) ?? 0;
      counts.set(what, count + 1);
      const recorded = golden.shape(tensor)[1] ?? 1;
      if (inRow !== undefined && count % inRow >= recorded) return; // some are recorded for the first few only
      const at = inRow === undefined ? count : Math.floor(count / inRow) * recorded + (count % inRow);
      const floats = golden.dtype(tensor).includes("F");
      const data = floats ? await golden.floats(tensor) : Float32Array.from(await golden.ints(tensor));
      const whole = { data, shape: golden.shape(tensor) };
      const [rowCount, ...rest] = whole.shape as [number, ...number[]];
      const expected = inRow === undefined ? whole : { data: whole.data, shape: [rowCount * recorded, ...rest.slice(1)] };
      rows.compare(name, `${tensor}[${at}]`, (await read()).data, part(expected, at).data, floats ? trace.toleranceOf(tolerance) : 0);
    },
    async onUpdate(trainer) {
      checks ??= new UpdateChecks(trace, spec.before?.() ?? named(await initialWeights(trace)), named);
      if (!spec.quiet) await checks.check(trainer, updates);
      await spec.onUpdate?.(trainer, checks, updates);
      updates++;
    },
  });
  try {
    for (const [loss, entry] of Object.entries(spec.losses ?? { loss: "loss" })) {
      await compareLosses(trace, losses[loss] ?? [], compared(entry));
    }
    const { tensors } = result.trained[0]!;
    if (!spec.named && !spec.quiet) checkTrained(trace, "trained", tensors, allTensors(model, component));
    for (const [what, entry] of Object.entries(spec.observed)) {
      const { tensor } = compared(entry);
      if (golden.has(tensor) && !counts.has(what)) rows.failed(name, tensor, "the method made none");
    }
    await spec.onResult?.(result);
    await compareExamples(trace, result, exampleTolerance(trace));
  } finally {
    await result.destroy();
  }
}

/** Of the weights in example files. */
function exampleTolerance({ golden }: Trace): number {
  const tolerances = golden.object("tolerance");
  const [own] = ["example_file", "example_files", "weight_whole"].map((key) => tolerances[key]).filter((x) => typeof x === "number");
  return own ?? 2e-5;
}

/** The component whose tensors a trace without names of its own trains. */
function trainedComponent({ model }: Trace, { options }: ReplaySpec): "unet" | "text_encoder" {
  const { rule } = resolveUnlearn(model, options);
  return rule === undefined ? "unet" : tensorsOf(model, rule).component;
}

/** Each step's loss against the trace's. */
async function compareLosses(trace: Trace, actual: readonly number[], { tensor, tolerance, first }: Comparison): Promise<void> {
  const expected = await trace.golden.floats(tensor);
  expected.forEach((value, i) => {
    const ours = actual[i] === undefined ? [] : [actual[i]];
    if (i === 0 && first !== undefined) trace.rows.compare(trace.name, `${tensor}[0]`, ours, [value], first, "absolute");
    else trace.rows.compare(trace.name, `${tensor}[${i}]`, ours, [value], trace.toleranceOf(tolerance));
  });
}

/** The weights that a model begins with, by component and name. */
async function initialWeights({ model }: Trace): Promise<Map<string, Map<string, NDArray>>> {
  const components = new Map<string, Map<string, NDArray>>();
  for (const { parameters } of [model.parts.unet, model.parts.textEncoder]) {
    const tensors = new Map<string, NDArray>();
    components.set(parameters.component, tensors);
    for (const tensor of allTensors(model, parameters.component as "unet" | "text_encoder")) {
      tensors.set(tensor, { data: await parameters.source.readFloat32(tensor), shape: [...parameters.storedShape(tensor)] });
    }
  }
  return components;
}
