import { whileAwake } from "./awake.ts";
import { el, find } from "./dom.ts";
import type { Running } from "../engine.ts";
import { isCancelled, problemBox } from "./problems.ts";

/** Screen readers are told of progress at most this often; what ends a piece of work they are told at once. */
const SPOKEN_MILLISECONDS = 10_000;

/** What every tab has: a line of status, a bar, a place for problems, and one piece of work at a time. */
export class Panel {
  private readonly statusLine: HTMLElement;
  private readonly bar = el("progress", { "aria-label": "Progress", hidden: "", "data-progress": "" });
  private readonly problem = el("div", { "data-problem": "" });
  private readonly cancelButton: HTMLButtonElement;
  private running: Running<unknown> | undefined;
  private frame = 0;
  private readonly spoken = el("p", { class: "sr", role: "status" });
  private spokenAt = -Infinity;
  private speaking: ReturnType<typeof setTimeout> | undefined;
  private pending: { text?: string; done?: number | undefined } = {};

  constructor(readonly root: HTMLElement) {
    this.statusLine = find(root, "[data-status]");
    this.statusLine.after(this.spoken, this.bar, this.problem);
    this.cancelButton = find<HTMLButtonElement>(root, "[data-cancel]");
    this.cancelButton.onclick = () => {
      this.running?.cancel();
      this.status("stopping after the step under way ...");
    };
  }

  get busy(): boolean {
    return this.running !== undefined;
  }

  /** Shows text and progress with the next frame, so that a burst of news costs one change. */
  status(text: string, done?: number): void {
    this.pending = { text, done };
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  private paint(): void {
    this.frame = 0;
    const { text = "", done } = this.pending;
    if (this.statusLine.textContent !== text) this.statusLine.textContent = text;
    if (done !== undefined) this.bar.value = done;
    else this.bar.removeAttribute("value");
    this.bar.hidden = !this.busy;
    clearTimeout(this.speaking);
    const wait = this.busy ? this.spokenAt + SPOKEN_MILLISECONDS - performance.now() : 0;
    this.speaking = setTimeout(() => {
      this.spoken.textContent = text;
      this.spokenAt = performance.now();
    }, Math.max(0, wait));
  }

  fail(error: unknown): void {
    this.problem.replaceChildren(problemBox(error));
  }

  clearProblem(): void {
    this.problem.replaceChildren();
  }

  /** As `run`, for long work: the screen stays on, and the form cannot begin another meanwhile. */
  async runLong<T>(form: HTMLFormElement, work: Running<T>, onCancelled?: string): Promise<T | undefined> {
    const submit = find<HTMLButtonElement>(form, "[type=submit]");
    submit.disabled = true;
    this.running = work; // at once: to be awake takes a moment, in which another press may come
    const result = await whileAwake(() => this.run(work, onCancelled));
    submit.disabled = false;
    return result;
  }

  /** Waits for work, shows how it fails, and gives its result; undefined if it failed or was cancelled. */
  async run<T>(work: Running<T>, onCancelled = "Cancelled."): Promise<T | undefined> {
    this.clearProblem();
    this.running = work;
    this.cancelButton.disabled = false;
    this.bar.hidden = false;
    try {
      return await work.result;
    } catch (error) {
      if (isCancelled(error)) this.status(onCancelled);
      else {
        this.status("");
        this.fail(error);
      }
      return undefined;
    } finally {
      this.running = undefined;
      this.cancelButton.disabled = true;
      this.bar.hidden = true;
    }
  }
}
