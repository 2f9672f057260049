// dQ of attention, on matrix units: one pass over the keys per block of queries, with the probabilities computed again from logSumExp: p =
// exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k) (FlashAttention-2, arXiv 2307.08691, algorithm 2). q, k, v, dO
// and ds are rounded to f16, all else is f32; ds is a share of a probability, so it is multiplied by `gain` to stay within f16's numbers.
// Defines: PASS, BLOCK, SCORES, the texts of lib/attention-pass.wgsl, lib/attention-matrix.wgsl and lib/attention-matrix-scores.wgsl, with
// their defines.
enable f16;
enable subgroups;
enable ${EXTENSION};

${PASS}
${BLOCK}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);
  let place = lane % ROW_LANES;
  let query = block.first + subgroup * M + lane / ROW_LANES; // of the first band
  let inTile = (lane / ROW_LANES) * TILE_STRIDE + place;
  let tile = subgroup * FRAGMENTS * 2u * TILE;   // of scores, and behind it of the gradient of weights
  let weightTile = subgroup * FRAGMENTS * TILE;  // of the gradient of scores
  let seen = visibleKeys(block.first); // by all of the block
  let part = partOf(0u, visibleKeys(block.first + BLOCK_ROWS - 1u), block.split);

  let factor = params.scale * LOG2E; // on scores in f32, or q would be rounded once more

  clearPadding(local);
#unroll r < ${FRAGMENTS}
  stageBand(OF_QUERIES, heads.queries, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let a$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
  stageBand(OF_D_OUTS, heads.dOuts, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let b$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
#unroll n < ${HEAD_N}
  var dQ$r_$n: Sum;
#endunroll
  let visible$r = visibleKeys(query + $r * BAND);
  let number$r = (block.batch * params.heads + block.head) * params.queries + min(query + $r * BAND, params.queries - 1u);
  let high$r = logSumExp[number$r] * LOG2E - log2(params.gain);
  let delta$r = delta[number$r];
#endunroll

  for (var key = part.x; key < part.y; key += STAGED) {
    workgroupBarrier();
    stage(0u, OF_KEYS, heads.keys, key, local);
    stage(SECOND, OF_VALUES, heads.values, key, local);
    workgroupBarrier();
    for (var begin = 0u; begin < STAGED && key + begin < part.y; begin += COLUMNS) {
      let first = key + begin;
${SCORES}
      workgroupBarrier();
      let column = first + 4u * place + vec4u(0u, 1u, 2u, 3u);
#unroll r < ${FRAGMENTS}
#unroll i < ${OWN}
      {
        const I = $i * ROW_LANES;
        let weight = exp2(scores[tile + $r * 2 * TILE + inTile + I] * factor - high$r);
        var dScore = weight * (scores[tile + ($r * 2 + 1) * TILE + inTile + I] - delta$r);
        if (first + COLUMNS > seen) { dScore = select(vec4f(), dScore, column + 4 * I < vec4u(visible$r)); }
        weights[weightTile + $r * TILE + inTile + I] = vec4<f16>(dScore);
      }
#endunroll
#endunroll
      workgroupBarrier();
      for (var k = 0u; k < COLUMNS; k += K) {
#unroll r < ${FRAGMENTS}
      let left$r = subgroupMatrixLoad<Left, row_major>(&weights, weightTile + $r * TILE + k / 4u, TILE_STRIDE);
#endunroll
#unroll n < ${HEAD_N}
      {
        let right = subgroupMatrixLoad<Right, row_major>(&columns, (begin + k) * STRIDE + $n * N / 4u, STRIDE);
#unroll r < ${FRAGMENTS}
        dQ$r_$n = ${MULTIPLY}(left$r, right, dQ$r_$n);
#endunroll
      }
#endunroll
      }
    }
  }

#unroll r < ${FRAGMENTS}
  {
    let own = query + $r * BAND;
    let start = params.offsetDQ + ((block.split * params.batch + block.batch) * params.queries + own) * params.rowStrideDQ + headStart;
#unroll n < ${HEAD_N}
    subgroupMatrixStore<row_major>(&scores, tile + $n % SLICE * N / 4u, dQ$r_$n, TILE_STRIDE);
    if ($n % SLICE == SLICE - 1 || $n == HEAD / N - 1) {
      workgroupBarrier();
      if (own < params.queries) {
        const BEGIN = $n / SLICE * COLUMNS / 4u;
        for (var i = place; i < COLUMNS / 4u && BEGIN + i < HEAD_VEC4; i += ROW_LANES) {
          put0(start + BEGIN + i, scores[tile + inTile - place + i] * (params.scale / params.gain));
        }
      }
      workgroupBarrier();
    }
#endunroll
  }
#endunroll
}
