// Scaled dot-product attention, o = softmax(scale q k^T) v per head, in one pass over the keys (FlashAttention, arXiv 2205.14135):
// scores stay in registers, eight keys at a time, with a running maximum and sum per row. A lane owns whole rows of queries and of the
// output, so nothing is reduced across lanes.
// Defines: PASS, TILE, the texts of lib/attention-pass.wgsl and lib/attention-tile.wgsl, with their defines; tiles are of k (A) and v (B).
${TILE}
${PASS}

const LOWEST = -3.0e38; // finite: LOWEST - LOWEST must not be a NaN

struct State {
  high: Rows,   // largest score so far
  total: Rows,  // sum of exp(score - high) so far
  shrink: Rows, // what this tile scales the earlier sums by
  weights: Eight, // exp(score - high) of this tile
}

// A score, or minus infinity where the key is not to be seen.
fn seen(score: Rows, key: u32, visible: RowIndex) -> Rows {
  return select(Rows(LOWEST), score, RowIndex(key) < visible);
}

// Takes in eight more scores.
fn advance(state: State, scores: Eight, key: u32, visible: RowIndex) -> State {
  let s = Eight(
#unroll n < 8
    seen(scores.r$n, key + $n, visible),
#endunroll
  );
  let high = max(state.high, max(max(max(s.r0, s.r1), max(s.r2, s.r3)), max(max(s.r4, s.r5), max(s.r6, s.r7))));
  let shrink = exp(state.high - high);
  let w = Eight(
#unroll n < 8
    exp(s.r$n - high),
#endunroll
  );
  let sum = ((w.r0 + w.r1) + (w.r2 + w.r3)) + ((w.r4 + w.r5) + (w.r6 + w.r7));
  return State(high, state.total * shrink + sum, shrink, w);
}

fn attend(block: Block, local: u32, lane: u32) {
  let firstRow = block.firstRow;
  let head = block.head;
  let batch = block.batch;
  let headStart = head * params.headVec4;
  let width = headWidth();

  // Rows past the end repeat the last one and store nothing.
  let row = firstRow + local + ROW_STEPS;
  let safeRow = batch * params.queries + min(row, RowIndex(params.queries - 1u));
  let startQ = params.offsetQ + safeRow * params.rowStrideQ + headStart;
  var query: array<Channels, ${HEAD_VEC4}>;
  var out: array<Channels, ${HEAD_VEC4}>;
  for (var i = 0u; i < width; i++) {
    query[i] = ownA(startQ, i) * params.scale;
    out[i] = Channels();
  }

  let keys = Source(params.offsetK + batch * params.keys * params.rowStrideK + headStart, params.rowStrideK);
  let values = Source(params.offsetV + batch * params.keys * params.rowStrideV + headStart, params.rowStrideV);
  let visible = visibleKeys(row);
  var state = State(Rows(LOWEST), Rows(), Rows(), Eight());
  let end = keysSeenFrom(firstRow);
  for (var key = 0u; key < end; key += 8u) {
    let at = tileAt(keys, values, key, params.keys, lane);
    var scores = Eight();
    for (var i = 0u; i < width; i++) { scores = addDots(scores, query[i], tileA(at, i)); }
    state = advance(state, scores, key, visible);
    for (var i = 0u; i < width; i++) { out[i] = scaleRows(out[i], state.shrink) + weightedRows(state.weights, tileB(at, i)); }
  }

  let startO = safeRow * params.rowStrideO + headStart;
  for (var i = 0u; i < width; i++) {
    let x = out[i];
    store0(row, startO, i, Channels(x[0] / state.total, x[1] / state.total, x[2] / state.total, x[3] / state.total));
  }
  let numbers = (batch * params.heads + head) * params.queries + row;
  let logSum = state.high + log(state.total);
#if ${FOUR_ROWS}
  for (var r = 0u; r < 4u; r++) {
    if (row[r] < params.queries) { logSumExp[numbers[r]] = logSum[r]; }
  }
#else
  if (row < params.queries) { logSumExp[numbers] = logSum; }
#endif
}
