import type { Parameters } from "../../nn/parameters.ts";
import { InputError } from "../../runtime/errors.ts";
import type { KeyOrValue } from "./closed-form.ts";

/** The UNets of an edited model and of the one it was made from. */
export interface UNetPair {
  readonly edited: Pick<Parameters, "names" | "readStored" | "storedShape" | "has">;
  readonly original: Pick<Parameters, "names" | "readStored" | "storedShape" | "has">;
}

/** Keys and values that cross attentions take of the text, of both models. @throws InputError for a matrix that only one of them has */
export async function keysAndValues({ edited, original }: UNetPair): Promise<KeyOrValue[]> {
  const names = [...original.names()].filter((n) => /attn2\.to_[kv]\.weight$/.test(n));
  const matrices: KeyOrValue[] = [];
  for (const name of names) {
    if (!edited.has(name) || edited.storedShape(name).join() !== original.storedShape(name).join()) {
      throw new InputError(`the two models do not belong together: "${name}" is missing or of another shape in the unlearned one`);
    }
    matrices.push({ edited: await edited.readStored(name), original: await original.readStored(name) });
  }
  return matrices;
}
