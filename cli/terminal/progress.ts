import { type MultiBar, type Options, type SingleBar, default as cliProgress } from "cli-progress";
import stringWidth from "string-width";
import { formatDuration } from "../../engine/run/text/format.ts";
import { colours, widthOf, wrapped } from "./style.ts";

/** Progress of one piece of work on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing when quiet. */
export interface Progress {
  /**
   * @param fraction 0 to 1 of the whole; `note` says what is under way.
   * @param etaSeconds estimated by the caller; by default from the elapsed time.
   */
  update(fraction: number, note: string, etaSeconds?: number): void;
  /** A line of prose that does not disturb the bar. */
  say(line: string): void;
  stop(): void;
}

/** Progress as a command's context shows it. */
export interface ShownProgress extends Progress {
  /** Shaders being compiled, which is what a first step waits for; it stands in the note's place while some are left. */
  compiling(done: number, total: number): void;
}

const LINE_INTERVAL_MS = 5000;
const BAR = 20;
/** An estimate is not worth showing before so many seconds and such a share of the work. */
const EARLY = { seconds: 4, share: 0.02 };

/** What is shown. */
interface State {
  fraction: number;
  note: string;
  left: number | undefined;
  compiling: { readonly done: number; readonly total: number } | undefined;
}

/** Starts showing progress. The bar takes the terminal's last line until `stop`. */
export function startProgress(title: string, quiet: boolean): ShownProgress {
  if (quiet) return { update: () => undefined, compiling: () => undefined, say: () => undefined, stop: () => undefined };
  const started = performance.now();
  const state: State = { fraction: 0, note: "", left: undefined, compiling: undefined };
  const shown = process.stderr.isTTY ? bar(title, state) : lines(title, state);
  return {
    ...shown,
    update(fraction, note, given) {
      const elapsed = (performance.now() - started) / 1000;
      const seconds = given ?? (elapsed * (1 - fraction)) / fraction;
      const worth = Number.isFinite(seconds) && elapsed >= EARLY.seconds && fraction >= EARLY.share;
      Object.assign(state, { fraction: Math.min(1, fraction), note, left: worth ? seconds : undefined });
      shown.show();
    },
    compiling(done, total) {
      const before = state.compiling;
      state.compiling = done < total ? { done, total } : undefined;
      if (before !== undefined || state.compiling !== undefined) shown.show();
    },
  };
}

/** "church  ████░░░░  40%  0:12 left  step 4 of 10" without the bar: what is under way, in words. */
function words({ note, left, compiling }: State): string {
  const now = compiling ? `compiling shaders ${compiling.done} of ${compiling.total}` : note;
  return [left === undefined || compiling ? "" : `${formatDuration(left)} left`, now].filter(Boolean).join("  ");
}

type Shown = Pick<Progress, "say" | "stop"> & { show(): void };

function bar(title: string, state: State): Shown {
  const paint = colours(process.stderr);
  const format = (_options: Options, { progress }: { readonly progress: number }): string => {
    const full = Math.round(progress * BAR);
    const head = `${title} ${"█".repeat(full)}${"░".repeat(BAR - full)} ${String(Math.floor(100 * progress)).padStart(3)}%  `;
    const room = (widthOf(process.stderr) ?? 80) - 1 - stringWidth(head);
    return `${paint.bold(title)}${paint.cyan(head.slice(title.length))}${cut(words(state), room)}`;
  };
  const bars: MultiBar = new cliProgress.MultiBar({
    format,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
    stopOnComplete: false,
    gracefulExit: false, // Ctrl-C is ours: the run is finished cleanly
    linewrap: null, // a line is never longer than the terminal
  });
  const one: SingleBar = bars.create(1000, 0);
  return {
    show: () => one.update(Math.round(1000 * state.fraction)),
    say(line) {
      bars.log(`${wrapped(line, widthOf(process.stderr))}\n`);
      bars.update();
    },
    stop: () => bars.stop(),
  };
}

/** Text that takes at most so many columns, with an ellipsis where it was longer. */
function cut(text: string, room: number): string {
  if (stringWidth(text) <= room) return text;
  let out = "";
  for (const char of text) {
    if (stringWidth(out + char) > room - 1) break;
    out += char;
  }
  return room > 0 ? `${out}…` : "";
}

function lines(title: string, state: State): Shown {
  let next = performance.now() + LINE_INTERVAL_MS;
  return {
    show() {
      if (performance.now() < next) return;
      next = performance.now() + LINE_INTERVAL_MS;
      process.stderr.write(`${title} ${Math.floor(100 * state.fraction)}%  ${words(state)}\n`);
    },
    say: (line) => void process.stderr.write(`${line}\n`),
    stop: () => undefined,
  };
}
