// dQ of attention, for GPUs: one pass over the keys per block of queries, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k) (FlashAttention-2, arXiv 2307.08691, algorithm 2).
// Defines: PASS, BLOCK, the texts of lib/attention-pass.wgsl and lib/attention-block.wgsl, with their defines.
${PASS}
${BLOCK}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let at = vec2u(local / THREAD_COLUMNS, local % THREAD_COLUMNS);
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);

  let numbers = (block.batch * params.heads + block.head) * params.queries;
  var rowLogSumExp: array<f32, ROWS>;
  var rowDelta: array<f32, ROWS>;
#unroll i < ${ROWS}
  {
    let query = numbers + min(block.first + at.x + $i * THREAD_ROWS, params.queries - 1u);
    rowLogSumExp[$i] = logSumExp[query];
    rowDelta[$i] = delta[query];
  }
#endunroll
  var dQuery: Output;
  let part = partOf(0u, visibleKeys(block.first + BLOCK_ROWS - 1u), block.split);
  for (var key = part.x; key < part.y; key += BLOCK_COLUMNS) {
    var scores: Scores;
    var dWeights: Scores;
    product(&scores, OF_QUERIES, heads.queries, block.first, params.scale, OF_KEYS, heads.keys, key, at, local);
    product(&dWeights, OF_D_OUTS, heads.dOuts, block.first, 1.0, OF_VALUES, heads.values, key, at, local);
#unroll i < ${ROWS}
    {
      let visible = visibleKeys(block.first + at.x + $i * THREAD_ROWS);
#unroll g < ${GROUPS}
      {
        let n = $i * GROUPS + $g;
        let column = key + $g * GROUP_COLUMNS + 4u * at.y + vec4u(0u, 1u, 2u, 3u);
        scores[n] = select(vec4f(), exp(scores[n] - rowLogSumExp[$i]) * (dWeights[n] - rowDelta[$i]), column < vec4u(visible));
      }
#endunroll
    }
#endunroll
    addWeighted(&dQuery, &scores, OF_KEYS, heads.keys, key, at, local);
  }

#unroll i < ${ROWS}
  {
    let query = block.first + at.x + $i * THREAD_ROWS;
    let start = (params.offsetDQ + ((block.split * params.batch + block.batch) * params.queries + query) * params.rowStrideDQ +
      headStart) * PIECES_OF_VEC4;
#unroll c < ${COLUMNS}
    {
      let column = at.y + $c * THREAD_COLUMNS;
      if (column < PIECES && query < params.queries) { put0(start + column, dQuery[$i * COLUMNS + $c] * params.scale); }
    }
#endunroll
  }
#endunroll
}
