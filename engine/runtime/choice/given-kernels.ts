import { formsFor } from "../../../kernels/attention-form.ts";
import { uniformAttention } from "../../../kernels/attention-table.ts";
import { type GemmStructure, type MathMode, uniformTable, variantOf } from "../../../kernels/gemm-table.ts";
import { onMatrixUnits, whyNot } from "../../../kernels/gemm-variants.ts";
import { matrixConfig } from "../../../kernels/matrix-tile.ts";
import type { Device } from "../device.ts";
import { NoAdapterError, UsageError } from "../errors.ts";
import { matrixName } from "../subgroups/matrix-units.ts";
import type { KernelChoice } from "./kernel-table.ts";

/**
 * One structure, given by its name, for every product; attention on matrix units goes with products on them.
 * @throws NoAdapterError saying what the device lacks for it, and which matrix units were found wrong; UsageError if it does not go with
 * the precision
 */
export function givenKernels(device: Device, structure: GemmStructure, math: MathMode, shipped: KernelChoice): KernelChoice {
  const { capabilities, matrixChecks } = device;
  const onUnits = onMatrixUnits(structure);
  const problems = onUnits ? matrixChecks.filter((c) => c.problem !== null) : [];
  const wrong = problems.map(({ config, problem }) => `; ${matrixName(config)} ${problem}`).join("");
  if (onUnits && math === "f32" && !matrixConfig(capabilities, "f32")) {
    throw new UsageError(`kernels "${structure}" take f16 operands on this device: use --math f16 or auto${wrong}`);
  }
  const variant = variantOf(structure, math === "f16" || (onUnits && math === "auto"));
  const why = whyNot(variant, capabilities);
  if (why !== undefined) throw new NoAdapterError(`kernels "${structure}" on "${device.description}": ${why}${wrong}`);
  const attention = onUnits && formsFor(capabilities).includes("matrix") ? uniformAttention("matrix") : shipped.attention;
  return { ...shipped, origin: "given", table: uniformTable(variant), attention };
}
