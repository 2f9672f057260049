import { resolveOptions } from "../../engine/attack/resolve.ts";
import { comparesWithOriginal, readsOriginalText, usesGradient } from "../../engine/attack/attackers.ts";
import { ATTACK_OPTIONS } from "../../engine/attack/option-table.ts";
import { flagName } from "../../engine/options/flags.ts";
import type { OptionTable } from "../../engine/options/option.ts";
import { unusedOptions } from "../../engine/options/values.ts";
import { checkWeights } from "../../engine/loading/check-weights.ts";
import { createSamplerPlan, judgedSchedulerJson } from "../../engine/diffusion/schedulers/index.ts";
import { cutOffNote } from "../../engine/diffusion/learned-embedding.ts";
import { fitAndSay } from "../fit.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { Context } from "../context.ts";
import { openModel, overlayFiles, suitedTo } from "../model.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";
import { resolveModel } from "../model-source.ts";
import { requireWritableFolder } from "../output.ts";
import type { ReportExtras } from "../../engine/run/report/data.ts";
import { RunFiles } from "../../engine/run/files.ts";
import { type PreparedRun, attackOptions } from "../../engine/run/prepared.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { recordFiles } from "./files.ts";
import { readCandidates } from "./candidates.ts";
import { openCases } from "./cases.ts";
import { endpointPainter } from "./endpoint.ts";
import { openProbeParts } from "./probe-parts.ts";
import { readConceptPairs } from "./concept-pairs.ts";
import { type JudgeOfRun, openJudge } from "./judge.ts";
import { judgesByOriginal } from "../../engine/run/settings/judge.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import { commandRecord } from "./record.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import type { SavedState } from "../../engine/run/state.ts";
import { type Target, fitTarget } from "../../engine/run/target.ts";
import { readTarget } from "./target.ts";

/** How a run's parts are opened: anew for one attack, shared between the attacks of an evaluation. */
export interface Opening {
  readonly model: (context: Context, settings: AttackSettings) => Promise<StableDiffusion>;
  /** The model before unlearning. */
  readonly original: (context: Context, options: ModelOptions) => Promise<StableDiffusion>;
  /** What a probe is compared with. */
  readonly control: (context: Context, options: ModelOptions) => Promise<StableDiffusion>;
  readonly judge: typeof openJudge;
  readonly files: typeof recordFiles;
  /** What a run will take has been said before. */
  readonly quiet: boolean;
}

/** Everything from its files. */
export const ANEW: Opening = {
  model: openModel, original: openModel, control: openModel, judge: openJudge, files: recordFiles, quiet: false,
};

/**
 * Opens and checks all that a run needs, before anything is written.
 * @throws FormatError, InputError, UsageError, ... for whatever could not be used; NoAdapterError
 */
export async function prepareRun(
  context: Context,
  settings: AttackSettings,
  out: string,
  extras: ReportExtras,
  earlier?: RunRecord,
  saved?: SavedState,
  opening = ANEW,
): Promise<PreparedRun> {
  await requireWritableFolder(out);
  const warned = context.warnings.length;
  const picture = settings.target === null ? undefined : await readTarget(settings.target);
  const found = settings.from === null ? undefined : await readCandidates(settings.from, settings.seed);
  const model = await opening.model(context, settings);
  const original = needsOriginal(settings) ? await opening.original(context, originalFlags(settings)) : undefined;
  const judge = await opening.judge(context, model.device, settings, original);
  const target = picture && fitTarget(picture, model);
  if (target?.fitted) context.say(`target fitted ${target.fitted}`);
  const pairs = settings.conceptPairs === null ? undefined : await readConceptPairs(settings.conceptPairs);
  const candidates = found?.candidates;
  const conceptPairs = pairs?.pairs;
  const table = settings.prompts === null ? undefined : await openCases(settings, model);
  const cases = table?.cases;
  const { parts: probe, files: probeFiles } = await openProbeParts(context, settings, model, target, opening);
  const draw = settings.endpoint === null
    ? undefined
    : endpointPainter(settings.endpoint, process.env["LETHE_ENDPOINT_KEY"], (line) => context.say(line));
  checkSettings(model, attackOptions(settings, { judge, target, original, candidates, conceptPairs, cases, probe, draw }));
  const cut = table ? undefined : cutOffNote(model, settings.prompt);
  if (cut !== undefined) context.warn(cut);
  checkWeights(model);
  const [latentHeight, latentWidth] = model.defaultLatentSize;
  const { factor } = model.parts.vae.config;
  const [height = latentHeight * factor, width = latentWidth * factor] = target ? [target.image.height, target.image.width] : [];
  const work = {
    width,
    height,
    rows: settings.guidance > 1 ? 2 : 1,
    pictures: 1,
    attackRows: usesGradient(settings.attacker) ? settings.restarts * settings.timestepsPerStep * settings.casesPerStep : 0,
  };
  await fitAndSay(context, model, work, opening.quiet);
  await checkJudge(context, judge, settings, target);
  if (!opening.quiet) warnOfUnused(context, settings);
  const wanted = suitedTo(context);
  const files = await opening.files([
    { role: "model", path: (await resolveModel(settings.model, context, wanted)).folder, ...wanted },
    ...(await overlayFiles(settings, context)),
    ...(settings.original === null
      ? []
      : [{ role: "original", path: (await resolveModel(settings.original, context, wanted)).folder, ...wanted }]),
    ...judge.files.map((path) => ({ role: "judge", path })),
    ...(found ? [{ role: "prompts", path: found.file }] : []),
    ...(table?.files ?? []),
    ...(pairs ? [{ role: "concept pairs", path: pairs.file }] : []),
    ...(target ? [{ role: "target", path: target.file }] : []),
    ...probeFiles,
  ]);
  const record = commandRecord(settings, out, model.device, context.options, files, target?.fitted ?? "", extras);
  if (earlier) warnOfChanges(context, earlier, record);
  const warnings = context.warnings.slice(warned);
  return {
    model,
    judge,
    target,
    original,
    candidates,
    conceptPairs,
    cases,
    draw,
    probe,
    files: new RunFiles(folderStore(out)),
    record: { ...record, ...(earlier && { started: earlier.started }), ...(warnings.length > 0 && { warnings }) },
    saved,
    extras,
  };
}

