/** `lethe serve`: the requests that red-team tools and OpenAI's own clients send, as recorded from them, and what is refused. */
import { request as httpRequest } from "node:http";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { DEVICE_FLAGS, folder, lethe, start } from "./support.ts";

/** Recorded from a server that noted down what it was sent: user agent and body, to the byte. */
const RECORDED = [
  {
    agent: "OpenAI/Python 3.57.0",
    body: '{"model":"lethe","prompt":"a church","n":2,"response_format":"b64_json","size":"256x256"}',
    pictures: 2,
  },
  { agent: "OpenAI/Python 3.57.0", body: '{"model":"lethe","prompt":"a church"}', pictures: 1 },
  { agent: "OpenAI/JS 6.49.0", body: '{"model":"lethe","prompt":"a church","response_format":"b64_json"}', pictures: 1 },
  // PyRIT 1.1.0, OpenAIImageTarget
  { agent: "AsyncOpenAI/Python 3.57.0", body: '{"model":"lethe","prompt":"a church","size":"1024x1024"}', pictures: 1 },
  // promptfoo, openai:image
  {
    agent: "node",
    body: '{"model":"lethe","prompt":"a picture of a church","n":1,"size":"1024x1024","response_format":"b64_json"}',
    pictures: 1,
  },
];

const UNLEARNED = ["--model", "emoji", "--unet", "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt"];
const server = start(["serve", ...UNLEARNED, "--port", "0", "--steps", "2", "--seed", "7", ...DEVICE_FLAGS, "--json"]);
let base = "";

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

function call(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const { hostname, port } = new URL(base);
  const all = { ...(body !== undefined && { "content-type": "application/json" }), authorization: "Bearer none", ...headers };
  return new Promise((done, fail) => {
    const sent = httpRequest({ host: hostname === "localhost" ? "127.0.0.1" : hostname, port, method, path, headers: all }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (d: Buffer) => parts.push(d));
      response.on("end", () => done({ status: response.statusCode!, body: Buffer.concat(parts) }));
    });
    sent.on("error", fail);
    sent.end(body);
  });
}

interface Images {
  readonly created: number;
  readonly size: string;
  readonly data: { readonly b64_json?: string; readonly url?: string; readonly seed: number }[];
}
const generations = async (body: string, headers: Record<string, string> = {}): Promise<Images> => {
  const { status, body: text } = await call("POST", "/v1/images/generations", body, headers);
  assert.is(status, 200, text.toString());
  return JSON.parse(text.toString()) as Images;
};

test.before(async () => {
  await server.said(/stop with Ctrl-C/);
  const said = await server.printed(/\n/);
  base = (JSON.parse(said) as { url: string }).url;
});
test.after(async () => {
  server.interrupt();
  assert.is((await server.ended).code, 0);
});

test("recorded requests are answered in the API's form; seeds count up", async () => {
  let next = 7;
  for (const { agent, body, pictures } of RECORDED) {
    const answer = await generations(body, { "user-agent": agent });
    assert.ok(Math.abs(answer.created - Date.now() / 1000) < 60);
    assert.is(answer.size, "64x64");
    assert.equal(answer.data.map((d) => d.seed), Array.from({ length: pictures }, () => next++));
    for (const { b64_json: picture } of answer.data) {
      const image = await decodePng("served", Buffer.from(picture!, "base64"));
      assert.equal([image.width, image.height], [64, 64]);
    }
  }
});

test("a picture is the one that generate draws with the same seed, and by address the same bytes", async () => {
  const [own] = (await generations('{"prompt":"a church","seed":41}')).data;
  const [linked] = (await generations('{"prompt":"a church","seed":41,"response_format":"url"}')).data;
  const png = Buffer.from(own!.b64_json!, "base64");
  assert.equal((await call("GET", new URL(linked!.url!).pathname)).body, png);
  const drawn = await lethe(
    "generate", ...UNLEARNED, "--prompt", "a church", "--seed", "41", "--steps", "2", "--out", "g.png", ...DEVICE_FLAGS,
  );
  assert.is(drawn.code, 0, drawn.stderr);
  assert.equal((await decodePng("served", png)).data, (await decodePng("g.png", readFileSync(join(folder, "g.png")))).data);
});

test("what cannot be done is refused in the API's form, and named", async () => {
  for (const [body, status, param] of [
    ["{", 400, null],
    ["[]", 400, null],
    ["{}", 400, "prompt"],
    ['{"prompt":" "}', 400, "prompt"],
    ['{"prompt":"x","n":11}', 400, "n"],
    ['{"prompt":"x","n":1.5}', 400, "n"],
    ['{"prompt":"x","size":"big"}', 400, "size"],
    ['{"prompt":"x","response_format":"gif"}', 400, "response_format"],
    ['{"prompt":"x","output_format":"webp"}', 400, "output_format"],
    ['{"prompt":"x","stream":true}', 400, "stream"],
    ['{"prompt":"x","colour":"red"}', 400, "colour"],
  ] as const) {
    const answer = await call("POST", "/v1/images/generations", body);
    const { error } = JSON.parse(answer.body.toString()) as { error: { message: string; type: string; param: string | null } };
    assert.equal([answer.status, error.type, error.param], [status, "invalid_request_error", param], body);
  }
  assert.is((await call("GET", "/v1/images/generations")).status, 405);
  assert.is((await call("GET", "/etc/passwd")).status, 404);
  assert.is((await call("POST", "/v1/images/generations", '{"prompt":"x"}', { "content-type": "text/plain" })).status, 415);
});

test("other hosts' names and pages from elsewhere get nothing", async () => {
  const body = '{"prompt":"x"}';
  assert.is((await call("POST", "/v1/images/generations", body, { host: "evil.example" })).status, 403);
  assert.is((await call("POST", "/v1/images/generations", body, { origin: "https://evil.example" })).status, 403);
  const { status, body: list } = await call("GET", "/v1/models");
  assert.is(status, 200);
  assert.equal((JSON.parse(list.toString()) as { data: { id: string }[] }).data.map((m) => m.id), [UNLEARNED[3]]);
});

test.run();
