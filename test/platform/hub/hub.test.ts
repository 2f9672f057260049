import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HubError, type HubErrorKind } from "../../../engine/platform/hub/hub.ts";
import { gitSha1, type Repository, sha256 } from "../../support/hub-server.ts";
import { COMMIT, damage, ID, LARGE, modelFolder, NEEDED, noise, resolveFrom, TEMPORARY, tree, withHub } from "./support.ts";

async function fails(work: Promise<unknown>, kind: HubErrorKind, pattern: RegExp): Promise<void> {
  const error: unknown = await work.then(() => undefined, (thrown: unknown) => thrown);
  assert.instance(error, HubError, String(error));
  assert.match((error as HubError).message, pattern);
  assert.is((error as HubError).kind, kind, (error as HubError).message);
}

/** Files of the same content come once. */
function neededBytes(repository: Repository): number {
  const contents = new Map(NEEDED.map((name) => [sha256(repository.files.get(name)!), repository.files.get(name)!.length]));
  return [...contents.values()].reduce((sum, length) => sum + length, 0);
}

test("only the needed files come, in the layout of huggingface_hub, and a second run fetches none", () =>
  withHub(async (hub, home, repository) => {
    const model = await resolveFrom(hub, home);
    assert.equal(model.files.toSorted(), [...NEEDED]);
    assert.is(model.commit, COMMIT);
    assert.is(model.folder, join(modelFolder(home), "snapshots", COMMIT));
    const files = tree(modelFolder(home));
    const expected = new Map<string, string | undefined>([["refs/main", undefined]]);
    for (const name of NEEDED) {
      const bytes = repository.files.get(name)!;
      const etag = bytes.length >= 2000 ? sha256(bytes) : gitSha1(bytes);
      expected.set(`blobs/${etag}`, undefined);
      expected.set(`snapshots/${COMMIT}/${name}`, `${"../".repeat(name.split("/").length + 1)}blobs/${etag}`);
      assert.ok(readFileSync(join(model.folder, name)).equals(bytes), name);
    }
    assert.equal([...files.keys()].toSorted(), [...expected.keys()].toSorted());
    for (const [name, link] of expected) assert.is(files.get(name)!.link, link, name);
    assert.is(files.get("refs/main")!.bytes.toString(), COMMIT);
    assert.is(model.fetchedBytes, neededBytes(repository));

  hub.requests.length = 0;
  const again = await resolveFrom(hub, home);
  assert.equal([again.folder, again.fetchedBytes], [model.folder, 0]);
  assert.equal(hub.requests.map((r) => r.path), [`/api/models/${ID}/revision/main?blobs=true`]);
  hub.requests.length = 0;
  await resolveFrom(hub, home, { revision: COMMIT });
  assert.is(hub.requests.length, 0, "a commit that is there is not asked for");
}));

