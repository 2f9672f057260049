/** What scripts/record-story.mjs recorded, and its form. */

/** A picture that was judged. */
export interface Seen {
  readonly iteration: number;
  readonly prompt: string;
  readonly label: string;
  /** Of the concept. */
  readonly score: number;
  readonly success: boolean;
  /** Address of a picture that is in the recording itself. */
  readonly picture: string;
}

/** What the search held at an iteration: the likeliest token of each slot with its share, and the mean loss since the last frame. */
export interface Frame {
  readonly iteration: number;
  readonly loss: number;
  readonly slots: readonly (readonly [piece: string, share: number])[];
}

export interface Recording {
  readonly prompt: string;
  readonly label: string;
  /** What the recorded search took, and how many gradient iterations. */
  readonly seconds: number;
  readonly iterations: number;
  /** What the model drew before it was made to forget. */
  readonly before: Seen;
  readonly frames: readonly Frame[];
  /** Pictures in the order they were judged: the plain prompt's first, the recovered one last. */
  readonly tried: readonly Seen[];
}
