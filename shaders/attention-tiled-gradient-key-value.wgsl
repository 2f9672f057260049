// dK and dV of attention, for GPUs: one pass over the queries per block of keys, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q) (FlashAttention-2, arXiv 2307.08691,
// algorithm 2).
// Defines: PASS, BLOCK, the texts of lib/attention-pass.wgsl and lib/attention-block.wgsl, with their defines.
${PASS}
${BLOCK}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let block = blockOf(group, groups, params.keys);
  if (!block.real) { return; }
  let at = vec2u(local / THREAD_COLUMNS, local % THREAD_COLUMNS);
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);

  let numbers = (block.batch * params.heads + block.head) * params.queries;
  var dKey: Output;
  var dValue: Output;
  let part = partOf(min(seenFrom(block.first), params.queries), params.queries, block.split);
  for (var query = part.x; query < part.y; query += BLOCK_COLUMNS) {
    var scores: Scores;
    var dWeights: Scores;
    product(&scores, OF_KEYS, heads.keys, block.first, params.scale, OF_QUERIES, heads.queries, query, at, local);
    product(&dWeights, OF_VALUES, heads.values, block.first, 1.0, OF_D_OUTS, heads.dOuts, query, at, local);
#unroll g < ${GROUPS}
    {
      let column = query + $g * GROUP_COLUMNS + 4u * at.y + vec4u(0u, 1u, 2u, 3u);
      let safe = numbers + min(column, vec4u(params.queries - 1u));
      let columnLogSumExp = vec4f(logSumExp[safe.x], logSumExp[safe.y], logSumExp[safe.z], logSumExp[safe.w]);
      let columnDelta = vec4f(delta[safe.x], delta[safe.y], delta[safe.z], delta[safe.w]);
#unroll i < ${ROWS}
      {
        let n = $i * GROUPS + $g;
        let seen = (column < vec4u(params.queries)) & (column >= vec4u(seenFrom(block.first + at.x + $i * THREAD_ROWS)));
        let w = select(vec4f(), exp(scores[n] - columnLogSumExp), seen);
        scores[n] = w;
        dWeights[n] = w * (dWeights[n] - columnDelta);
      }
#endunroll
    }
#endunroll
    addWeighted(&dValue, &scores, OF_D_OUTS, heads.dOuts, query, at, local);
    addWeighted(&dKey, &dWeights, OF_QUERIES, heads.queries, query, at, local);
  }

#unroll i < ${ROWS}
  {
    let key = block.first + at.x + $i * THREAD_ROWS;
    let row = (block.split * params.batch + block.batch) * params.keys + key;
    let startK = (params.offsetDK + row * params.rowStrideDK + headStart) * PIECES_OF_VEC4;
    let startV = (params.offsetDV + row * params.rowStrideDV + headStart) * PIECES_OF_VEC4;
#unroll c < ${COLUMNS}
    {
      let column = at.y + $c * THREAD_COLUMNS;
      if (column < PIECES && key < params.keys) {
        put0(startK + column, dKey[$i * COLUMNS + $c] * params.scale);
        put1(startV + column, dValue[$i * COLUMNS + $c]);
      }
    }
#endunroll
  }
#endunroll
}
