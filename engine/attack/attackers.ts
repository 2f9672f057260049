/** White-box probes, which search no prompt: each with its controls (probes/controls.ts). */
export const PROBES = [
  "noise-probe",
  "ddim-inversion",
  "recall",
  "completion",
  "inpainting",
  "concept-arithmetic",
  "latent-classifier",
  "rece-closed-form",
  "img2img",
  "relearn-lora",
] as const;
export type ProbeName = (typeof PROBES)[number];

/** How the concept is searched. */
export const ATTACKERS = [
  "text-grad",
  "hard-prompt",
  "p4d",
  "cce",
  "ring-a-bell",
  "random",
  "seed-search",
  "transfer",
  "mma-text",
  "synonym-search",
  ...PROBES,
  "no-attack",
] as const;
export type AttackerName = (typeof ATTACKERS)[number];

/** Whether an attacker follows a gradient to a prompt or a word: it needs a picture of the concept. */
export function usesGradient(attacker: AttackerName): boolean {
  return attacker === "cce" || attacker === "text-grad" || attacker === "hard-prompt" || attacker === "p4d";
}

/** Whether an attacker puts tokens into the prompt. */
export function insertsTokens(attacker: AttackerName): boolean {
  return attacker === "random" || (usesGradient(attacker) && attacker !== "cce");
}

/** Whether an attacker is a probe. */
export function isProbe(attacker: AttackerName): attacker is ProbeName {
  return (PROBES as readonly string[]).includes(attacker);
}

/** Whether an attacker works with the text encoder before unlearning, where one is given; else with the attacked model's. */
export function readsOriginalText(attacker: AttackerName): boolean {
  return attacker === "ring-a-bell" || attacker === "mma-text" || attacker === "synonym-search";
}

/** Why what takes typed prompts, `name`, cannot draw for an attacker; undefined where it can. */
export function promptProblem(name: string, attacker: AttackerName): string | undefined {
  if (attacker !== "cce" && !isProbe(attacker)) return undefined;
  return `${name} is for typed prompts, and ${attacker} searches none`;
}

/** Whether an attacker needs a picture of the concept. */
export function needsPicture(attacker: AttackerName): boolean {
  return usesGradient(attacker) || ["ddim-inversion", "recall", "inpainting", "img2img"].includes(attacker);
}

/** Whether an attacker compares with the model before unlearning and cannot do without it. */
export function comparesWithOriginal(attacker: AttackerName): boolean {
  return attacker === "p4d" || attacker === "completion" || attacker === "rece-closed-form";
}
