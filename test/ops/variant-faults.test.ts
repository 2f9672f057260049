// What may go wrong on a device, with the variants that a GPU computes with: memory that runs out, a device that is lost, limits.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formsFor } from "../../kernels/attention-form.ts";
import { uniformAttention } from "../../kernels/attention-table.ts";
import { GEMM_STRUCTURES, uniformTable, variantOf } from "../../kernels/gemm-table.ts";
import { whyNot } from "../../kernels/gemm-variants.ts";
import type { Capabilities } from "../../kernels/kernel.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { DeviceLostError, GpuError } from "../../engine/runtime/errors.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import { Program } from "../../engine/runtime/program.ts";
import { SELF_TESTS } from "../../engine/verify/self-test/index.ts";
import { recordSpec } from "../../engine/verify/self-test/op-check.ts";
import { finish } from "../support/device.ts";

const open = (limits: "default" | "adapter" = "adapter"): Promise<Device> =>
  openDevice({ kernels: "default", limits, ...(process.env.LETHE_ADAPTER && { adapter: process.env.LETHE_ADAPTER }) });

/** A spec of the self-test planned as a GPU would. */
function recorded(name: string, other: Partial<Capabilities>): ReturnType<typeof recordSpec> {
  const spec = SELF_TESTS.find((s) => s.name === name)!;
  return recordSpec({ ...spec, build: (g, v) => spec.build(planningFor(g, other), v) });
}

const VARIANTS: readonly (readonly [string, Partial<Capabilities>])[] = [
  ["conv2d 3x3", { gemm: uniformTable("workgroup-32/512") }],
  ["attention", { attention: uniformAttention("tiled-4") }],
];

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(() => assert.unreachable("expected an error"), (e: unknown) => e);

for (const [name, other] of VARIANTS) {
  test(`${name}: memory that runs out is an error of the device's, and the next program works`, async () => {
    const device = await open();
    const { graph, named, host } = recorded(name, other);
    const { gpu } = device;
    const pop = gpu.popErrorScope.bind(gpu);
    let popped = 0;
    // As a driver tells that there was no memory for a buffer made within the scope.
    const none = { message: "no memory left for a buffer" } as GPUError;
    gpu.popErrorScope = async () => ((await pop()), popped++ === 0 ? none : null);
    const error = await rejection(Program.create(device, graph, { outputs: named, label: "big" }));
    assert.instance(error, GpuError);
    assert.match((error as Error).message, /program big.*no memory left/);
    gpu.popErrorScope = pop;
    const program = await Program.create(device, graph, { outputs: named });
    await program.run(host);
    assert.ok(Object.keys(await program.read()).length > 0);
    device.destroy();
  });

  test(`${name}: a device lost between two runs ends the second with an error of its own kind`, async () => {
    const device = await open();
    const { graph, named, host } = recorded(name, other);
    const program = await Program.create(device, graph, { outputs: named });
    await program.run(host);
    await program.read();
    device.gpu.destroy(); // behind the wrapper's back, as a driver would
    await device.lost;
    assert.instance(await rejection(program.run(host).then(() => program.read())), DeviceLostError);
  });
}

test("on the least limits a variant is refused with a reason, or its workgroups keep to them", async () => {
  const device = await open("default");
  const { capabilities, limits } = device;
  let kept = 0;
  for (const structure of GEMM_STRUCTURES) {
    const variant = variantOf(structure, false);
    if (whyNot(variant, capabilities) !== undefined) continue;
    const { graph, named } = recorded("matmul", { gemm: uniformTable(variant) });
    for (const dispatch of dispatchesOf(graph, named, capabilities)) await device.pipelines.get(dispatch); // throws beyond the limits
    kept++;
  }
  for (const form of formsFor(capabilities)) {
    const { graph, named } = recorded("attention", { attention: uniformAttention(form) });
    for (const dispatch of dispatchesOf(graph, named, capabilities)) await device.pipelines.get(dispatch);
    kept++;
  }
  assert.ok(kept >= 8, `${kept} variants`);
  assert.is(limits.maxComputeWorkgroupStorageSize, 16_384);
  assert.match(whyNot("matrix-f16", { ...capabilities, shaderF16: true, subgroupSize: 32 })!, /matrix units/);
  device.destroy();
});

function dispatchesOf(graph: Graph, named: ReturnType<typeof recordSpec>["named"], capabilities: Capabilities) {
  return makeSchedule(graph, Object.values(named), capabilities).steps.flatMap((s) => s.plan.dispatches);
}

finish();
