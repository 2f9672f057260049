/** Pictures in Node: PNG by pngjs; JPEG and WebP by libjpeg (mozjpeg) and libwebp, compiled to WebAssembly and loaded when needed. */
import { PNG } from "pngjs";
import type { CodedKind } from "../../formats/picture/coded.ts";
import type { Rgba } from "./rgba.ts";

/** The pixels of a checked PNG. @param depth bits of its samples @throws Error if it is damaged */
export function decodePlainPng(bytes: Uint8Array<ArrayBuffer>, depth: number): Rgba {
  // Left alone, pngjs rounds 16 bits to 8, where Pillow takes the upper byte.
  const { data, width, height } = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), { skipRescale: depth === 16 });
  return { data: depth === 16 ? Uint8Array.from(data, (value) => value >> 8) : data, width, height };
}

/** The pixels of a JPEG or WebP as they are stored. @throws Error if it is damaged */
export async function decodeCoded(kind: CodedKind, bytes: Uint8Array<ArrayBuffer>): Promise<Rgba> {
  return (await import("./coded-node.ts")).decodeCoded(kind, bytes);
}
