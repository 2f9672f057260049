// The core shared by matmul and conv2d: a tile of C = A * B with A's rows found by the including shader.
//
// Bindings: a (left operand), b (right operand), bias [n], batchBias [images, n], residual and c (result) [batches, rows, n].
// The includer's struct Params begins with the text of lib/gemm-params.wgsl, and it has the functions
//   rowAddress(batch: u32, row: u32, tap: u32) -> RowAddress   where A's row starts at this tap, or invalid for padding.
//   tapSlice(tap: u32) -> u32                                   which slice of B belongs to this tap.
//
// B is [tap][k][n], or with TRANSPOSE_B [tap][n][k]. PANELS: the second of its two dimensions is cut into panels of 32, each stored whole
// ([tap][n/32][k][32]), so that a tile walks through memory in one run and not with the stride of a row (1280 columns: 1.4x on lavapipe).
// VEC4: k and n are multiples of 4, all loads are vec4. B_F16: B holds packed halves. GATED (with VEC4): of four columns two are values and
// two their gates, and c holds value * gelu(gate), half as wide; with KEEP the biased sums are kept too, in `sums`.
// SPLIT (with VEC4): a workgroup computes a part of the steps of its tile, and c holds the parts, [split][batch][row][column], which
// gemm-sum.wgsl adds up in a second dispatch: for results of so few tiles that they would leave most of a GPU idle.
// PADDED: a row of A may be padding, or a step reach beyond k, and is zero then; without it all that is read is there. WHOLE (with VEC4): k
// is whole steps.
// GATHER_A: A does not lie row by row; the includer's own loadA(address, k) collects a row's elements k to k + 3 from it.
// HALF: operands are rounded to f16 as they are loaded; products and sums are f32 all the same.
// How a tile is shared out among invocations is said by the snippet TILE, which holds main: gemm-broadcast, gemm-register, gemm-workgroup,
// gemm-matrix or gemm-sum.wgsl.
#if ${GATHER_A}
@group(0) @binding(0) var<storage, read> a: array<${a as f32}>;
#elif ${VEC4}
@group(0) @binding(0) var<storage, read> a: array<${a as vec4f}>;
#else
@group(0) @binding(0) var<storage, read> a: array<${a as f32}>;
#endif
#if ${VEC4}
#if ${B_F16}
@group(0) @binding(1) var<storage, read> b: array<vec2u>;
#else
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
#endif
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> batchBias: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<${residual as vec4f}>;
#if ${GATED}
@group(0) @binding(5) var<storage, read_write> c: array<${c as vec2f}>;
#if ${KEEP}
@group(0) @binding(7) var<storage, read_write> sums: array<${sums as vec4f}>;
#endif
#else
@group(0) @binding(5) var<storage, read_write> c: array<${c as vec4f}>;
#endif
#else
#if ${B_F16}
@group(0) @binding(1) var<storage, read> b: array<u32>;
#else
@group(0) @binding(1) var<storage, read> b: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> batchBias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<${residual as f32}>;
@group(0) @binding(5) var<storage, read_write> c: array<${c as f32}>;
#endif
@group(0) @binding(6) var<uniform> params: Params;

struct RowAddress { start: u32, valid: bool }

// What products are made of.
#if ${HALF}
alias Operand = vec4<f16>;
#else
alias Operand = vec4f;
#endif

#if ${GATHER_A}
#elif ${VEC4}
fn loadA(address: RowAddress, k: u32) -> Operand {
#if ${PADDED}
  return select(Operand(), Operand(a[(address.start + k) >> 2u]), address.valid);
#else
  return Operand(a[(address.start + k) >> 2u]);
#endif
}
#else
fn loadA(address: RowAddress, k: u32) -> Operand {
  let last = params.k - 1u;
  let x = vec4f(f32(a[address.start + k]), f32(a[address.start + min(k + 1u, last)]), f32(a[address.start + min(k + 2u, last)]),
    f32(a[address.start + min(k + 3u, last)]));
  return Operand(select(vec4f(), x, (vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(params.k)) & vec4<bool>(address.valid)));
}
#endif

