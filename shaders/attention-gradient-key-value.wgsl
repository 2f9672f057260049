// dK and dV of attention: one pass over the queries per key row, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q). A lane owns whole rows of keys and values.
// Defines: PASS, TILE, the texts of lib/attention-pass.wgsl and lib/attention-tile.wgsl, with their defines; tiles are of q (A) and dO (B).
${TILE}
${PASS}

const HIGHEST = 3.0e38; // a logSumExp under which every probability is zero

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
#unroll n < 8
    safeLogSumExp(start, query + $n),
#endunroll
  );
}
fn tileDelta(start: u32, query: u32, _lane: u32) -> EightNumbers {
  let last = params.queries - 1u;
  return EightNumbers(
#unroll n < 8
    delta[start + min(query + $n, last)],
#endunroll
  );
}
#endif

fn attend(block: Block, local: u32, lane: u32) {
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
    key[i] = ownA(startK, i) * params.scale;
    value[i] = ownB(startV, i);
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
#unroll n < 8
      weight(scores.r$n, l.r$n, query + $n, seenFrom),
#endunroll
    );
    let dScores = Eight(
#unroll n < 8
      w.r$n * (dWeights.r$n - d.r$n),
#endunroll
    );
    for (var i = 0u; i < width; i++) {
      dKey[i] += weightedRows(dScores, tileA(at, i));
      dValue[i] += weightedRows(w, tileB(at, i));
    }
  }

  let startDK = params.offsetDK + safeRow * params.rowStrideDK + headStart;
  let startDV = params.offsetDV + safeRow * params.rowStrideDV + headStart;
  for (var i = 0u; i < width; i++) {
    store0(row, startDK, i, dKey[i] * params.scale);
    store1(row, startDV, i, dValue[i]);
  }
}
