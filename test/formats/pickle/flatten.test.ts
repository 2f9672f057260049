/** Which tensors of a checkpoint's nested containers are the weights. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openPyTorch } from "../../../engine/formats/pickle/pytorch.ts";
import type { TorchTensor, TorchTree } from "../../support/torch-file.ts";
import { torchFile } from "../../support/torch-file.ts";
import { bytesOf, globalName, rejects, source, text, torchZip, uint32 } from "../support.ts";

const tensor = (value = 0): TorchTensor => ({ dtype: "F32", shape: [1], read: () => new Uint8Array(Float32Array.of(value).buffer) });
const weights = (value = 0): TorchTree => ({ "conv_in.weight": tensor(value), "conv_in.bias": tensor(value) });
const optimizer: TorchTree = { state: { 0: { exp_avg: tensor(), step: 3 } }, param_groups: { lr: 1 } };

/** Weights by name with their values; and the names of what is averaged or lies beside. */
async function sorted(tree: TorchTree): Promise<{ weights: Record<string, number>; averaged: string[]; beside: string[] }> {
  const file = await openPyTorch(source(torchFile(tree)));
  const out = { weights: {} as Record<string, number>, averaged: [] as string[], beside: [] as string[] };
  for (const { name, role } of file.entries.values()) {
    if (role === undefined) out.weights[name] = (await file.readFloat32(name))[0]!;
    else out[role].push(name);
  }
  return out;
}

test("training state beside the weights, whatever the keys", async () => {
  for (const key of ["state_dict", "model_state_dict", "net_weights", "anything"]) {
    const found = await sorted({ epoch: 3, [key]: weights(1), optimizer_state_dict: optimizer, rng: tensor(), best: { loss: tensor() } });
    assert.equal(found.weights, { "conv_in.weight": 1, "conv_in.bias": 1 }, key);
    assert.equal(found.beside.toSorted(), ["best.loss", "optimizer_state_dict.state.0.exp_avg", "rng"]);
  }
  const deep = await sorted({ checkpoint: { trainer: { module: weights(1) }, scaler: { scale: tensor() } } });
  assert.equal(deep, { weights: { "conv_in.weight": 1, "conv_in.bias": 1 }, averaged: [], beside: ["checkpoint.scaler.scale"] });
  const bare = await sorted({ ...weights(1), optimizer, rng: tensor() });
  assert.equal(Object.keys(bare.weights).toSorted(), ["conv_in.bias", "conv_in.weight", "rng"]); // which have no rule's name is told later
  assert.equal(bare.beside, ["optimizer.state.0.exp_avg"]);
  const moments = await sorted({ model: weights(1), exp_avg: weights(2), exp_avg_sq: weights(3) });
  assert.equal(moments.weights, { "conv_in.weight": 1, "conv_in.bias": 1 });
});

test("an averaged copy beside the weights, or inside them", async () => {
  for (const key of ["ema", "ema_state_dict", "model_ema", "averaged_model", "shadow"]) {
    const found = await sorted({ model: weights(1), [key]: weights(2) });
    assert.equal(
      found,
      { weights: { "conv_in.weight": 1, "conv_in.bias": 1 }, averaged: [`${key}.conv_in.weight`, `${key}.conv_in.bias`], beside: [] },
      key,
    );
  }
  assert.equal((await sorted({ ...weights(1), ema: weights(2) })).averaged, ["ema.conv_in.weight", "ema.conv_in.bias"]);
  assert.equal((await sorted({ ema: weights(2) })).weights, { "conv_in.weight": 2, "conv_in.bias": 2 }); // alone it is the weights
  const prefixed = await sorted({ net: { "module.conv_in.weight": tensor(1) }, ema_net: { "conv_in.weight": tensor(2) } });
  assert.equal([prefixed.weights, prefixed.averaged], [{ "module.conv_in.weight": 1 }, ["ema_net.conv_in.weight"]]);
});

test("several state dicts keep the keys that tell them apart, and say how long these are", async () => {
  const tree = { state: { unet: weights(1), text_encoder: { "text_model.final_layer_norm.weight": tensor(2) } } };
  const found = await sorted(tree);
  assert.equal(found.weights, { "unet.conv_in.weight": 1, "unet.conv_in.bias": 1, "text_encoder.text_model.final_layer_norm.weight": 2 });
  const { entries } = await openPyTorch(source(torchFile(tree)));
  assert.equal(
    [...entries.values()].map(({ name, prefix }) => name.slice(0, prefix)),
    ["unet.", "unet.", "text_encoder."],
  );
});

test("an entry with a weight's name that is not a dense tensor is refused by name, wherever it stands", async () => {
  await rejects(
    () => openPyTorch(source(torchFile({ a: { ...weights(), "conv_out.weight": "gone" } }))),
    /entry "conv_out.weight" is a string, not a dense tensor/,
  );
  await rejects(() => openPyTorch(source(torchFile({ weight: tensor(), bias: 0 }))), /entry "bias" is a number/);
  const storage = bytesOf("(", text("storage"), globalName("torch", "FloatStorage"), text("0"), text("cpu"), 0x4a, uint32(1), "tQ");
  const dense = bytesOf(
    globalName("torch._utils", "_rebuild_tensor_v2"),
    "(",
    storage,
    0x4a,
    uint32(0),
    "(",
    0x4a,
    uint32(1),
    "t(",
    0x4a,
    uint32(1),
    "t",
    0x89,
    globalName("collections", "OrderedDict"),
    ")RtR",
  );
  for (const [call, what] of [
    ["torch._utils _rebuild_sparse_tensor", "a sparse tensor"],
    ["torch._utils _rebuild_qtensor", "a quantized tensor"],
    ["numpy.core.multiarray _reconstruct", "a NumPy array"],
  ] as const) {
    const [module, name] = call.split(" ") as [string, string];
    const pickle = bytesOf(0x80, 2, "}(", text("conv_in.weight"), dense, text("conv_out.scale"), globalName(module, name), ")R", "u.");
    await rejects(
      () => openPyTorch(source(torchZip(pickle, { 0: new Uint8Array(4) }))),
      new RegExp(`entry "conv_out.scale" is ${what}, not a dense tensor`),
    );
  }
});

test("range() of Python 3 in a pickle of protocol 2", async () => {
  const pickle = bytesOf(
    0x80,
    2,
    "}(",
    text("steps"),
    globalName("__builtin__", "xrange"),
    0x4a,
    uint32(0),
    0x4a,
    uint32(9),
    0x4a,
    uint32(1),
    0x87,
    "R",
    text("x"),
    0x4a,
    uint32(1),
    "u.",
  );
  await rejects(() => openPyTorch(source(torchZip(pickle))), /holds no tensors/);
});

test.run();
