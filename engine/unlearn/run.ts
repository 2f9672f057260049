import type { StableDiffusionPipeline } from "../diffusion/pipeline.ts";
import { LetheError } from "../runtime/errors.ts";
import { variantOf } from "../train/variant.ts";
import { KEPT_LOSSES } from "../train/trainer.ts";
import type { LazyTensor } from "../train/trained-tensors.ts";
import { startAdvUnlearn } from "./advunlearn.ts";
import { startConceptAblation } from "./concept-ablation.ts";
import { startEsd } from "./esd.ts";
import { startForgetMeNot } from "./forget-me-not.ts";
import { startFinetune } from "./finetune.ts";
import { startLora } from "./lora.ts";
import type { MethodName, RecipeName } from "./methods.ts";
import { type SavedTraining, type UnlearnHooks, type UnlearnOptions, resolveUnlearn } from "./options.ts";
import type { Layout } from "./recipes.ts";
import { SeededDraws } from "./common/draws.ts";
import { type UnlearnEstimate, fitUnlearn } from "./common/estimate.ts";
import { learningRateAt } from "./common/schedule.ts";
import { solveRece } from "./rece.ts";
import { startSalun } from "./salun.ts";
import { solveUce } from "./uce.ts";
import type { TrainedList } from "./common/trained-tensors.ts";
import type { PhaseName, Solve, StartTraining, Training, UnlearnSession } from "./training.ts";

/** What is told of a run. */
export type UnlearnEvent =
  | { readonly type: "phase"; readonly phase: PhaseName }
  /** Before anything else. */
  | { readonly type: "estimate"; readonly estimate: UnlearnEstimate }
  /** Of each step, once its losses are read: some steps at a time. */
  | {
      readonly type: "step";
      /** From 1. */
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
      /** All of the step's losses by name. */
      readonly losses: Readonly<Record<string, number>>;
      readonly learningRate: number;
      /** Since training began, in this process. */
      readonly seconds: number;
    }
  | { readonly type: "done"; readonly result: Unlearned };

/** An erased model. */
export interface Unlearned {
  readonly method: MethodName;
  readonly recipe: RecipeName;
  readonly layout: Layout;
  readonly concepts: readonly string[];
  /** Training steps; of a closed form its edits. */
  readonly steps: number;
  /** The last step's loss; null of a closed form. */
  readonly loss: number | null;
  readonly seconds: number;
  /** What was trained or edited, in the order of a state dict. */
  readonly trained: readonly TrainedList[];
  /** The tensors that changed, float32, in that order; read while the model is there. Of LoRA: its factors. */
  readonly changed: readonly LazyTensor[];
  /** LoRA's scale times its rank; null of other methods. */
  readonly alpha: number | null;
  /** Ready to draw. It shares what did not change with the model it came of, which must outlive it. */
  readonly model: StableDiffusionPipeline;
  /** Frees what is the erased model's own. */
  readonly destroy: () => Promise<void>;
}

/** A loss that is not a number ended a training. */
export class DivergedError extends LetheError {
  override readonly name: string = "DivergedError";
}

const TRAININGS: Readonly<Partial<Record<MethodName, StartTraining>>> = {
  "esd-x": startEsd, "esd-u": startEsd, esd: startEsd, salun: startSalun, advunlearn: startAdvUnlearn,
  "concept-ablation": startConceptAblation, "forget-me-not": startForgetMeNot, finetune: startFinetune, lora: startLora,
};
const SOLVES: Readonly<Partial<Record<MethodName, Solve>>> = { uce: solveUce, rece: solveRece };

/**
 * Erases concepts from a model, by a method's published recipe. The model itself stays as it is.
 * @param onEvent a promise is waited for
 * @throws UsageError for options that do not fit; DivergedError for a loss or weight that is not finite: the last state given out is good;
 *   AbortError; DeviceLostError, GpuError
 */
