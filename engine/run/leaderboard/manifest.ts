import type { AttackerName } from "../../attack/attackers.ts";
import type { FileRecord, RunRecord } from "../record.ts";
import type { QualityEntry } from "./quality.ts";
import type { Reported } from "./reported.ts";

/** Part `index` (from 1) of `count`: the attempts whose number in the grid leaves the remainder index - 1. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** A cell as evaluation.json lists it. */
export interface CellEntry {
  readonly id: string;
  readonly checkpoint: string;
  readonly attacker: string;
  /** What the attacker of that name does. */
  readonly kind: AttackerName;
  readonly concept: string;
  readonly label: string;
  /** What the judge calls a success. */
  readonly rule: string;
  /** Found prompts are left out of what is shared: see `redact.ts`. */
  readonly harmful?: boolean;
  /** The concept's domain, where retained concepts are measured. */
  readonly domain?: string;
  /** The checkpoint is the model before unlearning. */
  readonly baseline?: boolean;
  /** Not an attack: pictures of concepts that should not have been forgotten, with the label of each attempt. */
  readonly retained?: { readonly domain: string; readonly labels: readonly string[] };
  /** What others have published of this row. */
  readonly reported?: readonly Reported[];
  /** Ids of its attempts, in the grid's order. */
  readonly attempts: readonly string[];
}

/** What evaluation.json holds: which evaluation a folder is of, and its whole grid, so that tables and merges need nothing else. */
export interface Manifest {
  readonly form: "lethe evaluation 1";
  readonly name: string;
  /** Of the configuration and its prompts. */
  readonly sha256: string;
  /** The part of the grid that is here; null: all of it. */
  readonly shard: Shard | null;
  readonly lethe: string;
  /** The configuration, by its name and as it was. */
  readonly file: string;
  readonly config: object;
  /** Checkpoints that the evaluation makes, with the folders of their runs, from this one. */
  readonly unlearned?: readonly { readonly checkpoint: string; readonly run: string }[];
  /** Checkpoints whose pictures of ordinary captions are scored. */
  readonly quality?: readonly QualityEntry[];
  readonly cells: readonly CellEntry[];
}

/** A cell's run.json: what its attempts had in common. */
export interface CellRecord extends Omit<CellEntry, "attempts"> {
  readonly form: "lethe evaluation cell 1";
  /** Makes the cell again. */
  readonly command: string;
  readonly evaluation: string;
  /** Less the prompt, its seed and its target. */
  readonly settings: Partial<RunRecord["settings"]>;
  readonly device: RunRecord["device"];
  readonly versions: RunRecord["versions"];
  readonly files: readonly FileRecord[];
  readonly attempts: number;
  readonly finished: number;
}
