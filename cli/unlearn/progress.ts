import type { UnlearnEvent } from "../../engine/unlearn/run.ts";
import { formatDuration, quoted } from "../../engine/run/text/format.ts";
import { type PreviewLine, wordsOf } from "../../engine/run/unlearn/log.ts";
import type { Progress } from "../terminal/progress.ts";

/** Seconds after which a step's time is known well enough to be told: the first one compiles. */
const TIMED_AFTER = 5;

/** Shows how far an erasing run is: the losses, and the time left by what its steps have taken so far. */
export class UnlearnProgress {
  private timed = false;
  private since: { readonly step: number; readonly seconds: number } | undefined;

  constructor(private readonly progress: Progress) {}

  handle(event: UnlearnEvent): void {
    const words = wordsOf(event);
    if (words !== undefined) this.progress.say(`  ${words}`);
    if (event.type !== "step") return;
    const { step, steps, losses, seconds } = event;
    // The first steps compile: what they take says nothing of the others.
    if (!this.since || step <= this.since.step) this.since = { step, seconds };
    const each = step > this.since.step ? (seconds - this.since.seconds) / (step - this.since.step) : Number.NaN;
    const shown = Object.entries(losses).map(([name, value]) => `${name} ${value.toFixed(4)}`).join("  ");
    if (!this.timed && seconds > TIMED_AFTER && each * (steps - step) > TIMED_AFTER) {
      this.timed = true;
      this.progress.say(
        `  a step takes about ${each.toFixed(each < 1 ? 2 : 1)} s: ${formatDuration(each * (steps - step))} for the ${steps - step} left`,
      );
    }
    this.progress.update(step / steps, `step ${step}/${steps}  ${shown}`);
  }

  preview({ step, prompt, image }: PreviewLine, folder: string): void {
    this.progress.say(`  ${step === 0 ? "before" : `after step ${step}`}: drew ${quoted(prompt)}: ${folder}/${image}`);
  }
}
