import { defaultForm } from "../../../kernels/attention-form.ts";
import { ATTENTION_CLASSES, type AttentionTable, uniformAttention } from "../../../kernels/attention-table.ts";
import {
  GEMM_CLASSES,
  GEMM_STRUCTURES,
  type GemmStructure,
  type GemmTable,
  type GemmVariant,
  type MathMode,
  uniformTable,
  variantOf,
} from "../../../kernels/gemm-table.ts";
import { defaultStructure } from "../../../kernels/gemm-variants.ts";
import type { Capabilities } from "../../../kernels/kernel.ts";

/**
 * "auto": what was measured on this adapter before; without that, on a GPU it is measured now, and a software adapter takes what is
 * shipped.
 * "tune": measured now, whatever the adapter. "default": what is shipped. A structure: that one for every product.
 */
export type KernelOption = "auto" | "tune" | "default" | GemmStructure;

/** What `kernels` may be. */
export const KERNEL_OPTIONS: readonly KernelOption[] = ["auto", "tune", "default", ...GEMM_STRUCTURES];

/** Which variants a device computes with, and why. */
export interface KernelChoice {
  readonly origin: "shipped" | "measured" | "remembered" | "given";
  readonly table: GemmTable;
  /** The form of attention for each class of pass. */
  readonly attention: AttentionTable;
  /** Rows are reduced through subgroups where the device has them. */
  readonly subgroupRows: boolean;
  /** What was measured, and when (ISO 8601); empty for a choice that was not. */
  readonly measured: string;
  readonly rows: readonly ProbeRow[];
}

/** What was found of one candidate in one class. */
export interface ProbeRow<Class extends string = string, Name extends string = string> {
  readonly class: Class;
  readonly candidate: Name;
  /** The largest error of its checks; null if one did not run. */
  readonly error: number | null;
  /** The fastest run; null if it was not timed. */
  readonly milliseconds: number | null;
  /** Why it cannot be chosen. */
  readonly problem: string | null;
}

/** What is shipped for a device that nothing was measured on. */
export function shippedChoice(capabilities: Capabilities, math: MathMode): KernelChoice {
  return {
    origin: "shipped",
    table: uniformTable(variantOf(defaultStructure(capabilities), math === "f16")),
    attention: uniformAttention(defaultForm(capabilities)),
    subgroupRows: true,
    measured: "",
    rows: [],
  };
}

/** `workgroup-128, but matmul small: register; remembered`, as logs and records have it. */
export function describeChoice({ origin, table, attention, subgroupRows, measured }: KernelChoice): string {
  const counts = new Map<GemmVariant, number>();
  for (const variant of Object.values(table)) counts.set(variant, (counts.get(variant) ?? 0) + 1);
  const [most] = [...counts].toSorted((a, b) => b[1] - a[1])[0]!;
  const others = GEMM_CLASSES.filter((c) => table[c] !== most).map((c) => `${c}: ${table[c]}`);
  const rows = subgroupRows ? [] : ["rows without subgroups"];
  const forms = new Set(Object.values(attention));
  const flash =
    forms.size > 1
      ? ATTENTION_CLASSES.map((c) => `attention ${c}: ${attention[c]}`)
      : forms.has("rows")
        ? []
        : [`attention: ${[...forms][0]}`];
  return `${[most, ...others, ...flash, ...rows].join(", ")} ` +
    `(${origin}${origin === "remembered" ? `, measured ${measured.slice(0, 10)}` : ""})`;
}
