import { FormatError, reason } from "../errors.ts";
import { joined } from "./bytes.ts";

/**
 * Decompresses a zlib stream of at most `limit` bytes; "deflate-raw": without zlib's frame.
 * @throws FormatError if it is damaged or larger, calling it `what`
 */
export async function inflate(
  file: string,
  bytes: Uint8Array<ArrayBuffer>,
  limit: number,
  what: string,
  format: CompressionFormat = "deflate",
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format)).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      total += value.length;
      if (total > limit) throw new FormatError(file, `${what} unpacks to more than the ${limit} bytes it should have`);
      pieces.push(value);
    }
  } catch (error) {
    await reader.cancel().catch(() => undefined); // it has failed already
    if (error instanceof FormatError) throw error;
    throw new FormatError(file, `${what} cannot be unpacked: ${reason(error)}`, { cause: error });
  }
  return joined(pieces);
}
