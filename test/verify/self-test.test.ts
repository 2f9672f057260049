import { test } from "uvu";
import * as assert from "uvu/assert";
import { KERNELS } from "../../kernels/index.ts";
import { runOpSpec } from "../../engine/verify/self-test/op-check.ts";
import { SELF_TESTS, selfTest } from "../../engine/verify/self-test/index.ts";
import { scale } from "../../kernels/elementwise.ts";
import { finish, testDevice } from "../support/device.ts";

test("the self-test passes and runs every kernel", async () => {
  const rows = await selfTest(await testDevice());
  assert.equal(rows.filter((r) => !r.ok).map((r) => `${r.name}: ${r.note}`), []);
  const covered = new Set(rows.flatMap((r) => r.kernels));
  assert.equal(KERNELS.filter((k) => k.layout !== "view" && !covered.has(k.name)).map((k) => k.name), []);
  assert.is(new Set(SELF_TESTS.map((s) => s.name)).size, SELF_TESTS.length);
});

test("a wrong op is told", async () => {
  const { comparisons } = await runOpSpec(await testDevice(), {
    name: "wrong",
    inputs: { x: { shape: [5] } },
    build: (g, { x }) => scale(g, x!, 2),
    reference: ({ x }) => ({ shape: [5], data: x!.data.map((v) => 2.001 * v) }),
    gradients: ["x"],
  });
  assert.equal(comparisons.map((c) => c.error <= c.tolerance), [false, false]);
});

finish();
