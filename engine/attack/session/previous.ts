import type { Evaluation } from "../types.ts";

/** The evaluation that came before one of this case and search: its own last one, or the case's original prompt. */
export function previousOf<T extends Evaluation>(evaluations: readonly T[], { case: number = 0, restart }: Pick<Evaluation, "case" | "restart">): T | undefined {
  return evaluations.findLast((e) => (e.case ?? 0) === number && (e.timestep < 0 || e.restart === restart));
}
