import type { UnlearnEvent } from "../../engine/unlearn/run.ts";
import { quoted } from "../../engine/run/text/format.ts";
import type { PreviewLine } from "../../engine/run/unlearn/log.ts";
import type { Progress } from "../terminal/progress.ts";

const PHASES = {
  pictures: "drawing pictures to train on",
  mask: "finding the weights that matter",
  solving: "solving for the new weights",
  training: "training",
} as const;

/** Shows how far an erasing run is: the losses, and the time left by what its steps have taken so far. */
export class UnlearnProgress {
  private since: { readonly step: number; readonly seconds: number } | undefined;

  constructor(private readonly progress: Progress) {}

  handle(event: UnlearnEvent): void {
    if (event.type === "phase") {
      this.progress.say(`  ${PHASES[event.phase]}`);
      return;
    }
    if (event.type !== "step") return;
    const { step, steps, losses, seconds } = event;
    this.since ??= { step: step - 1, seconds: 0 };
    const each = (seconds - this.since.seconds) / (step - this.since.step);
    const shown = Object.entries(losses).map(([name, value]) => `${name} ${value.toFixed(4)}`).join("  ");
    this.progress.update(step / steps, `step ${step}/${steps}  ${shown}`, each * (steps - step));
  }

  preview({ step, prompt, image }: PreviewLine, folder: string): void {
    this.progress.say(`  ${step === 0 ? "before" : `after step ${step}`}: drew ${quoted(prompt)}: ${folder}/${image}`);
  }
}
