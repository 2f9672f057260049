/** The tables of docs/erase.md say what the tables of the code say. LETHE_WRITE=1 writes them. */
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { RECIPES } from "../../engine/unlearn/recipes.ts";

const FILE = "docs/erase.md";

function recipeTable(): string {
  const rows = Object.entries(RECIPES).map(([name, { methods, paper, code, layout, defaults }]) => {
    const { steps, learningRate } = defaults;
    const work = [steps === undefined ? "" : `${steps} steps`, learningRate === undefined ? "" : `at ${learningRate}`].filter(
      (x) => x !== "",
    );
    const linked = paper.replace(/arXiv (\d{4}\.\d{5})/, "[arXiv $1](https://arxiv.org/abs/$1)");
    return `| \`${name}\` | ${methods.map((m) => `\`${m}\``).join(", ")} | ${work.join(" ")} | \`${layout}\` | ${linked} | ${code} |`;
  });
  return ["| recipe | methods | default work | layout | paper | whose code |", "|---|---|---|---|---|---|", ...rows].join("\n");
}

function layoutTable(): string {
  const rows = Object.entries(LAYOUTS).map(
    ([name, { help, ending }]) => `| \`${name}\` | ${ending === "" ? "folder" : `\`${ending}\``} | ${help} |`,
  );
  return ["| layout | file | what it holds |", "|---|---|---|", ...rows].join("\n");
}

/** The page with these tables in place of its own, or of the words that stand for them. */
function withTables(page: string): string {
  const put = (text: string, heading: string, table: string): string =>
    text.replace(
      new RegExp(`(## ${heading}\\n\\n(?:<!--[^]*?-->\\n\\n)?)(?:\\|[^]*?\\n|[A-Z]+\\n)(?=\\n)`),
      (_, head: string) => `${head}${table}\n`,
    );
  return put(put(page, "Recipes", recipeTable()), "Layouts", layoutTable());
}

test("docs/erase.md lists the recipes and layouts that there are", () => {
  const page = readFileSync(FILE, "utf8");
  const now = withTables(page);
  if (process.env["LETHE_WRITE"] === "1") writeFileSync(FILE, now);
  else assert.ok(page === now, "a recipe or layout was changed: run LETHE_WRITE=1 node scripts/test.mjs docs/recipes");
  for (const name of [...Object.keys(RECIPES), ...Object.keys(LAYOUTS)]) assert.ok(now.includes(`| \`${name}\` |`), name);
});

test.run();
