/** An attack whose device goes away under it: told clearly, and resumed as if nothing had happened. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { runAttack } from "../../cli/commands/attack.ts";
import { ANEW } from "../../cli/attack/opening.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import type { AttackFlags } from "../../cli/attack/settings.ts";
import { Context } from "../../cli/context.ts";
import { describeError, exitCodeOf } from "../../cli/errors.ts";
import { DeviceLostError } from "../../engine/runtime/errors.ts";
import { finish } from "../support/device.ts";
import { DEVICE_FLAGS, SMALL_ATTACK, folder, lethe } from "./support.ts";

/** `--max-timesteps 3` as { maxTimesteps: 3 }. */
function flagsOf(args: readonly string[]): AttackFlags {
  const pairs = args.flatMap((word, i): [string, string | number][] => {
    if (!word.startsWith("--")) return [];
    const value = args[i + 1]!;
    return [[word.slice(2).replace(/-(\w)/g, (_, c: string) => c.toUpperCase()), Number.isNaN(Number(value)) ? value : Number(value)]];
  });
  return Object.fromEntries(pairs) as unknown as AttackFlags;
}

const course = (out: string): unknown =>
  readFileSync(join(folder, out, "attack.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((l) => ({ ...(JSON.parse(l) as object), ms: null }));

test("a device lost in mid-attack: one line, exit code 1, a record, and --resume ends as without the loss", async () => {
  const whole = lethe("attack", ...SMALL_ATTACK, "--out", "whole");
  const out = join(folder, "lost");
  const context = new Context({ ...flagsOf(DEVICE_FLAGS), bufferSharing: true });
  const said: string[] = [];
  Object.assign(context, {
    say: (line: string) => void said.push(line),
    withProgress: <T,>(_: string, work: (progress: object) => Promise<T>) => work({ update: () => undefined, say: () => undefined }),
  });
  let judged = 0;
  let thrown: unknown;
  const { adapter: _adapter, limits: _limits, ...flags } = flagsOf(SMALL_ATTACK) as AttackFlags & { adapter?: string; limits?: string };
  await runAttack({ ...flags, out }, context, {
    ...ANEW,
    async judge(...args) {
      const open = await ANEW.judge(...args);
      return {
        ...open,
        judge: async (image) => {
          const judgement = await open.judge(image);
          // once for the check before the run, the original prompt, the first timestep
          if (++judged === 3) (await context.device()).gpu.destroy();
          return judgement;
        },
      };
    },
  }).catch((error: unknown) => (thrown = error));
  await context.close().catch(() => undefined);
  assert.instance(thrown, DeviceLostError);
  assert.is(exitCodeOf(thrown), 1);
  assert.match(describeError(thrown), /^error: the device ".*" was lost \(destroyed\): [^\n]+$/);
  assert.match(said.at(-1)!, /what was done is in .*lost; to go on: npx lethe attack --resume .*--out .*lost/);
  const record = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as RunRecord;
  assert.is(record.status, "failed");
  assert.match(record.error!, /was lost/);
  assert.is((await whole).code, 0);
  const resumed = await lethe("attack", "--resume", "--out", "lost", ...DEVICE_FLAGS);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stderr, /going on after [36] iterations/);
  assert.equal(course("lost"), course("whole"));
});

finish();
