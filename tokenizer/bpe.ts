// Byte-pair encoding of one word: symbols are joined pair by pair, always the pair that stands first in the merge list.
import { symbolsOf } from "./bytes.ts";

/** Marks a piece that ends a word. */
export const END_OF_WORD = "</w>";

// A prompt has few distinct words and an attack asks for the same ones again and again; a hostile text may have any number.
const CACHED_WORDS = 8192;
const CACHED_WORD_LENGTH = 64;

/** Splits words into vocabulary pieces. `ranks` maps "left right" to the line of the merge list. */
export class BytePairEncoder {
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #cache = new Map<string, readonly string[]>();

  constructor(ranks: ReadonlyMap<string, number>) {
    this.#ranks = ranks;
  }

  /** The number of words now cached; bounded. */
  get cachedWords(): number {
    return this.#cache.size;
  }

  /**
   * The pieces of a non-empty word; the last one ends in `</w>`.
   * Source: Sennrich et al., arXiv 1508.07909; openai/CLIP `simple_tokenizer.py`.
   */
  encode(word: string): readonly string[] {
    const known = this.#cache.get(word);
    if (known) return known;
    const pieces = this.#merge(symbolsOf(word));
    if (word.length <= CACHED_WORD_LENGTH) {
      if (this.#cache.size >= CACHED_WORDS) for (const oldest of this.#cache.keys()) { this.#cache.delete(oldest); break; }
      this.#cache.set(word, pieces);
    }
    return pieces;
  }

  #merge(pieces: string[]): string[] {
    pieces[pieces.length - 1] += END_OF_WORD;
    for (;;) {
      let best = Number.POSITIVE_INFINITY;
      let at = -1;
      for (let i = 0; i + 1 < pieces.length; i++) {
        const rank = this.#ranks.get(`${pieces[i]} ${pieces[i + 1]}`);
        if (rank !== undefined && rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return pieces;
      const [left, right] = [pieces[at], pieces[at + 1]];
      const joined: string[] = [];
      for (let i = 0; i < pieces.length; i++) {
        if (pieces[i] === left && pieces[i + 1] === right) {
          joined.push(`${left}${right}`);
          i++;
        } else joined.push(pieces[i]!);
      }
      pieces = joined;
    }
  }
}
