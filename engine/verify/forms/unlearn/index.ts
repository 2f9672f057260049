import type { Form } from "../../check.ts";
import { conceptAblation, forgetMeNot } from "./ablation.ts";
import { advunlearn } from "./advunlearn.ts";
import { rece, uce } from "./closed.ts";
import { esdNew, esdOld } from "./esd.ts";
import { finetune } from "./finetune.ts";
import { lora } from "./lora.ts";
import { salun, salunMask } from "./salun.ts";
import { Trace } from "./trace.ts";

/** How a method's traces are replayed, by the JSON's `method`. */
const METHODS: Readonly<Record<string, (trace: Trace) => Promise<void>>> = {
  "esd-old": esdOld, "esd-new": esdNew, "uce-old": uce, "uce-new": uce, rece, finetune, salun, "salun-mask": salunMask,
  "concept-ablation": conceptAblation, "forget-me-not": forgetMeNot, advunlearn, lora,
};

/** `unlearn`: traces of erasing methods, replayed by the product's own loop with the recorded draws. */
export const unlearnTrace: Form = async (plain) => {
  const { golden, rows } = plain;
  const method = golden.text("method");
  const trace = await Trace.open(plain);
  const check = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  const known = Object.keys(METHODS).join(", ");
  if (!check) return rows.failed(trace.name, "", `no check for method ${JSON.stringify(method)}; known are ${known}`);
  await rows.guard(trace.name, "", () => check(trace));
};
