import { join } from "node:path";
import type { Judgement } from "../../engine/attack/judges/judgement.ts";
import { rescore } from "../../engine/attack/judges/rescore.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import type { Given } from "../../engine/options/option.ts";
import { defaultsOf, pick } from "../../engine/options/values.ts";
import { flagName } from "../../engine/options/flags.ts";
import { readBytes } from "../../engine/platform/node-files.ts";
import { type AttemptLine, type BaseVerdict, attemptFolder } from "../../engine/run/leaderboard/attempt-line.ts";
import {
  JUDGE_OPTIONS,
  type JudgeSettings,
  chosenJudge,
  judgeKey,
  judgeSettingProblems,
  judgesByOriginal,
  ruleOf,
} from "../../engine/run/settings/judge.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type JudgeOfRun, openJudge } from "../attack/judge.ts";
import { isProbe } from "../../engine/attack/attackers.ts";
import type { Context } from "../context.ts";
import { type EvaluationFolder, drawnLines } from "../evaluate/folder.ts";

/** An attempt as it is judged now. */
export interface Rejudged {
  readonly line: AttemptLine;
  readonly settings: JudgeSettings;
  /** The search ended at a success of the first judge that this one does not see: it would have gone on. */
  readonly cutShort: boolean;
}

/** Judges the pictures of finished attempts again: by the scores that were kept where these say it, else by looking at the pictures. */
export class Verdicts {
  private readonly judges = new Map<string, JudgeOfRun>();

  /** @param given what is judged otherwise than before */
  constructor(
    private readonly context: Context,
    private readonly folder: EvaluationFolder,
    private readonly given: Given<typeof JUDGE_OPTIONS>,
  ) {}

  /**
   * An attempt's line under the new judge: the first picture in the search's order that it calls a success ends the attempt.
   * @throws UsageError for settings that do not go together; FormatError for a log or a picture that is missing or damaged
   */
  async of(line: AttemptLine): Promise<Rejudged> {
    const { settings: before } = await this.folder.attemptRecord(line.id);
    if (isProbe(before.attacker)) {
      throw new UsageError(`${line.id} is a probe, whose controls were judged with it: evaluate again with the other judge`);
    }
    const settings = this.settingsFrom(before);
    const place = attemptFolder(line.id);
    // Pictures of few steps decide nothing.
    const drawn = (await drawnLines(join(this.folder.path, place))).filter(({ screening }) => screening === undefined);
    const [first, ...rest] = drawn;
    const pre = await this.judge(before, settings, first!.scores, `${place}/${first!.image}`);
    let [found, verdict, last] = [pre.success ? first : undefined, pre, first!];
    for (const picture of found ? [] : rest) {
      const judgement = await this.judge(before, settings, picture.scores, `${place}/${picture.image}`);
      [verdict, last] = [judgement, picture];
      if (!judgement.success) continue;
      found = picture;
      break;
    }
    const base = line.base && (await this.base(line.base, before, settings));
    const end = last;
    const again: AttemptLine = {
      ...line,
      preSuccess: pre.success,
      preLabel: pre.label,
      preScores: pre.scores,
      success: found !== undefined,
      adversarialPrompt: end.prompt,
      ids: end.ids,
      adversarialSeed: end.seed,
      timestep: found ? found.timestep : null,
      iterations: end.iteration,
      queries: new Set(drawn.slice(0, drawn.indexOf(end) + 1).map((p) => p.image)).size,
      label: verdict.label,
      score: verdict.score,
      scores: verdict.scores,
      image: `${place}/${end.image}`,
      judge: {
        name: settings.judge ?? "classifier",
        rule: ruleOf(settings),
        settings: pick(JUDGE_OPTIONS, settings) as Record<string, string>,
      },
      ...(base && { base }),
    };
    return { line: again, settings, cutShort: line.success && found === undefined };
  }

  async close(): Promise<void> {
    for (const { destroy } of this.judges.values()) await destroy();
    this.judges.clear();
  }

  private async base(base: BaseVerdict, before: JudgeSettings, settings: JudgeSettings): Promise<BaseVerdict> {
    const { success, label, score, scores } = await this.judge(before, settings, base.scores, base.image);
    return { ...base, success, label, score, scores };
  }

  /** What is given over what was before; another judge begins with its own defaults, but the concept's label stays. */
  private settingsFrom(before: JudgeSettings): JudgeSettings {
    const { given } = this;
    const another = given.judge !== undefined || given.classifier !== undefined;
    const kept = another ? { ...defaultsOf(JUDGE_OPTIONS), label: before.label } : pick(JUDGE_OPTIONS, before);
    const same = another && given.judge === before.judge && given.judge !== undefined ? pick(JUDGE_OPTIONS, before) : {};
    const settings = { ...defaultsOf(JUDGE_OPTIONS), ...kept, ...same, ...given } as JudgeSettings;
    const problems = judgeSettingProblems(settings, flagName);
    if (problems.length > 0) throw new UsageError(problems.join("; "));
    if (judgesByOriginal(settings)) throw new UsageError('judge "diffusion" needs the model before unlearning: evaluate again with it');
    return settings;
  }

  private async judge(before: JudgeSettings, now: JudgeSettings, scores: Judgement["scores"], path: string): Promise<Judgement> {
    if (sameScores(before, now)) {
      const { name, choice } = chosenJudge(now);
      const judgement = rescore(name, choice, scores);
      if (judgement) return judgement;
    }
    const file = join(this.folder.path, path);
    const image = await decodePng(file, await readBytes(file));
    return (await this.open(now)).judge(image);
  }

  private async open(settings: JudgeSettings): Promise<JudgeOfRun> {
    const key = judgeKey(settings);
    const open = this.judges.get(key) ?? (await openJudge(this.context, await this.context.device(), settings));
    this.judges.set(key, open);
    return open;
  }
}

/** Whether two judges give a picture the same scores: they differ at most in what is made of them. */
function sameScores(a: JudgeSettings, b: JudgeSettings): boolean {
  const [one, other] = [chosenJudge(a), chosenJudge(b)];
  const keys = ["model", "preset", "prompts", "text"] as const;
  return one.name === other.name && keys.every((key) => one.choice[key] === other.choice[key]);
}
