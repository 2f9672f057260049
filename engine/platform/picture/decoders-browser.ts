/** Pictures in a page: the browser's own decoders. */
import type { CodedKind } from "../../formats/picture/coded.ts";
import type { Rgba } from "./rgba.ts";

/** The pixels of a checked PNG. @throws Error if it is damaged, or the browser does not give its pixels as they are */
export function decodePlainPng(bytes: Uint8Array<ArrayBuffer>, _depth: number): Promise<Rgba> {
  return decode("image/png", bytes);
}

/** The pixels of a JPEG or WebP without orientation. @throws Error as `decodePlainPng` */
export function decodeCoded(kind: CodedKind, bytes: Uint8Array<ArrayBuffer>): Promise<Rgba> {
  return decode(`image/${kind}`, bytes);
}

async function decode(type: string, bytes: Uint8Array<ArrayBuffer>): Promise<Rgba> {
  const bitmap = await createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  try {
    const { width, height } = bitmap;
    checkReading();
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return { data: isOpaque(data) ? data : unmultiplied(bitmap), width, height };
  } finally {
    bitmap.close();
  }
}

function isOpaque(rgba: Uint8ClampedArray): boolean {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

/** A canvas multiplies colours by their opacity and so loses them; a texture keeps them. */
function unmultiplied(bitmap: ImageBitmap): Uint8Array {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  if (!gl || Math.max(width, height) > (gl.getParameter(gl.MAX_TEXTURE_SIZE) as number)) {
    throw new Error("this browser does not give the colours of a transparent picture of its size: save it without transparency");
  }
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  const texture = gl.getParameter(gl.TEXTURE_BINDING_2D) as WebGLTexture;
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const rgba = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return rgba;
}

/** @throws Error in a browser that changes what a page reads of a canvas, so that it cannot be recognised by it */
function checkReading(): void {
  const side = 32;
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true })!;
  const written = Uint8ClampedArray.from({ length: side * side * 4 }, (_, i) => (i % 4 === 3 ? 255 : (i * 73) ^ (i >> 5)));
  context.putImageData(new ImageData(written, side, side), 0, 0);
  const read = context.getImageData(0, 0, side, side).data;
  if (written.some((value, i) => read[i] !== value)) {
    throw new Error(
      "this browser changes the pictures that a page reads (protection against fingerprinting): allow this page to read canvases",
    );
  }
}
