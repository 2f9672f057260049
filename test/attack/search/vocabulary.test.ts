/**
 * Searches over a part of the vocabulary: which tokens these are, that no other is ever chosen, and what is said of prompts that cannot be
 * handed on.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ATTACKERS, type AttackerName } from "../../../engine/attack/attackers.ts";
import type { AttackOptions } from "../../../engine/attack/options.ts";
import { attack } from "../../../engine/attack/run.ts";
import { initialSimplex } from "../../../engine/attack/search/simplex.ts";
import { allowedTokens, randomTokenIds } from "../../../engine/attack/search/vocabulary.ts";
import type { Evaluation } from "../../../engine/attack/session/evaluation.ts";
import type { AttackState } from "../../../engine/attack/session/state.ts";
import { whyNotPortable } from "../../../engine/attack/session/portable.ts";
import { Generator } from "../../../engine/runtime/random/random.ts";
import { createClipTokenizer } from "../../../tokenizer/index.ts";
import { finish } from "../../support/device.ts";
import { churchTarget, emojiModel } from "../../support/emoji.ts";

test("typeable tokens come back, alone and side by side, from text as every tokenizer of CLIP reads it; words are letters", async () => {
  const gzip = new Uint8Array(readFileSync("assets/clip/bpe_simple_vocab_16e6.txt.gz"));
  for (const tokenizer of [
    (await emojiModel()).tokenizer,
    await createClipTokenizer(gzip),
    await createClipTokenizer(gzip, { padId: 0 }),
  ]) {
    const typeable = allowedTokens(tokenizer, "typeable")!;
    assert.ok(typeable.length > tokenizer.vocabularySize / 4, String(typeable.length));
    const odd = [...typeable].filter(
      (id) => !/^[\x21-\x7e]+$/.test(tokenizer.decode([id])) || tokenizer.tokenize(tokenizer.decode([id])).join() !== String(id),
    );
    assert.equal(odd, []);
    assert.not.ok([tokenizer.bosId, tokenizer.eosId, tokenizer.padId].some((id) => typeable.includes(id)));
    const words = [...allowedTokens(tokenizer, "words")!];
    assert.ok(words.length > 1000 && words.every((id) => typeable.includes(id) && /^[a-z]{2,}$/.test(tokenizer.decode([id]))));
    // whole words, with letters between them and the next sign, are read alike by all
    const random = new Generator(3);
    for (let i = 0; i < 50; i++) {
      const ids = randomTokenIds(tokenizer, "words", random, 5);
      const text = `${tokenizer.decode(ids)} a picture of a church`;
      assert.equal(tokenizer.tokenize(text).slice(0, 5), ids, text);
      assert.is(whyNotPortable(tokenizer, text), undefined, text);
    }
  }
});

test("rows begin on allowed tokens only", () => {
  const even = initialSimplex(2, 6, undefined, [1, 4]);
  assert.equal([...even], [0, 0.5, 0, 0, 0.5, 0, 0, 0.5, 0, 0, 0.5, 0]);
  const drawn = initialSimplex(1, 6, new Generator(1), [1, 4]);
  assert.ok(Math.abs(drawn[1]! + drawn[4]! - 1) < 1e-6 && [0, 2, 3, 5].every((i) => drawn[i] === 0));
});

async function options(attacker: AttackerName, changed: Partial<AttackOptions> = {}): Promise<AttackOptions> {
  return {
    attacker,
    prompt: "a church",
    target: await churchTarget(0),
    judge: async () => ({ success: false, label: "nothing", score: 0, scores: {} }),
    seed: 1,
    tokens: 4,
    iterations: 4,
    timesteps: 10,
    maxTimesteps: 2,
    steps: 1,
    learningRate: 0.5,
    weightDecay: 0,
    vocabulary: "words",
    ...changed,
  };
}

for (const attacker of ATTACKERS.filter((a) => ["text-grad", "hard-prompt", "p4d", "random", "ring-a-bell"].includes(a))) {
  for (const projection of attacker === "text-grad" ? (["exact", "reference"] as const) : (["exact"] as const)) {
    test(`${attacker}, ${projection} projection: no token but allowed ones`, async () => {
      const model = await emojiModel();
      const allowed = new Set(allowedTokens(model.tokenizer, "words"));
      const evaluations: Evaluation[] = [];
      let last: AttackState | undefined;
      const own =
        attacker === "ring-a-bell"
          ? { conceptPairs: [{ with: "a church", without: "a house" }], population: 8, generations: 3, maxTimesteps: 2 }
          : attacker === "p4d"
            ? { original: model }
            : {};
      await attack(model, await options(attacker, { projection, ...own }), (event) => {
        if (event.type === "evaluation") evaluations.push(event.evaluation);
        if (event.type === "state") last = event.state;
      });
      const searched = evaluations.filter((e) => e.timestep >= 0);
      assert.ok(searched.length > 0);
      for (const { ids, prompt } of searched)
        assert.ok(
          ids.slice(0, 4).every((id) => allowed.has(id)),
          prompt,
        );
      if (attacker !== "text-grad") return;
      const { vocabularySize } = model.tokenizer;
      assert.is(last!.simplex.length, 4 * vocabularySize);
      assert.ok(last!.simplex.every((share, i) => share === 0 || allowed.has(i % vocabularySize)));
      assert.ok(last!.firstMoment.every((m, i) => m === 0 || allowed.has(i % vocabularySize)));
    });
  }
}

test("what cannot be handed on says why; a found prompt that can does not", async () => {
  const model = await emojiModel();
  const { tokenizer } = model;
  assert.is(whyNotPortable(tokenizer, "a church"), undefined);
  assert.is(whyNotPortable(tokenizer, "\u0007 a church"), "it holds U+0007, a character that does not print");
  assert.is(whyNotPortable(tokenizer, "\ufffd a church"), "it holds bytes that are not characters (U+FFFD)");
  assert.match(
    whyNotPortable(tokenizer, "a \u2019 church")!,
    /^transformers 5, which cleans nothing up, reads other tokens from number 2 on: /,
  );
  assert.match(whyNotPortable(tokenizer, "<b> &lt; church")!, /^openai\/CLIP, reads other tokens/);
  const found: Evaluation[] = [];
  const judge = async () => ({ success: true, label: "church", score: 1, scores: {} });
  let first = true;
  const result = await attack(
    model,
    await options("random", {
      vocabulary: "words",
      judge: async () => (first ? ((first = false), { success: false, label: "", score: 0, scores: {} }) : judge()),
    }),
    (event) => {
      if (event.type === "evaluation" && event.evaluation.judgement.success) found.push(event.evaluation);
    },
  );
  assert.equal([result.success, result.notPortable, found[0]!.notPortable], [true, undefined, undefined]);
});

finish();
