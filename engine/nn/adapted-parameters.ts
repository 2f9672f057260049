import type { TensorType, Value } from "../../kernels/kernel.ts";
import type { Graph } from "../runtime/graph.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { LowRankLeaves } from "./layers.ts";
import { Parameters } from "./parameters.ts";
import { ParametersVariant } from "./parameters-variant.ts";

/** Low-rank additions to linear layers. */
export interface Adapter {
  /** The additions' own weights; its source makes them up. */
  readonly parameters: Parameters;
  /** A layer's two weights, down [rank, in] and up [out, rank], by its module path; undefined for a layer that has none. */
  readonly namesOf: (module: string) => { readonly down: string; readonly up: string } | undefined;
  readonly rank: number;
  /** What up * down is multiplied by. */
  readonly scale: number;
}

/** A component's weights, all of them the base's, with a low-rank addition to some linear layers (LoRA, arXiv 2106.09685). */
export class AdaptedParameters extends ParametersVariant {
  constructor(base: Parameters, private readonly adapter: Adapter) {
    const adapted = (tensor: string): boolean => adapter.namesOf(tensor.replace(/\.weight$/, "")) !== undefined;
    super(base, () => false, base.source, adapted);
  }

  lowRank(module: string): LowRankLeaves | undefined {
    const { parameters, namesOf, rank, scale } = this.adapter;
    const names = namesOf(module);
    return names && {
      rank, scale,
      down: (g: Graph, width: number): Value => parameters.value(g, names.down, "linear", [rank, width]),
      up: (g: Graph, out: number): Value => parameters.value(g, names.up, "linear", [out, rank]),
    };
  }

  override owns(name: string): boolean {
    return this.adapter.parameters.owns(name) || super.owns(name);
  }

  override missingBytes(leaves: Iterable<string>): number {
    const all = [...leaves];
    return this.adapter.parameters.missingBytes(all) + super.missingBytes(all);
  }

  override async load(leaves?: Iterable<string>, onProgress?: (loadedBytes: number) => void): Promise<void> {
    const all = leaves && [...leaves];
    await this.adapter.parameters.load(all, onProgress);
    await super.load(all, onProgress);
  }

  override tensor(name: string, type: TensorType): Tensor {
    return this.adapter.parameters.owns(name) ? this.adapter.parameters.tensor(name, type) : super.tensor(name, type);
  }

  override destroy(): void {
    this.adapter.parameters.destroy();
    super.destroy();
  }
}
