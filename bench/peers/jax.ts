import { patiently } from "../../engine/platform/patience.ts";
import type { OpShape } from "../ops/cases.ts";
import { NORM_EPSILON, type OpData, opInputs, outputShape, wantedGradients } from "../ops/record.ts";
import type { Direction } from "../results.ts";
import { type Peer, type PeerRun, channelsFirst, channelsLast } from "./peer.ts";

/** The little of jax-js that is used. An operation consumes its operands; `ref` is another reference to one. */
interface Jx {
  readonly ref: Jx;
  dispose(): void;
  data(): Promise<Float32Array>;
  /** Submits what is still to be computed for it, without waiting. Consumes it. */
  gpuBufferSync(): unknown;
  add(other: Jx | number): Jx;
  mul(other: Jx | number): Jx;
  reshape(shape: readonly number[]): Jx;
}
type Pure = (...inputs: Jx[]) => Jx | Jx[];
interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  jit(f: Pure): Pure & { dispose?(): void };
  vjp(f: Pure, primals: Jx[]): [Jx, (cotangent: Jx) => Jx[]];
  blockUntilReady<T>(x: T): Promise<T>;
  readonly numpy: {
    array(data: Float32Array, options: { shape: readonly number[] }): Jx;
    matmul(a: Jx, b: Jx): Jx;
    split(x: Jx, parts: number, axis: number): [Jx, Jx];
  };
  readonly lax: { convGeneralDilated(x: Jx, weight: Jx, strides: number[], padding: [number, number][]): Jx };
  readonly nn: {
    dotProductAttention(q: Jx, k: Jx, v: Jx): Jx;
    standardize(x: Jx, axis: number, options: { epsilon: number }): Jx;
    softmax(x: Jx, axis: number): Jx;
    silu(x: Jx): Jx;
    gelu(x: Jx, options: { approximate: boolean }): Jx;
  };
}

/** jax-js on WebGPU, jitted. Convolutions are its own NCHW; everything else as ours. @throws Error if its backend does not start */
export async function loadJax(require: (name: string) => unknown, version: string): Promise<readonly Peer[]> {
  provideIteratorHelpers();
  const jax = require("@jax-js/jax") as Jax;
  if (!(await jax.init("webgpu")).includes("webgpu")) throw new Error("its WebGPU backend does not start");
  jax.defaultDevice("webgpu");
  return [
    {
      name: "jax-js",
      version,
      webgpu: true,
      gradients: true,
      prepare: (shape, direction, data) => Promise.resolve([prepare(jax, shape, direction, data)]),
    },
  ];
}

/** It calls iterator helpers, which Node has from version 22 on. */
function provideIteratorHelpers(): void {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as Record<string, unknown>;
  const define = (name: string, value: unknown): void => {
    if (!(name in prototype)) Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  };
  define("map", function* map<T, U>(this: Iterable<T>, f: (value: T, index: number) => U): Generator<U> {
    let i = 0;
    for (const value of this) yield f(value, i++);
  });
  define("filter", function* filter<T>(this: Iterable<T>, f: (value: T, index: number) => boolean): Generator<T> {
    let i = 0;
    for (const value of this) if (f(value, i++)) yield value;
  });
  define("toArray", function toArray<T>(this: Iterable<T>): T[] {
    return [...this];
  });
}

