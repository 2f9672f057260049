import { type Subset, cleanSubsets, fidelitySubsets, kernelDistance } from "../../../metrics/distance/kid.ts";
import type { Features } from "../../../metrics/distance/statistics.ts";
import { manualSeed } from "../../../runtime/random/random.ts";
import type { Case, Golden } from "../../golden.ts";
import type { Rows } from "../../rows.ts";

/** Relative, of numbers that float64 gives. */
export const DISTANCE_TOLERANCE = 1e-6;
/** Relative: what the references' float32 sums make of the same rows; measured here 8e-6 at most, of a standard deviation. */
const FLOAT32_TOLERANCE = 3e-5;

/** A case "kid.*": the rows that both libraries drew, drawn again, and their numbers of the recorded rows. */
export async function checkKid(golden: Golden, rows: Rows, c: Case, sets: ReadonlyMap<string, Features>): Promise<void> {
  const [first, second] = ["first", "second"].map((which) => {
    const [, name] = /\((\w+)\)/.exec(golden.describe(`kid.clean.${which}`)) ?? [];
    const found = name === undefined ? undefined : sets.get(name);
    return found ?? [...sets.values()][which === "first" ? 0 : 1]!;
  }) as [Features, Features];
  const counts = [first.count, second.count] as const;
  const number = (field: string): number => golden.number(field, c);
  const tolerance = c.name.endsWith("f32") ? FLOAT32_TOLERANCE : DISTANCE_TOLERANCE;
  const compare = (what: string, actual: number | readonly number[], expected: number | readonly number[]): void =>
    rows.compare(c.name, what, [actual].flat(), [expected].flat(), tolerance);
  if (c["value"] !== undefined) {
    const whole = cleanSubsets(manualSeed(0), counts, 1, Math.max(...counts) + 1);
    compare("value", (await kernelDistance(first, second, whole)).mean, number("value"));
    return;
  }
  const [subsets, size] = [number("subsets"), number("subset_size")];
  const draws = {
    clean: cleanSubsets(manualSeed(seedOf(golden, c, "clean_fid_rng")), counts, subsets, size),
    fidelity: fidelitySubsets(manualSeed(seedOf(golden, c, "torch_fidelity_rng")), counts, subsets, size),
  };
  for (const [library, drawn] of Object.entries(draws)) {
    for (const which of ["first", "second"] as const) {
      const tensor = `kid.${library}.${which}`;
      rows.compare(c.name, tensor, drawn.flatMap((subset) => [...subset[which]]), await golden.ints(tensor), 0, "mismatches");
    }
  }
  const clean = await kernelDistance(first, second, await recorded(golden, "clean", size));
  compare("clean_fid", clean.mean, number("clean_fid"));
  const fidelity = await kernelDistance(first, second, await recorded(golden, "fidelity", size));
  compare("torch_fidelity_mean", fidelity.mean, number("torch_fidelity_mean"));
  compare("torch_fidelity_std", fidelity.std, number("torch_fidelity_std"));
  if (c["per_subset"] !== undefined) compare("per_subset", fidelity.perSubset, golden.numbers("per_subset", c));
}

/** The seed in a sentence such as "numpy.random.RandomState(2020)". @throws Error if there is none */
function seedOf(golden: Golden, c: Case, field: string): number {
  const words = golden.text(field, c);
  const [, seed] = /(?:seed|RandomState)\((\d+)\)/.exec(words) ?? [];
  if (seed === undefined) throw new Error(`"${field}" does not give a seed: ${words}`);
  return Number(seed);
}

async function recorded(golden: Golden, library: string, size: number): Promise<Subset[]> {
  const [first, second] = [await golden.ints(`kid.${library}.first`), await golden.ints(`kid.${library}.second`)];
  return Array.from({ length: first.length / size }, (_, i) => ({
    first: first.subarray(i * size, (i + 1) * size),
    second: second.subarray(i * size, (i + 1) * size),
  }));
}
