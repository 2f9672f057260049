import { settingsAsFlags } from "../../cli/attack/run-settings.ts";
import type { FileRecord } from "../../cli/attack/files.ts";
import type { RunRecord } from "../../cli/attack/record.ts";
import { shellCommand } from "../../cli/attack/shell.ts";
import { VERSION } from "../../cli/version.ts";
import { firstChoiceRule } from "../../engine/attack/judge-options.ts";
import { attack } from "../../engine/attack/run.ts";
import type { AttackEvent, AttackOptions, AttackResult, AttackState } from "../../engine/attack/types.ts";
import { type RgbImage, centerCrop, imagesToTensor } from "../../engine/formats/image.ts";
import { resizeShortestEdge } from "../../engine/formats/resize.ts";
import type { StableDiffusion } from "../../engine/models/stable-diffusion.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import { describeChoice } from "../../engine/runtime/kernel-choice.ts";
import type { AttackRequest, Choice, Slot } from "../protocol.ts";
import { bitmapOf } from "./bitmap.ts";
import type { Job } from "./job.ts";
import type { Library } from "./library.ts";
import { readPictureFile } from "./picture-file.ts";
import { type RunHead, RunLog } from "./run-log.ts";
import type { Session } from "./session.ts";
import { Sha256 } from "./sha256.ts";
import type { Store } from "./store.ts";

/** Tokens shown for a slot. */
const SHOWN_TOKENS = 3;

export interface RunPlace {
  readonly session: Session;
  readonly library: Library;
  readonly store: Store;
}

type AttackJob = Job<"attack"> | Job<"resume">;

/** A new attack, from the first picture to the report. @throws what the attack throws, after its files have been given out */
export async function startAttack(place: RunPlace, request: AttackRequest, job: AttackJob): Promise<AttackResult> {
  const { session, library, store } = place;
  const { choice, settings, judge, target: dropped, showImages } = request;
  job.news({ type: "phase", text: "loading the model" });
  const model = await session.model(choice);
  await session.judge(judge, settings.label ?? ""); // a wrong label shows before the first picture is drawn
  const target = dropped && fitTarget(await readPictureFile(dropped.name, dropped.file), model);
  const files = await fileRecords(library, session, choice, job);
  if (dropped) files.push({ role: "target", path: dropped.name, bytes: dropped.file.size, sha256: new Sha256().update(new Uint8Array(await dropped.file.arrayBuffer())).digest() });
  const record = newRecord(request, model, files, target?.fitted ?? "");
  const head: RunHead = { record, choice, judge, showImages, hasTarget: target !== null };
  return run(place, model, await RunLog.create(store, head, target?.image), job);
}

/** The unfinished attack of this browser, from where it stood. @throws as `startAttack`; FormatError if its files are damaged */
export async function resumeAttack(place: RunPlace, job: AttackJob): Promise<AttackResult> {
  job.news({ type: "phase", text: "reading the log" });
  const log = await RunLog.reopen(place.store);
  job.news({ type: "phase", text: "loading the model" });
  return run(place, await place.session.model(log.head.choice), log, job);
}

async function run({ session }: RunPlace, model: StableDiffusion, log: RunLog, job: AttackJob): Promise<AttackResult> {
  const { head, target, saved } = log;
  const { settings } = head.record;
  const judge = await session.judge(head.judge, settings.label ?? "");
  const options: AttackOptions = { ...engineOptions(settings), judge, signal: job.signal, ...(target && { target: imagesToTensor([target]) }), ...(saved && { resume: saved.state }) };
  const onEvent = async (event: AttackEvent): Promise<void> => {
    const logged = await log.handle(event);
    switch (event.type) {
      case "start":
        return tellStart(log, event.totalIterations, job);
      case "losses":
        job.news({ type: "losses", timestep: event.timestep, losses: event.losses });
        break;
      case "sampling":
        job.news(event);
        break;
      case "evaluation":
        job.news({ type: "evaluation", evaluation: logged!, picture: bitmapOf(event.image) });
        break;
      case "state":
        job.news({ type: "slots", slots: slotsOf(model, event.state) });
    }
    await job.unpaused();
  };
  try {
    const result = await attack(model, options, onEvent);
    job.news({ type: "files", status: "finished", ...(await log.finish("finished", result, null, model.device.usage.peakBytes)) });
    return result;
  } catch (error) {
    const status = error instanceof Error && error.name === "AbortError" ? "interrupted" : "failed";
    job.news({ type: "files", status, ...(await log.finish(status, null, errorMessage(error), model.device.usage.peakBytes)) });
    throw error;
  }
}