export async function unlearn(
  base: StableDiffusionPipeline,
  options: UnlearnOptions,
  onEvent: (event: UnlearnEvent) => void | Promise<void> = () => undefined,
  hooks: UnlearnHooks = {},
): Promise<Unlearned> {
  const settings = resolveUnlearn(base, options);
  const draws = hooks.draws ?? new SeededDraws(settings.seed);
  const pictures = settings.pictures !== null || options.pauses !== undefined;
  const estimate = hooks.draws ? undefined : fitUnlearn(base, settings, pictures); // nobody waits for a replay's
  // What the method makes on the device besides the erased model is this variant's, which owns no weight, and goes with it.
  const frozen = variantOf(base, { owns: () => false });
  if (estimate?.recomputes) frozen.recomputes = true; // also where it would fit: what is read back needs room too
  const session: UnlearnSession = {
    base: frozen, settings, draws, hooks,
    images: options.images ?? {},
    mask: options.mask,
    resume: options.resume,
    signal: options.signal,
    phase: async (phase) => void (await onEvent({ type: "phase", phase })),
  };
  if (estimate) await onEvent({ type: "estimate", estimate });
  const started = performance.now();
  const common = {
    method: options.method, recipe: settings.recipe, layout: settings.published.layout, concepts: settings.concepts,
    alpha: settings.rule === undefined ? settings.alpha : null,
  };
  const solve = SOLVES[options.method];
  let training: Training | undefined;
  try {
    if (solve) {
      const { model, trained, changed } = await solve(session);
      return await finished({ ...common, steps: settings.steps ?? 1, loss: null, trained, changed, model, destroy: () => model.destroy() });
    }
    training = await TRAININGS[options.method]!(session);
    const loss = await trainingLoop(session, training, options, onEvent);
    const { model, trained, destroy } = training;
    const changed = inOrder(training.changed?.() ?? training.trainer.tensors("weight").list(), trained);
    return await finished({ ...common, steps: settings.steps!, loss, trained, changed, model, destroy });
  } catch (error) {
    await training?.destroy();
    throw error;
  } finally {
    await frozen.destroy();
  }

  async function finished(result: Omit<Unlearned, "seconds">): Promise<Unlearned> {
    const done = { ...result, seconds: (performance.now() - started) / 1000 };
    await onEvent({ type: "done", result: done });
    return done;
  }
}

function inOrder(changed: readonly LazyTensor[], trained: readonly TrainedList[]): LazyTensor[] {
  const byName = new Map(changed.map((tensor) => [`${tensor.component} ${tensor.name}`, tensor]));
  return trained.flatMap(({ component, tensors }) => tensors.flatMap((name) => byName.get(`${component} ${name}`) ?? []));
}

/** Losses are read when so many milliseconds have passed, or when the device holds no more. */
const READ_AFTER = 1000;

async function trainingLoop(
  session: UnlearnSession,
  training: Training,
  { state, pauses = [] }: UnlearnOptions,
  onEvent: (event: UnlearnEvent) => void | Promise<void>,
): Promise<number | null> {
  const { settings, resume, signal } = session;
  const steps = settings.steps!;
  const perStep = training.losses.length;
  const started = performance.now();
  let told = resume?.step ?? 0;
  let read = started;
  let loss: number | null = null;
  if (resume) session.draws.restore((resume.json as { random?: unknown }).random);

  const tell = async (done: number): Promise<void> => {
    const losses = await training.trainer.losses((done - told) * perStep);
    read = performance.now();
    for (let i = 0; told < done; i++) {
      const own = losses.slice(i * perStep, (i + 1) * perStep);
      const odd = own.find((x) => !Number.isFinite(x));
      if (odd !== undefined) throw diverged(`the loss of step ${told + 1} is ${odd}`);
      const byName = meansByName(training.losses, own);
      loss = byName[training.losses[0]!]!;
      const learningRate = learningRateAt(settings, told);
      told++;
      await onEvent({ type: "step", step: told, steps, loss, losses: byName, learningRate, seconds: (read - started) / 1000 });
    }
  };
  const due = (every: number, done: number): boolean => done % every === 0 || done === steps;

  await session.phase("training");
  if (told === steps) await training.trainer.prepare(training.programs?.[0]); // so that the weights it goes on from are there
  for (let done = told; done < steps;) {
    signal?.throwIfAborted();
    await training.step(done);
    done++;
    const saving = state && due(state.every, done);
    const pausing = pauses.filter(({ every }) => due(every, done));
    const full = (done - told + 1) * perStep > KEPT_LOSSES;
    if (saving || pausing.length > 0 || full || done === steps || performance.now() - read > READ_AFTER) await tell(done);
    if (saving) await state.save(await savedState(session, training, done));
    for (const { at } of pausing) await at(done, training.model);
  }
  return loss;
}

/** Losses by their names; of several of one name, as of accumulated batches, their mean. */
function meansByName(names: readonly string[], losses: readonly number[]): Record<string, number> {
  const means: Record<string, number> = {};
  for (const name of names) {
    const own = losses.filter((_, i) => names[i] === name);
    means[name] = own.reduce((a, b) => a + b, 0) / own.length;
  }
  return means;
}

function diverged(what: string): DivergedError {
  return new DivergedError(`${what}: the training diverged; take a smaller learning rate`);
}

/** A state whose tensors are checked as they are read. */
async function savedState({ draws }: UnlearnSession, training: Training, step: number): Promise<SavedTraining> {
  const kinds = ["weight", "m", "v", "average"] as const;
  const tensors = kinds.flatMap((kind) =>
    training.trainer.tensors(kind).list().map(({ component, name, shape, read }): LazyTensor => ({
      component, shape,
      name: `${component}/${kind}/${name}`,
      read: async () => {
        const data = await read();
        if (!data.every(Number.isFinite)) throw diverged(`after step ${step}, "${name}" (${kind}) is not finite`);
        return data;
      },
    })),
  );
  return { step, json: { updates: training.trainer.steps, random: draws.save(), method: await training.save?.() }, tensors };
}
