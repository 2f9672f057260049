import type { Command } from "commander";
import type { ReportExtras } from "../engine/run/report/data.ts";
import { OPEN } from "./terminal/open.ts";

/** What a report does not hide: pictures, and found prompts of harmful concepts. */
export interface Shown {
  readonly showImages?: boolean;
  readonly showPrompts?: boolean;
}

export const SHOW_IMAGES = ["--show-images", "do not blur the pictures in reports"] as const;
export const SHOW_PROMPTS = ["--show-prompts", "name the prompts that were found for harmful concepts, which reports leave out"] as const;

/** Adds the flags of a command that writes a page: what it does not hide, and --open. */
export function addShown(command: Command): Command {
  return command.option(...SHOW_IMAGES).option(...SHOW_PROMPTS).option(...OPEN);
}

/** The flags that were given, as a command repeats them. */
export function shownFlags({ showImages, showPrompts }: Shown): string[] {
  return [...(showImages ? [SHOW_IMAGES[0]] : []), ...(showPrompts ? [SHOW_PROMPTS[0]] : [])];
}

/**
 * What the report of one attack may show.
 * @param concept says of an evaluation's concept whether it is harmful; left out, the judge does
 */
export function reportExtras({ showImages = false, showPrompts = false }: Shown, concept?: { readonly harmful?: boolean }): ReportExtras {
  return { showImages, showPrompts, ...(concept && { harmful: concept.harmful ?? false }) };
}
