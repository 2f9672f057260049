import type { MatrixConfig, MatrixUnits } from "../../../kernels/kernel.ts";
import { matrixCheckKernel, operandCount } from "../../../kernels/matrix-check.ts";
import { MATRIX_DIALECTS, type MatrixDialect } from "../../../kernels/matrix-dialect.ts";
import { softmax } from "../../../kernels/softmax.ts";
import type { Device } from "../device.ts";
import { DeviceLostError, ShaderCompileError, errorMessage } from "../errors.ts";
import { Graph } from "../graph.ts";
import { type MatrixCheck, SIZE_CONTROL, matrixName } from "./matrix-units.ts";
import { makeSchedule } from "../plan/schedule.ts";
import { Program } from "../program.ts";
import { relativeError } from "../relative-error.ts";

/** Sizes of subgroups that are asked for where a device has several: 32 most have, 16 are an Intel matrix unit's. */
const SIZES = [32, 16, 64, 8, 4] as const;

/**
 * Settles how many lanes subgroups have, where shaders may state that or there is one size, and which matrix units are used: those whose
 * numbers are right in one of the sizes. @param say told what is wrong @throws DeviceLostError
 */
export async function settleSubgroups(device: Device, say: (line: string) => void = () => undefined): Promise<void> {
  const { info: { subgroupMinSize: least, subgroupMaxSize: most, matrices }, features, capabilities: { subgroupSize, shaderF16 } } = device;
  const several = features.includes(SIZE_CONTROL) ? SIZES.filter((size) => size >= least && size <= most) : [];
  const sizes = subgroupSize > 0 ? [subgroupSize] : several;
  const configs = matrices.filter((c) => c.component !== "f16" || shaderF16);
  const { units, checks } = await findMatrixUnits(configs, sizes, (f) => features.includes(f), productOn(device));
  device.useSubgroups(units?.lanes ?? (subgroupSize || (await firstSize(device, sizes))));
  if (units) device.useMatrixUnits(units);
  device.matrixChecks = checks;
  for (const { config, problem } of checks) {
    if (problem !== null) say(`matrix units of "${device.description}": ${matrixName(config)} ${problem}; not used`);
  }
}

/** Relative L2 of sums of a few f32 products whose operands are exact; sums in f16 are off by 1e-4 to 1e-3. */
const TOLERANCE = 1e-5;

/** The error of one configuration's products in one dialect. @throws ShaderCompileError if it does not compile; whatever a run throws */
export type MatrixProduct = (config: MatrixConfig, lanes: number, dialect: MatrixDialect) => Promise<number>;

export interface FoundUnits {
  /** Undefined: none that can be used. */
  readonly units: MatrixUnits | undefined;
  readonly checks: readonly MatrixCheck[];
}

/**
 * The matrix units that shaders can use: in the first dialect that compiles, at the first size of subgroups with which a configuration's
 * numbers are right, those configurations that are right.
 * @param configs what the adapter offers, and the device has features for
 * @param sizes of subgroups that shaders may have here, the preferred first
 * @param has whether the device has a feature
 * @throws DeviceLostError
 */
export async function findMatrixUnits(
  configs: readonly MatrixConfig[],
  sizes: readonly number[],
  has: (feature: string) => boolean,
  product: MatrixProduct,
): Promise<FoundUnits> {
  let found: FoundUnits = { units: undefined, checks: [] };
  for (const lanes of sizes) {
    for (const dialect of MATRIX_DIALECTS.filter((d) => has(d.feature))) {
      const checks: MatrixCheck[] = [];
      for (const config of configs) checks.push(await check(config, lanes, dialect, product));
      const right = checks.filter((c) => c.problem === null).map((c) => c.config);
      if (right.length > 0) return { units: { configs: right, lanes, dialect }, checks };
      // What ran and is wrong says more than what did not compile, and is as wrong in another dialect.
      const ran = checks.some((c) => c.ran);
      if (found.checks.every((c) => !c.ran) && (ran || found.checks.length === 0)) found = { units: undefined, checks };
      if (ran) break;
    }
  }
  return found;
}

async function check(config: MatrixConfig, lanes: number, dialect: MatrixDialect, product: MatrixProduct): Promise<MatrixCheck> {
  try {
    const error = await product(config, lanes, dialect);
    const problem = error <= TOLERANCE ? null : `is wrong: its products are off by ${error.toExponential(1)}, allowed are ${TOLERANCE}`;
    return { config, ran: true, error: Number.isFinite(error) ? error : null, problem };
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
    const [line = ""] = errorMessage(error).split("\n");
    return { config, ran: false, error: null, problem: `${error instanceof ShaderCompileError ? "does not compile" : "fails"}: ${line}` };
  }
}

/** The first of these sizes with which the device compiles a shader with subgroups; 0 if it is none. @throws DeviceLostError */
async function firstSize(device: Device, sizes: readonly number[]): Promise<number> {
  for (const lanes of sizes) {
    device.useSubgroups(lanes);
    const g = new Graph();
    const { steps } = makeSchedule(g, [softmax(g, g.input("x", { shape: [64, 256], dtype: "f32" }))], device.capabilities);
    const compiled = await Promise.allSettled(steps.flatMap((s) => s.plan.dispatches).map((d) => device.pipelines.get(d)));
    await forgotten(device);
    if (compiled.every((c) => c.status === "fulfilled")) return lanes;
  }
  return 0;
}

/** Takes what the device has to say of what failed: Dawn reports an invalid module once more, to whoever asks next. */
async function forgotten(device: Device): Promise<void> {
  await device.settle().catch((said: unknown) => {
    if (said instanceof DeviceLostError) throw said;
  });
}

/** Products of a configuration on the device, compared with float64. What the device says of a failure is taken with it. */
function productOn(device: Device): MatrixProduct {
  return async (config, lanes, dialect) => {
    device.useSubgroups(lanes);
    const x = exactNumbers(operandCount(config), config.component);
    const g = new Graph();
    const input = g.input("x", { shape: [x.length], dtype: "f32" });
    try {
      const program = await Program.create(device, g, {
        outputs: { y: g.apply(matrixCheckKernel(config, lanes, dialect), { x: input }, {}).y },
        label: "matrix check",
        poison: true,
      });
      try {
        await program.run({ x });
        return relativeError((await program.read("y"))["y"]!, expected(x, config, 128 / lanes));
      } finally {
        program.destroy();
      }
    } catch (error) {
      await forgotten(device);
      throw error;
    }
  };
}

/** Numbers from -1 to 1 that the component holds exactly: 11 bits of them, or 24. Always the same. */
function exactNumbers(count: number, component: MatrixConfig["component"]): Float32Array<ArrayBuffer> {
  const steps = component === "f16" ? 2 ** 10 : 2 ** 23;
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (Math.floor((state / 2 ** 32) * 2 * steps) - steps) / steps;
  });
}

/** a b + c d in float64, once for each subgroup. */
function expected(x: Float32Array, { m, n, k }: MatrixConfig, subgroups: number): Float64Array {
  const [b, d] = [2 * m * k, 2 * m * k + k * n];
  const sums = Float64Array.from({ length: m * n }, (_, e) => {
    const [row, column] = [Math.floor(e / n), e % n];
    let sum = 0;
    for (let i = 0; i < k; i++) {
      sum += x[row * k + i]! * x[b + i * n + column]! + x[(m + row) * k + i]! * x[d + column * k + i]!;
    }
    return sum;
  });
  return Float64Array.from({ length: subgroups * m * n }, (_, i) => sums[i % (m * n)]!);
}
