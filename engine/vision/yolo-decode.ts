/** From a YOLOv8's raw predictions to boxes, on the host: a few thousand anchors. */

/** One level's predictions for one picture, channels last. */
export interface RawLevel {
  /** [height, width, 4 * bins] */
  readonly sides: Float32Array;
  /** [height, width, classes] */
  readonly classes: Float32Array;
  readonly height: number;
  readonly width: number;
  /** Pixels between anchors. */
  readonly stride: number;
}

export interface DecodedAnchors {
  /** [anchors, 4]: centre x, centre y, width, height, in pixels of the network's input. */
  readonly boxes: Float64Array;
  /** [anchors, classes], each 0 to 1 on its own. */
  readonly scores: Float64Array;
  readonly anchors: number;
  readonly classes: number;
}

/**
 * Each side's distance from the anchor is the mean of a distribution over bins (Li et al., arXiv 2006.04388); anchors lie at cell centres;
 * classes are sigmoids.
 * Order of anchors: level by level, row by row. Source: ultralytics' Detect head, make_anchors and dist2bbox.
 */
export function decodeYolo(levels: readonly RawLevel[], bins: number, classes: number): DecodedAnchors {
  const anchors = levels.reduce((n, { height, width }) => n + height * width, 0);
  const boxes = new Float64Array(anchors * 4);
  const scores = new Float64Array(anchors * classes);
  let anchor = 0;
  for (const { sides, classes: logits, height, width, stride } of levels) {
    for (let cell = 0; cell < height * width; cell++, anchor++) {
      const [x, y] = [(cell % width) + 0.5, Math.floor(cell / width) + 0.5];
      const [left, top, right, bottom] = [0, 1, 2, 3].map((side) => meanBin(sides, (cell * 4 + side) * bins, bins)) as [
        number,
        number,
        number,
        number,
      ];
      boxes.set(
        [(x + (right - left) / 2) * stride, (y + (bottom - top) / 2) * stride, (left + right) * stride, (top + bottom) * stride],
        anchor * 4,
      );
      for (let c = 0; c < classes; c++) scores[anchor * classes + c] = 1 / (1 + Math.exp(-logits[cell * classes + c]!));
    }
  }
  return { boxes, scores, anchors, classes };
}

/** Mean of 0..bins-1 under the softmax of `bins` logits. */
function meanBin(logits: Float32Array, start: number, bins: number): number {
  let largest = -Infinity;
  for (let i = 0; i < bins; i++) largest = Math.max(largest, logits[start + i]!);
  let [sum, weighted] = [0, 0];
  for (let i = 0; i < bins; i++) {
    const e = Math.exp(logits[start + i]! - largest);
    sum += e;
    weighted += i * e;
  }
  return weighted / sum;
}

/** Left, top, width, height. */
export type Box = readonly [number, number, number, number];

/**
 * Greedy suppression of overlapping boxes, whatever their class: the best box is kept and those that overlap it by more than `overlap`
 * (intersection over union)
 * are dropped, and so on. Only scores above `threshold` take part. Indices of the kept boxes, best first; of equal scores the earlier
 * first.
 * A box that is kept at one threshold is kept at every lower one, so a list made at a low threshold holds those of all higher ones.
 * Source: OpenCV's cv2.dnn.NMSBoxes (NMSFast_), with its defaults.
 */
export function suppressOverlaps(boxes: readonly Box[], scores: ArrayLike<number>, threshold: number, overlap: number): number[] {
  const order = boxes.map((_, i) => i).filter((i) => scores[i]! > threshold).toSorted((a, b) => scores[b]! - scores[a]! || a - b);
  const kept: number[] = [];
  for (const i of order) if (kept.every((k) => intersectionOverUnion(boxes[i]!, boxes[k]!) <= overlap)) kept.push(i);
  return kept;
}

function intersectionOverUnion(a: Box, b: Box): number {
  const areas = a[2] * a[3] + b[2] * b[3];
  if (areas <= Number.EPSILON) return 1; // as OpenCV: two empty boxes are the same
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const shared = width > 0 && height > 0 ? width * height : 0;
  return shared / (areas - shared);
}
