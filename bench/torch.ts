import { FormatError } from "../engine/formats/errors.ts";
import { type BenchResult, rowMs } from "./results.ts";
import { figures } from "./statistics.ts";
import { formatTable } from "../engine/run/text/format.ts";

/** Milliseconds that PyTorch took for Stable Diffusion 1.4 at latents of 64 x 64, by what was run and at which precision. */
export interface TorchTimes {
  /** The card, as PyTorch names it. */
  readonly device: string;
  readonly version: string;
  /** `b1`, `b2`: a UNet pass of that batch; `iteration`: text encoder, UNet, loss and gradient of the token embeddings. */
  readonly times: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/**
 * Times of a JSON file of the form `{ device, torch, "unet f16 b1": ms, "iteration f16 channels_last": [ms, MB], ... }`: precision and
 * options stand between what was run and its batch. Entries of other names are left alone.
 * @param name of the file, for errors
 * @throws FormatError if it is not such an object, or holds no time
 */
export function parseTorch(name: string, text: string): TorchTimes {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(name, "is not JSON", { cause });
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new FormatError(name, "expected a JSON object of PyTorch's times");
  }
  const times = new Map<string, Map<string, number>>();
  const entries = Object.entries(json as Readonly<Record<string, unknown>>);
  for (const [key, value] of entries) {
    const [, unet, batch, iteration] = /^unet (.+) (b\d+)$|^iteration (.+)$/.exec(key) ?? [];
    const precision = unet ?? iteration;
    if (precision === undefined) continue;
    const ms: unknown = Array.isArray(value) ? value[0] : value;
    if (typeof ms !== "number" || !(ms > 0)) {
      throw new FormatError(name, `"${key}": expected milliseconds above 0, got ${JSON.stringify(value)}`);
    }
    const what = batch ?? "iteration";
    times.set(what, (times.get(what) ?? new Map<string, number>()).set(precision, ms));
  }
  if (times.size === 0) throw new FormatError(name, 'holds no time: expected names such as "unet f16 b1" or "iteration f32"');
  const word = (key: string): string => {
    const value = (json as Readonly<Record<string, unknown>>)[key];
    return typeof value === "string" ? value : "unknown";
  };
  return { device: word("device"), version: word("torch"), times };
}

/** A row of ours beside PyTorch's times for the same work. */
export interface TorchRow {
  readonly name: string;
  readonly milliseconds: number;
  /** By precision. */
  readonly torch: Readonly<Record<string, number>>;
}

/** Rows of a result that PyTorch was timed on too: Stable Diffusion 1.4's UNet forward, and an attack iteration, at latents of 64 x 64. */
export function besideTorch(result: BenchResult, { times }: TorchTimes): TorchRow[] {
  return result.rows.flatMap((row): TorchRow[] => {
    const [, batch] = /^UNet @64 batch (\d+)$/.exec(row.name) ?? [];
    const iteration = row.suite === "attack" && row.name.startsWith("iteration @64 ");
    const forward = batch !== undefined && row.direction === "forward";
    const milliseconds = rowMs(row, result.basis);
    const found = times.get(forward ? `b${batch}` : iteration ? "iteration" : "");
    if (row.engine !== "lethe" || row.model !== "synthetic:sd14" || milliseconds === undefined || !found) return [];
    return [{ name: row.name, milliseconds, torch: Object.fromEntries(found) }];
  });
}

/** The same as a table: our time, and of each precision PyTorch's time and how many times as long it is. */
export function torchText(rows: readonly TorchRow[], { device, version }: TorchTimes): string {
  if (rows.length === 0) return `PyTorch ${version} on ${device}: nothing that was measured here was timed there`;
  const precisions = [...new Set(rows.flatMap((r) => Object.keys(r.torch)))];
  const cell = (row: TorchRow, precision: string): string => {
    const ms = row.torch[precision];
    return ms === undefined ? "" : `${figures(ms)} (${figures(ms / row.milliseconds)}x)`;
  };
  const lines = rows.map((r) => [r.name, figures(r.milliseconds), ...precisions.map((p) => cell(r, p))]);
  return `PyTorch ${version} on ${device}, ms (times as long as ` +
    `ours)\n${formatTable([{ title: "what" }, ...["lethe", ...precisions].map((title) => ({ title, right: true }))], lines)}`;
}
