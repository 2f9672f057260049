/** Names of models on the command line, and a hub model used by it: the bundled model's own files, served by a hub on this machine. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DownloadContext, parseHubReference, resolveModel, resolveWeights } from "../../cli/model-source.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import { float16ToFloat32 } from "../../engine/formats/half.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { filesOfPage } from "../../engine/platform/hub/page.ts";
import { assetsFolder } from "../../engine/platform/model-source-node.ts";
import { type Tensors, emojiTensors, safetensors, zeroed } from "../support/checkpoints.ts";
import { DEVICE_FLAGS } from "./support.ts";
import { HubServer } from "../support/hub-server.ts";

const ID = "tester/emoji";
const emoji = join(assetsFolder(), "emoji");
const home = mkdtempSync(join(tmpdir(), "lethe-cli-hub-"));
const hub = await HubServer.start();
const files = (readdirSync(emoji, { recursive: true }) as string[]).filter(
  (name) => statSync(join(emoji, name)).isFile() && !/^(dataset|unlearned)/.test(name),
);
hub.repositories.set(ID, {
  commit: "a".repeat(40),
  files: new Map(files.map((name) => [name.replaceAll("\\", "/"), readFileSync(join(emoji, name))])),
});
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
  withProgress: (title, work) =>
    work({
      update: (fraction, note) => void updates.push(`${title} ${fraction} ${note}`),
      say: (line) => void said.push(line),
      stop: () => undefined,
    }),
};

function lethe(args: readonly string[], more: Record<string, string> = {}): Promise<{ code: number; out: string; err: string }> {
  return new Promise((done) => {
    execFile(process.execPath, ["dist/cli.js", ...args], { env: { ...process.env, ...more } }, (error, out, err) =>
      done({ code: error ? Number(error.code) : 0, out, err }),
    );
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
  await refused(
    "no-such-model",
    /^"no-such-model" is not a model\. It is not "emoji"\. There is no file or folder ".*no-such-model"\. It is not the name of a hub m/,
  );
  for (const path of [
    "./a/b",
    "../a/b",
    "/none/such/b",
    "engine/none/unet",
    "assets/emoji/none/weights",
    "~/a",
    "C:\\a\\b",
    "",
    "https://example.com/a/b",
  ]) {
    await refused(path, /is not a model/);
  }
  await refused("test/none", /its first folder is here.*write "test\/none@main"$/);
  assert.is(hub.requests.length, 0, "a mistyped path is not sent anywhere");
  await refused("tester/none", /^tester\/none: there is no such model, or it is private.*\(and there is no file or folder ".*none"\)$/);
  assert.equal(parseHubReference("CompVis/stable-diffusion-v1-4@fp16"), {
    id: "CompVis/stable-diffusion-v1-4",
    revision: "fp16",
    file: undefined,
    subfolder: undefined,
  });
  assert.equal(parseHubReference("a/b@v1/sub/x.ckpt"), { id: "a/b", revision: "v1", file: "sub/x.ckpt", subfolder: undefined });
  assert.equal(parseHubReference("a/b/sub/folder"), { id: "a/b", revision: undefined, file: undefined, subfolder: "sub/folder" });
  for (const [page, wanted] of [
    ["https://huggingface.co/a/b", { revision: undefined, file: undefined, subfolder: undefined }],
    ["https://huggingface.co/a/b/tree/main/unet?x=1", { revision: "main", file: undefined, subfolder: "unet" }],
    ["https://huggingface.co/a/b/blob/v1/x%20y.safetensors", { revision: "v1", file: "x y.safetensors", subfolder: undefined }],
    ["https://hf.co/a/b/resolve/main/x.pt?download=true", { revision: "main", file: "x.pt", subfolder: undefined }],
  ] as const) {
    assert.equal(parseHubReference(page), { id: "a/b", ...wanted }, page);
  }
  assert.is(parseHubReference("a/b/../c"), undefined);
  assert.is(parseHubReference("files/unet.pt"), undefined); // a path to weights
  assert.equal(["https://huggingface.co/a/b", "https://huggingface.co/a/b/blob/main/x y.pt", "https://example.com/a/b"].map(filesOfPage), [
    "https://huggingface.co/a/b/resolve/main",
    "https://huggingface.co/a/b/blob/main/x y.pt",
    "https://example.com/a/b",
  ]);
  assert.is(filesOfPage("https://huggingface.co/a/b/blob/main/u/x.pt"), "https://huggingface.co/a/b/resolve/main/u/x.pt");
});

test("a hub model: fetched with progress once, then from the cache; a single file of it", async () => {
  const { folder } = await resolveModel(ID, context);
  assert.match(updates.at(-1)!, /^fetching tester\/emoji 1 .* MiB of .* MiB {2}(unet|vae|text_encoder)\/.*\.safetensors$/);
  assert.match(said.at(-1)!, /^fetched .* MiB of tester\/emoji into .*snapshots/);
  for (const name of ["model_index.json", "unet/config.json"]) {
    assert.ok(readFileSync(join(folder, name)).equals(readFileSync(join(emoji, name))));
  }
  hub.requests.length = 0;
  assert.is((await resolveModel(ID, context)).folder, folder);
  assert.is(hub.requests.length, 0, "a command asks once");
  const file = await resolveWeights(`${ID}/classifier/object/model.safetensors`, context);
  assert.ok(readFileSync(file).equals(readFileSync(join(emoji, "classifier/object/model.safetensors"))));
  await refused(`${ID}/none.pt`, /has no file "none.pt"/);
  const part = (await resolveModel(`${ID}/classifier/style`, context)).folder;
  assert.ok(readFileSync(join(part, "model.safetensors")).equals(readFileSync(join(emoji, "classifier/style/model.safetensors"))));
  await refused(`${ID}/none/such`, /has no folder "none\/such" at revision "main"/);
});

test("the command line: a tokenizer from the hub without weights, offline, and the exit codes", async () => {
  const place = join(home, "cli");
  const here = await lethe(["tokenize", "--model", "emoji", "--prompt", "a church", "--json"]);
  const there = await lethe(["tokenize", "--model", ID, "--prompt", "a church", "--json"], { HF_HOME: place });
  assert.equal([there.code, there.out], [0, here.out], there.err);
  assert.not.ok((readdirSync(place, { recursive: true }) as string[]).some((name) => name.endsWith(".safetensors")));
  assert.is(
    (
      await lethe(["tokenize", "--model", ID, "--prompt", "a church", "--json"], {
        HF_HOME: place,
        HF_HUB_OFFLINE: "1",
        HF_ENDPOINT: "http://127.0.0.1:9",
      })
    ).out,
    here.out,
  );
  const [mine, hubs] = [await lethe(["inspect", "emoji", "--json"]), await lethe(["inspect", ID, "--json"])].map(
    ({ out }) => JSON.parse(out) as { components: { name: string; tensorCount?: number; parameters?: number }[] },
  );
  assert.equal(
    hubs!.components.map((c) => [c.name, c.tensorCount, c.parameters]),
    mine!.components.map((c) => [c.name, c.tensorCount, c.parameters]),
  );
  const one = await lethe(["inspect", `${ID}/classifier/object/model.safetensors`]);
  assert.match(one.out, /^looks like: .*ResNet/m);
  assert.match((await lethe(["inspect", "tester/none"])).err, /^error: tester\/none: there is no such model/m);
  const missing = await lethe(["tokenize", "--model", "tester/none", "--prompt", "x"]);
  assert.equal([missing.code, missing.out], [2, ""]);
  assert.match(missing.err, /^error: tester\/none: there is no such model/m);
});

/** The same numbers as float32. */
function widened(tensors: Tensors): Tensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, data }]) => [
      name,
      { dtype: "F32" as const, shape, data: new Uint8Array(float16ToFloat32(new Uint16Array(data.slice().buffer)).buffer) },
    ]),
  );
}

