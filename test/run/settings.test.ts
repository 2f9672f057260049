// One option table: whatever it holds comes back from the printed command, goes to the engine, and is refused out of its range everywhere
// alike.
import { Command } from "commander";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AttackFlags, addAttackOptions } from "../../cli/attack/settings.ts";
import { ATTACK_OPTIONS } from "../../engine/attack/option-table.ts";
import type { AttackValues } from "../../engine/attack/options.ts";
import { unusedNotes } from "../../engine/options/flags.ts";
import type { Option } from "../../engine/options/option.ts";
import { problemOf } from "../../engine/options/values.ts";
import { parseRecord } from "../../engine/run/record.ts";
import { RUN_OPTIONS } from "../../engine/run/settings/option-table.ts";
import { settingsAsFlags } from "../../engine/run/record.ts";
import { needsOf } from "../../engine/run/settings/needs.ts";
import { type AttackSettings, type GivenSettings, isSettings, newSettings, resumedSettings } from "../../engine/run/settings/settings.ts";
import { UsageError } from "../../engine/runtime/errors.ts";

const NEEDED = { model: "emoji", prompt: "a church", judge: "emoji-object", label: "church", target: "t.png" } as const;

/** A value that an option allows and that is not its default. */
function other(option: Option<unknown>): unknown {
  const { kind, choices, default: value, min = 0, max = min + 10, check } = option;
  if (kind === "flag") return true;
  if (kind === "choice") return choices!.find((name) => name !== value);
  if (kind === "whole") return Math.min(max, Math.max(min, 1) + 6);
  if (kind === "number") return max - (max - min) / 8;
  const texts = ["some text, with 'quotes'", "a house in <cce> style", "0.5", "2", "a dog:1.5; a cat:-1", "http://localhost:8421/v1?a=b"];
  return texts.find((text) => check?.(text) === undefined);
}

/** The settings of a run with every option of these given. */
function settingsWith(names: readonly string[]): AttackSettings {
  return {
    ...newSettings(NEEDED),
    ...Object.fromEntries(names.map((name) => [name, other(RUN_OPTIONS[name as keyof AttackSettings])])),
  } as AttackSettings;
}

function parsed(flags: readonly string[]): AttackFlags {
  const command = addAttackOptions(new Command()).exitOverride().configureOutput({ writeErr: () => undefined });
  return command.parse([...flags, "--out", "o"], { from: "user" }).opts<AttackFlags>();
}

test("the printed command has every option that is not at its default, and reads back to the same", () => {
  const names = Object.keys(RUN_OPTIONS).filter((name) => !["model", "prompt", "attacker"].includes(name));
  for (const name of names) {
    const settings = settingsWith([name]);
    const flags = parsed(settingsAsFlags(settings));
    assert.equal(flags[name as keyof AttackFlags], settings[name as keyof AttackSettings], name);
  }
  const all = settingsWith(names);
  const flags = parsed(settingsAsFlags(all));
  for (const name of Object.keys(RUN_OPTIONS)) {
    assert.equal(
      flags[name as keyof AttackFlags] ?? RUN_OPTIONS[name as keyof AttackSettings].default,
      all[name as keyof AttackSettings],
      name,
    );
  }
});

test("every search option of a run goes to the engine", () => {
  const names = Object.keys(ATTACK_OPTIONS).filter((name) => name !== "attacker");
  const settings = settingsWith([...names, "gate", "gateMargin", "gateSamples"]);
  const { values, given } = needsOf(settings);
  for (const name of Object.keys(ATTACK_OPTIONS) as (keyof AttackValues)[]) assert.equal(values[name], settings[name], name);
  assert.equal(Object.keys(values), Object.keys(ATTACK_OPTIONS));
  assert.equal(given, { prompt: settings.prompt, gate: { margin: settings.gateMargin, samples: settings.gateSamples } });
});

