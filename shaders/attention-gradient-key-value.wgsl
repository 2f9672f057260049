// dK and dV of attention: one pass over the queries per key row, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q). A lane owns whole rows of keys and values.
// Layout: q, dO [batch, queries, heads, head], k, v, dK, dV [batch, keys, heads, head] as vec4s, each by its own row stride and, but for
// dO, offset. logSumExp, delta [batch, heads, queries].
// Defines: PLACES the text of lib/attention-places.wgsl; INPUTS the text of lib/attention-gradient-inputs.wgsl; TILE the text of
// lib/attention-tile.wgsl, with its defines; tiles are of q (A) and dO (B). JOINT: dK and dV lie in one tensor, bound as dK.
#if ${SUBGROUPS}
enable subgroups;
#endif

struct Params {
${PLACES}
  rowStrideDK: u32,
  offsetDK: u32,
  rowStrideDV: u32,
  offsetDV: u32,
}

${INPUTS}
@group(0) @binding(7) var<storage, read_write> dK: array<${dK as vec4f}>;
#if ${JOINT}
alias StoredDV = ${dK as vec4f};
#else
@group(0) @binding(8) var<storage, read_write> dV: array<${dV as vec4f}>;
alias StoredDV = ${dV as vec4f};
#endif

const HIGHEST = 3.0e38; // a logSumExp under which every probability is zero

${TILE}

// The probability of one query; a causal key is seen by the queries from its own index on.
fn weight(score: Rows, queryLogSumExp: f32, query: u32, seenFrom: RowIndex) -> Rows {
  return select(Rows(), exp(score - queryLogSumExp), RowIndex(query) >= seenFrom);
}

#if ${SUBGROUPS}
// logSumExp and delta of the tile's queries, of which those past the end have no weight.
fn tileLogSumExp(start: u32, query: u32, lane: u32) -> EightNumbers {
  let row = tileRow(query, lane);
  let at = start + min(row, TileRow(params.queries - 1u));
#if ${SPLIT}
  return broadcastNumbers(
    select(logSumExp[at.x], HIGHEST, row.x >= params.queries),
    select(logSumExp[at.y], HIGHEST, row.y >= params.queries));
#else
  let number = select(logSumExp[at], HIGHEST, row >= params.queries);
  return broadcastNumbers(number, number);
#endif
}
fn tileDelta(start: u32, query: u32, lane: u32) -> EightNumbers {
  let at = start + min(tileRow(query, lane), TileRow(params.queries - 1u));
#if ${SPLIT}
  return broadcastNumbers(delta[at.x], delta[at.y]);
#else
  return broadcastNumbers(delta[at], delta[at]);
#endif
}
#else
fn safeLogSumExp(start: u32, query: u32) -> f32 {
  return select(logSumExp[start + min(query, params.queries - 1u)], HIGHEST, query >= params.queries);
}
fn tileLogSumExp(start: u32, query: u32, _lane: u32) -> EightNumbers {
  return EightNumbers(
    safeLogSumExp(start, query), safeLogSumExp(start, query + 1u), safeLogSumExp(start, query + 2u), safeLogSumExp(start, query + 3u),
    safeLogSumExp(start, query + 4u), safeLogSumExp(start, query + 5u), safeLogSumExp(start, query + 6u), safeLogSumExp(start, query + 7u));
}
fn tileDelta(start: u32, query: u32, _lane: u32) -> EightNumbers {
  let last = params.queries - 1u;
  return EightNumbers(
    delta[start + min(query, last)], delta[start + min(query + 1u, last)], delta[start + min(query + 2u, last)], delta[start +
      min(query + 3u, last)],
    delta[start + min(query + 4u, last)], delta[start + min(query + 5u, last)], delta[start + min(query + 6u, last)], delta[start +
      min(query + 7u, last)]);
}
#endif

fn keyAt(start: RowIndex, i: u32) -> Channels {
#if ${FOUR_ROWS}
  return transpose(mat4x4f(vec4f(k[start.x + i]), vec4f(k[start.y + i]), vec4f(k[start.z + i]), vec4f(k[start.w + i])));
#else
  return vec4f(k[start + i]);
#endif
}
fn valueAt(start: RowIndex, i: u32) -> Channels {
#if ${FOUR_ROWS}
  return transpose(mat4x4f(vec4f(v[start.x + i]), vec4f(v[start.y + i]), vec4f(v[start.z + i]), vec4f(v[start.w + i])));
#else
  return vec4f(v[start + i]);
#endif
}

