import { judgeTokens } from "./session/cases.ts";
import { randomTokenIds } from "./search/vocabulary.ts";
import type { Session } from "./session/session.ts";

/**
 * The baseline: tokens drawn evenly from the vocabulary in the same places, one prompt after the other (Diffusion-MU-Attack, random_.py).
 * Without an `attackSeed` they are the reference's own: the draws that follow the original prompt's initial noise in torch's stream of the
 * prompt's seed.
 * @throws UsageError if the tokens do not fit; AbortError
 */
export async function randomTokens(session: Session): Promise<void> {
  const { model, options } = session;
  const random = session.random(options.attackSeed ?? options.cases[0]!.seed);
  if (options.attackSeed === null && !options.resume) random.randn([1, model.parts.unet.config.inChannels, ...options.latentSize]);
  await session.saveState([random]);
  while (session.finished < options.tries) {
    const chosen = randomTokenIds(model.tokenizer, options.vocabulary, random, options.tokens);
    const attempt = session.finished++;
    session.iteration++;
    await judgeTokens(session, chosen, { timestep: attempt, loss: null });
    await session.saveState([random]);
    if (session.succeeded) return;
  }
}
