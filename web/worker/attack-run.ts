import type { AttackEvent, AttackResult } from "../../engine/attack/events.ts";
import type { OpenJudge } from "../../engine/attack/judges/open.ts";
import { resolveAttack } from "../../engine/attack/resolve.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { blobSource } from "../../engine/formats/byte-source.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { type RgbImage, imagesToTensor } from "../../engine/formats/picture/image.ts";
import { parseConceptPairs } from "../../engine/run/concept-pairs.ts";
import { parseCandidates } from "../../engine/run/candidates.ts";
import { executeRun } from "../../engine/run/execute.ts";
import { RunFiles } from "../../engine/run/files.ts";
import type { LoggedEvaluation } from "../../engine/run/log.ts";
import type { DoneBefore, PreparedRun } from "../../engine/run/prepared.ts";
import { type FileRecord, type RunRecord, newRecord } from "../../engine/run/record.ts";
import { needsOf } from "../../engine/run/settings/needs.ts";
import { resumedSettings } from "../../engine/run/settings/settings.ts";
import { type Target, loadTarget } from "../../engine/run/target.ts";
import type { AttackRequest, Choice, NamedFile } from "../protocol.ts";
import { bitmapOf } from "./bitmap.ts";
import type { Job } from "./job.ts";
import type { Library } from "./files/library.ts";
import { runStore } from "./files/run-store.ts";
import { sha256Blob } from "./files/sha256.ts";
import type { Store } from "./files/store.ts";
import { type RunHead, clearRun, offeredFiles, readHead, writeHead } from "./run-head.ts";
import type { Session } from "./session.ts";

export interface RunPlace {
  readonly session: Session;
  readonly library: Library;
  readonly store: Store;
}

type AttackJob = Job<"attack"> | Job<"resume">;

/** A new attack, from the first picture to the report. @throws what the attack throws, after its files have been given out */
export async function startAttack(place: RunPlace, request: AttackRequest, job: AttackJob): Promise<AttackResult> {
  const { session, library, store } = place;
  const { choice, settings, judge, target: dropped, from, pairs, control: other, showImages } = request;
  job.news({ type: "phase", text: "loading the model" });
  const model = await session.model(choice);
  const candidates = from ? parseCandidates(from.name, await from.file.text(), settings.seed) : [];
  const conceptPairs = pairs ? parseConceptPairs(pairs.name, await pairs.file.text()) : undefined;
  const opened = await session.judge(judge, choice); // a wrong label shows before the first picture is drawn
  const fitted = ({ name, file }: NamedFile): Promise<Target> => loadTarget(blobSource(name, file), model);
  const target = dropped ? await fitted(dropped) : undefined;
  const control = other ? await fitted(other) : undefined;
  const files = await fileRecords(library, session, choice, job);
  for (const [role, given] of [
    ["target", dropped],
    ["prompts", from],
    ["concept pairs", pairs],
    ["control picture", other],
  ] as const)
    if (given) files.push({ role, path: given.name, bytes: given.file.size, sha256: await sha256Blob(given.file) });
  const hasTarget = target !== undefined;
  const hasControl = control !== undefined;
  const head: RunHead = { choice, judge, candidates, ...(conceptPairs && { conceptPairs }), showImages, hasTarget, hasControl };
  await writeHead(store, head, target?.image, control?.image);
  const begun = { model, record: recordOf(request, model, opened.rule, files, target?.fitted ?? ""), target, control: control?.image };
  return run(place, head, opened, begun, job);
}

/** The unfinished attack of this browser, from where it stood. @throws as `startAttack`; FormatError if its files are damaged */
export async function resumeAttack(place: RunPlace, job: AttackJob): Promise<AttackResult> {
  job.news({ type: "phase", text: "reading the log" });
  const found = await readHead(place.store);
  if (!found) throw new FormatError("run.json", "there is no unfinished attack");
  const { head, record, target: image, control } = found;
  resumedSettings({}, record.settings, "this browser");
  const saved = await new RunFiles(runStore(place.store)).saved();
  job.news({ type: "phase", text: "loading the model" });
  const model = await place.session.model(head.choice);
  const opened = await place.session.judge(head.judge, head.choice);
  const target: Target | undefined = image && {
    file: record.settings.target ?? "",
    image,
    array: imagesToTensor([image]),
    fitted: record.targetFitted,
  };
  const begun = { model, record: { ...record, status: "running", error: null, ended: null } as const, target, saved, control };
  return run(place, head, opened, begun, job);
}

