import { settingsAsFlags } from "../../engine/run/settings.ts";
import { parseCandidates } from "../../engine/run/candidates.ts";
import type { FileRecord, RunRecord } from "../../engine/run/record.ts";
import { shellCommand } from "../../engine/run/shell.ts";
import { VERSION } from "../../engine/run/version.ts";
import { judgeRule } from "../../engine/attack/judges/options.ts";
import type { OpenJudge } from "../../engine/attack/judges/open.ts";
import { attack } from "../../engine/attack/run.ts";
import type { AttackEvent, AttackResult } from "../../engine/attack/events.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import { type RgbImage, centerCrop, imagesToTensor } from "../../engine/formats/picture/image.ts";
import { resizeShortestEdge } from "../../engine/formats/picture/resize.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import { describeChoice } from "../../engine/runtime/choice/kernel-table.ts";
import type { AttackRequest, Choice } from "../protocol.ts";
import { bitmapOf } from "./bitmap.ts";
import type { Job } from "./job.ts";
import type { Library } from "./files/library.ts";
import { readPictureFile } from "./files/picture-file.ts";
import { type RunHead, RunLog } from "./run-log.ts";
import type { Session } from "./session.ts";
import { sha256Blob } from "./files/sha256.ts";
import type { Store } from "./files/store.ts";

export interface RunPlace {
  readonly session: Session;
  readonly library: Library;
  readonly store: Store;
}

type AttackJob = Job<"attack"> | Job<"resume">;

/** A new attack, from the first picture to the report. @throws what the attack throws, after its files have been given out */
export async function startAttack(place: RunPlace, request: AttackRequest, job: AttackJob): Promise<AttackResult> {
  const { session, library, store } = place;
  const { choice, settings: { attacker, seed }, judge, target: dropped, from, showImages } = request;
  if (attacker === "p4d" && choice.overlay === null) throw new UsageError(`attacker "p4d" compares with the model before unlearning: choose the weights that were unlearned, they are left out of it`);
  job.news({ type: "phase", text: "loading the model" });
  const model = await session.model(choice);
  const candidates = from ? parseCandidates(from.name, await from.file.text(), seed) : [];
  const opened = await session.judge(judge, choice); // a wrong label shows before the first picture is drawn
  const target = dropped && fitTarget(await readPictureFile(dropped.name, dropped.file), model);
  const files = await fileRecords(library, session, choice, job);
  for (const [role, given] of [["target", dropped], ["prompts", from]] as const) if (given) files.push({ role, path: given.name, bytes: given.file.size, sha256: await sha256Blob(given.file) });
  const record = newRecord(request, model, files, target?.fitted ?? "");
  const head: RunHead = { record, choice, judge, candidates, showImages, hasTarget: target !== null };
  return run(place, model, opened, await RunLog.create(store, head, target?.image), job);
}

/** The unfinished attack of this browser, from where it stood. @throws as `startAttack`; FormatError if its files are damaged */
export async function resumeAttack(place: RunPlace, job: AttackJob): Promise<AttackResult> {
  job.news({ type: "phase", text: "reading the log" });
  const log = await RunLog.reopen(place.store);
  job.news({ type: "phase", text: "loading the model" });
  const { choice, judge } = log.head;
  const model = await place.session.model(choice);
  return run(place, model, await place.session.judge(judge, choice), log, job);
}

async function run({ session }: RunPlace, model: StableDiffusion, { judge }: OpenJudge, log: RunLog, job: AttackJob): Promise<AttackResult> {
  const { head, target, saved } = log;
  const { settings } = head.record;
  const original = settings.attacker === "p4d" ? await session.original(head.choice) : undefined;
  const { candidates } = head;
  const options: AttackOptions = { ...engineOptions(settings), judge, candidates, ...(original && { original }), watchSlots: true, signal: job.signal, ...(target && { target: imagesToTensor([target]) }), ...(saved && { resume: saved.state }) };
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
      case "slots":
        job.news({ type: "slots", slots: event.slots.map((slot) => slot.map(({ id, share }) => ({ piece: model.tokenizer.decode([id]), share }))) });
    }
    await job.unpaused();
  };
  try {
    const result = await attack(model, options, onEvent);
    job.news({ type: "files", status: "finished", ...(await log.finish("finished", result, null, model)) });
    return result;
  } catch (error) {
    const status = error instanceof Error && error.name === "AbortError" ? "interrupted" : "failed";
    job.news({ type: "files", status, ...(await log.finish(status, null, errorMessage(error), model)) });
    throw error;
  } finally {
    await session.release();
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
  const { attacker, prompt, seed, tokens, insert, vocabulary, iterations, timesteps, learningRate, weightDecay, loss, projection, randomInit, steps, scheduler, guidance, maxTimesteps, attackSeed } = settings;
  return {
    attacker, prompt, seed, tokens, insert, vocabulary, iterations, timesteps, learningRate, weightDecay, loss, projection, randomInit, steps, scheduler, guidance,
    ...(maxTimesteps !== null && { maxTimesteps }),
    ...(attackSeed !== null && { attackSeed }),
  };
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

function newRecord({ settings, choice, judge }: AttackRequest, model: StableDiffusion, files: readonly FileRecord[], targetFitted: string): RunRecord {
  const { device } = model;
  const weights = choice.weights === "f16" ? ["--weights", "f16"] : [];
  return {
    form: "lethe attack run 1",
    status: "running",
    error: null,
    command: shellCommand(["npx", "lethe", "attack", ...settingsAsFlags(settings), ...weights, "--out", "attack"]),
    resumeCommand: "",
    settings,
    rule: judgeRule(judge.name, judge.choice),
    targetFitted,
    device: { adapter: device.description, driver: device.info.description, limits: "adapter", weights: choice.weights, math: "f32", kernels: describeChoice(device.kernels), bufferSharing: device.bufferSharing, robust: device.info.robust },
    versions: { lethe: VERSION, platform: navigator.userAgent },
    files,
    started: new Date().toISOString(),
    ended: null,
    seconds: 0,
    peakBytes: 0,
    result: null,
  };
}
