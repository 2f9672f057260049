import { renderReport } from "../../engine/run/report/report.ts";
import { type LoggedEvaluation, logLine } from "../../engine/run/log.ts";
import type { RunRecord, RunStatus } from "../../engine/run/record.ts";
import { type SavedState, decodeState, encodeState } from "../../engine/run/state.ts";
import { pngTexts } from "../../engine/run/text/png-texts.ts";
import type { TransferCandidate } from "../../engine/attack/options.ts";
import type { AttackEvent, AttackResult } from "../../engine/attack/events.ts";
import { usesGradient } from "../../engine/attack/attackers.ts";
import { readAll, blobSource } from "../../engine/formats/byte-source.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { formatJsonLine } from "../../engine/formats/text/jsonl.ts";
import { openTensorFile } from "../../engine/formats/open.ts";
import { decodePng, encodePng } from "../../engine/formats/picture/png.ts";
import { type LearnedEmbedding, encodeLearnedEmbedding } from "../../engine/diffusion/learned-embedding.ts";
import type { GenerateSettings } from "../../engine/diffusion/generate.ts";
import type { Choice, JudgeRequest, RunFiles } from "../protocol.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { Store } from "./files/store.ts";

/** What is needed to go on with a run, besides its state. */
export interface RunHead {
  readonly record: RunRecord;
  readonly choice: Choice;
  readonly judge: JudgeRequest;
  /** transfer: what is tried. */
  readonly candidates: readonly TransferCandidate[];
  readonly showImages: boolean;
  readonly hasTarget: boolean;
}

const HEAD = "run.json";
const STATE = "state.safetensors";
const TARGET = "target.png";

/** Everything a run leaves, kept in the browser as it goes, so that a closed tab or a lost device costs one timestep at most. */
export class RunLog {
  readonly evaluations: LoggedEvaluation[] = [];
  private readonly losses: number[] = [];
  private readonly timesteps: number[] = [];
  private readonly pictures = new Map<string, RgbImage>();
  private readonly started = performance.now();
  private learned: LearnedEmbedding | undefined;

  private constructor(private readonly store: Store, readonly head: RunHead, readonly target: RgbImage | undefined, readonly saved: SavedState | undefined) {
    if (!saved) return;
    this.losses.push(...saved.curve.losses);
    this.timesteps.push(...saved.curve.timesteps);
  }

  /** Begins anew: what an earlier run left is taken away. */
  static async create(store: Store, head: RunHead, target: RgbImage | undefined): Promise<RunLog> {
    await clearRun(store);
    if (target) await store.write(TARGET, encodePng(target));
    await store.write(HEAD, JSON.stringify(head));
    return new RunLog(store, head, target, undefined);
  }

  /** Opens an unfinished run. @throws FormatError if there is none or it is damaged */
  static async reopen(store: Store): Promise<RunLog> {
    const head = await readHead(store);
    if (!head) throw new FormatError(HEAD, "there is no unfinished attack");
    const saved = await readState(store);
    const target = head.hasTarget ? await readPicture(store, TARGET) : undefined;
    const log = new RunLog(store, head, target, saved);
    for (const [i, evaluation] of (saved?.state.evaluations ?? []).entries()) {
      const image = log.imageName(evaluation.timestep, evaluation.unchanged, i);
      log.evaluations.push({ ...evaluation, image });
      if (!log.pictures.has(image)) log.pictures.set(image, await readPicture(store, image));
    }
    return log;
  }

  /** Over all its runs. */
  get seconds(): number {
    return (this.saved?.seconds ?? 0) + (performance.now() - this.started) / 1000;
  }

  get curve(): { readonly losses: readonly number[]; readonly timesteps: readonly number[] } {
    return { losses: this.losses, timesteps: this.timesteps };
  }

  picture(name: string): RgbImage {
    return this.pictures.get(name)!;
  }

