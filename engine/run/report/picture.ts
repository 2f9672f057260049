import type { RgbImage } from "../../formats/picture/image.ts";
import { encodePng } from "../../platform/picture/png-codec.ts";
import { resize } from "../../formats/picture/resize.ts";
import { escape } from "./html.ts";

/** A picture inside the page. */
export function dataUri(image: RgbImage): string {
  const bytes = encodePng(image);
  let binary = "";
  for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return `data:image/png;base64,${btoa(binary)}`;
}

export interface PictureOptions {
  /** What it is, for those who do not see it. */
  readonly alt: string;
  /** Blurred until it is asked for. */
  readonly blurred: boolean;
  readonly className?: string;
}

/** An <img>; a blurred one is a checkbox's label, so that a click or the space bar shows it, without any script. */
export function picture(image: RgbImage, { alt, blurred, className = "" }: PictureOptions): string {
  const img = `<img src="${dataUri(image)}" width="${image.width}" height="${image.height}" alt="${escape(alt)}">`;
  if (!blurred) return `<span class="picture ${className}">${img}</span>`;
  return `<label class="picture ${className}"><input type="checkbox" class="reveal" aria-label="Show the picture: ${escape(alt)}"><span ` +
    `class="frame">${img}<span class="veil" aria-hidden="true">show</span></span></label>`;
}

/** What is said above blurred pictures; empty above others. */
export function blurHint(blurred: boolean): string {
  return blurred ? `<p class="hint">Pictures are blurred until you choose one, by a click or with the space bar.</p>` : "";
}

/** The picture with its longest side at most `side`. */
export function thumbnail(image: RgbImage, side: number): RgbImage {
  const longest = Math.max(image.width, image.height);
  if (longest <= side) return image;
  const scaled = (n: number): number => Math.max(1, Math.round((n * side) / longest));
  return resize(image, scaled(image.width), scaled(image.height), "bicubic");
}
