import type { ConceptPair } from "../../engine/attack/search/concept-vector.ts";
import type { TransferCandidate } from "../../engine/attack/options.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { decodePng, encodePng } from "../../engine/platform/picture/png-codec.ts";
import { RUN_FILES, RunFiles } from "../../engine/run/files.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import type { Choice, JudgeRequest, RunFiles as OfferedFiles } from "../protocol.ts";
import { runStore } from "./files/run-store.ts";
import type { Store } from "./files/store.ts";

/** What the page needs to go on with a run, besides what every run keeps. */
export interface RunHead {
  readonly choice: Choice;
  readonly judge: JudgeRequest;
  /** transfer: what is tried. */
  readonly candidates: readonly TransferCandidate[];
  /** ring-a-bell: what the concept is told by. */
  readonly conceptPairs?: readonly ConceptPair[];
  readonly showImages: boolean;
  readonly hasTarget: boolean;
  readonly hasControl: boolean;
}

const HEAD = "page.json";
const TARGET = "target.png";
const CONTROL = "control.png";

/** Takes away whatever a run has left. */
export async function clearRun(store: Store): Promise<void> {
  for (const name of await store.names()) await store.remove(name);
}

/** Writes what begins a run, in place of any other. */
export async function writeHead(store: Store, head: RunHead, target: RgbImage | undefined, control: RgbImage | undefined): Promise<void> {
  await clearRun(store);
  if (target) await store.write(TARGET, encodePng(target));
  if (control) await store.write(CONTROL, encodePng(control));
  await store.write(HEAD, JSON.stringify(head));
}

/** What a run was begun with. */
interface Begun {
  readonly head: RunHead;
  readonly record: RunRecord;
  readonly target: RgbImage | undefined;
  readonly control: RgbImage | undefined;
}

/** What the unfinished run of a store was begun with; undefined if there is none. @throws FormatError if it is damaged */
export async function readHead(store: Store): Promise<Begun | undefined> {
  const blob = await store.read(HEAD);
  const record = await new RunFiles(runStore(store)).earlier();
  if (!blob || !record) return undefined;
  const head = JSON.parse(await blob.text()) as RunHead;
  const picture = async (name: string, there: boolean): Promise<RgbImage | undefined> => {
    if (!there) return undefined;
    const bytes = await runStore(store).read(name);
    if (!bytes) throw new FormatError(name, "is missing from the unfinished attack: discard it and start anew");
    return decodePng(name, bytes);
  };
  return { head, record, target: await picture(TARGET, head.hasTarget), control: await picture(CONTROL, head.hasControl) };
}

/** What is known of the unfinished run in a store, if there is one. @throws FormatError if it is damaged */
export async function unfinishedRun(
  store: Store,
): Promise<{ readonly head: RunHead; readonly record: RunRecord; readonly iteration: number; readonly evaluations: number } | undefined> {
  const found = await readHead(store);
  if (!found) return undefined;
  const saved = await new RunFiles(runStore(store)).saved();
  return { ...found, iteration: saved?.state.iteration ?? 0, evaluations: saved?.state.evaluations.length ?? 0 };
}

/** The run's files as the page offers them. */
export async function offeredFiles(store: Store): Promise<OfferedFiles> {
  const typed = async (name: string, type: string): Promise<Blob | null> => {
    const blob = await store.read(name);
    return blob ? new Blob([await blob.arrayBuffer()], { type }) : null; // a copy: the file may be removed
  };
  const [report, log, record] = [
    await typed(RUN_FILES.report, "text/html"),
    await typed(RUN_FILES.log, "application/jsonl"),
    await typed(RUN_FILES.record, "application/json"),
  ];
  if (!report || !log || !record) throw new FormatError(RUN_FILES.report, "was not written");
  return { report, log, record, learned: await typed(RUN_FILES.learned, "application/octet-stream") };
}