  /** Writes an event down. @returns the evaluation as logged, if it is one */
  async handle(event: AttackEvent): Promise<LoggedEvaluation | undefined> {
    if (event.type === "losses") {
      this.losses.push(...event.losses);
      this.timesteps.push(...event.losses.map(() => event.timestep));
    } else if (event.type === "state") {
      const name = STATE;
      await this.store.write(name, encodeState(name, { state: event.state, curve: this.curve, seconds: this.seconds }));
    } else if (event.type === "evaluation") {
      const { timestep, unchanged } = event.evaluation;
      const image = this.imageName(timestep, unchanged, this.evaluations.length);
      const logged = { ...event.evaluation, image };
      this.evaluations.push(logged);
      this.pictures.set(image, event.image);
      this.learned = event.learned ?? this.learned;
      if (!unchanged) await this.store.write(image, encodePng(event.image, this.texts(logged, event.image)));
      return logged;
    }
    return undefined;
  }

  private imageName(timestep: number, unchanged: boolean, number: number): string {
    const last = this.evaluations[number - 1];
    if (unchanged && last?.image) return last.image;
    const step = usesGradient(this.head.record.settings.attacker) ? `t${timestep}` : `try${timestep}`;
    return `images/${String(number).padStart(3, "0")}-${timestep < 0 ? "original" : step}.png`;
  }

  private texts({ prompt, seed }: LoggedEvaluation, { width, height }: RgbImage): Readonly<Record<string, string>> {
    const { settings, device, versions } = this.head.record;
    const { model, unet, textEncoder, steps, scheduler, guidance } = settings;
    const drawn: GenerateSettings = { prompt, negativePrompt: "", steps, scheduler, guidance, eta: 0, width, height, sld: null };
    return pngTexts(drawn, seed, { model, ...(unet !== null && { unet }), ...(textEncoder !== null && { textEncoder }), weights: device.weights, adapter: device.adapter, version: versions.lethe });
  }

  /** The run's files as the command line would leave them. A finished run is not kept. */
  async finish(status: RunStatus, result: AttackResult | null, error: string | null, { device, parts }: StableDiffusion): Promise<RunFiles> {
    const { peakBytes } = device.usage;
    const record: RunRecord = { ...this.head.record, status, error, ended: new Date().toISOString(), seconds: this.seconds, peakBytes, result: result && { ...result, seconds: this.seconds } };
    const report = renderReport({ record, evaluations: this.evaluations, pictures: this.pictures, curve: this.curve, target: this.target, extras: { showImages: this.head.showImages } });
    const lines = this.evaluations.map(logLine).map(formatJsonLine).join("");
    if (status === "finished") await clearRun(this.store);
    else await this.store.write(HEAD, JSON.stringify({ ...this.head, record: { ...record, result: null } }));
    const learned = this.learned && encodeLearnedEmbedding("learned_embeds.safetensors", this.learned, parts.textEncoder.config.hiddenSize);
    return { learned: learned ? new Blob([learned]) : null, report: new Blob([report], { type: "text/html" }), log: new Blob([lines], { type: "application/jsonl" }), record: new Blob([`${JSON.stringify(record, null, 1)}\n`], { type: "application/json" }) };
  }
}

/** What is known of the unfinished run in a store, if there is one. @throws FormatError if it is damaged */
export async function unfinishedRun(store: Store): Promise<{ head: RunHead; iteration: number; evaluations: number } | undefined> {
  const head = await readHead(store);
  if (!head) return undefined;
  const saved = await readState(store);
  return { head, iteration: saved?.state.iteration ?? 0, evaluations: saved?.state.evaluations.length ?? 0 };
}

export async function clearRun(store: Store): Promise<void> {
  for (const name of await store.names()) await store.remove(name);
}

async function readHead(store: Store): Promise<RunHead | undefined> {
  const blob = await store.read(HEAD);
  if (!blob) return undefined;
  const head = JSON.parse(await blob.text()) as Partial<RunHead>;
  return head.record?.form === "lethe attack run 1" && head.candidates !== undefined ? (head as RunHead) : undefined;
}

async function readState(store: Store): Promise<SavedState | undefined> {
  const blob = await store.read(STATE);
  return blob && decodeState(STATE, await openTensorFile(blobSource(STATE, blob)));
}

async function readPicture(store: Store, name: string): Promise<RgbImage> {
  const blob = await store.read(name);
  if (!blob) throw new FormatError(name, "is missing from the unfinished attack: discard it and start anew");
  return decodePng(name, await readAll(blobSource(name, blob)));
}