test("a run asks for the models and files that its attacker and its judge use, and for no others", () => {
  const needs = (given: Partial<GivenSettings>) => needsOf(newSettings({ ...NEEDED, ...given }));
  const own = { model: "emoji", ema: false, predictionType: null, config: null };
  assert.equal(needs({}).models, {
    attacked: { ...own, unet: null, textEncoder: null, lora: null }, original: undefined, control: undefined,
  });
  const p4d = needs({ attacker: "p4d", unet: "u.pt", lora: "l.safetensors:0.5" }).models;
  assert.equal([p4d.attacked.unet, p4d.attacked.lora, p4d.original], ["u.pt", "l.safetensors:0.5", own]);
  assert.equal(needs({ attacker: "p4d", original: "before" }).models.original, { model: "before" });
  const rings = { attacker: "ring-a-bell", conceptPairs: "pairs.csv", target: undefined } as const;
  assert.is(needs({ ...rings, unet: "u.pt" }).models.original, undefined, "its text encoder is the attacked model's");
  assert.equal(needs({ ...rings, textEncoder: "t.pt" }).models.original, own);
  const diffusion = { judge: "diffusion", judgePrompts: "p.txt", label: "a church" } as const;
  assert.equal(needs({ ...diffusion, unet: "u.pt" }).models.original, own);

  const control = { controlUnet: "c.pt", mask: "m.png" };
  const probe = needs({ ...control, attacker: "inpainting" });
  assert.equal([probe.models.control, probe.files.mask], [{ model: "emoji", unet: "c.pt" }, "m.png"]);
  assert.equal(needs({ attacker: "inpainting", controlModel: "other" }).models.control, { model: "other", unet: null });
  const plain = needs(control);
  assert.equal([plain.models.control, plain.files.mask, plain.files.target], [undefined, null, "t.png"]);
});

test("what is out of range is refused by flag, by file and by call, in the same words", () => {
  for (const [name, option] of Object.entries(RUN_OPTIONS)) {
    if ((option.kind !== "whole" && option.kind !== "number") || option.min === undefined || option.min < -1e9) continue;
    const low = option.min - 1;
    const problem = problemOf(option, low)!;
    assert.match(problem, new RegExp(`^must be a (whole )?number .*got ${low}`), name);
    assert.throws(
      () => newSettings({ ...NEEDED, [name]: low }),
      (error: Error) => error instanceof UsageError && error.message === `${name} ${problem}`,
    );
    assert.throws(
      () => parsed([`--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`, String(low)]),
      (error: Error) => error.message.includes(problem),
    );
  }
});

test("a record's settings are known by their kinds; a resumed run may say the same again and nothing else", () => {
  const settings = newSettings({ ...NEEDED, tokens: 5 });
  assert.ok(isSettings(JSON.parse(JSON.stringify(settings))));
  for (const changed of [{ tokens: "5" }, { tokens: null }, { randomInit: 1 }, { model: null }, { unet: 3 }]) {
    assert.not(isSettings({ ...settings, ...changed }), JSON.stringify(changed));
  }
  const { tokens: _, ...without } = settings;
  assert.not(isSettings(without));
  assert.is(resumedSettings({ tokens: 5, label: "church" }, settings, "o"), settings);
  assert.throws(() => resumedSettings({ tokens: 4 }, settings, "o"), /the run in o has --tokens 5, not 4/);
  assert.throws(() => resumedSettings({}, { ...settings, tokens: 0 }, "o"), /tokens must be a whole number from 1 to 1000, got 0/);
});

test("a run of a version without an option goes on as that version did; one that lacks another setting is refused", () => {
  const without = (name: keyof AttackSettings): unknown => {
    const { [name]: _, ...settings } = newSettings({ ...NEEDED, vocabulary: "words" });
    return { form: "lethe attack run 1", settings, files: [] };
  };
  assert.equal(parseRecord("run.json", without("vocabulary")).settings, newSettings(NEEDED));
  for (const name of ["iterations", "prompt", "seed"] as const) {
    assert.throws(() => parseRecord("run.json", without(name)), /is not a record of an attack/);
  }
});

test("options of other attackers that were given are named, the attacker's own and defaults are not", () => {
  const given = { ...newSettings(NEEDED), learningRate: 0.5, tokens: 7, mutationRate: 0.125, steps: 3 };
  const unused = (of: string): string[] => unusedNotes(ATTACK_OPTIONS, given, of).map((note) => note.split(" ")[0]!);
  assert.equal(unusedNotes(ATTACK_OPTIONS, given, "text-grad"), [
    "--mutation-rate changes nothing: text-grad does not use it (only ring-a-bell)",
  ]);
  assert.equal(unused("no-attack"), ["--tokens", "--learning-rate", "--mutation-rate"]);
  const ring = newSettings({ ...NEEDED, attacker: "ring-a-bell", conceptPairs: "pairs.csv", mutationRate: 0.125 });
  assert.equal(unusedNotes(ATTACK_OPTIONS, ring, "ring-a-bell"), []);
});

test.run();