// Four consecutive elements of B from `index`; with VEC4 the index is a multiple of 4.
#if ${VEC4}
#if ${B_F16}
fn loadVectorB(index: u32) -> Operand {
  let words = b[index];
#if ${HALF}
  return Operand(bitcast<vec2<f16>>(words.x), bitcast<vec2<f16>>(words.y));
#else
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
#endif
}
#else
fn loadVectorB(index: u32) -> Operand { return Operand(b[index]); }
#endif
fn loadB4(index: u32) -> Operand { return loadVectorB(index >> 2u); }

// Of four columns, in vec4s: where they begin at k = 0, and from one k to the next.
#if ${PANELS}
fn columnsOfB(base: u32, column: u32) -> u32 { return (base + (column & ~31u) * params.k + (column & 31u)) >> 2u; }
fn strideOfB() -> u32 { return 8u; }
#else
fn columnsOfB(base: u32, column: u32) -> u32 { return (base + column) >> 2u; }
fn strideOfB() -> u32 { return params.n >> 2u; }
#endif
#else
fn loadB1(index: u32) -> f32 {
#if ${B_F16}
  let pair = unpack2x16float(b[index >> 1u]);
  return select(pair.x, pair.y, (index & 1u) == 1u);
#else
  return b[index];
#endif
}
#endif

// Rows k..k+3 of B at the columns column..column+3, both clamped to B (A is zero beyond k, and columns beyond n are not stored).
struct Four { x: Operand, y: Operand, z: Operand, w: Operand }

fn loadBlock(base: u32, k: u32, column: u32) -> Four {
#if ${VEC4}
#if ${TRANSPOSE_B}
#if ${PANELS}
  let at = base + (k & ~31u) * params.n + column * 32u + (k & 31u);
  let row = 32u;
#else
  let at = base + column * params.k + k;
  let row = params.k;
#endif
  let p = loadB4(at);
  let q = loadB4(at + row);
  let r = loadB4(at + 2u * row);
  let s = loadB4(at + 3u * row);
  return Four(Operand(p.x, q.x, r.x, s.x), Operand(p.y, q.y, r.y, s.y), Operand(p.z, q.z, r.z, s.z), Operand(p.w, q.w, r.w, s.w));
#else
#if ${PANELS}
  let at = base + (column & ~31u) * params.k + k * 32u + (column & 31u);
  let row = 32u;
#else
  let at = base + k * params.n + column;
  let row = params.n;
#endif
  return Four(loadB4(at), loadB4(at + row), loadB4(at + 2u * row), loadB4(at + 3u * row));
#endif
#else
  let lastK = params.k - 1u;
  return Four(loadRow(base, k, column), loadRow(base, min(k + 1u, lastK), column), loadRow(base, min(k + 2u, lastK), column),
    loadRow(base, min(k + 3u, lastK), column));
#endif
}

// Row k of B at the columns column..column+3.
#if ${VEC4}
fn loadRow(base: u32, k: u32, column: u32) -> Operand {
#if ${PANELS}
  return loadB4(base + (column & ~31u) * params.k + k * 32u + (column & 31u));
#else
  return loadB4(base + k * params.n + column);
#endif
}
#else
fn loadRow(base: u32, k: u32, column: u32) -> Operand {
  let last = params.n - 1u;
#if ${TRANSPOSE_B}
  return Operand(vec4f(loadB1(base + column * params.k + k), loadB1(base + min(column + 1u, last) * params.k + k),
    loadB1(base + min(column + 2u, last) * params.k + k), loadB1(base + min(column + 3u, last) * params.k + k)));
#else
  let at = base + k * params.n;
  return Operand(vec4f(loadB1(at + column), loadB1(at + min(column + 1u, last)), loadB1(at + min(column + 2u, last)), loadB1(at +
    min(column + 3u, last))));
#endif
}
#endif

${ACTIVATIONS}

