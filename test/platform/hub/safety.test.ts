import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HubError, type HubErrorKind, isHubId } from "../../../engine/platform/hub/hub.ts";
import { isSafePath, placeFile } from "../../../engine/platform/hub/cache.ts";
import { codeOf } from "../../../engine/platform/node-files.ts";
import { diskError } from "../../../engine/platform/hub/error.ts";
import { withLock } from "../../../engine/platform/hub/lock.ts";
import { hubSettings } from "../../../engine/platform/hub/settings.ts";
import { UsageError } from "../../../engine/runtime/errors.ts";
import { sha256 } from "../../support/hub-server.ts";
import {
  COMMIT,
  damage,
  downloadAndExit,
  ID,
  modelFolder,
  NEEDED,
  noise,
  resolveFrom,
  spawnDownload,
  TEMPORARY,
  tree,
  withHub,
} from "./support.ts";

if (process.argv[2] === "download") await downloadAndExit();

const KILLS = 20;
const NEVER = new AbortController().signal;

async function fails(work: Promise<unknown>, kind: HubErrorKind, pattern: RegExp): Promise<void> {
  const error: unknown = await work.then(() => undefined, (thrown: unknown) => thrown);
  assert.instance(error, HubError, String(error));
  assert.match((error as HubError).message, pattern);
  assert.is((error as HubError).kind, kind, (error as HubError).message);
}

test("the token goes to the endpoint and nowhere else", () =>
  withHub(async (hub, home) => {
    await resolveFrom(hub, home, { more: { HF_TOKEN: " hf_secret\n" } });
    for (const r of hub.requests) {
      assert.is(r.headers.authorization, r.host === "hub" ? "Bearer hf_secret" : undefined, `${r.method} ${r.host} ${r.path}`);
    }
    assert.ok(hub.requests.some((r) => r.host === "cdn"));
    mkdirSync(join(home, "filed"), { recursive: true });
    writeFileSync(join(home, "filed", "token"), "hf_filed\n");
    hub.requests.length = 0;
    await resolveFrom(hub, join(home, "filed"));
    assert.ok(hub.requests.every((r) => r.headers.authorization === (r.host === "hub" ? "Bearer hf_filed" : undefined)));
    const text = await resolveFrom(hub, home, { more: { HF_TOKEN: "hf_secret" }, id: "tester/none" }).catch(String);
    assert.not.match(String(text), /hf_secret/);
  }));

test("gated, private and missing models, and a token that is refused, say what to do", () =>
  withHub(async (hub, home, repository) => {
    repository.gated = true;
    repository.token = "hf_good";
    await fails(
      resolveFrom(hub, home),
      "gated",
      /tester\/tiny-diffusion\/.*: this model is gated: accept its terms on its page at http:.*, then set HF_TOKEN .*401: "Access to model/,
    );
    await fails(resolveFrom(hub, home, { more: { HF_TOKEN: "hf_other" } }), "gated", /then use a token of that account .*403/);
    await resolveFrom(hub, home, { more: { HF_TOKEN: "hf_good" } });
    assert.equal(damage(home, repository), []);
    await fails(
      resolveFrom(hub, home, { id: "tester/none" }),
      "not-found",
      /tester\/none: there is no such model, or it is private: check its name; if it is private, set HF_TOKEN/,
    );
    hub.fault = () => ({ status: 401, headers: { "x-error-message": "Invalid credentials in Authorization header" } });
    await fails(
      resolveFrom(hub, join(home, "b"), { more: { HF_TOKEN: "hf_bad" } }),
      "refused",
      /the token in use \(HF_TOKEN or the token file\) is not accepted/,
    );
    const notes: string[] = [];
    assert.is(
      (await resolveFrom(hub, home, { onNote: (note) => notes.push(note) })).fetchedBytes,
      0,
      "what is in the cache needs no permission",
    );
    assert.match(notes.join(), /using the copy in the cache \(commit 01234567\)/);
  }));

