// Gradients of ten weights of Stable Diffusion 1.4 at its real size, with hashed numbers, against PyTorch's in float64.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Value } from "../../kernels/kernel.ts";
import { f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { toChannelsLast } from "../../engine/nn/array.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { finish, testDevice } from "../support/device.ts";
import { readFixture, readJson } from "../support/fixtures.ts";

interface Expected {
  readonly loss: number;
  readonly gradients: Readonly<Record<string, { readonly shape: readonly number[]; readonly norm: number; readonly dot: number }>>;
}

const TOLERANCE = 1e-3;

test("weight gradients of a full-size UNet and text encoder are PyTorch's", async () => {
  const expected = readJson<Expected>("full-half/weight-gradients.json");
  const { timestep, input_names: names } = readJson<{ timestep: number; input_names: Record<string, string> }>("full-half/full.json");
  const model = await loadStableDiffusion(await testDevice(), { files: nodeFiles, folder: "synthetic:sd14" }, { partial: true });
  try {
    const { unet, textEncoder } = model.parts;
    const owners = { unet: unet.parameters, text_encoder: textEncoder.parameters };
    const wanted = Object.keys(expected.gradients);
    const tensorOf = (weight: string): string => weight.slice(weight.indexOf(".") + 1);
    const ownerOf = (weight: string) => (weight.startsWith("unet.") ? owners.unet : owners.text_encoder);
    const leaves: string[] = [];
    const program = await model.program("ten weight gradients", (g) => {
      leaves.length = 0; // it may be recorded twice
      const text = model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [1, 77], dtype: "u32" })));
      const latents = f32([1, 16, 16, 4]);
      const prediction = model.recordUNet(g, g.input("noised", latents), g.input("features", f32([1, model.featureWidth])), text);
      const loss = mseLoss(g, prediction, g.input("target", latents));
      const holds = (leaf: string, w: string): boolean => ownerOf(w).owns(leaf) && ownerOf(w).tensorsOf(leaf).includes(tensorOf(w));
      const read = g.nodes.filter((n) => n.leaf?.kind === "parameter" && wanted.some((w) => holds(n.name, w)));
      const outputs: Record<string, Value> = { loss };
      gradients(g, loss, read.map((n) => n.outputs[0]!)).forEach((d, i) => {
        leaves.push(read[i]!.name);
        outputs[read[i]!.name] = d!;
      });
      return { outputs };
    });
    const input = (key: string): Float32Array<ArrayBuffer> =>
      toChannelsLast({ data: hashNumbers(names[key]!, 1024, 0, 1), shape: [1, 4, 16, 16] });
    const ids = Uint32Array.from(readFixture("full-half/full.safetensors").get("ids")!.data as ArrayLike<number>, Number);
    await program.run({ ids, noised: input("latent16"), target: input("noise16"), features: model.timestepFeatures([timestep]) });
    const computed = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
    const found = new Map<string, Float32Array>();
    for (const leaf of leaves) {
      for (const [component, owner] of Object.entries(owners)) {
        if (!owner.owns(leaf)) continue;
        for (const [tensor, data] of owner.inCheckpointOrder(leaf, computed[leaf]!)) found.set(`${component}.${tensor}`, data);
      }
    }
    assert.ok(Math.abs(computed["loss"]![0]! / expected.loss - 1) < 1e-4, `loss ${computed["loss"]![0]}, not ${expected.loss}`);
    assert.is(wanted.length, 10);
    for (const weight of wanted) {
      const [data, { norm, dot }] = [found.get(weight)!, expected.gradients[weight]!];
      const h = hashNumbers(`probe.${weight}`, data.length, 0, 1);
      const own = { norm: Math.sqrt(data.reduce((s, x) => s + x * x, 0)), dot: data.reduce((s, x, i) => s + x * h[i]!, 0) };
      const error = Math.max(Math.abs(own.norm - norm), Math.abs(own.dot - dot)) / norm;
      console.log(`${weight}: ${error.toExponential(1)} of ${TOLERANCE}`);
      assert.ok(error < TOLERANCE, `${weight}: ${error}`);
    }
  } finally {
    await model.destroy();
  }
});

finish();
