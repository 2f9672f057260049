/** HTML by hand: text goes in through `escape` or `visible` only. */

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/**
 * Plain text for element content and quoted attributes. Characters that HTML does not allow, and those that turn the direction of writing,
 * become U+FFFD.
 */
export function escape(text: string): string {
  return text
    // oxlint-disable-next-line no-control-regex -- exactly these are not allowed
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\p{Cs}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "\ufffd")
    .replace(/[&<>"']/g, (c) => ENTITIES[c]!);
}

/**
 * A prompt: escaped, kept apart from the direction of the text around it, and every character that does not print shown by its code point.
 */
export function visible(text: string): string {
  const parts = text.split(/([\p{C}\p{Zl}\p{Zp}\ufffd])/u).map((part, i) => {
    if (i % 2 === 0) return escape(part);
    const point = part.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
    return `<span class="code-point" title="character U+${point}">U+${point}</span>`;
  });
  return `<bdi>${parts.join("")}</bdi>`;
}

/** Rows of escaped cells under a header, in a box that scrolls sideways on narrow screens. Cells are HTML. */
export function table(caption: string, header: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = header.map((h) => `<th scope="col">${escape(h)}</th>`).join("");
  const body = rows.map((cells) => `<tr>${cells.map((c) => `<td>${c}</td>`).join("")}</tr>`).join("\n");
  return `<div class="scroll" role="region" aria-label="${escape(caption)}, table" tabindex="0"><table><caption ` +
    `class="sr">${escape(caption)}</caption><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

/** Name and value pairs; values are HTML. */
export function definitions(pairs: readonly (readonly [string, string])[]): string {
  return `<dl class="pairs">${pairs.map(([name, value]) => `<div><dt>${escape(name)}</dt><dd>${value}</dd></div>`).join("\n")}</dl>`;
}

/** A section under its heading. @param title plain text that needs no escaping; body is HTML */
export function section(id: string, title: string, body: string): string {
  return `<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>${body}</section>`;
}

/** Text to be copied: a command, JSON. */
export function code(text: string): string {
  return `<pre tabindex="0"><code>${escape(text)}</code></pre>`;
}

/** A number for people. */
export function decimal(value: number, digits = 4): string {
  return Number.isFinite(value) ? value.toFixed(digits) : String(value);
}

/** A script in a page, with the hash by which the page's policy lets it run and no other. */
export interface PageScript {
  readonly text: string;
  readonly hash: string;
}

/** @param text JavaScript that closes no element */
export async function pageScript(text: string): Promise<PageScript> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return { text, hash: `sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}` };
}

/**
 * A page that needs nothing else and asks for nothing over the network.
 * @param body HTML, inside `main`
 * @param script the one script that the page runs; left out, it runs none
 */
export function htmlPage(title: string, css: string, body: string, script?: PageScript): string {
  const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'${script ? `; script-src '${script.hash}'` : ""}`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="color-scheme" content="light dark">
<title>Lethe: ${escape(title)}</title>
<style>
${css}
</style>
</head>
<body>
<main>
${body}
</main>
${script ? `<script>${script.text}</script>\n` : ""}</body>
</html>
`;
}
