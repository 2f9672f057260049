import { type Edit, type Pair, editedWeights, solveEdit, solved } from "./common/edit.ts";
import { Factored, Matrix64 } from "./common/matrix64.ts";
import { encodedText } from "./common/positions.ts";
import type { Solved, UnlearnSession } from "./training.ts";
import { alignedPair } from "./uce.ts";

/** UCE as RECE begins with it. */
const START = { lamb: 0.5, scale: 1 } as const;

/**
 * RECE (Gong et al., arXiv 2407.12383): after UCE, each round finds in closed form the embedding that brings each concept back and erases
 * that too.
 *
 * All edits multiply the weights from the right, so after any of them W = W0 T with one T for all weights. Then sum W^T W is T^T S T and
 * sum W^T W0 is T^T S, with S = sum W0^T W0: only matrices [D, D] are needed until the end.
 */
export async function solveRece(session: UnlearnSession): Promise<Solved> {
  const { base, settings, hooks, phase } = session;
  const { lamb, eraseScale, preserveScale, regularScale, concepts, anchors, steps } = settings;
  const width = base.parts.unet.config.crossAttentionDim;
  const erased = await Promise.all(concepts.map((c) => encodedText(base, c)));
  const guides = await Promise.all(anchors.map((a) => encodedText(base, a)));
  const blank = (await encodedText(base, "")).positions;
  // train.py retains one blank text for each concept.
  const retained = settings.retain.length > 0 ? settings.retain : concepts.map(() => "");
  const kept: Pair[] = [];
  for (const prompt of retained) {
    const { positions } = await encodedText(base, prompt);
    kept.push({ from: positions, to: positions, scale: preserveScale! });
  }
  await phase("solving");
  const weights = await editedWeights(session);
  const sum = new Matrix64(width, width);
  for (const weight of weights.values()) sum.add(weight.transposed().times(weight));

  const pairs = erased.map((text, i): Pair => ({ ...alignedPair(text, guides[i]!), scale: START.scale }));
  let { matrix } = solveEdit(width, START.lamb, pairs, [{ from: blank, to: blank, scale: START.scale }], false);
  const observe = async (): Promise<void> => {
    for (const [name, weight] of weights) {
      await hooks.observe?.(`edited ${name}`, async () => ({
        data: Float32Array.from(weight.times(matrix).data),
        shape: [weight.rows, weight.columns],
      }));
    }
  };
  await observe();
  for (let round = 0; round < steps!; round++) {
    const found = erased.map(({ positions }) => bringingBack(positions, sum, matrix, regularScale!));
    for (const one of found) {
      await hooks.observe?.("adv", async () => ({ data: Float32Array.from(one.data), shape: [one.rows, one.columns] }));
    }
    const again = found.map((from, i): Pair => ({ from, to: guides[i]!.positions, scale: eraseScale! }));
    const edit: Edit = solveEdit(width, lamb!, again, kept, false);
    matrix = matrix.times(edit.matrix);
    await observe();
  }
  for (const [name, weight] of weights) weights.set(name, weight.times(matrix));
  return solved(session, weights);
}

/**
 * What the edited weights W0 T give most nearly the original's values for a text: (regular I + sum W^T W)^-1 (sum W^T W0) of each
 * position. Source: execs/generate_inversion of the authors' code, close_form_emb_regzero.
 */
function bringingBack(positions: Matrix64, sum: Matrix64, matrix: Matrix64, regular: number): Matrix64 {
  const transposed = matrix.transposed();
  const b = transposed.times(sum);
  const a = b.times(matrix).add(Matrix64.identity(sum.rows, regular));
  // positions (A^-1 B)^T = (positions B^T) A^-1
  return new Factored(a, "the embedding that brings a concept back").solveRows(positions.times(b.transposed()));
}
