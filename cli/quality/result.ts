import type { Store } from "../../engine/formats/store.ts";
import { clipInterval } from "../../engine/metrics/clip-score.ts";
import { QUALITY_FILES, type QualityResult } from "../../engine/metrics/quality/kinds.ts";
import { kernelName } from "../../engine/run/leaderboard/quality.ts";
import type { Context } from "../context.ts";
import { type QualityRecord, RESULT_FILE } from "./record.ts";

/** What `quality --json` prints and result.json keeps. */
export function resultJson(record: QualityRecord, result: QualityResult, store: Store): Record<string, unknown> {
  const { network } = record;
  const { distances, clipScore, count, realCount, unreadable } = result;
  const isFid = network?.distanceName === "FID";
  return {
    fid: distances && isFid ? distances.frechet : null,
    fidInterval: distances && isFid ? distances.interval : null,
    // Never called FID: of other features than Inception's.
    ...(distances && !isFid && { frechetDistance: distances.frechet, frechetInterval: distances.interval }),
    kid: distances?.kid?.mean ?? null,
    kidStd: distances?.kid?.std ?? null,
    ...(distances?.kid && { kidSubsets: distances.kid.subsets, kidSize: distances.kid.size }),
    clipScore,
    clipInterval: clipInterval([...result.captionScores.values()]),
    count,
    realCount,
    unreadable,
    recipe: network?.recipe ?? null,
    features: network?.name ?? null,
    reference: distances?.reference ?? null,
    bias: distances?.bias ?? null,
    statistics: network && !record.shard ? store.nameOf(QUALITY_FILES.statistics) : null,
    shard: record.shard,
    plan: record.plan,
    times: result.times,
  };
}

/** Writes result.json and, with CLIP, caption-scores.csv; warns of what the numbers are not. */
export async function writeResult(context: Context, store: Store, json: object, result: QualityResult): Promise<void> {
  for (const warning of result.distances?.warnings ?? []) context.warn(warning);
  await store.write(RESULT_FILE, `${JSON.stringify({ ...json, warnings: result.distances?.warnings ?? [] }, null, 1)}\n`);
  if (result.captionScores.size === 0) return;
  const lines = [...result.captionScores].map(([name, logit]) => `${name},${logit}`);
  await store.write("caption-scores.csv", ["picture,logit", ...lines, ""].join("\n"));
}

/** The scores for people. */
export function resultText(record: QualityRecord, result: QualityResult): string {
  const { network, shard } = record;
  const { distances, clipScore, count, realCount } = result;
  const skipped = result.unreadable > 0 ? `; ${result.unreadable} could not be read and were passed over` : "";
  const of = `${count} pictures${realCount === null ? "" : ` and ${realCount} real ones`}${skipped}`;
  if (shard) return `part ${shard.index} of ${shard.count} is done: ${of}; merge puts the parts together`;
  const rows: string[][] = [];
  if (distances && network) {
    const interval = distances.interval ? `95% interval ${distances.interval.map(digits).join(" to ")}` : "";
    rows.push([network.distanceName, digits(distances.frechet), interval]);
    const { reference, kid } = distances;
    if (reference) rows.push([`  by the reference's code (${reference.branch})`, digits(reference.value), ""]);
    const kernel = kernelName(network.distanceName);
    if (kid) rows.push([kernel, digits(kid.mean), `+- ${digits(kid.std)} over ${kid.subsets} subsets of ${kid.size}`]);
  }
  if (clipScore !== null) rows.push(["CLIP score", digits(clipScore), ""]);
  if (network && !distances) rows.push(["statistics", network.name, "nothing to compare with; another run's --statistics takes the file"]);
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]!.length)));
  const table = rows.map(([a, b, c]) => `${a!.padEnd(widths[0]!)}  ${b!.padStart(widths[1]!)}  ${c}`.trimEnd());
  return [...table, `of ${of}${network ? `; features: ${network.name}` : ""}`, ...timesLine(result)].join("\n");
}

const PARTS = [["draw", "drawing"], ["read", "reading"], ["resize", "resizing"], ["network", "network"], ["clip", "CLIP"]] as const;

/** "time a picture: reading 11 ms, resizing 26 ms, network 310 ms; the scores 4.1 s"; nothing where all was done before. */
function timesLine({ times }: QualityResult): string[] {
  const parts = PARTS.flatMap(([name, what]) => {
    const part = times[name];
    return part ? [`${what} ${rounded(part.ms / part.pictures)} ms`] : [];
  });
  const scores = times.distances ? `; the scores ${rounded(times.distances.ms / 1000)} s` : "";
  return parts.length === 0 ? [] : [`time a picture: ${parts.join(", ")}${scores}`];
}

/** Two digits. */
function rounded(x: number): number {
  return Number(x.toPrecision(2));
}

function digits(x: number): string {
  return Math.abs(x) >= 1000 ? x.toFixed(2) : x.toPrecision(6);
}
