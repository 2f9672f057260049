// dK and dV of attention, for GPUs: one pass over the queries per block of keys, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q) (FlashAttention-2, arXiv 2307.08691,
// algorithm 2).
// Layout: q, dO [batch, queries, heads, head], k, v, dK, dV [batch, keys, heads, head] as vec4s, each by its own row stride and, but for
// dO, offset. logSumExp, delta [batch, heads, queries]. With `splits` above one, dK and dV are [splits, ...], each of one part of the
// queries, for attention-merge. Defines: PLACES, INPUTS the texts of lib/attention-places.wgsl and lib/attention-inputs.wgsl; BLOCK the
// text of lib/attention-block.wgsl, with its defines. JOINT: dK and dV lie in one tensor, bound as dK.
struct Params {
${PLACES}
  rowStrideDK: u32,
  offsetDK: u32,
  rowStrideDV: u32,
  offsetDV: u32,
  splits: u32,
}

${INPUTS}
@group(0) @binding(7) var<storage, read_write> dK: array<${dK as Piece}>;
#if ${JOINT}
alias StoredDV = ${dK as Piece};
#else
@group(0) @binding(8) var<storage, read_write> dV: array<${dV as Piece}>;
alias StoredDV = ${dV as Piece};
#endif

${BLOCK}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let block = blockOf(group, groups, params.keys);
  if (!block.real) { return; }
  let at = vec2u(local / THREAD_COLUMNS, local % THREAD_COLUMNS);
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);

  let numbers = (block.batch * params.heads + block.head) * params.queries;
  let causal = params.causal != 0u;
  var dKey: Output;
  var dValue: Output;
  let part = partOf(select(0u, min(block.first, params.queries), causal), params.queries, block.split);
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
        // A causal key is seen by the queries from its own index on.
        let seenFrom = select(0u, block.first + at.x + $i * THREAD_ROWS, causal);
        let seen = (column < vec4u(params.queries)) & (column >= vec4u(seenFrom));
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
        dK[startK + column] = ${dK as Piece}(dKey[$i * COLUMNS + $c] * params.scale);
        ${DV}[startV + column] = StoredDV(dValue[$i * COLUMNS + $c]);
      }
    }
#endunroll
  }
#endunroll
}
