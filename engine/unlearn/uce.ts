import type { Pair } from "./common/edit.ts";
import { editedWeights, matrixFor, solveEdit, solved } from "./common/edit.ts";
import { encodedText, rowsFrom, type EncodedText } from "./common/positions.ts";
import type { Solved, UnlearnSession } from "./training.ts";

/**
 * UCE (Gandikota et al., arXiv 2308.14761): keys and values of all cross attentions are edited at once, so that the concepts' texts give
 * what their anchors' texts give, and retained texts what they gave.
 */
export async function solveUce(session: UnlearnSession): Promise<Solved> {
  const { base, settings, hooks, phase } = session;
  const { recipe, lamb, eraseScale, preserveScale, technique, concepts, anchors } = settings;
  const old = recipe === "uce-2023";
  const retain = old ? ["", ...settings.retain] : settings.retain;
  const pairs: Pair[] = [];
  for (const [i, concept] of concepts.entries()) {
    const texts = [await encodedText(base, concept), await encodedText(base, anchors[i]!)] as const;
    pairs.push({ ...(old ? alignedPair(...texts) : lastTokens(...texts)), scale: eraseScale! });
  }
  // The first version's default: 1 / number of retained, at least 0.1.
  const keptScale = preserveScale ?? Math.max(0.1, 1 / Math.max(1, retain.length));
  const kept: Pair[] = [];
  for (const prompt of retain) {
    const { positions, last } = await encodedText(base, prompt);
    const all = old ? positions : rowsFrom(positions, last, 1);
    kept.push({ from: all, to: all, scale: keptScale });
  }
  await phase("solving");
  const weights = await editedWeights(session);
  const edit = solveEdit(base.parts.unet.config.crossAttentionDim, lamb!, pairs, kept, technique === "tensor");
  for (const [name, weight] of weights) weights.set(name, weight.times(matrixFor(weight, edit)));
  const result = solved(session, weights);
  for (const { name, shape, read } of result.changed) await hooks.observe?.(`edited ${name}`, async () => ({ data: await read(), shape }));
  return result;
}

/** train_erase.py of 2023: from each text's last token through as much of the padding as both have. */
export function alignedPair(erased: EncodedText, guide: EncodedText): Pick<Pair, "from" | "to"> {
  const count = erased.positions.rows - Math.max(erased.last, guide.last);
  return { from: rowsFrom(erased.positions, erased.last, count), to: rowsFrom(guide.positions, guide.last, count) };
}

/** uce_sd_erase.py of 2025: each text's last token alone. */
function lastTokens(erased: EncodedText, guide: EncodedText): Pick<Pair, "from" | "to"> {
  return { from: rowsFrom(erased.positions, erased.last, 1), to: rowsFrom(guide.positions, guide.last, 1) };
}
