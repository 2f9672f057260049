import { type GradientAttacker, gradientSearch } from "./search/gradient-search.ts";
import type { Session } from "./session/session.ts";
import { allowedTokens } from "./search/vocabulary.ts";
import { initialSimplex } from "./search/simplex.ts";

const TEXT_GRAD: GradientAttacker = {
  rows: "simplex",
  initialRows: async ({ model, options }, random) => initialSimplex(options.tokens, model.parts.textEncoder.config.vocabularySize, options.randomInit ? random : undefined, allowedTokens(model.tokenizer, options.vocabulary)),
  draws: ({ options }, random) => random.rand([options.tokens]) as Float32Array<ArrayBuffer>,
};

/**
 * UnlearnDiffAtk (arXiv 2310.11868; Diffusion-MU-Attack, text_grad_.py): rows of token probabilities, moved by the gradient straight through the drawn tokens.
 * @throws as `gradientSearch`
 */
export function textGrad(session: Session): Promise<void> {
  return gradientSearch(session, TEXT_GRAD);
}
