// Scaled dot-product attention, o = softmax(scale q k^T) v per head, in one pass over the keys (FlashAttention, arXiv 2205.14135):
// scores stay in registers, eight keys at a time, with a running maximum and sum per row. A lane owns one query row (two with
// TWO_ROWS) and its whole output row, so nothing is reduced across lanes.
// Layout: q, o [batch, queries, heads, head] and k, v [batch, keys, heads, head] as vec4s, each by its own row stride and offset (in
// vec4s), so that q, k and v may be slices of one tensor. logSumExp [batch, heads, queries] = ln(sum(exp(scale q k^T))).
// Defines: TILE the text of lib/attention-tile.wgsl, whose defines are SUBGROUPS, SPLIT, ROW_MASK, SECOND; HEAD_VEC4 vec4s kept per
// lane, of which params.headVec4 are real; UNROLL: the two are equal and loops over the head have constant bounds; WORKGROUP lanes; TWO_ROWS.
#if ${SUBGROUPS}
enable subgroups;
#endif

struct Params {
  batch: u32,
  heads: u32,
  queries: u32,
  keys: u32,
  headVec4: u32,
  rowStrideQ: u32,
  offsetQ: u32,
  rowStrideK: u32,
  offsetK: u32,
  rowStrideV: u32,
  offsetV: u32,
  rowStrideO: u32,
  causal: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> logSumExp: array<f32>;

const WORKGROUP = ${WORKGROUP}u;
#if ${TWO_ROWS}
const ROWS = 2u * WORKGROUP;
#else
const ROWS = WORKGROUP;
#endif
const LOWEST = -3.0e38; // finite: LOWEST - LOWEST must not be a NaN

${TILE}

struct Row {
  high: f32,   // largest score so far
  total: f32,  // sum of exp(score - high) so far
  shrink: f32, // what this tile scales the earlier sums by
  weights: EightScores, // exp(score - high) of this tile
}

// Takes in eight more scores; those of keys not below `visible` count as minus infinity.
fn advance(row: Row, scores: EightScores, firstKey: u32, visible: u32) -> Row {
  let key = vec4u(firstKey) + vec4u(0u, 1u, 2u, 3u);
  let a = select(vec4f(LOWEST), scores.a, key < vec4u(visible));
  let b = select(vec4f(LOWEST), scores.b, key + 4u < vec4u(visible));
  let both = max(a, b);
  let high = max(row.high, max(max(both.x, both.y), max(both.z, both.w)));
  let shrink = exp(row.high - high);
  let weights = EightScores(exp(a - high), exp(b - high));
  let sum = weights.a + weights.b;
  return Row(high, row.total * shrink + ((sum.x + sum.y) + (sum.z + sum.w)), shrink, weights);
}

// A causal row sees the keys up to its own index.
fn visibleKeys(row: u32) -> u32 {
  return select(params.keys, min(row + 1u, params.keys), params.causal != 0u);
}

@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
#if ${SUBGROUPS}
  @builtin(subgroup_invocation_id) lane: u32,
#endif
  @builtin(local_invocation_index) local: u32
) {
  let blocks = (params.queries + ROWS - 1u) / ROWS;
  let index = group.x + group.y * groups.x;
  if (index >= params.batch * params.heads * blocks) { return; }
  let firstRow = (index % blocks) * ROWS;
  let head = (index / blocks) % params.heads;
  let batch = index / (blocks * params.heads);
  let headStart = head * params.headVec4;
#if ${UNROLL}
  let width = ${HEAD_VEC4}u;
#else
  let width = params.headVec4;
#endif

  // Lanes past the end repeat the last row and store nothing.
  let rowA = firstRow + local;
  let startQA = params.offsetQ + (batch * params.queries + min(rowA, params.queries - 1u)) * params.rowStrideQ + headStart;
  var queryA: array<vec4f, ${HEAD_VEC4}>;
  var outA: array<vec4f, ${HEAD_VEC4}>;
  var stateA = Row(LOWEST, 0.0, 0.0, noScores());
#if ${TWO_ROWS}
  let rowB = firstRow + WORKGROUP + local;
  let startQB = params.offsetQ + (batch * params.queries + min(rowB, params.queries - 1u)) * params.rowStrideQ + headStart;
  var queryB: array<vec4f, ${HEAD_VEC4}>;
  var outB: array<vec4f, ${HEAD_VEC4}>;
  var stateB = Row(LOWEST, 0.0, 0.0, noScores());
#endif
  for (var i = 0u; i < width; i++) {
    queryA[i] = q[startQA + i] * params.scale;
    outA[i] = vec4f();
#if ${TWO_ROWS}
    queryB[i] = q[startQB + i] * params.scale;
    outB[i] = vec4f();
#endif
  }

  let end = visibleKeys(firstRow + ROWS - 1u);
  for (var key = 0u; key < end; key += 8u) {
#if ${SUBGROUPS}
    let first = batch * params.keys + min(key + (lane & ${ROW_MASK}u), params.keys - 1u);
    let startK = params.offsetK + first * params.rowStrideK + headStart;
    let startV = params.offsetV + first * params.rowStrideV + headStart;
#if ${SPLIT}
    let second = batch * params.keys + min(key + 4u + (lane & ${ROW_MASK}u), params.keys - 1u);
    let secondK = params.offsetK + second * params.rowStrideK + headStart;
    let secondV = params.offsetV + second * params.rowStrideV + headStart;
#endif
#else
    workgroupBarrier();
    for (var e = local; e < params.headVec4 * 8u; e += WORKGROUP) {
      let tileRow = batch * params.keys + min(key + e / params.headVec4, params.keys - 1u);
      let column = headStart + e % params.headVec4;
      tile[e] = k[params.offsetK + tileRow * params.rowStrideK + column];
      tile[params.headVec4 * 8u + e] = v[params.offsetV + tileRow * params.rowStrideV + column];
    }
    workgroupBarrier();
#endif
    var scoresA = noScores();
#if ${TWO_ROWS}
    var scoresB = noScores();
#endif
    for (var i = 0u; i < width; i++) {
#if ${SUBGROUPS}
      let a = k[startK + i];
#if ${SPLIT}
      let rows = eightRows(a, k[secondK + i]);
#else
      let rows = eightRows(a, a);
#endif
#else
      let rows = eightRows(i);
#endif
      scoresA = addDots(scoresA, queryA[i], rows);
#if ${TWO_ROWS}
      scoresB = addDots(scoresB, queryB[i], rows);
#endif
    }
    stateA = advance(stateA, scoresA, key, visibleKeys(rowA));
#if ${TWO_ROWS}
    stateB = advance(stateB, scoresB, key, visibleKeys(rowB));
#endif
    for (var i = 0u; i < width; i++) {
#if ${SUBGROUPS}
      let a = v[startV + i];
#if ${SPLIT}
      let rows = eightRows(a, v[secondV + i]);
#else
      let rows = eightRows(a, a);
#endif
#else
      let rows = eightRows(params.headVec4 * 8u + i);
#endif
      outA[i] = outA[i] * stateA.shrink + weightedSum(stateA.weights, rows);
#if ${TWO_ROWS}
      outB[i] = outB[i] * stateB.shrink + weightedSum(stateB.weights, rows);
#endif
    }
  }

  if (rowA < params.queries) {
    let startO = (batch * params.queries + rowA) * params.rowStrideO + headStart;
    for (var i = 0u; i < width; i++) { o[startO + i] = outA[i] / stateA.total; }
    logSumExp[(batch * params.heads + head) * params.queries + rowA] = stateA.high + log(stateA.total);
  }
#if ${TWO_ROWS}
  if (rowB < params.queries) {
    let startO = (batch * params.queries + rowB) * params.rowStrideO + headStart;
    for (var i = 0u; i < width; i++) { o[startO + i] = outB[i] / stateB.total; }
    logSumExp[(batch * params.heads + head) * params.queries + rowB] = stateB.high + log(stateB.total);
  }
#endif
}
