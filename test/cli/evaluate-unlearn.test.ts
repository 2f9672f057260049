// An evaluation that makes its checkpoints: each once, from what its file says, and then attacked.
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const at = (name: string): string => join(folder, name);
const ESD = { method: "esd-x", concepts: ["church"], steps: 1, samplingSteps: 4, previewSteps: 2 };
const UCE = { method: "uce", recipe: "uce-2025", concepts: ["church"], previewEvery: 0 };

function config(name: string, checkpoints: readonly object[]): string {
  writeFileSync(at(name), JSON.stringify({
    model: "emoji",
    base: false,
    sampling: { scheduler: "ddim", steps: 2, guidance: 7.5 },
    checkpoints,
    concepts: [{ name: "church", prompts: "emoji/dataset/church/prompts.csv", judge: "emoji-object", label: "church", limit: 1 }],
    attackers: [{ name: "no-attack", attacker: "no-attack" }],
  }));
  return name;
}

interface Plan {
  readonly unlearned: readonly { readonly checkpoint: string; readonly out: string; readonly hash: string }[];
}

async function plan(file: string): Promise<Plan["unlearned"]> {
  const { code, stdout, stderr } = await lethe("evaluate", file, "--out", "planned", "--dry-run", "--json", ...DEVICE_FLAGS);
  assert.is(code, 0, stderr);
  return (JSON.parse(stdout) as Plan).unlearned;
}

test("checkpoints are made, one over another, attacked, and reported; a second time they are there", async () => {
  const file = config("story.json", [
    { name: "uce", unlearn: UCE },
    { name: "esd", unlearn: ESD },
    { name: "esd-over-uce", unlearn: { ...ESD, over: "uce" } },
  ]);
  const [uce, esd, over] = await plan(file);
  assert.not.ok(readdirSync(folder).includes("planned"), "a dry run makes nothing");
  const { code, stderr } = await lethe("evaluate", file, "--out", "e", ...DEVICE_FLAGS);
  assert.is(code, 0, stderr);
  const made = (one: Plan["unlearned"][number] | undefined): string => at(one!.out.replace(/^planned/, "e"));
  assert.match(uce!.out, /unet\.safetensors$/);
  assert.match(over!.out, /unet\.pt$/, "the whole UNet, since it is made over a file with some tensors");
  assert.ok([uce, esd, over].every((one) => statSync(made(one)).size > 1000));
  const record = JSON.parse(readFileSync(`${made(over)}.run/run.json`, "utf8")) as { settings: { unet: string } };
  assert.is(at(record.settings.unet), made(uce));
  const cell = JSON.parse(readFileSync(at("e/cells/esd/no-attack/church/run.json"), "utf8")) as { settings: { unet: string } };
  assert.is(at(cell.settings.unet), made(esd));
  const report = readFileSync(at("e/report.html"), "utf8");
  assert.match(report, /How the checkpoints were made/);
  for (const { out } of [uce!, esd!, over!]) assert.ok(report.includes(`${out.replace("planned/", "")}.run/report.html`));

  const before = statSync(made(esd)).mtimeMs;
  const again = await lethe("evaluate", file, "--out", "e", "--resume", ...DEVICE_FLAGS);
  assert.is(again.code, 0, again.stderr);
  assert.not.match(again.stderr, /making checkpoint/);
  assert.is(statSync(made(esd)).mtimeMs, before);
});

test("what goes in decides the name: settings and files do, how it is watched does not", async () => {
  writeFileSync(at("retain.txt"), "a car\n");
  const hashes = async (unlearn: object): Promise<string> => (await plan(config("one.json", [{ name: "x", unlearn }])))[0]!.hash;
  const first = await hashes({ ...ESD, retain: "retain.txt" });
  assert.is(await hashes({ ...ESD, retain: "retain.txt", previewEvery: 0, saveEvery: 3 }), first);
  assert.is.not(await hashes({ ...ESD, retain: "retain.txt", steps: 2 }), first);
  assert.is.not(await hashes({ ...ESD, retain: "retain.txt", concepts: ["castle"] }), first);
  writeFileSync(at("retain.txt"), "a bus\n");
  assert.is.not(await hashes({ ...ESD, retain: "retain.txt" }), first);
});

test("what cannot be made is told by its place, before anything is made", async () => {
  const refused = async (checkpoints: readonly object[]): Promise<string> => {
    const { code, stderr } = await lethe("evaluate", config("bad.json", checkpoints), "--out", "bad", ...DEVICE_FLAGS);
    assert.is(code, 2, stderr);
    assert.not.ok(readdirSync(folder).includes("bad"));
    return stderr;
  };
  assert.match(await refused([{ name: "x", unlearn: { method: "esd-x" } }]), /checkpoints\[0\]\.unlearn\.concepts is missing/);
  assert.match(await refused([{ name: "x", unlearn: { ...ESD, stepz: 3 } }]), /checkpoints\[0\]\.unlearn\.stepz is not known/);
  assert.match(
    await refused([{ name: "x", unlearn: { ...ESD, recipe: "uce-2023" } }]),
    /checkpoint "x": recipe uce-2023 is not one of esd-x/,
  );
  assert.match(
    await refused([
      { name: "x", unlearn: { ...ESD, over: "y" } },
      { name: "y", unlearn: UCE },
    ]),
    /checkpoint "x": is made over "y"/,
  );
  assert.match(await refused([{ name: "x", unlearn: { ...ESD, retain: "none.txt" } }]), /none\.txt/);
});

test.run();
