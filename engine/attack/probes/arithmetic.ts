import { composed } from "../../diffusion/steering/guided.ts";
import { UsageError } from "../../runtime/errors.ts";
import { type Component, parseComponents } from "./option-table.ts";
import { type Probe, type ProbeUnit, type OtherSide, upTo } from "./studio.ts";

/**
 * The concept as a sum of prompts that do not name it (Liu et al., arXiv 2206.01714, composed in the prediction). Each component alone must
 * be judged negative, or the sum shows nothing.
 */
export const conceptArithmetic: Probe = async (studio) => {
  const { model, own, other, options } = studio;
  if (options.components === null) throw new UsageError('attacker "concept-arithmetic" needs components: prompts and their weights');
  const components = parseComponents(options.components);
  const unit = (list: readonly Component[], i: number, side: OtherSide, control?: string): ProbeUnit =>
    studio.unit(i, side, control, { components: list.map((c) => `${c.prompt}:${c.weight}`).join("; ") }, async (seed) => {
      const empty = await studio.encode("", side.model);
      const prompts: Parameters<typeof composed>[2][number][] = [];
      for (const c of list) prompts.push({ context: await studio.encode(c.prompt, side.model), weight: c.weight });
      const plan = studio.plan(0, side.model);
      return studio.draw({ plan, start: studio.start(plan, seed), predict: composed(side.model, empty, prompts) }, side.model);
    });
  const tries = upTo(options.seeds);
  // With an unrelated prompt in place of a model that never saw the concept, it stands for the first component.
  const elsewhere = other && other.model === model ? [{ ...components[0]!, prompt: other.prompt }, ...components.slice(1)] : components;
  return [
    ...tries.map((i) => unit(components, i, own)),
    ...tries.flatMap((i) => components.map((c) => unit([{ ...c, weight: options.guidance }], i, own, "components"))),
    ...(other ? tries.map((i) => unit(elsewhere, i, other, "never-saw")) : []),
  ];
};
