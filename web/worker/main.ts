/** The Worker: owns the device, the files and the run's log, and does what the page asks, one piece of device work at a time. */
import { UsageError } from "../../engine/runtime/errors.ts";
import { SELF_TESTS, selfTest } from "../../engine/verify/self-test/index.ts";
import type { CallName, Calls, FromWorker, ToWorker } from "../protocol.ts";
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
const session = new (class {
  private made: Promise<{ library: Library; session: Session }> | undefined;
  /** Opened with the first call, so that a failure is that call's. */
  get(): Promise<{ library: Library; session: Session }> {
    this.made ??= Library.open().then((library) => ({ library, session: new Session(library, (lost) => post({ lost })) }));
    this.made.catch(() => (this.made = undefined));
    return this.made;
  }
})();
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

/** Fetching of bundled files shows in the call that needed them. */
async function open(news: (progress: { text: string; done?: number }) => void): Promise<{ library: Library; session: Session }> {
  const opened = await session.get();
  opened.library.bundled.onProgress = news;
  return opened;
}

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

const quiet = (): void => undefined;

const HANDLERS: { readonly [N in CallName]: Handler<N> } = {
  device: async () => (await open(quiet)).session.report(),
  entries: async () => (await open(quiet)).library.entries(),
  drop: async ({ files }) => (await open(quiet)).library.drop(files),
  download: async ({ url, sha256 }, job) => (await open(quiet)).library.download(url, sha256, job),
  keep: async ({ id }, job) => (await open(quiet)).library.keep(id, job),
  check: async ({ id }, job) => (await open(job.news)).library.check(id, job),
  async remove({ id }) {
    await (await open(quiet)).library.remove(id);
    return null;
  },
  async storage() {
    const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
    return { used: usage, quota, persistent: (await navigator.storage?.persisted?.()) ?? false, opfs: (await runStore).lasting };
  },
  need: async (choice, job) => inTurn(job, async () => needOf(await (await open(job.news)).session.model(choice))),
  labels: async ({ classifier }, job) => inTurn(job, async () => (await open(job.news)).session.labels(classifier)),
  draw: async (request, job) =>
    inTurn(job, async () => draw((await open((p) => job.news({ type: "progress", ...p }))).session, request, job)),
  attack: async (request, job) =>
    inTurn(job, () =>
      alone(async () =>
        startAttack({ ...(await open(({ text }) => job.news({ type: "phase", text }))), store: await runStore }, request, job),
      ),
    ),
  classify: async (request, job) => inTurn(job, async () => classify((await open(job.news)).session, request, job)),
  erase: async (request, job) =>
    inTurn(job, async () => {
      const { session: opened, library } = await open(({ text }) => job.news({ type: "phase", text }));
      return erase(opened, library, request, job);
    }),
  quality: async (request, job) =>
    inTurn(job, async () => {
      const { session: opened, library } = await open(job.news);
      return score(opened, library, request, job);
    }),
  async unfinished() {
    const found = (await attackedElsewhere()) ? undefined : await unfinishedRun(await runStore);
    if (!found) return null;
    const { library } = await open(quiet);
    const { head: { choice, judge }, record } = found;
    const ids = new Set((await library.entries()).map((e) => e.id));
    const wanted = [choice.model, choice.overlay, judge.choice.model, judge.name === "diffusion" ? undefined : judge.choice.prompts];
    const missing = wanted.filter((id) => typeof id === "string" && !ids.has(id));
    return {
      settings: record.settings,
      started: record.started,
      iteration: found.iteration,
      evaluations: found.evaluations,
      missing: missing.join(", "),
    };
  },
  resume: async (_, job) =>
    inTurn(job, () =>
      alone(async () => resumeAttack({ ...(await open(({ text }) => job.news({ type: "phase", text }))), store: await runStore }, job)),
    ),
  async discard() {
    await clearRun(await runStore);
    return null;
  },
  verify: async (_, job) => inTurn(job, async () => {
    const opened = await open(quiet);
    return verifyBundled(opened.session, opened.library, job);
  }),
  selfTest: async (_, job) => inTurn(job, async () => {
    const device = await (await open(quiet)).session.device();
    return selfTest(device, (row, done) => {
      job.news({ row, done, total: SELF_TESTS.length });
      job.signal.throwIfAborted();
    });
  }),
  bench: async (_, job) => inTurn(job, async () => bench(await (await open(quiet)).session.device(), job)),
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
