import { FormatError, reason } from "../../formats/errors.ts";
import type { Store } from "../../formats/store.ts";
import type { Features } from "../distance/statistics.ts";

/** What is kept of one picture. */
export interface LoggedPicture {
  /** Its file's name, or its path below the folder that was scored. */
  readonly name: string;
  /** [dims] */
  readonly features?: Float32Array<ArrayBuffer> | undefined;
  /** CLIP's logit with its caption. */
  readonly logit?: number | undefined;
  /** It could not be read, and was passed over as was asked for. */
  readonly unreadable?: string | undefined;
}

/**
 * A log's line: the features as base64 of little-endian float32, so that a run goes on after the last picture, whatever ended it, and
 * shards are put together exactly.
 */
export function featureLine({ features, ...rest }: LoggedPicture): string {
  if (!features) return JSON.stringify(rest);
  const bytes = new Uint8Array(features.buffer, features.byteOffset, features.byteLength);
  return JSON.stringify({ ...rest, features: toBase64(bytes) });
}

/**
 * The pictures of a log by name; none if there is no log. A line that was cut off does not count.
 * @param dims numbers that each must have, undefined where no features are wanted
 * @throws FormatError naming the line for anything else
 */
export async function readFeatureLog(store: Store, file: string, dims: number | undefined): Promise<Map<string, LoggedPicture>> {
  const bytes = (await store.read(file)) ?? new Uint8Array();
  const pictures = new Map<string, LoggedPicture>();
  const decoder = new TextDecoder();
  for (let start = 0, line = 1; ; line++) {
    const end = bytes.indexOf(10, start);
    if (end < 0) return pictures;
    try {
      const picture = parseLine(JSON.parse(decoder.decode(bytes.subarray(start, end))));
      if (picture.unreadable === undefined && picture.features?.length !== dims) {
        throw new Error(`${picture.features?.length ?? 0} features, ${dims ?? 0} are expected`);
      }
      pictures.set(picture.name, picture);
    } catch (error) {
      throw new FormatError(store.nameOf(file), `line ${line} is damaged: ${reason(error)}`, { cause: error });
    }
    start = end + 1;
  }
}

function parseLine(value: unknown): LoggedPicture {
  const { name, features, logit, unreadable } = value as Partial<Record<string, unknown>>;
  if (typeof name !== "string") throw new Error("it has no name");
  return {
    name,
    ...(typeof features === "string" && { features: new Float32Array(fromBase64(features).buffer) }),
    ...(typeof logit === "number" && { logit }),
    ...(typeof unreadable === "string" && { unreadable }),
  };
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** The features of pictures as rows in the order of their names, which no shard or resumption changes. */
export function featureRows(pictures: Iterable<LoggedPicture>, dims: number): Features {
  const readable = [...pictures].filter((p) => p.features).toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const data = new Float32Array(readable.length * dims);
  readable.forEach(({ features }, i) => data.set(features!, i * dims));
  return { data, count: readable.length, dims };
}
