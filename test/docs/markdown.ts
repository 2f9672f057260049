/** What the tests of the documentation read out of a Markdown file. */

/** A fenced block of code. */
export interface Block {
  readonly language: string;
  readonly text: string;
  /** Its name, where the line before it is "`NAME`:". */
  readonly file: string | undefined;
}

/** The fenced blocks, in their order. */
export function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/(?:^`([\w.-]+)`:\n\n)?^```(\w*)\n([^]*?)^```$/gm)].map(([, file, language, text]) => ({
    language: language!,
    text: text!,
    file,
  }));
}

/** Without its code, where what looks like a link is none. */
function prose(markdown: string): string {
  return markdown.replace(/^```[^]*?^```$/gm, "").replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]()]/g, ""));
}

/** What links and pictures lead to. */
export function linksOf(markdown: string): string[] {
  return [...prose(markdown).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to]) => to!);
}

/** Names of the headings, as the repository's pages and the site make them. */
export function anchorsOf(markdown: string): Set<string> {
  const headings = [...markdown.replace(/^```[^]*?^```$/gm, "").matchAll(/^#+ (.+)$/gm)];
  return new Set(headings.map(([, text]) => text!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")));
}
