import type { Session } from "./session/session.ts";

/** Seeds are drawn below this. */
const SEEDS = 2 ** 31;

/**
 * The baseline without any change of the prompt: other noise (Diffusion-MU-Attack, seed_search_.py, which goes on after a success; this
 * stops).
 * @throws AbortError
 */
export async function seedSearch(session: Session): Promise<void> {
  const { options } = session;
  const random = session.random();
  await session.saveState([random]);
  while (session.finished < options.tries) {
    const used = new Set(session.evaluations.map((e) => e.seed));
    let seed = options.seed;
    while (used.has(seed)) seed = random.randint(SEEDS, 1)[0]!;
    const attempt = session.finished++;
    session.iteration++;
    await session.evaluate({ prompt: options.prompt, timestep: attempt, seed, loss: null });
    await session.saveState([random]);
    if (session.succeeded) return;
  }
}
