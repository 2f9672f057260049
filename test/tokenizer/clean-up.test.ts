// The Unicode clean-up against outputs of the reference's, and what must hold of it for any text.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fixText } from "../../tokenizer/clean-up/fix-text.ts";
import { splitWords } from "../../tokenizer/words.ts";
import { readJson } from "../support/fixtures.ts";

const test = suite("tokenizer clean-up");

test("mojibake, HTML references, widths, quotes and controls as the reference", () => {
  const { cases } = readJson<{ readonly cases: readonly (readonly [string, string])[] }>("tokenizer/clean-up.json");
  assert.ok(cases.length >= 700);
  for (const [text, expected] of cases) assert.is(fixText(text), expected, JSON.stringify(text));
});

test("lone surrogates become U+FFFD, pairs stay", () => {
  assert.is(fixText("a\ud83d b \ude00\ud83d\ude00 \ude00\ud83d"), "a\ufffd b \ufffd\u{1f600} \ufffd\ufffd");
});

// Any text is a fixed point after one call: the clean-up repeats until nothing changes. HTML is left out, since a `<` that
// appears in one call keeps the next one from unescaping; and so are © and ¨, which can end a garbled line separator, since lines
// are cleaned one by one.
test("a cleaned text stays as it is", () => {
  const alphabet = "aé€â™ÃÂ \xa0\x80œ×²½Ðà€®Ä–“”’ﬁＡ\u0301ОГв├│√≈ß\n1?";
  for (let i = 0; i < 3000; i++) {
    let text = "";
    for (let j = 0; j < 12; j++) text += alphabet[Math.floor(Math.random() * alphabet.length)];
    const once = fixText(text);
    assert.is(fixText(once), once, JSON.stringify(text));
  }
});

const misread = (label: string, text: string): string => new TextDecoder(label).decode(new TextEncoder().encode(text));

test("UTF-8 read as Windows-1252 or Mac Roman is recovered", () => {
  for (const text of [
    "sch\xf6n \u2014 na\xefve caf\xe9",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
    "\u65e5\u672c\u8a9e\u306e\u5199\u771f",
    "\u{1f600} smile \u20ac100",
  ]) {
    assert.is(fixText(misread("windows-1252", text)), text);
    assert.is(fixText(misread("windows-1252", misread("windows-1252", text))), text, "two layers");
  }
  assert.is(fixText(misread("macintosh", "sch\xf6n \u2014 caf\xe9")), "sch\xf6n \u2014 caf\xe9");
});

test("words: single digits, contractions in any case, the special tokens", () => {
  assert.equal(splitWords("It'S 2024, WE'LL see"), ["it", "'s", "2", "0", "2", "4", ",", "we", "'ll", "see"]);
  assert.equal(splitWords("<|EndOfText|>a<|startoftext|>"), ["<|endoftext|>", "a", "<|startoftext|>"]);
  assert.equal(splitWords(" \t\n "), []);
});

test.run();
