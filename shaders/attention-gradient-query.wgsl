// dQ of attention: one pass over the keys per query row, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k). A lane owns whole rows of queries.
// Defines: PASS, TILE, the texts of lib/attention-pass.wgsl and lib/attention-tile.wgsl, with their defines; tiles are of k (A) and v (B).
${TILE}
${PASS}

// The gradient of one key's scores.
fn scoreGradient(score: Rows, dWeight: Rows, key: u32, visible: RowIndex, rowLogSumExp: Rows, rowDelta: Rows) -> Rows {
  return select(Rows(), exp(score - rowLogSumExp), RowIndex(key) < visible) * (dWeight - rowDelta);
}

fn attend(block: Block, local: u32, lane: u32) {
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
    query[i] = ownA(startQ, i) * params.scale;
    dOut[i] = ownB(startO, i);
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
#unroll n < 8
      scoreGradient(scores.r$n, dWeights.r$n, key + $n, visible, rowLogSumExp, rowDelta),
#endunroll
    );
    for (var i = 0u; i < width; i++) { dQuery[i] += weightedRows(dScores, tileA(at, i)); }
  }

  let startDQ = params.offsetDQ + tokenRow * params.rowStrideDQ + headStart;
  for (var i = 0u; i < width; i++) { store0(row, startDQ, i, dQuery[i] * params.scale); }
}
