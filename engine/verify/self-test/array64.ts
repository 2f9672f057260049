/** A float64 array, as the plain reference implementations take and give it. */
export interface Array64 {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}
