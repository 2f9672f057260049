import type { Device } from "../runtime/device.ts";
import { LetheError } from "../runtime/errors.ts";

/**
 * Passes numbers on that are all finite. @param what names them in the error
 * @throws LetheError naming the precision that was computed with, and what to try instead
 */
export function requireFinite<T extends ArrayLike<number>>(device: Device, what: string, data: T): T {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i]!)) throw notFinite(device, what, data[i]!);
  return data;
}

/** The error for a number that is not finite. */
export function notFinite(device: Device, what: string, value: number): LetheError {
  const advice = device.halfPrecision
    ? "numbers beyond 65504 are infinite in f16, use --math f32"
    : 'a weight, an input or a kernel is at fault, run "verify" and "doctor", and try --weights f32';
  return new LetheError(`${what} is ${value}, computed with ${device.halfPrecision ? "f16" : "f32"} operands: ${advice}`);
}
