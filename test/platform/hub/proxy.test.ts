/**
 * The environment's proxy: what goes through it, what does not, and what errors say. Each command is a process of its own, as the variables
 * are read there.
 */
import { execFile } from "node:child_process";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { proxyFor } from "../../../engine/platform/hub/proxy.ts";
import { HubServer } from "../../support/hub-server.ts";

/** A proxy that notes what it is asked for, and passes plain requests on. */
async function startProxy(): Promise<{ readonly address: string; readonly asked: string[]; readonly server: Server }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const url = new URL(request.url!);
    const socket = connect(Number(url.port), url.hostname, () => {
      const headers = Object.entries(request.headers)
        .map(([name, value]) => `${name}: ${String(value)}`)
        .join("\r\n");
      socket.write(`${request.method} ${url.pathname}${url.search} HTTP/1.1\r\n${headers}\r\nconnection: close\r\n\r\n`);
      socket.pipe(response.socket!);
    });
  });
  server.on("connect", (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, server };
}

function inspect(environment: Record<string, string>): Promise<{ code: number; err: string; out: string }> {
  const { HTTP_PROXY: _a, HTTPS_PROXY: _b, NO_PROXY: _c, http_proxy: _d, https_proxy: _e, no_proxy: _f, ...clean } = process.env;
  return new Promise((done) => {
    execFile(process.execPath, ["dist/cli.js", "inspect", "tester/tiny/x.pt"], { env: { ...clean, ...environment } }, (error, out, err) =>
      done({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

test("requests go through HTTP_PROXY and HTTPS_PROXY, not to NO_PROXY's hosts; errors name the proxy without its password", async () => {
  const [proxy, hub, home] = [await startProxy(), await HubServer.start(), mkdtempSync(join(tmpdir(), "lethe-proxy-"))];
  try {
    const plain = { HF_HOME: home, HF_ENDPOINT: hub.endpoint };
    const through = await inspect({ ...plain, HTTP_PROXY: proxy.address });
    assert.match(proxy.asked.join(), /^GET http:\/\/127\.0\.0\.1:\d+\/api\/models\/tester\/tiny/);
    assert.match(through.err, /there is no such model.*answers 40[14].* through the proxy http:\/\/127\.0\.0\.1:\d+ \(HTTPS_PROXY/);
    proxy.asked.length = 0;
    await inspect({ ...plain, http_proxy: proxy.address, NO_PROXY: "127.0.0.1" });
    assert.equal(proxy.asked, []);
    assert.ok(hub.requests.length > 0);
    const secure = await inspect({
      HF_HOME: home,
      HF_ENDPOINT: "https://hub.invalid",
      https_proxy: proxy.address.replace("//", "//name:secret@"),
    });
    assert.match(proxy.asked[0]!, /^CONNECT hub\.invalid:443/);
    assert.match(secure.err, /hub\.invalid .*through the proxy http:\/\/127\.0\.0\.1:\d+ /);
    assert.not.match(secure.err, /secret/);
    assert.is(secure.code, 1);
  } finally {
    proxy.server.close();
    await hub.stop();
    rmSync(home, { recursive: true, force: true });
  }
});

test("a proxy that is not an http address is refused", () => {
  process.env["https_proxy"] = "socks5://me:secret@127.0.0.1:1";
  try {
    assert.throws(() => proxyFor(new URL("https://hub.invalid")), /the proxy of the environment is "socks5:\/\/127\.0\.0\.1:1"/);
  } finally {
    delete process.env["https_proxy"];
  }
});

test.run();
