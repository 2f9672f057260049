/** What the hub tests share: a small Stable Diffusion repository, cache folders of their own, and a downloader in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type HubModel, type HubOptions, resolveHubModel } from "../../../engine/platform/hub/hub.ts";
import { HubServer, type Repository } from "../../support/hub-server.ts";

export const ID = "tester/tiny-diffusion";
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const LARGE = 300_000;

/** Bytes that look random, the same for the same seed. */
export function noise(length: number, seed: string): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 32 < length; i++) blocks.push(createHash("sha256").update(`${seed} ${i}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

/** Names of what loading needs of `tinyRepository`. */
export const NEEDED: readonly string[] = [
  "model_index.json",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "text_encoder/model-00001-of-00002.safetensors",
  "text_encoder/model-00002-of-00002.safetensors",
  "text_encoder/model.safetensors.index.json",
  "tokenizer/merges.txt",
  "tokenizer/special_tokens_map.json",
  "tokenizer/tokenizer_config.json",
  "tokenizer/vocab.json",
  "unet/config.json",
  "unet/diffusion_pytorch_model.safetensors",
  "vae/config.json",
  "vae/diffusion_pytorch_model.safetensors",
];

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Laid out as published ones are: several forms of the same weights, shards, parts that nobody needs here. */
export function tinyRepository(): Repository {
  const files: Record<string, Buffer> = {
    "README.md": Buffer.from("# Tiny\n"),
    "v1-tiny.ckpt": noise(9000, "ckpt"),
    "v1-tiny-ema.ckpt": noise(9000, "ema ckpt"),
    "model_index.json": json({
      _class_name: "StableDiffusionPipeline",
      feature_extractor: ["transformers", "CLIPImageProcessor"],
      safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"],
      scheduler: ["diffusers", "PNDMScheduler"],
      text_encoder: ["transformers", "CLIPTextModel"],
      tokenizer: ["transformers", "CLIPTokenizer"],
      unet: ["diffusers", "UNet2DConditionModel"],
      vae: ["diffusers", "AutoencoderKL"],
    }),
    "feature_extractor/preprocessor_config.json": json({}),
    "safety_checker/config.json": json({}),
    "safety_checker/model.safetensors": noise(5000, "safety"),
    "scheduler/scheduler_config.json": json({ _class_name: "PNDMScheduler" }),
    "tokenizer/vocab.json": noise(3000, "vocab"),
    "tokenizer/merges.txt": Buffer.from("#version: 0.2\n"),
    "tokenizer/special_tokens_map.json": json({}),
    "tokenizer/tokenizer_config.json": json({}),
    "tokenizer/tokenizer.json": json({}),
    "text_encoder/config.json": json({ model_type: "clip_text_model" }),
    "text_encoder/model.safetensors.index.json": json({
      weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" },
    }),
    "text_encoder/model-00001-of-00002.safetensors": noise(20_000, "shard 1"),
    "text_encoder/model-00002-of-00002.safetensors": noise(21_000, "shard 2"),
    "text_encoder/pytorch_model.bin": noise(41_000, "text bin"),
    "unet/config.json": json({ _class_name: "UNet2DConditionModel" }),
    "unet/diffusion_pytorch_model.safetensors": noise(LARGE, "unet"),
    "unet/diffusion_pytorch_model.fp16.safetensors": noise(LARGE / 2, "unet fp16"),
    "unet/diffusion_pytorch_model.non_ema.safetensors": noise(LARGE, "unet non ema"),
    "unet/diffusion_pytorch_model.bin": noise(LARGE, "unet bin"),
    "vae/config.json": json({ _class_name: "AutoencoderKL" }),
    "vae/diffusion_pytorch_model.safetensors": noise(40_000, "vae"),
    "vae/diffusion_pytorch_model.bin": noise(40_000, "vae bin"),
  };
  return { commit: COMMIT, files: new Map(Object.entries(files)) };
}

/** A hub with the tiny repository, and an empty cache; both are gone when `use` is done. */
export async function withHub(use: (hub: HubServer, home: string, repository: Repository) => Promise<void>): Promise<void> {
  const hub = await HubServer.start();
  const home = mkdtempSync(join(tmpdir(), "lethe-hub-"));
  const repository = tinyRepository();
  hub.repositories.set(ID, repository);
  try {
    await use(hub, home, repository);
  } finally {
    await hub.stop();
    rmSync(home, { recursive: true, force: true });
  }
}

export function environment(hub: HubServer, home: string, more: Record<string, string> = {}): Record<string, string> {
  return { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HOME: home, ...more };
}

/** `resolveHubModel` against the test's hub and cache, with pauses too short to wait for. */
export function resolveFrom(
  hub: HubServer,
  home: string,
  options: HubOptions & { more?: Record<string, string>; id?: string } = {},
): Promise<HubModel> {
  const { more, id, ...rest } = options;
  return resolveHubModel(id ?? ID, { environment: environment(hub, home, more), backoffMs: 1, ...rest });
}

export function modelFolder(home: string, id = ID): string {
  return join(home, "hub", `models--${id.replace("/", "--")}`);
}

/** Every file below a folder, by its path with "/": what it holds, or where it links to. */
export function tree(folder: string): Map<string, { link?: string; bytes: Buffer }> {
  const files = new Map<string, { link?: string; bytes: Buffer }>();
  for (const name of (readdirSync(folder, { recursive: true }) as string[]).toSorted()) {
    const path = join(folder, name);
    if (!statSync(path).isFile()) continue;
    files.set(name.replaceAll("\\", "/"), {
      ...(lstatSync(path).isSymbolicLink() && { link: readlinkSync(path) }),
      bytes: readFileSync(path),
    });
  }
  return files;
}

/** The names that the file of a blob in the making, a lock or a draft bear. */
export const TEMPORARY = /incomplete|\.tmp$|\.lock/;

/** What is wrong with a cache: a blob whose bytes are not its name's, or a snapshot file that is not the repository's. */
export function damage(home: string, repository: Repository): string[] {
  const problems: string[] = [];
  const folder = modelFolder(home);
  let files: ReturnType<typeof tree>;
  try {
    files = tree(folder);
  } catch {
    return []; // killed before the folder was made
  }
  for (const [name, { bytes }] of files) {
    if (TEMPORARY.test(name)) continue;
    const blob = /^blobs\/(.*)$/.exec(name)?.[1];
    if (blob !== undefined) {
      const hash = blob.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${bytes.length}\0`);
      if (hash.update(bytes).digest("hex") !== blob) problems.push(name);
    }
    const file = /^snapshots\/[0-9a-f]{40}\/(.*)$/.exec(name)?.[1];
    if (file !== undefined && repository.files.get(file)?.equals(bytes) !== true) problems.push(name);
  }
  return problems;
}

/** Starts a process of its own that resolves the model: this test bundle with "download" as its argument. */
export function spawnDownload(bundle: string, hub: HubServer, home: string): ChildProcess {
  return spawn(process.execPath, [fileURLToPath(bundle), "download"], {
    env: { ...environment(hub, home), PATH: process.env["PATH"] ?? "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** What that process does. */
export async function downloadAndExit(): Promise<never> {
  try {
    const model = await resolveHubModel(ID, { backoffMs: 20 });
    process.stdout.write(JSON.stringify(model));
    process.exit(0);
  } catch (error) {
    process.stderr.write(String(error));
    process.exit(1);
  }
}
