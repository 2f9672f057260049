/** Downloads that break off, are gone on with, and are not mixed of two versions of a file. */
import { createHash, randomBytes } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DownloadOptions, type Received, type Version, download, sameVersion } from "../../web/worker/files/download.ts";
import { memoryStore } from "../../web/worker/files/store.ts";
import { downloadModel, unfinishedDownloads } from "../../web/worker/files/unfinished.ts";
import { BreakingServer, type ServedFile } from "./breaking-server.ts";

const BYTES = 300_000;
const hex = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
let server: BreakingServer;

test.before(async () => {
  server = await BreakingServer.start();
});
test.after(() => server.stop());

/** The page's own address, which tells its origin from others. */
function openPage(origin: string): void {
  Object.assign(globalThis, { location: { origin, href: `${origin}/` } });
}

function serve(file: Partial<ServedFile> = {}): { url: string; content: Uint8Array; file: ServedFile } {
  const content = new Uint8Array(randomBytes(BYTES));
  const served: ServedFile = { content, ...file };
  server.files.set("/model.safetensors", served);
  server.asked.length = 0;
  return { url: `${server.origin}/model.safetensors`, content, file: served };
}

/** A visit: downloads with what the visits before have learnt. */
class Visitor {
  readonly store = memoryStore();
  version: Version | undefined;
  readonly notes: string[] = [];

  fetch(url: string, options: DownloadOptions = {}): Promise<Received> {
    return download(url, this.store, "f", {
      pauseMilliseconds: 1,
      onVersion: async (v) => void (this.version = v),
      onNote: (n) => void this.notes.push(n),
      ...(this.version && { version: this.version }),
      ...options,
    });
  }

  async content(): Promise<string> {
    return hex(new Uint8Array(await (await this.store.read("f"))!.arrayBuffer()));
  }
}

async function refusal(work: Promise<unknown>): Promise<Error> {
  return work.then(() => { throw new Error("it should have been refused"); }, (e: Error) => e);
}

for (const [where, origin] of [
  ["its own origin, by If-Range", ""],
  ["another origin, by comparing versions", "https://page.example"],
] as const) {
  test(`goes on after broken connections, and in a later call, on ${where}`, async () => {
    openPage(origin || server.origin);
    const { url, content, file } = serve({ etag: '"v1"', breakAfter: 100_000 });
    const visitor = new Visitor();
    assert.equal(await visitor.fetch(url), { bytes: BYTES, sha256: hex(content) });
    assert.is(await visitor.content(), hex(content));
    const conditions = server.asked.map((a) => a.condition);
    const ranges = server.ranges();
    assert.ok(ranges.length >= 3 && ranges.slice(1).every((r) => /^bytes=[1-9]\d*-$/.test(r!)), ranges.join());
    assert.is(conditions.some((c) => c === '"v1"'), origin === "");

    const later = new Visitor();
    Object.assign(file, { breakAfter: 120_000, breaks: 1 });
    const controller = new AbortController();
    assert.is(
      (
        await refusal(
          later.fetch(url, {
            signal: controller.signal,
            onBytes: (n) => {
              if (n > 50_000) controller.abort();
            },
          }),
        )
      ).name,
      "AbortError",
    );
    const kept = (await later.store.read("f"))!.size;
    assert.ok(kept > 50_000 && kept < BYTES, `${kept}`);
    server.ranges();
    assert.is((await later.fetch(url)).sha256, hex(content));
    assert.is(server.ranges()[0], `bytes=${kept}-`);
  });

  test(`a file that changed meanwhile starts anew, on ${where}`, async () => {
    openPage(origin || server.origin);
    const { url, file } = serve({ etag: '"v1"', modified: "Mon, 02 Nov 2026 10:00:00 GMT", breakAfter: 100_000 });
    const visitor = new Visitor();
    const controller = new AbortController();
    await refusal(visitor.fetch(url, { signal: controller.signal, onBytes: () => controller.abort() }));
    const changed = new Uint8Array(randomBytes(BYTES));
    Object.assign(file, { content: changed, etag: '"v2"', modified: "Mon, 02 Nov 2026 11:00:00 GMT", breakAfter: BYTES });
    assert.is((await visitor.fetch(url)).sha256, hex(changed));
    assert.match(visitor.notes.join(), /changed/);
    assert.is(await visitor.content(), hex(changed));
  });
}

