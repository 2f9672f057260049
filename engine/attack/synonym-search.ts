import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Session } from "./session/session.ts";
import { tokenRows } from "./search/nearest.ts";
import { allowedTokens } from "./search/vocabulary.ts";

/** How far logits are shifted to both sides, and how far a step follows the difference of scores. */
const [SHIFT, RATE] = [1, 4] as const;
/** Words compared at a time. */
const WORDS = 4096;

/**
 * A black-box search that only sees judged pictures (after DiffZOO, arXiv 2408.11071): each word of the prompt has logits over itself and
 * its synonyms (the continuous replacement vectors, C-PRV), from which prompts are drawn (the discrete ones, D-PRV). Two prompts at a time,
 * the logits shifted to both sides of a random direction with the same draws: the difference of the judge's scores is the zeroth-order
 * estimate of the gradient that the logits follow. Needs no gradient and no weights of the model that draws.
 * @throws UsageError for a prompt without a word that has synonyms, and for a broken state; AbortError
 */
export async function synonymSearch(session: Session): Promise<void> {
  const { model, options } = session;
  const { tries, seed } = options;
  const { tokenizer } = model;
  const { promptIds } = options.cases[0]!;
  const choices = await synonymsOf(options.original ?? model, promptIds, options.synonyms);
  const places = choices.flatMap((list, place) => (list.length > 1 ? [place] : []));
  if (places.length === 0) throw new UsageError(`no word of the prompt ${JSON.stringify(options.prompt)} has synonyms in the vocabulary`);
  const size = options.synonyms + 1;
  const random = session.random();
  let logits = options.resume ? logitsOf(options.resume.search, places.length * size) : new Float64Array(places.length * size);
  const scores = new Map(session.evaluations.map((e) => [e.prompt, e.judgement.score]));
  const save = (): Promise<void> => session.saveState([random], undefined, [...logits]);
  /** The judge's score of what a prompt draws; one that was drawn before is not drawn again. */
  const score = async (prompt: string): Promise<number> => {
    const known = scores.get(prompt);
    if (known !== undefined) return known;
    session.iteration++;
    await session.evaluate({ prompt, timestep: session.finished++, seed, loss: null });
    const seen = session.evaluations.at(-1)!.judgement.score;
    scores.set(prompt, seen);
    return seen;
  };
  await save();
  // Directions that draw the same prompt twice cost nothing and say nothing; a prompt of few choices runs out of new ones.
  for (let idle = 0; session.finished < tries && idle < 1000; idle++) {
    options.signal?.throwIfAborted();
    const before = session.finished;
    const direction = random.randn([logits.length]);
    const draws = Array.from(random.rand([logits.length]), (u) => -Math.log(-Math.log(Math.max(u, 1e-12))));
    const promptAt = (sign: 1 | -1): string => {
      const chosen = promptIds.slice();
      for (const [i, place] of places.entries()) {
        const of = (j: number): number => logits[i * size + j]! + sign * SHIFT * direction[i * size + j]! + draws[i * size + j]!;
        const list = choices[place]!;
        chosen[place] = list[list.reduce((most, _, j) => (of(j) > of(most) ? j : most), 0)]!;
      }
      return tokenizer.decode(chosen);
    };
    const [up, down] = [promptAt(1), promptAt(-1)];
    if (up === down) continue;
    const high = await score(up);
    if (session.succeeded) return save();
    if (session.finished >= tries && !scores.has(down)) return save();
    const slope = (high - (await score(down))) / (2 * SHIFT);
    logits = logits.map((x, j) => x + RATE * slope * direction[j]!);
    if (session.finished > before) idle = 0;
    await save();
    if (session.succeeded) return;
  }
}

function logitsOf(state: unknown, count: number): Float64Array {
  if (!Array.isArray(state) || state.length !== count || !state.every((x) => typeof x === "number")) {
    throw new UsageError("the state to resume from holds no logits of this prompt: start the attack anew");
  }
  return Float64Array.from(state);
}

/**
 * For every token of a prompt that is a whole word: itself, and the words whose rows of the token table are nearest to its own by cosine.
 * DiffZOO takes its synonyms from counter-fitted word vectors; the model's own table needs no further file. For other tokens: itself.
 */
export async function synonymsOf(model: StableDiffusion, ids: readonly number[], count: number): Promise<number[][]> {
  const words = [...allowedTokens(model.tokenizer, "words")!];
  const known = new Set(words);
  const { tokenWidth: width } = model.text;
  const own = ids.length === 0 ? new Float32Array() : await tokenRows(model, ids);
  const likeness = ids.map(() => new Float64Array(words.length));
  for (let first = 0; first < words.length; first += WORDS) {
    const part = words.slice(first, first + WORDS);
    const rows = await tokenRows(model, part);
    for (let w = 0; w < part.length; w++) {
      const row = rows.subarray(w * width, (w + 1) * width);
      const length = Math.hypot(...row);
      ids.forEach((_, i) => {
        let dot = 0;
        for (let j = 0; j < width; j++) dot += own[i * width + j]! * row[j]!;
        likeness[i]![first + w] = dot / Math.max(length, 1e-12);
      });
    }
  }
  return ids.map((id, i) => {
    if (!known.has(id)) return [id];
    const order = words.map((_, w) => w).toSorted((a, b) => likeness[i]![b]! - likeness[i]![a]!);
    return [id, ...order.map((w) => words[w]!).filter((word) => word !== id).slice(0, count)];
  });
}
