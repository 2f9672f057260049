import { type OptionTable, file, text, whole } from "../../engine/options/option.ts";
import { schemaProperties } from "../../engine/options/schema.ts";
import { QUALITY_OPTIONS } from "../../engine/metrics/quality/option-table.ts";
import { JUDGE_OPTIONS } from "../../engine/run/settings/judge.ts";
import { MODEL_OPTIONS } from "../../engine/run/settings/model-options.ts";
import { UNLEARN_COMMAND_OPTIONS } from "../../engine/run/unlearn/settings.ts";
import { RUN_OPTIONS } from "../../engine/run/settings/option-table.ts";
import type { Schema } from "./schema.ts";

/** Options of an attack that other parts of the file than its attackers decide. */
const ELSEWHERE = new Set([
  "model",
  "prompt",
  ...Object.keys(MODEL_OPTIONS),
  "safree",
  "endpoint",
  "target",
  ...Object.keys(JUDGE_OPTIONS),
  "attacker",
  "seed",
  "steps",
  "scheduler",
  "guidance",
  "universal",
  "prompts",
  "targets",
  "casesPerStep",
]);
/** Options of an attacker in which {concept} stands for the concept's name. */
export const PER_CONCEPT = [
  "from",
  "conceptPairs",
  "conceptPictures",
  "otherPictures",
  "controlModel",
  "controlUnet",
  "controlPicture",
  "controlPrompt",
  "components",
] as const satisfies readonly (keyof typeof RUN_OPTIONS)[];
const { attacker, steps, scheduler, guidance } = RUN_OPTIONS;

/** What an entry of `attackers` may set, besides its attacker. */
export const SEARCH_OPTIONS: OptionTable = {
  ...Object.fromEntries(Object.entries(RUN_OPTIONS).filter(([name]) => !ELSEWHERE.has(name))),
  ...Object.fromEntries(
    PER_CONCEPT.map((name) => [name, { ...RUN_OPTIONS[name], help: `${RUN_OPTIONS[name].help}; {concept} stands for the concept's name` }]),
  ),
};

/** What an entry's `unlearn` may set: not the model, which the evaluation and the entry say. */
const ERASING_OPTIONS: OptionTable = Object.fromEntries(
  Object.entries(UNLEARN_COMMAND_OPTIONS).filter(([name]) => name !== "model" && !Object.hasOwn(MODEL_OPTIONS, name)),
);
const ERASING: Schema = {
  type: "object",
  description:
    "The checkpoint is made first, once, by lethe unlearn with these settings in camel case, and kept below --out by the hash of all " +
    "that goes into it.",
  required: ["method", "concepts"],
  additionalProperties: false,
  properties: {
    ...schemaProperties(ERASING_OPTIONS),
    concepts: { type: "array", minItems: 1, items: { type: "string", minLength: 1 }, description: "What is erased." },
    over: { type: "string", description: "Name of a checkpoint before this one, from which it is made instead of from the model." },
  },
};

/** What is scored of the checkpoints' ordinary pictures, and by what. */
export const QUALITY_FILES_NAMED = {
  captions: file({ help: "what every checkpoint draws: a table with columns case_number, prompt, evaluation_seed" }),
  images: text({ default: null, help: "pictures that are there instead: a folder whose path names {checkpoint}, each checkpoint's name" }),
  real: file({ help: "folder of real pictures of the same captions" }),
  statistics: file({ help: "statistics of real pictures instead (.npz), made by the same recipe" }),
  inception: file({ help: "Inception's weights, or the folder of an image classifier, whose features' distance is never called FID" }),
  clip: file({ help: "a CLIPModel's folder or hub id, for the CLIP score" }),
} satisfies OptionTable;

const NAME = { $ref: "#/$defs/name" };
const LIMIT = whole({ default: null, min: 1, help: "take only the first so many prompts" });

/** An entry of a list: its name, and what else it may hold. */
function entry(options: OptionTable, required: readonly string[], more: Readonly<Record<string, Schema>> = {}): Schema {
  return {
    type: "object",
    required: ["name", ...required],
    additionalProperties: false,
    properties: { name: NAME, ...schemaProperties(options), ...more },
  };
}

function listOf(def: string, description?: string): Schema {
  return { type: "array", minItems: 1, items: { $ref: `#/$defs/${def}` }, ...(description !== undefined && { description }) };
}

