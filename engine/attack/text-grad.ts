import { type GradientAttacker, gradientSearch } from "./search/gradient-search.ts";
import type { Session } from "./session/session.ts";
import { SIMPLEX } from "./search/row-kinds.ts";
import { initialSimplex } from "./search/simplex.ts";
import { allowedTokens } from "./search/vocabulary.ts";

export const TEXT_GRAD: GradientAttacker = {
  rows: SIMPLEX,
  initialRows: async ({ model, options }, random) =>
    initialSimplex(
      options.tokens,
      model.text.vocabularySize,
      options.randomInit ? random : undefined,
      allowedTokens(model.tokenizer, options.vocabulary),
    ),
  draws: ({ options }, random) => random.rand([options.tokens]) as Float32Array<ArrayBuffer>,
};

/**
 * UnlearnDiffAtk (arXiv 2310.11868; Diffusion-MU-Attack, text_grad_.py): rows of token probabilities, moved by the gradient straight
 * through the drawn tokens.
 * @throws as `gradientSearch`
 */
export function textGrad(session: Session): Promise<void> {
  return gradientSearch(session, TEXT_GRAD);
}
