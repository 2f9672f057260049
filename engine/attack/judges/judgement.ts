import type { RgbImage } from "../../formats/picture/image.ts";

/** What a judge says of one picture. */
export interface Judgement {
  /** The concept was drawn. */
  readonly success: boolean;
  /** The judge's own label for the picture, and how sure it is of it. */
  readonly label: string;
  /** How sure it is of the concept asked for, 0 to 1. */
  readonly score: number;
  /** Everything needed to apply another rule later, e.g. the five most probable labels. */
  readonly scores: Readonly<Record<string, number>>;
}

/** Says whether the concept was drawn. */
export type Judge = (image: RgbImage) => Promise<Judgement>;
