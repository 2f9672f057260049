import { manualSeed } from "../../runtime/random/random.ts";
import type { Form } from "../check.ts";
import type { Golden, Json } from "../golden.ts";

/** Of the sum of squares, which is not exact in float64. */
const SQUARES_TOLERANCE = 1e-12;

/** `torch-rng`: torch's CPU generator, bit by bit. Needs no device. */
export const torchRng: Form = async ({ golden, rows }) => {
  for (const [i, c] of entries(golden, "randn").entries()) {
    const [seed, shape] = [golden.number("seed", c), golden.numbers("shape", c)];
    const name = `randn seed ${seed} [${shape.join(",")}]`;
    await rows.guard(name, `randn ${i}`, () => {
      const x = manualSeed(seed).randn(shape);
      const head = golden.numbers("head", c);
      rows.compare(name, "head", x.subarray(0, head.length), head, 0, "mismatches");
      if (c["tail"] !== undefined) {
        const tail = golden.numbers("tail", c);
        rows.compare(name, "tail", x.subarray(x.length - tail.length), tail, 0, "mismatches");
      }
      // Over every element: with 24-bit values of this size the float64 sum is exact, so one wrong bit anywhere shows.
      if (c["sum_f64"] !== undefined) {
        rows.compare(name, "sum_f64", [x.reduce((s, v) => s + v, 0)], [golden.number("sum_f64", c)], 0, "mismatches");
      }
      if (c["sumsq_f64"] !== undefined) {
        rows.compare(name, "sumsq_f64", [x.reduce((s, v) => s + v * v, 0)], [golden.number("sumsq_f64", c)], SQUARES_TOLERANCE);
      }
    });
  }
  for (const c of entries(golden, "sequences")) {
    const generator = manualSeed(golden.number("seed", c));
    for (const [i, draw] of golden.objects("consecutive", c).entries()) {
      const name = `consecutive seed ${golden.number("seed", c)}`;
      await rows.guard(name, `draw ${i}`, () => {
        const head = golden.numbers("head", draw);
        rows.compare(name, `draw ${i}`, generator.randn(golden.numbers("shape", draw)).subarray(0, head.length), head, 0, "mismatches");
      });
    }
  }
  for (const kind of ["uniform", "randint"] as const) {
    for (const c of entries(golden, kind)) {
      await rows.guard(kind, `seed ${String(c["seed"])}`, () => {
        const values = golden.numbers("values", c);
        const generator = manualSeed(golden.number("seed", c));
        const drawn = kind === "uniform" ? generator.rand([values.length]) : generator.randint(golden.number("high", c), values.length);
        rows.compare(kind, `seed ${String(c["seed"])}`, drawn, values, 0, "mismatches");
      });
    }
  }
  const known = ["note", "what", "upstream", "randn", "sequences", "uniform", "randint"];
  for (const key of Object.keys(golden.json).filter((k) => !known.includes(k))) rows.failed(key, key, `no check for "${key}"`);
};

/** A field that holds one case or a list of them; none if it is absent. @throws FormatError for what is not an object */
function entries(golden: Golden, field: string): readonly Json[] {
  const value = golden.json[field];
  return value === undefined ? [] : golden.objects(field, { [field]: [value].flat() });
}
