import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { NDArray } from "../nn/array.ts";
import { UsageError } from "../runtime/errors.ts";
import { type AttackerName, insertsTokens, usesGradient } from "./attackers.ts";
import { ATTACK_OPTIONS } from "./option-table.ts";
import type { AttackCase, AttackParts, AttackValues } from "./options.ts";

/** @throws UsageError for a whole number that its table allows, but not this model or what else was given */
export function atMost(name: "tokens" | "steps" | "screeningSteps" | "casesPerStep", value: number | null, max: number): void {
  if (value === null || value <= max) return;
  throw new UsageError(`${name} must be a whole number from ${ATTACK_OPTIONS[name].min} to ${max}, got ${value}`);
}

/** @throws UsageError for a gate without a picture or without prompts to compare */
export function checkGate(attacker: AttackerName, cases: readonly AttackCase[]): void {
  if (cases.some((c) => !c.target)) {
    throw new UsageError("a gate needs a target: a picture of the concept, under which prompts are compared");
  }
  if (attacker === "seed-search") throw new UsageError("a gate compares prompts, and seed-search has only the one");
}

/** @throws UsageError for what compares several prompts at once, where the weights follow one (SPM) */
export function checkTransport({ restarts }: AttackValues, gate: AttackParts["gate"], cases: number): void {
  const several = gate ? "a gate" : restarts > 1 ? "restarts above 1" : cases > 1 ? "an attack on several prompts" : undefined;
  if (several === undefined) return;
  throw new UsageError(
    `${several} compares predictions for several prompts, but this eraser's strength (SPM) depends on the prompt: leave it out, or merge ` +
      "the file as a LoRA, which is not the published model",
  );
}

/** What one iteration sees at once. @throws UsageError for an attacker without such a batch, or numbers that do not divide */
export function checkBatch(
  { attacker, restarts, timestepsPerStep, timestepOrder, casesPerStep }: AttackValues,
  stages: number,
  cases: number,
): void {
  atMost("casesPerStep", casesPerStep, cases);
  const searches = insertsTokens(attacker) && usesGradient(attacker);
  for (const [name, used] of Object.entries({ restarts: restarts > 1, timestepOrder: timestepOrder !== "sequence" })) {
    if (used && !searches) throw new UsageError(`${name} is of the attackers text-grad, hard-prompt and p4d, not of ${attacker}`);
  }
  if (timestepsPerStep > 1 && !usesGradient(attacker)) {
    throw new UsageError(`timestepsPerStep is of the attackers with a gradient, not of ${attacker}`);
  }
  if (searches && stages % timestepsPerStep !== 0) {
    throw new UsageError(`${stages} timesteps cannot be taken ${timestepsPerStep} at a time: timestepsPerStep must divide their number`);
  }
}

/** @throws UsageError unless all pictures have one size that the model takes */
export function commonLatentSize(model: StableDiffusion, cases: readonly AttackCase[]): readonly [number, number] {
  const sizes = cases.map(({ target }) => targetLatentSize(model, target));
  const other = sizes.findIndex((size) => size.join() !== sizes[0]!.join());
  if (other > 0) {
    throw new UsageError(
      `the pictures of all cases must have one size: the first has latents of ${sizes[0]!.join("x")}, number ${other + 1} of ` +
        `${sizes[other]!.join("x")}`,
    );
  }
  return sizes[0]!;
}

/** @throws UsageError unless the original can be compared with the model prediction by prediction */
export function checkOriginal(model: StableDiffusion, attacker: AttackerName, original: StableDiffusion | undefined): void {
  if (!original) throw new UsageError(`attacker "${attacker}" needs the original model, with which the unlearned one is compared`);
  if (original.device !== model.device) {
    throw new UsageError(`attacker "${attacker}": the original model must be on the same device as the one attacked`);
  }
  const facts = ({ parts: { unet }, text, predictionType }: StableDiffusion): string =>
    `predicts ${predictionType} of ${unet.config.outChannels} channels from ${text.vocabularySize} tokens`;
  if (facts(original) !== facts(model)) {
    throw new UsageError(
      `attacker "${attacker}": the original model ${facts(original)}, the one attacked ${facts(model)}: ` +
        "give the model that it was unlearned from",
    );
  }
}

/** @throws UsageError unless the control draws pictures of the model's size from text of its kind */
export function checkControlModel(model: StableDiffusion, control: StableDiffusion): void {
  const facts = ({ parts: { unet, vae }, predictionType, defaultLatentSize }: StableDiffusion): string =>
    `${predictionType} of ${unet.config.outChannels} channels, latents of ${defaultLatentSize.join("x")}, factor ${vae.config.factor}`;
  if (control.device !== model.device) throw new UsageError("the control model must be on the same device as the one attacked");
  if (facts(control) !== facts(model)) {
    throw new UsageError(`the control model is of another family (${facts(control)}) than the one attacked (${facts(model)})`);
  }
}

/** @throws UsageError unless it has the target's size */
export function checkControlPicture({ target }: AttackCase, picture: NDArray): void {
  if (target && target.shape.join() !== picture.shape.join()) {
    const size = ({ shape }: NDArray): string => `${shape[3]}x${shape[2]}`;
    throw new UsageError(`the control picture is ${size(picture)} pixels, the target ${size(target)}: they must have one size`);
  }
}

function targetLatentSize(model: StableDiffusion, target: AttackParts["target"]): readonly [number, number] {
  if (!target) return model.defaultLatentSize;
  const { shape, data } = target;
  const [batch, channels, height = 0, width = 0] = shape;
  if (shape.length !== 4 || batch !== 1 || channels !== 3 || data.length !== 3 * height * width) {
    throw new UsageError(`the target must be one picture [1, 3, height, width], got [${shape.join(", ")}] with ${data.length} numbers`);
  }
  const { factor } = model.parts.vae.config;
  if (height < factor || width < factor || height % factor !== 0 || width % factor !== 0) {
    throw new UsageError(
      `the target is ${width}x${height} pixels; this model's pictures have sides that are multiples of ${factor}: resize or crop it`,
    );
  }
  return [height / factor, width / factor];
}
