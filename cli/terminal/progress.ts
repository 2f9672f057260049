import { clearScreenDown } from "node:readline";
import { type MultiBar, type Options, type SingleBar, default as cliProgress } from "cli-progress";
import stringWidth from "string-width";
import { formatDuration } from "../../engine/run/text/format.ts";
import { colours, widthOf, wrapped } from "./style.ts";

/** Progress of one piece of work on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing when quiet. */
export interface Progress {
  /**
   * @param fraction 0 to 1 of the whole; `note` says what is under way.
   * @param given seconds left as the caller knows them, NaN while it does not; by default from the pace so far
   * @param found the best so far; a line of its own below the bar
   */
  update(fraction: number, note: string, given?: number, found?: string): void;
  /** A line of prose that does not disturb the bar. */
  say(line: string): void;
  stop(): void;
}

/** Progress as a command's context shows it. */
export interface ShownProgress extends Progress {
  /**
   * Of the device's shaders so many are compiled, of so many asked for: told often. Where nothing else happens for a second, these stand
   * in the note's place.
   */
  compiling(compiled: number, asked: number): void;
}

const LINE_INTERVAL_MS = 5000;
const BAR = 20;
/** Work that says nothing for so long waits for shaders, where there are new ones. */
const WAITING_MS = 1000;
/** An estimate is not worth showing before so many seconds, and so many updates. */
const EARLY = { seconds: 4, updates: 3 };

/** What is shown. */
interface State {
  fraction: number;
  note: string;
  found: string;
  left: number | undefined;
  compiling: string;
}

/** Starts showing progress. The bar takes the terminal's last line, or the last two, until `stop`. */
export function startProgress(title: string, quiet: boolean): ShownProgress {
  if (quiet) return { update: () => undefined, compiling: () => undefined, say: () => undefined, stop: () => undefined };
  const started = performance.now();
  const state: State = { fraction: 0, note: "", found: "", left: undefined, compiling: "" };
  const shown = process.stderr.isTTY ? bar(title, state) : lines(title, state);
  const left = pace();
  const shaders = newShaders();
  let updated = started;
  return {
    ...shown,
    update(fraction, note, given, found = "") {
      const seconds = given === undefined ? left(fraction) : given;
      const worth = Number.isFinite(seconds) && performance.now() - started >= 1000 * EARLY.seconds;
      Object.assign(state, { fraction: Math.min(1, fraction), note, found, left: worth ? seconds : undefined, compiling: "" });
      shaders.ran();
      updated = performance.now();
      shown.show();
    },
    compiling(compiled, asked) {
      const now = shaders.counted(compiled, asked);
      const before = state.compiling;
      state.compiling = performance.now() - updated > WAITING_MS ? now : "";
      if (before !== "" || state.compiling !== "") shown.show();
    },
  };
}

/**
 * What is known of shaders that are waited for. A program asks for all of its own at once and waits for them, so that where more are asked
 * for, another one begins to count. Some drivers compile only when a shader first runs: that is told until something has run.
 */
function newShaders(): { counted(compiled: number, asked: number): string; ran(): void } {
  let seen: { readonly compiled: number; readonly asked: number } | undefined;
  let [program, run] = [0, 0];
  return {
    counted(compiled, asked) {
      if (!seen) [program, run] = [compiled, compiled];
      else if (asked > seen.asked && compiled >= seen.asked) program = seen.asked;
      seen = { compiled, asked };
      if (compiled < asked) return `compiling shaders ${compiled - program} of ${asked - program}`;
      return asked > run ? `compiling ${asked - run} shaders at their first run` : "";
    },
    ran() {
      if (seen) run = seen.compiled;
    },
  };
}

/**
 * Seconds left by the pace since the first update: what came before it compiled shaders, or was done by an earlier run. A fraction that
 * falls begins another part.
 * @returns NaN while that says nothing
 */
function pace(): (fraction: number) => number {
  let from = { fraction: Number.POSITIVE_INFINITY, at: 0, updates: 0 };
  return (fraction) => {
    const now = performance.now();
    if (fraction < from.fraction) from = { fraction, at: now, updates: 0 };
    else from.updates++;
    const [done, seconds] = [fraction - from.fraction, (now - from.at) / 1000];
    return from.updates >= EARLY.updates && seconds >= EARLY.seconds ? (seconds * (1 - fraction)) / done : Number.NaN;
  };
}

/** "0:12 left  step 4 of 10": what is under way, in words. */
function words({ note, left, compiling }: State): string {
  return [left === undefined || compiling ? "" : `${formatDuration(left)} left`, compiling || note].filter(Boolean).join("  ");
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
  const second = (): string => cut(`  ${state.found}`, (widthOf(process.stderr) ?? 80) - 1);
  const bars: MultiBar = new cliProgress.MultiBar({
    format,
    hideCursor: true,
    clearOnComplete: true,
    forceRedraw: true, // what is said stands where the bar was, which is not drawn again if it did not change
    stream: process.stderr,
    stopOnComplete: false,
    gracefulExit: false, // Ctrl-C is ours: the run is finished cleanly
    linewrap: null, // a line is never longer than the terminal
  });
  const one: SingleBar = bars.create(1000, 0);
  let below: SingleBar | undefined;
  let said = false;
  bars.on("redraw-pre", () => {
    if (said) clearScreenDown(process.stderr); // the line below the bar is not where it was either
    said = false;
  });
  return {
    show() {
      if (state.found !== "") below ??= bars.create(1, 0, {}, { format: second });
      one.update(Math.round(1000 * state.fraction));
    },
    say(line) {
      said = true;
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
      process.stderr.write(`${[`${title} ${Math.floor(100 * state.fraction)}%`, words(state), state.found].filter(Boolean).join("  ")}\n`);
    },
    say: (line) => void process.stderr.write(`${line}\n`),
    stop: () => undefined,
  };
}
