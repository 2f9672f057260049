import { activation as activate } from "../../kernels/activation.ts";
import { broadcastAdd } from "../../kernels/broadcast.ts";
import { splitColumns } from "../../kernels/columns.ts";
import { conv2d } from "../../kernels/conv2d.ts";
import { add, scale as scaled } from "../../kernels/elementwise.ts";
import type { FusedActivation } from "../../kernels/gemm.ts";
import { geglu } from "../../kernels/geglu.ts";
import { groupNorm } from "../../kernels/group-norm.ts";
import { type Shape, ShapeError, type Value, elementCount } from "../../kernels/kernel.ts";
import { layerNorm } from "../../kernels/layer-norm.ts";
import { matmulGeglu } from "../../kernels/matmul-geglu.ts";
import { linear } from "../../kernels/matmul.ts";
import type { Graph } from "../runtime/graph.ts";
import type { WeightLayout } from "./weight-layout.ts";

/** Where layers get the leaves of their weights: a component's Parameters, or something that only notes what is asked for. */
export interface WeightLeaves {
  /** The largest tensor that the device binds. */
  readonly maxTensorBytes: number;
  has(tensor: string): boolean;
  /** Whether two linear weights may be multiplied as one. Absent: all may. */
  together?(a: string, b: string): boolean;
  /** What is added to a linear layer's result, by its module path. */
  lowRank?(module: string): LowRankLeaves | undefined;
  /** Shape as the checkpoint stores it. */
  storedShape(tensor: string): Shape;
  value(g: Graph, tensor: string, layout: WeightLayout, expected: Shape): Value;
  /** Several linear weights or ("plain") biases as one, their outputs side by side. */
  joined(g: Graph, parts: readonly (readonly [tensor: string, expected: Shape])[], layout: "linear" | "plain"): Value;
  /** A linear weight or ("plain") bias of values and their gates, in the order of matmulGeglu. */
  gated(g: Graph, tensor: string, layout: "linear" | "plain", expected: Shape): Value;
  /** A table of rows, in blocks where it is larger than one binding. */
  table(g: Graph, tensor: string, expected: readonly [number, number]): readonly [Value, ...Value[]];
}

/** A low-rank addition to a linear layer: scale * up(down(x)). */
export interface LowRankLeaves {
  readonly rank: number;
  readonly scale: number;
  down(g: Graph, width: number): Value;
  up(g: Graph, out: number): Value;
}

/** A linear layer by its module path and sizes. */
export interface LinearModule {
  readonly name: string;
  readonly in: number;
  readonly out: number;
}

/** The layers' own outputs in that of their group. */
export function splitGroup(g: Graph, product: Value, modules: readonly LinearModule[]): Value[] {
  return modules.length === 1 ? [product] : splitColumns(g, product, modules.map((m) => m.out));
}

/** What the fused kernels do to a product: (activation(x w + bias + batchBias) + residual) * scale. */
interface Epilogue {
  readonly activation?: FusedActivation;
  readonly batchBias?: Value | undefined;
  readonly residual?: Value | undefined;
  readonly scale?: number;
}

/**
 * The layers every model is made of, recorded on a graph with weights named by the module path of the checkpoint.
 * `fused: false` records epilogues as ops of their own and layers one by one, so that every module's own output can be captured and
 * compared.
 */
export class Layers {
  /** Told of the queries and keys [B, T, heads * d] of each cross attention, under its module path. */
  onCrossAttention: ((path: string, queries: Value, keys: Value, heads: number) => void) | undefined;

  constructor(readonly g: Graph, readonly parameters: WeightLeaves, readonly fused = true) {}

  /** Records `body` below the module path `name`; the value it returns is captured under that path. */
  at<T>(name: string, body: () => T): T {
    return this.g.scope(name, body);
  }

  /** The module path of `name` below what is being recorded. */
  path(name: string): string {
    return name === "" ? this.g.modulePath : [this.g.modulePath, name].filter(Boolean).join(".");
  }

  /** Whether the model has a tensor of this name, below the module that is being recorded. */
  has(name: string): boolean {
    return this.parameters.has(this.path(name));
  }

  /** The leaf of a weight below the module that is being recorded. @throws InputError as `Parameters.value` */
  weight(name: string, expected: Shape, layout: "plain" | "linear" | "conv" = "plain"): Value {
    return this.parameters.value(this.g, this.path(name), layout, expected);
  }

  /** x [..., in] to [..., out] with `name.weight` [out, in] and, unless `bias` is false, `name.bias`. */
  linear(
    name: string,
    x: Value,
    out: number,
    options: { bias?: boolean; activation?: FusedActivation; residual?: Value | undefined } = {},
  ): Value {
    const { bias = true, ...given } = options;
    const epilogue = { ...given, residual: this.withLowRank(name, x, out, given) };
    return this.epilogue(epilogue, (fused) =>
      this.at(name, () =>
        linear(this.g, x, this.weight("weight", [out, x.type.shape.at(-1)!], "linear"), {
          bias: bias ? this.weight("bias", [out]) : undefined,
          ...fused,
        }),
      ),
    );
  }

  /** The residual of a linear layer with its low-rank addition, if it has one. @throws ShapeError for a layer with an activation */
  private withLowRank(name: string, x: Value, out: number, { activation = "none", residual }: Epilogue): Value | undefined {
    const added = this.parameters.lowRank?.(this.path(name));
    if (!added) return residual;
    if (activation !== "none") throw new ShapeError("linear", `${this.path(name)} has an activation; nothing can be added before it`);
    return this.at(name, () => {
      const inner = linear(this.g, x, added.down(this.g, x.type.shape.at(-1)!), { scale: added.scale });
      return linear(this.g, inner, added.up(this.g, out), { residual });
    });
  }

