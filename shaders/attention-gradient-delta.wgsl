// delta[batch, head, query] = sum over the head of dO * O, which every score gradient of that row subtracts
// (FlashAttention-2, arXiv 2307.08691, algorithm 2). One invocation per row. o, dO [batch, queries, heads, head] as vec4s.
${POINTWISE}

struct Params {
  count: u32, // batch * heads * queries
  heads: u32,
  queries: u32,
  headVec4: u32,
  rowStride: u32,
}

@group(0) @binding(1) var<storage, read> o: array<${o as vec4f}>;
@group(0) @binding(2) var<storage, read> dO: array<${dO as vec4f}>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

fn element(index: u32) {
  let query = index % params.queries;
  let head = (index / params.queries) % params.heads;
  let batch = index / (params.queries * params.heads);
  let start = (batch * params.queries + query) * params.rowStride + head * params.headVec4;
  var sum = 0.0;
  for (var i = start; i < start + params.headVec4; i++) { sum += dot(vec4f(o[i]), vec4f(dO[i])); }
  delta[index] = sum;
}