test("without a version to compare, or where the server knows no ranges, it starts anew", async () => {
  openPage("https://page.example");
  for (const options of [{}, { etag: '"v1"', ranges: false }, { etag: 'W/"weak"' }]) {
    const { url, content, file } = serve({ ...options, breakAfter: 100_000, breaks: 1 });
    const visitor = new Visitor();
    assert.is((await visitor.fetch(url)).sha256, hex(content), JSON.stringify(options));
    assert.is(await visitor.content(), hex(content));
    assert.is(file.breaks, 0);
  }
});

test("the hash decides: what does not fit together is fetched once more, what is wrong as a whole is refused and not kept", async () => {
  openPage(server.origin);
  const { url, content } = serve();
  const visitor = new Visitor();
  const file = await visitor.store.append("f");
  await file.write(new Uint8Array(randomBytes(5000)));
  assert.is((await visitor.fetch(url, { expected: { bytes: BYTES, sha256: hex(content) } })).sha256, hex(content));
  assert.match(visitor.notes.join(), /did not fit together/);
  assert.is(await visitor.content(), hex(content));

  const other = new Visitor();
  assert.match(
    (await refusal(other.fetch(url, { expected: { sha256: "0".repeat(64) } }))).message,
    /model\.safetensors: has SHA-256 [0-9a-f]{64}, expected 0{64}: the file is damaged or another one, and was not kept/,
  );
  assert.is((await other.store.read("f"))!.size, 0);
});

test("a server that stays broken is given up, with what has come kept; one that is not there is said at once", async () => {
  openPage(server.origin);
  const { url } = serve({ etag: '"v1"', breakAfter: 0 });
  const visitor = new Visitor();
  assert.match((await refusal(visitor.fetch(url))).message, /broke.*0 bytes are kept: fetch it again/);
  assert.is(server.ranges().length, 5);
  assert.match((await refusal(visitor.fetch(`${server.origin}/nothing.safetensors`))).message, /no such file on the server/);
  assert.match((await refusal(visitor.fetch("http://127.0.0.1:1/x.safetensors"))).message, /cannot be fetched: .*CORS/);
});

test("two versions are the same only if the server says so", () => {
  const day = "Mon, 02 Nov 2026 10:00:00 GMT";
  assert.ok(sameVersion({ bytes: 5, etag: '"a"' }, { bytes: 5, etag: '"a"' }));
  assert.ok(sameVersion({ bytes: 5, modified: day }, { modified: day }));
  assert.not(sameVersion({ bytes: 5 }, { bytes: 5 }));
  assert.not(sameVersion({ bytes: 5, etag: '"a"' }, { bytes: 6, etag: '"a"' }));
  assert.not(sameVersion({ etag: '"a"', modified: day }, { etag: '"b"', modified: day }));
  assert.not(sameVersion({}, {}));
});

test("a model of one file: its record is kept over visits, and gone when nothing came", async () => {
  openPage("https://page.example");
  const store = memoryStore();
  const controller = new AbortController();
  const start = (signal: AbortSignal, url: string): ReturnType<typeof downloadModel> =>
    downloadModel(store, url, "", (name) => Promise.resolve(name), {
      signal,
      news: ({ text }) => {
        if (/trying again/.test(text)) controller.abort();
      },
    });
  const { url, content, file } = serve({ modified: "Mon, 02 Nov 2026 10:00:00 GMT", breakAfter: 100_000 });
  assert.is((await refusal(start(controller.signal, url))).name, "AbortError");
  const [left] = await unfinishedDownloads(store);
  assert.equal(left, { id: "model.safetensors", url, sha256: "", keptBytes: 100_000, bytes: BYTES, files: 1 });
  server.ranges();
  file.breakAfter = BYTES;
  const done = await start(new AbortController().signal, url);
  assert.equal(server.ranges(), ["bytes=100000-"]);
  assert.equal(done.files, { "model.safetensors": { bytes: BYTES, sha256: hex(content) } });

  const empty = await refusal(
    downloadModel(store, `${server.origin}/gone.safetensors`, "", (name) => Promise.resolve(name), {
      signal: new AbortController().signal,
      news: () => undefined,
    }),
  );
  assert.match(empty.message, /no such file/);
  assert.equal((await store.names()).filter((n) => n.startsWith("gone")), []);
});

test.run();
