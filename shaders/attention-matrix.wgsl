// Scaled dot-product attention, o = softmax(scale q k^T) v per head, in one pass over the keys (FlashAttention-2, arXiv 2307.08691), on
// matrix units: q, k, v and the probabilities are rounded to f16, sums, maxima and exponentials are f32. The sums so far are only
// multiplied when a row's largest score has grown by more than MARGIN (as in FlashAttention-4): until then its weights are at most
// 2^MARGIN.
// Defines: PASS, BLOCK, SCORES, the texts of lib/attention-pass.wgsl, lib/attention-matrix.wgsl and lib/attention-matrix-scores.wgsl, with
// their defines.
enable f16;
enable subgroups;
enable ${EXTENSION};

${PASS}

const LOWEST = -3.0e38; // finite: LOWEST - LOWEST must not be a NaN
const MARGIN = 8.0;

${BLOCK}

// Whether a row of a subgroup has grown.
var<workgroup> grown: array<u32, SUBGROUPS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let headStart = block.head * params.headVec4;
  let heads = sourcesOf(block);
  let place = lane % ROW_LANES;
  let query = block.first + subgroup * M + lane / ROW_LANES; // of the first band
  let tile = subgroup * FRAGMENTS * TILE;
  let mine = tile + (lane / ROW_LANES) * TILE_STRIDE + place;
  let seen = visibleKeys(block.first); // by all of the block
  let part = partOf(0u, visibleKeys(block.first + BLOCK_ROWS - 1u), block.split);

  let factor = max(abs(params.scale) * LOG2E, 1e-30); // on scores in f32, or q would be rounded once more

  clearPadding(local);
#unroll r < ${FRAGMENTS}
  stageBand(OF_QUERIES, heads.queries, block.first + $r * BAND, local);
#unroll k < ${HEAD_K}
  let a$r_$k = subgroupMatrixLoad<Left, row_major>(&columns, subgroup * M * STRIDE + $k * K / 4u, STRIDE);
#endunroll
#unroll n < ${HEAD_N}
  var o$r_$n: Sum;
#endunroll
  var high$r = LOWEST; // about the largest score so far: at most MARGIN less
  var total$r = 0.0;   // sum of exp2(score - high) so far, of this lane's columns
  let visible$r = visibleKeys(query + $r * BAND);
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
#unroll r < ${FRAGMENTS}
#unroll i < ${OWN}
      var score$r_$i = scores[mine + $r * TILE + $i * ROW_LANES];
#endunroll
      if (first + COLUMNS > seen) {
        let column = first + 4u * place + vec4u(0u, 1u, 2u, 3u);
#unroll i < ${OWN}
        score$r_$i = select(vec4f(LOWEST), score$r_$i, column + 4 * $i * ROW_LANES < vec4u(visible$r));
#endunroll
      }
      var mosts$r = score$r_0;
#unroll i < ${OWN}
      mosts$r = max(mosts$r, score$r_$i);
#endunroll
      let most$r = rowMax(maxOf(mosts$r));
      let grows$r = (most$r - high$r) * factor > MARGIN;
      let now$r = select(high$r, most$r, grows$r);
      let shrink$r = exp2((high$r - now$r) * factor);
      high$r = now$r;
      var sums$r = vec4f();
#unroll i < ${OWN}
      let weight$r_$i = exp2(score$r_$i * factor - now$r * factor);
      sums$r += weight$r_$i;
      weights[mine + $r * TILE + $i * ROW_LANES] = vec4<f16>(weight$r_$i);
#endunroll
      total$r = total$r * shrink$r + (sums$r.x + sums$r.y) + (sums$r.z + sums$r.w);
#endunroll
      let grows = subgroupAny(false
#unroll r < ${FRAGMENTS}
        || grows$r
#endunroll
      );
      if (lane == 0u) { grown[subgroup] = select(0u, 1u, grows); }
      let flags = workgroupUniformLoad(&grown); // a barrier for the weights, too
      if (false
#unroll g < ${SUBGROUPS}
        || flags[$g] != 0u
#endunroll
      ) {
#unroll r < ${FRAGMENTS}
#unroll n < ${HEAD_N}
        subgroupMatrixStore<row_major>(&scores, tile + $r * TILE + $n % SLICE * N / 4u, o$r_$n, TILE_STRIDE);
        if ($n % SLICE == SLICE - 1 || $n == HEAD / N - 1) {
          workgroupBarrier();
#unroll i < ${OWN}
          scores[mine + $r * TILE + $i * ROW_LANES] *= shrink$r;
#endunroll
          workgroupBarrier();
#unroll m < ${HEAD_N}
          if ($m / SLICE == $n / SLICE) {
            o$r_$m = subgroupMatrixLoad<Sum, row_major>(&scores, tile + $r * TILE + $m % SLICE * N / 4u, TILE_STRIDE);
          }
#endunroll
          workgroupBarrier();
        }
#endunroll
#endunroll
      }
      for (var k = 0u; k < COLUMNS; k += K) {
#unroll r < ${FRAGMENTS}
      let left$r = subgroupMatrixLoad<Left, row_major>(&weights, tile + $r * TILE + k / 4u, TILE_STRIDE);
#endunroll
#unroll n < ${HEAD_N}
      {
        let right = subgroupMatrixLoad<Right, row_major>(&columns, SECOND + (begin + k) * STRIDE + $n * N / 4u, STRIDE);
#unroll r < ${FRAGMENTS}
        o$r_$n = ${MULTIPLY}(left$r, right, o$r_$n);
#endunroll
      }
#endunroll
      }
    }
  }

#unroll r < ${FRAGMENTS}
  {
    let total = rowSum(total$r);
    let own = query + $r * BAND;
    let entry = block.split * params.batch + block.batch;
    if (place == 0u && own < params.queries) {
      logSumExp[(entry * params.heads + block.head) * params.queries + own] = high$r * factor / LOG2E + log(total);
    }
    let start = (entry * params.queries + own) * params.rowStrideO + headStart;
#unroll n < ${HEAD_N}
    subgroupMatrixStore<row_major>(&scores, tile + $r * TILE + $n % SLICE * N / 4u, o$r_$n, TILE_STRIDE);
    if ($n % SLICE == SLICE - 1 || $n == HEAD / N - 1) {
      workgroupBarrier();
      if (own < params.queries) {
        const BEGIN = $n / SLICE * COLUMNS / 4u;
        for (var i = place; i < COLUMNS / 4u && BEGIN + i < HEAD_VEC4; i += ROW_LANES) {
          put0(start + BEGIN + i, scores[mine - place + $r * TILE + i] / total);
        }
      }
      workgroupBarrier();
    }
#endunroll
  }
#endunroll
}
