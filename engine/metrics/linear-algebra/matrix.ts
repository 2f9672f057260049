/** Matrices of float64, row by row, and the products that statistics of features need. */
export interface Matrix {
  readonly data: Float64Array<ArrayBuffer>;
  readonly rows: number;
  readonly columns: number;
}

/** A float64 matrix, row by row; of zeros without `data`. @throws RangeError if the data has another length */
export function matrix(rows: number, columns: number, data = new Float64Array(rows * columns)): Matrix {
  const count = rows * columns;
  if (data.length !== count) throw new RangeError(`matrix: ${rows}x${columns} needs ${count} numbers, got ${data.length}`);
  return { data, rows, columns };
}

/** a^T [columns, rows]. */
export function transposed({ data, rows, columns }: Matrix): Matrix {
  const out = matrix(columns, rows);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out.data[j * rows + i] = data[i * columns + j]!;
  return out;
}

/** Of a row that was made orthogonal to others: less than this of its length is rounding. */
const DEPENDENT = 1e-10;

/** An orthonormal basis [rank, n] of what the rows of matrices [.., n] span, by Gram and Schmidt's method done twice. */
export function orthonormalRows(matrices: readonly Matrix[]): Matrix {
  const n = matrices[0]!.columns;
  const basis: Float64Array[] = [];
  for (const { data, rows } of matrices) {
    for (let r = 0; r < rows && basis.length < n; r++) {
      const row = data.slice(r * n, (r + 1) * n);
      const before = Math.sqrt(dot(row, row));
      for (let pass = 0; pass < 2; pass++) {
        for (const other of basis) {
          const share = dot(row, other);
          for (let i = 0; i < n; i++) row[i]! -= share * other[i]!;
        }
      }
      const length = Math.sqrt(dot(row, row));
      if (length > DEPENDENT * before) basis.push(row.map((x) => x / length));
    }
  }
  const out = matrix(basis.length, n);
  basis.forEach((row, i) => out.data.set(row, i * n));
  return out;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Columns that a block of the inner loops takes: 4 rows of 256 doubles stay in the first-level cache. */
const BLOCK = 256;

/**
 * a b^T: products of all rows of a [n, k] with all rows of b [m, k] -> [n, m]. Four by four rows at a time and in blocks of their length:
 * 2048 x 2048 x 2048 took 9 s on a core of a shared machine. Of a matrix with itself only one half is computed.
 * @throws RangeError for rows of different lengths
 */
export function rowProducts(a: Matrix, b: Matrix): Matrix {
  if (a.columns !== b.columns) throw new RangeError(`rowProducts: rows of ${a.columns} and of ${b.columns}`);
  const out = matrix(a.rows, b.rows);
  for (let from = 0; from < a.columns; from += BLOCK) {
    const to = Math.min(a.columns, from + BLOCK);
    for (let i = 0; i < a.rows; i += 4) {
      for (let j = a === b ? i : 0; j < b.rows; j += 4) addTile(out, a, b, i, j, from, to);
    }
  }
  if (a === b) mirror(out);
  return out;
}

/** Copies what is above a square matrix's diagonal below it. */
function mirror({ data, rows }: Matrix): void {
  for (let i = 0; i < rows; i++) for (let j = 0; j < i; j++) data[i * rows + j] = data[j * rows + i]!;
}

/** Adds the products of up to four rows of a with up to four of b over columns [from, to). Rows beyond the last are the last again. */
function addTile(out: Matrix, a: Matrix, b: Matrix, i: number, j: number, from: number, to: number): void {
  const [x, y, length] = [a.data, b.data, a.columns];
  const row = (m: Matrix, r: number): number => Math.min(r, m.rows - 1) * length;
  const [a0, a1, a2, a3] = [row(a, i), row(a, i + 1), row(a, i + 2), row(a, i + 3)];
  const [b0, b1, b2, b3] = [row(b, j), row(b, j + 1), row(b, j + 2), row(b, j + 3)];
  let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
  for (let k = from; k < to; k++) {
    const [y0, y1, y2, y3] = [y[b0 + k]!, y[b1 + k]!, y[b2 + k]!, y[b3 + k]!];
    const x0 = x[a0 + k]!;
    s00 += x0 * y0; s01 += x0 * y1; s02 += x0 * y2; s03 += x0 * y3;
    const x1 = x[a1 + k]!;
    s10 += x1 * y0; s11 += x1 * y1; s12 += x1 * y2; s13 += x1 * y3;
    const x2 = x[a2 + k]!;
    s20 += x2 * y0; s21 += x2 * y1; s22 += x2 * y2; s23 += x2 * y3;
    const x3 = x[a3 + k]!;
    s30 += x3 * y0; s31 += x3 * y1; s32 += x3 * y2; s33 += x3 * y3;
  }
  const sums = [s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33];
  const [rows, columns] = [Math.min(4, out.rows - i), Math.min(4, out.columns - j)];
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out.data[(i + r) * out.columns + j + c]! += sums[r * 4 + c]!;
}
