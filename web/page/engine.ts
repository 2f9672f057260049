import type { CallName, Calls, Failure, FromWorker, ToWorker } from "../protocol.ts";

/** What the Worker threw, under its own name. */
export class EngineError extends Error {
  constructor({ name, message }: Failure) {
    super(message);
    this.name = name;
  }
}

/** A call under way. */
export interface Running<T> {
  readonly result: Promise<T>;
  cancel(): void;
  pause(on: boolean): void;
}

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly news: (news: unknown) => void;
}

/** The engine in its Worker, as the page sees it. */
export class Engine {
  /** Told when the device is lost. */
  onLost: (message: string) => void = () => undefined;
  private readonly worker = new Worker(new URL("worker.js", document.baseURI), { type: "module", name: "lethe" });
  private readonly waiting = new Map<number, Waiting>();
  private next = 1;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>): void => {
      if ("lost" in data) return this.onLost(data.lost);
      const call = this.waiting.get(data.id);
      if (!call) return;
      if ("news" in data) return call.news(data.news);
      this.waiting.delete(data.id);
      if ("failure" in data) call.reject(new EngineError(data.failure));
      else call.resolve(data.result);
    };
    this.worker.onerror = (event): void => {
      for (const { reject } of this.waiting.values()) {
        reject(new EngineError({ name: "WorkerError", message: event.message || "the page's Worker could not be started" }));
      }
      this.waiting.clear();
    };
  }

  start<N extends CallName>(
    call: N,
    args: Calls[N]["args"],
    news: (news: Calls[N]["news"]) => void = () => undefined,
  ): Running<Calls[N]["result"]> {
    const id = this.next++;
    const send = (message: ToWorker): void => this.worker.postMessage(message);
    const result = new Promise<Calls[N]["result"]>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as Waiting["resolve"], reject, news: news as Waiting["news"] });
      send({ id, call, args });
    });
    return { result, cancel: () => send({ id, cancel: true }), pause: (on) => send({ id, pause: on }) };
  }

  call<N extends CallName>(call: N, args: Calls[N]["args"]): Promise<Calls[N]["result"]> {
    return this.start(call, args).result;
  }
}
