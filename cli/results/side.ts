import { basename } from "node:path";
import { folderStore } from "../../engine/platform/folder-store.ts";
import type { Outcome, Side } from "../../engine/run/compare/pairs.ts";
import { RunFiles } from "../../engine/run/files.ts";
import { isHarmful } from "../../engine/run/redact.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { EvaluationFolder, drawnLines } from "../evaluate/folder.ts";
import { readQuality } from "../evaluate/quality/results.ts";

/**
 * What a folder of an evaluation or of one attack holds.
 * @throws UsageError if it is neither, or has nothing finished; FormatError for a damaged file
 */
export async function readSide(name: string): Promise<Side> {
  const folder = new EvaluationFolder(name);
  const manifest = await folder.manifest();
  if (!manifest) {
    const record = await new RunFiles(folderStore(name)).earlier();
    if (record) return sideOfRun(name, record);
    throw new UsageError(`${name} holds neither an evaluation (evaluation.json) nor an attack (run.json)`);
  }
  const cells = new Map(manifest.cells.filter((cell) => !cell.retained).map((cell) => [cell.id, cell]));
  const lines = await folder.attempts();
  const outcomes = lines.flatMap((line): Outcome[] => {
    const cell = cells.get(`${line.checkpoint}/${line.attacker}/${line.concept}`);
    if (!cell || line.notAttackable !== undefined) return [];
    return [{ ...line, harmful: cell.harmful ?? false, rule: cell.rule }];
  });
  if (outcomes.length === 0) throw new UsageError(`${name} holds an evaluation without a finished attempt`);
  return {
    name,
    title: manifest.name === "Evaluation" ? basename(name) : `${manifest.name} (${basename(name)})`,
    outcomes,
    scores: await readQuality(name, manifest.quality),
  };
}

/** One attack as a side of one prompt. @throws UsageError if it is not finished; FormatError */
async function sideOfRun(name: string, { result, settings, rule, status }: RunRecord): Promise<Side> {
  if (!result) throw new UsageError(`${name} holds an attack that is not finished (it is ${status})`);
  const drawn = await drawnLines(name);
  const concept = settings.label ?? "concept";
  const { unet, textEncoder, lora, model } = settings;
  const outcome: Outcome = {
    checkpoint: basename(unet ?? textEncoder ?? lora ?? model),
    attacker: settings.attacker,
    concept,
    case: "0",
    prompt: result.prompt,
    seed: settings.seed,
    harmful: isHarmful(settings.judge),
    rule,
    preSuccess: result.preSuccess,
    success: result.success,
    label: result.label,
    score: result.score,
    iterations: result.iterations,
    queries: new Set(drawn.map(({ image }) => image)).size,
    adversarialPrompt: result.adversarialPrompt,
    image: drawn.at(-1)!.image,
  };
  return { name, title: basename(name), outcomes: [outcome] };
}
