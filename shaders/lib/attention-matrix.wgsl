// What the attention shaders for matrix units share: products of f16 operands with f32 sums. A workgroup of SUBGROUPS subgroups owns a block of rows (of
// queries, or of keys in the gradient of keys and values), each subgroup M of them, and walks over blocks of BLOCK_COLUMNS columns (the other ones).
// The rows' fragments stay in registers for the whole walk; columns are staged as f16. Scores go through workgroup memory, where ROW_LANES lanes take a row,
// vec4 by vec4 in turn, since a shader does not know which lane holds what of a fragment; weights go back the same way, as f16.
// Rows of workgroup memory are padded by 8 components, so that neighbouring ones lie in different banks.
// The includer has struct Params (batch, heads, splits), and `load(tensor, at)`, a vec4 of one of its buffers.
// Defines: M, N, K of a product; LANES; SUBGROUPS; BLOCK_COLUMNS; HEAD components of a head, padded to whole fragments, HEAD_VEC4 vec4s of them real; TILES,
// OPERANDS: how many tiles of scores, and of weights, a subgroup has at once.
const M = ${M}u;
const N = ${N}u;
const K = ${K}u;
const LANES = ${LANES}u;
const SUBGROUPS = ${SUBGROUPS}u;
const THREADS = SUBGROUPS * LANES;
const ROW_LANES = LANES / M;
const BLOCK_ROWS = SUBGROUPS * M;
const BLOCK_COLUMNS = ${BLOCK_COLUMNS}u;
const HEAD = ${HEAD}u;
const HEAD_VEC4 = ${HEAD_VEC4}u;
alias Left = subgroup_matrix_left<f16, ${K}, ${M}>; // columns, rows
alias Right = subgroup_matrix_right<f16, ${N}, ${K}>;
alias Sum = subgroup_matrix_result<f32, ${N}, ${M}>;
alias Rows = array<Left, HEAD / K>; // a subgroup's rows, over the head
alias Output = array<Sum, HEAD / N>; // of a subgroup's rows
// Vec4s of one row of scores or weights that a lane takes: the i-th is number i * ROW_LANES + its own place of the row.
const OWN = BLOCK_COLUMNS / 4u / ROW_LANES;
alias Scores = array<vec4f, OWN>;

// In vec4s. The columns: two blocks of them, BLOCK_COLUMNS rows of HEAD components each. Scores and weights: a tile is M rows of BLOCK_COLUMNS.
const STRIDE = (HEAD + 8u) / 4u;
const SECOND = BLOCK_COLUMNS * STRIDE;
const TILE_STRIDE = (BLOCK_COLUMNS + 8u) / 4u;
const TILE = M * TILE_STRIDE;
var<workgroup> columns: array<vec4<f16>, 2u * SECOND>;
var<workgroup> scores: array<vec4f, SUBGROUPS * ${TILES}u * TILE>;
var<workgroup> weights: array<vec4<f16>, SUBGROUPS * ${OPERANDS}u * TILE>;

// Rows of one batch entry and head: the first one's first vec4, vec4s from row to row, and how many there are.
struct Source { start: u32, stride: u32, count: u32 }

// What a workgroup does: BLOCK_ROWS rows from `first` on of one head of one batch entry, over one part of the columns. Beyond the last one `real` is false.
struct Block { first: u32, head: u32, batch: u32, split: u32, real: bool }
fn blockOf(group: vec3u, groups: vec3u, rows: u32) -> Block {
  let blocks = (rows + BLOCK_ROWS - 1u) / BLOCK_ROWS;
  let index = group.x + group.y * groups.x;
  let rest = index / blocks;
  let entry = rest / params.heads;
  return Block((index % blocks) * BLOCK_ROWS, rest % params.heads, entry % params.batch, entry / params.batch, index < blocks * params.heads * params.batch * params.splits);
}

// The columns [x, y) that a workgroup walks over, of those from `begin` to `end`; whole blocks.
fn partOf(begin: u32, end: u32, split: u32) -> vec2u {
  let blocks = (end - begin + BLOCK_COLUMNS - 1u) / BLOCK_COLUMNS;
  let each = ((blocks + params.splits - 1u) / params.splits) * BLOCK_COLUMNS;
  return vec2u(begin + split * each, min(begin + (split + 1u) * each, end));
}

// Stages `count` rows from `first` on, zeros after the real head. Rows past the end repeat the last one.
fn stage(to: u32, tensor: u32, source: Source, first: u32, count: u32, factor: f32, local: u32) {
  for (var e = local; e < count * (HEAD / 4u); e += THREADS) {
    let i = e % (HEAD / 4u);
    let row = e / (HEAD / 4u);
    let x = load(tensor, source.start + min(first + row, source.count - 1u) * source.stride + min(i, HEAD_VEC4 - 1u));
    columns[to + row * STRIDE + i] = vec4<f16>(select(vec4f(), factor * x, i < HEAD_VEC4));
  }
}

// The fragments of a subgroup's rows of a block, which begins at `first`; it is staged where columns are (it must fit there).
fn rowsOf(rows: ptr<function, Rows>, tensor: u32, source: Source, first: u32, factor: f32, subgroup: u32, local: u32) {
  workgroupBarrier();
  stage(0u, tensor, source, first, BLOCK_ROWS, factor, local);
  workgroupBarrier();
  for (var k = 0u; k < HEAD / K; k++) { (*rows)[k] = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + k * K / 4u, STRIDE); }
}

// A tile of scores = rows columns^T, of the block of columns staged at `begin`.
fn product(to: u32, rows: ptr<function, Rows>, begin: u32) {
  for (var n = 0u; n < BLOCK_COLUMNS; n += N) {
    var sum = Sum(); // given a value, or it keeps the sums of the round before (seen with Dawn of webgpu 0.6.2)
    for (var k = 0u; k < HEAD / K; k++) {
      sum = subgroupMatrixMultiplyAccumulate((*rows)[k], subgroupMatrixLoad<Right, col_major>(&columns, begin + n * STRIDE + k * K / 4u, STRIDE), sum);
    }
    subgroupMatrixStore<row_major>(&scores, to + n / 4u, sum, TILE_STRIDE);
  }
}

// out + weights columns, of a tile of weights and the block of columns staged at `begin`.
fn addWeighted(out: ptr<function, Output>, tile: u32, begin: u32) {
  for (var k = 0u; k < BLOCK_COLUMNS; k += K) {
    let left = subgroupMatrixLoad<Left, row_major>(&weights, tile + k / 4u, TILE_STRIDE);
    for (var n = 0u; n < HEAD / N; n++) {
      (*out)[n] = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&columns, begin + k * STRIDE + n * N / 4u, STRIDE), (*out)[n]);
    }
  }
}

// Components of an output, from `first` on, into a tile of scores: as many as it holds.
fn putSlice(tile: u32, out: ptr<function, Output>, first: u32) {
  for (var n = 0u; n < BLOCK_COLUMNS / N && first / N + n < HEAD / N; n++) {
    subgroupMatrixStore<row_major>(&scores, tile + n * N / 4u, (*out)[first / N + n], TILE_STRIDE);
  }
}
