import type { NeededModels } from "../../engine/run/settings/needs.ts";
import type { Context } from "../context.ts";
import { type OpenedModel, openWithFiles } from "../model.ts";
import { recordFiles } from "./files.ts";
import { openJudge } from "./judge.ts";

/** How a run's parts are opened: anew for one attack, shared between the attacks of an evaluation. */
export interface Opening {
  readonly models: (context: Context, needed: NeededModels) => Promise<OpenedModels>;
  readonly judge: typeof openJudge;
  readonly files: typeof recordFiles;
  /** What a run will take has been said before. */
  readonly quiet: boolean;
}

/** The models of a run, each with its files. */
export type OpenedModels = {
  readonly [K in keyof NeededModels]: undefined extends NeededModels[K] ? OpenedModel | undefined : OpenedModel;
};

/** Everything from its files. */
export const ANEW: Opening = {
  async models(context, { attacked, original, control }) {
    return {
      attacked: await openWithFiles(context, attacked),
      original: original && (await openWithFiles(context, original)),
      control: control && (await openWithFiles(context, control)),
    };
  },
  judge: openJudge,
  files: recordFiles,
  quiet: false,
};
