import { type RunEstimate, type RunWork, describeEstimate, fitRun } from "../engine/diffusion/estimate-run.ts";
import type { StableDiffusion } from "../engine/diffusion/stable-diffusion.ts";
import { measureUploadRate } from "../engine/runtime/upload-rate.ts";
import type { Context } from "./context.ts";

/** Plans a run before a weight is loaded, and says what it takes. @param quiet it was said before */
export async function fitAndSay(context: Context, model: StableDiffusion, work: RunWork, quiet = false): Promise<RunEstimate> {
  const estimate = fitRun(model, work, context.options.offload);
  if (quiet) return estimate;
  const rate = estimate.offloading && (await measureUploadRate(model.device));
  context.say(describeEstimate(estimate, rate));
  return estimate;
}
