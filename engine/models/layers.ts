import { conv2d } from "../../kernels/conv2d.ts";
import type { FusedActivation } from "../../kernels/gemm.ts";
import { groupNorm } from "../../kernels/group-norm.ts";
import type { Shape, Value } from "../../kernels/kernel.ts";
import { layerNorm } from "../../kernels/layer-norm.ts";
import { linear } from "../../kernels/matmul.ts";
import type { Graph } from "../runtime/graph.ts";
import type { Parameters } from "./parameters.ts";

/**
 * The layers every model is made of, recorded on a graph with weights named by the module path of the checkpoint.
 * `fused: false` records epilogues as ops of their own, so that every module's own output can be captured and compared.
 */
export class Layers {
  constructor(readonly g: Graph, readonly parameters: Parameters, readonly fused = true) {}

  /** Records `body` below the module path `name`; the value it returns is captured under that path. */
  at<T>(name: string, body: () => T): T {
    return this.g.scope(name, body);
  }

  private path(name: string): string {
    return name === "" ? this.g.modulePath : [this.g.modulePath, name].filter(Boolean).join(".");
  }

  has(name: string): boolean {
    return this.parameters.has(this.path(name));
  }

  weight(name: string, expected: Shape, layout: "plain" | "linear" | "conv" = "plain"): Value {
    return this.parameters.value(this.g, this.path(name), layout, expected);
  }

  /** x [..., in] to [..., out] with `name.weight` [out, in] and, unless `bias` is false, `name.bias`. */
  linear(name: string, x: Value, out: number, options: { bias?: boolean; activation?: FusedActivation; residual?: Value | undefined } = {}): Value {
    const { bias = true, activation = "none", residual } = options;
    return this.at(name, () =>
      linear(this.g, x, this.weight("weight", [out, x.type.shape.at(-1)!], "linear"), { bias: bias ? this.weight("bias", [out]) : undefined, activation, residual }),
    );
  }

  /** x [B, H, W, in] convolved with `name.weight` [out, in, k, k]; padding defaults to what keeps the size. */
  conv(
    name: string,
    x: Value,
    out: number,
    options: { kernel?: number; stride?: number; padding?: number | readonly [number, number, number, number]; bias?: boolean; activation?: FusedActivation; batchBias?: Value | undefined; residual?: Value | undefined; scale?: number } = {},
  ): Value {
    const { kernel = 3, stride = 1, padding = (kernel - 1) >> 1, bias = true, ...epilogue } = options;
    return this.at(name, () =>
      conv2d(this.g, x, this.weight("weight", [out, x.type.shape[3]!, kernel, kernel], "conv"), { stride, padding, bias: bias ? this.weight("bias", [out]) : undefined, ...epilogue }),
    );
  }

  /** Group norm over x's last dimension, with SiLU after it if asked. */
  groupNorm(name: string, x: Value, options: { groups: number; epsilon: number; silu?: boolean }): Value {
    const channels = x.type.shape.at(-1)!;
    return this.at(name, () => groupNorm(this.g, x, this.weight("weight", [channels]), this.weight("bias", [channels]), options));
  }

  layerNorm(name: string, x: Value, epsilon: number): Value {
    const width = x.type.shape.at(-1)!;
    return this.at(name, () => layerNorm(this.g, x, this.weight("weight", [width]), this.weight("bias", [width]), { epsilon }));
  }
}
