// dQ of attention, on matrix units: one pass over the keys per block of queries, with the probabilities computed again from logSumExp: p =
// exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k) (FlashAttention-2, arXiv 2307.08691, algorithm 2). q, k, v, dO
// and ds are rounded to f16, all else is f32; ds is a share of a probability, so it is multiplied by `gain` to stay within f16's numbers.
// Layout: q, o, dO, dQ [batch, queries, heads, head], k, v [batch, keys, heads, head] as vec4s, each by its own row stride and, but for
// dO, offset. logSumExp, delta [batch, heads, queries]. With `splits` above one, dQ is [splits, ...], each of one part of the keys, for
// attention-merge. Defines: PLACES, INPUTS the texts of lib/attention-places.wgsl and lib/attention-inputs.wgsl; BLOCK the
// text of lib/attention-matrix.wgsl, with its defines.
enable f16;
enable subgroups;
enable ${EXTENSION};

struct Params {
${PLACES}
  rowStrideDQ: u32,
  offsetDQ: u32,
  gain: f32,
  splits: u32,
}

${INPUTS}
@group(0) @binding(7) var<storage, read_write> dQ: array<${dQ as vec4f}>;

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
  // A causal query sees the keys up to its own index; all of the block see those before `seen`.
  let causal = params.causal != 0u;
  let seen = select(params.keys, min(block.first + 1u, params.keys), causal);
  let part = partOf(0u, select(params.keys, min(block.first + BLOCK_ROWS, params.keys), causal), block.split);

  let factor = params.scale * LOG2E; // on scores in f32, or q would be rounded once more

  clearPadding(local);
#unroll r < ${FRAGMENTS}
  stageBand(OF_QUERIES, heads.queries, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let q$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
  stageBand(OF_D_OUTS, heads.dOuts, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let dO$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
#unroll n < ${HEAD_N}
  var dQ$r_$n: Sum;
#endunroll
  let visible$r = select(params.keys, min(query + $r * BAND + 1u, params.keys), causal);
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
      for (var n = 0u; n < COLUMNS; n += N) {
#unroll r < ${FRAGMENTS}
        var sum$r = Sum(); // given values, or they keep the sums of the round before (seen with Dawn of webgpu 0.6.2)
        var dSum$r = Sum();
#endunroll
#unroll k < ${HEAD_K}
        let key$k = subgroupMatrixLoad<Right, col_major>(&columns, (begin + n) * STRIDE + $k * K / 4u, STRIDE);
        let value$k = subgroupMatrixLoad<Right, col_major>(&columns, SECOND + (begin + n) * STRIDE + $k * K / 4u, STRIDE);
#unroll r < ${FRAGMENTS}
        sum$r = ${MULTIPLY}(q$r_$k, key$k, sum$r);
        dSum$r = ${MULTIPLY}(dO$r_$k, value$k, dSum$r);
#endunroll
#endunroll
#unroll r < ${FRAGMENTS}
        subgroupMatrixStore<row_major>(&scores, tile + $r * 2 * TILE + n / 4u, sum$r, TILE_STRIDE);
        subgroupMatrixStore<row_major>(&scores, tile + ($r * 2 + 1) * TILE + n / 4u, dSum$r, TILE_STRIDE);
#endunroll
      }
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
          dQ[start + BEGIN + i] = ${dQ as vec4f}(scores[tile + inTile - place + i] * (params.scale / params.gain));
        }
      }
      workgroupBarrier();
    }
#endunroll
  }
#endunroll
}
