// The core shared by matmul and conv2d: a tile of C = A * B with A's rows found by the including shader.
//
// Bindings: a (left operand), b (right operand), bias [n], batchBias [images, n], residual and c (result) [batches, rows, n].
// The includer declares struct Params with
//   k, n           inner length per tap and number of columns
//   rows           rows of one batch; batches
//   taps           how many times the inner loop runs, each with another address of A and another slice of B
//   rowsPerImage   rows that share one row of batchBias
//   bBatchStride   elements of B between batches (0: one B for all)
//   columnTiles, rowTiles, rowsFirst (tiles are numbered down the rows first), scale, and the flags hasBias, hasBatchBias, hasResidual (0 or 1)
// and the functions
//   rowAddress(batch: u32, row: u32, tap: u32) -> RowAddress   where A's row starts at this tap, or invalid for padding.
//   tapSlice(tap: u32) -> u32                                   which slice of B belongs to this tap.
//
// B is [tap][k][n], or with TRANSPOSE_B [tap][n][k]. PANELS: the second of its two dimensions is cut into panels of 32, each stored whole
// ([tap][n/32][k][32]), so that a tile walks through memory in one run and not with the stride of a row (1280 columns: 1.4x on lavapipe). VEC4: k and n are multiples of 4, all loads are vec4. B_F16: B holds packed halves.
// SUBGROUPS: a subgroup of LANES lanes owns ROWS rows x 4*LANES columns; lane i loads the rows i, i+LANES.. and broadcasts them, so
// nothing goes through workgroup memory (measured 4x faster than a workgroup-memory tile on software adapters).
// Otherwise a thread owns 4 rows x 4 columns.
#if ${VEC4}
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
#if ${B_F16}
@group(0) @binding(1) var<storage, read> b: array<vec2u>;
#else
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
#endif
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> batchBias: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;
#else
@group(0) @binding(0) var<storage, read> a: array<f32>;
#if ${B_F16}
@group(0) @binding(1) var<storage, read> b: array<u32>;
#else
@group(0) @binding(1) var<storage, read> b: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> batchBias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;
#endif
@group(0) @binding(6) var<uniform> params: Params;

struct RowAddress { start: u32, valid: bool }

#if ${VEC4}
fn loadA(address: RowAddress, k: u32) -> vec4f {
  return select(vec4f(), a[(address.start + k) >> 2u], address.valid);
}
#else
fn loadA(address: RowAddress, k: u32) -> vec4f {
  let last = params.k - 1u;
  let x = vec4f(a[address.start + k], a[address.start + min(k + 1u, last)], a[address.start + min(k + 2u, last)], a[address.start + min(k + 3u, last)]);
  return select(vec4f(), x, (vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(params.k)) & vec4<bool>(address.valid));
}
#endif

// Four consecutive elements of B from `index`; with VEC4 the index is a multiple of 4.
#if ${VEC4}
#if ${B_F16}
fn loadB4(index: u32) -> vec4f {
  let words = b[index >> 2u];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
#else
fn loadB4(index: u32) -> vec4f { return b[index >> 2u]; }
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
struct Four { x: vec4f, y: vec4f, z: vec4f, w: vec4f }

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
  return Four(vec4f(p.x, q.x, r.x, s.x), vec4f(p.y, q.y, r.y, s.y), vec4f(p.z, q.z, r.z, s.z), vec4f(p.w, q.w, r.w, s.w));
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
  return Four(loadRow(base, k, column), loadRow(base, min(k + 1u, lastK), column), loadRow(base, min(k + 2u, lastK), column), loadRow(base, min(k + 3u, lastK), column));
#endif
}

