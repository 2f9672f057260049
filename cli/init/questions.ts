import { createInterface } from "node:readline/promises";
import { JUDGE_NAMES } from "../../engine/run/settings/judge.ts";
import { JUDGES } from "../../engine/attack/judges/options.ts";

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

/** Asks on the terminal for what is missing. @throws AbortError if the terminal is closed */
export async function ask(given: Answers, signal: AbortSignal): Promise<Answers> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const question = async (text: string, standard?: string): Promise<string> => {
    for (;;) {
      const answer = (await terminal.question(`${text}${standard === undefined ? "" : ` [${standard}]`}: `, { signal })).trim();
      if (answer !== "") return answer;
      if (standard !== undefined) return standard;
    }
  };
  try {
    const model = given.model ?? (await question("Model before unlearning: emoji (bundled), a folder, a file, or ORG/NAME", "emoji"));
    const laid = [given.unet, given.textEncoder, given.lora, given.checkpoint].some((part) => part !== undefined);
    const unet = laid ? given.unet : await question("UNet file of the unlearned checkpoint");
    const concept = given.concept ?? (await question("What was it made to forget, in words"));
    if (given.judge !== undefined || given.classifier !== undefined) return { ...given, model, unet, concept };
    process.stderr.write("Judges:\n");
    for (const name of JUDGE_NAMES) {
      process.stderr.write(`  ${name}: ${Object.hasOwn(JUDGES, name) ? JUDGES[name as keyof typeof JUDGES] : "bundled classifier"}\n`);
    }
    const judge = await question("Judge", model === "emoji" ? "emoji-object" : undefined);
    const label = given.label ?? (await question("The judge's label for it", concept));
    return { ...given, model, unet, concept, judge, label };
  } finally {
    terminal.close();
  }
}
