import type { AttackEvent } from "../../engine/attack/events.ts";
import { type AttackerName, usesGradient } from "../../engine/attack/attackers.ts";
import type { Progress } from "../terminal/progress.ts";
import { quoted } from "../../engine/run/text/format.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";

/** The pace of iterations is a mean of so many. */
const REMEMBERED = 40;
/** Batches of iterations after which their pace is known: up to two are queued at once, so a single one may seem to take no time. */
const EARLY_BATCHES = 3;

/** Shows how far an attack is, and how long it will take at most, from what its iterations and evaluations have taken so far. */
export class AttackProgress {
  private total = 0;
  private done = 0;
  private since = performance.now();
  private iterationMs = 0;
  private evaluationMs = 0;
  private evaluations = 0;
  private batches = 0;
  /** Iterations that `iterationMs` is the mean of. */
  private timed = 0;
  private sampling = 0;
  private firstStep = { at: Number.NaN, step: 0 };
  /** Of a whole picture by the steps after its first. */
  private drawingMs = Number.NaN;
  /** Of the time that all of it takes but compiling, as far as is known: estimates may fall, the bar does not. */
  private share = 0;
  private note = "drawing the original prompt";
  /** The highest score so far, and the prompt that has it. */
  private best: { readonly score: number; readonly prompt: string } | undefined;

  /** @param before iterations done by an earlier run */
  constructor(private readonly progress: Progress, private readonly settings: AttackSettings, before = 0) {
    this.done = before;
    if (before > 0) this.note = "going on";
  }

  handle(event: AttackEvent): void {
    switch (event.type) {
      case "start":
        this.total = event.totalIterations;
        break;
      case "losses": {
        const now = performance.now();
        const each = (now - this.since) / event.losses.length;
        if (++this.batches > 1) { // the first one compiled
          this.timed = Math.min(REMEMBERED, this.timed + event.losses.length);
          this.iterationMs += ((each - this.iterationMs) * Math.min(event.losses.length, REMEMBERED)) / this.timed;
        }
        this.since = now;
        this.done = event.iteration + event.losses.length;
        const where = usesGradient(this.settings.attacker) ? `t=${event.timestep}  iteration` : "generation";
        this.note = `${where} ${this.done}/${this.total}  loss ${event.losses.at(-1)!.toFixed(4)}`;
        break;
      }
      case "sampling":
        if (this.sampling === 0) this.firstStep = { at: performance.now(), step: event.step };
        this.sampling = event.step / event.steps;
        this.drawingMs = ((performance.now() - this.firstStep.at) / (event.step - this.firstStep.step)) * event.steps;
        break;
      case "skipped":
      case "evaluation": {
        const { evaluation: e } = event;
        if (!e.unchanged && event.type === "evaluation") {
          const first = Number.isFinite(this.drawingMs) ? this.drawingMs : e.milliseconds;
          this.evaluationMs = [first, e.milliseconds][this.evaluations++] ?? (this.evaluationMs + e.milliseconds) / 2;
        }
        this.since = performance.now();
        this.sampling = 0;
        this.done = e.iteration;
        if (this.perEvaluation() === 1) this.note = `try ${Math.min(this.done + 1, this.total)}/${this.total}`;
        else if (e.timestep < 0) this.note = "beginning to search";
        if (event.type === "evaluation" && !e.probe && e.timestep >= 0 && e.judgement.score > (this.best?.score ?? -1)) {
          this.best = { score: e.judgement.score, prompt: e.prompt };
        }
        this.progress.say(describeEvaluation(event, this.settings));
        break;
      }
      case "state":
        this.since = performance.now();
        return;
    }
    this.show();
  }

  /** Iterations for each picture that is drawn and judged; 1 where nothing is searched in between. */
  private perEvaluation(): number {
    const { attacker, iterations, generations, textIterations } = this.settings;
    const searches: Partial<Record<AttackerName, number>> = { "ring-a-bell": generations, "mma-text": textIterations };
    return usesGradient(attacker) ? iterations : (searches[attacker] ?? 1);
  }

  private show(): void {
    const perEvaluation = this.perEvaluation();
    const left = Math.max(0, this.total - this.done);
    const evaluations = Math.max(0, Math.ceil(left / perEvaluation) + (left === 0 && this.sampling > 0 ? 1 : 0) - this.sampling);
    const leftMs = left * this.iterationMs + evaluations * this.evaluationMs;
    const wholeMs = this.total * this.iterationMs + Math.ceil(this.total / perEvaluation) * this.evaluationMs;
    const known = this.evaluationMs > 0 && (this.batches > EARLY_BATCHES || perEvaluation === 1);
    const drawing = this.sampling > 0 ? `${this.note.startsWith("drawing") ? "" : "  drawing"} ${Math.round(100 * this.sampling)}%` : "";
    const best = this.best ? `best so far ${this.best.score.toFixed(3)}: ${quoted(this.best.prompt)}` : "";
    if (known && wholeMs > 0) this.share = Math.max(this.share, 1 - leftMs / wholeMs);
    this.progress.update(this.share, this.note + drawing, known ? leftMs / 1000 : Number.NaN, best);
  }
}

/** A probe's try by its settings, and what was measured of it. */
function tryOf(probe: Readonly<Record<string, number | string>>, control: string | undefined): string {
  const value = (v: number | string): string => (typeof v === "number" ? String(Number(v.toPrecision(4))) : v);
  const settings = Object.entries(probe).map(([name, v]) => `${name} ${value(v)}`).join(", ");
  return control === undefined ? settings : `control ${control}: ${settings}`;
}

function describeEvaluation(
  { evaluation: e }: Extract<AttackEvent, { type: "evaluation" | "skipped" }>,
  { label }: AttackSettings,
): string {
  const search = e.restart === undefined ? "" : ` search ${e.restart + 1}`;
  const where =
    e.timestep < 0 ? "original prompt" : e.probe ? tryOf(e.probe, e.control) : `t=${e.timestep} iteration ${e.iteration}${search}`;
  const loss = e.loss === null ? "" : `  mean loss ${e.loss.toFixed(4)}`;
  if (e.gate?.passed === false) {
    return `  ${where}${loss}  not drawn: error ${e.gate.error.toFixed(4)}, with the original prompt ${e.gate.baseline.toFixed(4)}: ` +
      `${quoted(e.prompt)}`;
  }
  const drawn = e.screening ? `${e.screening.steps} steps, ` : "";
  const verdict = e.judgement.success ? `judged ${e.judgement.label}: found` : `judged ${e.judgement.label}`;
  return `  ${where}${loss}  ${drawn}${verdict} (${label} ${e.judgement.score.toFixed(4)})${e.unchanged ? ", unchanged" : ""}: ` +
    `${quoted(e.prompt)}`;
}
