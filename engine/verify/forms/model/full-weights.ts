import { asObject, isObject } from "../../../formats/file-system.ts";
import type { Component } from "../../../loading/names/locate.ts";
import { Config } from "../../../nn/config.ts";
import { expectedTensors, withoutUnitKernel } from "../../../loading/expected.ts";
import { SYNTHETIC_MODELS, distribution, hashNumbers } from "../../../loading/synthetic.ts";
import type { Form } from "../../context.ts";

const COMPONENTS: Readonly<Record<Component, object>> = {
  unet: SYNTHETIC_MODELS.sd14.unet,
  text_encoder: SYNTHETIC_MODELS.sd14.textEncoder,
  vae: SYNTHETIC_MODELS.sd14.vae,
};

/** Whether a reference lists hashed weights. */
export function listsWeights(json: Readonly<Record<string, unknown>>): boolean {
  return typeof json["gain"] === "number" && Object.keys(COMPONENTS).some((c) => typeof json[c] === "object");
}

/**
 * `full_weights_*`: every parameter's name and shape as the model code asks for it, and the first two and the last of its made-up values.
 */
export const fullWeights: Form = async (golden, rows) => {
  const gain = golden.number("gain");
  for (const [field, value] of Object.entries(golden.json)) {
    if (isObject(value) && field !== "tensors" && !Object.hasOwn(COMPONENTS, field)) {
      rows.failed(field, "", `no check for this component; known are ${Object.keys(COMPONENTS).join(", ")}`);
    }
  }
  for (const component of Object.keys(COMPONENTS) as Component[]) {
    if (golden.json[component] === undefined) continue;
    await rows.guard(component, "names and shapes", () => {
      const listed = Object.entries(asObject(golden.source, golden.json[component]));
      const expected = expectedTensors(component, Config.of(`synthetic ${component}`, COMPONENTS[component]));
      const wrong: string[] = [...expected.keys()].filter((name) => !listed.some(([n]) => n === name));
      const actual: number[] = [];
      const reference: number[] = [];
      for (const [name, value] of listed) {
        const entry = asObject(golden.source, value);
        const shape = entry["shape"] as number[];
        if (withoutUnitKernel(expected.get(name) ?? []).join() !== withoutUnitKernel(shape).join()) wrong.push(name);
        const { mean, std } = distribution(name, shape, gain);
        const count = shape.reduce((a, b) => a * b, 1);
        actual.push(...hashNumbers(name, Math.min(2, count), mean, std), ...hashNumbers(name, 1, mean, std, count - 1));
        reference.push(...(entry["first"] as number[]), entry["last"] as number);
      }
      if (wrong.length > 0) rows.failed(component, "names and shapes", `${wrong.length} differ: ${wrong.slice(0, 3).join(", ")}`);
      else rows.compare(component, "names and shapes", [expected.size], [listed.length], 0, "mismatches");
      rows.compare(component, "values", actual, Float32Array.from(reference), 0, "mismatches");
    });
  }
};