#if ${VEC4}
#else
fn loadRow(base: u32, k: u32, column: u32) -> vec4f {
  let last = params.n - 1u;
#if ${TRANSPOSE_B}
  return vec4f(loadB1(base + column * params.k + k), loadB1(base + min(column + 1u, last) * params.k + k),
    loadB1(base + min(column + 2u, last) * params.k + k), loadB1(base + min(column + 3u, last) * params.k + k));
#else
  let at = base + k * params.n;
  return vec4f(loadB1(at + column), loadB1(at + min(column + 1u, last)), loadB1(at + min(column + 2u, last)), loadB1(at + min(column + 3u, last)));
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

// y = (activation(sum + bias + batchBias) + residual) * scale
fn store(batch: u32, row: u32, column: u32, sum: vec4f, biasHere: vec4f) {
  if (row >= params.rows || column >= params.n) { return; }
  let at = (batch * params.rows + row) * params.n + column;
  let image = (row / params.rowsPerImage) * params.n + column;
#if ${VEC4}
  var y = sum + biasHere;
  if (params.hasBatchBias != 0u) { y += batchBias[image >> 2u]; }
  y = ${ACTIVATE}(y);
  if (params.hasResidual != 0u) { y += residual[at >> 2u]; }
  c[at >> 2u] = y * params.scale;
#else
  var y = sum + biasHere;
  let count = min(4u, params.n - column);
  if (params.hasBatchBias != 0u) {
    for (var j = 0u; j < count; j++) { y[j] += batchBias[image + j]; }
  }
  y = ${ACTIVATE}(y);
  for (var j = 0u; j < count; j++) {
    var value = y[j];
    if (params.hasResidual != 0u) { value += residual[at + j]; }
    c[at + j] = value * params.scale;
  }
#endif
}

// Column and row of a tile within its batch. Tiles that run together share the operand that is read more often than it is large.
fn tilePosition(tile: u32) -> vec2u {
  if (params.rowsFirst != 0u) { return vec2u((tile / params.rowTiles) % params.columnTiles, tile % params.rowTiles); }
  return vec2u(tile % params.columnTiles, (tile / params.columnTiles) % params.rowTiles);
}

fn identity4(x: vec4f) -> vec4f { return x; }

fn rank4(sum: vec4f, x: vec4f, f: Four) -> vec4f {
  return fma(vec4f(x.w), f.w, fma(vec4f(x.z), f.z, fma(vec4f(x.y), f.y, fma(vec4f(x.x), f.x, sum))));
}

#if ${SUBGROUPS}
@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let tile = (group.x + group.y * groups.x) * (32u / ${LANES}u) + local / ${LANES}u;
  let at = tilePosition(tile);
  let columnTile = at.x;
  let rowTile = at.y;
  let batch = tile / (params.columnTiles * params.rowTiles);
  // A surplus subgroup computes the last batch's tile again and stores nothing.
  let readBatch = min(batch, params.batches - 1u);
  let row0 = rowTile * ${ROWS}u;
  let column = (columnTile * ${LANES}u + lane) * 4u;
  let readColumn = min(column, (params.n - 1u) & ~3u);
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
#if ${LANES4}
  var c8 = vec4f(); var c9 = vec4f(); var c10 = vec4f(); var c11 = vec4f();
  var c12 = vec4f(); var c13 = vec4f(); var c14 = vec4f(); var c15 = vec4f();
#endif
  let last = params.rows - 1u;
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = readBatch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
    let p0 = rowAddress(readBatch, min(row0 + lane, last), tap);
#if ${LANES4}
    let p1 = rowAddress(readBatch, min(row0 + lane + 4u, last), tap);
    let p2 = rowAddress(readBatch, min(row0 + lane + 8u, last), tap);
    let p3 = rowAddress(readBatch, min(row0 + lane + 12u, last), tap);
#endif
    for (var k = 0u; k < params.k; k += 4u) {
      let a0 = loadA(p0, k);
      let f = loadBlock(base, k, readColumn);
#if ${LANES4}
      let a1 = loadA(p1, k);
      let a2 = loadA(p2, k);
      let a3 = loadA(p3, k);
      c0 = rank4(c0, subgroupBroadcast(a0, 0u), f);
      c1 = rank4(c1, subgroupBroadcast(a0, 1u), f);
      c2 = rank4(c2, subgroupBroadcast(a0, 2u), f);
      c3 = rank4(c3, subgroupBroadcast(a0, 3u), f);
      c4 = rank4(c4, subgroupBroadcast(a1, 0u), f);
      c5 = rank4(c5, subgroupBroadcast(a1, 1u), f);
      c6 = rank4(c6, subgroupBroadcast(a1, 2u), f);
      c7 = rank4(c7, subgroupBroadcast(a1, 3u), f);
      c8 = rank4(c8, subgroupBroadcast(a2, 0u), f);
      c9 = rank4(c9, subgroupBroadcast(a2, 1u), f);
      c10 = rank4(c10, subgroupBroadcast(a2, 2u), f);
      c11 = rank4(c11, subgroupBroadcast(a2, 3u), f);
      c12 = rank4(c12, subgroupBroadcast(a3, 0u), f);
      c13 = rank4(c13, subgroupBroadcast(a3, 1u), f);
      c14 = rank4(c14, subgroupBroadcast(a3, 2u), f);
      c15 = rank4(c15, subgroupBroadcast(a3, 3u), f);
#else
      c0 = rank4(c0, subgroupBroadcast(a0, 0u), f);
      c1 = rank4(c1, subgroupBroadcast(a0, 1u), f);
      c2 = rank4(c2, subgroupBroadcast(a0, 2u), f);
      c3 = rank4(c3, subgroupBroadcast(a0, 3u), f);
      c4 = rank4(c4, subgroupBroadcast(a0, 4u), f);
      c5 = rank4(c5, subgroupBroadcast(a0, 5u), f);
      c6 = rank4(c6, subgroupBroadcast(a0, 6u), f);
      c7 = rank4(c7, subgroupBroadcast(a0, 7u), f);
#endif
    }
  }
  if (batch >= params.batches) { return; }
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(readColumn); }
  store(batch, row0, column, c0, biasHere);
  store(batch, row0 + 1u, column, c1, biasHere);
  store(batch, row0 + 2u, column, c2, biasHere);
  store(batch, row0 + 3u, column, c3, biasHere);
  store(batch, row0 + 4u, column, c4, biasHere);
  store(batch, row0 + 5u, column, c5, biasHere);
  store(batch, row0 + 6u, column, c6, biasHere);
  store(batch, row0 + 7u, column, c7, biasHere);
