import * as assert from "uvu/assert";

/** Throws unless tags nest and close, attributes are quoted, and text has no bare special characters: what XML parsers insist on. */
export function checkXml(text: string): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  let at = 0;
  for (const match of text.matchAll(/<(\/?)([a-zA-Z]+)((?:\s+[a-zA-Z0-9:-]+="[^"<]*")*)\s*(\/?)>/g)) {
    assert.not.match(text.slice(at, match.index), /[<>]|&(?!(?:amp|lt|gt|quot);)/, `text before ${match[0]}`);
    assert.not.match(match[3]!, /&(?!(?:amp|lt|gt|quot);)/, match[0]);
    at = match.index + match[0].length;
    const [, closing, name, , empty] = match;
    if (closing) assert.is(open.pop(), name, `</${name}>`);
    else {
      seen.push(name!);
      if (!empty) open.push(name!);
    }
  }
  assert.is(text.slice(at).trim(), "");
  assert.equal(open, []);
  return seen;
}
