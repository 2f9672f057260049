import type { Command } from "commander";
import { join, relative } from "node:path";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import { shellCommand } from "../../engine/run/text/shell.ts";
import { requireMeasured } from "../../engine/run/gate/gate.ts";
import { type Context, action, globalFlags } from "../context.ts";
import { EXIT } from "../errors.ts";
import { FAIL_IF, type GateFlags, JUNIT, conclude } from "../evaluate/results/gates.ts";
import { readConfig } from "../evaluate/config.ts";
import { type Erasing, makeErasings, neededErasings, planErasings } from "../unlearn/erasings.ts";
import { EvaluationFolder } from "../evaluate/folder.ts";
import type { Manifest, Shard } from "../../engine/run/leaderboard/manifest.ts";
import { type Cell, type Planned, makeGrid } from "../evaluate/grid.ts";
import { withLock } from "../evaluate/lock.ts";
import { checkRows, requireUsable } from "../evaluate/checks.ts";
import { type PlannedQuality, planQuality } from "../evaluate/quality/plan.ts";
import { qualityDone, runQualities } from "../evaluate/quality/run.ts";
import { runAttempts } from "../evaluate/run.ts";
import { inShard, shardFolder, shardOfEnvironment, shardText } from "../evaluate/shard.ts";
import { writeTables } from "../evaluate/results/write-tables.ts";
import { type Shown, addShown } from "../shown.ts";
import { requireWritableFile, requireWritableFolder } from "../output.ts";
import { formatDuration } from "../../engine/run/text/format.ts";
import { VERSION } from "../../engine/run/version.ts";

interface EvaluateFlags extends Shown, GateFlags {
  readonly out: string;
  readonly resume?: boolean;
  readonly shard?: Shard;
  readonly cell?: readonly string[];
  readonly dryRun?: boolean;
}

export function evaluateCommand(program: Command): void {
  const command = program
    .command("evaluate")
    .description("attack every checkpoint with every attacker on every prompt, as a JSON file says; writes a leaderboard")
    .argument(
      "<config.json>",
      "checkpoints, concepts and attackers; emoji/evaluation.json is the bundled one, assets/evaluation.schema.json its form",
    )
    .requiredOption(
      "--out <dir>",
      "folder for attempts.jsonl, the attacks, report.html and leaderboard.csv, .md and .tex; a shard has a folder of its own in it",
    )
    .option("--resume", "go on where an interrupted evaluation in --out stood, or begin if there is none")
    .option(
      "--shard <i/n>",
      "make part I of N only (default: as Slurm's or Kubernetes' variables say); merge puts the parts together",
      shardText,
    )
    .option("--cell <id...>", "only these rows, CHECKPOINT/ATTACKER/CONCEPT")
    .option("--dry-run", "check every row, its picture and its judge, and say what would be done; nothing is attacked or written")
    .option(...FAIL_IF)
    .option(...JUNIT);
  addShown(command).action(action<EvaluateFlags>((flags, context, config) => run(flags, context, config!)));
}

async function run(flags: EvaluateFlags, context: Context, file: string): Promise<number> {
  if (flags.junit !== undefined) await requireWritableFile(flags.junit);
  const started = performance.now();
  const { source, config: asWritten } = await readConfig(file);
  const { config, erasings } = await planErasings(context, asWritten, join(flags.out, "unlearned"));
  const quality = await planQuality(config, context);
  requireMeasured(flags.failIf ?? [], {
    base: config.base !== false, retained: config.retained !== undefined, scores: quality?.scores ?? [],
  });
  const { cells, sha256 } = await makeGrid(config, source, quality?.checkpoints[0]!.inputs.captions);
  const shard = flags.shard ?? shardOfEnvironment(process.env);
  const folder = new EvaluationFolder(shard ? join(flags.out, shardFolder(shard)) : flags.out);
  await requireWritableFolder(folder.path);
  const manifest: Manifest = {
    form: "lethe evaluation 1", name: config.name ?? "Evaluation", sha256, shard: shard ?? null, lethe: VERSION, file, config: source,
    ...(erasings.length > 0 && { unlearned: erasings.map((e) => ({ checkpoint: e.checkpoint, run: runFrom(folder.path, e) })) }),
    ...(quality && { quality: quality.checkpoints.map(({ checkpoint, baseline }) => ({ checkpoint, ...(baseline && { baseline }) })) }),
    cells: cells.map(({ attempts, ...cell }) => ({ ...cell, attempts: attempts.map((a) => a.id) })),
  };
  const planned = attemptsOf(cells, shard, flags.cell);
  const needed = neededErasings(erasings, new Set(planned.map(({ cell }) => cell.checkpoint)));
  requireUsable(planned.map(({ cell }) => cell), new Set(needed.map(({ out }) => out)));
  const checked = await checkRows(context, planned);
  context.say(
    `plan ${sha256}\n  the hash of configuration and prompts; every row carries it, so publish it now to show that you kept to it`,
  );
  // Rows that were picked out are attacks only.
  const scored = flags.cell ? [] : (quality?.checkpoints ?? []);
  if (flags.dryRun) return showPlan(context, sha256, { erasings: needed, planned: checked, scored, shard, started });
  await makeErasings(context, needed, flags.showImages ?? false);
  const work = { planned: checked, scored, started };
  return withLock(folder.path, (line) => context.say(line), () => makeAttempts(flags, context, folder, manifest, work));
}

