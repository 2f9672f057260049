// dQ of attention: one pass over the keys per query row, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k). A lane owns whole rows of queries.
// Layout: q, o, dO, dQ [batch, queries, heads, head], k, v [batch, keys, heads, head] as vec4s, each by its own row stride and, but for dO,
// offset. logSumExp, delta [batch, heads, queries].
// Defines: PLACES the text of lib/attention-places.wgsl; INPUTS the text of lib/attention-gradient-inputs.wgsl; TILE the text of
// lib/attention-tile.wgsl, with its defines; tiles are of k (A) and v (B).
#if ${SUBGROUPS}
enable subgroups;
#endif

struct Params {
${PLACES}
  rowStrideDQ: u32,
  offsetDQ: u32,
}

${INPUTS}
@group(0) @binding(7) var<storage, read_write> dQ: array<${dQ as vec4f}>;

${TILE}

// The gradient of one key's scores.
fn scoreGradient(score: Rows, dWeight: Rows, key: u32, visible: RowIndex, rowLogSumExp: Rows, rowDelta: Rows) -> Rows {
  return select(Rows(), exp(score - rowLogSumExp), RowIndex(key) < visible) * (dWeight - rowDelta);
}

fn queryAt(start: RowIndex, i: u32) -> Channels {
#if ${FOUR_ROWS}
  return transpose(mat4x4f(vec4f(q[start.x + i]), vec4f(q[start.y + i]), vec4f(q[start.z + i]), vec4f(q[start.w + i])));
#else
  return vec4f(q[start + i]);
#endif
}
fn dOutAt(start: RowIndex, i: u32) -> Channels {
#if ${FOUR_ROWS}
  return transpose(mat4x4f(vec4f(dO[start.x + i]), vec4f(dO[start.y + i]), vec4f(dO[start.z + i]), vec4f(dO[start.w + i])));
#else
  return vec4f(dO[start + i]);
#endif
}

fn storeGradient(row: RowIndex, start: RowIndex, i: u32, x: Channels) {
#if ${FOUR_ROWS}
  let rows = transpose(x);
  if (row.x < params.queries) { dQ[start.x + i] = ${dQ as vec4f}(rows[0]); }
  if (row.y < params.queries) { dQ[start.y + i] = ${dQ as vec4f}(rows[1]); }
  if (row.z < params.queries) { dQ[start.z + i] = ${dQ as vec4f}(rows[2]); }
  if (row.w < params.queries) { dQ[start.w + i] = ${dQ as vec4f}(rows[3]); }
#else
  if (row < params.queries) { dQ[start + i] = ${dQ as vec4f}(x); }
#endif
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
#if ${SUBGROUPS}
#else
  let lane = local;
#endif
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let firstRow = block.firstRow;
  let head = block.head;
  let batch = block.batch;
  let headStart = head * params.headVec4;
  let width = headWidth();

  // Rows past the end repeat the last one and store nothing.
  let row = firstRow + local + ROW_STEPS;
  let safeRow = min(row, RowIndex(params.queries - 1u));
  let tokenRow = batch * params.queries + safeRow;
  let startQ = params.offsetQ + tokenRow * params.rowStrideQ + headStart;
  let startO = tokenRow * params.rowStrideO + headStart;
  let numbers = (batch * params.heads + head) * params.queries + safeRow;
#if ${FOUR_ROWS}
  let rowLogSumExp = vec4f(logSumExp[numbers.x], logSumExp[numbers.y], logSumExp[numbers.z], logSumExp[numbers.w]);
  let rowDelta = vec4f(delta[numbers.x], delta[numbers.y], delta[numbers.z], delta[numbers.w]);
#else
  let rowLogSumExp = logSumExp[numbers];
  let rowDelta = delta[numbers];
#endif
  var query: array<Channels, ${HEAD_VEC4}>;
  var dOut: array<Channels, ${HEAD_VEC4}>;
  var dQuery: array<Channels, ${HEAD_VEC4}>;
  for (var i = 0u; i < width; i++) {
    query[i] = queryAt(startQ, i) * params.scale;
    dOut[i] = dOutAt(startO, i);
    dQuery[i] = Channels();
  }

  let keys = Source(params.offsetK + batch * params.keys * params.rowStrideK + headStart, params.rowStrideK);
  let values = Source(params.offsetV + batch * params.keys * params.rowStrideV + headStart, params.rowStrideV);
  let visible = visibleKeys(row);
  let end = keysSeenFrom(firstRow);
  for (var key = 0u; key < end; key += 8u) {
    let at = tileAt(keys, values, key, params.keys, lane);
    var scores = Eight();
    var dWeights = Eight();
    for (var i = 0u; i < width; i++) {
      scores = addDots(scores, query[i], tileA(at, i));
      dWeights = addDots(dWeights, dOut[i], tileB(at, i));
    }
    let dScores = Eight(
      scoreGradient(scores.r0, dWeights.r0, key, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r1, dWeights.r1, key + 1u, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r2, dWeights.r2, key + 2u, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r3, dWeights.r3, key + 3u, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r4, dWeights.r4, key + 4u, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r5, dWeights.r5, key + 5u, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r6, dWeights.r6, key + 6u, visible, rowLogSumExp, rowDelta),
      scoreGradient(scores.r7, dWeights.r7, key + 7u, visible, rowLogSumExp, rowDelta));
    for (var i = 0u; i < width; i++) { dQuery[i] += weightedRows(dScores, tileA(at, i)); }
  }

  let startDQ = params.offsetDQ + tokenRow * params.rowStrideDQ + headStart;
  for (var i = 0u; i < width; i++) { storeGradient(row, startDQ, i, dQuery[i] * params.scale); }
}
