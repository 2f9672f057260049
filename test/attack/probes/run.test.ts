// Every probe with its controls on the bundled model: which tries are made, that a resumed run draws the same, what is refused.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PROBES, type ProbeName } from "../../../engine/attack/attackers.ts";
import type { AttackEvent, AttackResult } from "../../../engine/attack/events.ts";
import type { AttackOptions } from "../../../engine/attack/options.ts";
import { CONTROLS } from "../../../engine/attack/probes/controls.ts";
import { attack } from "../../../engine/attack/run.ts";
import { UsageError } from "../../../engine/runtime/errors.ts";
import { finish } from "../../support/device.ts";
import { churchTarget, emojiModel } from "../../support/emoji.ts";

type Drawn = Extract<AttackEvent, { type: "evaluation" }>;

/** The least that each probe can be told. */
const LEAST: Readonly<Record<ProbeName, Partial<AttackOptions>>> = {
  "noise-probe": { etas: "1,1.5", varianceScales: "1" },
  "ddim-inversion": { inversion: "nti" },
  recall: { recallTimesteps: 1, recallIterations: 1 },
  completion: { baseSteps: "1" },
  inpainting: {},
  "concept-arithmetic": { components: "a castle:4; a cross:3" },
  "latent-classifier": { etas: "1", classifierScales: "50", classifierSteps: 2 },
  "rece-closed-form": {},
  img2img: { strengths: "0.5,1" },
  "relearn-lora": { relearnSteps: "1,2", relearnRate: 0.01 },
};

interface Ran {
  readonly events: readonly AttackEvent[];
  readonly drawn: readonly Drawn[];
  readonly result: AttackResult;
}

async function run(attacker: ProbeName, changed: Partial<AttackOptions> = {}): Promise<Ran> {
  const model = await emojiModel();
  const target = await churchTarget(2);
  const other = { data: target.data.map((x) => -x), shape: target.shape };
  const events: AttackEvent[] = [];
  const result = await attack(
    model,
    {
      attacker,
      prompt: "a church",
      seed: 3,
      steps: 2,
      scheduler: "ddim",
      target,
      original: model,
      controlPrompt: "a banana",
      controlPicture: other,
      ...(attacker === "latent-classifier" && { probePictures: { concept: [target], other: [other] } }),
      judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
      ...LEAST[attacker],
      ...changed,
    },
    (e) => void events.push(e),
  );
  return { events, drawn: events.flatMap((e) => (e.type === "evaluation" ? [e] : [])), result };
}

for (const probe of PROBES) {
  test(`${probe}: as many tries for every control, and a resumed run draws the same`, async () => {
    const { events, drawn, result } = await run(probe);
    const tries = drawn.filter(({ evaluation }) => evaluation.timestep >= 0);
    const own = tries.filter(({ evaluation }) => evaluation.control === undefined);
    assert.ok(own.length > 0);
    for (const { name } of CONTROLS[probe]) {
      const theirs = tries.filter(({ evaluation }) => evaluation.control === name);
      assert.is(theirs.length, (name === "components" ? 2 : 1) * own.length, name);
      const different = theirs.some(({ image }, i) => image.data.join() !== own[i % own.length]!.image.data.join());
      // Nothing was unlearned here, so the plain model finishes its own first steps.
      assert.is(different, name !== "alone", `the pictures of control ${name}`);
    }
    assert.equal(result.probe!.missing, []);
    const states = events.flatMap((e) => (e.type === "state" ? [e.state] : []));
    const halfway = states[Math.floor(states.length / 2)]!;
    const resumed = await run(probe, { resume: halfway });
    const rest = drawn.slice(halfway.evaluations.length);
    const places = (list: readonly Drawn[]): unknown[] => list.map((d) => [d.evaluation.control, d.evaluation.timestep]);
    assert.equal(places(resumed.drawn), places(rest));
    rest.forEach(({ image }, i) => assert.equal(resumed.drawn[i]!.image.data, image.data, `picture ${i} of the rest`));
  });
}

test("relearn-lora: steps change the picture, the model stays as it was, other attentions and rates do otherwise", async () => {
  const pictures = async (changed: Partial<AttackOptions>): Promise<string[]> =>
    (await run("relearn-lora", changed)).drawn.filter((d) => d.evaluation.control === undefined).map((d) => d.image.data.join());
  const [before, one, two] = await pictures({});
  assert.is(new Set([before, one, two]).size, 3);
  assert.is((await pictures({}))[0], before);
  assert.is((await pictures({ relearnSteps: "2" }))[1], two);
  for (const changed of [{ loraTargets: "cross-attention" }, { relearnRate: 0.02 }, { loraRank: 2 }, { loraAlpha: 8 }] as const) {
    assert.is.not((await pictures(changed))[2], two, Object.keys(changed)[0]);
  }
});

test("what a probe cannot do without is asked for", async () => {
  const refused = async (probe: ProbeName, changed: Partial<Record<keyof AttackOptions, undefined>>, message: RegExp): Promise<void> => {
    const error = await run(probe, changed as Partial<AttackOptions>).then(() => undefined, (e: unknown) => e);
    assert.instance(error, UsageError);
    assert.match((error as Error).message, message);
  };
  await refused("relearn-lora", { target: undefined }, /needs pictures of the concept/);
  await refused("img2img", { target: undefined }, /needs a target/);
  await refused("latent-classifier", { probePictures: undefined }, /needs pictures of both kinds, got 0/);
  await refused("concept-arithmetic", { components: undefined }, /needs components/);
  await refused("completion", { original: undefined }, /needs the original model/);
  assert.equal((await run("noise-probe", { controlPrompt: undefined } as Partial<AttackOptions>)).result.probe!.missing, ["never-saw"]);
});

finish();
