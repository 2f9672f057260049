import type { Command } from "commander";
import { join } from "node:path";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import { generate } from "../../engine/diffusion/generate.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText, writeFileAtomic } from "../../engine/platform/node-files.ts";
import type { AttackResult } from "../../engine/attack/events.ts";
import { type AttackJson, attackJson } from "../../engine/run/json.ts";
import { runPrepared } from "../attack/run.ts";
import { openJudge } from "../attack/judge.ts";
import { newRun } from "../attack/begin.ts";
import { prepareRun } from "../attack/prepare.ts";
import { type AttackSettings, newSettings } from "../../engine/run/settings/settings.ts";
import { OPEN } from "../terminal/open.ts";
import { type Context, action } from "../context.ts";
import { EXIT } from "../errors.ts";
import { openModel } from "../model.ts";
import { wholeNumber } from "../options.ts";
import { requireWritableFolder } from "../output.ts";
import type { Attempt, ReportExtras } from "../../engine/run/report/data.ts";
import { formatBytes, formatDuration, quoted } from "../../engine/run/text/format.ts";

interface DemoFlags {
  readonly out: string;
  readonly minutes: number;
}

const CONCEPT = "church";
const UNLEARNED = "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt";
const DATASET = `emoji/dataset/${CONCEPT}`;

/**
 * Cases of the church prompts in the order they are tried: those that the model card's measurements brought back soonest go first
 * (assets/emoji/results.json, k = 5), the two that never were go last.
 */
const ORDER = [10, 0, 3, 8, 5, 4, 6, 2, 9, 1, 7, 11];

/** The model card's tuned setting; the reference's own defaults succeed on half as many prompts. */
const SEARCH = {
  tokens: 5,
  vocabulary: "typeable",
  learningRate: 0.05,
  weightDecay: 0,
  iterations: 40,
  timesteps: 10,
  maxTimesteps: 8,
  steps: 25,
  scheduler: "ddim",
  guidance: 7.5,
} as const;

export function demoCommand(program: Command): void {
  program
    .command("demo")
    .description("attack the bundled model that was made to forget churches (what npm start runs)")
    .option("--out <dir>", "folder for the report", join("out", "demo"))
    .option("--minutes <n>", "begin no further prompt after this many minutes", wholeNumber(1, 1000), 4)
    .option(...OPEN)
    .action(action<DemoFlags>((flags, context) => run(flags, context)));
}

interface Case {
  readonly prompt: string;
  readonly seed: number;
  readonly target: string;
}

async function run({ out, minutes }: DemoFlags, context: Context): Promise<number> {
  const started = performance.now();
  await requireWritableFolder(out);
  const cases = await readCases();
  const device = await context.device();
  context.say(`Lethe: did this model really forget? (${device.description})\n`);
  context.say(
    "The bundled model draws 64x64 emoji. A copy of it was made to forget churches with ESD-x, a published unlearning method. The demo " +
      "asks both for a church, and then searches for a few extra tokens that bring the church back.",
  );
  context.say(
    `Up to ${cases.length} prompts are tried, those that broke soonest when the model was measured first, and none is begun after ` +
      `${minutes} minutes. Each gets at most ${SEARCH.maxTimesteps * SEARCH.iterations} iterations on ${SEARCH.tokens} tokens. The first ` +
      "success ends the demo.\n",
  );

  const attempts: Attempt[] = [];
  let last: AttackJson | undefined;
  for (const [i, one] of cases.entries()) {
    if (i > 0 && performance.now() - started > minutes * 60_000) {
      context.say(`The ${minutes} minutes are over: ${cases.length - i} prompts were not tried.`);
      break;
    }
    context.say(`Prompt ${i + 1} of ${cases.length}: ${quoted(one.prompt)}, seed ${one.seed}`);
    last = await tryCase(context, one, out, attempts);
    if (last.success) break;
  }
  tell(context, last!, attempts, out, (performance.now() - started) / 1000);
  return last!.success ? EXIT.done : EXIT.failed;
}

