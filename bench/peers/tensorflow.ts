import { patiently } from "../../engine/platform/patience.ts";
import type { OpShape } from "../ops/cases.ts";
import { NORM_EPSILON, type OpData, opInputs, outputShape, wantedGradients } from "../ops/record.ts";
import type { Direction } from "../results.ts";
import type { Peer, PeerRun } from "./peer.ts";

/** The little of TensorFlow.js that is used. */
interface Tensor {
  readonly shape: number[];
  data(): Promise<Float32Array>;
  dispose(): void;
  reshape(shape: readonly number[]): Tensor;
  transpose(permutation: readonly number[]): Tensor;
  add(other: Tensor | number): Tensor;
  sub(other: Tensor | number): Tensor;
  mul(other: Tensor | number): Tensor;
  rsqrt(): Tensor;
  sigmoid(): Tensor;
  erf(): Tensor;
}
interface Backend {
  endComputePassEncoder?(): void;
  submitQueue?(): void;
  readonly device: GPUDevice;
}
interface TensorFlow {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  backend(): Backend;
  tidy<T>(body: () => T): T;
  tensor(data: Float32Array, shape: readonly number[]): Tensor;
  matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  softmax(x: Tensor): Tensor;
  split(x: Tensor, parts: number, axis: number): Tensor[];
  moments(x: Tensor, axes: number[], keepDims: boolean): { mean: Tensor; variance: Tensor };
  grads(f: (...inputs: Tensor[]) => Tensor): (inputs: Tensor[], dy: Tensor) => Tensor[];
  readonly fused: {
    matMul(options: { a: Tensor; b: Tensor; bias: Tensor }): Tensor;
    conv2d(options: { x: Tensor; filter: Tensor; strides: number; pad: number; dimRoundingMode: "floor"; bias: Tensor }): Tensor;
  };
}

/** TensorFlow.js on WebGPU. Its layouts are ours (NHWC, HWIO). @throws Error if its backend does not start */
export async function loadTensorFlow(require: (name: string) => unknown, version: string): Promise<readonly Peer[]> {
  const tf = require("@tensorflow/tfjs") as TensorFlow;
  void require("@tensorflow/tfjs-backend-webgpu"); // registers itself
  if (!(await tf.setBackend("webgpu"))) throw new Error("its WebGPU backend does not start");
  await tf.ready();
  return [
    {
      name: "tfjs",
      version,
      webgpu: true,
      gradients: true,
      prepare: (shape, direction, data) => Promise.resolve([prepare(tf, shape, direction, data)]),
    },
  ];
}

function prepare(tf: TensorFlow, shape: OpShape, direction: Direction, data: OpData): PeerRun {
  const inputs = Object.fromEntries(
    Object.entries(opInputs(shape)).map(([name, spec]) => [name, tf.tensor(data.inputs[name]!, spec.shape)]),
  );
  const cotangent = tf.tensor(data.cotangent, outputShape(shape));
  const wanted = wantedGradients(shape);
  const forward = (given: Record<string, Tensor>): Tensor => record(tf, shape, { ...inputs, ...given });
  const compute = (): Tensor[] => {
    if (direction === "forward") return [forward({})];
    // grads() runs the forward pass itself.
    return tf.grads((...values) => forward(Object.fromEntries(wanted.map((name, i) => [name, values[i]!]))))(
      wanted.map((n) => inputs[n]!),
      cotangent,
    );
  };
  let last: Tensor[] = [];
  return {
    name: "tfjs",
    async run(count) {
      for (let i = 0; i < count; i++) {
        for (const t of last) t.dispose();
        last = tf.tidy(compute);
      }
      // Commands are only queued once a pass is full or something is read.
      const backend = tf.backend();
      backend.endComputePassEncoder?.();
      backend.submitQueue?.();
      await patiently(backend.device.queue.onSubmittedWorkDone());
    },
    read: () => last[0]!.data(),
    destroy() {
      for (const t of [...last, ...Object.values(inputs), cotangent]) t.dispose();
    },
  };
}

function record(tf: TensorFlow, s: OpShape, v: Record<string, Tensor>): Tensor {
  switch (s.op) {
    case "linear":
      return tf.fused.matMul({ a: v["x"]!, b: v["weight"]!, bias: v["bias"]! });
    case "conv2d":
      return tf.fused.conv2d({
        x: v["x"]!,
        filter: v["weight"]!,
        strides: s.stride,
        pad: s.kernel >> 1,
        dimRoundingMode: "floor",
        bias: v["bias"]!,
      });
    case "attention": {
      const heads = (x: Tensor, rows: number): Tensor => x.reshape([rows, s.heads, s.head]).transpose([1, 0, 2]);
      const scores = tf.matMul(heads(v["q"]!, s.queries), heads(v["k"]!, s.keys), false, true).mul(1 / Math.sqrt(s.head));
      return tf.matMul(tf.softmax(scores), heads(v["v"]!, s.keys)).transpose([1, 0, 2]).reshape([1, s.queries, s.heads * s.head]);
    }
    case "group-norm": {
      const x = v["x"]!.reshape([s.size * s.size, s.groups, s.channels / s.groups]);
      const { mean, variance } = tf.moments(x, [0, 2], true);
      const normed = x.sub(mean).mul(variance.add(NORM_EPSILON).rsqrt()).reshape([1, s.size, s.size, s.channels]);
      const y = normed.mul(v["gamma"]!).add(v["beta"]!);
      return y.mul(y.sigmoid());
    }
    case "layer-norm": {
      const { mean, variance } = tf.moments(v["x"]!, [1], true);
      return v["x"]!.sub(mean).mul(variance.add(NORM_EPSILON).rsqrt()).mul(v["gamma"]!).add(v["beta"]!);
    }
    case "geglu": {
      const [value, gate] = tf.split(v["x"]!, 2, 1) as [Tensor, Tensor];
      return value.mul(gate.mul(gate.mul(Math.SQRT1_2).erf().add(1)).mul(0.5));
    }
    case "softmax":
      return tf.softmax(v["x"]!);
  }
}
