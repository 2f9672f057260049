import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import picocolors from "picocolors";
import stringWidth from "string-width";
import wrapAnsi from "wrap-ansi";

type Stream = Pick<NodeJS.WriteStream, "isTTY" | "columns">;

/** Whether a stream takes colour: https://no-color.org, FORCE_COLOR, and terminals that are none. */
function takesColour({ isTTY }: Stream): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (NO_COLOR !== undefined && NO_COLOR !== "") return false;
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== "0") return true;
  return isTTY === true && TERM !== "dumb";
}

/** Colours for a stream; plain text where it takes none. */
export function colours(stream: Stream): ReturnType<typeof picocolors.createColors> {
  return picocolors.createColors(takesColour(stream));
}

/** Columns of a terminal; undefined where a stream is none, so that nothing is cut or wrapped in files and pipes. */
export function widthOf({ isTTY, columns }: Stream): number | undefined {
  return isTTY ? Math.max(20, columns ?? 80) : undefined;
}

/** A file's name that a terminal opens when it is clicked (OSC 8). Elsewhere the name. */
export function link(file: string, stream: Stream): string {
  if (!stream.isTTY || !takesColour(stream)) return file;
  const url = /^https?:/.test(file) ? file : pathToFileURL(resolve(file)).href;
  return `\u001b]8;;${url}\u0007${file}\u001b]8;;\u0007`;
}

/** A command to copy has to stay on one line, whatever the terminal makes of it. */
const COMMAND = /(^|\s)(npx lethe|lethe|node) \S/;

/**
 * Lines wrapped between words, the following lines of each as far to the right as its first and `hang` more.
 * @param hang for lines at the left edge
 */
export function wrapped(text: string, width: number | undefined, hang = 2): string {
  if (width === undefined) return text;
  return text
    .split("\n")
    .map((line) => {
      if (COMMAND.test(line) || stringWidth(line) <= width) return line;
      const indent = /^ */.exec(line)![0];
      const more = indent === "" ? hang : 2;
      const room = Math.max(16, width - indent.length - more);
      const [first = "", ...rest] = wrapAnsi(line.slice(indent.length), room, { trim: true }).split("\n");
      return [indent + first, ...rest.map((part) => indent + " ".repeat(more) + part)].join("\n");
    })
    .join("\n");
}
