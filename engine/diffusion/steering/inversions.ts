/** How a clean latent is carried back to the noise that draws it: see `invert`. Apart from it, since options name them everywhere. */
export const INVERSIONS = ["nti", "fixed-point", "renoise", "memora"] as const;
export type Inversion = (typeof INVERSIONS)[number];
