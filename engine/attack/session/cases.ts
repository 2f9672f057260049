import { type SlotLayout, insertTokens, slotLayout } from "../search/slot-layout.ts";
import type { Candidate, Session } from "./session.ts";

/** Where the tokens go in each case's prompt. */
export function caseLayouts({ model, options }: Session): SlotLayout[] {
  return options.cases.map(({ promptIds }) => slotLayout(options.insert, options.tokens, promptIds.length, model.tokenizer.maxLength));
}

/** The prompt of a case with these tokens in it, decoded to text as a user would type it. */
function promptWith({ model: { tokenizer }, options }: Session, layout: SlotLayout, i: number, chosen: ArrayLike<number>): string {
  return tokenizer.decode(insertTokens(layout, options.cases[i]!.promptIds, chosen).filter((id) => id !== tokenizer.eosId));
}

/**
 * Of weights that follow the prompt (SPM): sets them for the first case's prompt with these tokens in it. The strength is found from the
 * prompt's text, without a gradient, and a step of the search changes the text in jumps. So the loss is followed at a fixed strength, and
 * the strength is set anew between rounds; what is judged has its own.
 */
export async function followPrompt(session: Session, chosen: ArrayLike<number>): Promise<void> {
  const { transport } = session.model.parts;
  if (transport) await transport.to(session.model, promptWith(session, caseLayouts(session)[0]!, 0, chosen));
}

/**
 * Draws and judges the prompt of every case with these tokens in it.
 * @throws as `Session.evaluate`
 */
export async function judgeTokens(
  session: Session,
  chosen: ArrayLike<number>,
  rest: Pick<Candidate, "timestep" | "loss" | "restart">,
): Promise<void> {
  for (const [i, layout] of caseLayouts(session).entries()) {
    const prompt = promptWith(session, layout, i, chosen);
    await session.evaluate({ prompt, seed: session.options.cases[i]!.seed, case: i, ...rest });
  }
}
