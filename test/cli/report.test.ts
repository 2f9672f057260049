import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LoggedEvaluation } from "../../engine/run/log.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import { newSettings } from "../../engine/run/settings/settings.ts";
import { lossCurve } from "../../engine/run/report/curve.ts";
import { shownPath, withoutLocalPaths } from "../../engine/run/text/local-paths.ts";
import { escape, visible } from "../../engine/run/report/html.ts";
import { renderReport } from "../../engine/run/report/report.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";

const HOSTILE = `<script>alert(1)</script>"'&\u0007\u202e\u0000]]>--><img src=x onerror=y>\ud800`;

const image: RgbImage = { data: new Uint8Array(8 * 8 * 3).fill(77), width: 8, height: 8 };

function record(changes: Partial<RunRecord> = {}): RunRecord {
  const settings = newSettings({
    model: HOSTILE,
    prompt: HOSTILE,
    judge: "emoji-object",
    label: HOSTILE,
    target: HOSTILE,
    scheduler: "ddim",
  });
  return {
    form: "lethe attack run 1",
    status: "finished",
    error: null,
    command: `npx lethe attack ${HOSTILE}`,
    resumeCommand: "npx lethe attack --resume",
    settings,
    rule: HOSTILE,
    targetFitted: "",
    device: { adapter: HOSTILE, driver: HOSTILE, limits: "adapter", weights: "f32", math: "f32", bufferSharing: true },
    versions: { lethe: "0", node: "20", platform: HOSTILE },
    files: [{ role: "unet", path: HOSTILE, bytes: 5, sha256: "ab" }],
    started: "2026-01-01T00:00:00.000Z",
    ended: null,
    seconds: 61,
    peakBytes: 2 ** 20,
    result: {
      success: true,
      prompt: HOSTILE,
      adversarialPrompt: HOSTILE,
      adversarialIds: [1],
      iterations: 2,
      timestep: 50,
      preSuccess: false,
      score: 0.5,
      label: HOSTILE,
      seed: 3,
      seconds: 1,
    },
    ...changes,
  };
}

function evaluation(timestep: number, success: boolean): LoggedEvaluation {
  return {
    timestep,
    iteration: timestep < 0 ? 0 : 2,
    ids: [1, 2],
    prompt: HOSTILE,
    loss: timestep < 0 ? null : 0.4,
    seed: 3,
    judgement: { success, label: HOSTILE, score: 0.25, scores: { [HOSTILE]: 0.25 } },
    milliseconds: 5,
    unchanged: false,
    image: `images/${timestep}.png`,
  };
}

const evaluations = [evaluation(-1, false), evaluation(50, true)];
const pictures = new Map(evaluations.map((e) => [e.image!, image]));
const curve = { losses: [0.5, 0.4], timesteps: [50, 50] };

/** The report without its style sheet, whose braces are not text. */
function render(changes: Partial<RunRecord> = {}, showImages = false): string {
  return renderReport({
    record: record(changes),
    evaluations,
    pictures,
    curve,
    target: image,
    extras: { showImages, originalModel: { name: HOSTILE, image, judgement: evaluations[0]!.judgement } },
  }).replace(/<style>[^]*<\/style>/, "");
}

test("no absolute local path is in a report", () => {
  assert.equal(
    [
      "out/a.pt",
      "/home/me/esd.pt",
      "C:\\Users\\me\\esd.pt",
      "/opt/lethe/assets/emoji/unet/config.json",
      "/home/me/.cache/huggingface/hub/models--CompVis--sd/snapshots/abc/unet/config.json",
    ].map(shownPath),
    ["out/a.pt", "esd.pt", "esd.pt", "emoji/unet/config.json", "CompVis/sd@abc/unet/config.json"],
  );
  const text = "npx lethe attack --unet /home/me/esd.pt --model emoji/unlearned/x --prompt 'a 1/2 b' --out ../runs/x https://a.b/c/d.pt";
  assert.is(
    withoutLocalPaths(text),
    "npx lethe attack --unet esd.pt --model emoji/unlearned/x --prompt 'a 1/2 b' --out ../runs/x https://a.b/c/d.pt",
  );
  const { settings } = record();
  const html = render({
    command: text,
    status: "failed",
    error: "/home/me/esd.pt: tensor is gone",
    files: [{ role: "unet", path: "/home/me/esd.pt", bytes: 5, sha256: "ab" }],
    settings: {
      ...settings,
      unet: "/home/me/esd.pt",
      lora: "/home/me/a.safetensors:0.5,/home/me/b.safetensors",
      target: "/home/me/church.png",
    },
  });
  assert.not.match(html, /\/home\/|\bme\b/);
  assert.match(html, /esd\.pt/);
});

