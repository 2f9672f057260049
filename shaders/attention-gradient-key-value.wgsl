// dK and dV of attention: one pass over the queries per key row, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q). A lane owns one key row.
// Layout: q, dO [batch, queries, heads, head], k, v, dK, dV [batch, keys, heads, head] as vec4s, each by its own row stride and, but for dO,
// offset. logSumExp, delta [batch, heads, queries].
// Defines: TILE the text of lib/attention-tile.wgsl, whose defines are SUBGROUPS, SPLIT, ROW_MASK, SECOND; HEAD_VEC4 vec4s kept per
// lane, of which params.headVec4 are real; UNROLL: the two are equal and loops over the head have constant bounds; WORKGROUP lanes;
// JOINT: dK and dV lie in one tensor, bound as dK.
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
  rowStrideDK: u32,
  offsetDK: u32,
  rowStrideDV: u32,
  offsetDV: u32,
  causal: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> dO: array<vec4f>;
@group(0) @binding(5) var<storage, read> logSumExp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dK: array<vec4f>;
#if ${JOINT}
#else
@group(0) @binding(8) var<storage, read_write> dV: array<vec4f>;
#endif

const WORKGROUP = ${WORKGROUP}u;

${TILE}

#if ${SUBGROUPS}
#else
var<workgroup> tileNumbers: array<vec2f, 8>; // logSumExp and delta of each row
#endif

@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
#if ${SUBGROUPS}
  @builtin(subgroup_invocation_id) lane: u32,
