import { FormatError } from "../../formats/errors.ts";
import { parseJson } from "../../formats/file-system.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import type { RunRecord } from "../record.ts";
import type { ReportData, ReportExtras } from "./data.ts";

/** Pictures that a report may show and the log does not name. */
export const REPORT_PICTURES = { target: "images/target.png", originalModel: "images/original-model.png" } as const;

type OriginalModel = NonNullable<ReportExtras["originalModel"]>;

/** `report.json`: what a report shows beside the record and the pictures, which have files of their own. */
interface KeptReport extends Pick<ReportData, "evaluations"> {
  /** A loss that is not finite is null: JSON has no name for it. */
  readonly curve: { readonly losses: readonly (number | null)[]; readonly timesteps: readonly number[] };
  readonly hasTarget: boolean;
  readonly extras: Omit<ReportExtras, "originalModel"> & { readonly originalModel?: Omit<OriginalModel, "image"> };
}

/** The text of `report.json`, and the pictures to be kept beside it, by their names. */
export function keptReport({ evaluations, curve, target, extras: { originalModel, ...extras } }: Omit<ReportData, "record" | "pictures">): {
  readonly json: string;
  readonly pictures: ReadonlyMap<string, RgbImage>;
} {
  const pictures = new Map<string, RgbImage>();
  if (target) pictures.set(REPORT_PICTURES.target, target);
  if (originalModel) pictures.set(REPORT_PICTURES.originalModel, originalModel.image);
  const original = originalModel && { name: originalModel.name, judgement: originalModel.judgement };
  const kept: KeptReport = {
    evaluations,
    curve: { losses: curve.losses.map((x) => (Number.isFinite(x) ? x : null)), timesteps: curve.timesteps },
    hasTarget: target !== undefined,
    extras: { ...extras, ...(original && { originalModel: original }) },
  };
  return { json: `${JSON.stringify(kept)}\n`, pictures };
}

/**
 * The text of `report.json` with something else shown, or undefined where that is what it says already.
 * @throws FormatError if it is damaged
 */
export function keptWith(file: string, json: string, shown: Required<Pick<ReportExtras, "showImages" | "showPrompts" | "harmful">>):
  string | undefined {
  const kept = parseJson(file, json) as KeptReport | null;
  if (typeof kept?.extras !== "object") throw new FormatError(file, "is not what a report was made of");
  const { showImages, showPrompts = false, harmful = false } = kept.extras;
  if (showImages === shown.showImages && showPrompts === shown.showPrompts && harmful === shown.harmful) return undefined;
  return `${JSON.stringify({ ...kept, extras: { ...kept.extras, ...shown } })}\n`;
}

/**
 * What a report is rendered from, read back.
 * @param file name of `report.json`, for errors @param picture reads one by its name
 * @throws FormatError if it is damaged; what reading a picture throws
 */
export async function readReport(
  file: string,
  json: string,
  record: RunRecord,
  picture: (name: string) => Promise<RgbImage>,
): Promise<ReportData> {
  const { evaluations, curve, hasTarget, extras } = parseJson(file, json) as Partial<KeptReport>;
  if (!Array.isArray(evaluations) || !Array.isArray(curve?.losses) || !Array.isArray(curve.timesteps) || !extras) {
    throw new FormatError(file, "is not what a report was made of");
  }
  const pictures = new Map<string, RgbImage>();
  for (const { image } of evaluations as ReportData["evaluations"]) {
    if (image !== null && !pictures.has(image)) pictures.set(image, await picture(image));
  }
  const { originalModel, ...more } = extras;
  return {
    record,
    evaluations,
    pictures,
    curve: { losses: curve.losses.map((x) => x ?? Number.NaN), timesteps: curve.timesteps },
    target: hasTarget ? await picture(REPORT_PICTURES.target) : undefined,
    extras: { ...more, ...(originalModel && { originalModel: { ...originalModel, image: await picture(REPORT_PICTURES.originalModel) } }) },
  };
}
