// dQ of attention: one pass over the keys per query row, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k). A lane owns one query row.
// Layout: q, o, dO, dQ [batch, queries, heads, head], k, v [batch, keys, heads, head] as vec4s, each by its own row stride and, but for dO,
// offset. logSumExp, delta [batch, heads, queries].
// Defines: TILE the text of lib/attention-tile.wgsl, whose defines are SUBGROUPS, SPLIT, ROW_MASK, SECOND; HEAD_VEC4 vec4s kept per
// lane, of which params.headVec4 are real; UNROLL: the two are equal and loops over the head have constant bounds; WORKGROUP lanes.
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
  rowStrideDQ: u32,
  offsetDQ: u32,
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
@group(0) @binding(7) var<storage, read_write> dQ: array<vec4f>;

const WORKGROUP = ${WORKGROUP}u;

${TILE}

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
  let blocks = (params.queries + WORKGROUP - 1u) / WORKGROUP;
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
  let safeRow = min(row, params.queries - 1u);
  let startQ = params.offsetQ + (batch * params.queries + safeRow) * params.rowStrideQ + headStart;
  let startO = (batch * params.queries + safeRow) * params.rowStrideO + headStart;
  let rowLogSumExp = logSumExp[(batch * params.heads + head) * params.queries + safeRow];
  let rowDelta = delta[(batch * params.heads + head) * params.queries + safeRow];
  let visible = visibleKeys(row);
  var query: array<vec4f, ${HEAD_VEC4}>;
  var dOut: array<vec4f, ${HEAD_VEC4}>;
  var dQuery: array<vec4f, ${HEAD_VEC4}>;
  for (var i = 0u; i < width; i++) {
    query[i] = q[startQ + i] * params.scale;
    dOut[i] = dO[startO + i];
    dQuery[i] = vec4f();
  }

  let end = visibleKeys(firstRow + WORKGROUP - 1u);
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
    var scores = noScores();
    var dWeights = noScores();
    for (var i = 0u; i < width; i++) {
#if ${SUBGROUPS}
      let a = k[startK + i];
      let b = v[startV + i];
#if ${SPLIT}
      let rowsK = eightRows(a, k[secondK + i]);
      let rowsV = eightRows(b, v[secondV + i]);
#else
      let rowsK = eightRows(a, a);
      let rowsV = eightRows(b, b);
#endif
#else
      let rowsK = eightRows(i);
      let rowsV = eightRows(params.headVec4 * 8u + i);
#endif
      scores = addDots(scores, query[i], rowsK);
      dWeights = addDots(dWeights, dOut[i], rowsV);
    }
    let column = vec4u(key) + vec4u(0u, 1u, 2u, 3u);
    let weightsA = select(vec4f(), exp(scores.a - rowLogSumExp), column < vec4u(visible));
    let weightsB = select(vec4f(), exp(scores.b - rowLogSumExp), column + 4u < vec4u(visible));
    let dScores = EightScores(weightsA * (dWeights.a - rowDelta), weightsB * (dWeights.b - rowDelta));
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
      dQuery[i] += weightedSum(dScores, rows);
    }
  }

  if (row < params.queries) {
    let startDQ = params.offsetDQ + (batch * params.queries + row) * params.rowStrideDQ + headStart;
    for (var i = 0u; i < width; i++) { dQ[startDQ + i] = dQuery[i] * params.scale; }
  }
}
