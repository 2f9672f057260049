import { DeviceLostError } from "../engine/runtime/errors.ts";
import type { Context } from "./context.ts";

/** Says how to go on with a run that was interrupted, or whose device was lost. @param kept where its files are */
export function sayHowToGoOn(context: Context, error: unknown, kept: string, command: string): void {
  const resumable = (error instanceof Error && error.name === "AbortError") || error instanceof DeviceLostError;
  if (resumable) context.say(`what was done is in ${kept}; to go on: ${command}`);
}
