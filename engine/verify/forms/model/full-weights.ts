import { asObject, isObject } from "../../../formats/file-system.ts";
import type { Component } from "../../../loading/names/locate.ts";
import { Config } from "../../../nn/config.ts";
import { expectedTensors, withoutUnitKernel } from "../../../loading/expected.ts";
import { type Gains, SYNTHETIC_MODELS, distribution, hashNumbers } from "../../../loading/synthetic.ts";
import type { Form } from "../../check.ts";

interface Family {
  readonly components: Partial<Readonly<Record<Component, object>>>;
  readonly gains?: Gains;
}

const { sd14, sdxl } = SYNTHETIC_MODELS;

const SD: Family = { components: { unet: sd14.unet, text_encoder: sd14.textEncoder, vae: sd14.vae } };

const XL: Family = {
  components: { unet: sdxl.unet, text_encoder: sdxl.textEncoder, text_encoder_2: sdxl.textEncoder2, vae: sdxl.vae },
  gains: sdxl.gains,
};

/** The family that a list is of: only SDXL has a second text encoder. */
const familyOf = (json: Readonly<Record<string, unknown>>): Family => (isObject(json["text_encoder_2"]) ? XL : SD);

/** Whether a reference lists hashed weights. */
export function listsWeights(json: Readonly<Record<string, unknown>>): boolean {
  return typeof json["gain"] === "number" && Object.keys(familyOf(json).components).some((c) => typeof json[c] === "object");
}

/**
 * `full_weights_*`: every parameter's name and shape as the model code asks for it, and the first two and the last of its made-up values.
 */
export const fullWeights: Form = async ({ golden, rows }) => {
  const gain = golden.number("gain");
  const { components, gains } = familyOf(golden.json);
  for (const [field, value] of Object.entries(golden.json)) {
    if (isObject(value) && field !== "tensors" && !Object.hasOwn(components, field)) {
      rows.failed(field, "", `no check for this component; known are ${Object.keys(components).join(", ")}`);
    }
  }
  for (const component of Object.keys(components) as Component[]) {
    if (golden.json[component] === undefined) continue;
    await rows.guard(component, "names and shapes", () => {
      const listed = Object.entries(asObject(golden.source, golden.json[component]));
      const expected = expectedTensors(component, Config.of(`synthetic ${component}`, components[component]));
      const wrong: string[] = [...expected.keys()].filter((name) => !listed.some(([n]) => n === name));
      const actual: number[] = [];
      const reference: number[] = [];
      for (const [name, value] of listed) {
        const { shape, first, last } = entryOf(golden.source, value);
        if (withoutUnitKernel(expected.get(name) ?? []).join() !== withoutUnitKernel(shape).join()) wrong.push(name);
        const { mean, std } = distribution(name, shape, gain, gains);
        const count = shape.reduce((a, b) => a * b, 1);
        actual.push(...hashNumbers(name, Math.min(2, count), mean, std), ...hashNumbers(name, 1, mean, std, count - 1));
        reference.push(...first.slice(0, Math.min(2, count)), last);
      }
      if (wrong.length > 0) rows.failed(component, "names and shapes", `${wrong.length} differ: ${wrong.slice(0, 3).join(", ")}`);
      else rows.compare(component, "names and shapes", [expected.size], [listed.length], 0, "mismatches");
      rows.compare(component, "values", actual, Float32Array.from(reference), 0, "mismatches");
    });
  }
};

interface Entry {
  readonly shape: readonly number[];
  /** The first two values, and the last. */
  readonly first: readonly number[];
  readonly last: number;
}

/** One parameter: fields by name, or a list [shape, hash seed, mean, std, first, second, last]. */
function entryOf(source: string, value: unknown): Entry {
  if (!Array.isArray(value)) return asObject(source, value) as unknown as Entry;
  const [shape, , , , first, second, last] = value as [number[], number, number, number, number, number, number];
  return { shape, first: [first, second], last };
}
