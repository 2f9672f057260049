import { join } from "node:path";
import { assetsFolder } from "../../engine/platform/model-source-node.ts";
import { readJson } from "../../engine/platform/node-files.ts";
import type { AttackSettings } from "../../engine/run/settings.ts";

/** A number that somebody published, as a row of the leaderboard shows it. */
export interface Reported {
  /** As the source has it: "60%" or "83.3% (10/12)". */
  readonly value: string;
  /** Of what: "ESD, SD 1.4". */
  readonly of: string;
  readonly source: Source;
}

/** Where a number was published, and what it measures. */
export interface Source {
  readonly title: string;
  readonly url: string;
  readonly measures: string;
}

/** An entry of assets/reported.json. It is of a method or of one bundled checkpoint. */
interface Entry {
  readonly source: string;
  readonly method?: string;
  readonly checkpoint?: string;
  readonly concept: string;
  readonly model: string;
  readonly attacker: string;
  /** The attacker's settings that must be the same. */
  readonly settings?: Partial<AttackSettings>;
  readonly percent?: number;
  readonly count?: number;
  readonly of?: number;
}

/** What is looked for: a row of an evaluation. */
export interface ReportedKey {
  readonly method: string | undefined;
  readonly checkpoint: string;
  readonly concept: string;
  readonly settings: AttackSettings;
}

/** The published numbers that belong to a row: same method or checkpoint, concept, attacker and settings. Case, blanks and dashes in names do not count. @throws FormatError */
export async function readReported(): Promise<(row: ReportedKey) => Reported[]> {
  const { sources, entries } = (await readJson(join(assetsFolder(), "reported.json"))) as { readonly sources: Readonly<Record<string, Source>>; readonly entries: readonly Entry[] };
  return ({ method, checkpoint, concept, settings }) =>
    entries
      .filter((e) => (e.checkpoint === undefined ? method !== undefined && same(e.method ?? "", method) : e.checkpoint === checkpoint && settings.model === e.model))
      .filter((e) => same(e.concept, concept) && e.attacker === settings.attacker)
      .filter((e) => Object.entries(e.settings ?? {}).every(([key, value]) => settings[key as keyof AttackSettings] === value))
      .map((e) => ({ value: valueOf(e), of: `${e.method ?? e.checkpoint}, ${e.model}`, source: sources[e.source]! }));
}

function same(a: string, b: string): boolean {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  return plain(a) === plain(b);
}

function valueOf({ percent, count = 0, of = 1 }: Entry): string {
  return percent === undefined ? `${((100 * count) / of).toFixed(1)}% (${count}/${of})` : `${percent}%`;
}

/** The sources of some rows' published numbers, each once; a number's footnote is its source's place here, from 1. */
export function sourcesOf(rows: readonly { readonly reported?: readonly Reported[] }[]): Source[] {
  const byUrl = new Map(rows.flatMap(({ reported = [] }) => reported).map(({ source }) => [source.url, source]));
  return [...byUrl.values()];
}

/** "83.3% (10/12) [1], 60% [2]"; empty if nothing is known. */
export function reportedText(reported: readonly Reported[] | undefined, sources: readonly Source[]): string {
  return (reported ?? []).map(({ value, source }) => `${value} [${sources.findIndex((s) => s.url === source.url) + 1}]`).join(", ");
}
