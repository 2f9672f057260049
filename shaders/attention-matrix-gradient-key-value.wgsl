// dK and dV of attention, on matrix units: one pass over the queries per block of keys, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dv = sum(p dO), dk = scale sum(ds q) (FlashAttention-2, arXiv 2307.08691, algorithm 2).
// q, k, v, dO, p and ds are rounded to f16, all else is f32; p and ds are small where there are many keys, so they are multiplied by `gain` to stay within
// f16's numbers. A causal key is seen by the queries from its own index on.
// Layout: q, dO [batch, queries, heads, head], k, v, dK, dV [batch, keys, heads, head] as vec4s, each by its own row stride and, but for dO,
// offset. logSumExp, delta [batch, heads, queries]. With `splits` above one, dK and dV are [splits, ...], each of one part of the queries, for
// attention-merge. Defines: BLOCK the text of lib/attention-matrix.wgsl, with its defines. JOINT: dK and dV lie in one tensor, bound as dK.
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;

struct Params {
  batch: u32,
  heads: u32,
  queries: u32,
  keys: u32,
  headVec4: u32,
  rowStrideQ: u32,
  offsetQ: u32,
  rowStrideK: u32,
  offsetK: u32,
  rowStrideV: u32,
  offsetV: u32,
  rowStrideO: u32,
  rowStrideDK: u32,
  offsetDK: u32,
  rowStrideDV: u32,
  offsetDV: u32,
  causal: u32,
  scale: f32,
  gain: f32,
  splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> dO: array<vec4f>;
@group(0) @binding(5) var<storage, read> logSumExp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dK: array<vec4f>;
#if ${JOINT}
#else
@group(0) @binding(8) var<storage, read_write> dV: array<vec4f>;
#endif

const HIGHEST = 3.0e38; // a logSumExp under which every probability is zero

const QUERIES = 0u;
const KEYS = 1u;
const VALUES = 2u;
const D_OUTS = 3u;
fn load(tensor: u32, at: u32) -> vec4f {
  switch (tensor) {
    case QUERIES: { return q[at]; }
    case KEYS: { return k[at]; }
    case VALUES: { return v[at]; }
    default: { return dO[at]; }
  }
}

${BLOCK}

// logSumExp, and behind it delta, of the staged queries.
var<workgroup> numbers: array<vec4f, BLOCK_COLUMNS / 2u>;
fn stageNumbers(start: u32, query: u32, local: u32) {
  for (var i = local; i < BLOCK_COLUMNS / 4u; i += THREADS) {
    let column = query + 4u * i + vec4u(0u, 1u, 2u, 3u);
    let at = start + min(column, vec4u(params.queries - 1u));
    numbers[i] = select(vec4f(HIGHEST), vec4f(logSumExp[at.x], logSumExp[at.y], logSumExp[at.z], logSumExp[at.w]), column < vec4u(params.queries));
    numbers[BLOCK_COLUMNS / 4u + i] = vec4f(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let block = blockOf(group, groups, params.keys);
  if (!block.real) { return; }
  let headStart = block.head * params.headVec4;
  let queries = Source(params.offsetQ + block.batch * params.queries * params.rowStrideQ + headStart, params.rowStrideQ, params.queries);
  let dOuts = Source(block.batch * params.queries * params.rowStrideO + headStart, params.rowStrideO, params.queries);
  let keys = Source(params.offsetK + block.batch * params.keys * params.rowStrideK + headStart, params.rowStrideK, params.keys);
  let values = Source(params.offsetV + block.batch * params.keys * params.rowStrideV + headStart, params.rowStrideV, params.keys);
  let place = lane % ROW_LANES;
  let key = block.first + subgroup * M + lane / ROW_LANES;
  let inTile = (lane / ROW_LANES) * TILE_STRIDE + place;
  let tile = subgroup * 2u * TILE; // of scores and probabilities, and behind it of their gradients

  var keyRows: Rows;
  var valueRows: Rows;
  rowsOf(&keyRows, KEYS, keys, block.first, params.scale, subgroup, local);
  rowsOf(&valueRows, VALUES, values, block.first, 1.0, subgroup, local);
  var dKey: Output;
  var dValue: Output;
  let causal = params.causal != 0u;
  let seenFrom = select(0u, key, causal);
  let part = partOf(select(0u, min(block.first, params.queries), causal), params.queries, block.split);
  for (var query = part.x; query < part.y; query += BLOCK_COLUMNS) {
    workgroupBarrier();
    stage(0u, QUERIES, queries, query, BLOCK_COLUMNS, 1.0, local);
    stage(SECOND, D_OUTS, dOuts, query, BLOCK_COLUMNS, 1.0, local);
    stageNumbers((block.batch * params.heads + block.head) * params.queries, query, local);
    workgroupBarrier();
    product(tile, &keyRows, 0u);
    product(tile + TILE, &valueRows, SECOND);
    workgroupBarrier();
    for (var i = 0u; i < OWN; i++) {
      let at = tile + inTile + i * ROW_LANES;
      let n = i * ROW_LANES + place;
      let column = query + 4u * n + vec4u(0u, 1u, 2u, 3u);
      let weight = select(vec4f(), params.gain * exp(scores[at] - numbers[n]), column >= vec4u(seenFrom));
      weights[at] = vec4<f16>(weight);
      weights[at + TILE] = vec4<f16>(weight * (scores[at + TILE] - numbers[BLOCK_COLUMNS / 4u + n]));
    }
    workgroupBarrier();
    addWeighted(&dValue, tile, SECOND);
    addWeighted(&dKey, tile + TILE, 0u);
  }

  let row = (block.split * params.batch + block.batch) * params.keys + key;
  let startK = params.offsetDK + row * params.rowStrideDK + headStart;
  let startV = params.offsetDV + row * params.rowStrideDV + headStart;
  for (var slice = 0u; slice < HEAD; slice += BLOCK_COLUMNS) {
    putSlice(tile, &dKey, slice);
    putSlice(tile + TILE, &dValue, slice);
    workgroupBarrier();
    if (key < params.keys) {
      for (var i = place; i < BLOCK_COLUMNS / 4u && slice / 4u + i < HEAD_VEC4; i += ROW_LANES) {
        let at = tile + inTile - place + i;
        dK[startK + slice / 4u + i] = scores[at] * (params.scale / params.gain);
        ${DV}[startV + slice / 4u + i] = scores[at + TILE] / params.gain;
      }
    }
    workgroupBarrier();
  }
}
