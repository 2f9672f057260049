import { fromChannelsLast, toChannelsLast } from "../../engine/nn/array.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import type { OpShape } from "../ops/cases.ts";
import { NORM_EPSILON, type OpData, opInputs, outputShape } from "../ops/record.ts";
import { toOihw } from "./jax.ts";
import { type OnnxModel, type OnnxNode, writeOnnx } from "./onnx-writer.ts";
import type { Peer, PeerRun } from "./peer.ts";

/** The little of onnxruntime-node that is used. */
interface OrtTensor {
  readonly data: Float32Array;
}
interface Session {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
interface Ort {
  readonly InferenceSession: { create(model: Uint8Array, options: Readonly<Record<string, unknown>>): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OrtTensor;
}

const PROVIDERS = [
  {
    name: "ort-webgpu",
    provider: "webgpu",
    webgpu: true,
    note: "with upload of the activations and download of the result: its Node API has no tensors on the device",
  },
  { name: "ort-cpu", provider: "cpu", webgpu: false, note: "native CPU kernels, not WebGPU" },
] as const;

/** onnxruntime on its own WebGPU provider and on its CPU provider. It has no gradients. @throws Error if neither starts */
export async function loadOnnxRuntime(require: (name: string) => unknown, version: string): Promise<readonly Peer[]> {
  const ort = require("onnxruntime-node") as Ort;
  const peers: Peer[] = [];
  const problems: string[] = [];
  for (const { name, provider, webgpu, note } of PROVIDERS) {
    try {
      const probe = await open(ort, provider, model({ op: "softmax", rows: 4, width: 4 }, undefined)[0]!.model);
      await probe.release();
    } catch (error) {
      problems.push(`${name}: ${errorMessage(error)}`);
      continue;
    }
    peers.push({
      name,
      version,
      webgpu,
      gradients: false,
      async prepare(shape, _direction, data) {
        const runs: PeerRun[] = [];
        for (const { variant, model: made } of model(shape, data)) {
          runs.push(await prepare(ort, provider, `${name}${variant && ` (${variant})`}`, note, made, shape, data));
        }
        return runs;
      },
    });
  }
  if (peers.length === 0) throw new Error(problems.join("; "));
  return peers;
}

function open(ort: Ort, provider: string, made: OnnxModel): Promise<Session> {
  return ort.InferenceSession.create(writeOnnx(made), {
    executionProviders: [provider],
    logSeverityLevel: 3,
    extra: {
      session: {
        // Its threads would go on spinning after a run, and their time would count as that of whoever runs next.
        intra_op: { allow_spinning: "0" },
        inter_op: { allow_spinning: "0" },
        // What the provider cannot do is to be an error, not a silent detour over the CPU.
        ...(provider !== "cpu" && { disable_cpu_ep_fallback: "1" }),
      },
    },
  });
}

async function prepare(
  ort: Ort,
  provider: string,
  name: string,
  note: string,
  made: OnnxModel,
  shape: OpShape,
  data: OpData,
): Promise<PeerRun> {
  const session = await open(ort, provider, made);
  const feeds = Object.fromEntries(
    Object.entries(made.inputs).map(([input, dims]) => [
      input,
      new ort.Tensor("float32", toNchw(shape, data.inputs[input]!, opInputs(shape)[input]!.shape), dims),
    ]),
  );
  let last: OrtTensor | undefined;
  return {
    name,
    note,
    async run(count) {
      for (let i = 0; i < count; i++) last = (await session.run(feeds))["y"];
    },
    read: () => Promise.resolve(fromNchw(shape, new Float32Array(last!.data), outputShape(shape))),
    destroy: () => session.release(),
  };
}

function isImage(shape: OpShape): boolean {
  return shape.op === "conv2d" || shape.op === "group-norm";
}

function toNchw(shape: OpShape, data: Float32Array<ArrayBuffer>, dims: readonly number[]): Float32Array {
  return isImage(shape) && dims.length === 4 ? fromChannelsLast(data, dims as [number, number, number, number]).data : data;
}

function fromNchw(shape: OpShape, data: Float32Array<ArrayBuffer>, dims: readonly number[]): Float32Array {
  if (!isImage(shape)) return data;
  const [n, h, w, c] = dims as [number, number, number, number];
  return toChannelsLast({ data, shape: [n, c, h, w] });
}

const channelsFirst = ([n, h, w, c]: readonly number[]): readonly number[] => [n!, c!, h!, w!];

interface Variant {
  /** Empty where there is one way only. */
  readonly variant: string;
  readonly model: OnnxModel;
}

/**
 * The op as ONNX, in the ways worth trying. Weights are constants of the model; without data (to see whether a provider starts) ops with
 * weights cannot be made.
 */
function model(s: OpShape, data: OpData | undefined): readonly Variant[] {
  const node = (
    op: string,
    inputs: readonly string[],
    output: string,
    attributes: OnnxNode["attributes"] = {},
    domain: OnnxNode["domain"] = "",
  ): OnnxNode => ({ op, inputs, outputs: [output], attributes, domain });
  const specs = opInputs(s);
  const weight = (
    name: string,
    dims = specs[name]!.shape,
    values: Float32Array = data!.inputs[name]!,
  ): NonNullable<OnnxModel["constants"]> => ({ [name]: { shape: dims, data: values } });
  const scalar = (name: string, value: number): NonNullable<OnnxModel["constants"]> => ({
    [name]: { shape: [], data: Float32Array.of(value) },
  });
  const only = (made: OnnxModel): readonly Variant[] => [{ variant: "", model: made }];
  switch (s.op) {
    case "linear":
      return only({
        inputs: { x: [s.rows, s.in] },
        outputs: { y: [s.rows, s.out] },
        constants: { ...weight("weight"), ...weight("bias") },
        nodes: [node("MatMul", ["x", "weight"], "product"), node("Add", ["product", "bias"], "y")],
      });
    case "conv2d": {
      const pad = s.kernel >> 1;
      const { shape } = specs["weight"]!;
      return only({
        inputs: { x: channelsFirst(specs["x"]!.shape) },
        outputs: { y: channelsFirst(outputShape(s)) },
        constants: { ...weight("weight", [s.out, s.in, s.kernel, s.kernel], toOihw(data!.inputs["weight"]!, shape)), ...weight("bias") },
        nodes: [
          node("Conv", ["x", "weight", "bias"], "y", {
            kernel_shape: [s.kernel, s.kernel],
            pads: [pad, pad, pad, pad],
            strides: [s.stride, s.stride],
          }),
        ],
      });
    }
    case "attention": {
      const width = s.heads * s.head;
      const io = {
        inputs: { q: [1, s.queries, width], k: [1, s.keys, width], v: [1, s.keys, width] },
        outputs: { y: [1, s.queries, width] },
      };
      const split = {
        queryShape: { shape: [4], data: [1, s.queries, s.heads, s.head] },
        keyShape: { shape: [4], data: [1, s.keys, s.heads, s.head] },
        joined: { shape: [3], data: [1, s.queries, width] },
      };
      const composed: OnnxNode[] = [
        node("Reshape", ["q", "queryShape"], "q4"),
        node("Reshape", ["k", "keyShape"], "k4"),
        node("Reshape", ["v", "keyShape"], "v4"),
        node("Transpose", ["q4"], "qh", { perm: [0, 2, 1, 3] }),
        node("Transpose", ["k4"], "kt", { perm: [0, 2, 3, 1] }),
        node("Transpose", ["v4"], "vh", { perm: [0, 2, 1, 3] }),
        node("MatMul", ["qh", "kt"], "scores"),
        node("Mul", ["scores", "scale"], "scaled"),
        node("Softmax", ["scaled"], "weights", { axis: -1 }),
        node("MatMul", ["weights", "vh"], "oh"),
        node("Transpose", ["oh"], "o4", { perm: [0, 2, 1, 3] }),
        node("Reshape", ["o4", "joined"], "y"),
      ];
      return [
        {
          variant: "MultiHeadAttention",
          model: { ...io, nodes: [node("MultiHeadAttention", ["q", "k", "v"], "y", { num_heads: s.heads }, "com.microsoft")] },
        },
        { variant: "composed", model: { ...io, constants: { ...split, ...scalar("scale", 1 / Math.sqrt(s.head)) }, nodes: composed } },
      ];
    }
    case "group-norm": {
      const dims = channelsFirst(specs["x"]!.shape);
      const ones = {
        ones: { shape: [s.groups], data: new Float32Array(s.groups).fill(1) },
        zeros: { shape: [s.groups], data: new Float32Array(s.groups) },
      };
      const shapes = { grouped: { shape: [3], data: [1, s.groups, -1] }, whole: { shape: [4], data: [...dims] } };
      return only({
        inputs: { x: dims },
        outputs: { y: dims },
        constants: { ...ones, ...shapes, ...weight("gamma", [s.channels, 1, 1]), ...weight("beta", [s.channels, 1, 1]) },
        nodes: [
          // As exporters write it: instance norm over the groups.
          node("Reshape", ["x", "grouped"], "xg"),
          node("InstanceNormalization", ["xg", "ones", "zeros"], "ng", { epsilon: { float: NORM_EPSILON } }),
          node("Reshape", ["ng", "whole"], "n"),
          node("Mul", ["n", "gamma"], "scaled"),
          node("Add", ["scaled", "beta"], "shifted"),
          node("Sigmoid", ["shifted"], "gate"),
          node("Mul", ["shifted", "gate"], "y"),
        ],
      });
    }
    case "layer-norm":
      return only({
        inputs: { x: [s.rows, s.width] },
        outputs: { y: [s.rows, s.width] },
        constants: { ...weight("gamma"), ...weight("beta") },
        nodes: [node("LayerNormalization", ["x", "gamma", "beta"], "y", { axis: -1, epsilon: { float: NORM_EPSILON } })],
      });
    case "geglu":
      return only({
        inputs: { x: [s.rows, 2 * s.width] },
        outputs: { y: [s.rows, s.width] },
        nodes: [
          { op: "Split", inputs: ["x"], outputs: ["value", "gate"], attributes: { axis: -1, num_outputs: 2 } },
          node("Gelu", ["gate"], "open"),
          node("Mul", ["value", "open"], "y"),
        ],
      });
    case "softmax":
      return only({
        inputs: { x: [s.rows, s.width] },
        outputs: { y: [s.rows, s.width] },
        nodes: [node("Softmax", ["x"], "y", { axis: -1 })],
      });
  }
}
