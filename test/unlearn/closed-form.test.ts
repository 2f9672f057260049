import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSchedulerConfig } from "../../engine/diffusion/schedulers/index.ts";
import { compVisAlphasCumprod } from "../../engine/unlearn/common/compvis-noise.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import { matrixFor, solveEdit } from "../../engine/unlearn/common/edit.ts";
import { Factored, Matrix64 } from "../../engine/unlearn/common/matrix64.ts";

const WIDTH = 7;
const random = new Generator(5);

function normal(rows: number, columns: number): Matrix64 {
  return new Matrix64(rows, columns, Float64Array.from({ length: rows * columns }, () => random.randn([1])[0]!));
}

/** a^-1 by Gauss and Jordan, with pivots: not how the product solves. */
function inverse(a: number[][]): number[][] {
  const n = a.length;
  const m = a.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let c = 0; c < n; c++) {
    const pivot = m.slice(c).reduce((best, row, i) => (Math.abs(row[c]!) > Math.abs(m[best]![c]!) ? c + i : best), c);
    [m[c], m[pivot]] = [m[pivot]!, m[c]!];
    const scale = m[c]![c]!;
    m[c] = m[c]!.map((x) => x / scale);
    for (let r = 0; r < n; r++) if (r !== c) {
      const factor = m[r]![c]!;
      m[r] = m[r]!.map((x, j) => x - factor * m[c]![j]!);
    }
  }
  return m.map((row) => row.slice(n));
}

const rowsOf = (m: Matrix64): number[][] => Array.from({ length: m.rows }, (_, i) => [...m.row(i)]);
const times = (a: number[][], b: number[][]): number[][] =>
  a.map((row) => b[0]!.map((_, j) => row.reduce((sum, x, k) => sum + x * b[k]![j]!, 0)));

for (const removes of [false, true]) {
  test(`an edit is (lamb W + sum s v c^T) (lamb I + sum s c c^T)^-1${removes ? ", with values freed of the concept's" : ""}`, () => {
    const [lamb, weight] = [0.3, normal(5, WIDTH)];
    const pairs = [2, 3].map((n) => ({ from: normal(n, WIDTH), to: normal(n, WIDTH), scale: 0.8 }));
    const kept = [normal(4, WIDTH)].map((text) => ({ from: text, to: text, scale: 0.25 }));
    const actual = weight.times(matrixFor(weight, solveEdit(WIDTH, lamb, pairs, kept, removes)));

    const w = rowsOf(weight);
    const numerator = w.map((row) => row.map((x) => lamb * x));
    const system = Array.from({ length: WIDTH }, (_, i) => Array.from({ length: WIDTH }, (_x, j) => (i === j ? lamb : 0)));
    for (const { from, to, scale } of [...pairs, ...kept]) {
      const apply = (text: Matrix64): number[][] => rowsOf(text).map((c) => w.map((row) => row.reduce((sum, x, k) => sum + x * c[k]!, 0)));
      const [u, g] = [apply(from), apply(to)];
      const length = Math.sqrt(u.flat().reduce((sum, x) => sum + x * x, 0));
      const along = u.flat().reduce((sum, x, i) => sum + (x / length) * g.flat()[i]!, 0);
      const freed = removes && from !== to;
      rowsOf(from).forEach((c, p) => {
        const v = g[p]!.map((x, o) => (freed ? x - (u[p]![o]! / length) * along : x));
        v.forEach((x, o) => c.forEach((y, j) => (numerator[o]![j]! += scale * x * y)));
        c.forEach((x, i) => c.forEach((y, j) => (system[i]![j]! += scale * x * y)));
      });
    }
    const expected = times(numerator, inverse(system)).flat();
    actual.data.forEach((x, i) => assert.ok(Math.abs(x - expected[i]!) < 1e-10, `${i}: ${x} instead of ${expected[i]}`));
  });
}

test("an edit of nothing but retained texts leaves the weights as they are", () => {
  const [weight, text] = [normal(5, WIDTH), normal(9, WIDTH)];
  const edited = weight.times(matrixFor(weight, solveEdit(WIDTH, 0.1, [], [{ from: text, to: text, scale: 2 }], false)));
  edited.data.forEach((x, i) => assert.ok(Math.abs(x - weight.data[i]!) < 1e-12));
});

test("a singular system is refused with the remedy", () => {
  try {
    assert.unreachable(`${String(new Factored(new Matrix64(3, 3), "the edit"))} was solved`);
  } catch (error) {
    assert.instance(error, UsageError);
    assert.match((error as Error).message, /the edit cannot be solved: its matrix is singular; give a larger regularisation/);
  }
});

test("noise levels as CompVis's code has them are numpy's in float64", () => {
  const SCALED = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", num_train_timesteps: 1000 };
  // numpy 2.4: np.cumprod(1 - np.linspace(.00085 ** .5, .012 ** .5, 1000) ** 2), and of np.linspace(.0001, .02, 1000)
  const scaled = compVisAlphasCumprod(parseSchedulerConfig("ddim", SCALED));
  const plain = { ...SCALED, beta_start: 1e-4, beta_end: 0.02, beta_schedule: "linear" };
  const linear = compVisAlphasCumprod(parseSchedulerConfig("ddim", plain));
  const near = (a: number, b: number): void => assert.ok(Math.abs(a / b - 1) < 1e-12, `${a} is not ${b}`);
  near(scaled[0]!, 0.99915);
  near(scaled[42]!, 0.959855709271695);
  near(scaled[541]!, 0.22450482248734904);
  near(scaled[999]!, 0.004660098513077238);
  near(linear[541]!, 0.050512522468051484);
  near(linear[999]!, 4.035829765375676e-5);
});

test.run();
