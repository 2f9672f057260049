/** Long work and the browser's wish to stop pages that nobody looks at. */

/**
 * Keeps the screen on and the page from being frozen while `work` goes on, and says in the title how far it is.
 * A browser holds no page with a lock; the wake lock ends whenever the page is hidden and is asked for again.
 */
export async function whileAwake<T>(work: () => Promise<T>): Promise<T> {
  let sentinel: WakeLockSentinel | undefined;
  const ask = async (): Promise<void> => {
    if (document.visibilityState !== "visible") return;
    sentinel = await navigator.wakeLock?.request("screen").catch(() => undefined); // refused on low battery: then the screen may go off
  };
  document.addEventListener("visibilitychange", ask);
  void ask();
  try {
    return navigator.locks ? await navigator.locks.request("lethe-work", { mode: "shared" }, work) : await work();
  } finally {
    document.removeEventListener("visibilitychange", ask);
    void sentinel?.release();
    document.title = "Lethe";
  }
}

/** Tells, when the page is seen again, how long it has been hidden since work began. @returns what ends the watch */
export function watchHidden(onReturn: (seconds: number) => void): () => void {
  let since = document.hidden ? performance.now() : undefined;
  let total = 0;
  const listener = (): void => {
    if (document.hidden) since ??= performance.now();
    else if (since !== undefined) {
      total += (performance.now() - since) / 1000;
      since = undefined;
      onReturn(total);
    }
  };
  document.addEventListener("visibilitychange", listener);
  return () => document.removeEventListener("visibilitychange", listener);
}
