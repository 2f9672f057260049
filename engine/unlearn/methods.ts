/** Erasing methods, and plain training beside them. `esd` is ESD with any choice of weights (`tensors`), of which two have names. */
export const METHODS = [
  "esd-x", "esd-u", "esd", "uce", "rece", "salun", "advunlearn", "concept-ablation", "forget-me-not", "finetune", "lora",
] as const;
export type MethodName = (typeof METHODS)[number];

/** Whether the new weights are computed at once, without training. */
export function isClosedForm(method: MethodName): boolean {
  return method === "uce" || method === "rece";
}

/** Names of published versions, as `RECIPES` has them. */
export const RECIPE_NAMES = [
  "esd-2023", "esd-2025", "esd-xl-2025", "uce-2023", "uce-2025", "rece-2024", "rece-object-2024", "salun-2024",
  "salun-nsfw-2024",
  "advunlearn-2024", "advunlearn-2024-fixed", "advunlearn-lethe",
  "concept-ablation-2023", "forget-me-not-2023", "finetune", "lora",
] as const;
export type RecipeName = (typeof RECIPE_NAMES)[number];
