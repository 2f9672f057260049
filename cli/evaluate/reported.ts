import { join } from "node:path";
import { assetsFolder } from "../../engine/platform/model-source-node.ts";
import { readJson } from "../../engine/platform/node-files.ts";
import type { Reported, Source } from "../../engine/run/leaderboard/reported.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";

/** An entry of assets/reported.json: a success rate, or a FID. It is of a method or of one bundled checkpoint. */
interface Entry {
  readonly source: string;
  readonly method?: string;
  readonly checkpoint?: string;
  readonly concept: string;
  readonly model: string;
  /** Of a success rate: the attacker. */
  readonly attacker?: string;
  /** The attacker's settings that must be the same. */
  readonly settings?: Partial<AttackSettings>;
  readonly percent?: number;
  readonly count?: number;
  readonly of?: number;
  readonly fid?: number;
  /** What the FID is of: recipe and layer, as a quality run names them. */
  readonly features?: string;
}

/** What is looked for: a row of an evaluation. */
export interface ReportedKey {
  readonly method: string | undefined;
  readonly checkpoint: string;
  readonly concept: string;
  readonly settings: AttackSettings;
}

/**
 * The published numbers that belong to a row: same method or checkpoint, concept, attacker and settings; a FID is of no attacker. Case,
 * blanks and dashes in names do not count.
 * @throws FormatError
 */
export async function readReported(): Promise<(row: ReportedKey) => Reported[]> {
  const { sources, entries } = (await readJson(join(assetsFolder(), "reported.json"))) as {
    readonly sources: Readonly<Record<string, Source>>;
    readonly entries: readonly Entry[];
  };
  return ({ method, checkpoint, concept, settings }) =>
    entries
      .filter((e) =>
        e.checkpoint === undefined
          ? method !== undefined && same(e.method ?? "", method)
          : e.checkpoint === checkpoint && settings.model === e.model,
      )
      .filter((e) => same(e.concept, concept) && (e.fid !== undefined || e.attacker === settings.attacker))
      .filter((e) => Object.entries(e.settings ?? {}).every(([key, value]) => settings[key as keyof AttackSettings] === value))
      .map((e) => ({
        value: valueOf(e),
        of: `${e.method ?? e.checkpoint}, ${e.model}`,
        source: sources[e.source]!,
        ...(e.features !== undefined && { features: e.features }),
      }));
}

function same(a: string, b: string): boolean {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  return plain(a) === plain(b);
}

function valueOf({ percent, count = 0, of = 1, fid }: Entry): string {
  if (fid !== undefined) return String(fid);
  return percent === undefined ? `${((100 * count) / of).toFixed(1)}% (${count}/${of})` : `${percent}%`;
}
