import { ATTACK_OPTIONS } from "../../engine/attack/option-table.ts";
import { unusedNotes } from "../../engine/options/flags.ts";
import type { PreparedRun } from "../../engine/run/prepared.ts";
import { changesSince } from "../../engine/run/changes.ts";
import { newRecord } from "../../engine/run/record.ts";
import { needsOf } from "../../engine/run/settings/needs.ts";
import type { Context } from "../context.ts";
import { requireWritableFolder } from "../output.ts";
import { placeOf } from "../place.ts";
import type { RunStart } from "./begin.ts";
import { checkAttack } from "./check.ts";
import { endpointPainter } from "./endpoint.ts";
import { fitInputs } from "./fitted.ts";
import { readInputs } from "./inputs.ts";
import { tryJudge } from "./judge.ts";
import { ANEW } from "./opening.ts";

/**
 * Opens and checks all that a run needs, before anything is written.
 * @throws FormatError, InputError, UsageError, ... for whatever could not be used; NoAdapterError
 */
export async function prepareRun(context: Context, run: RunStart, opening = ANEW): Promise<PreparedRun> {
  const { settings, out, files, extras, earlier, saved } = run;
  await requireWritableFolder(out);
  const warned = context.warnings.length;
  const needs = needsOf(settings);
  const inputs = await readInputs(needs);
  const { attacked, original, control } = await opening.models(context, needs.models);
  const { model } = attacked;
  const judge = await opening.judge(context, model.device, settings, original?.model);
  const { picture: target, ...pictures } = fitInputs(inputs, model);
  if (target?.fitted) context.say(`target fitted ${target.fitted}`);
  const { endpoint } = settings;
  const draw = endpoint === null ? undefined : endpointPainter(endpoint, process.env["LETHE_ENDPOINT_KEY"], (line) => context.say(line));
  const { candidates, conceptPairs } = inputs;
  const options = await checkAttack(context, model, needs.values, {
    ...needs.given, ...pictures, candidates, conceptPairs, draw,
    judge: judge.judge, target: target?.array, original: original?.model, controlModel: control?.model,
  }, opening.quiet);
  await tryJudge(context, judge, target);
  // without a name of its own the original is of the model's files
  const before = settings.original === null ? [] : (original?.files ?? []).map((file) => ({ ...file, role: "original" }));
  const judging = judge.files.map((path) => ({ role: "judge", path }));
  const hashed = await opening.files([...attacked.files, ...before, ...judging, ...inputs.files]);
  const place = placeOf(context.options, model.device, extras, out);
  const record = newRecord({ settings, rule: judge.rule, targetFitted: target?.fitted ?? "" }, place, hashed);
  const unused = opening.quiet ? [] : unusedNotes(ATTACK_OPTIONS, settings, settings.attacker);
  for (const note of unused) context.warn(note);
  if (earlier) for (const change of changesSince(earlier, record)) context.warn(change);
  const warnings = context.warnings.slice(warned);
  return {
    model, judge, options, target, files, saved, extras,
    record: { ...record, ...(earlier && { started: earlier.started }), ...(warnings.length > 0 && { warnings }) },
  };
}
