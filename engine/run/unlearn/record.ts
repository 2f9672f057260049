import { FormatError } from "../../formats/errors.ts";
import type { LayoutName } from "../../unlearn/files/layouts.ts";
import { type AnyRunRecord, type FileRecord, type RunPlace, beginning } from "../record.ts";
import { type UnlearnSettings, isUnlearnSettings, unlearnFlags } from "./settings.ts";

/** A published version of a method, as a record keeps it. */
export interface RecipeRecord {
  readonly name: string;
  readonly paper: string;
  readonly code: string;
}

/** What came of a run. */
export interface UnlearnOutcome {
  readonly steps: number;
  /** The last step's loss; null of a closed form. */
  readonly loss: number | null;
  readonly layout: LayoutName;
  /** What was written: the weights are the last. */
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  /** Of the weights. */
  readonly sha256: string;
  readonly trained: readonly { readonly component: string; readonly tensors: number; readonly parameters: number }[];
}

/** What run.json of an erasing run holds. */
export interface UnlearnRecord extends AnyRunRecord {
  readonly form: "lethe unlearn run 1";
  readonly settings: UnlearnSettings;
  readonly recipe: RecipeRecord;
  /** The method's options with the recipe's numbers filled in. */
  readonly effective: Readonly<Record<string, unknown>>;
  /** What the result is called. */
  readonly out: string;
  readonly result: UnlearnOutcome | null;
}

/** The record of a run that begins now. */
export function newUnlearnRecord(
  { settings, recipe, effective, out }: Pick<UnlearnRecord, "settings" | "recipe" | "effective" | "out">,
  place: RunPlace,
  files: readonly FileRecord[],
): UnlearnRecord {
  const begun = beginning("unlearn", unlearnFlags(settings), place, files);
  return { form: "lethe unlearn run 1", settings, recipe, effective, out, ...begun, result: null };
}

/** The content of a run.json. @param file its name, for errors @throws FormatError if it is something else */
export function parseUnlearnRecord(file: string, value: unknown): UnlearnRecord {
  const record = value as Partial<UnlearnRecord> | null;
  if (record?.form !== "lethe unlearn run 1" || !isUnlearnSettings(record.settings) || !Array.isArray(record.files)) {
    throw new FormatError(file, "is not a record of an erasing run that this version can go on with");
  }
  return record as UnlearnRecord;
}
