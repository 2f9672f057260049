import type { NDArray } from "../../../nn/array.ts";
import { type UnlearnHooks, type UnlearnOptions, allTensors, unlearn } from "../../../unlearn/index.ts";
import { part } from "../../layout.ts";
import { compareExamples } from "./examples.ts";
import { checkTrained, probe } from "./probes.ts";
import type { Trace } from "./trace.ts";

const EDITED = "edited ";

/** `uce-old` and `uce-new`: one edit. */
export async function uce(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const old = golden.text("method") === "uce-old";
  const retain = golden.has("retain_ids") ? await trace.prompts("retain_ids") : [];
  const edits = await edited(trace, {
    method: "uce",
    recipe: old ? "uce-2023" : "uce-2025",
    concepts: await trace.prompts("erase_ids"),
    anchors: await trace.prompts("guide_ids"),
    retain: old ? retain.slice(1) : retain,
    ...(old && { technique: golden.text("technique") as "replace" | "tensor" }),
    lamb: golden.number("lamb"),
    eraseScale: golden.number("erase_scale"),
    preserveScale: golden.number("preserve_scale"),
  });
  if (old && retain[0] !== "") rows.failed(name, "retain_ids", "its first row should be the empty prompt");
  for (const tensor of golden.texts("edited")) {
    const ours = edits.get(tensor)?.[0] ?? [];
    await trace.compareWhole(`weight64.${tensor}`, ours, "weight64");
    // What the float32 script wrote differs from the solution by what the JSON says, and by no more from ours.
    if (!golden.has(`weight.${tensor}`)) continue;
    const tolerance = Math.max(1e-5, 2 * golden.number("fp32_rel_worst", golden.cases[0]!));
    await trace.compare(name, `weight.${tensor}`, ours, tolerance, { key: `weight.${tensor}` });
  }
  lastTokens(trace, await trace.prompts("erase_ids"), "erase");
  lastTokens(trace, await trace.prompts("guide_ids"), "guide");
  lastTokens(trace, retain, "retain");
}

function lastTokens({ golden, rows, name, tokenizer }: Trace, prompts: readonly string[], of: string): void {
  const expected = golden.numbers(of, golden.object("last_token"));
  rows.compare(name, `last_token.${of}`, prompts.map((p) => tokenizer.tokenize(p).length), expected, 0, "mismatches");
}

/** `rece`: an edit as UCE's, then one a round. */
export async function rece(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const rounds = golden.number("rounds");
  const adv: NDArray[] = [];
  const edits = await edited(trace, {
    method: "rece",
    recipe: "rece-2024",
    concepts: await trace.prompts("concept_ids"),
    anchors: await trace.prompts("guide_ids"),
    retain: await trace.prompts("retain_ids"),
    steps: rounds,
    regularScale: golden.number("regular_scale"),
    lamb: golden.number("lamb"),
    eraseScale: golden.number("erase_scale"),
    preserveScale: golden.number("preserve_scale"),
  }, async (what, read) => void (what === "adv" && adv.push(await read())));
  const names = golden.texts("edited");
  const [norms, dots] = [await golden.floats("start_delta_norm"), await golden.floats("start_delta_dot")];
  for (const [i, tensor] of names.entries()) {
    const before = await trace.model.parts.unet.parameters.source.readFloat32(tensor);
    const after = edits.get(tensor)?.[0]?.data ?? new Float32Array(before.length);
    const { norm, dot } = probe(tensor, Float64Array.from(before, (x, j) => after[j]! - x));
    const error = Math.max(Math.abs(norm - norms[i]!), Math.abs(dot - dots[i]!)) / norms[i]!;
    rows.error(name, `start_delta.${tensor}`, error, trace.toleranceOf("start"));
  }
  const concepts = adv.length / rounds;
  const [adv64, adv32] = [await golden.array("adv64"), await golden.array("adv")];
  for (let round = 0; round < rounds; round++) {
    const label = golden.cases[round]?.name ?? name;
    const ours = adv.slice(round * concepts, (round + 1) * concepts).flatMap(({ data }) => [...data]);
    rows.compare(label, "adv64", ours, part(adv64, round).data, trace.toleranceOf("adv64"));
    const script = golden.cases[round] ? golden.number("fp32_rel_adv", golden.cases[round]) : 0;
    rows.compare(label, "adv", ours, part(adv32, round).data, Math.max(1e-4, 2 * script));
    for (const tensor of names) {
      const key = `round${round}.weight64.${tensor}`;
      await trace.compare(label, key, edits.get(tensor)?.[round + 1] ?? [], trace.toleranceOf("weight64"), { key });
    }
  }
}

/** Runs a closed form and gives each tensor after each edit. */
async function edited(trace: Trace, options: UnlearnOptions, observe?: UnlearnHooks["observe"]): Promise<Map<string, NDArray[]>> {
  const { golden } = trace;
  const edits = new Map<string, NDArray[]>();
  const result = await unlearn(trace.model, options, undefined, {
    async observe(what, read) {
      await observe?.(what, read);
      if (!what.startsWith(EDITED)) return;
      const tensor = what.slice(EDITED.length);
      edits.set(tensor, [...(edits.get(tensor) ?? []), await read()]);
    },
  });
  checkTrained(trace, "edited", result.trained[0]!.tensors, allTensors(trace.model, "unet"));
  // The script's float32 solution is as far from the true one as the JSON says.
  const script = golden.cases[0]?.["fp32_rel_worst"];
  await compareExamples(trace, result, Math.max(1e-5, 2 * (typeof script === "number" ? script : 0)));
  await result.destroy();
  return edits;
}
