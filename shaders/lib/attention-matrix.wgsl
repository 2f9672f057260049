// What the attention shaders for matrix units share: products of f16 operands with f32 sums. A workgroup of SUBGROUPS subgroups owns a
// block of rows (of queries, or of keys in the gradient of keys and values) and walks over the columns (the other ones). The block is
// FRAGMENTS bands of SUBGROUPS * M rows, and each subgroup owns M rows of every band: their fragments and their results stay in registers
// for the whole walk, so all variables are written out. STAGED columns at a time are staged as f16, and taken COLUMNS by COLUMNS: scores
// go through workgroup memory, where ROW_LANES lanes take a row, vec4 by vec4 in turn, since a shader does not know which lane holds what
// of a fragment; weights go back the same way, as f16. Rows of workgroup memory are padded by 8 components, so that neighbouring ones lie
// in different banks. The includer has the text of lib/attention-pass.wgsl.
// Defines: WALK, the text of lib/attention-walk.wgsl; M, N, K of a product; LANES; SUBGROUPS; FRAGMENTS; STAGED; LOADS vec4s of them that a
// thread loads at once; COLUMNS; HEAD components of a head, padded to whole fragments, HEAD_VEC4 vec4s of them real; TILES, OPERANDS: how
// many tiles of scores, and of weights, a fragment of rows has. HEAD_K, HEAD_N: fragments in HEAD; OWN: vec4s of a row of COLUMNS that a
// lane takes.
const M = ${M}u;
const N = ${N}u;
const K = ${K}u;
const LANES = ${LANES}u;
const SUBGROUPS = ${SUBGROUPS}u;
const THREADS = SUBGROUPS * LANES;
const ROW_LANES = LANES / M;
const FRAGMENTS = ${FRAGMENTS}u;
const BAND = SUBGROUPS * M;
const BLOCK_ROWS = FRAGMENTS * BAND;
const STAGED = ${STAGED}u;
const BLOCK_COLUMNS = STAGED;
const COLUMNS = ${COLUMNS}u;
const HEAD = ${HEAD}u;
const HEAD_VEC4 = ${HEAD_VEC4}u;
alias Left = subgroup_matrix_left<f16, ${K}, ${M}>; // columns, rows
alias Right = subgroup_matrix_right<f16, ${N}, ${K}>;
alias Sum = subgroup_matrix_result<f32, ${N}, ${M}>;
const LOG2E = 1.4426950408889634;

// In vec4s. The columns: twice STAGED rows of HEAD components each. Scores and weights: a tile is M rows of COLUMNS.
const STRIDE = (HEAD + 8u) / 4u;
const SECOND = STAGED * STRIDE;
const TILE_STRIDE = (COLUMNS + 8u) / 4u;
const TILE = M * TILE_STRIDE;
const SLICE = COLUMNS / N; // fragments of results that a tile of scores has room for
const TILES = ${TILES}u;
const OPERANDS = ${OPERANDS}u;
var<workgroup> columns: array<vec4<f16>, 2u * SECOND>;
var<workgroup> scores: array<vec4f, SUBGROUPS * FRAGMENTS * TILES * TILE>;
var<workgroup> weights: array<vec4<f16>, SUBGROUPS * FRAGMENTS * OPERANDS * TILE>;

${WALK}
// Stages STAGED rows from `first` on; rows past the end repeat the last one. LOADS of them are on their way before the first is waited for.
fn stage(to: u32, tensor: u32, source: Source, first: u32, local: u32) {
  for (var begin = local; begin < STAGED * HEAD_VEC4; begin += THREADS * ${LOADS}u) {
#unroll i < ${LOADS}
    let e$i = begin + $i * THREADS;
    let x$i = load(tensor, source.start + min(first + e$i / HEAD_VEC4, source.count - 1u) * source.stride + e$i % HEAD_VEC4);
#endunroll
#unroll i < ${LOADS}
    if (e$i < STAGED * HEAD_VEC4) { columns[to + (e$i / HEAD_VEC4) * STRIDE + e$i % HEAD_VEC4] = vec4<f16>(x$i); }
#endunroll
  }
}

// Stages a band of rows, where columns are staged later.
fn stageBand(tensor: u32, source: Source, first: u32, local: u32) {
  workgroupBarrier();
  for (var row = 0u; row < BAND; row += STAGED) { stage(row * STRIDE, tensor, source, first + row, local); }
  workgroupBarrier();
}

// Zeros behind the real head of every row, which no staging overwrites.
fn clearPadding(local: u32) {
  const PAD = STRIDE - HEAD_VEC4;
  for (var e = local; e < 2u * STAGED * PAD; e += THREADS) { columns[(e / PAD) * STRIDE + HEAD_VEC4 + e % PAD] = vec4<f16>(); }
}

fn maxOf(x: vec4f) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }

// Over the lanes of a row.
fn rowMax(x: f32) -> f32 {
  var most = x;
  for (var step = 1u; step < ROW_LANES; step *= 2u) { most = max(most, subgroupShuffleXor(most, step)); }
  return most;
}

fn rowSum(x: f32) -> f32 {
  var sum = x;
  for (var step = 1u; step < ROW_LANES; step *= 2u) { sum += subgroupShuffleXor(sum, step); }
  return sum;
}
