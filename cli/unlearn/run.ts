import { type PreparedUnlearn, executeUnlearn } from "../../engine/run/unlearn/execute.ts";
import type { UnlearnRecord } from "../../engine/run/unlearn/record.ts";
import { quoted } from "../../engine/run/text/format.ts";
import type { Context } from "../context.ts";
import { sayHowToGoOn } from "../resumable.ts";
import { UnlearnProgress } from "./progress.ts";

/**
 * Runs a prepared erasing run, its progress on stderr, and takes the model down.
 * @param out what the result is called
 * @throws what stopped it, after saying how to go on
 */
export async function runUnlearn(context: Context, run: PreparedUnlearn, out: string): Promise<UnlearnRecord> {
  const { model, saved, record: { settings, recipe, resumeCommand } } = run;
  context.say(`erasing ${settings.concepts.map(quoted).join(", ")} by ${recipe.name} on ${model.device.description}`);
  if (saved) context.say(`going on after step ${saved.training.step}`);
  try {
    return await context.withProgress("erasing", async (progress) => {
      const shown = new UnlearnProgress(progress);
      return executeUnlearn(run, {
        signal: context.signal,
        say: (line) => context.say(line),
        onEvent: (event) => shown.handle(event),
        onPreview: (line) => shown.preview(line, `${out}.run`),
      });
    });
  } catch (error) {
    sayHowToGoOn(context, error, `${out}.run`, resumeCommand);
    throw error;
  } finally {
    await model.destroy();
  }
}
