/** Frechet and kernel distance against closed forms, plain loops in float64, and numbers that numpy gave. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { REFERENCE_EPSILON, frechetDistance, takesEpsilon } from "../../engine/metrics/distance/frechet.ts";
import { chooseRows, cleanSubsets, fidelitySubsets, kernelDistance } from "../../engine/metrics/distance/kid.ts";
import { type KnownSet, distancesOf } from "../../engine/metrics/distance/scores.ts";
import {
  type Features, type Statistics, RunningStatistics, float32Mean, mergeStatistics, statisticsOf,
} from "../../engine/metrics/distance/statistics.ts";
import { matrix, rowProducts } from "../../engine/metrics/linear-algebra/matrix.ts";
import { singularValues } from "../../engine/metrics/linear-algebra/singular-values.ts";
import { manualSeed } from "../../engine/runtime/random/random.ts";

function near(what: string, actual: number, expected: number, relative = 1e-10): void {
  assert.ok(Math.abs(actual - expected) <= relative * Math.max(1, Math.abs(expected)), `${what}: ${actual}, expected ${expected}`);
}

function randomFeatures(seed: number, count: number, dims: number, shift = 0): Features {
  return { data: Float32Array.from(manualSeed(seed).randn([count, dims]), (x, i) => x * (1 + (i % dims) / dims) + shift), count, dims };
}

/** Covariance U^T diag(values) U of a Householder reflection U, and a mean. */
function rotated(values: readonly number[], shift: number): Statistics {
  const n = values.length;
  const v = values.map((_, i) => Math.sin(i + 1));
  const norm = v.reduce((sum, x) => sum + x * x, 0);
  const u = matrix(n, n, Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return (i === j ? 1 : 0) - (2 * v[i]! * v[j]!) / norm;
  }));
  const scaled = matrix(n, n, u.data.map((x, at) => x * values[at % n]!));
  return { mean: new Float64Array(n).fill(shift), covariance: rowProducts(scaled, u) };
}

test("singular values of a matrix are those of its products, of a rectangular and a singular one too", () => {
  for (const [rows, columns] of [[7, 7], [5, 9], [9, 4], [1, 6], [6, 1]] as const) {
    const a = matrix(rows, columns, Float64Array.from(manualSeed(rows * 10 + columns).randn([rows, columns])));
    const values = singularValues(a);
    const squares = rowProducts(a, a);
    const trace = (m: typeof a): number => Array.from({ length: m.rows }, (_, i) => m.data[i * m.rows + i]!).reduce((x, y) => x + y, 0);
    near(`${rows}x${columns}: squares`, values.reduce((sum, x) => sum + x ** 2, 0), trace(squares));
    near(`${rows}x${columns}: fourth powers`, values.reduce((sum, x) => sum + x ** 4, 0), trace(rowProducts(squares, squares)));
  }
  const ones = singularValues(matrix(4, 6, new Float64Array(24).fill(1))).toSorted().toReversed();
  near("rank one", ones[0]!, Math.sqrt(24));
  assert.ok(ones.slice(1).every((x) => x < 1e-12));
});

test("covariances with the same eigenvectors have a closed form, singular ones too", () => {
  const [a, b] = [[4, 1, 0.25, 9], [1, 16, 0, 0.01]];
  const expected = a.reduce((sum, x, i) => sum + x + b[i]! - 2 * Math.sqrt(x * b[i]!), 0) + 4 * 0.5 ** 2;
  const [first, second] = [{ name: "first", statistics: rotated(a, 0) }, { name: "second", statistics: rotated(b, 0.5) }];
  const { distance, meanTerm } = frechetDistance(first, second);
  near("distance", distance, expected);
  near("mean term", meanTerm, 1);
  const epsilon = a.reduce((sum, x, i) => sum + x + b[i]! - 2 * Math.sqrt((x + 1e-6) * (b[i]! + 1e-6)), 0) + 1;
  near("with the reference's epsilon", frechetDistance(first, second, { epsilon: REFERENCE_EPSILON }).distance, epsilon);
});

test("fewer rows than dimensions: from rows and from statistics it is the same, and equal sets are at no distance", () => {
  const [a, b] = [randomFeatures(1, 9, 24), randomFeatures(2, 12, 24, 0.1)];
  const rows = frechetDistance({ name: "a", features: a }, { name: "b", features: b }).distance;
  const statistics = frechetDistance({ name: "a", statistics: statisticsOf(a) }, { name: "b", statistics: statisticsOf(b) }).distance;
  near("distance", statistics, rows, 1e-9);
  for (const features of [a, randomFeatures(3, 60, 24)]) {
    near("itself", frechetDistance({ name: "a", features }, { name: "a", features }).distance, 0, 1e-10);
  }
});

test("what cannot be compared is refused: other widths, a matrix that is not a covariance", () => {
  const [a, b] = [randomFeatures(1, 40, 5), randomFeatures(1, 40, 6)];
  assert.throws(() => frechetDistance({ name: "ours", features: a }, { name: "theirs", features: b }), /5 features of ours, 6 of theirs/);
  const indefinite = { name: "bad.npz", statistics: rotated([1, 2, -0.4], 0) };
  assert.throws(() => frechetDistance(indefinite, { name: "x", statistics: rotated([1, 1, 1], 0) }), /bad.npz.*negative eigenvalue/);
  assert.throws(() => statisticsOf(randomFeatures(1, 1, 5)), /at least two/);
});

