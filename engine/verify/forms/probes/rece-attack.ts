import { closedFormEncoding, normalSums, residual } from "../../../attack/probes/closed-form.ts";
import { type UNetPair, keysAndValues } from "../../../attack/probes/rece.ts";
import { guided } from "../../../diffusion/steering/guided.ts";
import { TOLERANCES } from "../../rows.ts";
import type { Form } from "../../check.ts";
import type { Case } from "../../golden.ts";
import { Subject, fileIn, stepsOf } from "./subject.ts";

/** `rece_attack`: the closed form's adversarial encoding against an edit of keys and values. */
export const receAttack: Form = async (check) => {
  const { golden, rows } = check;
  const edited = fileIn(golden, "edited");
  const subject = await Subject.of(check, edited);
  const { model, base } = subject;
  golden.account("ids.retain"); // an input of the edit, which the edited weights hold already
  const c = await subject.encode("concept");
  const pair: UNetPair = { edited: model.parts.unet.parameters, original: base.parts.unet.parameters };
  const sums = normalSums(await keysAndValues(pair), c.shape[2]!);
  await rows.guard("", "M1", async () => {
    await check.compare("", "C", c, undefined, { key: "C" });
    await check.compare("", "M1", sums.m1, TOLERANCES.opForward, { key: "M1" });
    await check.compare("", "M2", sums.m2, TOLERANCES.opForward, { key: "M2" });
  });
  await check.cases("", async (one) => {
    if (typeof one["reg"] !== "number") return checkPlain(subject, one, edited);
    const given = await golden.floats("C");
    const own = closedFormEncoding(given, sums, one["reg"]);
    await check.compare(one.name, "C_adv", own, golden.number("solve_tolerance", one));
    const compare = (field: string, value: number): void =>
      rows.compare(one.name, field, [value], [golden.number(field, one)], digits(golden.number(field, one)));
    compare("residual_before", residual(given, given, sums));
    compare("residual_after", residual(own, given, sums));
    const encoding = { data: await golden.floats(`${one.name}.C_adv`), shape: c.shape };
    await draw(subject, one, guided(model, await subject.encode("empty"), encoding, subject.guidance));
  });
};

/** Half a unit of the third digit, as the figures are stated, relative. */
function digits(value: number): number {
  return 0.5 * 10 ** (Math.floor(Math.log10(Math.abs(value))) - 2) / Math.abs(value) + 1e-4;
}

/** The plain concept, on the base and on the edited model. */
async function checkPlain(subject: Subject, c: Case, edited: string): Promise<void> {
  const which = subject.golden.text("unet", c);
  const model = edited.startsWith(`${which}_`) || which === edited ? subject.model : await subject.unet(which);
  await draw(subject, c, await subject.guidedBy("concept", model));
}

async function draw(subject: Subject, c: Case, predict: Parameters<typeof stepsOf>[0]["predict"]): Promise<void> {
  const { golden } = subject;
  const made = await stepsOf({ plan: subject.plan("ddim", golden.number("steps")), start: await golden.array("init"), predict });
  await subject.compare(c.name, "latents", made.at(-1)!.data, subject.tolerance(c));
}
