import { InputError } from "../engine/runtime/errors.ts";
import type { Peak, Rates } from "./rates.ts";
import type { Timing } from "./statistics.ts";

/** What a result file holds. `format` and `version` change when the meaning of a field does. */
export interface BenchResult {
  readonly format: "lethe-bench";
  readonly version: 1;
  readonly stamp: Stamp;
  /** How times of this file turn into rates: see `Basis`. */
  readonly basis: { readonly kind: "wall" | "cpu"; readonly cores?: number };
  readonly peak: Peak;
  readonly peers: readonly PeerStatus[];
  readonly rows: readonly BenchRow[];
}

/** Where, when and of what the numbers are. */
export interface Stamp {
  /** ISO 8601, UTC. */
  readonly date: string;
  /** Of the checkout, with "+" if files were changed; null outside one. */
  readonly commit: string | null;
  readonly adapter: {
    readonly description: string;
    readonly driver: string;
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly software: boolean;
    readonly subgroupSize: number;
    readonly features: readonly string[];
  };
  readonly versions: { readonly lethe: string; readonly node: string; readonly webgpu: string };
  readonly machine: {
    readonly platform: string;
    readonly arch: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    /** One-minute load average when the run began. */ readonly load: number;
  };
  readonly options: Readonly<Record<string, string | number | boolean | readonly string[] | null>>;
}

export interface PeerStatus {
  readonly name: string;
  /** null: not installed. */
  readonly version: string | null;
  /** Whether it runs on the same WebGPU adapter. */
  readonly webgpu: boolean;
  /** Whether it was asked for gradients. */
  readonly gradients: boolean;
  /** Why it did not take part; null if it did. */
  readonly absent: string | null;
}

export type Direction = "forward" | "forward+gradient";

/** Where a row stands on a curve of growing cost. */
export interface Growth {
  /** What is measured, the same all along the curve. */
  readonly curve: string;
  readonly by: "latent size" | "batch" | "tokens k" | "vocabulary";
  readonly at: number;
  /** The most device memory held besides weights. */
  readonly bytes: number;
  /** The most that the ops' shapes need at once however well it is packed: inputs, state, results, and what lives between two ops. */
  readonly arithmeticBytes: number;
  /** From the graph alone: nothing was allocated or run, and there is no time. */
  readonly estimated: boolean;
}

/** One thing measured, by one engine. */
export interface BenchRow {
  readonly suite: string;
  readonly model: string;
  readonly name: string;
  readonly direction: Direction;
  /** "lethe" or a peer's name. */
  readonly engine: string;
  /** Why there are no numbers, or undefined. */
  readonly error?: string;
  readonly note?: string;
  /** The engine's result differs from ours by this much (relative L2), so it did other work and its time is not a bar to beat. */
  readonly wrong?: number;
  readonly flops: number;
  readonly bytes: number;
  readonly wall?: Timing;
  readonly cpu?: Timing;
  /** Runs in each sample. */
  readonly batch?: number;
  readonly rates?: Rates;
  /**
   * From the start of making the program to the end of its first run: planning, compiling (as far as the pipelines are new to this process
   * and to the driver's disk cache) and running.
   */
  readonly firstRunMs?: number;
  /** Pipelines that this row was the first of the process to need. */
  readonly newPipelines?: number;
  readonly pipelines?: number;
  readonly dispatches?: number;
  /** Most device memory held for this row, weights and inputs included. */
  readonly peakBytes?: number;
  readonly growth?: Growth;
}

/** What makes two rows of two files the same measurement. */
export function rowKey(r: Pick<BenchRow, "suite" | "model" | "name" | "direction" | "engine">): string {
  return [r.suite, r.model, r.name, r.direction, r.engine].join(" | ");
}

/** Milliseconds of a row by its file's basis; undefined for a row without numbers. */
export function rowMs(row: BenchRow, basis: BenchResult["basis"]): number | undefined {
  if (!row.wall || !row.cpu) return undefined;
  return basis.kind === "wall" ? row.wall.median : row.cpu.median / (basis.cores ?? 1);
}

