/** How the prompt is searched. */
export const ATTACKERS = [
  "text-grad",
  "hard-prompt",
  "p4d",
  "cce",
  "ring-a-bell",
  "random",
  "seed-search",
  "transfer",
  "no-attack",
] as const;
export type AttackerName = (typeof ATTACKERS)[number];

/** Whether an attacker follows a gradient: it needs a picture of the concept. */
export function usesGradient(attacker: AttackerName): boolean {
  return attacker === "cce" || attacker === "text-grad" || attacker === "hard-prompt" || attacker === "p4d";
}

/** Whether an attacker puts tokens into the prompt. */
export function insertsTokens(attacker: AttackerName): boolean {
  return attacker === "random" || (usesGradient(attacker) && attacker !== "cce");
}
