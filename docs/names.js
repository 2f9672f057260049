// Modules are called as they are imported.
// The theme's columns get landmarks, which screen readers go by.
// A page's title is its first heading, so that the same file reads well where it lies in the repository.
import { readFileSync } from "node:fs";
import { Converter, PageEvent } from "typedoc";

const { exports } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
/** "engine/metrics": "lethe/quality" */
const IMPORTED = new Map(
  Object.entries(exports).flatMap(([path, { types }]) =>
    types === undefined ? [] : [[types.replace(/^\.\/dist\/types\/|(\/index)?\.d\.ts$/g, ""), path.replace(/^\./, "lethe")]],
  ),
);

export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, page) => {
    const [first] = page.content;
    const heading = first?.kind === "text" && /^# (.+)\n/.exec(first.text);
    if (!heading) throw new Error(`docs: ${page.name}.md does not begin with a heading`);
    page.name = heading[1];
  });
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    // The first page has the project's name as its title already.
    const [opening] = project.readme ?? [];
    const title = `# ${project.name}\n`;
    if (opening?.kind !== "text" || !opening.text.startsWith(title)) throw new Error(`docs: README.md does not begin with "${title.trim()}"`);
    opening.text = opening.text.slice(title.length);
    for (const module of project.children ?? []) {
      const name = IMPORTED.get(module.name);
      if (name === undefined) throw new Error(`docs: ${module.name} is not an export of the package (${[...IMPORTED.keys()].join(", ")})`);
      module.name = name;
    }
  });
  app.renderer.on(PageEvent.END, (page) => {
    page.contents = page.contents
      ?.replace('<div class="col-content">', '<div class="col-content" role="main">')
      .replace('<div class="col-sidebar">', '<div class="col-sidebar" role="complementary" aria-label="Contents">')
      .replaceAll("<table>", '<table tabindex="0">');
    // A function's page has no heading of its own between its title and its parameters.
    const [text = "", ...rest] = page.contents?.split('<div class="col-sidebar"') ?? [];
    if (!text.includes("<h3")) page.contents = [text.replaceAll("<h4", '<h4 role="heading" aria-level="2"'), ...rest].join('<div class="col-sidebar"');
  });
}
