import { type MultiBar, type SingleBar, default as cliProgress } from "cli-progress";
import { formatDuration } from "../engine/run/text/format.ts";

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

const LINE_INTERVAL_MS = 5000;

/** Starts showing progress. The bar takes the terminal's last line until `stop`. */
export function startProgress(title: string, quiet: boolean): Progress {
  if (quiet) return { update: () => undefined, say: () => undefined, stop: () => undefined };
  const started = performance.now();
  const eta = (fraction: number, given: number | undefined): string => {
    const elapsed = (performance.now() - started) / 1000;
    const seconds = given ?? (fraction > 0 ? (elapsed * (1 - fraction)) / fraction : Number.NaN);
    return Number.isFinite(seconds) ? formatDuration(seconds) : "?";
  };
  return process.stderr.isTTY ? terminalProgress(title, eta) : lineProgress(title, eta);
}

type Eta = (fraction: number, given: number | undefined) => string;

function terminalProgress(title: string, eta: Eta): Progress {
  const bars: MultiBar = new cliProgress.MultiBar({
    format: "{title} {bar} {percentage}%  eta {left}  {note}",
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
    stopOnComplete: false,
    gracefulExit: false, // Ctrl-C is ours: the run is finished cleanly
  });
  const bar: SingleBar = bars.create(1000, 0, { title, left: "?", note: "" });
  return {
    update: (fraction, note, given) => bar.update(Math.round(1000 * Math.min(1, fraction)), { title, left: eta(fraction, given), note }),
    say(line) {
      bars.log(`${line}\n`);
      bars.update();
    },
    stop: () => bars.stop(),
  };
}

function lineProgress(title: string, eta: Eta): Progress {
  let next = performance.now() + LINE_INTERVAL_MS;
  return {
    update(fraction, note, given) {
      if (performance.now() < next) return;
      next = performance.now() + LINE_INTERVAL_MS;
      process.stderr.write(`${title} ${Math.floor(100 * fraction)}%  eta ${eta(fraction, given)}  ${note}\n`);
    },
    say: (line) => void process.stderr.write(`${line}\n`),
    stop: () => undefined,
  };
}
