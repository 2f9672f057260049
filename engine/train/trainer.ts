import { type AdamOptions, ADAM_HYPERPARAMETERS, adamHyperparameters } from "../../kernels/adam.ts";
import { concat } from "../../kernels/concat.ts";
import { type Value, elementCount, f32, isInPanels } from "../../kernels/kernel.ts";
import { slice } from "../../kernels/slice.ts";
import { rowByRow } from "../nn/weight-layout.ts";
import type { NDArray } from "../nn/array.ts";
import type { Parameters } from "../nn/parameters.ts";
import { requireFinite } from "../diffusion/finite.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { Assign } from "../runtime/plan/assigns.ts";
import { type Estimate, estimateProgram } from "../runtime/plan/estimate.ts";
import { Graph } from "../runtime/graph.ts";
import type { HostArray, Program, ProgramOptions } from "../runtime/program.ts";
import { type StartOf, type StateKind, TrainingState } from "./state.ts";
import { TrainedTensors } from "./trained-tensors.ts";
import {
  ADAM_INPUT, AVERAGE_INPUT, type BatchPlace, type RecordedLoss, type RecordedUpdate, type Trained, type UpdateRule, recordUpdate,
} from "./update.ts";

export interface TrainerOptions extends UpdateRule {
  /** Of the programs; one trainer for each. */
  readonly name: string;
  /** Whether a tensor of the checkpoint is trained. Tensors that the model multiplies as one are trained all or none. */
  readonly trains: (tensor: string, component: string) => boolean;
  /** Weights besides the model's own, such as an adapter's. */
  readonly owners?: readonly Parameters[];
  /**
   * Records the loss of a batch, with inputs of its own names. Called for each program.
   * @param loss which, for a training that follows several in turn: as `BatchOptions.loss`
   */
  readonly record: (g: Graph, loss: string) => RecordedLoss;
  /** Numbers that states begin with: masks, and all of them where a training goes on. */
  readonly start?: StartOf;
  /** Updates made before, of a training that goes on. */
  readonly updates?: number;
  /** Gradients can be read after an update: see `Trainer.gradients`. They are then all in memory at once. */
  readonly watch?: boolean;
}

/** What a batch is given besides the inputs of its loss. */
export interface BatchOptions {
  /** Adam's numbers for the update that the batch belongs to, so that a schedule may change them. */
  readonly adam: Omit<AdamOptions, "gradientScale">;
  /** With `average`: the running average's decay at this update. */
  readonly averageDecay?: number;
  /** Which loss is followed. Default: "". */
  readonly loss?: string;
  /** Stops between two command buffers; the weights are then half updated. */
  readonly signal?: AbortSignal | undefined;
}

/** Losses that stay on the device until they are read. */
export const KEPT_LOSSES = 64;

/**
 * Trains weights of a model on its device, in place: whatever else the model computes from then on uses them.
 * A weight that the model reads as halves is trained as a float32 master.
 */
export class Trainer {
  private readonly state: TrainingState;
  private updates: number;
  private batch = 0;
  private last: Program | undefined;
  /** By the leaf's name. */
  private readonly trained = new Map<string, Trained>();

  constructor(private readonly model: StableDiffusion, private readonly options: TrainerOptions) {
    this.state = new TrainingState(model.device, options.start);
    this.updates = options.updates ?? 0;
  }

  /**
   * What an update takes, known from its graph alone: `weightBytes` are weights, moments, masters and averages.
   * @param recomputes see `Graph`
   */
  static estimate(model: StableDiffusion, options: TrainerOptions, recomputes: boolean, loss = ""): Estimate {
    const g = new Graph(recomputes);
    return estimateProgram(g, new Trainer(model, options).recorded(g, loss), model.device.capabilities, model.device.bufferSharing);
  }

  /** Records an update's last batch. */
  recorded(g: Graph, loss = ""): ProgramOptions {
    return this.record(g, (this.options.batches ?? 1) > 1 ? "last" : "only", loss);
  }