/** The start, and for a resumed run all that was seen before. */
function tellStart(log: RunLog, totalIterations: number, job: AttackJob): void {
  const { record } = log.head;
  job.news({ type: "start", totalIterations, iteration: log.saved?.state.iteration ?? 0, label: record.settings.label ?? "", resumed: log.saved !== undefined, settings: record.settings });
  if (log.target) job.news({ type: "target", picture: bitmapOf(log.target), fitted: record.targetFitted });
  if (!log.saved) return;
  const { losses, timesteps } = log.curve;
  losses.forEach((loss, i) => job.news({ type: "losses", timestep: timesteps[i]!, losses: [loss] }));
  for (const evaluation of log.evaluations) job.news({ type: "evaluation", evaluation, picture: bitmapOf(log.picture(evaluation.image!)) }); // the page sets no gate: everything was drawn
}

function engineOptions(settings: RunRecord["settings"]): Omit<AttackOptions, "judge"> {
  const { attacker, prompt, seed, tokens, insert, iterations, timesteps, learningRate, weightDecay, loss, projection, randomInit, steps, scheduler, guidance, maxTimesteps, attackSeed } = settings;
  return {
    attacker, prompt, seed, tokens, insert, iterations, timesteps, learningRate, weightDecay, loss, projection, randomInit, steps, scheduler, guidance,
    ...(maxTimesteps !== null && { maxTimesteps }),
    ...(attackSeed !== null && { attackSeed }),
  };
}

/** The likeliest tokens of every slot. */
function slotsOf({ tokenizer }: StableDiffusion, { simplex }: AttackState): Slot[] {
  const { vocabularySize } = tokenizer;
  return Array.from({ length: simplex.length / vocabularySize }, (_, j) => {
    const row = simplex.subarray(j * vocabularySize, (j + 1) * vocabularySize);
    const best: number[] = [];
    for (let i = 0; i < row.length; i++) {
      if (best.length === SHOWN_TOKENS && row[i]! <= row[best.at(-1)!]!) continue;
      best.push(i);
      best.sort((a, b) => row[b]! - row[a]! || a - b);
      best.length = Math.min(best.length, SHOWN_TOKENS);
    }
    return best.map((id) => ({ piece: tokenizer.decode([id]), share: row[id]! }));
  });
}

/** As the command line fits a target: the shortest edge resized with Pillow's bicubic filter, then the middle cut out. */
function fitTarget(image: RgbImage, model: StableDiffusion): { image: RgbImage; fitted: string } {
  const { factor } = model.parts.vae.config;
  const [height, width] = model.defaultLatentSize.map((n) => n * factor) as [number, number];
  if (image.width === width && image.height === height) return { image, fitted: "" };
  const fitted = centerCrop(resizeShortestEdge(image, Math.max(width, height), "bicubic"), width, height);
  return { image: fitted, fitted: `from ${image.width}x${image.height} to ${width}x${height} pixels (bicubic, centre crop)` };
}

async function fileRecords(library: Library, session: Session, choice: Choice, job: AttackJob): Promise<FileRecord[]> {
  const work = { signal: job.signal, news: ({ text }: { text: string }) => job.news({ type: "phase", text }) };
  const records: FileRecord[] = [];
  const role = (path: string): string => (path === choice.overlay ? "overlay" : path === choice.model ? "model" : (path.slice(choice.model.length + 1).split("/")[0] ?? "model"));
  for (const path of session.modelPaths) records.push({ role: role(path), path, ...(await library.fileRecord(path, work)) });
  for (const path of session.judgePaths) records.push({ role: "judge", path, ...(await library.fileRecord(path, work)) });
  return records;
}

function newRecord({ settings, choice }: AttackRequest, model: StableDiffusion, files: readonly FileRecord[], targetFitted: string): RunRecord {
  const { device } = model;
  const weights = choice.weights === "f16" ? ["--weights", "f16"] : [];
  return {
    form: "lethe attack run 1",
    status: "running",
    error: null,
    command: shellCommand(["npx", "lethe", "attack", ...settingsAsFlags(settings), ...weights, "--out", "attack"]),
    resumeCommand: "",
    settings,
    rule: firstChoiceRule(settings.label ?? ""),
    targetFitted,
    device: { adapter: device.description, driver: device.info.description, limits: "adapter", weights: choice.weights, math: "f32", kernels: describeChoice(device.kernels), bufferSharing: device.bufferSharing },
    versions: { lethe: VERSION, platform: navigator.userAgent },
    files,
    started: new Date().toISOString(),
    ended: null,
    seconds: 0,
    peakBytes: 0,
    result: null,
  };
}