test("what was found for a harmful concept is left out unless it is asked for", () => {
  const settings = newSettings({ model: "m", prompt: "plain", judge: "nudenet", judgeModel: "n.onnx", label: "nudity", target: "t.png" });
  const notPortable = "secretword is read differently";
  const result = { ...record().result!, prompt: "plain", adversarialPrompt: "plain secretword", adversarialIds: [4711], notPortable };
  const logged = [
    { ...evaluation(-1, false), prompt: "plain", ids: [320] },
    { ...evaluation(10, false), prompt: "plain almost", ids: [1234] },
    { ...evaluation(50, true), prompt: "plain secretword", ids: [4711], notPortable },
  ];
  const attempts = [true, false].map((success) => ({ ...result, prompt: "plain", seed: 1, success, label: "nudity" }));
  const shared = (judge: typeof settings.judge, shown: { readonly showPrompts?: boolean; readonly harmful?: boolean }): string =>
    renderReport({
      record: record({ settings: { ...settings, judge }, result }),
      evaluations: logged,
      pictures: new Map(logged.map((e) => [e.image!, image])),
      curve, target: undefined, extras: { showImages: false, attempts, ...shown },
    }).replace(/<style>[^]*<\/style>/, "");
  const secrets = /secretword|almost|4711|1234/;
  assert.not.match(shared("nudenet", {}), secrets);
  assert.match(shared("nudenet", {}), /--show-prompts/);
  assert.match(shared("nudenet", {}), /<bdi>plain<\/bdi>/); // the prompt that the search began with is public
  const asked = shared("nudenet", { showPrompts: true });
  for (const secret of ["secretword", "almost", "4711", "1234"]) assert.ok(asked.includes(secret), secret);
  assert.match(shared("nudenet", { harmful: false }), secrets);
  assert.match(shared("emoji-object", {}), secrets);
  assert.not.match(shared("emoji-object", { harmful: true }), secrets);
});

test("hostile text stays text", () => {
  const html = render();
  assert.not.match(html, /<script/i);
  assert.not.match(html, /<img(?! src="data:image\/png;base64,)/);
  for (const character of ["\u0000", "\u0007", "\u202e", "\ud800"]) assert.not.ok(html.includes(character), JSON.stringify(character));
  const tags = [...html.matchAll(/<\/?([a-z0-9]+)/gi)].map((m) => m[1]!.toLowerCase());
  const known = new Set(
    ("html head meta title body main header p span section h1 h2 strong div figure label input img figcaption b bdi svg rect text line " +
      "polyline circle table caption thead tr th tbody td pre code dl dt dd br footer").split(
      " ",
    ),
  );
  assert.equal([...new Set(tags.filter((t) => !known.has(t)))], []);
});

test("every opened element is closed", () => {
  const stack: string[] = [];
  for (const [, slash, name, end] of render().matchAll(/<(\/?)([a-z0-9]+)(?:\s[^>]*?)?(\/?)>/gi)) {
    if (["meta", "img", "input", "br", "!doctype"].includes(name!.toLowerCase()) || end) continue;
    if (!slash) stack.push(name!);
    else assert.is(stack.pop(), name);
  }
  assert.equal(stack, []);
});

test("pictures are blurred unless they may be shown", () => {
  assert.is([...render().matchAll(/class="reveal"/g)].length, 4 + 2);
  assert.is([...render({}, true).matchAll(/class="reveal"/g)].length, 0);
});

test("verdicts in words", () => {
  assert.match(render(), /did not forget/);
  assert.match(
    render({ result: { ...record().result!, success: false, timestep: null } }),
    /was not brought back[^]*not a proof of forgetting/,
  );
  assert.match(render({ result: { ...record().result!, preSuccess: true } }), /No search was needed/);
  assert.match(render({ status: "interrupted", result: null }), /Interrupted before there was a result[^]*--resume/);
  assert.match(render({ status: "failed", error: "device <lost>", result: null }), /failed before[^]*device &lt;lost&gt;/);
});

test("characters that do not print are named", () => {
  assert.is(visible("a\u0007<b>"), '<bdi>a<span class="code-point" title="character U+0007">U+0007</span>&lt;b&gt;</bdi>');
  assert.is(escape("\u0000'\"&<>"), "\ufffd&#39;&quot;&amp;&lt;&gt;");
});

test("the loss curve takes one loss, equal losses, and none", () => {
  assert.match(lossCurve([], [], []), /no gradient iterations/);
  for (const losses of [[0.3], [0.2, 0.2, 0.2], [1e-9, 1e9], [0.1, Number.NaN, 0.2]]) {
    assert.not.match(
      lossCurve(
        losses,
        losses.map(() => 50),
        [],
      ),
      /(points|x|y|x1|x2|y1|y2|cx|cy)="[^"]*(NaN|Infinity)/,
    );
  }
});

test.run();
