// What the flash attention shaders share. A lane owns rows (of queries, or of keys in the gradient of keys and values): four with
// FOUR_ROWS, else one. All lanes walk over tiles of eight rows of two other tensors, the buffers TILE_A and TILE_B, one vec4 of the head at
// a time. With SUBGROUPS each lane loads its own row of the tile and broadcasts it. Subgroups of four lanes (SPLIT) load rows 0..3 and 4..7
// in turn; HIGH is the lane that holds row 4: 4, or 0 with SPLIT. Without SUBGROUPS the tile lies in workgroup memory.
// The includer takes a block in `fn attend(block: Block, local: u32, lane: u32)`, with rows of the buffer OWN_A, and of OWN_B, as its own.
// This text comes before all others. Other defines: ROWS, queries or keys; OUTPUTS of the pass; HEAD_VEC4 vec4s kept per row, of which
// params.headVec4 are real; UNROLL: the two are equal and loops over the head have constant bounds; WORKGROUP lanes.
#if ${SUBGROUPS}
enable subgroups;
#endif
const WORKGROUP = ${WORKGROUP}u;

// A number, an index and four channels of each of a lane's rows. Four rows are the components of a vector, four channels of them the
// columns of a matrix.
#if ${FOUR_ROWS}
alias Rows = vec4f;
alias RowIndex = vec4u;
alias Channels = mat4x4f;
const BLOCK = 4u * WORKGROUP; // rows of a workgroup
const ROW_STEPS = vec4u(0u, WORKGROUP, 2u * WORKGROUP, 3u * WORKGROUP);
#else
alias Rows = f32;
alias RowIndex = u32;
alias Channels = vec4f;
const BLOCK = WORKGROUP;
const ROW_STEPS = 0u;
#endif

// Of each row of the tile: a number for each of the lane's rows; a number; a vec4 of the head.
struct Eight { r0: Rows, r1: Rows, r2: Rows, r3: Rows, r4: Rows, r5: Rows, r6: Rows, r7: Rows }
struct EightNumbers { r0: f32, r1: f32, r2: f32, r3: f32, r4: f32, r5: f32, r6: f32, r7: f32 }
struct EightVectors { r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f, r4: vec4f, r5: vec4f, r6: vec4f, r7: vec4f }
// Rows of one batch and head: the first one's first vec4, and vec4s from row to row.
struct Source { start: u32, stride: u32 }

// What a workgroup does: rows of one head of one batch entry from firstRow on. Beyond the last one `real` is false.
struct Block { firstRow: u32, head: u32, batch: u32, real: bool }
fn blockOf(group: vec3u, groups: vec3u) -> Block {
  let blocks = (params.${ROWS} + BLOCK - 1u) / BLOCK;
  let index = group.x + group.y * groups.x;
  return Block((index % blocks) * BLOCK, (index / blocks) % params.heads, index / (blocks * params.heads),
    index < params.batch * params.heads * blocks);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
#if ${SUBGROUPS}
  @builtin(subgroup_invocation_id) lane: u32,
#endif
  @builtin(local_invocation_index) local: u32
) {
#if ${SUBGROUPS}
#else
  let lane = local;
#endif
  let block = blockOf(group, groups);
  if (block.real) { attend(block, local, lane); }
}

// Four channels of a lane's own rows.
fn ownA(start: RowIndex, i: u32) -> Channels {
#if ${FOUR_ROWS}
  return transpose(mat4x4f(vec4f(${OWN_A}[start.x + i]), vec4f(${OWN_A}[start.y + i]), vec4f(${OWN_A}[start.z + i]),
    vec4f(${OWN_A}[start.w + i])));
#else
  return vec4f(${OWN_A}[start + i]);
#endif
}
fn ownB(start: RowIndex, i: u32) -> Channels {
#if ${FOUR_ROWS}
  return transpose(mat4x4f(vec4f(${OWN_B}[start.x + i]), vec4f(${OWN_B}[start.y + i]), vec4f(${OWN_B}[start.z + i]),
    vec4f(${OWN_B}[start.w + i])));
#else
  return vec4f(${OWN_B}[start + i]);
#endif
}

fn headWidth() -> u32 {
#if ${UNROLL}
  return ${HEAD_VEC4}u;
#else
  return params.headVec4;
#endif
}

#if ${SUBGROUPS}
#if ${SPLIT}
alias TileRow = vec2u; // of the tile that begins at `first`, the rows that this lane loads
fn tileRow(first: u32, lane: u32) -> TileRow { return vec2u(first, first + 4u) + (lane & 3u); }
fn tileA(at: Tile, i: u32) -> EightVectors { return broadcastVectors(vec4f(${TILE_A}[at.a.x + i]), vec4f(${TILE_A}[at.a.y + i])); }
fn tileB(at: Tile, i: u32) -> EightVectors { return broadcastVectors(vec4f(${TILE_B}[at.b.x + i]), vec4f(${TILE_B}[at.b.y + i])); }
#else
alias TileRow = u32;
fn tileRow(first: u32, lane: u32) -> TileRow { return first + (lane & 7u); }
fn tileA(at: Tile, i: u32) -> EightVectors { let x = vec4f(${TILE_A}[at.a + i]); return broadcastVectors(x, x); }
fn tileB(at: Tile, i: u32) -> EightVectors { let x = vec4f(${TILE_B}[at.b + i]); return broadcastVectors(x, x); }
#endif
// Where the vec4s of a lane's own rows begin.
struct Tile { a: TileRow, b: TileRow }