function prepare(jax: Jax, s: OpShape, direction: Direction, data: OpData): PeerRun {
  const array = (values: Float32Array<ArrayBuffer>, given: readonly number[]): Jx => {
    const { data: numbers, shape } = channelsFirst(s, values, given);
    return jax.numpy.array(numbers, { shape });
  };
  const specs = opInputs(s);
  const names = Object.keys(specs);
  const inputs = names.map((name) => {
    const { shape } = specs[name]!;
    return s.op === "conv2d" && name === "weight"
      ? jax.numpy.array(toOihw(data.inputs[name]!, shape), { shape: [shape[3]!, shape[2]!, shape[0]!, shape[1]!] })
      : array(data.inputs[name]!, shape);
  });
  const wanted = wantedGradients(s).length; // they come first among the inputs
  const cotangent = array(data.cotangent, outputShape(s));
  const forward: Pure = (...values) => record(jax, s, Object.fromEntries(names.map((name, i) => [name, values[i]!])));
  const withGradient: Pure = (...values) => {
    const seed = values.pop()!;
    const weights = values.slice(wanted);
    const [y, pullback] = jax.vjp((...activations) => forward(...activations, ...weights), values.slice(0, wanted));
    return [...pullback(seed), y];
  };
  const compiled = jax.jit(direction === "forward" ? forward : withGradient);
  const given = direction === "forward" ? inputs : [...inputs, cotangent];
  let last: Jx[] = [];
  return {
    name: "jax-js",
    async run(count) {
      for (let i = 0; i < count; i++) {
        for (const x of last) x.dispose();
        const out = compiled(...given.map((x) => x.ref));
        last = Array.isArray(out) ? out : [out];
        // It is lazy: what is disposed before it was submitted is never computed.
        for (const x of last) x.ref.gpuBufferSync();
      }
      await patiently(jax.blockUntilReady(last));
    },
    async read() {
      const values = new Float32Array(await last[0]!.ref.data());
      return channelsLast(s, values, direction === "forward" ? outputShape(s) : specs[names[0]!]!.shape);
    },
    destroy() {
      for (const x of [...last, ...inputs, cotangent]) x.dispose();
      compiled.dispose?.();
    },
  };
}

/** [kh, kw, in, out] to [out, in, kh, kw]. */
export function toOihw(data: Float32Array, [kh, kw, cin, cout]: readonly number[]): Float32Array<ArrayBuffer> {
  const [taps, inner, outer] = [kh! * kw!, cin!, cout!];
  const out = new Float32Array(data.length);
  for (let tap = 0; tap < taps; tap++) {
    for (let i = 0; i < inner; i++) {
      for (let o = 0; o < outer; o++) out[(o * inner + i) * taps + tap] = data[(tap * inner + i) * outer + o]!;
    }
  }
  return out;
}

function record(jax: Jax, s: OpShape, v: Record<string, Jx>): Jx {
  const { numpy: np, nn, lax } = jax;
  switch (s.op) {
    case "linear":
      return np.matmul(v["x"]!, v["weight"]!).add(v["bias"]!);
    case "conv2d": {
      const pad = s.kernel >> 1;
      return lax
        .convGeneralDilated(
          v["x"]!,
          v["weight"]!,
          [s.stride, s.stride],
          [
            [pad, pad],
            [pad, pad],
          ],
        )
        .add(v["bias"]!.reshape([1, s.out, 1, 1]));
    }
    case "attention": {
      const heads = (x: Jx, rows: number): Jx => x.reshape([1, rows, s.heads, s.head]);
      return nn
        .dotProductAttention(heads(v["q"]!, s.queries), heads(v["k"]!, s.keys), heads(v["v"]!, s.keys))
        .reshape([1, s.queries, s.heads * s.head]);
    }
    case "group-norm": {
      // Over a group's channels and positions at once: the last axis of [groups, channels in a group * positions].
      const normed = nn
        .standardize(v["x"]!.reshape([s.groups, (s.channels / s.groups) * s.size * s.size]), -1, { epsilon: NORM_EPSILON })
        .reshape([1, s.channels, s.size, s.size]);
      return nn.silu(normed.mul(v["gamma"]!.reshape([1, s.channels, 1, 1])).add(v["beta"]!.reshape([1, s.channels, 1, 1])));
    }
    case "layer-norm":
      return nn.standardize(v["x"]!, -1, { epsilon: NORM_EPSILON }).mul(v["gamma"]!).add(v["beta"]!);
    case "geglu": {
      const [value, gate] = np.split(v["x"]!, 2, 1);
      return value.mul(nn.gelu(gate, { approximate: false }));
    }
    case "softmax":
      return nn.softmax(v["x"]!, -1);
  }
}
