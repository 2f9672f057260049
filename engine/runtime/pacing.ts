/**
 * Aimed at for one command buffer: a twentieth of what desktops give a GPU before they reset it, and a thousand times what a submission
 * costs.
 */
export const TARGET_MS = 100;
/**
 * The device is asked about its progress when this much work was submitted since it was asked last; asking keeps Node's event loop turning.
 */
const ASK_MS = TARGET_MS / 2;
/** Work of the first buffer on a device of which nothing is known, in units: some 50 ms on two cores of a software adapter. */
const START_UNITS = 2e9;
/**
 * Units of a byte moved and of a dispatch, a floating-point operation being 1. Only how they compare matters, and only until a dispatch was
 * measured.
 */
const BYTE_UNITS = 8;
const DISPATCH_UNITS = 1e6;
/** A time below this is mostly that of the host's waking up, so that it only tells how long the work was at most. */
const COARSE_MS = 5;
/** No time is taken to be shorter, so that no rate becomes zero where clocks are coarse. */
const SHORTEST_MS = 0.01;
/** The most that one measurement changes a prediction: a laptop may have been asleep meanwhile. */
const MAX_CORRECTION = 8;

/** What the dispatches of a program are predicted to take. Each measurement of a command buffer corrects those it held. */
export class DispatchTimes {
  private milliseconds: Float64Array | undefined;
  /** By which measurement each was corrected last. */
  private readonly corrected: number[] = [];

  /** @param costs of each dispatch, in running order */
  constructor(private readonly costs: readonly { readonly flops: number; readonly bytes: number }[]) {}

  get count(): number {
    return this.costs.length;
  }

  /** Predicted work of the dispatches from and to, in units of their costs. */
  units(from = 0, to = this.count): number {
    let sum = 0;
    for (let i = from; i < to; i++) sum += this.costs[i]!.flops + BYTE_UNITS * this.costs[i]!.bytes + DISPATCH_UNITS;
    return sum;
  }

  /** Predicted milliseconds of dispatches. @param rate milliseconds of a unit on this device, for what was never measured */
  predict(rate: number, from = 0, to = this.count): number {
    this.milliseconds ??= Float64Array.from(this.costs, (_, i) => rate * this.units(i, i + 1));
    let sum = 0;
    for (let i = from; i < to; i++) sum += this.milliseconds[i]!;
    return sum;
  }

  /** Where a buffer that begins at `from` ends: what is left is shared out over buffers of about the target. */
  cut(rate: number | undefined, from: number): number {
    const size = (i: number): number => (rate === undefined ? this.units(i, i + 1) : this.predict(rate, i, i + 1));
    const left = rate === undefined ? Infinity : this.predict(rate, from);
    const aim = rate === undefined ? START_UNITS : left / Math.max(1, Math.round(left / TARGET_MS));
    let to = from + 1;
    for (let sum = size(from); to < this.count && sum + size(to) / 2 < aim; to++) sum += size(to);
    return to;
  }

  /** @param measurement its number: several runs of a program measured together correct each dispatch once */
  correct(factor: number, from: number, to: number, measurement: number): void {
    for (let i = from; i < to; i++) {
      if (this.corrected[i] === measurement) continue;
      this.corrected[i] = measurement;
      this.milliseconds![i]! *= factor;
    }
  }
}

/** A command buffer that may not be done yet. */
interface Submitted {
  readonly times: DispatchTimes;
  readonly from: number;
  readonly to: number;
  readonly at: number;
  /** Predicted when it was submitted. */
  readonly milliseconds: number;
}

/**
 * Cuts runs into command buffers that each take about TARGET_MS on this device, so that no watchdog resets a GPU, a page goes on being
 * drawn and a run can be cancelled within a buffer or two. The device has one buffer more than it works on, no further: it never waits for
 * the host, and the host never for longer than that. How long buffers take is learned from what the host waits for anyway, and asked for
 * every ASK_MS of work.
 */
export class Pacer {
  /** Milliseconds of a unit, once anything was measured. */
  private rate: number | undefined;
  private readonly flight: Submitted[] = [];
  /** How many buffers were ever submitted. */
  private submitted = 0;
  /** Waits for the device that are under way, oldest first, and how many buffers will be done then. */
  private readonly asked: { readonly position: number; readonly done: Promise<void> }[] = [];
  private lastDone = -Infinity;
  private turns: Promise<void> | undefined;
  private longest = 0;
  private measurements = 0;