  /** Updates made so far. */
  get steps(): number {
    return this.updates;
  }

  /**
   * Queues one batch; every `batches`-th updates the weights.
   * @throws what ProgramCache.get throws at the first batch; DeviceLostError, GpuError; AbortError
   */
  async step(inputs: Readonly<Record<string, HostArray>>, { adam, averageDecay, loss = "", signal }: BatchOptions): Promise<void> {
    const { batches = 1, average = false } = this.options;
    const place: BatchPlace = batches === 1 ? "only" : this.batch === 0 ? "first" : this.batch === batches - 1 ? "last" : "middle";
    const program = await this.program(place, loss);
    const updates = place === "only" || place === "last";
    if (updates && average && averageDecay === undefined) throw new RangeError("a trainer that averages needs an averageDecay");
    await program.run({
      ...inputs,
      ...(updates && { [ADAM_INPUT]: adamHyperparameters({ ...adam, gradientScale: 1 / batches }, this.updates + 1) }),
      ...(updates && average && { [AVERAGE_INPUT]: Float32Array.of(1 - averageDecay!) }),
    }, { signal });
    this.last = program;
    this.batch = updates ? 0 : this.batch + 1;
    if (updates) this.updates++;
  }

  private program(place: BatchPlace, loss: string): Promise<Program> {
    return this.model.program(`train ${this.options.name} ${loss} ${place}`, (g) => this.record(g, place, loss), [this.state]);
  }

  /** Makes the programs of a loss, and so the states of all that it trains, before the first batch. @throws as `step` */
  async prepare(loss = ""): Promise<void> {
    const { batches = 1 } = this.options;
    await this.program(batches === 1 ? "only" : "last", loss);
  }

  private record(g: Graph, place: BatchPlace, name: string): ProgramOptions {
    const recorded = this.options.record(g, name);
    const update = recordUpdate(g, recorded, this.trainedLeaves(g), this.state, this.options, place);
    const { assigns, squares } = update;
    return {
      outputs: { ...recorded.outputs, loss: recorded.loss, ...(squares && { squares }), ...(this.options.watch && watched(update)) },
      assigns: [...assigns, this.keepLosses(g, recorded.kept ?? [recorded.loss])],
    };
  }

  /** The losses join those before them. */
  private keepLosses(g: Graph, losses: readonly Value[]): Assign {
    const kept = this.state.ofAll(g, "losses", f32([KEPT_LOSSES]));
    const older: Value = slice(g, kept, losses.length, KEPT_LOSSES - losses.length, 0);
    return [kept, losses.reduce((all, loss) => concat(g, all, loss, 0), older)];
  }

  /** @throws Error where only some of the tensors in one leaf are to be trained, or none at all are */
  private trainedLeaves(g: Graph): Trained[] {
    const { unet, textEncoder, second, vae } = this.model.parts;
    const parts = [unet, textEncoder, vae, ...(second ? [second] : [])].map((part) => part.parameters);
    const owners = [...(this.options.owners ?? []), ...parts];
    const found: Trained[] = [];
    for (const { leaf, name, outputs } of g.nodes) {
      if (leaf?.kind !== "parameter") continue;
      const owner = owners.find((o) => o.owns(name));
      if (!owner) continue;
      const tensors = owner.tensorsOf(name);
      const wanted = tensors.filter((t) => this.options.trains(t, owner.component));
      if (wanted.length === 0) continue;
      if (wanted.length < tensors.length) {
        const other = tensors.find((t) => !wanted.includes(t));
        const both = "but the model has them in one matrix: train both or neither";
        throw new Error(`"${wanted[0]}" is to be trained and "${other}" is not, ${both}`);
      }
      const one = { leaf: outputs[0]!, owner };
      this.trained.set(name, one);
      found.push(one);
    }
    if (found.length === 0) throw new Error("none of the weights that the loss reads is to be trained");
    return found;
  }

  /** Loss of the last batch. @throws LetheError if it is not a number */
  async loss(): Promise<number> {
    return requireFinite(this.model.device, "the training loss", await this.require().readFloats("loss"))[0]!;
  }