#endif
  @builtin(local_invocation_index) local: u32
) {
  let blocks = (params.keys + WORKGROUP - 1u) / WORKGROUP;
  let index = group.x + group.y * groups.x;
  if (index >= params.batch * params.heads * blocks) { return; }
  let firstRow = (index % blocks) * WORKGROUP;
  let head = (index / blocks) % params.heads;
  let batch = index / (blocks * params.heads);
  let headStart = head * params.headVec4;
#if ${UNROLL}
  let width = ${HEAD_VEC4}u;
#else
  let width = params.headVec4;
#endif

  // Lanes past the end repeat the last row and store nothing.
  let row = firstRow + local;
  let safeRow = batch * params.keys + min(row, params.keys - 1u);
  let startK = params.offsetK + safeRow * params.rowStrideK + headStart;
  let startV = params.offsetV + safeRow * params.rowStrideV + headStart;
  var keyRow: array<vec4f, ${HEAD_VEC4}>;
  var valueRow: array<vec4f, ${HEAD_VEC4}>;
  var dKey: array<vec4f, ${HEAD_VEC4}>;
  var dValue: array<vec4f, ${HEAD_VEC4}>;
  for (var i = 0u; i < width; i++) {
    keyRow[i] = k[startK + i] * params.scale;
    valueRow[i] = v[startV + i];
    dKey[i] = vec4f();
    dValue[i] = vec4f();
  }
  // A causal key is seen by the queries from its own index on.
  let seenFrom = select(0u, row, params.causal != 0u);
  let begin = select(0u, firstRow - firstRow % 8u, params.causal != 0u);
  let numbersStart = (batch * params.heads + head) * params.queries;

  for (var query = begin; query < params.queries; query += 8u) {
#if ${SUBGROUPS}
    let firstQuery = min(query + (lane & ${ROW_MASK}u), params.queries - 1u);
    let startQ = params.offsetQ + (batch * params.queries + firstQuery) * params.rowStrideQ + headStart;
    let startO = (batch * params.queries + firstQuery) * params.rowStrideO + headStart;
    let ownLogSumExp = logSumExp[numbersStart + firstQuery];
    let ownDelta = delta[numbersStart + firstQuery];
#if ${SPLIT}
    let secondQuery = min(query + 4u + (lane & ${ROW_MASK}u), params.queries - 1u);
    let secondQ = params.offsetQ + (batch * params.queries + secondQuery) * params.rowStrideQ + headStart;
    let secondO = (batch * params.queries + secondQuery) * params.rowStrideO + headStart;
    let rowLogSumExp = eightNumbers(ownLogSumExp, logSumExp[numbersStart + secondQuery]);
    let rowDelta = eightNumbers(ownDelta, delta[numbersStart + secondQuery]);
#else
    let rowLogSumExp = eightNumbers(ownLogSumExp, ownLogSumExp);
    let rowDelta = eightNumbers(ownDelta, ownDelta);
#endif
#else
    workgroupBarrier();
    for (var e = local; e < params.headVec4 * 8u; e += WORKGROUP) {
      let tileRow = batch * params.queries + min(query + e / params.headVec4, params.queries - 1u);
      let column = headStart + e % params.headVec4;
      tile[e] = q[params.offsetQ + tileRow * params.rowStrideQ + column];
      tile[params.headVec4 * 8u + e] = dO[tileRow * params.rowStrideO + column];
    }
    if (local < 8u) {
      let at = numbersStart + min(query + local, params.queries - 1u);
      tileNumbers[local] = vec2f(logSumExp[at], delta[at]);
    }
    workgroupBarrier();
    let rowLogSumExp = EightScores(
      vec4f(tileNumbers[0].x, tileNumbers[1].x, tileNumbers[2].x, tileNumbers[3].x),
      vec4f(tileNumbers[4].x, tileNumbers[5].x, tileNumbers[6].x, tileNumbers[7].x));
    let rowDelta = EightScores(
      vec4f(tileNumbers[0].y, tileNumbers[1].y, tileNumbers[2].y, tileNumbers[3].y),
      vec4f(tileNumbers[4].y, tileNumbers[5].y, tileNumbers[6].y, tileNumbers[7].y));
#endif
    var scores = noScores();
    var dWeights = noScores();
    for (var i = 0u; i < width; i++) {
#if ${SUBGROUPS}
      let a = q[startQ + i];
      let b = dO[startO + i];
#if ${SPLIT}
      let rowsQ = eightRows(a, q[secondQ + i]);
      let rowsO = eightRows(b, dO[secondO + i]);
#else
      let rowsQ = eightRows(a, a);
      let rowsO = eightRows(b, b);
#endif
#else
      let rowsQ = eightRows(i);
      let rowsO = eightRows(params.headVec4 * 8u + i);
#endif
      scores = addDots(scores, keyRow[i], rowsQ);
      dWeights = addDots(dWeights, valueRow[i], rowsO);
    }
    let at = vec4u(query) + vec4u(0u, 1u, 2u, 3u);
    let sees = (at >= vec4u(seenFrom)) & (at < vec4u(params.queries));
    let seesToo = (at + 4u >= vec4u(seenFrom)) & (at + 4u < vec4u(params.queries));
    let weights = EightScores(
      select(vec4f(), exp(scores.a - rowLogSumExp.a), sees),
      select(vec4f(), exp(scores.b - rowLogSumExp.b), seesToo));
    let dScores = EightScores(weights.a * (dWeights.a - rowDelta.a), weights.b * (dWeights.b - rowDelta.b));
    for (var i = 0u; i < width; i++) {
#if ${SUBGROUPS}
      let a = q[startQ + i];
      let b = dO[startO + i];
#if ${SPLIT}
      let rowsQ = eightRows(a, q[secondQ + i]);
      let rowsO = eightRows(b, dO[secondO + i]);
#else
      let rowsQ = eightRows(a, a);
      let rowsO = eightRows(b, b);
#endif
#else
      let rowsQ = eightRows(i);
      let rowsO = eightRows(params.headVec4 * 8u + i);
#endif
      dKey[i] += weightedSum(dScores, rowsQ);
      dValue[i] += weightedSum(weights, rowsO);
    }
  }

  if (row < params.keys) {
    let startDK = params.offsetDK + safeRow * params.rowStrideDK + headStart;
    let startDV = params.offsetDV + safeRow * params.rowStrideDV + headStart;
    for (var i = 0u; i < width; i++) {
      dK[startDK + i] = dKey[i] * params.scale;
#if ${JOINT}
      dK[startDV + i] = dValue[i];
#else
      dV[startDV + i] = dValue[i];
#endif
    }
  }
}
