import { isObject, joinPath, memoryFiles } from "../../../formats/file-system.ts";
import { type FeatureSet, REFERENCE_EPSILON, frechetDistance } from "../../../metrics/distance/frechet.ts";
import { matrix } from "../../../metrics/linear-algebra/matrix.ts";
import { type Features, type Statistics, float32Mean, statisticsOf } from "../../../metrics/distance/statistics.ts";
import { readStatistics, writeStatistics } from "../../../metrics/distance/statistics-file.ts";
import type { Check, Form } from "../../check.ts";
import type { Case, Golden } from "../../golden.ts";
import type { Rows } from "../../rows.ts";
import { DISTANCE_TOLERANCE, checkKid } from "./kid.ts";

type KnownSet = FeatureSet & { readonly features: Features; readonly statistics: Statistics };

/** Absolute, of a distance that is zero. */
const ZERO_TOLERANCE = 1e-9;
/** Relative L2 of statistics in float64, and of a mean that was summed in float32. */
const STATISTICS_TOLERANCE = 1e-10;
const FLOAT32_TOLERANCE = 1e-6;

/** `fid`: statistics, Frechet distances, kernel distances and statistics files of given features. Needs no device. */
export const fid: Form = async (check) => {
  const { golden, rows } = check;
  const sets = new Map<string, KnownSet>();
  for (const name of golden.namesAfter("features.")) {
    const [count, dims] = golden.shape(`features.${name}`) as [number, number];
    const features = { data: await golden.floats(`features.${name}`), count, dims };
    sets.set(name, { name, features, statistics: statisticsOf(features) });
  }
  for (const [name, set] of sets) await rows.guard(name, "statistics", () => checkStatistics(check, name, set));
  const setOf = (c: Case, field: string): KnownSet => {
    const set = sets.get(golden.text(field, c));
    if (!set) throw new Error(`there are no features of "${golden.text(field, c)}"`);
    return set;
  };
  await check.cases("", async (c) => {
    if (c.name.startsWith("kid.")) await checkKid(golden, rows, c, new Map([...sets].map(([name, set]) => [name, set.features])));
    else if (typeof c["file"] === "string") await checkFile(check, c, c["file"], setOf(c, "of"));
    else if (golden.has(`${c.name}.sigma1`)) await checkRefusal(golden, rows, c);
    else checkDistance(golden, rows, c, setOf(c, "a"), setOf(c, "b"));
  });
};

/** A statistics file, against those of the features that it was made of, and written again. */
async function checkFile({ golden, rows, context }: Check, c: Case, file: string, { statistics, features }: KnownSet): Promise<void> {
  const read = await readStatistics(context.files, joinPath(golden.folder, file));
  const written = await readStatistics(memoryFiles({ again: await writeStatistics(read) }), "again");
  const rounded = isObject(c["entries"]) && isObject(c["entries"]["mu.npy"]) && c["entries"]["mu.npy"]["dtype"] === "float32";
  const mean = rounded ? float32Mean(features) : statistics.mean;
  rows.compare(c.name, "mu", read.mean, mean, rounded ? FLOAT32_TOLERANCE : STATISTICS_TOLERANCE);
  rows.compare(c.name, "sigma", read.covariance.data, statistics.covariance.data, STATISTICS_TOLERANCE);
  rows.compare(c.name, "mu written", written.mean, read.mean, 0, "mismatches");
  rows.compare(c.name, "sigma written", written.covariance.data, read.covariance.data, 0, "mismatches");
}

async function checkStatistics({ golden, rows }: Check, name: string, { features, statistics }: KnownSet): Promise<void> {
  const { mean, covariance } = statistics;
  if (golden.has(`${name}.mu`)) rows.compare(name, "mu", mean, await golden.doubles(`${name}.mu`), STATISTICS_TOLERANCE);
  if (golden.has(`${name}.mu_f32`)) {
    rows.compare(name, "mu_f32", float32Mean(features), await golden.doubles(`${name}.mu_f32`), FLOAT32_TOLERANCE);
  }
  for (const tensor of ["sigma", "sigma.stride"].filter((t) => golden.has(`${name}.${t}`))) {
    const [lines] = golden.shape(`${name}.${tensor}`) as [number];
    const stride = Math.ceil(covariance.rows / lines);
    const taken = covariance.data.filter((_, i) => Math.floor(i / covariance.rows) % stride === 0 && (i % covariance.rows) % stride === 0);
    rows.compare(name, tensor, taken, await golden.doubles(`${name}.${tensor}`), STATISTICS_TOLERANCE);
  }
}

