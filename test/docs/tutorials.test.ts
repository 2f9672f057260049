/**
 * Every command and program of the tutorials runs, on the bundled model and with small budgets: what is too large for a test is replaced
 * by what is named here, and by nothing else.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEVICE_FLAGS } from "../cli/support.ts";
import { type Block, blocksOf } from "./markdown.ts";

/** What stands for what would be downloaded, or would take hours. */
const STANDS_FOR: readonly (readonly [string, string])[] = [
  ["CompVis/stable-diffusion-v1-4", "emoji"],
  ["OPTML-Group/AdvUnlearn/church_unlearned", "emoji/unlearned/advunlearn-like-church/text_encoder.safetensors"],
  ["microsoft/resnet-50", "emoji/classifier/object"],
  ['"church, church building"', "church"],
  ["emoji/evaluation.json", "evaluation.json"],
  ["gate/evaluation.json", "evaluation.json"],
  ["emoji/story.json", "story.json"],
];

/** Flags that keep a command short. They come last, and the last one holds. */
const SHORT: Readonly<Record<string, readonly string[]>> = {
  attack: ["--iterations", "1", "--timesteps", "10", "--max-timesteps", "1", "--scheduler", "ddim", "--steps", "2"],
  generate: ["--scheduler", "ddim", "--steps", "2"],
  unlearn: ["--steps", "2"],
};

/** Numbers that keep a program or a configuration short. */
const SMALL: readonly (readonly [RegExp, string])[] = [
  [/("?steps"?): 25/g, "$1: 2"],
  [/("?maxTimesteps"?): 8/g, '$1: 1, "iterations": 1'],
  [/openDevice\(\)/g, `openDevice(${process.env["LETHE_ADAPTER"] ? JSON.stringify({ adapter: process.env["LETHE_ADAPTER"] }) : ""})`],
];

/** Commands of the machine's own, which are not run. */
const OTHERS = /^(npm (install|start|test)|git clone|cd )/;

const run = promisify(execFile);
const root = mkdtempSync(join(tmpdir(), "lethe-docs-"));
test.after(() => rmSync(root, { recursive: true, force: true }));

/** A folder with the package in it, as `npm install` leaves it, and with the small evaluations. */
function newFolder(name: string): string {
  const folder = join(root, name);
  mkdirSync(join(folder, "node_modules"), { recursive: true });
  symlinkSync(resolve("."), join(folder, "node_modules/lethe"), "junction");
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  for (const file of ["evaluation.json", "story.json"].filter((f) => existsSync(join("assets/emoji", f)))) {
    writeFileSync(join(folder, file), JSON.stringify(smallEvaluation(file)));
  }
  return folder;
}

/** A bundled evaluation with one prompt of its first concept, its first two checkpoints and the attackers that search nothing. */
function smallEvaluation(file: string): object {
  const whole = JSON.parse(readFileSync(join("assets/emoji", file), "utf8")) as Record<string, Record<string, unknown>[]>;
  const [concept] = whole["concepts"]!;
  const shortened = (checkpoint: Record<string, unknown>): object => {
    const { unlearn } = checkpoint as { readonly unlearn?: { readonly steps?: number } };
    return unlearn?.steps === undefined ? checkpoint : { ...checkpoint, unlearn: { ...unlearn, steps: 1 } };
  };
  return {
    ...whole,
    $schema: undefined,
    sampling: { scheduler: "ddim", steps: 2 },
    checkpoints: whole["checkpoints"]!.slice(0, 2).map(shortened),
    concepts: [{ ...concept, limit: 1 }],
    retained: undefined,
    attackers: [
      { name: "no-attack", attacker: "no-attack" },
      { name: "random", attacker: "random", maxTimesteps: 1 },
    ],
  };
}

/** The commands of a block, each on one line. */
function commandsOf({ text }: Block): string[] {
  return text.replaceAll("\\\n", " ").split("\n").map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
}

/** A command of the tutorial as the test runs it. */
function prepared(command: string): string {
  if (command.startsWith("printf ")) return command; // writes a small file
  const [, program, name] = /^(?:npx )?(lethe|node) (\S+)/.exec(command) ?? [];
  assert.ok(program, `no rule for the command: ${command}`);
  if (program === "node") return `"${process.execPath}"${command.slice("node".length)}`;
  const replaced = STANDS_FOR.reduce((text, [from, to]) => text.replaceAll(from, to), command);
  const flags = [...(SHORT[name!] ?? []), ...DEVICE_FLAGS];
  return `"${process.execPath}" "${resolve("dist/cli.js")}" ${replaced.replace(/^npx lethe /, "")} ${flags.join(" ")}`;
}

/** Runs a command to its end, which must be a good one. */
async function finished(command: string, cwd: string): Promise<void> {
  try {
    await run("sh", ["-c", prepared(command)], { cwd, timeout: 5 * 60_000 });
  } catch (error) {
    const { code, stderr } = error as { code?: number; stderr?: string };
    assert.unreachable(`${command}\nexit status ${code}: ${stderr ?? String(error)}`);
  }
}

/** Starts what stays: `lethe serve`, until it says that it serves. */
async function started(command: string, cwd: string): Promise<ChildProcess> {
  const server = spawn("sh", ["-c", `exec ${prepared(command)}`], { cwd, stdio: ["ignore", "ignore", "pipe"] });
  let told = "";
  await new Promise<void>((serves, reject) => {
    server.stderr.on("data", (bytes: Buffer) => {
      told += bytes.toString();
      if (/^serving /m.test(told)) serves();
    });
    server.on("exit", (code) => reject(new Error(`${command}\nexit status ${code}: ${told}`)));
  });
  return server;
}

const pages = readdirSync("docs").filter((file) => file.endsWith(".md")).toSorted();
for (const page of pages) {
  const blocks = blocksOf(readFileSync(join("docs", page), "utf8"));
  const commands = blocks.filter((b) => b.language === "sh").flatMap(commandsOf).filter((command) => !OTHERS.test(command));
  if (commands.length === 0) continue;
  test(`docs/${page}: ${commands.length} commands run`, async () => {
    const folder = newFolder(page);
    for (const { file, text } of blocks) {
      if (file !== undefined) writeFileSync(join(folder, file), SMALL.reduce((t, [from, to]) => t.replace(from, to), text));
    }
    const servers: ChildProcess[] = [];
    try {
      for (const command of commands) {
        if (command.startsWith("npx lethe serve ")) servers.push(await started(command, folder));
        else await finished(command, folder);
      }
    } finally {
      for (const server of servers) server.kill("SIGKILL");
    }
  });
}

test.run();
