import { existsSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { didYouMean } from "../../engine/formats/text/near.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { JUDGE_NAMES, type JudgeSettings, neededSettings } from "../../engine/run/settings/judge.ts";
import { JUDGES } from "../../engine/attack/judges/options.ts";
import { parseHubReference } from "../model-source.ts";
import { widthOf, wrapped } from "../terminal/style.ts";

/** What `init` cannot do without, as it was given or answered. */
export type Answers = Readonly<Partial<Record<"model" | Part | "concept" | "judge" | "classifier" | "label", string>>>;

/** What unlearning may have changed. */
type Part = "unet" | "textEncoder" | "lora" | "checkpoint";

/** Flags that are missing, each with what it is for; empty if `init` can begin. */
export function missing(given: Answers): string[] {
  const { model, concept, judge, classifier } = given;
  return [
    ...(model === undefined ? ["--model MODEL: the model before unlearning"] : []),
    ...(lacksPart(given)
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
const isThereOrOnHub: Check = (path) => (parseHubReference(path) && !/^[.~]/.test(path) ? undefined : isThere(path));
const isJudge: Check = (name) => (JUDGE_NAMES.includes(name) ? undefined : `there is no judge ${name}${didYouMean(name, JUDGE_NAMES)}`);
const isNumber: Check = (text) => (Number.isFinite(Number(text)) ? undefined : `${text} is not a number`);

/** What is answered for each part, what the part is kept as, and the question for it. */
const PARTS: Readonly<Record<string, readonly [Part, string]>> = {
  unet: ["unet", "File of its UNet"],
  "text-encoder": ["textEncoder", "Its text encoder: a file, a folder, ORG/NAME"],
  lora: ["lora", "Its low-rank file"],
  "whole-model": ["checkpoint", "The unlearned model: a folder, a file, ORG/NAME"],
};
const lacksPart = (given: Answers): boolean => Object.values(PARTS).every(([part]) => given[part] === undefined);
const isPart: Check = (name) => (Object.hasOwn(PARTS, name) ? undefined : `answer one of ${Object.keys(PARTS).join(", ")}`);

/** The bundled checkpoint that forgot churches, for those who want to see how it goes. */
const BUNDLED = "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt";

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
    const models = "Model before unlearning: emoji (bundled), a folder, a file, ORG/NAME";
    const model = given.model ?? (await question(models, "emoji", isThereOrOnHub));
    const laid: Record<string, string> = {};
    if (lacksPart(given)) {
      const part = await question(`What unlearning changed: ${Object.keys(PARTS).join(", ")}`, "unet", isPart);
      const [key, what] = PARTS[part]!;
      laid[key] = await question(what, part === "unet" && model === "emoji" ? BUNDLED : undefined, isThereOrOnHub);
    }
    const concept = given.concept ?? (await question("What was it made to forget, in words"));
    if (given.judge !== undefined || given.classifier !== undefined) return { ...given, model, ...laid, concept };
    say("Judges:");
    for (const name of JUDGE_NAMES) {
      const bundled = `the bundled classifier of ${name.slice("emoji-".length)}s`;
      say(`  ${name}: ${Object.hasOwn(JUDGES, name) ? JUDGES[name as keyof typeof JUDGES] : bundled}`);
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
    return { ...given, model, ...laid, concept, judge, ...needed, label };
  } finally {
    terminal.close();
  }
}
