/** Paths of the machine that a run was made on are nobody else's business: reports are published. */
import { fileOptions } from "../../options/values.ts";
import type { RunRecord } from "../record.ts";
import { RUN_OPTIONS } from "../settings/option-table.ts";
import type { AttackSettings } from "../settings/settings.ts";

/**
 * A path as a report shows it: a relative one as it is; of an absolute one what says what the file is (`emoji/unet/...` of the bundled
 * model, `ORG/NAME@REVISION/...`
 * of the hub's cache), else its name alone.
 */
export function shownPath(path: string): string {
  if (!/^([A-Za-z]:)?[\\/]/.test(path)) return path;
  const parts = path.split(/[\\/]+/);
  const snapshot = parts.indexOf("snapshots");
  const repository = /^models--(.+?)--(.+)$/.exec(parts[snapshot - 1] ?? "");
  if (snapshot > 0 && repository)
    return [`${repository[1]}/${repository[2]}@${parts[snapshot + 1]}`, ...parts.slice(snapshot + 2)].join("/");
  const assets = parts.lastIndexOf("assets");
  if (assets >= 0 && assets < parts.length - 2) return parts.slice(assets + 1).join("/");
  return parts.findLast((part) => part !== "") ?? "";
}

/** A text, such as a command or an error, with every absolute path in it as `shownPath` has it. Addresses (https://...) stay. */
export function withoutLocalPaths(text: string): string {
  return text.replace(/(?<![\w:/\\.~-])(?:[A-Za-z]:)?[\\/](?:[^\s"'`,;:()<>|\\/]+[\\/])+[^\s"'`,;:()<>|\\/]*/g, shownPath);
}

/** A record as a report shows it. */
export function publicRecord(record: RunRecord): RunRecord {
  const named = new Set(["model", "lora", ...fileOptions(RUN_OPTIONS)]); // lora names several
  const settings = Object.entries(record.settings).map(([name, value]) =>
    [name, named.has(name) && typeof value === "string" ? value.split(",").map(shownPath).join(",") : value]);
  return {
    ...record,
    command: withoutLocalPaths(record.command),
    resumeCommand: withoutLocalPaths(record.resumeCommand),
    error: record.error === null ? null : withoutLocalPaths(record.error),
    settings: Object.fromEntries(settings) as AttackSettings,
    files: record.files.map((file) => ({ ...file, path: shownPath(file.path) })),
  };
}
