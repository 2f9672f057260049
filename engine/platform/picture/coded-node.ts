/** JPEG and WebP by the decoders of libjpeg (mozjpeg) and libwebp, compiled to WebAssembly. */
import decodeJpeg, { init as initJpeg } from "@jsquash/jpeg/decode.js";
import jpegModule from "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm";
import decodeWebp, { init as initWebp } from "@jsquash/webp/decode.js";
import webpModule from "@jsquash/webp/codec/dec/webp_dec.wasm";
import type { CodedKind } from "../../formats/picture/coded.ts";
import type { Rgba } from "./rgba.ts";

type Decode = (bytes: ArrayBuffer) => Promise<Rgba>;

/** The decoders hand their pixels to this class of browsers, which Node does not have. */
class PlainImageData implements Rgba {
  constructor(
    readonly data: Uint8ClampedArray,
    readonly width: number,
    readonly height: number,
  ) {}
}

const decoders = new Map<CodedKind, Promise<Decode>>();

/** Compiled when the first such picture is read. */
function decoderOf(kind: CodedKind): Promise<Decode> {
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

/** The pixels as they are stored, not turned. @throws Error if the file is damaged */
export async function decodeCoded(kind: CodedKind, bytes: Uint8Array<ArrayBuffer>): Promise<Rgba> {
  const decode = await decoderOf(kind);
  try {
    return await decode(new Uint8Array(bytes).buffer);
  } catch (error) {
    decoders.delete(kind); // what went wrong inside may have left it unfit for more
    throw error;
  }
}
