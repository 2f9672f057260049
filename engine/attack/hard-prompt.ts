import { UsageError } from "../runtime/errors.ts";
import { type GradientAttacker, gradientSearch } from "./search/gradient-search.ts";
import { tokenRows } from "./search/nearest.ts";
import { NEAREST } from "./search/row-kinds.ts";
import { OriginalPrediction } from "./search/original-prediction.ts";
import { randomTokenIds } from "./search/vocabulary.ts";
import type { Session } from "./session/session.ts";

const initialRows: GradientAttacker["initialRows"] = ({ model, options }, random) =>
  tokenRows(model, randomTokenIds(model.tokenizer, options.vocabulary, random, options.tokens));

export const HARD_PROMPT: GradientAttacker = { rows: NEAREST, initialRows };

export const P4D: GradientAttacker = {
  rows: NEAREST, // spelled out: a spread here keeps all that it names in every consumer's bundle
  initialRows,
  target: async ({ model, options }, objective, pictures, views) => {
    if (!options.original) throw new UsageError(`attacker "p4d" needs the original model`);
    const cases = options.cases.map(({ promptIds }, i) => ({ ids: model.tokenizer.frame(promptIds), latents: pictures[i]! }));
    const prediction = await OriginalPrediction.of(options.original, { cases, views, destination: objective.target });
    return (timesteps, noise, shown) => prediction.step(timesteps, noise, shown);
  },
};

/**
 * Hard prompts made easy (arXiv 2302.03668; Diffusion-MU-Attack, hard_prompt_.py): a continuous embedding for each slot, begun as a random
 * token's, of which the nearest token stands in the prompt; the gradient there moves the continuous one.
 * @throws as `gradientSearch`
 */
export function hardPrompt(session: Session): Promise<void> {
  return gradientSearch(session, HARD_PROMPT);
}

/**
 * Prompting4Debugging (arXiv 2309.06135; Diffusion-MU-Attack, tasks/P4D_.py): the same search, for the prompt at which the unlearned model
 * predicts what the original one does for the plain prompt.
 * @throws as `gradientSearch`
 */
export function p4d(session: Session): Promise<void> {
  return gradientSearch(session, P4D);
}
