import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";

const CLI = resolve("dist/cli.js");

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `lethe`. */
export interface Running {
  readonly ended: Promise<Ran>;
  /** Resolves when stderr first matches; rejects if the command ends before. */
  said(pattern: RegExp): Promise<void>;
  /** What stdout holds when it first matches; rejects likewise. */
  printed(pattern: RegExp): Promise<string>;
  interrupt(): void;
}

/** Starts `lethe` as a user would. The tests' adapter is named by LETHE_ADAPTER and LETHE_LIMITS, as for all tests. */
export function start(args: readonly string[], options: { readonly cwd?: string } = {}): Running {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: options.cwd ?? folder,
    env: { ...process.env, LETHE_DEBUG: "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const watchers: (() => void)[] = [];
  child.stdout.on("data", (d: Buffer) => {
    stdout += d.toString();
    for (const watch of watchers) watch();
  });
  child.stderr.on("data", (d: Buffer) => {
    stderr += d.toString();
    for (const watch of watchers) watch();
  });
  const ended = new Promise<Ran>((done) => child.on("close", (code) => done({ code, stdout, stderr: withoutDriverNoise(stderr) })));
  const when = (pattern: RegExp, text: () => string): Promise<string> =>
    new Promise((done, fail) => {
      const look = (): void => void (pattern.test(text()) && done(text()));
      watchers.push(look);
      look();
      void ended.then(() => fail(new Error(`it ended before ${pattern} came:\n${stdout}${stderr}`)));
    });
  return {
    ended,
    said: async (pattern) => void (await when(pattern, () => stderr)),
    printed: (pattern) => when(pattern, () => stdout),
    interrupt: () => void child.kill("SIGINT"),
  };
}

/** Runs `lethe` to its end. */
export function lethe(...args: readonly string[]): Promise<Ran> {
  return start(args).ended;
}

/** The global flags that choose the tests' adapter. */
export const DEVICE_FLAGS: readonly string[] = [
  ...(process.env["LETHE_ADAPTER"] ? ["--adapter", process.env["LETHE_ADAPTER"]] : []),
  ...(process.env["LETHE_LIMITS"] === "default" ? ["--limits", "default"] : []),
];

/** Lines that Dawn and drivers write to stderr at every start. */
function withoutDriverNoise(text: string): string {
  return text
    .split("\n")
    .filter((line) => !/artificially reduced/.test(line))
    .join("\n");
}

/** A fresh folder for this test file, taken away at its end; commands run in it. */
export const folder = mkdtempSync(join(tmpdir(), "lethe-cli-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of the bundled model's folder, or a part of it, to be damaged. */
export function copyOfModel(
  name: string,
  parts: readonly string[] = ["model_index.json", "text_encoder", "tokenizer", "unet", "vae", "scheduler"],
): string {
  const to = join(folder, name);
  for (const part of parts) cpSync(join("assets/emoji", part), join(to, part), { recursive: true });
  return to;
}

/** Flags of an attack that is over in seconds. */
export const SMALL_ATTACK = [
  "--model",
  "emoji",
  "--unet",
  "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt",
  "--prompt",
  "a church",
  "--seed",
  "5",
  "--target",
  "emoji/dataset/church/imgs/2_0.png",
  "--judge",
  "emoji-object",
  "--label",
  "church",
  "--tokens",
  "2",
  "--iterations",
  "3",
  "--timesteps",
  "10",
  "--max-timesteps",
  "3",
  "--steps",
  "2",
  "--scheduler",
  "ddim",
  ...DEVICE_FLAGS,
] as const;
