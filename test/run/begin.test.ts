// What a run reads before it begins, by its settings, and what has changed since one that is gone on with.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readInputs } from "../../cli/attack/inputs.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { changesSince } from "../../engine/run/changes.ts";
import type { AnyRunRecord } from "../../engine/run/record.ts";
import { needsOf } from "../../engine/run/settings/needs.ts";
import { type GivenSettings, newSettings } from "../../engine/run/settings/settings.ts";

const CHURCH = "emoji/dataset/church";
const NEEDED = { model: "emoji", prompt: "a church", judge: "emoji-object", label: "church", target: `${CHURCH}/imgs/0_0.png` } as const;

async function rolesOf(given: Partial<GivenSettings>): Promise<string[]> {
  const { files } = await readInputs(needsOf(newSettings({ ...NEEDED, ...given })));
  return files.map(({ role, path }) => `${role} ${path.split("/emoji/").at(-1)}`);
}

test("every file that is named is read and recorded, in one order; a probe's only for a probe", async () => {
  const ofProbe = { mask: `${CHURCH}/imgs/1_0.png`, controlPicture: `${CHURCH}/imgs/2_0.png`, controlUnet: "emoji/unet.pt" };
  assert.equal(await rolesOf({ attacker: "inpainting", ...ofProbe }), [
    "target dataset/church/imgs/0_0.png",
    "control unet.pt",
    "control picture dataset/church/imgs/2_0.png",
    "mask dataset/church/imgs/1_0.png",
  ]);
  assert.equal(await rolesOf(ofProbe), ["target dataset/church/imgs/0_0.png"]);
  assert.equal(await rolesOf({ attacker: "ring-a-bell", conceptPairs: "emoji/concept-pairs/church.csv" }), [
    "concept pairs concept-pairs/church.csv",
    "target dataset/church/imgs/0_0.png",
  ]);
});

test("a universal attack reads the table and the picture of every row", async () => {
  const settings = newSettings({ ...NEEDED, universal: true, prompts: `${CHURCH}/prompts.csv` });
  const { cases, files } = await readInputs(needsOf(settings));
  assert.is(files.filter(({ role }) => role === "target").length, cases!.length + 1);
  assert.ok(cases!.length > 1 && cases!.every(({ picture, id }) => picture.file.endsWith(`/${id}_0.png`) && picture.image.width > 0));
});

test("a folder of pictures that is none is refused by name", async () => {
  const given = { attacker: "latent-classifier", conceptPictures: `${CHURCH}/imgs`, otherPictures: `${CHURCH}/prompts.csv` } as const;
  const error = await rolesOf(given).catch((thrown: unknown) => thrown);
  assert.instance(error, FormatError);
  assert.match((error as Error).message, /dataset\/church\/prompts\.csv: is not a folder of pictures/);
});

test("another adapter and files of other content are told; files that only one record has are not", () => {
  const record = (adapter: string, files: Readonly<Record<string, string>>): AnyRunRecord =>
    ({ device: { adapter }, files: Object.entries(files).map(([path, sha256]) => ({ role: "unet", path, sha256 })) }) as
      unknown as AnyRunRecord;
  const before = record("one", { a: "1", b: "2", gone: "3" });
  assert.equal(changesSince(before, record("one", { a: "1", b: "2", added: "4" })), []);
  assert.equal(changesSince(before, record("two", { a: "1", b: "9" })), [
    "the run was begun on one and goes on on two: rounding differs between the two",
    "b has changed since the run was begun",
  ]);
});

test.run();
