import { UsageError } from "../runtime/errors.ts";
import type { Generator } from "../runtime/random/random.ts";
import type { Session } from "./session/session.ts";
import { TextProgress } from "./session/text-progress.ts";
import { type Likeness, TextCosine } from "./search/text-cosine.ts";
import { allowedTokens } from "./search/vocabulary.ts";

/** Where a search stands. */
interface Standing {
  readonly iteration: number;
  readonly ids: readonly number[];
}

/**
 * MMA-Diffusion's text part (arXiv 2311.17516): tokens whose encoding has the greatest cosine with the prompt's, none of them the prompt's
 * own. In each iteration the gradient for the token rows names the likeliest `topTokens` of each place; `trials` lists with one token
 * exchanged are encoded, and the best is kept. Black box but for the text encoder: the UNet is only asked to draw what was found.
 * A log line's `loss` is 1 - cosine.
 * @throws UsageError for a broken state; AbortError
 */
export async function mmaText(session: Session): Promise<void> {
  const { model, options } = session;
  const { tokens, textIterations, topTokens, trials, tries, seed, prompt } = options;
  const encoder = options.original ?? model;
  const { tokenizer } = encoder;
  const own = new Set(tokenizer.tokenize(prompt));
  const allowed = [...(allowedTokens(tokenizer, options.vocabulary) ?? Array.from({ length: tokenizer.vocabularySize }, (_, i) => i))]
    .filter((id) => !own.has(id) && id !== tokenizer.bosId && id !== tokenizer.eosId);
  const random = session.random();
  const fresh = (): number[] => Array.from(random.randint(allowed.length, tokens), (i) => allowed[i]!);
  let standing: Standing = options.resume ? standingOf(options.resume.search) : { iteration: 0, ids: fresh() };
  const progress = new TextProgress(session, random, () => standing);
  await progress.save();
  const target = TextCosine.to(encoder, (await encoder.encodePrompt(prompt)).data);
  while (session.finished < tries) {
    let best = (await target.of([standing.ids]))[0]!;
    while (standing.iteration < textIterations) {
      await progress.begin();
      const scores = await target.gradient(standing.ids, best);
      const likely = standing.ids.map((_, place) => highest(scores.subarray(place * scores.length / tokens), allowed, topTokens));
      const lists = exchanged(standing.ids, likely, trials, random);
      const likenesses = await target.of(lists);
      const at = likenesses.reduce((most, { cosine }, i) => (cosine > likenesses[most]!.cosine ? i : most), 0);
      const better: Likeness = likenesses[at]!;
      const ids = better.cosine > best.cosine ? lists[at]! : standing.ids;
      if (better.cosine > best.cosine) best = better;
      standing = { iteration: standing.iteration + 1, ids };
      await progress.end(standing.iteration, 1 - best.cosine);
    }
    const attempt = session.finished++;
    await session.evaluate({ prompt: tokenizer.decode(standing.ids), timestep: attempt, seed, loss: 1 - best.cosine });
    standing = { iteration: 0, ids: fresh() };
    await progress.save();
    if (session.succeeded) return;
  }
}

/** The `count` of the allowed ids with the highest scores. */
function highest(scores: Float32Array, allowed: readonly number[], count: number): number[] {
  return allowed.toSorted((a, b) => scores[b]! - scores[a]!).slice(0, count);
}

/** Copies of a list with one token exchanged for one of its place's candidates. */
function exchanged(ids: readonly number[], likely: readonly (readonly number[])[], count: number, random: Generator): number[][] {
  const places = random.randint(ids.length, count);
  return Array.from(places, (place) => ids.with(place, likely[place]![random.randint(likely[place]!.length, 1)[0]!]!));
}

function standingOf(state: unknown): Standing {
  const { iteration, ids } = (typeof state === "object" && state !== null ? state : {}) as Partial<Standing>;
  if (!Number.isSafeInteger(iteration) || !Array.isArray(ids) || ids.length === 0) {
    throw new UsageError("the state to resume from holds no tokens: start the attack anew");
  }
  return { iteration: iteration!, ids };
}