test("--weights f16 takes a component's fp16 files where it has them, f32 its full ones; what does not suit is told", async () => {
  const [unet, text, vae] = await Promise.all((["unet", "text_encoder", "vae"] as const).map(emojiTensors));
  const contents = new Map([...hub.repositories.get(ID)!.files].filter(([name]) => !/^classifier|\.safetensors$/.test(name)));
  const weights = {
    "unet/diffusion_pytorch_model.fp16.safetensors": unet!,
    "unet/diffusion_pytorch_model.safetensors": widened(zeroed(unet!)), // so that pictures tell which was read
    "text_encoder/model.safetensors": widened(text!),
    "vae/diffusion_pytorch_model.fp16.safetensors": vae!,
  };
  for (const [name, tensors] of Object.entries(weights)) contents.set(name, Buffer.from(safetensors(tensors)));
  hub.repositories.set("tester/halves", { commit: "a".repeat(40), files: contents });
  const place = join(home, "halves");
  const draw = async (model: string, precision: string): Promise<{ pixels: Uint8Array; err: string }> => {
    const out = join(home, `${model.replace("/", "-")}-${precision}.png`);
    const { code, err } = await lethe(
      [
        "generate",
        "--model",
        model,
        "--weights",
        precision,
        "--prompt",
        "a church",
        "--steps",
        "2",
        "--seed",
        "3",
        "--out",
        out,
        ...DEVICE_FLAGS,
      ],
      { HF_HOME: place },
    );
    assert.is(code, 0, err);
    return { pixels: (await decodePng(out, readFileSync(out))).data, err };
  };
  const fetched = (): string[] =>
    (readdirSync(place, { recursive: true }) as string[])
      .filter((name) => /snapshots.*\.safetensors$/.test(name))
      .map((name) => name.split(/[/\\]/).slice(-2).join("/"))
      .toSorted();
  const half = await draw("tester/halves", "f16");
  assert.equal(fetched(), [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
  ]);
  assert.equal(half.pixels, (await draw("emoji", "f16")).pixels);
  assert.equal(
    half.err.match(/^.*fp16 files.*$/gm)?.map((line) => line.replace(/^.*[/\\]/, "")),
    ["text_encoder: has no fp16 files; the full ones are read and rounded"],
  );
  const full = await draw("tester/halves", "f32");
  assert.equal(fetched(), [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
  ]);
  assert.equal(
    full.err.match(/^.*fp16 files.*$/gm)?.map((line) => line.replace(/^.*[/\\]/, "")),
    ["vae: has fp16 files only; they are read as they are"],
  );
  assert.not.equal(full.pixels, half.pixels);
  // now that both are there, each is still taken for its precision; the record of a run names the file that was read
  assert.equal((await draw("tester/halves", "f16")).pixels, half.pixels);
  const run = await lethe(
    [
      "attack",
      "--model",
      "tester/halves",
      "--weights",
      "f16",
      "--prompt",
      "a church",
      "--attacker",
      "no-attack",
      "--judge",
      "emoji-object",
      "--label",
      "church",
      "--steps",
      "1",
      "--scheduler",
      "ddim",
      "--out",
      join(home, "run"),
      ...DEVICE_FLAGS,
    ],
    { HF_HOME: place },
  );
  assert.is(run.code, 0, run.err);
  const { files: recorded } = JSON.parse(readFileSync(join(home, "run/run.json"), "utf8")) as RunRecord;
  assert.equal(
    recorded.filter((f) => f.role === "unet").map((f) => f.path.split("/").at(-1)),
    ["config.json", "diffusion_pytorch_model.fp16.safetensors"],
  );
});

test.run();
