import { type TensorType, type Value, byteLength, f32 } from "../../../kernels/kernel.ts";
import { mseLoss } from "../../../kernels/loss.ts";
import { UsageError } from "../../runtime/errors.ts";
import { pooledBytes } from "../../runtime/buffer-pool.ts";
import { estimateProgram, formatBytes } from "../../runtime/plan/estimate.ts";
import { Graph } from "../../runtime/graph.ts";
import type { ProgramOptions } from "../../runtime/program.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { recordTraining } from "../../train/trainer.ts";
import { variantOf } from "../../train/variant.ts";
import { isClosedForm } from "../methods.ts";
import { isSearch } from "../inner/search-attack.ts";
import type { Settings } from "../options.ts";
import { componentOf, tensorsOf } from "./trained-tensors.ts";

/** What a run takes, known from its graphs alone: nothing is read or allocated. */
export interface UnlearnEstimate {
  /** Weights that it reads, and what training keeps besides: moments, masters, averages, masks. */
  readonly weightBytes: number;
  /** Everything else that its programs allocate. */
  readonly workingBytes: number;
  /** Operations of a training step, of a whole trajectory's mean length; 0 of a closed form, which is solved on the host. */
  readonly flopsPerStep: number;
  /** Gradients compute again what they could keep, since it does not fit otherwise. */
  readonly recomputes: boolean;
}

/** Predictions of a step by kind: rows of a batch. */
interface Rows {
  readonly trained: number;
  readonly frozen: number;
  /** Of a sampling step, and how many of them a step makes on average. */
  readonly sampled: number;
  readonly samplingSteps: number;
}

function rowsOf(settings: Settings): Rows {
  const { method, batch, samplingSteps, eraseFrom, guidance } = settings;
  const none = { frozen: 0, sampled: 0, samplingSteps: 0 };
  switch (method) {
    case "esd-x": case "esd-u": case "esd":
      return { trained: 1, frozen: eraseFrom === null ? 2 : 3, sampled: guidance! > 1 ? 2 : 1, samplingSteps: samplingSteps! / 2 };
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
 * Estimates a run of these settings, with recompute regions where it does not fit the device's memory limit without.
 * @throws UsageError where it does not fit in either way
 */
export function estimateUnlearn(base: StableDiffusion, settings: Settings): UnlearnEstimate {
  const limit = base.device.memoryLimit;
  let least = Infinity;
  for (const recomputes of [false, true]) {
    const estimate = estimated(base, settings, recomputes);
    const bytes = estimate.weightBytes + estimate.workingBytes;
    if (bytes <= limit) return estimate;
    least = Math.min(least, bytes);
  }
  throw new UsageError(
    `${settings.method} needs ${formatBytes(least)} of device memory, the limit is ${formatBytes(limit)}: train fewer weights ` +
      `(such as esd-x), give a smaller batch or picture size, or, where few are trained, store the others as halves (--weights f16)`,
  );
}

function estimated(base: StableDiffusion, settings: Settings, recomputes: boolean): UnlearnEstimate {
  const { device, parts: { unet, textEncoder } } = base;
  const tokens = textEncoder.config.maxLength;
  const [height, width] = settings.latentSize;
  const weights = new Map<string, number>();
  const buffers: (readonly number[])[] = [];
  let ownBytes = 0;
  const add = (record: (g: Graph) => ProgramOptions): number => {
    const g = new Graph(recomputes);
    const estimate = estimateProgram(g, record(g), device.capabilities, device.bufferSharing);
    ownBytes += estimate.ownBytes;
    buffers.push(estimate.buffers);
    for (const node of g.nodes) if (node.leaf?.kind === "parameter") weights.set(node.name, byteLength(node.outputs[0]!.type));
    return estimate.flops;
  };
  const input = (g: Graph, name: string, shape: readonly number[], dtype: TensorType["dtype"] = "f32"): Value =>
    g.input(name, { shape, dtype });
  const predicted = (g: Graph, model: StableDiffusion, rows: number, context: Value): Value =>
    model.recordUNet(
      g,
      input(g, "latents", [rows, height, width, unet.config.inChannels]),
      input(g, "features", [rows, base.featureWidth]),
      context,
    );
  const contextOf = (g: Graph, rows: number): Value => input(g, "context", base.encodingShape(rows, tokens));
  const encoded = (g: Graph, model: StableDiffusion, rows: number): Value => model.recordPrompts(g, input(g, "ids", [rows, tokens], "u32"));
  add((g) => ({ outputs: { text: encoded(g, base, 1) } }));
  const total = (flopsPerStep: number): UnlearnEstimate => ({
    weightBytes: [...weights.values()].reduce((a, b) => a + b, 0),
    workingBytes: ownBytes + (device.bufferSharing ? pooledBytes(buffers) : buffers.flat().reduce((a, b) => a + b, 0)),
    flopsPerStep, recomputes,
  });
  if (isClosedForm(settings.method)) return total(0);

  const rows = rowsOf(settings);
  const plain = (count: number): number =>
    count === 0 ? 0 : add((g) => ({ outputs: { eps: predicted(g, base, count, contextOf(g, count)) } }));
  const [sampled, frozen] = [plain(rows.sampled), plain(rows.frozen)];
  // A LoRA's own weights are few; what it reads and computes is as if the attention were trained.
  const rule = settings.rule ?? "attn";
  const list = tensorsOf(base, rule);
  const wanted = new Set(list.tensors);
  const trains = (tensor: string, component: string): boolean => component === list.component && wanted.has(tensor);
  const model = variantOf(base, { owns: settings.rule === undefined ? () => false : trains });
  const trainsText = componentOf(rule) === "text_encoder";
  const trained = add((g) =>
    recordTraining(g, model, {
      name: "estimate", decay: "decoupled", trains,
      ...(settings.clip !== null && settings.rule !== undefined && { clipNorm: settings.clip }),
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
    }),
  );
  return total(trained * (settings.accumulate ?? 1) + frozen + sampled * rows.samplingSteps);
}

/** `needs about 5.9 GiB of device memory: 5.1 GiB of weights and states, 0.8 GiB to work in; 12 TFLOP a step`. */
export function describeUnlearnEstimate({ weightBytes, workingBytes, flopsPerStep, recomputes }: UnlearnEstimate): string {
  const [all, weights, working] = [weightBytes + workingBytes, weightBytes, workingBytes].map(formatBytes);
  const work = flopsPerStep > 0 ? `; ${(flopsPerStep / 1e12).toPrecision(2)} TFLOP a step` : "";
  const again = recomputes ? "; to stay within the limit, a step computes parts of its forward pass twice" : "";
  return `needs about ${all} of device memory: ${weights} of weights and training state, ${working} to work in${work}${again}`;
}