test("the fp16 variant where there is one, some components, named files, one-model and one-file repositories", () =>
  withHub(async (hub, home, repository) => {
    const half = await resolveFrom(hub, home, { variant: "fp16" });
    assert.ok(
      half.files.includes("unet/diffusion_pytorch_model.fp16.safetensors") &&
        half.files.includes("vae/diffusion_pytorch_model.safetensors"),
      half.files.join(),
    );
    assert.not.ok(half.files.includes("unet/diffusion_pytorch_model.safetensors"));
    const plain = await resolveFrom(hub, home);
    assert.is(plain.fetchedBytes, LARGE, "only the UNet's other file");
    const part = await resolveFrom(hub, join(home, "part"), { components: ["vae"] });
    assert.equal(part.files.toSorted(), ["model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"]);
    const named = await resolveFrom(hub, join(home, "named"), { files: ["v1-tiny.ckpt"] });
    assert.ok(readFileSync(join(named.folder, "v1-tiny.ckpt")).equals(repository.files.get("v1-tiny.ckpt")!));
    await fails(
      resolveFrom(hub, home, { files: ["none.pt"] }),
      "not-found",
      /tester\/tiny-diffusion: has no file "none.pt" at revision "main"/,
    );

    const classifier = ["config.json", "preprocessor_config.json", "model.safetensors"];
    hub.repositories.set("tester/judge", {
      commit: COMMIT,
      files: new Map(["README.md", "pytorch_model.bin", ...classifier].map((name) => [name, noise(100, name)])),
    });
    assert.equal((await resolveFrom(hub, home, { id: "tester/judge" })).files, classifier);
    hub.repositories.set("tester/single", {
      commit: COMMIT,
      files: new Map([
        ["unet.pt", noise(5000, "pt")],
        ["README.md", noise(10, "r")],
      ]),
    });
    assert.equal((await resolveFrom(hub, home, { id: "tester/single" })).files, ["unet.pt"]);
    hub.repositories.set("tester/several", {
      commit: COMMIT,
      files: new Map([
        ["a.ckpt", noise(50, "a")],
        ["b.ckpt", noise(50, "b")],
      ]),
    });
    await fails(
      resolveFrom(hub, home, { id: "tester/several" }),
      "not-found",
      /not a model folder; name one of its files instead, as tester\/several\/FILE: a\.ckpt, b\.ckpt/,
    );
    repository.files.delete("vae/config.json");
    await fails(resolveFrom(hub, join(home, "broken")), "not-found", /tester\/tiny-diffusion\/vae: lacks config\.json/);
    repository.files.set("text_encoder/model.safetensors.index.json", Buffer.from('{"weight_map": {"a": "../../x"}}'));
    repository.files.set("vae/config.json", Buffer.from("{}"));
    await fails(resolveFrom(hub, join(home, "shards")), "not-found", /names a shard "..\/..\/x" that the repository does not have/);
  }));

test("a revision that moves on: unchanged files are linked, not fetched; a listing without sizes is enough", () =>
  withHub(async (hub, home, repository) => {
    hub.detailed = false;
    await resolveFrom(hub, home);
    repository.commit = "f".repeat(40);
    repository.files.set("vae/diffusion_pytorch_model.safetensors", noise(40_000, "vae 2"));
    const next = await resolveFrom(hub, home);
    assert.equal([next.commit, next.fetchedBytes], ["f".repeat(40), 40_000]);
    assert.is(readFileSync(join(modelFolder(home), "refs/main"), "utf8"), "f".repeat(40));
    assert.equal(
      damage(home, { ...repository, files: new Map(repository.files) }).filter((name) => !name.includes(COMMIT)),
      [],
    );
    await fails(
      resolveFrom(hub, home, { revision: "v9" }),
      "not-found",
      /tester\/tiny-diffusion: there is no such revision \(127.*404: "Invalid rev id: v9"\)/,
    );
  }));

test("progress counts the weight files' bytes up to their total", () =>
  withHub(async (hub, home, repository) => {
    const seen: number[] = [];
    let total = 0;
    const model = await resolveFrom(hub, home, {
      onProgress: (p) => {
        seen.push(p.done);
        total = p.total;
      },
    });
    const weights = model.files
      .filter((name) => name.endsWith(".safetensors"))
      .reduce((sum, name) => sum + repository.files.get(name)!.length, 0);
    assert.equal([total, seen.at(-1)], [weights, weights]);
    assert.ok(seen.every((done, i) => i === 0 || done >= seen[i - 1]!));
  }));

test("a connection that breaks or stalls is taken up where it was, by a range", () =>
  withHub(async (hub, home, repository) => {
    let left = 4;
    hub.fault = (r) =>
      r.path.includes("unet/diffusion") && r.method === "GET" && r.host === "cdn" && left-- > 0
        ? left === 1
          ? { stallAfter: 30_000 }
          : { dropAfter: 50_000 }
        : undefined;
    const notes: string[] = [];
    const model = await resolveFrom(hub, home, { more: { HF_HUB_DOWNLOAD_TIMEOUT: "0.4" }, onNote: (note) => notes.push(note) });
    assert.equal(damage(home, repository), []);
    const gets = hub.gets(/^\/large.*unet\/diffusion/);
    const starts = gets.map((r) => Number(/bytes=(\d+)-/.exec(r.headers.range ?? "bytes=0-")?.[1]));
    assert.is(starts.length, 5);
    assert.ok(
      starts.every((start, i) => i === 0 || start > starts[i - 1]!),
      starts.join(),
    );
    assert.ok(
      gets.slice(1).every((r) => r.headers["if-range"] !== undefined),
      "the other host's ETag guards what is there",
    );
    assert.is(notes.length, 4, notes.join("\n"));
    assert.match(notes.join("\n"), /connection to 127\.0\.0\.1:\d+ broke: .*; trying again in/);
    assert.match(notes.join("\n"), /nothing arrived for 0.4 s/);
    assert.is(model.fetchedBytes, neededBytes(repository), "no byte came twice");
  }));

