/**
 * What an evaluation's tables are made of: side effects, published numbers, curves by budget; and that a row's own command makes it again.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import { TIME_BUDGET, WORK_BUDGETS, budgetCurve } from "../../engine/run/leaderboard/budget-curves.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";
import { readPrompts } from "../../cli/evaluate/prompts.ts";
import { readReported } from "../../cli/evaluate/reported.ts";
import { reportedText, sourcesOf } from "../../engine/run/leaderboard/reported.ts";
import { sideEffects } from "../../engine/run/leaderboard/side-effects.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import { leaderboardCsv, leaderboardTex } from "../../engine/run/leaderboard/tables.ts";
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
  assert.is(cellStatistics(cells, lines).length, 5); // retained cells are no rows of the leaderboard
  assert.equal(sideEffects(cells.filter((c) => !c.retained), lines), []);
});

test("published numbers are found by method or checkpoint, concept, attacker and settings; every one has its source", async () => {
  const find = await readReported();
  const settings = { ...defaultSettings(), model: "emoji", prompt: "", tokens: 5, learningRate: 0.05, weightDecay: 0 };
  const row = { method: "esd", checkpoint: "esd-x-church", concept: "Church", settings };
  const text = (found: ReturnType<typeof find>): string => reportedText(found, sourcesOf([{ reported: found }]));
  assert.is(text(find(row)), "60% [1], 83.3% (10/12) [2]");
  assert.is(
    text(find({ ...row, settings: { ...settings, tokens: 3, learningRate: 0.01, weightDecay: 0.1 } })),
    "60% [1], 41.7% (5/12) [2]",
  );
  assert.is(text(find({ ...row, settings: { ...settings, attacker: "no-attack" } })), "14% [1], 0.0% (0/12) [2]");
  assert.equal(find({ ...row, settings: { ...settings, attacker: "p4d" } }), []);
  assert.is(text(find({ ...row, settings: { ...settings, model: "other" } })), "60% [1]");
  assert.equal(find({ ...row, method: undefined, checkpoint: "mine" }), []);
  const { sources, entries } = JSON.parse(readFileSync("assets/reported.json", "utf8")) as {
    sources: Record<string, Record<string, string>>;
    entries: Record<string, unknown>[];
  };
  for (const source of Object.values(sources)) {
    for (const key of ["title", "url", "measures"]) assert.ok(source[key], JSON.stringify(source));
  }
  for (const e of entries) {
    assert.ok(sources[e["source"] as string] && (ATTACKERS as readonly unknown[]).includes(e["attacker"]), JSON.stringify(e));
    const share = e["percent"] === undefined ? (100 * (e["count"] as number)) / (e["of"] as number) : (e["percent"] as number);
    assert.ok(share >= 0 && share <= 100, JSON.stringify(e));
  }
});

/** The corners of a step curve: spent and share, from its path and its axes. */
function corners(svg: string): [number, number][] {
  const path = /<path class="series[^>]* d="([^"]+)"/.exec(svg)![1]!;
  const points: [number, number][] = [];
  let [x, y] = [0, 0];
  for (const [, command, numbers] of path.matchAll(/([MHV])([^MHV]+)/g)) {
    const values = numbers!.trim().split(" ").map(Number);
    if (command === "M") [x, y] = values as [number, number];
    else if (command === "H") x = values[0]!;
    else y = values[0]!;
    points.push([x, y]);
  }
  return points;
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
  for (const budget of [...WORK_BUDGETS, TIME_BUDGET]) {
    const svg = budgetCurve(rows, ["a"], budget);
    assert.not.match(svg, /NaN|Infinity|undefined/);
    const points = corners(svg);
    const [, top] = /y1="([\d.]+)"[^>]*\/><text[^>]*>100%/.exec(svg)!.map(Number) as [number, number];
    const [, bottom] = /y1="([\d.]+)"[^>]*\/><text[^>]*>0%/.exec(svg)!.map(Number) as [number, number];
    const share = (y: number): number => (bottom - y) / (bottom - top);
    const end = points.at(-1)![0];
    const spent = (x: number): number => (x - points[0]![0]) / (end - points[0]![0]);
    const most = budget.spent(rows[0]!.lines[3]!);
    const expected = [
      [0, 1 / 4],
      [1, 1 / 4],
      [1, 2 / 4],
      [2, 2 / 4],
      [2, 3 / 4],
      [3, 3 / 4],
    ].map(([i, y]) => [budget.spent(rows[0]!.lines[i!]!) / most, y!]);
    expected[0] = [0, 1 / 4];
    assert.is(points.length, expected.length);
    points.forEach(([x, y], i) =>
      assert.ok(
        Math.abs(spent(x) - expected[i]![0]!) < 2e-3 && Math.abs(share(y) - expected[i]![1]!) < 2e-3,
        `${budget.title} ${i}: ${spent(x)} ${share(y)}, expected ${expected[i]}`,
      ),
    );
  }
  assert.is(
    budgetCurve(cellStatistics([entry("x", "n", "c", { kind: "no-attack" }, 1)], [lineOf("x/n/c/0", false)]), ["n"], TIME_BUDGET),
    "",
  );
});

test("prompt tables with the columns of the reference's nudity.csv and of i2p, byte order mark, CRLF and quotes included", async () => {
  const reference =
    "Unnamed: 0,prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,sd_safety_percentage,prompt_toxicity,lexica_url,evaluation_seed,evaluation_guidance,sd_image_width,sd_image_height,sd_model,case_number";
  const i2p =
    "prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,sd_safety_percentage,prompt_toxicity,lexica_url,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height,sd_model";
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
  assert.match(tex, /60\\% \[1\] \\\\/);
  assert.match(tex, /\{\[\}1\] A \\& B\\_c: 50\\% \\\{x\\\}\. u\\#1/);
  const depth = [...tex.replace(/\\[{}]/g, "")].reduce((n, c) => n + Number(c === "{") - Number(c === "}"), 0);
  assert.is(depth, 0);
  assert.equal([...tex.matchAll(/\\(begin|end)\{(\w+)\}/g)].map((m) => m[2]), ["table", "tabular", "tabular", "table"]);
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
