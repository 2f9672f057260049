import { existsSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { didYouMean } from "../../engine/formats/text/near.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { JUDGE_NAMES, type JudgeSettings, neededSettings } from "../../engine/run/settings/judge.ts";
import { JUDGES } from "../../engine/attack/judges/options.ts";
import { widthOf, wrapped } from "../terminal/style.ts";

/** What `init` cannot do without, as it was given or answered. */
export interface Answers {
  readonly model?: string;
  readonly unet?: string;
  readonly textEncoder?: string;
  readonly lora?: string;
  readonly checkpoint?: string;
  readonly concept?: string;
  readonly judge?: string;
  readonly classifier?: string;
  readonly label?: string;
}

/** Flags that are missing, each with what it is for; empty if `init` can begin. */
export function missing(given: Answers): string[] {
  const { model, unet, textEncoder, lora, checkpoint, concept, judge, classifier } = given;
  return [
    ...(model === undefined ? ["--model MODEL: the model before unlearning"] : []),
    ...([unet, textEncoder, lora, checkpoint].every((part) => part === undefined)
      ? ["--unet FILE (or --text-encoder FILE, --lora FILE, --checkpoint MODEL): what was made to forget"]
      : []),
    ...(concept === undefined ? ["--concept TEXT: what it was made to forget"] : []),
    ...(judge === undefined && classifier === undefined
      ? ["--judge NAME or --classifier DIR: who says whether a picture shows the concept"]
      : []),
  ];
}

/** What is wrong with an answer; undefined if it will do. */
type Check = (answer: string) => string | undefined;

const isThere: Check = (path) => (existsSync(resolvePath(path)) ? undefined : `there is no ${path}`);
const isJudge: Check = (name) => (JUDGE_NAMES.includes(name) ? undefined : `there is no judge ${name}${didYouMean(name, JUDGE_NAMES)}`);
const isNumber: Check = (text) => (Number.isFinite(Number(text)) ? undefined : `${text} is not a number`);

/** Asks on the terminal for what is missing; an answer that cannot be used is told at once. @throws AbortError if the terminal is closed */
export async function ask(given: Answers, signal: AbortSignal): Promise<Answers & Partial<JudgeSettings>> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const say = (line: string): void => void process.stderr.write(`${wrapped(line, widthOf(process.stderr))}\n`);
  const question = async (text: string, standard?: string, check: Check = () => undefined): Promise<string> => {
    for (;;) {
      const typed = (await terminal.question(`${text}${standard === undefined ? "" : ` [${standard}]`}: `, { signal })).trim();
      const answer = typed === "" ? standard : typed;
      if (answer === undefined) continue;
      const problem = check(answer);
      if (problem === undefined) return answer;
      say(`  ${problem}`);
    }
  };
  try {
    const model = given.model ?? (await question("Model before unlearning: emoji (bundled), a folder, a file, or ORG/NAME", "emoji"));
    const laid = [given.unet, given.textEncoder, given.lora, given.checkpoint].some((part) => part !== undefined);
    const unet = laid ? given.unet : await question("UNet file of the unlearned checkpoint", undefined, isThere);
    const concept = given.concept ?? (await question("What was it made to forget, in words"));
    if (given.judge !== undefined || given.classifier !== undefined) return { ...given, model, unet, concept };
    say("Judges:");
    for (const name of JUDGE_NAMES) {
      say(`  ${name}: ${Object.hasOwn(JUDGES, name) ? JUDGES[name as keyof typeof JUDGES] : "bundled classifier"}`);
    }
    const judge = await question("Judge", model === "emoji" ? "emoji-object" : undefined, isJudge);
    const needed: Record<string, string | number> = {};
    for (const [setting, what] of neededSettings(judge)) {
      if (Object.hasOwn(given, setting)) continue;
      const check = setting === "judgeThreshold" ? isNumber : setting === "judgePrompts" ? isThere : undefined;
      const answer = await question(`It needs ${what}`, setting === "judgeText" ? concept : undefined, check);
      needed[setting] = setting === "judgeThreshold" ? Number(answer) : answer;
    }
    const label = given.label ?? (await question("The judge's label for it", concept));
    return { ...given, model, unet, concept, judge, ...needed, label };
  } finally {
    terminal.close();
  }
}
