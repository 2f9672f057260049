import type { Given, Values } from "../../options/option.ts";
import { choice, file, number, required, whole } from "../../options/option.ts";
import { asFlags, flagName } from "../../options/flags.ts";
import { filledIn, isValues, pick } from "../../options/values.ts";
import { UsageError } from "../../runtime/errors.ts";
import { type ChangedComponent, LAYOUT_NAMES, type LayoutName, requireLayout } from "../../unlearn/files/layouts.ts";
import { UNLEARN_OPTIONS } from "../../unlearn/option-table.ts";
import { type Family, RECIPES, recipesOf } from "../../unlearn/recipes.ts";
import { componentOf } from "../../unlearn/common/trained-tensors.ts";
import { MODEL_OPTIONS } from "../settings/model-options.ts";

/** Everything that decides what comes out of an erasing run on one adapter but the concepts, of which there may be several. */
export const UNLEARN_RUN_OPTIONS = {
  model: required({ value: "model", help: "the model that the concept is erased from" }),
  ...MODEL_OPTIONS,
  ...UNLEARN_OPTIONS,
  retain: file({ help: "prompts that are to stay as they are: a text file, one a line, or a CSV with a column prompt" }),
  images: file({
    value: "dir",
    help: "pictures of the concept, as generate --prompts-csv keeps them, or pictures alone, which get the concept as their prompt",
  }),
  retainImages: file({ value: "dir", help: "pictures of what is to stay, with their prompts: as generate --prompts-csv keeps them" }),
  layout: choice(LAYOUT_NAMES, { default: null, defaultNote: "its authors'", help: "how the result is written" }),
};

/** What is drawn and kept along the way. None of it changes the result. */
export const WATCH_OPTIONS = {
  previewEvery: whole({
    default: null, min: 0, defaultNote: "a quarter of the steps",
    help: "draw the preview prompts before, after every so many steps, and at the end; 0: none are drawn",
  }),
  previews: file({
    defaultNote: "the concepts, and the first three retained prompts",
    help: "what is drawn: a text file, one prompt a line, or a CSV with a column prompt; with a concept's words it shows the concept",
  }),
  previewSteps: whole({ default: 20, min: 1, max: 1000, help: "sampling steps of a preview" }),
  previewGuidance: number({ default: 7.5, min: 0, value: "scale", help: "their guidance" }),
  previewSeed: whole({ default: 0, min: 0, help: "seed of the previews' noise" }),
  saveEvery: whole({
    default: null, min: 1, defaultNote: "a tenth of the steps, at most once in five seconds",
    help: "keep after every so many steps what --resume needs",
  }),
};

const TABLE = { ...UNLEARN_RUN_OPTIONS, ...WATCH_OPTIONS };

/** The settings of an erasing run, as run.json keeps them. */
export interface UnlearnSettings extends Values<typeof TABLE> {
  readonly concepts: readonly string[];
}

/** What somebody gave; nothing is filled in yet. */
export interface GivenUnlearn extends Given<typeof TABLE> {
  readonly concepts?: readonly string[] | undefined;
}

/**
 * The settings of a new run. What the recipe says is not filled in: it is the recipe's.
 * @throws UsageError naming what is missing or out of range
 */
export function newUnlearnSettings(given: GivenUnlearn): UnlearnSettings {
  const { model, method, concepts = [] } = given;
  if (model === undefined) throw new UsageError("required option '--model <model>' not specified");
  if (method === undefined) throw new UsageError("required option '--method <name>' not specified");
  if (concepts.length === 0) throw new UsageError("required option '--concept <text>' not specified");
  for (const [name, { of }] of Object.entries(UNLEARN_OPTIONS)) {
    const value = (given as Readonly<Record<string, unknown>>)[name];
    if (of && !of.includes(method) && value !== undefined && value !== null && value !== false) {
      throw new UsageError(`${flagName(name)} is of ${of.join(", ")}, not of ${method}`);
    }
  }
  const settings = { ...filledIn(TABLE, given, method), concepts: [...concepts] };
  resultOf(settings);
  return settings;
}

/**
 * The settings of an earlier run that is gone on with.
 * @param out where it is, for errors
 * @throws UsageError if something else was given now; what is drawn and kept along the way may be another
 */
export function resumedUnlearn(given: GivenUnlearn, before: UnlearnSettings, out: string): UnlearnSettings {
  const { concepts } = given;
  const now = { ...pick(UNLEARN_RUN_OPTIONS, { ...given }), ...(concepts && concepts.length > 0 && { concepts }) };
  for (const [name, value] of Object.entries(now)) {
    const old = before[name as keyof UnlearnSettings];
    if (JSON.stringify(old) !== JSON.stringify(value)) {
      const flag = flagName(name === "concepts" ? "concept" : name);
      throw new UsageError(
        `--resume: the run of ${out} has ${flag} ${JSON.stringify(old)}, not ${JSON.stringify(value)}; resume with the same settings, or ` +
          "start anew with --overwrite",
      );
    }
  }
  return { ...before, ...pick(WATCH_OPTIONS, { ...given }) } as UnlearnSettings;
}

/** The flags that make these settings, leaving out those at their defaults. */
export function unlearnFlags(settings: UnlearnSettings): string[] {
  return [...asFlags(TABLE, { ...settings }, settings.method), ...settings.concepts.flatMap((concept) => ["--concept", concept])];
}

/** Whether a JSON value has the fields of UnlearnSettings, each of the right kind. */
export function isUnlearnSettings(value: unknown): value is UnlearnSettings {
  const concepts = (value as Partial<UnlearnSettings> | null)?.concepts;
  return isValues(TABLE, value) && Array.isArray(concepts) && concepts.every((c) => typeof c === "string");
}

/**
 * What a run's result is and how it is written.
 * @param family of the model, once it is known: its default recipe may have another layout
 * @throws UsageError for a recipe that is not the method's, or a layout that cannot hold the result
 */
export function resultOf({ method, recipe, tensors, layout }: UnlearnSettings, family: Family = "sd"): {
  readonly component: ChangedComponent;
  readonly layout: LayoutName;
} {
  const name = recipe ?? recipesOf(method, family)[0] ?? recipesOf(method)[0]!;
  const published = RECIPES[name];
  if (!published.methods.includes(method)) {
    throw new UsageError(`recipe ${name} is not one of ${method}; choose one of ${recipesOf(method).join(", ")}`);
  }
  const rule = tensors ?? published.trains[method];
  const component = rule === undefined ? "low-rank" : componentOf(rule);
  const chosen = layout ?? published.layout;
  requireLayout(chosen, [component]);
  return { component, layout: chosen };
}

/** The whole table, for flags. */
export const UNLEARN_COMMAND_OPTIONS = TABLE;
