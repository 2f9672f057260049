import { previousOf, type Evaluation } from "../../engine/attack/session/evaluation.ts";
import { attack } from "../../engine/attack/run.ts";
import type { AttackCase, AttackOptions, DrawnPicture, TransferCandidate } from "../../engine/attack/options.ts";
import type { AttackEvent, AttackResult } from "../../engine/attack/events.ts";
import { usesGradient } from "../../engine/attack/attackers.ts";
import type { ConceptPair } from "../../engine/attack/search/concept-vector.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import type { GenerateSettings } from "../../engine/diffusion/generate.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { writeFileAtomic } from "../../engine/platform/node-files.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import type { Context } from "../context.ts";
import { givenModelFlags } from "../../engine/run/model-flags.ts";
import { pngTexts } from "../../engine/run/parameters-text.ts";
import type { ReportExtras } from "../../engine/run/report/data.ts";
import { renderReport } from "../../engine/run/report/report.ts";
import { VERSION } from "../../engine/run/version.ts";
import type { LoggedEvaluation } from "../../engine/run/log.ts";
import type { RunFolder } from "./folder.ts";
import type { JudgeOfRun } from "./judge.ts";
import { AttackProgress } from "./progress.ts";
import type { RunRecord, RunStatus } from "../../engine/run/record.ts";
import type { AttackSettings } from "./settings.ts";
import type { SavedState } from "./state-file.ts";
import type { Target } from "./target.ts";

/** A run ready to start: everything has been opened and checked. */
export interface PreparedRun {
  readonly model: StableDiffusion;
  readonly judge: JudgeOfRun;
  readonly target: Target | undefined;
  /** p4d, ring-a-bell, and judges that compare with it: the model before unlearning. */
  readonly original?: StableDiffusion | undefined;
  /** Universal: the prompts and their pictures. */
  readonly cases?: readonly AttackCase[] | undefined;
  /** ring-a-bell. */
  readonly conceptPairs?: readonly ConceptPair[] | undefined;
  /** transfer: what is tried. */
  readonly candidates?: readonly TransferCandidate[] | undefined;
  /** The original prompt's picture, if another run has drawn it. */
  readonly drawn?: DrawnPicture | undefined;
  /** Called with it when this run has it. */
  readonly onDrawn?: (picture: DrawnPicture) => void;
  readonly folder: RunFolder;
  readonly record: RunRecord;
  readonly saved: SavedState | undefined;
  readonly extras: ReportExtras;
  /** Called with the result before the report is written. */
  readonly finished?: (result: AttackResult) => void;
}

/** What `attack --json` prints. */
export interface AttackJson {
  readonly success: boolean;
  readonly prompt: string;
  readonly adversarialPrompt: string;
  readonly adversarialIds: readonly number[];
  readonly iterations: number;
  readonly timestep: number | null;
  readonly preSuccess: boolean;
  readonly score: number;
  readonly label: string;
  readonly seconds: number;
  readonly adapter: string;
  readonly peakBytes: number;
  readonly out: string;
  /** As in AttackResult. */
  readonly notPortable?: string;
  /** With --universal, and with --gate or --screening-steps: see AttackResult. */
  readonly universal?: AttackResult["universal"];
  readonly tried?: AttackResult["tried"];
}

/**
 * Runs an attack and writes everything down as it goes: a line and a picture per evaluation, the state after each timestep, and the record
 * and the report at the end, also when it was interrupted or failed.
 * @throws what the attack throws, after that
 */
export async function executeRun(context: Context, run: PreparedRun): Promise<{ json: AttackJson; result: AttackResult }> {
  const { folder, saved } = run;
  const writer = await RunWriter.open(context, run);
  try {
    const result = await context.withProgress("attack", async (progress) => {
      const shown = new AttackProgress(progress, run.record.settings, saved?.state.iteration);
      return attack(run.model, { ...attackOptions(run.record.settings, run), ...(saved && { resume: saved.state }), signal: context.signal }, async (event) => {
        await writer.handle(event);
        shown.handle(event);
      });
    });
    run.finished?.(result);
    const record = await writer.finish("finished", { ...result, seconds: writer.seconds }, null);
    await folder.dropState();
    return { json: attackJson(record, folder.path), result };
  } catch (error) {
    const status = error instanceof Error && error.name === "AbortError" ? "interrupted" : "failed";
    await writer.finish(status, null, error).catch((second: unknown) => context.say(`the report could not be written: ${errorMessage(second)}`));
    throw error;
  } finally {
    folder.close();
  }
}

/** The JSON of a finished run. */
export function attackJson({ result, device, peakBytes }: RunRecord, out: string): AttackJson {
  const { success, prompt, adversarialPrompt, adversarialIds, iterations, timestep, preSuccess, score, label, seconds, notPortable, universal, tried } = result!;
  return { success, prompt, adversarialPrompt, adversarialIds, iterations, timestep, preSuccess, score, label, seconds, adapter: device.adapter, peakBytes, out, ...(notPortable !== undefined && { notPortable }), ...(universal && { universal }), ...(tried && { tried }) };
}

