import type { Generator } from "../../runtime/random/random.ts";
import type { Session } from "./session.ts";

/** Iterations between two reports, and between two states that can be gone on from. */
const REPORT_EVERY = 5;
const SAVE_EVERY = 20;

/** What a search in the text encoder alone, whose iterations are short, tells and keeps of its way. */
export class TextProgress {
  private losses: number[] = [];

  /** @param standing where the search stands, as JSON, to go on from */
  constructor(
    private readonly session: Session,
    private readonly random: Generator,
    private readonly standing: () => unknown,
  ) {}

  /** Tells of the losses so far and saves the state. */
  async save(): Promise<void> {
    await this.report();
    await this.session.saveState([this.random], undefined, this.standing());
  }

  /** Before an iteration. @throws AbortError, after the state was saved */
  async begin(): Promise<void> {
    const { signal } = this.session.options;
    if (signal?.aborted) await this.save();
    signal?.throwIfAborted();
  }

  /** After iteration number `count`, from 1, with its loss. @param last saves it in any case */
  async end(count: number, loss: number, last = false): Promise<void> {
    this.session.iteration++;
    this.losses.push(loss);
    if (count % SAVE_EVERY === 0 || last) await this.save();
    else if (count % REPORT_EVERY === 0) await this.report();
  }

  private async report(): Promise<void> {
    const { session, losses } = this;
    this.losses = [];
    if (losses.length > 0) await session.emit({ type: "losses", timestep: 0, iteration: session.iteration - losses.length, losses });
  }
}
