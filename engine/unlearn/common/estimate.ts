import { type TensorType, type Value, byteLength, f32 } from "../../../kernels/kernel.ts";
import { mseLoss } from "../../../kernels/loss.ts";
import { UsageError } from "../../runtime/errors.ts";
import { pooledBytes } from "../../runtime/buffer-pool.ts";
import { estimateProgram, formatBytes } from "../../runtime/plan/estimate.ts";
import { type WeightUses, keepsResidents, plannable, pooledAtWorst, residents, totalBytes } from "../../runtime/plan/residents.ts";
import { Graph } from "../../runtime/graph.ts";
import type { ProgramOptions } from "../../runtime/program.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { recordTraining } from "../../train/trainer.ts";
import { variantOf } from "../../train/variant.ts";
import { isClosedForm } from "../methods.ts";
import { isSearch } from "../inner/search-attack.ts";
import type { Settings } from "../options.ts";
import { latentsInput } from "./noising.ts";
import { clipping } from "./start.ts";
import { componentOf, tensorsOf } from "./trained-tensors.ts";

/** What a run takes, known from its graphs alone: nothing is read or allocated. */
export interface UnlearnEstimate {
  /** Weights that it has on the device, and what training keeps besides: moments, masters, averages, masks. */
  readonly weightBytes: number;
  /** Everything else that its programs allocate. */
  readonly workingBytes: number;
  /** Operations of a training step, of a whole trajectory's mean length; 0 of a closed form, which is solved on the host. */
  readonly flopsPerStep: number;
  /** Gradients compute again what they could keep, since it does not fit otherwise. */
  readonly recomputes: boolean;
  /** There if weights that are not trained stay in host memory. */
  readonly offloading?: {
    readonly hostBytes: number;
    /** What a step sends to the device. */
    readonly bytesPerStep: number;
    /** Which leaves of the model as it was given, by their names, are on the device. */
    readonly keeps: (leaf: string, bytes: number) => boolean;
  };
}

/** Predictions of a step by kind: rows of a batch. */
interface Rows {
  readonly trained: number;
  readonly frozen: number;
  /** Of a sampling step, and how many of them a step makes on average; by the model as trained so far, if not by the one that was given. */
  readonly sampled: number;
  readonly samplingSteps: number;
  readonly samplesTrained?: boolean;
}

function rowsOf(settings: Settings): Rows {
  const { method, batch, samplingSteps, eraseFrom, guidance } = settings;
  const none = { frozen: 0, sampled: 0, samplingSteps: 0 };
  switch (method) {
    case "esd-x": case "esd-u": case "esd":
      return {
        trained: 1, frozen: eraseFrom === null ? 2 : 3,
        sampled: guidance! > 1 ? 2 : 1, samplingSteps: samplingSteps! / 2, samplesTrained: settings.recipe === "esd-2023",
      };
    case "advunlearn": {
      const retained = settings.retainBatch!;
      const attacked = isSearch(settings.attack) ? 1 : settings.attackSteps!; // a search looks at one picture
      const trajectories = 1 + attacked + retained; // a retained prompt's is one of a batch
      const trained = settings.retainMode === "reg" ? 1 + retained : Math.max(1, retained);
      return { trained, frozen: 2, sampled: 2 * retained, samplingSteps: (trajectories / retained) * (samplingSteps! / 2) };
    }
    case "salun": return { ...none, trained: 2 * batch!, frozen: batch! };
    case "concept-ablation": return { ...none, trained: settings.priorWeight! > 0 ? 2 * batch! : batch!, frozen: batch! };
    default: return { ...none, trained: batch ?? 1 };
  }
}

/**
 * Estimates a run of these settings, with recompute regions where it does not fit the device's memory limit without, and with weights that
 * are not trained in host memory where the model allows it (`keepOnDevice`) and it does not fit so either.
 * @param draws whether the run also draws pictures, one at a time, as previews are
 * @throws UsageError where it does not fit in any way
 */