test("a server without ranges, or whose file grew shorter, sends all again", () =>
  withHub(async (hub, home, repository) => {
    let first = true;
    hub.fault = (r) => {
      if (!r.path.startsWith("/large") || !r.path.includes("unet/") || r.method !== "GET") return undefined;
      if (!first) return { ignoreRange: true };
      first = false;
      return { dropAfter: 70_000 };
    };
    await resolveFrom(hub, home);
    assert.equal(damage(home, repository), []);
    const other = join(home, "other");
    hub.fault = (r) =>
      r.headers.range
        ? { status: 416 }
        : r.path.includes("unet/diff") && r.host === "cdn" && hub.gets(/^\/large.*unet/).length < 4
          ? { dropAfter: 70_000 }
          : undefined;
    await resolveFrom(hub, other);
    assert.equal(damage(other, repository), []);
  }));

test("errors of the server: passing ones are waited for, as long as it says; lasting ones are not", () =>
  withHub(async (hub, home, repository) => {
    let count = 0;
    hub.fault = () =>
      count++ % 7 === 0 ? { status: [500, 502, 503, 429][count % 4]!, ...(count === 8 && { headers: { "retry-after": "1" } }) } : undefined;
    const notes: string[] = [];
    const started = performance.now();
    await resolveFrom(hub, home, { onNote: (note) => notes.push(note) });
    assert.equal(damage(home, repository), []);
    assert.ok(notes.length > 5 && performance.now() - started > 950, notes.join("\n"));

  hub.fault = () => ({ status: 503 });
  hub.requests.length = 0;
  await fails(resolveFrom(hub, join(home, "b"), { attempts: 3 }), "network", /tester\/tiny-diffusion: 127\.0\.0\.1:\d+ answers 503/);
  assert.is(hub.requests.length, 3);
  hub.fault = () => ({ status: 410 });
  hub.requests.length = 0;
  await fails(resolveFrom(hub, join(home, "b")), "refused", /answers 410/);
  assert.is(hub.requests.length, 1);
  hub.fault = (r) => (r.host === "cdn" && hub.gets(/^\/large/).length < 3 ? { status: 403 } : undefined);
  hub.requests.length = 0;
  await resolveFrom(hub, join(home, "c")); // a signature that has expired: a new one is asked for
  assert.equal(damage(join(home, "c"), repository), []);
}));

test("wrong bytes are refused and removed, of large files by sha256 and of small ones by git's hash", () =>
  withHub(async (hub, home, repository) => {
    for (const [name, kind] of [
      ["unet/diffusion_pytorch_model.safetensors", "sha256"],
      ["scheduler/scheduler_config.json", "git sha1"],
    ] as const) {
      const place = join(home, kind.slice(0, 3));
      hub.fault = (r) => (r.path.includes(name) && r.method === "GET" ? { corrupt: true } : undefined);
      await fails(
        resolveFrom(hub, place),
        "hash",
        new RegExp(`${name}: the \\d+ bytes received have ${kind} [0-9a-f]+, the hub announced [0-9a-f]+; they were removed`),
      );
      assert.not.ok(existsSync(join(modelFolder(place), "snapshots", COMMIT, name)), "it does not show");
      assert.not.ok(existsSync(join(modelFolder(place), "refs/main")), "nor is the revision noted as complete");
      const bytes = repository.files.get(name)!;
      const etag = kind === "sha256" ? sha256(bytes) : gitSha1(bytes);
      assert.equal(
        [...tree(modelFolder(place)).keys()].filter((file) => file.includes(etag)),
        [],
      );
      assert.equal(damage(place, repository), []);
      hub.fault = () => undefined;
      await resolveFrom(hub, place);
      assert.equal(damage(place, repository), []);
    }
  }));

