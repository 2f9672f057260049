import { type Projection, simplexProjection } from "../../../../kernels/simplex-projection.ts";
import { clamp } from "../../../../kernels/clamp.ts";
import type { Form } from "../../check.ts";
import { compute } from "../../compute.ts";

/** Absolute: the exact projection to float32's accuracy; the reference's bisection within twice the bracket it stops at. */
const TOLERANCE: Readonly<Record<Projection, number>> = { exact: 1e-6, reference: 2e-5 };

/** `projection`: rows of the attack's simplex, projected exactly and by the reference's bisection. */
export const projection: Form = async (check) => {
  const { golden, rows, context } = check;
  await check.cases("exact", async ({ name }) => {
    const data = await golden.floats(`${name}/a`);
    const made = await compute(context, "projection", { a: { data, shape: [1, data.length] } }, (g, v) => ({
      exact: simplexProjection(g, v["a"]!),
      reference: simplexProjection(g, v["a"]!, "reference"),
    }));
    for (const kind of ["exact", "reference"] as const) {
      await check.compare(name, kind, made[kind]!, TOLERANCE[kind], { key: `${name}/${kind}`, measure: "absolute" });
    }
  });
  // The straight-through table: the cotangent of the drawn one-hot rows, and what reaches the rows of the simplex.
  if (golden.has("ste/grad_output")) {
    await rows.guard("ste", "grad_input", async () => {
      const inputs = { d: await golden.array("ste/grad_output") };
      const { clamped } = await compute(context, "clamp", inputs, (g, v) => ({ clamped: clamp(g, v["d"]!) }));
      await check.compare("ste", "grad_input", clamped!, TOLERANCE.exact, { key: "ste/grad_input", measure: "absolute" });
    });
  }
};
