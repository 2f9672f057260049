import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Value, elementCount, f32, isInPanels } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { rowByRow } from "../../engine/nn/weight-layout.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import type { Graph, GraphNode } from "../../engine/runtime/graph.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import { emojiModel } from "../support/emoji.ts";
import { finish } from "../support/device.ts";

const SIZE = 16;
const LENGTH = 32;
const PER_KIND = 20;
/** Relative L2, and what float32 rounds of a prediction is of 20 differences together: 1 % of the smallest kind's. */
const TOLERANCE = 2e-2;
const ROUNDING = 2.5e-7;
/** Large beside what float32 rounds of a prediction, small beside the loss's curvature: a text encoder's tables hold some 0.02. */
const STEPS = { unet: 5e-2, text_encoder: 1e-2 } as const;

/** `conv2d input 1`: the op that reads a weight, and where. */
function kindOf(leaf: Value, nodes: readonly GraphNode[]): string {
  let value: Value = leaf;
  for (;;) {
    const reader = nodes.find((n) => n.kernel && n.inputs.includes(value as never))!;
    if (!reader.kernel!.view) return `${reader.kernel!.name} input ${reader.inputs.indexOf(value as never)}`;
    value = reader.outputs[0]!;
  }
}

for (const component of ["unet", "text_encoder"] as const) {
  test(`the gradient of every kind of weight of the whole ${component} is the loss's finite difference`, () => compare(component));
}

async function compare(component: "unet" | "text_encoder"): Promise<void> {
  const model = await emojiModel({});
  const { config } = model.parts.unet;
  const largeStep = STEPS[component];
  const { parameters } = component === "unet" ? model.parts.unet : model.parts.textEncoder;
  const random = new Generator(4);
  const sample = f32([1, SIZE, SIZE, config.inChannels]);
  const leaves: { name: string; kind: string; shape: readonly number[]; panels: boolean }[] = [];
  const predict = (g: Graph): Value => {
    const context = component === "unet"
      ? g.input("context", f32([1, LENGTH, config.crossAttentionDim]))
      : model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [1, LENGTH], dtype: "u32" })));
    return model.recordUNet(g, g.input("sample", sample), g.input("features", f32([1, model.featureWidth])), context);
  };
  const forward = await model.program("prediction", (g) => ({ outputs: { prediction: predict(g) } }));
  const backward = await model.program("gradients", (g) => {
    leaves.length = 0;
    const prediction = predict(g);
    const loss = mseLoss(g, prediction, g.input("target", sample));
    const nodes = [...g.nodes];
    const weights = nodes.filter((n) => n.leaf?.kind === "parameter" && parameters.owns(n.name)).map((n) => n.outputs[0]!);
    const outputs: Record<string, Value> = {};
    gradients(g, loss, weights).forEach((d, i) => {
      const { name, type } = weights[i]!;
      leaves.push({ name, kind: kindOf(weights[i]!, nodes), shape: type.shape, panels: isInPanels(type) });
      outputs[name] = d!;
    });
    return { outputs };
  });
  const target = random.randn(sample.shape) as Float32Array<ArrayBuffer>;
  const inputs = {
    sample: random.randn(sample.shape) as Float32Array<ArrayBuffer>,
    features: model.timestepFeatures([400]),
    ...(component === "unet"
      ? { context: random.randn([LENGTH * config.crossAttentionDim]) as Float32Array<ArrayBuffer> }
      : { ids: random.randint(100, LENGTH) as Uint32Array<ArrayBuffer> }),
  };
  /** The loss in float64, of the device's prediction. */
  const loss = async (): Promise<number> => {
    await forward.run(inputs);
    const prediction = await forward.readFloats("prediction");
    return prediction.reduce((sum, y, i) => sum + (y - target[i]!) ** 2, 0) / prediction.length;
  };
  await backward.run({ ...inputs, target });
  const computed = await backward.read();

  const kinds = [...new Set(leaves.map(({ kind }) => kind))].toSorted();
  assert.ok(kinds.length >= (component === "unet" ? 8 : 5), kinds.join(", "));
  for (const kind of kinds) {
    const of = leaves.filter((leaf) => leaf.kind === kind);
    const expected: number[] = [];
    const actual: number[] = [];
    for (let n = 0; n < PER_KIND; n++) {
      const leaf = of[Math.floor(Math.random() * of.length)]!;
      const tensor = parameters.tensor(leaf.name, { shape: leaf.shape, dtype: "f32" });
      const stored = (await tensor.read()) as Float32Array<ArrayBuffer>;
      // Of the token table, rows that the prompt has: all others' gradient is zero.
      const rows = leaf.name.includes("token_embedding") && "ids" in inputs ? [...inputs.ids] : undefined;
      const inRow = Math.floor(Math.random() * leaf.shape.at(-1)!);
      const at = rows
        ? rows[n % rows.length]! * leaf.shape.at(-1)! + inRow
        : Math.floor(Math.random() * elementCount(leaf.shape));
      const losses: number[] = [];
      for (const step of [largeStep, -largeStep]) {
        const moved = stored.slice();
        moved[at]! += step;
        tensor.write(moved);
        losses.push(await loss());
      }
      tensor.write(stored);
      expected.push((losses[0]! - losses[1]!) / (2 * largeStep));
      actual.push(elementOf(leaf, at, computed[leaf.name] as Float32Array));
    }
    const size = Math.hypot(...expected);
    const error = Math.hypot(...expected.map((e, i) => e - actual[i]!)) / size;
    console.log(`${kind}: ${of.length} leaves, relative L2 of ${PER_KIND} differences ${error.toExponential(1)}`);
    assert.ok(error < TOLERANCE + ROUNDING / largeStep / size, `${kind}: ${error}; ${actual.join(" ")} instead of ${expected.join(" ")}`);
  }
  await model.destroy();
}

/** The gradient, which lies row by row, of the element that is number `at` on the device. */
function elementOf({ shape, panels }: { shape: readonly number[]; panels: boolean }, at: number, gradient: Float32Array): number {
  if (!panels) return gradient[at]!;
  const mark = new Float32Array(gradient.length);
  mark[at] = 1;
  return gradient[rowByRow(mark, shape).indexOf(1)]!;
}

finish();
