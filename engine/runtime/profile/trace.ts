import type { ProfiledProgram } from "./profiler.ts";

/** One event of the Trace Event Format ("X": a span with a length; "M": a name), times in microseconds. */
export interface TraceEvent {
  readonly name: string;
  readonly ph: "X" | "M";
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly args: Readonly<Record<string, string | number>>;
}

const GPU = 1;

/**
 * Profiled programs as events that chrome://tracing and Perfetto open ("traceEvents" of the Trace Event Format): a row for each program, a
 * span for each dispatch, with the op's module path and its rates. Programs were measured apart from each other and are laid out one after
 * the other.
 */
export function traceEvents(adapter: string, programs: readonly ProfiledProgram[]): TraceEvent[] {
  const events: TraceEvent[] = [{ name: "process_name", ph: "M", pid: GPU, tid: 0, args: { name: adapter } }];
  let origin = 0;
  programs.forEach(({ program, runs, rows }, i) => {
    const tid = i + 1;
    events.push({ name: "thread_name", ph: "M", pid: GPU, tid, args: { name: `${program} (mean of ${runs})` } });
    let end = 0;
    for (const { kernel, name, workgroups, start, milliseconds, flops, bytes } of rows) {
      const rate: Readonly<Record<string, number>> =
        milliseconds > 0 ? { "GFLOP/s": flops / 1e6 / milliseconds, "GB/s": bytes / 1e6 / milliseconds } : {};
      events.push({
        name: kernel,
        cat: "dispatch",
        ph: "X",
        pid: GPU,
        tid,
        ts: (origin + start) * 1000,
        dur: milliseconds * 1000,
        args: { op: name, workgroups, flops, bytes, ...rate },
      });
      end = Math.max(end, start + milliseconds);
    }
    origin += end;
  });
  return events;
}
