/** Scores of pictures in tables, conditions and comparisons: numbers where they belong, and never two kinds of features together. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { compareScores, scoreCells } from "../../engine/run/compare/scores.ts";
import { gateLine, judgeGates, parseGate, requireMeasured } from "../../engine/run/gate/gate.ts";
import { type Board, textTable } from "../../engine/run/leaderboard/columns.ts";
import { LEADERBOARD } from "../../engine/run/leaderboard/leaderboard-columns.ts";
import { type QualityScores, scoresByCheckpoint } from "../../engine/run/leaderboard/quality.ts";
import { sideEffects } from "../../engine/run/leaderboard/side-effects.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import { leaderboardCsv, leaderboardMarkdown, leaderboardNote } from "../../engine/run/leaderboard/tables.ts";
import { defaultSettings } from "../../engine/run/settings/settings.ts";
import { readReported } from "../../cli/evaluate/reported.ts";
import { evaluationOf } from "../support/evaluation.ts";

const FID: QualityScores = {
  checkpoint: "x", distanceName: "FID", features: "t2ibenchmark 2048", count: 9990, total: 10_000, realCount: 10_000, comparedWith: "coco",
  unreadable: 10, frechet: 18.18234, frechetInterval: [17.9, 18.5], reference: { value: 18.1824, branch: "float32 mean" },
  kid: 0.00412, kidStd: 0.0003,
  clipScore: 0.30214, clipInterval: [0.3, 0.304], warnings: ["too few"], pictures: [],
};
const OTHER: QualityScores = {
  ...FID, distanceName: "Frechet distance", features: "classifier features c 128", frechet: 200, frechetInterval: null,
};

const { cells, lines } = evaluationOf("x", "a", "church", [true, false]);

function boardOf(scores: QualityScores): Board {
  const by = scoresByCheckpoint([scores]);
  return { title: "T", rows: cellStatistics(cells, lines, by), effects: sideEffects(cells, lines, by) };
}

test("the leaderboard has FID, KID and CLIP score with their intervals; other features' distance goes by its own name", () => {
  const board = boardOf(FID);
  const { header, rows } = textTable(LEADERBOARD, board.rows, board);
  const cell = (title: string): string | undefined => rows[0]![header.indexOf(title)];
  assert.equal([cell("FID"), cell("KID"), cell("CLIP score")], ["18.18 [17.9, 18.5]", "0.00412", "0.3021 [0.3, 0.304]"]);
  assert.not(header.includes("Frechet distance"));
  assert.match(leaderboardNote(board), /\(t2ibenchmark 2048\) of 9990 of 10000 pictures.*passed over: x 10\.*.*x: too few/);
  const csv = leaderboardCsv(board).split("\n").map((line) => line.split(","));
  assert.is(csv[1]![csv[0]!.indexOf("fid")], "18.18234");
  assert.is(csv[1]![csv[0]!.indexOf("frechet_distance")], "");
  const classifier = boardOf(OTHER);
  const shown = textTable(LEADERBOARD, classifier.rows, classifier).header;
  assert.ok(shown.includes("Frechet distance") && shown.includes("kernel distance"));
  assert.not(shown.includes("FID") || shown.includes("KID"));
  assert.match(leaderboardNote(classifier), /This is not an FID/);
});

test("a published FID stands beside a FID of the same recipe and layer only", async () => {
  const find = await readReported();
  const settings = { ...defaultSettings(), attacker: "random" as const, model: "mine", prompt: "" };
  const published = find({ method: "SalUn", checkpoint: "x", concept: "nudity", settings });
  assert.equal(published.map((r) => [r.value, r.features]), [["33.62", "t2ibenchmark 2048"]]);
  const [cell] = cells;
  const reported = [...published, { value: "60%", of: "y", source: published[0]!.source }];
  const tableOf = (features: string): string => {
    const by = scoresByCheckpoint([{ ...FID, features }]);
    return leaderboardMarkdown({ title: "T", rows: cellStatistics([{ ...cell!, reported }], lines, by), effects: [] });
  };
  assert.match(tableOf("t2ibenchmark 2048"), /\| 33\.62 \(SalUn, SD 1\.4\) \[1\] \| 60% \(y\) \[1\] \|/);
  for (const features of ["clean-fid 2048", "t2ibenchmark 64"]) assert.not.match(tableOf(features), /33\.62|FID elsewhere/);
});

test("scores of two kinds of features are refused in one table", () => {
  assert.throws(() => scoresByCheckpoint([FID, { ...OTHER, checkpoint: "y" }]), /not comparable/);
});

test("conditions on scores judge the interval's bound, each checkpoint once, and only what is measured", () => {
  const { rows } = boardOf(FID);
  const of = (text: string): ReturnType<typeof judgeGates>[number] => judgeGates([parseGate(text)], rows, [])[0]!;
  assert.equal([of("fid>17.8").hit, of("fid>18").hit, of("fid>18").undecided, of("fid.rate>18").hit], [true, false, true, true]);
  assert.equal([of("clip<0.305").hit, of("clip<0.302").hit, of("kid>0.004").hit], [true, false, true]);
  assert.equal([of("fid>150").row, parseGate("fid>150").limit], ["x", 150]);
  assert.match(gateLine(of("fid>17.8")), /fid>17\.8 on x: hit \(18\.18 \[17\.9, 18\.5\]\)/);
  assert.throws(() => of("frechet-distance>1"), /its file's quality does not measure it/);
  assert.throws(() => requireMeasured([parseGate("clip<1")], { base: true, retained: true, scores: ["fid"] }), /does not measure it/);
});

test("two evaluations' scores are compared where they are comparable", () => {
  const better = { ...FID, frechet: 17, clipScore: 0.31 };
  const { scores, cautions } = compareScores(scoresByCheckpoint([FID]), scoresByCheckpoint([better]));
  assert.equal(scores.map(scoreCells), [
    ["x", "FID", "18.18 [17.9, 18.5]", "17 [17.9, 18.5]", "-1.182"],
    ["x", "KID", "0.00412", "0.00412", "0"],
    ["x", "CLIP score", "0.3021 [0.3, 0.304]", "0.31 [0.3, 0.304]", "+0.00786"],
  ]);
  assert.equal(cautions, []);
  const apart = compareScores(scoresByCheckpoint([FID]), scoresByCheckpoint([{ ...FID, features: "clean-fid 2048" }]));
  assert.equal(apart.scores.map((s) => s.score), ["CLIP score"]);
  assert.match(apart.cautions[0]!, /not comparable: t2ibenchmark 2048 of 9990/);
});

test.run();