  /** GEGLU: x [.., in] through the linear layer `name` to n values and n gates, and value * gelu(gate) -> [.., n]. */
  geglu(name: string, x: Value, n: number): Value {
    const width = x.type.shape.at(-1)!;
    if (!this.fused || width % 4 !== 0 || n % 2 !== 0) return geglu(this.g, this.linear(name, x, 2 * n));
    const part = (tensor: string, layout: "linear" | "plain", shape: Shape): Value =>
      this.parameters.gated(this.g, this.path(tensor), layout, shape);
    return this.at(name, () => matmulGeglu(this.g, x, part("weight", "linear", [2 * n, width]), part("bias", "plain", [2 * n])));
  }

  /**
   * These linear layers of one input in groups, each of which one product computes: as many together as a device binds their weights and
   * their outputs for `rows` rows of x. Without fusion each by itself.
   */
  groups(modules: readonly LinearModule[], rows: number): LinearModule[][] {
    const groups: LinearModule[][] = [];
    let left = 0;
    for (const module of modules) {
      const bytes = module.out * Math.max(module.in, rows) * 4;
      const last = groups.at(-1)?.at(-1);
      const apart = last !== undefined && this.parameters.together?.(this.tensor(last), this.tensor(module)) === false;
      if (!this.fused || apart || bytes > left) {
        groups.push([]);
        left = this.parameters.maxTensorBytes;
      }
      groups.at(-1)!.push(module);
      left -= bytes;
    }
    return groups;
  }

  private tensor({ name }: LinearModule): string {
    return `${this.path(name)}.weight`;
  }

  /** A group's layers as one product: x [..., in] to [..., sum of their outputs]. */
  group(x: Value, modules: readonly LinearModule[], options: { bias: boolean }): Value {
    const [first, ...rest] = modules as readonly [LinearModule, ...LinearModule[]];
    if (rest.length === 0) return this.linear(first.name, x, first.out, options);
    const weight = this.parameters.joined(
      this.g,
      modules.map((m) => [this.tensor(m), [m.out, m.in]]),
      "linear",
    );
    const bias = options.bias
      ? this.parameters.joined(
          this.g,
          modules.map((m) => [`${this.path(m.name)}.bias`, [m.out]]),
          "plain",
        )
      : undefined;
    return this.at(`${first.name} and ${rest.length} more`, () => linear(this.g, x, weight, { bias }));
  }

  /**
   * Linear layers of one input x [..., in] in as few products as can be: [..., out] each, which may be columns of a wider tensor
   * (`Layout`).
   */
  linears(x: Value, modules: readonly LinearModule[], options: { bias: boolean }): Value[] {
    const rows = elementCount(x.type.shape.slice(0, -1));
    return this.groups(modules, rows).flatMap((group) => splitGroup(this.g, this.group(x, group, options), group));
  }

  /**
   * x [B, H, W, in] convolved with `name.weight` [out, in, kernelHeight, kernelWidth]; padding (of all sides, or top, bottom, left, right)
   * defaults to what keeps the size of an odd kernel's input.
   */
  conv(
    name: string,
    x: Value,
    out: number,
    options: {
      kernel?: number | readonly [height: number, width: number];
      stride?: number;
      padding?: number | readonly [number, number, number, number];
      bias?: boolean;
      activation?: FusedActivation;
      batchBias?: Value | undefined;
      residual?: Value | undefined;
      scale?: number;
    } = {},
  ): Value {
    const { kernel = 3, stride = 1, bias = true, ...rest } = options;
    const [height, width] = typeof kernel === "number" ? [kernel, kernel] : kernel;
    const [above, beside] = [(height - 1) >> 1, (width - 1) >> 1];
    const { padding = [above, above, beside, beside], ...epilogue } = rest;
    return this.epilogue(epilogue, (fused) =>
      this.at(name, () =>
        conv2d(this.g, x, this.weight("weight", [out, x.type.shape[3]!, height, width], "conv"), {
          stride,
          padding,
          bias: bias ? this.weight("bias", [out]) : undefined,
          ...fused,
        }),
      ),
    );
  }

  /** A layer with its epilogue fused in, or with the epilogue's steps as ops of their own after it, outside its module path. */
  private epilogue(epilogue: Epilogue, layer: (fused: Epilogue) => Value): Value {
    if (this.fused) return layer(epilogue);
    const { activation = "none", batchBias, residual, scale = 1 } = epilogue;
    let y = layer({});
    if (batchBias) y = broadcastAdd(this.g, y, batchBias, "middle");
    if (activation !== "none") y = activate(this.g, y, activation);
    if (residual) y = add(this.g, y, residual);
    return scale === 1 ? y : scaled(this.g, y, scale);
  }

  /** Group norm over x's last dimension, with SiLU after it if asked. */
  groupNorm(name: string, x: Value, options: { groups: number; epsilon: number; silu?: boolean }): Value {
    const channels = x.type.shape.at(-1)!;
    const { silu = false, ...norm } = options;
    const y = this.at(name, () =>
      groupNorm(this.g, x, this.weight("weight", [channels]), this.weight("bias", [channels]), { ...norm, silu: silu && this.fused }),
    );
    return silu && !this.fused ? activate(this.g, y, "silu") : y;
  }

  /** Over the last dimension, with `name.weight` and `name.bias` [C]. @throws InputError as `Parameters.value` */
  layerNorm(name: string, x: Value, epsilon: number): Value {
    const width = x.type.shape.at(-1)!;
    return this.at(name, () => layerNorm(this.g, x, this.weight("weight", [width]), this.weight("bias", [width]), { epsilon }));
  }
}