/** Parses and checks a result file. @throws InputError saying what is wrong with it */
export function parseResult(file: string, text: string): BenchResult {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${file}: no JSON: ${(cause as Error).message}`, { cause });
  }
  const problem = resultProblem(json);
  if (problem !== undefined) throw new InputError(`${file}: not a result of "lethe bench": ${problem}`);
  return json as BenchResult;
}

/**
 * Rows of several results as one, under the first one's stamp and peers; of a row that several have, the last one's.
 * @throws InputError for results of different adapters or kinds of time
 */
export function mergeResults(results: readonly BenchResult[], files: readonly string[]): BenchResult {
  const [first, ...others] = results as [BenchResult, ...BenchResult[]];
  others.forEach((other, i) => {
    for (const [what, a, b] of [
      ["adapter", first.stamp.adapter.description, other.stamp.adapter.description],
      ["kind of time", first.basis.kind, other.basis.kind],
    ] as const) {
      if (a !== b) {
        throw new InputError(`${files[i + 1]}: its ${what} is "${b}", that of ${files[0]} is "${a}": they cannot be drawn together`);
      }
    }
  });
  const rows = new Map(results.flatMap((r) => r.rows).map((row) => [rowKey(row), row]));
  return { ...first, peers: results.find((r) => r.peers.length > 0)?.peers ?? [], rows: [...rows.values()] };
}

/** What is wrong with a result, in words; undefined if nothing. */
export function resultProblem(json: unknown): string | undefined {
  if (!isObject(json) || json["format"] !== "lethe-bench") return `"format" is not "lethe-bench"`;
  if (json["version"] !== 1) return `version ${String(json["version"])} is not 1`;
  const { stamp, basis, peak, peers, rows } = json;
  if (!isObject(stamp) || typeof stamp["date"] !== "string" || Number.isNaN(Date.parse(stamp["date"]))) return `"stamp.date" is not a date`;
  if (!isObject(stamp["adapter"]) || typeof stamp["adapter"]["description"] !== "string") {
    return `"stamp.adapter" does not say which adapter`;
  }
  for (const key of ["versions", "machine", "options"]) if (!isObject(stamp[key])) return `"stamp.${key}" is missing`;
  if (!isObject(basis) || (basis["kind"] !== "wall" && !(basis["kind"] === "cpu" && positive(basis["cores"])))) {
    return `"basis" is neither wall nor cpu with a count of cores`;
  }
  if (!isObject(peak) || !positive(peak["gflops"]) || !positive(peak["gbps"])) return `"peak" needs gflops and gbps`;
  if (!Array.isArray(peers)) return `"peers" is not a list`;
  if (!Array.isArray(rows)) return `"rows" is not a list`;
  const seen = new Set<string>();
  for (const [i, row] of rows.entries()) {
    const where = `row ${i}`;
    if (!isObject(row)) return `${where} is not an object`;
    for (const key of ["suite", "model", "name", "direction", "engine"]) {
      if (typeof row[key] !== "string") return `${where}: "${key}" is not text`;
    }
    if (typeof row["error"] === "string") continue;
    const growth = row["growth"];
    if (growth !== undefined) {
      if (
        !isObject(growth) ||
        typeof growth["curve"] !== "string" ||
        typeof growth["by"] !== "string" ||
        !positive(growth["at"]) ||
        !positive(growth["bytes"]) ||
        !positive(growth["arithmeticBytes"])
      ) {
        return `${where} (${String(row["name"])}): "growth" is not a point of a curve`;
      }
      if (growth["estimated"] === true) continue;
    }
    for (const key of ["wall", "cpu"]) {
      const t = row[key];
      if (
        !isObject(t) ||
        !(key === "wall" ? positive : notNegative)(t["median"]) ||
        !notNegative(t["min"]) ||
        typeof t["spread"] !== "number" ||
        !positive(t["samples"])
      ) {
        return `${where} (${String(row["name"])}): "${key}" is not a timing`;
      }
    }
    const key = rowKey(row as unknown as BenchRow);
    if (seen.has(key)) return `${where} repeats ${key}`;
    seen.add(key);
  }
  return undefined;
}

function isObject(x: unknown): x is Record<string, unknown> {
  return typeof x === "object" && x !== null && !Array.isArray(x);
}

function positive(x: unknown): boolean {
  return typeof x === "number" && Number.isFinite(x) && x > 0;
}

// A GPU's run may take less CPU time than the clock of it can tell.
function notNegative(x: unknown): boolean {
  return typeof x === "number" && Number.isFinite(x) && x >= 0;
}