test("offline: the cache serves, and nothing is asked", () =>
  withHub(async (hub, home, repository) => {
    const offline = { more: { HF_HUB_OFFLINE: "1" } };
    await fails(
      resolveFrom(hub, home, offline),
      "offline",
      /tester\/tiny-diffusion: HF_HUB_OFFLINE is set, and the cache ".*hub" has no revision "main" of it/,
    );
    assert.is(hub.requests.length, 0);
    const model = await resolveFrom(hub, home);
    hub.requests.length = 0;
    assert.equal({ ...(await resolveFrom(hub, home, offline)), files: [] }, { ...model, files: [], fetchedBytes: 0 });
    assert.is((await resolveFrom(hub, home, { more: { TRANSFORMERS_OFFLINE: "yes" }, revision: COMMIT })).folder, model.folder);
    rmSync(join(modelFolder(home), "blobs", sha256(repository.files.get("vae/diffusion_pytorch_model.safetensors")!)));
    await fails(resolveFrom(hub, home, offline), "offline", /is incomplete: tester\/tiny-diffusion\/vae: has no weights/);
    rmSync(join(model.folder, "text_encoder/model-00002-of-00002.safetensors"));
    await fails(
      resolveFrom(hub, home, { ...offline, components: ["text_encoder"] }),
      "offline",
      /incomplete: .*names a shard "model-00002-of-00002.safetensors"/,
    );
    rmSync(join(model.folder, "unet"), { recursive: true });
    await fails(resolveFrom(hub, home, offline), "offline", /incomplete: tester\/tiny-diffusion\/unet: lacks config.json/);
    assert.is(hub.requests.length, 0);
    await resolveFrom(hub, home);
    assert.equal(damage(home, repository), []);
  }));

test("a hub that cannot be reached: the cache serves with a note, or the error names the host", () => withHub(async (hub, home) => {
  const model = await resolveFrom(hub, home);
  const notes: string[] = [];
  const gone = { more: { HF_ENDPOINT: "http://127.0.0.1:9" }, onNote: (note: string) => notes.push(note) };
  assert.is((await resolveFrom(hub, home, gone)).folder, model.folder);
  assert.match(notes.join(), /127\.0\.0\.1:9 cannot be reached: .*ECONNREFUSED.*; using the copy in the cache/);
  await fails(resolveFrom(hub, join(home, "b"), { ...gone, attempts: 2 }), "network", /127\.0\.0\.1:9 cannot be reached/);
}));

test("killed twenty times: the cache is never damaged, what has arrived is kept", () => withHub(async (hub, home, repository) => {
  hub.pace = { ms: 3, bytes: 4_000 };
  let kills = 0;
  let kept = 0;
  for (let round = 0; kills < KILLS && round < 200; round++) {
    const place = join(home, String(round));
    hub.requests.length = 0;
    for (let starts = 0, done = false; !done; starts++) {
      const child = spawnDownload(import.meta.url, hub, place);
      const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
      let complaint = "";
      child.stderr!.on("data", (piece) => (complaint += String(piece)));
      const asked = hub.requests.length;
      // Every other kill is timed from the large file's request, so that some surely fall into its transfer.
      const large = (): number => hub.gets(/^\/large.*unet/).length;
      const [aimed, largeAsked] = [kills % 2 === 1, large()];
      const wait = kills < KILLS ? 5 + (aimed ? 30 : 250) * Math.random() : Infinity;
      const from = performance.now();
      for (let first = 0; performance.now() - (first || from) < (first ? wait : 20_000) && child.exitCode === null; ) {
        await new Promise((later) => setTimeout(later, 2));
        // Node's own start is not the point.
        if (!first && (aimed ? large() > largeAsked : hub.requests.length > asked)) first = performance.now();
      }
      if (child.exitCode === null) {
        child.kill("SIGKILL");
        kills++;
      }
      done = (await exited) === 0;
      assert.is(complaint, "");
      assert.equal(damage(place, repository), [], `kill ${kills}`);
      const offline = await resolveFrom(hub, place, { more: { HF_HUB_OFFLINE: "1" } }).catch((error: unknown) => error);
      if (offline instanceof HubError) assert.is(offline.kind, "offline");
      else {
        for (const name of NEEDED) {
          const bytes = readFileSync(join(modelFolder(place), "snapshots", COMMIT, name));
          assert.ok(bytes.equals(repository.files.get(name)!), "what passes for complete is");
        }
      }
      const start = hub.gets(/^\/large.*unet/).at(-1);
      if (starts > 0 && start?.headers.range !== undefined) kept++;
    }
    assert.equal([...tree(place).keys()].filter((name) => name.endsWith(".incomplete")), [], "no half file is left in the end");
  }
  assert.is(kills, KILLS);
  assert.ok(kept > 0, "a range was asked for after a kill");
}));

