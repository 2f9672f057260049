import { attentionSources, formsFor } from "../../../kernels/attention-form.ts";
import { ATTENTION_CLASSES } from "../../../kernels/attention-table.ts";
import { GEMM_CLASSES, type MathMode, sizeOf } from "../../../kernels/gemm-table.ts";
import { GEMM_SOURCES, variantsFor } from "../../../kernels/gemm-variants.ts";
import type { Capabilities } from "../../../kernels/kernel.ts";
import type { Device } from "../device.ts";
import type { Platform } from "../platform.ts";
import { errorMessage } from "../errors.ts";
import { type KernelChoice, type KernelOption, describeChoice, shippedChoice } from "./kernel-table.ts";

/**
 * Settles which variants a device computes with.
 * @param cache where a choice is remembered
 * @param say told what was measured and what is wrong
 * @throws NoAdapterError if the device lacks what the given structure needs; UsageError if that does not go with the precision;
 * DeviceLostError
 */
export async function chooseKernels(
  device: Device,
  option: KernelOption,
  math: MathMode,
  cache: Pick<Platform, "readCache" | "writeCache">,
  say: (line: string) => void = () => undefined,
): Promise<KernelChoice> {
  const { capabilities } = device;
  const shipped = shippedChoice(capabilities, math);
  if (option === "default") return shipped;
  if (option !== "auto" && option !== "tune") {
    return (await import("./given-kernels.ts")).givenKernels(device, option, math, shipped); // rare
  }
  const key = cacheKey(device, math);
  if (option === "auto") {
    const remembered = parseChoice(await cache.readCache(key), capabilities, math);
    if (remembered) return remembered;
    if (device.info.software) return shipped;
  }
  say(`measuring kernels on ${device.description}, once`);
  const { measureKernels } = await import("./measure-kernels.ts"); // once an adapter
  const choice = await measureKernels(device, math, shipped, say);
  say(`kernels: ${describeChoice(choice)}`);
  try {
    await cache.writeCache(key, JSON.stringify(choice));
  } catch (error) {
    say(`the choice of kernels cannot be kept, and will be measured again: ${errorMessage(error)}`);
  }
  return choice;
}

/** A remembered choice that this version can use on this device; undefined for anything else. */
export function parseChoice(text: string | undefined, capabilities: Capabilities, math: MathMode): KernelChoice | undefined {
  if (text === undefined) return undefined;
  let json: Partial<KernelChoice> | null;
  try {
    json = JSON.parse(text) as Partial<KernelChoice> | null;
  } catch {
    return undefined; // half written or tampered with: it is measured again
  }
  const [table, attention, forms] = [json?.table, json?.attention, formsFor(capabilities)];
  if (
    !json ||
    !table ||
    !attention ||
    typeof json.measured !== "string" ||
    !Array.isArray(json.rows) ||
    typeof json.subgroupRows !== "boolean"
  ) {
    return undefined;
  }
  if (!GEMM_CLASSES.every((c) => variantsFor(capabilities, math, sizeOf(c)).includes(table[c]))) return undefined;
  if (!ATTENTION_CLASSES.every((c) => forms.includes(attention[c]))) return undefined;
  return { origin: "remembered", table, attention, subgroupRows: json.subgroupRows, measured: json.measured, rows: json.rows };
}

/** One name for adapter, driver, precision and the shaders' text: with another of these it is measured again. */
export function cacheKey({ info, features }: Device, math: MathMode): string {
  return `kernels-${math}-${hash(JSON.stringify([info, features, GEMM_SOURCES, attentionSources()]))}`;
}

/** 64 bits of FNV-1a, in two halves with different starts. */
function hash(text: string): string {
  return [0x811c9dc5, 0x9747b28c].map((start) => {
    let h = start;
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    return (h >>> 0).toString(16).padStart(8, "0");
  }).join("");
}
