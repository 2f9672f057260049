// Scaled dot-product attention, o = softmax(scale q k^T) v per head, in one pass over the keys (FlashAttention-2, arXiv 2307.08691), on matrix units:
// q, k, v and the probabilities are rounded to f16, sums, maxima and exponentials are f32. A subgroup owns M queries.
// Layout: q, o [batch, queries, heads, head] and k, v [batch, keys, heads, head] as vec4s, each by its own row stride and offset (in
// vec4s), so that q, k and v may be slices of one tensor. logSumExp [batch, heads, queries] = ln(sum(exp(scale q k^T))).
// With `splits` above one, o and logSumExp are [splits, ...], each of one part of the keys, for attention-merge.
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
  causal: u32,
  scale: f32,
  splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> logSumExp: array<f32>;

const LOWEST = -3.0e38; // finite: LOWEST - LOWEST must not be a NaN
const QUERIES = 0u;
const KEYS = 1u;
const VALUES = 2u;
fn load(tensor: u32, at: u32) -> vec4f {
  switch (tensor) {
    case QUERIES: { return q[at]; }
    case KEYS: { return k[at]; }
    default: { return v[at]; }
  }
}

${BLOCK}

// Outputs go through the scores' tile, as many of the head's components at a time as it holds.
const SLICE = min(BLOCK_COLUMNS, HEAD);
const SLICES = (HEAD + SLICE - 1u) / SLICE;
const OWN_OUT = (SLICE / 4u + ROW_LANES - 1u) / ROW_LANES; // vec4s of a slice and row that a lane takes

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let block = blockOf(group, groups, params.queries);
  if (!block.real) { return; }
  let headStart = block.head * params.headVec4;
  let queries = Source(params.offsetQ + block.batch * params.queries * params.rowStrideQ + headStart, params.rowStrideQ, params.queries);
  let keys = Source(params.offsetK + block.batch * params.keys * params.rowStrideK + headStart, params.rowStrideK, params.keys);
  let values = Source(params.offsetV + block.batch * params.keys * params.rowStrideV + headStart, params.rowStrideV, params.keys);
  let row = lane / ROW_LANES;
  let place = lane % ROW_LANES;
  let query = block.first + subgroup * M + row;
  let tile = subgroup * TILE;
  let mine = tile + row * TILE_STRIDE + place;

  var rows: Rows;
  rowsOf(&rows, QUERIES, queries, block.first, params.scale, subgroup, local);
  var out: array<vec4f, SLICES * OWN_OUT>;
  var high = LOWEST; // largest score so far
  var total = 0.0;   // sum of exp(score - high) so far, of this lane's columns
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
    workgroupBarrier();
    var s: Scores;
    var most = LOWEST;
    for (var i = 0u; i < OWN; i++) {
      let column = key + 4u * (i * ROW_LANES + place) + vec4u(0u, 1u, 2u, 3u);
      s[i] = select(vec4f(LOWEST), scores[mine + i * ROW_LANES], column < vec4u(visible));
      most = max(most, max(max(s[i].x, s[i].y), max(s[i].z, s[i].w)));
    }
    for (var step = 1u; step < ROW_LANES; step *= 2u) { most = max(most, subgroupShuffleXor(most, step)); }
    let now = max(high, most);
    let shrink = exp(high - now);
    var sum = vec4f();
    for (var i = 0u; i < OWN; i++) {
      let w = exp(s[i] - now);
      sum += w;
      weights[mine + i * ROW_LANES] = vec4<f16>(w);
    }
    high = now;
    total = total * shrink + (sum.x + sum.y) + (sum.z + sum.w);
    for (var i = 0u; i < SLICES * OWN_OUT; i++) { out[i] *= shrink; }
    workgroupBarrier();
    var added = Output();
    addWeighted(&added, tile, SECOND);
    for (var slice = 0u; slice < SLICES; slice++) {
      if (slice > 0u) { workgroupBarrier(); }
      putSlice(tile, &added, slice * SLICE);
      workgroupBarrier();
      for (var i = 0u; i < OWN_OUT; i++) { out[slice * OWN_OUT + i] += scores[mine + i * ROW_LANES]; }
    }
  }

  for (var step = 1u; step < ROW_LANES; step *= 2u) { total += subgroupShuffleXor(total, step); }
  if (query >= params.queries) { return; }
  if (place == 0u) { logSumExp[((block.split * params.batch + block.batch) * params.heads + block.head) * params.queries + query] = high + log(total); }
  let start = ((block.split * params.batch + block.batch) * params.queries + query) * params.rowStrideO + headStart;
  for (var slice = 0u; slice < SLICES; slice++) {
    for (var i = 0u; i < OWN_OUT; i++) {
      let inSlice = i * ROW_LANES + place;
      let column = slice * (SLICE / 4u) + inSlice;
      if (inSlice < SLICE / 4u && column < HEAD_VEC4) { o[start + column] = out[slice * OWN_OUT + i] / total; }
    }
  }
}
