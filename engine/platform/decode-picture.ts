/** Picture files in Node: PNG, and by the decoders of libjpeg (mozjpeg) and libwebp, compiled to WebAssembly, JPEG and WebP. */
import decodeJpeg, { init as initJpeg } from "@jsquash/jpeg/decode.js";
import jpegModule from "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm";
import decodeWebp, { init as initWebp } from "@jsquash/webp/decode.js";
import webpModule from "@jsquash/webp/codec/dec/webp_dec.wasm";
import { FormatError, reason } from "../formats/errors.ts";
import { oriented, readCodedHeader } from "../formats/picture/coded.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import { decodePng, isPng } from "../formats/picture/png.ts";
import { SNIFF_BYTES, describeBytes } from "../formats/sniff.ts";

/** What a decoder gives: 4 bytes a pixel. */
interface Rgba {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

type Decode = (bytes: ArrayBuffer) => Promise<Rgba>;

/** The decoders hand their pixels to this class of browsers, which Node does not have. */
class PlainImageData implements Rgba {
  constructor(
    readonly data: Uint8ClampedArray,
    readonly width: number,
    readonly height: number,
  ) {}
}

const decoders = new Map<"jpeg" | "webp", Promise<Decode>>();

/** Compiled when the first such picture is read. */
function decoderOf(kind: "jpeg" | "webp"): Promise<Decode> {
  const there = decoders.get(kind);
  if (there) return there;
  const made = kind === "jpeg" ? compiled(jpegModule, initJpeg, decodeJpeg) : compiled(webpModule, initWebp, decodeWebp);
  decoders.set(kind, made);
  return made;
}

async function compiled(
  bytes: Uint8Array<ArrayBuffer>,
  init: (module: WebAssembly.Module) => Promise<void>,
  decode: Decode,
): Promise<Decode> {
  const scope: { ImageData?: unknown } = globalThis;
  scope.ImageData ??= PlainImageData;
  await init(await WebAssembly.compile(bytes));
  return decode;
}

/**
 * A picture file as 8-bit RGB, by its content whatever its name; turned as EXIF says, unless that is not wanted; transparency is left out,
 * as Pillow's convert("RGB") does.
 * @throws FormatError for a damaged file, and naming what it is for any other kind
 */
export async function decodePicture(
  file: string,
  bytes: Uint8Array<ArrayBuffer>,
  { turned = true }: { readonly turned?: boolean } = {},
): Promise<RgbImage> {
  if (isPng(bytes)) return decodePng(file, bytes);
  const header = readCodedHeader(file, bytes);
  if (!header) throw new FormatError(file, `is no PNG, JPEG or WebP image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  const decode = await decoderOf(header.kind);
  let picture: Rgba;
  try {
    picture = await decode(new Uint8Array(bytes).buffer);
  } catch (error) {
    decoders.delete(header.kind); // what went wrong inside may have left it unfit for more
    throw new FormatError(file, `is a damaged ${header.kind === "jpeg" ? "JPEG" : "WebP"}: ${reason(error)}`, { cause: error });
  }
  const { data: rgba, width, height } = picture;
  if (width !== header.width || height !== header.height)
    throw new FormatError(file, `is damaged: its header says ${header.width}x${header.height} pixels, but there are ${width}x${height}`);
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4) for (let c = 0; c < 3; c++) data[to++] = rgba[from + c]!;
  return turned ? oriented({ data, width, height }, header.orientation) : { data, width, height };
}
