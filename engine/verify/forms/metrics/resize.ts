import { type RgbImage, centerCrop } from "../../../formats/picture/image.ts";
import { resize as resizePillow, resizeShortestEdge } from "../../../formats/picture/resize.ts";
import { canvasPicture, cleanPicture, t2iPicture, torchPicture } from "../../../metrics/recipes.ts";
import { INCEPTION_SIZE } from "../../../vision/inception.ts";
import type { Form } from "../../check.ts";
import { referencePicture } from "../../pictures.ts";
import type { Measure } from "../../rows.ts";
import { pictureFile } from "./pictures.ts";

interface Check {
  /** height * width * 3 numbers. */
  readonly make: (image: RgbImage, size: number) => ArrayLike<number>;
  readonly tolerance: number;
  readonly measure: Measure;
}

const EXACT = { tolerance: 0, measure: "mismatches" } as const;

/** By the second part of a tensor's name, less the size in it. */
const CHECKS: Readonly<Record<string, Check>> = {
  t2i: { make: (image) => t2iPicture(image).data, ...EXACT },
  pil_bilinear: { make: (image, size) => resizePillow(image, size, size, "bilinear").data, ...EXACT },
  clip: {
    make: (image, size) => centerCrop(resizeShortestEdge(image, size, "bicubic"), size, size, "floor").data,
    ...EXACT,
  },
  clean: { make: cleanPicture, tolerance: 1e-4, measure: "absolute" },
  torch: { make: (image) => torchPicture(image).map((x) => x * 255), tolerance: 1e-2, measure: "absolute" },
  cv2: { make: canvasPicture, tolerance: 5e-5, measure: "absolute" },
};

/** `resize`: pictures as every recipe gives them to its network. Needs no device. */
export const resize: Form = async (check) => {
  const { golden, rows, context } = check;
  const pictures = new Map<string, Promise<RgbImage>>();
  for (const tensor of golden.names()) {
    const [name, what, part] = tensor.split(".") as [string, string?, string?];
    await rows.guard(name, tensor, async () => {
      const [kind, digits] = what !== undefined && what in CHECKS ? [what] : (/^(\D+)(\d+)$/.exec(what ?? "")?.slice(1) ?? []);
      const one = CHECKS[kind ?? ""];
      if (!one) return; // reported as a tensor without a check
      const reading = pictures.get(name) ?? referencePicture(golden, context.files, pictureFile(golden, name));
      pictures.set(name, reading);
      const image = await reading;
      const size = digits === undefined ? INCEPTION_SIZE : Number(digits);
      const taken = partOf(one.make(image, size), size, part);
      await check.compare(name, [what, part].filter(Boolean).join("."), taken, one.tolerance, { key: tensor, measure: one.measure });
    });
  }
};

/** All of a picture, every so many pixels of it both ways, or its first two and last two rows. @throws Error for another part */
function partOf(data: ArrayLike<number>, size: number, part: string | undefined): ArrayLike<number> {
  if (part === undefined) return data;
  const all = Array.from({ length: size }, (_, i) => i);
  const stride = Number(/^stride(\d+)$/.exec(part)?.[1]);
  if (part !== "first_last_rows" && !(stride >= 1)) throw new Error(`no part of a picture is called "${part}"`);
  const lines = part === "first_last_rows" ? [0, 1, size - 2, size - 1] : all.filter((i) => i % stride === 0);
  const columns = part === "first_last_rows" ? all : lines;
  return lines.flatMap((y) => columns.flatMap((x) => [0, 1, 2].map((c) => data[(y * size + x) * 3 + c]!)));
}
