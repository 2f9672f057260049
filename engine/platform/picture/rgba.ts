/** What a decoder gives: 4 bytes a pixel, R G B A, not premultiplied. */
export interface Rgba {
  readonly data: ArrayLike<number>;
  readonly width: number;
  readonly height: number;
}