fn tileAt(a: Source, b: Source, first: u32, count: u32, lane: u32) -> Tile {
  let row = min(tileRow(first, lane), TileRow(count - 1u));
  return Tile(a.start + row * a.stride, b.start + row * b.stride);
}
fn broadcastVectors(low: vec4f, high: vec4f) -> EightVectors {
  return EightVectors(
    subgroupBroadcast(low, 0u), subgroupBroadcast(low, 1u), subgroupBroadcast(low, 2u), subgroupBroadcast(low, 3u),
    subgroupBroadcast(high, ${HIGH}u), subgroupBroadcast(high, ${HIGH}u + 1u), subgroupBroadcast(high, ${HIGH}u + 2u),
    subgroupBroadcast(high, ${HIGH}u + 3u));
}
fn broadcastNumbers(low: f32, high: f32) -> EightNumbers {
  return EightNumbers(
    subgroupBroadcast(low, 0u), subgroupBroadcast(low, 1u), subgroupBroadcast(low, 2u), subgroupBroadcast(low, 3u),
    subgroupBroadcast(high, ${HIGH}u), subgroupBroadcast(high, ${HIGH}u + 1u), subgroupBroadcast(high, ${HIGH}u + 2u),
    subgroupBroadcast(high, ${HIGH}u + 3u));
}
#else
var<workgroup> tile: array<vec4f, ${HEAD_VEC4} * 16>;
alias Tile = u32; // where B begins

fn tileAt(a: Source, b: Source, first: u32, count: u32, local: u32) -> Tile {
  let half = params.headVec4 * 8u;
  workgroupBarrier();
  for (var e = local; e < half; e += WORKGROUP) {
    let row = min(first + e / params.headVec4, count - 1u);
    let column = e % params.headVec4;
    tile[e] = vec4f(${TILE_A}[a.start + row * a.stride + column]);
    tile[half + e] = vec4f(${TILE_B}[b.start + row * b.stride + column]);
  }
  workgroupBarrier();
  return half;
}
fn tileA(_at: Tile, i: u32) -> EightVectors { return tileVectors(i); }
fn tileB(at: Tile, i: u32) -> EightVectors { return tileVectors(at + i); }
fn tileVectors(start: u32) -> EightVectors {
  let n = params.headVec4;
  return EightVectors(tile[start], tile[start + n], tile[start + 2u * n], tile[start + 3u * n],
    tile[start + 4u * n], tile[start + 5u * n], tile[start + 6u * n], tile[start + 7u * n]);
}
#endif

// s + x e^T: the scores of four more channels.
fn addDots(s: Eight, x: Channels, e: EightVectors) -> Eight {
  return Eight(
#unroll n < 8
    s.r$n + (x[0] * e.r$n.x + x[1] * e.r$n.y + x[2] * e.r$n.z + x[3] * e.r$n.w),
#endunroll
  );
}

// w e: four channels of the tile's rows, weighted and summed.
fn weightedRows(w: Eight, e: EightVectors) -> Channels {
  return Channels(
#unroll c < 4
    w.r0 * e.r0[$c] + w.r1 * e.r1[$c] + w.r2 * e.r2[$c] + w.r3 * e.r3[$c] + w.r4 * e.r4[$c] + w.r5 * e.r5[$c] + w.r6 * e.r6[$c] +
      w.r7 * e.r7[$c],
#endunroll
  );
}

fn scaleRows(x: Channels, by: Rows) -> Channels {
  return Channels(x[0] * by, x[1] * by, x[2] * by, x[3] * by);
}

// Stores four channels of a lane's own rows, as far as there are such rows, as output 0 or 1 of the pass.
#unroll n < ${OUTPUTS}
fn store$n(row: RowIndex, start: RowIndex, i: u32, x: Channels) {
#if ${FOUR_ROWS}
  let rows = transpose(x);
#unroll r < 4
  if (row[$r] < params.${ROWS}) { put$n(start[$r] + i, rows[$r]); }
#endunroll
#else
  if (row < params.${ROWS}) { put$n(start + i, x); }
#endif
}
#endunroll

// The keys that any query of a block sees.
fn keysSeenFrom(firstRow: u32) -> u32 {
  return select(params.keys, min(firstRow + BLOCK, params.keys), params.causal != 0u);
}

// A causal query sees the keys up to its own index.
fn visibleKeys(query: RowIndex) -> RowIndex {
  return select(RowIndex(params.keys), min(query + 1u, RowIndex(params.keys)), params.causal != 0u);
}
