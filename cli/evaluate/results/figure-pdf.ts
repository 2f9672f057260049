import { PDFDocument, registerStdFonts } from "pdfkit";
import Helvetica from "pdfkit/standard-fonts/Helvetica";
import HelveticaBold from "pdfkit/standard-fonts/HelveticaBold";
import drawSvg from "svg-to-pdfkit";

/** What the fonts that every PDF reader has can write: Latin-1, dashes and curly quotation marks. */
const WRITABLE = /^[\u0020-\u007e\u00a0-\u00ff\u2013\u2014\u2018\u2019\u201c\u201d\u2026\s]*$/u;
/** What stands inside a label and is not drawn. */
const HIDDEN = /<title>[^]*?<\/title>|<[^>]*>/g;

/**
 * A figure as PDF, in its own size, with text as text.
 * @param svg a chart, with its size in pixels; a pixel becomes a point
 * @returns undefined where a label needs a font that a PDF reader need not have, such as one for Chinese
 */
export async function figurePdf(svg: string): Promise<Uint8Array | undefined> {
  const labels = [...svg.matchAll(/<text\b[^>]*>([^]*?)<\/text>/g)].map(([, inner]) => inner!.replace(HIDDEN, ""));
  if (!labels.every((label) => WRITABLE.test(label))) return undefined;
  registerStdFonts(Helvetica, HelveticaBold);
  const side = (name: string): number => Number(new RegExp(`^<svg[^>]* ${name}="([\\d.]+)"`).exec(svg)![1]);
  const [width, height] = [side("width"), side("height")];
  // Dated like nothing, so that the same figure is the same file.
  const document = new PDFDocument({ size: [width, height], margin: 0, info: { CreationDate: new Date(0), Producer: "Lethe" } });
  const parts: Uint8Array[] = [];
  document.on("data", (part) => parts.push(part));
  const done = new Promise<void>((resolve, reject) => document.on("end", resolve).on("error", reject));
  drawSvg(document, svg, 0, 0, {
    width, height, assumePt: true,
    fontCallback: (_family, bold) => (bold ? "Helvetica-Bold" : "Helvetica"),
    warningCallback: (message) => {
      throw new Error(`a figure cannot be drawn as PDF: ${message}`);
    },
  });
  document.end();
  await done;
  return new Uint8Array(Buffer.concat(parts));
}
