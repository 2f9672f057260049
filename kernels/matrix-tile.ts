import type { Capabilities, Defines, MatrixConfig, MatrixUnits } from "./kernel.ts";

/** Lanes of a workgroup that computes on matrix units. */
const THREADS = 128;
/** Components of padding after each staged row. */
const PAD = 8;

/** How the subgroups of a workgroup share a tile of a product on matrix units. */
export interface MatrixTile {
  readonly rows: number;
  readonly columns: number;
  /** Of k, staged at a time. */
  readonly step: number;
  /** Of `shaders/lib/gemm-matrix.wgsl`, but for BLOCKS. */
  readonly defines: Defines;
  /** Bytes of workgroup memory, at most. */
  readonly bytes: number;
}

/** The largest configuration that takes operands of this kind; undefined if there is none. */
export function matrixConfig(
  { matrixUnits }: Pick<Capabilities, "matrixUnits">,
  component: MatrixConfig["component"],
): MatrixConfig | undefined {
  const fitting = (matrixUnits?.configs ?? []).filter((c) => c.component === component);
  return fitting.toSorted((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)[0];
}

/**
 * The tile of a workgroup whose subgroups each own `fragments` x `fragments` results, as square as the configuration allows; undefined
 * where the lanes of a subgroup do not divide a workgroup, or no arrangement gives each lane 2, 4 or 8 vec4s of either operand to stage.
 */
export function matrixTile(
  { component, m, n, k }: MatrixConfig,
  { lanes, dialect }: MatrixUnits,
  fragments: 2 | 4,
  step: 32 | 64,
): MatrixTile | undefined {
  if (step % k !== 0 || THREADS % lanes !== 0) return undefined;
  const subgroups = THREADS / lanes;
  const loads = (size: number): number => (size * (step / 4)) / THREADS;
  const arrangements = Array.from({ length: subgroups }, (_, i) => i + 1)
    .filter((down) => subgroups % down === 0)
    .map((down) => ({ down, across: subgroups / down, rows: down * fragments * m, columns: (subgroups / down) * fragments * n }))
    .filter(({ rows, columns }) => [2, 4, 8].includes(loads(rows)) && [2, 4, 8].includes(loads(columns)))
    .toSorted((a, b) => Math.abs(a.rows - a.columns) - Math.abs(b.rows - b.columns));
  const [best] = arrangements;
  if (!best) return undefined;
  const bytesOf = component === "f16" ? 2 : 4;
  const operands = (best.rows + best.columns) * (step + PAD) * bytesOf;
  return {
    rows: best.rows,
    columns: best.columns,
    step,
    bytes: operands + subgroups * m * 2 * n * 4,
    defines: {
      COMPONENT: component,
      M: m,
      N: n,
      K: k,
      LANES: lanes,
      STEP: step,
      FLAGS: dialect.flags,
      MULTIPLY: dialect.multiply,
      FRAGMENTS: fragments,
      PAIRS: fragments / 2,
      SUBGROUP_ROWS: best.down,
      SUBGROUP_COLUMNS: best.across,
      LOADS_A: loads(best.rows),
      LOADS_B: loads(best.columns),
    },
  };
}
