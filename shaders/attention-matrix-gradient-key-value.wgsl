// dK and dV of attention, on matrix units: one pass over the queries per block of keys, with the probabilities computed again from
// logSumExp: p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q) (FlashAttention-2, arXiv
// 2307.08691, algorithm 2). q, k, v, dO, p and ds are rounded to f16, all else is f32; p and ds are small where there are many keys, so
// they are multiplied by `gain` to stay within f16's numbers.
// Defines: PASS, BLOCK, SCORES, the texts of lib/attention-pass.wgsl, lib/attention-matrix.wgsl and lib/attention-matrix-scores.wgsl, with
// their defines.
enable f16;
enable subgroups;
enable ${EXTENSION};

${PASS}

const HIGHEST = 3.0e38; // a logSumExp under which every probability is zero

${BLOCK}

// logSumExp, in units of log2 and less log2(gain), and behind it delta, of the staged queries.
var<workgroup> numbers: array<vec4f, STAGED / 2u>;
fn stageNumbers(start: u32, query: u32, local: u32) {
  for (var i = local; i < STAGED / 4u; i += THREADS) {
    let column = query + 4u * i + vec4u(0u, 1u, 2u, 3u);
    let at = start + min(column, vec4u(params.queries - 1u));
    let high = vec4f(logSumExp[at.x], logSumExp[at.y], logSumExp[at.z], logSumExp[at.w]) * LOG2E - log2(params.gain);
    numbers[i] = select(vec4f(HIGHEST), high, column < vec4u(params.queries));
    numbers[STAGED / 4u + i] = vec4f(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let block = blockOf(group, groups, params.keys);
  if (!block.real) { return; }
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);
  let place = lane % ROW_LANES;
  let key = block.first + subgroup * M + lane / ROW_LANES; // of the first band
  let inTile = (lane / ROW_LANES) * TILE_STRIDE + place;
  let tile = subgroup * FRAGMENTS * 2u * TILE; // of scores and probabilities, and behind it of their gradients
  let part = partOf(min(seenFrom(block.first), params.queries), params.queries, block.split);
  let seen = seenFrom(block.first + BLOCK_ROWS - 1u); // queries from here on see all keys of the block

  let factor = params.scale * LOG2E; // on scores in f32, or k would be rounded once more

  clearPadding(local);
#unroll r < ${FRAGMENTS}
  stageBand(OF_KEYS, heads.keys, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let a$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
  stageBand(OF_VALUES, heads.values, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let b$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
#unroll n < ${HEAD_N}
  var dK$r_$n: Sum;
  var dV$r_$n: Sum;
#endunroll
  let seenFrom$r = seenFrom(key + $r * BAND);
#endunroll

  for (var query = part.x; query < part.y; query += STAGED) {
    workgroupBarrier();
    stage(0u, OF_QUERIES, heads.queries, query, local);
    stage(SECOND, OF_D_OUTS, heads.dOuts, query, local);
    stageNumbers((block.batch * params.heads + block.head) * params.queries, query, local);
    workgroupBarrier();
    for (var begin = 0u; begin < STAGED && query + begin < part.y; begin += COLUMNS) {
      let first = query + begin;
${SCORES}
      workgroupBarrier();
      let column = first + 4u * place + vec4u(0u, 1u, 2u, 3u);
#unroll i < ${OWN}
      let high$i = numbers[begin / 4u + $i * ROW_LANES + place];
      let delta$i = numbers[STAGED / 4u + begin / 4u + $i * ROW_LANES + place];
#unroll r < ${FRAGMENTS}
      {
        let at = tile + $r * 2 * TILE + inTile + $i * ROW_LANES;
        var weight = exp2(scores[at] * factor - high$i);
        if (first < seen) { weight = select(vec4f(), weight, column + 4 * $i * ROW_LANES >= vec4u(seenFrom$r)); }
        weights[at] = vec4<f16>(weight);
        weights[at + TILE] = vec4<f16>(weight * (scores[at + TILE] - delta$i));
      }
#endunroll
#endunroll
      workgroupBarrier();
      for (var k = 0u; k < COLUMNS; k += K) {
#unroll r < ${FRAGMENTS}
      let weight$r = subgroupMatrixLoad<Left, row_major>(&weights, tile + $r * 2 * TILE + k / 4u, TILE_STRIDE);
      let dScore$r = subgroupMatrixLoad<Left, row_major>(&weights, tile + ($r * 2 + 1) * TILE + k / 4u, TILE_STRIDE);
#endunroll
#unroll n < ${HEAD_N}
      {
        let query = subgroupMatrixLoad<Right, row_major>(&columns, (begin + k) * STRIDE + $n * N / 4u, STRIDE);
        let dOut = subgroupMatrixLoad<Right, row_major>(&columns, SECOND + (begin + k) * STRIDE + $n * N / 4u, STRIDE);
#unroll r < ${FRAGMENTS}
        dK$r_$n = ${MULTIPLY}(dScore$r, query, dK$r_$n);
        dV$r_$n = ${MULTIPLY}(weight$r, dOut, dV$r_$n);
#endunroll
      }
#endunroll
      }
    }
  }

#unroll r < ${FRAGMENTS}
  {
    let own = key + $r * BAND;
    let row = (block.split * params.batch + block.batch) * params.keys + own;
    let startK = params.offsetDK + row * params.rowStrideDK + headStart;
    let startV = params.offsetDV + row * params.rowStrideDV + headStart;
#unroll n < ${HEAD_N}
    subgroupMatrixStore<row_major>(&scores, tile + $n % SLICE * N / 4u, dK$r_$n, TILE_STRIDE);
    subgroupMatrixStore<row_major>(&scores, tile + TILE + $n % SLICE * N / 4u, dV$r_$n, TILE_STRIDE);
    if ($n % SLICE == SLICE - 1 || $n == HEAD / N - 1) {
      workgroupBarrier();
      if (own < params.keys) {
        const BEGIN = $n / SLICE * COLUMNS / 4u;
        for (var i = place; i < COLUMNS / 4u && BEGIN + i < HEAD_VEC4; i += ROW_LANES) {
          put0(startK + BEGIN + i, scores[tile + inTile - place + i] * (params.scale / params.gain));
          put1(startV + BEGIN + i, scores[tile + TILE + inTile - place + i] / params.gain);
        }
      }
      workgroupBarrier();
    }
#endunroll
  }
#endunroll
}
