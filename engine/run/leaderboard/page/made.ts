import type { RgbImage } from "../../../formats/picture/image.ts";
import { decimal, escape, visible } from "../../report/html.ts";
import { picture, thumbnail } from "../../report/picture.ts";
import { asFlags } from "../../../options/flags.ts";
import { formatCount, formatDuration } from "../../text/format.ts";
import type { UnlearnRecord } from "../../unlearn/record.ts";
import { UNLEARN_RUN_OPTIONS } from "../../unlearn/settings.ts";

/** A checkpoint that an evaluation made. */
export interface MadeCheckpoint {
  readonly checkpoint: string;
  readonly record: UnlearnRecord;
  /** Of the first preview prompt; absent where nothing was drawn. */
  readonly before?: RgbImage | undefined;
  readonly after?: RgbImage | undefined;
  /** Where its report is, from the page. */
  readonly report: string;
}

/** Longest side of the pictures. */
const SIDE = 96;
/** Settings that say where files are, and what is the same for all. */
const UNSHOWN = new Set(["model", "unet", "textEncoder", "lora", "retain", "images", "retainImages"]);

/** How the checkpoints came about that were made for this evaluation; empty if none was. */
export function madeSection(made: readonly MadeCheckpoint[], showImages: boolean): string {
  if (made.length === 0) return "";
  const rows = made.map(({ checkpoint, record, before, after, report }) => {
    const { settings, recipe, result, seconds } = record;
    const shown = (image: RgbImage | undefined, when: string): string =>
      image ? picture(thumbnail(image, SIDE), { alt: `${checkpoint}, ${when}`, blurred: !showImages, className: "small" }) : "";
    const own = Object.fromEntries(Object.entries(settings).filter(([name]) => !UNSHOWN.has(name)));
    const said = asFlags(UNLEARN_RUN_OPTIONS, own, settings.method).join(" ");
    return [
      `<a href="${escape(report)}">${escape(checkpoint)}</a>`,
      settings.concepts.map(visible).join("<br>"),
      `${escape(recipe.name)}<span class="ids">${escape(said)}</span>`,
      escape(`${formatCount(result?.steps ?? 0)} in ${formatDuration(seconds)}`),
      result?.loss === null || !result ? "" : decimal(result.loss),
      shown(before, "before"),
      shown(after, "after"),
      `<code class="ids">${escape((result?.sha256 ?? "").slice(0, 16))}</code>`,
    ];
  });
  const header = ["checkpoint", "erased", "recipe and settings", "steps", "last loss", "before", "after", "SHA-256 begins"];
  const head = header.map((title) => `<th scope="col">${title}</th>`).join("");
  const body = rows.map((cells) => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("\n");
  return `<section aria-labelledby="made"><h2 id="made">How the checkpoints were made</h2>
<p>By lethe unlearn, before they were attacked. A name leads to the report of its making.</p>
<div class="scroll" role="region" aria-label="How the checkpoints were made, table" tabindex="0">
<table><thead><tr>${head}</tr></thead><tbody>
${body}</tbody></table></div></section>`;
}