/** The folder of a checkpoint's making, from the evaluation's. */
function runFrom(folder: string, { out }: Erasing): string {
  return `${relative(folder, out).replaceAll("\\", "/")}.run`;
}

/** What a dry run found: how many attempts there are, and which of them cannot be made. */
function showPlan(
  context: Context,
  plan: string,
  { erasings, planned, scored, shard, started }: Work & { readonly erasings: readonly Erasing[]; readonly shard: Shard | undefined },
): number {
  const seconds = (performance.now() - started) / 1000;
  const skipped = planned.flatMap(({ attempt: { id }, notAttackable: why }) => (why === undefined ? [] : [{ id, why }]));
  context.say(`every row was checked in ${formatDuration(seconds)}; nothing was attacked`);
  const quality = scored.map(({ checkpoint, pictures, flags: { images } }) => ({
    checkpoint, pictures: shard ? Math.ceil((pictures - shard.index + 1) / shard.count) : pictures, drawn: images === undefined,
  }));
  const lines = [
    ...erasings.map(({ checkpoint, settings, out }) => `${checkpoint} is made by ${settings.method}, unless it is there: ${out}`),
    `${planned.length - skipped.length} attempts to make, ${skipped.length} not attackable`,
    ...skipped.map(({ id, why }) => `${id}: ${why}`),
    ...quality.map(
      ({ checkpoint, pictures, drawn }) => `quality of ${checkpoint}: ${pictures} pictures to ${drawn ? "draw and score" : "score"}`,
    ),
  ];
  const unlearned = erasings.map(({ checkpoint, out, hash }) => ({ checkpoint, out, hash }));
  const scores = quality.length > 0 ? { quality } : {};
  context.result(
    { dryRun: true, plan, unlearned, attempts: planned.length, notAttackable: skipped, ...scores, seconds },
    lines.join("\n"),
  );
  return EXIT.done;
}

/** What a process has to do, and when it began. */
interface Work {
  readonly planned: readonly Planned[];
  readonly scored: readonly PlannedQuality[];
  readonly started: number;
}

/** Makes the planned attempts and scores that are not done yet and writes the tables. */
async function makeAttempts(
  flags: EvaluateFlags,
  context: Context,
  folder: EvaluationFolder,
  manifest: Manifest,
  { planned, scored, started }: Work,
): Promise<number> {
  await folder.tidy();
  const before = (await folder.manifest()) ? await folder.attempts() : [];
  await folder.claim(manifest);
  const done = new Set(before.map((line) => line.id));
  const left = planned.filter(({ attempt }) => !done.has(attempt.id));
  const quality = await qualityDone(folder.path, scored);
  const unscored = scored.filter((one) => !quality.done.includes(one));
  if ((before.length > 0 || quality.begun) && (left.length > 0 || unscored.length > 0) && !flags.resume) {
    throw new UsageError(
      `${folder.path} holds an unfinished evaluation (${planned.length - left.length} of ${planned.length} attempts done` +
        `${scored.length > 0 ? `, ${quality.done.length} of ${scored.length} checkpoints' pictures scored` : ""}): add --resume ` +
        "to go on with it, or give another folder",
    );
  }
  if (before.length > 0) context.say(`${planned.length - left.length} of ${planned.length} attempts are done already`);
  try {
    await runAttempts(context, folder, { planned: left, before, plan: manifest.sha256, shown: flags });
    await runQualities(context, folder.path, unscored, manifest.shard ?? undefined);
  } catch (error) {
    await summarize(flags, context, folder, manifest).catch((second: unknown) =>
      context.say(`the tables could not be written: ${errorMessage(second)}`),
    );
    context.say(`what was done is in ${folder.path}; to go on, give the same command with --resume`);
    throw error;
  }
  const board = await summarize(flags, context, folder, manifest);
  context.say(`${left.length} attempts in ${formatDuration((performance.now() - started) / 1000)}`);
  const { name, sha256: plan, shard } = manifest;
  return conclude(context, name, board, flags, { out: folder.path, plan, shard, attempts: planned.length });
}

/** The attempts that are this process's. @throws UsageError for a cell that is not there */
function attemptsOf(cells: readonly Cell[], shard: Shard | undefined, only: readonly string[] | undefined): Planned[] {
  for (const id of only ?? []) {
    if (!cells.some((c) => c.id === id)) {
      throw new UsageError(`--cell: there is no ${JSON.stringify(id)}; there are ${cells.map((c) => c.id).join(", ")}`);
    }
  }
  return cells
    .filter((c) => only?.includes(c.id) ?? true)
    .flatMap((cell) => cell.attempts.filter((a) => inShard(a.index, shard)).map((attempt) => ({ cell, attempt })));
}

/** Writes what sums up the attempts there are. */
async function summarize(
  flags: EvaluateFlags,
  context: Context,
  folder: EvaluationFolder,
  manifest: Manifest,
): Promise<Awaited<ReturnType<typeof writeTables>>> {
  const lines = await folder.attempts();
  await folder.writeCells(manifest, lines, (cell) =>
    shellCommand(["npx", "lethe", "evaluate", manifest.file, ...globalFlags(context.options), "--cell", cell, "--out", "again"]),
  );
  return writeTables(folder, manifest, lines, flags, (line) => context.warn(line));
}
