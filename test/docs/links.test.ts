/** Links of everything that people read: what they lead to is there, with the heading that they name; what is packed can be reached. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { anchorsOf, blocksOf, linksOf } from "./markdown.ts";

const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"], { encoding: "utf8" })
  .trim()
  .split("\n")
  .filter((file) => !file.startsWith("test/") && existsSync(file));

test("Markdown is read as it is written", () => {
  const text = "# A b: c\n\n[x](y.md#z) and `[no](link)`\n\n`f.sh`:\n\n```sh\na [b](c)\n# no heading\n```\n";
  assert.equal(linksOf(text), ["y.md#z"]);
  assert.equal(blocksOf(text), [{ language: "sh", text: "a [b](c)\n# no heading\n", file: "f.sh" }]);
  assert.equal([...anchorsOf(text)], ["a-b-c"]);
});

test("links lead to what is there", () => {
  assert.ok(files.includes("README.md") && files.includes("docs/attack-sd14.md"), files.join(", "));
  const broken: string[] = [];
  for (const file of files) {
    for (const link of linksOf(readFileSync(file, "utf8"))) {
      if (/^(https?:|mailto:)/.test(link)) continue;
      const [path, anchor] = link.split("#") as [string, string | undefined];
      const target = path === "" ? file : normalize(join(dirname(file), path));
      if (!existsSync(target)) broken.push(`${file}: ${link} is not there`);
      else if (anchor !== undefined && (statSync(target).isDirectory() || !anchorsOf(readFileSync(target, "utf8")).has(anchor))) {
        broken.push(`${file}: ${link} has no such heading`);
      }
    }
  }
  assert.equal(broken, []);
});

test("every page of docs/ begins with a heading, which is its title on the site, and is led to from the README or another page", () => {
  const pages = files.filter((file) => file.startsWith("docs/"));
  const led = new Set(
    files.flatMap((file) => linksOf(readFileSync(file, "utf8")).map((l) => normalize(join(dirname(file), l.split("#")[0]!)))),
  );
  for (const page of pages) {
    assert.match(readFileSync(page, "utf8"), /^# .+\n/, page);
    assert.ok(led.has(page), `nothing leads to ${page}`);
  }
});

test.run();