export function estimateUnlearn(base: StableDiffusion, settings: Settings, draws = false): UnlearnEstimate {
  const limit = base.device.memoryLimit;
  const offloads = base.planStreams !== undefined;
  const known = limit < Infinity;
  let least = Infinity;
  const fits = ({ weightBytes, workingBytes }: UnlearnEstimate, room: number): boolean => {
    least = Math.min(least, weightBytes + workingBytes);
    return weightBytes + workingBytes <= room;
  };
  if (known || !offloads) {
    for (const recomputes of known ? [false, true] : [false]) {
      const { estimate } = planned(base, { settings, draws, recomputes });
      if (fits(estimate, offloads ? plannable(limit) : limit)) return estimate;
    }
  }
  if (offloads) {
    const estimate = offloaded(base, { settings, draws, recomputes: known });
    if (fits(estimate, limit)) return estimate;
  }
  throw new UsageError(
    `${settings.method} needs ${formatBytes(least)} of device memory, the limit is ${formatBytes(limit)}: train fewer weights ` +
      `(such as esd-x), give a smaller batch or picture size, ${offloads ? "" : "leave what is not trained in host memory (--offload), "}` +
      "or, where few are trained, store the others as halves (--weights f16)",
  );
}

/** Makes a model keep to the plan of a run: to be called before its weights are loaded. @throws as `estimateUnlearn` */
export function fitUnlearn(base: StableDiffusion, settings: Settings, draws = false): UnlearnEstimate {
  const estimate = estimateUnlearn(base, settings, draws);
  if (base.planStreams) base.keepOnDevice(estimate.offloading?.keeps ?? (() => true), base.planStreams);
  return estimate;
}

/** What is planned. */
interface Work {
  readonly settings: Settings;
  readonly draws: boolean;
  readonly recomputes: boolean;
}

/** With as few weights in host memory as the limit allows: of those that are not trained, what a step reads least. */
function offloaded(base: StableDiffusion, work: Work): UnlearnEstimate {
  const { memoryLimit } = base.device;
  const least = planned(base, work, () => true);
  const chosen = residents(least.frozen, memoryLimit, least.estimate.weightBytes + least.workingBytes(pooledAtWorst));
  const streams = (leaf: string): boolean => !chosen.has(leaf);
  const { estimate, streamedBytes } = planned(base, work, streams);
  const hostBytes = totalBytes(new Map([...least.frozen].filter(([leaf]) => streams(leaf))));
  return { ...estimate, offloading: { hostBytes, bytesPerStep: streamedBytes, keeps: keepsResidents(least.frozen, chosen) } };
}

/** What a run's programs take together. */
class Planned {
  /** Weights of the model as it was given that are not trained. */
  readonly frozen: WeightUses = new Map();
  /** Of a step. */
  flops = 0;
  /** By a step, of weights that stay in host memory. */
  streamedBytes = 0;
  private readonly resident = new Map<string, number>();
  private readonly buffers: (readonly number[])[] = [];
  private ownBytes = 0;

  /** @param streams which of the weights that are not trained stay in host memory */
  constructor(
    private readonly base: StableDiffusion,
    private readonly recomputes: boolean,
    private readonly streams: (leaf: string) => boolean,
  ) {}

  /** @param times that a step runs it; 0: not in a step */
  add(record: (g: Graph) => ProgramOptions, times: number): void {
    const { device, parts: { unet, textEncoder, second, vae }, planStreams: plan } = this.base;
    const own = [unet, textEncoder, vae, ...(second ? [second] : [])].map((part) => part.parameters);
    const g = new Graph(this.recomputes);
    const options = record(g);
    const targets = new Set<unknown>(options.assigns?.map(([target]) => target));
    const trained = new Set(g.nodes.filter(({ outputs }) => outputs.some((v) => targets.has(v))).map(({ name }) => name));
    const isFrozen = (leaf: string): boolean => !trained.has(leaf) && own.some((part) => part.owns(leaf));
    const streams = (leaf: string): boolean => isFrozen(leaf) && this.streams(leaf);
    const streaming = plan && { streams, memoryLimit: device.memoryLimit, plan };
    const estimate = estimateProgram(g, options, device.capabilities, device.bufferSharing, streaming);
    for (const { leaf, name, outputs: [value] } of g.nodes) {
      if (leaf?.kind !== "parameter") continue;
      const bytes = byteLength(value!.type);
      if (!streams(name)) this.resident.set(name, bytes);
      if (isFrozen(name) && !this.frozen.has(name)) this.frozen.set(name, { bytes, uses: 0 });
    }
    for (const v of g.nodes.flatMap((n) => n.inputs)) {
      const weight = v && this.frozen.get(v.node.name);
      if (weight) weight.uses += times;
    }
    this.ownBytes += estimate.ownBytes;
    this.buffers.push(estimate.buffers);
    this.flops += estimate.flops * times;
    this.streamedBytes += estimate.streamedBytes * times;
  }