test("statistics: streamed in any pieces, merged, and numpy's mean in float32", () => {
  const all = randomFeatures(5, 700, 11, 3);
  const piece = (from: number, to: number): Features => ({ data: all.data.slice(from * 11, to * 11), count: to - from, dims: 11 });
  const whole = statisticsOf(all);
  for (let j = 0; j < 11; j++) {
    const column = Array.from({ length: 700 }, (_, i) => all.data[i * 11 + j]!);
    const mean = column.reduce((x, y) => x + y, 0) / 700;
    near("mean", whole.mean[j]!, mean);
    near("variance", whole.covariance.data[j * 12]!, column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 699);
  }
  const streamed = new RunningStatistics(11).add(piece(0, 3)).add(piece(3, 500)).add(piece(500, 700)).statistics();
  const merged = mergeStatistics(statisticsOf(piece(0, 123)), statisticsOf(piece(123, 700)));
  for (const other of [streamed, merged]) {
    assert.is(other.count, 700);
    other.covariance.data.forEach((x, i) => near("covariance", x, whole.covariance.data[i]!));
  }
  const third = { data: Float32Array.of(0.1, 0.2, 0.3), count: 3, dims: 1 };
  assert.is(float32Mean(third)[0], Math.fround(Math.fround(Math.fround(Math.fround(0.1) + Math.fround(0.2)) + Math.fround(0.3)) / 3));
});

test("the reference's epsilon: where features are still in one set alone and others in the other alone", () => {
  const still = (...columns: number[]): Statistics => {
    const { data, count, dims } = randomFeatures(7, 30, 8);
    return statisticsOf({ data: data.map((x, i) => (columns.includes(i % 8) ? 0.5 : x)), count, dims });
  };
  assert.is(takesEpsilon(still(2), still(5)), true);
  assert.is(takesEpsilon(still(2), still(2)), false);
  assert.is(takesEpsilon(still(), still(1, 2, 3)), false);
});

test("rows are chosen as numpy does", () => {
  assert.equal(Array.from(chooseRows(manualSeed(2020), 400, 100)).slice(0, 8), [2, 190, 302, 257, 208, 338, 334, 174]);
  const random = manualSeed(2020);
  chooseRows(random, 400, 100);
  assert.equal([...chooseRows(random, 7, 7)], [4, 1, 2, 5, 6, 3, 0]);
});

test("kernel distance: as its formula says, whichever way its products are made", async () => {
  const [a, b] = [randomFeatures(1, 30, 6), randomFeatures(2, 25, 6, 0.2)];
  const row = (f: Features, i: number): Float32Array => Float32Array.from(f.data.subarray(i * 6, i * 6 + 6));
  const dot = (x: Float32Array, y: Float32Array): number => [...x].reduce((sum, v, i) => sum + v * y[i]!, 0);
  for (const [subsets, size] of [[1, 4], [40, 20]] as const) {
    const drawn = fidelitySubsets(manualSeed(3), [30, 25], subsets, size);
    const expected = drawn.map(({ first, second }) => {
      const sum = (f: Features, g: Features, x: Int32Array, y: Int32Array, apart: boolean): number => {
        let total = 0;
        x.forEach((i, m) => y.forEach((j, n) => (total += apart && m === n ? 0 : (dot(row(f, i), row(g, j)) / 6 + 1) ** 3)));
        return total;
      };
      return (sum(a, a, first, first, true) + sum(b, b, second, second, true)) / (size * (size - 1)) -
        (2 * sum(a, b, first, second, false)) / size ** 2;
    });
    const { perSubset, mean } = await kernelDistance(a, b, drawn);
    expected.forEach((x, i) => near("subset", perSubset[i]!, x, 1e-9));
    near("mean", mean, expected.reduce((x, y) => x + y, 0) / subsets, 1e-9);
  }
  assert.throws(() => fidelitySubsets(manualSeed(0), [30, 25], 1, 26), /subset of 26 pictures cannot be drawn from 25/);
  assert.is(cleanSubsets(manualSeed(0), [30, 25], 1, 1000)[0]!.first.length, 25);
});

test("few pictures: an interval around the distance, a warning of the bias and of a singular covariance", async () => {
  const set = (name: string, features: Features): KnownSet => ({ name, features, statistics: statisticsOf(features) });
  const options = { kidSubsets: 3, kidSize: null, kidSeed: 1, bootstrap: null, float32Mean: true };
  const many = await distancesOf(set("a", randomFeatures(1, 200, 6)), set("b", randomFeatures(2, 200, 6, 0.5)), options);
  assert.ok(many.interval && many.interval[0] < many.frechet && many.frechet < many.interval[1], String(many.interval));
  assert.is(many.kid!.size, 200);
  assert.is(many.reference!.branch, "float32 mean");
  assert.match(many.warnings.join(), /200 generated pictures, not 10000/);
  assert.not.match(many.warnings.join(), /singular/);
  const few = await distancesOf(set("a", randomFeatures(1, 5, 6)), set("b", randomFeatures(2, 200, 6)), options);
  assert.match(few.warnings.join(), /singular/);
});

test.run();