  /**
   * @param done resolves when what was submitted so far is done; must not reject
   * @param now milliseconds
   */
  constructor(private readonly done: () => Promise<void>, private readonly now = (): number => performance.now()) {}

  /** How many command buffers there were, and how long the longest of those took that were measured alone, in milliseconds. */
  get statistics(): { readonly buffers: number; readonly longestMilliseconds: number } {
    return { buffers: this.submitted, longestMilliseconds: this.longest };
  }

  /** Does work between whose submissions no other may come, in the order of the calls; at once if none is under way. */
  turn<T>(work: () => T | Promise<T>): Promise<T> {
    const before = this.turns;
    const mine = (async () => {
      if (before) await before;
      return work();
    })();
    const over = mine.then(() => undefined, () => undefined);
    this.turns = over;
    void over.then(() => {
      if (this.turns === over) this.turns = undefined;
    });
    return mine;
  }

  /**
   * Submits a program's dispatches buffer by buffer; resolves when the last is submitted. To be called in a turn.
   * @param submit of the dispatches from and to
   * @param range of the dispatches: the first, and the one behind the last. Default: all
   * @throws AbortError before the next buffer once `signal` fires; what `submit` throws
   */
  async submit(
    times: DispatchTimes,
    submit: (from: number, to: number) => void,
    signal?: AbortSignal,
    [first, end]: readonly [number, number] = [0, times.count],
  ): Promise<void> {
    for (let from = first; from < end; ) {
      signal?.throwIfAborted();
      while (this.isFull()) {
        await this.askOldest();
        signal?.throwIfAborted();
      }
      const to = Math.min(end, times.cut(this.rate, from));
      submit(from, to);
      this.flight.push({
        times, from, to, at: this.now(), milliseconds: this.rate === undefined ? Infinity : times.predict(this.rate, from, to),
      });
      this.submitted++;
      if (this.unasked() >= ASK_MS) this.ask();
      from = to;
    }
  }

  /** To be called before a wait for all that is submitted; what it returns, when that is over. */
  waiting(): () => void {
    const position = this.submitted;
    return () => this.reached(position);
  }

  private isFull(): boolean {
    return this.flight.reduce((sum, b) => sum + b.milliseconds, 0) > TARGET_MS;
  }

  /** Predicted milliseconds of the buffers whose end nobody waits for. */
  private unasked(): number {
    const waited = this.asked.at(-1)?.position ?? 0;
    return this.flight.slice(Math.max(0, this.flight.length - (this.submitted - waited))).reduce((sum, b) => sum + b.milliseconds, 0);
  }

  private ask(): { readonly done: Promise<void> } {
    const position = this.submitted;
    const asked = {
      position,
      done: this.done().then(() => {
        this.asked.splice(this.asked.indexOf(asked), 1);
        this.reached(position);
      }),
    };
    this.asked.push(asked);
    return asked;
  }

  private askOldest(): Promise<void> {
    return (this.asked[0] ?? this.ask()).done;
  }

  /** The first `position` buffers are done. */
  private reached(position: number): void {
    const over = this.flight.splice(0, Math.max(0, position - (this.submitted - this.flight.length)));
    if (over.length === 0) return;
    const now = this.now();
    const milliseconds = Math.max(SHORTEST_MS, now - Math.max(this.lastDone, over[0]!.at));
    this.lastDone = now;
    if (over.length === 1) this.longest = Math.max(this.longest, milliseconds);
    this.learn(over, milliseconds);
  }

  private learn(over: readonly Submitted[], milliseconds: number): void {
    const units = over.reduce((sum, b) => sum + b.times.units(b.from, b.to), 0);
    this.rate ??= milliseconds / units;
    const { rate } = this;
    const predicted = over.reduce((sum, b) => sum + b.times.predict(rate, b.from, b.to), 0);
    const factor = Math.min(MAX_CORRECTION, Math.max(1 / MAX_CORRECTION, milliseconds / predicted));
    if (milliseconds < COARSE_MS && factor > 1) return;
    this.measurements++;
    for (const { times, from, to } of over) times.correct(factor, from, to, this.measurements);
    this.rate *= (milliseconds / units / rate) ** 0.25;
  }
}
