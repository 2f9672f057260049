import { pick } from "../../engine/options/values.ts";
import { executeUnlearn, unlearnOptions } from "../../engine/run/unlearn/execute.ts";
import { UNLEARN_FILES, UnlearnFiles } from "../../engine/run/unlearn/files.ts";
import { previewPrompts } from "../../engine/run/unlearn/previews.ts";
import { newUnlearnRecord } from "../../engine/run/unlearn/record.ts";
import { type UnlearnSettings, newUnlearnSettings, resultOf } from "../../engine/run/unlearn/settings.ts";
import { LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { UNLEARN_OPTIONS } from "../../engine/unlearn/option-table.ts";
import { resolveUnlearn } from "../../engine/unlearn/options.ts";
import type { UnlearnEvent } from "../../engine/unlearn/run.ts";
import { wordsOf } from "../../engine/run/unlearn/log.ts";
import type { EraseRequest, Erased } from "../protocol.ts";
import { bitmapOf } from "./bitmap.ts";
import type { Library } from "./files/library.ts";
import { runStore } from "./files/run-store.ts";
import { sha256Blob } from "./files/sha256.ts";
import { memoryStore } from "./files/store.ts";
import type { Job } from "./job.ts";
import type { Session } from "./session.ts";

/**
 * Erases a concept and puts the result among what can be loaded, until the page is closed.
 * @throws what `executeUnlearn` throws
 */
export async function erase(session: Session, library: Library, request: EraseRequest, job: Job<"erase">): Promise<Erased> {
  const { choice, concept, retain } = request;
  job.news({ type: "phase", text: "loading the model" });
  const model = await session.model(choice);
  const settings = settingsOf(request);
  const { recipe: name, published: { paper, code }, ...resolved } = resolveUnlearn(model, unlearnOptions(settings, { retain, images: {} }));
  const { ending } = LAYOUTS[resultOf(settings, model.isXl ? "sdxl" : "sd").layout];
  const out = concept.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40) + `-${request.method}` + ending;
  const store = memoryStore();
  const output = runStore(store);
  const { weights } = choice;
  const place = {
    device: model.device, limits: "adapter", weights, math: "f32", platform: navigator.userAgent,
    flags: [...(weights === "f16" ? ["--weights", "f16"] : []), "--out", out],
  } as const;
  const effective = pick(UNLEARN_OPTIONS, { ...resolved, recipe: name });
  const record = await executeUnlearn(
    {
      model, retain, output,
      base: { files: library.files, folder: choice.model },
      images: {},
      previews: previewPrompts([concept], retain, undefined),
      record: newUnlearnRecord({ settings, recipe: { name, paper, code }, effective, out }, place, []),
      files: new UnlearnFiles(output),
      name: out,
      sha256: async (file) => sha256Blob((await store.read(file))!),
      showImages: true,
    },
    {
      signal: job.signal,
      onEvent: (event) => tell(event, job),
      onPreview: ({ step, prompt, erased }, picture) => job.news({ type: "preview", step, prompt, erased, picture: bitmapOf(picture) }),
    },
  );
  const file = (await store.read(out))!;
  const [entry] = await library.drop({ [out]: file });
  const report = new Blob([await (await store.read(UNLEARN_FILES.report))!.arrayBuffer()], { type: "text/html" });
  return { entry: entry!, file, report, seconds: record.seconds, steps: record.result!.steps };
}

/** Over weights that are laid over the model the whole UNet is written: a file with some tensors would lose the others. */
function settingsOf({ choice, method, concept, steps, learningRate }: EraseRequest): UnlearnSettings {
  const trained = method === "uce" ? {} : { steps, learningRate };
  const layout = choice.overlay === null ? {} : { layout: "unet-pt" as const };
  return newUnlearnSettings({ model: choice.model, method, concepts: [concept], previewSteps: 15, ...trained, ...layout });
}

function tell(event: UnlearnEvent, job: Job<"erase">): void {
  const text = wordsOf(event);
  if (text !== undefined) job.news({ type: "phase", text });
  if (event.type === "step") job.news({ type: "step", step: event.step, steps: event.steps, loss: event.loss });
}
