import type { Device } from "../runtime/device.ts";
import { errorMessage } from "../runtime/errors.ts";
import type { AnyRunRecord, RunStatus } from "./record.ts";

/** What the record of any run says of its end. @param seconds over all parts of the run */
export function ending(
  status: RunStatus,
  error: unknown,
  seconds: number,
  device: Device,
): Pick<AnyRunRecord, "status" | "error" | "ended" | "seconds" | "peakBytes"> {
  const message = status === "failed" ? errorMessage(error) : null;
  return { status, error: message, ended: new Date().toISOString(), seconds, peakBytes: device.usage.peakBytes };
}

/**
 * Does a run's work and, where that does not come to its end, has it written down.
 * @param end writes how the run ended
 * @param say told why that could not be written
 * @throws what the work throws, after that
 */
export async function toTheEnd<T>(
  work: () => Promise<T>,
  end: (status: RunStatus, error: unknown) => Promise<unknown>,
  say: ((line: string) => void) | undefined,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const status = error instanceof Error && error.name === "AbortError" ? "interrupted" : "failed";
    await end(status, error).catch((second: unknown) => say?.(`the report could not be written: ${errorMessage(second)}`));
    throw error;
  }
}
