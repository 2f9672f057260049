import { patiently } from "../../engine/platform/patience.ts";
import type { OpShape } from "../ops/cases.ts";
import { type OpData, opInputs } from "../ops/record.ts";
import type { Direction } from "../results.ts";
import type { Peer, PeerRun } from "./peer.ts";

/** The little of torchlette that is used. */
interface Tensor {
  readonly grad: Tensor | null;
  zeroGrad(): void;
  cpu(): Promise<ArrayLike<number>>;
  dispose(): void;
}
interface Api {
  tensorFromArray(values: Float32Array, shape: readonly number[], options?: { requiresGrad: boolean }): Tensor;
  matmul(a: Tensor, b: Tensor): Tensor;
  add(a: Tensor, b: Tensor): Tensor;
  scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor): Tensor;
  backward(y: Tensor, cotangent: Tensor): Promise<void>;
  /** Submits all that is pending. */
  markStep(): Promise<void>;
}
interface Torchlette {
  initWebGPU(): Promise<boolean>;
  getWebGPUInitError(): string | null;
  syncWebGPU(): Promise<void>;
  readonly Torchlette: new (backend: "webgpu") => Api;
}

/** torchlette on WebGPU: matrix products, and attention of a sequence with itself. @throws Error if its backend does not start */
export async function loadTorchlette(require: (name: string) => unknown, version: string): Promise<readonly Peer[]> {
  const library = require("torchlette") as Torchlette;
  if (!(await library.initWebGPU())) throw new Error(library.getWebGPUInitError() ?? "its WebGPU backend does not start");
  const api = new library.Torchlette("webgpu");
  const prepared = (shape: OpShape, direction: Direction, data: OpData): readonly PeerRun[] | string => {
    if (shape.op !== "linear" && shape.op !== "attention") return "compared in products and attention alone";
    if (shape.op === "attention" && shape.queries !== shape.keys) return "its fused attention takes as many keys as queries";
    return [prepare(library, api, shape, direction, data)];
  };
  return [{
    name: "torchlette", version, webgpu: true, gradients: true,
    prepare: (shape, direction, data) => Promise.resolve(prepared(shape, direction, data)),
  }];
}

type Shape = Extract<OpShape, { op: "linear" | "attention" }>;

function prepare(library: Torchlette, api: Api, s: Shape, direction: Direction, data: OpData): PeerRun {
  const backward = direction !== "forward";
  const tensors: Record<string, Tensor> = {};
  for (const [name, { shape }] of Object.entries(opInputs(s))) {
    const wanted = backward && (s.op === "attention" || name === "x");
    const values = data.inputs[name]!;
    tensors[name] = s.op === "attention"
      ? api.tensorFromArray(byHead(values, s.queries, s.heads, s.head), [1, s.heads, s.queries, s.head], { requiresGrad: wanted })
      : api.tensorFromArray(values, shape, { requiresGrad: wanted });
  }
  const cotangent = s.op === "attention"
    ? api.tensorFromArray(byHead(data.cotangent, s.queries, s.heads, s.head), [1, s.heads, s.queries, s.head])
    : api.tensorFromArray(data.cotangent, [s.rows, s.out]);
  const forward = (): Tensor =>
    s.op === "linear"
      ? api.add(api.matmul(tensors["x"]!, tensors["weight"]!), tensors["bias"]!)
      : api.scaledDotProductAttention(tensors["q"]!, tensors["k"]!, tensors["v"]!);
  let last: Tensor | undefined;
  return {
    name: "torchlette",
    async run(count) {
      for (let i = 0; i < count; i++) {
        last?.dispose();
        for (const t of Object.values(tensors)) t.zeroGrad();
        last = forward();
        if (backward) await api.backward(last, cotangent);
        await api.markStep();
      }
      await patiently(library.syncWebGPU());
    },
    async read() {
      const result = backward ? (s.op === "linear" ? tensors["x"]! : tensors["q"]!).grad! : last!;
      const values = Float32Array.from(await result.cpu());
      return s.op === "attention" ? byHead(values, s.heads, s.queries, s.head) : values;
    },
    destroy() {
      for (const t of [...Object.values(tensors), cotangent, last]) t?.dispose();
    },
  };
}

/** [first, second, width] to [second, first, width]. */
function byHead(x: Float32Array, first: number, second: number, width: number): Float32Array {
  const y = new Float32Array(x.length);
  for (let i = 0; i < first; i++) {
    for (let j = 0; j < second; j++) {
      const from = (i * second + j) * width;
      y.set(x.subarray(from, from + width), (j * first + i) * width);
    }
  }
  return y;
}
