import { type AdamOptions, adamHyperparameters } from "../../kernels/adam.ts";
import type { NDArray } from "../nn/array.ts";
import { requireFinite } from "../diffusion/finite.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { type Estimate, estimateProgram } from "../runtime/plan/estimate.ts";
import { Graph } from "../runtime/graph.ts";
import type { HostArray, Program, ProgramOptions } from "../runtime/program.ts";
import { TrainingState } from "./state.ts";
import { ADAM_INPUT, AVERAGE_INPUT, type BatchPlace, type RecordedLoss, type Trained, type UpdateRule, recordUpdate } from "./update.ts";

export interface TrainerOptions extends UpdateRule {
  /** Of the programs; one trainer for each. */
  readonly name: string;
  /** Whether a tensor of the checkpoint is trained. Tensors that the model multiplies as one are trained all or none. */
  readonly trains: (tensor: string, component: string) => boolean;
  /** Records the loss of a batch, with inputs of its own names. Called for each program. */
  readonly record: (g: Graph) => RecordedLoss;
}

/** What a batch is given besides the inputs of its loss. */
export interface BatchOptions {
  /** Adam's numbers for the update that the batch belongs to, so that a schedule may change them. */
  readonly adam: Omit<AdamOptions, "gradientScale">;
  /** With `average`: the running average's decay at this update. */
  readonly averageDecay?: number;
  /** Stops between two command buffers; the weights are then half updated. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Trains weights of a model on its device, in place: whatever else the model computes from then on uses them.
 * A weight that the model reads as halves is trained as a float32 master.
 */
export class Trainer {
  private readonly state: TrainingState;
  private updates = 0;
  private batch = 0;
  private last: Program | undefined;
  /** By the leaf's name. */
  private readonly trained = new Map<string, Trained>();

  constructor(private readonly model: StableDiffusion, private readonly options: TrainerOptions) {
    this.state = new TrainingState(model.device);
  }

  /**
   * What an update takes, known from its graph alone: `weightBytes` are weights, moments, masters and averages.
   * @param recomputes see `Graph`
   */
  static estimate(model: StableDiffusion, options: TrainerOptions, recomputes: boolean): Estimate {
    const g = new Graph(recomputes);
    const recorded = new Trainer(model, options).record(g, (options.batches ?? 1) > 1 ? "last" : "only");
    return estimateProgram(g, recorded, model.device.capabilities, model.device.bufferSharing);
  }

  /** Updates made so far. */
  get steps(): number {
    return this.updates;
  }

  /**
   * Queues one batch; every `batches`-th updates the weights.
   * @throws what ProgramCache.get throws at the first batch; DeviceLostError, GpuError; AbortError
   */
  async step(inputs: Readonly<Record<string, HostArray>>, { adam, averageDecay, signal }: BatchOptions): Promise<void> {
    const { batches = 1, average = false, name } = this.options;
    const place: BatchPlace = batches === 1 ? "only" : this.batch === 0 ? "first" : this.batch === batches - 1 ? "last" : "middle";
    const program = await this.model.program(`train ${name} ${place}`, (g) => this.record(g, place), [this.state]);
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

  private record(g: Graph, place: BatchPlace): ProgramOptions {
    const recorded = this.options.record(g);
    const { assigns, squares } = recordUpdate(g, recorded, this.trainedLeaves(g), this.state, this.options, place);
    return { outputs: { loss: recorded.loss, ...(squares && { squares }) }, assigns };
  }

  /** @throws Error where only some of the tensors in one leaf are to be trained, or none at all are */
  private trainedLeaves(g: Graph): Trained[] {
    const { unet, textEncoder, vae } = this.model.parts;
    const owners = [unet.parameters, textEncoder.parameters, vae.parameters];
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

  /** Global norm of the last update's gradient before clipping. @throws Error without `clipNorm` */
  async gradientNorm(): Promise<number> {
    return Math.sqrt((await this.require().readFloats("squares"))[0]!) / (this.options.batches ?? 1);
  }

  private require(): Program {
    if (!this.last) throw new Error("nothing has been trained yet");
    return this.last;
  }

  /**
   * The trained weights as they are now, by component and by the checkpoint's names, in its order. Halves come as their float32 masters.
   */
  weights(): Promise<Map<string, Map<string, NDArray>>> {
    return this.read(({ leaf: { name, type }, owner }) => this.state.of("master", name) ?? owner.tensor(name, type));
  }

  /** The running averages of the weights, likewise. @throws Error without `average` */
  averages(): Promise<Map<string, Map<string, NDArray>>> {
    return this.read(({ leaf: { name } }) => {
      const average = this.state.of("average", name);
      if (!average) throw new Error(`no average of "${name}" is kept`);
      return average;
    });
  }

  private async read(from: (weight: Trained) => { read(): Promise<HostArray> }): Promise<Map<string, Map<string, NDArray>>> {
    const components = new Map<string, Map<string, NDArray>>();
    for (const weight of this.trained.values()) {
      const { leaf, owner } = weight;
      const tensors = components.get(owner.component) ?? new Map<string, NDArray>();
      components.set(owner.component, tensors);
      owner.intoCheckpoint(leaf.name, (await from(weight).read()) as Float32Array<ArrayBuffer>, tensors);
    }
    return components;
  }

  /** Frees the states. The weights stay as trained; no further step can be made. */
  destroy(): void {
    this.state.destroy();
  }
}
