/** What a file's first bytes look like, for choosing a reader and for telling the user what was given instead. */

/** 0x1950a86a20f9469cfc6c as a protocol 2 pickle: PyTorch's format before 1.6. */
export const LEGACY_MAGIC = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e] as const;

export type FileKind = "safetensors" | "zip" | "torch-legacy" | "other";

/** Bytes that sniffing needs from the start of a file. */
export const SNIFF_BYTES = 512;

const SIGNATURES: readonly (readonly [signature: string, description: string])[] = [
  ["\x89PNG", "a PNG image"],
  ["\xff\xd8\xff", "a JPEG image"],
  ["GIF8", "a GIF image"],
  ["RIFF", "a RIFF file (WebP, WAV)"],
  ["BM", "a BMP image"],
  ["II*\0", "a TIFF image"],
  ["MM\0*", "a TIFF image"],
  ["GGUF", "a GGUF model"],
  ["ggml", "a GGML model"],
  ["\x89HDF\r\n", "an HDF5 file (Keras)"],
  ["\x93NUMPY", "a NumPy .npy array"],
  ["\x1f\x8b", "gzip-compressed data"],
  ["BZh", "bzip2-compressed data"],
  ["\xfd7zXZ", "xz-compressed data"],
  ["7z\xbc\xaf", "a 7-Zip archive"],
  ["Rar!", "a RAR archive"],
  ["%PDF", "a PDF document"],
  ["\x7fELF", "a program"],
  ["MZ", "a Windows program"],
  ["version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"],
  ["<!DOCTYPE html", "an HTML page; was a download answered with a log-in or error page?"],
  ["<html", "an HTML page; was a download answered with a log-in or error page?"],
  ["<svg", "an SVG image"],
  ["<?xml", "an XML document"],
];

/** Which reader a file is for. @param head its first SNIFF_BYTES bytes, or all of a smaller file. */
export function sniff(head: Uint8Array): FileKind {
  if (startsWith(head, "PK\x03\x04") || startsWith(head, "PK\x05\x06")) return "zip";
  if (head.length >= LEGACY_MAGIC.length && LEGACY_MAGIC.every((byte, i) => head[i] === byte)) return "torch-legacy";
  // The header's length is far below 2^48, so its upper bytes are zero; then the JSON begins. A hostile length still has the brace.
  if (head.length >= 9 && head[8] === 0x7b) return "safetensors";
  return "other";
}

/** A few words on what a file seems to be, for an error. */
export function describeBytes(head: Uint8Array): string {
  if (head.length === 0) return "it is empty";
  if (startsWith(head.subarray(4), "ftyp")) return `it looks like ${mediaKind(String.fromCharCode(...head.subarray(8, 12)))}`;
  if (startsWith(head, "<?xml") && new TextDecoder().decode(head, { stream: true }).includes("<svg")) return "it looks like an SVG image";
  const known = SIGNATURES.find(([signature]) => startsWith(head, signature) || startsWith(head, signature.toLowerCase()));
  if (known) return `it looks like ${known[1]}`;
  if (head.every((byte) => byte === 0)) return "it begins with nothing but zeros; an unfinished download?";
  if (head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5) return "it looks like a bare Python pickle";
  // A head cut from a longer file may end inside a character.
  const text = new TextDecoder().decode(head, { stream: true });
  if (/^\s*[[{]/.test(text)) return "it looks like JSON";
  if (!/[^\P{C}\s]|\ufffd/u.test(text)) return `it looks like text: ${JSON.stringify(text.slice(0, 40))}`;
  return `it begins with ${[...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`;
}

/** What a file in MPEG-4's container is, by its brand. */
function mediaKind(brand: string): string {
  if (/^avi[fs]$/.test(brand)) return "an AVIF image";
  return /^(hei[cxms]|hev[cx]|mif1|msf1)$/.test(brand) ? "a HEIC image" : "a video or sound file (MPEG-4)";
}

function startsWith(head: Uint8Array, signature: string): boolean {
  return head.length >= signature.length && [...signature].every((character, i) => character.charCodeAt(0) === head[i]);
}
