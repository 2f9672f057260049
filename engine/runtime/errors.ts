/**
 * The failures a caller may want to tell apart. Each carries the exit status the command line ends with:
 * 1 failed, 2 wrong usage or bad input, 3 no usable adapter.
 */

export class LetheError extends Error {
  override readonly name: string = "LetheError";
  readonly exitCode: number = 1;
}

/** A command or an API call that cannot be carried out as written. */
export class UsageError extends LetheError {
  override readonly name: string = "UsageError";
  override readonly exitCode: number = 2;
}

/** A file or value that is not what it should be. The message names the file. */
export class InputError extends LetheError {
  override readonly name: string = "InputError";
  override readonly exitCode: number = 2;
}

/** No WebGPU adapter, none of the wanted name, or one that lacks what was asked for. */
export class NoAdapterError extends LetheError {
  override readonly name: string = "NoAdapterError";
  override readonly exitCode: number = 3;
}

/** The device went away during the run; what was logged before is still good. */
export class DeviceLostError extends LetheError {
  override readonly name: string = "DeviceLostError";
}

/** A validation, out-of-memory or internal error that the device reported. */
export class GpuError extends LetheError {
  override readonly name: string = "GpuError";
}

/** A shader that does not expand, parse or compile. The message shows line:col with the numbered source. */
export class ShaderCompileError extends LetheError {
  override readonly name: string = "ShaderCompileError";
}

/** The message of anything thrown. */
export function errorMessage(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
