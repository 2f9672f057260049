import { classifyByDiffusion } from "../../engine/diffusion/diffusion-classifier.ts";
import { blobSource } from "../../engine/formats/byte-source.ts";
import { loadTarget } from "../../engine/run/target.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import type { Classified, ClassifyRequest } from "../protocol.ts";
import type { Job } from "./job.ts";
import type { Session } from "./session.ts";

/** The prompts with their errors, the best one marked. @throws UsageError for fewer than two prompts; FormatError for the picture */
export async function classify(session: Session, request: ClassifyRequest, job: Job<"classify">): Promise<readonly Classified[]> {
  const { choice, picture, seed } = request;
  const prompts = request.prompts.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  if (prompts.length < 2) throw new UsageError("give at least two prompts to choose from, one a line");
  job.news({ text: "loading the model" });
  const model = await session.model(choice);
  if (model.parts.transport) {
    throw new UsageError("this eraser's strength depends on the prompt (SPM): prompts cannot be compared under it");
  }
  const { array } = await loadTarget(blobSource(picture.name, picture.file), model);
  const { index, scores } = await classifyByDiffusion(model, array, {
    prompts,
    seed,
    signal: job.signal,
    onProgress: (done, total) => job.news({ text: `comparing predictions: ${done} of ${total}`, done: done / total }),
  });
  return scores.map(({ prompt, error, errors }, i) => ({ prompt, error, best: i === index, tried: errors.length }));
}
