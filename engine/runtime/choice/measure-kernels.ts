import { formsFor, takesHalf } from "../../../kernels/attention-form.ts";
import { type AttentionForm, uniformAttention } from "../../../kernels/attention-table.ts";
import { GEMM_SIZES, type GemmClass, type GemmVariant, type MathMode, isHalf, uniformTable } from "../../../kernels/gemm-table.ts";
import { variantsFor } from "../../../kernels/gemm-variants.ts";
import type { Device } from "../device.ts";
import { attentionSamples } from "./attention-samples.ts";
import { type Candidate, KernelProbe, type ProbeGroup, winners } from "./kernel-probe.ts";
import { gemmSamples, rowSamples } from "./kernel-samples.ts";
import type { KernelChoice, ProbeRow } from "./kernel-table.ts";
import { planningFor } from "./planning.ts";

/** Results of f16 operands may be this far from those of f32: each is rounded to 11 bits, 2e-4 to 4e-4 in sum. */
const HALF_TOLERANCE = 2e-3;
const FULL_TOLERANCE = 1e-5;

/**
 * The fastest of the variants that a device computes rightly, for each class of products, reductions and attention passes.
 * @param shipped what is kept where no variant of a class can be used
 * @param say told which variants are wrong
 * @throws DeviceLostError
 */
export async function measureKernels(
  device: Device,
  math: MathMode,
  shipped: KernelChoice,
  say: (line: string) => void,
): Promise<KernelChoice> {
  const complain = (row: ProbeRow): void => {
    if (row.problem !== null) say(`kernel variant "${row.candidate}" for ${row.class} ${row.problem}`);
  };
  const plain: Candidate = {
    name: "register",
    plan: (g) => planningFor(g, { gemm: uniformTable("register"), subgroupSize: 0 }),
    tolerance: FULL_TOLERANCE,
  };
  const samples = gemmSamples(device.info.software);
  const products = GEMM_SIZES.map((size): ProbeGroup<GemmClass, GemmVariant> => ({
    classes: samples.filter((c) => c.name.endsWith(size)),
    candidates: variantsFor(device.capabilities, math, size).map((variant) => ({
      name: variant,
      plan: (g) => planningFor(g, { gemm: uniformTable(variant) }),
      tolerance: isHalf(variant) ? HALF_TOLERANCE : FULL_TOLERANCE,
    })),
    plain,
  }));
  const lanes: Candidate<"workgroup" | "subgroup">[] = [
    { ...plain, name: "workgroup" },
    ...(device.capabilities.subgroupSize > 0
      ? [{ name: "subgroup" as const, plan: (g: Parameters<Candidate["plan"]>[0]) => g, tolerance: FULL_TOLERANCE }]
      : []),
  ];
  const reductions = { classes: rowSamples(), candidates: lanes, plain };
  const forms = formsFor(device.capabilities).map((form): Candidate<AttentionForm> => ({
    name: form,
    plan: (g) => planningFor(g, { attention: uniformAttention(form) }),
    tolerance: takesHalf(form) ? HALF_TOLERANCE : FULL_TOLERANCE,
  }));
  const passes = { classes: attentionSamples(device.info.software), candidates: forms, plain: forms[0]! };
  const probe = await KernelProbe.create(device, [...products, reductions, passes]);
  try {
    const productRows: ProbeRow<GemmClass, GemmVariant>[] = [];
    for (const group of products) productRows.push(...(await probe.run(group, complain)));
    const reductionRows = await probe.run(reductions, complain);
    const passRows = await probe.run(passes, complain);
    return {
      origin: "measured",
      table: { ...shipped.table, ...winners(productRows) },
      attention: { ...shipped.attention, ...winners(passRows) },
      subgroupRows: winners(reductionRows).rows === "subgroup",
      measured: new Date().toISOString(),
      rows: [...productRows, ...reductionRows, ...passRows],
    };
  } finally {
    probe.destroy();
  }
}
