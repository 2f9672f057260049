import { type SlotLayout, insertTokens, slotLayout } from "../search/slot-layout.ts";
import type { Candidate, Session } from "./session.ts";

/** Where the tokens go in each case's prompt. */
export function caseLayouts({ model, options }: Session): SlotLayout[] {
  return options.cases.map(({ promptIds }) => slotLayout(options.insert, options.tokens, promptIds.length, model.tokenizer.maxLength));
}

/**
 * Draws and judges the prompt of every case with these tokens in it, decoded to text as a user would type it.
 * @throws as `Session.evaluate`
 */
export async function judgeTokens(
  session: Session,
  chosen: ArrayLike<number>,
  rest: Pick<Candidate, "timestep" | "loss" | "restart">,
): Promise<void> {
  const { tokenizer } = session.model;
  for (const [i, layout] of caseLayouts(session).entries()) {
    const ids = insertTokens(layout, session.options.cases[i]!.promptIds, chosen).filter((id) => id !== tokenizer.eosId);
    await session.evaluate({ prompt: tokenizer.decode(ids), seed: session.options.cases[i]!.seed, case: i, ...rest });
  }
}
