import { type Catalog, ChoiceFields } from "./catalog.ts";
import type { Engine } from "./engine.ts";
import { field, find, numberOf, table } from "./parts/dom.ts";
import { Panel } from "./parts/panel.ts";

/** The Classify tab. */
export function startClassify(root: HTMLElement, engine: Engine, catalog: Catalog): ChoiceFields {
  const form = find<HTMLFormElement>(root, "form");
  const panel = new Panel(root);
  const choice = new ChoiceFields(form, engine, catalog, "", "drawBytes");
  const run = async (file: File): Promise<void> => {
    find(root, "[data-result]").replaceChildren();
    const request = {
      choice: choice.value,
      picture: { name: file.name, file },
      prompts: field<HTMLTextAreaElement>(form, "prompts").value,
      seed: numberOf(form, "seed"),
    };
    const found = await panel.run(engine.start("classify", request, ({ text, done }) => panel.status(text, done)));
    if (!found) return;
    const made = table("Prompts by their error", ["prompt", "mean error", "timesteps tried"], new Set([1, 2]));
    for (const { prompt, error, tried } of found.toSorted((a, b) => Number(b.best) - Number(a.best) || a.error - b.error)) {
      made.add([prompt, error.toFixed(5), String(tried)]);
    }
    find(root, "[data-result]").replaceChildren(made.element);
    panel.status(`The model sees: ${found.find(({ best }) => best)!.prompt}`);
  };
  choice.submit(() => {
    const [file] = field(form, "picture").files ?? [];
    if (file && !panel.busy) void run(file);
  });
  return choice;
}
