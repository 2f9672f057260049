import checkWgsl from "../shaders/matrix-check.wgsl";
import { type Kernel, type MatrixConfig, f32 } from "./kernel.ts";
import type { MatrixDialect } from "./matrix-dialect.ts";

/** Lanes of the one workgroup. */
const THREADS = 128;

/** Numbers of `x`: two operands of M x K, two of K x N. */
export function operandCount({ m, n, k }: MatrixConfig): number {
  return 2 * k * (m + n);
}

/**
 * a b + c d on matrix units, by each subgroup of a workgroup: to see whether a dialect compiles and a configuration is right. No op of a
 * graph's: it is run when a device is opened.
 * x f32 [2 k (m + n)]: a [m, k], c [m, k], b [k, n], and d column by column, [n, k]; y f32 [subgroups, m, n].
 */
export function matrixCheckKernel(config: MatrixConfig, lanes: number, dialect: MatrixDialect): Kernel<Record<string, never>, "x"> {
  const { component, m, n, k } = config;
  return {
    name: "matrix-check",
    inputs: { x: {} },
    infer: () => ({ y: f32([THREADS / lanes, m, n]) }),
    plan: () => ({
      dispatches: [
        {
          shader: { name: "matrix-check", text: checkWgsl },
          defines: {
            FLAGS: dialect.flags, EXTENSION: dialect.extension, MULTIPLY: dialect.multiply,
            COMPONENT: component, HALF: component === "f16", M: m, N: n, K: k, LANES: lanes,
          },
          params: {},
          workgroups: [1, 1, 1],
        },
      ],
    }),
  };
}
