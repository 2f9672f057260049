/** The Worker: owns the device, the files and the run's log, and does what the page asks, one piece of device work at a time. */
import { UsageError } from "../../engine/runtime/errors.ts";
import { SELF_TESTS, selfTest } from "../../engine/verify/self-test/index.ts";
import type { CallName, Calls, FromWorker, Progress, ToWorker } from "../protocol.ts";
import { resumeAttack, startAttack } from "./attack-run.ts";
import { bench, verifyBundled } from "./checks.ts";
import { classify } from "./classify.ts";
import { draw } from "./draw.ts";
import { erase } from "./erase-run.ts";
import { Job } from "./job.ts";
import { Library } from "./files/library.ts";
import { needOf } from "./need.ts";
import { score } from "./quality-run.ts";
import { clearRun, unfinishedRun } from "./run-head.ts";
import { Session } from "./session.ts";
import { openStore } from "./files/store.ts";

const post = (message: FromWorker): void => self.postMessage(message);
const runStore = openStore("run");

type Handler<N extends CallName> = (args: Calls[N]["args"], job: Job<N>) => Promise<Calls[N]["result"]>;

let busy: Promise<unknown> = Promise.resolve();

/** Waits for the device work before it: two models at once may be more than the device holds. */
function inTurn<T>(job: { readonly signal: AbortSignal }, work: () => Promise<T>): Promise<T> {
  const result = busy.then(() => {
    job.signal.throwIfAborted();
    return work();
  });
  busy = result.catch(() => undefined); // the next in line does not care how this one ended
  return result;
}

/** What calls work with. */
interface Opened {
  readonly library: Library;
  readonly session: Session;
}

let opening: Promise<Opened> | undefined;

/** Opened with the first call, so that a failure is that call's. Fetching of bundled files shows in the call that needed them. */
async function open(news: (progress: Progress) => void = () => undefined): Promise<Opened> {
  opening ??= Library.open().then((library) => ({ library, session: new Session(library, (lost) => post({ lost })) }));
  opening.catch(() => (opening = undefined));
  const opened = await opening;
  opened.library.bundled.onProgress = news;
  return opened;
}

/** Answers a call in its turn at the device. @param told how fetching shows in the call's news; undefined: not at all */
function onDevice<N extends CallName>(
  told: ((progress: Progress) => Calls[N]["news"]) | undefined,
  work: (opened: Opened, args: Calls[N]["args"], job: Job<N>) => Promise<Calls[N]["result"]>,
): Handler<N> {
  return (args, job) => inTurn(job, async () => work(await open(told && ((progress) => job.news(told(progress)))), args, job));
}

const asIs = (progress: Progress): Progress => progress;
const asPhase = ({ text }: Progress): { readonly type: "phase"; readonly text: string } => ({ type: "phase", text });

/** The run's log is one tab's at a time. @throws UsageError if another tab is attacking */
function alone<T>(work: () => Promise<T>): Promise<T> {
  if (!navigator.locks) return work();
  return navigator.locks.request("lethe-run", { ifAvailable: true }, (lock) => {
    if (!lock) {
      throw new UsageError(
        "an attack is under way in another tab of this page: its log would be overwritten; wait for it, or cancel it there",
      );
    }
    return work();
  });
}

async function attackedElsewhere(): Promise<boolean> {
  return ((await navigator.locks?.query())?.held ?? []).some((lock) => lock.name === "lethe-run");
}

const HANDLERS: { readonly [N in CallName]: Handler<N> } = {
  device: async () => (await open()).session.report(),
  entries: async () => (await open()).library.entries(),
  drop: async ({ files }) => (await open()).library.drop(files),
  download: async ({ url, sha256 }, job) => (await open()).library.download(url, sha256, job),
  keep: async ({ id }, job) => (await open()).library.keep(id, job),
  check: async ({ id }, job) => (await open(job.news)).library.check(id, job),
  async remove({ id }) {
    await (await open()).library.remove(id);
    return null;
  },
  async storage() {
    const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
    return { used: usage, quota, persistent: (await navigator.storage?.persisted?.()) ?? false, opfs: (await runStore).lasting };
  },
  need: onDevice(asIs, async ({ session }, choice) => needOf(await session.model(choice))),
  labels: onDevice(asIs, ({ session }, { classifier }) => session.labels(classifier)),
  draw: onDevice((progress) => ({ type: "progress", ...progress }), ({ session }, request, job) => draw(session, request, job)),
  attack: onDevice(asPhase, (opened, request, job) => alone(async () => startAttack({ ...opened, store: await runStore }, request, job))),
  classify: onDevice(asIs, ({ session }, request, job) => classify(session, request, job)),
  erase: onDevice(asPhase, ({ session, library }, request, job) => erase(session, library, request, job)),
  quality: onDevice(asIs, ({ session, library }, request, job) => score(session, library, request, job)),
  async unfinished() {
    const found = (await attackedElsewhere()) ? undefined : await unfinishedRun(await runStore);
    if (!found) return null;
    const { library } = await open();
    const { head: { choice, judge }, record } = found;
    const ids = new Set((await library.entries()).map((e) => e.id));
    const wanted = [choice.model, choice.overlay, judge.choice.model, judge.name === "diffusion" ? undefined : judge.choice.prompts];
    const missing = wanted.filter((id) => typeof id === "string" && !ids.has(id));
    const { iteration, evaluations } = found;
    return { settings: record.settings, started: record.started, iteration, evaluations, missing: missing.join(", ") };
  },
  resume: onDevice(asPhase, (opened, _, job) => alone(async () => resumeAttack({ ...opened, store: await runStore }, job))),
  async discard() {
    await clearRun(await runStore);
    return null;
  },
  verify: onDevice(undefined, ({ session, library }, _, job) => verifyBundled(session, library, job)),
  selfTest: onDevice(undefined, async ({ session }, _, job) =>
    selfTest(await session.device(), (row, done) => {
      job.news({ row, done, total: SELF_TESTS.length });
      job.signal.throwIfAborted();
    }),
  ),
  bench: onDevice(undefined, async ({ session }, _, job) => bench(await session.device(), job)),
};

const jobs = new Map<number, Pick<Job, "cancel" | "pause">>();

self.onmessage = ({ data }: MessageEvent<ToWorker>): void => {
  if ("cancel" in data) return jobs.get(data.id)?.cancel();
  if ("pause" in data) return jobs.get(data.id)?.pause(data.pause);
  void answer(data.id, data.call, data.args);
};

async function answer<N extends CallName>(id: number, call: N, args: unknown): Promise<void> {
  const job = new Job<N>((news) => post({ id, news }));
  jobs.set(id, job);
  try {
    post({ id, result: await HANDLERS[call](args as Calls[N]["args"], job) });
  } catch (error) {
    const { name, message } = error instanceof Error || error instanceof DOMException ? error : new Error(String(error));
    if (name !== "AbortError") console.warn(error);
    post({ id, failure: { name, message } });
  } finally {
    jobs.delete(id);
  }
}