/** The engine's options for a run's settings. */
export function attackOptions(s: AttackSettings, { judge, target, original, candidates, conceptPairs, cases, drawn }: Pick<PreparedRun, "judge" | "target" | "original" | "candidates" | "conceptPairs" | "cases" | "drawn">): AttackOptions {
  const { attacker, prompt, seed, tokens, insert, vocabulary, iterations, timesteps, learningRate, weightDecay, loss, projection, randomInit, steps, scheduler, guidance, learnedPrompt, eta, population, generations, mutationRate, crossoverRate, restarts, timestepsPerStep, casesPerStep, timestepOrder } = s;
  return {
    attacker, prompt, seed, tokens, insert, vocabulary, iterations, timesteps, learningRate, weightDecay, loss, projection, randomInit, steps, scheduler, guidance, learnedPrompt, eta, population, generations, mutationRate, crossoverRate, restarts, timestepsPerStep, casesPerStep, timestepOrder,
    judge: judge.judge,
    ...(target && { target: target.array }),
    ...(original && (attacker === "p4d" || attacker === "ring-a-bell") && { original }),
    ...(candidates && { candidates }),
    ...(conceptPairs && { conceptPairs }),
    ...(drawn && { drawn }),
    ...(cases && { cases }),
    ...(s.gate !== null && { gate: { margin: s.gateMargin, samples: s.gateSamples } }),
    ...(s.screeningSteps !== null && { screeningSteps: s.screeningSteps }),
    ...(s.maxTimesteps !== null && { maxTimesteps: s.maxTimesteps }),
    ...(s.attackSeed !== null && { attackSeed: s.attackSeed }),
  };
}

/** Turns the events of a run into its files. */
class RunWriter {
  private readonly evaluations: LoggedEvaluation[] = [];
  private readonly losses: number[] = [];
  private readonly timesteps: number[] = [];
  private readonly pictures = new Map<string, RgbImage>();
  private readonly started = performance.now();

  private constructor(private readonly run: PreparedRun) {}

  static async open(context: Context, run: PreparedRun): Promise<RunWriter> {
    const { folder, record, saved } = run;
    const writer = new RunWriter(run);
    if (saved) {
      writer.evaluations.push(...(await folder.reopen(saved.state.evaluations)));
      for (const e of writer.evaluations) if (e.image !== null && !writer.pictures.has(e.image)) writer.pictures.set(e.image, await folder.picture(e.image));
      writer.losses.push(...saved.curve.losses);
      writer.timesteps.push(...saved.curve.timesteps);
      context.say(`going on after ${saved.state.iteration} iterations`);
    } else await folder.clear();
    await folder.writeRecord(record);
    return writer;
  }

  /** Over all runs. */
  get seconds(): number {
    return (this.run.saved?.seconds ?? 0) + (performance.now() - this.started) / 1000;
  }

  async handle(event: AttackEvent): Promise<void> {
    const { folder } = this.run;
    if (event.type === "losses") {
      this.losses.push(...event.losses);
      this.timesteps.push(...event.losses.map(() => event.timestep));
    } else if (event.type === "evaluation") {
      const { judgement, milliseconds } = event.evaluation;
      if (this.evaluations.length === 0) this.run.onDrawn?.({ image: event.image, judgement, milliseconds });
      const image = this.imageName(event.evaluation);
      const logged = { ...event.evaluation, image };
      this.evaluations.push(logged);
      this.pictures.set(image, event.image);
      await folder.add(logged, event.image, this.texts(logged, event.image));
      if (event.learned) await folder.writeLearned(event.learned, this.run.model.parts.textEncoder.config.hiddenSize);
    } else if (event.type === "skipped") {
      const logged = { ...event.evaluation, image: null };
      this.evaluations.push(logged);
      await folder.add(logged);
    } else if (event.type === "state") {
      await folder.writeState({ state: event.state, curve: { losses: this.losses, timesteps: this.timesteps }, seconds: this.seconds });
    }
  }

  private imageName(evaluation: Evaluation): string {
    const { timestep, unchanged, screening } = evaluation;
    const last = unchanged && previousOf(this.evaluations, evaluation)?.image;
    if (last) return last;
    const number = String(this.evaluations.length).padStart(3, "0");
    const step = usesGradient(this.run.record.settings.attacker) ? `t${timestep}` : `try${timestep}`;
    return `images/${number}-${timestep < 0 ? "original" : step}${screening ? "-screening" : ""}.png`;
  }

  private texts({ prompt, seed, screening, case: number = 0 }: LoggedEvaluation, { width, height }: RgbImage): Readonly<Record<string, string>> {
    const { model, scheduler, ...all } = this.run.record.settings;
    const [steps, guidance] = [screening?.steps ?? all.steps, this.run.cases?.[number]?.guidance ?? all.guidance];
    const settings: GenerateSettings = { prompt, negativePrompt: "", steps, scheduler, guidance, eta: 0, width, height, sld: null };
    return pngTexts(settings, seed, { model, ...givenModelFlags(this.run.record.settings), weights: this.run.record.device.weights, adapter: this.run.record.device.adapter, version: VERSION });
  }

  /** Writes the last record and the report. */
  async finish(status: RunStatus, result: AttackResult | null, error: unknown): Promise<RunRecord> {
    const { folder, model, extras, target } = this.run;
    const record: RunRecord = {
      ...this.run.record,
      status,
      error: status === "failed" ? errorMessage(error) : null,
      ended: new Date().toISOString(),
      seconds: this.seconds,
      peakBytes: model.device.usage.peakBytes,
      result,
    };
    await folder.writeRecord(record);
    const report = renderReport({ record, evaluations: this.evaluations, pictures: this.pictures, curve: { losses: this.losses, timesteps: this.timesteps }, target: target?.image, extras });
    await writeFileAtomic(folder.reportFile, report);
    return record;
  }
}