  /** @param pooled of programs that share buffers */
  workingBytes(pooled: typeof pooledBytes): number {
    return this.ownBytes + (this.base.device.bufferSharing ? pooled(this.buffers) : sum(this.buffers.flat()));
  }

  get estimate(): UnlearnEstimate {
    return {
      weightBytes: sum(this.resident.values()),
      workingBytes: this.workingBytes(pooledBytes),
      flopsPerStep: this.flops,
      recomputes: this.recomputes,
    };
  }
}

/** @param streams which of the weights that are not trained stay in host memory */
function planned(base: StableDiffusion, work: Work, streams: (leaf: string) => boolean = () => false): Planned {
  const { settings, draws, recomputes } = work;
  const { textEncoder, vae } = base.parts;
  const tokens = textEncoder.config.maxLength;
  const [height, width] = settings.latentSize;
  const plan = new Planned(base, recomputes, streams);
  const input = (g: Graph, name: string, shape: readonly number[], dtype: TensorType["dtype"] = "f32"): Value =>
    g.input(name, { shape, dtype });
  const predicted = (g: Graph, model: StableDiffusion, rows: number, context: Value): Value =>
    model.recordUNet(
      g, latentsInput(g, base, "latents", rows, settings.latentSize), input(g, "features", [rows, base.featureWidth]), context,
    );
  const contextOf = (g: Graph, rows: number): Value => input(g, "context", base.encodingShape(rows, tokens));
  const encoded = (g: Graph, model: StableDiffusion, rows: number): Value => model.recordPrompts(g, input(g, "ids", [rows, tokens], "u32"));
  const predicts = (rows: number, times: number, by = base): void => {
    if (rows > 0) plan.add((g) => ({ outputs: { eps: predicted(g, by, rows, contextOf(g, rows)) } }), times);
  };
  plan.add((g) => ({ outputs: { text: encoded(g, base, 1) } }), 0);
  if (draws) {
    predicts(2, 0);
    const { latentChannels } = vae.config;
    plan.add((g) => ({ outputs: { image: base.recordDecoder(g, input(g, "latents", [1, height, width, latentChannels])) } }), 0);
  }
  if (isClosedForm(settings.method)) return plan;

  const rows = rowsOf(settings);
  // A LoRA's own weights are few; what it reads and computes is as if the attention were trained.
  const rule = settings.rule ?? "attn";
  const list = tensorsOf(base, rule);
  const wanted = new Set(list.tensors);
  const trains = (tensor: string, component: string): boolean => component === list.component && wanted.has(tensor);
  const model = variantOf(base, { owns: settings.rule === undefined ? () => false : trains });
  predicts(rows.sampled, rows.samplingSteps, rows.samplesTrained ? model : base);
  predicts(rows.frozen, 1);
  if (draws) predicts(2, 0, model);
  const trainsText = componentOf(rule) === "text_encoder";
  const training = (g: Graph): ProgramOptions =>
    recordTraining(g, model, {
      name: "estimate", decay: "decoupled", trains,
      ...(settings.rule !== undefined && clipping(settings)),
      average: settings.averageDecay !== null,
      masked: settings.method === "salun" && !settings.unmasked,
      record: (graph) => {
        const prediction = predicted(
          graph,
          model,
          rows.trained,
          trainsText ? encoded(graph, model, rows.trained) : contextOf(graph, rows.trained),
        );
        return { loss: mseLoss(graph, prediction, graph.input("target", f32(prediction.type.shape))) };
      },
    });
  plan.add(training, settings.accumulate ?? 1);
  return plan;
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);

/** `needs about 5.9 GiB of device memory: 5.1 GiB of weights and states, 0.8 GiB to work in; 12 TFLOP a step`. */
export function describeUnlearnEstimate({ weightBytes, workingBytes, flopsPerStep, recomputes, offloading }: UnlearnEstimate): string {
  const [all, weights, working] = [weightBytes + workingBytes, weightBytes, workingBytes].map(formatBytes);
  const work = flopsPerStep > 0 ? `; ${(flopsPerStep / 1e12).toPrecision(2)} TFLOP a step` : "";
  const again = recomputes ? "; to stay within the limit, a step computes parts of its forward pass twice" : "";
  const [host, sent] = [offloading?.hostBytes ?? 0, offloading?.bytesPerStep ?? 0].map(formatBytes);
  const left = offloading ? `; ${host} of weights stay in host memory: a step sends ${sent} to the device` : "";
  return `needs about ${all} of device memory: ${weights} of weights and training state, ${working} to work in${work}${again}${left}`;
}
