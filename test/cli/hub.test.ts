/** Names of models on the command line, and a hub model used by it: the bundled model's own files, served by a hub on this machine. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DownloadContext, parseHubReference, resolveModel, resolveWeights } from "../../cli/model-source.ts";
import { assetsFolder } from "../../engine/platform/model-source-node.ts";
import { HubServer } from "../support/hub-server.ts";

const ID = "tester/emoji";
const emoji = join(assetsFolder(), "emoji");
const home = mkdtempSync(join(tmpdir(), "lethe-cli-hub-"));
const hub = await HubServer.start();
const files = (readdirSync(emoji, { recursive: true }) as string[]).filter((name) => statSync(join(emoji, name)).isFile() && !/^(dataset|unlearned)/.test(name));
hub.repositories.set(ID, { commit: "a".repeat(40), files: new Map(files.map((name) => [name.replaceAll("\\", "/"), readFileSync(join(emoji, name))])) });
Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HOME: home });

test.after(async () => {
  await hub.stop();
  rmSync(home, { recursive: true, force: true });
});

const said: string[] = [];
const updates: string[] = [];
const context: DownloadContext = {
  say: (line) => void said.push(line),
  signal: new AbortController().signal,
  withProgress: (title, work) => work({ update: (fraction, note) => void updates.push(`${title} ${fraction} ${note}`), say: (line) => void said.push(line), stop: () => undefined }),
};

function lethe(args: readonly string[], more: Record<string, string> = {}): Promise<{ code: number; out: string; err: string }> {
  return new Promise((done) => {
    execFile(process.execPath, ["dist/cli.js", ...args], { env: { ...process.env, ...more } }, (error, out, err) => done({ code: error ? Number(error.code) : 0, out, err }));
  });
}

async function refused(name: string, pattern: RegExp): Promise<void> {
  const error: unknown = await resolveModel(name, context).catch((thrown: unknown) => thrown);
  assert.instance(error, Error);
  assert.match((error as Error).message, pattern);
  assert.is((error as Error & { exitCode: number }).exitCode, 2);
}

test("what a name stands for", async () => {
  assert.is((await resolveModel("emoji", context)).folder, emoji);
  assert.is((await resolveModel("emoji/classifier/object", context)).folder, join(emoji, "classifier", "object"));
  assert.is((await resolveModel(home, context)).folder, home);
  writeFileSync(join(home, "some.ckpt"), "");
  assert.is(await resolveWeights(join(home, "some.ckpt"), context), join(home, "some.ckpt"));
  assert.is((await resolveModel("synthetic:sd14", context)).folder, "synthetic:sd14");
  assert.is(hub.requests.length, 0, "nothing that is here is asked for");
  await refused("no-such-model", /^"no-such-model" is no model: it is not "emoji", there is no file or folder ".*no-such-model", and it is no name of a hub model \(ORG\/NAME/);
  for (const path of ["./a/b", "../a/b", "/none/such/b", "a/b/c", "a/b/c/d", "~/a", "C:\\a\\b", "models/sd14/unet/weights", ""]) await refused(path, /is no model/);
  assert.is(hub.requests.length, 0, "a mistyped path is not sent anywhere");
  await refused("tester/none", /^tester\/none: there is no such model, or it is private.*\(and there is no file or folder ".*none"\)$/);
  assert.equal(parseHubReference("CompVis/stable-diffusion-v1-4@fp16"), { id: "CompVis/stable-diffusion-v1-4", revision: "fp16", file: undefined });
  assert.equal(parseHubReference("a/b@v1/sub/x.ckpt"), { id: "a/b", revision: "v1", file: "sub/x.ckpt" });
});

test("a hub model: fetched with progress once, then from the cache; a single file of it", async () => {
  const { folder } = await resolveModel(ID, context);
  assert.match(updates.at(-1)!, /^fetching tester\/emoji 1 .* MiB of .* MiB {2}(unet|vae|text_encoder)\/.*\.safetensors$/);
  assert.match(said.at(-1)!, /^fetched .* MiB of tester\/emoji into .*snapshots/);
  for (const name of ["model_index.json", "unet/config.json"]) assert.ok(readFileSync(join(folder, name)).equals(readFileSync(join(emoji, name))));
  hub.requests.length = 0;
  assert.is((await resolveModel(ID, context)).folder, folder);
  assert.is(hub.requests.length, 0, "a command asks once");
  const file = await resolveWeights(`${ID}/classifier/object/model.safetensors`, context);
  assert.ok(readFileSync(file).equals(readFileSync(join(emoji, "classifier/object/model.safetensors"))));
  await refused(`${ID}/none.pt`, /has no file "none.pt"/);
});

test("the command line: a tokenizer from the hub without weights, offline, and the exit codes", async () => {
  const place = join(home, "cli");
  const here = await lethe(["tokenize", "--model", "emoji", "--prompt", "a church", "--json"]);
  const there = await lethe(["tokenize", "--model", ID, "--prompt", "a church", "--json"], { HF_HOME: place });
  assert.equal([there.code, there.out], [0, here.out], there.err);
  assert.not.ok((readdirSync(place, { recursive: true }) as string[]).some((name) => name.endsWith(".safetensors")));
  assert.is((await lethe(["tokenize", "--model", ID, "--prompt", "a church", "--json"], { HF_HOME: place, HF_HUB_OFFLINE: "1", HF_ENDPOINT: "http://127.0.0.1:9" })).out, here.out);
  const missing = await lethe(["tokenize", "--model", "tester/none", "--prompt", "x"]);
  assert.equal([missing.code, missing.out], [2, ""]);
  assert.match(missing.err, /^error: tester\/none: there is no such model/m);
});

test.run();
