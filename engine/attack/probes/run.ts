import type { RgbImage } from "../../formats/picture/image.ts";
import { Generator } from "../../runtime/random/random.ts";
import type { ProbeName } from "../attackers.ts";
import type { Session } from "../session/session.ts";
import { isCurve } from "./controls.ts";
import { Studio } from "./studio.ts";

/** A picture that a probe drew. */
export interface ProbePicture {
  readonly image: RgbImage;
  /** What the judge sees, if that is another: the repainted part. */
  readonly judged?: RgbImage;
  /** What was measured of it: nll, psnr ... */
  readonly figures?: Readonly<Record<string, number>>;
}

/** One try of a probe or of a control. All that is random in it comes from its seed, so that a resumed run draws the same. */
export interface ProbeUnit {
  /** Absent: the probe itself. */
  readonly control?: string;
  readonly prompt: string;
  readonly seed: number;
  /** The try's settings: eta, strength ... */
  readonly note: Readonly<Record<string, number | string>>;
  readonly draw: () => Promise<ProbePicture>;
}

/** Lists a probe's tries and then those of its controls. */
export type Probe = (studio: Studio) => Promise<ProbeUnit[]>;

const LOADED: Readonly<Record<ProbeName, () => Promise<Probe>>> = {
  "noise-probe": async () => (await import("./noise-probe.ts")).noiseProbe,
  "ddim-inversion": async () => (await import("./ddim-inversion.ts")).ddimInversion,
  recall: async () => (await import("./recall-probe.ts")).recallProbe,
  completion: async () => (await import("./completion.ts")).completion,
  inpainting: async () => (await import("./img2img.ts")).inpainting,
  "concept-arithmetic": async () => (await import("./arithmetic.ts")).conceptArithmetic,
  "latent-classifier": async () => (await import("./latent-classifier.ts")).latentClassifier,
  "rece-closed-form": async () => (await import("./rece.ts")).receClosedForm,
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
