/** The page's server: types, ranges, headers, and that nothing outside its folders can be had. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createPageServer } from "../../cli/tools/web/server.ts";

const root = `dist/test/server-${process.pid}`;
const server = createPageServer({ "": `${root}/web`, assets: `${root}/assets` });

test.before(async () => {
  for (const folder of ["web/sub", "assets/emoji"]) mkdirSync(`${root}/${folder}`, { recursive: true });
  writeFileSync(`${root}/web/index.html`, "<p>page</p>");
  writeFileSync(`${root}/web/page.js`, "export {}");
  writeFileSync(`${root}/assets/emoji/unet.safetensors`, "0123456789");
  writeFileSync(`${root}/assets/empty.bin`, "");
  writeFileSync(`${root}/secret.txt`, "secret");
  if (process.platform !== "win32") symlinkSync("../secret.txt", `${root}/web/link.txt`);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

test.after(() => {
  server.close();
  rmSync(root, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Not by fetch, which tidies paths up before it sends them. */
function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Reply> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port: (server.address() as AddressInfo).port, path, method, headers }, (response) => {
      let body = "";
      response
        .on("data", (d) => (body += String(d)))
        .on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body }));
    })
      .on("error", reject)
      .end();
  });
}

test("the page, its scripts and the assets, with their types and isolation", async () => {
  const page = await ask("/");
  assert.equal([page.status, page.body, page.headers["content-type"]], [200, "<p>page</p>", "text/html; charset=utf-8"]);
  assert.equal(
    [page.headers["cross-origin-opener-policy"], page.headers["cross-origin-embedder-policy"], page.headers["x-content-type-options"]],
    ["same-origin", "require-corp", "nosniff"],
  );
  assert.is((await ask("/page.js?v=1")).headers["content-type"], "text/javascript; charset=utf-8");
  const weights = await ask("/assets/emoji/unet.safetensors");
  assert.equal(
    [weights.status, weights.body, weights.headers["content-type"], weights.headers["accept-ranges"]],
    [200, "0123456789", "application/octet-stream", "bytes"],
  );
  assert.equal(
    [
      (await ask("/assets/empty.bin")).status,
      (await ask("/nothing.js")).status,
      (await ask("/sub/")).status,
      (await ask("/sub")).status,
      (await ask("/assets")).status,
    ],
    [200, 404, 404, 404, 404],
  );
});

test("byte ranges, HEAD, and unchanged files", async () => {
  const file = "/assets/emoji/unet.safetensors";
  for (const [range, status, body, answer] of [
    ["bytes=2-4", 206, "234", "bytes 2-4/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-3", 206, "789", "bytes 7-9/10"],
    ["bytes=5-99", 206, "56789", "bytes 5-9/10"],
    ["bytes=10-", 416, "416\n", "bytes */10"],
    ["bytes=4-2", 416, "416\n", "bytes */10"],
    ["bytes=-0", 416, "416\n", "bytes */10"],
    ["bytes=0-1,3-4", 200, "0123456789", undefined],
    ["lines=1-2", 200, "0123456789", undefined],
  ] as const) {
    const reply = await ask(file, { range });
    assert.equal([reply.status, reply.body, reply.headers["content-range"]], [status, body, answer], range);
  }
  const head = await ask(file, {}, "HEAD");
  assert.equal([head.status, head.body, head.headers["content-length"]], [200, "", "10"]);
  assert.is((await ask(file, { "if-none-match": head.headers.etag! })).status, 304);
  assert.equal(
    [
      await ask(file, { range: "bytes=2-4", "if-range": head.headers.etag! }),
      await ask(file, { range: "bytes=2-4", "if-range": '"another"' }),
    ].map((r) => [r.status, r.body]),
    [
      [206, "234"],
      [200, "0123456789"],
    ],
  );
  assert.is((await ask(file, {}, "POST")).status, 405);
});

test("nothing outside the folders, and nothing for another host's name", async () => {
  for (const path of [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/sub/../../secret.txt",
    "/..%2fsecret.txt",
    "/assets/../../secret.txt",
    "/assets/%2e%2e/%2e%2e/secret.txt",
    "/link.txt",
    "//etc/passwd",
    "/%00",
    "/%zz",
    "/..\\secret.txt",
    "/constructor/x",
    "/__proto__/x",
  ]) {
    const { status, body } = await ask(path);
    assert.is(status, 404, path);
    assert.not.match(body, /secret/);
  }
  assert.is((await ask("/", { host: "evil.example" })).status, 403);
  assert.is((await ask("/", { host: "localhost:1234" })).status, 200);
});

test("lethe web serves the built page until it is stopped, on the loopback address only", async () => {
  execFileSync(process.execPath, ["scripts/build.mjs"], { stdio: "ignore" });
  const child = spawn(process.execPath, ["dist/cli.js", "web", "--port", "0", "--json", "--quiet"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const line = await new Promise<string>((resolve) => child.stdout.once("data", (d) => resolve(String(d))));
  const { url } = JSON.parse(line) as { url: string };
  const page = await fetch(url);
  assert.match(await page.text(), /<title>Lethe<\/title>/);
  for (const path of ["page.js", "worker.js", "style.css", "assets.json", "assets/emoji/model_index.json"]) {
    assert.is((await fetch(url + path, { method: "HEAD" })).status, 200, path);
  }
  const other = Object.values(networkInterfaces())
    .flat()
    .find((a) => a && !a.internal && a.family === "IPv4");
  if (other) await assertRefused(`http://${other.address}:${new URL(url).port}/`);
  child.kill("SIGINT");
  await exited;
  await assertRefused(url);
});

async function assertRefused(url: string): Promise<void> {
  const answer = await fetch(url).then((r) => r.status, () => "refused");
  assert.is(answer, "refused", url);
}

test("lethe web --out writes a page that is complete", () => {
  const out = `${root}/site`;
  execFileSync(process.execPath, ["dist/cli.js", "web", "--out", out, "--quiet"], { encoding: "utf8" });
  const list = JSON.parse(readFileSync(`${out}/assets.json`, "utf8")) as Record<string, { bytes: number }>;
  for (const [path, { bytes }] of Object.entries(list)) assert.is(statSync(`${out}/assets/${path}`).size, bytes, path);
  assert.ok(statSync(`${out}/index.html`).size > 0 && statSync(`${out}/worker.js`).size > 100_000);
});

test.run();
