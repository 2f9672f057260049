import { Generator } from "../../runtime/random/random.ts";
import type { ProbeName } from "../attackers.ts";
import type { Session } from "../session/session.ts";
import { isCurve } from "./controls.ts";
import { type Probe, Studio } from "./studio.ts";

const LOADED: Readonly<Record<ProbeName, () => Promise<Probe>>> = {
  "noise-probe": async () => (await import("./noise-probe.ts")).noiseProbe,
  "ddim-inversion": async () => (await import("./ddim-inversion.ts")).ddimInversion,
  recall: async () => (await import("./recall-probe.ts")).recallProbe,
  completion: async () => (await import("./completion.ts")).completion,
  inpainting: async () => (await import("./img2img.ts")).inpainting,
  "concept-arithmetic": async () => (await import("./arithmetic.ts")).conceptArithmetic,
  "latent-classifier": async () => (await import("./latent-classifier.ts")).latentClassifier,
  "rece-closed-form": async () => (await import("./rece.ts")).receClosedForm,
  "relearn-lora": async () => (await import("./relearn-lora.ts")).relearnLora,
  img2img: async () => (await import("./img2img.ts")).img2img,
};

/**
 * Makes a probe's tries and its controls'. A best-of-N probe and each of its controls stops at its first success; a curve is drawn whole.
 * The controls are made whether the probe succeeded or not: a prompt on which only a control succeeds counts against it.
 * @throws UsageError, InputError for what the probe cannot work with; AbortError
 */
export async function runProbe(session: Session, probe: ProbeName): Promise<void> {
  const studio = new Studio(session);
  try {
    const units = await (await LOADED[probe]())(studio);
    await session.emit({ type: "start", totalIterations: units.length });
    const unused = new Generator(0);
    await session.saveState([unused]);
    const numbers = new Map<string | undefined, number>();
    for (const [i, unit] of units.entries()) {
      const { control, prompt, seed, note } = unit;
      const timestep = numbers.get(control) ?? 0;
      numbers.set(control, timestep + 1);
      if (i < session.finished) continue;
      const succeeded = session.evaluations.some((e) => e.timestep >= 0 && e.control === control && e.judgement.success);
      if (isCurve(probe) || !succeeded) {
        session.options.signal?.throwIfAborted();
        const started = performance.now();
        const { image, judged = image, figures } = await unit.draw();
        session.iteration++;
        await session.judgePicture(image, judged, { prompt, seed, timestep, started, control, probe: { ...note, ...figures } });
      }
      session.finished++;
      await session.saveState([unused]);
    }
  } finally {
    await studio.destroy();
  }
}
