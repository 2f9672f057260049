import { gradients } from "../../../runtime/autodiff.ts";
import type { Form } from "../../check.ts";
import { compute } from "../../compute.ts";
import { withNeighbour } from "../../golden.ts";
import { lossInputs, lossOf, recordLoss } from "./loss-grad.ts";

const PREFIX = "grad.";

/**
 * `golden_weight_grad`: the gradient of every weight, for the loss of the reference beside it whose ids, latent and noise the JSON's `what`
 * says were used: "... loss of NAME ..."; golden_loss_grad where it names none.
 */
export const weightGrad: Form = async (check) => {
  const { golden, rows, context } = check;
  const model = await context.model();
  const { tolerances } = check; // the model decides them
  const beside = /\bloss of (\w+)/.exec(String(golden.json["what"]))?.[1] ?? "golden_loss_grad";
  await withNeighbour(golden, context.files, beside, async (inputs) => {
    await check.cases("loss", async (c) => {
      const { timestep, loss: kind } = lossOf(c);
      const noise = model.addNoise(await inputs.array("x0"), await inputs.array("noise"), timestep);
      const request = lossInputs(model, { ids: await inputs.ids("ids"), ...noise, timestep, loss: kind });
      const computed = await compute(model, `weight gradients ${c.name}`, request, (g, v) => {
        const { loss, rescale } = recordLoss(model, g, v, kind);
        const parameters = g.nodes.filter((n) => n.leaf?.kind === "parameter");
        const found = gradients(g, loss, parameters.map((n) => n.outputs[0]!), undefined, rescale).map((d, i) => {
          const leaf = parameters[i]!.name;
          if (!d) throw new Error(`the loss does not depend on "${leaf}"`);
          return [leaf, d] as const;
        });
        return { loss, ...Object.fromEntries(found) };
      });
      const { loss, ...leaves } = computed;
      if (typeof c["loss"] === "number") rows.compare(c.name, "loss", loss!.data, [c["loss"]], tolerances.model);
      const actual = new Map<string, Float32Array>();
      for (const [leaf, { data }] of Object.entries(leaves)) {
        const owner = [model.parts.textEncoder.parameters, model.parts.unet.parameters].find((p) => p.owns(leaf))!;
        for (const [tensor, part] of owner.inCheckpointOrder(leaf, data)) actual.set(`${PREFIX}${owner.component}.${tensor}`, part);
      }
      for (const key of golden.names().filter((n) => n.startsWith(PREFIX))) {
        const ours = actual.get(key);
        if (!ours) rows.failed(c.name, key, "the model uses no such weight");
        else if (golden.isZero(key)) await check.compare(c.name, key, ours, tolerances.zero, { key, measure: "absolute" });
        else await check.compare(c.name, key, ours, tolerances.embeddingGradient, { key });
      }
    });
  });
};
