/** `attack --endpoint`: pictures from Lethe's own server are those drawn here; other servers' ways, and what is wrong with an address. */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endpointPainter } from "../../cli/attack/endpoint.ts";
import { encodePng } from "../../engine/platform/picture/encode-png.ts";
import { DEVICE_FLAGS, folder, lethe, start } from "./support.ts";

const UNLEARNED = ["--model", "emoji", "--unet", "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt"];
const DRAWING = ["--steps", "3", "--guidance", "5", "--scheduler", "ddim"];
const PICTURE = { width: 3, height: 2, data: Uint8Array.from({ length: 18 }, (_, i) => 7 * i) };

const logged = (run: string): unknown[] =>
  readFileSync(join(folder, run, "attack.jsonl"), "utf8").trim().split("\n").map((line) => {
    const { ms: _, image: __, ...rest } = JSON.parse(line) as Record<string, unknown>;
    return rest;
  });

test("an attack on lethe serve is the attack on the model that it serves, which the attacker does not have", async () => {
  const server = start(["serve", ...UNLEARNED, "--port", "0", "--scheduler", "ddim", ...DEVICE_FLAGS, "--json"]);
  await server.said(/stop with Ctrl-C/);
  const { url } = JSON.parse(await server.printed(/\n/)) as { url: string };
  const search = [
    "attack", "--attacker", "synonym-search", "--max-timesteps", "3", "--prompt", "a church", "--seed", "5", "--judge", "emoji-object",
    "--label", "church", ...DRAWING, ...DEVICE_FLAGS,
  ];
  const far = await lethe(...search, "--model", "emoji", "--endpoint", url, "--out", "far");
  server.interrupt();
  assert.is(far.code, 0, far.stderr);
  assert.is((await server.ended).code, 0);
  const here = await lethe(...search, ...UNLEARNED, "--out", "here");
  assert.is(here.code, 0, here.stderr);
  assert.is(logged("here").length, 4);
  assert.equal(logged("far"), logged("here"));
  const { settings, command } = JSON.parse(readFileSync(join(folder, "far/run.json"), "utf8")) as Record<string, Record<string, string>>;
  assert.is(settings!["endpoint"], url);
  assert.match(String(command), `--endpoint ${url}`);
});

interface Serving {
  readonly base: string;
  readonly server: Server;
  /** What it was sent. */
  readonly asked: Record<string, unknown>[];
  readonly heads: IncomingMessage["headers"][];
}

/** A server of another make, which answers by a list. */
async function serving(answers: readonly (readonly [status: number, body: unknown])[]): Promise<Serving> {
  const asked: Record<string, unknown>[] = [];
  const heads: IncomingMessage["headers"][] = [];
  const left = [...answers];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    if (request.url === "/drawn.png") return void response.end(encodePng(PICTURE));
    let text = "";
    request.on("data", (part: Buffer) => (text += part.toString()));
    request.on("end", () => {
      asked.push(JSON.parse(text) as Record<string, unknown>);
      heads.push(request.headers);
      const [status, body] = left.shift()!;
      response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return { base: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, asked, heads, server };
}

const HOW = { seed: 3, guidance: 7.5, steps: 9, signal: undefined };
const refusal = (param: string | null, code: string): unknown => ({ error: { message: `no ${param}`, param, code } });

test("what a server does not take is left out and told; pictures come as text or by address; a filter's refusal is black", async () => {
  const said: string[] = [];
  const { base, asked, heads, server } = await serving([
    [400, refusal("seed", "unknown_parameter")],
    [400, refusal("guidance_scale", "unknown_parameter")],
    [200, { data: [{ b64_json: Buffer.from(encodePng(PICTURE)).toString("base64") }] }],
    [503, "busy"],
    [200, { data: [{ url: "/drawn.png" }] }],
    [400, refusal(null, "content_policy_violation")],
  ]);
  const draw = endpointPainter(base, "secret", (line) => said.push(line));
  try {
    assert.equal((await draw("a", HOW)).data, PICTURE.data);
    assert.equal((await draw("b", HOW)).data, PICTURE.data);
    assert.ok((await draw("c", HOW)).data.every((x) => x === 0));
  } finally {
    server.close();
  }
  assert.equal(asked[0], { prompt: "a", n: 1, response_format: "b64_json", seed: 3, steps: 9, guidance_scale: 7.5 });
  assert.equal(asked.at(-1), { prompt: "c", n: 1, response_format: "b64_json", steps: 9 });
  assert.is(heads[0]!.authorization, "Bearer secret");
  assert.match(said.join("\n"), /take seed[^]*take guidance_scale[^]*is busy \(status 503\)[^]*refused "c" \(content_policy/);
});

test("an endpoint that is not one is told with its address, and in which way", async () => {
  for (const [status, body, name, message] of [
    [404, "<html>", "InputError", /status 404 with "<html>": not an image endpoint/],
    [200, "null", "InputError", /status 200 with "null": not an image endpoint/],
    [200, { data: [] }, "InputError", /it sent no picture/],
    [200, { data: [{ b64_json: "AAAA" }] }, "FormatError", /is not a PNG, JPEG or WebP/],
    [401, refusal(null, "invalid_api_key"), "InputError", /status 401: no null/],
    [400, refusal("prompt", "invalid_value"), "InputError", /status 400: no prompt/],
    [500, refusal(null, "server_error"), "LetheError", /status 500/],
  ] as const) {
    const { base, server } = await serving([[status, body]]);
    const failed = await endpointPainter(base, undefined, () => undefined)("x", HOW).then(() => undefined, (error: Error) => error);
    server.close();
    assert.is(failed?.name, name, `${status} ${JSON.stringify(body)}: ${failed?.message}`);
    assert.match(failed!.message, message);
    assert.match(failed!.message, base);
  }
});

test("the command refuses an address that is none, nobody behind it, a probe and a word that cannot be typed", async () => {
  const run = ["attack", "--model", "emoji", "--prompt", "a church", "--judge", "emoji-object", "--label", "church"];
  const away = "http://127.0.0.1:9/v1";
  for (const [i, [flags, message]] of ([
    [["--attacker", "no-attack", "--endpoint", "localhost:8421"], /--endpoint <url>.* must be an address such as/i],
    [["--attacker", "no-attack", "--endpoint", away, ...DEVICE_FLAGS], /127\.0\.0\.1:9\/v1\/images\/generations: cannot be reached/],
    [["--attacker", "noise-probe", "--endpoint", away], /--endpoint is for typed prompts, and noise-probe searches none/],
    [["--attacker", "no-attack", "--safree", "church", "--endpoint", away, ...DEVICE_FLAGS], /safree defends what a model .* draws itself/],
  ] as const).entries()) {
    const { code, stderr } = await lethe(...run, "--out", `no-${i}`, ...flags);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test.run();