/** A row for one number: relative unless it is zero. `allowed` is what a reference's own rounding adds. */
function compareNumber(rows: Rows, name: string, what: string, actual: number, expected: number, allowed = 0): void {
  const error = Math.abs(actual - expected);
  if (Math.abs(expected) <= ZERO_TOLERANCE) rows.error(name, what, error, ZERO_TOLERANCE + allowed, "absolute");
  else rows.error(name, what, error / Math.abs(expected), DISTANCE_TOLERANCE + allowed / Math.abs(expected));
}

function checkDistance(golden: Golden, rows: Rows, c: Case, a: KnownSet, b: KnownSet): void {
  const { name } = c;
  const fromStatistics = ({ name: set, statistics }: KnownSet): FeatureSet => ({ name: set, statistics });
  const given = (field: string): number | undefined => (typeof c[field] === "number" ? c[field] : undefined);
  if (c["t2ibenchmark"] !== undefined) {
    const rounded = (set: KnownSet): FeatureSet => ({ ...set, statistics: { ...set.statistics, mean: float32Mean(set.features) } });
    compareNumber(rows, name, "t2ibenchmark", frechetDistance(rounded(a), rounded(b)).distance, golden.number("t2ibenchmark", c));
    return;
  }
  const { distance, meanTerm } = frechetDistance(a, b);
  const exact = golden.number("exact", c);
  compareNumber(rows, name, "exact", distance, exact);
  if (given("mean_term") !== undefined) compareNumber(rows, name, "mean_term", meanTerm, given("mean_term")!);
  // From statistics alone the reference itself is off by this much, since it takes roots of eigenvalues that should be zero.
  const noise = Math.abs((given("exact_second_way") ?? exact) - exact);
  compareNumber(rows, name, "exact, from statistics", frechetDistance(fromStatistics(a), fromStatistics(b)).distance, exact, noise);
  const epsilon = frechetDistance(a, b, { epsilon: REFERENCE_EPSILON }).distance;
  const branch = isObject(c["pytorch_fid_branch"]) ? c["pytorch_fid_branch"] : {};
  // A root that came out complex is of a singular product: the reference's numbers then have the noise that the case tells.
  const told = branch["eps_fallback"] !== true && branch["complex"] === true ? 1.01 * Math.abs(given("reference_minus_exact") ?? 0) : 0;
  if (given("eps_everywhere") !== undefined) compareNumber(rows, name, "eps_everywhere", epsilon, given("eps_everywhere")!, told);
  const reference = given("pytorch_fid");
  const own = branch["eps_fallback"] === true ? epsilon : distance;
  if (reference !== undefined) compareNumber(rows, name, "pytorch_fid", own, reference, told);
}

async function checkRefusal(golden: Golden, rows: Rows, c: Case): Promise<void> {
  const sets = await Promise.all(
    [1, 2].map(async (i) => {
      const covariance = await golden.doubles(`${c.name}.sigma${i}`);
      const mean = await golden.doubles(`${c.name}.mu${i}`);
      return { name: `set ${i}`, statistics: { mean, covariance: matrix(mean.length, mean.length, covariance) } };
    }),
  );
  let refusal = "";
  try {
    frechetDistance(sets[0]!, sets[1]!);
  } catch (error) {
    refusal = (error as Error).message;
  }
  const wanted = typeof golden.object("pytorch_fid_branch", c)["error"] === "string";
  rows.error(c.name, wanted ? "refused" : "not refused", (refusal !== "") === wanted ? 0 : 1, 0, "mismatches", refusal || undefined);
}
