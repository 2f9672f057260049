// dQ of attention, on matrix units: one pass over the keys per block of queries, with the probabilities computed again from logSumExp:
// p = exp(scale q k - logSumExp), ds = p (dO v - delta), dq = scale sum(ds k) (FlashAttention-2, arXiv 2307.08691, algorithm 2).
// q, k, v, dO and ds are rounded to f16, all else is f32; ds is a share of a probability, so it is multiplied by `gain` to stay within f16's numbers.
// Layout: q, o, dO, dQ [batch, queries, heads, head], k, v [batch, keys, heads, head] as vec4s, each by its own row stride and, but for dO,
// offset. logSumExp, delta [batch, heads, queries]. With `splits` above one, dQ is [splits, ...], each of one part of the keys, for attention-merge.
// Defines: BLOCK the text of lib/attention-matrix.wgsl, with its defines.
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
  rowStrideDQ: u32,
  offsetDQ: u32,
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
@group(0) @binding(7) var<storage, read_write> dQ: array<vec4f>;

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

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let headStart = block.head * params.headVec4;
  let queries = Source(params.offsetQ + block.batch * params.queries * params.rowStrideQ + headStart, params.rowStrideQ, params.queries);
  let dOuts = Source(block.batch * params.queries * params.rowStrideO + headStart, params.rowStrideO, params.queries);
  let keys = Source(params.offsetK + block.batch * params.keys * params.rowStrideK + headStart, params.rowStrideK, params.keys);
  let values = Source(params.offsetV + block.batch * params.keys * params.rowStrideV + headStart, params.rowStrideV, params.keys);
  let place = lane % ROW_LANES;
  let query = block.first + subgroup * M + lane / ROW_LANES;
  let inTile = (lane / ROW_LANES) * TILE_STRIDE + place;
  let tile = subgroup * 2u * TILE;  // of scores, and behind it of the gradient of weights
  let weightTile = subgroup * TILE; // of the gradient of scores

  var rows: Rows;
  var dRows: Rows;
  rowsOf(&rows, QUERIES, queries, block.first, params.scale, subgroup, local);
  rowsOf(&dRows, D_OUTS, dOuts, block.first, 1.0, subgroup, local);
  let number = (block.batch * params.heads + block.head) * params.queries + min(query, params.queries - 1u);
  let rowLogSumExp = logSumExp[number];
  let rowDelta = delta[number];
  var out: Output;
  let causal = params.causal != 0u;
  // A causal query sees the keys up to its own index.
  let visible = select(params.keys, min(query + 1u, params.keys), causal);
  let part = partOf(0u, select(params.keys, min(block.first + BLOCK_ROWS, params.keys), causal), block.split);
  for (var key = part.x; key < part.y; key += BLOCK_COLUMNS) {
    workgroupBarrier();
    stage(0u, KEYS, keys, key, BLOCK_COLUMNS, 1.0, local);
    stage(SECOND, VALUES, values, key, BLOCK_COLUMNS, 1.0, local);
    workgroupBarrier();
    product(tile, &rows, 0u);
    product(tile + TILE, &dRows, SECOND);
    workgroupBarrier();
    for (var i = 0u; i < OWN; i++) {
      let at = inTile + i * ROW_LANES;
      let column = key + 4u * (i * ROW_LANES + place) + vec4u(0u, 1u, 2u, 3u);
      let dScore = exp(scores[tile + at] - rowLogSumExp) * (scores[tile + TILE + at] - rowDelta);
      weights[weightTile + at] = vec4<f16>(select(vec4f(), params.gain * dScore, column < vec4u(visible)));
    }
    workgroupBarrier();
    addWeighted(&out, weightTile, 0u);
  }

  for (var slice = 0u; slice < HEAD; slice += BLOCK_COLUMNS) {
    putSlice(tile, &out, slice);
    workgroupBarrier();
    if (query < params.queries) {
      let start = params.offsetDQ + ((block.split * params.batch + block.batch) * params.queries + query) * params.rowStrideDQ + headStart;
      for (var i = place; i < BLOCK_COLUMNS / 4u && slice / 4u + i < HEAD_VEC4; i += ROW_LANES) {
        dQ[start + slice / 4u + i] = scores[tile + inTile - place + i] * (params.scale / params.gain);
      }
    }
    workgroupBarrier();
  }
}
