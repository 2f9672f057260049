/**
 * 16-bit floats: IEEE 754 binary16 ("F16") and bfloat16 ("BF16"), to and from float32.
 * Subnormals, infinities, NaN and signed zero included; narrowing rounds to nearest, ties to even, as the field's tools do.
 */

let halfTable: Float32Array | undefined;

/** Value of each of the 65,536 half bit patterns. Built on first use (256 KiB). */
function halfValues(): Float32Array {
  if (halfTable) return halfTable;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    let value: number;
    if (exponent === 31) value = fraction ? NaN : Infinity;
    else if (exponent === 0) value = fraction * 2 ** -24;
    else value = (1024 + fraction) * 2 ** (exponent - 25);
    table[bits] = bits & 0x8000 ? -value : value;
  }
  halfTable = table;
  return table;
}

/** Half bit patterns to float32, exactly. */
export function float16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const table = halfValues();
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]!]!;
  return out;
}

/** Bfloat16 bit patterns (the upper half of a float32) to float32, exactly. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** Float32 to half bit patterns, to nearest even; beyond 65504 (rounded) becomes infinity. */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) out[i] = narrow(words[i]!);
  return out;
}

function narrow(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 255;
  const fraction = word & 0x7fffff;
  if (exponent === 255) return sign | 0x7c00 | (fraction ? 0x200 | (fraction >>> 13) : 0);
  const scale = exponent - 112; // the half's biased exponent
  if (scale >= 31) return sign | 0x7c00;
  if (scale > 0) return sign + (scale << 10) + roundShift(fraction, 13); // a carry out of the fraction rightly raises the exponent
  if (scale < -10) return sign;
  return sign + roundShift(fraction | 0x800000, 14 - scale); // subnormal: the implicit one becomes explicit
}

/** `value / 2^shift` to nearest, ties to even. */
function roundShift(value: number, shift: number): number {
  const quotient = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return quotient + (rest > tie || (rest === tie && quotient & 1) ? 1 : 0);
}
