import { test } from "uvu";
import * as assert from "uvu/assert";
import { framedIds, insertTokens, slotLayout, type Insertion } from "../../../engine/attack/search/slot-layout.ts";
import { UsageError } from "../../../engine/runtime/errors.ts";
import { readJson } from "../../support/fixtures.ts";

interface Row {
  readonly loc: string;
  readonly k: number;
  readonly L: number;
  readonly ids?: readonly number[];
  readonly total?: number;
  readonly error?: string;
}

const PLACES: Readonly<Record<string, Insertion>> = {
  prefix_k: "prefix",
  suffix_k: "suffix",
  mid_k: "middle",
  insert_k: "interleave",
  per_k_words: "every-k",
};
const BOS = -100;
const EOS = -200;

test("the reference's layouts: every place, k from 1 to 5, prompts of 0 to 74 tokens", () => {
  const { table } = readJson<{ table: readonly Row[] }>("attack/insertion_layouts.json");
  assert.ok(table.length > 200);
  let refused = 0;
  for (const { loc, k, L, ids, total, error } of table) {
    const name = `${loc} k=${k} L=${L}`;
    if (error) {
      assert.throws(() => slotLayout(PLACES[loc]!, k, L, 77), (e: unknown) => e instanceof UsageError, name);
      refused++;
      continue;
    }
    const prompt = Array.from({ length: L }, (_, i) => i + 1);
    const chosen = Array.from({ length: k }, (_, j) => 1001 + j);
    const layout = slotLayout(PLACES[loc]!, k, L, 77);
    const framed = Array.from(framedIds(layout, prompt, chosen, { bosId: 9000, eosId: 9001, padId: 9001 }), (id) =>
      id === 9000 ? BOS : id === 9001 ? EOS : id > 1000 ? 1000 - id : id,
    );
    assert.is(framed.length, total, name);
    assert.equal(framed, [...ids!, ...framed.slice(ids!.length).fill(EOS)], name);
  }
  assert.ok(refused > 20);
});

test("padding other than eos stays behind one eos", () => {
  const layout = slotLayout("suffix", 2, 3, 10);
  assert.equal([...framedIds(layout, [5, 6, 7], [8, 9], { bosId: 1, eosId: 2, padId: 0 })], [1, 5, 6, 7, 8, 9, 2, 0, 0, 0]);
  assert.equal(insertTokens(layout, [5, 6, 7], [8, 9]), [5, 6, 7, 8, 9]);
});

test("what does not fit says how much would", () => {
  assert.throws(
    () => slotLayout("prefix", 5, 72, 77),
    /72 tokens and 5 more are to be inserted, but only 76 fit: use a shorter prompt or at most 4/,
  );
  assert.throws(() => slotLayout("every-k", 1, 5, 77), /"every-k" needs at least 2/);
});

test.run();
