// Modules are called as they are imported.
// A page's title is its first heading, so that the same file reads well where it lies in the repository.
import { Converter } from "typedoc";

export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, page) => {
    const [first] = page.content;
    const heading = first?.kind === "text" && /^# (.+)\n/.exec(first.text);
    if (!heading) throw new Error(`docs: ${page.name}.md does not begin with a heading`);
    page.name = heading[1];
  });
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) module.name = module.name.replace(/^engine/, "lethe");
  });
}