  /** The last `count` losses, at most `KEPT_LOSSES`, whatever they are. */
  async losses(count: number): Promise<number[]> {
    const kept = await this.state.all("losses")?.read();
    return count === 0 || !kept ? [] : [...kept.subarray(-Math.min(count, KEPT_LOSSES))];
  }

  /** What the last batch's loss gave besides, by name, NHWC as on the device. @throws Error for an unknown name */
  output(name: string): Promise<Float32Array<ArrayBuffer>> {
    return this.require().readFloats(name);
  }

  /** Names of what can be read with `output`. */
  outputs(): string[] {
    return [...this.require().outputs.keys()];
  }

  /** Global norm of the last update's gradient before clipping. @throws Error without `clipNorm` */
  async gradientNorm(): Promise<number> {
    return Math.sqrt((await this.require().readFloats("squares"))[0]!) / (this.options.batches ?? 1);
  }

  /**
   * The last update's gradients as the optimiser got them: after the mask, the mean over batches and clipping. By component and the
   * checkpoint's names; of what the loss does not depend on, none. With `watch`.
   */
  async gradients(): Promise<Map<string, Map<string, NDArray>>> {
    const program = this.require();
    const scale = (await program.readFloats(FACTORS))[ADAM_HYPERPARAMETERS - 1]!;
    const components = new Map<string, Map<string, NDArray>>();
    for (const [name, { owner, leaf }] of this.trained) {
      if (!program.outputs.has(GRADIENT + name)) continue;
      const data = (await program.readFloats(GRADIENT + name)).map((x) => x * scale);
      const rows = this.options.masked && isInPanels(leaf.type) ? rowByRow(data, leaf.type.shape) : data;
      const tensors = components.get(owner.component) ?? new Map<string, NDArray>();
      components.set(owner.component, tensors);
      for (const [tensor, part] of owner.inCheckpointOrder(name, rows)) {
        const whole = owner.storedShape(tensor);
        const known = tensors.get(tensor)?.data ?? new Float32Array(0);
        const joined = new Float32Array(known.length + part.length); // a table's blocks come one by one
        joined.set(known);
        joined.set(part, known.length);
        tensors.set(tensor, { data: joined, shape: [...whole] });
      }
    }
    return components;
  }

  private require(): Program {
    if (!this.last) throw new Error("nothing has been trained yet");
    return this.last;
  }

  /** The trained tensors of a kind: "weight", or a state. Known once `prepare` or `step` is done. */
  tensors(kind: "weight" | StateKind): TrainedTensors {
    return new TrainedTensors([...this.trained.values()], this.state, kind);
  }

  /**
   * The trained weights as they are now, by component and by the checkpoint's names, in its order. Halves come as their float32 masters.
   */
  weights(): Promise<Map<string, Map<string, NDArray>>> {
    return this.tensors("weight").readAll();
  }

  /** The running averages of the weights, likewise. @throws Error without `average` */
  averages(): Promise<Map<string, Map<string, NDArray>>> {
    return this.tensors("average").readAll();
  }

  /** Frees the states. The weights stay as trained; no further step can be made. */
  destroy(): void {
    this.state.destroy();
  }
}

/** Records a training's update of one batch, as `Trainer` does, for an estimate: nothing is made. */
export function recordTraining(g: Graph, model: StableDiffusion, options: TrainerOptions): ProgramOptions {
  return new Trainer(model, options).recorded(g);
}

const GRADIENT = "gradient ";
const FACTORS = "factors";

function watched({ gradients, hyperparameters, trained }: RecordedUpdate): Record<string, Value> {
  const outputs: Record<string, Value> = hyperparameters ? { [FACTORS]: hyperparameters } : {};
  gradients.forEach((gradient, i) => {
    if (gradient && elementCount(gradient.type.shape) > 0) outputs[GRADIENT + trained[i]!.leaf.name] = gradient;
  });
  return outputs;
}