fn storeKeyGradient(row: RowIndex, start: RowIndex, i: u32, x: Channels) {
#if ${FOUR_ROWS}
  let rows = transpose(x);
  if (row.x < params.keys) { dK[start.x + i] = ${dK as vec4f}(rows[0]); }
  if (row.y < params.keys) { dK[start.y + i] = ${dK as vec4f}(rows[1]); }
  if (row.z < params.keys) { dK[start.z + i] = ${dK as vec4f}(rows[2]); }
  if (row.w < params.keys) { dK[start.w + i] = ${dK as vec4f}(rows[3]); }
#else
  if (row < params.keys) { dK[start + i] = ${dK as vec4f}(x); }
#endif
}
fn storeValueGradient(row: RowIndex, start: RowIndex, i: u32, x: Channels) {
#if ${FOUR_ROWS}
  let rows = transpose(x);
  if (row.x < params.keys) { ${DV}[start.x + i] = StoredDV(rows[0]); }
  if (row.y < params.keys) { ${DV}[start.y + i] = StoredDV(rows[1]); }
  if (row.z < params.keys) { ${DV}[start.z + i] = StoredDV(rows[2]); }
  if (row.w < params.keys) { ${DV}[start.w + i] = StoredDV(rows[3]); }
#else
  if (row < params.keys) { ${DV}[start + i] = StoredDV(x); }
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
  let block = blockOf(group, groups, params.keys);
  if (!block.real) { return; }
  let firstRow = block.firstRow;
  let head = block.head;
  let batch = block.batch;
  let headStart = head * params.headVec4;
  let width = headWidth();

  // Rows past the end repeat the last one and store nothing.
  let row = firstRow + local + ROW_STEPS;
  let safeRow = batch * params.keys + min(row, RowIndex(params.keys - 1u));
  let startK = params.offsetK + safeRow * params.rowStrideK + headStart;
  let startV = params.offsetV + safeRow * params.rowStrideV + headStart;
  var key: array<Channels, ${HEAD_VEC4}>;
  var value: array<Channels, ${HEAD_VEC4}>;
  var dKey: array<Channels, ${HEAD_VEC4}>;
  var dValue: array<Channels, ${HEAD_VEC4}>;
  for (var i = 0u; i < width; i++) {
    key[i] = keyAt(startK, i) * params.scale;
    value[i] = valueAt(startV, i);
    dKey[i] = Channels();
    dValue[i] = Channels();
  }

  let queries = Source(params.offsetQ + batch * params.queries * params.rowStrideQ + headStart, params.rowStrideQ);
  let dOut = Source(batch * params.queries * params.rowStrideO + headStart, params.rowStrideO);
  let numbers = (batch * params.heads + head) * params.queries;
  let seenFrom = select(RowIndex(), row, params.causal != 0u);
  let begin = select(0u, firstRow - firstRow % 8u, params.causal != 0u);
  for (var query = begin; query < params.queries; query += 8u) {
    let at = tileAt(queries, dOut, query, params.queries, lane);
    let l = tileLogSumExp(numbers, query, lane);
    let d = tileDelta(numbers, query, lane);
    var scores = Eight();
    var dWeights = Eight();
    for (var i = 0u; i < width; i++) {
      scores = addDots(scores, key[i], tileA(at, i));
      dWeights = addDots(dWeights, value[i], tileB(at, i));
    }
    let w = Eight(
      weight(scores.r0, l.r0, query, seenFrom), weight(scores.r1, l.r1, query + 1u, seenFrom),
      weight(scores.r2, l.r2, query + 2u, seenFrom), weight(scores.r3, l.r3, query + 3u, seenFrom),
      weight(scores.r4, l.r4, query + 4u, seenFrom), weight(scores.r5, l.r5, query + 5u, seenFrom),
      weight(scores.r6, l.r6, query + 6u, seenFrom), weight(scores.r7, l.r7, query + 7u, seenFrom));
    let dScores = Eight(
      w.r0 * (dWeights.r0 - d.r0), w.r1 * (dWeights.r1 - d.r1), w.r2 * (dWeights.r2 - d.r2), w.r3 * (dWeights.r3 - d.r3),
      w.r4 * (dWeights.r4 - d.r4), w.r5 * (dWeights.r5 - d.r5), w.r6 * (dWeights.r6 - d.r6), w.r7 * (dWeights.r7 - d.r7));
    for (var i = 0u; i < width; i++) {
      dKey[i] += weightedRows(dScores, tileA(at, i));
      dValue[i] += weightedRows(w, tileB(at, i));
    }
  }

  let startDK = params.offsetDK + safeRow * params.rowStrideDK + headStart;
  let startDV = params.offsetDV + safeRow * params.rowStrideDV + headStart;
  for (var i = 0u; i < width; i++) {
    storeKeyGradient(row, startDK, i, dKey[i] * params.scale);
    storeValueGradient(row, startDV, i, dValue[i]);
  }
}
