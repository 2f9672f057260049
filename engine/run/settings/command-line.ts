import { asFlags } from "../../options/flags.ts";
import { shellCommand } from "../text/shell.ts";
import { RUN_OPTIONS } from "./option-table.ts";
import type { AttackSettings } from "./settings.ts";

/** The flags that make these settings, leaving out those at their defaults. */
export function settingsAsFlags(settings: AttackSettings): string[] {
  return asFlags(RUN_OPTIONS, settings, settings.attacker);
}

/** The command that makes a run with these settings. @param more flags, e.g. those of the device */
export function attackCommandLine(settings: AttackSettings, more: readonly string[]): string {
  const flags = settingsAsFlags(settings);
  return shellCommand(["npx", "lethe", "attack", ...flags, ...more]);
}
