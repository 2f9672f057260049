import { test } from "uvu";
import * as assert from "uvu/assert";
import { profileTable } from "../../cli/tools/profile-table.ts";

const KERNELS = [
  { kernel: "matmul", count: 2, milliseconds: 4, flops: 80e6, bytes: 4e6 },
  { kernel: "copy", count: 1, milliseconds: 1, flops: 0, bytes: 5e6 },
];
const cells = (line: string): string[] => line.trim().split(/ +/);

test("shares are of all kernels' time, rates of each one's own", () => {
  const [, matmul, copy] = profileTable(KERNELS).split("\n").map(cells);
  assert.equal(matmul, ["matmul", "2", "4.00", "80.0%", "20.0", "1.0"]);
  assert.equal(copy, ["copy", "1", "1.00", "20.0%", "-", "5.0"]);
});

test("with the adapter's peaks a kernel stands beside what bounds it: operations or bytes", () => {
  const [head, matmul, copy] = profileTable(KERNELS, { gflops: 40, gbps: 10 }).split("\n").map(cells);
  assert.equal(head!.slice(-2), ["of", "roof"]);
  assert.is(matmul!.at(-1), "50.0%"); // 20 of 40 GFLOP/s; 1 of 10 GB/s
  assert.is(copy!.at(-1), "50.0%"); // 5 of 10 GB/s
});

test.run();