/** Options of other attackers: an evaluation gives all its attackers the same ones, so it is not told of them. */
function warnOfUnused(context: Context, settings: AttackSettings): void {
  for (const name of unusedOptions(ATTACK_OPTIONS, settings, settings.attacker)) {
    const of: readonly string[] = (ATTACK_OPTIONS as OptionTable)[name]!.of!;
    context.warn(`${flagName(name)} changes nothing: ${settings.attacker} does not use it (only ${of.join(", ")})`);
  }
}

/**
 * Whether a run needs the model before unlearning: to compare with, or as the text encoder that a black-box search knows, which is the
 * attacked model's own
 * unless something was laid over it.
 */
export function needsOriginal(settings: AttackSettings): boolean {
  const { attacker, original, textEncoder, lora } = settings;
  return (
    comparesWithOriginal(attacker) ||
    (readsOriginalText(attacker) && (original !== null || textEncoder !== null || lora !== null)) ||
    judgesByOriginal(settings)
  );
}

/** The model before unlearning. */
function originalFlags({ original, model, ema, predictionType, config }: AttackSettings): ModelOptions {
  return original === null ? { model, ema, predictionType, config } : { model: original };
}

/** Runs the judge once, so that unusable weights are told now; says so if it does not see the concept in the target. @throws InputError */
async function checkJudge(
  context: Context,
  { judge, rule }: JudgeOfRun,
  { label }: AttackSettings,
  target: Target | undefined,
): Promise<void> {
  const { success, label: seen, score } = await judge(target?.image ?? { data: new Uint8Array(64 * 64 * 3), width: 64, height: 64 });
  const concept = label ?? "the concept";
  if (target && !success)
    context.warn(
      `the judge does not see ${concept} in the target but ${seen} (${concept} ${score.toFixed(4)}; its rule: ${rule}): is the target ` +
        "a picture of the concept, and the label right?",
    );
}

/** What the attack would refuse only after its first picture. @throws UsageError, SchedulerConfigError */
function checkSettings(model: StableDiffusion, options: Parameters<typeof resolveOptions>[1]): void {
  const { scheduler, steps, screeningSteps } = resolveOptions(model, options);
  createSamplerPlan(
    scheduler,
    judgedSchedulerJson(scheduler, model),
    Math.min(steps, screeningSteps ?? steps),
  );
}

function warnOfChanges(context: Context, before: RunRecord, now: RunRecord): void {
  if (before.device.adapter !== now.device.adapter)
    context.warn(`the run was begun on ${before.device.adapter} and goes on on ${now.device.adapter}: rounding differs between the two`);
  const hashes = new Map(before.files.map((f) => [`${f.role} ${f.path}`, f.sha256]));
  for (const f of now.files) {
    const old = hashes.get(`${f.role} ${f.path}`);
    if (old !== undefined && old !== f.sha256) context.warn(`${f.path} has changed since the run was begun`);
  }
}