test("several processes at once: the files come once, all of them succeed", () =>
  withHub(async (hub, home, repository) => {
    hub.pace = { ms: 3, bytes: 10_000 };
    const codes = await Promise.all(
      [1, 2, 3].map(() => new Promise((resolve) => spawnDownload(import.meta.url, hub, home).once("exit", resolve))),
    );
    assert.equal(codes, [0, 0, 0]);
    assert.equal(damage(home, repository), []);
    assert.is(hub.gets(/^\/large.*unet/).length, 1);
    assert.equal(
      [...tree(home).keys()].filter((name) => TEMPORARY.test(name)),
      [],
    );
  }));

test("the lock: one at a time; a dead holder's is taken over; errors release it", () =>
  withHub(async (_, home) => {
    const path = join(home, "x.lock");
    let inside = 0;
    let waited = 0;
    const work = async (): Promise<void> => {
      assert.is(++inside, 1);
      for (let ms = 0; ms < 20_000; ms = waited < 3 ? ms + 5 : Infinity) await new Promise((later) => setTimeout(later, 5));
      inside--;
    };
    await Promise.all([1, 2, 3, 4].map(() => withLock(path, NEVER, () => waited++, work)));
    assert.is(waited, 3);
    assert.not.ok(existsSync(path));
    writeFileSync(path, "");
    await withLock(path, NEVER, () => waited++, work);
    assert.is(waited, 4, "one without a name is waited for a moment only");
    writeFileSync(path, `999999999 ${hostname()} dead`);
    await withLock(path, NEVER, () => assert.unreachable("its process is gone"), work);
    writeFileSync(path, `${process.pid} ${hostname()} earlier`);
    writeFileSync(`${path}.break`, "");
    utimesSync(`${path}.break`, 1, 1);
    await withLock(path, NEVER, () => assert.unreachable("not one of this process's own"), work);
    await withLock(
      path,
      NEVER,
      () => undefined,
      () => Promise.reject(new Error("inner")),
    ).then(
      () => assert.unreachable(),
      (e: Error) => assert.is(e.message, "inner"),
    );
    assert.not.ok(existsSync(path) || existsSync(`${path}.break`));
    writeFileSync(path, "1 elsewhere alive");
    const stop = AbortSignal.timeout(150);
    await withLock(path, stop, () => waited++, work).then(
      () => assert.unreachable(),
      () => assert.ok(stop.aborted),
    );
    assert.is(readFileSync(path, "utf8"), "1 elsewhere alive");
  }));

test("a hub that lies about names, commits, hashes or redirects gains nothing", () =>
  withHub(async (hub, home, repository) => {
    for (const name of ["../../evil", "a/../../b", "/abs", "a\\b", "c:x", "nul\u0000", "x/./y", "dots./a", "", "a//b"]) {
      assert.not.ok(isSafePath(name), name);
      repository.files.set(name, Buffer.from("evil"));
    }
    await resolveFrom(hub, home);
    assert.equal(readdirSync(home), ["hub"]);
    assert.equal(damage(home, repository), []);
    const place = (): string => join(home, String(Math.random()));
    hub.announce = () => "../../../x";
    hub.detailed = false;
    await fails(resolveFrom(hub, place()), "network", /gives ETag "\.\.\/\.\.\/\.\.\/x", which is neither a sha256 nor a git hash/);
    hub.detailed = true;
    await resolveFrom(hub, place()); // the listing's hashes serve
    hub.announce = (_, etag) => etag;
    for (const wrong of [resolveFrom(hub, place(), { revision: "../main" }), resolveFrom(hub, place(), { id: "../x" })]) {
      const error: unknown = await wrong.catch((thrown: unknown) => thrown);
      assert.instance(error, UsageError);
      assert.match((error as Error).message, /is not a name of a/);
    }
    repository.commit = "../../escape";
    await fails(resolveFrom(hub, place()), "network", /answers without a commit and a list of files/);
    repository.commit = COMMIT;
    for (const [location, pattern] of [
      ["ftp://127.0.0.1/x", /redirects from http: to ftp:/],
      ["http://", /redirects to "http:\/\/"/],
      [`${hub.endpoint}/api/models/${ID}/revision/main?blobs=true`, /redirects more than 10 times/],
    ] as const) {
      hub.fault = () => ({ status: 302, headers: { location } });
      await fails(resolveFrom(hub, place()), "network", pattern);
    }
    hub.fault = (r) => (r.path.startsWith("/large") ? { replace: noise(3e6, "endless") } : undefined);
    await fails(resolveFrom(hub, place()), "changed", /should have \d+ bytes, the server sends "3000000"/);
  }));

