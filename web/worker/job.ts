import type { CallName, Calls } from "../protocol.ts";

/** A call under way: how it tells of its progress, and how the page stops or halts it. */
export class Job<N extends CallName = CallName> {
  private readonly controller = new AbortController();
  private halted: { readonly over: Promise<void>; readonly release: () => void } | undefined;

  constructor(readonly news: (news: Calls[N]["news"]) => void) {}

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  cancel(): void {
    this.controller.abort();
    this.pause(false);
  }

  pause(on: boolean): void {
    if (!on) {
      this.halted?.release();
      this.halted = undefined;
    } else if (!this.halted && !this.signal.aborted) {
      let release = (): void => undefined;
      const over = new Promise<void>((resolve) => (release = resolve));
      this.halted = { over, release };
    }
  }

  /** Waits while the job is paused. @throws AbortError if it was cancelled meanwhile */
  async unpaused(): Promise<void> {
    await this.halted?.over;
    this.signal.throwIfAborted();
  }
}