test("damaged leftovers cost one more download; an older huggingface_hub's are taken over", () =>
  withHub(async (hub, home, repository) => {
    const bytes = repository.files.get("unet/diffusion_pytorch_model.safetensors")!;
    const blob = join(modelFolder(home), "blobs", sha256(bytes));
    mkdirSync(join(modelFolder(home), "blobs"), { recursive: true });
    writeFileSync(`${blob}.lethe.incomplete`, noise(1000, "rubbish"));
    const notes: string[] = [];
    await resolveFrom(hub, home, { onNote: (note) => notes.push(note) });
    assert.match(notes.join("\n"), /what an earlier download left is damaged; starting over/);
    assert.equal(damage(home, repository), []);
    for (const [suffix, size] of [
      [".incomplete", 100_000],
      [".lethe.incomplete", 200_000],
      [".lethe.incomplete", LARGE],
      [".lethe.incomplete", LARGE + 1],
      ["", 10],
    ] as const) {
      const place = join(home, `${suffix}${size}`);
      const path = join(modelFolder(place), "blobs", sha256(bytes) + suffix);
      mkdirSync(join(modelFolder(place), "blobs"), { recursive: true });
      writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(1)]).subarray(0, size));
      hub.requests.length = 0;
      await resolveFrom(hub, place);
      assert.equal(damage(place, repository), []);
      assert.equal(
        hub.gets(/^\/large.*unet/).map((r) => r.headers.range),
        size === LARGE ? [] : [size < LARGE && size > 10 ? `bytes=${size}-` : undefined],
        `${suffix} ${size}`,
      );
    }
  }));

test("a file that changes under the download is asked for anew, not for ever", () =>
  withHub(async (hub, home, repository) => {
    const name = "unet/diffusion_pytorch_model.safetensors";
    const after = noise(LARGE, "after");
    let dropped = false;
    hub.fault = (r) => {
      if (!r.path.startsWith("/large") || !r.path.includes("unet/") || dropped) return undefined;
      dropped = true;
      repository.files.set(name, after); // from the next answer on
      return { dropAfter: 100_000, replace: noise(LARGE, "unet") };
    };
    const notes: string[] = [];
    const model = await resolveFrom(hub, home, { onNote: (note) => notes.push(note) });
    assert.ok(readFileSync(join(model.folder, name)).equals(after));
    assert.match(notes.join("\n"), /the hub now has "[0-9a-f]{64}" instead of "[0-9a-f]{64}"; asking again/);
    hub.fault = (r) => (r.path.startsWith("/large") && r.path.includes("unet/") ? { replace: noise(LARGE + 5, "longer") } : undefined);
    await fails(resolveFrom(hub, join(home, "b")), "changed", /should have 300000 bytes, the server sends "300005"/);
    assert.not.ok(
      [...tree(modelFolder(join(home, "b"))).keys()].some((file) => file.includes(`blobs/${sha256(after)}`) && !TEMPORARY.test(file)),
    );
  }));

test("an aborted download stops, keeps what it has, and goes on from there", () =>
  withHub(async (hub, home, repository) => {
    hub.pace = { ms: 5, bytes: 10_000 };
    const controller = new AbortController();
    const error: unknown = await resolveFrom(hub, home, {
      signal: controller.signal,
      onProgress: (p) => {
        if (p.done > 150_000) controller.abort();
      },
    }).then(
      () => undefined,
      (e: unknown) => e,
    );
    assert.is((error as Error).name, "AbortError");
    assert.not.ok(
      [...tree(home).keys()].some((file) => file.endsWith(".lethe.lock")),
      "no lock is left",
    );
    hub.pace = undefined;
    const model = await resolveFrom(hub, home);
    assert.ok(model.fetchedBytes < LARGE + 81_000, String(model.fetchedBytes));
    assert.equal(damage(home, repository), []);
  }));

test.run();
