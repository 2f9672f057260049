import { type Projection, simplexProjection } from "../../../../kernels/simplex-projection.ts";
import { clamp } from "../../../../kernels/clamp.ts";
import type { Form } from "../../context.ts";

/** Absolute: the exact projection to float32's accuracy; the reference's bisection within twice the bracket it stops at. */
const TOLERANCE: Readonly<Record<Projection, number>> = { exact: 1e-6, reference: 2e-5 };

/** `projection`: rows of the attack's simplex, projected exactly and by the reference's bisection. */
export const projection: Form = async (golden, rows, context) => {
  for (const c of golden.cases) {
    await rows.guard(c.name, "exact", async () => {
      const a = await golden.floats(`${c.name}/a`);
      const result = await context.run("projection", { a: { data: a, shape: [1, a.length] } }, (g, v) => ({
        exact: simplexProjection(g, v["a"]!),
        reference: simplexProjection(g, v["a"]!, "reference"),
      }));
      for (const kind of ["exact", "reference"] as const) {
        rows.compare(c.name, kind, result[kind]!, await golden.floats(`${c.name}/${kind}`), TOLERANCE[kind], "absolute");
      }
    });
  }
  // The straight-through table: the cotangent of the drawn one-hot rows, and what reaches the rows of the simplex.
  if (golden.has("ste/grad_output")) {
    await rows.guard("ste", "grad_input", async () => {
      const { data, shape } = await golden.array("ste/grad_output");
      const result = await context.run("clamp", { d: { data, shape } }, (g, v) => ({ clamped: clamp(g, v["d"]!) }));
      rows.compare("ste", "grad_input", result["clamped"]!, await golden.floats("ste/grad_input"), TOLERANCE.exact, "absolute");
    });
  }
};
