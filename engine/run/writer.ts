import type { AttackEvent, AttackResult } from "../attack/events.ts";
import { usesGradient } from "../attack/attackers.ts";
import { type Evaluation, previousOf } from "../attack/session/evaluation.ts";
import type { GenerateSettings } from "../diffusion/generate.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import type { LoggedEvaluation } from "./log.ts";
import { givenModelFlags } from "./settings/model-options.ts";
import { pngTexts } from "./text/png-texts.ts";
import type { PreparedRun, RunWatcher } from "./prepared.ts";
import { ending } from "./ending.ts";
import type { RunRecord, RunStatus } from "./record.ts";

/** Turns the events of a run into its files, and tells them on. */
export class RunWriter {
  private readonly evaluations: LoggedEvaluation[] = [];
  private readonly losses: number[] = [];
  private readonly timesteps: number[] = [];
  private readonly started = performance.now();

  private constructor(
    private readonly run: PreparedRun,
    private readonly watcher: RunWatcher,
  ) {}

  /** @throws FormatError for files of a run that cannot be gone on with, or a place that cannot be written to */
  static async open(run: PreparedRun, watcher: RunWatcher): Promise<RunWriter> {
    const { files, record, saved } = run;
    const writer = new RunWriter(run, watcher);
    if (saved) await writer.goOn(saved);
    else await files.clear();
    await files.writeRecord(record);
    return writer;
  }

  /** Takes up what an interrupted run has done. */
  private async goOn({ state, curve }: NonNullable<PreparedRun["saved"]>): Promise<void> {
    const { files } = this.run;
    this.evaluations.push(...(await files.reopen(state.evaluations)));
    this.losses.push(...curve.losses);
    this.timesteps.push(...curve.timesteps);
    if (!this.watcher.onResume) return;
    const pictures = new Map<string, RgbImage>();
    for (const { image } of this.evaluations) if (image !== null && !pictures.has(image)) pictures.set(image, await files.written(image));
    await this.watcher.onResume({ curve, evaluations: this.evaluations, pictures });
  }

  /** Over all runs. */
  get seconds(): number {
    return (this.run.saved?.seconds ?? 0) + (performance.now() - this.started) / 1000;
  }

  /** Writes an event down, then tells it. */
  async handle(event: AttackEvent): Promise<void> {
    const logged = await this.write(event);
    await this.watcher.onEvent?.(event, logged);
  }

  private async write(event: AttackEvent): Promise<LoggedEvaluation | undefined> {
    const { files, model } = this.run;
    switch (event.type) {
      case "losses":
        this.losses.push(...event.losses);
        this.timesteps.push(...event.losses.map(() => event.timestep));
        return undefined;
      case "state":
        await files.writeState({ state: event.state, curve: { losses: this.losses, timesteps: this.timesteps }, seconds: this.seconds });
        return undefined;
      case "skipped": {
        const logged = { ...event.evaluation, image: null };
        this.evaluations.push(logged);
        await files.add(logged);
        return logged;
      }
      case "evaluation": {
        const { judgement, milliseconds } = event.evaluation;
        if (this.evaluations.length === 0) this.watcher.onDrawn?.({ image: event.image, judgement, milliseconds });
        const image = this.imageName(event.evaluation);
        const logged = { ...event.evaluation, image };
        this.evaluations.push(logged);
        await files.add(logged, event.image, this.texts(logged, event.image));
        if (event.learned) await files.writeLearned(event.learned, model);
        return logged;
      }
      default:
        return undefined;
    }
  }

  private imageName(evaluation: Evaluation): string {
    const { timestep, unchanged, screening, control } = evaluation;
    const last = unchanged && previousOf(this.evaluations, evaluation)?.image;
    if (last) return last;
    const number = String(this.evaluations.length).padStart(3, "0");
    const step = usesGradient(this.run.record.settings.attacker) ? `t${timestep}` : `try${timestep}`;
    const which = `${timestep < 0 ? "original" : step}${control === undefined ? "" : `-${control}`}`;
    return `images/${number}-${which}${screening ? "-screening" : ""}.png`;
  }

  private texts(
    { prompt, seed, screening, case: number = 0 }: LoggedEvaluation,
    { width, height }: RgbImage,
  ): Readonly<Record<string, string>> {
    const { settings, device } = this.run.record;
    const { model, scheduler } = settings;
    const [steps, { guidance }] = [screening?.steps ?? settings.steps, this.run.options.cases[number]!];
    const drawn: GenerateSettings = {
      prompt,
      negativePrompt: this.run.model.isXl ? null : "",
      steps, scheduler, guidance, eta: 0, width, height, sld: null, safree: settings.safree,
    };
    return pngTexts(drawn, seed, { model, ...givenModelFlags(settings), weights: device.weights, adapter: device.adapter });
  }

  /** Writes the last record and the report. */
  async finish(status: RunStatus, result: AttackResult | null, error: unknown): Promise<RunRecord> {
    const { files, model, extras, target } = this.run;
    const record: RunRecord = { ...this.run.record, ...ending(status, error, this.seconds, model.device), result };
    await files.writeRecord(record);
    const curve = { losses: this.losses, timesteps: this.timesteps };
    await files.writeReport({ evaluations: this.evaluations, curve, target: target?.image, extras });
    return record;
  }
}
