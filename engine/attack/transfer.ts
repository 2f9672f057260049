import { Generator } from "../runtime/random/random.ts";
import type { Session } from "./session/session.ts";

/**
 * Prompts found on another model or by another attack, tried one after the other with their own seeds. Nothing is searched and nothing is
 * random.
 * @throws AbortError
 */
export async function transfer(session: Session): Promise<void> {
  const { candidates = [], tries } = session.options;
  const unused = new Generator(0);
  await session.saveState([unused]);
  for (const { prompt, seed } of candidates.slice(session.finished, tries)) {
    const attempt = session.finished++;
    session.iteration++;
    await session.evaluate({ prompt, timestep: attempt, seed, loss: null });
    await session.saveState([unused]);
    if (session.succeeded) return;
  }
}
