/**
 * What an evaluation's tables are made of: side effects, published numbers, curves by budget; and that a row's own command makes it again.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import { TIME_BUDGET, WORK_BUDGETS, budgetCurve, budgetSteps, roundTicks } from "../../engine/run/leaderboard/charts/budget.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";
import { readPrompts } from "../../cli/evaluate/prompts.ts";
import { readReported } from "../../cli/evaluate/reported.ts";
import { reportedText, sourcesOf } from "../../engine/run/leaderboard/reported.ts";
import { sideEffects } from "../../engine/run/leaderboard/side-effects.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import { leaderboardCsv } from "../../engine/run/leaderboard/tables.ts";
import { leaderboardTex } from "../../engine/run/leaderboard/latex.ts";
import { headlineOf } from "../../engine/run/leaderboard/headline.ts";
import { PAPER_THEME } from "../../engine/run/leaderboard/charts/plot.ts";
import { heatMap } from "../../engine/run/leaderboard/charts/heat-map.ts";
import { forestPlot } from "../../engine/run/leaderboard/charts/forest.ts";
import { defaultSettings } from "../../engine/run/settings/settings.ts";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { ATTACKERS } from "../../engine/attack/attackers.ts";
import { attemptLine } from "../support/evaluation.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const entry = (checkpoint: string, attacker: string, concept: string, more: Partial<CellEntry>, cases: number): CellEntry => {
  const id = `${checkpoint}/${attacker}/${concept}`;
  return {
    id,
    checkpoint,
    attacker,
    kind: "random",
    concept,
    label: concept,
    rule: "",
    attempts: Array.from({ length: cases }, (_, i) => `${id}/${i}`),
    ...more,
  };
};
const lineOf = attemptLine;

test("UA, IRA and CRA count what they should, erased concepts left out", () => {
  const objects = ["church", "cat", "fish", "dog"];
  const styles = ["noto", "flat"];
  const cells: CellEntry[] = [];
  const lines: AttemptLine[] = [];
  const say = (cell: CellEntry, drawn: readonly boolean[]): void => {
    cells.push(cell);
    lines.push(...cell.attempts.map((id, i) => lineOf(id, drawn[i]!)));
  };
  const retained = (checkpoint: string, drawnObjects: boolean[], drawnStyles: boolean[]): void => {
    say(entry(checkpoint, "retained", "things", { retained: { domain: "objects", labels: objects } }, 4), drawnObjects);
    say(entry(checkpoint, "retained", "looks", { retained: { domain: "styles", labels: styles } }, 2), drawnStyles);
  };
  // made to forget church and noto: of five prompts of church one still draws it, under both attackers the same
  for (const attacker of ["a", "b"]) say(entry("x", attacker, "church", { domain: "objects" }, 5), [false, true, false, false, false]);
  say(entry("x", "a", "noto", { domain: "styles" }, 2), [false, false]);
  retained("x", [false, true, false, true], [false, true]);
  say(entry("original", "no-attack", "church", { domain: "objects", baseline: true }, 5), [true, true, true, true, false]);
  say(entry("original", "no-attack", "noto", { domain: "styles", baseline: true }, 2), [true, true]);
  retained("original", [true, true, false, true], [true, true]);
  const rates = sideEffects(cells, lines).map(({ checkpoint, concept, ua, ira, cra }) =>
    [checkpoint, concept, ...[ua, ira, cra].map((r) => `${r.count}/${r.of}`)].join(" "),
  );
  assert.equal(rates, [
    "x church 4/5 2/3 1/1", // of cat, fish and dog; of flat, since noto was erased too
    "x noto 2/2 1/1 2/3",
    "original church 1/5 2/3 2/2", // it has forgotten nothing but is compared on the same prompts
    "original noto 0/2 1/1 3/4",
  ]);
  assert.is(cellStatistics(cells, lines).length, 5); // retained cells are not rows of the leaderboard
  assert.equal(sideEffects(cells.filter((c) => !c.retained), lines), []);
});

test("published numbers are found by method or checkpoint, concept, attacker and settings; every one has its source", async () => {
  const find = await readReported();
  const settings = { ...defaultSettings(), model: "emoji", prompt: "", tokens: 5, learningRate: 0.05, weightDecay: 0 };
  const row = { method: "esd", checkpoint: "esd-x-church", concept: "Church", settings };
  const text = (found: ReturnType<typeof find>): string => reportedText(found, sourcesOf([{ reported: found }]));
  assert.is(text(find(row)), "60% (ESD, SD 1.4) [1], 83.3% (10/12) (esd-x-church, emoji) [2]");
  assert.is(
    text(find({ ...row, settings: { ...settings, tokens: 3, learningRate: 0.01, weightDecay: 0.1 } })),
    "60% (ESD, SD 1.4) [1], 41.7% (5/12) (esd-x-church, emoji) [2]",
  );
  assert.is(
    text(find({ ...row, settings: { ...settings, attacker: "no-attack" } })),
    "14% (ESD, SD 1.4) [1], 0.0% (0/12) (esd-x-church, emoji) [2]",
  );
  assert.equal(find({ ...row, settings: { ...settings, attacker: "p4d" } }), []);
  assert.is(text(find({ ...row, settings: { ...settings, model: "other" } })), "60% (ESD, SD 1.4) [1]");
  assert.equal(find({ ...row, method: undefined, checkpoint: "mine" }), []);
  const { sources, entries } = JSON.parse(readFileSync("assets/reported.json", "utf8")) as {
    sources: Record<string, Record<string, string>>;
    entries: Record<string, unknown>[];
  };
  for (const source of Object.values(sources)) {
    for (const key of ["title", "url", "measures"]) assert.ok(source[key], JSON.stringify(source));
  }
  for (const e of entries) {
    if (e["fid"] !== undefined) {
      assert.ok(sources[e["source"] as string] && (e["fid"] as number) > 0, JSON.stringify(e));
      assert.match(e["features"] as string, /^[a-z0-9-]+ \d+$/);
      continue;
    }
    assert.ok(sources[e["source"] as string] && (ATTACKERS as readonly unknown[]).includes(e["attacker"]), JSON.stringify(e));
    const share = e["percent"] === undefined ? (100 * (e["count"] as number)) / (e["of"] as number) : (e["percent"] as number);
    assert.ok(share >= 0 && share <= 100, JSON.stringify(e));
  }
});

/** The corners of the only step curve of a chart, in pixels. */
function drawnCorners(svg: string): [number, number][] {
  const [, path] = /<path d="(M[^"]+)"><title>/.exec(svg)!;
  return [...path!.matchAll(/[ML]([\d.]+),([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
}

test("a budget's curve rises by one prompt at what each success cost, from the pre-ASR to the ASR", () => {
  const cell = entry("x", "a", "church", { kind: "text-grad" }, 4);
  const spend = (i: number, drawn: boolean, success: boolean, iterations: number): AttemptLine =>
    lineOf(cell.attempts[i]!, drawn, {
      success,
      iterations,
      queries: 1 + iterations / 40,
      ms: { draw: 0, search: 0, total: iterations * 10 },
    });
  const rows = cellStatistics(
    [cell],
    [spend(0, true, true, 0), spend(1, false, true, 40), spend(2, false, true, 120), spend(3, false, false, 160)],
  );
  assert.equal(budgetSteps(rows[0]!, WORK_BUDGETS[1]!), [
    { spent: 0, share: 0.25 },
    { spent: 40, share: 0.5 },
    { spent: 120, share: 0.75 },
    { spent: 160, share: 0.75 },
  ]);
  for (const budget of [...WORK_BUDGETS, TIME_BUDGET]) {
    const svg = budgetCurve(rows, ["a"], budget, PAPER_THEME);
    assert.not.match(svg, /NaN|Infinity|undefined/);
    const points = drawnCorners(svg);
    const [left, bottom] = points[0]!;
    const [right, top] = points.at(-1)!;
    const most = budget.spent(rows[0]!.lines[3]!);
    // each step goes right to what a success cost, then up by a prompt: a quarter, of the two that it rises in all
    const seen = points.map(([x, y]) => [(most * (x - left)) / (right - left), (bottom - y) / (bottom - top) / 2 + 0.25]);
    for (const { spent, share } of budgetSteps(rows[0]!, budget)) {
      const near = seen.some(([x, y]) => Math.abs(x! - spent) < 2e-3 * most && Math.abs(y! - share) < 2e-3);
      assert.ok(near, `${budget.title}: no corner at ${spent}, ${share} among ${JSON.stringify(seen)}`);
    }
  }
  const plain = cellStatistics([entry("x", "n", "c", { kind: "no-attack" }, 1)], [lineOf("x/n/c/0", false)]);
  assert.is(budgetCurve(plain, ["n"], TIME_BUDGET, PAPER_THEME), "");
});

test("an axis of what comes in whole numbers has no halves", () => {
  for (const most of [1, 2, 3, 5, 7, 9, 17, 300]) {
    const ticks = roundTicks(most, true);
    assert.ok(ticks.every(Number.isInteger) && new Set(ticks).size === ticks.length && ticks.at(-1)! <= most, `${most}: ${ticks}`);
  }
  assert.equal(roundTicks(2, false), [0, 0.5, 1, 1.5, 2]);
});

test("heat map and forest plot show each row's numbers where they belong", () => {
  const cells = [entry("x", "a", "church", { kind: "text-grad" }, 4), entry("y", "b", "church", { kind: "text-grad" }, 2)];
  const drawn = [true, true, false, false, false, false];
  const rows = cellStatistics(cells, cells.flatMap((c) => c.attempts).map((id, i) => lineOf(id, drawn[i]!)));
  const map = heatMap(rows, PAPER_THEME, (r) => `#${r.cell.id}`);
  assert.equal([...map.matchAll(/<a [^>]*href="([^"]+)"[^>]*aria-label="([^"]+)"|aria-label="([^"]+)"[^>]*href="([^"]+)"/g)].length, 2);
  assert.match(map, /a on x, church: 2 of 4 prompts, 50\.0% \[15\.0, 85\.0\]/);
  assert.match(map, />50%<[^]*>0%</);
  const forest = forestPlot(rows, PAPER_THEME);
  assert.not.match(forest, /NaN|undefined/);
  // 0 to 100% of the axis, and the dots and bounds of the first row on it
  const at = (label: string): number => Number(new RegExp(`translate\\(([\\d.]+),[\\d.]+\\)"[^>]*>${label}<`).exec(forest)![1]);
  const dots = [...forest.matchAll(/<circle[^>]*>/g)].map(([dot]) => Number(/cx="([\d.]+)"/.exec(dot)![1]));
  const share = (x: number): number => (x - at("0%")) / (at("100%") - at("0%"));
  assert.equal(dots.map((x) => share(x).toFixed(2)), ["0.50", "0.00", "0.50", "0.00"]); // pre-ASR of both rows, then ASR
});

test("the headline counts unlearned checkpoints alone, and names the strongest attack", () => {
  const row = (
    checkpoint: string,
    attacker: string,
    pre: number,
    hit: number,
    more: Partial<CellEntry> = {},
  ): [CellEntry, AttemptLine[]] => {
    const cell = entry(checkpoint, attacker, "church", { kind: "text-grad", ...more }, 4);
    return [cell, cell.attempts.map((id, i) => lineOf(id, i < pre, { success: i < hit }))];
  };
  const of = (...rows: [CellEntry, AttemptLine[]][]): ReturnType<typeof headlineOf> =>
    headlineOf(cellStatistics(rows.map(([c]) => c), rows.flatMap(([, l]) => l)));
  const two = of(row("x", "a", 0, 1), row("x", "b", 0, 3), row("y", "a", 0, 0), row("original", "n", 4, 4, { baseline: true }));
  assert.is(two.sentence, "1 of 2 unlearned checkpoints can still draw church");
  assert.match(two.details.join(" "), /Without an attack, 0 of 2.*b on x, raised .* from 0\.0% \[.*\] to 75\.0% \[.*\] of 4 prompts/);
  assert.is(of(row("x", "a", 0, 0)).sentence, "The unlearned checkpoint did not draw church");
  assert.match(of(row("x", "a", 1, 1)).details.join(" "), /1 of 1 still drew.*No attack brought back/);
  assert.is(of().broken, false);
});

test("the headline counts a probe only where it did better than its controls", () => {
  const probe = (checkpoint: string, kind: CellEntry["kind"], control: number, pre = 0): [CellEntry, AttemptLine[]] => {
    const cell = entry(checkpoint, kind, "church", { kind }, 10);
    const lines = cell.attempts.map((id, i) => {
      const comparisons = [
        { control: "unrelated", measure: "success", expects: "more", probe: 1, other: i < control ? 1 : 0 },
      ] as const;
      const plain = i < pre;
      const found = plain ? {} : { success: true, probe: { successes: 1, missing: [], comparisons } };
      return lineOf(id, plain, found as never);
    });
    return [cell, lines];
  };
  const of = (...rows: [CellEntry, AttemptLine[]][]): ReturnType<typeof headlineOf> =>
    headlineOf(cellStatistics(rows.map(([c]) => c), rows.flatMap(([, l]) => l)));
  const open = of(probe("x", "ddim-inversion", 10));
  assert.is(open.sentence, "The unlearned checkpoint did not draw church");
  assert.is(open.broken, false);
  assert.match(
    open.details.join(" "),
    /Of 1 that was probed, 1 gave it up to a probe no more surely than to its control, which is no verdict\..*No attack/,
  );
  assert.is(of(probe("x", "img2img", 0)).sentence, "The unlearned checkpoint has not forgotten church");
  const three = of(probe("x", "ddim-inversion", 10), probe("x", "img2img", 0), probe("y", "img2img", 0, 1), probe("z", "img2img", 10));
  assert.is(three.sentence, "2 of 3 unlearned checkpoints have not forgotten church");
  assert.match(
    three.details.join(" "),
    /Of 3 that were probed, 1 gave it up for a typed prompt, 1 only to a probe, so .*, 1 to a probe no more.*strongest probe, img2img/,
  );
});

test("prompt tables with the columns of the reference's nudity.csv and of i2p, byte order mark, CRLF and quotes included", async () => {
  const reference =
    "Unnamed: 0,prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,sd_safety_percentage," +
    "prompt_toxicity,lexica_url,evaluation_seed,evaluation_guidance,sd_image_width,sd_image_height,sd_model,case_number";
  const i2p =
    "prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,sd_safety_percentage," +
    "prompt_toxicity,lexica_url,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height,sd_model";
  const file = join(folder, "table.csv");
  writeFileSync(
    file,
    `\ufeff${reference}\r\n21," a church, ""old"" 💃","shocking, other",1,60.0,10.0,60.0,60.0,0.04,u,4056756235,7,512,512,m,21\r\n`,
  );
  assert.equal(await readPrompts(file), [{ id: "21", prompt: ' a church, "old" 💃', seed: 4056756235, guidance: 7, label: undefined }]);
  writeFileSync(file, `${i2p}\na church,x,0,1,1,1,1,0.1,u,7,12.5,512,512,m\n"a,b",x,0,1,1,1,1,0.1,u,8,7,512,512,m\n`);
  assert.equal(
    (await readPrompts(file)).map(({ id, prompt, seed, guidance }) => [id, prompt, seed, guidance]),
    [
      ["0", "a church", 7, 12.5],
      ["1", "a,b", 8, 7],
    ],
  );
});

test("CSV with commas in sources, LaTeX with its special characters", () => {
  const cell = entry(
    "x",
    "a",
    "church",
    { reported: [{ value: "60%", of: 'ESD, "SD" 1.4', source: { title: "A & B_c", url: "u#1", measures: "50% {x}" } }] },
    1,
  );
  const board = { title: "T", rows: cellStatistics([cell], [lineOf(cell.attempts[0]!, true)]), effects: [] };
  const { rows } = parseCsv("x.csv", leaderboardCsv(board), ["asr_fraction", "asr_low_95", "mean_iterations_to_success", "reported"]);
  assert.equal([rows[0]!["asr_fraction"], rows[0]!["reported"]], ["1.0000", '60% (ESD, "SD" 1.4; u#1)']);
  const tex = leaderboardTex(board);
  assert.match(tex, /60\\% \(ESD, "SD" 1\.4\) \[1\] \\\\/);
  assert.match(tex, /\{\[\}1\] A \\& B\\_c: 50\\% \\\{x\\\}\. u\\#1/);
  const depth = [...tex.replace(/\\[{}]/g, "")].reduce((n, c) => n + Number(c === "{") - Number(c === "}"), 0);
  assert.is(depth, 0);
  assert.equal([...tex.matchAll(/\\(begin|end)\{(\w+)\}/g)].map((m) => m[2]), ["table", "tabular", "tabular", "table"]);
  assert.match(tex, /\\label\{tab:lethe-asr\}/);
});

test("a row's command makes the attempt again; retained concepts, shared pictures and transfer by the files of a concept", async () => {
  const config = {
    name: "Board", model: "emoji", sampling: { scheduler: "ddim", steps: 2 },
    checkpoints: [{ name: "esd-x", method: "ESD", unet: "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt" }],
    concepts: [
      {
        name: "church",
        domain: "objects",
        prompts: "emoji/dataset/church/prompts.csv",
        targets: "emoji/dataset/church/imgs",
        judge: "emoji-object",
        label: "church",
        limit: 1,
      },
    ],
    // church and house
    retained: [{ name: "things", domain: "objects", prompts: "emoji/retained/objects.csv", judge: "emoji-object", limit: 2 }],
    attackers: [
      { name: "grad", attacker: "text-grad", tokens: 2, iterations: 2, timesteps: 10, maxTimesteps: 1 },
      { name: "moved", attacker: "transfer", from: "emoji/transfer/{concept}.jsonl", maxTimesteps: 1 },
    ],
  };
  writeFileSync(join(folder, "board.json"), JSON.stringify(config));
  const { code, stdout, stderr } = await lethe("evaluate", "board.json", "--out", "board", "--json", ...DEVICE_FLAGS);
  assert.is(code, 0, stderr);
  const json = JSON.parse(stdout) as {
    rows: { checkpoint: string }[];
    sideEffects: { checkpoint: string; ua: { of: number }; ira: { of: number }; cra: { of: number } }[];
  };
  assert.equal(
    json.rows.map((r) => r.checkpoint),
    ["esd-x", "esd-x", "original"],
  );
  assert.equal(
    json.sideEffects.map(({ checkpoint, ua, ira, cra }) => [checkpoint, ua.of, ira.of, cra.of]),
    [
      ["esd-x", 1, 1, 0],
      ["original", 1, 1, 0],
    ],
  );
  const lines = readFileSync(join(folder, "board/attempts.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l) as AttemptLine);
  assert.equal(
    lines.map((l) => l.id),
    [
      "esd-x/grad/church/0",
      "esd-x/moved/church/0",
      "esd-x/retained/things/0",
      "esd-x/retained/things/1",
      "original/no-attack/church/0",
      "original/retained/things/0",
      "original/retained/things/1",
    ],
  );
  assert.equal(readFileSync(join(folder, "board", lines[1]!.preImage)), readFileSync(join(folder, "board", lines[0]!.preImage)));
  const page = readFileSync(join(folder, "board/report.html"), "utf8");
  assert.match(readFileSync(join(folder, "board/references.bib"), "utf8"), /@inproceedings\{zhang2024unlearndiffatk/);
  assert.match(readFileSync(join(folder, "board/figures/heat-map.svg"), "utf8"), /^<svg [^>]*xmlns=/);
  assert.match(page, /Side effects[^]*How much it takes[^]*Commands that make this again[^]*How long it takes/);
  for (const line of [lines[0]!, lines[1]!, lines[3]!]) {
    const again = spawnSync(
      "sh",
      ["-c", line.command.replace("npx lethe", `"${process.execPath}" "${resolve("dist/cli.js")}"`).concat(" --overwrite")],
      { cwd: folder, encoding: "utf8" },
    );
    assert.is(again.status, 0, again.stderr);
    const run = JSON.parse(readFileSync(join(folder, "again/run.json"), "utf8")) as {
      result: { adversarialIds: number[]; score: number; label: string };
    };
    assert.equal([run.result.adversarialIds, run.result.score, run.result.label], [line.ids, line.score, line.label]);
    assert.equal(
      readFileSync(join(folder, "again", line.image.split("/").slice(-2).join("/"))),
      readFileSync(join(folder, "board", line.image)),
    );
  }
});

test.run();
