// docs/site: the tutorials beside this file and the API reference from the doc comments, by TypeDoc. "npm run docs" builds it.
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const { exports } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

/** What a reader wants first; pages that are not here come after, by name. */
const ORDER = [
  "attack-sd14",
  "add-concept",
  "choose-judge",
  "read-report",
  "erase",
  "sdxl",
  "ci",
  "library",
  "cluster",
  "commands",
  "troubleshooting",
  "how-it-works",
  "attacks",
  "files",
  "leaderboard",
];
const place = (name) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);
const pages = readdirSync(`${root}docs`)
  .filter((file) => file.endsWith(".md"))
  .map((file) => file.slice(0, -3))
  .toSorted((a, b) => place(a) - place(b) || a.localeCompare(b));

/** The library's entries: the sources whose types the package exports. */
const entryPoints = Object.values(exports)
  .flatMap(({ types }) => types ?? [])
  .map((types) => root + types.replace("./dist/types/", "").replace(".d.ts", ".ts"));

export default {
  name: "Lethe",
  basePath: root,
  entryPoints,
  tsconfig: `${root}tsconfig.types.json`,
  readme: `${root}README.md`,
  projectDocuments: pages.map((name) => `${root}docs/${name}.md`),
  plugin: [fileURLToPath(new URL("names.js", import.meta.url))],
  customCss: fileURLToPath(new URL("site.css", import.meta.url)),
  out: fileURLToPath(new URL("site", import.meta.url)),
  excludeExternals: true,
  excludePrivate: true,
  excludeInternal: true,
  disableSources: true,
  sort: ["documents-first"],
  // A module's page lists what is in it. In the navigation it would be a list that opens, whose title is a link as well: two controls in one.
  navigationLeaves: Object.keys(exports).map((path) => path.replace(/^\./, "lethe")),
  navigation: { includeGroups: false, includeCategories: false, includeFolders: false },
  // Types that are only named by others, and are no part of the API, are written out where they are used.
  validation: { notExported: false, invalidLink: true, invalidPath: true, rewrittenLink: true },
  treatValidationWarningsAsErrors: true,
};
