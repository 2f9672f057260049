import { inflateSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { figurePdf } from "../../cli/evaluate/results/figure-pdf.ts";

const svg = (label: string): string =>
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 90" height="90" width="200" font-family="system-ui" font-size="10">' +
  `<g transform="translate(20,0)" stroke="#a3330b"><path d="M0,50H150" stroke-dasharray="3 2"/><circle cx="150" cy="50" r="4"/></g>` +
  `<text x="5" y="20" font-weight="700">${label}</text><text x="5" y="40">25%<title>not drawn</title></text></svg>`;

/** What the pages' content says, its texts decoded; each character is placed by itself. */
function contentOf(pdf: Uint8Array): { readonly content: string; readonly text: string } {
  const bytes = Buffer.from(pdf);
  const streams: string[] = [];
  for (let at = bytes.indexOf("stream\n"); at >= 0; at = bytes.indexOf("stream\n", at)) {
    const end = bytes.indexOf("\nendstream", at);
    streams.push(inflateSync(bytes.subarray(at + 7, end)).toString("latin1"));
    at = end + 10;
  }
  const content = streams.join("\n");
  const texts = [...content.matchAll(/<([0-9a-f]+)>[^<>]*T[jJ]/g)].map(([, hex]) => Buffer.from(hex!, "hex").toString("latin1"));
  return { content, text: texts.join("") };
}

test("a figure as PDF has its size, its lines and its texts as texts", async () => {
  const pdf = (await figurePdf(svg("text-grad \u00e9 &lt;5")))!;
  const whole = Buffer.from(pdf).toString("latin1");
  assert.match(whole, /^%PDF-1\.\d/);
  assert.match(whole, /\/MediaBox \[0 0 200 90\]/);
  assert.match(whole, /\/BaseFont \/Helvetica-Bold/);
  const { content, text } = contentOf(pdf);
  assert.ok(text.includes("text-grad \u00e9 <5"), text);
  assert.ok(text.includes("25%"), text);
  assert.not.match(text, /not drawn/);
  assert.match(content, /\[3 2\] 0 d/); // dashes
  assert.equal(pdf, await figurePdf(svg("text-grad \u00e9 &lt;5"))); // the same figure is the same file
});

test("a label that the fonts of every reader cannot write makes no PDF with holes", async () => {
  assert.is(await figurePdf(svg("\u6559\u4f1a")), undefined);
});

test.run();