#if ${VEC4}
fn loadBias(column: u32) -> vec4f { return bias[column >> 2u]; }
#else
fn loadBias(column: u32) -> vec4f {
  let last = params.n - 1u;
  return vec4f(bias[column], bias[min(column + 1u, last)], bias[min(column + 2u, last)], bias[min(column + 3u, last)]);
}
#endif

fn biasAt(column: u32) -> vec4f {
  if (params.hasBias == 0u) { return vec4f(); }
  return loadBias(min(column, (params.n - 1u) & ~3u));
}

// y = (activation(sum + bias + batchBias) + residual) * scale
fn store(batch: u32, row: u32, column: u32, sum: vec4f, biasHere: vec4f) {
  if (row >= params.rows || column >= params.n) { return; }
  let at = (batch * params.rows + row) * params.n + column;
  let image = params.batchBiasOffset + (row / params.rowsPerImage) * params.batchBiasStride + column;
#if ${GATED}
  let gated = sum + biasHere;
#if ${KEEP}
  sums[at >> 2u] = ${sums as vec4f}(gated);
#endif
  c[at >> 2u] = ${c as vec2f}(gated.xy * gelu4(gated).zw);
#elif ${VEC4}
  var y = sum + biasHere;
  if (params.hasBatchBias != 0u) { y += batchBias[image >> 2u]; }
  y = ${ACTIVATE}(y);
  if (params.hasResidual != 0u) { y += vec4f(residual[at >> 2u]); }
  c[at >> 2u] = ${c as vec4f}(y * params.scale);
#else
  var y = sum + biasHere;
  let count = min(4u, params.n - column);
  if (params.hasBatchBias != 0u) {
    for (var j = 0u; j < count; j++) { y[j] += batchBias[image + j]; }
  }
  y = ${ACTIVATE}(y);
  for (var j = 0u; j < count; j++) {
    var value = y[j];
    if (params.hasResidual != 0u) { value += f32(residual[at + j]); }
    c[at + j] = ${c as f32}(value * params.scale);
  }
#endif
}

// Column and row of a tile within its batch. Tiles that run together share the operand that is read more often than it is large.
fn tilePosition(tile: u32) -> vec2u {
  if (params.rowsFirst != 0u) { return vec2u((tile / params.rowTiles) % params.columnTiles, tile % params.rowTiles); }
  return vec2u(tile % params.columnTiles, (tile / params.columnTiles) % params.rowTiles);
}

// Where a workgroup stands: column and row of its tile, batch, and which part of the steps is its own.
struct Place { column: u32, row: u32, batch: u32, split: u32 }
fn tileOf(workgroup: u32) -> Place {
  let perSplit = params.columnTiles * params.rowTiles * params.batches;
#if ${SPLIT}
  let tile = workgroup % perSplit;
  let at = tilePosition(tile);
  // Beyond the last split there is no batch either.
  return Place(at.x, at.y, select(tile / (params.columnTiles * params.rowTiles), params.batches, workgroup >= perSplit * params.splits),
    workgroup / perSplit);
#else
  let at = tilePosition(workgroup);
  return Place(at.x, at.y, workgroup / (params.columnTiles * params.rowTiles), 0u);
#endif
}

// Takes the sum of a tile's row at four columns: finished, or as a part.
fn storeSum(at: Place, row: u32, column: u32, sum: vec4f, biasHere: vec4f) {
#if ${SPLIT}
  if (row < params.rows && column < params.n) { c[(((at.split * params.batches + at.batch) * params.rows + row) * params.n +
    column) >> 2u] = ${c as vec4f}(sum); }
#else
  store(at.batch, row, column, sum, biasHere);
#endif
}

fn identity4(x: vec4f) -> vec4f { return x; }

fn rank4(sum: vec4f, x: Operand, f: Four) -> vec4f {
  let a = vec4f(x);
  return fma(vec4f(a.w), vec4f(f.w), fma(vec4f(a.z), vec4f(f.z), fma(vec4f(a.y), vec4f(f.y), fma(vec4f(a.x), vec4f(f.x), sum))));
}

${TILE}
