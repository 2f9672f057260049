/**
 * Relative L2 error ||a - b|| / ||b||; the absolute norm of a where b is all zero; Infinity if a value is not a number.
 * @throws Error for different lengths
 */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} elements compared with ${b.length}`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  const error = norm > 0 ? Math.sqrt(difference / norm) : Math.sqrt(difference);
  return Number.isNaN(error) ? Infinity : error;
}
