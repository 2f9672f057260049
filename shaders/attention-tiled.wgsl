// Scaled dot-product attention, o = softmax(scale q k^T) v per head, in one pass over the keys (FlashAttention-2, arXiv 2307.08691), for
// GPUs: a workgroup owns a block of queries, scores and outputs are tiles in its threads' registers, with a running maximum and sum per
// query.
// Defines: PASS, BLOCK, the texts of lib/attention-pass.wgsl and lib/attention-block.wgsl, with their defines.
${PASS}

const LOWEST = -3.0e38; // finite: LOWEST - LOWEST must not be a NaN

${BLOCK}

// Numbers of each row, one of every thread column, to be reduced, and behind them what becomes of them.
const PARTS_STRIDE = THREAD_COLUMNS + 1u;
const PARTS = THREAD_ROWS * PARTS_STRIDE;
const RESULTS = FOURS * PARTS;

// The maximum, or the sum, of each row over the thread columns.
fn overColumns(x: PerRow, sum: bool, at: vec2u, local: u32) -> PerRow {
  workgroupBarrier();
#unroll f < ${FOURS}
  tile[$f * PARTS + at.x * PARTS_STRIDE + at.y] = x[$f];
#endunroll
  workgroupBarrier();
  for (var n = local; n < FOURS * THREAD_ROWS; n += THREADS) {
    let first = (n / THREAD_ROWS) * PARTS + (n % THREAD_ROWS) * PARTS_STRIDE;
    var whole = tile[first];
    for (var c = 1u; c < THREAD_COLUMNS; c++) {
      let other = tile[first + c];
      whole = select(max(whole, other), whole + other, sum);
    }
    tile[RESULTS + n] = whole;
  }
  workgroupBarrier();
  var y: PerRow;
#unroll f < ${FOURS}
  y[$f] = tile[RESULTS + $f * THREAD_ROWS + at.x];
#endunroll
  return y;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let at = vec2u(local / THREAD_COLUMNS, local % THREAD_COLUMNS);
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);

  var out: Output;
  var high: PerRow;  // largest score so far
  var total: PerRow; // sum of exp(score - high) so far, of this thread's columns
#unroll f < ${FOURS}
  high[$f] = vec4f(LOWEST);
#endunroll
  let part = partOf(0u, visibleKeys(block.first + BLOCK_ROWS - 1u), block.split);
  for (var key = part.x; key < part.y; key += BLOCK_COLUMNS) {
    var scores: Scores;
    product(&scores, OF_QUERIES, heads.queries, block.first, params.scale, OF_KEYS, heads.keys, key, at, local);
    var partHigh: PerRow;
#unroll i < ${ROWS}
    {
      let visible = visibleKeys(block.first + at.x + $i * THREAD_ROWS);
      var most = LOWEST;
#unroll g < ${GROUPS}
      {
        let column = key + $g * GROUP_COLUMNS + 4u * at.y + vec4u(0u, 1u, 2u, 3u);
        let s = select(vec4f(LOWEST), scores[$i * GROUPS + $g], column < vec4u(visible));
        scores[$i * GROUPS + $g] = s;
        most = max(most, max(max(s.x, s.y), max(s.z, s.w)));
      }
#endunroll
      partHigh[$i / 4][$i % 4] = most;
    }
#endunroll
    let blockHigh = overColumns(partHigh, false, at, local);
#unroll i < ${ROWS}
    {
      let before = high[$i / 4][$i % 4];
      let now = max(before, blockHigh[$i / 4][$i % 4]);
      let shrink = exp(before - now);
      var sum = 0.0;
#unroll g < ${GROUPS}
      {
        let w = exp(scores[$i * GROUPS + $g] - now);
        scores[$i * GROUPS + $g] = w;
        sum += (w.x + w.y) + (w.z + w.w);
      }
#endunroll
      high[$i / 4][$i % 4] = now;
      total[$i / 4][$i % 4] = total[$i / 4][$i % 4] * shrink + sum;
#unroll c < ${COLUMNS}
      out[$i * COLUMNS + $c] *= shrink;
#endunroll
    }
#endunroll
    addWeighted(&out, &scores, OF_VALUES, heads.values, key, at, local);
  }

  total = overColumns(total, true, at, local);
  let numbers = ((block.split * params.batch + block.batch) * params.heads + block.head) * params.queries;
#unroll i < ${ROWS}
  {
    let query = block.first + at.x + $i * THREAD_ROWS;
    let sum = total[$i / 4][$i % 4];
    if (at.y == 0u && query < params.queries) { logSumExp[numbers + query] = high[$i / 4][$i % 4] + log(sum); }
    let start = (((block.split * params.batch + block.batch) * params.queries + query) * params.rowStrideO + headStart) * PIECES_OF_VEC4;
#unroll c < ${COLUMNS}
    {
      let column = at.y + $c * THREAD_COLUMNS;
      if (column < PIECES && query < params.queries) { put0(start + column, out[$i * COLUMNS + $c] / sum); }
    }
#endunroll
  }
#endunroll
}