/** The form of an evaluation's file. assets/evaluation.schema.json is the same, for editors. */
export const EVALUATION_SCHEMA: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "lethe evaluate",
  description:
    "Unlearned checkpoints x attackers x concepts. Paths are looked up beside this file first, then in the working directory; " +
    '"emoji/..." is the bundled model; models may be hub names ORG/NAME.',
  type: "object",
  required: ["model", "checkpoints", "concepts", "attackers"],
  additionalProperties: false,
  properties: {
    $schema: { type: "string" },
    name: { type: "string", minLength: 1, description: "Title of the report." },
    model: {
      type: "string",
      minLength: 1,
      description: "The model that the checkpoints are laid over: emoji, a folder in diffusers layout, a checkpoint file, or a hub name.",
    },
    sampling: {
      type: "object",
      description: "How the judged pictures are drawn. Defaults are the published reference's.",
      additionalProperties: false,
      properties: schemaProperties({
        steps,
        scheduler,
        guidance: { ...guidance, help: "for prompts whose row has no guidance of its own" },
      }),
    },
    base: {
      type: "boolean",
      default: true,
      description: "Draw every prompt once with the model before unlearning too: a prompt that it does not draw says nothing.",
    },
    checkpoints: listOf("checkpoint"),
    concepts: listOf("concept"),
    retained: listOf(
      "retained",
      "What the checkpoints should still know: side effects of unlearning (UnlearnCanvas' UA, IRA and CRA), measured on each " +
        "checkpoint and on the model before unlearning.",
    ),
    attackers: listOf("attacker"),
    quality: {
      type: "object",
      description:
        "What the erasure cost: every checkpoint, and the model before unlearning, draws the same captions (or has its pictures in a " +
          "folder), which are scored by one recipe: FID, KID, CLIP score. " +
          "Kept below --out in quality/; settings are those of lethe quality.",
      additionalProperties: false,
      properties: schemaProperties({ ...QUALITY_FILES_NAMED, ...QUALITY_OPTIONS }),
    },
  },
  $defs: {
    name: {
      type: "string",
      pattern: "^[A-Za-z0-9][A-Za-z0-9._-]*$",
      description: "Names a folder of the results: letters, digits, dots, dashes and underscores.",
    },
    checkpoint: entry(
      {
        method: text({
          default: null,
          help: "how it was unlearned, as publications name it (ESD, UCE, FMN, ...): published numbers stand beside the measured ones",
        }),
        model: file({ help: "a whole model instead of the evaluation's" }),
        ...MODEL_OPTIONS,
        safree: RUN_OPTIONS.safree,
        endpoint: RUN_OPTIONS.endpoint,
      },
      [],
      {
        concepts: {
          type: "array",
          minItems: 1,
          items: { type: "string" },
          description: "What it was made to forget, by the concepts' names. Default: every concept.",
        },
        unlearn: ERASING,
      },
    ),
    concept: entry(
      {
        prompts: file({
          help:
            "CSV with columns prompt, evaluation_seed and, if wanted, case_number and evaluation_guidance; i2p's sd_seed and " +
            "sd_guidance_scale are understood",
        }),
        targets: file({ help: "folder of target pictures CASE_0.png (or CASE.png), as generate --prompts-csv makes them" }),
        ...JUDGE_OPTIONS,
        domain: text({
          default: null,
          help:
            "what kind of thing it is, such as objects or styles: retained concepts of the same domain count for IRA, " +
            "of others for CRA",
        }),
        limit: LIMIT,
      },
      ["prompts"],
      {
        harmful: {
          type: "boolean",
          description:
            "Leave found prompts out of reports, cards and comparisons (--show-prompts shows them). Default: for the judges nudenet and " +
              "q16.",
        },
      },
    ),
    retained: entry(
      {
        domain: text({ default: null, help: "as the concepts' domains" }),
        prompts: file({ help: "CSV as a concept's, with a column label: what the judge should see in each prompt's picture" }),
        ...JUDGE_OPTIONS,
        label: text({ default: null, help: "one label for all prompts, where the table has no column label" }),
        limit: LIMIT,
      },
      ["domain", "prompts"],
    ),
    // Its settings' names are checked by readConfig, which says more of those that are wrong.
    attacker: {
      ...entry({ attacker: { ...attacker, default: null }, ...SEARCH_OPTIONS }, ["attacker"], {
        concepts: {
          type: "array", minItems: 1, items: { type: "string" }, description: "Concepts it is for, by their names. Default: every concept.",
        },
      }),
      additionalProperties: true,
      description: "Settings are those of lethe attack, in camel case; defaults are the published reference's.",
    },
  },
};
