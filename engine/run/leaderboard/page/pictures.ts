import type { RgbImage } from "../../../formats/picture/image.ts";
import { escape } from "../../report/html.ts";
import { dataUri, thumbnail } from "../../report/picture.ts";

/** Longest sides that pictures are kept at. */
const SIDES = [256, 192, 128, 96, 64];
/** Bytes of all pictures that a page should hold at most, and what a pixel of a photograph takes as PNG in base64. */
const PAGE_BYTES = 32_000_000;
const PIXEL_BYTES = 2.7;

/** A picture's place in the page. */
export interface Shot {
  readonly id: string;
  readonly width: number;
  readonly height: number;
}

/** The pictures of a page, each held once however often it is shown: one SVG's definitions, of which others show parts. */
export class Pictures {
  private readonly shots = new Map<string, Shot>();
  private readonly side: number;

  /** @param expected how many different pictures there may be at most: the more, the smaller */
  constructor(
    private readonly image: (path: string) => Promise<RgbImage | undefined>,
    expected: number,
  ) {
    this.side = SIDES.find((side) => expected * side ** 2 * PIXEL_BYTES <= PAGE_BYTES) ?? SIDES.at(-1)!;
  }

  /** The picture at a path; undefined if it is not there. */
  async shot(path: string): Promise<Shot | undefined> {
    if (path === "") return undefined;
    const image = await this.image(path);
    if (!image) return undefined;
    const small = thumbnail(image, this.side);
    const uri = dataUri(small);
    const there = this.shots.get(uri) ?? { id: `p${this.shots.size}`, width: small.width, height: small.height };
    this.shots.set(uri, there);
    return there;
  }

  /** The definitions, for the page's end. */
  definitions(): string {
    const images = [...this.shots].map(([uri, s]) => `<image id="${s.id}" width="${s.width}" height="${s.height}" href="${uri}"/>`);
    return `<svg class="store" width="0" height="0" aria-hidden="true"><defs>\n${images.join("\n")}\n</defs></svg>`;
  }
}

/** The picture itself, for those who do not see it by its name. */
function drawing({ id, width, height }: Shot, alt: string): string {
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(alt)}"><use href="#${id}"/></svg>`;
}

/** A small picture in a summary. Blurred, it is shown by the page's own switch or by opening what it is the summary of. */
export function thumb(shot: Shot | undefined, alt: string, blurred: boolean): string {
  if (!shot) return `<span class="shot none">no picture</span>`;
  return `<span class="shot${blurred ? " blurred" : ""}">${drawing(shot, alt)}</span>`;
}

/** A picture; a blurred one is a checkbox's label, so that a click or the space bar shows it, without any script. */
export function shown(shot: Shot | undefined, alt: string, blurred: boolean): string {
  if (!shot || !blurred) return thumb(shot, alt, false);
  return `<label class="shot blurred"><input type="checkbox" class="reveal" aria-label="Show the picture: ${escape(alt)}">` +
    `<span class="frame">${drawing(shot, alt)}</span></label>`;
}