#if ${LANES4}
  store(batch, row0 + 8u, column, c8, biasHere);
  store(batch, row0 + 9u, column, c9, biasHere);
  store(batch, row0 + 10u, column, c10, biasHere);
  store(batch, row0 + 11u, column, c11, biasHere);
  store(batch, row0 + 12u, column, c12, biasHere);
  store(batch, row0 + 13u, column, c13, biasHere);
  store(batch, row0 + 14u, column, c14, biasHere);
  store(batch, row0 + 15u, column, c15, biasHere);
#endif
}
#else
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let tile = group.x + group.y * groups.x;
  let at = tilePosition(tile);
  let columnTile = at.x;
  let rowTile = at.y;
  let batch = tile / (params.columnTiles * params.rowTiles);
  let row0 = rowTile * 32u + (local / 8u) * 4u;
  let column = (columnTile * 8u + local % 8u) * 4u;
  if (batch >= params.batches || row0 >= params.rows || column >= params.n) { return; }
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  let last = params.rows - 1u;
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
    let p0 = rowAddress(batch, row0, tap);
    let p1 = rowAddress(batch, min(row0 + 1u, last), tap);
    let p2 = rowAddress(batch, min(row0 + 2u, last), tap);
    let p3 = rowAddress(batch, min(row0 + 3u, last), tap);
    for (var k = 0u; k < params.k; k += 4u) {
      let f = loadBlock(base, k, column);
      c0 = rank4(c0, loadA(p0, k), f);
      c1 = rank4(c1, loadA(p1, k), f);
      c2 = rank4(c2, loadA(p2, k), f);
      c3 = rank4(c3, loadA(p3, k), f);
    }
  }
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(column); }
  store(batch, row0, column, c0, biasHere);
  store(batch, row0 + 1u, column, c1, biasHere);
  store(batch, row0 + 2u, column, c2, biasHere);
  store(batch, row0 + 3u, column, c3, biasHere);
}
#endif
