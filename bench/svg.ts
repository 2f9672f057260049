/** Small parts of charts as SVG. Colours are classes of one style sheet, which has a light and a dark side as the page asks for. */

/** Hues that colour-blind readers tell apart (Okabe and Ito), brightened on dark. */
const STYLE = [
  "text{font:11px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}",
  ".title{font-size:16px;font-weight:600}.head{font-size:12px;font-weight:600}.note{font-size:10.5px;fill:#59636e}",
  ".value{font-size:10.5px;font-variant-numeric:tabular-nums}",
  ".grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#818b98;stroke-width:1}.mark{stroke:#59636e;stroke-width:1;stroke-dasharray:3 3}",
  ".f0{fill:#0969da}.f1{fill:#bc4c00}.f2{fill:#1a7f37}.f3{fill:#8250df}.loss{fill:#cf222e}.track{fill:#eff2f5}",
  ".s0{stroke:#0969da}.s1{stroke:#bc4c00}.s2{stroke:#1a7f37}.s3{stroke:#8250df}.line{fill:none;stroke-width:1.8}",
  ".law{fill:none;stroke-width:1.2;stroke-dasharray:2 3;opacity:.75}.hollow{fill:none;stroke-width:1.4}",
  "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.grid{stroke:#30363d}.axis{stroke:#6e7681}",
  ".mark{stroke:#9198a1}.track{fill:#21262d}",
  ".f0{fill:#4493f8}.f1{fill:#f0883e}.f2{fill:#3fb950}.f3{fill:#ab7df8}.loss{fill:#f85149}",
  ".s0{stroke:#4493f8}.s1{stroke:#f0883e}.s2{stroke:#3fb950}.s3{stroke:#ab7df8}}",
].join("");

export function escapeXml(content: string): string {
  return content.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

export function round(x: number): number {
  return Math.round(x * 10) / 10;
}

export type TextClass = "title" | "head" | "note" | "value" | "label";

export function text(
  x: number,
  y: number,
  content: string,
  kind: TextClass = "label",
  anchor: "start" | "middle" | "end" = "start",
): string {
  return `<text class="${kind}" x="${round(x)}" ` +
    `y="${round(y)}"${anchor === "start" ? "" : ` text-anchor="${anchor}"`}>${escapeXml(content)}</text>`;
}

export function line(x1: number, y1: number, x2: number, y2: number, kind: "grid" | "axis" | "mark"): string {
  return `<line class="${kind}" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

/** @param tip shown when pointed at, where the page allows it */
export function bar(x: number, y: number, width: number, height: number, fill: string, tip?: string): string {
  const box = `x="${round(x)}" y="${round(y)}" width="${round(Math.max(1, width))}" height="${round(height)}" rx="1.5" class="${fill}"`;
  return tip === undefined ? `<rect ${box}/>` : `<rect ${box}><title>${escapeXml(tip)}</title></rect>`;
}

/** The whole picture, on no ground of its own. */
export function page(width: number, height: number, title: string, parts: readonly string[]): string {
  const [w, h] = [round(width), round(height)];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" role="img" ` +
      `aria-label="${escapeXml(title)}">`,
    `<style>${STYLE}</style>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** Text in lines of at most `width` characters, broken at blanks, from (x, y) down. */
export function paragraph(
  x: number,
  y: number,
  content: string,
  width: number,
): { readonly parts: readonly string[]; readonly height: number } {
  const lines: string[] = [];
  for (const word of content.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return { parts: lines.map((l, i) => text(x, y + 13 * i, l, "note")), height: 13 * lines.length };
}
