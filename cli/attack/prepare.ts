import type { PreparedRun } from "../../engine/run/prepared.ts";
import type { Context } from "../context.ts";
import { requireWritableFolder } from "../output.ts";
import type { RunStart } from "./begin.ts";
import { checkRun } from "./check.ts";
import { endpointPainter } from "./endpoint.ts";
import { fitInputs } from "./fitted.ts";
import { readInputs } from "./inputs.ts";
import { ANEW, openParts } from "./opening.ts";
import { commandRecord } from "./record.ts";

/**
 * Opens and checks all that a run needs, before anything is written.
 * @throws FormatError, InputError, UsageError, ... for whatever could not be used; NoAdapterError
 */
export async function prepareRun(context: Context, run: RunStart, opening = ANEW): Promise<PreparedRun> {
  await requireWritableFolder(run.out);
  const warned = context.warnings.length;
  const inputs = await readInputs(run.settings);
  const { model, original, control, judge, files: opened } = await openParts(context, run.settings, opening);
  const { target, cases, probe } = fitInputs(inputs, model);
  const { candidates, conceptPairs } = inputs;
  const { endpoint } = run.settings;
  const draw = endpoint === null ? undefined : endpointPainter(endpoint, process.env["LETHE_ENDPOINT_KEY"], (line) => context.say(line));
  const parts = {
    judge, target, original, candidates, conceptPairs, cases, draw, probe: { ...probe, ...(control && { controlModel: control }) },
  };
  await checkRun(context, run.settings, model, parts, opening.quiet);
  const hashed = await opening.files([...opened, ...inputs.files]);
  const record = commandRecord(context, run, { device: model.device, rule: judge.rule, files: hashed, fitted: target?.fitted ?? "" });
  const warnings = context.warnings.slice(warned);
  const { files, extras, earlier, saved } = run;
  return {
    ...parts,
    model,
    files,
    record: { ...record, ...(earlier && { started: earlier.started }), ...(warnings.length > 0 && { warnings }) },
    saved,
    extras,
  };
}
