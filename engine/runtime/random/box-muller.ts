/**
 * The Box-Muller transform of torch's vectorised `randn`, operation by operation in float32.
 *
 * torch's AVX2 path does not call the C library: it evaluates the Cephes single-precision polynomials for log, sin and cos
 * (aten/src/ATen/native/cpu/avx_mathfun.h, after sse_mathfun.h), compiled with fused multiply-add. Rounding happens at the same
 * places here, so the bits agree and a seed gives the very same latent. Coefficients: Cephes logf.c and sinf.c (Stephen Moshier).
 */

const f = Math.fround;

/**
 * float32 fused multiply-add. The product of two floats is exact in double; the sum is then rounded to double before float, which differs
 * from one rounding only in about one case in 2^29.
 */
const fma = (a: number, b: number, c: number): number => f(a * b + c);

const floats = (...values: readonly number[]): readonly number[] => values.map(f);

const SQRT_HALF = f(Math.SQRT1_2);
const LOG = floats(
  7.0376836292e-2,
  -1.151461031e-1,
  1.167699874e-1,
  -1.2420140846e-1,
  1.4249322787e-1,
  -1.6668057665e-1,
  2.0000714765e-1,
  -2.4999993993e-1,
  3.3333331174e-1,
);
/** ln 2 in two parts: LN2_HIGH has few bits, so exponent * LN2_HIGH is exact. */
const LN2_LOW = f(-2.1219444e-4);
const LN2_HIGH = f(0.693359375);

const FOUR_OVER_PI = f(1.27323954473516);
/** -pi/4 in three parts (Cody and Waite's argument reduction). */
const [REDUCE_1, REDUCE_2, REDUCE_3] = [f(-0.78515625), f(-2.4187564849853515625e-4), f(-3.774894977445941e-8)];
const [SIN_0, SIN_1, SIN_2] = [f(-1.9515295891e-4), f(8.3321608736e-3), f(-1.6666654611e-1)];
const [COS_0, COS_1, COS_2] = [f(2.443315711809948e-5), f(-1.388731625493765e-3), f(4.166664568298827e-2)];
const TWO_PI = f(2 * Math.PI);

const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);

/** Natural logarithm of a float32 in (0, 1], as float32. */
function log32(value: number): number {
  asFloat[0] = value;
  const word = bits[0] as number;
  let e = (word >>> 23) - 126;
  bits[0] = (word & 0x007fffff) | 0x3f000000; // mantissa in [0.5, 1)
  let x = asFloat[0] as number;
  if (x < SQRT_HALF) {
    e -= 1;
    x = f(f(x - 1) + x);
  } else {
    x = f(x - 1);
  }
  const z = f(x * x);
  let y = LOG[0] as number;
  for (let i = 1; i < LOG.length; i++) y = fma(y, x, LOG[i] as number);
  y = fma(f(y * x), z, f(e * LN2_LOW));
  y = fma(-z, 0.5, y);
  return fma(e, LN2_HIGH, f(x + y));
}

/** Sine and cosine of a float32 in [0, 2 pi), as float32. */
function sinCos32(theta: number): [sin: number, cos: number] {
  const octant = (Math.trunc(f(theta * FOUR_OVER_PI)) + 1) & ~1;
  const x = fma(octant, REDUCE_3, fma(octant, REDUCE_2, fma(octant, REDUCE_1, theta)));
  const z = f(x * x);
  let c = fma(fma(COS_0, z, COS_1), z, COS_2);
  c = fma(f(c * z), z, -f(z * 0.5));
  c = f(c + 1);
  let s = fma(fma(SIN_0, z, SIN_1), z, SIN_2);
  s = fma(f(s * z), x, x);
  const swap = (octant & 2) !== 0;
  const sin = swap ? c : s;
  const cos = swap ? s : c;
  return [octant & 4 ? -sin : sin, (octant - 2) & 4 ? cos : -cos];
}

/**
 * Turns 16 uniform draws into 16 unit normals in place: element j and j + 8 share one radius and angle.
 * @param data float32 uniforms in [0, 1) at `offset .. offset + 15`
 */
export function boxMuller16(data: Float32Array, offset: number): void {
  for (let j = offset; j < offset + 8; j++) {
    const u1 = f(1 - (data[j] as number)); // (0, 1]: log stays finite
    const radius = f(Math.sqrt(f(-2 * log32(u1))));
    const [sin, cos] = sinCos32(f(TWO_PI * (data[j + 8] as number)));
    data[j] = radius * cos + 0;
    data[j + 8] = radius * sin + 0;
  }
}