test("an endless or compressed answer is cut off", () =>
  withHub(async (hub, home) => {
    const server = createServer((_, response) => {
      response.writeHead(200, { "content-encoding": "gzip" }).end("x");
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    await fails(
      resolveFrom(hub, home, { more: { HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } }),
      "network",
      /sends "gzip" data although it was asked not to/,
    );
    server.closeAllConnections();
    server.close();
  }));

test("without symbolic links the snapshot has files of its own", () => withHub(async (hub, home, repository) => {
  const model = await resolveFrom(hub, home, { more: { HF_HUB_DISABLE_SYMLINKS: "1" } });
  const file = join(model.folder, "unet/diffusion_pytorch_model.safetensors");
  assert.ok(lstatSync(file).isFile());
  assert.equal(damage(home, repository), []);
  hub.requests.length = 0;
  assert.is((await resolveFrom(hub, home)).fetchedBytes, 0);
  assert.is(hub.requests.length, 1);
  const [from, to] = [join(home, "from"), join(home, "to")];
  writeFileSync(from, "bytes");
  await placeFile(from, to, false);
  assert.is(readFileSync(to, "utf8") + readFileSync(from, "utf8"), "bytesbytes");
  await placeFile(from, join(home, "moved"), true);
  assert.equal([existsSync(from), statSync(join(home, "moved")).size], [false, 5]);
}));

test("a cache that cannot be written says so; a complete one need not be", () =>
  withHub(async (hub, home) => {
    writeFileSync(join(home, "file"), "");
    await fails(
      resolveFrom(hub, join(home, "file")),
      "disk",
      /cannot be written: a part of the path is not a folder; set HF_HOME \(or HF_HUB_CACHE\)/,
    );
    const full = diskError("blob", Object.assign(new Error("no"), { code: "ENOSPC" }));
    assert.match(
      (full as Error).message,
      /"blob" cannot be written: the disk is full; make room, or set HF_HOME .* what has arrived is kept/,
    );
    assert.is(codeOf(new Error("x")), "");
    await resolveFrom(hub, join(home, "ok"));
    rmSync(join(modelFolder(join(home, "ok")), "refs"), { recursive: true });
    chmodSync(modelFolder(join(home, "ok")), 0o555);
    try {
      assert.is((await resolveFrom(hub, join(home, "ok"))).fetchedBytes, 0);
    } finally {
      chmodSync(modelFolder(join(home, "ok")), 0o755);
    }
  }));

function of(variables: Record<string, string>): [cache: string, endpoint: string] {
  const { cache, endpoint } = hubSettings({ HOME: "/h", ...variables });
  return [cache, endpoint];
}

test("the variables of huggingface_hub", () => {
  if (process.platform !== "win32") {
    assert.is(of({})[0], "/h/.cache/huggingface/hub");
    assert.is(of({ XDG_CACHE_HOME: "/x" })[0], "/x/huggingface/hub");
    assert.is(of({ HF_HOME: "~/hf" })[0], "/h/hf/hub");
    assert.is(of({ HF_HOME: "/a", HUGGINGFACE_HUB_CACHE: "$HOME/b" })[0], "/h/b");
    assert.is(of({ HUGGINGFACE_HUB_CACHE: "/b", HF_HUB_CACHE: "${HOME}/c" })[0], "/h/c");
  }
  assert.is(of({ HF_ENDPOINT: "https://mirror.test/hub/" })[1], "https://mirror.test/hub");
  assert.throws(() => of({ HF_ENDPOINT: "mirror" }), /HF_ENDPOINT is "mirror"; it should be an address such as https:/);
  assert.is(hubSettings({ HOME: "/h", HF_TOKEN: "a", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }).token, undefined);
  assert.is(hubSettings({ HOME: "/h", HUGGING_FACE_HUB_TOKEN: "b" }).token, "b");
  for (const id of ["CompVis/stable-diffusion-v1-4", "a/b", "org/name.v1_2", "_a/b_"]) assert.ok(isHubId(id), id);
  for (const id of ["name", "a/b/c", "../b", "a/..", "a--b/c", "-a/b", "a/b-", "a/b.git", "a/ b", "a/b\n", "./b", "", "a/", "é/b"]) {
    assert.not.ok(isHubId(id), id);
  }
});


test.run();