interface Begun extends Pick<PreparedRun, "model" | "record" | "target" | "saved"> {
  /** The control picture. */
  readonly control: RgbImage | undefined;
}

async function run(
  { session, store }: RunPlace,
  { choice, candidates, conceptPairs, showImages }: RunHead,
  judge: OpenJudge,
  { control, ...begun }: Begun,
  job: AttackJob,
): Promise<AttackResult> {
  const offer = async (): Promise<void> => job.news({ type: "files", ...(await offeredFiles(store)) });
  let done: DoneBefore | undefined;
  try {
    const { models, values, given } = needsOf(begun.record.settings);
    const original = models.original && choice.overlay !== null ? await session.original(choice) : undefined;
    const controlPicture = control && imagesToTensor([control]);
    const options = resolveAttack(begun.model, values, {
      ...given, judge: judge.judge, target: begun.target?.array, original, candidates, conceptPairs, controlPicture,
    });
    const files = new RunFiles(runStore(store));
    const prepared: PreparedRun = { ...begun, judge, options, files, extras: { showImages, showPrompts: showImages } };
    const { result } = await executeRun(prepared, {
      signal: job.signal,
      watchSlots: true,
      onResume: (before) => void (done = before),
      async onEvent(event, logged) {
        if (event.type === "start") tellStart(prepared, done, event.totalIterations, job);
        else tell(event, logged, begun.model, job);
        await job.unpaused();
      },
    });
    await offer();
    await clearRun(store); // a finished run is the visitor's to keep
    return result!;
  } catch (error) {
    await offer().catch(() => undefined); // it failed before it had files
    throw error;
  } finally {
    await session.release();
  }
}

function tell(
  event: Exclude<AttackEvent, { type: "start" }>,
  logged: LoggedEvaluation | undefined,
  model: StableDiffusion,
  job: AttackJob,
): void {
  switch (event.type) {
    case "losses":
      return job.news({ type: "losses", timestep: event.timestep, losses: event.losses });
    case "sampling":
      return job.news(event);
    case "evaluation":
      return job.news({ type: "evaluation", evaluation: logged!, picture: bitmapOf(event.image) });
    case "skipped":
      return job.news({ type: "evaluation", evaluation: logged!, picture: null });
    case "slots":
      return job.news({
        type: "slots",
        slots: event.slots.map((slot) => slot.map(({ id, share }) => ({ piece: model.tokenizer.decode([id]), share }))),
      });
    case "state":
      return;
  }
}

/** The start, and for a resumed run all that was seen before. */
function tellStart({ record, target, saved }: PreparedRun, done: DoneBefore | undefined, totalIterations: number, job: AttackJob): void {
  job.news({
    type: "start",
    totalIterations,
    iteration: saved?.state.iteration ?? 0,
    label: record.settings.label ?? "",
    resumed: saved !== undefined,
    settings: record.settings,
  });
  if (target) job.news({ type: "target", picture: bitmapOf(target.image) });
  if (!done) return;
  const { losses, timesteps } = done.curve;
  losses.forEach((loss, i) => job.news({ type: "losses", timestep: timesteps[i]!, losses: [loss] }));
  for (const evaluation of done.evaluations) {
    const picture = evaluation.image === null ? undefined : done.pictures.get(evaluation.image);
    job.news({ type: "evaluation", evaluation, picture: picture ? bitmapOf(picture) : null });
  }
}

async function fileRecords(library: Library, session: Session, choice: Choice, job: AttackJob): Promise<FileRecord[]> {
  const work = { signal: job.signal, news: ({ text }: { text: string }) => job.news({ type: "phase", text }) };
  const records: FileRecord[] = [];
  const role = (path: string): string =>
    path === choice.overlay ? "overlay" : path === choice.model ? "model" : (path.slice(choice.model.length + 1).split("/")[0] ?? "model");
  for (const path of session.modelPaths) records.push({ role: role(path), path, ...(await library.fileRecord(path, work)) });
  for (const path of session.judgePaths) records.push({ role: "judge", path, ...(await library.fileRecord(path, work)) });
  return records;
}

function recordOf(
  { settings, choice: { weights } }: AttackRequest,
  model: StableDiffusion,
  rule: string,
  files: readonly FileRecord[],
  targetFitted: string,
): RunRecord {
  const flags = [...(weights === "f16" ? ["--weights", "f16"] : []), "--out", "attack"];
  return newRecord(
    { settings, rule, targetFitted },
    { device: model.device, limits: "adapter", weights, math: "f32", platform: navigator.userAgent, flags },
    files,
  );
}
