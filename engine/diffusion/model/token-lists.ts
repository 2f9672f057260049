/** Framed token ids of one prompt, or of several of one length. */
export type TokenLists = ArrayLike<number> | readonly ArrayLike<number>[];

/** The same as a program takes them, u32 [batch, length]. */
export interface IdArray {
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly batch: number;
  readonly length: number;
}

/** @throws RangeError for an id outside the vocabulary or lists of different lengths */
export function idArray(given: TokenLists, vocabularySize: number): IdArray {
  const lists = (typeof given[0] === "number" ? [given] : given) as readonly ArrayLike<number>[];
  const [batch, length] = [lists.length, lists[0]!.length];
  const ids = new Uint32Array(batch * length);
  lists.forEach((list, b) => {
    if (list.length !== length) throw new RangeError(`encodeText: prompt ${b} has ${list.length} tokens, the first ${length}`);
    for (let i = 0; i < length; i++) {
      const id = list[i]!;
      if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
        throw new RangeError(`encodeText: token id ${id} at ${i} is outside the vocabulary of ${vocabularySize}`);
      }
      ids[b * length + i] = id;
    }
  });
  return { ids, batch, length };
}
