import type { Value } from "../../../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../../../kernels/loss.ts";
import { FormatError } from "../../../formats/errors.ts";
import { joinPath } from "../../../formats/file-system.ts";
import { gradients } from "../../../runtime/autodiff.ts";
import { channelsLast } from "../../layout.ts";
import type { Form, VerifyContext } from "../../context.ts";
import { type Golden, openGolden } from "../../golden.ts";

const PREFIX = "grad.";

/** `golden_weight_grad`: the gradient of every weight, for the loss of the `golden_loss_grad` that lies beside it. */
export const weightGrad: Form = async (golden, rows, context) => {
  const model = await context.model();
  const inputs = await besides(golden, context);
  try {
    for (const c of golden.cases) {
      await rows.guard(c.name, "loss", async () => {
        const [, time, kind] = /^t(\d+)\.(mse|l1)$/.exec(c.name) ?? [];
        if (time === undefined) throw new Error(`the name "${c.name}" is not t<timestep>.<mse or l1>`);
        const ids = Uint32Array.from(await inputs.ints("ids"));
        const { noised, target } = model.addNoise(await inputs.array("x0"), await inputs.array("noise"), Number(time));
        const [x, y] = [channelsLast(noised), channelsLast(target)];
        const leaves: string[] = [];
        const program = await model.program(`verify weight gradients ${c.name}`, (g) => {
          leaves.length = 0; // it may be recorded twice
          const text = model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [1, ids.length], dtype: "u32" })));
          const features = g.input("features", { shape: [1, model.featureWidth], dtype: "f32" });
          const prediction = model.recordUNet(g, g.input("noised", { shape: x.shape, dtype: "f32" }), features, text);
          const loss = (kind === "mse" ? mseLoss : l1Loss)(g, prediction, g.input("target", { shape: y.shape, dtype: "f32" }));
          const parameters = g.nodes.filter((n) => n.leaf?.kind === "parameter");
          const outputs: Record<string, Value> = { loss };
          gradients(g, loss, parameters.map((n) => n.outputs[0]!), undefined, model.rescaleAt(prediction, text)).forEach((d, i) => {
            const leaf = parameters[i]!.name;
            if (!d) throw new Error(`the loss does not depend on "${leaf}"`);
            outputs[leaf] = d;
            leaves.push(leaf);
          });
          return { outputs };
        });
        await program.run({ ids, noised: x.data, target: y.data, features: model.timestepFeatures([Number(time)]) });
        const computed = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
        if (typeof c["loss"] === "number") rows.compare(c.name, "loss", computed["loss"]!, [c["loss"]], rows.tolerances.model);
        const actual = new Map<string, Float32Array>();
        for (const leaf of leaves) {
          const owner = [model.parts.textEncoder.parameters, model.parts.unet.parameters].find((p) => p.owns(leaf))!;
          for (const [tensor, data] of owner.inCheckpointOrder(leaf, computed[leaf]!)) {
            actual.set(`${PREFIX}${owner.component}.${tensor}`, data);
          }
        }
        for (const tensor of golden.names().filter((n) => n.startsWith(PREFIX))) {
          const ours = actual.get(tensor);
          if (!ours) {
            rows.failed(c.name, tensor, "the model uses no such weight");
            continue;
          }
          const expected = await golden.floats(tensor);
          if (golden.isZero(tensor)) rows.compare(c.name, tensor, ours, expected, rows.tolerances.zero, "absolute");
          else rows.compare(c.name, tensor, ours, expected, rows.tolerances.embeddingGradient);
        }
      });
    }
  } finally {
    await inputs.close();
  }
};

/**
 * The reference beside it whose ids, latent and noise the JSON's `what` says were used: "... loss of NAME ..."; golden_loss_grad where it
 * names none.
 */
async function besides(golden: Golden, context: VerifyContext): Promise<Golden> {
  const folder = golden.path.slice(0, golden.path.lastIndexOf("/") + 1);
  const name = /\bloss of (\w+)/.exec(String(golden.json["what"]))?.[1] ?? "golden_loss_grad";
  const path = joinPath(folder, `${name}.json`);
  if ((await context.files.kind(path)) !== "file") {
    throw new FormatError(golden.path, `its inputs are those of ${name}.json, which is not beside it`);
  }
  return openGolden(context.files, path);
}