/** The prompts with their seeds and targets, in the order they are tried. @throws FormatError */
async function readCases(): Promise<Case[]> {
  const file = resolvePath(`${DATASET}/prompts.csv`);
  const { rows } = parseCsv(file, await readText(file), ["case_number", "prompt", "evaluation_seed"]);
  const byCase = new Map(rows.map((r) => [Number(r["case_number"]), r]));
  return ORDER.flatMap((n) => {
    const row = byCase.get(n);
    return row ? [{ prompt: row["prompt"]!, seed: Number(row["evaluation_seed"]), target: `${DATASET}/imgs/${n}_0.png` }] : [];
  });
}

/** One prompt: what the original model draws, then the attack on the unlearned one. Adds its outcome to `attempts`. */
async function tryCase(context: Context, { prompt, seed, target }: Case, out: string, attempts: Attempt[]): Promise<AttackJson> {
  const settings = newSettings({ ...SEARCH, model: "emoji", unet: UNLEARNED, prompt, target, judge: "emoji-object", label: CONCEPT, seed });
  const originalModel = await drawOriginal(context, settings);
  const rest: Attempt[] = [...attempts];
  const extras: ReportExtras = { showImages: true, originalModel, attempts: rest };
  const prepared = await prepareRun(context, newRun(settings, out, extras));
  const json = attackJson(await runPrepared(context, prepared, { onResult: (result) => void rest.push(attemptOf(result)) }), out);
  attempts.push(rest.at(-1)!);
  await prepared.judge.destroy();
  await prepared.model.destroy();
  await writeFileAtomic(join(out, "original-model.png"), encodePng(originalModel.image));
  return json;
}

function attemptOf({ prompt, seed, success, preSuccess, iterations, label, score, adversarialPrompt }: AttackResult): Attempt {
  return { prompt, seed, success, preSuccess, iterations, label, score, adversarialPrompt };
}

async function drawOriginal(context: Context, settings: AttackSettings): Promise<NonNullable<ReportExtras["originalModel"]>> {
  const model = await openModel(context, { model: settings.model });
  const { judge, destroy } = await openJudge(context, model.device, settings);
  const { prompt, seed, steps, scheduler, guidance } = settings;
  const [picture] = await context.withProgress("original model", (progress) =>
    generate(model, {
      prompt,
      seed,
      steps,
      scheduler,
      guidance,
      signal: context.signal,
      onStep: (done, total) => progress.update(done / total, `step ${done}/${total}`),
    }),
  );
  const judgement = await judge(picture!.image);
  await destroy();
  await model.destroy();
  context.say(
    `  original model: drew what the judge calls ${judgement.label} (${CONCEPT} ${judgement.score.toFixed(4)})\n  unlearned model:`,
  );
  return { name: settings.model, image: picture!.image, judgement };
}

function tell(context: Context, json: AttackJson, attempts: readonly Attempt[], out: string, seconds: number): void {
  const outcome = json.preSuccess
    ? `Not forgotten: the plain prompt ${quoted(json.prompt)} draws a ${CONCEPT}.`
    : json.success
      ? `Not forgotten: with ${quoted(json.adversarialPrompt)} the unlearned model draws a ${CONCEPT} again (judge's score ` +
        `${json.score.toFixed(3)}).`
      : `No prompt was found that brings the ${CONCEPT} back, in ${attempts.length} tried. ` +
        "On this budget that is possible; the search is stochastic.";
  context.say(
    `\n${attempts.filter((a) => a.success).length} of ${attempts.length} prompts tried succeeded, in ${formatDuration(seconds)}; ` +
      `peak device memory ${formatBytes(json.peakBytes)}.`,
  );
  context.result(json, `${outcome}\nreport: ${join(out, "report.html")}`);
  if (context.options.open) context.report(join(out, "report.html"));
}
