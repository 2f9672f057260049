import { dirname, join } from "node:path";
import type { AttackCase } from "../../engine/attack/options.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { type PromptCase, readPrompts, targetOf } from "../evaluate/prompts.ts";
import type { AttackFlags } from "./settings.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import { fitTarget } from "../../engine/run/target.ts";
import { readTarget } from "./target.ts";

/** The rows of a universal attack's table with their pictures' files. @throws FormatError */
async function readCases({
  prompts,
  targets,
}: Pick<AttackSettings, "prompts" | "targets">): Promise<(PromptCase & { readonly target: string })[]> {
  const folder = targets ?? join(dirname(prompts!), "imgs").replaceAll("\\", "/");
  return (await readPrompts(prompts!)).map((row) => ({ ...row, target: targetOf(folder, row.id) }));
}

/**
 * Flags of a universal attack with its first case for what was not given: prompt, picture and seed then name the run.
 * @throws FormatError
 */
export async function withFirstCase(flags: AttackFlags): Promise<AttackFlags> {
  if (!flags.universal || flags.prompts === undefined) return flags;
  const [first] = await readCases({ prompts: flags.prompts, targets: flags.targets ?? null });
  return { prompt: first!.prompt, target: first!.target, seed: first!.seed, ...flags };
}

/** The cases of a universal attack, pictures fitted to the model, and the files they came from. @throws FormatError */
export async function openCases(
  settings: AttackSettings,
  model: StableDiffusion,
): Promise<{ readonly cases: readonly AttackCase[]; readonly files: readonly { readonly role: string; readonly path: string }[] }> {
  const rows = await readCases(settings);
  const cases: AttackCase[] = [];
  const files = [{ role: "prompts", path: resolvePath(settings.prompts!) }];
  for (const { prompt, seed, guidance, target } of rows) {
    const picture = await readTarget(target);
    files.push({ role: "target", path: picture.file });
    cases.push({ prompt, seed, target: fitTarget(picture, model).array, ...(guidance !== undefined && { guidance }) });
  }
  return { cases, files };
}
