import type { OpShape } from "../ops/cases.ts";
import { NORM_EPSILON, type OpData, opInputs, outputShape } from "../ops/record.ts";
import { toOihw } from "./jax.ts";
import type { OnnxModel, OnnxNode } from "./onnx-writer.ts";

/** One way to write an op. */
export interface OnnxVariant {
  /** Empty where there is one way only. */
  readonly variant: string;
  readonly model: OnnxModel;
}

/**
 * The op as ONNX, in the ways worth trying, on activations of batch 1. Pictures are channels first, as ONNX has them; weights are constants
 * of the model.
 * @param data without it (to see whether a provider starts) ops with weights cannot be made
 */
export function onnxModels(shape: OpShape, data: OpData | undefined): readonly OnnxVariant[] {
  if (shape.op === "attention") return attention(shape);
  return [{ variant: "", model: only(shape, data) }];
}

type Shape<Op extends OpShape["op"]> = Extract<OpShape, { readonly op: Op }>;
type Constants = NonNullable<OnnxModel["constants"]>;

function only(s: Exclude<OpShape, Shape<"attention">>, data: OpData | undefined): OnnxModel {
  switch (s.op) {
    case "linear":
      return {
        inputs: { x: [s.rows, s.in] },
        outputs: { y: [s.rows, s.out] },
        constants: { ...weight(s, data, "weight"), ...weight(s, data, "bias") },
        nodes: [node("MatMul", ["x", "weight"], "product"), node("Add", ["product", "bias"], "y")],
      };
    case "conv2d":
      return conv2d(s, data);
    case "group-norm":
      return groupNorm(s, data);
    case "layer-norm":
      return {
        inputs: { x: [s.rows, s.width] },
        outputs: { y: [s.rows, s.width] },
        constants: { ...weight(s, data, "gamma"), ...weight(s, data, "beta") },
        nodes: [node("LayerNormalization", ["x", "gamma", "beta"], "y", { axis: -1, epsilon: { float: NORM_EPSILON } })],
      };
    case "geglu":
      return {
        inputs: { x: [s.rows, 2 * s.width] },
        outputs: { y: [s.rows, s.width] },
        nodes: [
          { op: "Split", inputs: ["x"], outputs: ["value", "gate"], attributes: { axis: -1, num_outputs: 2 } },
          node("Gelu", ["gate"], "open"),
          node("Mul", ["value", "open"], "y"),
        ],
      };
    case "softmax":
      return {
        inputs: { x: [s.rows, s.width] },
        outputs: { y: [s.rows, s.width] },
        nodes: [node("Softmax", ["x"], "y", { axis: -1 })],
      };
  }
}

function conv2d(s: Shape<"conv2d">, data: OpData | undefined): OnnxModel {
  const pad = s.kernel >> 1;
  const specs = opInputs(s);
  const oihw = toOihw(data!.inputs["weight"]!, specs["weight"]!.shape);
  return {
    inputs: { x: channelsFirst(specs["x"]!.shape) },
    outputs: { y: channelsFirst(outputShape(s)) },
    constants: { weight: { shape: [s.out, s.in, s.kernel, s.kernel], data: oihw }, ...weight(s, data, "bias") },
    nodes: [
      node("Conv", ["x", "weight", "bias"], "y", {
        kernel_shape: [s.kernel, s.kernel],
        pads: [pad, pad, pad, pad],
        strides: [s.stride, s.stride],
      }),
    ],
  };
}

/** With SiLU, as exporters write it: instance norm over the groups. */
function groupNorm(s: Shape<"group-norm">, data: OpData | undefined): OnnxModel {
  const dims = channelsFirst(opInputs(s)["x"]!.shape);
  return {
    inputs: { x: dims },
    outputs: { y: dims },
    constants: {
      ones: { shape: [s.groups], data: new Float32Array(s.groups).fill(1) },
      zeros: { shape: [s.groups], data: new Float32Array(s.groups) },
      grouped: { shape: [3], data: [1, s.groups, -1] },
      whole: { shape: [4], data: [...dims] },
      ...weight(s, data, "gamma", [s.channels, 1, 1]),
      ...weight(s, data, "beta", [s.channels, 1, 1]),
    },
    nodes: [
      node("Reshape", ["x", "grouped"], "xg"),
      node("InstanceNormalization", ["xg", "ones", "zeros"], "ng", { epsilon: { float: NORM_EPSILON } }),
      node("Reshape", ["ng", "whole"], "n"),
      node("Mul", ["n", "gamma"], "scaled"),
      node("Add", ["scaled", "beta"], "shifted"),
      node("Sigmoid", ["shifted"], "gate"),
      node("Mul", ["shifted", "gate"], "y"),
    ],
  };
}

/** As one op of Microsoft's, and composed of ONNX's own. */
function attention(s: Shape<"attention">): readonly OnnxVariant[] {
  const width = s.heads * s.head;
  const io = {
    inputs: { q: [1, s.queries, width], k: [1, s.keys, width], v: [1, s.keys, width] },
    outputs: { y: [1, s.queries, width] },
  };
  const constants: Constants = {
    queryShape: { shape: [4], data: [1, s.queries, s.heads, s.head] },
    keyShape: { shape: [4], data: [1, s.keys, s.heads, s.head] },
    joined: { shape: [3], data: [1, s.queries, width] },
    scale: { shape: [], data: Float32Array.of(1 / Math.sqrt(s.head)) },
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
  const fused = node("MultiHeadAttention", ["q", "k", "v"], "y", { num_heads: s.heads }, "com.microsoft");
  return [
    { variant: "MultiHeadAttention", model: { ...io, nodes: [fused] } },
    { variant: "composed", model: { ...io, constants, nodes: composed } },
  ];
}

const channelsFirst = ([n, h, w, c]: readonly number[]): readonly number[] => [n!, c!, h!, w!];

function node(
  op: string,
  inputs: readonly string[],
  output: string,
  attributes: OnnxNode["attributes"] = {},
  domain: OnnxNode["domain"] = "",
): OnnxNode {
  return { op, inputs, outputs: [output], attributes, domain };
}

/** A weight of the op as a constant of its own name. */
function weight(s: OpShape, data: OpData | undefined, name: string, dims = opInputs(s)[name]!.shape): Constants {
  return { [name]: { shape: dims, data: data!.inputs[name]! } };
}
